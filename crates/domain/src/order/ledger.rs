//! The money of one order: what came in by each tender, and what was asked back.
//!
//! Everything that gives money back *claims* it here first, so claims together never exceed what was paid.

use crate::id::{LineNo, RefundId};
use crate::time::Timestamp;

/// Where one tender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TenderState {
    /// Nothing received yet.
    Due,
    /// Set aside at the payment provider.
    Authorized,
    /// Received.
    Captured,
    /// Given up before capture.
    Voided,
    /// The provider said no.
    Failed,
}

impl TenderState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Due, Self::Authorized, Self::Captured, Self::Voided, Self::Failed];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Due => "DUE",
            Self::Authorized => "AUTHORIZED",
            Self::Captured => "CAPTURED",
            Self::Voided => "VOIDED",
            Self::Failed => "FAILED",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// The money is there or promised by the provider.
    pub const fn counts(self) -> bool {
        match self {
            Self::Authorized | Self::Captured => true,
            Self::Due | Self::Voided | Self::Failed => false,
        }
    }

    /// Whether the provider may report `next` after this. A void is final; a failed try may be tried again.
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Due | Self::Failed, Self::Authorized | Self::Captured)
            | (Self::Due, Self::Failed | Self::Voided)
            | (Self::Authorized, Self::Captured | Self::Voided | Self::Failed) => true,
            (Self::Due | Self::Authorized | Self::Captured | Self::Voided | Self::Failed, _) => false,
        }
    }
}

impl std::fmt::Display for TenderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One way of paying a part of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tender {
    /// The channel's name for it, unique in the order.
    pub id: String,
    /// What kind of tender: card, cash, gift card ...
    pub kind: String,
    /// Its part of the total, in minor units.
    pub amount_minor: i64,
    /// Where it stands.
    pub state: TenderState,
    /// The provider's reference.
    pub provider_ref: String,
    /// How much of it was asked back, in minor units.
    pub claimed_minor: i64,
}

/// Money that was asked back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// How much, in minor units, more than 0.
    pub amount_minor: i64,
    /// Why, `UPPER_SNAKE`.
    pub reason: String,
    /// When it was asked.
    pub at: Timestamp,
    /// The pieces it is for.
    pub lines: Vec<(LineNo, i64)>,
}

/// All money of one order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// The tenders, as given at placement.
    pub tenders: Vec<Tender>,
    /// The refunds that were asked for, oldest first.
    pub refunds: Vec<Refund>,
}

impl Ledger {
    /// Captured or authorized so far; of a tender that was voided since, what had been asked back of it.
    pub fn paid(&self) -> i64 {
        let part = |t: &Tender| if t.state.counts() { t.amount_minor } else { t.claimed_minor };
        self.tenders.iter().map(part).sum()
    }

    /// Asked back so far.
    pub fn claimed(&self) -> i64 {
        self.refunds.iter().map(|r| r.amount_minor).sum()
    }

    /// Paid and not asked back: what can still be claimed.
    pub fn net(&self) -> i64 {
        let left = |t: &Tender| t.amount_minor - t.claimed_minor;
        self.tenders.iter().filter(|t| t.state.counts()).map(left).sum()
    }

    /// Claims an amount: first from what is only authorized, then from what was captured. Takes at most what is there
    /// and answers how much it took.
    pub(super) fn claim(&mut self, amount_minor: i64) -> i64 {
        let mut rest = amount_minor.max(0);
        for state in [TenderState::Authorized, TenderState::Captured] {
            for tender in self.tenders.iter_mut().filter(|t| t.state == state) {
                let taken = rest.min(tender.amount_minor - tender.claimed_minor);
                tender.claimed_minor += taken;
                rest -= taken;
            }
        }
        amount_minor.max(0) - rest
    }
}

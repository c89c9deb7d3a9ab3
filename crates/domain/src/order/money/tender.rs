//! Tenders: the ways of paying an order.

/// Where one tender stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TenderState {
    /// Nothing received yet, or only a part.
    Due,
    /// Set aside at the payment provider, and not all of it captured.
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

    /// Whether another tender may pay instead.
    pub const fn is_replaceable(self) -> bool {
        match self {
            Self::Voided | Self::Failed => true,
            Self::Due | Self::Authorized | Self::Captured => false,
        }
    }

    /// What is authorized after this comes second: the tender is paid, or was given up.
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Authorized | Self::Captured | Self::Voided => true,
            Self::Due | Self::Failed => false,
        }
    }

    /// Whether the provider may report `next` after this. Money that comes in is always recorded, and goes back when it is
    /// too much; a failed try may be tried again, a void is final.
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (
                Self::Due | Self::Authorized | Self::Captured | Self::Voided | Self::Failed,
                Self::Captured | Self::Authorized,
            )
            | (Self::Due | Self::Authorized, Self::Failed | Self::Voided) => true,
            (Self::Due | Self::Authorized | Self::Captured | Self::Voided | Self::Failed, _) => false,
        }
    }
}

impl std::fmt::Display for TenderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the ids of tenders begin with that the platform makes for payments at handovers. Callers give no such id.
pub const HANDOVER_PREFIX: &str = "handover-";

/// One way of paying a part of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tender {
    /// The channel's name for it, unique in the order.
    pub id: String,
    /// What kind of tender: card, cash, gift card ...
    pub kind: String,
    /// Its part of the total, in minor units.
    pub amount_minor: i64,
    /// Of it: what another tender pays instead.
    pub replaced_minor: i64,
    /// Where it stands.
    pub state: TenderState,
    /// The provider's reference, as reported last.
    pub provider_ref: String,
}

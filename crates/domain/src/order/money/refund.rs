//! Refunds: asked of a provider, reported, asked again, and redirected when they fail for good.

use super::ledger::Ledger;
use super::row::{Cause, Component, Row};
use crate::id::{LineNo, RefundId};
use crate::order::Refusal;
use crate::time::{Timestamp, after_ms};

/// How long after each failure a refund is asked for again, in milliseconds.
const RETRIES_MS: [i64; 5] = [60_000, 600_000, 3_600_000, 6 * 3_600_000, 24 * 3_600_000];
/// How long a provider may be silent before a refund is asked for again, in milliseconds.
const SILENCE_MS: i64 = 24 * 3_600_000;

/// Where a refund stands at one tender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundState {
    /// Asked for, no answer yet.
    Pending,
    /// Paid back.
    Done,
    /// The provider said no; it is asked again.
    Failed,
    /// Asked for six times in vain.
    FailedPermanent,
    /// Goes to another tender instead.
    Redirected,
}

impl RefundState {
    /// Every state.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Done, Self::Failed, Self::FailedPermanent, Self::Redirected];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
            Self::FailedPermanent => "FAILED_PERMANENT",
            Self::Redirected => "REDIRECTED",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

impl std::fmt::Display for RefundState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a refund pays back by one tender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundPart {
    /// The tender.
    pub tender: String,
    /// Its kind.
    pub kind: String,
    /// How much, in minor units, more than 0.
    pub amount_minor: i64,
    /// Where it stands.
    pub state: RefundState,
    /// How often it was asked for, from 1.
    pub attempt: i64,
    /// When it is asked for again, unless an answer comes.
    pub next_attempt: Option<Timestamp>,
    /// The provider's reference of what is to be paid back.
    pub provider_ref: String,
    /// The provider's reference of the refund, or its code of the failure, as reported last.
    pub report_ref: String,
}

impl RefundPart {
    /// A part that is asked for now.
    pub(in crate::order) fn new(
        tender: &str,
        kind: &str,
        provider_ref: &str,
        amount_minor: i64,
        now: Timestamp,
    ) -> Self {
        Self {
            tender: tender.to_owned(),
            kind: kind.to_owned(),
            amount_minor,
            state: RefundState::Pending,
            attempt: 1,
            next_attempt: Some(after_ms(now, SILENCE_MS)),
            provider_ref: provider_ref.to_owned(),
            report_ref: String::new(),
        }
    }

    /// Its time is over: it is asked for again, or has failed for good. False: it is not time yet.
    fn retry(&mut self, now: Timestamp) -> bool {
        if self.next_attempt.is_none_or(|at| now < at) {
            return false;
        }
        if self.is_last_attempt() {
            (self.state, self.next_attempt) = (RefundState::FailedPermanent, None);
        } else {
            self.state = RefundState::Pending;
            self.attempt += 1;
            self.next_attempt = Some(after_ms(now, SILENCE_MS));
        }
        true
    }

    fn is_last_attempt(&self) -> bool {
        usize::try_from(self.attempt).is_ok_and(|attempt| attempt > RETRIES_MS.len())
    }

    /// Takes over the provider's answer. False: it had said so before.
    fn report(&mut self, is_done: bool, report_ref: &str, now: Timestamp) -> Result<bool, Refusal> {
        let to = if is_done { RefundState::Done } else { RefundState::Failed };
        let is_failure = matches!(self.state, RefundState::Failed | RefundState::FailedPermanent);
        let is_same = self.state == to || !is_done && is_failure;
        match self.state {
            _ if is_same && self.report_ref == report_ref => Ok(false),
            RefundState::Pending | RefundState::Failed | RefundState::FailedPermanent if is_done => {
                (self.state, self.next_attempt) = (RefundState::Done, None);
                report_ref.clone_into(&mut self.report_ref);
                Ok(true)
            }
            RefundState::Pending => {
                let wait = usize::try_from(self.attempt - 1).ok().and_then(|at| RETRIES_MS.get(at));
                self.state = if wait.is_some() { RefundState::Failed } else { RefundState::FailedPermanent };
                self.next_attempt = wait.map(|ms| after_ms(now, *ms));
                report_ref.clone_into(&mut self.report_ref);
                Ok(true)
            }
            from @ (RefundState::Done
            | RefundState::Failed
            | RefundState::FailedPermanent
            | RefundState::Redirected) => Err(Refusal::RefundState { tender: self.tender.clone(), from, to }),
        }
    }
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
    /// The pieces it is for. Not kept.
    pub lines: Vec<(LineNo, i64)>,
    /// What goes back by which tender.
    pub parts: Vec<RefundPart>,
}

impl Refund {
    /// When one of its parts is asked for again.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.parts.iter().filter_map(|part| part.next_attempt).min()
    }

    /// Asks again for what is due. Answers the tenders that are asked again, and those that failed for good.
    pub(in crate::order) fn retry(&mut self, now: Timestamp) -> (Vec<String>, Vec<String>) {
        let (mut asked, mut failed) = (Vec::new(), Vec::new());
        for part in &mut self.parts {
            if part.retry(now) {
                let list = if part.state == RefundState::Pending { &mut asked } else { &mut failed };
                list.push(part.tender.clone());
            }
        }
        (asked, failed)
    }

    fn part_mut(&mut self, tender: &str) -> Result<&mut RefundPart, Refusal> {
        let part = self.parts.iter_mut().find(|part| part.tender == tender);
        part.ok_or_else(|| Refusal::UnknownTender { tender: tender.to_owned() })
    }
}

impl Ledger {
    fn refund_mut(&mut self, id: RefundId) -> Result<&mut Refund, Refusal> {
        self.refunds.iter_mut().find(|refund| refund.id == id).ok_or(Refusal::UnknownRefund { refund: id })
    }

    /// Takes over a provider's answer to a refund. False: it had said so before.
    pub(in crate::order) fn refund_reported(
        &mut self,
        id: RefundId,
        tender: &str,
        is_done: bool,
        report_ref: &str,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let part = self.refund_mut(id)?.part_mut(tender)?;
        let is_new = part.report(is_done, report_ref, now)?;
        let amount_minor = part.amount_minor;
        if is_new && is_done {
            let row = Row::of_tender(tender, Component::Tender, Cause::Refunded, amount_minor, now);
            self.rows.push(Row { reference: report_ref.to_owned(), ..row });
        }
        Ok(is_new)
    }

    /// Pays a part that failed for good by another tender.
    pub(in crate::order) fn refund_redirected(
        &mut self,
        id: RefundId,
        tender: &str,
        to: &Redirect,
        now: Timestamp,
    ) -> Result<Refund, Refusal> {
        let is_taken = self.tenders.iter().any(|t| t.id == to.tender);
        let refund = self.refund_mut(id)?;
        let is_taken = is_taken || refund.parts.iter().any(|part| part.tender == to.tender);
        let part = refund.part_mut(tender)?;
        if part.state != RefundState::FailedPermanent {
            let (from, to) = (part.state, RefundState::Redirected);
            return Err(Refusal::RefundState { tender: part.tender.clone(), from, to });
        }
        if is_taken {
            return Err(Refusal::TenderTaken { tender: to.tender.clone() });
        }
        part.state = RefundState::Redirected;
        let amount_minor = part.amount_minor;
        refund.parts.push(RefundPart::new(&to.tender, &to.kind, &to.provider_ref, amount_minor, now));
        Ok(refund.clone())
    }
}

/// Where a refund goes instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// A tender id that the order does not have yet.
    pub tender: String,
    /// Its kind.
    pub kind: String,
    /// Where to, an opaque handle.
    pub provider_ref: String,
}

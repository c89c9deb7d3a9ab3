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

/// What a refund pays back of one capture of a tender.
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
    /// The provider's reference of the capture that is paid back. With the tender it names the part.
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

    /// Takes over the provider's answer. False: it had said so before, or an attempt failed that was followed by another.
    fn report(&mut self, answer: &RefundAnswer, now: Timestamp) -> Result<bool, Refusal> {
        let RefundAnswer { is_done, attempt, report_ref } = answer;
        let is_done = *is_done;
        if *attempt > self.attempt {
            return Err(Refusal::UnknownAttempt { attempt: *attempt, last: self.attempt });
        }
        if *attempt < self.attempt && !is_done {
            return Ok(false);
        }
        let to = if is_done { RefundState::Done } else { RefundState::Failed };
        let is_failure = matches!(self.state, RefundState::Failed | RefundState::FailedPermanent);
        let is_same = self.state == to || !is_done && is_failure;
        match self.state {
            _ if is_same && self.report_ref == *report_ref => Ok(false),
            RefundState::Pending | RefundState::Failed | RefundState::FailedPermanent if is_done => {
                (self.state, self.next_attempt) = (RefundState::Done, None);
                self.report_ref.clone_from(report_ref);
                Ok(true)
            }
            RefundState::Pending => {
                let wait = usize::try_from(self.attempt - 1).ok().and_then(|at| RETRIES_MS.get(at));
                self.state = if wait.is_some() { RefundState::Failed } else { RefundState::FailedPermanent };
                self.next_attempt = wait.map(|ms| after_ms(now, *ms));
                self.report_ref.clone_from(report_ref);
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
    /// What goes back of which capture.
    pub parts: Vec<RefundPart>,
}

impl Refund {
    /// When one of its parts is asked for again.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        self.parts.iter().filter_map(|part| part.next_attempt).min()
    }

    /// Asks again for what is due. Answers the parts that are asked for again, and those that failed for good.
    pub(in crate::order) fn retry(&mut self, now: Timestamp) -> (Vec<RefundPart>, Vec<RefundPart>) {
        let (mut asked, mut failed) = (Vec::new(), Vec::new());
        for part in &mut self.parts {
            if part.retry(now) {
                let list = if part.state == RefundState::Pending { &mut asked } else { &mut failed };
                list.push(part.clone());
            }
        }
        (asked, failed)
    }

    fn part_mut(&mut self, wanted: &PartId) -> Result<&mut RefundPart, Refusal> {
        let PartId { tender, provider_ref } = wanted;
        let of_tender = || self.parts.iter().enumerate().filter(|(_, part)| part.tender == *tender);
        let references = || of_tender().map(|(_, part)| part.provider_ref.clone()).collect();
        let at = match (provider_ref, of_tender().count()) {
            (_, 0) => return Err(Refusal::UnknownTender { tender: tender.clone() }),
            (None, 1) => of_tender().next(),
            (None, _) => {
                return Err(Refusal::PartNotNamed { tender: tender.clone(), references: references() });
            }
            (Some(reference), _) => of_tender().find(|(_, part)| part.provider_ref == *reference),
        };
        match at {
            Some((at, _)) => Ok(&mut self.parts[at]),
            None => Err(Refusal::UnknownPart { tender: tender.clone(), references: references() }),
        }
    }
}

impl Ledger {
    fn refund_mut(&mut self, id: RefundId) -> Result<&mut Refund, Refusal> {
        self.refunds.iter_mut().find(|refund| refund.id == id).ok_or(Refusal::UnknownRefund { refund: id })
    }

    /// Takes over a provider's answer to a part of a refund. None: it changes nothing.
    pub(in crate::order) fn refund_reported(
        &mut self,
        id: RefundId,
        part: &PartId,
        answer: &RefundAnswer,
        now: Timestamp,
    ) -> Result<Option<(Refund, RefundPart)>, Refusal> {
        let refund = self.refund_mut(id)?;
        let part = refund.part_mut(part)?;
        if !part.report(answer, now)? {
            return Ok(None);
        }
        let (part, refund) = (part.clone(), refund.clone());
        if answer.is_done {
            let row =
                Row::of_tender(&part.tender, Component::Tender, Cause::Refunded, part.amount_minor, now);
            self.rows.push(Row { reference: answer.report_ref.clone(), ..row });
        }
        Ok(Some((refund, part)))
    }

    /// Pays a part that failed for good by another tender. Answers the refund, that part, and the new one.
    pub(in crate::order) fn refund_redirected(
        &mut self,
        id: RefundId,
        part: &PartId,
        to: &Redirect,
        now: Timestamp,
    ) -> Result<(Refund, RefundPart, RefundPart), Refusal> {
        let is_taken = self.tenders.iter().any(|t| t.id == to.tender);
        let refund = self.refund_mut(id)?;
        let is_taken = is_taken || refund.parts.iter().any(|part| part.tender == to.tender);
        let part = refund.part_mut(part)?;
        if part.state != RefundState::FailedPermanent {
            let (from, to) = (part.state, RefundState::Redirected);
            return Err(Refusal::RefundState { tender: part.tender.clone(), from, to });
        }
        if is_taken {
            return Err(Refusal::TenderTaken { tender: to.tender.clone() });
        }
        part.state = RefundState::Redirected;
        let old = part.clone();
        let new = RefundPart::new(&to.tender, &to.kind, &to.provider_ref, old.amount_minor, now);
        refund.parts.push(new.clone());
        Ok((refund.clone(), old, new))
    }
}

/// Names a part of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartId {
    /// Its tender.
    pub tender: String,
    /// The provider's reference of the capture; none: the refund has one part by the tender.
    pub provider_ref: Option<String>,
}

impl From<&RefundPart> for PartId {
    fn from(part: &RefundPart) -> Self {
        Self { tender: part.tender.clone(), provider_ref: Some(part.provider_ref.clone()) }
    }
}

/// What a provider answers to one attempt at a part of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundAnswer {
    /// Paid back; else it failed.
    pub is_done: bool,
    /// The number of the attempt, from 1. Money that was paid back counts at any attempt; a failure only at the last.
    pub attempt: i64,
    /// The provider's reference of the refund, or its code of the failure.
    pub report_ref: String,
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

//! Captures: what each report of a provider brought in, and how much of it is not asked back yet.

use super::ledger::Ledger;
use super::refund::RefundPart;
use super::row::Cause;
use crate::time::Timestamp;

/// What came in by one tender under one reference of the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The provider's reference; empty: the report had none.
    pub reference: String,
    /// How much came in, in minor units, with what was too much.
    pub captured: i64,
    /// How much of it refunds ask back, done or not, in minor units.
    pub asked: i64,
}

impl Capture {
    /// How much may still be asked back.
    pub const fn left(&self) -> i64 {
        self.captured - self.asked
    }
}

impl Ledger {
    /// The captures of a tender, oldest first.
    pub fn captures(&self, tender: &str) -> Vec<Capture> {
        let mut captures: Vec<Capture> = Vec::new();
        for row in self.rows.iter().filter(|row| row.cause == Cause::Captured && row.tender == tender) {
            match captures.iter_mut().find(|capture| capture.reference == row.reference) {
                Some(capture) => capture.captured += row.amount_minor,
                None => captures.push(Capture {
                    reference: row.reference.clone(),
                    captured: row.amount_minor,
                    asked: 0,
                }),
            }
        }
        let parts = self.refunds.iter().flat_map(|refund| &refund.parts);
        for part in parts.filter(|part| part.tender == tender) {
            let its = captures.iter_mut().find(|capture| capture.reference == part.provider_ref);
            if let Some(capture) = its {
                capture.asked += part.amount_minor;
            }
        }
        captures
    }

    /// The parts of a refund that pay an amount back by a tender: one for each capture that it is taken from. The newest
    /// capture gives first, since providers refuse to refund captures that are too old; none gives more than it has left.
    pub(in crate::order) fn refund_parts(
        &self,
        tender: &str,
        amount_minor: i64,
        now: Timestamp,
    ) -> Vec<RefundPart> {
        let kind = self.kind_of(tender);
        let (mut parts, mut rest) = (Vec::new(), amount_minor);
        for capture in self.captures(tender).iter().rev() {
            let amount = capture.left().min(rest);
            if amount > 0 {
                parts.push(RefundPart::new(tender, kind, &capture.reference, amount, now));
                rest -= amount;
            }
        }
        debug_assert_eq!(rest, 0, "no more is asked back by {tender} than came in");
        parts
    }
}

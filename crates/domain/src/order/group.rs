//! Groups: what the customer asked for together. A line may be split over groups.

use std::collections::BTreeMap;

use super::{DraftLine, Flaw, Order, Span};
use crate::fulfillment::method::Method;
use crate::id::{LineNo, NodeId};
use crate::time::Timestamp;

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number in the order, from 1.
    pub no: u32,
    /// How the goods reach the customer.
    pub method: Method,
    /// The node that was asked for; none: the platform chooses.
    pub node: Option<NodeId>,
    /// When it is wanted; none: as early as possible.
    pub wanted: Option<Span>,
    /// Its promise is never moved beyond this.
    pub not_later_than: Option<Timestamp>,
    /// Pieces per line, by number.
    pub lines: Vec<(LineNo, i64)>,
    /// Consent, recipient, packaging and address, as they were sent: nothing here depends on them.
    pub wishes: Vec<u8>,
}

/// Pieces per line of groups, by number of the group.
pub type Parts = Vec<(u32, Vec<(LineNo, i64)>)>;

/// What is wrong with the lines of groups. Together they have each line's quantity.
pub fn flaws(lines: &[DraftLine], groups: &[Group]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut rest: BTreeMap<LineNo, i64> = lines.iter().map(|line| (line.no, line.amounts.quantity)).collect();
    for (i, group) in groups.iter().enumerate() {
        for (j, (no, quantity)) in group.lines.iter().enumerate() {
            match rest.get_mut(no) {
                Some(rest) => *rest = rest.saturating_sub(*quantity),
                None => flaws
                    .push(Flaw::new(format!("groups[{i}].lines[{j}].line"), "is not a line of the order")),
            }
        }
    }
    for (no, rest) in rest {
        let text = match rest {
            0 => continue,
            1.. => format!("have {rest} too few of line {no}: together they must have its quantity"),
            _ => format!("have {} too many of line {no}: together they must have its quantity", -rest),
        };
        flaws.push(Flaw::new("groups", &text));
    }
    flaws
}

impl Order {
    /// The open pieces by the group that they are missing in, for stock to be held for them again.
    pub fn open_parts(&self) -> Parts {
        let mut open: BTreeMap<LineNo, i64> =
            self.lines.iter().map(|line| (line.no, line.own.open)).collect();
        let mut held: BTreeMap<(u32, LineNo), i64> = BTreeMap::new();
        // A leg that serves a need has pieces that its first leg counts already.
        for leg in self.legs.iter().filter(|leg| leg.is_live() && leg.need.is_none()) {
            for line in &leg.lines {
                *held.entry((leg.group, line.line)).or_default() += line.units.quantity;
            }
        }
        let mut parts = Parts::new();
        for group in &self.groups {
            let mut missing = Vec::new();
            for (no, quantity) in &group.lines {
                let has = held.get(&(group.no, *no)).copied().unwrap_or_default();
                let Some(open) = open.get_mut(no) else { continue };
                let part = (quantity - has).min(*open);
                if part > 0 {
                    *open -= part;
                    missing.push((*no, part));
                }
            }
            if !missing.is_empty() {
                parts.push((group.no, missing));
            }
        }
        parts
    }

    /// The group of this number.
    pub fn group(&self, no: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.no == no)
    }
}

//! Spreading a cancel over legs.

use std::cmp::Reverse;

use super::leg::{Leg, LegLine};
use crate::id::{FulfillmentId, LineNo};

/// Pieces per line of some legs.
pub type LegParts = Vec<(FulfillmentId, Vec<(LineNo, i64)>)>;

/// Spreads a cancel over live legs: least progress first, then the latest promise, then the id. Per line the parts sum to
/// what was asked, as far as the legs have it, and no leg is asked for more than it has left.
pub fn spread(asked: &[(LineNo, i64)], legs: &[&Leg]) -> LegParts {
    let mut legs: Vec<&Leg> = legs.iter().copied().filter(|leg| leg.is_live()).collect();
    legs.sort_by_cached_key(|leg| (leg.progress(), Reverse(leg.window.start), leg.id));
    let mut rest = asked.to_vec();
    let mut parts = LegParts::new();
    for leg in legs {
        let mut lines = Vec::new();
        for (no, rest) in rest.iter_mut().filter(|(_, rest)| *rest > 0) {
            let part = leg.line(*no).map_or(0, LegLine::left).min(*rest);
            if part > 0 {
                *rest -= part;
                lines.push((*no, part));
            }
        }
        if !lines.is_empty() {
            parts.push((leg.id, lines));
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id;
    use crate::order::leg::LegUnits;
    use crate::order::testing::{at, leg};

    fn legs(of: &[(i64, i64, [i64; 3], bool)]) -> Vec<Leg> {
        let leg_of = |(n, (start, requested, [to_pick, picked, ready], accepted)): (
            usize,
            &(i64, i64, [i64; 3], bool),
        )| {
            let mut leg = leg(&format!("leg {n}"), 1, &[(1, 0)]);
            leg.id = FulfillmentId::new(id::derived("spread", &n.to_string()));
            leg.window.start = at(*start);
            leg.is_accepted = *accepted;
            let quantity = to_pick + picked + ready;
            let units = LegUnits {
                quantity,
                to_pick: *to_pick,
                picked: *picked,
                ready: *ready,
                ..LegUnits::default()
            };
            leg.lines[0].units = units;
            leg.lines[0].cancel_requested = (*requested).min(quantity);
            leg
        };
        of.iter().enumerate().map(leg_of).collect()
    }

    proptest! {
        #[test]
        fn a_cancel_is_spread_over_what_the_legs_have_left(
            of in prop::collection::vec((0_i64..3, 0_i64..4, prop::array::uniform3(0_i64..4), any::<bool>()), 0..6),
            asked in 0_i64..20,
            turn in 0_usize..6,
        ) {
            let legs = legs(&of);
            let mut refs: Vec<&Leg> = legs.iter().collect();
            let parts = spread(&[(1, asked)], &refs);
            let left: i64 = legs.iter().map(|leg| leg.lines[0].left()).sum();
            let sum: i64 = parts.iter().flat_map(|(_, lines)| lines).map(|(_, pieces)| pieces).sum();
            prop_assert_eq!(sum, asked.min(left));
            for (id, lines) in &parts {
                let leg = legs.iter().find(|leg| leg.id == *id).unwrap();
                prop_assert_eq!(lines.len(), 1);
                prop_assert!((1..=leg.lines[0].left()).contains(&lines[0].1));
            }
            // A leg is only asked once all that are less far or promised later are asked for all that they have.
            for pair in parts.windows(2) {
                let [first, second] = [&pair[0], &pair[1]].map(|(id, _)| legs.iter().find(|leg| leg.id == *id).unwrap());
                let key = |leg: &Leg| (leg.progress(), Reverse(leg.window.start), leg.id);
                prop_assert!(key(first) < key(second));
                prop_assert_eq!(pair[0].1[0].1, first.lines[0].left());
            }
            let by = turn.min(refs.len());
            refs.rotate_left(by);
            prop_assert_eq!(spread(&[(1, asked)], &refs), parts);
        }
    }
}

//! Who loses when fewer goods are at a position than were claimed: a late sale, a count, a shelf that was empty.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;

use super::reservation::{Reservation, State};
use crate::id::ReservationId;

/// What kind of claim it is, in the order in which claims are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// It has lost units already: the rest of it comes free in any case.
    Broken,
    /// No order has it.
    Cart,
    /// An order has it, and nobody has begun to pick.
    Unstarted,
    /// The goods may be in somebody's hands: it is never given up.
    Started,
}

/// A claim on a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// What kind of claim it is.
    pub class: Class,
    /// Tier of the customer.
    pub tier: i32,
    /// When the goods are promised.
    pub promised: Option<Timestamp>,
    /// When it was taken.
    pub since: Timestamp,
    /// Which.
    pub id: ReservationId,
    /// Pieces that it holds of the position.
    pub pieces: i64,
    /// Pieces that make one unit of its line: more than 1 in a kit.
    pub per_unit: i64,
}

impl Candidate {
    /// The claim of one line of a reservation.
    pub fn of(reservation: &Reservation, line: usize) -> Self {
        let held = &reservation.lines[line];
        Self {
            class: Class::of(reservation),
            tier: reservation.tier,
            promised: reservation.promised,
            since: reservation.created_at,
            id: reservation.id,
            pieces: held.held,
            per_unit: held.per_unit,
        }
    }

    /// The one that comes first is given up first. Of carts the newest; of orders the lowest tier, then the latest promise
    /// (none at all is the latest).
    fn order(&self, other: &Self) -> Ordering {
        let by_class = self.class.cmp(&other.class);
        by_class.then_with(|| match self.class {
            Class::Broken | Class::Cart => {
                (Reverse(self.since), self.id).cmp(&(Reverse(other.since), other.id))
            }
            Class::Unstarted | Class::Started => {
                let rank = |of: &Self| (of.tier, Reverse(of.promised.unwrap_or(Timestamp::MAX)), of.id);
                rank(self).cmp(&rank(other))
            }
        })
    }
}

impl Class {
    /// The class of a reservation.
    pub fn of(reservation: &Reservation) -> Self {
        match reservation.state {
            _ if reservation.is_started || reservation.lines.iter().any(|line| line.consumed > 0) => {
                Self::Started
            }
            State::Held { .. } if reservation.is_broken() => Self::Broken,
            State::Held { .. } if reservation.order.is_none() => Self::Cart,
            State::Held { .. } | State::Confirmed | State::Consumed | State::Released | State::Expired => {
                Self::Unstarted
            }
        }
    }
}

/// The claims that give up pieces until `missing` of them are free, as (index, pieces), the first to lose first: whole
/// units of their lines, and no claim more than the missing pieces need. Less than `missing` in all: no more can be given up.
pub fn choose(claims: &[Candidate], missing: i64) -> Vec<(usize, i64)> {
    let mut order: Vec<usize> = (0..claims.len()).filter(|index| may_lose(&claims[*index])).collect();
    order.sort_by(|a, b| claims[*a].order(&claims[*b]).then(a.cmp(b)));
    let mut left = missing;
    let mut chosen = Vec::new();
    for index in order {
        if left <= 0 {
            break;
        }
        let Candidate { pieces, per_unit, .. } = claims[index];
        let per_unit = per_unit.max(1);
        let units = left / per_unit + i64::from(left % per_unit > 0);
        let given_up = units.saturating_mul(per_unit).min(pieces);
        left -= given_up;
        chosen.push((index, given_up));
    }
    chosen
}

fn may_lose(claim: &Candidate) -> bool {
    claim.class != Class::Started && claim.pieces > 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::Uuid;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claim(class: Class, tier: i32, promised: i64, since: i64, id: u128) -> Candidate {
        let promised = (promised > 0).then(|| at(promised));
        let id = ReservationId::new(Uuid::from_u128(id));
        Candidate { class, tier, promised, since: at(since), id, pieces: 1, per_unit: 1 }
    }

    #[test]
    fn carts_lose_before_orders_and_picked_goods_never() {
        let claims = [
            claim(Class::Started, 0, 900, 900, 1),
            claim(Class::Unstarted, 1, 800, 10, 2),
            claim(Class::Unstarted, 0, 100, 20, 3),
            claim(Class::Unstarted, 0, 800, 30, 5),
            claim(Class::Unstarted, 0, 800, 30, 4),
            claim(Class::Unstarted, 0, 0, 30, 6),
            claim(Class::Cart, 0, 100, 40, 7),
            claim(Class::Cart, 9, 100, 50, 8),
            claim(Class::Broken, 0, 100, 1, 9),
        ];
        let lost = |missing| choose(&claims, missing).iter().map(|(index, _)| *index).collect::<Vec<_>>();
        assert_eq!(lost(i64::MAX), [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(lost(3), [8, 7, 6]);
        assert!(lost(0).is_empty());
    }

    #[test]
    fn kits_lose_whole() {
        let kit = Candidate { pieces: 6, per_unit: 3, ..claim(Class::Cart, 0, 0, 9, 1) };
        let plain = Candidate { pieces: 5, ..claim(Class::Cart, 0, 0, 5, 2) };
        assert_eq!(choose(&[kit, plain], 1), [(0, 3)]);
        assert_eq!(choose(&[kit, plain], 4), [(0, 6)]);
        assert_eq!(choose(&[kit, plain], 8), [(0, 6), (1, 2)]);
    }

    fn any_claim() -> impl Strategy<Value = Candidate> {
        let class = prop::sample::select(vec![Class::Broken, Class::Cart, Class::Unstarted, Class::Started]);
        let numbers = (0..3_i32, 0..4_i64, 0..4_i64, 0..1_000_u128);
        (class, numbers, 0..5_i64, 1..4_i64).prop_map(
            |(class, (tier, promised, since, id), units, per_unit)| Candidate {
                pieces: units * per_unit,
                per_unit,
                ..claim(class, tier, promised, since, id)
            },
        )
    }

    proptest! {
        #[test]
        fn no_more_than_needed_is_given_up_and_the_order_is_kept(
            claims in prop::collection::vec(any_claim(), 0..20),
            missing in 0..40_i64,
        ) {
            let chosen = choose(&claims, missing);
            let sum: i64 = chosen.iter().map(|(_, pieces)| pieces).sum();
            let free = |claim: &&Candidate| claim.class != Class::Started;
            let most: i64 = claims.iter().filter(free).map(|claim| claim.pieces).sum();
            prop_assert!(sum >= missing.min(most));
            for (index, pieces) in &chosen {
                let claim = &claims[*index];
                prop_assert!(claim.class != Class::Started);
                prop_assert!(*pieces > 0 && *pieces <= claim.pieces && pieces % claim.per_unit == 0);
            }
            if let Some((last, _)) = chosen.last() {
                prop_assert!(sum - claims[*last].per_unit < missing, "one unit less would do");
            }
            // who keeps something comes after all who lost something
            let lost = |index: usize| chosen.iter().find(|(of, _)| *of == index).map_or(0, |(_, pieces)| *pieces);
            for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.class != Class::Started) {
                if lost(index) < claim.pieces {
                    let after = |(of, _): &(usize, i64)| {
                        *of == index || claims[*of].order(claim).then(of.cmp(&index)) == Ordering::Less
                    };
                    prop_assert!(chosen.iter().all(after));
                }
            }
        }

        #[test]
        fn who_loses_does_not_depend_on_the_order_in_which_claims_are_found(
            claims in prop::collection::vec(any_claim(), 0..12).prop_shuffle(),
            missing in 0..20_i64,
        ) {
            let mut numbered = claims;
            for (number, claim) in (1..).zip(&mut numbered) {
                claim.id = ReservationId::new(Uuid::from_u128(number));
            }
            let names = |claims: &[Candidate]| {
                let chosen = choose(claims, missing);
                let mut named: Vec<_> = chosen.iter().map(|(at, pieces)| (claims[*at].id, *pieces)).collect();
                named.sort_unstable();
                named
            };
            let mut reversed = numbered.clone();
            reversed.reverse();
            prop_assert_eq!(names(&numbered), names(&reversed));
        }
    }
}

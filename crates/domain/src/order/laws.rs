//! The laws, after any commands in any order.

use proptest::prelude::*;

use super::testing::{POLICY, again, assert_laws, at, capture, order, report, serving};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Pay(usize, TenderState, bool),
    Cancel(Vec<(u32, i64)>),
    Lapse,
    Expire,
    LoseHold,
    Confirm,
    Work(bool, Vec<[i64; 5]>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_usize..3, prop::sample::select(TenderState::ALL.to_vec()), any::<bool>())
            .prop_map(|(t, s, h)| Step::Pay(t, s, h)),
        prop::collection::vec((0_u32..5, -1_i64..6), 0..4).prop_map(Step::Cancel),
        Just(Step::Lapse),
        Just(Step::Expire),
        Just(Step::LoseHold),
        Just(Step::Confirm),
        (any::<bool>(), prop::collection::vec(prop::array::uniform5(0_i64..4), 4))
            .prop_map(|(a, w)| Step::Work(a, w)),
    ]
}

fn run(order: &Order, step: &Step, now: Timestamp) -> Result<Changed, Refusal> {
    let order_ = order.clone();
    match step {
        Step::Pay(at, state, holds) => {
            let index = at % order.ledger.tenders.len();
            let payment = Payment { state: *state, ..capture(order, index) };
            let hold = match (order.needs_hold(&payment), holds) {
                (false, _) => Hold::NotAsked,
                (true, true) => Hold::Held(again(order, &format!("again {}", order.legs.len()))),
                (true, false) => Hold::Refused { reason: "NO_STOCK".to_owned() },
            };
            order_.pay(&payment, hold, now)
        }
        Step::Cancel(lines) => order_.cancel(lines, "TEST", now).map(|(changed, _)| changed),
        Step::Lapse => order_.lapse(at(900)),
        Step::Expire => order_.expire(&POLICY, at(1200)),
        Step::LoseHold => order_.lose_hold(&[serving(order)], now),
        Step::Confirm => order_.confirm(serving(order), now),
        // A node only works on what was released, and never takes back what it reported as done, short or cancelled.
        Step::Work(..) if !order.is_released() => Err(Refusal::NotDue),
        Step::Work(accepted, parts) => {
            let report = report(order, *accepted, |line, s| {
                let [picked, ready, done, short, cancelled] = parts[line as usize - 1];
                let known = order.legs.last().unwrap().line(line).unwrap().units;
                s.done = known.done;
                s.cancelled = known.cancelled + known.short;
                let mut left = s.quantity - s.done - s.cancelled;
                let mut take = |wanted: i64| {
                    let taken = wanted.min(left);
                    left -= taken;
                    taken
                };
                (s.picked, s.ready, s.short) = (take(picked), take(ready), take(short));
                s.done += take(done);
                s.cancelled += take(cancelled);
                s.to_pick = left;
            });
            order_.follow(&report, now)
        }
    }
}

proptest! {
    #[test]
    fn the_laws_hold_after_any_commands(
        lines in prop::collection::vec((1_i64..6, 0_i64..1000), 1..4),
        charge in 0_i64..100,
        states in prop::collection::vec(prop::sample::select(vec![TenderState::Due, TenderState::Authorized, TenderState::Captured]), 1..3),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let total: i64 = lines.iter().map(|(q, p)| q * p).sum::<i64>() + charge;
        prop_assume!(total >= 2);
        let mut order = order(&lines, charge, &states);
        assert_laws(&order);
        for (second, step) in (1..).zip(&steps) {
            let Ok(changed) = run(&order, step, at(second)) else { continue };
            assert_laws(&changed.order);
            // Whatever was paid for pieces that nobody gets was asked back in the same transition.
            prop_assert!(changed.order.ledger.net() <= changed.order.live_minor());
            prop_assert_eq!(changed.order.version, order.version + i64::try_from(changed.events.len()).unwrap());
            order = changed.order;
        }
    }
}

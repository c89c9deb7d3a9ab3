//! Random walks of every method: whatever is reported, cancelled or let run out, in any order, the laws hold, and time alone
//! brings everything to an end. A walk is made of its number, so that one that fails can be walked again.

use std::collections::BTreeSet;

use super::event::CancelRequest;
use super::stage::{Name, Reporter};
use super::testing::{at, bring, keeps_the_laws, never_kept_again, offer, planned, shop};
use super::{Event, Method, MovedLine, Order, Refusal, RejectReason, Report, ShortReason, Step, Units};

/// Walks of each method.
const WALKS: u64 = 10_000;

/// Steps of one walk.
const STEPS: usize = 30;

/// Numbers that look random, from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn units(&mut self) -> i64 {
        match self.throw(12) {
            0 => -1,
            1 => i64::MAX,
            other => i64::try_from(other % 4).unwrap(),
        }
    }

    fn line(&mut self) -> u32 {
        1 + u32::try_from(self.throw(4)).unwrap()
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.throw(choices.len() as u64)).unwrap()]
    }

    /// Mostly the stage that comes next for some of the units.
    fn stage(&mut self, order: &Order) -> Name {
        if self.throw(5) == 0 {
            return self.of(&Name::ALL);
        }
        let stands = order.standing().map(|stage| stage.name).collect::<Vec<_>>();
        let Some(from) = stands.get(usize::try_from(self.throw(2)).unwrap()).or(stands.first()) else {
            return Name::Accepted;
        };
        let mut stages = order.method.rules().stages.iter();
        stages.find(|stage| stage.name > *from).map_or(Name::Done, |stage| stage.name)
    }
}

/// One step, taken or refused; none: nothing was due.
fn step(order: &mut Order, dice: &mut Dice, seconds: i64) -> Result<Option<Event>, Refusal> {
    let now = at(seconds);
    match dice.throw(44) {
        0..3 => offer(order, now),
        3 => order.reject(RejectReason::TooBusy, now),
        4..14 => {
            let to = dice.stage(order);
            let short = (to == Name::Picked && dice.throw(3) == 0 || dice.throw(20) == 0)
                .then(|| (dice.units(), ShortReason::NotFound));
            let line = MovedLine { line: dice.line(), quantity: dice.units(), short };
            bring(order, to, Some(&[line]), now)
        }
        14..25 => {
            let to = dice.stage(order);
            bring(order, to, None, now)
        }
        25 => {
            let result = order.advance(dice.stage(order), Report::all(Reporter::Platform), now);
            assert!(result.is_err(), "the platform reports nothing but the offer");
            result
        }
        26 => {
            let line = MovedLine::of(dice.line(), dice.units());
            order.bring_back(Report::some(Reporter::Courier, &[line]), now)
        }
        27..30 => {
            let lines = [Units { line: dice.line(), quantity: dice.units() }];
            Ok(order.cancel(CancelRequest { number: 1, lines: &lines, reason: "CUSTOMER" }, now))
        }
        30 => order.stock_lost("SKU-0", None, now),
        41..43 => {
            let lines = [Units { line: dice.line(), quantity: dice.units() }];
            order.let_go(&lines, now)
        }
        40 => {
            let lines = [Units { line: dice.line(), quantity: dice.units() }];
            order.stock_lost("SKU-0", Some(&lines), now)
        }
        31..33 => order.expire(dice.of(&Step::ALL), now),
        33 => order.code_issued(now),
        34 => order.confirm_put_back(now),
        _ => return order.tick(now),
    }
    .map(Some)
}

/// Walks, and answers the states that it came through.
fn walk(method: Method, number: u64) -> BTreeSet<super::State> {
    let mut dice = Dice(number);
    let quantities: Vec<i64> = (0..=dice.throw(3)).map(|_| 1 + dice.units().rem_euclid(3)).collect();
    let mut order = planned(method, &quantities);
    order.site = (dice.throw(2) == 0).then(shop);
    let (mut seconds, mut seen) = (0, BTreeSet::new());
    for _ in 0..STEPS {
        // Mostly a minute, sometimes long enough for any clock to end.
        seconds += if dice.throw(12) == 0 { 200_000 } else { 60 };
        let before = order.clone();
        match step(&mut order, &mut dice, seconds) {
            Ok(Some(event)) => {
                assert_eq!(order.version, before.version + 1, "walk {number} of {method}: {event:?}");
                if let Some(notice) = order.notice_after(&event) {
                    order.notify(notice, at(seconds));
                }
            }
            Ok(None) | Err(_) => {
                assert_eq!(order, before, "walk {number} of {method}: a refusal changes nothing");
            }
        }
        keeps_the_laws(&order);
        never_kept_again(&before, &order);
        if before.state().is_over() {
            assert_eq!(before.state(), order.state(), "walk {number} of {method}: an end is an end");
        }
        seen.insert(order.state());
    }
    for _ in 0..40 {
        let Some((due, _)) = order.next_due() else { break };
        order.tick(due).unwrap().expect("what is due happens");
        keeps_the_laws(&order);
    }
    assert!(order.next_due().is_none(), "walk {number} of {method}");
    assert!(order.marks.reached.is_none() || order.state().is_over() && !order.is_work());
    seen
}

#[test]
fn any_walk_of_any_method_keeps_the_laws_and_comes_to_an_end() {
    for method in Method::ALL {
        let seen: BTreeSet<_> = (0..WALKS).flat_map(|number| walk(*method, number)).collect();
        // They would prove nothing if they never came far.
        for stage in method.rules().stages {
            assert!(seen.contains(&stage.state), "{method} never came to {}", stage.state);
        }
    }
}

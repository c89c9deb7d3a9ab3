//! The laws of stock, under random commands and in every state.

use jiff::Timestamp;
use proptest::prelude::*;

use super::feed::{Marks, Stale};
use super::kit::{Kit, Malformed, Part};
use super::movement::{Entry, KINDS, Kind};
use super::pool::Room;
use super::reservation::{Line, Reservation, Shift, State, Step, Target, Want};
use super::safety::SafetyStock;
use super::{Claim, Key, Position, Refusal, Shortage, shortages};
use crate::id::{NodeId, OrderId, ReservationId, Sku, Uuid};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

fn at_store(sku_code: &str) -> Key {
    Key { node: NodeId::new("store-1").unwrap(), sku: sku(sku_code) }
}

fn id(n: u128) -> ReservationId {
    ReservationId::new(Uuid::from_u128(n))
}

fn order(n: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(n))
}

fn held(quantities: &[i64], until: i64) -> Reservation {
    let lines = (1..).zip(quantities).map(|(n, q)| Line::plain(n, at_store(&format!("s{n}")), *q)).collect();
    Reservation::hold(id(1), lines, at(until), at(0)).unwrap()
}

/// A position without pools.
fn room(atp: i64) -> Room {
    Room { atp, pools: Vec::new() }
}

fn own(units: i64) -> SafetyStock {
    SafetyStock { own: Some(units), ..SafetyStock::default() }
}

/// The one line of such a reservation, with units that left and units that were released.
fn target(consumed: i64, released: i64) -> Target {
    Target { line: 1, quantity: 2, consumed, released }
}

/// One reservation of two units in each state.
fn in_state(state: &str) -> Reservation {
    let mut reservation = held(&[2], 100);
    match state {
        "HELD" => {}
        "CONFIRMED" => drop(reservation.confirm(order(1), &[]).unwrap()),
        "CONSUMED" => drop(reservation.settle(order(1), &[target(2, 0)]).unwrap()),
        "RELEASED" => drop(reservation.release()),
        "EXPIRED" => drop(reservation.expire(at(100))),
        other => panic!("no state {other}"),
    }
    assert_eq!(reservation.state.name(), state);
    reservation
}

/// What became of a command, in one word.
fn word(outcome: &Result<Step, Refusal>) -> &'static str {
    match outcome {
        Ok(Step::Unchanged) => "same",
        Ok(Step::Changed(_)) => "done",
        Err(Refusal::Ended { .. }) => "ended",
        Err(Refusal::Lost { .. }) => "lost",
        Err(Refusal::OtherOrder { .. }) => "other",
        Err(Refusal::Confirmed { .. }) => "kept",
        Err(Refusal::TooMany { .. }) => "many",
        Err(Refusal::Backwards { .. }) => "back",
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn every_command_in_every_state_has_its_answer() {
    type Command = (&'static str, fn(&mut Reservation) -> Result<Step, Refusal>);
    let commands: [Command; 10] = [
        ("confirm", |r| r.confirm(order(1), &[])),
        ("confirm for another order", |r| r.confirm(order(2), &[])),
        ("rehold", |r| r.rehold(order(1), &[])),
        ("extend", |r| r.extend(at(200))),
        ("extend to earlier", |r| r.extend(at(50))),
        ("let go", Reservation::let_go),
        ("release", |r| Ok(r.release())),
        ("expire when due", |r| Ok(r.expire(at(100)))),
        ("expire too early", |r| Ok(r.expire(at(99)))),
        ("settle", |r| r.settle(order(1), &[target(1, 1)])),
    ];
    let table = [
        ("HELD", ["done", "done", "ended", "done", "same", "done", "done", "done", "same", "done"]),
        ("CONFIRMED", ["same", "other", "ended", "same", "same", "kept", "done", "same", "same", "done"]),
        ("CONSUMED", ["done", "done", "ended", "ended", "ended", "same", "same", "same", "same", "back"]),
        ("RELEASED", ["ended", "ended", "ended", "ended", "ended", "same", "same", "same", "same", "done"]),
        ("EXPIRED", ["lost", "lost", "done", "lost", "lost", "done", "done", "same", "same", "done"]),
    ];
    for (state, answers) in table {
        for ((name, command), answer) in commands.iter().zip(answers) {
            let mut reservation = in_state(state);
            let before = reservation.clone();
            let outcome = command(&mut reservation);
            assert_eq!(word(&outcome), answer, "{name} when {state}");
            reservation.check().unwrap();
            match outcome {
                Ok(Step::Changed(_)) => {
                    assert_eq!(reservation.version, before.version + 1, "{name} when {state}");
                }
                Ok(Step::Unchanged) | Err(_) => {
                    assert_eq!(reservation, before, "{name} when {state}");
                }
            }
        }
    }
}

#[test]
fn a_tombstone_refuses_what_comes_after_it() {
    let mut tombstone = Reservation::tombstone(id(1), at(0));
    tombstone.check().unwrap();
    assert_eq!(tombstone.release(), Step::Unchanged);
    assert!(matches!(tombstone.confirm(order(1), &[]), Err(Refusal::Ended { .. })));
    assert!(tombstone.lost(&[]).is_err());
}

#[test]
fn a_release_after_the_expiry_keeps_the_claims_from_coming_back() {
    let mut reservation = in_state("EXPIRED");
    assert_eq!(reservation.release(), Step::Changed(Vec::new()));
    assert!(matches!(reservation.confirm(order(1), &[]), Err(Refusal::Ended { .. })));
}

#[test]
fn work_that_ends_after_the_expiry_keeps_the_claims_from_coming_back() {
    let mut reservation = in_state("EXPIRED");
    assert_eq!(reservation.settle(order(1), &[target(0, 1)]), Ok(Step::Unchanged), "one is still wanted");
    assert_eq!(reservation.settle(order(1), &[target(0, 2)]), Ok(Step::Changed(Vec::new())));
    assert_eq!((reservation.state, reservation.check()), (State::Released, Ok(())));
    assert_eq!(reservation.settle(order(1), &[target(0, 2)]), Ok(Step::Unchanged));
    assert_eq!(reservation.confirm(order(1), &[]), Ok(Step::Unchanged));
    assert!(matches!(reservation.confirm(order(2), &[]), Err(Refusal::Ended { .. })));
    assert!(reservation.lost(&[]).is_err());
}

#[test]
fn settling_twice_changes_nothing_the_second_time() {
    let mut reservation = held(&[5, 3], 100);
    let targets = [
        Target { line: 1, quantity: 5, consumed: 2, released: 1 },
        Target { line: 2, quantity: 3, consumed: 0, released: 3 },
    ];
    let Step::Changed(shifts) = reservation.settle(order(1), &targets).unwrap() else {
        panic!("nothing changed")
    };
    let expected = [
        Shift { line: 0, kind: Kind::Consume, on_hand: -2, reserved: -2 },
        Shift { line: 0, kind: Kind::Release, on_hand: 0, reserved: -1 },
        Shift { line: 1, kind: Kind::Release, on_hand: 0, reserved: -3 },
    ];
    assert_eq!(shifts, expected);
    assert_eq!(reservation.settle(order(1), &targets).unwrap(), Step::Unchanged);
    assert_eq!(reservation.held(), 2);
}

#[test]
fn work_that_is_ahead_of_the_word_of_its_order_loses_nothing() {
    let settle = |reservation: &mut Reservation, consumed, released| {
        reservation.settle(order(1), &[Target { line: 1, quantity: 3, consumed, released }]).unwrap()
    };
    let wants = [Want { line: 1, units: 3 }];
    // 5 are claimed, 3 wanted; one was handed over and one not found
    let mut reservation = held(&[5], 100);
    settle(&mut reservation, 1, 1);
    assert_eq!(reservation.confirm(order(1), &wants), Ok(Step::Changed(Vec::new())));
    assert_eq!((reservation.state, reservation.held()), (State::Confirmed, 1));
    // all three are gone, the rest was never wanted
    let mut reservation = held(&[5], 100);
    settle(&mut reservation, 3, 0);
    assert_eq!(reservation.confirm(order(1), &wants), Ok(Step::Changed(Vec::new())));
    assert_eq!((reservation.state, reservation.held()), (State::Consumed, 0));
    // the same, with a line that the order never wanted
    let mut reservation = held(&[3, 2], 100);
    settle(&mut reservation, 3, 0);
    reservation.confirm(order(1), &wants).unwrap();
    assert_eq!((reservation.state, reservation.check()), (State::Consumed, Ok(())));
    // nothing is wanted any more
    let mut reservation = held(&[3], 100);
    settle(&mut reservation, 0, 3);
    assert_eq!(reservation.state, State::Released);
    assert_eq!(reservation.confirm(order(1), &wants), Ok(Step::Unchanged));
    assert!(matches!(reservation.confirm(order(2), &wants), Err(Refusal::Ended { .. })));
}

#[test]
fn goods_that_left_leave_the_stock_even_when_the_claim_was_gone() {
    let mut reservation = in_state("EXPIRED");
    let outcome =
        reservation.settle(order(1), &[Target { line: 1, quantity: 2, consumed: 2, released: 0 }]).unwrap();
    let shift = Shift { line: 0, kind: Kind::Consume, on_hand: -2, reserved: 0 };
    assert_eq!(outcome, Step::Changed(vec![shift]));
    assert_eq!(reservation.state, State::Consumed);
}

#[test]
fn an_order_gives_back_what_it_does_not_want() {
    let mut reservation = held(&[5, 3], 100);
    let Step::Changed(shifts) = reservation.confirm(order(1), &[Want { line: 1, units: 3 }]).unwrap() else {
        panic!("nothing changed")
    };
    assert_eq!(shifts.iter().map(|shift| shift.reserved).collect::<Vec<_>>(), [-2, -3]);
    let done = [Target { line: 1, quantity: 3, consumed: 2, released: 1 }];
    let Step::Changed(shifts) = reservation.settle(order(1), &done).unwrap() else {
        panic!("nothing changed")
    };
    assert_eq!(shifts.iter().map(|shift| shift.reserved).collect::<Vec<_>>(), [-2, -1]);
    assert_eq!(reservation.state, State::Consumed);

    let mut expired = in_state("EXPIRED");
    let wants = [Want { line: 1, units: 1 }];
    assert_eq!(expired.lost(&wants).unwrap()[0].reserved, 1);
    expired.rehold(order(1), &wants).unwrap();
    assert_eq!((expired.held(), expired.lines[0].released), (1, 1));

    let too_many = [Want { line: 1, units: 3 }];
    assert!(matches!(in_state("HELD").confirm(order(1), &too_many), Err(Refusal::TooMany { left: 2, .. })));
}

#[test]
fn the_parts_of_a_kit_are_consumed_by_whole_kits() {
    let part = |name: &str, per_unit| Line::part(1, at_store(name), sku("kit"), per_unit, 3).unwrap();
    let mut reservation = Reservation::hold(id(1), vec![part("a", 1), part("b", 4)], at(9), at(0)).unwrap();
    let two_kits = [Target { line: 1, quantity: 3, consumed: 2, released: 0 }];
    let Step::Changed(shifts) = reservation.settle(order(1), &two_kits).unwrap() else {
        panic!("nothing changed")
    };
    assert_eq!(shifts.iter().map(|shift| shift.on_hand).collect::<Vec<_>>(), [-2, -8]);
    let unknown = [Target { line: 2, quantity: 1, consumed: 1, released: 0 }];
    assert!(matches!(reservation.settle(order(1), &unknown), Err(Refusal::UnknownLine { line: 2, .. })));
}

#[test]
fn a_basket_is_summed_before_it_is_compared() {
    let claim = |position, quantity| Claim { position, quantity, channel: None };
    let stock = [10, 1];
    let decide = |claims: &[Claim<'static>]| shortages(claims, |position| room(stock[position]));
    assert_eq!(decide(&[claim(0, 10)]), []);
    assert_eq!(decide(&[claim(0, 6), claim(1, 1), claim(0, 4)]), []);
    assert_eq!(
        decide(&[claim(0, 6), claim(0, 5)]),
        [Shortage { position: 0, channel: None, wanted: 11, available: 10 }]
    );
    assert_eq!(decide(&[claim(0, i64::MAX), claim(0, i64::MAX)])[0].wanted, i64::MAX);
    assert_eq!(decide(&[claim(1, 2), claim(0, 11)]).len(), 2);
}

#[test]
fn a_position_waits_for_a_count_after_nothing_was_found() {
    let mut position = Position { on_hand: 5, reserved: 1, safety: own(1), ..Position::default() };
    assert_eq!(position.atp(), 3);
    position.post(Kind::CountBlock, 0).unwrap();
    assert_eq!(position.atp(), 0);
    position.post(Kind::Count, 4).unwrap();
    assert_eq!(position.atp(), 2);
}

#[test]
fn a_late_sale_may_take_what_is_claimed_and_is_reported() {
    let mut position = Position { on_hand: 2, reserved: 2, ..Position::default() };
    position.post(Kind::Sale, -3).unwrap();
    assert_eq!((position.on_hand, position.atp(), position.overclaim()), (-1, 0, 3));
}

#[test]
fn staff_can_take_only_what_is_there() {
    let mut position = Position { on_hand: 2, quarantine: 1, ..Position::default() };
    for (kind, quantity) in
        [(Kind::WriteOff, 3), (Kind::Adjustment, -3), (Kind::Quarantine, 3), (Kind::ReleaseQuarantine, 2)]
    {
        assert!(matches!(position.post(kind, quantity), Err(Refusal::TooFew { .. })), "{kind:?}");
    }
    position.post(Kind::Quarantine, 2).unwrap();
    position.post(Kind::ReleaseQuarantine, 3).unwrap();
    assert_eq!((position.on_hand, position.quarantine), (3, 0));
}

#[test]
fn absurd_quantities_are_refused_by_every_kind() {
    for (kind, _) in KINDS {
        for quantity in [i64::MIN, i64::MAX, super::MAX_UNITS + 1] {
            let mut position = Position::default();
            assert!(position.post(kind, quantity).is_err(), "{kind:?} {quantity}");
            assert_eq!(position, Position::default());
        }
    }
}

#[test]
fn a_stale_feed_is_refused() {
    let mut marks = Marks::default();
    marks.delta(at(5)).unwrap();
    assert_eq!(marks.snapshot(at(4)), Err(Stale { source_time: at(4), applied: at(5) }));
    marks.snapshot(at(6)).unwrap();
    assert!(marks.snapshot(at(6)).is_err());
    assert!(marks.delta(at(6)).is_err());
    marks.delta(at(9)).unwrap();
    marks.delta(at(7)).unwrap();
    assert!(marks.snapshot(at(8)).is_err());
    assert_eq!(marks, Marks { snapshot: Some(at(6)), delta: Some(at(9)) });
}

#[test]
fn a_kit_is_available_as_the_minimum_of_its_parts() {
    let part = |name: &str, per_kit| Part { sku: sku(name), per_kit };
    let kit = Kit::new(&sku("kit"), vec![part("a", 1), part("b", 4)]).unwrap();
    assert_eq!(kit.available(|s| if s.as_str() == "a" { 5 } else { 11 }), 2);
    assert_eq!(kit.available(|s| if s.as_str() == "a" { -1 } else { 11 }), 0);
    let pieces: Vec<i64> = kit.explode(3).unwrap().iter().map(|(_, pieces)| *pieces).collect();
    assert_eq!(pieces, [3, 12]);
    assert_eq!(kit.explode(i64::MAX), None);
    assert_eq!(Kit::new(&sku("kit"), Vec::new()), Err(Malformed::Parts));
    assert!(matches!(Kit::new(&sku("kit"), vec![part("kit", 1)]), Err(Malformed::Itself(_))));
    assert!(matches!(Kit::new(&sku("kit"), vec![part("a", 1), part("a", 1)]), Err(Malformed::Twice(_))));
    assert!(matches!(Kit::new(&sku("kit"), vec![part("a", 0)]), Err(Malformed::PerKit(_))));
}

#[test]
fn names_are_unique_and_read_back() {
    for (kind, name) in KINDS {
        assert_eq!((kind.name(), Kind::named(name)), (name, Some(kind)));
    }
    let key = |n: &str, s: &str| Key { node: NodeId::new(n).unwrap(), sku: sku(s) };
    assert_ne!(key("a", "b").aggregate(), key("b", "a").aggregate());
    assert_eq!(key("a", "b").aggregate(), key("a", "b").aggregate());
}

#[derive(Debug, Clone)]
enum Command {
    Post(Kind, i64),
    Hold(i64, i64),
    Confirm(usize),
    Rehold(usize),
    Extend(usize, i64),
    Release(usize),
    Expire(i64),
    Settle(usize, i64, i64, i64),
    Trim(usize, i64),
}

fn command() -> impl Strategy<Value = Command> {
    let which = 0..8usize;
    prop_oneof![
        (0..KINDS.len(), -20..30i64).prop_map(|(kind, quantity)| Command::Post(KINDS[kind].0, quantity)),
        (1..9i64, 1..60i64).prop_map(|(quantity, until)| Command::Hold(quantity, until)),
        which.clone().prop_map(Command::Confirm),
        which.clone().prop_map(Command::Rehold),
        (which.clone(), 1..90i64).prop_map(|(n, until)| Command::Extend(n, until)),
        which.clone().prop_map(Command::Release),
        (0..90i64).prop_map(Command::Expire),
        (which.clone(), 1..9i64, -1..6i64, -1..6i64).prop_map(|(n, q, c, r)| Command::Settle(n, q, c, r)),
        (which, 0..9i64).prop_map(|(n, units)| Command::Trim(n, units)),
    ]
}

/// A position with its reservations and its ledger.
#[derive(Default)]
struct World {
    position: Position,
    ledger: Vec<Entry>,
    reservations: Vec<Reservation>,
    granted: bool,
}

impl World {
    fn apply(&mut self, shifts: &[Shift]) {
        for shift in shifts {
            let entry = self.position.shift(shift.kind, shift.on_hand, shift.reserved);
            self.ledger.push(entry.expect("a reservation's shift always fits its position"));
        }
    }

    fn can_give(&self, units: i64) -> bool {
        let claim = Claim { position: 0, quantity: units, channel: None };
        shortages(&[claim], |_| room(self.position.atp())).is_empty()
    }

    fn step(&mut self, n: usize, f: impl FnOnce(&mut Reservation) -> Result<Step, Refusal>) {
        if let Some(reservation) = self.reservations.get_mut(n)
            && let Ok(Step::Changed(shifts)) = f(reservation)
        {
            self.apply(&shifts);
        }
    }

    fn run(&mut self, command: &Command) {
        self.granted = false;
        match *command {
            Command::Post(kind, quantity) => self.ledger.extend(self.position.post(kind, quantity)),
            Command::Hold(quantity, until) => {
                if self.can_give(quantity) {
                    let reservation = held(&[quantity], until);
                    self.apply(&reservation.taking());
                    self.reservations.push(reservation);
                    self.granted = true;
                }
            }
            Command::Confirm(n) => self.step(n, |r| r.confirm(order(1), &[])),
            Command::Rehold(n) => {
                let lost: i64 = self
                    .reservations
                    .get(n)
                    .map_or(0, |r| r.lost(&[]).map_or(0, |lost| lost.iter().map(|s| s.reserved).sum()));
                if lost > 0 && self.can_give(lost) {
                    self.step(n, |r| r.rehold(order(1), &[]));
                    self.granted = true;
                }
            }
            Command::Extend(n, until) => self.step(n, |r| r.extend(at(until))),
            Command::Release(n) => self.step(n, |r| Ok(r.release())),
            Command::Expire(now) => {
                for n in 0..self.reservations.len() {
                    self.step(n, |r| Ok(r.expire(at(now))));
                }
            }
            Command::Settle(n, quantity, consumed, released) => {
                self.step(n, |r| r.settle(order(1), &[Target { line: 1, quantity, consumed, released }]));
            }
            Command::Trim(n, units) => self.step(n, |r| r.confirm(order(1), &[Want { line: 1, units }])),
        }
    }

    fn check(&self) {
        let position = &self.position;
        assert!(position.atp() >= 0 && position.reserved >= 0 && position.quarantine >= 0);
        if self.granted {
            assert!(position.reserved <= position.on_hand, "a grant took more than there is");
        }
        assert_eq!(position.on_hand, self.ledger.iter().map(|entry| entry.delta_on_hand).sum::<i64>());
        assert_eq!(position.reserved, self.ledger.iter().map(|entry| entry.delta_reserved).sum::<i64>());
        assert_eq!(position.reserved, self.reservations.iter().map(Reservation::held).sum::<i64>());
        for pair in self.ledger.windows(2) {
            assert_eq!(pair[1].on_hand_after, pair[0].on_hand_after + pair[1].delta_on_hand);
            assert_eq!(pair[1].reserved_after, pair[0].reserved_after + pair[1].delta_reserved);
        }
        let consumed = self.ledger.iter().filter(|entry| entry.kind == Kind::Consume);
        let left: i64 = consumed.map(|entry| -entry.delta_on_hand).sum();
        assert_eq!(
            left,
            self.reservations.iter().flat_map(|r| &r.lines).map(|line| line.consumed).sum::<i64>()
        );
        for reservation in &self.reservations {
            reservation.check().unwrap();
        }
    }
}

proptest! {
    #[test]
    fn the_laws_hold_after_any_commands(commands in prop::collection::vec(command(), 1..80)) {
        let mut world = World::default();
        world.run(&Command::Post(Kind::Receipt, 25));
        for command in commands {
            world.run(&command);
            world.check();
        }
    }

    #[test]
    fn the_order_of_the_lines_never_changes_a_decision(
        mut claims in prop::collection::vec((0..4usize, 1..20i64), 1..12),
        stock in prop::collection::vec(0..40i64, 4),
    ) {
        let decide = |claims: &[(usize, i64)]| {
            let claim = |(position, quantity): &(usize, i64)| Claim { position: *position, quantity: *quantity, channel: None };
            let claims: Vec<Claim<'static>> = claims.iter().map(claim).collect();
            shortages(&claims, |position| room(stock[position]))
        };
        let first = decide(&claims);
        let fits = (0..4).all(|p| claims.iter().filter(|c| c.0 == p).map(|c| c.1).sum::<i64>() <= stock[p]);
        prop_assert_eq!(first.is_empty(), fits);
        claims.reverse();
        prop_assert_eq!(first, decide(&claims));
    }
}

//! Random walks of orders that several nodes work on.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::testing::{POLICY, again, assert_laws, at, capture, group, leg, quote};
use super::*;
use crate::id;

/// The pieces of the one line, by leg.
const PARTS: [i64; 3] = [2, 3, 4];
/// What one piece costs.
const PRICE: i64 = 101;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A node takes the work of a leg.
    Accept(usize),
    /// A node picks one piece, makes one ready, or hands one over.
    Pick(usize),
    Ready(usize),
    HandOver(usize),
    /// A node does not find one piece.
    Short(usize),
    /// A node refuses a leg, or lets its time run out.
    Reject(usize),
    /// A node answers what a cancel asked of its leg: this number is granted, the others are refused. One that failed the
    /// pieces before it heard of the cancel refuses it.
    Answer(usize, i64),
    Cancel(i64),
    Lapse,
    LoseHold(usize),
    Pay(bool),
    Confirm(usize),
    /// Pieces of a need are held at other nodes: in this many legs.
    Reroute(usize, usize),
    /// A customer is asked about a need, and this many places are offered.
    Ask(usize, usize),
    Drop(usize),
    Wait(usize),
    Silence,
}

/// The step that two bytes mean: cheap to draw, so that many walks cost little.
fn step((kind, of): (u8, u8)) -> Step {
    let (leg, pieces) = (usize::from(of % 6), i64::from(of / 6 % 6));
    let number = usize::from(of / 6 % 6);
    match kind % 18 {
        0 => Step::Accept(leg),
        1 => Step::Pick(leg),
        2 => Step::Ready(leg),
        3 => Step::HandOver(leg),
        4 => Step::Short(leg),
        5 => Step::Reject(leg),
        6 => Step::Answer(leg, pieces),
        7 => Step::Cancel(pieces),
        8 => Step::Lapse,
        9 => Step::LoseHold(leg),
        10 => Step::Pay(pieces > 2),
        11 => Step::Confirm(leg),
        12 | 13 => Step::Reroute(leg, number % 3 + 1),
        14 => Step::Ask(leg, number % 3),
        15 => Step::Drop(leg),
        16 => Step::Wait(leg),
        _ => Step::Silence,
    }
}

/// How an order of a walk begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Unpaid,
    Paid,
    /// Sold elsewhere, with legs for this many of its groups.
    SoldElsewhere(usize),
}

impl Start {
    fn any() -> impl Strategy<Value = Self> {
        let some = (0..=PARTS.len()).prop_map(Self::SoldElsewhere);
        prop_oneof![2 => Just(Self::Unpaid), 2 => Just(Self::Paid), 1 => some]
    }

    /// What is held of the groups, and what is missing.
    fn asked(self, groups: Vec<Group>) -> Asked {
        let held = if let Self::SoldElsewhere(held) = self { held } else { groups.len() };
        let legs: Vec<Leg> = groups
            .iter()
            .take(held)
            .map(|group| leg(&format!("first {}", group.no), group.no, &group.lines))
            .collect();
        let missing = groups.iter().skip(held).map(|group| Missing {
            group: group.no,
            lines: group.lines.clone(),
            reason: "NO_STOCK".to_owned(),
        });
        let (token, missing) = (legs.first().and_then(|leg| leg.token), missing.collect());
        Asked { groups, legs, token, missing }
    }
}

fn placed(start: Start) -> Order {
    let quantity = PARTS.iter().sum();
    let amounts = Amounts { unit_price: PRICE, quantity, discount: 0, tax: 0, tax_included: true };
    let (sku, name, promotions) = (Sku::new("sku").unwrap(), "thing".to_owned(), Vec::new());
    let line = DraftLine { no: 5, sku, name, amounts, promotions };
    let total_minor = PRICE * quantity;
    let state = if start == Start::Unpaid { TenderState::Due } else { TenderState::Captured };
    let acceptance = match start {
        Start::Unpaid | Start::Paid => Acceptance::Checked,
        Start::SoldElsewhere(_) => Acceptance::sold_elsewhere(""),
    };
    let tender = Tender {
        id: "t".to_owned(),
        kind: "card".to_owned(),
        amount_minor: total_minor,
        state,
        provider_ref: String::new(),
        replaced_minor: 0,
    };
    let draft = Draft {
        channel: "web".to_owned(),
        channel_order_id: "1".to_owned(),
        customer_ref: String::new(),
        origin: Origin::default(),
        currency: Currency::GBP,
        tax_included: true,
        terms: Terms::Prepaid,
        acceptance,
        lines: vec![line],
        charges: Vec::new(),
        tenders: vec![tender],
        total_minor,
    };
    let groups: Vec<Group> = (1..).zip(&PARTS).map(|(no, quantity)| group(no, &[(5, *quantity)])).collect();
    let id = OrderId::new(id::derived("order", "walk"));
    Order::place(id, draft, start.asked(groups), &POLICY, at(0)).unwrap().order
}

/// What the node of a leg reports after this step; nothing if it can't do it.
fn reported(leg: &Leg, step: Step) -> Option<WorkReport> {
    let units = leg.lines[0].units;
    let (mut after, mut is_accepted, mut answer) = (units, leg.is_accepted, None);
    let is_begun = leg.is_accepted;
    match step {
        Step::Accept(_) if !is_begun => is_accepted = true,
        Step::Pick(_) if is_begun && units.to_pick > 0 => {
            (after.to_pick, after.picked) = (units.to_pick - 1, units.picked + 1);
        }
        Step::Ready(_) if units.picked > 0 => {
            (after.picked, after.ready) = (units.picked - 1, units.ready + 1);
        }
        Step::HandOver(_) if units.ready > 0 => (after.ready, after.done) = (units.ready - 1, units.done + 1),
        Step::Short(_) if is_begun && units.to_pick > 0 => {
            (after.to_pick, after.short) = (units.to_pick - 1, units.short + 1);
        }
        Step::Reject(_) if units.to_pick + units.picked + units.ready > 0 => {
            let failed = units.to_pick + units.picked + units.ready;
            (after.to_pick, after.picked, after.ready, is_accepted) = (0, 0, 0, true);
            after.given_up += failed;
        }
        Step::Answer(_, granted) if leg.lines[0].cancel_requested > 0 => {
            let asked = leg.lines[0].cancel_requested;
            let granted = granted.min(asked);
            let mut rest = granted;
            for part in [&mut after.to_pick, &mut after.picked, &mut after.ready] {
                let taken = rest.min(*part);
                *part -= taken;
                rest -= taken;
            }
            after.cancelled += granted;
            answer = Some(Answer { granted: vec![(5, granted)], refused: vec![(5, asked - granted)] });
        }
        Step::Answer(_, refused) if units.failed() > 0 => {
            answer = Some(Answer { granted: Vec::new(), refused: vec![(5, refused)] });
        }
        _ => return None,
    }
    Some(WorkReport {
        leg: leg.id,
        version: leg.version + 1,
        actor: "store/1".to_owned(),
        is_accepted,
        lines: vec![(5, after)],
        reason: "WALK".to_owned(),
        answer,
        paid: None,
        is_without_work: false,
    })
}

fn run(order: &Order, step: Step, now: Timestamp) -> Option<Changed> {
    let of = |at: usize| order.legs.get(at).or(order.legs.last());
    let done = match step {
        Step::Accept(at)
        | Step::Pick(at)
        | Step::Ready(at)
        | Step::HandOver(at)
        | Step::Short(at)
        | Step::Reject(at)
        | Step::Answer(at, _) => {
            let leg = of(at)?;
            let report = reported(leg, step).filter(|_| leg.is_released() && leg.is_live())?;
            let changed = order.clone().follow(&report, now).unwrap();
            for (before, after) in order.legs.iter().zip(&changed.order.legs) {
                assert!(before.id == leg.id || before == after, "a report changes its own leg only");
            }
            Ok(changed)
        }
        Step::Cancel(pieces) => {
            let left = order.lines[0].buckets.cancellable() - order.lines[0].cancel_requested;
            let changed = order.clone().cancel(&[(5, pieces.min(left))], "WALK", now);
            changed.map(|(changed, outcome)| {
                let asked = changed.order.lines[0].cancel_requested - order.lines[0].cancel_requested;
                let at_once = changed.order.lines[0].buckets.cancelled - order.lines[0].buckets.cancelled;
                assert_eq!(asked + at_once, pieces.min(left));
                assert_eq!(outcome == Outcome::Pending, asked > 0);
                changed
            })
        }
        Step::Lapse => order.clone().lapse(at(900)),
        Step::LoseHold(at) => order.clone().lose_hold(&[of(at)?.id], now),
        Step::Pay(holds) => {
            let payment = capture(order, 0);
            let hold = match (order.needs_hold(&payment, now), holds) {
                (false, _) => Hold::NotAsked,
                (true, true) => Hold::Held(again(order, &format!("again {}", order.legs.len()), now)),
                (true, false) => Hold::Refused { reason: "NO_STOCK".to_owned() },
            };
            let was_lost = matches!(hold, Hold::Refused { .. });
            let paid = order.clone().pay(&payment, hold, &POLICY, now);
            let ends = was_lost && paid.as_ref().is_ok_and(|paid| paid.order.status().is_over());
            assert!(!ends, "who pays in time keeps the order, also when its hold is lost");
            paid
        }
        Step::Confirm(at) => order.clone().confirm(of(at)?.id, now),
        Step::Reroute(at, legs) => {
            let need = need(order, at)?;
            let changed = order.clone().reroute(need.id, elsewhere(order, need, legs), now).unwrap();
            assert_eq!(changed.order.need(need.id).unwrap().state(), NeedState::Sourced);
            Ok(changed)
        }
        Step::Ask(at, places) => {
            let places = (0..places).map(|no| (OptionKind::OtherNode, quote(&format!("other-{no}"), 4_000)));
            order.clone().ask(need(order, at)?.id, places.collect(), &POLICY, now)
        }
        Step::Drop(at) => order.clone().choose_drop(need(order, at)?.id, now),
        Step::Wait(at) => order.clone().choose_wait(need(order, at)?.id, &POLICY, now),
        Step::Silence => order.clone().stay_silent(order.silent_at()?),
    };
    done.ok()
}

/// One of the needs that are looked for.
fn need(order: &Order, at: usize) -> Option<&Need> {
    let needs = order.seeking();
    needs.get(at).or(needs.last()).copied()
}

/// New legs for the open pieces of a need.
fn elsewhere(order: &Order, need: &Need, legs: usize) -> Vec<Leg> {
    let pieces: i64 = need.open().iter().map(|(_, pieces)| pieces).sum();
    let parts = crate::money::split(pieces, &vec![1; legs]).into_iter().filter(|part| *part > 0);
    let name = |no| format!("elsewhere {} {no}", order.legs.len());
    let node = id::NodeId::new(format!("store-{}", order.legs.len() + 1)).unwrap();
    let leg = |(no, part)| Leg { node: node.clone(), ..leg(&name(no), need.group, &[(5, part)]) };
    (0..).zip(parts).map(leg).collect()
}

#[test]
fn the_laws_hold_on_any_walk_of_a_line_over_three_legs() {
    let walk = (Start::any(), prop::collection::vec(any::<(u8, u8)>(), 0..24));
    let mut runner =
        TestRunner::new(Config { cases: 10_000, failure_persistence: None, ..Config::default() });
    // Walks that came to a leg of a need, to one that failed too, to a question, to a drop, to a need of pieces that no leg
    // had when they were paid, to a leg for those, and to a leg of an order of which nothing could be held when it came.
    let reached = [const { Cell::new(0) }; 7];
    let walked = runner.run(&walk, |(start, steps)| {
        let mut order = placed(start);
        assert_laws(&order);
        for (second, step) in (1..).zip(steps.into_iter().map(step)) {
            let Some(changed) = run(&order, step, at(second)) else { continue };
            let is_unblocked = changed.events.contains(&Event::Unblocked);
            let after = changed.order;
            assert_laws(&after);
            prop_assert!(!is_unblocked || after.work().next().is_some(), "a release without work");
            let dropped = order.legs.iter().zip(&after.legs);
            prop_assert!(dropped.clone().all(|(before, after)| before.is_live() || before == after));
            // What is claimed back is never more than the share of what nobody gets.
            let line = &after.lines[0];
            let gone = line.amounts.quantity - line.buckets.live();
            prop_assert!(after.ledger.claimed() <= gone * PRICE);
            prop_assert_eq!(after.owed_minor(), line.buckets.live() * PRICE);
            if after.ledger.paid() > 0 && after.is_released() {
                prop_assert_eq!(after.ledger.held(), after.owed_minor());
            }
            order = after;
        }
        // A cancel is over when all its legs have answered.
        for at_ in 0..order.legs.len() {
            if let Some(changed) = run(&order, Step::Answer(at_, 99), at(100)) {
                order = changed.order;
            }
        }
        prop_assert_eq!(order.lines[0].cancel_requested, 0);
        let has = |f: fn(&Need) -> bool| order.needs.iter().any(f);
        let came_to = [
            order.legs.iter().any(|leg| leg.need.is_some()),
            has(|need| need.offers > 1),
            has(|need| need.asks > 0),
            has(|need| need.lines[0].dropped > 0),
            has(|need| need.leg.is_none()),
            has(|need| need.leg.is_none() && need.lines[0].sourced > 0),
            start == Start::SoldElsewhere(0) && !order.legs.is_empty(),
        ];
        reached.iter().zip(came_to).filter(|(_, is)| *is).for_each(|(count, _)| count.set(count.get() + 1));
        Ok(())
    });
    walked.unwrap();
    assert!(reached.iter().all(|count| count.get() > 50), "{reached:?}");
}

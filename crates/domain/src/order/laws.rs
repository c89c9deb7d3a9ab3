//! The laws, after any commands in any order.

use proptest::prelude::*;

use super::testing::{
    POLICY, again, answer, assert_laws, at, capture, draft, leg, place, quote, report, serving, tender,
};
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
    /// An authorization or a capture of any amount, under one of a few references.
    Receipt(usize, TenderState, i64, u8),
    /// A part of a payment, under a reference of its own.
    Part(usize, i64),
    /// Money back for one piece.
    Claim(u32, i64, i64),
    AddTender(TenderState, i64),
    /// An answer to an attempt: how many before the last.
    Refund(usize, bool, i64),
    Retry,
    /// Pieces of a need are held at another node.
    Reroute(usize),
    /// A customer is asked about a need, with this many places.
    Ask(usize, usize),
    Choose(usize, bool),
    Silence,
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
        (0_usize..3, 1_i64..500).prop_map(|(t, amount)| Step::Part(t, amount)),
        (0_usize..3, prop::sample::select(TenderState::ALL.to_vec()), 0_i64..4_000, 0_u8..4)
            .prop_map(|(t, s, amount, tab)| Step::Receipt(t, s, amount, tab)),
        (1_u32..5, 1_i64..6, 1_i64..300).prop_map(|(l, p, a)| Step::Claim(l, p, a)),
        (prop::sample::select(TenderState::ALL.to_vec()), 1_i64..2000)
            .prop_map(|(s, a)| Step::AddTender(s, a)),
        (0_usize..4, any::<bool>(), 0_i64..2).prop_map(|(r, done, ago)| Step::Refund(r, done, ago)),
        Just(Step::Retry),
        (0_usize..3).prop_map(Step::Reroute),
        (0_usize..3, 0_usize..3).prop_map(|(n, places)| Step::Ask(n, places)),
        (0_usize..3, any::<bool>()).prop_map(|(n, waits)| Step::Choose(n, waits)),
        Just(Step::Silence),
    ]
}

fn hold(order: &Order, is_needed: bool, holds: bool, now: Timestamp) -> Hold {
    match (is_needed, holds) {
        (false, _) => Hold::NotAsked,
        (true, true) => Hold::Held(again(order, &format!("again {}", order.legs.len()), now)),
        (true, false) => Hold::Refused { reason: "NO_STOCK".to_owned() },
    }
}

/// An order of these lines (pieces, price, hundredths of discount), with two promotions and two charges.
fn placed(
    lines: &[(i64, i64, i64)],
    charges: [i64; 2],
    rules: [ReturnRule; 2],
    terms: Terms,
    states: &[TenderState],
) -> Order {
    let goods: Vec<(i64, i64)> = lines.iter().map(|(pieces, price, _)| (*pieces, *price)).collect();
    let mut draft = draft(&goods, charges[0], Vec::new());
    draft.terms = terms;
    draft.charges[0].rule = rules[0];
    draft.charges.push(Charge {
        code: "FEE".to_owned(),
        description: String::new(),
        amount_minor: charges[1],
        rule: rules[1],
    });
    if terms == Terms::PayAtHandover {
        draft.charges.iter_mut().for_each(|charge| charge.rule = ReturnRule::ProRata);
    }
    draft.total_minor += charges[1];
    for (line, (pieces, price, hundredths)) in draft.lines.iter_mut().zip(lines) {
        let discount = pieces * price * hundredths / 100;
        line.amounts.discount = discount;
        line.amounts.tax = (pieces * price - discount) / 6;
        let halves = [("SUMMER", discount / 2), ("LOYAL", discount / 3)];
        let named = halves.into_iter().filter(|(_, minor)| *minor > 0);
        line.promotions = named.map(|(name, minor)| (name.to_owned(), minor)).collect();
        draft.total_minor -= discount;
    }
    let parts = crate::money::split(draft.total_minor, &vec![1; states.len()]);
    let tenders = states.iter().zip(parts).zip(b'a'..);
    draft.tenders =
        tenders.map(|((state, part), id)| tender(&char::from(id).to_string(), part, *state)).collect();
    place(draft).order
}

/// The provider answers a part of a refund, or it goes elsewhere.
fn refund(order: &Order, at: usize, is_done: bool, ago: i64, now: Timestamp) -> Result<Changed, Refusal> {
    let Some(refund) = order.ledger.refunds.get(at) else { return Err(Refusal::NotDue) };
    let (id, part) = (refund.id, refund.parts.last().unwrap());
    if part.state == RefundState::FailedPermanent {
        let to = Redirect {
            tender: format!("bank-{at}-{}", refund.parts.len()),
            kind: "bank".to_owned(),
            provider_ref: "handle".to_owned(),
        };
        return order.clone().redirect_refund(id, &PartId::from(part), &to, now);
    }
    let answer = answer(is_done, part.attempt - ago, "code");
    order.clone().report_refund(id, &PartId::from(part), &answer, now)
}

/// One of the needs that are looked for.
fn sought(order: &Order, n: usize) -> Result<&Need, Refusal> {
    order.seeking().get(n).copied().ok_or(Refusal::NotDue)
}

/// What a step pays, and whether stock is held for it; none: no such tender, or the step pays nothing.
fn payment(order: &Order, step: &Step, now: Timestamp) -> Option<(Payment, bool)> {
    let tenders = &order.ledger.tenders;
    Some(match step {
        Step::Pay(at, state, holds) => {
            (Payment { state: *state, ..capture(order, at % tenders.len()) }, *holds)
        }
        Step::Part(at, amount) => {
            let payment = Payment {
                tender: tenders.get(at % tenders.len().max(1))?.id.clone(),
                state: TenderState::Captured,
                amount_minor: *amount,
                provider_ref: format!("part-{now}"),
            };
            (payment, true)
        }
        Step::Receipt(at, state, amount, tab) => {
            let tender = tenders.get(*at)?;
            let payment = Payment {
                tender: tender.id.clone(),
                state: *state,
                // Half of them fit.
                amount_minor: if amount % 2 == 0 { tender.amount_minor } else { *amount },
                provider_ref: if *tab == 0 { String::new() } else { format!("tab-{tab}") },
            };
            (payment, true)
        }
        Step::Work(..)
        | Step::Cancel(_)
        | Step::Lapse
        | Step::Expire
        | Step::LoseHold
        | Step::Confirm
        | Step::Claim(..)
        | Step::AddTender(..)
        | Step::Refund(..)
        | Step::Retry
        | Step::Reroute(_)
        | Step::Ask(..)
        | Step::Choose(..)
        | Step::Silence => return None,
    })
}

fn run(order: &Order, step: &Step, now: Timestamp) -> Result<Changed, Refusal> {
    let order_ = order.clone();
    match step {
        Step::Pay(..) | Step::Part(..) | Step::Receipt(..) => {
            let (payment, holds) = payment(order, step, now).ok_or(Refusal::NotDue)?;
            order_.pay(&payment, hold(order, order.needs_hold(&payment, now), holds, now), &POLICY, now)
        }
        Step::Claim(line, piece, amount) => order_.claim(&[(*line, *piece, *amount)], "GOODWILL", now),
        Step::AddTender(state, amount) => {
            let tender = tender(&format!("added-{}", order.ledger.tenders.len()), *amount, *state);
            order_.add_tender(
                &tender,
                hold(order, order.needs_hold_for(&tender, now), true, now),
                &POLICY,
                now,
            )
        }
        Step::Refund(at, is_done, ago) => refund(order, *at, *is_done, *ago, now),
        Step::Retry => order_.retry_refunds(order.retry_at().unwrap_or(now)),
        Step::Cancel(lines) => order_.cancel(lines, "TEST", now).map(|(changed, _)| changed),
        Step::Lapse => order_.lapse(at(900)),
        Step::Expire => order_.expire(at(1200)),
        Step::LoseHold => order_.lose_hold(&[serving(order)], now),
        Step::Confirm => order_.confirm(serving(order), now),
        Step::Reroute(n) => {
            let need = sought(order, *n)?;
            let new = leg(&format!("elsewhere {}", order.legs.len()), need.group, &need.open());
            order_.reroute(need.id, vec![new], now)
        }
        Step::Ask(n, places) => {
            let places = (0..*places).map(|no| (OptionKind::OtherNode, quote(&format!("other-{no}"), 4_000)));
            order_.ask(sought(order, *n)?.id, places.collect(), &POLICY, now)
        }
        Step::Choose(n, true) => order_.choose_wait(sought(order, *n)?.id, &POLICY, now),
        Step::Choose(n, false) => order_.choose_drop(sought(order, *n)?.id, now),
        Step::Silence => order_.stay_silent(order.silent_at().unwrap_or(now)),
        // A node only works on what was released, and never takes back what it reported as done, short or cancelled.
        Step::Work(..) if !order.is_released() => Err(Refusal::NotDue),
        Step::Work(accepted, parts) => {
            let report = report(order, *accepted, |line, s| {
                let [picked, ready, done, short, cancelled] = parts[line as usize - 1];
                let known = order.legs.last().unwrap().line(line).unwrap().units;
                s.done = known.done;
                s.cancelled = known.cancelled;
                let mut left = s.quantity - s.done - s.cancelled - known.short;
                let mut take = |wanted: i64| {
                    let taken = wanted.min(left);
                    left -= taken;
                    taken
                };
                (s.picked, s.ready, s.short) = (take(picked), take(ready), known.short + take(short));
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
        lines in prop::collection::vec((1_i64..6, 0_i64..1000, 0_i64..=100), 1..4),
        charges in prop::array::uniform2(0_i64..100),
        rules in prop::array::uniform2(prop::sample::select(ReturnRule::ALL.to_vec())),
        terms in prop::sample::select(Terms::ALL.to_vec()),
        states in prop::collection::vec(prop::sample::select(vec![TenderState::Due, TenderState::Authorized, TenderState::Captured]), 1..3),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let total: i64 = lines.iter().map(|(q, p, d)| q * p - q * p * d / 100).sum::<i64>() + charges[0] + charges[1];
        prop_assume!(total >= 2);
        let mut order = placed(&lines, charges, rules, terms, &states);
        assert_laws(&order);
        // Late enough that promises pass.
        for (number, step) in (1..).zip(&steps) {
            let Ok(changed) = run(&order, step, at(number * 200)) else { continue };
            assert_laws(&changed.order);
            let is_empty = |event: &Event| matches!(event, Event::Progressed { lines } if lines.is_empty());
            prop_assert!(!changed.events.iter().any(is_empty), "an event without content");
            let is_unblocked = changed.events.contains(&Event::Unblocked);
            prop_assert!(!is_unblocked || changed.order.work().next().is_some(), "a release without work");
            prop_assert_eq!(changed.order.version, order.version + i64::try_from(changed.events.len()).unwrap());
            order = changed.order;
        }
    }
}

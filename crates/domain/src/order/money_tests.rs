//! The money of an order, step by step.

use super::testing::*;
use super::*;
use crate::id;
use crate::money::Money;

fn pay(order: &Order, tender: &str, state: TenderState, amount_minor: i64, provider_ref: &str) -> Changed {
    let payment =
        Payment { tender: tender.to_owned(), state, amount_minor, provider_ref: provider_ref.to_owned() };
    let changed = order.clone().pay(&payment, Hold::NotAsked, &POLICY, at(10)).unwrap();
    assert_laws(&changed.order);
    changed
}

/// A cancel of pieces that the node has, and grants.
fn cancelled(order: &Order, line: LineNo, pieces: i64) -> Changed {
    let (asked, _) = order.clone().cancel(&[(line, pieces)], "CHANGED_MIND", at(20)).unwrap();
    let known = asked.order.legs.last().unwrap().clone();
    let mut granted = report(&asked.order, true, |no, units| {
        *units = known.line(no).unwrap().units;
        if no == line {
            (units.to_pick, units.cancelled) = (units.to_pick - pieces, units.cancelled + pieces);
        }
    });
    granted.reason = "CHANGED_MIND".to_owned();
    granted.answer = Some(Answer { granted: vec![(line, pieces)], refused: Vec::new() });
    let changed = asked.order.follow(&granted, at(21)).unwrap();
    assert_laws(&changed.order);
    changed
}

fn amounts(order: &Order) -> (i64, i64, i64) {
    (order.ledger.paid(), order.ledger.claimed(), order.ledger.sums().iter().map(|sums| sums.voided).sum())
}

fn at_handover(lines: &[(i64, i64)], tenders: Vec<Tender>) -> Order {
    place(Draft { terms: Terms::PayAtHandover, charges: Vec::new(), ..draft(lines, 0, tenders) }).order
}

#[test]
fn authorized_money_is_voided_and_not_refunded() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let after = cancelled(&order, 1, 1);
    let void = Event::VoidRequested {
        tender: "a".to_owned(),
        amount_minor: 1_000,
        left_minor: 3_000,
        provider_ref: String::new(),
        reason: "CHANGED_MIND".to_owned(),
        lines: vec![(1, 1)],
    };
    assert!(after.events.contains(&void), "{:?}", after.events);
    assert_eq!(amounts(&after.order), (3_000, 0, 1_000));
    let after = cancelled(&after.order, 1, 3).order;
    assert_eq!((after.status(), amounts(&after)), (Status::Cancelled, (0, 0, 4_000)));
    let voided = pay(&after, "a", TenderState::Voided, 4_000, "ref");
    assert_eq!(
        (voided.order.ledger.tenders[0].state, amounts(&voided.order)),
        (TenderState::Voided, (0, 0, 4_000))
    );
    // The provider captured although it was asked not to.
    let late = pay(&voided.order, "a", TenderState::Captured, 4_000, "late");
    assert!(matches!(late.events.as_slice(), [Event::ExcessPaid { .. }, Event::RefundRequested { .. }]));
    assert_eq!(amounts(&late.order), (4_000, 4_000, 4_000));
    assert_eq!(late.order.ledger.refunds[0].reason, "PAID_TOO_LATE");
}

#[test]
fn less_than_authorized_is_captured_after_a_cancel_and_more_goes_back() {
    let order = cancelled(&order(&[(4, 1_000)], 0, &[TenderState::Authorized]), 1, 1).order;
    let less = pay(&order, "a", TenderState::Captured, 3_000, "tx");
    assert_eq!(
        (less.order.ledger.tenders[0].state, amounts(&less.order)),
        (TenderState::Captured, (3_000, 0, 1_000))
    );
    let more = pay(&order, "a", TenderState::Captured, 4_000, "tx");
    assert_eq!(amounts(&more.order), (4_000, 1_000, 1_000));
    let parts = pay(
        &pay(&order, "a", TenderState::Captured, 1_000, "1").order,
        "a",
        TenderState::Captured,
        2_000,
        "2",
    );
    assert_eq!(
        (parts.order.ledger.tenders[0].state, amounts(&parts.order)),
        (TenderState::Captured, (3_000, 0, 1_000))
    );
}

#[test]
fn a_payment_that_is_lost_after_the_release_blocks_what_is_not_handed_over() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let lost = pay(&order, "a", TenderState::Failed, 4_000, "no");
    let [Event::PaymentLost { amount_minor: 4_000, legs, .. }] = lost.events.as_slice() else {
        panic!("{:?}", lost.events)
    };
    assert_eq!(legs.as_slice(), [serving(&order)]);
    let order = lost.order;
    assert_eq!((order.blocks.len(), order.payment_due_at, order.ledger.paid()), (1, Some(at(910)), 0));
    // Two other tenders pay instead.
    let card = Tender { provider_ref: "c".to_owned(), ..tender("card", 2_500, TenderState::Captured) };
    let cash = tender("cash", 1_500, TenderState::Due);
    let too_much = tender("cash", 1_501, TenderState::Due);
    let order = order.add_tender(&card, Hold::NotAsked, &POLICY, at(20)).unwrap().order;
    assert_laws(&order);
    let refused = order.clone().add_tender(&too_much, Hold::NotAsked, &POLICY, at(20));
    assert_eq!(refused, Err(Refusal::NothingToReplace { tender: "cash".to_owned() }));
    let order = order.add_tender(&cash, Hold::NotAsked, &POLICY, at(20)).unwrap().order;
    let paid = pay(&order, "cash", TenderState::Captured, 1_500, "till");
    assert_eq!(paid.events.last(), Some(&Event::Unblocked));
    assert_eq!((amounts(&paid.order), paid.order.owed_minor()), ((4_000, 0, 0), 4_000));
    // The first tender is paid after all, by another tab.
    let twice = pay(&paid.order, "a", TenderState::Captured, 4_000, "again");
    assert_eq!(amounts(&twice.order), (8_000, 4_000, 0));
}

#[test]
fn what_is_not_paid_again_in_time_is_cancelled() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let order = pay(&order, "a", TenderState::Voided, 4_000, "gone").order;
    assert_eq!(order.clone().lapse(at(909)), Err(Refusal::NotDue));
    let ended = order.lapse(at(910)).unwrap();
    assert!(matches!(ended.events.as_slice(), [Event::CancelRequested { .. }]), "{:?}", ended.events);
    assert_eq!((ended.order.lapse_at(), ended.order.lines[0].cancel_requested), (None, 4));
}

#[test]
fn a_second_payment_is_no_payment_of_the_tender() {
    let order = order(&[(1, 4_000)], 0, &[TenderState::Due]);
    let first = pay(&order, "a", TenderState::Captured, 4_000, "txA").order;
    let second = pay(&first, "a", TenderState::Captured, 4_000, "txB");
    let [
        Event::ExcessPaid { amount_minor: 4_000, provider_ref, refund, .. },
        Event::RefundRequested { refund: asked, .. },
    ] = second.events.as_slice()
    else {
        panic!("{:?}", second.events)
    };
    assert_eq!((provider_ref.as_str(), *refund), ("txB", asked.id));
    assert_eq!((asked.reason.as_str(), asked.parts[0].provider_ref.as_str()), ("EXCESS_PAYMENT", "txB"));
    assert_eq!(second.order.ledger.tenders[0].provider_ref, "txA");
    for repeated in ["txA", "txB"] {
        assert!(
            pay(&second.order, "a", TenderState::Captured, 4_000, repeated).events.is_empty(),
            "{repeated}"
        );
    }
}

#[test]
fn what_the_till_takes_follows_cancels() {
    let order = at_handover(&[(4, 1_000)], vec![tender("till", 4_000, TenderState::Due)]);
    let order = cancelled(&order, 1, 1).order;
    assert_eq!(Ledger::due(&order.ledger.tenders[0], &order.ledger.sums()[0]), 3_000);
    let paid = pay(&order, "till", TenderState::Captured, 3_000, "till-1").order;
    assert_eq!((amounts(&paid), paid.ledger.tenders[0].state), ((3_000, 0, 0), TenderState::Captured));
    let half = pay(&order, "till", TenderState::Captured, 1_000, "till-1").order;
    assert_eq!((amounts(&half), half.ledger.tenders[0].state), ((1_000, 0, 0), TenderState::Due));
}

#[test]
fn what_is_paid_at_handovers_is_booked_by_tender() {
    let tenders = vec![tender("gift", 500, TenderState::Due), tender("till", 2_500, TenderState::Due)];
    let order = at_handover(&[(3, 1_000)], tenders);
    let mut work = report(&order, true, |_, s| (s.to_pick, s.ready, s.done) = (0, 2, 1));
    let paid = |kind: &str, amount_minor| {
        Some(Collected { kind: kind.to_owned(), amount_minor, provider_ref: "till-7".to_owned() })
    };
    work.paid = paid("card", 1_000);
    let first = order.follow(&work, at(5)).unwrap();
    assert_laws(&first.order);
    assert_eq!(first.order.ledger.collected(1), 1_000);
    // By then the gift card has paid its part online, and the till took too much.
    let mut rest = report(&first.order, true, |_, s| (s.to_pick, s.done) = (0, 3));
    rest.paid = paid("card", 2_400);
    let after = first.order.follow(&rest, at(6)).unwrap();
    assert_laws(&after.order);
    assert_eq!(amounts(&after.order), (3_400, 400, 0));
    assert_eq!(after.order.status(), Status::Completed);
}

#[test]
fn an_order_without_tenders_takes_what_handovers_bring() {
    // 10.00 over three pieces that two nodes hand over.
    let mut draft = draft(&[(3, 400)], 0, Vec::new());
    (draft.terms, draft.total_minor) = (Terms::PayAtHandover, 1_000);
    draft.lines[0].amounts.discount = 200;
    draft.charges.clear();
    let legs = vec![leg("a", 1, &[(1, 1)]), leg("b", 1, &[(1, 2)])];
    let asked = Asked { groups: vec![group(1, &[(1, 3)])], token: legs[0].token, legs, missing: Vec::new() };
    let order =
        Order::place(OrderId::new(id::derived("order", "1")), draft, asked, &POLICY, at(0)).unwrap().order;
    let dues: Vec<i64> = order.dues().iter().map(|due| due.due_minor).collect();
    assert_eq!(dues, [334, 666]);
    // The first node does not find its piece; the second hands over both of its.
    let short = WorkReport { leg: order.legs[0].id, ..report(&order, true, |_, _| ()) };
    let lines = |units| vec![(1, units)];
    let gone = LegUnits { quantity: 1, short: 1, ..LegUnits::default() };
    let order = order.follow(&WorkReport { lines: lines(gone), ..short }, at(5)).unwrap().order;
    assert_laws(&order);
    let order = dropped(order, at(5));
    assert_laws(&order);
    let done = LegUnits { quantity: 2, done: 2, ..LegUnits::default() };
    let paid =
        Some(Collected { kind: "cash".to_owned(), amount_minor: 666, provider_ref: "till".to_owned() });
    let last = WorkReport { lines: lines(done), paid, ..report(&order, true, |_, _| ()) };
    let after = order.follow(&last, at(6)).unwrap().order;
    assert_laws(&after);
    assert_eq!((after.status(), after.ledger.paid()), (Status::Completed, 666));
    let due: i64 =
        after.ledger.tenders.iter().zip(after.ledger.sums()).map(|(t, s)| Ledger::due(t, &s)).sum();
    assert_eq!((due, after.ledger.held()), (0, after.owed_minor()), "no cent is left open");
}

#[test]
fn postage_goes_back_with_the_last_piece_and_a_kept_fee_never() {
    let mut draft = draft(&[(2, 1_000), (1, 500)], 499, vec![tender("card", 3_199, TenderState::Captured)]);
    draft.charges.push(Charge {
        code: "FEE".to_owned(),
        description: String::new(),
        amount_minor: 200,
        rule: ReturnRule::Kept,
    });
    draft.total_minor = 3_199;
    let order = place(draft).order;
    let one = cancelled(&order, 1, 1).order;
    assert_eq!(one.ledger.claimed(), 1_000);
    let two = cancelled(&one, 2, 1).order;
    assert_eq!(two.ledger.claimed(), 1_500);
    let all = cancelled(&two, 1, 1).order;
    assert_eq!((all.ledger.claimed(), all.owed_minor(), all.status()), (2_999, 200, Status::Cancelled));
    let kept = all.ledger.rows.iter().filter(|row| row.cause == Cause::Retained);
    assert_eq!(kept.map(|row| row.amount_minor).sum::<i64>(), 200);
}

#[test]
fn a_refund_names_its_tenders_and_what_is_not_paid_is_not_asked_for_first() {
    let mut draft = draft(
        &[(4, 1_000)],
        0,
        vec![
            Tender {
                provider_ref: "g-1".to_owned(),
                kind: "gift_card".to_owned(),
                ..tender("gift", 1_500, TenderState::Captured)
            },
            Tender { provider_ref: "c-1".to_owned(), ..tender("card", 2_500, TenderState::Captured) },
        ],
    );
    draft.charges.clear();
    let order = place(draft).order;
    let after = cancelled(&order, 1, 2).order;
    let parts: Vec<_> = after.ledger.refunds[0]
        .parts
        .iter()
        .map(|p| (p.tender.as_str(), p.amount_minor, p.provider_ref.as_str()))
        .collect();
    assert_eq!(parts, [("gift", 1_500, "g-1"), ("card", 500, "c-1")]);
}

#[test]
fn a_price_that_is_lowered_changes_what_no_other_piece_gives_back() {
    let order = order(&[(3, 1_000)], 0, &[TenderState::Captured]);
    let lowered = order.claim(&[(1, 3, 250), (1, 1, 100)], "PRICE_PROTECTION", at(5)).unwrap();
    assert_laws(&lowered.order);
    assert_eq!(lowered.order.ledger.claimed(), 350);
    // The last piece goes: what is left of its price comes back. Then one that was never lowered.
    let one = cancelled(&lowered.order, 1, 1).order;
    assert_eq!(one.ledger.claimed(), 350 + 750);
    let two = cancelled(&one, 1, 1).order;
    assert_eq!(two.ledger.claimed(), 350 + 750 + 1_000);
    let left = Money::new(900, two.currency);
    let refused = two.clone().claim(&[(1, 1, 901)], "GOODWILL", at(30));
    assert_eq!(refused, Err(Refusal::ClaimTooLarge { line: 1, piece: 1, left }));
    let all = cancelled(&two, 1, 1).order;
    assert_eq!(all.ledger.claimed(), 3_000);
    let gone = all.claim(&[(1, 1, 1)], "GOODWILL", at(30));
    assert!(matches!(gone, Err(Refusal::ClaimTooLarge { .. })));
}

#[test]
fn a_refund_that_fails_is_asked_again_five_times_and_then_redirected() {
    let order = order(&[(1, 1_000)], 0, &[TenderState::Captured]);
    let mut order = cancelled(&order, 1, 1).order;
    let (refund, mut now) = (order.ledger.refunds[0].id, 100);
    let report = |order: &Order, is_done, text: &str, now| {
        let attempt = order.ledger.refunds[0].parts[0].attempt;
        order.clone().report_refund(refund, &part_of("a"), &answer(is_done, attempt, text), at(now)).unwrap()
    };
    for wait in [60, 600, 3_600, 6 * 3_600, 24 * 3_600] {
        let failed = report(&order, false, "LIMIT", now);
        assert!(matches!(failed.events.as_slice(), [Event::RefundReported { .. }]));
        assert!(report(&failed.order, false, "LIMIT", now + 1).events.is_empty(), "the same answer again");
        order = failed.order;
        assert_eq!(order.retry_at(), Some(at(now + wait)));
        assert_eq!(order.clone().retry_refunds(at(now + wait - 1)), Err(Refusal::NotDue));
        now += wait;
        let again = order.retry_refunds(at(now)).unwrap();
        assert!(matches!(&again.events[..], [Event::RefundRequested { parts, .. }] if parts.len() == 1));
        order = again.order;
    }
    order = report(&order, false, "LIMIT", now).order;
    let part = &order.ledger.refunds[0].parts[0];
    assert_eq!((part.state, part.attempt, order.retry_at()), (RefundState::FailedPermanent, 6, None));
    let to = Redirect {
        tender: "bank".to_owned(),
        kind: "bank_transfer".to_owned(),
        provider_ref: "h-1".to_owned(),
    };
    let sent = order.redirect_refund(refund, &part_of("a"), &to, at(now + 5)).unwrap();
    assert_laws(&sent.order);
    let [Event::RefundReported { .. }, Event::RefundRequested { parts, .. }] = sent.events.as_slice() else {
        panic!()
    };
    assert_eq!(parts.iter().map(|part| part.tender.as_str()).collect::<Vec<_>>(), ["bank"]);
    let done = sent
        .order
        .report_refund(refund, &part_of("bank"), &answer(true, 1, "r-9"), at(now + 9))
        .unwrap()
        .order;
    assert_eq!((done.retry_at(), done.ledger.refunds[0].parts[1].state), (None, RefundState::Done));
    let back: i64 =
        done.ledger.rows.iter().filter(|row| row.cause == Cause::Refunded).map(|row| row.amount_minor).sum();
    assert_eq!(back, 1_000);
}

#[test]
fn a_refund_without_an_answer_is_asked_again_daily_and_then_failed() {
    let mut order = cancelled(&order(&[(1, 1_000)], 0, &[TenderState::Captured]), 1, 1).order;
    let mut asked = 0;
    while let Some(next) = order.retry_at() {
        order = order.retry_refunds(next).unwrap().order;
        asked += 1;
    }
    let part = &order.ledger.refunds[0].parts[0];
    assert_eq!((asked, part.attempt, part.state), (6, 6, RefundState::FailedPermanent));
    // The answer comes after all.
    let refund = order.ledger.refunds[0].id;
    let done = order.report_refund(refund, &part_of("a"), &answer(true, 6, "r"), at(900_000)).unwrap().order;
    assert_eq!(done.ledger.refunds[0].parts[0].state, RefundState::Done);
}

/// What the node of each leg would take for all that is still to come, as it counts by itself.
fn asked_at_nodes(order: &Order) -> Vec<i64> {
    let asked = |due: &LegDue| {
        let leg = order.leg(due.leg).unwrap();
        let gross: i64 = due.lines.iter().map(|(_, minor)| minor).sum();
        let live: i64 = leg
            .lines
            .iter()
            .zip(&due.lines)
            .map(|(line, (_, minor))| {
                let pieces = line.units.buckets(leg.is_accepted).live();
                Share::new(*minor, line.units.quantity).of(pieces)
            })
            .sum();
        (live - (gross - due.due_minor) - order.ledger.collected(leg.no)).max(0)
    };
    order.dues().iter().map(asked).collect()
}

#[test]
fn what_is_due_at_the_handover_rises_again_when_an_authorization_is_lost() {
    let order = at_handover(
        &[(2, 1_000)],
        vec![tender("a", 1_000, TenderState::Authorized), tender("b", 1_000, TenderState::Due)],
    );
    assert_eq!(asked_at_nodes(&order), [1_000]);
    let lost = pay(&order, "a", TenderState::Failed, 1_000, "no");
    assert!(lost.events.contains(&Event::DueChanged), "{:?}", lost.events);
    assert_eq!(asked_at_nodes(&lost.order), [2_000]);
}

#[test]
fn a_price_that_is_lowered_lowers_what_the_node_takes() {
    let order = at_handover(&[(2, 1_000)], vec![tender("till", 2_000, TenderState::Due)]);
    let lowered = order.claim(&[(1, 1, 500)], "GOODWILL", at(3)).unwrap();
    assert_eq!(lowered.events, [Event::DueChanged]);
    assert_eq!(asked_at_nodes(&lowered.order), [1_500]);
}

#[test]
fn money_paid_elsewhere_moves_to_the_leg_that_still_has_something_to_pay() {
    let mut draft = draft(&[(3, 1_000)], 0, vec![tender("card", 3_000, TenderState::Due)]);
    (draft.terms, draft.total_minor) = (Terms::PayAtHandover, 3_000);
    draft.charges.clear();
    let legs = vec![leg("a", 1, &[(1, 2)]), leg("b", 1, &[(1, 1)])];
    let asked = Asked { groups: vec![group(1, &[(1, 3)])], token: legs[0].token, legs, missing: Vec::new() };
    let order =
        Order::place(OrderId::new(id::derived("order", "1")), draft, asked, &POLICY, at(0)).unwrap().order;
    let part = pay(&order, "card", TenderState::Captured, 1_500, "online").order;
    assert_eq!(asked_at_nodes(&part), [500, 1_000]);
    // One piece of the first leg is not found: the second leg is paid in part.
    let first = part.legs[0].id;
    let short = WorkReport {
        leg: first,
        lines: vec![(1, LegUnits { quantity: 2, to_pick: 1, short: 1, ..LegUnits::default() })],
        ..report(&part, true, |_, _| ())
    };
    let short = part.follow(&short, at(20)).unwrap();
    assert!(short.events.contains(&Event::DueChanged), "{:?}", short.events);
    assert_eq!(asked_at_nodes(&short.order), [0, 500]);
    let rest = pay(&short.order, "card", TenderState::Captured, 500, "online-2");
    assert_eq!((asked_at_nodes(&rest.order), rest.order.ledger.held()), (vec![0, 0], 2_000));
}

#[test]
fn a_payment_that_till_and_provider_both_report_counts_once() {
    let order = at_handover(&[(2, 1_000)], vec![tender("till", 2_000, TenderState::Due)]);
    let heard = pay(&order, "till", TenderState::Captured, 2_000, "tx-1").order;
    let mut done = report(&heard, true, |_, s| (s.to_pick, s.done) = (0, 2));
    done.paid =
        Some(Collected { kind: "card".to_owned(), amount_minor: 2_000, provider_ref: "tx-1".to_owned() });
    let after = heard.follow(&done, at(20)).unwrap().order;
    assert_laws(&after);
    assert_eq!(
        (after.status(), amounts(&after), after.ledger.tenders.len()),
        (Status::Completed, (2_000, 0, 0), 1)
    );
}

#[test]
fn a_void_that_was_asked_for_is_confirmed_and_nothing_else_is_lost() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let order = cancelled(&order, 1, 2).order;
    let confirmed = pay(&order, "a", TenderState::Voided, 2_000, "void-1");
    assert_eq!(
        (confirmed.order.ledger.tenders[0].state, amounts(&confirmed.order)),
        (TenderState::Authorized, (2_000, 0, 2_000))
    );
    assert!(confirmed.order.blocks.is_empty());
    // What it lets go of then was not asked for.
    let lost = pay(&confirmed.order, "a", TenderState::Voided, 2_000, "void-2");
    assert!(
        matches!(lost.events.as_slice(), [Event::PaymentLost { amount_minor: 2_000, .. }]),
        "{:?}",
        lost.events
    );
    // A part of what was asked, after a part was captured.
    let order = pay(&order, "a", TenderState::Captured, 2_000, "cap").order;
    let part = pay(&order, "a", TenderState::Voided, 1_000, "void-3").order;
    assert_eq!((part.ledger.tenders[0].state, amounts(&part)), (TenderState::Captured, (2_000, 0, 2_000)));
}

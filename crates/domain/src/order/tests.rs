//! What must hold of every order, whatever is asked of it in whatever order.

use super::testing::*;
use super::*;
use crate::id::{self, NodeId};
use crate::money::Money;

/// One order in each status, the unpaid placed one and the paid placed one apart.
fn in_each_state() -> Vec<(&'static str, Order)> {
    let confirmed = paid().confirm(serving(&paid()), at(1)).unwrap().order;
    let working = confirmed.clone().follow(&report(&confirmed, true, |_, _| ()), at(2)).unwrap().order;
    let completed = working.clone().follow(&all_done(&working), at(3)).unwrap().order;
    let cancelled = unpaid().cancel(&[], "TEST", at(1)).unwrap().0.order;
    let lapsed = unpaid().lapse(at(900)).unwrap().order;
    let expired = lapsed.clone().expire(at(1200)).unwrap().order;
    vec![
        ("PLACED unpaid", unpaid()),
        ("PLACED paid", paid()),
        ("CONFIRMED", confirmed),
        ("IN_FULFILLMENT", working),
        ("COMPLETED", completed),
        ("CANCELLED", cancelled),
        ("PAYMENT_LAPSED", lapsed),
        ("EXPIRED", expired),
    ]
}

/// Does a step by its name; answers the status after it, or that it was refused.
fn do_step(step: &str, order: &Order) -> Option<Status> {
    let order_ = order.clone();
    let changed = match step {
        "pay" => {
            order_.pay(&capture(order, 0), Hold::Held(again(order, "second", at(1100))), &POLICY, at(1100))
        }
        "fail" => order_.pay(
            &Payment { state: TenderState::Failed, ..capture(order, 0) },
            Hold::NotAsked,
            &POLICY,
            at(9),
        ),
        "void" => order_.pay(
            &Payment { state: TenderState::Voided, ..capture(order, 0) },
            Hold::NotAsked,
            &POLICY,
            at(9),
        ),
        "cancel all" => order_.cancel(&[], "TEST", at(9)).map(|(changed, _)| changed),
        "cancel one" => order_.cancel(&[(1, 1)], "TEST", at(9)).map(|(changed, _)| changed),
        "lapse" => order_.lapse(at(900)),
        "expire" => order_.expire(at(1200)),
        "lose hold" => order_.lose_hold(&[serving(order)], at(9)),
        "confirm" => order_.confirm(serving(order), at(9)),
        "accepted" => order_.follow(&report(order, true, |_, _| ()), at(9)),
        "done" => order_.follow(&all_done(order), at(9)),
        other => panic!("no step {other}"),
    };
    let changed = changed.ok()?;
    assert_laws(&changed.order);
    Some(changed.order.status())
}

#[test]
fn every_command_in_every_state_is_decided() {
    use Status::{Cancelled, Completed, Confirmed, Expired, InFulfillment, PaymentLapsed, Placed};
    let no = None;
    let steps = [
        "pay",
        "fail",
        "void",
        "cancel all",
        "cancel one",
        "lapse",
        "expire",
        "lose hold",
        "confirm",
        "accepted",
        "done",
    ];
    let (placed, working) = (Some(Placed), Some(InFulfillment));
    let (confirmed, done, ended) = (Some(Confirmed), Some(Completed), Some(Cancelled));
    // A confirmed, working or placed order that is asked to cancel stays where it is until the node answers.
    // A payment that is reported again changes nothing. Reports on the work are facts: what a node says about an order that it should not have is not refused here, unless
    // its leg was dropped.
    let expected = [
        (
            "PLACED unpaid",
            [placed, placed, placed, ended, placed, Some(PaymentLapsed), no, placed, placed, working, done],
        ),
        ("PLACED paid", [placed, no, no, placed, placed, no, no, no, confirmed, working, done]),
        ("CONFIRMED", [confirmed, no, no, confirmed, confirmed, no, no, no, no, working, done]),
        ("IN_FULFILLMENT", [working, no, no, working, working, no, no, no, no, working, done]),
        ("COMPLETED", [done, no, no, no, no, no, no, no, no, working, done]),
        ("CANCELLED", [ended, ended, ended, no, no, no, no, no, no, no, no]),
        (
            "PAYMENT_LAPSED",
            [
                placed,
                Some(PaymentLapsed),
                Some(PaymentLapsed),
                ended,
                Some(PaymentLapsed),
                no,
                Some(Expired),
                no,
                no,
                no,
                no,
            ],
        ),
        ("EXPIRED", [Some(Expired), Some(Expired), Some(Expired), no, no, no, no, no, no, no, no]),
    ];
    for ((name, order), (expected_name, row)) in in_each_state().iter().zip(expected) {
        assert_eq!(*name, expected_name);
        for (step, wanted) in steps.iter().zip(row) {
            assert_eq!(do_step(step, order), wanted, "{step} on {name}");
        }
    }
}

#[test]
fn a_paid_order_is_released_at_once_and_an_unpaid_one_waits() {
    assert!(paid().is_released());
    assert_eq!(paid().payment_due_at, None);
    let order = unpaid();
    assert!(!order.is_released());
    assert_eq!(order.payment_due_at, Some(at(900)));
    assert_eq!(order.due_at(&POLICY), Some(at(900)));
    let changed = order.clone().pay(&capture(&order, 0), Hold::NotAsked, &POLICY, at(10)).unwrap();
    assert_eq!(changed.events.last(), Some(&Event::Unblocked));
    assert_eq!((changed.order.version, changed.events.len()), (3, 2));
}

#[test]
fn a_hold_is_extended_until_the_stock_is_confirmed() {
    let order = paid();
    assert_eq!(order.due_at(&POLICY), Some(at(1880)));
    let leg = serving(&order);
    let confirmed = order.confirm(leg, at(1)).unwrap().order;
    assert_eq!(confirmed.due_at(&POLICY), confirmed.check_at(&POLICY));
}

#[test]
fn a_hold_is_extended_also_when_the_node_works_before_the_stock_is_confirmed() {
    let order = paid();
    let work = report(&order, true, |_, _| ());
    let allocated = order.follow(&work, at(5)).unwrap().order;
    assert_eq!(allocated.buckets().reserved, 0);
    assert_eq!(allocated.due_at(&POLICY), Some(at(1880)));
}

#[test]
fn a_late_payment_takes_new_stock_or_is_a_need() {
    let lapsed = unpaid().lapse(at(900)).unwrap().order;
    let payment = capture(&lapsed, 0);
    assert!(lapsed.needs_hold(&payment, at(950)));
    let odd = Payment { amount_minor: payment.amount_minor - 1, ..payment.clone() };
    assert!(!lapsed.needs_hold(&odd, at(950)), "what will be refused holds nothing first");
    assert_eq!(lapsed.clone().pay(&payment, Hold::NotAsked, &POLICY, at(950)), Err(Refusal::NeedsHold));
    let held = again(&lapsed, "second", at(950));
    let again = lapsed.clone().pay(&payment, Hold::Held(held.clone()), &POLICY, at(950)).unwrap().order;
    assert_eq!((serving(&again), again.legs[0].dropped), (held[0].id, Some(at(900))));
    assert_eq!(again.legs[1].no, 2);
    assert_eq!(again.status(), Status::Placed);
    let none = Hold::Refused { reason: "NO_STOCK".to_owned() };
    let refused = lapsed.pay(&payment, none, &POLICY, at(950)).unwrap();
    assert_laws(&refused.order);
    assert_eq!(names(&refused), ["Paid", "NeedOpened"], "there is no leg to release");
    let order = refused.order;
    assert_eq!((order.status(), order.lapsed_at, order.ledger.claimed()), (Status::Placed, None, 0));
    assert_eq!((order.needs[0].leg, order.needs[0].open()), (None, vec![(1, 3), (2, 2)]));
    assert_eq!(order.needs[0].reason, "NO_STOCK");
}

#[test]
fn a_payment_after_the_promised_time_moves_the_promise() {
    let order = Order { payment_due_at: Some(at(9_000)), ..unpaid() };
    let payment = capture(&order, 0);
    let (just, late) = (at(3_599), at(3_600));
    assert!(!order.needs_hold(&payment, just) && order.needs_hold(&payment, late));
    let released = order.clone().pay(&payment, Hold::NotAsked, &POLICY, just).unwrap();
    assert_eq!(released.order.legs.len(), 1);
    assert_eq!(order.clone().pay(&payment, Hold::NotAsked, &POLICY, late), Err(Refusal::NeedsHold));
    let mut legs = again(&order, "later", late);
    legs[0].window = Span { start: at(5_400), end: at(9_000) };
    let moved = order.clone().pay(&payment, Hold::Held(legs.clone()), &POLICY, late).unwrap();
    assert_laws(&moved.order);
    let [Event::Paid { .. }, Event::PromiseMoved { moves }, Event::Unblocked] = moved.events.as_slice()
    else {
        panic!("{:?}", moved.events)
    };
    assert_eq!((moves[0].from, moves[0].to), (order.legs[0].window, legs[0].window));
    assert_eq!((moved.order.legs[0].is_live(), serving(&moved.order)), (false, legs[0].id));
    // Nothing can be promised in time any more: the pieces are looked for, and the customer is asked.
    let refused = Hold::Refused { reason: "LATER_THAN_WANTED".to_owned() };
    let open = order.pay(&payment, refused, &POLICY, late).unwrap();
    assert_laws(&open.order);
    assert_eq!(names(&open), ["Paid", "NeedOpened"]);
    assert_eq!((open.order.status(), open.order.ledger.claimed()), (Status::Placed, 0));
    assert_eq!(open.order.needs[0].reason, "LATER_THAN_WANTED");
    assert!(!open.order.legs[0].is_live());
    let dropped = dropped(open.order, at(3_700));
    assert_laws(&dropped);
    assert_eq!((dropped.status(), dropped.ledger.claimed()), (Status::Cancelled, 417));
}

#[test]
fn money_after_the_end_goes_back() {
    for (_, order) in in_each_state().into_iter().filter(|(name, _)| ["CANCELLED", "EXPIRED"].contains(name))
    {
        let changed = order.clone().pay(&capture(&order, 0), Hold::NotAsked, &POLICY, at(2000)).unwrap();
        assert_eq!(changed.order.ledger.claimed(), 417);
        assert!(matches!(
            changed.events.as_slice(),
            [Event::ExcessPaid { .. }, Event::RefundRequested { .. }]
        ));
    }
}

#[test]
fn money_for_goods_that_were_handed_over_in_part_goes_back_as_overpaid() {
    let draft = Draft {
        terms: Terms::PayAtHandover,
        charges: Vec::new(),
        ..draft(&[(2, 100)], 0, vec![tender("till", 200, TenderState::Due)])
    };
    let order = place(draft).order;
    assert_eq!(order.dues()[0].due_minor, 200);
    let half = report(&order, true, |_, s| (s.to_pick, s.done, s.short) = (0, 1, 1));
    let order = dropped(order.follow(&half, at(5)).unwrap().order, at(5));
    let changed = order.clone().pay(&capture(&order, 0), Hold::NotAsked, &POLICY, at(6)).unwrap();
    let refund = &changed.order.ledger.refunds[0];
    assert_eq!((refund.amount_minor, refund.reason.as_str()), (100, "OVERPAID"));
}

#[test]
fn cancelling_what_is_not_paid_releases_the_rest() {
    let half = order(&[(2, 100), (2, 100)], 0, &[TenderState::Captured, TenderState::Due]);
    assert!(!half.is_released());
    let (changed, outcome) = half.cancel(&[(2, 2)], "TEST", at(5)).unwrap();
    assert_eq!(outcome, Outcome::Cancelled);
    assert_eq!(changed.events.last(), Some(&Event::Unblocked));
    assert_eq!(changed.order.ledger.claimed(), 0);
}

#[test]
fn a_cancel_of_released_pieces_waits_for_the_node_and_pays_then() {
    let order = paid();
    let (asked, outcome) = order.cancel(&[(1, 1)], "CHANGED_MIND", at(5)).unwrap();
    assert_eq!(outcome, Outcome::Pending);
    assert_eq!(asked.order.ledger.claimed(), 0);
    let twice = asked.order.clone().cancel(&[(1, 3)], "CHANGED_MIND", at(6));
    assert_eq!(twice, Err(Refusal::NotCancellable { line: 1, asked: 3, left: 2 }));
    let mut granted = report(&asked.order, true, |line, s| {
        if line == 1 {
            (s.to_pick, s.cancelled) = (2, 1);
        }
    });
    granted.reason = "CHANGED_MIND".to_owned();
    granted.answer = Some(Answer { granted: vec![(1, 1)], refused: Vec::new() });
    let after = asked.order.follow(&granted, at(7)).unwrap();
    assert_eq!(after.order.lines[0].cancel_requested, 0);
    assert_eq!(after.order.lines[0].buckets.cancelled, 1);
    assert_eq!(after.order.ledger.claimed(), 100, "the charge stays until the last piece is gone");
    assert!(after.events.iter().any(|e| matches!(e, Event::RefundRequested { .. })));
}

#[test]
fn a_refused_cancel_pays_nothing_back() {
    let (asked, _) = paid().cancel(&[], "CHANGED_MIND", at(5)).unwrap();
    let mut refused = all_done(&asked.order);
    refused.answer = Some(Answer { granted: Vec::new(), refused: vec![(1, 3), (2, 2)] });
    let after = asked.order.follow(&refused, at(7)).unwrap();
    assert_eq!(after.order.ledger.claimed(), 0);
    assert_eq!(after.order.lines[0].cancel_requested, 0);
    assert_eq!(after.order.status(), Status::Completed);
}

#[test]
fn the_same_report_twice_changes_nothing() {
    let order = paid();
    let first = order
        .clone()
        .follow(&report(&order, true, |_, s| (s.to_pick, s.short) = (0, s.quantity)), at(5))
        .unwrap();
    assert_eq!((first.order.needs.len(), first.order.status()), (1, Status::Placed));
    assert_eq!(first.order.ledger.claimed(), 0, "an open need pays nothing back");
    let again = report(&order, true, |_, s| (s.to_pick, s.short) = (0, s.quantity));
    let after = first.order.follow(&again, at(6)).unwrap();
    assert!(after.events.is_empty());
    let dropped = dropped(after.order, at(7));
    assert_eq!((dropped.status(), dropped.ledger.claimed()), (Status::Cancelled, dropped.total_minor));
    assert!(dropped.follow(&again, at(8)).unwrap().events.is_empty());
}

#[test]
fn a_report_that_does_not_add_up_is_refused() {
    let order = paid();
    for wrong in [
        report(&order, true, |_, s| s.picked = 1),
        report(&order, true, |_, s| (s.to_pick, s.done) = (-1, s.quantity + 1)),
        report(&order, true, |_, s| (s.quantity, s.to_pick) = (9, 9)),
        report(&order, true, |_, s| s.done = i64::MAX),
    ] {
        assert!(matches!(order.clone().follow(&wrong, at(1)), Err(Refusal::BadSnapshot { .. })));
    }
    let mut other = report(&order, true, |_, _| ());
    let known = order.follow(&other, at(1)).unwrap().order;
    other.leg = FulfillmentId::new(id::derived("fo", "2"));
    assert!(matches!(known.follow(&other, at(1)), Err(Refusal::OtherFulfillment { .. })));
}

#[test]
fn totals_are_recomputed() {
    let mut wrong = draft(&[(3, 100)], 7, vec![tender("a", 307, TenderState::Due)]);
    assert!(wrong.flaws().is_empty());
    wrong.total_minor = 306;
    let said: Vec<String> =
        wrong.flaws().into_iter().map(|f| format!("{} {}", f.field, f.description)).collect();
    assert_eq!(
        said,
        [
            "total is 3.06 GBP, but lines and charges add up to 3.07 GBP",
            "tenders add up to 3.07 GBP, but the total is 3.06 GBP"
        ]
    );
    wrong.lines[0].amounts.discount = 301;
    wrong.charges[0].amount_minor = -1;
    wrong.tenders.push(tender("a", 0, TenderState::Due));
    assert_eq!(wrong.flaws()[3].description, "must be from 0.01 GBP to 10000000000000.00 GBP");
    let fields: Vec<String> = wrong.flaws().into_iter().map(|f| f.field).collect();
    assert_eq!(
        fields,
        ["lines[0].discount", "charges[0].amount", "tenders[1].tender_id", "tenders[1].amount"]
    );
}

#[test]
fn an_order_of_free_goods_needs_no_tender() {
    let free = draft(&[(2, 0)], 0, Vec::new());
    let changed = place(free);
    assert!(changed.order.is_released());
    let none = draft(&[(2, 5)], 0, Vec::new());
    assert_eq!(none.flaws()[0].field, "tenders");
    let later = Draft { terms: Terms::OnAccount, ..none };
    assert!(later.flaws().is_empty());
}

#[test]
fn refusals_are_said_in_words_and_with_the_currency() {
    let said = |refusal: Refusal| refusal.to_string();
    let [due, given] = [5_000, 100].map(|minor| Money::new(minor, Currency::new("CNY").unwrap()));
    assert_eq!(
        said(Refusal::AmountDiffers { tender: "t1".to_owned(), due, given }),
        "tender t1 is 50.00 CNY, not 1.00 CNY"
    );
    let one = Refusal::NotCancellable { line: 2, asked: 3, left: 1 };
    assert_eq!(said(one), "only 1 piece of line 2 can still be cancelled");
    let over = Refusal::Over { step: "cancel", status: Status::Cancelled };
    assert_eq!(said(over), "cannot cancel: the order is cancelled");
    let (tender, from, to) = ("t1".to_owned(), TenderState::Captured, TenderState::Voided);
    assert_eq!(
        said(Refusal::TenderState { tender, from, to }),
        "tender t1 is captured and cannot become voided"
    );
}

#[test]
fn a_promise_that_moves_with_a_late_payment_is_named() {
    let lapsed = unpaid().lapse(at(900)).unwrap().order;
    let moves = |legs: Vec<Leg>| {
        let payment = capture(&lapsed, 0);
        let paid = lapsed.clone().pay(&payment, Hold::Held(legs), &POLICY, at(950)).unwrap();
        let moved = paid.events.into_iter().find_map(|event| match event {
            Event::PromiseMoved { moves } => Some(moves),
            _ => None,
        });
        moved.unwrap_or_default()
    };
    let legs = again(&lapsed, "second", at(950));
    assert_eq!(moves(legs.clone()), []);
    let mut later = legs.clone();
    later[0].window.start = at(86_400);
    let to = later[0].window;
    let expected = Move { group: 1, from: legs[0].window, to, node: legs[0].node.clone() };
    assert_eq!(moves(later), [expected]);
    let mut elsewhere = legs;
    elsewhere[0].node = NodeId::new("store-2").unwrap();
    assert_eq!(moves(elsewhere)[0].node.as_str(), "store-2");
}

#[test]
fn a_hold_that_is_taken_again_for_another_time_says_so() {
    let order = unpaid();
    let token = order.legs[0].token.unwrap();
    let again = |start| {
        let mut new = leg("second", 1, &[(1, 3), (2, 2)]);
        new.window.start = at(start);
        order.clone().replace_legs(token, vec![new], at(20)).unwrap()
    };
    assert_eq!(again(3_600).events, []);
    let moved = again(7_000);
    assert!(matches!(moved.events.as_slice(), [Event::PromiseMoved { .. }]));
    assert_eq!((moved.order.version, moved.order.legs[1].window.start), (2, at(7_000)));
    assert_laws(&moved.order);
}

#[test]
fn an_order_whose_payment_is_lost_goes_on_when_what_is_left_is_paid() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized; 2]);
    let gone = Payment { state: TenderState::Failed, ..capture(&order, 1) };
    let lost = order.pay(&gone, Hold::NotAsked, &POLICY, at(5)).unwrap().order;
    assert!(!lost.is_released());
    // The node grants a cancel of what is not paid any more.
    let (asked, _) = lost.clone().cancel(&[(1, 2)], "CHANGED_MIND", at(6)).unwrap();
    let mut granted = report(&asked.order, true, |_, s| (s.to_pick, s.cancelled) = (2, 2));
    granted.answer = Some(Answer { granted: vec![(1, 2)], refused: Vec::new() });
    let cancelled = asked.order.follow(&granted, at(7)).unwrap();
    assert_laws(&cancelled.order);
    assert!(cancelled.events.contains(&Event::Unblocked) && cancelled.order.is_released());
    // Or the node fails it, and the customer does without.
    let short = report(&lost, true, |_, s| (s.to_pick, s.short) = (2, 2));
    let failed = lost.follow(&short, at(7)).unwrap().order;
    assert!(!failed.is_released());
    let need = failed.needs[0].id;
    let without = failed.choose_drop(need, at(8)).unwrap();
    assert_laws(&without.order);
    assert!(without.events.contains(&Event::Unblocked) && without.order.is_released());
}

//! Refunds: which captures they are taken from, and which attempt a report answers.

use super::testing::*;
use super::*;

fn pay(order: &Order, state: TenderState, amount_minor: i64, provider_ref: &str) -> Order {
    let tender = "a".to_owned();
    let payment = Payment { tender, state, amount_minor, provider_ref: provider_ref.to_owned() };
    let paid = order.clone().pay(&payment, Hold::NotAsked, &POLICY, at(10)).unwrap().order;
    assert_laws(&paid);
    paid
}

/// The node does not find this many pieces of line 1, and the customer does without them.
fn short(order: &Order, pieces: i64) -> Order {
    let short =
        report(order, true, |_, units| (units.to_pick, units.short) = (units.quantity - pieces, pieces));
    let after = order.clone().follow(&short, at(20)).unwrap().order;
    assert_laws(&after);
    let after = dropped(after, at(21));
    assert_laws(&after);
    after
}

/// The amounts of a refund, each with the reference of its capture.
fn parts(order: &Order, refund: usize) -> Vec<(&str, i64)> {
    let parts = order.ledger.refunds[refund].parts.iter();
    parts.map(|part| (part.provider_ref.as_str(), part.amount_minor)).collect()
}

#[test]
fn a_refund_is_taken_from_captures_newest_first_and_never_more_than_one_has_left() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let order = pay(&order, TenderState::Captured, 1_500, "cap-1");
    let order = pay(&order, TenderState::Captured, 2_500, "cap-2");
    let one = short(&order, 1);
    assert_eq!(parts(&one, 0), [("cap-2", 1_000)]);
    let three = short(&one, 3);
    assert_eq!(parts(&three, 1), [("cap-2", 1_500), ("cap-1", 500)]);
    let all = short(&three, 4);
    assert_eq!(parts(&all, 2), [("cap-1", 1_000)]);
}

#[test]
fn a_void_after_a_capture_leaves_the_reference_of_the_capture() {
    let authorized = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let order = pay(&authorized, TenderState::Captured, 1_000, "cap-1");
    for state in [TenderState::Voided, TenderState::Failed] {
        let lost = pay(&order, state, 3_000, "void-1");
        assert_eq!(lost.ledger.tenders[0].provider_ref, "cap-1");
        let again = pay(&lost, state, 3_000, "void-1");
        assert_eq!(again, lost, "the same report again");
        let all = short(&lost, 4);
        assert_eq!(parts(&all, 0), [("cap-1", 1_000)]);
    }
}

#[test]
fn a_capture_without_a_reference_has_that_of_what_was_authorized() {
    let order = order(&[(1, 1_000)], 0, &[TenderState::Due]);
    let order = pay(&order, TenderState::Authorized, 1_000, "auth-1");
    let order = short(&pay(&order, TenderState::Captured, 1_000, ""), 1);
    assert_eq!(parts(&order, 0), [("auth-1", 1_000)]);
}

#[test]
fn a_report_names_its_part_where_the_tender_has_several() {
    let order = order(&[(2, 1_000)], 0, &[TenderState::Authorized]);
    let order = pay(&order, TenderState::Captured, 500, "cap-1");
    let order = short(&pay(&order, TenderState::Captured, 1_500, "cap-2"), 2);
    let refund = order.ledger.refunds[0].id;
    let report = |part: &PartId| order.clone().report_refund(refund, part, &answer(true, 1, "back"), at(30));
    let references = vec!["cap-2".to_owned(), "cap-1".to_owned()];
    let unnamed = Refusal::PartNotNamed { tender: "a".to_owned(), references: references.clone() };
    assert_eq!(report(&part_of("a")), Err(unnamed));
    let other = PartId { provider_ref: Some("cap-3".to_owned()), ..part_of("a") };
    assert_eq!(report(&other), Err(Refusal::UnknownPart { tender: "a".to_owned(), references }));
    let named = PartId { provider_ref: Some("cap-1".to_owned()), ..part_of("a") };
    let done = report(&named).unwrap().order;
    let states: Vec<RefundState> = done.ledger.refunds[0].parts.iter().map(|part| part.state).collect();
    assert_eq!(states, [RefundState::Pending, RefundState::Done]);
    assert_eq!(done.ledger.sums()[0].refunded, 500);
}

#[test]
fn a_late_report_of_an_attempt_counts_only_when_money_has_moved() {
    let order = short(&order(&[(1, 1_000)], 0, &[TenderState::Captured]), 1);
    let (refund, part) = (order.ledger.refunds[0].id, part_of("a"));
    let report = |order: &Order, is_done, attempt, text: &str| {
        order.clone().report_refund(refund, &part, &answer(is_done, attempt, text), at(30))
    };
    let failed = report(&order, false, 1, "LIMIT").unwrap().order;
    let again = failed.clone().retry_refunds(failed.retry_at().unwrap()).unwrap().order;
    for text in ["LIMIT", "OTHER"] {
        let late = report(&again, false, 1, text).unwrap();
        assert_eq!((&late.order, late.events.len()), (&again, 0), "attempt 2 has no answer yet");
    }
    assert_eq!(report(&again, false, 3, "LIMIT"), Err(Refusal::UnknownAttempt { attempt: 3, last: 2 }));
    let done = report(&again, true, 1, "back").unwrap().order;
    assert_eq!((done.ledger.refunds[0].parts[0].state, done.retry_at()), (RefundState::Done, None));
    assert!(report(&done, false, 1, "LIMIT").unwrap().events.is_empty());
    assert!(report(&done, true, 2, "back").unwrap().events.is_empty(), "the same money");
}

#[test]
fn a_tender_is_not_added_under_the_name_that_a_refund_was_redirected_to() {
    let mut order = short(&order(&[(2, 1_000)], 0, &[TenderState::Captured]), 1);
    while let Some(next) = order.retry_at() {
        order = order.retry_refunds(next).unwrap().order;
    }
    let to =
        Redirect { tender: "bank".to_owned(), kind: "bank".to_owned(), provider_ref: "handle".to_owned() };
    let refund = order.ledger.refunds[0].id;
    let order = order.redirect_refund(refund, &part_of("a"), &to, at(40)).unwrap().order;
    let added = tender("bank", 1_000, TenderState::Due);
    let refused = order.add_tender(&added, Hold::NotAsked, &POLICY, at(41));
    assert_eq!(refused, Err(Refusal::TenderTaken { tender: "bank".to_owned() }));
}

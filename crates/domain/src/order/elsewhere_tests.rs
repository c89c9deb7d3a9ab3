//! Orders that were sold elsewhere: what can't be held is a need at once, and is dropped for the channel's reason.

use super::need::MAX_WAIT_MS;
use super::seek::rungs;
use super::testing::*;
use super::*;
use crate::id;
use crate::time::after_ms;

fn missing(group: u32, lines: &[(LineNo, i64)]) -> Missing {
    Missing { group, lines: lines.to_vec(), reason: "NO_STOCK".to_owned() }
}

/// Three pieces for 1.00 each in a group and two for 0.50 each in another, paid.
fn sold(code: &str) -> Draft {
    let draft = draft(&[(3, 100), (2, 50)], 0, vec![tender("a", 400, TenderState::Captured)]);
    Draft { acceptance: Acceptance::sold_elsewhere(code), ..draft }
}

/// The first group is held, if it is, and the rest is missing.
fn asked_for(is_held: bool) -> Asked {
    let groups = vec![group(1, &[(1, 3)]), group(2, &[(2, 2)])];
    let held = leg("first", 1, &[(1, 3)]);
    let mut lacking = vec![missing(2, &[(2, 2)])];
    if is_held {
        return Asked { groups, token: held.token, legs: vec![held], missing: lacking };
    }
    lacking.insert(0, missing(1, &[(1, 3)]));
    Asked { groups, token: None, legs: Vec::new(), missing: lacking }
}

fn try_place(draft: Draft, asked: Asked) -> Result<Changed, Vec<Flaw>> {
    Order::place(OrderId::new(id::derived("order", "1")), draft, asked, &POLICY, at(0))
}

fn fields(refused: Result<Changed, Vec<Flaw>>) -> Vec<String> {
    refused.unwrap_err().into_iter().map(|flaw| flaw.field).collect()
}

#[test]
fn what_cannot_be_held_is_a_need_at_once_and_the_rest_goes_to_its_node() {
    let placed = try_place(sold("GONE"), asked_for(true)).unwrap();
    assert_laws(&placed.order);
    assert_eq!(names(&placed), ["Placed", "NeedOpened"]);
    let order = placed.order;
    assert_eq!((order.version, order.status(), order.blocks.len()), (2, Status::Placed, 0));
    assert_eq!((order.buckets().reserved, order.buckets().open, order.seek_at()), (3, 2, Some(at(0))));
    assert_eq!(order.work().count(), 1);
    let confirmed = order.clone().confirm(serving(&order), at(1)).unwrap();
    assert_eq!(confirmed.order.status(), Status::Placed, "pieces are still looked for");
    let found = reroute(&confirmed.order, "found").order;
    assert_eq!(found.offer_number(found.legs.last().unwrap()), 1);
    let done = found.clone().confirm(serving(&found), at(21)).unwrap();
    assert_eq!(done.order.status(), Status::Confirmed);
}

#[test]
fn an_order_of_which_nothing_can_be_held_has_no_legs_and_ends_for_the_reason_of_its_channel() {
    for (code, reason) in [("MKT_12", "MKT_12"), ("", "NOT_AVAILABLE")] {
        let order = try_place(sold(code), asked_for(false)).unwrap().order;
        assert_laws(&order);
        assert_eq!((order.legs.len(), order.needs.len(), order.status()), (0, 2, Status::Placed));
        let first = order.needs[0].id;
        let order = order.choose_drop(first, at(5)).unwrap();
        let Event::Cancelled { reason: said, .. } = &order.events[1] else { panic!("{:?}", order.events) };
        assert_eq!(said, reason);
        let order = order.order;
        assert_eq!((order.status(), order.ledger.claimed()), (Status::Placed, 300));
        let need = order.needs[1].id;
        let asked = order.ask(need, Vec::new(), &POLICY, at(6)).unwrap().order;
        let end = asked.clone().stay_silent(asked.silent_at().unwrap()).unwrap().order;
        assert_laws(&end);
        assert_eq!((end.status(), end.ledger.claimed()), (Status::Cancelled, 400));
        assert!(end.lines.iter().all(|line| line.cancel_reason == reason), "{:?}", end.lines);
        assert!(end.ledger.refunds.iter().all(|refund| refund.reason == reason));
        assert_eq!(end.needs[0].reason, "NO_STOCK", "why it was not there is still known");
    }
}

#[test]
fn what_a_store_fails_later_is_dropped_for_the_reason_of_the_channel_and_a_cancel_for_its_own() {
    let order = try_place(sold("GONE"), asked_for(true)).unwrap().order;
    let failed = fail(&order, serving(&order), 1).order;
    let need = failed.needs.last().unwrap().id;
    let dropped = failed.clone().choose_drop(need, at(30)).unwrap().order;
    assert_eq!(dropped.lines[0].cancel_reason, "GONE");
    let (cancelled, _) = failed.cancel(&[(2, 2)], "CHANGED_MIND", at(30)).unwrap();
    assert_eq!(cancelled.order.lines[1].cancel_reason, "CHANGED_MIND");
}

#[test]
fn nothing_is_left_to_pay_before_fulfillment_and_only_such_an_order_may_miss_pieces() {
    let unpaid = |terms| {
        let mut draft = Draft { terms, ..sold("") };
        draft.tenders[0].state = TenderState::Due;
        draft
    };
    assert_eq!(fields(try_place(unpaid(Terms::Prepaid), asked_for(true))), ["tenders[0].state"]);
    assert!(try_place(unpaid(Terms::OnAccount), asked_for(true)).is_ok());
    let checked = Draft { acceptance: Acceptance::Checked, ..sold("") };
    assert_eq!(fields(try_place(checked, asked_for(true))), ["groups"]);
    let twice = Asked { missing: vec![missing(2, &[(2, 2)]), missing(2, &[(2, 1)])], ..asked_for(true) };
    assert_eq!(fields(try_place(sold(""), twice)), ["groups"]);
    let too_little = Asked { missing: Vec::new(), ..asked_for(true) };
    assert_eq!(fields(try_place(sold(""), too_little)), ["groups"]);
}

#[test]
fn what_was_never_promised_is_looked_for_in_parts_and_at_any_time_but_as_its_customer_asked() {
    let ladder = |change: fn(&mut Group)| {
        let mut asked = asked_for(true);
        change(&mut asked.groups[1]);
        let order = try_place(sold(""), asked).unwrap().order;
        let rungs = rungs(&order, &order.needs[0], &Consent::default(), &Bounds::default(), at(50_000));
        rungs.into_iter().map(|rung| (rung.latest, rung.parts)).collect::<Vec<_>>()
    };
    let month = after_ms(at(0), MAX_WAIT_MS);
    assert_eq!(ladder(|_| ()), [(month, 1), (month, 3)]);
    let until = |group: &mut Group| group.not_later_than = Some(at(60_000));
    assert_eq!(ladder(until), [(at(60_000), 1), (at(60_000), 3)]);
    let window = |group: &mut Group| group.wanted = Some(Span { start: at(0), end: at(49_000) });
    assert_eq!(ladder(window), [], "its time is over: the customer is asked");
}

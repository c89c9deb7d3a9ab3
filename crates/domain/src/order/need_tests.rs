//! Needs, step by step: what a node failed, and what becomes of it.

use super::need::{MAX_NEEDS, MAX_WAIT_MS};
use super::testing::*;
use super::*;
use crate::fulfillment::method::Method;
use crate::id::NeedId;
use crate::time::{after_ms, micros};

fn newest(order: &Order) -> NeedId {
    order.needs.last().unwrap().id
}

/// The customer is asked about the newest need.
fn asked_about(order: &Order, places: &[(&str, i64)], second: i64) -> Changed {
    let places = places.iter().map(|(node, start)| (OptionKind::OtherNode, quote(node, *start))).collect();
    let changed = order.clone().ask(newest(order), places, &POLICY, at(second)).unwrap();
    assert_laws(&changed.order);
    changed
}

fn four() -> Order {
    order(&[(4, 1_000)], 0, &[TenderState::Captured])
}

#[test]
fn an_open_need_refunds_nothing_and_a_drop_exactly_its_pieces() {
    let order = four();
    let failed = fail(&order, serving(&order), 2);
    assert_eq!(names(&failed), ["Progressed", "NeedOpened"]);
    let order = failed.order;
    let need = &order.needs[0];
    assert_eq!(
        (need.state(), need.offers, need.reason.as_str()),
        (NeedState::Seeking, 1, "REJECTED_TOO_BUSY")
    );
    assert_eq!((order.buckets().open, order.buckets().cancelled, order.ledger.claimed()), (2, 0, 0));
    let dropped = order.clone().choose_drop(need.id, at(30)).unwrap();
    assert_laws(&dropped.order);
    assert_eq!(names(&dropped), ["NeedClosed", "Cancelled", "RefundRequested"]);
    let Event::NeedClosed { how: How::Chosen, let_go, .. } = &dropped.events[0] else { panic!() };
    assert_eq!(let_go, &[(serving(&order), vec![(1, 2)])]);
    let order = dropped.order;
    assert_eq!((order.needs[0].state(), order.ledger.claimed()), (NeedState::Dropped, 2_000));
    assert_eq!(order.lines[0].cancel_reason, "REJECTED_TOO_BUSY");
    let again = order.clone().choose_drop(order.needs[0].id, at(31));
    assert_eq!(again, Err(Refusal::NeedOver { need: order.needs[0].id, state: NeedState::Dropped }));
}

#[test]
fn pieces_that_fail_one_by_one_join_one_need_until_it_is_looked_for() {
    let order = four();
    let first = serving(&order);
    let order = fail(&fail(&order, first, 1).order, first, 1).order;
    assert_eq!((order.needs.len(), order.needs[0].open()), (1, vec![(1, 2)]));
    let mut sought = order;
    sought.sought(newest(&sought), &POLICY, at(12));
    assert_eq!((sought.needs[0].tries, sought.seek_at()), (1, Some(at(12 + 60))), "a fifth of five minutes");
    let order = fail(&sought, first, 1).order;
    assert_eq!((order.needs.len(), order.needs[1].open()), (2, vec![(1, 1)]));
    assert_ne!(order.needs[0].id, order.needs[1].id);
    let waits: Vec<i64> = (0..4)
        .scan(order, |order, _| {
            order.sought(order.needs[0].id, &POLICY, at(100));
            order.needs[0].seek_at.map(|at_| (micros(at_) - micros(at(100))) / 60_000_000)
        })
        .collect();
    assert_eq!(waits, [5, 15, 60, 60]);
}

#[test]
fn an_order_has_a_limited_number_of_needs() {
    let pieces = i64::try_from(MAX_NEEDS).unwrap() + 3;
    let mut order = order(&[(pieces, 100)], 0, &[TenderState::Captured]);
    let first = serving(&order);
    for _ in 0..pieces {
        order = order
            .clone()
            .follow(&reports(&order, first, |u| (u.to_pick, u.short) = (u.to_pick - 1, u.short + 1)), at(10))
            .unwrap()
            .order;
        order.sought(newest(&order), &POLICY, at(10));
    }
    assert_laws(&order);
    assert_eq!((order.needs.len(), order.needs.last().unwrap().open()), (MAX_NEEDS, vec![(1, 4)]));
}

#[test]
fn a_need_is_only_given_legs_for_its_open_pieces() {
    let order = four();
    let order = fail(&order, serving(&order), 2).order;
    let id = newest(&order);
    let give = |order: &Order, id, legs| order.clone().reroute(id, legs, at(11)).map(|changed| changed.order);
    let with = |pieces| leg("second", 1, &[(1, pieces)]);
    let other = Err(Refusal::OtherPieces { need: id });
    for legs in
        [vec![], vec![with(1)], vec![with(3)], vec![Leg { group: 2, ..with(2) }], vec![with(2), with(0)]]
    {
        assert_eq!(give(&order, id, legs), other);
    }
    let unknown = Need::id_of(order.id, None, 1);
    assert_eq!(give(&order, unknown, vec![with(2)]), Err(Refusal::UnknownNeed { need: unknown }));
    let done =
        give(&order, id, vec![with(1), Leg { id: FulfillmentId::new(unknown.uuid()), ..with(1) }]).unwrap();
    assert_laws(&done);
    assert_eq!(
        done.legs.iter().map(|leg| (leg.no, leg.need)).collect::<Vec<_>>(),
        [(1, None), (2, Some(1)), (3, Some(1))]
    );
    assert_eq!(
        give(&done, id, vec![with(2)]),
        Err(Refusal::NeedOver { need: id, state: NeedState::Sourced })
    );
}

#[test]
fn who_is_asked_holds_nothing_else_back() {
    let order = four();
    let first = serving(&order);
    let order = fail(&order.confirm(first, at(1)).unwrap().order, first, 2).order;
    let asked = asked_about(&order, &[("near", 9_000), ("far", 90_000)], 100);
    assert_eq!(names(&asked), ["OptionsOffered"]);
    let order = asked.order;
    assert_eq!((order.status(), order.is_released()), (Status::InFulfillment, true));
    let need = &order.needs[0];
    let ends: Vec<(OptionKind, i64)> =
        need.options.iter().map(|way| (way.kind, way.valid_until.as_second())).collect();
    let day = 100 + 24 * 3_600;
    let expected = [
        (OptionKind::OtherNode, 9_000 + 3_600),
        (OptionKind::OtherNode, day),
        (OptionKind::Wait, day),
        (OptionKind::Drop, day),
    ];
    assert_eq!(ends, expected);
    // The other pieces are picked, and found goods need no answer. Neither is a release of the order.
    let order = followed(&order, &reports(&order, first, |u| (u.to_pick, u.picked) = (0, 2))).order;
    assert_eq!(order.buckets().picked, 2);
    let found = reroute(&order, "second");
    assert_eq!(names(&found), ["Rerouted"]);
    assert!(found.order.blocks.is_empty());
}

#[test]
fn who_does_not_answer_does_without() {
    let order = four();
    let asked = asked_about(&fail(&order, serving(&order), 4).order, &[], 100).order;
    let ends = at(100 + 24 * 3_600);
    assert_eq!((asked.status(), asked.blocks.contains(&Block::Stock)), (Status::Placed, true));
    assert_eq!((asked.silent_at(), asked.seek_at()), (Some(ends), Some(at(160))));
    assert_eq!(asked.due_at(&POLICY), Some(at(160)), "it is still looked for");
    let mut later = asked.clone();
    later.seek_again(newest(&asked), at(1_000_000));
    assert_eq!(later.due_at(&POLICY), Some(ends));
    assert_eq!(asked.clone().stay_silent(at(86_499)), Err(Refusal::NotDue));
    let gone = asked.stay_silent(ends).unwrap();
    assert_laws(&gone.order);
    assert_eq!(names(&gone), ["NeedClosed", "Cancelled", "RefundRequested"]);
    assert!(matches!(&gone.events[0], Event::NeedClosed { how: How::NoAnswer, .. }));
    assert_eq!((gone.order.status(), gone.order.ledger.claimed()), (Status::Cancelled, 4_000));
    assert_eq!((gone.order.due_at(&POLICY), gone.order.blocks.len()), (gone.order.retry_at(), 0));
}

#[test]
fn a_customer_waits_for_thirty_days_at_most() {
    let order = four();
    let order = fail(&order, serving(&order), 1).order;
    assert_eq!(order.clone().choose_wait(newest(&order), &POLICY, at(20)), Err(Refusal::NotDue));
    let mut order = asked_about(&order, &[("near", 9_000)], 100).order;
    let old = order.needs[0].options.clone();
    let waited = order.clone().choose_wait(newest(&order), &POLICY, at(500)).unwrap();
    assert_eq!(
        (names(&waited), waited.order.silent_at()),
        (vec!["OptionsOffered".to_owned()], Some(at(500 + 86_400)))
    );
    let new = &waited.order.needs[0].options;
    assert!(new.iter().map(|way| way.id).eq(old.iter().map(|way| way.id)), "the same ways have the same ids");
    let last = after_ms(at(10), MAX_WAIT_MS);
    for day in 1..40 {
        let Ok(waited) = order.clone().choose_wait(newest(&order), &POLICY, at(day * 86_400)) else { break };
        order = waited.order;
        assert_laws(&order);
    }
    assert_eq!(order.silent_at(), Some(last));
}

#[test]
fn the_same_places_are_not_offered_twice() {
    let order = four();
    let asked = asked_about(&fail(&order, serving(&order), 1).order, &[("near", 9_000), ("far", 9_500)], 100);
    let Event::OptionsOffered { let_go, .. } = &asked.events[0] else { panic!() };
    assert_eq!(let_go.len(), 1, "the claim at the first node is given up");
    let same = asked_about(&asked.order, &[("far", 9_800), ("near", 9_000)], 200);
    assert_eq!(
        (same.events.len(), same.order.version, same.order.updated_at),
        (0, asked.order.version, at(100))
    );
    assert_eq!((same.order.needs[0].tries, same.order.needs[0].seek_at), (2, Some(at(500))));
    assert_eq!(same.order.needs[0].options, asked.order.needs[0].options);
    let other = asked_about(&same.order, &[("near", 9_000)], 500);
    let Event::OptionsOffered { need, let_go } = &other.events[0] else { panic!() };
    assert!(let_go.is_empty());
    assert_eq!((need.asks, need.asked), (2, asked.order.needs[0].asked), "the time to answer stays");
    // The place that stays keeps its id, and so do waiting and dropping.
    let ids = |order: &Order| order.needs[0].options.iter().map(|way| way.id).collect::<Vec<_>>();
    let (two, one) = (ids(&asked.order), ids(&other.order));
    assert_eq!(one, [two[0], two[2], two[3]]);
    // Offered until 12600: looked for again then, and not offered again before that.
    let near = asked_about(&other.order, &[("near", 12_600)], 12_000);
    assert_eq!((near.events.len(), near.order.needs[0].seek_at), (0, Some(at(12_600))));
    let ended = asked_about(&near.order, &[("near", 13_000)], 12_600);
    assert_eq!((ended.events.len(), ended.order.needs[0].asks, ids(&ended.order)), (1, 3, one.clone()));
    // Nor can it be had as quoted when it could be ready only later than that.
    let slower = asked_about(&other.order, &[("near", 12_601)], 12_000);
    assert_eq!((slower.events.len(), ids(&slower.order)), (1, one));
}

#[test]
fn open_pieces_of_needs_are_cancelled_at_once_before_a_node_is_asked() {
    let order = four();
    let first = serving(&order);
    let order = asked_about(&fail(&order, first, 2).order, &[], 100).order;
    let (one, outcome) = order.cancel(&[(1, 1)], "CHANGED_MIND", at(200)).unwrap();
    assert_laws(&one.order);
    assert_eq!(
        (outcome, names(&one)),
        (Outcome::Cancelled, vec!["Cancelled".to_owned(), "RefundRequested".to_owned()])
    );
    let Event::Cancelled { let_go, .. } = &one.events[0] else { panic!() };
    assert_eq!((let_go, one.order.ledger.claimed()), (&vec![(first, vec![(1, 1)])], 1_000));
    let (all, outcome) = one.order.cancel(&[], "CHANGED_MIND", at(201)).unwrap();
    assert_laws(&all.order);
    assert_eq!(outcome, Outcome::Pending);
    assert_eq!(names(&all), ["Cancelled", "NeedClosed", "RefundRequested", "CancelRequested"]);
    assert!(matches!(&all.events[1], Event::NeedClosed { how: How::Cancelled, .. }));
    assert_eq!((all.order.lines[0].cancel_requested, all.order.blocks.len()), (2, 0));
}

#[test]
fn pieces_that_nobody_wants_are_not_looked_for_when_the_node_fails_them_first() {
    let order = four();
    let first = serving(&order);
    let (asked, _) = order.cancel(&[(1, 1)], "CHANGED_MIND", at(5)).unwrap();
    let failed = fail(&asked.order, first, 4);
    assert_eq!(names(&failed), ["NeedOpened", "Cancelled", "RefundRequested"]);
    let order = failed.order;
    assert_eq!((order.needs[0].open(), order.lines[0].buckets.cancelled), (vec![(1, 3)], 1));
    assert_eq!(failed.events[0], Event::NeedOpened { need: order.needs[0].clone() });
    let Event::Cancelled { let_go, .. } = &failed.events[1] else { panic!() };
    assert_eq!(let_go, &[(first, vec![(1, 1)])]);
    assert_eq!((order.lines[0].cancel_requested, order.ledger.claimed()), (0, 1_000));
    // The refusal comes after it.
    let mut refused = reports(&order, first, |_| ());
    refused.answer = Some(Answer { granted: Vec::new(), refused: vec![(1, 1)] });
    let after = followed(&order, &refused);
    assert_eq!((after.events.len(), after.order.lines[0].cancel_requested), (0, 0));
    // Or with it, in one report.
    let mut both = reports(&asked.order, first, |u| (u.to_pick, u.given_up) = (0, 4));
    both.answer = refused.answer;
    assert_eq!(followed(&asked.order, &both).order.needs[0].open(), [(1, 3)]);
    // What the node can still answer waits for it.
    let (three, _) = four().cancel(&[(1, 3)], "CHANGED_MIND", at(5)).unwrap();
    let order = fail(&three.order, first, 2).order;
    assert_eq!((order.needs[0].open(), order.lines[0].cancel_requested), (vec![(1, 1)], 2));
    // And all of it ends at once.
    let (all, _) = four().cancel(&[], "CHANGED_MIND", at(5)).unwrap();
    let ended = fail(&all.order, first, 4);
    assert!(ended.events.iter().any(|event| matches!(event, Event::NeedClosed { how: How::Cancelled, .. })));
    assert_eq!((ended.order.status(), ended.order.ledger.claimed()), (Status::Cancelled, 4_000));
}

#[test]
fn an_answer_that_comes_after_newer_news_is_still_an_answer() {
    let order = four();
    let (asked, _) = order.cancel(&[(1, 1)], "CHANGED_MIND", at(5)).unwrap();
    let first = serving(&asked.order);
    let mut newer = reports(&asked.order, first, |u| (u.to_pick, u.picked) = (3, 1));
    newer.version = 7;
    let order = followed(&asked.order, &newer).order;
    let mut older = reports(&order, first, |_| ());
    (older.version, older.answer) = (6, Some(Answer { granted: Vec::new(), refused: vec![(1, 1)] }));
    let after = followed(&order, &older);
    assert_eq!(after.events, [Event::Progressed { lines: vec![1] }]);
    assert_eq!((after.order.lines[0].cancel_requested, after.order.legs[0].version), (0, 7));
    assert_eq!(after.order.lines[0].buckets, order.lines[0].buckets);
    assert!(followed(&after.order, &older).events.is_empty());
}

#[test]
fn a_late_hold_neither_misses_nor_doubles_what_a_need_has() {
    let order = four();
    let mut order = reroute(&fail(&order, serving(&order), 4).order, "second").order;
    assert_eq!(order.open_parts(), []);
    // One more piece of the group that no leg ever had.
    (order.groups[0].lines[0].1, order.lines[0].amounts.quantity, order.lines[0].own.open) = (5, 5, 1);
    assert_eq!(order.open_parts(), [(1, vec![(1, 1)])]);
}

fn lost(order: &Order) -> Order {
    let gone = Payment { state: TenderState::Failed, ..capture(order, 0) };
    let lost = order.clone().pay(&gone, Hold::NotAsked, &POLICY, at(50)).unwrap().order;
    assert_laws(&lost);
    lost
}

#[test]
fn a_payment_that_is_lost_stops_the_search_and_ends_it_when_it_is_not_paid_again() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let asked = asked_about(&fail(&order, serving(&order), 4).order, &[], 20).order;
    let lost = lost(&asked);
    assert_eq!(lost.blocks.iter().copied().collect::<Vec<_>>(), [Block::Payment, Block::Stock]);
    assert!(lost.seeking().is_empty() && lost.silent_at().is_none());
    let held_back = Err(Refusal::Blocked { step: "reroute", block: Block::Payment });
    let new = || vec![leg("second", 1, &[(1, 4)])];
    assert_eq!(lost.clone().reroute(newest(&lost), new(), at(60)), held_back);
    assert!(matches!(
        lost.clone().ask(newest(&lost), Vec::new(), &POLICY, at(60)),
        Err(Refusal::Blocked { .. })
    ));
    // Paid again: nothing is held for what a need looks for, and it goes on.
    let card = Tender { provider_ref: "c".to_owned(), ..tender("card", 4_000, TenderState::Captured) };
    assert!(!lost.needs_hold_for(&card, at(70)));
    let again = lost.clone().add_tender(&card, Hold::NotAsked, &POLICY, at(70)).unwrap();
    assert_laws(&again.order);
    assert_eq!(names(&again).last().map(String::as_str), Some("Unblocked"));
    assert_eq!((again.order.blocks.len(), again.order.seeking().len()), (1, 1));
    // Not paid again: it does not lapse, as no payment could hold its pieces; it is cancelled.
    let due = lost.lapse_at().unwrap();
    let ended = lost.lapse(due).unwrap();
    assert_laws(&ended.order);
    assert_eq!((ended.order.status(), ended.order.ledger.claimed()), (Status::Cancelled, 0));
    assert!(matches!(&ended.events[1], Event::NeedClosed { how: How::Cancelled, .. }));
}

#[test]
fn an_order_that_expires_drops_what_it_looked_for() {
    let order = unpaid();
    let mut order = fail(&order, serving(&order), 2).order;
    order.lapsed_at = Some(at(900));
    let expired = order.expire(at(1_200)).unwrap();
    assert!(matches!(expired.events[0], Event::Expired { .. }));
    let Event::NeedClosed { how: How::Expired, let_go, need } = &expired.events[1] else { panic!() };
    assert_eq!((let_go.len(), need.state(), need.seek_at), (1, NeedState::Dropped, None));
    assert_eq!((expired.order.status(), expired.order.due_at(&POLICY)), (Status::Expired, None));
}

#[test]
fn the_hold_of_a_rerouted_leg_is_extended_although_the_order_is_confirmed() {
    let order = four();
    let first = serving(&order);
    let order = fail(&order.confirm(first, at(1)).unwrap().order, first, 4).order;
    assert_eq!(order.extend_at(&POLICY), None, "a leg that failed needs no hold");
    let order = reroute(&order, "second").order;
    assert_eq!((order.status(), order.extend_at(&POLICY)), (Status::Confirmed, Some(at(1_880))));
    let confirmed = order.clone().confirm(serving(&order), at(30)).unwrap();
    assert_eq!((confirmed.events.len(), confirmed.order.extend_at(&POLICY)), (0, None));
}

#[test]
fn a_drop_completes_the_order_or_its_confirmation() {
    let order = four();
    let first = serving(&order);
    let open = fail(&order, first, 1).order;
    let confirmed = open.clone().confirm(first, at(15)).unwrap();
    assert!(confirmed.events.is_empty(), "a piece is still looked for");
    let dropped = confirmed.order.clone().choose_drop(newest(&open), at(16)).unwrap();
    assert_eq!(names(&dropped).last().map(String::as_str), Some("Confirmed"));
    let done = followed(&open, &reports(&open, first, |u| (u.to_pick, u.done) = (0, 3))).order;
    assert_eq!(done.status(), Status::InFulfillment);
    let dropped = done.choose_drop(newest(&open), at(16)).unwrap();
    assert_laws(&dropped.order);
    assert_eq!(
        (names(&dropped).last().map(String::as_str), dropped.order.status()),
        (Some("Completed"), Status::Completed)
    );
}

/// Unpaid, 2 + 1 pieces of 1.00 in two groups with a leg each; the hold of the first is lost.
fn half_lost(states: &[TenderState]) -> Order {
    let tenders = states.iter().zip(["a", "b"]).zip([200, 100]);
    let tenders = tenders.map(|((state, id), minor)| tender(id, minor, *state)).collect();
    let groups = vec![group(1, &[(1, 2)]), group(2, &[(2, 1)])];
    let legs = groups.iter().map(|group| leg(&format!("leg {}", group.no), group.no, &group.lines));
    let legs: Vec<Leg> = legs.collect();
    let token = legs[0].token;
    let id = paid().id;
    let draft = draft(&[(2, 100), (1, 100)], 0, tenders);
    let asked = Asked { groups, legs, token, missing: Vec::new() };
    let order = Order::place(id, draft, asked, &POLICY, at(0)).unwrap().order;
    let first = order.legs[0].id;
    order.lose_hold(&[first], at(10)).unwrap().order
}

#[test]
fn paid_pieces_whose_hold_is_lost_are_needs_and_the_rest_goes_on() {
    let order = half_lost(&[TenderState::Captured, TenderState::Due]);
    let refused = Hold::Refused { reason: "NO_STOCK".to_owned() };
    let changed = order.clone().pay(&capture(&order, 1), refused, &POLICY, at(20)).unwrap();
    assert_laws(&changed.order);
    assert_eq!(names(&changed), ["Paid", "NeedOpened", "Unblocked"]);
    let order = changed.order;
    let work: Vec<_> = order.work().map(|leg| leg.group).collect();
    assert_eq!((work, order.own_open(), order.ledger.claimed()), (vec![2], 0, 0));
    let need = &order.needs[0];
    assert_eq!((need.leg, need.group, need.offers, need.open()), (None, 1, 0, vec![(1, 2)]));
    assert_eq!((order.is_released(), order.blocks.len(), order.seek_at()), (true, 0, Some(at(20))));
    // Asked, it waits for its stock; cancelled, it is paid back; served, it is complete.
    let asked = asked_about(&order, &[], 25).order;
    assert_eq!((asked.status(), asked.blocks.contains(&Block::Stock)), (Status::Placed, true));
    let (cancelled, outcome) = asked.cancel(&[(1, 2)], "TEST", at(26)).unwrap();
    assert_laws(&cancelled.order);
    assert_eq!((outcome, cancelled.order.ledger.claimed()), (Outcome::Cancelled, 200));
    assert!(cancelled.order.blocks.is_empty());
    let second = order.legs[1].id;
    let served = reroute(&order, "elsewhere").order;
    assert_eq!(served.offer_number(served.legs.last().unwrap()), 1, "no node had them before");
    let served = served.confirm(second, at(30)).unwrap().order;
    assert_eq!(served.status(), Status::Placed, "not all is confirmed");
    let third = serving(&served);
    let served = served.confirm(third, at(31)).unwrap().order;
    assert_eq!(served.status(), Status::Confirmed);
    let first = reports(&served, third, |units| (units.to_pick, units.done) = (0, 2));
    let units = LegUnits { to_pick: 0, done: 1, ..LegUnits::fresh(1) };
    let other = WorkReport { leg: second, lines: vec![(2, units)], ..first.clone() };
    let served = followed(&followed(&served, &first).order, &other).order;
    assert_eq!((served.status(), served.ledger.claimed()), (Status::Completed, 0));
}

#[test]
fn what_a_cancel_leaves_paid_is_looked_for_when_its_hold_is_lost() {
    let order = half_lost(&[TenderState::Captured, TenderState::Due]);
    let (changed, _) = order.clone().cancel(&[(2, 1)], "TEST", at(20)).unwrap();
    assert_laws(&changed.order);
    assert_eq!(
        (names(&changed)[0].as_str(), names(&changed).last().unwrap().as_str()),
        ("Cancelled", "NeedOpened")
    );
    assert_eq!(
        (changed.order.status(), changed.order.needs[0].reason.as_str()),
        (Status::Placed, "HOLD_LOST")
    );
    assert!(changed.order.blocks.is_empty() && changed.order.work().next().is_none());
    // Lapsed, it is the same: nothing is left to be paid.
    let lapsed = order.lapse(at(900)).unwrap().order;
    let (changed, _) = lapsed.cancel(&[(2, 1)], "TEST", at(910)).unwrap();
    assert_laws(&changed.order);
    assert_eq!((changed.order.status(), changed.order.seek_at()), (Status::Placed, Some(at(910))));
}

#[test]
fn a_payment_that_is_lost_again_ends_what_has_no_leg_when_its_time_is_over() {
    let order = half_lost(&[TenderState::Due, TenderState::Authorized]);
    let (order, _) = order.cancel(&[(2, 1)], "TEST", at(15)).unwrap();
    let authorized = Payment { state: TenderState::Authorized, ..capture(&order.order, 0) };
    let refused = Hold::Refused { reason: "NO_STOCK".to_owned() };
    let order = order.order.pay(&authorized, refused, &POLICY, at(20)).unwrap().order;
    assert_eq!((order.needs.len(), order.is_released()), (1, true));
    let gone = Payment { state: TenderState::Voided, ..authorized.clone() };
    let lost = order.pay(&gone, Hold::NotAsked, &POLICY, at(30)).unwrap();
    assert_laws(&lost.order);
    assert_eq!((names(&lost), lost.order.seek_at()), (vec!["PaymentLost".to_owned()], None));
    let again = Payment { provider_ref: "again".to_owned(), ..authorized };
    assert!(!lost.order.needs_hold(&again, at(40)), "the need holds it");
    let ended = lost.order.clone().lapse(lost.order.lapse_at().unwrap()).unwrap().order;
    assert_laws(&ended);
    assert_eq!((ended.status(), ended.needs[0].state()), (Status::Cancelled, NeedState::Dropped));
}

#[test]
fn pieces_that_no_leg_ever_had_are_a_need_too() {
    let mut order = order(&[(4, 1_000)], 0, &[TenderState::Captured]);
    let first = serving(&order);
    // As if one of the pieces had been sold elsewhere before a leg had it.
    order.legs[0].lines[0].units = LegUnits::fresh(3);
    let line = NeedLine { line: 1, quantity: 1, sourced: 0, dropped: 0 };
    order.needs.push(Need {
        no: 1,
        id: Need::id_of(order.id, None, 1),
        leg: None,
        group: 1,
        reason: "SOLD_ELSEWHERE".to_owned(),
        offers: 0,
        tries: 0,
        asks: 0,
        opened: at(1),
        seek_at: Some(at(1)),
        asked: None,
        lines: vec![line],
        options: Vec::new(),
    });
    order.sum_up();
    assert_laws(&order);
    assert_eq!(order.method_of(&order.needs[0]), Some(Method::Pickup));
    let moved = reroute(&order, "second");
    let Event::Rerouted { let_go, legs, .. } = &moved.events[0] else { panic!() };
    assert_eq!((let_go.len(), legs.len()), (0, 1));
    let dropped = order.choose_drop(moved.order.needs[0].id, at(2)).unwrap();
    assert_laws(&dropped.order);
    assert_eq!((dropped.order.ledger.claimed(), dropped.order.leg(first).unwrap().units()), (1_000, 3));
}

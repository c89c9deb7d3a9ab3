//! What providers report: repeats change nothing, and no money is lost without a trace.

use super::testing::*;
use super::*;

fn payment(state: TenderState, amount_minor: i64, provider_ref: &str) -> Payment {
    Payment { tender: "a".to_owned(), state, amount_minor, provider_ref: provider_ref.to_owned() }
}

fn try_pay(order: &Order, payment: &Payment) -> Result<Changed, Refusal> {
    order.clone().pay(payment, Hold::NotAsked, &POLICY, at(10 + order.version))
}

fn pay(order: &Order, state: TenderState, amount_minor: i64, provider_ref: &str) -> Changed {
    let changed = try_pay(order, &payment(state, amount_minor, provider_ref)).unwrap();
    assert_laws(&changed.order);
    changed
}

fn due() -> Order {
    order(&[(4, 1_000)], 0, &[TenderState::Due])
}

#[test]
fn a_report_that_repeats_without_a_reference_changes_nothing() {
    use TenderState::{Authorized, Captured, Failed, Voided};
    let all: [&[TenderState]; 5] = [
        &[Authorized, Captured],
        &[Captured],
        &[Failed],
        &[Authorized, Voided],
        &[Authorized, Failed, Captured],
    ];
    for reports in all {
        for reference in ["", "tx"] {
            let mut order = due();
            for state in reports {
                order = pay(&order, *state, 4_000, reference).order;
                let again = pay(&order, *state, 4_000, "");
                assert_eq!((&again.order, again.events), (&order, Vec::new()), "{reports:?} {state}");
            }
        }
    }
    // The first report of a tender comes again after the second one.
    let captured = pay(&pay(&due(), Authorized, 4_000, "").order, Captured, 4_000, "").order;
    assert!(pay(&captured, Authorized, 4_000, "").events.is_empty());
    // A failed try may be tried again.
    let failed = pay(&pay(&due(), Authorized, 4_000, "").order, Failed, 4_000, "").order;
    let tried_again = pay(&failed, Authorized, 4_000, "").order;
    assert_eq!(tried_again.ledger.sums()[0].authorized, 4_000);
}

#[test]
fn a_void_that_was_asked_for_twice_is_confirmed_twice_without_a_reference() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let mut order = order;
    for pieces in [1, 2] {
        let gone = report(&order, true, |_, units| {
            (units.to_pick, units.cancelled) = (units.quantity - pieces, pieces);
        });
        order = order.follow(&gone, at(20)).unwrap().order;
        order = pay(&order, TenderState::Voided, 1_000, "").order;
        let again = pay(&order, TenderState::Voided, 1_000, "");
        assert!(again.events.is_empty(), "nothing more was asked for");
    }
    assert_eq!(order.ledger.sums()[0].released, 2_000);
}

#[test]
fn a_second_authorization_is_to_be_voided_and_the_first_one_stays() {
    let first = pay(&due(), TenderState::Authorized, 4_000, "tab-1").order;
    let second = pay(&first, TenderState::Authorized, 4_000, "tab-2");
    let [Event::VoidRequested { amount_minor: 4_000, left_minor: 0, provider_ref, reason, .. }] =
        second.events.as_slice()
    else {
        panic!("{:?}", second.events)
    };
    assert_eq!((provider_ref.as_str(), reason.as_str()), ("tab-2", "EXCESS_PAYMENT"));
    let second = second.order;
    assert!(pay(&second, TenderState::Authorized, 4_000, "tab-2").events.is_empty(), "it repeats");
    let sums = second.ledger.sums()[0];
    assert_eq!((sums.authorized, sums.voided, second.blocks.is_empty()), (4_000, 4_000, true));
    for (state, reference) in
        [(TenderState::Voided, "tab-2"), (TenderState::Voided, "void-1"), (TenderState::Failed, "tab-2")]
    {
        let gone = pay(&second, state, 4_000, reference).order;
        let sums = gone.ledger.sums()[0];
        assert_eq!((sums.authorized, sums.released, sums.second), (4_000, 4_000, 0), "{reference}");
        let lost = pay(&gone, TenderState::Voided, 4_000, "tab-1");
        assert!(matches!(lost.events.as_slice(), [Event::PaymentLost { .. }]), "{:?}", lost.events);
    }
    let lost = pay(&second, TenderState::Voided, 4_000, "tab-1");
    assert!(
        matches!(lost.events.as_slice(), [Event::PaymentLost { .. }]),
        "the first one was not to be voided"
    );
    // The provider captures both although it was asked not to.
    let both = pay(&second, TenderState::Captured, 4_000, "tab-2");
    assert!(matches!(both.events.as_slice(), [Event::ExcessPaid { .. }, Event::RefundRequested { .. }]));
    let both = pay(&both.order, TenderState::Captured, 4_000, "tab-1").order;
    assert_eq!((both.ledger.held(), both.ledger.claimed()), (4_000, 4_000));
    assert_eq!(both.ledger.refunds[0].parts[0].provider_ref, "tab-2");
}

#[test]
fn what_is_authorized_after_a_capture_or_a_void_is_to_be_voided() {
    for state in [TenderState::Captured, TenderState::Voided] {
        let order =
            pay(&pay(&due(), TenderState::Authorized, 4_000, "tab-1").order, state, 4_000, "end").order;
        let held = order.ledger.held();
        let second = pay(&order, TenderState::Authorized, 3_000, "tab-2");
        assert!(
            matches!(
                second.events.as_slice(),
                [Event::VoidRequested { amount_minor: 3_000, left_minor: 0, .. }]
            ),
            "{:?}",
            second.events
        );
        assert_eq!((second.order.ledger.tenders[0].state, second.order.ledger.held()), (state, held));
    }
}

#[test]
fn a_second_authorization_that_cannot_be_told_from_the_first_is_refused() {
    let first = pay(&due(), TenderState::Authorized, 4_000, "tab-1").order;
    for reference in ["", "tab-1"] {
        let refused = try_pay(&first, &payment(TenderState::Authorized, 3_999, reference));
        assert!(matches!(refused, Err(Refusal::TenderState { .. })), "voiding it would void the first one");
    }
}

#[test]
fn what_is_captured_above_the_amount_of_the_tender_goes_back() {
    for order in [due(), order(&[(4, 1_000)], 0, &[TenderState::Authorized])] {
        let paid = pay(&order, TenderState::Captured, 4_500, "tx");
        let excess = paid.events.iter().any(|e| matches!(e, Event::ExcessPaid { amount_minor: 500, .. }));
        assert!(excess, "{:?}", paid.events);
        assert_eq!((paid.order.ledger.held(), paid.order.ledger.claimed()), (4_000, 500));
        assert!(paid.order.blocks.is_empty(), "it is paid");
    }
    let more = pay(&due(), TenderState::Authorized, 4_500, "tx");
    let sums = more.order.ledger.sums()[0];
    assert_eq!((sums.authorized, sums.voided), (4_000, 500));
    // No sum of amounts overflows.
    let refused = try_pay(&due(), &payment(TenderState::Captured, i64::MAX, "tx"));
    assert!(matches!(refused, Err(Refusal::AmountDiffers { .. })));
}

#[test]
fn a_second_payment_without_a_reference_is_told_by_its_amount() {
    let first = pay(&due(), TenderState::Captured, 4_000, "").order;
    assert!(pay(&first, TenderState::Captured, 4_000, "").events.is_empty());
    let second = pay(&first, TenderState::Captured, 1_000, "");
    assert!(matches!(second.events.as_slice(), [Event::ExcessPaid { .. }, Event::RefundRequested { .. }]));
}

#[test]
fn what_has_no_other_event_names_the_tenders_that_changed() {
    let changed = vec![Event::MoneyChanged { tenders: vec!["a".to_owned()] }];
    assert_eq!(pay(&due(), TenderState::Failed, 4_000, "no").events, changed, "a payment that never came");
    let order = order(&[(4, 1_000)], 0, &[TenderState::Authorized]);
    let gone = report(&order, true, |_, units| (units.to_pick, units.cancelled) = (3, 1));
    let order = order.follow(&gone, at(20)).unwrap().order;
    assert_eq!(pay(&order, TenderState::Voided, 1_000, "void").events, changed, "what was to be voided is");
    let lowered = due().claim(&[(1, 1, 100)], "GOODWILL", at(3)).unwrap();
    assert_eq!(lowered.events, changed, "less is due");
}

#[test]
fn an_order_that_is_over_is_not_blocked() {
    let cancelled = due().cancel(&[], "TEST", at(5)).unwrap().0.order;
    assert_eq!((cancelled.status(), cancelled.blocks.len()), (Status::Cancelled, 0));
    let expired = due().lapse(at(900)).unwrap().order.expire(at(1_200)).unwrap();
    assert_eq!((expired.order.status(), expired.order.blocks.len()), (Status::Expired, 0));
    let [Event::Expired { reason, .. }] = expired.events.as_slice() else { panic!("{:?}", expired.events) };
    assert_eq!(reason, "PAYMENT_EXPIRED");
}

#[test]
fn an_unpaid_order_that_lost_its_hold_is_blocked_for_want_of_stock_until_it_is_held_again() {
    let order = due();
    let lost = order.clone().lose_hold(&[serving(&order)], at(5)).unwrap().order;
    assert_laws(&lost);
    assert_eq!(lost.blocks.iter().copied().collect::<Vec<_>>(), [Block::Payment, Block::Stock]);
    let payment = payment(TenderState::Captured, 4_000, "tx");
    let held = Hold::Held(again(&lost, "second", at(6)));
    let paid = lost.clone().pay(&payment, held, &POLICY, at(6)).unwrap();
    assert_eq!((paid.order.blocks.len(), paid.events.last()), (0, Some(&Event::Unblocked)));
    assert!(!lost.lapse(at(900)).unwrap().order.blocks.contains(&Block::Stock), "all of it is released then");
}

#[test]
fn a_claim_on_a_piece_that_never_was_says_how_many_there_are() {
    let order = order(&[(4, 1_000)], 0, &[TenderState::Captured]);
    let gone = report(&order, true, |_, units| (units.to_pick, units.cancelled) = (3, 1));
    let order = order.follow(&gone, at(20)).unwrap().order;
    let refused = order.clone().claim(&[(1, 5, 100)], "GOODWILL", at(21)).unwrap_err();
    assert_eq!(refused, Refusal::UnknownPiece { line: 1, piece: 5, pieces: 4, left: 3 });
    assert_eq!(refused.to_string(), "line 1 has 4 pieces, of which 3 are left; piece 5 is not one of them");
    let gone = order.claim(&[(1, 4, 100)], "GOODWILL", at(21));
    assert!(matches!(gone, Err(Refusal::ClaimTooLarge { piece: 4, .. })), "nothing is left of its price");
}

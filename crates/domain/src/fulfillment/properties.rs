//! Laws of the fulfillment order under any sequence of commands, and the table of every state and every command.

use jiff::Timestamp;
use proptest::prelude::*;

use super::event::CancelRequest;
use super::testing::{at, keeps_the_laws, never_kept_again, offer};
use super::{
    Buckets, Collector, Event, Method, MovedLine, Order, Refusal, RejectReason, ShortReason, State, Step,
    Units,
};

fn planned(quantities: &[i64]) -> Order {
    super::testing::planned(Method::Pickup, quantities)
}

/// The step whose end gives the work up, if one runs.
fn working(order: &Order) -> Step {
    if order.clock(Step::Accept).is_some() { Step::Accept } else { Step::Prepare }
}

/// The step that somebody waits for.
fn waiting(order: &Order) -> Step {
    order.running.first().map_or(Step::Accept, |clock| clock.step)
}

#[derive(Debug, Clone)]
enum Command {
    Offer,
    Accept,
    Reject,
    TooBusy,
    TimeOut,
    StockLost,
    PartLost { line: u32, quantity: i64 },
    LetGo { line: u32, quantity: i64 },
    Doubt,
    Trust,
    Start,
    Pick { line: u32, picked: i64, short: i64 },
    Ready,
    CodeIssued,
    HandOver { line: u32, quantity: i64 },
    HandOverAll,
    Expire,
    Remind,
    AtRisk,
    Cancel { line: u32, quantity: i64 },
    ConfirmPutBack,
    PutBackOverdue,
    Tick,
}

fn run(order: &mut Order, command: &Command, now: Timestamp) -> Result<Option<Event>, Refusal> {
    match command {
        Command::Offer => offer(order, now),
        Command::Accept => order.accept(now),
        Command::Reject => order.reject(RejectReason::NotFound, now),
        Command::TooBusy => order.reject(RejectReason::TooBusy, now),
        Command::TimeOut => order.expire(working(order), now),
        Command::StockLost => order.stock_lost("SKU-0", None, now),
        Command::PartLost { line, quantity } => {
            order.stock_lost("SKU-0", Some(&[Units { line: *line, quantity: *quantity }]), now)
        }
        Command::LetGo { line, quantity } => order.let_go(&[Units { line: *line, quantity: *quantity }], now),
        Command::Doubt => order.doubt(&order.lines[0].sku.clone(), now),
        Command::Trust => order.trust(&order.lines[0].sku.clone(), now),
        Command::Start => order.start(now),
        Command::Pick { line, picked, short } => {
            let short = (*short != 0).then_some((*short, ShortReason::Damaged));
            order.pick(&[MovedLine { line: *line, quantity: *picked, short }], now)
        }
        Command::Ready => order.ready(now),
        Command::CodeIssued => order.code_issued(now),
        Command::HandOver { line, quantity } => {
            order.hand_over(Some(&[Units { line: *line, quantity: *quantity }]), Collector::Buyer, None, now)
        }
        Command::HandOverAll => order.hand_over(None, Collector::Delegate, None, now),
        Command::Expire => order.expire(Step::Collect, now),
        Command::Remind => order.remind(Step::Collect, now),
        Command::AtRisk => order.mark_at_risk(waiting(order), now),
        Command::Cancel { line, quantity } => {
            let lines = [Units { line: *line, quantity: *quantity }];
            Ok(order.cancel(CancelRequest { number: 1, lines: &lines, reason: "CUSTOMER" }, now))
        }
        Command::ConfirmPutBack => order.confirm_put_back(now),
        Command::PutBackOverdue => order.put_back_overdue(now),
        Command::Tick => return order.tick(now),
    }
    .map(Some)
}

fn command() -> impl Strategy<Value = Command> {
    let units = prop_oneof![8 => 0..4_i64, 1 => Just(-1), 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let line = 1..5_u32;
    prop_oneof![
        2 => Just(Command::Offer),
        2 => Just(Command::Accept),
        1 => Just(Command::Reject),
        1 => Just(Command::TooBusy),
        1 => Just(Command::TimeOut),
        1 => Just(Command::StockLost),
        1 => (line.clone(), units.clone()).prop_map(|(line, quantity)| Command::PartLost { line, quantity }),
        3 => (line.clone(), units.clone()).prop_map(|(line, quantity)| Command::LetGo { line, quantity }),
        1 => Just(Command::Doubt),
        1 => Just(Command::Trust),
        2 => Just(Command::Start),
        8 => (line.clone(), units.clone(), units.clone())
            .prop_map(|(line, picked, short)| Command::Pick { line, picked, short }),
        4 => Just(Command::Ready),
        1 => Just(Command::CodeIssued),
        4 => (line.clone(), units.clone()).prop_map(|(line, quantity)| Command::HandOver { line, quantity }),
        1 => Just(Command::HandOverAll),
        2 => Just(Command::Expire),
        1 => Just(Command::Remind),
        1 => Just(Command::AtRisk),
        3 => (line, units).prop_map(|(line, quantity)| Command::Cancel { line, quantity }),
        2 => Just(Command::ConfirmPutBack),
        1 => Just(Command::PutBackOverdue),
        6 => Just(Command::Tick),
    ]
}

fn never_back(before: &Order, after: &Order) {
    for (old, new) in before.lines.iter().zip(&after.lines) {
        let (old, new) = (old.buckets, new.buckets);
        assert!(new.to_pick <= old.to_pick, "units never return to the shelf by themselves");
        assert!(new.done >= old.done && new.short >= old.short && new.cancelled >= old.cancelled);
        assert!(new.released() >= old.released() && new.restocked >= old.restocked);
    }
    if before.state().is_over() {
        assert_eq!(before.state(), after.state(), "an end is an end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_commands_keep_the_laws(
        quantities in prop::collection::vec(1..4_i64, 1..4),
        steps in prop::collection::vec((command(), 0..40_000_i64), 0..60),
    ) {
        let mut order = planned(&quantities);
        let mut clock = 0;
        for (command, pause) in steps {
            clock += pause;
            let before = order.clone();
            match run(&mut order, &command, at(clock)) {
                Ok(Some(_)) => prop_assert_eq!(order.version, before.version + 1),
                Ok(None) => prop_assert_eq!(&order, &before),
                Err(_) => prop_assert_eq!(&order, &before, "a refusal changes nothing"),
            }
            keeps_the_laws(&order);
            never_back(&before, &order);
            never_kept_again(&before, &order);
            let waits = order.is_work() && order.state() != State::Planned;
            prop_assert_eq!(order.next_due().is_some(), waits, "every waiting state has a way out");
        }
    }

    #[test]
    fn time_alone_ends_everything(
        quantities in prop::collection::vec(1..4_i64, 1..4),
        steps in prop::collection::vec(command(), 0..40),
    ) {
        let mut order = planned(&quantities);
        run(&mut order, &Command::Offer, at(0)).unwrap();
        for command in steps {
            let _ = run(&mut order, &command, at(1));
        }
        for _ in 0..20 {
            if let Some((due, _)) = order.next_due() {
                prop_assert!(order.tick(due).unwrap().is_some());
            }
        }
        prop_assert_eq!(order.next_due(), None);
        prop_assert!(order.state().is_over() && !order.is_work());
    }
}

/// A fulfillment order of two lines of two units, standing in each state.
fn standing(state: State) -> Order {
    let mut order = planned(&[2, 2]);
    let all = [1, 2].map(|line| Units { line, quantity: 2 });
    let cancel = CancelRequest { number: 1, lines: &all, reason: "CUSTOMER" };
    let path: &[Command] = match state {
        State::Planned => &[],
        State::Offered | State::Cancelled | State::TimedOut => &[Command::Offer],
        State::Rejected => &[Command::Offer, Command::Reject],
        State::Accepted => &[Command::Offer, Command::Accept],
        State::Picking | State::Short => &[Command::Offer, Command::Accept, Command::Start],
        State::ReadyForPickup | State::PartlyCollected | State::Done | State::Restocked => &[
            Command::Offer,
            Command::Accept,
            Command::Start,
            Command::Pick { line: 1, picked: 2, short: 0 },
            Command::Pick { line: 2, picked: 2, short: 0 },
            Command::Ready,
        ],
        State::Packed | State::AwaitingCourier | State::InDelivery | State::Lost => {
            unreachable!("{state} is no state of PICKUP")
        }
    };
    for command in path {
        run(&mut order, command, at(0)).unwrap();
    }
    let rest: &[Command] = match state {
        State::Short => {
            &[Command::Pick { line: 1, picked: 0, short: 2 }, Command::Pick { line: 2, picked: 0, short: 2 }]
        }
        State::PartlyCollected => &[Command::HandOver { line: 1, quantity: 1 }],
        State::Done => &[Command::HandOverAll],
        State::Restocked => &[Command::Expire, Command::ConfirmPutBack],
        State::TimedOut => &[Command::TimeOut],
        State::Cancelled => {
            order.cancel(cancel, at(0));
            &[]
        }
        State::Planned
        | State::Offered
        | State::Accepted
        | State::Picking
        | State::ReadyForPickup
        | State::Packed
        | State::AwaitingCourier
        | State::InDelivery
        | State::Lost
        | State::Rejected => &[],
    };
    for command in rest {
        run(&mut order, command, at(73 * 3_600)).unwrap();
    }
    order
}

#[test]
fn every_state_times_every_command() {
    use State::{Accepted, Offered, PartlyCollected, Picking, Planned, ReadyForPickup};
    let table: [(Command, &[State]); 15] = [
        (Command::Offer, &[Planned]),
        (Command::Accept, &[Offered]),
        (Command::Reject, &[Offered]),
        (Command::TimeOut, &[Offered, Accepted, Picking]),
        (Command::StockLost, &[Planned, Offered, Accepted]),
        (Command::PartLost { line: 2, quantity: 1 }, &[Planned, Offered, Accepted]),
        (Command::Start, &[Accepted]),
        (Command::Pick { line: 1, picked: 1, short: 1 }, &[Picking]),
        (Command::Ready, &[]),
        (Command::CodeIssued, &[Accepted, Picking, ReadyForPickup, PartlyCollected]),
        (Command::HandOver { line: 2, quantity: 1 }, &[ReadyForPickup, PartlyCollected]),
        (Command::HandOverAll, &[ReadyForPickup, PartlyCollected]),
        (Command::Expire, &[ReadyForPickup, PartlyCollected]),
        (Command::AtRisk, &[Offered, Accepted, Picking, ReadyForPickup, PartlyCollected]),
        (Command::ConfirmPutBack, &[]),
    ];
    let elsewhere = [State::Packed, State::AwaitingCourier, State::InDelivery, State::Lost];
    for state in State::ALL.into_iter().filter(|state| !elsewhere.contains(state)) {
        assert_eq!(standing(state).state(), state, "the path to {state}");
        for (command, allowed) in &table {
            let mut order = standing(state);
            let result = run(&mut order, command, at(80 * 3_600));
            assert_eq!(result.is_ok(), allowed.contains(&state), "{command:?} in {state}: {result:?}");
        }
        let event = run(&mut standing(state), &Command::Cancel { line: 2, quantity: 1 }, at(0)).unwrap();
        let granted = matches!(event, Some(Event::Cancelled { .. }));
        assert_eq!(granted, !state.is_over(), "cancel in {state}");
    }
}

#[test]
fn cancelled_units_come_from_the_shelf_first() {
    let mut order = standing(State::Picking);
    run(&mut order, &Command::Pick { line: 1, picked: 1, short: 0 }, at(1)).unwrap();
    let event = run(&mut order, &Command::Cancel { line: 1, quantity: 1 }, at(2)).unwrap().unwrap();
    assert!(matches!(event, Event::Cancelled { ref refused, .. } if refused.is_empty()));
    assert_eq!((order.lines[0].buckets.picked, order.lines[0].buckets.put_back), (1, 0));
    let event = run(&mut order, &Command::Cancel { line: 1, quantity: 2 }, at(3)).unwrap().unwrap();
    let Event::Cancelled { lines, refused, .. } = event else { panic!("{event:?}") };
    assert_eq!(lines, [Units { line: 1, quantity: 1 }]);
    assert_eq!(refused, [Units { line: 1, quantity: 1 }]);
    assert_eq!(order.lines[0].buckets.put_back, 1);
    assert_eq!(order.total(Buckets::released), 1, "the picked unit stays claimed until it is put back");
    run(&mut order, &Command::ConfirmPutBack, at(4)).unwrap();
    assert_eq!(order.total(Buckets::released), 2);
    assert_eq!(order.state(), State::Picking);
}

#[test]
fn a_late_customer_may_collect_until_the_goods_are_put_back() {
    let mut order = standing(State::ReadyForPickup);
    assert!(order.expire(Step::Collect, at(71 * 3_600)).is_err());
    order.expire(Step::Collect, at(73 * 3_600)).unwrap();
    assert_eq!((order.state(), order.total(Buckets::released)), (State::ReadyForPickup, 0));
    order.hand_over(Some(&[Units { line: 1, quantity: 2 }]), Collector::Buyer, None, at(74 * 3_600)).unwrap();
    order.confirm_put_back(at(75 * 3_600)).unwrap();
    assert_eq!(order.state(), State::Done);
    assert_eq!(order.lines[1].buckets.restocked, 2);
    assert!(order.hand_over(None, Collector::Buyer, None, at(76 * 3_600)).is_err());
}

#[test]
fn goods_that_nobody_puts_back_are_given_up() {
    let mut order = standing(State::ReadyForPickup);
    order.expire(Step::Collect, at(73 * 3_600)).unwrap();
    assert!(order.put_back_overdue(at(96 * 3_600)).is_err());
    let event = order.tick(at(97 * 3_600)).unwrap().unwrap();
    assert!(matches!(event, Event::PutBackOverdue { ref lines } if lines.len() == 2));
    assert_eq!(order.total(Buckets::released), 4);
    assert_eq!(order.total(|b| b.restocked), 0);
    assert_eq!((order.state(), order.end_reason()), (State::Restocked, "EXPIRED"));
}

#[test]
fn reminders_come_in_order_and_before_the_end() {
    use super::clock::Due::{AtRisk, End, PutBackOverdue, Reminder};
    use Step::Collect;
    let mut order = standing(State::ReadyForPickup);
    let mut seen = Vec::new();
    while let Some((due, what)) = order.next_due() {
        seen.push((what, due.duration_since(at(0)).as_hours()));
        order.tick(due).unwrap();
    }
    assert_eq!(
        seen,
        [
            (Reminder(Collect), 24),
            (AtRisk(Collect), 57),
            (Reminder(Collect), 60),
            (End(Collect), 72),
            (PutBackOverdue, 96)
        ]
    );
}

#[test]
fn a_report_that_names_a_line_twice_is_refused() {
    let mut order = standing(State::Picking);
    let pick = MovedLine::of(1, 1);
    assert_eq!(order.pick(&[pick, pick], at(1)), Err(Refusal::LineTwice { line: 1 }));
    assert_eq!(order.pick(&[], at(1)), Err(Refusal::Nothing { step: "pick" }));
    let unknown = MovedLine::of(9, 1);
    assert_eq!(order.pick(&[unknown], at(1)), Err(Refusal::UnknownLine { line: 9 }));
}

#[test]
fn what_the_node_fails_is_given_up_and_what_somebody_does_not_want_is_cancelled() {
    for command in [Command::Reject, Command::StockLost] {
        let mut order = standing(State::Offered);
        run(&mut order, &Command::Cancel { line: 1, quantity: 1 }, at(1)).unwrap();
        run(&mut order, &command, at(2)).unwrap();
        let of = |line: usize| (order.lines[line].buckets.given_up, order.lines[line].buckets.cancelled);
        assert_eq!((of(0), of(1)), ((1, 1), (2, 0)), "{command:?}");
    }
    let mut order = standing(State::Picking);
    run(&mut order, &Command::Pick { line: 1, picked: 1, short: 1 }, at(1)).unwrap();
    run(&mut order, &Command::TimeOut, at(200 * 3_600)).unwrap();
    let (one, two) = (order.lines[0].buckets, order.lines[1].buckets);
    assert_eq!((one.short, one.given_up, one.put_back), (1, 1, 1), "it left the shelf, and must be put back");
    assert_eq!((two.given_up, two.put_back), (2, 0));
    assert_eq!((order.state(), order.is_work()), (State::TimedOut, true));
    run(&mut order, &Command::ConfirmPutBack, at(201 * 3_600)).unwrap();
    assert_eq!(
        (order.total(|b| b.restocked), order.total(|b| b.kept), order.total(Buckets::released)),
        (1, 2, 2)
    );
}

#[test]
fn a_part_that_is_lost_leaves_the_rest_to_be_done() {
    let mut order = standing(State::Accepted);
    let event = run(&mut order, &Command::PartLost { line: 1, quantity: 9 }, at(1)).unwrap().unwrap();
    let Event::StockLost { lines, .. } = event else { panic!("{event:?}") };
    assert_eq!(lines, [Units { line: 1, quantity: 2 }]);
    assert_eq!((order.state(), order.total(|b| b.to_pick)), (State::Accepted, 2));
    let again = run(&mut order, &Command::PartLost { line: 1, quantity: 1 }, at(2));
    assert_eq!(again, Err(Refusal::Nothing { step: "give up" }));
    let mut short = order.clone();
    run(&mut order, &Command::PartLost { line: 2, quantity: 2 }, at(3)).unwrap();
    assert_eq!((order.state(), order.end_reason()), (State::Cancelled, "STOCK_LOST"));
    run(&mut short, &Command::Start, at(3)).unwrap();
    run(&mut short, &Command::Pick { line: 2, picked: 0, short: 2 }, at(4)).unwrap();
    assert_eq!((short.state(), short.end_reason()), (State::Short, "SHORT"), "nobody cancelled anything");
}

#[test]
fn a_claim_is_kept_where_the_goods_are_there_until_the_order_lets_it_go() {
    for reason in [RejectReason::NotFound, RejectReason::Damaged, RejectReason::Mismatch] {
        let mut order = standing(State::Offered);
        order.reject(reason, at(1)).unwrap();
        assert_eq!((order.total(|b| b.kept), order.total(Buckets::released)), (0, 4), "{reason:?}");
    }
    let mut silent = standing(State::TimedOut);
    for order in [&mut standing(State::Offered), &mut silent] {
        let _ = order.reject(RejectReason::NodeClosed, at(1));
        assert_eq!((order.total(|b| b.kept), order.total(Buckets::released)), (4, 0));
        assert!(!order.is_work(), "the node has nothing to do");
        let event = run(order, &Command::LetGo { line: 1, quantity: 1 }, at(2)).unwrap().unwrap();
        assert_eq!(event, Event::LetGo { lines: vec![Units { line: 1, quantity: 1 }] });
        run(order, &Command::LetGo { line: 1, quantity: 9 }, at(3)).unwrap();
        let again = run(order, &Command::LetGo { line: 1, quantity: 1 }, at(4));
        assert_eq!(again, Err(Refusal::Nothing { step: "let go" }));
        assert_eq!((order.lines[0].buckets.kept, order.lines[1].buckets.kept), (0, 2));
        assert_eq!(order.total(Buckets::released), 2);
    }
    let mut picking = standing(State::Picking);
    run(&mut picking, &Command::Pick { line: 1, picked: 1, short: 0 }, at(1)).unwrap();
    run(&mut picking, &Command::TimeOut, at(200 * 3_600)).unwrap();
    let (one, two) = (picking.lines[0].buckets, picking.lines[1].buckets);
    assert_eq!(
        (one.put_back, one.kept, two.kept),
        (1, 1, 2),
        "what left the shelf is put back, the rest is kept"
    );
}

//! EXPRESS: a courier brings the goods within the hour.

use jiff::SignedDuration;

use super::{Activity, Clocks, Rules, Versions};
use crate::fulfillment::buckets::Bucket;
use crate::fulfillment::stage::{
    Clock, Counts, Due, Name, Notices, OnExpiry, Reporter, Span, Stage, Step, StockEffect,
};
use crate::fulfillment::state::State;

/// The node answers at once, or loses the order.
const ACCEPT: Clock = Clock {
    step: Step::Accept,
    due: Due::After(Span::Accept),
    counts: Counts::AllTime,
    on_expiry: OnExpiry::GiveUp,
};

/// The courier comes while the customer still waits.
const COLLECT: Clock = Clock {
    step: Step::Collect,
    due: Due::After(Span::Keep),
    counts: Counts::AllTime,
    on_expiry: OnExpiry::GiveUp,
};

/// The courier delivers, or brings the goods back; goods that nothing is heard of are lost.
const DELIVER: Clock = Clock {
    step: Step::Deliver,
    due: Due::After(Span::Transit),
    counts: Counts::AllTime,
    on_expiry: OnExpiry::Lose,
};

/// What EXPRESS prescribes.
pub const RULES: Rules = Rules {
    name: "EXPRESS",
    is_offered: false,
    stages: &[
        Stage::offered(ACCEPT),
        Stage::ACCEPTED,
        Stage::PICKING,
        Stage::PICKED,
        Stage {
            name: Name::Packed,
            state: State::Packed,
            bucket: Bucket::Packed,
            clock: Some(Clock::PREPARE),
            ..Stage::WORK
        },
        Stage {
            name: Name::Ready,
            state: State::AwaitingCourier,
            bucket: Bucket::Ready,
            is_whole: true,
            clock: Some(COLLECT),
            ..Stage::WORK
        },
        Stage {
            name: Name::InCustody,
            state: State::InDelivery,
            bucket: Bucket::InCustody,
            reporter: Reporter::Courier,
            clock: Some(DELIVER),
            notice: Notices {
                entered: Some("EXPRESS_ON_THE_WAY"),
                reminder: None,
                expired: Some("EXPRESS_LOST"),
            },
            stock_effect: StockEffect::Consumed,
            ..Stage::WORK
        },
        Stage {
            name: Name::Done,
            state: State::Done,
            bucket: Bucket::Done,
            reporter: Reporter::Courier,
            notice: Notices { entered: Some("EXPRESS_DELIVERED"), reminder: None, expired: None },
            stock_effect: StockEffect::Consumed,
            ..Stage::WORK
        },
    ],
    clocks: Clocks {
        accept: SignedDuration::from_mins(3),
        keep: SignedDuration::from_mins(15),
        transit: Some(SignedDuration::from_hours(4)),
        reminders: [None, None],
        put_back: SignedDuration::from_hours(24),
        min_open: SignedDuration::from_hours(4),
        resolve: SignedDuration::from_mins(15),
        at_risk_percent: 80,
        versions: Versions::SETTINGS,
    },
    activity: Activity::Pick,
    is_collected: false,
    slack: SignedDuration::ZERO,
    answer: SignedDuration::from_mins(15),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fulfillment::event::CancelRequest;
    use crate::fulfillment::testing::{at, bring, keeps_the_laws, offer, planned};
    use crate::fulfillment::{Claims, Event, Method, MovedLine, Order, Refusal, Report, ShortReason, Units};

    const MINUTE: i64 = 60;

    fn advance(order: &mut Order, to: Name, minute: i64) -> Event {
        let event = bring(order, to, None, at(minute * MINUTE)).unwrap();
        keeps_the_laws(order);
        event
    }

    #[test]
    fn an_express_order_goes_from_the_offer_to_the_customer() {
        let mut order = planned(Method::Express, &[2, 1]);
        offer(&mut order, at(0)).unwrap();
        assert_eq!(
            order.next_due().map(|(due, _)| due),
            Some(at(144)),
            "at risk after 80 % of three minutes"
        );
        advance(&mut order, Name::Accepted, 1);
        advance(&mut order, Name::Picking, 2);
        let short = MovedLine { line: 1, quantity: 1, short: Some((1, ShortReason::Damaged)) };
        bring(&mut order, Name::Picked, Some(&[short]), at(3 * MINUTE)).unwrap();
        // The line that is not picked yet is cancelled from the shelf.
        let lines = [Units { line: 2, quantity: 1 }];
        order.cancel(CancelRequest { number: 1, lines: &lines, reason: "CUSTOMER" }, at(3 * MINUTE));
        assert_eq!(order.to_put_back(), 0);
        assert_eq!(
            bring(&mut order, Name::Ready, None, at(MINUTE)),
            Err(Refusal::State { step: "mark as ready", state: State::Picking })
        );
        advance(&mut order, Name::Packed, 4);
        assert_eq!(order.state(), State::Packed);
        advance(&mut order, Name::Ready, 5);
        assert_eq!(
            (order.state(), order.owner(Step::Collect)),
            (State::AwaitingCourier, Some(Reporter::Courier))
        );
        assert_eq!(order.lines[0].buckets.claims(&RULES), Claims { held: 1, consumed: 0, released: 1 });
        let event = advance(&mut order, Name::InCustody, 8);
        assert_eq!(order.notice_after(&event).unwrap().to_string(), "EXPRESS_ON_THE_WAY");
        assert_eq!((order.state(), order.is_work()), (State::InDelivery, false));
        assert_eq!(order.lines[0].buckets.claims(&RULES), Claims { held: 0, consumed: 1, released: 1 });
        advance(&mut order, Name::Done, 30);
        assert_eq!((order.state(), order.next_due()), (State::Done, None));
        assert_eq!(order.lines[0].buckets.claims(&RULES), Claims { held: 0, consumed: 1, released: 1 });
    }

    #[test]
    fn an_offer_that_nobody_answers_in_three_minutes_is_over() {
        let mut order = planned(Method::Express, &[1]);
        offer(&mut order, at(0)).unwrap();
        assert!(order.expire(Step::Accept, at(179)).is_err());
        order.expire(Step::Accept, at(180)).unwrap();
        keeps_the_laws(&order);
        let line = order.lines[0].buckets;
        assert_eq!((order.state(), line.given_up, line.kept), (State::TimedOut, 1, 1));
    }

    #[test]
    fn goods_that_no_courier_fetches_are_put_back() {
        let mut order = planned(Method::Express, &[1]);
        offer(&mut order, at(0)).unwrap();
        for to in [Name::Accepted, Name::Picking, Name::Picked, Name::Packed, Name::Ready] {
            advance(&mut order, to, 1);
        }
        order.expire(Step::Collect, at(16 * MINUTE)).unwrap();
        assert_eq!((order.state(), order.to_put_back()), (State::TimedOut, 1));
        assert!(
            bring(&mut order, Name::InCustody, None, at(17 * MINUTE)).is_err(),
            "the courier comes too late"
        );
    }

    #[test]
    fn goods_that_cannot_be_delivered_come_back_and_stay_consumed() {
        let mut order = planned(Method::Express, &[2]);
        offer(&mut order, at(0)).unwrap();
        for to in [Name::Accepted, Name::Picking, Name::Picked, Name::Packed, Name::Ready, Name::InCustody] {
            advance(&mut order, to, 1);
        }
        let by_node = order.bring_back(Report::all(Reporter::Node), at(MINUTE)).unwrap_err();
        assert!(matches!(by_node, Refusal::Reporter { .. }));
        order.bring_back(Report::all(Reporter::Courier), at(40 * MINUTE)).unwrap();
        keeps_the_laws(&order);
        assert_eq!((order.state(), order.end_reason()), (State::Restocked, "NOT_DELIVERED"));
        assert_eq!(order.lines[0].buckets.claims(&RULES), Claims { held: 0, consumed: 2, released: 0 });
    }
}

//! PARCEL: packed at a node, taken along by a carrier in one or more parcels.

use jiff::SignedDuration;

use super::{Activity, Clocks, Rules, Versions};
use crate::fulfillment::buckets::Bucket;
use crate::fulfillment::stage::{
    Clock, Counts, Due, Name, Notices, OnExpiry, Reporter, Span, Stage, Step, StockEffect,
};
use crate::fulfillment::state::State;

/// The node answers while it is open.
const ACCEPT: Clock = Clock {
    step: Step::Accept,
    due: Due::After(Span::Accept),
    counts: Counts::OpeningTime,
    on_expiry: OnExpiry::GiveUp,
};

/// The carrier comes for what is packed; else it goes back to the shelf.
const COLLECT: Clock = Clock {
    step: Step::Collect,
    due: Due::After(Span::Keep),
    counts: Counts::IntoOpening,
    on_expiry: OnExpiry::GiveUp,
};

/// The carrier delivers; a parcel that nothing is heard of is lost.
const DELIVER: Clock = Clock {
    step: Step::Deliver,
    due: Due::After(Span::Transit),
    counts: Counts::AllTime,
    on_expiry: OnExpiry::Lose,
};

/// What PARCEL prescribes.
pub const RULES: Rules = Rules {
    name: "PARCEL",
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
                entered: Some("PARCEL_DISPATCHED"),
                reminder: None,
                expired: Some("PARCEL_LOST"),
            },
            stock_effect: StockEffect::Consumed,
            ..Stage::WORK
        },
        Stage {
            name: Name::Done,
            state: State::Done,
            bucket: Bucket::Done,
            reporter: Reporter::Courier,
            notice: Notices { entered: Some("PARCEL_DELIVERED"), reminder: None, expired: None },
            stock_effect: StockEffect::Consumed,
            ..Stage::WORK
        },
    ],
    clocks: Clocks {
        accept: SignedDuration::from_mins(60),
        keep: SignedDuration::from_hours(48),
        transit: Some(SignedDuration::from_hours(14 * 24)),
        reminders: [None, None],
        put_back: SignedDuration::from_hours(24),
        min_open: SignedDuration::from_hours(4),
        resolve: SignedDuration::from_hours(7 * 24),
        at_risk_percent: 80,
        versions: Versions::SETTINGS,
    },
    activity: Activity::Pick,
    is_collected: false,
    slack: SignedDuration::from_hours(24),
    answer: SignedDuration::from_hours(7 * 24),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fulfillment::event::CancelRequest;
    use crate::fulfillment::testing::{at, bring, keeps_the_laws, offer, planned};
    use crate::fulfillment::{Claims, Event, Method, MovedLine, Order, ShortReason, Units};

    const HOUR: i64 = 3_600;

    fn claims(order: &Order, line: usize) -> Claims {
        let line = &order.lines[line];
        line.buckets.claims(&RULES)
    }

    fn advance(order: &mut Order, to: Name, lines: &[(u32, i64)], hour: i64) -> Event {
        let lines: Vec<MovedLine> = lines.iter().map(|(line, units)| MovedLine::of(*line, *units)).collect();
        let event = bring(order, to, (!lines.is_empty()).then_some(&lines), at(hour * HOUR)).unwrap();
        keeps_the_laws(order);
        event
    }

    #[test]
    fn a_parcel_order_goes_from_the_offer_to_the_customer_in_two_parcels() {
        let mut order = planned(Method::Parcel, &[3, 1]);
        offer(&mut order, at(0)).unwrap();
        advance(&mut order, Name::Accepted, &[], 0);
        advance(&mut order, Name::Picking, &[], 0);
        assert_eq!(order.state(), State::Picking);
        // Line 2 is not there.
        let short = MovedLine { line: 2, quantity: 0, short: Some((1, ShortReason::NotFound)) };
        bring(&mut order, Name::Picked, Some(&[MovedLine::of(1, 3), short]), at(HOUR)).unwrap();
        assert_eq!(claims(&order, 1), Claims { released: 1, ..Claims::default() });
        // The first parcel is taken along while the second one is not packed yet: two clocks run.
        advance(&mut order, Name::Packed, &[(1, 1)], 1);
        assert_eq!(order.state(), State::Picking);
        let event = advance(&mut order, Name::InCustody, &[(1, 1)], 1);
        assert_eq!(order.notice_after(&event).unwrap().to_string(), "PARCEL_DISPATCHED");
        assert_eq!(claims(&order, 0), Claims { held: 2, consumed: 1, released: 0 });
        assert!(order.clock(Step::Prepare).is_some() && order.clock(Step::Deliver).is_some());
        advance(&mut order, Name::Packed, &[], 2);
        assert_eq!((order.state(), order.owner(Step::Collect)), (State::Packed, Some(Reporter::Courier)));
        // One of the rest is not wanted any more: it must be put back. What has left cannot be cancelled.
        let lines = [Units { line: 1, quantity: 3 }];
        let one = [Units { line: 1, quantity: 1 }];
        order.cancel(CancelRequest { number: 1, lines: &one, reason: "CUSTOMER" }, at(2 * HOUR));
        assert_eq!(order.lines[0].buckets.put_back, 1);
        advance(&mut order, Name::InCustody, &[], 3);
        assert_eq!(order.state(), State::InDelivery);
        let event =
            order.cancel(CancelRequest { number: 2, lines: &lines, reason: "CUSTOMER" }, at(3 * HOUR));
        assert!(matches!(event, Event::CancelRefused { .. }), "{event:?}");
        order.confirm_put_back(at(3 * HOUR)).unwrap();
        assert_eq!(claims(&order, 0), Claims { held: 0, consumed: 2, released: 1 });
        assert!(!order.is_work(), "the node is done, the carrier is not");
        let event = advance(&mut order, Name::Done, &[(1, 1)], 20);
        assert_eq!(order.notice_after(&event).unwrap().to_string(), "PARCEL_DELIVERED");
        assert_eq!(order.state(), State::InDelivery);
        // Of the other parcel nothing is heard.
        let lost = loop {
            let (due, _) = order.next_due().expect("a way out");
            let event = order.tick(due).unwrap().unwrap();
            keeps_the_laws(&order);
            if !matches!(event, Event::AtRisk { step: Step::Deliver, .. }) {
                break event;
            }
        };
        assert_eq!(order.notice_after(&lost).unwrap().to_string(), "PARCEL_LOST");
        assert_eq!((order.state(), order.lines[0].buckets.lost), (State::Done, 1));
        assert_eq!(claims(&order, 0), Claims { held: 0, consumed: 2, released: 1 });
    }

    #[test]
    fn only_the_carrier_reports_what_happens_to_a_parcel_on_its_way() {
        let mut order = planned(Method::Parcel, &[1]);
        offer(&mut order, at(0)).unwrap();
        for to in [Name::Accepted, Name::Picking, Name::Picked, Name::Packed] {
            advance(&mut order, to, &[], 0);
        }
        let report = crate::fulfillment::Report::all(Reporter::Node);
        let refused = order.advance(Name::InCustody, report, at(HOUR)).unwrap_err();
        assert_eq!(refused.to_string(), "cannot dispatch: only the courier reports this");
        assert!(
            bring(&mut order, Name::Ready, None, at(HOUR)).is_err(),
            "a parcel is not kept for the customer"
        );
        assert!(order.code_issued(at(HOUR)).is_err(), "nobody collects a parcel with a code");
    }

    #[test]
    fn what_no_carrier_takes_along_goes_back_to_the_shelf() {
        let mut order = planned(Method::Parcel, &[2]);
        offer(&mut order, at(0)).unwrap();
        for to in [Name::Accepted, Name::Picking, Name::Picked, Name::Packed] {
            advance(&mut order, to, &[], 0);
        }
        assert!(order.expire(Step::Collect, at(47 * HOUR)).is_err());
        order.expire(Step::Collect, at(48 * HOUR)).unwrap();
        keeps_the_laws(&order);
        assert_eq!((order.state(), claims(&order, 0).held), (State::TimedOut, 2));
        order.confirm_put_back(at(49 * HOUR)).unwrap();
        assert_eq!((claims(&order, 0).released, order.end_reason()), (2, "TIMED_OUT"));
    }
}

//! Orders for tests, and what must hold of every order.

use super::*;
use crate::fulfillment::method::Method;
use crate::id::NodeId;
use crate::time::from_micros;

pub(super) const POLICY: Policy = Policy {
    payment_ms: 900_000,
    grace_ms: 300_000,
    hold_margin_ms: 120_000,
    // later than any test
    work_check_ms: 31_536_000_000,
    progress_check_ms: 31_536_000_000,
};

pub(super) fn at(second: i64) -> Timestamp {
    from_micros(second * 1_000_000)
}

pub(super) fn tender(id: &str, amount_minor: i64, state: TenderState) -> Tender {
    Tender {
        id: id.to_owned(),
        kind: "card".to_owned(),
        amount_minor,
        state,
        provider_ref: String::new(),
        claimed_minor: 0,
    }
}

pub(super) fn draft(lines: &[(i64, i64)], charge: i64, tenders: Vec<Tender>) -> Draft {
    let lines: Vec<DraftLine> = lines
        .iter()
        .enumerate()
        .map(|(i, (quantity, unit_price))| DraftLine {
            no: LineNo::try_from(i + 1).unwrap(),
            sku: Sku::new(format!("sku-{i}")).unwrap(),
            name: format!("thing {i}"),
            amounts: Amounts {
                unit_price: *unit_price,
                quantity: *quantity,
                discount: 0,
                tax: 0,
                tax_included: true,
            },
        })
        .collect();
    let total_minor = lines.iter().map(|l| l.amounts.unit_price * l.amounts.quantity).sum::<i64>() + charge;
    Draft {
        channel: "web".to_owned(),
        channel_order_id: "1".to_owned(),
        customer_ref: String::new(),
        currency: Currency::GBP,
        tax_included: true,
        terms: Terms::Prepaid,
        lines,
        charges: vec![Charge {
            code: "POSTAGE".to_owned(),
            description: String::new(),
            amount_minor: charge,
        }],
        tenders,
        total_minor,
    }
}

/// A leg that is held under a promise of its own.
pub(super) fn leg(name: &str, group: u32, lines: &[(LineNo, i64)]) -> Leg {
    let line = |(no, quantity): &(LineNo, i64)| LegLine {
        line: *no,
        units: LegUnits::fresh(*quantity),
        cancel_requested: 0,
    };
    Leg {
        id: FulfillmentId::new(id::derived("leg", name)),
        no: 1,
        group,
        token: Some(PromiseToken::new(id::derived("token", name))),
        method: Method::Pickup,
        node: NodeId::new("store-1").unwrap(),
        window: Span { start: at(3600), end: at(7200) },
        held_until: at(2000),
        released: None,
        confirmed: None,
        dropped: None,
        is_accepted: false,
        version: 0,
        lines: lines.iter().map(line).collect(),
    }
}

/// One group of these lines, and one leg for it.
pub(super) fn asked(lines: &[(LineNo, i64)]) -> Asked {
    let leg = leg("first", 1, lines);
    let group = Group {
        no: 1,
        method: Method::Pickup,
        node: None,
        wanted: None,
        not_later_than: None,
        lines: lines.to_vec(),
        wishes: Vec::new(),
    };
    Asked { groups: vec![group], token: leg.token, legs: vec![leg] }
}

/// A leg for all pieces that are open.
pub(super) fn again(order: &Order, name: &str) -> Vec<Leg> {
    order
        .open_parts()
        .into_iter()
        .map(|(group, lines)| leg(&format!("{name} {group}"), group, &lines))
        .collect()
}

/// Places a draft with one group and one leg.
pub(super) fn place(draft: Draft) -> Changed {
    let lines: Vec<_> = draft.lines.iter().map(|line| (line.no, line.amounts.quantity)).collect();
    Order::place(OrderId::new(id::derived("order", "1")), draft, asked(&lines), &POLICY, at(0)).unwrap()
}

/// The leg that serves.
pub(super) fn serving(order: &Order) -> FulfillmentId {
    order.legs.last().unwrap().id
}

pub(super) fn order(lines: &[(i64, i64)], charge: i64, states: &[TenderState]) -> Order {
    let total = lines.iter().map(|(q, p)| q * p).sum::<i64>() + charge;
    let parts = crate::money::split(total, &vec![1; states.len()]);
    let tenders = states.iter().zip(parts).zip(b'a'..);
    let tenders = tenders.map(|((state, part), id)| tender(&char::from(id).to_string(), part, *state));
    let draft = draft(lines, charge, tenders.collect());
    place(draft).order
}

pub(super) fn unpaid() -> Order {
    order(&[(3, 100), (2, 55)], 7, &[TenderState::Due])
}

pub(super) fn paid() -> Order {
    order(&[(3, 100), (2, 55)], 7, &[TenderState::Captured])
}

pub(super) fn report(order: &Order, is_accepted: bool, f: impl Fn(LineNo, &mut LegUnits)) -> WorkReport {
    let leg = order.legs.last().unwrap();
    let lines = leg.lines.iter().map(|line| {
        let mut units = LegUnits::fresh(line.units.quantity);
        f(line.line, &mut units);
        (line.line, units)
    });
    WorkReport {
        leg: leg.id,
        version: leg.version + 1,
        is_accepted,
        lines: lines.collect(),
        reason: "SHORT".to_owned(),
        answer: None,
        is_without_work: false,
    }
}

pub(super) fn capture(order: &Order, tender: usize) -> Payment {
    let tender = &order.ledger.tenders[tender];
    Payment {
        tender: tender.id.clone(),
        state: TenderState::Captured,
        amount_minor: tender.amount_minor,
        provider_ref: String::new(),
    }
}

pub(super) fn all_done(order: &Order) -> WorkReport {
    report(order, true, |_, s| (s.to_pick, s.done) = (0, s.quantity))
}

pub(super) fn assert_laws(order: &Order) {
    let mut summed = order.clone();
    summed.sum_up();
    assert_eq!(&summed, order, "the buckets are those of the line and its legs");
    for leg in &order.legs {
        for line in &leg.lines {
            assert!(line.units.is_whole(), "{line:?}");
            assert!((0..=line.units.cancellable()).contains(&line.cancel_requested), "{line:?}");
        }
    }
    for line in &order.lines {
        assert_eq!(line.buckets.sum(), line.amounts.quantity, "buckets of line {}", line.no);
        let b = line.buckets;
        let all = [b.open, b.reserved, b.allocated, b.picked, b.ready, b.delivered, b.cancelled, b.lost];
        assert!(all.iter().all(|pieces| *pieces >= 0), "{b:?}");
        assert!((0..=b.cancellable()).contains(&line.cancel_requested) || order.status().is_over());
    }
    assert!(order.status().is_over() || order.due_at(&POLICY).is_some(), "an open order waits for nothing");
    assert_eq!(order.shares_minor(), order.total_minor);
    assert!(order.ledger.claimed() <= order.ledger.paid(), "{:?}", order.ledger);
    let promised_back: i64 = order.ledger.tenders.iter().map(|t| t.claimed_minor).sum();
    assert_eq!(promised_back, order.ledger.claimed());
}

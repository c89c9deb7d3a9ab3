//! Orders for tests, and what must hold of every order.

use super::*;
use crate::fulfillment::method::Method;
use crate::id::{self, NodeId};
use crate::time::from_micros;

pub(super) const POLICY: Policy = Policy {
    payment_ms: 900_000,
    payment_version: 0,
    grace_ms: 300_000,
    hold_margin_ms: 120_000,
    // later than any test
    work_check_ms: 31_536_000_000,
    progress_check_ms: 31_536_000_000,
    need_retry_ms: 300_000,
    need_answer_ms: None,
    need_answer_version: 0,
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
        replaced_minor: 0,
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
            promotions: Vec::new(),
        })
        .collect();
    let total_minor = lines.iter().map(|l| l.amounts.unit_price * l.amounts.quantity).sum::<i64>() + charge;
    Draft {
        channel: "web".to_owned(),
        channel_order_id: "1".to_owned(),
        customer_ref: String::new(),
        origin: Origin::default(),
        currency: Currency::GBP,
        tax_included: true,
        terms: Terms::Prepaid,
        acceptance: Acceptance::Checked,
        lines,
        charges: vec![Charge {
            code: "POSTAGE".to_owned(),
            description: String::new(),
            amount_minor: charge,
            rule: ReturnRule::WithLastPiece,
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
        need: None,
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
        actor: String::new(),
        lines: lines.iter().map(line).collect(),
    }
}

/// One group of these lines, and one leg for it.
pub(super) fn asked(lines: &[(LineNo, i64)]) -> Asked {
    let leg = leg("first", 1, lines);
    Asked { groups: vec![group(1, lines)], token: leg.token, legs: vec![leg], missing: Vec::new() }
}

/// A group of these lines.
pub(super) fn group(no: u32, lines: &[(LineNo, i64)]) -> Group {
    Group {
        no,
        method: Method::Pickup,
        node: None,
        wanted: None,
        not_later_than: None,
        lines: lines.to_vec(),
        wishes: Vec::new(),
    }
}

/// A leg for all pieces that a payment must hold.
pub(super) fn again(order: &Order, name: &str, now: Timestamp) -> Vec<Leg> {
    order
        .parts_to_hold(now)
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
        actor: "store/1".to_owned(),
        is_accepted,
        lines: lines.collect(),
        reason: "SHORT".to_owned(),
        answer: None,
        paid: None,
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

/// The only part of a refund by a tender.
pub(super) fn part_of(tender: &str) -> PartId {
    PartId { tender: tender.to_owned(), provider_ref: None }
}

/// What a provider answers to an attempt at a refund.
pub(super) fn answer(is_done: bool, attempt: i64, report_ref: &str) -> RefundAnswer {
    RefundAnswer { is_done, attempt, report_ref: report_ref.to_owned() }
}

pub(super) fn all_done(order: &Order) -> WorkReport {
    report(order, true, |_, s| (s.to_pick, s.done) = (0, s.quantity))
}

/// A place where pieces of a need could be ready at a second.
pub(super) fn quote(node: &str, second: i64) -> Quote {
    Quote {
        node: NodeId::new(node).unwrap(),
        name: node.to_owned(),
        method: Method::Pickup,
        window: Span { start: at(second), end: at(second + 3_600) },
    }
}

/// What the node of a leg reports of line 1.
pub(super) fn reports(order: &Order, leg: FulfillmentId, f: impl FnOnce(&mut LegUnits)) -> WorkReport {
    let known = order.leg(leg).unwrap();
    let mut units = known.line(1).unwrap().units;
    f(&mut units);
    WorkReport {
        leg,
        version: known.version + 1,
        actor: "store/1".to_owned(),
        is_accepted: true,
        lines: vec![(1, units)],
        reason: "REJECTED_TOO_BUSY".to_owned(),
        answer: None,
        paid: None,
        is_without_work: false,
    }
}

/// The order after a report.
pub(super) fn followed(order: &Order, report: &WorkReport) -> Changed {
    let changed = order.clone().follow(report, at(10)).unwrap();
    assert_laws(&changed.order);
    changed
}

/// A node fails this many pieces of line 1 that are on the shelf.
pub(super) fn fail(order: &Order, leg: FulfillmentId, pieces: i64) -> Changed {
    followed(
        order,
        &reports(order, leg, |u| (u.to_pick, u.given_up) = (u.to_pick - pieces, u.given_up + pieces)),
    )
}

/// What happened, by name.
pub(super) fn names(changed: &Changed) -> Vec<String> {
    let name = |event: &Event| format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
    changed.events.iter().map(name).collect()
}

/// Another node takes all open pieces of the newest need.
pub(super) fn reroute(order: &Order, name: &str) -> Changed {
    let need = order.needs.last().unwrap();
    let new = leg(name, need.group, &need.open());
    let changed = order.clone().reroute(need.id, vec![new], at(20)).unwrap();
    assert_laws(&changed.order);
    changed
}

/// The customer does without what every open need looks for.
pub(super) fn dropped(mut order: Order, now: Timestamp) -> Order {
    let open: Vec<_> = order.needs.iter().filter(|need| need.is_open()).map(|need| need.id).collect();
    for need in open {
        order = order.choose_drop(need, now).unwrap().order;
    }
    order
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
    assert_need_laws(order);
    assert_due_laws(order);
    for line in &order.lines {
        assert_eq!(line.buckets.sum(), line.amounts.quantity, "buckets of line {}", line.no);
        let b = line.buckets;
        let all = [b.open, b.reserved, b.allocated, b.picked, b.ready, b.delivered, b.cancelled, b.lost];
        assert!(all.iter().all(|pieces| *pieces >= 0), "{b:?}");
        assert!((0..=b.cancellable()).contains(&line.cancel_requested) || order.status().is_over());
    }
    assert!(order.blocks.is_empty() || !order.status().is_over(), "what is over is not blocked");
    assert!(order.status().is_over() || order.due_at(&POLICY).is_some(), "an open order waits for nothing");
    assert_money_laws(order);
}

/// Needs have what nodes failed, piece by piece, and none waits for ever or beyond its order.
fn assert_need_laws(order: &Order) {
    let is_over = order.status().is_over();
    for leg in &order.legs {
        for part in &leg.lines {
            let needs = order.needs.iter().filter(|need| need.leg == Some(leg.id));
            let had: i64 = needs.filter_map(|need| need.line(part.line)).map(|line| line.quantity).sum();
            assert_eq!(part.units.failed(), had, "what a node failed is in needs: line {}", part.line);
        }
    }
    for (need, no) in order.needs.iter().zip(1..) {
        assert_eq!((need.no, need.id), (no, Need::id_of(order.id, need.leg, no)));
        assert!(need.lines.is_sorted_by(|a, b| a.line < b.line), "{need:?}");
        for line in &need.lines {
            assert!(
                line.quantity > 0 && line.sourced >= 0 && line.dropped >= 0 && line.open() >= 0,
                "{line:?}"
            );
            let legs = order.legs.iter().filter(|leg| leg.need == Some(need.no));
            let sourced: i64 = legs.filter_map(|leg| leg.line(line.line)).map(|l| l.units.quantity).sum();
            assert_eq!(line.sourced, sourced, "legs have what is sourced");
        }
        let is_open = need.is_open();
        assert!(!(is_open && is_over), "a need is open although the order is over");
        assert_eq!(need.seek_at.is_some(), is_open, "what is open has a due time, and nothing else has");
        assert!(is_open || need.asked.is_none());
        assert_eq!(need.asked.is_some(), !need.options.is_empty());
    }
    let is_released = order.is_released() && !is_over;
    assert!(!is_released || order.own_open() == 0, "what is paid for has a leg or a need");
    let is_asked = order.needs.iter().any(|need| need.asked.is_some());
    let is_lost = order.has_lost_hold() && !order.status().is_over();
    assert_eq!(
        is_asked || is_lost,
        order.blocks.contains(&Block::Stock),
        "STOCK stands while stock is wanted"
    );
    for line in &order.lines {
        let on_legs = order.legs.iter().filter(|leg| leg.is_live()).filter_map(|leg| leg.line(line.no));
        let on_legs: i64 = on_legs.map(|part| part.units.quantity - part.units.failed()).sum();
        let needs = order.needs.iter().filter_map(|need| need.line(line.no));
        let needs: i64 = needs.map(|part| part.open() + part.dropped).sum();
        let own = line.own;
        let own = own.open + own.backordered + own.cancelled + own.lost;
        assert_eq!(own + on_legs + needs, line.amounts.quantity, "each piece is in one place");
    }
}

/// What the handovers of all legs that are still to come bring in, as their nodes count it.
pub(super) fn to_collect(order: &Order) -> i64 {
    let left = |due: &LegDue| {
        let leg = order.leg(due.leg).unwrap();
        let all: i64 = due.lines.iter().map(|(_, minor)| minor).sum();
        let cost = |(no, minor): &(LineNo, i64)| {
            let units = leg.line(*no).unwrap().units;
            Share::new(*minor, units.quantity).of(units.done + units.cancellable())
        };
        let cost: i64 = due.lines.iter().map(cost).sum();
        (cost - (all - due.due_minor) - order.ledger.collected(leg.no)).max(0)
    };
    order.dues().iter().map(left).sum()
}

/// Where goods are paid at their handovers, these bring in what is owed, but for a minor unit of each piece at most.
fn assert_due_laws(order: &Order) {
    if order.terms != Terms::PayAtHandover || order.status().is_over() {
        return;
    }
    let owing = (order.owed_minor() - order.ledger.held()).max(0);
    let pieces: i64 = order.lines.iter().map(|line| line.amounts.quantity).sum();
    let left = owing - to_collect(order);
    assert!(left >= 0, "handovers bring in {left} too much");
    let is_open = order.needs.iter().any(Need::is_open);
    assert!(is_open || left <= pieces, "handovers leave {left} open");
}

/// No piece gives back more than it cost, no tender more than it paid, and what is owed is what is live and what is kept.
pub(super) fn assert_money_laws(order: &Order) {
    let (ledger, parts) = (&order.ledger, order.parts());
    let all: i64 = order.lines.iter().map(|line| parts.price(line.no, 1, line.amounts.quantity)).sum();
    assert_eq!(all, order.total_minor, "the parts sum to the total");
    for line in &order.lines {
        let given_up = |row: &&Row| row.line == line.no && row.cause != Cause::Retained;
        let settled: i64 = ledger.rows.iter().filter(given_up).map(|row| row.amount_minor).sum();
        let (quantity, live) = (line.amounts.quantity, line.buckets.live());
        assert!((0..=parts.price(line.no, 1, quantity)).contains(&settled), "line {}: {settled}", line.no);
        // Each piece by itself.
        for piece in 1..=quantity {
            let is_its = |row: &&Row| {
                row.units == 1 && row.first == piece || row.first + row.units > piece && row.first <= piece
            };
            let whole = |row: &&Row| !matches!(row.component, Component::Charge(_));
            let rows = ledger.rows.iter().filter(given_up).filter(is_its).filter(whole);
            let is_gone = piece > live;
            assert!(is_gone || rows.clone().all(|row| row.units == 1), "a piece that is live was given up");
            if rows.clone().all(|row| row.units == 1) {
                let sum: i64 = rows.map(|row| row.amount_minor).sum();
                let goods =
                    parts.line(line.no).iter().filter(|part| !matches!(part.component, Component::Charge(_)));
                let price: i64 = goods.map(|part| part.of(piece, 1)).sum();
                assert!(
                    if is_gone { sum == price } else { (0..=price).contains(&sum) },
                    "piece {piece}: {sum} of {price}"
                );
            }
        }
    }
    for (tender, sums) in ledger.tenders.iter().zip(ledger.sums()) {
        assert!(
            sums.authorized >= 0
                && sums.claimed <= sums.captured
                && (0..=sums.voided).contains(&sums.released)
                && (0..=sums.voided - sums.released).contains(&sums.second),
            "{tender:?} {sums:?}"
        );
        assert!((0..=tender.amount_minor).contains(&tender.replaced_minor));
        let back: i64 = ledger
            .refunds
            .iter()
            .flat_map(|refund| &refund.parts)
            .filter(|part| part.tender == tender.id)
            .map(|part| part.amount_minor)
            .sum();
        let excess = ledger.rows.iter().filter(|row| row.tender == tender.id && row.cause == Cause::Claimed);
        assert_eq!(
            back,
            excess.map(|row| row.amount_minor).sum::<i64>(),
            "what is asked back is what rows claim"
        );
        assert!(back <= sums.captured + sums.excess, "{tender:?} {sums:?} {back}");
        let captures = ledger.captures(&tender.id);
        assert!(captures.iter().all(|capture| capture.asked <= capture.captured), "{captures:?}");
        let of_captures: i64 = captures.iter().map(|capture| capture.asked).sum();
        assert_eq!(of_captures, back, "each part of a refund names a capture: {captures:?}");
    }
    assert!(ledger.held() <= order.owed_minor(), "what is held is owed: {ledger:?}");
    for refund in &ledger.refunds {
        let counts = |part: &&RefundPart| part.state != RefundState::Redirected;
        let sum: i64 = refund.parts.iter().filter(counts).map(|part| part.amount_minor).sum();
        assert!(sum == refund.amount_minor && sum > 0, "{refund:?}");
        for (at, part) in refund.parts.iter().enumerate() {
            let is_same = |other: &RefundPart| PartId::from(other) == PartId::from(part);
            assert!(!refund.parts[..at].iter().any(is_same), "two parts have one name: {refund:?}");
        }
    }
}

impl Leg {
    /// Pieces of all its lines.
    pub(super) fn units(&self) -> i64 {
        self.lines.iter().map(|line| line.units.quantity).sum()
    }
}

//! The rows of an order's money: tenders, charges, refunds and the ledger. Rows of the ledger are only ever inserted.

use db::{Part, Row, Tx, Type, Value, insert_rows, params, update_rows};
use domain::id::{LineNo, OrderId, RefundId, Uuid};
use domain::order::{
    Cause, Charge, Component, Ledger, Order, Refund, RefundPart, RefundState, ReturnRule, Row as Booking,
    Tender, TenderState,
};
use domain::time::{from_micros, micros};

use super::load::{ByOrder, unreadable};
use super::save::count;
use super::{Change, New};
use crate::error::Error;

/// The tenders, charges and ledgers of new orders. They have no refunds yet.
pub(super) fn inserted(news: &[New<'_>]) -> [Part; 3] {
    let all = news.iter().map(|new| (new.order, 0));
    [tenders_inserted(all.clone()), charges(news), rows_inserted(all)]
}

/// What is new or changed in the money of orders.
pub(super) fn changed(changes: &[Change<'_>]) -> [Part; 5] {
    let ledger = |order: &Order| (order.ledger.tenders.len(), order.ledger.rows.len());
    let known = |change: &Change<'_>| ledger(&change.before.order);
    let tenders = changes.iter().map(|change| (change.order, known(change).0));
    let rows = changes.iter().map(|change| (change.order, known(change).1));
    let [refunds, new_refunds] = refunds_changed(changes);
    [tenders_changed(changes), tenders_inserted(tenders), refunds, new_refunds, rows_inserted(rows)]
}

/// Tenders of orders, each without the rows that are stored.
fn tenders_inserted<'a>(orders: impl Iterator<Item = (&'a Order, usize)>) -> Part {
    let mut rows = Vec::new();
    for (order, known) in orders {
        for (tender, position) in order.ledger.tenders.iter().zip(1_i64..).skip(known) {
            rows.push(params![
                order.id.uuid(),
                tender.id.as_str(),
                position,
                tender.kind.as_str(),
                tender.amount_minor,
                tender.replaced_minor,
                tender.state.name(),
                tender.provider_ref.as_str(),
            ]);
        }
    }
    let (text, columns) = insert_rows!(
        "order_tenders",
        [
            order_id: Uuid, tender_id: Text, position: BigInt, kind: Text, amount: BigInt, replaced: BigInt,
            state: Text, provider_ref: Text
        ]
    );
    Part::new(text, columns, rows)
}

fn tenders_changed(changes: &[Change<'_>]) -> Part {
    let mut rows = Vec::new();
    for Change { before, order, .. } in changes {
        let pairs = before.order.ledger.tenders.iter().zip(&order.ledger.tenders);
        for (_, tender) in pairs.filter(|(old, new)| old != new) {
            rows.push(params![
                order.id.uuid(),
                tender.id.as_str(),
                tender.replaced_minor,
                tender.state.name(),
                tender.provider_ref.as_str(),
            ]);
        }
    }
    let (text, columns) = update_rows!(
        "order_tenders",
        keys [order_id: Uuid, tender_id: Text],
        [replaced: BigInt, state: Text, provider_ref: Text]
    );
    Part::new(text, columns, rows)
}

fn charges(news: &[New<'_>]) -> Part {
    let mut rows = Vec::new();
    for New { order, .. } in news {
        for (charge, position) in order.charges.iter().zip(1_i64..) {
            rows.push(params![
                order.id.uuid(),
                position,
                charge.code.as_str(),
                charge.description.as_str(),
                charge.amount_minor,
                charge.rule.name(),
            ]);
        }
    }
    let (text, columns) = insert_rows!(
        "order_charges",
        [order_id: Uuid, position: BigInt, code: Text, description: Text, amount: BigInt, return_rule: Text]
    );
    Part::new(text, columns, rows)
}

/// The parts of refunds that changed, and those that are new.
fn refunds_changed(changes: &[Change<'_>]) -> [Part; 2] {
    let (mut changed, mut fresh) = (Vec::new(), Vec::new());
    for Change { before, order, .. } in changes {
        let old = &before.order.ledger.refunds;
        for (at, refund) in order.ledger.refunds.iter().enumerate() {
            for (part_at, part) in refund.parts.iter().enumerate() {
                let key = (order.id, count(at + 1), count(part_at + 1));
                match old.get(at).and_then(|refund| refund.parts.get(part_at)) {
                    Some(known) if known == part => {}
                    Some(_) => changed.push(part_changed(key, part)),
                    None => fresh.push(part_row(key, refund, part)),
                }
            }
        }
    }
    let (text, columns) = update_rows!(
        "order_refunds",
        keys [order_id: Uuid, position: BigInt, part_no: BigInt],
        [state: Text, attempt: BigInt, next_attempt_at: BigInt, report_ref: Text]
    );
    let changed = Part::new(text, columns, changed);
    let (text, columns) = insert_rows!(
        "order_refunds",
        [
            order_id: Uuid, position: BigInt, part_no: BigInt, refund_id: Uuid, reason: Text, requested_at: BigInt,
            tender_id: Text, kind: Text, provider_ref: Text, amount: BigInt, state: Text, attempt: BigInt,
            next_attempt_at: BigInt, report_ref: Text
        ]
    );
    [changed, Part::new(text, columns, fresh)]
}

fn part_changed((order, position, part_no): (OrderId, i64, i64), part: &RefundPart) -> Vec<Value> {
    params![
        order.uuid(),
        position,
        part_no,
        part.state.name(),
        part.attempt,
        part.next_attempt.map(micros),
        part.report_ref.as_str(),
    ]
}

fn part_row(
    (order, position, part_no): (OrderId, i64, i64),
    refund: &Refund,
    part: &RefundPart,
) -> Vec<Value> {
    params![
        order.uuid(),
        position,
        part_no,
        refund.id.uuid(),
        refund.reason.as_str(),
        micros(refund.at),
        part.tender.as_str(),
        part.kind.as_str(),
        part.provider_ref.as_str(),
        part.amount_minor,
        part.state.name(),
        part.attempt,
        part.next_attempt.map(micros),
        part.report_ref.as_str(),
    ]
}

/// Rows of the ledgers of orders, each without the rows that are stored.
fn rows_inserted<'a>(orders: impl Iterator<Item = (&'a Order, usize)>) -> Part {
    let mut rows = Vec::new();
    for (order, known) in orders {
        for (row, number) in order.ledger.rows.iter().zip(1_i64..).skip(known) {
            rows.push(params![
                order.id.uuid(),
                number,
                row.tender.as_str(),
                row.line,
                row.first,
                row.units,
                row.component.to_string(),
                row.cause.name(),
                row.amount_minor,
                row.reference.as_str(),
                row.leg,
                micros(row.at),
            ]);
        }
    }
    let (text, columns) = insert_rows!(
        "order_money",
        [
            order_id: Uuid, row_no: BigInt, tender_id: Text, line_no: BigInt, first_piece: BigInt, units: BigInt,
            component: Text, cause: Text, amount: BigInt, reference: Text, leg_no: BigInt, recorded_at: BigInt
        ]
    );
    Part::new(text, columns, rows)
}

/// How many rows the refunds of an order have: one for each part of each.
pub(super) fn refund_rows(order: &Order) -> i64 {
    count(order.ledger.refunds.iter().map(|refund| refund.parts.len()).sum())
}

/// The orders to read money of.
pub(super) struct Wanted {
    pub(super) all: Vec<Vec<Value>>,
    pub(super) with_charges: Vec<Vec<Value>>,
    pub(super) with_refunds: Vec<Vec<Value>>,
    pub(super) with_rows: Vec<Vec<Value>>,
}

/// The money of orders.
pub(super) struct Loaded {
    tenders: ByOrder<Tender>,
    charges: ByOrder<Charge>,
    refunds: ByOrder<Refund>,
    rows: ByOrder<Booking>,
}

impl Loaded {
    /// Gives an order its money.
    pub(super) fn complete(&mut self, order: &mut Order) {
        let id = order.id.uuid();
        order.charges = self.charges.remove(&id).unwrap_or_default();
        order.ledger = Ledger {
            tenders: self.tenders.remove(&id).unwrap_or_default(),
            refunds: self.refunds.remove(&id).unwrap_or_default(),
            rows: self.rows.remove(&id).unwrap_or_default(),
        };
    }
}

/// Reads the money of orders, each table in one statement.
pub(super) async fn load(tx: &mut Tx, wanted: Wanted) -> Result<Loaded, Error> {
    Ok(Loaded {
        tenders: tenders(tx, wanted.all).await?,
        charges: charges_of(tx, wanted.with_charges).await?,
        refunds: refunds(tx, wanted.with_refunds).await?,
        rows: rows(tx, wanted.with_rows).await?,
    })
}

/// Reads rows that belong to orders.
fn by_order<T>(rows: &[Row], read: impl Fn(&Row) -> Result<T, Error>) -> Result<ByOrder<T>, Error> {
    let mut all = ByOrder::new();
    for row in rows {
        all.entry(row.get("order_id")?).or_default().push(read(row)?);
    }
    Ok(all)
}

async fn tenders(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Tender>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT t.order_id, t.tender_id, t.kind, t.amount, t.replaced, t.state, t.provider_ref
               FROM order_tenders t JOIN {rows} ON t.order_id = r.order_id ORDER BY t.order_id, t.position",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    by_order(&rows, |row| {
        let state: String = row.get("state")?;
        Ok(Tender {
            id: row.get("tender_id")?,
            kind: row.get("kind")?,
            amount_minor: row.get("amount")?,
            replaced_minor: row.get("replaced")?,
            state: TenderState::parse(&state).ok_or_else(|| unreadable("tender state", &state))?,
            provider_ref: row.get("provider_ref")?,
        })
    })
}

async fn charges_of(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Charge>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT c.order_id, c.code, c.description, c.amount, c.return_rule FROM order_charges c
               JOIN {rows} ON c.order_id = r.order_id ORDER BY c.order_id, c.position",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    by_order(&rows, |row| {
        let rule: String = row.get("return_rule")?;
        Ok(Charge {
            code: row.get("code")?,
            description: row.get("description")?,
            amount_minor: row.get("amount")?,
            rule: ReturnRule::parse(&rule).ok_or_else(|| unreadable("return rule", &rule))?,
        })
    })
}

async fn refunds(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Refund>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT f.order_id, f.part_no, f.refund_id, f.reason, f.requested_at, f.tender_id, f.kind, f.provider_ref,
                    f.amount, f.state, f.attempt, f.next_attempt_at, f.report_ref
               FROM order_refunds f JOIN {rows} ON f.order_id = r.order_id
              ORDER BY f.order_id, f.position, f.part_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    let mut all: ByOrder<Refund> = ByOrder::new();
    for row in &rows {
        let of_order = all.entry(row.get::<Uuid>("order_id")?).or_default();
        if row.get::<i64>("part_no")? == 1 {
            of_order.push(Refund {
                id: RefundId::new(row.get("refund_id")?),
                amount_minor: 0,
                reason: row.get("reason")?,
                at: from_micros(row.get("requested_at")?),
                lines: Vec::new(),
                parts: Vec::new(),
            });
        }
        let part = part(row)?;
        let Some(refund) = of_order.last_mut() else {
            return Err(unreadable("refund", "without a first part"));
        };
        // What was redirected is paid by another part.
        if part.state != RefundState::Redirected {
            refund.amount_minor += part.amount_minor;
        }
        refund.parts.push(part);
    }
    Ok(all)
}

fn part(row: &Row) -> Result<RefundPart, Error> {
    let state: String = row.get("state")?;
    Ok(RefundPart {
        tender: row.get("tender_id")?,
        kind: row.get("kind")?,
        amount_minor: row.get("amount")?,
        state: RefundState::parse(&state).ok_or_else(|| unreadable("refund state", &state))?,
        attempt: row.get("attempt")?,
        next_attempt: row.get::<Option<i64>>("next_attempt_at")?.map(from_micros),
        provider_ref: row.get("provider_ref")?,
        report_ref: row.get("report_ref")?,
    })
}

async fn rows(tx: &mut Tx, ids: Vec<Vec<Value>>) -> Result<ByOrder<Booking>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT m.order_id, m.tender_id, m.line_no, m.first_piece, m.units, m.component, m.cause, m.amount,
                    m.reference, m.leg_no, m.recorded_at
               FROM order_money m JOIN {rows} ON m.order_id = r.order_id ORDER BY m.order_id, m.row_no",
            &[("order_id", Type::Uuid)],
            ids,
        )
        .await?;
    by_order(&rows, |row| {
        let (component, cause): (String, String) = (row.get("component")?, row.get("cause")?);
        Ok(Booking {
            tender: row.get("tender_id")?,
            line: row.get::<LineNo>("line_no")?,
            first: row.get("first_piece")?,
            units: row.get("units")?,
            component: Component::parse(&component).ok_or_else(|| unreadable("component", &component))?,
            cause: Cause::parse(&cause).ok_or_else(|| unreadable("cause", &cause))?,
            amount_minor: row.get("amount")?,
            reference: row.get("reference")?,
            leg: row.get("leg_no")?,
            at: from_micros(row.get("recorded_at")?),
        })
    })
}

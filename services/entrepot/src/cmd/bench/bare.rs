//! The bare work: what one order or reservation needs in SQL, one hand-written transaction per request.
//!
//! It writes the same tables with the same indexes and checks, in the same database, in a schema (or file) of its own,
//! so that nothing else touches its rows: no relay, no consumer, no timer. That favours the bare side.

use std::sync::atomic::{AtomicU64, Ordering};

use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use db::{Db, Migration, Tx, Type, Value, params};
use domain::id;
use prost::Message as _;
use uuid::Uuid;

use super::leg::{Leg, legs};
use super::stage::{NODE, Stage};

/// Who does it, in ledger and events.
const ACTOR: &str = "ops/bench";

/// Tables of a platform in one schema, with stock.
pub(crate) struct Bare {
    db: Db,
    now: i64,
    orders: AtomicU64,
}

/// A row of `events` and its pointer.
struct Appended {
    aggregate: Uuid,
    sequence: i64,
    topic: &'static str,
    kind: &'static str,
    what: &'static str,
    payload: Vec<u8>,
}

/// The tables of policies, which each service has, are made once where all share a database.
fn without_policies(migrations: &[Migration]) -> Vec<Migration> {
    let nothing = "SELECT 1";
    let keep = |step: &Migration| match step.name {
        "policy" => Migration { postgres: nothing, sqlite: nothing, ..*step },
        _ => *step,
    };
    migrations.iter().map(keep).collect()
}

impl Bare {
    /// Makes the tables and puts `skus` SKUs with stock there. Rows of an earlier bench stay: a larger index is fair to
    /// neither side, so use a fresh database for figures that are to be kept.
    pub(crate) async fn new(db: Db, skus: usize, now: i64) -> Result<Self, db::Error> {
        db.migrate(bus::MIGRATION_SET, bus::MIGRATIONS).await?;
        db.migrate("inventory", inventory::MIGRATIONS).await?;
        db.migrate("fulfillment", &without_policies(fulfillment::MIGRATIONS)).await?;
        db.migrate("orders", &without_policies(orders::MIGRATIONS)).await?;
        let rows: Vec<Vec<Value>> =
            (0..skus).map(|index| params![NODE, Stage::sku(index), 1_000_000_000_i64, now]).collect();
        let mut tx = db.begin().await?;
        tx.batch(
            "INSERT INTO positions (node_id, sku, on_hand, reserved, safety_stock, in_transit, quarantine,
                    count_blocked, has_pools, version, last_movement, updated_at)
             SELECT r.node_id, r.sku, r.on_hand, 0, 0, 0, 0, (1 = 0), (1 = 0), 0, 0, r.now FROM {rows} WHERE true
             ON CONFLICT DO NOTHING",
            &[("node_id", Type::Text), ("sku", Type::Text), ("on_hand", Type::BigInt), ("now", Type::BigInt)],
            rows,
        )
        .await?;
        tx.commit().await?;
        Ok(Self { db, now, orders: AtomicU64::new(0) })
    }

    /// Claims one piece of `sku`: 8 statements and a commit.
    pub(crate) async fn reserve(&self, sku: &str) -> Result<(), db::Error> {
        let mut tx = self.db.begin().await?;
        self.remember(&mut tx).await?;
        let legs = legs(&[vec![sku.to_owned()]]);
        let events = self.claim(&mut tx, &legs).await?;
        self.append(&mut tx, events).await?;
        tx.commit().await
    }

    /// An order of one piece of each SKU of each group, with its promise and a claim for each group: 17 statements and a
    /// commit, one more where there are several groups.
    pub(crate) async fn place(&self, groups: &[Vec<String>]) -> Result<(), db::Error> {
        let mut tx = self.db.begin().await?;
        self.remember(&mut tx).await?;
        let token = Uuid::now_v7();
        let order = Uuid::now_v7();
        let legs = legs(groups);
        let mut events = self.claim(&mut tx, &legs).await?;
        self.promise(&mut tx, token, order, &legs).await?;
        self.order(&mut tx, order, token, &legs).await?;
        events.push(Self::placed(order, token, &legs));
        self.append(&mut tx, events).await?;
        tx.commit().await
    }

    async fn remember(&self, tx: &mut Tx) -> db::Result<()> {
        tx.execute(
            "INSERT INTO inbox (scope, request_id, body_hash, reply, claimed_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
            params![ACTOR, Uuid::now_v7(), vec![0_u8; 32], vec![0_u8; 64], self.now],
        )
        .await?;
        Ok(())
    }

    /// Takes one piece of each SKU, in order, with its ledger row and the reservation of its leg.
    async fn claim(&self, tx: &mut Tx, legs: &[Leg]) -> db::Result<Vec<Appended>> {
        let mut events = Vec::new();
        let mut movements = Vec::new();
        let mut lines = Vec::new();
        let of_leg = |leg: &Leg| {
            (0_i64..).zip(leg.skus.clone()).map(|(index, sku)| (sku, leg.id, index)).collect::<Vec<_>>()
        };
        let mut sorted: Vec<(String, Uuid, i64)> = legs.iter().flat_map(of_leg).collect();
        sorted.sort();
        for (sku, reservation, index) in &sorted {
            let row = tx
                .fetch_optional(
                    "UPDATE positions SET reserved = reserved + 1, version = version + 1,
                            last_movement = last_movement + 1, updated_at = $3
                      WHERE node_id = $1 AND sku = $2 AND on_hand - reserved - safety_stock >= 1
                     RETURNING on_hand, reserved, version, last_movement",
                    params![NODE, sku, self.now],
                )
                .await?
                .ok_or_else(|| db::Error::Engine("the bench ran out of stock".to_owned()))?;
            let (on_hand, reserved): (i64, i64) = (row.get("on_hand")?, row.get("reserved")?);
            let (version, number): (i64, i64) = (row.get("version")?, row.get("last_movement")?);
            movements.push(params![
                NODE,
                sku,
                number,
                on_hand,
                reserved,
                ACTOR,
                format!("rsv_{reservation}"),
                self.now,
                version
            ]);
            lines.push(params![*reservation, *index, *index + 1, NODE, sku]);
            events.push(changed(sku, on_hand, reserved, version));
        }
        tx.batch(
            "INSERT INTO reservations (reservation_id, state, until_at, promised_at, tier, is_started, version, created_at,
                    updated_at)
             SELECT r.reservation_id, 'HELD', r.until_at, r.until_at, 0, (1 = 0), 1, r.now, r.now FROM {rows}",
            &[("reservation_id", Type::Uuid), ("until_at", Type::BigInt), ("now", Type::BigInt)],
            legs.iter().map(|leg| params![leg.id, self.now + 3_600_000_000, self.now]).collect(),
        )
        .await?;
        tx.batch(
            "INSERT INTO reservation_lines
                    (reservation_id, line_index, line_no, node_id, sku, per_unit, held, consumed, released)
             SELECT r.reservation_id, r.line_index, r.line_no, r.node_id, r.sku, 1, 1, 0, 0 FROM {rows}",
            &[
                ("reservation_id", Type::Uuid),
                ("line_index", Type::BigInt),
                ("line_no", Type::BigInt),
                ("node_id", Type::Text),
                ("sku", Type::Text),
            ],
            lines,
        )
        .await?;
        ledger(tx, movements).await?;
        events.extend(legs.iter().map(held));
        Ok(events)
    }

    async fn promise(&self, tx: &mut Tx, token: Uuid, order: Uuid, legs: &[Leg]) -> db::Result<()> {
        tx.execute(
            "INSERT INTO promises (token, request_key, body_hash, owner, holder, state, version, body, created_at,
                    expires_at, order_id)
             VALUES ($1, $1, $2, $3, $3, 'LIVE', 1, $4, $5, $6, $7)",
            params![
                token,
                vec![0_u8; 32],
                ACTOR,
                vec![0_u8; 48],
                self.now,
                self.now + 3_600_000_000,
                order
            ],
        )
        .await?;
        let leg =
            |leg: &Leg| params![leg.id, token, leg.group, NODE, self.now, vec![0_u8; 64], vec![0_u8; 96]];
        tx.batch(
            "INSERT INTO promise_legs (fulfillment_id, token, leg_no, group_no, method, node_id, ready_at, keep_until,
                    body, decision, is_given_up)
             SELECT r.leg, r.token, r.group_no, r.group_no, 'PICKUP', r.node_id, r.now, r.now, r.body, r.decision, (1 = 0)
               FROM {rows}",
            &[
                ("leg", Type::Uuid),
                ("token", Type::Uuid),
                ("group_no", Type::BigInt),
                ("node_id", Type::Text),
                ("now", Type::BigInt),
                ("body", Type::Bytes),
                ("decision", Type::Bytes),
            ],
            legs.iter().map(leg).collect(),
        )
        .await?;
        Ok(())
    }

    async fn order(&self, tx: &mut Tx, order: Uuid, token: Uuid, legs: &[Leg]) -> db::Result<()> {
        let skus: Vec<&String> = legs.iter().flat_map(|leg| &leg.skus).collect();
        let count = i64::try_from(skus.len()).unwrap_or(i64::MAX);
        let groups = i64::try_from(legs.len()).unwrap_or(i64::MAX);
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        tx.execute(
            "INSERT INTO orders (order_id, version, status, channel, channel_order_id, body_hash, customer_ref,
                    member_ref, journey_id, attribution, currency, tax_included, terms, acceptance, cancel_code, total,
                    blocks, promise_token, placed_at, updated_at, cancels, line_count, group_count, leg_count, leg_line_count, charge_count,
                    refund_count, money_count, step_count, need_count, payment_policy)
             VALUES ($1, 1, 'PLACED', 'bench', $2, $3, 'bench', '', '', $9, 'GBP', (1 = 1), 'PREPAID', 'CHECKED', '', $4,
                     '', $5, $6, $6, 0, $7, $8, $8, $7, 0, 0, 1, 1, 0, 0)",
            params![
                order,
                format!("{}-{number}", Uuid::now_v7()),
                vec![0_u8; 32],
                1_000 * count,
                token,
                self.now,
                count,
                groups,
                Vec::<u8>::new()
            ],
        )
        .await?;
        let lines = (1_i64..)
            .zip(skus)
            .map(|(line, sku)| params![order, line, sku.as_str(), "Bench", 1_000_i64])
            .collect();
        tx.batch(
            "INSERT INTO order_lines (order_id, line_no, sku, name, quantity, unit_price, discount, tax, total,
                    promotions, open, backordered, cancelled, lost, cancel_reason)
             SELECT r.order_id, r.line_no, r.sku, r.name, 1, r.price, 0, 0, r.price, '', 0, 0, 0, 0, '' FROM {rows}",
            &[
                ("order_id", Type::Uuid),
                ("line_no", Type::BigInt),
                ("sku", Type::Text),
                ("name", Type::Text),
                ("price", Type::BigInt),
            ],
            lines,
        )
        .await?;
        tx.execute(
            "INSERT INTO order_tenders (order_id, tender_id, position, kind, amount, state, provider_ref, replaced)
             VALUES ($1, 'card', 0, 'card', $2, 'CAPTURED', '', 0)",
            params![order, 1_000 * count],
        )
        .await?;
        tx.execute(
            "INSERT INTO order_money (order_id, row_no, tender_id, line_no, first_piece, units, component, cause, amount,
                    reference, leg_no, recorded_at)
             VALUES ($1, 1, 'card', 0, 0, 0, 'TENDER', 'CAPTURED', $2, '', 0, $3)",
            params![order, 1_000 * count, self.now],
        )
        .await?;
        tx.execute(
            "INSERT INTO order_timeline (order_id, number, step, text, actor, occurred_at, node_id)
             VALUES ($1, 1, 'PLACED', 'order placed', $2, $3, $4)",
            params![order, ACTOR, self.now, NODE],
        )
        .await?;
        self.legs(tx, order, token, legs).await
    }

    /// The groups of an order, and the leg that serves each. A group that is the only one has no lines of its own.
    async fn legs(&self, tx: &mut Tx, order: Uuid, token: Uuid, legs: &[Leg]) -> db::Result<()> {
        tx.batch(
            "INSERT INTO order_groups (order_id, group_no, method, node_id, wishes)
             SELECT r.order_id, r.group_no, 'PICKUP', r.node_id, r.wishes FROM {rows}",
            &[
                ("order_id", Type::Uuid),
                ("group_no", Type::BigInt),
                ("node_id", Type::Text),
                ("wishes", Type::Bytes),
            ],
            legs.iter().map(|leg| params![order, leg.group, NODE, Vec::<u8>::new()]).collect(),
        )
        .await?;
        let lines =
            || legs.iter().flat_map(|leg| leg.lines().map(move |line| params![order, leg.group, line]));
        let columns = [("order_id", Type::Uuid), ("group_no", Type::BigInt), ("line_no", Type::BigInt)];
        if legs.len() > 1 {
            tx.batch(
                "INSERT INTO order_group_lines (order_id, group_no, line_no, quantity)
                 SELECT r.order_id, r.group_no, r.line_no, 1 FROM {rows}",
                &columns,
                lines().collect(),
            )
            .await?;
        }
        let leg =
            |leg: &Leg| params![order, leg.group, leg.id, token, NODE, self.now, self.now + 3_600_000_000];
        tx.batch(
            "INSERT INTO order_legs (order_id, leg_no, fulfillment_id, group_no, promise_token, method, node_id, status,
                    placed_at, ready_at, keep_until, held_until, released_at, is_accepted, work_version,
                    work_actor)
             SELECT r.order_id, r.group_no, r.leg, r.group_no, r.token, 'PICKUP', r.node_id, 'PLACED', r.now, r.now, r.now,
                    r.until_at, r.now, (1 = 0), 0, '' FROM {rows}",
            &[
                ("order_id", Type::Uuid),
                ("group_no", Type::BigInt),
                ("leg", Type::Uuid),
                ("token", Type::Uuid),
                ("node_id", Type::Text),
                ("now", Type::BigInt),
                ("until_at", Type::BigInt),
            ],
            legs.iter().map(leg).collect(),
        )
        .await?;
        tx.batch(
            "INSERT INTO order_leg_lines (order_id, leg_no, line_no, quantity, to_pick, waiting_transfer, picked, packed,
                    ready, in_custody, done, short, given_up, cancelled, returned, lost, cancel_requested)
             SELECT r.order_id, r.group_no, r.line_no, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM {rows}",
            &columns,
            lines().collect(),
        )
        .await?;
        Ok(())
    }

    fn placed(order: Uuid, token: Uuid, legs: &[Leg]) -> Appended {
        let line = |(line, sku): (i64, &String)| ord::WorkLine {
            line: u32::try_from(line).unwrap_or_default(),
            sku: sku.clone(),
            name: "Bench".to_owned(),
            quantity: 1,
            due: None,
        };
        let work = |leg: &Leg| ord::WorkRequest {
            fulfillment_id: format!("ful_{}", leg.id),
            promise_token: format!("prm_{token}"),
            group: u32::try_from(leg.group).unwrap_or_default(),
            node_id: NODE.to_owned(),
            lines: leg.lines().zip(&leg.skus).map(line).collect(),
            channel: "bench".to_owned(),
            channel_order_id: order.to_string(),
            ..ord::WorkRequest::default()
        };
        let work = legs.iter().map(work).collect();
        let placed = ord::OrderPlaced { work, ..ord::OrderPlaced::default() };
        let event = ord::OrderEvent {
            order_id: format!("ord_{order}"),
            version: 1,
            status: i32::from(ord::OrderStatus::Placed),
            body: Some(ord::order_event::Body::Placed(placed)),
            ..ord::OrderEvent::default()
        };
        Appended {
            aggregate: order,
            sequence: 1,
            topic: "entrepot.orders.v1",
            kind: "order",
            what: "entrepot.orders.v1.OrderPlaced",
            payload: event.encode_to_vec(),
        }
    }

    /// One event per aggregate that changed, and the pointers to them.
    async fn append(&self, tx: &mut Tx, events: Vec<Appended>) -> db::Result<()> {
        let pointers =
            events.iter().map(|event| params![event.aggregate, event.sequence, self.now]).collect();
        let rows = events.into_iter().map(|event| {
            params![
                event.aggregate,
                event.sequence,
                Uuid::now_v7(),
                event.topic,
                event.kind,
                event.what,
                event.payload,
                self.now,
                ACTOR
            ]
        });
        tx.batch(
            "INSERT INTO events (aggregate, sequence, event_id, topic, aggregate_type, event_type, payload,
                    occurred_at, actor)
             SELECT r.aggregate, r.sequence, r.event_id, r.topic, r.aggregate_type, r.event_type, r.payload,
                    r.occurred_at, r.actor FROM {rows}",
            &[
                ("aggregate", Type::Uuid),
                ("sequence", Type::BigInt),
                ("event_id", Type::Uuid),
                ("topic", Type::Text),
                ("aggregate_type", Type::Text),
                ("event_type", Type::Text),
                ("payload", Type::Bytes),
                ("occurred_at", Type::BigInt),
                ("actor", Type::Text),
            ],
            rows.collect(),
        )
        .await?;
        tx.batch(
            "INSERT INTO outbox (aggregate, sequence, queued_at)
             SELECT r.aggregate, r.sequence, r.queued_at FROM {rows}",
            &[("aggregate", Type::Uuid), ("sequence", Type::BigInt), ("queued_at", Type::BigInt)],
            pointers,
        )
        .await?;
        Ok(())
    }
}

async fn ledger(tx: &mut Tx, movements: Vec<Vec<Value>>) -> db::Result<u64> {
    tx.batch(
        "INSERT INTO movements (node_id, sku, movement_no, kind, delta_on_hand, delta_reserved, on_hand_after,
                reserved_after, reason, actor, reference, occurred_at, position_version)
         SELECT r.node_id, r.sku, r.movement_no, 'RESERVE', 0, 1, r.on_hand, r.reserved, '', r.actor, r.reference,
                r.now, r.version FROM {rows}",
        &[
            ("node_id", Type::Text),
            ("sku", Type::Text),
            ("movement_no", Type::BigInt),
            ("on_hand", Type::BigInt),
            ("reserved", Type::BigInt),
            ("actor", Type::Text),
            ("reference", Type::Text),
            ("now", Type::BigInt),
            ("version", Type::BigInt),
        ],
        movements,
    )
    .await
}

fn held(leg: &Leg) -> Appended {
    let reservation = leg.id;
    let lines = (1..).zip(&leg.skus).map(|(line, sku)| inv::ReservationLine {
        line,
        sku: sku.clone(),
        held: 1,
        ..inv::ReservationLine::default()
    });
    let body = inv::inventory_event::Body::ReservationHeld(inv::ReservationHeld {
        reservation: Some(inv::Reservation {
            reservation_id: format!("rsv_{reservation}"),
            state: i32::from(inv::ReservationState::Held),
            lines: lines.collect(),
            version: 1,
            node_id: NODE.to_owned(),
            ..inv::Reservation::default()
        }),
    });
    stock_told(reservation, 1, "reservation", "entrepot.inventory.v1.ReservationHeld", body)
}

fn changed(sku: &str, on_hand: i64, reserved: i64, version: i64) -> Appended {
    let position = inv::Position {
        node_id: NODE.to_owned(),
        sku: sku.to_owned(),
        on_hand,
        reserved,
        atp: on_hand - reserved,
        version,
        ..inv::Position::default()
    };
    let body = inv::inventory_event::Body::PositionChanged(inv::PositionChanged {
        position: Some(position),
        occurred_time: None,
    });
    let aggregate = id::derived("bench-position", sku);
    stock_told(aggregate, version, "position", "entrepot.inventory.v1.PositionChanged", body)
}

fn stock_told(
    aggregate: Uuid,
    sequence: i64,
    kind: &'static str,
    what: &'static str,
    body: inv::inventory_event::Body,
) -> Appended {
    let payload = inv::InventoryEvent { body: Some(body) }.encode_to_vec();
    Appended { aggregate, sequence, topic: "entrepot.inventory.v1", kind, what, payload }
}

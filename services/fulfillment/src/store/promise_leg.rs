//! The legs of promise tokens, and the places of capacity that they hold.

use std::collections::HashMap;

use contract::fulfillment::v1 as pb;
use db::{Part, Row, Tx, Type, Value, insert_rows, params};
use domain::fulfillment::method::Method;
use domain::id::{FulfillmentId, NodeId, PromiseToken};
use domain::time::{from_micros, micros};
use jiff::Timestamp;
use prost::Message;
use uuid::Uuid;

use super::capacity::{SlotKey, slot_key};
use crate::error::Error;

/// A part of a promise that one node serves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leg {
    /// Its id; its reservation and its decision have the same uuid.
    pub(crate) id: FulfillmentId,
    /// Group of the cart.
    pub(crate) group: u32,
    /// How the goods reach the customer.
    pub(crate) method: Method,
    /// The node.
    pub(crate) node: NodeId,
    /// When the goods are ready.
    pub(crate) ready: Timestamp,
    /// Until when they are kept.
    pub(crate) keep_until: Timestamp,
    /// Its order gave it up before a node had it.
    pub(crate) is_given_up: bool,
    /// What was offered, and for how many pieces of each line.
    pub(crate) body: pb::PromiseLeg,
    /// How the node was chosen.
    pub(crate) decision: pb::SourcingDecision,
    /// The capacity that it was planned with.
    pub(crate) places: Vec<HeldPlace>,
}

/// A place of capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldPlace {
    /// The slot.
    pub(crate) slot: SlotKey,
    /// How much of it.
    pub(crate) amount: i64,
    /// Whether the leg still holds it.
    pub(crate) is_held: bool,
}

const TOKENS: &[(&str, Type)] = &[("token", Type::Uuid)];

/// The legs of promises, in the order of their numbers.
pub(super) async fn of_tokens(
    tx: &mut Tx,
    tokens: &[PromiseToken],
) -> Result<HashMap<PromiseToken, Vec<Leg>>, Error> {
    let asked = || tokens.iter().map(|token| params![token.uuid()]).collect::<Vec<_>>();
    let legs = tx
        .batch_fetch(
            "SELECT l.* FROM promise_legs l JOIN {rows} ON l.token = r.token ORDER BY l.token, l.leg_no",
            TOKENS,
            asked(),
        )
        .await?;
    let places = tx
        .batch_fetch(
            "SELECT p.* FROM promise_legs l JOIN {rows} ON l.token = r.token
               JOIN promise_places p ON p.fulfillment_id = l.fulfillment_id
              ORDER BY p.fulfillment_id, p.place_no",
            TOKENS,
            asked(),
        )
        .await?;
    let mut of_leg: HashMap<Uuid, Vec<HeldPlace>> = HashMap::new();
    for row in &places {
        of_leg.entry(row.get("fulfillment_id")?).or_default().push(place(row)?);
    }
    let mut all: HashMap<PromiseToken, Vec<Leg>> = HashMap::with_capacity(tokens.len());
    for row in &legs {
        let leg = read(row, &mut of_leg)?;
        all.entry(PromiseToken::new(row.get("token")?)).or_default().push(leg);
    }
    Ok(all)
}

fn place(row: &Row) -> Result<HeldPlace, Error> {
    Ok(HeldPlace { slot: slot_key(row)?, amount: row.get("amount")?, is_held: row.get("is_held")? })
}

fn read(row: &Row, places: &mut HashMap<Uuid, Vec<HeldPlace>>) -> Result<Leg, Error> {
    let corrupt = |what: &str| Error::corrupt(format!("a leg of a promise with {what}"));
    let id: Uuid = row.get("fulfillment_id")?;
    let method: String = row.get("method")?;
    let body: Vec<u8> = row.get("body")?;
    let decision: Vec<u8> = row.get("decision")?;
    Ok(Leg {
        id: FulfillmentId::new(id),
        group: u32::try_from(row.get::<i64>("group_no")?).map_err(|_| corrupt("an odd group"))?,
        method: Method::parse(&method).ok_or_else(|| corrupt("an unknown method"))?,
        node: NodeId::new(row.get::<String>("node_id")?).map_err(|_| corrupt("an odd node"))?,
        ready: from_micros(row.get("ready_at")?),
        keep_until: from_micros(row.get("keep_until")?),
        is_given_up: row.get("is_given_up")?,
        body: pb::PromiseLeg::decode(body.as_slice()).map_err(|_| corrupt("unreadable lines"))?,
        decision: pb::SourcingDecision::decode(decision.as_slice())
            .map_err(|_| corrupt("an unreadable decision"))?,
        places: places.remove(&id).unwrap_or_default(),
    })
}

/// Adds the legs of new promises with their places.
pub(super) fn insert<'a>(promises: impl Iterator<Item = (PromiseToken, &'a [Leg])>) -> [Part; 2] {
    let (mut legs, mut places): (Vec<Vec<Value>>, Vec<Vec<Value>>) = Default::default();
    for (token, of_token) in promises {
        for (number, leg) in (1_i64..).zip(of_token) {
            legs.push(params![
                leg.id.uuid(),
                token.uuid(),
                number,
                i64::from(leg.group),
                leg.method.name(),
                leg.node.as_str(),
                micros(leg.ready),
                micros(leg.keep_until),
                leg.body.encode_to_vec(),
                leg.decision.encode_to_vec(),
            ]);
            for (number, place) in (1_i64..).zip(&leg.places) {
                let SlotKey { kind, resource, work, start } = &place.slot;
                places.push(params![
                    leg.id.uuid(),
                    number,
                    kind.name(),
                    resource.as_str(),
                    work.as_str(),
                    *start,
                    place.amount
                ]);
            }
        }
    }
    let (text, columns) = insert_rows!(
        "promise_legs",
        [
            fulfillment_id: Uuid, token: Uuid, leg_no: BigInt, group_no: BigInt, method: Text, node_id: Text,
            ready_at: BigInt, keep_until: BigInt, body: Bytes, decision: Bytes
        ],
        and "is_given_up" = "FALSE"
    );
    let legs = Part::new(text, columns, legs);
    let (text, columns) = insert_rows!(
        "promise_places",
        [
            fulfillment_id: Uuid, place_no: BigInt, kind: Text, resource: Text, work: Text, slot_start: BigInt,
            amount: BigInt
        ],
        and "is_held" = "TRUE"
    );
    [legs, Part::new(text, columns, places)]
}

/// Notes whether legs hold all of their places or none; their promises must be locked.
pub(crate) async fn set_held(tx: &mut Tx, legs: &[FulfillmentId], is_held: bool) -> Result<(), Error> {
    let text = if is_held {
        "UPDATE promise_places AS p SET is_held = TRUE FROM {rows} WHERE p.fulfillment_id = r.fulfillment_id"
    } else {
        "UPDATE promise_places AS p SET is_held = FALSE FROM {rows} WHERE p.fulfillment_id = r.fulfillment_id"
    };
    let rows = legs.iter().map(|leg| params![leg.uuid()]).collect();
    tx.batch(text, &[("fulfillment_id", Type::Uuid)], rows).await?;
    Ok(())
}

/// The places that promises hold, with the token of each.
pub(super) async fn held_places(
    tx: &mut Tx,
    tokens: &[PromiseToken],
) -> Result<Vec<(PromiseToken, HeldPlace)>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT l.token, p.* FROM promise_legs l JOIN {rows} ON l.token = r.token
               JOIN promise_places p ON p.fulfillment_id = l.fulfillment_id WHERE p.is_held",
            TOKENS,
            tokens.iter().map(|token| params![token.uuid()]).collect(),
        )
        .await?;
    rows.iter().map(|row| Ok((PromiseToken::new(row.get("token")?), place(row)?))).collect()
}

/// The token of a leg.
pub(crate) async fn token_of(tx: &mut Tx, leg: FulfillmentId) -> Result<Option<PromiseToken>, Error> {
    let row = tx
        .fetch_optional("SELECT token FROM promise_legs WHERE fulfillment_id = $1", params![leg.uuid()])
        .await?;
    row.map(|row| Ok(PromiseToken::new(row.get("token")?))).transpose()
}

/// The tokens of legs, by leg.
pub(crate) async fn tokens_of(
    tx: &mut Tx,
    legs: &[FulfillmentId],
) -> Result<HashMap<FulfillmentId, PromiseToken>, Error> {
    let rows = tx
        .batch_fetch(
            "SELECT l.fulfillment_id, l.token FROM promise_legs l JOIN {rows} ON l.fulfillment_id = r.fulfillment_id",
            &[("fulfillment_id", Type::Uuid)],
            legs.iter().map(|leg| params![leg.uuid()]).collect(),
        )
        .await?;
    let pair = |row: &Row| {
        Ok((FulfillmentId::new(row.get("fulfillment_id")?), PromiseToken::new(row.get("token")?)))
    };
    rows.iter().map(pair).collect()
}

/// Notes that its order gave a leg up; its promise must be locked.
pub(crate) async fn give_up(tx: &mut Tx, leg: FulfillmentId) -> Result<(), Error> {
    tx.execute("UPDATE promise_legs SET is_given_up = TRUE WHERE fulfillment_id = $1", params![leg.uuid()])
        .await?;
    Ok(())
}

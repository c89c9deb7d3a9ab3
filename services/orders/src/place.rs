//! Placing an order: hold, then decide, save, append, commit.

use bus::inbox::{self, Claim};
use bus::outbox;
use contract::fulfillment::v1 as pb_fulfillment;
use contract::orders::v1 as pb;
use db::Tx;
use domain::id::{LineNo, OrderId};
use domain::order::{Draft, Flaw, Order, Promise};
use domain::time::{Timestamp, after_ms};
use prost::Message as _;
use server::{Principal, Violation};
use tonic::Code;

use crate::error::Error;
use crate::hold::{self, Wanted};
use crate::wire::{Place, Source};
use crate::{Orders, record, steps, store, wire};

impl Orders {
    /// Places an order. The same request again, by its id or by the channel's number, finds the first one.
    pub(crate) async fn place(
        &self,
        command: Place,
        caller: &Principal,
    ) -> Result<pb::PlaceOrderResponse, Error> {
        let scope = format!("{caller}|orders.place");
        if let Some(known) = self.known(&command, &scope).await? {
            return Ok(known);
        }
        let now = self.clock.business();
        let until = after_ms(now, self.config.hold_ms(!command.draft.is_payable_later()));
        let promise = self.held(&command, &scope, until, now).await?;
        let id = OrderId::random();
        let placed =
            db::retry(3, Error::is_retry, || self.write(id, &command, &promise, &scope, caller, now)).await;
        match placed {
            Ok(reply) => {
                metrics::counter!("entrepot_orders_placed_total").increment(1);
                Ok(reply)
            }
            Err(Error::Db(db::Error::Duplicate(_))) => self.twin(&command, &promise).await,
            Err(error) => Err(error),
        }
    }

    /// What was answered before: to this request id, or for this number of the channel.
    async fn known(&self, command: &Place, scope: &str) -> Result<Option<pb::PlaceOrderResponse>, Error> {
        let mut tx = self.db.read().await?;
        if let Some(kept) = inbox::saved(&mut tx, scope, command.request_id, &command.body_hash).await? {
            return Ok(Some(record::reply(&kept)?));
        }
        let draft = &command.draft;
        match store::by_channel(&mut tx, &draft.channel, &draft.channel_order_id).await? {
            None => Ok(None),
            Some(found) => {
                drop(tx);
                let mut tx = self.db.snapshot().await?;
                placed_before(&mut tx, command, &found).await.map(Some)
            }
        }
    }

    /// The promise that holds the stock: the caller's own, or one that is asked for now.
    async fn held(
        &self,
        command: &Place,
        scope: &str,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Promise, Error> {
        match &command.source {
            Source::Node { method, node } => {
                let lines = cart(&command.draft);
                let wanted = Wanted { method: *method, node: node.clone(), lines };
                let key = format!("{scope}/{}", command.request_id);
                self.hold(&key, &wanted, until, now).await.map_err(as_fields)
            }
            Source::Token(token) => {
                let held = self.extend(*token, until).await.map_err(|error| match error {
                    Error::Peer(answer) if answer.code() == Code::NotFound => {
                        Error::field("promise_token", "is not known")
                    }
                    other => other,
                })?;
                if !hold::is_live(&held, now) {
                    return Err(Error::PromiseNotLive);
                }
                same_lines(&held, &command.draft)?;
                hold::promise(&held)
            }
        }
    }

    async fn write(
        &self,
        id: OrderId,
        command: &Place,
        promise: &Promise,
        scope: &str,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<pb::PlaceOrderResponse, Error> {
        let mut tx = self.db.begin().await?;
        match inbox::claim(&mut tx, scope, command.request_id, &command.body_hash, now).await? {
            Claim::Done(kept) => {
                tx.commit().await?;
                return record::reply(&kept);
            }
            Claim::First => {}
        }
        let changed =
            Order::place(id, command.draft.clone(), promise.clone(), &self.policy, now).map_err(invalid)?;
        let actor = caller.as_str();
        let notes = steps::of(&changed.order, &changed.events, actor, now);
        store::insert(&mut tx, &changed.order, &command.body_hash, &notes, &self.policy).await?;
        outbox::append(&mut tx, &record::events(&changed, actor, now)).await?;
        let reply = response(&changed.order);
        inbox::settle(&mut tx, scope, command.request_id, &reply.encode_to_vec()).await?;
        tx.commit().await?;
        Ok(reply)
    }

    /// Another request was faster with the channel's number, or with the promise. What we held ourselves goes back.
    async fn twin(&self, command: &Place, promise: &Promise) -> Result<pb::PlaceOrderResponse, Error> {
        // Read where writers read, and told after the commit: with shared commits the other order may be ahead of us
        // in the very commit that is under way.
        let mut tx = self.db.begin().await?;
        let draft = &command.draft;
        let found = store::by_channel(&mut tx, &draft.channel, &draft.channel_order_id).await?;
        let owner = store::by_promise(&mut tx, promise.token.uuid()).await?;
        let answer = match &found {
            Some(found) => placed_before(&mut tx, command, found).await,
            None => Err(Error::PromiseTaken),
        };
        tx.commit().await?;
        if owner.is_none() && matches!(command.source, Source::Node { .. }) {
            self.release(promise.token).await;
        }
        answer
    }
}

/// The order that has the channel's number, if it came from the same request.
async fn placed_before(
    tx: &mut Tx,
    command: &Place,
    found: &store::Found,
) -> Result<pb::PlaceOrderResponse, Error> {
    if found.body_hash != command.body_hash {
        return Err(Error::ChannelIdTaken(found.id));
    }
    let loaded = store::load(tx, found.id).await?;
    loaded.map(|loaded| response(&loaded.order)).ok_or_else(|| Error::NotFound(found.id.to_string()))
}

fn response(order: &Order) -> pb::PlaceOrderResponse {
    pb::PlaceOrderResponse { order: Some(wire::order(order)) }
}

fn invalid(flaws: Vec<Flaw>) -> Error {
    Error::Invalid(flaws.into_iter().map(|flaw| Violation::new(flaw.field, flaw.description)).collect())
}

fn cart(draft: &Draft) -> Vec<pb_fulfillment::CartLine> {
    let numbered = draft.lines.iter().zip(1..);
    let line = |(line, no): (&domain::order::DraftLine, LineNo)| pb_fulfillment::CartLine {
        line: no,
        sku: line.sku.to_string(),
        quantity: line.amounts.quantity,
    };
    numbered.map(line).collect()
}

/// A token must hold what the order is for, line by line.
fn same_lines(held: &pb_fulfillment::Promise, draft: &Draft) -> Result<(), Error> {
    let mut held: Vec<_> =
        held.lines.iter().map(|line| (line.line, line.sku.as_str(), line.quantity)).collect();
    held.sort_unstable();
    let wanted = draft.lines.iter().zip(1..);
    let wanted = wanted.map(|(line, no): (_, LineNo)| (no, line.sku.as_str(), line.amounts.quantity));
    if wanted.eq(held) {
        Ok(())
    } else {
        Err(Error::field("promise_token", "holds other lines than the order has"))
    }
}

/// Fields that the hold was refused for, as the caller of `PlaceOrder` knows them.
fn as_fields(error: Error) -> Error {
    let Error::Peer(answer) = error else { return error };
    let named = server::status::violations(&answer);
    if answer.code() != Code::InvalidArgument || named.is_empty() {
        return Error::Peer(answer);
    }
    let renamed = named.into_iter().map(|mut violation| {
        if violation.field == "node_id" || violation.field == "method" {
            violation.field = format!("destination.{}", violation.field);
        }
        violation
    });
    Error::Invalid(renamed.collect())
}

//! Placing an order: hold, then decide, save, append, commit.
//!
//! Orders that are placed at the same time are looked up and written together: a sell-out costs a few statements per
//! batch, not per order.

use bus::inbox;
use bus::outbox::{self, Traced};
use contract::fulfillment::v1 as pb_fulfillment;
use contract::orders::v1 as pb;
use db::Tx;
use domain::id::{OrderId, PromiseToken};
use domain::order::{Asked, Draft, DraftLine, Flaw, Group, Order};
use domain::time::{Timestamp, after_ms};
use server::{Principal, Violation};
use service::{Batcher, Fault, Limits, once};
use tonic::Code;

use crate::command::Place;
use crate::error::Error;
use crate::hold::{self, Held, NodeLimits, Wanted, WantedGroup};
use crate::store::{Found, New, Note};
use crate::{Orders, record, rights, steps, store, wire};

/// The longest delay that a customer may agree to, in milliseconds: 366 days.
const MAX_DELAY_MS: i64 = 366 * 24 * 3_600_000;

/// The queues of placing.
pub(crate) struct PlaceQueue {
    lookups: Batcher<LookupJob, Result<Known, Error>>,
    writes: Batcher<Placement, Result<Placed, Error>>,
}

impl PlaceQueue {
    pub(crate) fn new(waiting: usize) -> Self {
        let limits = Limits { turns: 1, jobs: 128, weight: 2_000, waiting };
        Self {
            lookups: Batcher::new(limits),
            writes: Batcher::new(limits).weighing(|placement: &Placement| placement.order.lines.len()),
        }
    }
}

/// What is looked up before any stock is held.
#[derive(Debug, Clone)]
struct LookupJob {
    request: inbox::Request,
    channel: String,
    number: String,
}

/// What was found.
#[derive(Debug)]
enum Known {
    /// Nothing: the order is new.
    Nothing,
    /// The reply that this request got before.
    Reply(Vec<u8>),
    /// The order that has the channel's number.
    Order(Found),
}

/// An order to be written, with all that goes with it.
struct Placement {
    order: Order,
    body_hash: [u8; 32],
    notes: Vec<Note>,
    events: Vec<Traced>,
    record: inbox::Record,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    /// It is placed.
    New,
    /// Another request was faster with its request id, its channel's number or its promise.
    Duplicate,
}

impl Orders {
    /// Places an order. The same request again, by its id or by the channel's number, finds the first one.
    pub(crate) async fn place(
        &self,
        command: Place,
        caller: &Principal,
    ) -> Result<pb::PlaceOrderResponse, Error> {
        if let Some(known) = self.known(&command).await? {
            return Ok(known);
        }
        let now = self.clock.business();
        check_delays(&command.groups, now)?;
        let waits = !command.draft.is_payable_later();
        let payment_ms = || self.policy_of_draft(&command.draft, &command.groups, &[], now).payment_ms;
        let until = after_ms(now, self.config.hold_ms(waits.then(payment_ms)));
        let asked = match self.held(&command, caller, until, now).await {
            Ok(asked) => asked,
            // A duplicate may have been faster and hold the stock: then its answer is ours too.
            Err(error) => {
                let duplicate = self.known(&command).await.ok().flatten();
                return duplicate.ok_or(error);
            }
        };
        let token = asked.token;
        let (placement, reply) = self.prepare(&command, asked, caller, now)?;
        let work = |placements| self.write_all(placements);
        match self.queue.writes.run(placement, work).await?? {
            Placed::New => {
                metrics::counter!("entrepot_orders_placed_total").increment(1);
                Ok(reply)
            }
            Placed::Duplicate => self.duplicate(&command, token).await,
        }
    }

    /// What was answered before: to this request id, or for this number of the channel.
    async fn known(&self, command: &Place) -> Result<Option<pb::PlaceOrderResponse>, Error> {
        let job = LookupJob {
            request: command.call.request(),
            channel: command.draft.channel.clone(),
            number: command.draft.channel_order_id.clone(),
        };
        match self.queue.lookups.run(job, |jobs| self.look_all(jobs)).await?? {
            Known::Nothing => Ok(None),
            Known::Reply(kept) => Ok(Some(once::reply(&kept)?)),
            Known::Order(found) => {
                let mut tx = self.db.snapshot().await?;
                placed_before(&mut tx, command, &found).await.map(Some)
            }
        }
    }

    async fn look_all(&self, looks: Vec<LookupJob>) -> Vec<Result<Known, Error>> {
        let known = service::together(&looks, Error::is_outage, |looks| self.look(looks)).await;
        known.into_iter().map(Result::flatten).collect()
    }

    async fn look(&self, looks: &[LookupJob]) -> Result<Vec<Result<Known, Error>>, Error> {
        let mut tx = self.db.read().await?;
        let requests: Vec<inbox::Request> = looks.iter().map(|look| look.request.clone()).collect();
        let replies = inbox::saved_many(&mut tx, &requests).await?;
        let wanted = looks.iter().map(|look| (look.channel.as_str(), look.number.as_str())).collect();
        let found = store::by_channels(&mut tx, wanted).await?;
        let known = looks.iter().zip(replies).map(|(look, reply)| {
            let order = found.get(&(look.channel.clone(), look.number.clone()));
            let order = || order.map_or(Known::Nothing, |found| Known::Order(found.clone()));
            Ok(reply?.map_or_else(order, Known::Reply))
        });
        Ok(known.collect())
    }

    /// What holds the stock, and the groups that it is held for: the caller's own promise, or one that is asked for now. What
    /// was sold elsewhere may be held in part.
    async fn held(
        &self,
        command: &Place,
        caller: &Principal,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Asked, Error> {
        if command.draft.acceptance.is_sold_elsewhere() {
            return self.hold_what_can_be(command, until, now).await.map_err(as_fields);
        }
        let Some(token) = command.token else {
            let wanted = wanted(&command.draft, &command.groups, caller);
            let key = format!("{}/{}", command.call.scope, command.call.id);
            let held = self.hold(&key, &wanted, until, now).await.map_err(as_fields)?;
            return Ok(whole(command.groups.clone(), held));
        };
        let unknown = |error| hold::for_shopper(token, error);
        // Read first: an order that can't be placed on a promise must not give it a longer life.
        let promise = self.promise(token).await.map_err(unknown)?;
        // Fulfillment answers us as a service, which sees the promises of all.
        if !rights::may_place_on(caller, &command.draft, &promise.owner) {
            return Err(hold::not_known());
        }
        let groups = fits(token, &promise, command, now)?;
        hold::in_time(&hold::held_from_1(&promise)?, groups.iter())?;
        let held = self.extend(token, until).await.map_err(unknown)?;
        let groups = fits(token, &held, command, now)?;
        Ok(whole(groups, hold::held_from_1(&held)?))
    }

    /// Decides, and makes ready all that is to be written.
    fn prepare(
        &self,
        command: &Place,
        asked: Asked,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<(Placement, pb::PlaceOrderResponse), Error> {
        let actor = caller.actor();
        let (id, draft) = (OrderId::new(self.clock.new_id()), command.draft.clone());
        let policy = self.policy_of_draft(&draft, &asked.groups, &asked.legs, now);
        let changed = Order::place(id, draft, asked, &policy, now).map_err(invalid)?;
        let reply = response(&changed.order);
        let record = command.call.record(&reply);
        let notes = steps::of(&changed.order, &changed.events, actor, now);
        let events = record::events(&changed, actor, now);
        let body_hash = command.call.hash;
        Ok((Placement { order: changed.order, body_hash, notes, events, record }, reply))
    }

    async fn write_all(&self, placements: Vec<Placement>) -> Vec<Result<Placed, Error>> {
        let write = |placements| self.write_again(placements);
        service::together(&placements, Error::is_outage, write).await
    }

    async fn write_again(&self, placements: &[Placement]) -> Result<Vec<Placed>, Error> {
        match placements {
            [_] => db::retry(3, Error::is_retry, || self.write(placements)).await,
            [..] => db::retry(2, is_in_the_way, || self.write(placements)).await,
        }
    }

    /// Writes placements in one transaction. One whose request id is taken: alone it is a duplicate; among others all are
    /// to be written one by one.
    async fn write(&self, placements: &[Placement]) -> Result<Vec<Placed>, Error> {
        let mut news: Vec<New<'_>> = placements
            .iter()
            .map(|p| New { order: &p.order, body_hash: &p.body_hash, notes: &p.notes })
            .collect();
        // Everyone inserts in one order, so that duplicates in two batches wait for each other only one way round.
        let number = |new: &New<'_>| (new.order.channel.clone(), new.order.channel_order_id.clone());
        news.sort_by_cached_key(number);
        let mut tx = self.db.begin().await?;
        let inserted = store::insert(&mut tx, &news, &self.policy).await?;
        let fresh = |p: &&Placement| inserted.contains(&p.order.id.uuid());
        news.retain(|new| inserted.contains(&new.order.id.uuid()));
        let events: Vec<Traced> = placements.iter().filter(fresh).flat_map(|p| p.events.clone()).collect();
        let records = placements.iter().filter(fresh).map(|p| p.record.clone()).collect();
        let mut parts = store::rest_of(&news);
        parts.extend(outbox::parts_traced(&mut tx, &events)?);
        parts.push(inbox::record_part(records, self.clock.business()));
        let counts = tx.together(parts).await?;
        let recorded = counts.last().copied().unwrap_or_default();
        if usize::try_from(recorded).is_ok_and(|recorded| recorded < inserted.len()) {
            return match placements {
                [_] => Ok(vec![Placed::Duplicate]),
                [..] => Err(Fault::Raced.into()),
            };
        }
        tx.commit().await?;
        let wrote = |p: &Placement| if fresh(&p) { Placed::New } else { Placed::Duplicate };
        Ok(placements.iter().map(wrote).collect())
    }

    /// Another request was faster. What we held ourselves goes back, if it is not the order's.
    async fn duplicate(
        &self,
        command: &Place,
        token: Option<PromiseToken>,
    ) -> Result<pb::PlaceOrderResponse, Error> {
        // Read as a writer and answered after the commit: with shared commits the other order may be part of the very
        // commit that is under way.
        let mut tx = self.db.begin().await?;
        let answer = answer_of_first(&mut tx, command).await;
        let unused = match token.filter(|_| command.token.is_none()) {
            Some(token) if store::by_promise(&mut tx, token.uuid()).await?.is_none() => Some(token),
            Some(_) | None => None,
        };
        tx.commit().await?;
        if let Some(token) = unused {
            self.release(token).await;
        }
        answer
    }
}

/// Somebody else has what the batch would lock.
fn is_in_the_way(error: &Error) -> bool {
    matches!(error, Error::Fault(Fault::Db(error)) if error.is_retry())
}

async fn answer_of_first(tx: &mut Tx, command: &Place) -> Result<pb::PlaceOrderResponse, Error> {
    if let Some(kept) = inbox::saved(tx, &command.call.scope, command.call.id, &command.call.hash).await? {
        return Ok(once::reply(&kept)?);
    }
    let draft = &command.draft;
    match store::by_channel(tx, &draft.channel, &draft.channel_order_id).await? {
        Some(found) => placed_before(tx, command, &found).await,
        None => Err(Error::PromiseTaken),
    }
}

/// The order that has the channel's number, if it came from the same request.
async fn placed_before(tx: &mut Tx, command: &Place, found: &Found) -> Result<pb::PlaceOrderResponse, Error> {
    if found.body_hash != command.call.hash {
        return Err(Error::ChannelIdTaken(found.id));
    }
    let loaded = store::load(tx, found.id).await?;
    loaded.map(|loaded| response(&loaded.order)).ok_or_else(|| Error::NotFound(found.id.to_string()))
}

/// A delay that a customer agrees to is one that can still come, and an end to it.
fn check_delays(groups: &[Group], now: Timestamp) -> Result<(), Error> {
    let last = after_ms(now, MAX_DELAY_MS);
    let is_bad = |group: &&Group| {
        let until = wire::consent_of(Some(group)).delay_until;
        until.is_some_and(|until| until <= now || until > last)
    };
    groups.iter().find(is_bad).map_or(Ok(()), |group| {
        let field = format!("groups[{}].consent.delay_until_time", group.no - 1);
        Err(Error::field(field, format!("must be after now and not after {last}")))
    })
}

fn response(order: &Order) -> pb::PlaceOrderResponse {
    pb::PlaceOrderResponse { order: Some(wire::order(order)) }
}

fn invalid(flaws: Vec<Flaw>) -> Error {
    let violation = |flaw: Flaw| Violation::new(flaw.field, flaw.description);
    Fault::Invalid(flaws.into_iter().map(violation).collect()).into()
}

/// All of an order is held.
fn whole(groups: Vec<Group>, held: Held) -> Asked {
    Asked { groups, legs: held.legs, token: Some(held.token), missing: Vec::new() }
}

/// What is to be held for a new order: its lines in the order of the request, and its groups.
fn wanted(draft: &Draft, groups: &[Group], caller: &Principal) -> Wanted {
    let line = |line: &DraftLine| (line.no, line.sku.clone(), line.amounts.quantity);
    let group = |group: &Group| WantedGroup {
        group: group.clone(),
        lines: group.lines.clone(),
        limits: NodeLimits::default(),
    };
    let (cart, groups) = (draft.lines.iter().map(line).collect(), groups.iter().map(group).collect());
    let (on_behalf_of, channel) = (caller.to_string(), draft.channel.clone());
    Wanted { cart, groups, on_behalf_of, channel, ..Wanted::default() }
}

/// A token must be nobody's yet, be live, and hold what the order is for, line by line and group by group. Answers the
/// groups that it holds.
fn fits(
    token: PromiseToken,
    held: &pb_fulfillment::Promise,
    command: &Place,
    now: Timestamp,
) -> Result<Vec<Group>, Error> {
    if !hold::is_live(held, now) {
        return Err(hold::ended(token, held.state()));
    }
    if !held.channel.is_empty() && held.channel != command.draft.channel {
        // It may hold what is kept for that channel.
        let why = format!("is held for channel {}; place the order there, or hold again", held.channel);
        return Err(Error::field("promise_token", why));
    }
    let groups = hold::groups_of(held)?;
    let mut lines: Vec<_> =
        held.lines.iter().map(|line| (line.line, line.sku.as_str(), line.quantity)).collect();
    lines.sort_unstable();
    let wanted = command.draft.lines.iter().map(|line| (line.no, line.sku.as_str(), line.amounts.quantity));
    let mut wanted: Vec<_> = wanted.collect();
    wanted.sort_unstable();
    if wanted != lines {
        return Err(Error::field("promise_token", "holds different lines from the order"));
    }
    if command.groups.is_empty() {
        return Ok(groups);
    }
    if command.groups.len() != groups.len() {
        return Err(Error::field("groups", "must be those of the promise, or none"));
    }
    for (i, (asked, held)) in command.groups.iter().zip(&groups).enumerate() {
        let other = |name: &str| Err(Error::field(format!("groups[{i}].{name}"), "is not the promise's"));
        if asked.method != held.method {
            return other("method");
        }
        if asked.node.is_some() && asked.node != held.node {
            return other("node_id");
        }
        if asked.lines != held.lines {
            return other("lines");
        }
    }
    Ok(command.groups.clone())
}

/// Fields that the hold was refused for: lines and groups have the same places there as in `PlaceOrder`.
fn as_fields(error: Error) -> Error {
    let Error::Peer(answer) = error else { return error };
    let named = server::status::violations(&answer);
    if answer.code() != Code::InvalidArgument || named.is_empty() {
        return Error::Peer(answer);
    }
    Fault::Invalid(named).into()
}

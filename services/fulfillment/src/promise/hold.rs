//! `HoldPromise`: stock and capacity of all groups of a cart under one token, or nothing.
//!
//! Two databases can't commit together, so: token and capacity are written PENDING, inventory reserves under the
//! ids of the token's legs for a little longer than the token will live, then the token is LIVE. A refusal takes the token
//! back; whatever else goes wrong in between is undone when the short time of a PENDING token is over.

use std::collections::BTreeMap;

use contract::fulfillment::v1 as pb;
use domain::id::{self, FulfillmentId, NodeId, PromiseToken, Uuid};
use domain::promise::plan::{Legs, Place};
use domain::promise::token::{Refusal, State};
use domain::promise::{Reason, Refused};
use jiff::{SignedDuration, Timestamp};
use service::{Call, Fault};

use super::batch::{Done, Job};
use crate::Fulfillment;
use crate::error::{Error, NotPromised, Shortage};
use crate::promise::answer::Planned;
use crate::promise::command::{Group, HoldCommand};
use crate::store;
use crate::store::capacity::SlotKey;
use crate::store::promise::Stored;
use crate::store::promise_leg::{HeldPlace, Leg};
use crate::wire::promise as wire;

/// How often a plan is made when slots turn out to be full.
const PLANS: usize = 5;

/// How many nodes are tried for groups whose node the platform chooses, when inventory has less than the view showed.
const TRIES: usize = 4;

/// How long capacity is kept for a promise whose stock is being asked for: longer than any call, far shorter than a
/// promise, so that calls with an unknown outcome do not fill the slots.
const PENDING: SignedDuration = SignedDuration::from_secs(30);

/// A promise that is written and may still need its stock.
pub(super) struct Begun {
    pub(super) promise: Stored,
    /// This very call wrote it, so nobody has asked for its stock before.
    pub(super) is_new: bool,
}

/// A promise as planned, with what its plan went by.
struct Draft {
    promise: Stored,
    limits: BTreeMap<SlotKey, i64>,
    nodes: BTreeMap<NodeId, i64>,
}

impl Fulfillment {
    /// Holds stock and capacity.
    pub(crate) async fn hold(&self, call: &Call, hold: HoldCommand) -> Result<Stored, Error> {
        let now = self.clock.business();
        let life = self.config.life();
        let ttl = hold.ttl.unwrap_or(life.default);
        let cap = life.cap(call.is_service(), now, now);
        let expires = now.checked_add(ttl).unwrap_or(Timestamp::MAX);
        if expires > cap {
            let most = cap.duration_since(now).as_secs();
            return Err(Error::field("ttl", format!("must be at most {most} s for this caller")));
        }
        for (field, is_asked) in
            [("instead_of", !hold.instead_of.is_empty()), ("on_behalf_of", hold.on_behalf_of.is_some())]
        {
            if is_asked && !call.is_service() {
                return Err(Error::field(field, "is for services only"));
            }
        }
        if !hold.instead_of.is_empty() {
            self.make_room(&hold.instead_of).await?;
        }
        if hold.groups.iter().any(|group| group.node.is_none()) {
            self.must_know_goods(&hold).await?;
        }
        let mut without: Vec<(u32, NodeId)> = Vec::new();
        loop {
            let begun = self.take(call, &hold, &without, now, expires).await?;
            let held = match begun.promise.state {
                State::Pending { .. } => self.ask_for_stock(begun, &hold, ttl).await,
                State::Live { .. } | State::Confirmed { .. } => return Ok(begun.promise),
                State::Released | State::Expired => return Err(gone(&begun.promise)),
            };
            match held {
                // The view showed more than there is: another node may have it.
                Err(Error::NotPromised(refused)) if without.len() + 1 < TRIES => {
                    without.push(chosen(&hold, &refused).ok_or(Error::NotPromised(refused))?);
                }
                other => return other,
            }
        }
    }

    /// A SKU that does not exist is nowhere in stock, and the caller is to hear which it is.
    async fn must_know_goods(&self, hold: &HoldCommand) -> Result<(), Error> {
        let unknown = self.learn(hold.cart.iter().map(|line| &line.sku)).await?;
        let bad = |sku| {
            server::Violation::new(wire::sku_field(&hold.cart, sku), format!("sku {sku} does not exist"))
        };
        let violations: Vec<_> = unknown.iter().map(bad).collect();
        if violations.is_empty() { Ok(()) } else { Err(Fault::Invalid(violations).into()) }
    }

    /// Writes token and capacity, or finds what the same request wrote before.
    async fn take(
        &self,
        call: &Call,
        hold: &HoldCommand,
        without: &[(u32, NodeId)],
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<Begun, Error> {
        let expires = now.checked_add(PENDING).map_or(expires, |soon| soon.min(expires));
        let known = |promise| Begun { promise, is_new: false };
        let key = id::derived("promise.hold", &format!("{}|{}", call.scope, call.id));
        let holder = hold.holder(&call.who);
        let quota = self.quota(&holder.kind, hold.channel.as_deref(), now);
        let mut full = 0;
        for _ in 0..PLANS {
            let legs = match self.plan(hold, without, now) {
                Ok(legs) => legs,
                Err((index, refused)) => {
                    let group = &hold.groups[index];
                    return self.known_or(call, key, (hold, group), refused, now).await.map(known);
                }
            };
            let mut draft = self.draft(call, key, hold, legs, now, expires);
            draft.promise.counted_for = quota.map(|_| holder.to_string());
            let Draft { promise, limits, nodes } = draft;
            let asked: Vec<NodeId> = nodes.keys().cloned().collect();
            self.load.plan(self.planned(promise.places()));
            let job = Job::Take { promise: Box::new(promise.clone()), limits, nodes, quota };
            match self.write(job).await? {
                Done::Taken => return Ok(Begun { promise, is_new: true }),
                Done::Known(promise) => return same_body(*promise, call).map(known),
                // Fuller than the view knew: read it and plan again.
                Done::Full(group) => {
                    full = group;
                    for node in &asked {
                        self.refresh_node(node).await?;
                    }
                }
                Done::OverQuota(exceeded) => {
                    metrics::counter!("entrepot_holds_refused_total", "reason" => "HOLD_QUOTA").increment(1);
                    return Err(Error::HoldQuota(exceeded));
                }
                // Another process changed or shut a node: learn of it, and plan with that.
                Done::NodeChanged => {
                    for node in &asked {
                        self.relearn_node(node).await?;
                    }
                }
                Done::Granted | Done::NotPending | Done::Forgotten => {
                    return Err(Error::corrupt("a hold was answered as something else".into()));
                }
            }
        }
        let group = hold.groups.iter().find(|group| group.number == full).unwrap_or(&hold.groups[0]);
        let refused = Refused::because(Reason::CapacityFull);
        Err(self.not_promised((hold, group), group.node.as_ref(), refused, None, now))
    }

    /// The promise of these legs, each with an id of its own.
    fn draft(
        &self,
        call: &Call,
        key: Uuid,
        hold: &HoldCommand,
        legs: Legs<Planned>,
        now: Timestamp,
        expires: Timestamp,
    ) -> Draft {
        let token = PromiseToken::new(self.clock.new_id());
        let (mut limits, mut nodes) = (BTreeMap::new(), BTreeMap::new());
        let mut stored = Vec::with_capacity(legs.len());
        for (index, (planned, places)) in legs {
            let Planned { able, decision, version, lines } = planned;
            nodes.insert(able.node.id.clone(), version);
            let places: Vec<HeldPlace> = places.iter().map(held).collect();
            let rule = able.node.rule(able.method.rules().activity);
            let most = rule.map_or(i64::MAX, |rule| rule.most().limit());
            limits.extend(places.iter().map(|place| (place.slot.clone(), most)));
            let id = FulfillmentId::new(self.clock.new_id());
            stored.push(Leg {
                id,
                group: hold.groups[index].number,
                method: able.method,
                node: able.node.id.clone(),
                ready: able.offer.ready,
                keep_until: able.offer.keep_until,
                is_given_up: false,
                body: pb::PromiseLeg {
                    option: Some(wire::option(
                        able.method,
                        &able.node.id,
                        &able.node.name,
                        &able.offer,
                        None,
                    )),
                    lines: wire::pieces(&lines),
                    ..Default::default()
                },
                decision: wire::decision(&decision, token, id),
                places,
            });
        }
        let promise = Stored {
            token,
            request_key: key,
            body_hash: call.hash.to_vec(),
            owner: call.who.to_string(),
            holder: hold.holder(&call.who).to_string(),
            channel: hold.channel.clone(),
            taken_by: None,
            state: State::Pending { expires },
            counted_for: None,
            version: 1,
            body: pb::Promise { lines: wire::cart(&hold.cart), ..Default::default() },
            legs: stored,
            created: now,
            expires,
        };
        Draft { promise, limits, nodes }
    }

    /// The promise of an earlier call of the same request, or the refusal.
    async fn known_or(
        &self,
        call: &Call,
        key: Uuid,
        of: (&HoldCommand, &Group),
        refused: Refused,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let mut tx = self.db.read().await?;
        let known = store::promise::by_request(&mut tx, &[key]).await?.pop();
        tx.commit().await?;
        match known.filter(|known| known.state.holds()) {
            Some(known) => same_body(known, call),
            None => Err(self.not_promised(of, of.1.node.as_ref(), refused, None, now)),
        }
    }

    pub(super) fn not_promised(
        &self,
        (hold, group): (&HoldCommand, &Group),
        node: Option<&NodeId>,
        refused: Refused,
        shortage: Option<Shortage>,
        now: Timestamp,
    ) -> Error {
        let alternatives = self.alternatives(node, group, hold.channel.as_deref(), now);
        let (node, method) = (node.cloned(), group.method);
        metrics::counter!("entrepot_holds_refused_total", "reason" => refused.first().name()).increment(1);
        let group = group.number;
        Error::NotPromised(Box::new(NotPromised { group, node, method, refused, shortage, alternatives }))
    }
}

/// The group and node of a refusal by inventory, where the platform chose the node.
fn chosen(hold: &HoldCommand, refused: &NotPromised) -> Option<(u32, NodeId)> {
    let group = hold.groups.iter().find(|group| group.number == refused.group && group.node.is_none())?;
    (refused.refused.first() == Reason::NoStock).then_some((group.number, refused.node.clone()?))
}

fn held(place: &Place) -> HeldPlace {
    let slot = SlotKey {
        kind: place.kind,
        resource: place.resource.clone(),
        work: place.work.clone(),
        start: place.start.as_microsecond(),
    };
    HeldPlace { slot, amount: place.amount, is_held: true }
}

fn same_body(known: Stored, call: &Call) -> Result<Stored, Error> {
    if known.body_hash == call.hash { Ok(known) } else { Err(Fault::RequestIdReused(call.id).into()) }
}

pub(super) fn gone(promise: &Stored) -> Error {
    Error::PromiseRefused(Refusal::State { state: promise.state.name(), command: "held" })
}

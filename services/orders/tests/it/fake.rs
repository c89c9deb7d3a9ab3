//! Fulfillment's promises, as orders sees them: holds by request id, refusals on demand.

use crate::world::v7;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use clock::Clock;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_events_service_server::{
    FulfillmentEventsService, FulfillmentEventsServiceServer,
};
use contract::fulfillment::v1::promise_service_server::{PromiseService, PromiseServiceServer};
use contract::r#type::v1::{StoredEvent, Window};
use domain::id::{PromiseToken, Uuid};
use domain::time::{after_ms, from_parts, to_parts};
use prost_types::Timestamp as PbTimestamp;
use server::{Peer, Reason, Violation};
use tokio::sync::Notify;
use tonic::service::RoutesBuilder;
use tonic::{Code, Request, Response, Status, async_trait};

/// What the stand-in knows and does.
pub(crate) struct Fake {
    clock: Clock,
    state: Mutex<State>,
    stalled: Notify,
    go_on: Notify,
}

#[derive(Default)]
struct State {
    by_request: HashMap<String, Uuid>,
    promises: HashMap<Uuid, pb::Promise>,
    refusal: Option<(Code, &'static str)>,
    unknown: Vec<String>,
    extensions: usize,
    asked: usize,
    stalls: bool,
    ends_at_once: bool,
    events: Vec<StoredEvent>,
}

impl Fake {
    pub(crate) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), stalled: Notify::new(), go_on: Notify::new() })
    }

    pub(crate) fn peer(self: &Arc<Self>) -> Peer {
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(PromiseServiceServer::from_arc(Arc::clone(self)))
            .add_service(FulfillmentEventsServiceServer::from_arc(Arc::clone(self)));
        server::peer::local(routes.routes().prepare())
    }

    /// From now on every hold and extension is refused so.
    pub(crate) fn refuse(&self, code: Code, reason: &'static str) {
        self.state.lock().unwrap().refusal = Some((code, reason));
    }

    /// Holds are granted again.
    pub(crate) fn grant(&self) {
        self.state.lock().unwrap().refusal = None;
    }

    /// Whether every new hold has ended by the time that it is answered.
    pub(crate) fn end_at_once(&self, ends: bool) {
        self.state.lock().unwrap().ends_at_once = ends;
    }

    /// Fulfillment has this event, which nobody heard.
    pub(crate) fn keep(&self, event: &bus::Delivered) {
        self.state.lock().unwrap().events.push(bus::replay::to_stored(event));
    }

    /// The next hold that is asked for waits until [`Self::go_on`].
    pub(crate) fn stall(&self) {
        self.state.lock().unwrap().stalls = true;
    }

    /// Waits for the hold that waits.
    pub(crate) async fn stalled(&self) {
        self.stalled.notified().await;
    }

    pub(crate) fn go_on(&self) {
        self.go_on.notify_one();
    }

    /// This SKU does not exist.
    pub(crate) fn forget(&self, sku: &str) {
        self.state.lock().unwrap().unknown.push(sku.to_owned());
    }

    /// Promises that hold something now.
    pub(crate) fn live(&self) -> usize {
        let live = |p: &&pb::Promise| p.state() == pb::PromiseState::Live;
        self.state.lock().unwrap().promises.values().filter(live).count()
    }

    /// How many promises were ever made.
    pub(crate) fn made(&self) -> usize {
        self.state.lock().unwrap().promises.len()
    }

    /// How often an extension was asked for, also in vain.
    pub(crate) fn asked(&self) -> usize {
        self.state.lock().unwrap().asked
    }

    pub(crate) fn extensions(&self) -> usize {
        self.state.lock().unwrap().extensions
    }

    pub(crate) fn promise(&self, token: &str) -> pb::Promise {
        let token: PromiseToken = token.parse().unwrap();
        self.state.lock().unwrap().promises[&token.uuid()].clone()
    }

    /// The promise is gone, as when its time ran out.
    pub(crate) fn expire(&self, token: &str) {
        self.set(token, pb::PromiseState::Expired);
    }

    /// The promise belongs to an order.
    pub(crate) fn confirm(&self, token: &str) {
        self.set(token, pb::PromiseState::Confirmed);
    }

    pub(crate) fn set(&self, token: &str, to: pb::PromiseState) {
        let token: PromiseToken = token.parse().unwrap();
        self.state.lock().unwrap().promises.get_mut(&token.uuid()).unwrap().set_state(to);
    }
}

fn time(at: domain::time::Timestamp) -> Option<PbTimestamp> {
    let (seconds, nanos) = to_parts(at);
    Some(PbTimestamp { seconds, nanos })
}

fn refused(refusal: Option<(Code, &'static str)>) -> Result<(), Status> {
    match refusal {
        None => Ok(()),
        Some((code, reason)) => {
            let text = format!("refused: {reason}");
            let reason = Reason { name: reason, code, ..server::reason::CALLER_NOT_ALLOWED };
            Err(server::status(reason, "fulfillment.entrepot", text, []))
        }
    }
}

fn not_found() -> Status {
    let reason =
        Reason { name: "PROMISE_NOT_FOUND", code: Code::NotFound, ..server::reason::CALLER_NOT_ALLOWED };
    server::status(reason, "fulfillment.entrepot", "no such promise".to_owned(), [])
}

#[async_trait]
impl FulfillmentEventsService for Fake {
    async fn list_heads(
        &self,
        _: Request<pb::ListHeadsRequest>,
    ) -> Result<Response<pb::ListHeadsResponse>, Status> {
        panic!("orders does not ask for this")
    }

    async fn replay_events(
        &self,
        request: Request<pb::ReplayEventsRequest>,
    ) -> Result<Response<pb::ReplayEventsResponse>, Status> {
        let asked = request.into_inner();
        let state = self.state.lock().unwrap();
        let wanted = |event: &&StoredEvent| {
            event.aggregate_id == asked.aggregate_id && event.sequence >= asked.from_sequence
        };
        let events = state.events.iter().filter(wanted).cloned().collect();
        Ok(Response::new(pb::ReplayEventsResponse { events }))
    }
}

#[async_trait]
impl PromiseService for Fake {
    async fn hold_promise(
        &self,
        request: Request<pb::HoldPromiseRequest>,
    ) -> Result<Response<pb::HoldPromiseResponse>, Status> {
        let request = request.into_inner();
        if std::mem::take(&mut self.state.lock().unwrap().stalls) {
            self.stalled.notify_one();
            self.go_on.notified().await;
        }
        let now = self.clock.business();
        let mut state = self.state.lock().unwrap();
        if let Some(known) = state.by_request.get(&request.request_id) {
            let holds =
                |p: &pb::Promise| matches!(p.state(), pb::PromiseState::Live | pb::PromiseState::Confirmed);
            let promise = Some(state.promises[known].clone()).filter(holds);
            if promise.is_none() {
                return refused(Some((Code::FailedPrecondition, "PROMISE_EXPIRED"))).map(|()| unreachable!());
            }
            return Ok(Response::new(pb::HoldPromiseResponse { promise }));
        }
        let unknown = request.lines.iter().enumerate().filter(|(_, line)| state.unknown.contains(&line.sku));
        let unknown: Vec<_> =
            unknown.map(|(i, _)| Violation::new(format!("lines[{i}].sku"), "is not known")).collect();
        if !unknown.is_empty() {
            return Err(server::invalid("fulfillment.entrepot", unknown));
        }
        refused(state.refusal)?;
        let ttl = request.ttl.unwrap();
        let token = v7();
        let start = time(after_ms(now, 3_600_000));
        let promise = pb::Promise {
            promise_token: PromiseToken::new(token).to_string(),
            state: if state.ends_at_once { pb::PromiseState::Expired } else { pb::PromiseState::Live }.into(),
            option: Some(pb::PromiseOption {
                method: request.method,
                node_id: request.node_id,
                node_name: "a shop".to_owned(),
                window: Some(Window { start_time: start, end_time: None }),
                distance_m: 0,
            }),
            lines: request.lines,
            expire_time: time(after_ms(now, ttl.seconds * 1_000)),
            create_time: time(now),
            decision_id: String::new(),
        };
        state.by_request.insert(request.request_id, token);
        state.promises.insert(token, promise.clone());
        Ok(Response::new(pb::HoldPromiseResponse { promise: Some(promise) }))
    }

    async fn extend_promise(
        &self,
        request: Request<pb::ExtendPromiseRequest>,
    ) -> Result<Response<pb::ExtendPromiseResponse>, Status> {
        let request = request.into_inner();
        let token: PromiseToken = request.promise_token.parse().unwrap();
        let now = self.clock.business();
        let mut state = self.state.lock().unwrap();
        state.asked += 1;
        refused(state.refusal)?;
        state.extensions += 1;
        let promise = state.promises.get_mut(&token.uuid()).ok_or_else(not_found)?;
        let ends = promise.expire_time.unwrap();
        if from_parts(ends.seconds, ends.nanos).unwrap() <= now {
            promise.set_state(pb::PromiseState::Expired);
        }
        if promise.state() == pb::PromiseState::Live {
            promise.expire_time = request.expire_time;
        }
        Ok(Response::new(pb::ExtendPromiseResponse { promise: Some(promise.clone()) }))
    }

    async fn release_promise(
        &self,
        request: Request<pb::ReleasePromiseRequest>,
    ) -> Result<Response<pb::ReleasePromiseResponse>, Status> {
        let token: PromiseToken = request.into_inner().promise_token.parse().unwrap();
        let mut state = self.state.lock().unwrap();
        let promise = state.promises.get_mut(&token.uuid()).ok_or_else(not_found)?;
        promise.set_state(pb::PromiseState::Released);
        Ok(Response::new(pb::ReleasePromiseResponse { promise: Some(promise.clone()) }))
    }

    async fn get_promise(
        &self,
        _: Request<pb::GetPromiseRequest>,
    ) -> Result<Response<pb::GetPromiseResponse>, Status> {
        panic!("orders does not ask for this")
    }

    async fn confirm_promise(
        &self,
        _: Request<pb::ConfirmPromiseRequest>,
    ) -> Result<Response<pb::ConfirmPromiseResponse>, Status> {
        panic!("orders does not ask for this")
    }

    async fn get_promise_token(
        &self,
        request: Request<pb::GetPromiseTokenRequest>,
    ) -> Result<Response<pb::GetPromiseTokenResponse>, Status> {
        let token: PromiseToken = request.into_inner().promise_token.parse().unwrap();
        let promise =
            self.state.lock().unwrap().promises.get(&token.uuid()).cloned().ok_or_else(not_found)?;
        Ok(Response::new(pb::GetPromiseTokenResponse { promise: Some(promise) }))
    }

    async fn get_sourcing_decision(
        &self,
        _: Request<pb::GetSourcingDecisionRequest>,
    ) -> Result<Response<pb::GetSourcingDecisionResponse>, Status> {
        panic!("orders does not ask for this")
    }

    async fn list_nearby_availability(
        &self,
        _: Request<pb::ListNearbyAvailabilityRequest>,
    ) -> Result<Response<pb::ListNearbyAvailabilityResponse>, Status> {
        panic!("orders does not ask for this")
    }
}

//! A consumer that misses events asks their owner, and the owner answers.

use bus::heads::Asked;
use bus::replay;
use clock::Clock;
use contract::codec::Lean;
use contract::orders::v1::{ListHeadsRequest, ListHeadsResponse, ReplayEventsRequest, ReplayEventsResponse};
use contract::r#type::v1::{Head, StoredEvent};
use db::Db;
use domain::id::Uuid;
use prost::Message;
use prost_types::Timestamp;
use server::Peer;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use crate::fault::Fault;
use crate::fields::Fields;

/// The most events of one answer.
const MAX_EVENTS: i64 = 500;

/// Stored events of one aggregate from a sequence on, as `ReplayEvents` answers them.
pub async fn events(db: &Db, aggregate: &str, from: i64, page_size: i32) -> Result<Vec<StoredEvent>, Fault> {
    let mut fields = Fields::default();
    let aggregate = fields.uuid("aggregate_id", aggregate);
    fields.check(from >= 1, "from_sequence", "must be at least 1");
    let limit = fields.page_size(page_size, MAX_EVENTS, MAX_EVENTS);
    let aggregate = fields.finish(aggregate)?;
    let mut tx = db.read().await?;
    let events = replay::read(&mut tx, aggregate, from, limit).await?;
    Ok(events.iter().map(replay::to_stored).collect())
}

/// How far aggregates are, as `ListHeads` answers it: heads, next page token, end of the list.
pub async fn heads(
    db: &Db,
    clock: &Clock,
    changed_since: Option<Timestamp>,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<Head>, String, Option<Timestamp>), Fault> {
    let asked = Asked::from_wire(changed_since, page_size, page_token)
        .map_err(|(field, why)| Fault::field(field, why))?;
    let mut tx = db.read().await?;
    let page = bus::heads::read(&mut tx, asked, clock.business()).await?;
    Ok(page.into_wire())
}

/// Asks the owner of a topic for stored events; `service` is the full name of its events service. The messages of these
/// services are the same in every package (a test compares them).
pub async fn ask_events(
    peer: Peer,
    service: &'static str,
    aggregate: Uuid,
    from_sequence: i64,
    page_size: i32,
) -> Result<Vec<StoredEvent>, Status> {
    let request = ReplayEventsRequest { aggregate_id: aggregate.to_string(), from_sequence, page_size };
    let answer: ReplayEventsResponse = ask(peer, service, "ReplayEvents", request).await?;
    Ok(answer.events)
}

/// Asks the owner of a topic how far its aggregates are: heads, next page token, end of the list.
pub async fn ask_heads(
    peer: Peer,
    service: &'static str,
    changed_since: Timestamp,
    page_size: i32,
    page_token: String,
) -> Result<(Vec<Head>, String, Option<Timestamp>), Status> {
    let request = ListHeadsRequest { changed_since: Some(changed_since), page_size, page_token };
    let answer: ListHeadsResponse = ask(peer, service, "ListHeads", request).await?;
    Ok((answer.heads, answer.next_page_token, answer.until_time))
}

async fn ask<Q, A>(peer: Peer, service: &str, method: &str, request: Q) -> Result<A, Status>
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let path = PathAndQuery::try_from(format!("/{service}/{method}"))
        .map_err(|error| Status::internal(error.to_string()))?;
    let mut client = Grpc::new(peer);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(client.unary(Request::new(request), path, Lean::default()).await?.into_inner())
}

/// Serves the events of a service, which has the fields `db` and `clock` and an `Error` with `faults!`:
/// `service::serve_events!(Orders, OrderEventsService, contract::orders::v1, DOMAIN)`.
#[macro_export]
macro_rules! serve_events {
    ($service:ty, $server:path, $messages:path, $domain:expr) => {
        const _: () = {
            use $messages as pb;

            #[::tonic::async_trait]
            impl $server for $service {
                async fn replay_events(
                    &self,
                    request: ::tonic::Request<pb::ReplayEventsRequest>,
                ) -> Result<::tonic::Response<pb::ReplayEventsResponse>, ::tonic::Status> {
                    let asked = request.get_ref();
                    let events = $crate::replay::events(
                        &self.db,
                        &asked.aggregate_id,
                        asked.from_sequence,
                        asked.page_size,
                    );
                    let events = events.await.map_err(|fault| fault.status($domain))?;
                    Ok(::tonic::Response::new(pb::ReplayEventsResponse { events }))
                }

                async fn list_heads(
                    &self,
                    request: ::tonic::Request<pb::ListHeadsRequest>,
                ) -> Result<::tonic::Response<pb::ListHeadsResponse>, ::tonic::Status> {
                    let asked = request.into_inner();
                    let heads = $crate::replay::heads(
                        &self.db,
                        &self.clock,
                        asked.changed_since,
                        asked.page_size,
                        &asked.page_token,
                    );
                    let (heads, next_page_token, until_time) =
                        heads.await.map_err(|fault| fault.status($domain))?;
                    Ok(::tonic::Response::new(pb::ListHeadsResponse { heads, next_page_token, until_time }))
                }
            }
        };
    };
}

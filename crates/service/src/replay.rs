//! The owner's answer to a consumer that misses events.

use bus::replay;
use contract::r#type::v1::StoredEvent;
use db::Db;

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

/// Serves the events of a service, which has a field `db` and an `Error` with `faults!`:
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
            }
        };
    };
}

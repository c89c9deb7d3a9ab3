//! The doors for callers: wire in, verb, wire out.

use std::pin::Pin;
use std::time::Duration;

use contract::inventory::v1 as pb;
use futures_util::{Stream, StreamExt as _};
use pb::inventory_events_service_server::InventoryEventsService;
use pb::inventory_service_server::InventoryService;
use server::{Deadline, Principal, StreamPlace};
use service::Fault;
use tonic::{Request, Response, Status, Streaming};

use crate::Inventory;
use crate::error::Error;
use crate::wire;

/// How long one question of an audit may take for a caller without a deadline.
const AUDIT: Duration = Duration::from_mins(1);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn put_skus(&self, request: Request<pb::PutSkusRequest>) -> Answer<pb::PutSkusResponse> {
        let who = Principal::of(&request);
        let command = wire::put_skus(&who, request.into_inner(), self.clock.business())?;
        Ok(Response::new(self.put_skus(command).await?))
    }

    async fn get_sku(&self, request: Request<pb::GetSkuRequest>) -> Answer<pb::GetSkuResponse> {
        let sku = self.get_sku(request.into_inner().sku).await?;
        Ok(Response::new(pb::GetSkuResponse { sku: Some(sku) }))
    }

    async fn list_skus(&self, request: Request<pb::ListSkusRequest>) -> Answer<pb::ListSkusResponse> {
        Ok(Response::new(self.list_skus(&request.into_inner()).await?))
    }

    async fn apply_snapshot(
        &self,
        request: Request<pb::ApplySnapshotRequest>,
    ) -> Answer<pb::ApplySnapshotResponse> {
        let who = Principal::of(&request);
        let (now, tolerance) = (self.clock.business(), self.clock_tolerance);
        let command = wire::feed::apply_snapshot(&who, request.into_inner(), now, tolerance)?;
        Ok(Response::new(self.apply_snapshot(&who, command).await?))
    }

    async fn apply_deltas(
        &self,
        request: Request<pb::ApplyDeltasRequest>,
    ) -> Answer<pb::ApplyDeltasResponse> {
        let who = Principal::of(&request);
        let (now, tolerance) = (self.clock.business(), self.clock_tolerance);
        let command = wire::feed::apply_deltas(&who, request.into_inner(), now, tolerance)?;
        Ok(Response::new(self.apply_deltas(&who, command).await?))
    }

    type ImportStockStream = Pin<Box<dyn Stream<Item = Result<pb::ImportStockResponse, Status>> + Send>>;

    async fn import_stock(
        &self,
        request: Request<Streaming<pb::ImportStockRequest>>,
    ) -> Answer<Self::ImportStockStream> {
        let principal = Principal::of(&request);
        Ok(Response::new(Box::pin(server::driven(self.import(&principal, request.into_inner())))))
    }

    async fn close_snapshot(
        &self,
        request: Request<pb::CloseSnapshotRequest>,
    ) -> Answer<pb::CloseSnapshotResponse> {
        let who = Principal::of(&request);
        let (now, tolerance) = (self.clock.business(), self.clock_tolerance);
        let command = wire::feed::close_snapshot(&who, request.into_inner(), now, tolerance)?;
        Ok(Response::new(self.close_snapshot(&who, command).await?))
    }

    async fn adjust_stock(
        &self,
        request: Request<pb::AdjustStockRequest>,
    ) -> Answer<pb::AdjustStockResponse> {
        let who = Principal::of(&request);
        let command = wire::adjust_stock(&who, request.into_inner(), self.clock.business())?;
        Ok(Response::new(self.adjust(&who, command).await?))
    }

    async fn set_safety_stock(
        &self,
        request: Request<pb::SetSafetyStockRequest>,
    ) -> Answer<pb::SetSafetyStockResponse> {
        let who = Principal::of(&request);
        let command = wire::set_safety_stock(&who, request.into_inner(), self.clock.business())?;
        Ok(Response::new(self.set_safety_stock(&who, command).await?))
    }

    async fn reserve(&self, request: Request<pb::ReserveRequest>) -> Answer<pb::ReserveResponse> {
        let command = wire::reserve(&Principal::of(&request), request.into_inner())?;
        let reservations = self.queue.submit(command).await?;
        Ok(Response::new(pb::ReserveResponse { reservations }))
    }

    async fn release_reservation(
        &self,
        request: Request<pb::ReleaseReservationRequest>,
    ) -> Answer<pb::ReleaseReservationResponse> {
        let command = wire::release(&Principal::of(&request), request.into_inner())?;
        let reservations = self.queue.submit(command).await?;
        Ok(Response::new(pb::ReleaseReservationResponse { reservations }))
    }

    async fn extend_reservation(
        &self,
        request: Request<pb::ExtendReservationRequest>,
    ) -> Answer<pb::ExtendReservationResponse> {
        let command = wire::extend(&Principal::of(&request), request.get_ref(), self.clock.business())?;
        let reservations = self.queue.submit(command).await?;
        Ok(Response::new(pb::ExtendReservationResponse { reservations }))
    }

    async fn get_reservation(
        &self,
        request: Request<pb::GetReservationRequest>,
    ) -> Answer<pb::GetReservationResponse> {
        let reservation = Some(self.get_reservation(&request.get_ref().reservation_id).await?);
        Ok(Response::new(pb::GetReservationResponse { reservation }))
    }

    async fn get_availability(
        &self,
        request: Request<pb::GetAvailabilityRequest>,
    ) -> Answer<pb::GetAvailabilityResponse> {
        let pb::GetAvailabilityRequest { node_id, sku } = request.into_inner();
        let availability = Some(self.availability(node_id, sku).await?);
        Ok(Response::new(pb::GetAvailabilityResponse { availability }))
    }

    async fn batch_get_availability(
        &self,
        request: Request<pb::BatchGetAvailabilityRequest>,
    ) -> Answer<pb::BatchGetAvailabilityResponse> {
        let availabilities = self.batch_availability(request.into_inner().pairs).await?;
        Ok(Response::new(pb::BatchGetAvailabilityResponse { availabilities }))
    }

    async fn list_availability(
        &self,
        request: Request<pb::ListAvailabilityRequest>,
    ) -> Answer<pb::ListAvailabilityResponse> {
        Ok(Response::new(self.list_availability(request.into_inner()).await?))
    }

    type StreamPositionsStream =
        Pin<Box<dyn Stream<Item = Result<pb::StreamPositionsResponse, Status>> + Send>>;

    async fn stream_positions(
        &self,
        request: Request<pb::StreamPositionsRequest>,
    ) -> Answer<Self::StreamPositionsStream> {
        let place =
            self.streams.enter(&Principal::of(&request)).ok_or_else(|| Error::from(Fault::TooManyStreams))?;
        let positions = self.stream_positions().inspect(move |_| {
            // held as long as the stream lives
            let _: &StreamPlace = &place;
        });
        Ok(Response::new(Box::pin(service::streamed(request.extensions(), positions))))
    }

    async fn list_movements(
        &self,
        request: Request<pb::ListMovementsRequest>,
    ) -> Answer<pb::ListMovementsResponse> {
        Ok(Response::new(self.list_movements(request.into_inner()).await?))
    }

    async fn audit(&self, request: Request<pb::AuditRequest>) -> Answer<pb::AuditResponse> {
        // as long as the caller waits
        let limit = || Deadline::of(&request).map_or(AUDIT, |deadline| deadline.left());
        Ok(Response::new(self.audit(limit).await?))
    }
}

service::serve_events!(Inventory, InventoryEventsService, contract::inventory::v1, crate::error::DOMAIN);

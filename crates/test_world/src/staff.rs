//! A store at its work: the calls that its staff make.

use bytes::Bytes;
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use tonic::Status;
use tonic::body::Body;
use tonic::client::GrpcService;

use crate::fresh;

type StdError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Result<pb::FulfillmentOrder, Status>;

/// One caller of the work service, whom the client names.
#[derive(Clone)]
pub struct Staff<T> {
    /// The service.
    pub client: WorkServiceClient<T>,
    /// Where they work.
    pub node: String,
}

/// Steps of work that say nothing but which work it is.
macro_rules! steps {
    ($($(#[$doc:meta])* $step:ident: $call:ident($request:ident);)*) => { $(
        $(#[$doc])*
        pub async fn $step(&self, work: &str) -> Answer {
            let request = pb::$request { request_id: fresh(), fulfillment_id: work.to_owned() };
            Ok(self.client.clone().$call(request).await?.into_inner().fulfillment_order.unwrap())
        }
    )* };
}

impl<T> Staff<T>
where
    T: GrpcService<Body> + Clone,
    T::Error: Into<StdError>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<StdError> + Send,
{
    steps! {
        /// Takes the work.
        accept: accept_work(AcceptWorkRequest);
        /// Begins to pick.
        start: start_picking(StartPickingRequest);
        /// Everything picked waits for the customer.
        ready: mark_ready(MarkReadyRequest);
        /// What was not handed over is back on its shelf.
        put_back: confirm_put_back(ConfirmPutBackRequest);
    }

    /// Does not take the work.
    pub async fn reject(&self, work: &str, reason: pb::RejectReason) -> Answer {
        let request = pb::RejectWorkRequest {
            request_id: fresh(),
            fulfillment_id: work.to_owned(),
            reason: reason.into(),
            note: "as said".to_owned(),
            lines: Vec::new(),
        };
        Ok(self.client.clone().reject_work(request).await?.into_inner().fulfillment_order.unwrap())
    }

    /// Picks: line, units picked, units not found.
    pub async fn pick(&self, work: &str, lines: &[(u32, i64, i64)]) -> Answer {
        let line = |(line, picked, short): &(u32, i64, i64)| {
            let reason = if *short > 0 { pb::ShortReason::NotFound } else { pb::ShortReason::Unspecified };
            pb::PickLine {
                line: *line,
                picked: *picked,
                short: *short,
                short_reason: reason.into(),
                sku: String::new(),
            }
        };
        let lines = lines.iter().map(line).collect();
        let request = pb::PickLinesRequest { request_id: fresh(), fulfillment_id: work.to_owned(), lines };
        Ok(self.client.clone().pick_lines(request).await?.into_inner().fulfillment_order.unwrap())
    }

    /// Finds what waits for the customer who shows this code.
    pub async fn find(&self, code: &str) -> Answer {
        let request = pb::FindByPickupCodeRequest { node_id: self.node.clone(), code: code.to_owned() };
        Ok(self.client.clone().find_by_pickup_code(request).await?.into_inner().fulfillment_order.unwrap())
    }

    /// Hands goods over against a code: line, units; no line: all that is ready.
    pub async fn hand_over(&self, work: &str, code: &str, lines: &[(u32, i64)]) -> Answer {
        self.hand_over_for(work, code, lines, None).await
    }

    /// The same for a payment.
    pub async fn hand_over_for(
        &self,
        work: &str,
        code: &str,
        lines: &[(u32, i64)],
        payment: impl Into<Option<pb::HandOverPayment>>,
    ) -> Answer {
        let line = |(line, quantity): &(u32, i64)| pb::HandOverLine { line: *line, quantity: *quantity };
        let request = pb::HandOverRequest {
            request_id: fresh(),
            fulfillment_id: work.to_owned(),
            code: code.to_owned(),
            lines: lines.iter().map(line).collect(),
            collector: pb::CollectorKind::Buyer.into(),
            collector_ref: "handle-1".to_owned(),
            payment: payment.into(),
        };
        Ok(self.client.clone().hand_over(request).await?.into_inner().fulfillment_order.unwrap())
    }

    /// A new pickup code of a fulfillment order.
    pub async fn issue_code(&self, work: &str) -> Result<String, Status> {
        let request = pb::IssuePickupCodeRequest { request_id: fresh(), fulfillment_id: work.to_owned() };
        Ok(self.client.clone().issue_pickup_code(request).await?.into_inner().code)
    }

    /// The fulfillment order as it is now.
    pub async fn get(&self, work: &str) -> Answer {
        let request = pb::GetFulfillmentOrderRequest { fulfillment_id: work.to_owned() };
        Ok(self.client.clone().get_fulfillment_order(request).await?.into_inner().fulfillment_order.unwrap())
    }

    /// All that the store sees of an order, newest first.
    pub async fn of_order(&self, order: &str) -> Result<Vec<pb::FulfillmentOrder>, Status> {
        let request = pb::ListFulfillmentOrdersRequest { order_id: order.to_owned(), ..Default::default() };
        Ok(self.client.clone().list_fulfillment_orders(request).await?.into_inner().fulfillment_orders)
    }

    /// A page of the work of a node.
    pub async fn page(
        &self,
        node: &str,
        states: &[pb::FulfillmentState],
        page_size: i32,
        token: &str,
    ) -> Result<pb::ListWorkResponse, Status> {
        let request = pb::ListWorkRequest {
            node_id: node.to_owned(),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            page_size,
            page_token: token.to_owned(),
        };
        Ok(self.client.clone().list_work(request).await?.into_inner())
    }

    /// The first page.
    pub async fn list(
        &self,
        node: &str,
        states: &[pb::FulfillmentState],
    ) -> Result<pb::ListWorkResponse, Status> {
        self.page(node, states, 0, "").await
    }
}

//! Stores: each watches its stream and works: accepts, picks, makes ready, hands over; sometimes refuses or falls short.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clock::Clock;
use contract::fulfillment::v1 as ful;
use contract::google::r#type::Money;
use tonic::{Code, Status};

use super::figures::Tally;
use super::shoppers::fresh;
use crate::clients::Clients;

/// How busy the stores are: items taken from the streams and not yet done.
#[derive(Default)]
pub(crate) struct Busy(AtomicU64);

impl Busy {
    /// Nobody works.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// One store: works off its stream until the stream ends.
pub(crate) struct Store {
    pub(crate) node_id: String,
    /// As the store's own PAD.
    pub(crate) pad: Clients,
    /// As the channel that gives the customer the code.
    pub(crate) channel: Clients,
    pub(crate) tally: Arc<Tally>,
    pub(crate) busy: Arc<Busy>,
    pub(crate) clock: Clock,
    pub(crate) rng: fastrand::Rng,
}

/// How long a store waits before it opens its stream again.
const AGAIN: Duration = Duration::from_secs(1);

impl Store {
    /// Watches and works until it is aborted; a stream that ends is opened again where it was.
    pub(crate) async fn run(mut self) {
        let mut last = String::new();
        let mut begun = HashSet::new();
        loop {
            if let Err(status) = self.watch(&mut last, &mut begun).await
                && status.code() != Code::Unavailable
            {
                self.tally.fault(&format!("watch: {}", status.message()));
                last.clear();
            }
            self.clock.pause(AGAIN).await;
        }
    }

    /// Works off what one stream brings; `last` is the token of its last item, `begun` what is worked on or was.
    async fn watch(&mut self, last: &mut String, begun: &mut HashSet<String>) -> Result<(), Status> {
        let request = ful::WatchWorkRequest { node_id: self.node_id.clone(), resume_token: last.clone() };
        let mut stream = self.pad.work.clone().watch_work(request).await?.into_inner();
        while let Some(change) = stream.message().await? {
            if !change.resume_token.is_empty() {
                last.clone_from(&change.resume_token);
            }
            let Some(work) = change.item.and_then(|item| item.fulfillment_order) else { continue };
            self.tally.seen(&work.order_id, self.clock.wall());
            if work.state() != ful::FulfillmentState::Offered {
                begun.remove(&work.fulfillment_id);
                continue;
            }
            if !begun.insert(work.fulfillment_id.clone()) {
                continue;
            }
            self.busy.0.fetch_add(1, Ordering::SeqCst);
            if let Err(status) = self.work_off(work).await {
                // The customer may cancel at any step: then the store's call is refused, which is right.
                if status.code() != Code::FailedPrecondition {
                    self.tally.fault(&format!("store: {:?} {}", status.code(), status.message()));
                }
            }
            self.busy.0.fetch_sub(1, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn work_off(&mut self, work: ful::FulfillmentOrder) -> Result<(), Status> {
        let mut pad = self.pad.work.clone();
        let fulfillment_id = work.fulfillment_id.clone();
        if self.rng.u8(..100) < 3 {
            let reason =
                if self.rng.bool() { ful::RejectReason::TooBusy } else { ful::RejectReason::Damaged };
            let request = ful::RejectWorkRequest {
                request_id: fresh(&mut self.rng),
                fulfillment_id,
                reason: i32::from(reason),
                ..Default::default()
            };
            pad.reject_work(request).await?;
            return Ok(());
        }
        let request_id = fresh(&mut self.rng);
        let accept = ful::AcceptWorkRequest { request_id, fulfillment_id: fulfillment_id.clone() };
        pad.accept_work(accept).await?;
        let request_id = fresh(&mut self.rng);
        let start = ful::StartPickingRequest { request_id, fulfillment_id: fulfillment_id.clone() };
        pad.start_picking(start).await?;
        let lines: Vec<ful::PickLine> = work.lines.iter().map(|line| self.pick(line)).collect();
        let found = lines.iter().any(|line| line.picked > 0);
        let request_id = fresh(&mut self.rng);
        pad.pick_lines(ful::PickLinesRequest { request_id, fulfillment_id: fulfillment_id.clone(), lines })
            .await?;
        if !found {
            return Ok(());
        }
        let request_id = fresh(&mut self.rng);
        let ready = ful::MarkReadyRequest { request_id, fulfillment_id: fulfillment_id.clone() };
        let ready = pad.mark_ready(ready).await?.into_inner().fulfillment_order.unwrap_or_default();
        // One customer in ten has not come yet when the demo ends.
        if self.rng.u8(..100) < 10 {
            return Ok(());
        }
        self.hand_over(fulfillment_id, ready.due).await
    }

    fn pick(&mut self, line: &ful::FulfillmentLine) -> ful::PickLine {
        let short = i64::from(self.rng.u8(..100) < 3);
        let reason = if short > 0 { ful::ShortReason::NotFound } else { ful::ShortReason::Unspecified };
        ful::PickLine {
            line: line.line,
            picked: line.to_pick - short,
            short,
            short_reason: i32::from(reason),
            sku: String::new(),
        }
    }

    /// Hands everything over, for what is due.
    async fn hand_over(&mut self, fulfillment_id: String, due: Option<Money>) -> Result<(), Status> {
        let issue = ful::IssuePickupCodeRequest {
            request_id: fresh(&mut self.rng),
            fulfillment_id: fulfillment_id.clone(),
        };
        let code = self.channel.work.clone().issue_pickup_code(issue).await?.into_inner().code;
        let payment = due.map(|due| ful::HandOverPayment {
            kind: "wechat".to_owned(),
            amount: Some(due),
            provider_ref: fulfillment_id.clone(),
        });
        let request = ful::HandOverRequest {
            request_id: fresh(&mut self.rng),
            fulfillment_id,
            code,
            lines: Vec::new(),
            collector: i32::from(ful::CollectorKind::Buyer),
            collector_ref: String::new(),
            payment,
        };
        self.pad.work.clone().hand_over(request).await?;
        Ok(())
    }
}

//! Cancelling: at once while no node has the order, else asked of the node.

use contract::orders::v1 as pb;
use domain::order::{Order, Outcome, Refusal};
use domain::time::Timestamp;
use server::Principal;
use service::Call;

use crate::command::Cancel;
use crate::error::Error;
use crate::{Orders, rights, wire};

impl Orders {
    /// Cancels pieces, or asks the node for them.
    pub(crate) async fn cancel(
        &self,
        command: Cancel,
        caller: &Principal,
    ) -> Result<pb::CancelOrderResponse, Error> {
        let call = &command.call;
        if let Some(reply) = call.saved(&self.db).await? {
            return Ok(reply);
        }
        let now = self.clock.business();
        rights::must_own(caller, &self.find_as_of(command.order, now).await?)?;
        let write = || self.write_cancel(&command, call, caller, now);
        let reply = db::retry(3, Error::is_retry, write).await?;
        self.watchers.wake(&command.order.uuid());
        Ok(reply)
    }

    async fn write_cancel(
        &self,
        command: &Cancel,
        call: &Call,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<pb::CancelOrderResponse, Error> {
        let cancelled = |order: Order| {
            let cancelled = order.cancel(&command.lines, &command.reason, now);
            let (changed, outcome) = cancelled.map_err(|refusal| refused(refusal, command))?;
            let outcome = match outcome {
                Outcome::Cancelled => pb::CancelOutcome::Cancelled,
                Outcome::Pending => pb::CancelOutcome::Pending,
            };
            let order = Some(wire::order(&changed.order));
            let reply = pb::CancelOrderResponse { order, outcome: outcome.into() };
            Ok((changed, None, reply))
        };
        self.write_by(call, command.order, caller, now, cancelled).await
    }
}

/// A line that the order does not have is a wrong field; all else is a matter of how things stand.
fn refused(refusal: Refusal, command: &Cancel) -> Error {
    let Refusal::UnknownLine { line } = refusal else { return refusal.into() };
    match command.lines.iter().position(|(no, _)| *no == line) {
        Some(at) => Error::field(format!("lines[{at}].line"), refusal.to_string()),
        None => refusal.into(),
    }
}

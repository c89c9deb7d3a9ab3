//! `ExtendPromise`: a later end, stock first.

use contract::fulfillment::v1 as pb;
use contract::inventory::v1 as stock;
use domain::id::{self, PromiseToken};
use domain::promise::token::{Refusal, State};
use jiff::Timestamp;
use tonic::Code;

use super::token::{locked, reservation_ids, save};
use crate::Fulfillment;
use crate::error::Error;
use crate::rights::must_hold;
use crate::store::capacity::Changes;
use crate::store::promise::Stored;
use crate::wire::{promise as wire, timestamp};
use service::Call;

impl Fulfillment {
    /// Moves the end of a promise. The new end is absolute, so a repeated call changes nothing more and needs no saved
    /// reply. A service that extends it relies on it and holds it from then on: its creator cannot release what an order
    /// is built upon. The stock of a promise that is an order's already is held for longer all the same: the order's event
    /// may not have reached inventory yet.
    pub(crate) async fn extend(
        &self,
        call: &Call,
        token: PromiseToken,
        until: Timestamp,
    ) -> Result<pb::ExtendPromiseResponse, Error> {
        let mut stored = self.stored(token).await?;
        must_hold(call, &stored)?;
        let extended = self.extended(&stored, call, until)?;
        let of_order = stored.order().is_some();
        if of_order || extended != stored.state {
            self.extend_stock(&stored, until).await?;
        }
        if of_order || (!take(call, &mut stored) && extended == stored.state) {
            return Ok(answer(&stored, call));
        }
        db::retry(3, Error::is_retry, || async {
            let mut tx = self.db.begin().await?;
            let mut stored = locked(&mut tx, token).await?;
            must_hold(call, &stored)?;
            let extended = match self.extended(&stored, call, until) {
                Ok(extended) => extended,
                Err(refusal) => {
                    drop(tx);
                    self.release_refused(token).await?;
                    return Err(refusal.into());
                }
            };
            if take(call, &mut stored) || extended != stored.state {
                stored.state = extended;
                let mut slots = Changes::default();
                save(&mut tx, &mut stored, &mut slots).await?;
                slots.write(&mut tx, self.clock.business()).await?;
            }
            tx.commit().await?;
            Ok(answer(&stored, call))
        })
        .await
    }

    fn extended(&self, stored: &Stored, call: &Call, until: Timestamp) -> Result<State, Refusal> {
        let now = self.clock.business();
        let cap = self.config.life().cap(call.is_service(), stored.created, now);
        stored.state.extend(until, cap, now)
    }

    /// Holds the stock of all legs until a little after `until`.
    pub(crate) async fn extend_stock(&self, stored: &Stored, until: Timestamp) -> Result<(), Error> {
        let until = until.checked_add(self.config.stock_margin()).unwrap_or(Timestamp::MAX);
        let request = stock::ExtendReservationRequest {
            request_id: id::derived("promise.extend", &format!("{}|{until}", stored.token)).to_string(),
            reservation_ids: reservation_ids(stored),
            expire_time: Some(timestamp(until)),
        };
        match self.inventory.clone().extend_reservation(request).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition || status.code() == Code::NotFound => {
                Err(Refusal::State { state: "EXPIRED", command: "extended" }.into())
            }
            Err(status) => Err(Error::Peer(Box::new(status))),
        }
    }
}

fn answer(stored: &Stored, call: &Call) -> pb::ExtendPromiseResponse {
    pb::ExtendPromiseResponse { promise: Some(wire::stored(stored, &call.who)) }
}

/// Lets a service that relies on a promise hold it from now on. Answers whether that is new.
fn take(call: &Call, promise: &mut Stored) -> bool {
    let is_new =
        call.is_service() && call.who.as_str() != promise.taken_by.as_deref().unwrap_or(&promise.owner);
    if is_new {
        promise.taken_by = Some(call.who.to_string());
    }
    is_new
}

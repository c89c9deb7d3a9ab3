//! The row of a promise token under its lock: loaded, saved, ended.

use db::Tx;
use domain::id::{FulfillmentId, PromiseToken, ReservationId};
use domain::promise::token::State;
use jiff::Timestamp;
use uuid::Uuid;

use service::Fault;

use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::store::promise::Stored;
use crate::store::promise_leg::set_held;
use crate::store::task;
use crate::tasks::Kind;

/// A promise, locked.
pub(crate) async fn locked(tx: &mut Tx, token: PromiseToken) -> Result<Stored, Error> {
    let stored = store::promise::lock(tx, token).await?;
    stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))
}

/// Writes what changed of a promise that is locked.
pub(crate) async fn save(tx: &mut Tx, stored: &mut Stored, slots: &mut Changes) -> Result<(), Error> {
    slots.end_count(stored);
    if !store::promise::save(tx, stored).await? {
        return Err(Fault::Raced.into());
    }
    stored.version += 1;
    Ok(())
}

/// Gives the capacity of a promise that is locked back, and writes the promise.
pub(crate) async fn give_back(tx: &mut Tx, stored: &mut Stored, slots: &mut Changes) -> Result<(), Error> {
    give_back_places(tx, stored, slots).await?;
    save(tx, stored, slots).await
}

/// Gives the capacity of a promise that is locked back.
async fn give_back_places(tx: &mut Tx, stored: &mut Stored, slots: &mut Changes) -> Result<(), Error> {
    stored.held_places().for_each(|place| slots.free(place));
    let legs: Vec<FulfillmentId> = stored.holding_legs().collect();
    set_held(tx, &legs, false).await?;
    for place in stored.legs.iter_mut().flat_map(|leg| &mut leg.places) {
        place.is_held = false;
    }
    Ok(())
}

/// The capacity of one leg of a promise that is locked goes back.
pub(crate) async fn give_back_leg(
    tx: &mut Tx,
    stored: &mut Stored,
    leg: FulfillmentId,
    slots: &mut Changes,
) -> Result<(), Error> {
    let places = stored.legs.iter_mut().filter(|of| of.id == leg).flat_map(|of| &mut of.places);
    for place in places.filter(|place| place.is_held) {
        slots.free(place);
        place.is_held = false;
    }
    set_held(tx, &[leg], false).await
}

/// The names of a promise's reservations at inventory: one for each leg that was not given up, with its uuid.
pub(crate) fn reservation_ids(stored: &Stored) -> Vec<String> {
    let legs = stored.legs.iter().filter(|leg| !leg.is_given_up);
    legs.map(|leg| ReservationId::new(leg.id.uuid()).to_string()).collect()
}

/// Has inventory let go of the stock of promises that ended, after this transaction.
pub(crate) async fn release_stock(tx: &mut Tx, tokens: &[PromiseToken], now: Timestamp) -> Result<(), Error> {
    let subjects: Vec<Uuid> = tokens.iter().map(|token| token.uuid()).collect();
    task::add(tx, Kind::ReleaseReservation.name(), &subjects, now).await
}

impl Fulfillment {
    /// A call was refused for which the stock was held for longer already. A promise whose time is over ends now, and its
    /// stock goes back: nobody else would free it before the new time. Where an order may be on its way, the stock keeps
    /// its margin.
    pub(crate) async fn release_refused(&self, token: PromiseToken) -> Result<(), Error> {
        let now = self.clock.business();
        let mut tx = self.db.begin().await?;
        let mut stored = locked(&mut tx, token).await?;
        if let Ok(expired) = stored.state.expire(now) {
            stored.state = expired;
            let mut slots = Changes::default();
            give_back(&mut tx, &mut stored, &mut slots).await?;
            slots.write(&mut tx, now).await?;
            metrics::counter!("entrepot_promises_expired_total").increment(1);
        }
        if stored.state.holds() {
            return Ok(());
        }
        let due = if stored.state == State::Expired && stored.is_relied_on() {
            stored.expires.checked_add(self.config.stock_margin()).unwrap_or(Timestamp::MAX).max(now)
        } else {
            now
        };
        release_stock(&mut tx, &[token], due).await?;
        tx.commit().await?;
        if due == now {
            self.release_stock_now(token).await;
        }
        Ok(())
    }

    /// Makes a call to release stock that is on record at once, which only makes the stock free sooner.
    pub(crate) async fn release_stock_now(&self, token: PromiseToken) {
        if let Err(error) = self.run_task(Kind::ReleaseReservation, token.uuid()).await {
            tracing::warn!(%error, promise_token = %token, "releasing the stock of a promise failed; retrying later");
        }
    }
}

//! The row of a promise token under its lock: loaded, saved, ended.

use db::Tx;
use domain::id::{FulfillmentId, PromiseToken, ReservationId};
use domain::promise::token::Refusal;
use jiff::Timestamp;
use uuid::Uuid;

use service::Fault;

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
pub(crate) async fn save(tx: &mut Tx, stored: &mut Stored) -> Result<(), Error> {
    if !store::promise::save(tx, stored).await? {
        return Err(Fault::Raced.into());
    }
    stored.version += 1;
    Ok(())
}

/// Gives the capacity of a promise that is locked back, and writes the promise.
pub(crate) async fn give_back(tx: &mut Tx, stored: &mut Stored, slots: &mut Changes) -> Result<(), Error> {
    give_back_places(tx, stored, slots).await?;
    save(tx, stored).await
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

/// Refuses a call for which the stock was held for longer already. If the promise ended meanwhile, nobody else would free
/// its stock before the new time.
pub(crate) async fn refuse_and_release<T>(
    mut tx: Tx,
    stored: &Stored,
    now: Timestamp,
    refusal: Refusal,
) -> Result<T, Error> {
    if !stored.state.holds() {
        release_stock(&mut tx, &[stored.token], now).await?;
        tx.commit().await?;
    }
    Err(refusal.into())
}

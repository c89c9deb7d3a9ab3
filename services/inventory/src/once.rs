//! A mutation with a request id has one effect and one answer.

use bus::inbox::{self, Claim};
use db::{Db, Tx};
use jiff::Timestamp;
use prost::Message;

use crate::command::Request;
use crate::error::Error;

/// How often a transaction that lost a race is done again.
pub(crate) const ATTEMPTS: u32 = 5;

/// A transaction whose request id is claimed, or the answer that was given before.
pub(crate) enum Begun<M> {
    First(Tx),
    Done(M),
}

/// Begins a transaction and claims the request id.
pub(crate) async fn begin<M: Message + Default>(
    db: &Db,
    request: &Request,
    now: Timestamp,
) -> Result<Begun<M>, Error> {
    let mut tx = db.begin().await?;
    match inbox::claim(&mut tx, &request.scope, request.id, &request.hash, now).await? {
        Claim::First => Ok(Begun::First(tx)),
        Claim::Done(reply) => {
            let message =
                M::decode(reply.as_slice()).map_err(|error| Error::Unreadable(error.to_string()))?;
            Ok(Begun::Done(message))
        }
    }
}

/// Keeps the answer and commits.
pub(crate) async fn end(mut tx: Tx, request: &Request, answer: &impl Message) -> Result<(), Error> {
    inbox::settle(&mut tx, &request.scope, request.id, &answer.encode_to_vec()).await?;
    Ok(tx.commit().await?)
}

//! One effect and one reply per request id.

use bus::inbox::{self, Claim};
use db::{Db, Tx};
use domain::id::Uuid;
use domain::time::Timestamp;
use prost::Message;
use server::Principal;

use crate::error::Error;

/// A request by its id: who asked for what, and the hash of the rest of it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) scope: String,
    pub(crate) id: Uuid,
    pub(crate) hash: [u8; 32],
}

/// A call whose turn it is.
pub(crate) enum Turn<R> {
    /// It was answered before.
    Answered(R),
    /// It is new: to be worked on and then finished in this transaction.
    New(Tx),
}

impl Call {
    pub(crate) fn new(caller: &Principal, verb: &str, id: Uuid, hash: [u8; 32]) -> Self {
        Self { scope: format!("{caller}|{verb}"), id, hash }
    }

    /// The reply that it got before, if it did: a look before the peers are asked.
    pub(crate) async fn saved<R: Message + Default>(&self, db: &Db) -> Result<Option<R>, Error> {
        let mut tx = db.read().await?;
        let kept = inbox::saved(&mut tx, &self.scope, self.id, &self.hash).await?;
        kept.map(|kept| reply(&kept)).transpose()
    }

    /// Begins its transaction. A twin in flight is waited for.
    pub(crate) async fn begin<R: Message + Default>(
        &self,
        db: &Db,
        now: Timestamp,
    ) -> Result<Turn<R>, Error> {
        let mut tx = db.begin().await?;
        match inbox::claim(&mut tx, &self.scope, self.id, &self.hash, now).await? {
            Claim::First => Ok(Turn::New(tx)),
            Claim::Done(kept) => {
                // What a writer reads is told after the commit: with shared commits the twin may be in this one.
                tx.commit().await?;
                Ok(Turn::Answered(reply(&kept)?))
            }
        }
    }

    /// Keeps the reply, and commits.
    pub(crate) async fn finish(&self, mut tx: Tx, reply: &impl Message) -> Result<(), Error> {
        inbox::settle(&mut tx, &self.scope, self.id, &reply.encode_to_vec()).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Reads a reply that was kept.
pub(crate) fn reply<R: Message + Default>(kept: &[u8]) -> Result<R, Error> {
    R::decode(kept).map_err(|error| Error::Unreadable(format!("a kept reply: {error}")))
}

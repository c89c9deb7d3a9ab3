//! What every mutating verb begins with: who asks, under which request id, for what.

use db::{Db, Tx};
use domain::id;
use jiff::Timestamp;
use prost::Message;
use server::Principal;
use server::auth::kind;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::Error;

/// One mutating request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Who asks.
    pub(crate) who: Principal,
    /// Who asks for what: request ids of different scopes never meet.
    pub(crate) scope: String,
    /// The caller's id of the request.
    pub(crate) request_id: Uuid,
    /// SHA-256 of the request.
    pub(crate) hash: [u8; 32],
}

/// Reads who asks for `verb` with this request.
pub(crate) fn call(
    principal: &Principal,
    verb: &str,
    request: &impl Message,
    request_id: &str,
) -> Result<Call, Error> {
    let request_id = id::request_id(request_id).map_err(|_| Error::field("request_id", "must be a UUID"))?;
    Ok(Call {
        who: principal.clone(),
        scope: format!("{}|{verb}", principal.as_str()),
        request_id,
        hash: Sha256::digest(request.encode_to_vec()).into(),
    })
}

/// Two parts of a request, or all that is wrong with both.
pub(crate) fn both<A, B>(one: Result<A, Error>, other: Result<B, Error>) -> Result<(A, B), Error> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Error::Invalid(mut bad)), Err(Error::Invalid(more))) => {
            bad.extend(more);
            Err(Error::Invalid(bad))
        }
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

impl Call {
    /// Whether another service of ours asks.
    pub(crate) fn is_service(&self) -> bool {
        self.who.kind == kind::SERVICE
    }

    /// The reply that this request got before, if it did.
    pub(crate) async fn saved(&self, tx: &mut Tx) -> Result<Option<Vec<u8>>, Error> {
        Ok(bus::inbox::saved(tx, &self.scope, self.request_id, &self.hash).await?)
    }

    /// Begins its transaction and claims the request id. A duplicate in flight is waited for.
    pub(crate) async fn begin<R: Message + Default>(
        &self,
        db: &Db,
        now: Timestamp,
    ) -> Result<Turn<R>, Error> {
        match self.claim(db, now).await? {
            Turn::New(tx) => Ok(Turn::New(tx)),
            Turn::Answered(kept) => Ok(Turn::Answered(reply(&kept)?)),
        }
    }

    /// The same for a verb that reads its own kept answers.
    pub(crate) async fn claim(&self, db: &Db, now: Timestamp) -> Result<Turn<Vec<u8>>, Error> {
        let mut tx = db.begin().await?;
        match bus::inbox::claim(&mut tx, &self.scope, self.request_id, &self.hash, now).await? {
            bus::inbox::Claim::First => Ok(Turn::New(tx)),
            bus::inbox::Claim::Done(kept) => {
                // With shared commits the first request may be in this very commit: answered after it, as that one is.
                tx.commit().await?;
                Ok(Turn::Answered(kept))
            }
        }
    }

    /// Keeps the reply, and commits.
    pub(crate) async fn finish(&self, mut tx: Tx, reply: &impl Message) -> Result<(), Error> {
        self.settle(&mut tx, &reply.encode_to_vec()).await?;
        Ok(tx.commit().await?)
    }

    /// Keeps the reply of a claimed request.
    pub(crate) async fn settle(&self, tx: &mut Tx, reply: &[u8]) -> Result<(), Error> {
        Ok(bus::inbox::settle(tx, &self.scope, self.request_id, reply).await?)
    }
}

/// A call whose transaction has begun.
pub(crate) enum Turn<R> {
    /// It was answered before.
    Answered(R),
    /// It is new: to be worked on and then finished in this transaction.
    New(Tx),
}

/// Reads a reply that was kept.
pub(crate) fn reply<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::Corrupt(format!("a saved reply: {error}")))
}

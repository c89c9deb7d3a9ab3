//! One effect and one answer per request id.

use bus::inbox::{self, Claim};
use db::{Db, Tx};
use domain::id::Uuid;
use domain::time::Timestamp;
use prost::Message;
use server::Principal;
use server::auth::kind;
use sha2::{Digest as _, Sha256};

use crate::fault::Fault;
use crate::fields::Fields;

/// How often a transaction that lost a race is repeated.
pub const ATTEMPTS: u32 = 5;

/// A mutating request: who asks for what, under which id.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub who: Principal,
    /// Who asks for what: request ids of different scopes never meet.
    pub scope: String,
    /// The caller's id of the request.
    pub id: Uuid,
    /// SHA-256 of the request.
    pub hash: [u8; 32],
}

/// A call whose transaction has begun.
#[derive(Debug)]
pub enum Turn<R> {
    /// It was answered before.
    Answered(R),
    /// It is new: to be worked on and then finished in this transaction.
    New(Tx),
}

impl Call {
    /// The request of `who` for `verb`, such as `orders.place`; a bad `request_id` is named.
    pub fn read(
        fields: &mut Fields,
        who: &Principal,
        verb: &str,
        request_id: &str,
        request: &impl Message,
    ) -> Option<Self> {
        let id = fields.request_id(request_id)?;
        let hash = Sha256::digest(request.encode_to_vec()).into();
        Some(Self { who: who.clone(), scope: format!("{who}|{verb}"), id, hash })
    }

    /// Whether another service of ours asks.
    pub fn is_service(&self) -> bool {
        self.who.kind == kind::SERVICE
    }

    /// The answer that it got before, if it did: a look before the peers are asked.
    pub async fn saved<R: Message + Default>(&self, db: &Db) -> Result<Option<R>, Fault> {
        let mut tx = db.read().await?;
        let kept = inbox::saved(&mut tx, &self.scope, self.id, &self.hash).await?;
        kept.map(|kept| reply(&kept)).transpose()
    }

    /// Begins its transaction and claims the id. A duplicate in flight is waited for.
    pub async fn begin<R: Message + Default>(&self, db: &Db, now: Timestamp) -> Result<Turn<R>, Fault> {
        let mut tx = db.begin().await?;
        match inbox::claim(&mut tx, &self.scope, self.id, &self.hash, now).await? {
            Claim::First => Ok(Turn::New(tx)),
            Claim::Done(kept) => {
                // With shared commits the first request may be in this very commit: answered after it, as that one is.
                tx.commit().await?;
                Ok(Turn::Answered(reply(&kept)?))
            }
        }
    }

    /// Keeps the answer, and commits.
    pub async fn finish(&self, mut tx: Tx, answer: &impl Message) -> Result<(), Fault> {
        inbox::settle(&mut tx, &self.scope, self.id, &answer.encode_to_vec()).await?;
        Ok(tx.commit().await?)
    }

    /// The request as a batch looks it up.
    pub fn request(&self) -> inbox::Request {
        inbox::Request { scope: self.scope.clone(), request_id: self.id, body_hash: self.hash }
    }

    /// The request with its answer, as a batch writes it.
    pub fn record(&self, answer: &impl Message) -> inbox::Record {
        inbox::Record {
            scope: self.scope.clone(),
            request_id: self.id,
            body_hash: self.hash,
            reply: answer.encode_to_vec(),
        }
    }
}

/// Reads an answer that was kept.
pub fn reply<R: Message + Default>(kept: &[u8]) -> Result<R, Fault> {
    R::decode(kept).map_err(|error| Fault::Unreadable(format!("a kept answer: {error}")))
}

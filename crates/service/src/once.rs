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
        match self.begin_raw(db, now).await? {
            Turn::New(tx) => Ok(Turn::New(tx)),
            Turn::Answered(kept) => Ok(Turn::Answered(reply(&kept)?)),
        }
    }

    /// [`Call::begin`] for a verb whose answer is not always a message: a refusal that persists.
    pub async fn begin_raw(&self, db: &Db, now: Timestamp) -> Result<Turn<Vec<u8>>, Fault> {
        let mut tx = db.begin().await?;
        match inbox::claim(&mut tx, &self.scope, self.id, &self.hash, now).await? {
            Claim::First => Ok(Turn::New(tx)),
            Claim::Done(kept) => {
                // With shared commits the first request may be in this very commit: answered after it, as that one is.
                tx.commit().await?;
                Ok(Turn::Answered(kept))
            }
        }
    }

    /// Keeps the answer, and commits.
    pub async fn finish(&self, tx: Tx, answer: &impl Message) -> Result<(), Fault> {
        self.finish_raw(tx, &answer.encode_to_vec()).await
    }

    /// [`Call::finish`] for an answer that is not a message.
    pub async fn finish_raw(&self, mut tx: Tx, answer: &[u8]) -> Result<(), Fault> {
        inbox::settle(&mut tx, &self.scope, self.id, answer).await?;
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

#[cfg(test)]
mod tests {
    use contract::orders::v1::PayOrderRequest as Asked;
    use domain::time::from_micros;

    use super::*;

    const ID: &str = "0190a5f0-0000-7000-8000-000000000001";

    fn call(asked: &Asked) -> Call {
        let who = Principal::service("test");
        Call::read(&mut Fields::default(), &who, "test.pay", ID, asked).unwrap()
    }

    #[tokio::test]
    async fn a_duplicate_is_answered_when_the_first_answer_is_durable() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("once.db").display());
        let db = Db::open(&url, &db::Options::default()).await.unwrap();
        bus::migrate(&db).await.unwrap();
        let now = from_micros(1);
        for tender in ["t-1", "t-2", "t-3", "t-4", "t-5"] {
            let asked = Asked { tender_id: tender.to_owned(), ..Asked::default() };
            let call = Call { scope: tender.to_owned(), ..call(&asked) };
            let Turn::New(tx) = call.begin::<Asked>(&db, now).await.unwrap() else { panic!("it is new") };
            let duplicate = async {
                let turn = call.begin::<Asked>(&db, now).await.unwrap();
                // Readers see what is committed, and nothing else.
                (turn, call.saved::<Asked>(&db).await.unwrap())
            };
            let (turn, first) = tokio::join!(biased; duplicate, call.finish(tx, &asked));
            first.unwrap();
            let (Turn::Answered(answer), Some(saved)) = turn else { panic!("answered before its commit") };
            assert_eq!((&answer, &saved), (&asked, &asked));
        }
    }

    #[tokio::test]
    async fn a_request_id_of_another_body_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("once.db").display());
        let db = Db::open(&url, &db::Options::default()).await.unwrap();
        bus::migrate(&db).await.unwrap();
        let (one, other) = (Asked::default(), Asked { tender_id: "t".to_owned(), ..Asked::default() });
        let Turn::New(tx) = call(&one).begin::<Asked>(&db, from_micros(1)).await.unwrap() else {
            panic!("it is new")
        };
        call(&one).finish(tx, &one).await.unwrap();
        let again = call(&other).begin::<Asked>(&db, from_micros(2)).await;
        assert!(matches!(again, Err(Fault::RequestIdReused(_))), "{again:?}");
    }
}

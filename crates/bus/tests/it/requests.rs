//! Request ids: one effect, one reply.

use bus::Error;
use bus::inbox::{self, Claim, Record, Request};
use clock::Clock;
use db::Db;
use uuid::Uuid;

use crate::world::{SETS, change};

const SCOPE: &str = "channel/web|orders.place";
const BODY: [u8; 32] = [7; 32];

/// A verb as services write it.
async fn place(db: &Db, id: Uuid, body: [u8; 32], aggregate: Uuid) -> Result<Vec<u8>, Error> {
    let mut tx = db.begin().await?;
    let reply = match inbox::claim(&mut tx, SCOPE, id, &body, Clock::system().business()).await? {
        Claim::Done(reply) => return Ok(reply),
        Claim::First => Uuid::new_v4().as_bytes().to_vec(),
    };
    change(&mut tx, &[aggregate]).await?;
    inbox::settle(&mut tx, SCOPE, id, &reply).await?;
    tx.commit().await?;
    Ok(reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_32_times_at_once_has_one_effect_and_equal_replies() {
    for db in db::testing::patient_engines(SETS).await {
        for _ in 0..5 {
            let (id, aggregate) = (Uuid::new_v4(), Uuid::new_v4());
            let callers: Vec<_> = (0..32)
                .map(|_| {
                    let db = db.db();
                    tokio::spawn(async move { place(&db, id, BODY, aggregate).await })
                })
                .collect();
            let mut replies = Vec::new();
            for caller in callers {
                replies.push(caller.await.unwrap().unwrap());
            }
            assert!(replies.iter().all(|reply| *reply == replies[0]));
            let mut tx = db.read().await.unwrap();
            assert_eq!(bus::replay::read(&mut tx, aggregate, 1, 10).await.unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn the_same_id_with_another_body_is_refused_and_another_caller_is_not() {
    for db in db::testing::engines(SETS).await {
        let (id, aggregate) = (Uuid::new_v4(), Uuid::new_v4());
        let reply = place(&db, id, BODY, aggregate).await.unwrap();
        let other = place(&db, id, [8; 32], aggregate).await;
        assert!(matches!(other, Err(Error::RequestIdReused { request_id }) if request_id == id), "{other:?}");
        let mut tx = db.read().await.unwrap();
        assert_eq!(inbox::saved(&mut tx, SCOPE, id, &BODY).await.unwrap(), Some(reply));
        assert!(inbox::saved(&mut tx, SCOPE, id, &[8; 32]).await.is_err());
        assert_eq!(inbox::saved(&mut tx, "channel/app|orders.place", id, &BODY).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_reply_survives_the_process_that_gave_it() {
    for db in db::testing::engines(SETS).await {
        let (id, aggregate) = (Uuid::new_v4(), Uuid::new_v4());
        let reply = place(&db, id, BODY, aggregate).await.unwrap();
        db.close().await;
        let again = db.reopen().await;
        assert_eq!(place(&again, id, BODY, aggregate).await.unwrap(), reply);
        let mut tx = again.read().await.unwrap();
        assert_eq!(bus::replay::read(&mut tx, aggregate, 1, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_abandoned_request_can_be_made_again() {
    for db in db::testing::engines(SETS).await {
        let id = Uuid::new_v4();
        let now = Clock::system().business();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(inbox::claim(&mut tx, SCOPE, id, &BODY, now).await.unwrap(), Claim::First);
        drop(tx);
        let mut tx = db.begin().await.unwrap();
        assert_eq!(inbox::claim(&mut tx, SCOPE, id, &BODY, now).await.unwrap(), Claim::First);
        let duplicate = inbox::claim(&mut tx, SCOPE, id, &BODY, now).await;
        assert!(matches!(duplicate, Err(Error::Unsettled { .. })), "{duplicate:?}");
    }
}

fn request(id: Uuid, body: [u8; 32]) -> Request {
    Request { scope: SCOPE.to_owned(), request_id: id, body_hash: body }
}

#[tokio::test]
async fn old_requests_are_forgotten_in_portions() {
    for db in db::testing::engines(SETS).await {
        let mut tx = db.begin().await.unwrap();
        for second in 0..5 {
            let at = jiff::Timestamp::from_second(second).unwrap();
            inbox::claim(&mut tx, SCOPE, Uuid::new_v4(), &BODY, at).await.unwrap();
        }
        let until = jiff::Timestamp::from_second(4).unwrap();
        assert_eq!(inbox::prune(&mut tx, until, 3).await.unwrap(), 3);
        assert_eq!(inbox::prune(&mut tx, until, 3).await.unwrap(), 1);
        assert_eq!(inbox::prune(&mut tx, until, 3).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn requests_recorded_with_their_replies_are_found_and_not_recorded_twice() {
    for db in db::testing::engines(SETS).await {
        let now = Clock::system().business();
        let ids: Vec<Uuid> = (0..3).map(|_| Uuid::new_v4()).collect();
        let record = |id: &Uuid, body_hash| Record {
            scope: SCOPE.to_owned(),
            request_id: *id,
            body_hash,
            reply: id.as_bytes().to_vec(),
        };
        let mut tx = db.begin().await.unwrap();
        let first = ids[..2].iter().map(|id| record(id, BODY)).collect();
        assert_eq!(tx.together(vec![inbox::record_part(first, now)]).await.unwrap(), [2]);
        tx.commit().await.unwrap();
        let mut tx = db.begin().await.unwrap();
        let again = ids.iter().map(|id| record(id, BODY)).collect();
        assert_eq!(
            tx.together(vec![inbox::record_part(again, now)]).await.unwrap(),
            [1],
            "somebody was faster"
        );
        drop(tx);
        let asked = [request(ids[2], BODY), request(ids[1], BODY), request(ids[0], [9; 32])];
        let mut tx = db.read().await.unwrap();
        let saved = inbox::saved_many(&mut tx, &asked).await.unwrap();
        assert!(matches!(saved[0], Ok(None)), "{saved:?}");
        assert!(matches!(&saved[1], Ok(Some(reply)) if reply == ids[1].as_bytes()), "{saved:?}");
        assert!(matches!(saved[2], Err(Error::RequestIdReused { .. })), "{saved:?}");
    }
}

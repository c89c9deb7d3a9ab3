//! Callers that ask for a stream and never read it.

use contract::inventory::v1 as pb;
use futures_util::{StreamExt as _, poll, stream};
use test_world::{reason, stamp};

use crate::world::{after, worlds};

/// More than there are connections to a database.
const UNREAD: i64 = 40;

#[tokio::test]
async fn callers_that_never_read_stop_nobody() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5)]).await;
        let mut unread = Vec::new();
        let mut imports = Vec::new();
        for n in 0..UNREAD {
            // asked for once, as a connection without room for the answer does
            let mut client = world.client();
            let mut all = client.stream_positions(pb::StreamPositionsRequest {}).await.unwrap().into_inner();
            let _ = poll!(all.next());
            unread.push(all);

            let row = pb::ImportStockRequest {
                source: "file".to_owned(),
                reference: format!("row-{n}"),
                source_time: Some(stamp(after(-60))),
                node_id: "n2".to_owned(),
                sku: "A".to_owned(),
                on_hand: 7,
                name: String::new(),
            };
            let rows = stream::iter([row]).chain(stream::pending());
            let mut import = client.import_stock(rows).await.unwrap().into_inner();
            if poll!(import.next()).is_pending() {
                imports.push(import);
            }
        }
        assert_eq!(world.atp("n1", "A").await, 5);
        world.adjust("n1", "A", pb::Adjustment::Delta, 1).await.unwrap();
        assert_eq!(world.atp("n1", "A").await, 6);

        // and nothing was lost for those who read after all
        for mut import in imports {
            let verdict = import.next().await.unwrap().unwrap().result.unwrap().verdict();
            assert_ne!(verdict, pb::RowVerdict::Refused);
        }
        for all in unread {
            assert!(all.all(|chunk| std::future::ready(chunk.is_ok())).await);
        }
        assert_eq!(world.stands("n2", "A").await, (7, 0));
        world.check().await;
    }
}

#[tokio::test]
async fn streams_of_everything_are_few_and_one_that_ends_makes_room() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5)]).await;
        let mut client = world.acting("store", "n1");
        let mut open = Vec::new();
        let refusal = loop {
            match client.stream_positions(pb::StreamPositionsRequest {}).await {
                Ok(answer) if open.len() < 1_000 => open.push(answer.into_inner()),
                Ok(_) => panic!("a thousand streams"),
                Err(status) => break status,
            }
        };
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert_eq!(reason(&refusal), "TOO_MANY_STREAMS");
        // our own services have places of theirs
        world.client().stream_positions(pb::StreamPositionsRequest {}).await.unwrap();
        for all in open {
            assert!(all.all(|chunk| std::future::ready(chunk.is_ok())).await);
        }
        client.stream_positions(pb::StreamPositionsRequest {}).await.unwrap();
    }
}

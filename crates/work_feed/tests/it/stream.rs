//! One stream for all kinds of work: listed, followed, resumed, trimmed.

use std::collections::BTreeSet;

use crate::world::{Host, known, node};

#[tokio::test]
async fn work_of_two_services_comes_in_one_stream() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.heard(&n1, 7, "announced").await;
        host.chores(&n1, 1..3).await;
        host.heard(&node("N2"), 8, "announced").await;
        let mut reader = host.watch(&n1, "").await;
        let listed = reader.rest().await;
        let texts: Vec<&str> = listed.iter().map(|(_, work)| work.as_str()).collect();
        assert_eq!(texts, ["chore 1 open", "chore 2 open", "return 7 announced"]);
        assert!(listed.iter().all(|(seq, _)| *seq == 3), "the list stands at the last number: {listed:?}");
        host.heard(&n1, 7, "arrived").await;
        assert_eq!(reader.next().await, Some((4, "return 7 arrived".to_owned())));
        host.done(1).await;
        assert_eq!(reader.next().await, Some((5, "chore 1 done".to_owned())));
        host.heard(&n1, 7, "over").await;
        assert_eq!(reader.next().await, Some((6, "return 7 over".to_owned())));
        let open = host.watch(&n1, "").await.rest().await;
        assert_eq!(open, [(6, "chore 2 open".to_owned())], "what is over is not listed");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_goes_on_without_loss_or_repetition() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.chores(&n1, 1..41).await;
        for id in 41..71 {
            host.heard(&n1, id, "announced").await;
        }
        let (mut seen, mut token) = (BTreeSet::new(), String::new());
        'cut: loop {
            let mut reader = host.watch(&n1, &token).await;
            for _ in 0..7 {
                let Some((_, work)) = reader.next().await else { break 'cut };
                assert!(seen.insert(work.clone()), "{work} was sent twice");
                token = reader.token.clone();
            }
        }
        assert_eq!(seen.len(), 70);
    }
}

#[tokio::test]
async fn changes_during_the_list_follow_it() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.chores(&n1, 1..3).await;
        host.heard(&n1, 7, "announced").await;
        let mut reader = host.watch(&n1, "").await;
        let mut sent = vec![reader.next().await.unwrap()];
        // Both kinds change behind the place where the list stands.
        host.done(1).await;
        host.heard(&n1, 7, "arrived").await;
        sent.extend(reader.rest().await);
        let expected = [("chore 1", "done"), ("chore 2", "open"), ("return 7", "arrived")];
        let expected = expected.map(|(id, state)| (id.to_owned(), state.to_owned()));
        assert_eq!(known(&sent), expected.into());
    }
}

#[tokio::test]
async fn a_reader_whose_numbers_were_trimmed_gets_all_open_work_again() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.chores(&n1, 1..3).await;
        host.heard(&n1, 7, "announced").await;
        let mut reader = host.watch(&n1, "").await;
        reader.rest().await;
        let old = reader.token.clone();
        host.done(1).await;
        host.heard(&n1, 7, "arrived").await;
        host.trim().await;
        let open = [(5, "chore 2 open".to_owned()), (5, "return 7 arrived".to_owned())];
        // Both the reader that comes back and the one that stayed without reading.
        assert_eq!(host.watch(&n1, &old).await.rest().await, open);
        host.heard(&n1, 8, "announced").await;
        let mut sent = Vec::new();
        while known(&sent).len() < 3 {
            sent.extend(reader.next().await);
        }
        assert_eq!(known(&sent)["return 8"], "announced");
        assert_eq!(known(&sent)["return 7"], "arrived");
    }
}

#[tokio::test]
async fn a_kind_that_reads_small_pages_holds_back_what_comes_after_them() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.heard(&n1, 1, "announced").await;
        let mut reader = host.watch(&n1, "").await;
        reader.rest().await;
        host.chores(&n1, 2..12).await;
        host.heard(&n1, 1, "arrived").await;
        host.chores(&n1, 12..22).await;
        for seq in 2..23 {
            assert_eq!(reader.next().await.unwrap().0, seq);
        }
    }
}

#[tokio::test]
async fn a_token_from_a_newer_database_starts_anew() {
    for host in Host::all().await {
        let n1 = node("N1");
        host.chores(&n1, 1..3).await;
        let later = work_feed::Cursor::Live { seq: 9 }.token(&n1);
        assert_eq!(host.watch(&n1, &later).await.rest().await.len(), 2);
        let unknown = work_feed::Cursor::Listing {
            seq: 2,
            kind: "retired".to_owned(),
            after: work_feed::Position::START,
        };
        assert_eq!(host.watch(&n1, &unknown.token(&n1)).await.rest().await.len(), 2);
    }
}

//! What a commit confirmed survives `kill -9` of the process.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use db::{Db, Options, params};
use tokio::task::JoinSet;

use crate::fixture::{MIGRATIONS, add};

const URL: &str = "ENTREPOT_TEST_DURABLE_URL";

/// Not a test by itself: the process that is killed. Writes pairs from eight tasks and tells each confirmed one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test below"]
async fn writes_until_killed() {
    #[expect(clippy::disallowed_methods, reason = "handed over by the parent test")]
    let Ok(url) = std::env::var(URL) else { return };
    let db = Db::open(&url, &Options::default()).await.unwrap();
    let mut tasks = JoinSet::new();
    for worker in 0..8_i64 {
        let db = db.clone();
        tasks.spawn(async move {
            for round in 0..100_000_i64 {
                let id = (round * 8 + worker) * 2;
                let mut tx = db.begin().await.unwrap();
                tx.execute("INSERT INTO things (id) VALUES ($1)", params![id]).await.unwrap();
                tx.execute("INSERT INTO things (id) VALUES ($1)", params![id + 1]).await.unwrap();
                tx.commit().await.unwrap();
                println!("confirmed {id}");
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn confirmed_transactions_survive_a_kill_and_others_leave_no_half() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/killed.db", folder.path().display());
    let db = Db::open(&url, &Options::default()).await.unwrap();
    db.migrate("things", MIGRATIONS).await.unwrap();
    db.close().await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "durable::writes_until_killed"])
        .env(URL, &url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut confirmed = Vec::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        if let Some((_, id)) = line.unwrap().split_once("confirmed ") {
            confirmed.push(id.parse::<i64>().unwrap());
        }
        if confirmed.len() == 400 {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    // what was still in the pipe had been confirmed too; its last line may be cut
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    for line in &rest[..rest.len().saturating_sub(1)] {
        if let Some((_, id)) = line.split_once("confirmed ") {
            confirmed.push(id.parse().unwrap());
        }
    }
    let db = Db::open(&url, &Options::default()).await.unwrap();
    let mut tx = db.read().await.unwrap();
    let rows = tx.fetch_all("SELECT id FROM things", params![]).await.unwrap();
    let found: std::collections::HashSet<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
    for id in &confirmed {
        assert!(found.contains(id) && found.contains(&(id + 1)), "confirmed {id} is gone");
    }
    for id in &found {
        assert!(found.contains(&(id ^ 1)), "{id} stands alone");
    }
    drop(tx);
    add(&db, -1).await.unwrap();
}

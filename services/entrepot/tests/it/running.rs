//! A platform that runs: its ready line, its ports, its end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{entrepot, refused, run, serve, serve_with, text};

pub(crate) fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn it_says_when_it_is_ready_and_stops_cleanly_when_told() {
    let home = tempfile::tempdir().unwrap();
    let served = serve(home.path());
    assert!(served.line.contains("services inventory,fulfillment,orders"), "{}", served.line);
    let admin = served.admin();
    let ready = get(&admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("database orders: ok"), "{ready}");
    assert!(get(&admin, "/version").contains(env!("CARGO_PKG_VERSION")));
    let until = Instant::now() + Duration::from_mins(2);
    for figure in [
        "entrepot_relay_leader",
        "entrepot_outbox_age_seconds",
        "entrepot_outbox_pending",
        "entrepot_events_parked",
    ] {
        while !get(&admin, "/metrics").contains(figure) {
            assert!(Instant::now() < until, "{figure} is missing");
            std::thread::yield_now();
        }
    }
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn it_starts_again_on_an_existing_directory() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(serve(home.path()).stop(), Some(0));
    assert_eq!(serve(home.path()).stop(), Some(0));
}

#[test]
fn an_idle_connection_does_not_hold_up_its_end() {
    let home = tempfile::tempdir().unwrap();
    // a connection that held it up would do so for ten minutes
    let served = serve_with(home.path(), &["server.drain_limit_s=600"]);
    let mut idle = TcpStream::connect(served.address()).unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\n").unwrap();
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(served.stop()));
    assert_eq!(ended.recv_timeout(Duration::from_mins(2)).expect("it ends"), Some(0));
}

#[test]
fn the_audit_asks_the_platform_that_runs_and_the_files_when_none_does() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    let served = serve(home.path());
    for _ in 0..2 {
        let output = run(&["audit", "--json", "--data", &data]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
    }
    assert_eq!(served.stop(), Some(0));
    let output = run(&["audit", "--data", &data]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("0 reservations"), "{}", text(&output.stdout));
}

#[test]
fn events_and_parked_events_can_be_looked_at_while_it_runs() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    let _served = serve(home.path());
    let output = run(&["events", "tail", "--no-follow", "--since", "all", "--data", &data]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(&["parked", "list", "--data", &data]);
    assert_eq!(text(&output.stdout), "0 parked", "{}", text(&output.stderr));
}

#[test]
fn stock_figures_are_imported_once_and_refused_rows_are_named() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let file = home.path().join("stock.csv");
    std::fs::write(&file, "node_id,sku,on_hand,name\nN1,APPLE,5,Apple\nN1,PEAR,3,\nN2,APPLE,7,\n").unwrap();
    let file = file.display().to_string();
    let served = serve(&home.path().join("data"));
    let import = || {
        run(&[
            "import",
            &file,
            "--source",
            "wms",
            "--at",
            "2026-03-01T06:00:00Z",
            "--allow-unknown-nodes",
            "--data",
            &data,
        ])
    };

    let output = import();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("line 3: UNKNOWN_SKU"), "{said}");
    assert!(said.ends_with("2 rows applied, 0 known already, 1 refused"), "{said}");
    let said = text(&import().stdout);
    assert!(said.ends_with("0 rows applied, 2 known already, 1 refused"), "{said}");
    let nowhere = &["import", "nowhere.csv", "--source", "wms", "--data", &data];
    assert!(refused(&mut entrepot(nowhere), 7).contains("nowhere.csv cannot be read"));

    let output =
        run(&["events", "tail", "--no-follow", "--since", "all", "--json", "--body", "--data", &data]);
    let events = text(&output.stdout);
    assert_eq!(events.lines().filter(|line| line.contains("PositionChanged")).count(), 2, "{events}");
    let first: serde_json::Value = serde_json::from_str(events.lines().next().unwrap()).unwrap();
    assert_eq!(first["sequence"], 1, "{events}");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn a_demo_that_is_interrupted_leaves_no_directory_behind() {
    let home = tempfile::tempdir().unwrap();
    let directory = || Some(std::fs::read_dir(home.path()).unwrap().next()?.unwrap().path());
    let mut demo = entrepot(&["demo", "--orders", "100000", "--exit"])
        .env("TMPDIR", home.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_mins(3);
    let plays = |data: PathBuf| {
        // not before it serves: then the audit would open its files itself
        let serves = std::fs::read_to_string(data.join("entrepot.lock")).is_ok_and(|who| who.contains(':'));
        let audit = || run(&["audit", "--data", &data.display().to_string()]);
        let output = if serves { text(&audit().stdout) } else { String::new() };
        output.contains("ledger rows") && !output.contains(" 0 ledger rows")
    };
    while !directory().is_some_and(plays) {
        assert!(Instant::now() < until, "the demo did not begin");
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut output = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1), "{output}");
    assert!(output.contains("interrupted before the end"), "{output}");
    assert_eq!(directory(), None);
}

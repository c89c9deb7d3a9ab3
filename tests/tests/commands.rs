//! The program as its users start it: the demo, the replay, and every way in which it can't start.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flows::processes::binary;
use serde_json::Value;

/// Runs the program away from the settings of this machine.
fn entrepot(arguments: &[&str]) -> Output {
    Command::new(binary())
        .args(arguments)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the program runs")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "one object and nothing else on standard output: {text}");
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(lines[0]).expect("it is JSON")
}

#[test]
fn the_demo_plays_its_orders_and_the_stock_laws_hold() {
    let figures = json(&entrepot(&["demo", "--orders", "150", "--exit", "--json"]));
    assert_eq!(figures["audit"]["ok"], true, "{figures}");
    assert_eq!(figures["asked"], 150);
    assert_eq!(figures["faults"], serde_json::json!({}), "{figures}");
    let placed = figures["placed"].as_u64().expect("a number");
    assert!(placed > 100, "{figures}");
    let outcomes = figures["outcomes"].as_object().expect("outcomes");
    assert_eq!(outcomes.values().filter_map(Value::as_u64).sum::<u64>(), placed, "{figures}");
    assert!(outcomes.contains_key("completed"), "{figures}");
    assert_eq!(
        figures["stream_ms"]["count"].as_u64(),
        Some(placed),
        "every order reached its store's stream"
    );
}

/// The bare side of a bench writes the tables by hand: a new column must not break it unseen.
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_the_benches_run_without_a_failure() {
    let database = db::testing::own_database().await;
    let postgres = database.as_ref().map(db::testing::OwnDatabase::url);
    for (subject, groups) in [("reserve", "1"), ("place", "1"), ("place", "2")] {
        let of = ["--clients", "4", "--skus", "20", "--groups", groups];
        let brief = [&["bench", subject, "--seconds", "1", "--json"][..], &of[..]].concat();
        let on_postgres = postgres.as_ref().map(|url| vec!["--database-url", url.as_str()]);
        for more in [Some(Vec::new()), on_postgres].into_iter().flatten() {
            let figures = json(&entrepot(&[&brief[..], &more[..]].concat()));
            assert_eq!((&figures["failed"], &figures["audit_ok"]), (&0.into(), &true.into()), "{figures}");
            let ran = |side: &str| figures[side].as_f64().is_some_and(|rate| rate > 0.0);
            assert!(ran("rate_per_s") && ran("reference_rate_per_s"), "{figures}");
        }
    }
}

/// A till file of a few rows: a sale with postage, one with a twin in other case, a write-off, a credit note, bank
/// charges and a last line cut short.
const TILL: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,HEART HOLDER,6,12/1/10 8:26,2.55,17850,United Kingdom
536365,POST,POSTAGE,1,12/1/10 8:26,18,17850,United Kingdom
536366,85123a,HEART HOLDER,2,12/1/10 8:28,2.55,,United Kingdom
536366,85123a,HEART HOLDER,1,12/1/10 8:28,2.55,,United Kingdom
536589,21777,,-10,12/1/10 16:50,0,,United Kingdom
C536379,D,Discount,-1,12/1/10 9:41,27.5,14527,United Kingdom
536779,BANK CHARGES,Bank Charges,1,12/2/10 15:08,15,15823,United Kingdom
5";

#[test]
fn a_replay_agrees_with_its_file_and_a_second_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let file = folder.path().join("till.csv");
    std::fs::write(&file, TILL).expect("the file is written");
    let first = replay(&file, &folder.path().join("data"));
    assert_eq!((first["orders_placed"].as_u64(), first["collected"].as_u64()), (Some(2), Some(2)), "{first}");
    assert_eq!(first["goods_pence"], 6 * 255 + 3 * 255);
    assert_eq!(
        (&first["charges_pence"], &first["refused_pence"]),
        (&Value::from(1_800), &Value::from(1_500))
    );
    assert_eq!((&first["credit_notes"], &first["write_off_invoices"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(first["refused_rows"].as_array().map(Vec::len), Some(2), "{first}");
    let second = replay(&file, &folder.path().join("data"));
    assert_eq!(
        (second["orders_placed"].as_u64(), second["orders_known"].as_u64()),
        (Some(0), Some(2)),
        "{second}"
    );
    for same in ["goods_pence", "platform_pence", "audit"] {
        assert_eq!(first[same], second[same], "{same}");
    }
}

fn replay(file: &Path, data: &Path) -> Value {
    let report = json(&entrepot(&[
        "replay",
        &file.display().to_string(),
        "--data",
        &data.display().to_string(),
        "--json",
    ]));
    assert_eq!(
        (&report["money_agrees"], &report["audit"]["ok"]),
        (&Value::from(true), &Value::from(true)),
        "{report}"
    );
    report
}

#[test]
fn the_real_week_is_placed_to_the_penny() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/online-retail-week.csv.gz");
    if !file.exists() {
        println!("NOT RUN: {} is not there", file.display());
        return;
    }
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let first = replay(&file, &folder.path().join("data"));
    assert_eq!(
        (first["orders_placed"].as_u64(), first["orders_refused"].as_u64()),
        (Some(583), Some(0)),
        "{first}"
    );
    // What is known of the file, counted by hand and not by this program.
    for (what, wanted) in [
        ("invoices", 699),
        ("sales", 583),
        ("collected", 583),
        ("write_off_invoices", 45),
        ("credit_notes", 70),
        ("credited_pence", -517_451),
        ("file_pence", 25_815_428),
        ("goods_pence", 25_012_351),
        ("charges_pence", 801_577),
        ("refused_pence", 1_500),
        ("platform_pence", 25_012_351 + 801_577),
        ("case_twins", 28),
    ] {
        assert_eq!(first[what], wanted, "{what}: {first}");
    }
    let refused = first["refused_rows"].as_array().expect("a list");
    assert!(refused.iter().all(|row| row["line"].as_u64() > Some(1) && row["reason"].is_string()), "{first}");
    assert_eq!(refused.len(), 2, "bank charges and a line cut short: {first}");
    let second = replay(&file, &folder.path().join("data"));
    assert_eq!(
        (second["orders_placed"].as_u64(), second["orders_known"].as_u64()),
        (Some(0), Some(583)),
        "{second}"
    );
    assert_eq!(first["audit"], second["audit"], "not one ledger row more");
}

/// The program must refuse to start with this exit code and one line that says these words.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = entrepot(arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    let line = text.trim().lines().last().unwrap_or_default();
    for word in words {
        assert!(line.contains(word), "{arguments:?}: `{line}` does not say `{word}`");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn set(key: &str, value: &Path) -> String {
    format!("{key}={}", value.display())
}

#[test]
fn each_way_not_to_start_says_what_to_do_and_has_its_exit_code() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let data = set("data.directory", &folder.path().join("data"));
    let free = ["--set", "server.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0"];
    let serve = |more: &[&'static str]| -> Vec<String> {
        let mut all: Vec<String> = ["serve", "--set"].iter().map(ToString::to_string).collect();
        all.push(data.clone());
        all.extend(free.iter().chain(more).map(ToString::to_string));
        all
    };
    let check = |more: &[&'static str], code, words: &[&str]| {
        let arguments = serve(more);
        refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), code, words);
    };
    check(&["--set", "server.colour=blue"], 2, &["server.colour"]);
    check(&["--set", "server.max_in_flight=many"], 2, &["server.max_in_flight"]);
    check(&["--set", "server.listen=0.0.0.0:0"], 2, &["allow_non_loopback"]);
    check(&["--services", "inventory"], 2, &["local bus"]);
    let nobody = "database.url=postgres://nobody@127.0.0.1:1/nothing";
    check(&["--set", nobody, "--set", "secrets.pickup_code_key=a key for tests only"], 4, &["database"]);
    // a platform that serves starts without a broker
    let topics = ["topics", "--set", "bus.kind=kafka", "--set", "bus.brokers=127.0.0.1:1", "apply"];
    refused(&topics, 5, &["127.0.0.1:1"]);

    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = taken.local_addr().expect("it has an address").port();
    let listen = format!("server.listen=127.0.0.1:{port}");
    refused(&["serve", "--set", &data, "--set", &listen], 3, &[&port.to_string()]);

    let nowhere = set("data.directory", &PathBuf::from("/nowhere/at/all"));
    refused(&["serve", "--set", &nowhere], 7, &["/nowhere/at"]);
    refused(&["--config", "/nowhere/entrepot.toml", "serve"], 2, &["/nowhere/entrepot.toml"]);
}

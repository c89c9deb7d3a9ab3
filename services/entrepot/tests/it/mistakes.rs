//! What an operator can get wrong: one line that says how to mend it, and a code by class.

use std::net::TcpListener;

use crate::program::{entrepot, refused, run, serve, text};

#[test]
fn an_unknown_flag_or_command_is_a_usage_error() {
    assert_eq!(run(&["serve", "--port", "1"]).status.code(), Some(2));
    assert_eq!(run(&["dance"]).status.code(), Some(2));
}

#[test]
fn an_unknown_setting_is_named_with_its_source() {
    let complaint = refused(entrepot(&["config"]).env("ENTREPOT__SERVER__LISTN", "127.0.0.1:1"), 2);
    assert!(
        complaint.contains("unknown setting `server.listn` (environment ENTREPOT__SERVER__LISTN)"),
        "{complaint}"
    );
    assert!(complaint.contains("did you mean `server.listen`?"), "{complaint}");
    let complaint = refused(&mut entrepot(&["config", "--set", "server.max_in_flight=lots"]), 2);
    assert!(
        complaint.contains("setting `server.max_in_flight` (flag --set): expected a whole number"),
        "{complaint}"
    );
    let complaint = refused(&mut entrepot(&["config", "--config", "/nowhere/entrepot.toml"]), 2);
    assert!(complaint.contains("/nowhere/entrepot.toml cannot be read"), "{complaint}");
}

#[test]
fn a_port_in_use_has_its_own_code() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = home.path().join("data").display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", &address]), 3);
    assert!(
        complaint.contains(&address) && complaint.contains("another program has that port"),
        "{complaint}"
    );
    let complaint = refused(
        &mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0", "--admin", &address]),
        3,
    );
    assert!(complaint.contains("setting `admin.listen`"), "{complaint}");
}

#[test]
fn an_address_for_strangers_is_refused_unless_asked_for() {
    let complaint = refused(&mut entrepot(&["serve", "--listen", "0.0.0.0:0"]), 2);
    assert!(complaint.contains("server.allow_non_loopback = true"), "{complaint}");
}

#[test]
fn a_service_apart_on_the_local_bus_is_refused() {
    let complaint = refused(&mut entrepot(&["serve", "--services", "inventory"]), 2);
    assert!(complaint.contains("bus.kind = \"kafka\""), "{complaint}");
}

#[test]
fn a_directory_that_cannot_be_made_has_its_own_code() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("no/such/place").display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains("make it first"), "{complaint}");
    let complaint = refused(&mut entrepot(&["audit", "--data", &data]), 7);
    assert!(complaint.contains("name another --data"), "{complaint}");
    std::fs::write(home.path().join("file"), "").unwrap();
    let data = home.path().join("file/below").display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains("lies below a file"), "{complaint}");
    let complaint = refused(&mut entrepot(&["serve", "--data", "/proc/x", "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains("name a place with --data where this user may write"), "{complaint}");
}

#[test]
fn a_database_that_is_not_there_has_its_own_code() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    let mut command =
        entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let url = format!("postgres://shop:hunter2@{free}/shop");
    let complaint = refused(command.env("ENTREPOT__DATABASE__URL", url), 4);
    assert!(complaint.contains("check that it runs"), "{complaint}");
    assert!(!complaint.contains("hunter2"), "{complaint}");
    let url = "postgres://shop:hunter2@no-such-host.invalid/shop";
    command.env("ENTREPOT__DATABASE__ALLOW_UNENCRYPTED", "true");
    let complaint = refused(command.env("ENTREPOT__DATABASE__URL", url), 4);
    assert!(!complaint.contains("uncategorized") && !complaint.contains("hunter2"), "{complaint}");
    assert!(complaint.contains("check that it runs"), "{complaint}");
    let complaint = refused(command.env("ENTREPOT__DATABASE__URL", "postgres://shop:hunter2@[::/shop"), 2);
    assert!(complaint.contains("expected postgres://user:password@host:port/database"), "{complaint}");
    assert!(!complaint.contains("hunter2"), "{complaint}");
}

#[cfg(feature = "kafka")]
#[test]
fn a_broker_that_is_not_there_has_its_own_code() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    // a platform that serves starts without it
    let mut command = entrepot(&["topics", "apply"]);
    let output =
        command.env("ENTREPOT__BUS__KIND", "kafka").env("ENTREPOT__BUS__BROKERS", &free).output().unwrap();
    let complaint = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{complaint}");
    let last = complaint.lines().last().unwrap();
    assert!(
        last.starts_with("entrepot: ") && last.contains(&free) && last.contains("bus.brokers"),
        "{complaint}"
    );
}

#[test]
fn a_directory_in_use_names_the_process() {
    let home = tempfile::tempdir().unwrap();
    let first = serve(home.path());
    let data = home.path().display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains(&format!("process {}", first.id())), "{complaint}");
}

#[tokio::test]
async fn a_newer_schema_has_its_own_code() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    assert!(run(&["migrate", "--data", &data]).status.success());
    let url = format!("sqlite://{data}/orders.db");
    let db = db::Db::open(&url, &db::Options::default()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    tx.execute(
        "INSERT INTO schema_versions (set_name, version, name, checksum)
         SELECT set_name, version + 900, name, checksum FROM schema_versions WHERE set_name = $1",
        db::params!["orders"],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), 6);
    assert!(complaint.contains("orders") && complaint.contains("newer version of entrepot"), "{complaint}");
}

#[test]
fn a_directory_played_on_a_virtual_clock_is_not_served() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("clock"), "virtual 2011-12-09T12:00:00Z").unwrap();
    let data = home.path().display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &data, "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains("2011-12-09T12:00:00Z"), "{complaint}");
}

#[test]
fn a_missing_key_of_pickup_codes_is_refused_with_the_way_out() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    assert_eq!(serve(home.path()).stop(), Some(0));
    let (key, away) = (home.path().join("pickup-code.key"), home.path().join("away.key"));
    std::fs::rename(&key, &away).unwrap();
    let start = ["serve", "--data", &data, "--listen", "127.0.0.1:0"];
    let complaint = refused(&mut entrepot(&start), 1);
    assert!(complaint.contains("secrets.pickup_code_key_file"), "{complaint}");
    assert!(!key.exists(), "no other key is made");
    let other =
        refused(entrepot(&start).args(["--set", "secrets.pickup_code_key=another key, long enough"]), 1);
    assert!(other.contains("fulfillment.work.replace_pickup_code_key"), "{other}");
    std::fs::rename(&away, &key).unwrap();
    assert_eq!(serve(home.path()).stop(), Some(0));
}

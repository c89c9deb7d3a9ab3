//! Backups, and putting them back.

use std::os::unix::fs::PermissionsExt as _;

use crate::program::{entrepot, refused, run, serve, text};
use crate::running::get;

#[test]
fn a_backup_taken_while_it_runs_can_be_served() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let copy = home.path().join("copy").display().to_string();
    let other = home.path().join("other").display().to_string();
    let served = serve(&home.path().join("data"));
    let output = run(&["backup", &copy, "--data", &data]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("backed up 3 databases"));
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "others can read the backup");
    for file in ["inventory.db", "fulfillment.db", "orders.db", "clock", "pickup-code.key"] {
        let mode = std::fs::metadata(home.path().join("copy").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others can read {file} of the backup");
        // as somebody who copied it to another machine might
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(home.path().join("copy").join(file), open).unwrap();
    }
    assert_eq!(served.stop(), Some(0));

    let output = run(&["restore", &copy, "--data", &other]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        std::fs::read(home.path().join("data/pickup-code.key")).unwrap(),
        std::fs::read(home.path().join("other/pickup-code.key")).unwrap()
    );
    for file in ["inventory.db", "fulfillment.db", "orders.db", "clock", "pickup-code.key"] {
        let mode = std::fs::metadata(home.path().join("other").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others can read {file} after the restore");
    }
    assert_eq!(serve(&home.path().join("other")).stop(), Some(0));
}

#[test]
fn a_removed_database_is_not_replaced_by_an_empty_one() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    assert!(run(&["migrate", "--data", &data]).status.success());
    std::fs::remove_file(home.path().join("orders.db")).unwrap();
    for command in [&["migrate"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let complaint = refused(entrepot(command).args(["--data", &data]), 7);
        assert!(complaint.contains("orders.db is gone; put it back"), "{complaint}");
        assert!(!home.path().join("orders.db").exists(), "{command:?} made an empty one");
    }
}

#[test]
fn a_database_removed_while_it_is_used_fails_readiness() {
    let home = tempfile::tempdir().unwrap();
    let served = serve(home.path());
    assert!(
        get(&served.admin(), "/readyz").contains("database file orders: ok in place"),
        "{}",
        get(&served.admin(), "/readyz")
    );
    std::fs::remove_file(home.path().join("orders.db")).unwrap();
    let text = get(&served.admin(), "/readyz");
    assert!(text.contains("503") && text.contains("was removed or replaced while it is in use"), "{text}");
    served.stop();
}

#[test]
fn a_backup_never_overwrites_and_a_restore_needs_an_empty_directory() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let copy = home.path().join("copy").display().to_string();
    assert!(run(&["migrate", "--data", &data]).status.success());
    assert!(run(&["backup", &copy, "--data", &data]).status.success());
    assert!(refused(&mut entrepot(&["backup", &copy, "--data", &data]), 7).contains("exists already"));
    assert!(
        refused(&mut entrepot(&["restore", &copy, "--data", &data]), 7).contains("has databases already")
    );
    assert!(refused(&mut entrepot(&["restore", &data[..5], "--data", &data]), 7).contains("is not a backup"));
    let none = home.path().join("none").display().to_string();
    assert!(
        refused(&mut entrepot(&["backup", &none, "--data", &home.path().display().to_string()]), 7)
            .contains("does not exist")
    );
}

#[test]
fn migrations_are_applied_once() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().display().to_string();
    let first = text(&run(&["migrate", "--data", &data]).stdout);
    assert_eq!(first.lines().count(), 3, "{first}");
    let second = text(&run(&["migrate", "--data", &data]).stdout);
    assert!(second.lines().all(|line| line.contains(": 0 migrations applied")), "{second}");
}

#[test]
fn a_restore_that_broke_off_is_not_served_and_can_be_begun_again() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let copy = home.path().join("copy").display().to_string();
    let other = home.path().join("other");
    assert!(run(&["migrate", "--data", &data]).status.success());
    assert!(run(&["backup", &copy, "--data", &data]).status.success());
    std::fs::create_dir(&other).unwrap();
    std::fs::copy(home.path().join("copy/inventory.db"), other.join("inventory.db")).unwrap();
    std::fs::write(other.join("orders.db.partial"), "half").unwrap();
    let name = other.display().to_string();
    let complaint = refused(&mut entrepot(&["serve", "--data", &name, "--listen", "127.0.0.1:0"]), 7);
    assert!(complaint.contains("run `entrepot restore` again"), "{complaint}");
    assert!(run(&["restore", &copy, "--data", &name]).status.success());
    assert_eq!(serve(&other).stop(), Some(0));
}

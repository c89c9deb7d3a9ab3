//! `deploy/entrepot.toml` and `entrepot config`.

use std::path::Path;

use entrepot::config::{Config, Layers};
use toml::{Table, Value};

use crate::program::{entrepot, text};

fn file() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/entrepot.toml")).unwrap()
}

fn leaves(prefix: &str, table: &Table, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => leaves(&format!("{path}."), inner, found),
            leaf => found.push((path, leaf.clone())),
        }
    }
}

fn sorted(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    leaves("", table, &mut found);
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[test]
fn the_deployed_file_has_every_setting_with_its_default() {
    let written: Table = file().parse().unwrap();
    let defaults = Table::try_from(Config::default()).unwrap();
    let (written, defaults) = (sorted(&written), sorted(&defaults));
    let names =
        |settings: &[(String, Value)]| settings.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&written), names(&defaults));
    assert_eq!(written, defaults);
}

#[test]
fn the_deployed_file_explains_every_setting() {
    let file = file();
    let mut before = "";
    for (number, line) in file.lines().enumerate() {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(before.starts_with("# "), "line {}: `{line}` has no comment", number + 1);
        }
        before = line;
    }
}

#[test]
fn the_deployed_file_can_be_read() {
    let mut layers = Layers::new().unwrap();
    layers.text(&file(), "entrepot.toml").unwrap();
    assert!(layers.finish().is_ok());
}

#[test]
fn the_settings_in_effect_are_valid_toml_with_their_sources_and_no_secrets() {
    let output = entrepot(&["config", "--data", "/tmp/here"])
        .env("ENTREPOT__DATABASE__URL", "postgres://shop:hunter2@db/shop")
        .env("ENTREPOT__DATABASE__ALLOW_UNENCRYPTED", "true")
        .env("ENTREPOT__SECRETS__PICKUP_CODE_KEY", "hunter2hunter2hunter2")
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success());
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("url = \"postgres://shop:***@db/shop\" # environment ENTREPOT__DATABASE__URL"),
        "{shown}"
    );
    assert!(shown.contains("directory = \"/tmp/here\" # flag --data"), "{shown}");
    let parsed: Table = shown.parse().unwrap();
    assert_eq!(sorted(&parsed).len(), sorted(&Table::try_from(Config::default()).unwrap()).len());
}

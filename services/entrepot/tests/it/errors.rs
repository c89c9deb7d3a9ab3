//! `proto/ERRORS.md` and `entrepot errors`.

use std::path::Path;

use crate::program::{run, text};

#[test]
fn the_list_of_errors_is_the_one_that_the_services_declare() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/ERRORS.md");
    let written = std::fs::read_to_string(file).unwrap();
    let printed = text(&run(&["errors", "--markdown"]).stdout);
    assert_eq!(written.trim(), printed, "write it again: entrepot errors --markdown > proto/ERRORS.md");
}

#[test]
fn the_errors_are_told_to_programs_too() {
    let printed = text(&run(&["errors", "--json"]).stdout);
    let busy = printed.lines().find(|line| line.contains("QUEUE_FULL")).unwrap();
    let busy: serde_json::Value = serde_json::from_str(busy).unwrap();
    assert_eq!(busy["code"], "RESOURCE_EXHAUSTED");
    assert_eq!(busy["retry"], "yes, later");
}

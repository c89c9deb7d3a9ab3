//! Every metric says what it means.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::program::serve;
use crate::running::get;

/// The names of metrics in the sources of all crates and services: texts that begin like one.
fn named(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, names);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let texts = text.split('"').filter(|text| {
                let is_ours = text.starts_with("entrepot_") || text.starts_with("grpc_server_");
                is_ours && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            });
            names.extend(texts.map(ToOwned::to_owned));
        }
    }
}

#[test]
fn every_metric_of_the_sources_is_described_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    for rooms in ["crates", "services"] {
        for room in fs::read_dir(root.join(rooms)).unwrap() {
            let source = room.unwrap().path().join("src");
            if source.is_dir() {
                named(&source, &mut names);
            }
        }
    }
    assert!(names.len() > 30, "{names:?}");
    let all = server::telemetry::METRICS.iter().chain(entrepot::metrics::METRICS);
    let described: Vec<String> = all.clone().map(|metric| metric.1.to_owned()).collect();
    assert_eq!(
        described.iter().collect::<BTreeSet<_>>().len(),
        described.len(),
        "a metric is described twice"
    );
    let missing: Vec<_> = names.iter().filter(|name| !described.contains(name)).collect();
    assert!(missing.is_empty(), "add these to services/entrepot/src/metrics.rs: {missing:?}");
    assert!(all.clone().all(|metric| metric.2.ends_with('.')), "a meaning is a sentence");
}

#[test]
fn a_scrape_has_help_for_each_metric() {
    let home = tempfile::tempdir().unwrap();
    let served = serve(home.path());
    let answer = get(&served.admin(), "/metrics");
    let types = answer.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let types: BTreeSet<&str> = types.collect();
    assert!(!types.is_empty(), "{answer}");
    for name in types {
        assert!(answer.contains(&format!("# HELP {name} ")), "{name} has no HELP");
    }
    assert_eq!(served.stop(), Some(0));
}

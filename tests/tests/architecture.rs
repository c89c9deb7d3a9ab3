//! The shape of the house, checked: who may depend on whom, and what may be written where.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The arrows between our own crates. A new arrow is a decision: add it here and to ARCHITECTURE.md, with the reason.
const ARROWS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("contract", &[]),
    ("clock", &[]),
    ("db", &[]),
    ("bus", &["clock", "contract", "db"]),
    ("server", &["clock"]),
    ("service", &["bus", "clock", "contract", "db", "domain", "server"]),
    // the stream of a node's work, which several services feed
    ("work_feed", &["bus", "clock", "db", "domain", "service"]),
    // policies: fulfillment owns them, every service has a copy
    ("policy", &["bus", "clock", "contract", "db", "domain", "service"]),
    // what tests stand on: it is in nobody's list but that of the flows, so no product code can reach it
    ("test_world", &["bus", "clock", "contract", "db", "server", "service"]),
    ("inventory", SERVICE),
    ("orders", SERVICE),
    ("fulfillment", SERVICE),
    ("entrepot", EVERYTHING),
    ("flows", TESTS),
];
const SERVICE: &[&str] =
    &["bus", "clock", "contract", "db", "domain", "policy", "server", "service", "work_feed"];
const EVERYTHING: &[&str] =
    &["bus", "clock", "contract", "db", "domain", "fulfillment", "inventory", "orders", "server", "service"];

const TESTS: &[&str] = &[
    "bus",
    "clock",
    "contract",
    "db",
    "domain",
    "entrepot",
    "fulfillment",
    "inventory",
    "orders",
    "server",
    "test_world",
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "impl", "misc"];

/// The ways goods reach a customer.
const METHODS: &[&str] = &["Pickup", "Express", "Scheduled", "Parcel", "CarryOut"];

/// The most lines of a file that people write.
const MOST_LINES: usize = 500;

/// Words that this code base has a plain one for, see the glossary of ARCHITECTURE.md.
const QUIRKS: &[&str] = &["told", "so many", "anew", "whoever", "fulfilment", "can not", "nobody knows how"];

/// Where the engine is asked for outside the storage rooms, and how often. The list only gets shorter.
const ENGINE_BRANCHES: &[(&str, usize)] = &[
    // a process that opens the SQLite files is alone with them and need not wait for the last holder's lease
    ("services/entrepot/src/timers.rs", 1),
];

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the tests live one level below the root").to_path_buf()
}

/// Direct dependencies of each of our crates: name -> (dependency, kind), kind being `normal`, `dev` or `build`.
fn dependencies() -> BTreeMap<String, Vec<(String, String)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let text = |value: &Value| value.as_str().unwrap_or("normal").to_owned();
    packages
        .iter()
        .map(|package| {
            let list = package["dependencies"].as_array().expect("a list of dependencies");
            let list = list.iter().map(|one| (text(&one["name"]), text(&one["kind"]))).collect();
            (text(&package["name"]), list)
        })
        .collect()
}

/// Every file below the folder, without build products.
fn files(below: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(below) else { return found };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with(".git") {
                found.extend(files(&path));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Rust files of the crates and services (not of their tests): path from the root, and text.
fn sources() -> Vec<(String, String)> {
    let root = root();
    ["crates", "services"]
        .iter()
        .flat_map(|room| files(&root.join(room)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("UTF-8 sources");
            (path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// `path:line: text` of each line that matches, comments and unit tests apart.
fn lines_where(sources: &[(String, String)], matches: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        let code = text.split("#[cfg(test)]").next().unwrap_or(text);
        for (number, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or(line);
            if matches(path, line) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn our_crates_depend_on_each_other_only_along_the_arrows() {
    let crates = dependencies();
    let ours: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, known, "a crate came or went: draw it into ARROWS and ARCHITECTURE.md");
    let mut wrong = Vec::new();
    for (name, allowed) in ARROWS {
        for (dependency, kind) in &crates[*name] {
            let inner = ours.contains(dependency.as_str()) && kind != "dev";
            if inner && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{name} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that nobody drew: {wrong:?}");
}

#[test]
fn only_db_opens_databases_and_only_bus_talks_to_the_broker() {
    let doors = [("sqlx", "db"), ("rdkafka", "bus")];
    for (name, list) in dependencies() {
        for (dependency, kind) in list {
            for (guarded, owner) in doors {
                let theirs = dependency == guarded || dependency.starts_with(&format!("{guarded}-"));
                // What lies in the log is checked with a plain consumer, since our own reader would not see its own faults;
                // and the flows put a network that fails between the broker and us.
                let checks = (name.as_str(), guarded) == ("flows", "rdkafka");
                assert!(
                    !theirs || name == owner || checks,
                    "{name} uses {dependency} ({kind}): ask crates/{owner}"
                );
            }
        }
    }
}

#[test]
fn the_rules_know_no_runtime_and_no_wire() {
    let allowed = BTreeSet::from(["jiff", "thiserror", "uuid"]);
    let crates = dependencies();
    let used: BTreeSet<&str> =
        crates["domain"].iter().filter(|(_, kind)| kind == "normal").map(|(name, _)| name.as_str()).collect();
    assert!(used.is_subset(&allowed), "crates/domain stays pure: {used:?}");
    let asynchronous: Vec<String> = lines_where(&sources(), |path, line| {
        path.starts_with("crates/domain/") && (line.contains("async fn") || line.contains(".await"))
    });
    assert!(asynchronous.is_empty(), "{asynchronous:#?}");
}

#[test]
fn every_crate_inherits_the_lints_and_versions() {
    let manifests: Vec<PathBuf> =
        files(&root()).into_iter().filter(|path| path.ends_with("Cargo.toml")).collect();
    assert!(manifests.len() > 5);
    for path in manifests {
        let text = fs::read_to_string(&path).expect("UTF-8 manifest");
        if text.contains("[workspace]") {
            continue;
        }
        let flat = text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        assert!(flat.contains("[lints]\nworkspace = true"), "{} sets its own lints", path.display());
        assert!(flat.contains("publish.workspace = true"), "{} could be published", path.display());
    }
}

#[test]
fn the_rules_obey_every_clippy_setting_of_the_workspace() {
    // the reasons may differ
    let settings = |path: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join(path)).expect("UTF-8 settings");
        text.lines()
            .map(|line| line.split(", reason").next().unwrap_or(line).trim().to_owned())
            .filter(|line| !line.starts_with('#'))
            .collect()
    };
    let (all, domain) = (settings("clippy.toml"), settings("crates/domain/clippy.toml"));
    let missing: Vec<&String> = all.difference(&domain).collect();
    assert!(missing.is_empty(), "crates/domain/clippy.toml replaces clippy.toml and lacks {missing:#?}");
}

#[test]
fn files_are_named_after_what_is_in_them() {
    for room in ["crates", "services", "tests", "proto"] {
        for path in files(&root().join(room)) {
            let inside = path.strip_prefix(root()).expect("below the root");
            for part in inside {
                let name = Path::new(part).file_stem().unwrap_or(part).to_string_lossy().to_lowercase();
                assert!(
                    !EMPTY_NAMES.contains(&name.as_str()),
                    "{}: `{name}` names nothing",
                    inside.display()
                );
            }
        }
    }
}

/// Path and text of everything that people write here: code, contract, settings, pages.
fn texts() -> Vec<(String, String)> {
    let root = root();
    let is_text = |path: &PathBuf| {
        let kind = path.extension().map(|kind| kind.to_string_lossy().into_owned()).unwrap_or_default();
        ["rs", "proto", "sql", "md", "toml", "py", "js", "go"].contains(&kind.as_str())
            && !path
                .components()
                .any(|part| ["google", "node_modules"].iter().any(|name| part.as_os_str() == *name))
    };
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).expect("UTF-8 text"))
    };
    let rooms = ["crates", "services", "tests", "proto", "deploy"];
    let pages = ["ARCHITECTURE.md", "README.md"].map(|page| root.join(page));
    let all = rooms.iter().flat_map(|room| files(&root.join(room))).chain(pages);
    all.filter(is_text).map(read).collect()
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let long: Vec<String> = texts()
        .iter()
        .filter(|(path, _)| Path::new(path).extension().is_none_or(|kind| kind != "md"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split by subject: {long:#?}");
}

#[test]
fn texts_use_the_words_of_the_field() {
    let is_word = |text: &str, at: usize, length: usize| {
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !inside(text[..at].chars().next_back()) && !inside(text[at + length..].chars().next())
    };
    let mut found = Vec::new();
    for (path, text) in texts() {
        let is_this_list = path == "tests/tests/architecture.rs";
        for (number, line) in text.lines().enumerate().filter(|_| !is_this_list) {
            let lower = line.to_lowercase();
            let quirk = QUIRKS
                .iter()
                .find(|quirk| lower.match_indices(**quirk).any(|(at, _)| is_word(&lower, at, quirk.len())));
            found.extend(quirk.map(|quirk| format!("{path}:{}: `{quirk}`", number + 1)));
        }
    }
    assert!(found.is_empty(), "write what a reader outside this project would: {found:#?}");
}

#[test]
fn one_match_on_method_in_the_whole_workspace() {
    let home = "crates/domain/src/fulfillment/method/";
    let sources = sources();
    let branches = lines_where(&sources, |path, line| {
        !path.starts_with(home)
            && METHODS.iter().any(|method| {
                let Some((before, after)) = line.split_once(&format!("Method::{method}")) else {
                    return false;
                };
                let before =
                    before.trim_end_matches(|c: char| c.is_alphanumeric() || "_:".contains(c)).trim_end();
                after.contains("=>")
                    || ["==", "!="]
                        .iter()
                        .any(|sign| before.ends_with(sign) || after.trim_start().starts_with(sign))
                    || ["matches!(", "if let", "while let"].iter().any(|word| before.contains(word))
            })
    });
    assert!(branches.is_empty(), "put a field into `Rules` instead: {branches:#?}");
    for method in METHODS {
        let arms = lines_where(&sources, |path, line| {
            let arm = [format!("Self::{method}"), format!("Method::{method}")]
                .iter()
                .any(|name| line.split_once("=>").is_some_and(|(pattern, _)| pattern.contains(name)));
            path.starts_with(home) && arm
        });
        assert!(arms.len() <= 1, "`Method::rules` is the only match on Method: {arms:#?}");
    }
}

#[test]
fn migrations_have_the_same_names_on_both_engines() {
    let names = |folder: &Path| -> BTreeSet<String> {
        files(folder)
            .iter()
            .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .collect()
    };
    let mut owners = 0;
    for room in ["crates", "services"] {
        for owner in fs::read_dir(root().join(room)).expect("a readable folder") {
            let folder = owner.expect("a readable folder").path().join("migrations");
            if !folder.exists() {
                continue;
            }
            owners += 1;
            let (postgres, sqlite) = (names(&folder.join("postgres")), names(&folder.join("sqlite")));
            assert!(!postgres.is_empty(), "{} is empty", folder.display());
            assert_eq!(postgres, sqlite, "{}", folder.display());
            for name in postgres {
                let number = name.split('_').next().unwrap_or_default();
                assert!(
                    number.len() == 4 && number.bytes().all(|digit| digit.is_ascii_digit()),
                    "{name} starts with a number of four digits"
                );
            }
        }
    }
    assert!(owners >= 4, "the bus and three services have tables, found {owners}");
}

#[test]
fn only_the_storage_rooms_branch_on_the_engine() {
    let rooms = ["crates/db/", "crates/bus/"];
    let branches = lines_where(&sources(), |path, line| {
        !rooms.iter().any(|room| path.starts_with(room))
            && (line.contains("Engine::Postgres") || line.contains("Engine::Sqlite"))
    });
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for branch in &branches {
        *counted.entry(branch.split(':').next().unwrap_or_default()).or_default() += 1;
    }
    let known: BTreeMap<&str, usize> = ENGINE_BRANCHES.iter().copied().collect();
    assert_eq!(counted, known, "make it a named method of crates/db: {branches:#?}");
}

#[test]
fn statements_outside_db_are_written_in_the_portable_dialect() {
    let foreign = [
        "FOR UPDATE",
        "SKIP LOCKED",
        "ILIKE",
        "DISTINCT ON",
        "LATERAL",
        "pg_advisory",
        "= ANY(",
        "GREATEST(",
    ];
    let found = lines_where(&sources(), |path, line| {
        !path.starts_with("crates/db/") && foreign.iter().any(|word| line.contains(word))
    });
    assert!(found.is_empty(), "these words are not the same on both engines: {found:#?}");
}

#[test]
fn a_request_id_is_claimed_in_one_place_and_a_reason_is_declared_in_a_table() {
    let sources = sources();
    let claims = lines_where(&sources, |path, line| {
        path.starts_with("services/") && (line.contains("inbox::claim") || line.contains("inbox::settle"))
    });
    assert!(claims.is_empty(), "service::Call answers a duplicate after its commit: {claims:#?}");
    let bare = lines_where(&sources, |path, line| {
        path != "crates/server/src/status.rs" && line.contains("with_error_info(")
    });
    assert!(bare.is_empty(), "build statuses from a server::Reason: {bare:#?}");
}

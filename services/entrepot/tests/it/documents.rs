//! The tables of `proto/README.md` that follow from the program are what the program says.
//!
//! `ENTREPOT_TEST_WRITE=1 cargo test -p entrepot --test it documents` writes them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use bus::Topic;
use bus::event::PREFIXES;
use entrepot::config::Service;
use prost_reflect::DescriptorPool;
use server::Access;
use server::auth::kind;

/// Who may call what, a table for each gRPC service.
fn roles() -> String {
    let rows: Vec<Access> =
        Service::ALL.iter().flat_map(|service| service.about().access.iter().copied()).collect();
    let mut services: BTreeMap<&str, Vec<(&str, &[&str])>> = BTreeMap::new();
    for row in &rows {
        let (service, method) = row.method.trim_start_matches('/').rsplit_once('/').expect("a method's path");
        services.entry(service).or_default().push((method, row.kinds));
    }
    let mut text = String::new();
    for (service, methods) in services {
        let head = kind::ALL.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(" | ");
        let _ = write!(text, "\n| `{service}` | {head} |\n| --- |{}\n", " :-: |".repeat(kind::ALL.len()));
        for (method, kinds) in methods {
            let marks = kind::ALL.iter().map(|kind| if kinds.contains(kind) { "x" } else { "" });
            let marks = marks.collect::<Vec<_>>().join(" | ");
            let _ = writeln!(text, "| `{method}` | {marks} |");
        }
    }
    text
}

/// What each topic carries.
fn topics() -> String {
    let pool = DescriptorPool::decode(contract::DESCRIPTORS).expect("the contract is readable");
    let mut text =
        "\n| topic | payload | `ce_aggregatetype` | `ce_type` |\n| --- | --- | --- | --- |\n".to_owned();
    for topic in Topic::ALL {
        let message = pool.get_message_by_name(topic.message()).expect("the payload of a topic");
        let body = message.oneofs().find(|oneof| oneof.name() == "body").expect("an event has a body");
        let types: Vec<String> = body
            .fields()
            .filter_map(|field| Some(format!("`{}`", field.kind().as_message()?.name())))
            .collect();
        let package = message.parent_file().package_name().to_owned();
        let kinds = match topic {
            Topic::Orders => "`order`",
            Topic::Inventory => "`reservation`, `position`",
            Topic::Fulfillment => "`fulfillment_order`, `policy`, `node_group`, `node`",
        };
        let (name, payload) = (topic.name(), message.name());
        let _ = writeln!(text, "| `{name}` | `{payload}` | {kinds} | `{package}.` {} |", types.join(", "));
    }
    let ids = PREFIXES.map(|(kind, prefix)| format!("`{kind}` `{prefix}`")).join(", ");
    let _ = writeln!(text, "\nIds of the API begin with a prefix, those in headers do not: {ids}.");
    text
}

fn check(name: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/README.md");
    let text = std::fs::read_to_string(&path).expect("proto/README.md is readable");
    let (begin, end) = (format!("<!-- {name}: written by a test -->\n"), format!("<!-- {name}: end -->\n"));
    let from = text.find(&begin).expect("the table begins") + begin.len();
    let to = text.find(&end).expect("the table ends");
    if std::env::var_os("ENTREPOT_TEST_WRITE").is_some() {
        std::fs::write(&path, format!("{}{wanted}\n{}", &text[..from], &text[to..])).expect("it is writable");
        return;
    }
    assert_eq!(text[from..to].trim(), wanted.trim(), "the table `{name}` of proto/README.md is out of date");
}

#[test]
fn who_may_call_what_is_what_the_role_tables_say() {
    check("roles", &roles());
}

#[test]
fn topics_and_their_events_are_those_of_the_contract() {
    check("topics", &topics());
}

/// One client asks the owners of all topics: `service::replay`.
#[test]
fn every_package_answers_for_missed_events_alike() {
    let pool = DescriptorPool::decode(contract::DESCRIPTORS).unwrap();
    let shape = |service: Service| {
        let events = pool.get_service_by_name(service.about().events).unwrap();
        let mut lines = Vec::new();
        for method in events.methods() {
            for message in [method.input(), method.output()] {
                let fields =
                    message.fields().map(|field| format!("{field:?}").replace(message.full_name(), ""));
                lines.push((method.name().to_owned(), message.name().to_owned(), fields.collect::<Vec<_>>()));
            }
        }
        lines
    };
    let [first, rest @ ..] = Service::ALL;
    for service in rest {
        assert_eq!(shape(service), shape(first), "{}", service.name());
    }
}

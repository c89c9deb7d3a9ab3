//! Every method that is served, by the descriptors: bytes that are no message, messages without anything in them,
//! messages of a hundred thousand empty ones. A new method is in these tests by itself.

use contract::r#type::v1::Method;
use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Code;

use super::raw::{Answer, Port, empties, field, nested, send};
use super::{Census, shop};

/// A method and the fields of its request.
struct Served {
    path: String,
    request: DescriptorProto,
    is_unary: bool,
}

impl Served {
    fn has(&self, name: &str) -> bool {
        self.request.field.iter().any(|field| field.name() == name)
    }

    /// The number of its first field of that type.
    fn first(&self, wanted: prost_types::field_descriptor_proto::Type) -> Option<u32> {
        let found = self.request.field.iter().find(|field| field.r#type() == wanted);
        found.and_then(|field| u32::try_from(field.number()).ok())
    }
}

/// Every method of ours.
fn served() -> Vec<Served> {
    let set = FileDescriptorSet::decode(contract::DESCRIPTORS).expect("descriptors");
    let mut all = Vec::new();
    for file in set.file.iter().filter(|file| file.package().starts_with("entrepot.")) {
        for service in &file.service {
            for method in &service.method {
                let wanted = method.input_type().rsplit('.').next().unwrap_or_default();
                let same = set.file.iter().filter(|other| other.package() == file.package());
                let request =
                    same.flat_map(|file| &file.message_type).find(|message| message.name() == wanted);
                all.push(Served {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    request: request.expect("requests are declared in the package of their service").clone(),
                    is_unary: !method.client_streaming() && !method.server_streaming(),
                });
            }
        }
    }
    assert!(all.len() > 40, "{} methods", all.len());
    all
}

/// A clear no: a code that names the caller's mistake, and its reason.
fn is_clear(what: &str, served: &Served, answer: &Answer) {
    let (code, reason) = answer.code();
    let named = matches!(
        code,
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::NotFound
            | Code::OutOfRange
            | Code::ResourceExhausted
    );
    assert!(named && !reason.is_empty(), "{} {what}: {answer:?}", served.path);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_are_the_callers_mistake_at_every_method() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let invalid_utf8 = |served: &Served| {
        let text = served.first(prost_types::field_descriptor_proto::Type::String)?;
        Some(field(text, &[0xff, 0xfe, 0x80]))
    };
    let surrogate = |served: &Served| {
        let text = served.first(prost_types::field_descriptor_proto::Type::String)?;
        Some(field(text, &[0xed, 0xa0, 0x80]))
    };
    let wrong_type = |served: &Served| {
        let text = served.first(prost_types::field_descriptor_proto::Type::String)?;
        Some([vec![u8::try_from(text << 3).ok()?], vec![7]].concat())
    };
    let deep = |served: &Served| {
        let message = served.first(prost_types::field_descriptor_proto::Type::Message)?;
        Some([field(message, &nested(15, 101)), vec![0xff]].concat())
    };
    for served in served() {
        let mut bad: Vec<(&str, Option<Vec<u8>>)> = vec![
            ("a key without a value", Some(vec![0x0a])),
            ("a length beyond the end", Some(vec![0x0a, 0x7f, b'a'])),
            ("a length of 2^63", Some(vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
            ("a number without an end", Some(vec![0xff; 11])),
            ("field 0", Some(vec![0x02, 0x00])),
            ("a wire type that is none", Some(vec![0x0f])),
            ("the end of a group that never began", Some(vec![0x0c])),
            ("a group without an end", Some(vec![0xfb, 0x01])),
            ("groups 200 deep", Some([0xfb_u8, 0x01].repeat(200))),
            ("trailing bytes", Some([field(1_000, b"unknown"), vec![0x00]].concat())),
            ("text that is no UTF-8", invalid_utf8(&served)),
            ("half of a surrogate pair", surrogate(&served)),
            ("a number for a text", wrong_type(&served)),
            ("messages 101 deep and then nonsense", deep(&served)),
        ];
        bad.retain(|(_, bytes)| bytes.is_some());
        for (what, bytes) in bad {
            let answer = send(&port, &served.path, &bytes.unwrap_or_default()).await;
            let wanted = (Code::InvalidArgument, "REQUEST_UNREADABLE".to_owned());
            assert_eq!(answer.code(), wanted, "{} {what}: {answer:?}", served.path);
        }
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

/// Methods for which a request with nothing in it is a good one.
const MAY_BE_EMPTY: [&str; 8] = [
    "ListSkus",
    "StreamPositions",
    "Audit",
    "ListOrders",
    "ListNodes",
    "ListNodeGroups",
    "ListPolicies",
    "ListHeads",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_nothing_in_it_is_refused_with_its_fields_named_at_every_method() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    for served in served() {
        let may = MAY_BE_EMPTY.iter().any(|name| served.path.ends_with(&format!("/{name}")));
        if may || served.path.ends_with("/ImportStock") {
            continue;
        }
        for (what, bytes) in [("nothing", Vec::new()), ("unknown fields", field(1_000, &[0; 100]))] {
            let answer = send(&port, &served.path, &bytes).await;
            assert_eq!(answer.code(), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()), "{answer:?}");
            let named = server::status::violations(&answer.status.unwrap_or_else(|| unreachable!()));
            assert!(!named.is_empty(), "{} {what}", served.path);
            let has_id = named.iter().any(|bad| bad.field == "request_id");
            assert_eq!(has_id, served.has("request_id"), "{} {what}: {named:?}", served.path);
        }
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_empty_messages_are_refused_in_every_field_of_every_method() {
    use prost_types::field_descriptor_proto::{Label, Type};
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let mut tried = 0;
    for served in served().iter().filter(|served| served.is_unary) {
        for list in served.request.field.iter().filter(|field| field.label() == Label::Repeated) {
            let number = u32::try_from(list.number()).expect("a field number");
            let swarm = match list.r#type() {
                Type::Message | Type::String => empties(number, 100_000),
                _ => field(number, &vec![Method::Pickup as u8; 200_000]),
            };
            is_clear(list.name(), served, &send(&port, &served.path, &swarm).await);
            tried += 1;
        }
        let swarm = empties(1_000, 60_000);
        let (code, _) = send(&port, &served.path, &swarm).await.code();
        assert!(matches!(code, Code::InvalidArgument | Code::Ok), "{}: {code:?}", served.path);
    }
    assert!(tried > 15, "{tried} lists");
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_limit_is_refused_at_every_method() {
    let (world, ops) = shop().await;
    let before = Census::of(&ops).await;
    let port = Port::of(&world);
    let over = field(1_000, &vec![0; server::MESSAGE_LIMIT]);
    for served in served() {
        let answer = send(&port, &served.path, &over).await;
        assert_eq!(
            answer.code(),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE".to_owned()),
            "{}",
            served.path
        );
    }
    assert_eq!(Census::of(&ops).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_messages_that_protobuf_allows_are_read_as_it_says() {
    let (world, _) = shop().await;
    let port = Port::of(&world);
    let get = "/entrepot.fulfillment.v1.PromiseService/GetSourcingDecision";
    let [decision, leg] = [b"src_".to_vec(), super::nobody("ful_").into_bytes()];
    let unknown = [field(1_000, b"later"), vec![0xf8, 0x3f, 0x07]].concat();
    let not_found = (Code::NotFound, "DECISION_NOT_FOUND");
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST");
    for (what, message, wanted) in [
        ("both of a oneof: the last one counts", [field(1, &decision), field(2, &leg)].concat(), not_found),
        ("the other way round", [field(2, &leg), field(1, &decision)].concat(), invalid),
        ("a field twice: the last one counts", [field(2, &decision), field(2, &leg)].concat(), not_found),
        ("fields of a later version", [field(2, &leg), unknown].concat(), not_found),
        ("a number longer than it need be", [vec![0x92, 0x80, 0x00, 0x28], leg.clone()].concat(), not_found),
    ] {
        let answer = send(&port, get, &message).await;
        assert_eq!(answer.code(), (wanted.0, wanted.1.to_owned()), "{what}: {answer:?}");
    }
    world.stop().await;
}

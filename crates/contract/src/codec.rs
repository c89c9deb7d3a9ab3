//! How messages are read off the wire: like prost reads them, but a request is weighed first.
//!
//! Two bytes on the wire can be an empty message of a list, which takes some hundred bytes once it is read: a request
//! of 1 MiB could take 200 MiB. What a request would take is known from the descriptors without reading it.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::LazyLock;

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Requests up to this many bytes are not weighed: they cannot grow to much.
const LIGHT: usize = 16 * 1024;

/// The most bytes of list entries that a request may grow to. The largest order or network that passes the rules of
/// its service takes about a quarter.
const MOST: usize = 8 * 1024 * 1024;

/// The codec of all our clients and servers.
#[derive(Debug, Clone)]
pub struct Weighed<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Weighed<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Weighed<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Reader<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reader(ProstDecoder::default())
    }
}

/// Reads messages, and refuses requests that would take too much.
#[derive(Debug, Clone)]
pub struct Reader<U>(ProstDecoder<U>);

impl<U: Message + Name + Default> Decoder for Reader<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if buf.remaining() > LIGHT && U::NAME.ends_with("Request") {
            weigh(&U::full_name(), buf.chunk())?;
        }
        self.0.decode(buf)
    }
}

/// Refuses a request whose lists would take too much, naming the list.
fn weigh(name: &str, bytes: &[u8]) -> Result<(), Status> {
    let Some(shape) = SHAPES.get(name) else { return Ok(()) };
    let mut left = MOST;
    match add(&mut left, shape, bytes) {
        // what cannot be read is refused by who reads it
        Ok(()) | Err(Halt::Unreadable) => Ok(()),
        Err(Halt::Heavy(field)) => {
            let text = "has too many entries";
            let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", "entrepot", HashMap::new());
            details.add_bad_request_violation(field, text);
            Err(Status::with_error_details(Code::InvalidArgument, format!("{field}: {text}"), details))
        }
    }
}

/// Why the weighing ended early.
#[derive(Debug, PartialEq, Eq)]
enum Halt {
    Unreadable,
    /// In this field of the request it became too much.
    Heavy(&'static str),
}

fn add(left: &mut usize, shape: &'static Shape, mut bytes: &[u8]) -> Result<(), Halt> {
    while !bytes.is_empty() {
        let (tag, wire) = decode_key(&mut bytes).map_err(|_| Halt::Unreadable)?;
        let field = shape.messages.get(&tag).filter(|_| wire == WireType::LengthDelimited);
        let Some(field) = field else {
            skip_field(wire, tag, &mut bytes, DecodeContext::default()).map_err(|_| Halt::Unreadable)?;
            continue;
        };
        let length = decode_varint(&mut bytes).ok().and_then(|length| usize::try_from(length).ok());
        let split = length.and_then(|length| bytes.split_at_checked(length));
        let (message, rest) = split.ok_or(Halt::Unreadable)?;
        bytes = rest;
        let Some(inner) = SHAPES.get(&field.of) else { continue };
        if field.is_list {
            *left = left.checked_sub(inner.size).ok_or(Halt::Heavy(&field.name))?;
        }
        add(left, inner, message).map_err(|halt| match halt {
            Halt::Heavy(_) => Halt::Heavy(&field.name),
            Halt::Unreadable => Halt::Unreadable,
        })?;
    }
    Ok(())
}

/// What is known of a message without reading it.
#[derive(Debug, Default)]
struct Shape {
    /// About how many bytes one takes, without what its lists and texts hold.
    size: usize,
    /// The fields that are messages.
    messages: HashMap<u32, Field>,
}

#[derive(Debug)]
struct Field {
    name: String,
    of: String,
    is_list: bool,
}

/// All messages of the contract by their full names.
static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
    let Ok(set) = FileDescriptorSet::decode(crate::DESCRIPTORS) else { return HashMap::new() };
    let mut declared = HashMap::new();
    for file in &set.file {
        declare(file.package(), &file.message_type, &mut declared);
    }
    let shape = |name: &String, message: &DescriptorProto| {
        let messages = message.field.iter().filter(|field| field.r#type() == Type::Message);
        let messages = messages.filter_map(|field| {
            let of = field.type_name().trim_start_matches('.').to_owned();
            let is_list = field.label() == Label::Repeated;
            Some((u32::try_from(field.number()).ok()?, Field { name: field.name().to_owned(), of, is_list }))
        });
        Shape { size: size(name, &declared, 0), messages: messages.collect() }
    };
    declared.iter().map(|(name, message)| (name.clone(), shape(name, message))).collect()
});

fn declare<'a>(
    scope: &str,
    messages: &'a [DescriptorProto],
    declared: &mut HashMap<String, &'a DescriptorProto>,
) {
    for message in messages {
        let name = format!("{scope}.{}", message.name());
        declare(&name, &message.nested_type, declared);
        declared.insert(name, message);
    }
}

/// A text or list is three words, a message lies inside, everything else is a word; a message in itself is boxed.
fn size(name: &str, declared: &HashMap<String, &DescriptorProto>, depth: usize) -> usize {
    let fields = declared.get(name).filter(|_| depth < 8).map_or(&[][..], |message| &message.field);
    let of = |field: &prost_types::FieldDescriptorProto| match (field.label(), field.r#type()) {
        (Label::Repeated, _) | (_, Type::String | Type::Bytes) => 24,
        (_, Type::Message) => 8 + size(field.type_name().trim_start_matches('.'), declared, depth + 1),
        _ => 8,
    };
    fields.iter().map(of).sum::<usize>().max(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fulfillment::v1 as ful;
    use crate::inventory::v1 as inv;
    use crate::orders::v1 as ord;

    /// A list of empty messages.
    fn empties(tag: u8, count: usize) -> Vec<u8> {
        [tag << 3 | 2, 0].repeat(count)
    }

    #[test]
    fn a_swarm_of_empty_messages_is_refused_by_the_name_of_its_list() {
        for (name, tag, list) in [
            (ord::PlaceOrderRequest::full_name(), 5, "lines"),
            (ful::PutNodesRequest::full_name(), 2, "nodes"),
            (inv::PutSkusRequest::full_name(), 2, "skus"),
        ] {
            let refusal = weigh(&name, &empties(tag, 130_000)).unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument, "{name}");
            let named = refusal.get_details_bad_request().unwrap().field_violations;
            assert_eq!(named[0].field, list, "{name}");
        }
    }

    #[test]
    fn one_inside_another_message_is_found_too() {
        let mut inside = vec![2 << 3 | 2];
        let holidays = empties(8, 120_000);
        prost::encoding::encode_varint(holidays.len() as u64, &mut inside);
        inside.extend_from_slice(&holidays);
        let unknown_group_first = [vec![0xfb, 0x01, 0xfc, 0x01], inside].concat();
        let refusal = weigh(&ful::PutNodesRequest::full_name(), &unknown_group_first).unwrap_err();
        assert_eq!(refusal.get_details_bad_request().unwrap().field_violations[0].field, "nodes");
    }

    #[test]
    fn what_the_services_take_is_far_from_too_heavy() {
        let price = || Some(crate::google::r#type::Money { currency_code: "CNY".into(), units: 1, nanos: 0 });
        let line =
            || ord::NewLine { unit_price: price(), discount: price(), tax: price(), ..Default::default() };
        let order =
            ord::PlaceOrderRequest { lines: (0..8_000).map(|_| line()).collect(), ..Default::default() };
        let bytes = order.encode_to_vec();
        assert!(bytes.len() < 256 * 1024 && weigh(&ord::PlaceOrderRequest::full_name(), &bytes).is_ok());
        let exception = ful::HoursException {
            date: Some(crate::google::r#type::Date { year: 2027, month: 12, day: 24 }),
            spans: vec![ful::TimeSpan::default()],
            ..Default::default()
        };
        let node = ful::Node { exceptions: vec![exception; 400], ..Default::default() };
        let nodes = ful::PutNodesRequest { nodes: vec![node; 40], ..Default::default() };
        assert!(weigh(&ful::PutNodesRequest::full_name(), &nodes.encode_to_vec()).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_left_to_who_reads_it() {
        for bytes in [&[0x2a][..], &[0x2a, 0x7f], &[0xff; 11], &[0x0f]] {
            assert!(weigh(&ord::PlaceOrderRequest::full_name(), bytes).is_ok());
        }
    }
}

//! Request messages are weighed before they are read.
//!
//! Two bytes on the wire can be an empty message of a list, which takes some hundred bytes once it is read: a request
//! of 1 MiB could take 200 MiB. What a request would take is known from the descriptors without reading it.

use std::collections::HashMap;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use hyper::body::{Body as HttpBody, Frame};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message as _};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic::Status;
use tonic::body::Body;

use crate::MESSAGE_LIMIT;
use crate::status::{DOMAIN, Violation, invalid, too_large};

/// Messages up to this many bytes are not weighed: they cannot grow to much.
const LIGHT: usize = 16 * 1024;

/// The most bytes of list entries that a request may grow to. The largest order or network that passes the rules of
/// its service takes about a quarter.
const MOST: usize = 8 * 1024 * 1024;

/// What precedes a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The shapes of all messages by their full names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes(Arc<HashMap<String, Shape>>);

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

/// Why the weighing ended early.
#[derive(Debug, PartialEq, Eq)]
enum Halt<'a> {
    Unreadable,
    /// In this field of the request it became too much.
    Heavy(&'a str),
}

impl Shapes {
    /// Reads encoded `FileDescriptorSet`s.
    pub(crate) fn read(descriptor_sets: &[&[u8]]) -> Result<Self, DecodeError> {
        let sets = descriptor_sets.iter().map(|encoded| FileDescriptorSet::decode(*encoded));
        let sets: Vec<FileDescriptorSet> = sets.collect::<Result<_, _>>()?;
        let mut declared = HashMap::new();
        for file in sets.iter().flat_map(|set| &set.file) {
            declare(file.package(), &file.message_type, &mut declared);
        }
        let shapes = declared.iter().map(|(name, message)| (name.clone(), shape(name, message, &declared)));
        Ok(Self(Arc::new(shapes.collect())))
    }

    /// The first message of a request, unpacked; refused when its lists would take too much once it is read.
    pub(crate) fn weighed(&self, name: &str, request: Bytes) -> Result<Bytes, Status> {
        let Some(length) = length(&request) else { return Ok(request) };
        let is_packed = request[0] == 1;
        if !is_packed {
            let message = request.get(HEAD..HEAD + length).unwrap_or_default();
            return self.weigh(name, message).map(|()| request);
        }
        let Some(message) = unpack(request.get(HEAD..).unwrap_or_default(), length)? else {
            return Ok(request);
        };
        self.weigh(name, &message)?;
        let mut unpacked = BytesMut::with_capacity(HEAD + message.len());
        unpacked.put_u8(0);
        unpacked.put_u32(u32::try_from(message.len()).map_err(|_| too_large())?);
        unpacked.put_slice(&message);
        unpacked.put_slice(request.get(HEAD + length..).unwrap_or_default());
        Ok(unpacked.freeze())
    }

    /// A request of many messages, each weighed as it comes.
    pub(crate) fn each_weighed(&self, name: &str, body: Body) -> Body {
        Body::new(Messages { shapes: self.clone(), name: name.to_owned(), body, part: BytesMut::new() })
    }

    fn weigh(&self, name: &str, message: &[u8]) -> Result<(), Status> {
        let Some(shape) = self.0.get(name).filter(|_| message.len() > LIGHT) else { return Ok(()) };
        let mut left = MOST;
        match self.add(&mut left, shape, message) {
            // what cannot be read is refused by who reads it
            Ok(()) | Err(Halt::Unreadable) => Ok(()),
            Err(Halt::Heavy(field)) => {
                Err(invalid(DOMAIN, vec![Violation::new(field, "has too many entries")]))
            }
        }
    }

    fn add<'a>(&'a self, left: &mut usize, shape: &'a Shape, mut bytes: &[u8]) -> Result<(), Halt<'a>> {
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
            let Some(inner) = self.0.get(&field.of) else { continue };
            if field.is_list {
                *left = left.checked_sub(inner.size).ok_or(Halt::Heavy(&field.name))?;
            }
            self.add(left, inner, message).map_err(|halt| match halt {
                Halt::Heavy(_) => Halt::Heavy(&field.name),
                Halt::Unreadable => Halt::Unreadable,
            })?;
        }
        Ok(())
    }
}

/// The length of the message that `request` begins with.
fn length(request: &[u8]) -> Option<usize> {
    let length = request.get(1..HEAD)?.try_into().ok().map(u32::from_be_bytes)?;
    usize::try_from(length).ok()
}

/// A message packed with gzip; none if it is not, which is left to who reads it.
fn unpack(rest: &[u8], length: usize) -> Result<Option<Vec<u8>>, Status> {
    let Some(packed) = rest.get(..length) else { return Ok(None) };
    let mut message = Vec::new();
    let most = u64::try_from(MESSAGE_LIMIT).unwrap_or(u64::MAX) + 1;
    if GzDecoder::new(packed).take(most).read_to_end(&mut message).is_err() {
        return Ok(None);
    }
    if message.len() > MESSAGE_LIMIT { Err(too_large()) } else { Ok(Some(message)) }
}

/// The messages of a request stream, whole and weighed.
struct Messages {
    shapes: Shapes,
    name: String,
    body: Body,
    /// What has come of the next message.
    part: BytesMut,
}

impl Messages {
    /// The next message, if it is there.
    fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(length) = length(&self.part) else { return Ok(None) };
        if length > MESSAGE_LIMIT {
            return Err(too_large());
        }
        if self.part.len() < HEAD + length {
            return Ok(None);
        }
        let message = self.part.split_to(HEAD + length).freeze();
        self.shapes.weighed(&self.name, message).map(Some)
    }
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            match self.next() {
                Ok(None) => {}
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Err(refusal) => {
                    self.part.clear();
                    return Poll::Ready(Some(Err(refusal)));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        self.part.reserve(data.remaining());
                        self.part.put(&mut data);
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                // half a message at the end is refused by who reads it
                None if !self.part.is_empty() => {
                    let half = self.part.split().freeze();
                    return Poll::Ready(Some(Ok(Frame::data(half))));
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_empty() && self.body.is_end_stream()
    }
}

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

fn shape(name: &str, message: &DescriptorProto, declared: &HashMap<String, &DescriptorProto>) -> Shape {
    let messages = message.field.iter().filter(|field| field.r#type() == Type::Message);
    let messages = messages.filter_map(|field| {
        let of = field.type_name().trim_start_matches('.').to_owned();
        let is_list = field.label() == Label::Repeated;
        Some((u32::try_from(field.number()).ok()?, Field { name: field.name().to_owned(), of, is_list }))
    });
    Shape { size: size(name, declared, 0), messages: messages.collect() }
}

/// A text or list is three words, a message lies inside, everything else is a word; a message in itself is boxed.
fn size(name: &str, declared: &HashMap<String, &DescriptorProto>, depth: usize) -> usize {
    let fields = declared.get(name).filter(|_| depth < 8).map_or(&[][..], |message| &message.field);
    let of = |field: &FieldDescriptorProto| match (field.label(), field.r#type()) {
        (Label::Repeated, _) | (_, Type::String | Type::Bytes) => 24,
        (_, Type::Message) => 8 + size(field.type_name().trim_start_matches('.'), declared, depth + 1),
        _ => 8,
    };
    fields.iter().map(of).sum::<usize>().max(8)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use http_body_util::{BodyExt as _, Full};
    use prost_types::FileDescriptorProto;
    use tonic::Code;

    use super::*;
    use crate::body::boxed;
    use crate::status::{reason, violations};

    fn field(name: &str, number: i32, of: Option<&str>) -> FieldDescriptorProto {
        let (kind, label) =
            if of.is_some() { (Type::Message, Label::Repeated) } else { (Type::String, Label::Optional) };
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            r#type: Some(kind.into()),
            label: Some(label.into()),
            type_name: of.map(|of| format!(".shop.{of}")),
            ..FieldDescriptorProto::default()
        }
    }

    /// An order with lines; a line has taxes and ten texts.
    fn shapes() -> Shapes {
        let texts = (10..20).map(|number| field("text", number, None));
        let line = texts.chain([field("taxes", 2, Some("Tax"))]).collect();
        let message = |name: &str, field: Vec<_>| DescriptorProto {
            name: Some(name.to_owned()),
            field,
            ..DescriptorProto::default()
        };
        let file = FileDescriptorProto {
            package: Some("shop".to_owned()),
            message_type: vec![
                message("Order", vec![field("lines", 5, Some("Line"))]),
                message("Line", line),
                message("Tax", (1..9).map(|number| field("text", number, None)).collect()),
            ],
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
        Shapes::read(&[&set]).unwrap()
    }

    fn framed(flag: u8, message: &[u8]) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(flag);
        bytes.put_u32(u32::try_from(message.len()).unwrap());
        bytes.put_slice(message);
        bytes.freeze()
    }

    /// A list of empty messages.
    fn empties(tag: u8, count: usize) -> Vec<u8> {
        [tag << 3 | 2, 0].repeat(count)
    }

    fn inside(tag: u8, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag << 3 | 2];
        prost::encoding::encode_varint(message.len() as u64, &mut bytes);
        bytes.extend_from_slice(message);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn a_swarm_of_empty_messages_is_refused_by_the_name_of_its_list() {
        let swarm = empties(5, 130_000);
        let hidden = [vec![0xfb, 0x01, 0xfc, 0x01], inside(5, &empties(2, 120_000))].concat();
        for (message, flag) in [(swarm.clone(), 0), (gzip(&swarm), 1), (hidden, 0)] {
            let refusal = shapes().weighed("shop.Order", framed(flag, &message)).unwrap_err();
            assert_eq!(refusal.code(), Code::InvalidArgument);
            assert_eq!(violations(&refusal)[0].field, "lines");
        }
    }

    #[test]
    fn a_packed_message_is_unpacked_once_and_within_the_limit() {
        let message = inside(10, &vec![b'a'; 40_000]);
        let unpacked = shapes().weighed("shop.Order", framed(1, &gzip(&message))).unwrap();
        assert_eq!(unpacked, framed(0, &message));
        let bomb = framed(1, &gzip(&vec![0; 16 << 20]));
        let refusal = shapes().weighed("shop.Order", bomb).unwrap_err();
        assert_eq!(reason(&refusal).as_deref(), Some("MESSAGE_TOO_LARGE"));
    }

    #[test]
    fn what_cannot_be_read_is_left_to_who_reads_it() {
        let many = [&empties(9, 9_000)[..], &[0x2a, 0x7f]].concat();
        for request in [
            framed(0, &many),
            framed(1, b"not packed"),
            Bytes::from_static(b""),
            Bytes::from_static(&[0, 0, 0, 0xff, 0xff, 1]),
            Bytes::from_static(&[1, 0, 0, 0xff, 0xff, 1]),
        ] {
            assert_eq!(shapes().weighed("shop.Order", request.clone()).unwrap(), request);
        }
        assert!(shapes().weighed("shop.Unknown", framed(0, &empties(5, 130_000))).is_ok());
    }

    #[tokio::test]
    async fn each_message_of_a_stream_is_weighed() {
        let light = framed(0, &inside(5, b""));
        let two = [&light[..], &light[..]].concat();
        let stream =
            |bytes: Vec<u8>| shapes().each_weighed("shop.Order", boxed(Full::new(Bytes::from(bytes))));
        let mut body = stream(two.clone());
        for _ in 0..2 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), light);
        }
        assert!(body.frame().await.is_none());
        let mut body = stream([&two[..], &framed(0, &empties(5, 130_000))].concat());
        assert!(body.frame().await.unwrap().is_ok() && body.frame().await.unwrap().is_ok());
        assert_eq!(body.frame().await.unwrap().unwrap_err().code(), Code::InvalidArgument);
        let mut half = stream(light[..6].to_vec());
        assert_eq!(half.frame().await.unwrap().unwrap().into_data().unwrap(), light[..6]);
    }
}

//! The text of a file: its encoding, its lines and what parts its cells.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, GBK, UTF_8, UTF_16BE, UTF_16LE};

/// What is wrong with a file as a whole, and on which line.
pub(super) type Wrong = (u64, String);

/// The content as text. Without a name it must be UTF-8, or UTF-16 with its mark; anything else is named, never guessed:
/// names read in a wrong encoding would be kept.
pub(super) fn decode(content: &[u8], named: Option<&'static Encoding>) -> Result<String, Wrong> {
    let marked = Encoding::for_bom(content);
    if let (Some(named), Some((marked, _))) = (named, marked)
        && named != marked
    {
        let text = format!("the file begins with the mark of {}, not of {}", marked.name(), named.name());
        return Err((1, text));
    }
    let start = marked.map_or(0, |(_, length)| length);
    let content = &content[start..];
    let encoding = named.or(marked.map(|(encoding, _)| encoding)).unwrap_or(UTF_8);
    if encoding == UTF_8 {
        return match std::str::from_utf8(content) {
            Ok(text) if named.is_none() && text.contains('\0') => Err((1, utf16(content))),
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let line = Lines::of(content).line(error.valid_up_to());
                Err((line, if content.contains(&0) { utf16(content) } else { foreign(content) }))
            }
        };
    }
    let text = encoding.decode_without_bom_handling_and_without_replacement(content);
    text.map(std::borrow::Cow::into_owned).ok_or_else(|| (1, format!("the file is not {}", encoding.name())))
}

/// Bytes of 0 stand in no text of one byte a character.
fn utf16(content: &[u8]) -> String {
    let zeros = |odd: usize| content.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
    let encoding = if zeros(0) > zeros(1) { UTF_16BE } else { UTF_16LE };
    let name = encoding.name();
    format!("the file is {name} without its mark; import it with --encoding {name}, or save it as UTF-8")
}

fn foreign(content: &[u8]) -> String {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(content, true);
    let guess = if is_common_chinese(content) { GBK } else { detector.guess(None, Utf8Detection::Deny) };
    let name = guess.name();
    format!(
        "the file is not UTF-8 but looks like {name}; import it with --encoding {name}, or save it as UTF-8"
    )
}

/// Whether all that is not ASCII are pairs of common Chinese characters. A few of them are too few for statistics.
fn is_common_chinese(content: &[u8]) -> bool {
    let mut bytes = content.iter();
    while let Some(byte) = bytes.next() {
        let is_common = |second: &u8| (0xB0..=0xD7).contains(byte) && (0xA1..=0xFE).contains(second);
        if !byte.is_ascii() && !bytes.next().is_some_and(is_common) {
            return false;
        }
    }
    true
}

/// Where the lines of a text begin. `\n`, `\r\n` and `\r` end a line, wherever they stand.
pub(super) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(super) fn of(content: &[u8]) -> Self {
        let mut starts = vec![0];
        for (place, byte) in content.iter().enumerate() {
            let is_end = *byte == b'\n' || (*byte == b'\r' && content.get(place + 1) != Some(&b'\n'));
            if is_end {
                starts.push(place + 1);
            }
        }
        Self { starts }
    }

    /// The line of this byte, from 1.
    pub(super) fn line(&self, place: usize) -> u64 {
        self.starts.partition_point(|start| *start <= place).max(1) as u64
    }
}

/// A separator by its character or its name.
pub(super) fn separator(text: &str) -> Result<u8, String> {
    match text {
        "tab" | "\\t" => Ok(b'\t'),
        _ => match text.as_bytes() {
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => {
                Ok(*byte)
            }
            _ => Err("expected one character, such as `;`, or `tab`".to_owned()),
        },
    }
}

/// Another separator that the header was written with.
pub(super) fn other_separator(header: &str, separator: u8) -> Option<&'static str> {
    let others = [(b',', ","), (b';', ";"), (b'\t', "tab"), (b'|', "|")];
    let parts = |byte: u8| header.bytes().filter(|found| *found == byte).count();
    let most = others.into_iter().max_by_key(|(byte, _)| parts(*byte))?;
    (parts(separator) < parts(most.0)).then_some(most.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        let text = b"a\r\nb\nc\rd\r\n\r\ne";
        let lines = Lines::of(text);
        let line = |wanted: u8| lines.line(text.iter().position(|byte| *byte == wanted).unwrap());
        assert_eq!([b'a', b'b', b'c', b'd', b'e'].map(line), [1, 2, 3, 4, 6]);
    }

    #[test]
    fn marks_are_followed_and_other_encodings_are_named() {
        assert_eq!(decode(b"\xef\xbb\xbfa", None).unwrap(), "a");
        assert_eq!(decode(b"\xff\xfea\0", None).unwrap(), "a");
        assert_eq!(decode(b"\xfe\xff\0a", None).unwrap(), "a");
        let gbk = b"node_id,sku,on_hand,name\nN1,A,1,\xb2\xe8\xd2\xb6\nN1,B,2,\xbf\xa7\xb7\xc8\xb1\xad\n";
        let (line, why) = decode(gbk, None).unwrap_err();
        assert!(line == 2 && why.contains("--encoding GBK"), "{line}: {why}");
        let text = decode(gbk, Encoding::for_label(b"gbk")).unwrap();
        assert!(text.contains("茶叶") && text.contains("咖啡杯"), "{text}");
        let (_, why) = decode(b"n\0o\0d\0e\0", None).unwrap_err();
        assert!(why.contains("UTF-16LE without its mark"), "{why}");
        let (_, why) = decode(b"\xff\xfea\0", Encoding::for_label(b"gbk")).unwrap_err();
        assert!(why.contains("the mark of UTF-16LE"), "{why}");
        assert!(decode(b"\x80\xff", Encoding::for_label(b"gbk")).is_err(), "no byte is replaced");
    }

    #[test]
    fn a_separator_is_one_character() {
        assert_eq!([";", "tab", "\\t", "|"].map(|text| separator(text).unwrap()), [b';', b'\t', b'\t', b'|']);
        assert!(["", ";;", "a", "\"", "é"].iter().all(|text| separator(text).is_err()));
        assert_eq!(other_separator("node_id;sku;on_hand", b','), Some(";"));
        assert_eq!(other_separator("node_id,sku,on_hand", b','), None);
        assert_eq!(other_separator("node_id,sku,on_hand", b';'), Some(","));
    }
}

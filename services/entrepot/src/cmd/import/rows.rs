//! The rows of a file: each good one becomes a row of the import, each bad one gets its verdict here.

use std::collections::HashMap;

use contract::inventory::v1::ImportStockRequest;
use csv::StringRecord;
use encoding_rs::Encoding;
use jiff::Timestamp;

use super::text::{self, Lines, Wrong};
use super::units::units;

/// How a file is to be read.
#[derive(Debug, Clone)]
pub(super) struct Format {
    pub(super) source: String,
    pub(super) at: Timestamp,
    pub(super) encoding: Option<&'static Encoding>,
    pub(super) separator: u8,
}

/// A row to be sent, and the line on which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) request: ImportStockRequest,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) line: u64,
    pub(super) reason: String,
    pub(super) message: String,
    /// Node and SKU, where the row names them.
    pub(super) place: Option<(String, String)>,
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) rows: Vec<Row>,
    pub(super) refused: Vec<Refused>,
}

struct Columns {
    node: usize,
    sku: usize,
    on_hand: usize,
    name: Option<usize>,
    reference: Option<usize>,
    count: usize,
}

impl Columns {
    fn of(header: &StringRecord) -> Result<Self, String> {
        let column = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
        let must = |name: &str| {
            column(name).ok_or_else(|| {
                let found: Vec<&str> = header.iter().take(20).collect();
                format!("the header has no `{name}`; it has `{}`", found.join("`, `"))
            })
        };
        Ok(Self {
            node: must("node_id")?,
            sku: must("sku")?,
            on_hand: must("on_hand")?,
            name: column("name"),
            reference: column("reference"),
            count: header.len(),
        })
    }
}

/// Reads a file. One that cannot be understood as a whole is refused, before anything is sent.
pub(super) fn read(content: &[u8], format: &Format) -> Result<Sheet, Wrong> {
    let content = text::decode(content, format.encoding)?;
    let first = content.lines().next().unwrap_or_default();
    if let Some(other) = text::other_separator(first, format.separator) {
        let used = char::from(format.separator);
        let text =
            format!("the cells are separated by `{other}`, not `{used}`; import with --separator '{other}'");
        return Err((1, text));
    }
    let lines = Lines::of(content.as_bytes());
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .delimiter(format.separator)
        .from_reader(content.as_bytes());
    let header = reader.headers().map_err(|error| (1, error.to_string()))?;
    let columns = Columns::of(header).map_err(|why| (1, why))?;
    let mut sheet = Sheet::default();
    let mut record = StringRecord::new();
    loop {
        let start = begin(&content, reader.position().byte());
        if !reader.read_record(&mut record).map_err(|error| (lines.line(start), error.to_string()))? {
            break;
        }
        let end = usize::try_from(reader.position().byte()).unwrap_or(content.len()).min(content.len());
        let raw = &content[start.min(end)..end];
        let (line, last) = (lines.line(start), lines.line(end_of(raw, start)));
        if end == content.len() && last > line && raw.matches('"').count() % 2 == 1 {
            let text = "a quote is opened and never closed: the rest of the file cannot be read";
            return Err((line, text.to_owned()));
        }
        match row(&record, &columns, format, line) {
            Ok(row) => sheet.rows.push(row),
            Err(mut refused) => {
                if last > line {
                    let text = refused.message;
                    refused.message =
                        format!("{text} (the row goes on to line {last}; a quote may be missing)");
                }
                sheet.refused.push(refused);
            }
        }
    }
    refuse_repeated(&mut sheet);
    Ok(sheet)
}

/// Where the next record begins: the reader stands before the rest of a line end and before empty lines.
fn begin(content: &str, place: u64) -> usize {
    let place = usize::try_from(place).unwrap_or(content.len()).min(content.len());
    let rest = &content.as_bytes()[place..];
    place + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

/// The last byte of a record that is not its line end.
fn end_of(raw: &str, start: usize) -> usize {
    start + raw.trim_end_matches(['\r', '\n']).len().saturating_sub(1)
}

fn row(record: &StringRecord, columns: &Columns, format: &Format, line: u64) -> Result<Row, Refused> {
    let text = |index: usize| record.get(index).unwrap_or_default().to_owned();
    let refused = |message: String, place| Refused { line, reason: "MALFORMED".to_owned(), message, place };
    if record.len() != columns.count {
        let text = format!(
            "has {} cells where the header has {}; a number with a comma may need quotes, or the file was cut",
            record.len(),
            columns.count
        );
        return Err(refused(text, None));
    }
    if record.iter().any(|cell| cell.contains(['\n', '\r'])) {
        return Err(refused("a cell goes over several lines".to_owned(), None));
    }
    let (node, sku) = (text(columns.node), text(columns.sku));
    let place = (!node.is_empty() && !sku.is_empty()).then(|| (node.clone(), sku.clone()));
    let on_hand = units(&text(columns.on_hand));
    let on_hand = on_hand.map_err(|why| refused(format!("on_hand: {why}"), place))?;
    let reference = columns.reference.map(text).filter(|text| !text.is_empty());
    let request = ImportStockRequest {
        source: format.source.clone(),
        // what makes a figure known again is its time, not the file that it stands in
        reference: reference.unwrap_or_else(|| format!("file of {}", format.at)),
        source_time: Some(crate::clients::timestamp(format.at)),
        node_id: node,
        sku,
        on_hand,
        name: columns.name.map(text).unwrap_or_default(),
    };
    Ok(Row { line, request })
}

/// A position on two lines has two figures, or one figure in two parts: neither is taken.
fn refuse_repeated(sheet: &mut Sheet) {
    let mut seen: HashMap<(String, String), Vec<u64>> = HashMap::new();
    let place = |row: &Row| (row.request.node_id.clone(), row.request.sku.clone());
    for row in &sheet.rows {
        seen.entry(place(row)).or_default().push(row.line);
    }
    let (rows, refused) = (&mut sheet.rows, &mut sheet.refused);
    rows.retain(|row| {
        let place = place(row);
        let lines = seen.get(&place).map_or(&[] as &[u64], Vec::as_slice);
        let Some(other) = lines.iter().find(|line| **line != row.line) else { return true };
        refused.push(Refused {
            line: row.line,
            reason: "DUPLICATE_ROW".to_owned(),
            message: format!("the position is also on line {other}; give it one line with the sum"),
            place: Some(place),
        });
        false
    });
    refused.sort_by_key(|refused| refused.line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(content: &[u8]) -> Result<Sheet, Wrong> {
        let at = "2026-03-01T06:00:00Z".parse().unwrap();
        read(content, &Format { source: "wms".to_owned(), at, encoding: None, separator: b',' })
    }

    fn refused(sheet: &Sheet) -> Vec<(u64, &str, &str)> {
        let refused = sheet.refused.iter();
        refused.map(|row| (row.line, row.reason.as_str(), row.message.as_str())).collect()
    }

    #[test]
    fn columns_may_stand_in_any_order() {
        let sheet = sheet(b"\xef\xbb\xbfsku,on_hand,NODE_ID,name\nA, 5 ,N1,Apple\nB,0,N2,\n").unwrap();
        assert_eq!(sheet.rows.len(), 2);
        let Row { line, request } = &sheet.rows[0];
        assert_eq!((*line, request.node_id.as_str(), request.sku.as_str()), (2, "N1", "A"));
        assert_eq!((request.on_hand, request.name.as_str()), (5, "Apple"));
        assert_eq!(sheet.rows[1].line, 3);
    }

    #[test]
    fn a_row_is_known_again_by_the_time_of_its_file() {
        let once = sheet(b"node_id,sku,on_hand\nN1,A,5\n").unwrap().rows;
        let other = sheet(b"node_id,sku,on_hand\nN1,B,1\nN1,A,5\n").unwrap().rows;
        assert_eq!(once[0].request, other[1].request);
        let own = sheet(b"node_id,sku,on_hand,reference\nN1,A,5,R7\n").unwrap().rows;
        assert_eq!(own[0].request.reference, "R7");
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        for end in ["\n", "\r\n", "\r"] {
            let text =
                ["node_id,sku,on_hand,name", "N1,A,x,", "", "N1,B,1,\"two", "lines\"", "N1,C,y,", "N1,D,2,"];
            let sheet = sheet(text.join(end).as_bytes()).unwrap();
            assert_eq!(sheet.refused.iter().map(|row| row.line).collect::<Vec<_>>(), [2, 4, 6], "{end:?}");
            assert_eq!(sheet.rows.iter().map(|row| row.line).collect::<Vec<_>>(), [7], "{end:?}");
        }
    }

    #[test]
    fn a_bad_row_is_refused_alone() {
        let text = b"node_id,sku,on_hand\nN1,A,5\nN1,B,2.5\nN1,C\nN1,D,1,000\nN1,E,10.000\nN1,F,1\nN2,F,1\nN1,F,2\nN1,G,7\n";
        let sheet = sheet(text).unwrap();
        let sent: Vec<&str> = sheet.rows.iter().map(|row| row.request.sku.as_str()).collect();
        assert_eq!(sent, ["A", "F", "G"]);
        assert_eq!(sheet.rows[1].request.node_id, "N2");
        let refused = refused(&sheet);
        let lines: Vec<u64> = refused.iter().map(|row| row.0).collect();
        assert_eq!(lines, [3, 4, 5, 6, 7, 9]);
        assert!(refused[0].2.starts_with("on_hand: `2.5` is not a whole number"), "{refused:?}");
        assert!(refused[2].2.contains("4 cells where the header has 3"), "{refused:?}");
        assert!(refused[3].2.contains("10 with decimals or 10000"), "{refused:?}");
        assert_eq!(refused[4].1, "DUPLICATE_ROW");
        assert!(refused[4].2.contains("line 9") && refused[5].2.contains("line 7"), "{refused:?}");
        let place = ("N1".to_owned(), "B".to_owned());
        assert_eq!((&sheet.refused[0].place, &sheet.refused[1].place), (&Some(place), &None));
    }

    #[test]
    fn a_quote_that_swallows_lines_is_found() {
        let (line, why) = sheet(b"node_id,sku,on_hand\nN1,A,1\n\"N1,B,1\nN1,C,2\n").unwrap_err();
        assert!(line == 3 && why.contains("never closed"), "{line}: {why}");
        let closed =
            sheet(b"node_id,sku,on_hand,name\nN1,A,1,\"Apple\nN1,B,1,Pear\nN1,C,2,\"Plum\nN1,D,1,x\n")
                .unwrap();
        assert!(
            refused(&closed).iter().any(|row| row.0 == 2 && row.2.contains("goes on to line 4")),
            "{closed:?}"
        );
    }

    /// A file, and the cause of its refusal or the rows that are sent and refused.
    type Odd<'a> = (&'a str, &'a [u8], Result<(usize, usize), &'a str>);

    #[test]
    fn odd_files_are_understood_or_refused_with_their_cause() {
        let long = [b"node_id,sku,on_hand\nN1,".as_slice(), &vec![b'A'; 1 << 20], b",1\n"].concat();
        let utf16: Vec<u8> =
            "\u{feff}node_id,sku,on_hand\r\nN1,A,1\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: &[Odd<'_>] = &[
            ("nothing", b"", Err("has no `node_id`")),
            ("a mark of the byte order and nothing", b"\xef\xbb\xbf", Err("has no `node_id`")),
            ("a header alone", b"node_id,sku,on_hand\n", Ok((0, 0))),
            ("a header without its newline", b"node_id,sku,on_hand", Ok((0, 0))),
            ("empty lines", b"node_id,sku,on_hand\n\n\nN1,A,1\n\n", Ok((1, 0))),
            ("lines of Windows", b"node_id,sku,on_hand\r\nN1,A,1\r\n", Ok((1, 0))),
            ("a last line without its newline", b"node_id,sku,on_hand\nN1,A,1", Ok((1, 0))),
            ("an upload that was cut", b"node_id,sku,on_hand\nN1,A,1\nN1,B", Ok((1, 1))),
            ("a cell too many", b"node_id,sku,on_hand\nN1,A,1,2\n", Ok((0, 1))),
            ("columns that changed places", b"node_id,on_hand,sku\nN1,A,1\n", Ok((0, 1))),
            ("semicolons", b"node_id;sku;on_hand\nN1;A;1\n", Err("separated by `;`")),
            ("tabs", b"node_id\tsku\ton_hand\nN1\tA\t1\n", Err("--separator 'tab'")),
            (
                "names in GBK",
                b"node_id,sku,on_hand,name\nN1,A,1,\xb2\xe8\xd2\xb6\xb2\xe8\xd2\xb6\n",
                Err("GBK"),
            ),
            ("UTF-16 with its mark", &utf16, Ok((1, 0))),
            ("UTF-16 without it", &utf16[2..], Err("UTF-16LE without its mark")),
            ("a serial number of a date", b"node_id,sku,on_hand\nN1,A,46082\n", Ok((1, 0))),
            ("more than there is", b"node_id,sku,on_hand\nN1,A,9223372036854775808\n", Ok((0, 1))),
            ("a line of 1 MiB", &long, Ok((1, 0))),
        ];
        for (what, content, wanted) in cases {
            match (sheet(content), wanted) {
                (Ok(sheet), Ok(counts)) => {
                    assert_eq!((sheet.rows.len(), sheet.refused.len()), *counts, "{what}: {sheet:?}");
                }
                (Err((line, why)), Err(cause)) => {
                    assert!(line > 0 && why.contains(cause), "{what}: line {line}: {why}");
                }
                (read, _) => panic!("{what}: {read:?}"),
            }
        }
    }
}

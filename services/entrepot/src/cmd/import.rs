//! `entrepot import`: a file of stock figures, with a verdict for each row.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use clock::Clock;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use contract::inventory::v1::{ImportStockRequest, RowResult, RowVerdict};
use jiff::Timestamp;
use server::{Principal, peer};
use sha2::{Digest as _, Sha256};

use super::{Place, say};
use crate::config::Config;
use crate::exit::{Class, Exit, Result};

/// Rows that are read ahead of the platform.
const AHEAD: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    /// CSV with the header `node_id,sku,on_hand`, and optionally `name` (makes unknown SKUs) and `reference`.
    file: PathBuf,
    /// Name of the system that the figures come from.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    source: String,
    /// When it took them, such as 2026-03-01T06:00:00Z; default: now. Older figures than known ones are refused.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The platform to send them to; default: the one that has the data directory open.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
}

#[derive(Default)]
struct Tally {
    applied: u64,
    known: u64,
    refused: u64,
}

pub(crate) async fn run(args: Args, config: &Config) -> Result<()> {
    let rows = read(&args)?;
    let lines: Vec<u64> = rows.iter().map(|(line, _)| *line).collect();
    let address = super::address(args.address, &config.data.directory)?;
    let peer = peer::remote(&address).map_err(|error| Exit::usage(error.to_string()))?;
    let peer = peer::acting(peer, &Principal::new(server::auth::kind::OPS, "import"));
    let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
    let sending = async move {
        for (_, row) in rows {
            if sender.send(row).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answer = InventoryServiceClient::new(peer).import_stock(stream).await?;
        let mut verdicts = answer.into_inner();
        let mut tally = Tally::default();
        while let Some(verdict) = verdicts.message().await? {
            if let Some(result) = verdict.result {
                tally.count(&result, &lines);
            }
        }
        Ok::<_, tonic::Status>(tally)
    };
    let ((), outcome) = tokio::join!(sending, receiving);
    let tally = outcome.map_err(|status| Exit::from_status(&status))?;
    say(&format!("{} rows applied, {} known already, {} refused", tally.applied, tally.known, tally.refused));
    if tally.refused > 0 {
        return Err(Exit::new(
            Class::Other,
            format!("{} rows of {} were refused", tally.refused, args.file.display()),
        ));
    }
    Ok(())
}

impl Tally {
    fn count(&mut self, result: &RowResult, lines: &[u64]) {
        match result.verdict() {
            RowVerdict::Applied => self.applied += 1,
            RowVerdict::Duplicate => self.known += 1,
            RowVerdict::Stale | RowVerdict::Refused | RowVerdict::Unspecified => {
                self.refused += 1;
                let line = usize::try_from(result.row)
                    .ok()
                    .and_then(|row| lines.get(row))
                    .copied()
                    .unwrap_or_default();
                say(&format!("line {line}: {} {}", result.reason, result.message));
            }
        }
    }
}

/// All rows with their lines; a file that cannot be understood is refused as a whole, before anything is sent.
fn read(args: &Args) -> Result<Vec<(u64, ImportStockRequest)>> {
    let content = std::fs::read(&args.file).map_err(|error| {
        Exit::new(Class::Directory, format!("{} cannot be read: {error}", args.file.display()))
    })?;
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content);
    let at = args.at.unwrap_or_else(|| Clock::system().wall());
    let digest =
        Sha256::digest(content).iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(content);
    let header = reader.headers().map_err(|error| wrong(&args.file, 1, &error.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
    let must =
        |name: &str| column(name).ok_or_else(|| wrong(&args.file, 1, &format!("the header has no `{name}`")));
    let (node, sku, on_hand) = (must("node_id")?, must("sku")?, must("on_hand")?);
    let (name, reference) = (column("name"), column("reference"));
    let mut rows = Vec::new();
    let mut seen: HashMap<(String, String), u64> = HashMap::new();
    for record in reader.records() {
        let place = record.as_ref().map_or_else(csv::Error::position, csv::StringRecord::position);
        let line = place.map_or(0, csv::Position::line);
        let record = record.map_err(|error| wrong(&args.file, line, &error.to_string()))?;
        let text = |index: usize| record.get(index).unwrap_or_default().to_owned();
        let units = text(on_hand);
        let on_hand = units
            .parse()
            .map_err(|_| wrong(&args.file, line, &format!("on_hand `{units}` is no whole number")))?;
        // the second figure would be refused as stale now, and applied when the file is sent again
        if let Some(first) = seen.insert((text(node), text(sku)), line) {
            return Err(wrong(&args.file, line, &format!("the position stands on line {first} already")));
        }
        rows.push((
            line,
            ImportStockRequest {
                source: args.source.clone(),
                reference: reference
                    .map(text)
                    .filter(|text| !text.is_empty())
                    .unwrap_or(format!("{digest}:{line}")),
                source_time: Some(crate::clients::timestamp(at)),
                node_id: text(node),
                sku: text(sku),
                on_hand,
                name: name.map(text).unwrap_or_default(),
            },
        ));
    }
    Ok(rows)
}

fn wrong(file: &Path, line: u64, why: &str) -> Exit {
    Exit::usage(format!("{} line {line}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Result<Vec<(u64, ImportStockRequest)>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(&Args {
            place: Place { data: None },
            file: file.path().to_owned(),
            source: "wms".to_owned(),
            at: Some("2026-03-01T06:00:00Z".parse().unwrap()),
            address: None,
        })
    }

    #[test]
    fn columns_may_stand_in_any_order() {
        let rows = rows(b"\xef\xbb\xbfsku,on_hand,NODE_ID,name\nA, 5 ,N1,Apple\nB,0,N2,\n").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].0, 2);
        assert_eq!((rows[0].1.node_id.as_str(), rows[0].1.sku.as_str(), rows[0].1.on_hand), ("N1", "A", 5));
        assert_eq!(rows[0].1.name, "Apple");
        assert_eq!(rows[1].0, 3);
    }

    #[test]
    fn the_same_file_has_the_same_references() {
        let once = rows(b"node_id,sku,on_hand\nN1,A,5\n").unwrap();
        assert_eq!(once, rows(b"node_id,sku,on_hand\nN1,A,5\n").unwrap());
        assert_ne!(once[0].1.reference, rows(b"node_id,sku,on_hand\nN1,A,6\n").unwrap()[0].1.reference);
    }

    #[test]
    fn what_cannot_be_understood_is_named_with_its_line() {
        assert!(rows(b"node,sku,on_hand\n").unwrap_err().message.contains("the header has no `node_id`"));
        let half = rows(b"node_id,sku,on_hand\nN1,A,5\nN1,B,2.5\n").unwrap_err();
        assert!(half.message.ends_with("line 3: on_hand `2.5` is no whole number"), "{half}");
        assert!(rows(b"node_id,sku,on_hand\nN1,A\n").is_err());
    }

    #[test]
    fn odd_files_are_understood_or_refused_whole() {
        let long = [b"node_id,sku,on_hand\nN1,".as_slice(), &vec![b'A'; 1 << 20], b",1\n"].concat();
        let cases: &[(&str, &[u8], Option<usize>)] = &[
            ("nothing", b"", None),
            ("a mark of the byte order and nothing", b"\xef\xbb\xbf", None),
            ("a header alone", b"node_id,sku,on_hand\n", Some(0)),
            ("a header without its newline", b"node_id,sku,on_hand", Some(0)),
            ("empty lines", b"node_id,sku,on_hand\n\n\nN1,A,1\n\n", Some(1)),
            ("lines of Windows", b"node_id,sku,on_hand\r\nN1,A,1\r\n", Some(1)),
            ("a last line without its newline", b"node_id,sku,on_hand\nN1,A,1", Some(1)),
            ("an upload that was cut", b"node_id,sku,on_hand\nN1,A,1\nN1,B", None),
            ("a quote without an end", b"node_id,sku,on_hand\n\"N1,A,1\nN1,B,2\n", None),
            ("a position twice", b"node_id,sku,on_hand\nN1,A,1\nN2,A,1\nN1,A,2\n", None),
            ("a cell too many", b"node_id,sku,on_hand\nN1,A,1,2\n", None),
            ("columns that changed places", b"node_id,on_hand,sku\nN1,A,1\n", None),
            ("names in GBK", b"node_id,sku,on_hand,name\nN1,A,1,\xb2\xe8\n", None),
            ("UTF-16", b"\xff\xfen\0o\0d\0e\0", None),
            ("a date for a number", b"node_id,sku,on_hand\nN1,A,2026-03-01\n", None),
            ("a serial number of a date", b"node_id,sku,on_hand\nN1,A,46082\n", Some(1)),
            ("a number of a spreadsheet", b"node_id,sku,on_hand\nN1,A,1E+03\n", None),
            ("a thousand with its comma", b"node_id,sku,on_hand\nN1,A,\"1,000\"\n", None),
            ("digits in full width", "node_id,sku,on_hand\nN1,A,\u{ff11}\n".as_bytes(), None),
            ("more than there is", b"node_id,sku,on_hand\nN1,A,9223372036854775808\n", None),
            ("a line of 1 MiB", &long, Some(1)),
        ];
        for (what, content, wanted) in cases {
            let read = rows(content);
            assert_eq!(read.as_ref().ok().map(Vec::len), *wanted, "{what}: {:?}", read.err());
            let told = read.err().map(|refusal| refusal.to_string());
            assert!(told.is_none_or(|text| text.contains(" line ") && !text.contains(" line 0")), "{what}");
        }
    }
}

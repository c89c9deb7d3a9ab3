//! `entrepot import`: a file of stock figures, with a verdict for each row.

mod nodes;
mod report;
mod rows;
mod text;
mod units;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clock::Clock;
use contract::inventory::v1::CloseSnapshotRequest;
use contract::inventory::v1::inventory_service_client::InventoryServiceClient;
use encoding_rs::Encoding;
use jiff::Timestamp;
use server::{Peer, Principal, peer};
use tonic::Status;
use uuid::Uuid;

use self::report::Report;
use self::rows::{Format, Row, Sheet};
use super::{Place, say};
use crate::config::Config;
use crate::exit::{Class, Exit, Result};

/// Rows that are read ahead of the platform.
const AHEAD: usize = 64;
/// Calls that close one node at most: half a million positions.
const MOST_CALLS: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    /// CSV with the header `node_id,sku,on_hand`, and optionally `name` (makes unknown SKUs) and `reference`.
    file: PathBuf,
    /// Name of the system that the figures come from.
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    source: String,
    /// When it took them, such as 2026-03-01T06:00:00Z; default: now. A figure is known again by this time, and one
    /// older than what is known is refused.
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// The file is complete: whatever a node of the file has and the file does not name is set to 0. A node with a
    /// refused row is left as it is.
    #[arg(long)]
    full: bool,
    /// With --full: also when more of a node's stock would vanish than the setting `inventory.max_vanishing_percent`.
    #[arg(long, requires = "full")]
    force: bool,
    /// Take figures of nodes that fulfillment does not know, and do not ask it.
    #[arg(long)]
    allow_unknown_nodes: bool,
    /// Encoding of the file, such as `gbk`; default: UTF-8, or UTF-16 with its mark.
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    encoding: Option<&'static Encoding>,
    /// What separates the cells: one character, or `tab`.
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = text::separator)]
    separator: u8,
    /// The platform to send them to; default: the one that has the data directory open.
    #[arg(long, value_name = "URL")]
    address: Option<String>,
}

fn encoding(name: &str) -> std::result::Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes())
        .ok_or_else(|| "is not a known encoding; try `gbk` or `utf-8`".to_owned())
}

pub(crate) async fn run(args: Args, config: &Config) -> Result<()> {
    let at = args.at.unwrap_or_else(|| Clock::system().wall());
    let mut sheet = read(&args, at)?;
    let address = super::address(args.address.clone(), &config.data.directory)?;
    let peer = acting(&address)?;
    if !args.allow_unknown_nodes {
        let known = known_nodes(&peer, &address, config).await?;
        nodes::refuse_unknown(&mut sheet, &known);
    }
    say(&format!(
        "{}: {} rows, figures of {at}",
        args.file.display(),
        sheet.rows.len() + sheet.refused.len()
    ));
    let named: BTreeSet<String> = sheet.rows.iter().map(|row| row.request.node_id.clone()).collect();
    let mut report = Report::new(sheet.refused);
    send(&peer, sheet.rows, &mut report).await?;
    report.say_refused();
    report.say_kept(&peer).await?;
    let unclosed = if args.full { close(&peer, &args, at, &named, &report).await? } else { Vec::new() };
    report.say_counts();
    let mut wrong = unclosed;
    if report.refused() > 0 {
        wrong.insert(0, format!("{} rows of {} were refused", report.refused(), args.file.display()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Exit::new(Class::Other, wrong.join("; "))) }
}

fn read(args: &Args, at: Timestamp) -> Result<Sheet> {
    let file = args.file.display();
    let content = std::fs::read(&args.file)
        .map_err(|error| Exit::new(Class::Directory, format!("{file} cannot be read: {error}")))?;
    let format =
        Format { source: args.source.clone(), at, encoding: args.encoding, separator: args.separator };
    rows::read(&content, &format).map_err(|(line, why)| Exit::usage(format!("{file} line {line}: {why}")))
}

fn acting(address: &str) -> Result<Peer> {
    let peer = peer::remote(address).map_err(|error| Exit::usage(error.to_string()))?;
    Ok(peer::acting(peer, &Principal::new(server::auth::kind::OPS, "import")))
}

/// The nodes as fulfillment knows them: at the same address, or where the settings say that it runs.
async fn known_nodes(peer: &Peer, address: &str, config: &Config) -> Result<BTreeSet<String>> {
    if let Some(known) = nodes::known(peer.clone()).await? {
        return Ok(known);
    }
    let elsewhere = &config.peers.fulfillment;
    if !elsewhere.is_empty()
        && let Some(known) = nodes::known(acting(elsewhere)?).await?
    {
        return Ok(known);
    }
    Err(Exit::usage(format!(
        "the nodes cannot be checked, because fulfillment is not served at {address}: set peers.fulfillment, or add \
         --allow-unknown-nodes to import without the check"
    )))
}

/// Sends the rows and collects their verdicts.
async fn send(peer: &Peer, rows: Vec<Row>, report: &mut Report) -> Result<()> {
    let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
    let sent: Vec<(u64, String, String)> =
        rows.iter().map(|row| (row.line, row.request.node_id.clone(), row.request.sku.clone())).collect();
    let sending = async move {
        for row in rows {
            if sender.send(row.request).await.is_err() {
                return;
            }
        }
    };
    let receiving = async {
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answer = InventoryServiceClient::new(peer.clone()).import_stock(stream).await?;
        let mut verdicts = answer.into_inner();
        while let Some(verdict) = verdicts.message().await? {
            if let Some(result) = verdict.result {
                report.count(result, &sent);
            }
        }
        Ok::<_, tonic::Status>(())
    };
    let ((), outcome) = tokio::join!(sending, receiving);
    outcome.map_err(|status| Exit::from_status(&status))
}

/// Sets to 0 what the file does not name, node by node. Answers what could not be done, with the way out.
async fn close(
    peer: &Peer,
    args: &Args,
    at: Timestamp,
    nodes: &BTreeSet<String>,
    report: &Report,
) -> Result<Vec<String>> {
    let mut unclosed = Vec::new();
    for node in nodes {
        if report.doubts(node) {
            unclosed.push(format!(
                "nothing was set to 0 at {node}, because refused rows may name what is there: mend them and import \
                 again with --full --at {at}"
            ));
            continue;
        }
        match close_node(peer, args, at, node).await {
            Ok(cleared) => {
                say(&format!("{node}: {cleared} positions that are not in the file were set to 0"));
            }
            Err(status) if server::status::reason(&status).as_deref() == Some("TOO_MUCH_VANISHES") => {
                unclosed.push(format!("{}: import again with --full --force --at {at}", status.message()));
            }
            Err(status) => return Err(Exit::from_status(&status)),
        }
    }
    Ok(unclosed)
}

/// Closes the snapshot of one node; answers how many positions were set to 0.
async fn close_node(
    peer: &Peer,
    args: &Args,
    at: Timestamp,
    node: &str,
) -> std::result::Result<usize, Status> {
    let mut client = InventoryServiceClient::new(peer.clone());
    let mut cleared = 0;
    for _ in 0..MOST_CALLS {
        let request = CloseSnapshotRequest {
            request_id: Uuid::new_v4().to_string(),
            source: args.source.clone(),
            reference: format!("file of {at}"),
            source_time: Some(crate::clients::timestamp(at)),
            node_id: node.to_owned(),
            force: args.force,
        };
        let answer = match client.close_snapshot(request).await {
            Ok(answer) => answer.into_inner(),
            // no row of it was applied: newer figures are known
            Err(status) if server::status::reason(&status).as_deref() == Some("SNAPSHOT_NOT_FOUND") => break,
            Err(status) => return Err(status),
        };
        for row in &answer.cleared {
            say(&format!("{node} {}: not in the file, {} -> {}", row.sku, row.on_hand_before, row.on_hand));
        }
        cleared += answer.cleared.len();
        if !answer.more {
            break;
        }
    }
    Ok(cleared)
}

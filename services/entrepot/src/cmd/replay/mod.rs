//! `entrepot replay FILE`: a week of a real shop's till, played as pickup orders on a virtual clock.

mod file;
mod play;
mod report;
mod shops;

use std::path::PathBuf;
use std::time::Duration;

use clock::Clock;
use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use domain::id;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tonic::Status;

use self::file::Till;
use self::play::Player;
use self::report::Audit;
use crate::clients::{Clients, timestamp};
use crate::cmd::say;
use crate::cmd::setup::{self, internal};
use crate::compose::Platform;
use crate::config::Config;
use crate::exit;

/// Plays a till file (csv or csv.gz) as pickup orders.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; its columns are those of the Online Retail data set.
    file: PathBuf,
    /// Where the platform keeps its data; a second run there changes nothing. Default: a fresh temporary directory.
    #[arg(long)]
    data: Option<PathBuf>,
    /// At most this many times real time; without it, as fast as the platform answers.
    #[arg(long)]
    speed: Option<f64>,
    /// The report as one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Plays the file and tells what came of it.
pub(crate) async fn run(args: Args, mut config: Config) -> exit::Result<()> {
    let till = file::read(&args.file)
        .map_err(|error| exit::Exit::new(exit::Class::Directory, format!("{error}; give a till file")))?;
    if args.speed.is_some_and(|speed| !speed.is_finite() || speed <= 0.0) {
        return Err(exit::Exit::usage("--speed must be a number above 0"));
    }
    let temporary = setup::data_directory(&mut config, args.data.as_deref(), "entrepot-replay-")?;
    config.server.listen.set_port(0);
    config.admin.listen.set_port(0);
    if config.orders.need_answer_s == 0 {
        // Nobody answers here: what a shop cannot do is paid back within the hour, as its customer is not to wait for days.
        config.orders.need_answer_s = 3_600;
    }
    let first = till.sales.first().map_or(Timestamp::UNIX_EPOCH, |sale| sale.at);
    // A directory that was played in before moves it on to where it stood.
    let clock = Clock::virtual_at(first - SignedDuration::from_hours(24));
    let platform = Platform::start(config, clock).await?;
    let report = tokio::select! {
        report = play(&platform, &till, &args) => report.map_err(|status| exit::Exit::from_status(&status)),
        _ = server::shutdown::signal() => Err(setup::interrupted()),
    };
    platform.shutdown().await;
    drop(temporary);
    tell(&args, &report?)
}

async fn play(platform: &Platform, till: &Till, args: &Args) -> Result<report::Report, Status> {
    let ops = Clients::new(&platform.address(), "ops/replay").map_err(internal)?;
    set_up(&ops, platform, till).await?;
    let (sender, seen) = mpsc::channel(1_024);
    let watchers = watch(platform, &sender).await?;
    let mut player = Player::new(platform, till, seen, args.speed)?;
    player.resume().await?;
    let style = ProgressStyle::with_template("{msg:>24} {bar:40} {pos}/{len}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(till.sales.len() as u64).with_style(style).with_message("playing the till");
    let (begun, from) = (std::time::Instant::now(), platform.clock().business());
    player.run(|played| bar.set_position(played)).await?;
    bar.finish_and_clear();
    let mut report = player.report;
    let virtual_s = platform.clock().business().duration_since(from).as_secs_f64();
    report.finish(begun.elapsed().as_secs_f64(), virtual_s, audit(&ops).await?);
    for watcher in watchers {
        watcher.abort();
    }
    Ok(report)
}

/// Shops, goods and stock; nothing new where an earlier run of the same file has been.
async fn set_up(ops: &Clients, platform: &Platform, till: &Till) -> Result<(), Status> {
    setup::put_nodes(ops, &shops::nodes()).await?;
    let mut names = std::collections::BTreeMap::new();
    let sold = till.sales.iter().flat_map(|sale| &sale.goods);
    for row in sold.chain(till.write_offs.iter().map(|(_, _, row)| row)) {
        let name = names.entry(row.code.clone()).or_insert_with(String::new);
        if name.is_empty() {
            name.clone_from(&row.name);
        }
    }
    let skus: Vec<(String, String)> = names
        .into_iter()
        .map(|(code, name)| {
            let name = if name.is_empty() { code.clone() } else { name };
            (code, name)
        })
        .collect();
    setup::put_skus(ops, &skus).await?;
    let whole_file = id::derived("replay-file", &format!("{:?}", till.sales)).to_string();
    let at = till.sales.first().map_or(Timestamp::UNIX_EPOCH, |sale| sale.at);
    let source_time = Some(timestamp(at - SignedDuration::from_hours(24)));
    let stock = shops::stock(till);
    let rows: Vec<inv::DeltaRow> = stock
        .into_iter()
        .map(|((shop, sku), pieces)| inv::DeltaRow {
            node_id: shop.to_owned(),
            delta: pieces,
            kind: i32::from(inv::MovementKind::Receipt),
            reference: id::derived("replay-stock", &format!("{whole_file}/{shop}/{sku}")).to_string(),
            source_time,
            sku,
        })
        .collect();
    setup::book(ops, "replay", &rows).await?;
    setup::events_arrive(platform, Duration::from_millis(2), Duration::from_mins(2)).await
}

/// One stream per shop, as its PAD has it: what is offered goes to the player.
async fn watch(
    platform: &Platform,
    sender: &mpsc::Sender<ful::FulfillmentOrder>,
) -> Result<Vec<tokio::task::JoinHandle<()>>, Status> {
    let mut tasks = Vec::new();
    for node in shops::nodes() {
        let pad = Clients::new(&platform.address(), &format!("store/{}", node.node_id)).map_err(internal)?;
        let request = ful::WatchWorkRequest { node_id: node.node_id, resume_token: String::new() };
        let mut stream = pad.work.clone().watch_work(request).await?.into_inner();
        let sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            while let Ok(Some(change)) = stream.message().await {
                let Some(work) = change.item.and_then(|item| item.fulfillment_order) else { continue };
                let offered = work.state() == ful::FulfillmentState::Offered;
                if offered && sender.send(work).await.is_err() {
                    return;
                }
            }
        }));
    }
    Ok(tasks)
}

async fn audit(ops: &Clients) -> Result<Audit, Status> {
    let answer = ops.inventory.clone().audit(inv::AuditRequest {}).await?.into_inner();
    let broken = answer.laws.iter().filter(|law| !law.ok);
    Ok(Audit {
        ok: answer.ok,
        broken: broken.map(|law| format!("{}: {}", law.law, law.first)).collect(),
        movements: answer.movements,
    })
}

fn tell(args: &Args, report: &report::Report) -> exit::Result<()> {
    if args.json {
        let text = serde_json::to_string(report)
            .map_err(|error| exit::Exit::other("cannot write the report", &error))?;
        say(&text);
    } else {
        say(&report.text());
    }
    if report.audit.ok && report.money_agrees {
        return Ok(());
    }
    Err(exit::Exit::new(exit::Class::Other, "the money or the stock does not agree; see the report"))
}

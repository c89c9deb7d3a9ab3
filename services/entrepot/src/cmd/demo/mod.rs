//! `entrepot demo`: the whole platform on the embedded default, a sample retailer, and orders played through the
//! public API until they are collected. Then it keeps serving.

mod figures;
mod retailer;
mod shoppers;
mod stores;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clock::Clock;
use contract::inventory::v1::AuditRequest;
use contract::orders::v1::{ListOrdersRequest, Order, OrderFilter, OrderStatus};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tonic::Status;

use self::figures::{Audit, Figures, Tally};
use self::stores::{Busy, Store};
use crate::clients::{Clients, timestamp};
use crate::cmd::say;
use crate::cmd::setup::{self, internal};
use crate::compose::Platform;
use crate::config::Config;
use crate::exit;

pub(crate) use self::figures::Latency;

/// Runs the platform with a sample retailer and plays orders on it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many orders the storefronts ask for.
    #[arg(long, default_value_t = 1_000)]
    orders: u64,
    /// Storefronts that ask at the same time.
    #[arg(long, default_value_t = 8)]
    clients: u64,
    /// Stop after the table; without it the platform keeps serving until interrupted.
    #[arg(long)]
    exit: bool,
    /// The figures as one JSON object on standard output, all else on standard error.
    #[arg(long)]
    json: bool,
    /// Where the platform keeps its data. Default: a fresh temporary directory, removed at the end.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Orders a second after the table; 0 = none, the platform only serves.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    rate: f64,
    /// Where callers connect, IP:PORT (setting `server.listen`).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where operators look, IP:PORT (setting `admin.listen`).
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// Seed of what customers and stores do.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

impl Args {
    /// Flags that are settings.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String, &'static str)> {
        let flags = [("server.listen", &self.listen, "--listen"), ("admin.listen", &self.admin, "--admin")];
        let given = |(path, value, flag): (_, &Option<String>, _)| Some((path, value.clone()?, flag));
        flags.into_iter().filter_map(given).collect()
    }
}

/// The most orders a second after the table.
const MAX_RATE: f64 = 100.0;

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (0.0..=MAX_RATE).contains(&rate) { Ok(rate) } else { Err(format!("expected 0 to {MAX_RATE}")) }
}

/// The stock of the retailer is replenished after this number of orders.
const RESTOCK_ORDERS: f64 = 2_000.0;

/// Plays the demo on a running platform.
struct Demo<'a> {
    args: &'a Args,
    platform: &'a Platform,
    clients: Clients,
    tally: Arc<Tally>,
    busy: Arc<Busy>,
}

impl Demo<'_> {
    async fn play(&self) -> Result<Figures, Status> {
        let nodes = retailer::nodes();
        let begun = self.platform.clock().business();
        let positions = self.set_up(&nodes).await?;
        let stores = self.open_stores(&nodes)?;
        let (asked, rate_per_s) = self.shop().await?;
        self.settle_needs(begun).await?;
        for store in stores {
            store.abort();
        }
        let mut figures = self.tally.figures();
        figures.asked = asked;
        figures.rate_per_s = rate_per_s;
        figures.nodes = nodes.len();
        figures.skus = retailer::SKUS;
        figures.positions = positions;
        let orders = self.orders(begun).await?;
        let is_rerouted = |order: &&Order| {
            order.groups.iter().flat_map(|group| &group.legs).any(|leg| !leg.need_id.is_empty())
        };
        figures.rerouted = orders.iter().filter(is_rerouted).count();
        for order in &orders {
            *figures.outcomes.entry(outcome(order)).or_default() += 1;
        }
        figures.audit = self.audit().await?;
        Ok(figures)
    }

    /// Goes on with orders after the table, until it is dropped. One node of each city is left to the person who tries it.
    async fn go_on(&self) -> Result<(), Status> {
        if self.args.rate <= 0.0 {
            return std::future::pending().await;
        }
        let alone = retailer::left_alone();
        let nodes: Vec<_> =
            retailer::nodes().into_iter().filter(|node| !alone.contains(&node.node_id)).collect();
        let tally = Arc::new(Tally::quiet());
        let busy = Arc::default();
        let demo = Demo { tally: Arc::clone(&tally), busy, clients: self.clients.clone(), ..*self };
        let _stores = demo.open_stores(&nodes)?;
        let clock = self.platform.clock().clone();
        let run = format!("demo-{}", clock.wall().as_millisecond());
        let pause = Duration::from_secs_f64(1.0 / self.args.rate);
        let seed = self.args.seed;
        let shopper = shoppers::stroll(self.named("channel/web")?, tally, run.clone(), seed, pause, clock);
        let restock = async {
            for delivery in 1_u64.. {
                self.platform.clock().pause(pause.mul_f64(RESTOCK_ORDERS)).await;
                let stock = retailer::stock(&retailer::nodes(), self.platform.clock().business());
                let booked =
                    setup::book(&self.named("ops/demo")?, &format!("{run}-{delivery}"), &stock).await;
                if let Err(status) = booked {
                    tracing::warn!(error = status.message(), "the demo's stock was not delivered again");
                }
            }
            Ok(())
        };
        tokio::select! {
            never = shopper => match never {},
            ended = restock => ended,
        }
    }

    async fn set_up(&self, nodes: &[contract::fulfillment::v1::Node]) -> Result<usize, Status> {
        let bar = bar(3, "setting up the retailer");
        let ops = self.named("ops/demo")?;
        setup::put_nodes(&ops, nodes).await?;
        bar.inc(1);
        let skus: Vec<(String, String)> = (0..retailer::SKUS).map(retailer::sku).collect();
        setup::put_skus(&ops, &skus).await?;
        bar.inc(1);
        let stock = retailer::stock(nodes, self.platform.clock().business());
        setup::book(&ops, "demo", &stock).await?;
        setup::events_arrive(self.platform, Duration::from_millis(5), Duration::from_mins(2)).await?;
        bar.finish_and_clear();
        Ok(stock.len())
    }

    fn open_stores(
        &self,
        nodes: &[contract::fulfillment::v1::Node],
    ) -> Result<Vec<tokio::task::JoinHandle<()>>, Status> {
        let mut tasks = Vec::new();
        for (seed, node) in (self.args.seed..).zip(nodes) {
            let store = Store {
                node_id: node.node_id.clone(),
                pad: self.named(&format!("store/{}", node.node_id))?,
                channel: self.named("channel/web")?,
                tally: Arc::clone(&self.tally),
                busy: Arc::clone(&self.busy),
                clock: self.platform.clock().clone(),
                rng: fastrand::Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            };
            tasks.push(tokio::spawn(store.run()));
        }
        Ok(tasks)
    }

    async fn shop(&self) -> Result<(u64, f64), Status> {
        let left = Arc::new(AtomicU64::new(self.args.orders));
        let run = format!("demo-{}", self.platform.clock().wall().as_millisecond());
        let begun = Instant::now();
        let mut shoppers = tokio::task::JoinSet::new();
        for client in 0..self.args.clients.clamp(1, 256) {
            let (tally, left) = (Arc::clone(&self.tally), Arc::clone(&left));
            let seed = self.args.seed.wrapping_add(client).wrapping_mul(0x2545_F491_4F6C_DD1D);
            shoppers.spawn(shoppers::shop(self.named("channel/web")?, tally, left, run.clone(), seed));
        }
        let bar = bar(self.args.orders, "placing orders");
        while !shoppers.is_empty() {
            tokio::select! {
                _ = shoppers.join_next() => {}
                () = self.platform.clock().pause(Duration::from_millis(100)) => {}
            }
            bar.set_position(self.args.orders - left.load(std::sync::atomic::Ordering::Relaxed));
        }
        bar.finish_and_clear();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.tally.orders() as f64 / begun.elapsed().as_secs_f64().max(1e-9);
        Ok((self.args.orders, rate))
    }

    /// Waits until every order has reached its store and every store has worked off its stream.
    async fn settle(&self) -> Result<(), Status> {
        let bar = bar(self.tally.orders() as u64, "stores at work");
        let deadline = Instant::now() + Duration::from_mins(2);
        let mut calm = 0;
        while calm < 5 {
            let unseen = self.tally.unseen() as u64;
            bar.set_position(self.tally.orders() as u64 - unseen);
            let idle = self.platform.idle().await.map_err(internal)?;
            calm = if unseen == 0 && self.busy.is_idle() && idle { calm + 1 } else { 0 };
            if Instant::now() > deadline {
                return Err(Status::deadline_exceeded(format!(
                    "{unseen} orders had not reached their store after 120 s"
                )));
            }
            self.platform.clock().pause(Duration::from_millis(20)).await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Waits until the stores have worked off all that came to them, also instead of another store, and nobody is asked any more.
    async fn settle_needs(&self, begun: Timestamp) -> Result<(), Status> {
        let deadline = Instant::now() + Duration::from_mins(2);
        let mut calm = 0;
        while calm < 2 {
            self.settle().await?;
            calm = if self.answer(begun).await? { 0 } else { calm + 1 };
            if Instant::now() > deadline {
                return Err(Status::deadline_exceeded("pieces were still looked for after 120 s"));
            }
        }
        Ok(())
    }

    /// Customers who are asked about pieces answer. Whether anything is still open.
    async fn answer(&self, begun: Timestamp) -> Result<bool, Status> {
        let customers = self.named("channel/web")?;
        let mut is_open = false;
        for order in &self.orders(begun).await? {
            is_open |= shoppers::answer(&customers, order).await?;
        }
        if is_open {
            self.platform.clock().pause(Duration::from_millis(20)).await;
        }
        Ok(is_open)
    }

    /// The orders of this demo; those of an earlier one on the same data are older.
    async fn orders(&self, begun: Timestamp) -> Result<Vec<Order>, Status> {
        let mut orders = Vec::new();
        let filter = OrderFilter { placed_from_time: Some(timestamp(begun)), ..OrderFilter::default() };
        let mut request =
            ListOrdersRequest { page_size: 200, filter: Some(filter), ..ListOrdersRequest::default() };
        loop {
            let page = self.clients.orders.clone().list_orders(request.clone()).await?.into_inner();
            orders.extend(page.orders);
            if page.next_page_token.is_empty() {
                return Ok(orders);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn audit(&self) -> Result<Audit, Status> {
        let audit = self.clients.inventory.clone().audit(AuditRequest {}).await?.into_inner();
        let broken = audit.laws.iter().filter(|law| !law.ok);
        Ok(Audit {
            ok: audit.ok,
            laws: audit.laws.len(),
            movements: audit.movements,
            broken: broken.map(|law| format!("{}: {}", law.law, law.first)).collect(),
        })
    }

    fn named(&self, actor: &str) -> Result<Clients, Status> {
        self.clients.acting(actor).map_err(internal)
    }
}

/// The status of an order in words; what waits for its customer apart from what is being worked on.
fn outcome(order: &Order) -> String {
    let buckets = || order.lines.iter().filter_map(|line| line.buckets);
    match order.status() {
        OrderStatus::InFulfillment if buckets().any(|b| b.ready > 0) => "waits for the customer".to_owned(),
        OrderStatus::Completed if buckets().any(|b| b.cancelled > 0) => "completed in part".to_owned(),
        other => other.as_str_name().trim_start_matches("ORDER_STATUS_").to_lowercase().replace('_', " "),
    }
}

fn bar(len: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:>24} {bar:40} {pos}/{len}");
    ProgressBar::new(len)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

/// Runs the demo and tells its figures; then serves until interrupted, unless `--exit`.
pub(crate) async fn run(args: Args, mut config: Config) -> exit::Result<()> {
    let temporary = setup::data_directory(&mut config, args.data.as_deref(), "entrepot-demo-")?;
    if args.exit {
        // Nobody calls from outside: any free port will do.
        for (flag, address) in
            [(&args.listen, &mut config.server.listen), (&args.admin, &mut config.admin.listen)]
        {
            if flag.is_none() {
                address.set_port(0);
            }
        }
    }
    let platform = Platform::start(config, Clock::system()).await?;
    let clients = Clients::new(&platform.address(), "ops/demo")
        .map_err(|error| exit::Exit::other("cannot call the platform", &error))?;
    let demo =
        Demo { args: &args, platform: &platform, clients, tally: Arc::default(), busy: Arc::default() };
    let played = tokio::select! {
        played = demo.play() => played.map_err(|status| exit::Exit::from_status(&status)),
        _ = server::shutdown::signal() => Err(setup::interrupted()),
    };
    let outcome = played.and_then(|figures| print(&args, &figures));
    if outcome.is_ok() && !args.exit {
        let at = platform.address();
        invite(&args);
        let at = at.trim_start_matches("http://");
        eprintln!("\nserving on {at} until interrupted; try\n");
        let cart = r#"{"lines": [{"line": 1, "sku": "DEMO-0007", "quantity": 2}], "max_options": 1,
    "place": {"point": {"latitude": 31.23, "longitude": 121.47}}}"#;
        eprintln!("  grpcurl -plaintext {at} list");
        eprintln!(
            "  grpcurl -plaintext -d '{cart}' \\\n    {at} entrepot.fulfillment.v1.PromiseService/GetPromise"
        );
        eprintln!("  grpcurl -plaintext {at} entrepot.inventory.v1.InventoryService/Audit\n");
        tokio::select! {
            signal = server::shutdown::signal() => tracing::info!(?signal, "the demo ends"),
            ended = demo.go_on() => {
                if let Err(status) = ended {
                    tracing::warn!(error = status.message(), "no more orders are played");
                }
                let signal = server::shutdown::signal().await;
                tracing::info!(?signal, "the demo ends");
            }
        }
    }
    platform.shutdown().await;
    drop(temporary);
    outcome
}

/// Says what goes on, and where a visitor may work.
fn invite(args: &Args) {
    if args.rate > 0.0 {
        let alone = retailer::left_alone().join(", ");
        eprintln!(
            "\norders go on at {} a second (--rate 0: none); nobody works at {alone}: try them",
            args.rate
        );
    }
}

fn print(args: &Args, figures: &Figures) -> exit::Result<()> {
    if args.json {
        let text = serde_json::to_string(figures)
            .map_err(|error| exit::Exit::other("cannot write the figures", &error))?;
        say(&text);
    } else {
        say(&figures.table());
    }
    if figures.audit.ok && figures.faults.is_empty() {
        return Ok(());
    }
    Err(exit::Exit::new(exit::Class::Other, "the demo met faults or broken stock laws; see the figures"))
}

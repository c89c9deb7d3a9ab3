//! `bench overload`: orders that come whether or not the last ones were answered, from half of what the platform can do to ten
//! times as much. Each caller waits for three seconds and no longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::orders::v1::order_service_client::OrderServiceClient;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use super::load::closed;
use super::outcome::{Outcome, Pairs};
use super::place::request;
use super::stage::Stage;
use crate::clients::{Caller, Clients};
use crate::cmd::demo::Latency;
use crate::cmd::setup::internal;

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections of the load: callers are many and do not share one.
const CONNECTIONS: usize = 16;
/// What is offered, in parts of the peak.
const STEPS: [f64; 7] = [0.5, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0];
/// What is offered after the last step, to see how soon all is well again.
const AFTER: f64 = 0.8;
/// How often more is offered to find the peak, and by how much.
const TRIES: usize = 10;
const RAMP: f64 = 1.25;
/// Calls are sent in bundles this often.
const TICK: Duration = Duration::from_millis(5);

/// What one rate of load gave.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Step {
    /// In parts of the peak.
    pub(crate) load: f64,
    /// Calls per second.
    pub(crate) offered_per_s: f64,
    /// Answered with success before the deadline, per second.
    pub(crate) good_per_s: f64,
    /// Refused for want of room, per second.
    pub(crate) shed_per_s: f64,
    /// Not answered before the deadline, per second.
    pub(crate) late_per_s: f64,
    /// Anything else, per second.
    pub(crate) failed_per_s: f64,
    /// Of the good ones, ms.
    pub(crate) p50_ms: f64,
    /// Of the good ones, ms.
    pub(crate) p99_ms: f64,
}

enum Fate {
    Good(Duration),
    Shed,
    Late,
    Failed(String),
}

type Client = OrderServiceClient<Caller>;

/// Measures.
pub(crate) async fn run(stage: &Stage<'_>) -> Result<Outcome, Status> {
    stage.node().await?;
    stage.stock().await?;
    let connect = || Clients::new(&stage.platform.address(), "channel/bench").map_err(internal);
    let clients: Arc<[Client]> =
        (0..CONNECTIONS).map(|_| Ok(connect()?.orders)).collect::<Result<Vec<_>, Status>>()?.into();
    let lasting = Duration::from_secs_f64((stage.args.seconds / 10.0).max(1.0));
    let skus = stage.args.skus;
    // once to warm up, once to measure
    let mut peak = closed(stage.args.clients, lasting, placing(&clients, skus)).await;
    stage.drained().await?;
    peak = {
        let again = closed(stage.args.clients, lasting, placing(&clients, skus)).await;
        if again.rate() > peak.rate() { again } else { peak }
    };
    let rate = found(stage, &clients, peak.rate(), lasting).await?;
    let mut first_failure = peak.first_failure.clone();
    let mut steps = Vec::new();
    let mut recovered = None;
    for load in STEPS {
        stage.drained().await?;
        let fates = offered(&clients, rate * load, lasting, skus).await;
        steps.push(step(load, rate * load, lasting, &fates, &mut first_failure));
        if load >= 10.0 {
            recovered = recovery(&clients, rate, skus).await;
        }
    }
    stage.drained().await?;
    let good = |load: f64| steps.iter().find(|step| step.load >= load).map_or(0.0, |step| step.good_per_s);
    let shares = [
        ("peak of closed callers, calls/s", peak.rate()),
        ("peak of open callers, calls/s", rate),
        ("good at 2x, part of the peak", good(2.0) / rate.max(1e-9)),
        ("good at 10x, part of the peak", good(10.0) / rate.max(1e-9)),
        ("seconds until 95 % of what is offered is good again", recovered.unwrap_or(f64::INFINITY)),
    ];
    let pairs = Pairs { ours: vec![peak], reference: Vec::new() };
    let mut outcome = Outcome::of("overload", stage.on(), stage.args.clients, skus, &pairs);
    outcome.more.extend(shares);
    outcome.first_failure = outcome.first_failure.or(first_failure);
    outcome.audit_ok = Some(stage.audit().await?);
    outcome.steps = steps;
    Ok(outcome)
}

/// The most good calls per second that callers get who don't wait for each other: each try offers more than the one
/// before, from `start` on, until a tenth of them is not good.
async fn found(
    stage: &Stage<'_>,
    clients: &Arc<[Client]>,
    start: f64,
    lasting: Duration,
) -> Result<f64, Status> {
    let (mut rate, mut best) = (start, 0.0_f64);
    for _ in 0..TRIES {
        stage.drained().await?;
        let fates = offered(clients, rate, lasting, stage.args.skus).await;
        let good = step(1.0, rate, lasting, &fates, &mut None).good_per_s;
        best = best.max(good);
        if good < 0.9 * rate {
            break;
        }
        rate *= RAMP;
    }
    Ok(best)
}

/// One call of a closed loop.
fn placing(
    clients: &Arc<[Client]>,
    skus: usize,
) -> impl Fn(usize, u64) -> futures_util::future::BoxFuture<'static, Result<(), Status>>
+ Send
+ Sync
+ 'static
+ use<> {
    let clients = Arc::clone(clients);
    move |caller, number| {
        let mut client = clients[caller % clients.len()].clone();
        Box::pin(async move { client.place_order(request(caller, number, skus, 1)).await.map(drop) })
    }
}

/// Sends `rate` calls per second, whatever becomes of them, and waits for the last.
async fn offered(clients: &Arc<[Client]>, rate: f64, lasting: Duration, skus: usize) -> Vec<Fate> {
    let (sender, mut fates) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let mut sent: usize = 0;
    let mut ticks = tokio::time::interval(TICK);
    while begun.elapsed() < lasting {
        ticks.tick().await;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of calls")]
        let due = (begun.elapsed().min(lasting).as_secs_f64() * rate) as usize;
        for caller in sent..due {
            let (client, sender) = (clients[caller % clients.len()].clone(), sender.clone());
            // boxed: a task copies all of its future when it ends
            tokio::spawn(Box::pin(async move {
                let _ = sender.send(call(client, caller, skus).await);
            }));
        }
        sent = sent.max(due);
    }
    drop(sender);
    let mut all = Vec::with_capacity(sent);
    while let Some(fate) = fates.recv().await {
        all.push(fate);
    }
    all
}

async fn call(mut client: Client, caller: usize, skus: usize) -> Fate {
    let begun = Instant::now();
    let mut request = Request::new(request(caller, caller as u64, skus, 1));
    request.set_timeout(PATIENCE);
    let answer = client.place_order(request).await;
    let took = begun.elapsed();
    match answer {
        Ok(_) if took <= PATIENCE => Fate::Good(took),
        Ok(_) => Fate::Late,
        Err(status) => match status.code() {
            Code::ResourceExhausted | Code::Unavailable => Fate::Shed,
            Code::DeadlineExceeded | Code::Cancelled => Fate::Late,
            _ => Fate::Failed(format!("{:?}: {}", status.code(), status.message())),
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn step(load: f64, rate: f64, lasting: Duration, fates: &[Fate], first_failure: &mut Option<String>) -> Step {
    let per_s =
        |is: fn(&Fate) -> bool| fates.iter().filter(|fate| is(fate)).count() as f64 / lasting.as_secs_f64();
    if let Some(text) =
        fates.iter().find_map(|fate| if let Fate::Failed(text) = fate { Some(text) } else { None })
    {
        first_failure.get_or_insert_with(|| text.clone());
    }
    let good = Latency::of(fates.iter().filter_map(|fate| match fate {
        Fate::Good(took) => Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
        Fate::Shed | Fate::Late | Fate::Failed(_) => None,
    }));
    Step {
        load,
        offered_per_s: rate,
        good_per_s: per_s(|fate| matches!(fate, Fate::Good(_))),
        shed_per_s: per_s(|fate| matches!(fate, Fate::Shed)),
        late_per_s: per_s(|fate| matches!(fate, Fate::Late)),
        failed_per_s: per_s(|fate| matches!(fate, Fate::Failed(_))),
        p50_ms: good.p50,
        p99_ms: good.p99,
    }
}

/// Seconds until nearly all calls of a bearable load are good; none if that takes longer than ten.
async fn recovery(clients: &Arc<[Client]>, peak: f64, skus: usize) -> Option<f64> {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    for _ in 0..10 {
        let at = begun.elapsed().as_secs_f64();
        let fates = offered(clients, peak * AFTER, second, skus).await;
        let good = fates.iter().filter(|fate| matches!(fate, Fate::Good(_))).count();
        if good * 100 >= fates.len() * 95 {
            return Some(at);
        }
    }
    None
}

//! What the demo counts and how it tells it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use comfy_table::{Table, presets};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;

/// Counts that many tasks add to.
#[derive(Default)]
pub(crate) struct Tally {
    inner: Mutex<Inner>,
    is_quiet: bool,
}

#[derive(Default)]
struct Inner {
    place_us: Vec<u64>,
    placed: BTreeMap<String, Timestamp>,
    seen: BTreeMap<String, Timestamp>,
    refused: BTreeMap<String, u64>,
    faults: BTreeMap<String, u64>,
}

impl Tally {
    /// One that keeps nothing: for orders that are played without an end.
    pub(crate) fn quiet() -> Self {
        Self { is_quiet: true, ..Self::default() }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// An order stands.
    pub(crate) fn placed(&self, order_id: String, place_time: Timestamp, micros: u64) {
        if self.is_quiet {
            return;
        }
        self.with(|inner| {
            inner.place_us.push(micros);
            inner.placed.insert(order_id, place_time);
        });
    }

    /// A store saw an order for the first time.
    pub(crate) fn seen(&self, order_id: &str, at: Timestamp) {
        if self.is_quiet {
            return;
        }
        self.with(|inner| {
            inner.seen.entry(order_id.to_owned()).or_insert(at);
        });
    }

    /// The platform said no.
    pub(crate) fn refused(&self, reason: &str) {
        if self.is_quiet {
            return tracing::debug!(reason, "an order was refused");
        }
        self.with(|inner| *inner.refused.entry(reason.to_owned()).or_default() += 1);
    }

    /// Something that should not happen.
    pub(crate) fn fault(&self, what: &str) {
        if self.is_quiet {
            return tracing::warn!(what, "the demo met a fault");
        }
        self.with(|inner| *inner.faults.entry(what.to_owned()).or_default() += 1);
    }

    /// Orders placed so far.
    pub(crate) fn orders(&self) -> usize {
        self.with(|inner| inner.placed.len())
    }

    /// Orders that stand but that no store has seen.
    pub(crate) fn unseen(&self) -> usize {
        self.with(|inner| inner.placed.keys().filter(|id| !inner.seen.contains_key(*id)).count())
    }

    /// The figures so far.
    pub(crate) fn figures(&self) -> Figures {
        self.with(|inner| Figures {
            placed: inner.placed.len() as u64,
            refused: inner.refused.clone(),
            faults: inner.faults.clone(),
            place_ms: Latency::of(inner.place_us.iter().copied()),
            stream_ms: Latency::of(inner.placed.iter().filter_map(|(id, placed)| {
                let seen = inner.seen.get(id)?;
                u64::try_from(seen.as_microsecond() - placed.as_microsecond()).ok()
            })),
            ..Figures::default()
        })
    }
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    /// Half are below.
    pub(crate) p50: f64,
    /// 99 of 100 are below.
    pub(crate) p99: f64,
    /// 999 of 1,000 are below.
    pub(crate) p999: f64,
    /// How many were measured.
    pub(crate) count: u64,
}

impl Latency {
    /// Of these microseconds.
    pub(crate) fn of(micros: impl IntoIterator<Item = u64>) -> Self {
        let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3) else {
            return Self::default();
        };
        for value in micros {
            histogram.saturating_record(value.max(1));
        }
        #[expect(clippy::cast_precision_loss, reason = "microseconds below ten minutes")]
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self { p50: ms(0.5), p99: ms(0.99), p999: ms(0.999), count: histogram.len() }
    }
}

/// All that the demo tells.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Orders asked for.
    pub(crate) asked: u64,
    /// Orders that stand.
    pub(crate) placed: u64,
    /// Orders by status at the end.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Orders of which another store than the first has pieces.
    pub(crate) rerouted: usize,
    /// Noes by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Unexpected errors by text.
    pub(crate) faults: BTreeMap<String, u64>,
    /// `PlaceOrder` as the storefront sees it (with the hold).
    pub(crate) place_ms: Latency,
    /// From the order's placement to the store's stream.
    pub(crate) stream_ms: Latency,
    /// Orders placed per second while placing.
    pub(crate) rate_per_s: f64,
    /// Nodes, SKUs and positions of the retailer.
    pub(crate) nodes: usize,
    /// SKUs.
    pub(crate) skus: usize,
    /// Positions with stock.
    pub(crate) positions: usize,
    /// The stock laws on live data.
    pub(crate) audit: Audit,
}

/// The stock laws.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Audit {
    /// All hold.
    pub(crate) ok: bool,
    /// How many.
    pub(crate) laws: usize,
    /// Ledger rows read.
    pub(crate) movements: i64,
    /// Those that do not, with their first row.
    pub(crate) broken: Vec<String>,
}

impl Figures {
    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_BORDERS_ONLY);
        let mut row = |name: &str, value: String| {
            table.add_row(vec![name.to_owned(), value]);
        };
        row("retailer", format!("{} nodes, {} SKUs, {} positions", self.nodes, self.skus, self.positions));
        row("orders asked / placed", format!("{} / {}", self.asked, self.placed));
        for (outcome, count) in &self.outcomes {
            row(&format!("  {outcome}"), count.to_string());
        }
        if self.rerouted > 0 {
            row("  rerouted to another store", self.rerouted.to_string());
        }
        for (reason, count) in &self.refused {
            row(&format!("  refused: {reason}"), count.to_string());
        }
        for (fault, count) in &self.faults {
            row(&format!("  FAULT: {fault}"), count.to_string());
        }
        row("rate", format!("{:.0} orders/s", self.rate_per_s));
        row("place, p50 / p99", format!("{:.2} / {:.2} ms", self.place_ms.p50, self.place_ms.p99));
        row(
            "order to store's stream, p50 / p99",
            format!("{:.2} / {:.2} ms", self.stream_ms.p50, self.stream_ms.p99),
        );
        let verdict = if self.audit.ok { "OK".to_owned() } else { self.audit.broken.join("; ") };
        row(
            "stock laws checked",
            format!("{verdict} ({} laws, {} ledger rows)", self.audit.laws, self.audit.movements),
        );
        table.to_string()
    }
}

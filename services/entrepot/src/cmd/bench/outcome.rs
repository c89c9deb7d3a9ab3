//! What a bench says: its own rate, the bare work's rate in the same run, and their ratio.

use std::fmt::Write as _;

use serde::Serialize;

use super::load::Round;
use super::overload::Step;
use crate::cmd::demo::Latency;

/// Rounds of both sides, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) ours: Vec<Round>,
    pub(crate) reference: Vec<Round>,
}

/// One object of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// What was measured.
    pub(crate) bench: &'static str,
    /// Engine and bus.
    pub(crate) on: String,
    /// Callers at once.
    pub(crate) clients: usize,
    /// SKUs the work is spread over.
    pub(crate) skus: usize,
    /// Successful calls per second, median of the rounds.
    pub(crate) rate_per_s: f64,
    /// Half of the calls are faster, ms.
    pub(crate) p50_ms: f64,
    /// 99 of 100 are faster, ms.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 are faster, ms.
    pub(crate) p999_ms: f64,
    /// The bare work per second, median of the rounds; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference_rate_per_s: Option<f64>,
    /// 99 of 100 of the bare work are faster, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reference_p99_ms: Option<f64>,
    /// Median of the rounds' ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Smallest and largest ratio of the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio_range: Option<(f64, f64)>,
    /// Processor time of this process for one call, us: servers, callers and what goes on behind them; a database
    /// server comes on top. Absent where it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_call: Option<f64>,
    /// Calls that failed, both sides.
    pub(crate) failed: u64,
    /// First failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_failure: Option<String>,
    /// The stock laws afterwards, where stock was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit_ok: Option<bool>,
    /// More figures of this bench by name.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub(crate) more: std::collections::BTreeMap<&'static str, f64>,
    /// What each rate of an open load gave.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<Step>,
}

impl Outcome {
    /// The outcome of rounds.
    pub(crate) fn of(bench: &'static str, on: String, clients: usize, skus: usize, pairs: &Pairs) -> Self {
        let latency = |rounds: &[Round]| {
            Latency::of(rounds.iter().flat_map(|round| &round.micros).map(|micros| u64::from(*micros)))
        };
        let ours = latency(&pairs.ours);
        let mut ratios: Vec<f64> =
            pairs.ours.iter().zip(&pairs.reference).map(|(a, b)| a.rate() / b.rate().max(1e-9)).collect();
        ratios.sort_by(f64::total_cmp);
        let both = || pairs.ours.iter().chain(&pairs.reference);
        let has_reference = !pairs.reference.is_empty();
        Self {
            bench,
            on,
            clients,
            skus,
            rate_per_s: median(pairs.ours.iter().map(Round::rate)),
            p50_ms: ours.p50,
            p99_ms: ours.p99,
            p999_ms: ours.p999,
            reference_rate_per_s: has_reference.then(|| median(pairs.reference.iter().map(Round::rate))),
            reference_p99_ms: has_reference.then(|| latency(&pairs.reference).p99),
            ratio: has_reference.then(|| median(ratios.iter().copied())),
            ratio_range: ratios.first().copied().zip(ratios.last().copied()),
            cpu_us_per_call: Some(pairs.ours.iter().map(|round| round.cpu_s).sum::<f64>())
                .filter(|cpu| *cpu > 0.0)
                .map(|cpu| 1e6 * cpu / pairs.ours.iter().map(Round::calls).sum::<f64>().max(1.0)),
            failed: both().map(|round| round.failed).sum(),
            first_failure: both().find_map(|round| round.first_failure.clone()),
            audit_ok: None,
            more: std::collections::BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = format!(
            "{} on {}: {} callers, {} SKUs\n  {:.0}/s, p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms",
            self.bench,
            self.on,
            self.clients,
            self.skus,
            self.rate_per_s,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms
        );
        if let Some(cpu) = self.cpu_us_per_call {
            let _ = write!(out, ", {cpu:.0} us of processor a call");
        }
        out.push('\n');
        if let (Some(rate), Some(p99), Some(ratio), Some((low, high))) =
            (self.reference_rate_per_s, self.reference_p99_ms, self.ratio, self.ratio_range)
        {
            let _ = writeln!(
                out,
                "  bare SQL in the same run: {rate:.0}/s, p99 {p99:.3} ms; ratio {ratio:.2}x ({low:.2} to {high:.2})"
            );
        }
        if !self.steps.is_empty() {
            out.push_str("  load   offered/s    good/s    shed/s    late/s  failed/s    p50 ms    p99 ms\n");
        }
        for step in &self.steps {
            let _ = writeln!(
                out,
                "{:5.1}x {:11.0} {:9.0} {:9.0} {:9.0} {:9.0} {:9.1} {:9.1}",
                step.load,
                step.offered_per_s,
                step.good_per_s,
                step.shed_per_s,
                step.late_per_s,
                step.failed_per_s,
                step.p50_ms,
                step.p99_ms
            );
        }
        for (name, value) in &self.more {
            let _ = writeln!(out, "  {name}: {value:.3}");
        }
        if let Some(ok) = self.audit_ok {
            let _ = writeln!(out, "  stock laws: {}", if ok { "OK" } else { "BROKEN" });
        }
        if self.failed > 0 {
            let first = self.first_failure.as_deref().unwrap_or_default();
            let _ = writeln!(out, "  failed: {} ({first})", self.failed);
        }
        out
    }
}

/// The middle of some numbers; 0 of none.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

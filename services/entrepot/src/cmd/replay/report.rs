//! What came of a file, to the penny.

use std::fmt::Write as _;

use serde::Serialize;

use super::file::{Invoice, RefusedRow, Till};

/// Figures of one replay. Money in pence.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Rows read.
    pub(crate) rows: u64,
    /// Readable invoices of all kinds.
    pub(crate) invoices: u64,
    /// Sales invoices that sell goods.
    pub(crate) sales: u64,
    /// Orders placed in this run.
    pub(crate) orders_placed: u64,
    /// Orders that an earlier run had placed.
    pub(crate) orders_known: u64,
    /// Orders the platform refused.
    pub(crate) orders_refused: u64,
    /// Refused orders: invoice and reasons.
    pub(crate) refusals: Vec<(String, String)>,
    /// Lines of the placed and known orders.
    pub(crate) lines: u64,
    /// Pieces of those lines.
    pub(crate) units: i64,
    /// Goods of the placed and known orders.
    pub(crate) goods_pence: i64,
    /// Charges of the placed and known orders.
    pub(crate) charges_pence: i64,
    /// Refused rows and refused orders with a positive quantity.
    pub(crate) refused_pence: i64,
    /// All sales rows of the file with a positive quantity.
    pub(crate) file_pence: i64,
    /// Order totals as the platform computed them.
    pub(crate) platform_pence: i64,
    /// True when goods + charges + refused = file, and goods + charges = platform.
    pub(crate) money_agrees: bool,
    /// Orders collected in this run.
    pub(crate) collected: u64,
    /// Pure write-off invoices.
    pub(crate) write_off_invoices: u64,
    /// Pieces written off (this and earlier runs).
    pub(crate) written_off_units: i64,
    /// Credit notes, left for after-sales.
    pub(crate) credit_notes: u64,
    /// Their worth (negative).
    pub(crate) credited_pence: i64,
    /// Codes that differ from another by case only (kept apart).
    pub(crate) case_twins: u64,
    /// Rows that were not played.
    pub(crate) refused_rows: Vec<RefusedRow>,
    /// Stock laws.
    pub(crate) audit: Audit,
    /// Wall time of the play, seconds.
    pub(crate) elapsed_s: f64,
    /// Orders placed per second of wall time.
    pub(crate) orders_per_s: f64,
    /// Virtual time over wall time.
    pub(crate) speed: f64,
}

/// The stock laws after the play.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Audit {
    /// All laws hold.
    pub(crate) ok: bool,
    /// Laws that do not, with their first row.
    pub(crate) broken: Vec<String>,
    /// Ledger rows checked.
    pub(crate) movements: i64,
}

impl Report {
    /// The report of a file before anything was played.
    pub(crate) fn new(till: &Till) -> Self {
        Self {
            rows: till.rows,
            invoices: till.invoices,
            sales: till.sales.len() as u64,
            refused_pence: till.refused.iter().map(|row| row.worth.max(0)).sum(),
            file_pence: till.sold,
            write_off_invoices: till.write_off_invoices,
            credit_notes: till.credit_notes,
            credited_pence: till.credited,
            case_twins: till.case_twins,
            refused_rows: till.refused.clone(),
            ..Self::default()
        }
    }

    /// Orders asked for so far.
    pub(crate) fn placed_or_refused(&self) -> u64 {
        self.orders_placed + self.orders_known + self.orders_refused
    }

    /// An order stands, of this run or an earlier one.
    pub(crate) fn placed(&mut self, sale: &Invoice, platform_pence: i64, is_new: bool) {
        if is_new {
            self.orders_placed += 1;
        } else {
            self.orders_known += 1;
        }
        self.lines += sale.goods.len() as u64;
        self.units += sale.goods.iter().map(|row| row.quantity).sum::<i64>();
        self.goods_pence += sale.goods.iter().map(super::file::Row::worth).sum::<i64>();
        self.charges_pence += sale.charges.iter().map(|charge| charge.1).sum::<i64>();
        self.platform_pence += platform_pence;
    }

    /// The platform said no.
    pub(crate) fn refused(&mut self, sale: &Invoice, why: &str) {
        self.orders_refused += 1;
        self.refusals.push((sale.number.clone(), why.to_owned()));
        let goods: i64 = sale.goods.iter().map(super::file::Row::worth).sum();
        self.refused_pence += goods + sale.charges.iter().map(|charge| charge.1).sum::<i64>();
    }

    /// Goods left without a sale; `quantity` is negative.
    pub(crate) fn wrote_off(&mut self, quantity: i64) {
        self.written_off_units -= quantity;
    }

    /// Closes the report.
    pub(crate) fn finish(&mut self, elapsed_s: f64, virtual_s: f64, audit: Audit) {
        let played = self.goods_pence + self.charges_pence;
        self.money_agrees = played + self.refused_pence == self.file_pence && played == self.platform_pence;
        self.audit = audit;
        self.elapsed_s = elapsed_s;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let orders = self.orders_placed as f64;
        self.orders_per_s = orders / elapsed_s.max(1e-9);
        self.speed = virtual_s / elapsed_s.max(1e-9);
    }

    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:<34} {value}");
        };
        row("rows / readable invoices", format!("{} / {}", self.rows, self.invoices));
        row(
            "orders placed / known / refused",
            format!(
                "{} / {} / {} of {} sales",
                self.orders_placed, self.orders_known, self.orders_refused, self.sales
            ),
        );
        row("lines / units", format!("{} / {}", self.lines, self.units));
        row("goods", pounds(self.goods_pence));
        row("charges", pounds(self.charges_pence));
        row("refused", pounds(self.refused_pence));
        row(
            "sum = sales rows of the file",
            format!("{} {}", pounds(self.file_pence), yes(self.money_agrees)),
        );
        row("collected now", self.collected.to_string());
        row(
            "write-offs",
            format!("{} invoices, {} units booked out", self.write_off_invoices, self.written_off_units),
        );
        row(
            "credit notes left for after-sales",
            format!("{} worth {}", self.credit_notes, pounds(self.credited_pence)),
        );
        row("codes with a twin in other case", self.case_twins.to_string());
        row("stock laws", format!("{} ({} ledger rows)", yes(self.audit.ok), self.audit.movements));
        row(
            "wall time",
            format!(
                "{:.1} s, {:.1} orders/s, {:.0} x real time",
                self.elapsed_s, self.orders_per_s, self.speed
            ),
        );
        for broken in &self.audit.broken {
            row("BROKEN LAW", broken.clone());
        }
        for (invoice, why) in self.refusals.iter().take(20) {
            row("refused order", format!("{invoice}: {why}"));
        }
        for refused in &self.refused_rows {
            row(
                "refused row",
                format!(
                    "line {} invoice {}: {} ({})",
                    refused.line, refused.invoice, refused.reason, refused.value
                ),
            );
        }
        out
    }
}

fn yes(ok: bool) -> &'static str {
    if ok { "OK" } else { "DOES NOT AGREE" }
}

fn pounds(pence: i64) -> String {
    let sign = if pence < 0 { "-" } else { "" };
    format!("{sign}{}.{:02} GBP", pence.abs() / 100, pence.abs() % 100)
}

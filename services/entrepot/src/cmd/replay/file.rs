//! The file: rows of a shop's till as they were written, sorted into what can be sold and what can't.
//!
//! Columns as in the *Online Retail* data set: `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,
//! CustomerID,Country`, dates `month/day/year hour:minute` in London time, prices in GBP. Nothing is dropped in
//! silence: each row is sold, a charge, written off, part of a credit note, or refused with its line and reason.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use domain::id::Sku;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Serialize;

/// The header a file must have.
const HEADER: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// Codes that are charges of an order and no goods.
const CHARGES: [&str; 4] = ["POST", "DOT", "C2", "M"];

/// Codes that are neither goods nor a charge a customer pays with an order.
const NOT_SOLD: [&str; 10] =
    ["D", "S", "B", "BANK CHARGES", "AMAZONFEE", "CRUK", "PADS", "GIFT", "ADJUST", "ADJUST2"];

/// Why a file can't be read at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It can't be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Its first line is another one.
    #[error("{path} does not begin with the header {}; found `{found}`", HEADER.join(","))]
    Header {
        /// The file.
        path: String,
        /// What stands there.
        found: String,
    },
}

/// A row that is not played, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RefusedRow {
    /// Line of the file, from 1 (the header).
    pub(crate) line: u64,
    /// Invoice, as far as it could be read.
    pub(crate) invoice: String,
    /// Why, such as `CUT_SHORT`.
    pub(crate) reason: &'static str,
    /// The value that is wrong.
    pub(crate) value: String,
    /// Minor units that the row was worth, 0 where that is unknown.
    pub(crate) worth: i64,
}

/// One row that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Line of the file.
    pub(crate) line: u64,
    /// Stock code as written.
    pub(crate) code: String,
    /// Text as written.
    pub(crate) name: String,
    /// Pieces; negative for returns and write-offs.
    pub(crate) quantity: i64,
    /// Price of a piece in pence.
    pub(crate) price: i64,
}

impl Row {
    /// What the row is worth in pence.
    pub(crate) fn worth(&self) -> i64 {
        self.price * self.quantity
    }
}

/// A sale to place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invoice {
    /// Number.
    pub(crate) number: String,
    /// When it was written.
    pub(crate) at: Timestamp,
    /// Customer number; empty for a guest.
    pub(crate) customer: String,
    /// Goods, in the file's order.
    pub(crate) goods: Vec<Row>,
    /// Charges: code and pence, one per code.
    pub(crate) charges: Vec<(String, i64)>,
}

/// All that a file says.
#[derive(Debug, Default)]
pub(crate) struct Till {
    /// Rows read, without the header.
    pub(crate) rows: u64,
    /// Distinct readable invoice numbers, of all kinds.
    pub(crate) invoices: u64,
    /// Sales, in the order of time and then of the file.
    pub(crate) sales: Vec<Invoice>,
    /// Goods that left without a sale, with their invoice's number and time.
    pub(crate) write_offs: Vec<(String, Timestamp, Row)>,
    /// Numbers of the invoices that are pure write-offs.
    pub(crate) write_off_invoices: u64,
    /// Credit notes: left for after-sales.
    pub(crate) credit_notes: u64,
    /// What they are worth in pence (negative).
    pub(crate) credited: i64,
    /// What is not played.
    pub(crate) refused: Vec<RefusedRow>,
    /// Codes that differ from another one by case only.
    pub(crate) case_twins: u64,
    /// Sales rows with a positive quantity: worth in pence, refused ones included.
    pub(crate) sold: i64,
}

/// Reads a file, `.csv` or `.csv.gz`.
pub(crate) fn read(path: &Path) -> Result<Till, Error> {
    let io = |source| Error::Io { path: path.display().to_string(), source };
    let mut file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|e| e == "gz") {
        MultiGzDecoder::new(file).read_to_end(&mut bytes).map_err(io)?;
    } else {
        file.read_to_end(&mut bytes).map_err(io)?;
    }
    parse(&bytes, &path.display().to_string())
}

/// Reads the bytes of a file: UTF-8, or Latin-1 where they are no UTF-8; a byte-order mark is passed over.
pub(crate) fn parse(bytes: &[u8], path: &str) -> Result<Till, Error> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).has_headers(false).from_reader(bytes);
    let mut till = Sorter::default();
    let mut record = csv::ByteRecord::new();
    let mut first = true;
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(source) => {
                return Err(Error::Io { path: path.to_owned(), source: std::io::Error::other(source) });
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let fields: Vec<String> = record.iter().map(text).collect();
        if std::mem::take(&mut first) {
            if fields != HEADER {
                return Err(Error::Header { path: path.to_owned(), found: fields.join(",") });
            }
            continue;
        }
        till.row(line, &fields);
    }
    if first {
        return Err(Error::Header { path: path.to_owned(), found: String::new() });
    }
    Ok(till.finish())
}

fn text(field: &[u8]) -> String {
    match std::str::from_utf8(field) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => field.iter().map(|byte| char::from(*byte)).collect::<String>().trim().to_owned(),
    }
}

/// An invoice while its rows come in.
struct Open {
    at: Timestamp,
    customer: String,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Sorter {
    till: Till,
    order: Vec<String>,
    open: HashMap<String, Open>,
}

impl Sorter {
    fn refuse(&mut self, line: u64, invoice: &str, reason: &'static str, value: &str, worth: i64) {
        self.till.refused.push(RefusedRow {
            line,
            invoice: invoice.to_owned(),
            reason,
            value: value.chars().take(80).collect(),
            worth,
        });
    }

    fn row(&mut self, line: u64, fields: &[String]) {
        self.till.rows += 1;
        let [invoice, code, name, quantity, at, price, customer, _country] = fields else {
            let invoice = fields.first().cloned().unwrap_or_default();
            return self.refuse(line, &invoice, "CUT_SHORT", &format!("{} of 8 fields", fields.len()), 0);
        };
        let Ok(quantity) = quantity.parse::<i64>() else {
            return self.refuse(line, invoice, "BAD_QUANTITY", quantity, 0);
        };
        let Some(at) = instant(at) else {
            return self.refuse(line, invoice, "BAD_DATE", at, 0);
        };
        let Some(price) = pence(price) else {
            return self.refuse(line, invoice, "PRICE_NOT_IN_PENCE", price, 0);
        };
        let worth = price.checked_mul(quantity);
        let Some(worth) = worth.filter(|_| quantity != 0 && quantity.abs() <= 1_000_000) else {
            return self.refuse(line, invoice, "ABSURD_QUANTITY", &quantity.to_string(), 0);
        };
        if price < 0 {
            return self.refuse(line, invoice, "NEGATIVE_PRICE", &price.to_string(), worth.min(0));
        }
        if invoice.is_empty() || Sku::new(code.as_str()).is_err() {
            // refused and yet a sale of the file: both sums have it
            self.till.sold += worth.max(0);
            return self.refuse(line, invoice, "BAD_CODE", code, worth);
        }
        let row = Row { line, code: code.clone(), name: name.clone(), quantity, price };
        let open = self.open.entry(invoice.clone()).or_insert_with(|| {
            self.order.push(invoice.clone());
            Open { at, customer: customer.clone(), rows: Vec::new() }
        });
        open.rows.push(row);
    }

    fn finish(mut self) -> Till {
        let mut codes: HashMap<String, std::collections::BTreeSet<String>> = HashMap::new();
        for number in std::mem::take(&mut self.order) {
            let Some(open) = self.open.remove(&number) else { continue };
            for row in &open.rows {
                codes.entry(row.code.to_uppercase()).or_default().insert(row.code.clone());
            }
            self.till.invoices += 1;
            self.sort(number, open);
        }
        self.till.case_twins = codes.values().filter(|spellings| spellings.len() > 1).count() as u64;
        self.till.sales.sort_by_key(|invoice| invoice.at);
        self.till.refused.sort_by_key(|row| row.line);
        self.till
    }

    fn sort(&mut self, number: String, open: Open) {
        if number.starts_with(['C', 'c']) {
            self.till.credit_notes += 1;
            self.till.credited += open.rows.iter().map(Row::worth).sum::<i64>();
            return;
        }
        let mut goods = Vec::new();
        let mut charges: Vec<Row> = Vec::new();
        let mut written_off = 0;
        let all = open.rows.len();
        for row in open.rows {
            let code = row.code.to_uppercase();
            let is_charge = CHARGES.contains(&code.as_str());
            if row.quantity > 0 {
                self.till.sold += row.worth();
            }
            if NOT_SOLD.contains(&code.as_str()) {
                self.refuse(row.line, &number, "NO_GOODS", &row.code, row.worth());
            } else if row.quantity < 0 && !is_charge {
                written_off += 1;
                self.till.write_offs.push((number.clone(), open.at, row));
            } else if row.quantity < 0 {
                self.refuse(row.line, &number, "NEGATIVE_CHARGE", &row.code, row.worth());
            } else if is_charge {
                charges.push(row);
            } else {
                goods.push(row);
            }
        }
        if written_off == all {
            self.till.write_off_invoices += 1;
        }
        if goods.is_empty() {
            for row in charges {
                self.refuse(row.line, &number, "CHARGE_WITHOUT_GOODS", &row.code, row.worth());
            }
            return;
        }
        let mut sums: Vec<(String, i64)> = Vec::new();
        for row in charges {
            let code = row.code.to_uppercase();
            match sums.iter_mut().find(|(known, _)| *known == code) {
                Some((_, sum)) => *sum += row.worth(),
                None => sums.push((code, row.worth())),
            }
        }
        let customer = open.customer;
        self.till.sales.push(Invoice { number, at: open.at, customer, goods, charges: sums });
    }
}

/// `12/1/10 8:26` or `12/1/2010 08:26`, London time.
fn instant(text: &str) -> Option<Timestamp> {
    let civil = ["%m/%d/%y %H:%M", "%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S"]
        .iter()
        .find_map(|format| DateTime::strptime(format, text).ok())?;
    let zone = TimeZone::get("Europe/London").ok()?;
    zone.to_zoned(civil).ok().map(|zoned| zoned.timestamp())
}

/// A decimal number of pounds as pence; `None` when it is finer than a penny or no number.
fn pence(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (pounds, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = rest.trim_end_matches('0');
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if pounds.is_empty() || fraction.len() > 2 || !is_number(pounds) || !is_number(fraction) {
        return None;
    }
    let pennies: i64 = format!("{fraction:0<2}").parse().ok()?;
    pounds.parse::<i64>().ok()?.checked_mul(100)?.checked_add(pennies)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn till(rows: &str) -> Till {
        parse(format!("{HEAD}{rows}").as_bytes(), "test").unwrap()
    }

    #[test]
    fn a_sale_keeps_its_goods_and_sums_its_charges() {
        let till = till(
            "536370,22728,\"CLOCK, PINK\",24,12/1/10 8:45,3.75,12583,France\n\
             536370,POST,POSTAGE,3,12/1/10 8:45,18,12583,France\n536370,post,POSTAGE,1,12/1/10 8:45,18.50,12583,France\n",
        );
        assert_eq!(till.sales.len(), 1);
        let sale = &till.sales[0];
        assert_eq!(sale.goods[0].name, "CLOCK, PINK");
        assert_eq!(sale.goods[0].worth(), 9_000);
        assert_eq!(sale.charges, vec![("POST".to_owned(), 7_250)]);
        assert_eq!(sale.at.to_string(), "2010-12-01T08:45:00Z");
        assert_eq!(till.sold, 16_250);
    }

    #[test]
    fn every_row_that_is_not_played_says_its_line_and_reason() {
        let till = till(
            "536779,BANK CHARGES,Bank Charges,1,12/2/10 15:08,15,15823,United Kingdom\n\
             C536379,D,Discount,-1,12/1/10 9:41,27.5,14527,United Kingdom\n\
             536589,21777,,-10,12/1/10 16:50,0,,United Kingdom\n\
             536590,21777,X,ten,12/1/10 16:50,0,,United Kingdom\n\
             536590,21777,X,1,31/31/10 16:50,0,,United Kingdom\n\
             536590,21777,X,1,12/1/10 16:50,0.001,,United Kingdom\n\
             536590,POST,X,1,12/1/10 16:50,2,,United Kingdom\n\
             537",
        );
        let found: Vec<(u64, &str)> = till.refused.iter().map(|row| (row.line, row.reason)).collect();
        assert_eq!(
            found,
            vec![
                (2, "NO_GOODS"),
                (5, "BAD_QUANTITY"),
                (6, "BAD_DATE"),
                (7, "PRICE_NOT_IN_PENCE"),
                (8, "CHARGE_WITHOUT_GOODS"),
                (9, "CUT_SHORT"),
            ]
        );
        assert_eq!((till.credit_notes, till.credited, till.write_off_invoices), (1, -2_750, 1));
        assert!(till.sales.is_empty());
    }

    #[test]
    fn the_worth_of_a_refused_row_is_in_the_sum_of_the_file() {
        let till = till(
            "536590,21777,X,1,12/1/10 16:50,2,,United Kingdom\n\
             536590,,X,3,12/1/10 16:50,1,,United Kingdom\n536590,21777,X,-2,12/1/10 16:50,-5,,United Kingdom\n\
             536590,21777,X,1,12/1/10 16:50,-7,,United Kingdom\n",
        );
        let found: Vec<(&str, i64)> = till.refused.iter().map(|row| (row.reason, row.worth)).collect();
        assert_eq!(found, vec![("BAD_CODE", 300), ("NEGATIVE_PRICE", 0), ("NEGATIVE_PRICE", -700)]);
        assert_eq!(till.sold, 500);
    }

    #[test]
    fn a_file_with_other_columns_is_refused_with_the_header_it_needs() {
        let error = parse(b"a,b,c\n", "x.csv").unwrap_err().to_string();
        assert!(error.contains("InvoiceNo,StockCode") && error.contains("a,b,c"), "{error}");
    }

    #[test]
    fn latin_1_and_codes_that_differ_by_case_are_kept_as_they_are() {
        let mut bytes = HEAD.as_bytes().to_vec();
        bytes.extend_from_slice(b"1,85123A,CAF\xC9,1,12/1/10 8:26,1,,UK\n1,85123a,x,1,12/1/10 8:26,1,,UK\n");
        let till = parse(&bytes, "test").unwrap();
        assert_eq!(till.sales[0].goods[0].name, "CAF\u{c9}");
        assert_eq!((till.case_twins, till.sales[0].goods.len()), (1, 2));
    }

    /// The week in `../shared/data`, where it is there.
    #[test]
    fn the_real_week_is_sorted_to_the_penny() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/online-retail-week.csv.gz");
        if !path.exists() {
            println!("not run: {} is not there", path.display());
            return;
        }
        let till = read(&path).unwrap();
        assert_eq!((till.rows, till.invoices, till.credit_notes), (14_595, 699, 70));
        assert_eq!((till.sales.len(), till.write_off_invoices, till.case_twins), (583, 45, 28));
        assert_eq!((till.sold, till.credited), (25_815_428, -517_451));
        let charges: i64 = till.sales.iter().flat_map(|sale| &sale.charges).map(|charge| charge.1).sum();
        let goods: i64 = till.sales.iter().flat_map(|sale| &sale.goods).map(Row::worth).sum();
        let refused: i64 = till.refused.iter().map(|row| row.worth).sum();
        assert_eq!((charges, refused, goods + charges + refused), (801_577, 1_500, till.sold));
        assert_eq!(till.refused.len(), 2);
    }
}

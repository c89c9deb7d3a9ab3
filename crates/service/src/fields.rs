//! Reading fields: each is taken, or named with what is wrong with it; all bad ones are named at once.
//!
//! Paths are written only when a field is bad: pass a text, or `format_args!("lines[{i}].sku")`.

use std::fmt::Display;
use std::str::FromStr;

use contract::google::r#type::Money as PbMoney;
use domain::id::{IdError, Uuid, check_text, request_id};
use domain::money::{Currency, Money};
use domain::name::hidden;
use domain::time::{Timestamp, from_parts};
use prost_types::Timestamp as PbTimestamp;
use server::Violation;
use server::auth::is_handle;

use crate::fault::Fault;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub struct Fields {
    violations: Vec<Violation>,
}

impl Fields {
    /// Names a bad field.
    pub fn refuse(&mut self, field: impl Display, why: impl Display) {
        self.violations.push(Violation::new(field.to_string(), why.to_string()));
    }

    /// Names the field unless it is valid.
    pub fn check(&mut self, is_valid: bool, field: impl Display, why: impl Display) {
        if !is_valid {
            self.refuse(field, why);
        }
    }

    /// The value, or its field named.
    pub fn take<T, E: Display>(&mut self, field: impl Display, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(field, why);
                None
            }
        }
    }

    /// The value, or its field named as missing.
    pub fn required<T>(&mut self, field: impl Display, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.refuse(field, "is required");
        }
        value
    }

    /// Adds what was found wrong elsewhere.
    pub fn append(&mut self, mut others: Self) {
        self.violations.append(&mut others.violations);
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    /// All that was wrong.
    pub fn into_violations(self) -> Vec<Violation> {
        self.violations
    }

    /// Fails if anything was wrong.
    pub fn done(self) -> Result<(), Fault> {
        if self.violations.is_empty() { Ok(()) } else { Err(Fault::Invalid(self.violations)) }
    }

    /// The value, if nothing was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Fault> {
        self.done()?;
        value.ok_or_else(|| Fault::field("request", "is incomplete"))
    }

    /// The id of a request.
    pub fn request_id(&mut self, text: &str) -> Option<Uuid> {
        self.take("request_id", request_id(text).map_err(|_| "must be a UUID, hyphenated, not nil"))
    }

    /// The id of an aggregate in a question for its events.
    pub fn uuid(&mut self, field: impl Display, text: &str) -> Option<Uuid> {
        self.take(field, Uuid::try_parse(text).map_err(|_| "must be a UUID"))
    }

    /// A text that must be there, with nothing invisible in it.
    pub fn text(&mut self, field: impl Display, text: &str, max: usize) -> String {
        self.take(field, check_text(text, max));
        text.to_owned()
    }

    /// A text for people, which may be empty or padded.
    pub fn label(&mut self, field: impl Display, text: &str, max: usize) -> String {
        if text.len() > max.saturating_mul(4) || text.chars().count() > max {
            self.refuse(field, IdError::TooLong { max });
        } else if let Some((position, c)) = hidden(text) {
            self.refuse(field, IdError::Invisible { code: u32::from(c), position });
        }
        text.to_owned()
    }

    /// An opaque handle that goes into events, at most `max` characters; it may be empty.
    pub fn handle(&mut self, field: impl Display, text: &str, max: usize) -> String {
        if text.contains('@') {
            self.refuse(field, "must be an opaque handle, not a mail address");
        } else if !text.is_empty() && !is_handle(text, max) {
            self.refuse(field, format_args!("must be at most {max} of A-Z a-z 0-9 . _ : + -"));
        }
        text.to_owned()
    }

    /// A reason: `UPPER_SNAKE`, at most 63 characters.
    pub fn reason(&mut self, field: impl Display, text: &str) -> String {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        let is_valid = begins && text.len() <= 63 && text.bytes().all(plain);
        self.check(is_valid, field, "must be UPPER_SNAKE, 1 to 63 characters");
        text.to_owned()
    }

    /// A list of 1 to `max` entries.
    pub fn count(&mut self, field: impl Display, entries: usize, max: usize) {
        if entries == 0 || entries > max {
            self.refuse(field, format_args!("must have 1 to {max} entries, has {entries}"));
        }
    }

    /// A number of entries that may be none, at most `max`.
    pub fn at_most(&mut self, field: impl Display, entries: usize, max: usize) {
        self.check(entries <= max, field, format_args!("must have at most {max} items"));
    }

    /// The first `max` of these texts as values, each once. Those that are right are the answer.
    pub fn distinct<T>(&mut self, name: impl Display, texts: &[String], max: usize) -> Vec<T>
    where
        T: FromStr<Err: Display> + PartialEq,
    {
        let mut values = Vec::with_capacity(texts.len().min(max));
        for (index, text) in texts.iter().take(max).enumerate() {
            let field = format_args!("{name}[{index}]");
            if let Some(value) = self.take(field, text.parse::<T>()) {
                self.check(!values.contains(&value), field, "duplicate");
                values.push(value);
            }
        }
        values
    }

    /// A page size: 0 is the default, more than `max` is cut, negative is refused.
    pub fn page_size(&mut self, size: i32, default: i64, max: i64) -> i64 {
        self.check(size >= 0, "page_size", "must not be negative");
        if size == 0 { default } else { i64::from(size).clamp(1, max) }
    }

    /// An instant that may be absent.
    pub fn time(&mut self, field: impl Display, at: Option<PbTimestamp>) -> Option<Timestamp> {
        at.and_then(|at| self.take(field, from_parts(at.seconds, at.nanos)))
    }

    /// An instant that must be there.
    pub fn required_time(&mut self, field: impl Display, at: Option<PbTimestamp>) -> Option<Timestamp> {
        match at {
            Some(at) => self.take(field, from_parts(at.seconds, at.nanos)),
            None => self.required(field, None),
        }
    }

    /// The currency that an amount names.
    pub fn currency(&mut self, field: impl Display, money: Option<&PbMoney>) -> Option<Currency> {
        let Some(money) = money else { return self.required(field, None) };
        self.take(format_args!("{field}.currency_code"), Currency::new(&money.currency_code))
    }

    /// An amount in minor units. All amounts of a document have one currency: `wanted`, when it is known.
    pub fn minor(
        &mut self,
        field: impl Display,
        money: Option<&PbMoney>,
        wanted: Option<Currency>,
    ) -> Option<i64> {
        let own = self.currency(&field, money)?;
        let money = money?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != own) {
            let why = format_args!("must be {wanted}, the currency of the order");
            self.refuse(format_args!("{field}.currency_code"), why);
            return None;
        }
        self.take(field, Money::from_units(money.units, money.nanos, own)).map(|m| m.minor)
    }

    /// An amount that is 0 when it is absent.
    pub fn minor_or_zero(
        &mut self,
        field: impl Display,
        money: Option<&PbMoney>,
        wanted: Option<Currency>,
    ) -> Option<i64> {
        if money.is_none() { Some(0) } else { self.minor(field, money, wanted) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_at_once() {
        let mut fields = Fields::default();
        let i = 3;
        assert_eq!(fields.request_id("7"), None);
        assert_eq!(fields.take(format_args!("lines[{i}].sku"), domain::id::Sku::new("")), None);
        fields.count("rows", 0, 10);
        fields.reason("reason", "because");
        assert_eq!(fields.page_size(-1, 50, 200), 1);
        assert_eq!(fields.required_time("source_time", None), None);
        let Err(Fault::Invalid(found)) = fields.finish(Some(())) else { panic!("it is valid") };
        let found: Vec<String> =
            found.into_iter().map(|v| format!("{} {}", v.field, v.description)).collect();
        assert_eq!(
            found,
            [
                "request_id must be a UUID, hyphenated, not nil",
                "lines[3].sku must not be empty",
                "rows must have 1 to 10 entries, has 0",
                "reason must be UPPER_SNAKE, 1 to 63 characters",
                "page_size must not be negative",
                "source_time is required",
            ]
        );
    }

    #[test]
    fn amounts_have_one_currency() {
        let mut fields = Fields::default();
        let money = PbMoney { currency_code: "EUR".to_owned(), units: 12, nanos: 340_000_000 };
        assert_eq!(fields.minor("total", Some(&money), Some(Currency::EUR)), Some(1_234));
        assert_eq!(fields.minor_or_zero("tax", None, Some(Currency::EUR)), Some(0));
        assert!(fields.is_empty());
        assert_eq!(fields.minor("total", Some(&money), Some(Currency::GBP)), None);
        assert_eq!(fields.minor("price", None, None), None);
        let Err(Fault::Invalid(found)) = fields.done() else { panic!("it is valid") };
        let named: Vec<&str> = found.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(named, ["total.currency_code", "price"]);
    }
}

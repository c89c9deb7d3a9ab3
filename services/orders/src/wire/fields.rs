//! Reading fields: each is taken or named with what is wrong with it, and all bad ones are named at once.

use contract::google::r#type::Money as PbMoney;
use domain::id::{IdError, Uuid, check_text, is_invisible, request_id};
use domain::money::{Currency, Money};
use domain::time::{Timestamp, from_parts};
use prost_types::Timestamp as PbTimestamp;
use server::Violation;

use crate::error::Error;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
    /// Amounts that do not go together: named only when the order is not looked at as a whole, which names them too.
    amounts: Vec<Violation>,
}

impl Fields {
    /// Names a bad field.
    pub(super) fn bad(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.violations.push(Violation::new(field, why));
    }

    /// Notes an amount that does not go with the others of its line.
    pub(super) fn bad_amount(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.amounts.push(Violation::new(field, why));
    }

    /// Names the amounts that were noted.
    pub(super) fn name_amounts(&mut self) {
        self.violations.append(&mut self.amounts);
    }

    /// Whether nothing is wrong so far.
    pub(super) fn are_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// The value, if nothing was wrong.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            Some(_) | None => Err(Error::Invalid(self.violations)),
        }
    }

    /// The value, or its field named.
    pub(super) fn take<T, E: ToString>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                self.bad(field, why.to_string());
                None
            }
        }
    }

    pub(super) fn request_id(&mut self, text: &str) -> Option<Uuid> {
        let read = request_id(text).map_err(|_| "must be a UUID, hyphenated, not nil");
        self.take("request_id", read)
    }

    /// A text that must be there, with nothing invisible in it.
    pub(super) fn text(&mut self, field: &str, text: &str, max: usize) -> String {
        if let Err(why) = check_text(text, max) {
            self.bad(field, why.to_string());
        }
        text.to_owned()
    }

    /// A text for people, which may be empty or padded.
    pub(super) fn label(&mut self, field: &str, text: &str, max: usize) -> String {
        if text.len() > max.saturating_mul(4) || text.chars().count() > max {
            self.bad(field, IdError::TooLong { max }.to_string());
        } else if let Some((position, c)) = text.chars().enumerate().find(|(_, c)| is_invisible(*c)) {
            self.bad(field, IdError::Invisible { code: u32::from(c), position }.to_string());
        }
        text.to_owned()
    }

    /// A name of a channel: 1 to 32 of `a-z 0-9 - _`.
    pub(super) fn channel(&mut self, field: &str, text: &str) -> String {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if !(1..=32).contains(&text.len()) || !text.bytes().all(plain) {
            self.bad(field, "must be 1 to 32 of a-z 0-9 - _");
        }
        text.to_owned()
    }

    /// A reason: `UPPER_SNAKE`, at most 63 characters.
    pub(super) fn reason(&mut self, field: &str, text: &str) -> String {
        let plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_uppercase());
        if !begins || text.len() > 63 || !text.bytes().all(plain) {
            self.bad(field, "must be UPPER_SNAKE, 1 to 63 characters");
        }
        text.to_owned()
    }

    /// The currency that an amount names.
    pub(super) fn currency(&mut self, field: &str, money: Option<&PbMoney>) -> Option<Currency> {
        let Some(money) = money else {
            self.bad(field, "is required");
            return None;
        };
        self.take(&format!("{field}.currency_code"), Currency::new(&money.currency_code))
    }

    /// An amount in minor units. All amounts of an order have one currency: that of the total, when it is known.
    pub(super) fn minor(
        &mut self,
        field: &str,
        money: Option<&PbMoney>,
        wanted: Option<Currency>,
    ) -> Option<i64> {
        let own = self.currency(field, money)?;
        let money = money?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != own) {
            self.bad(
                format!("{field}.currency_code"),
                format!("must be {wanted}, the currency of the order"),
            );
            return None;
        }
        self.take(field, Money::from_units(money.units, money.nanos, own)).map(|m| m.minor)
    }

    /// An amount that is 0 when it is absent.
    pub(super) fn minor_or_zero(
        &mut self,
        field: &str,
        money: Option<&PbMoney>,
        wanted: Option<Currency>,
    ) -> Option<i64> {
        if money.is_none() { Some(0) } else { self.minor(field, money, wanted) }
    }

    /// An instant that may be absent.
    pub(super) fn time(&mut self, field: &str, at: Option<PbTimestamp>) -> Option<Timestamp> {
        at.and_then(|at| self.take(field, from_parts(at.seconds, at.nanos)))
    }

    /// A page size: 0 is the default, too large is cut, negative is refused.
    pub(super) fn page_size(&mut self, size: i32, default: i64, most: i64) -> i64 {
        if size < 0 {
            self.bad("page_size", "must not be negative");
        }
        if size == 0 { default } else { i64::from(size).clamp(1, most) }
    }
}

//! Money: whole minor units of one ISO 4217 currency. No fractions, so nothing is ever rounded behind anyone's back.

use std::fmt;
use std::str::FromStr;

/// Why an amount can't be taken or computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not an ISO 4217 code that we know.
    #[error("is not an ISO 4217 currency code")]
    UnknownCurrency,
    /// Two amounts of different currencies were to be put together.
    #[error("currencies differ: {left} and {right}")]
    CurrencyMismatch {
        /// The currency of the first amount.
        left: Currency,
        /// The currency of the second.
        right: Currency,
    },
    /// The result does not fit.
    #[error("amount is out of range")]
    Overflow,
    /// The amount has more decimals than its currency.
    #[error("is finer than the minor unit of {currency} ({exponent} decimals)")]
    TooFine {
        /// The currency.
        currency: Currency,
        /// How many decimals it has.
        exponent: u8,
    },
    /// Units and nanos have different signs, or nanos exceed one unit.
    #[error("units and nanos must have the same sign and nanos be below one unit")]
    MixedSigns,
}

/// A currency of ISO 4217.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: &'static str,
    exponent: u8,
}

/// Codes whose minor unit is not a hundredth, and those with two decimals in one sorted list.
const ZERO: &[&str] = &[
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
    "XOF", "XPF",
];
const TWO: &[&str] = &[
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BMD",
    "BND", "BOB", "BOV", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHE", "CHF", "CHW", "CNY",
    "COP", "COU", "CRC", "CUP", "CVE", "CZK", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP",
    "GBP", "GEL", "GHS", "GIP", "GMD", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IRR",
    "JMD", "KES", "KGS", "KHR", "KPW", "KYD", "KZT", "LAK", "LBP", "LKR", "LRD", "LSL", "MAD", "MDL", "MGA",
    "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR", "MWK", "MXN", "MXV", "MYR", "MZN", "NAD", "NGN", "NIO",
    "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP", "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD",
    "SCR", "SDG", "SEK", "SGD", "SHP", "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS",
    "TMT", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "USD", "USN", "UYU", "UZS", "VED", "VES", "WST", "XCD",
    "XCG", "YER", "ZAR", "ZMW", "ZWG",
];
const THREE: &[&str] = &["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];
const FOUR: &[&str] = &["CLF", "UYW"];

impl Currency {
    /// The British pound.
    pub const GBP: Self = Self { code: "GBP", exponent: 2 };
    /// The euro.
    pub const EUR: Self = Self { code: "EUR", exponent: 2 };
    /// The renminbi yuan.
    pub const CNY: Self = Self { code: "CNY", exponent: 2 };
    /// The yen, which has no minor unit.
    pub const JPY: Self = Self { code: "JPY", exponent: 0 };

    /// The currency with this code, upper case.
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        for (codes, exponent) in [(TWO, 2), (ZERO, 0), (THREE, 3), (FOUR, 4)] {
            if let Ok(at) = codes.binary_search(&code) {
                return Ok(Self { code: codes[at], exponent });
            }
        }
        Err(MoneyError::UnknownCurrency)
    }

    /// Its ISO 4217 code.
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// How many decimals its minor unit has: 2 for cents, 0 for yen.
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        Self::new(code)
    }
}

const NANOS: i64 = 1_000_000_000;

/// An amount in minor units of a currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    /// Whole minor units (cents, pence, fen; yen as they are).
    pub minor: i64,
    /// The currency that they are units of.
    pub currency: Currency,
}

impl Money {
    /// This number of minor units.
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing, of this currency.
    pub const fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Reads whole units and billionths, as `google.type.Money` writes them.
    pub fn from_units(units: i64, nanos: i32, currency: Currency) -> Result<Self, MoneyError> {
        let nanos = i64::from(nanos);
        if nanos.abs() >= NANOS || (units > 0 && nanos < 0) || (units < 0 && nanos > 0) {
            return Err(MoneyError::MixedSigns);
        }
        let scale = 10_i64.pow(u32::from(currency.exponent));
        let step = NANOS / scale;
        if nanos % step != 0 {
            return Err(MoneyError::TooFine { currency, exponent: currency.exponent });
        }
        let minor = units.checked_mul(scale).and_then(|m| m.checked_add(nanos / step));
        Ok(Self { minor: minor.ok_or(MoneyError::Overflow)?, currency })
    }

    /// Whole units and billionths, the reverse of [`Money::from_units`].
    pub fn to_units(self) -> (i64, i32) {
        let scale = 10_i64.pow(u32::from(self.currency.exponent));
        let nanos = (self.minor % scale) * (NANOS / scale);
        (self.minor / scale, i32::try_from(nanos).unwrap_or_default())
    }

    /// The sum, if both are of one currency and it fits.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// The difference, if both are of one currency and it fits.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// A multiple of the amount, if it fits.
    pub fn checked_mul(self, times: i64) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(times).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    fn same(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.currency.exponent);
        let scale = 10_u64.pow(u32::from(self.currency.exponent));
        let sign = if self.minor < 0 { "-" } else { "" };
        let whole = self.minor.unsigned_abs() / scale;
        if digits == 0 {
            return write!(f, "{sign}{whole} {}", self.currency);
        }
        let part = self.minor.unsigned_abs() % scale;
        write!(f, "{sign}{whole}.{part:0digits$} {}", self.currency)
    }
}

/// Splits an amount over weights so that the parts are whole and sum to it exactly: each gets its floor, then the
/// largest remainders get one more (the earlier one first among equals). Negative weights count as nothing; when no
/// weight is positive, all weigh the same. No weights: no parts.
pub fn split(total_minor: i64, weights: &[i64]) -> Vec<i64> {
    let sum: i128 = weights.iter().map(|w| i128::from((*w).max(0))).sum();
    let even = sum == 0;
    let sum = if even { weights.len() as i128 } else { sum };
    if sum == 0 {
        return Vec::new();
    }
    let total = i128::from(total_minor.unsigned_abs());
    let share = |w: &i64| total * if even { 1 } else { i128::from((*w).max(0)) };
    let mut parts: Vec<i128> = weights.iter().map(|w| share(w) / sum).collect();
    let rest = total - parts.iter().sum::<i128>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|i| (-(share(&weights[*i]) % sum), *i));
    for i in by_remainder.into_iter().take(usize::try_from(rest).unwrap_or_default()) {
        parts[i] += 1;
    }
    let sign = i128::from(total_minor.signum());
    // Each part is at most the total, which is an i64.
    parts.into_iter().map(|p| i64::try_from(sign * p).unwrap_or(i64::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lists_of_codes_are_sorted() {
        for codes in [ZERO, TWO, THREE, FOUR] {
            assert!(codes.is_sorted());
        }
    }

    #[test]
    fn a_currency_has_its_decimals() {
        assert_eq!(Currency::new("JPY").unwrap().exponent(), 0);
        assert_eq!(Currency::new("KWD").unwrap().exponent(), 3);
        assert_eq!(Currency::new("GBP").unwrap(), Currency::GBP);
        for code in ["gbp", "", "GB", "XXX", "GBPP"] {
            assert_eq!(Currency::new(code), Err(MoneyError::UnknownCurrency));
        }
    }

    #[test]
    fn money_finer_than_the_minor_unit_is_refused() {
        assert_eq!(Money::from_units(12, 340_000_000, Currency::GBP).unwrap().minor, 1234);
        assert!(matches!(Money::from_units(0, 1, Currency::GBP), Err(MoneyError::TooFine { .. })));
        assert!(matches!(Money::from_units(1, 10_000_000, Currency::JPY), Err(MoneyError::TooFine { .. })));
        assert_eq!(Money::from_units(i64::MAX, 0, Currency::GBP), Err(MoneyError::Overflow));
        assert_eq!(Money::from_units(1, -1, Currency::GBP), Err(MoneyError::MixedSigns));
        assert_eq!(Money::from_units(0, 1_000_000_000, Currency::GBP), Err(MoneyError::MixedSigns));
    }

    #[test]
    fn currencies_do_not_mix() {
        let pound = Money::new(1, Currency::GBP);
        assert!(pound.checked_add(Money::new(1, Currency::EUR)).is_err());
        assert_eq!(pound.checked_mul(i64::MAX).unwrap().checked_add(pound), Err(MoneyError::Overflow));
        assert_eq!(Money::new(-5, Currency::GBP).to_string(), "-0.05 GBP");
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_total(total in any::<i64>(), weights in prop::collection::vec(-5_i64..i64::MAX, 1..40)) {
            // The smallest i64 has no positive counterpart, so its split can't be mirrored; no amount comes near it.
            prop_assume!(total > i64::MIN);
            let parts = split(total, &weights);
            prop_assert_eq!(parts.iter().map(|p| i128::from(*p)).sum::<i128>(), i128::from(total));
            prop_assert!(parts.iter().all(|p| p.signum() * total.signum() >= 0));
        }

        #[test]
        fn a_part_is_within_one_of_its_exact_share(total in 0_i64..1_000_000, weights in prop::collection::vec(0_i64..1000, 1..20)) {
            let sum: i64 = weights.iter().sum();
            prop_assume!(sum > 0);
            for (part, weight) in split(total, &weights).iter().zip(&weights) {
                let floor = total * weight / sum;
                prop_assert!(*part == floor || *part == floor + 1);
            }
        }

        #[test]
        fn units_and_nanos_read_back(minor in any::<i64>(), code in prop::sample::select(vec!["GBP", "JPY", "KWD"])) {
            let money = Money::new(minor, Currency::new(code).unwrap());
            let (units, nanos) = money.to_units();
            prop_assert_eq!(Money::from_units(units, nanos, money.currency).unwrap(), money);
        }
    }
}

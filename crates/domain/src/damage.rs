//! What spreadsheets and wrong encodings do to codes. A damaged code is no proof by itself, since a retailer may have
//! such codes: only a code that is unknown as well is taken for damaged.

use std::fmt;

/// What happened to a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A long number was shortened, such as `1.23457E+12`.
    Shortened,
    /// A code was read as a number with decimals, such as `4711.0`.
    Decimals,
    /// A code was read as a date, such as `1-Mar`.
    Date,
    /// A formula failed, such as `#N/A`.
    Formula,
    /// The text was read in a wrong encoding.
    Encoding,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shortened => {
                "a spreadsheet has shortened a long code and its digits are lost; export the column as text"
            }
            Self::Decimals => "a spreadsheet has read a code as a number; export the column as text",
            Self::Date => "a spreadsheet has turned a code into a date; export the column as text",
            Self::Formula => "it is the error of a spreadsheet formula; mend the formula",
            Self::Encoding => "the text was saved in a wrong encoding; export the file as UTF-8",
        })
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const FORMULAS: [&str; 8] = ["#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!"];

/// What the code looks like, if it looks damaged.
pub fn of(code: &str) -> Option<Damage> {
    if code.contains('\u{FFFD}') {
        return Some(Damage::Encoding);
    }
    if FORMULAS.contains(&code) {
        return Some(Damage::Formula);
    }
    if is_scientific(code) {
        return Some(Damage::Shortened);
    }
    if code.split_once(['.', ',']).is_some_and(|(whole, rest)| is_digits(whole) && is_zeros(rest)) {
        return Some(Damage::Decimals);
    }
    is_date(code).then_some(Damage::Date)
}

/// Whether the text is a number as spreadsheets shorten it: `1.23457E+12`.
pub fn is_scientific(text: &str) -> bool {
    let Some((number, power)) = text.split_once(['E', 'e']) else { return false };
    let (whole, rest) = number.split_once(['.', ',']).unwrap_or((number, "0"));
    let power = power.strip_prefix(['+', '-']);
    is_digits(whole.strip_prefix('-').unwrap_or(whole)) && is_digits(rest) && power.is_some_and(is_digits)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_zeros(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b == b'0')
}

/// `1-Mar`, `Mar-01`.
fn is_date(code: &str) -> bool {
    let Some((first, second)) = code.split_once('-') else { return false };
    let is_day = |text: &str| text.len() <= 2 && is_digits(text);
    let is_month = |text: &str| MONTHS.iter().any(|month| text.eq_ignore_ascii_case(month));
    (is_day(first) && is_month(second)) || (is_month(first) && is_day(second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_spreadsheets_did_is_named() {
        for (code, damage) in [
            ("1.23457E+12", Damage::Shortened),
            ("4,006E+12", Damage::Shortened),
            ("5E+10", Damage::Shortened),
            ("4711.0", Damage::Decimals),
            ("4711,00", Damage::Decimals),
            ("1-Mar", Damage::Date),
            ("SEP-02", Damage::Date),
            ("#N/A", Damage::Formula),
            ("T\u{FFFD}E", Damage::Encoding),
        ] {
            assert_eq!(of(code), Some(damage), "{code}");
        }
    }

    #[test]
    fn ordinary_codes_are_left_alone() {
        for code in
            ["85123A", "4006381333931", "00123", "10-20", "2E5", "A1E+3", "1.5", "MAR-7X", "3-Marble", "#12"]
        {
            assert_eq!(of(code), None, "{code}");
        }
    }
}

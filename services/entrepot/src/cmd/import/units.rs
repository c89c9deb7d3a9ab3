//! A number of units in a cell. Whatever is not plain digits is refused with what it looks like: a figure that is read
//! wrong is worse than one that is not read.

use domain::damage;

/// The number, or why there is none.
pub(super) fn units(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Err("is empty; write 0 where nothing is there".to_owned());
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map_err(|_| format!("`{text}` is too large"));
    }
    Err(format!("`{}` is not a whole number: {}", shown(text), why(text, digits)))
}

/// A cell that somebody filled with a book is shown by its beginning.
fn shown(text: &str) -> String {
    const MOST: usize = 40;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    shown
}

fn why(text: &str, digits: &str) -> String {
    if damage::is_scientific(text) {
        return "a spreadsheet has shortened it; format the column as a number without decimals".to_owned();
    }
    match damage::of(text) {
        Some(damage @ (damage::Damage::Formula | damage::Damage::Date | damage::Damage::Encoding)) => {
            return damage.to_string();
        }
        Some(damage::Damage::Shortened | damage::Damage::Decimals) | None => {}
    }
    if !digits.is_empty() && digits.chars().all(char::is_numeric) {
        return "write it with the digits 0 to 9".to_owned();
    }
    let groups: Vec<&str> = digits.split([',', '.', ' ', '\'', '\u{a0}', '\u{202f}', '_']).collect();
    let is_digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if groups.len() < 2 || !groups.iter().all(is_digits) {
        return "write digits alone, without units or formulas".to_owned();
    }
    let (whole, rest) = (groups[0], &groups[1..]);
    let joined = groups.concat();
    let is_grouped = whole.len() <= 3 && rest.iter().all(|part| part.len() == 3);
    match (is_grouped, rest) {
        (true, [_]) if digits.contains(['.', ',']) => {
            format!(
                "it may mean {whole} with decimals or {joined} with a thousands separator; write {whole} or {joined}"
            )
        }
        (true, _) => format!("it has thousands separators; write {joined}"),
        (false, [decimals]) if decimals.bytes().all(|byte| byte == b'0') => {
            format!("it has decimals; write {whole}")
        }
        (false, _) => "it has decimals, and goods are counted in whole pieces".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_digits_are_read() {
        assert_eq!(["0", "5", "+7", "-3", "007"].map(|text| units(text).unwrap()), [0, 5, 7, -3, 7]);
    }

    #[test]
    fn what_is_not_a_number_is_refused_with_its_cause() {
        for (text, cause) in [
            ("", "is empty"),
            ("9223372036854775808", "too large"),
            ("1E+03", "a spreadsheet has shortened it"),
            ("1.23457E+12", "a spreadsheet has shortened it"),
            ("10.000", "it may mean 10 with decimals or 10000 with a thousands separator"),
            ("1,000", "it may mean 1 with decimals or 1000 with a thousands separator"),
            ("1,234,567", "it has thousands separators; write 1234567"),
            ("1 000", "it has thousands separators; write 1000"),
            ("10.0", "it has decimals; write 10"),
            ("2.5", "counted in whole pieces"),
            ("2026-03-01", "write digits alone"),
            ("3-Mar", "turned a code into a date"),
            ("#REF!", "formula"),
            ("\u{ff11}\u{ff12}", "digits 0 to 9"),
            ("\u{661}", "digits 0 to 9"),
            ("12 pcs", "write digits alone"),
            ("=A1", "write digits alone"),
            ("-", "write digits alone"),
        ] {
            let refused = units(text).unwrap_err();
            assert!(refused.contains(cause), "{text}: {refused}");
        }
        assert!(units(&"x".repeat(1 << 20)).unwrap_err().len() < 200);
    }
}

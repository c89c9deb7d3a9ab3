//! Names for people, in any script. Two invisible characters belong to the spelling of some scripts: U+200C and U+200D
//! part and join letters in Persian and Hindi, and U+200D joins emoji to one picture. A name may hold them there and
//! nowhere else; codes and references never hold them ([`id::check_text`](crate::id::check_text)).

use crate::id::{IdError, check_with, is_invisible};

const NON_JOINER: char = '\u{200C}';
const JOINER: char = '\u{200D}';

/// Checks a name from outside: 1 to `max` characters, nothing hidden in it, no white space at its ends.
pub fn check_name(text: &str, max: usize) -> Result<(), IdError> {
    check_with(text, max, hidden)
}

/// The first invisible character that the script of its neighbors does not need, and its place in characters.
pub fn hidden(text: &str) -> Option<(usize, char)> {
    let mut before = None;
    let mut chars = text.chars().enumerate().peekable();
    while let Some((place, found)) = chars.next() {
        if is_invisible(found) && !is_needed(before, found, chars.peek().map(|(_, next)| *next)) {
            return Some((place, found));
        }
        before = Some(found);
    }
    None
}

/// Whether the character belongs between these two.
fn is_needed(before: Option<char>, found: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    let is_before = |belongs: fn(char) -> bool| belongs(before);
    let is_after = |belongs: fn(char) -> bool| after.is_some_and(belongs);
    match found {
        // between two letters that would join, or to show a virama
        NON_JOINER => (is_before(is_cursive) && is_after(is_cursive)) || is_before(is_indic),
        // the joined form of a single letter, a conjunct, or an emoji of several
        JOINER => {
            is_before(is_cursive) || is_before(is_indic) || (is_before(is_emoji_end) && is_after(is_emoji))
        }
        _ => false,
    }
}

/// Scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic, Mongolian.
fn is_cursive(c: char) -> bool {
    matches!(u32::from(c),
        0x0610..=0x061A | 0x0620..=0x065F | 0x066E..=0x06D3 | 0x06D5..=0x06DC | 0x06DF..=0x06E8 | 0x06EA..=0x06EF
        | 0x06FA..=0x06FF | 0x0710..=0x077F | 0x07CA..=0x07F5 | 0x0840..=0x085B | 0x0860..=0x088E
        | 0x0898..=0x08E1 | 0x08E3..=0x08FF | 0x1820..=0x18AA | 0xFB50..=0xFDFF | 0xFE70..=0xFEFC)
}

/// The scripts of India and its neighbors, whose letters form conjuncts: Devanagari to Sinhala, Myanmar, Khmer.
fn is_indic(c: char) -> bool {
    matches!(u32::from(c), 0x0900..=0x0963 | 0x0971..=0x0DF3 | 0x1000..=0x109F | 0x1780..=0x17D3)
}

/// A picture.
fn is_emoji(c: char) -> bool {
    matches!(u32::from(c),
        0x203C | 0x2049 | 0x2122 | 0x2139 | 0x2194..=0x21AA | 0x231A..=0x23FF | 0x24C2 | 0x25AA..=0x25FE
        | 0x2600..=0x27BF | 0x2934..=0x2935 | 0x2B05..=0x2B55 | 0x3030 | 0x303D | 0x3297 | 0x3299
        | 0x1F000..=0x1FAFF)
}

/// A picture, or the end of one: skin tones are pictures of their own, U+FE0F asks for color.
fn is_emoji_end(c: char) -> bool {
    c == '\u{FE0F}' || is_emoji(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NodeId, Sku, check_text};

    #[test]
    fn names_keep_the_joiners_of_their_script() {
        for name in [
            "کتاب\u{200C}خانه",
            "می\u{200C}خواهم",
            "۱۴۰۲ ه\u{200D}.ش",
            "र\u{94D}\u{200D}य",
            "क\u{94D}\u{200C}ष",
            "ශ\u{DCA}\u{200D}රී",
            "ന\u{D4D}\u{200D}",
            "Apron \u{1F469}\u{200D}\u{1F373}",
            "\u{1F469}\u{1F3FD}\u{200D}\u{1F680} suit",
            "\u{1F3F3}\u{FE0F}\u{200D}\u{1F308} flag",
        ] {
            assert_eq!(check_name(name, 50), Ok(()), "{name}");
            assert!(check_text(name, 50).is_err(), "{name} as a reference");
        }
    }

    #[test]
    fn joiners_are_refused_where_they_only_hide() {
        for name in [
            "TEA\u{200D}",
            "TE\u{200C}A",
            "\u{200D}خانه",
            "خانه\u{200C}",
            "خانه\u{200C} TEA",
            "A\u{200D}\u{1F373}",
            "\u{1F469}\u{200D}A",
            "می\u{200C}\u{200C}خواهم",
            "\u{1F469}\u{200D}\u{200D}\u{1F373}",
            "茶\u{200D}叶",
            "کتاب\u{200B}خانه",
            "\u{202E}خانه",
        ] {
            let refused = check_name(name, 50);
            assert!(matches!(refused, Err(IdError::Invisible { .. })), "{name}: {refused:?}");
        }
        assert!(Sku::new("می\u{200C}خواهم").is_err() && NodeId::new("می\u{200C}خواهم").is_err());
    }
}

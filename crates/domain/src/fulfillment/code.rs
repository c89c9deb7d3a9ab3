//! Pickup codes: what the customer shows, how it may be typed, and how often one may be wrong.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// The characters of a code (Crockford's base 32): no I, L, O, U.
pub const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The fewest characters of a code.
pub const MIN_CHARS: usize = 8;

/// The most characters of a code.
pub const MAX_CHARS: usize = 32;

/// Wrong codes after which a fulfillment order wants a new one.
pub const MAX_WRONG: i64 = 5;

/// A pickup code in its one spelling. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

/// Why a text is not a pickup code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too few or too many characters.
    #[error("must have {MIN_CHARS} to {MAX_CHARS} letters and digits")]
    Length,
    /// A character that no code has; full-width digits are such.
    #[error("has a character that pickup codes do not use")]
    Character,
}

impl Code {
    /// Reads what was typed: case, spaces and hyphens do not count, O reads as 0, I and L read as 1.
    pub fn parse(typed: &str) -> Result<Self, CodeError> {
        if typed.len() > 2 * MAX_CHARS {
            return Err(CodeError::Length);
        }
        let mut text = String::with_capacity(typed.len());
        for c in typed.chars() {
            match c.to_ascii_uppercase() {
                ' ' | '-' => {}
                'O' => text.push('0'),
                'I' | 'L' => text.push('1'),
                c if u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte)) => text.push(c),
                _ => return Err(CodeError::Character),
            }
        }
        if (MIN_CHARS..=MAX_CHARS).contains(&text.len()) { Ok(Self(text)) } else { Err(CodeError::Length) }
    }

    /// A code made of random bytes, one character each.
    pub fn from_random(bytes: &[u8]) -> Result<Self, CodeError> {
        if !(MIN_CHARS..=MAX_CHARS).contains(&bytes.len()) {
            return Err(CodeError::Length);
        }
        // 256 is a multiple of 32, so each character is equally likely.
        Ok(Self(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect()))
    }

    /// The one spelling: upper case, nothing between.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For people: groups of four.
    pub fn grouped(&self) -> String {
        let mut text = String::with_capacity(self.0.len() + self.0.len() / 4);
        for (i, c) in self.0.chars().enumerate() {
            if i > 0 && i % 4 == 0 {
                text.push('-');
            }
            text.push(c);
        }
        text
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// How often the code of one fulfillment order was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tries(pub i64);

impl Tries {
    /// No code opens it any more; a new one must be issued.
    pub const fn is_locked(self) -> bool {
        self.0 >= MAX_WRONG
    }

    /// Tries left.
    pub const fn left(self) -> i64 {
        if self.0 >= MAX_WRONG { 0 } else { MAX_WRONG - self.0 }
    }

    /// One more wrong code.
    #[must_use]
    pub const fn wrong(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// How many misses are allowed before look-ups must wait. Misses are forgotten one by one, so that a caller who missed
/// too often waits for the next one to be forgotten, never for the whole window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Misses allowed at once.
    pub allowed: i64,
    /// The time in which that many are forgotten.
    pub window: SignedDuration,
}

/// Misses that are not forgotten yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misses {
    /// From when the next one is being forgotten.
    pub since: Timestamp,
    /// How many.
    pub count: i64,
}

impl Throttle {
    /// Whether one more look-up may happen; else the instant from which it may.
    pub fn admit(&self, misses: Misses, now: Timestamp) -> Result<(), Timestamp> {
        let misses = self.left(misses, now);
        if misses.count < self.allowed {
            return Ok(());
        }
        let surplus = misses.count.saturating_sub(self.allowed).saturating_add(1);
        let wait = SignedDuration::from_millis(self.step_ms().saturating_mul(surplus));
        Err(misses.since.saturating_add(wait).unwrap_or(Timestamp::MAX))
    }

    /// The misses after `more`. Their number is limited, so that the next look-up never waits longer than the window.
    #[must_use]
    pub fn missed(&self, misses: Misses, more: i64, now: Timestamp) -> Misses {
        let left = self.left(misses, now);
        let count =
            left.count.saturating_add(more).min(self.allowed.saturating_mul(2).saturating_sub(1).max(1));
        Misses { since: if left.count == 0 { now } else { left.since }, count }
    }

    /// The misses that are not forgotten at `now`.
    #[must_use]
    pub fn left(&self, misses: Misses, now: Timestamp) -> Misses {
        let passed = i64::try_from(now.duration_since(misses.since).as_millis()).unwrap_or(i64::MAX).max(0);
        let forgotten = (passed / self.step_ms()).min(misses.count.max(0));
        let since = misses.since.saturating_add(SignedDuration::from_millis(self.step_ms() * forgotten));
        Misses { since: since.unwrap_or(now), count: misses.count.max(0) - forgotten }
    }

    /// Milliseconds after which one miss is forgotten.
    fn step_ms(&self) -> i64 {
        let window = i64::try_from(self.window.as_millis()).unwrap_or(i64::MAX);
        (window / self.allowed.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_as_people_type() {
        let code = Code::parse("01AB-CDEF").unwrap();
        for typed in ["01abcdef", "O1ab cdef", "oIab-cdef", "0LAB-CD-EF", " 01ABCDEF "] {
            assert_eq!(Code::parse(typed).unwrap(), code, "{typed:?}");
        }
        assert_eq!(code.grouped(), "01AB-CDEF");
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for typed in
            ["", "1234567", "U2345678", "０１２３４５６７", "1234567\u{200B}8", "1234\n5678", "12345678é"]
        {
            assert!(Code::parse(typed).is_err(), "{typed:?}");
        }
        assert_eq!(Code::parse(&"1".repeat(33)), Err(CodeError::Length));
        assert_eq!(Code::parse(&"1".repeat(1_000_000)), Err(CodeError::Length));
        assert_eq!(Code::from_random(&[0; 7]), Err(CodeError::Length));
    }

    #[test]
    fn a_random_code_reads_back() {
        let code = Code::from_random(&[0, 31, 32, 255, 7, 9, 200, 100, 3, 4]).unwrap();
        assert_eq!(Code::parse(&code.grouped()).unwrap(), code);
        assert_eq!(format!("{code:?}"), "Code(..)");
    }

    #[test]
    fn five_wrong_codes_lock() {
        let mut tries = Tries::default();
        for left in (0..MAX_WRONG).rev() {
            assert!(!tries.is_locked());
            tries = tries.wrong();
            assert_eq!(tries.left(), left);
        }
        assert!(tries.is_locked());
    }

    #[test]
    fn misses_are_forgotten_one_by_one() {
        let throttle = Throttle { allowed: 3, window: SignedDuration::from_secs(60) };
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut misses = Misses { since: at(0), count: 0 };
        for s in [10, 11, 12] {
            assert_eq!(throttle.admit(misses, at(s)), Ok(()));
            misses = throttle.missed(misses, 1, at(s));
        }
        assert_eq!(throttle.admit(misses, at(13)), Err(at(30)), "not the whole window");
        assert_eq!(throttle.admit(misses, at(30)), Ok(()));
        misses = throttle.missed(misses, 1, at(31));
        assert_eq!(misses, Misses { since: at(30), count: 3 });
        assert_eq!(throttle.admit(misses, at(31)), Err(at(50)));
        assert_eq!(throttle.left(misses, at(1_000)).count, 0);
        let flood = throttle.missed(misses, 1_000_000, at(31));
        assert!(throttle.admit(flood, at(91)).is_ok(), "nobody waits longer than the window");
    }
}

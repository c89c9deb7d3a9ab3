//! Pickup codes: what the customer shows, how it may be typed, and how often one may be wrong.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

/// The characters of a code (Crockford's base 32): no I, L, O, U.
pub const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The fewest characters of a code.
pub const MIN_CHARS: usize = 8;

/// The most characters of a code.
pub const MAX_CHARS: usize = 32;

/// Wrong codes after which a fulfilment order wants a new one.
pub const MAX_WRONG: i64 = 5;

/// A pickup code in its one spelling. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

/// Why a text is no pickup code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Too few or too many characters.
    #[error("must have {MIN_CHARS} to {MAX_CHARS} letters and digits")]
    Length,
    /// A character that no code has; full-width digits are such.
    #[error("holds a character that no pickup code has")]
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

/// How often the code of one fulfilment order was wrong.
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

/// How many misses are allowed within a time before look-ups must wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Misses allowed within the window.
    pub allowed: i64,
    /// The window, from the first miss in it.
    pub window: SignedDuration,
}

/// Misses since an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misses {
    /// The first of them.
    pub since: Timestamp,
    /// How many.
    pub count: i64,
}

impl Throttle {
    /// Whether one more look-up may happen; else the instant from which it may.
    pub fn admit(&self, misses: Misses, now: Timestamp) -> Result<(), Timestamp> {
        let until = self.end(misses);
        if misses.count < self.allowed || now >= until { Ok(()) } else { Err(until) }
    }

    /// The misses after one more.
    #[must_use]
    pub fn missed(&self, misses: Misses, now: Timestamp) -> Misses {
        if misses.count == 0 || now >= self.end(misses) {
            Misses { since: now, count: 1 }
        } else {
            Misses { count: misses.count.saturating_add(1), ..misses }
        }
    }

    fn end(&self, misses: Misses) -> Timestamp {
        misses.since.saturating_add(self.window).unwrap_or(Timestamp::MAX)
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
    fn misses_are_forgotten_after_the_window() {
        let throttle = Throttle { allowed: 3, window: SignedDuration::from_secs(60) };
        let at = |s| Timestamp::from_second(s).unwrap();
        let mut misses = Misses { since: at(0), count: 0 };
        for s in [10, 11, 12] {
            assert_eq!(throttle.admit(misses, at(s)), Ok(()));
            misses = throttle.missed(misses, at(s));
        }
        assert_eq!(throttle.admit(misses, at(13)), Err(at(70)));
        assert_eq!(throttle.admit(misses, at(70)), Ok(()));
        assert_eq!(throttle.missed(misses, at(70)), Misses { since: at(70), count: 1 });
    }
}

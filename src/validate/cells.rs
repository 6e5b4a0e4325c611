//! Interprets the text of a single cell. Does not depend on its row or column.

use crate::unicode;

/// Value of a cell after cleaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CellValue<T> {
    Blank,
    Value(T),
    /// The cell has an error or an unusable value, which is reported as an issue.
    Invalid,
}

impl<T> CellValue<T> {
    pub(super) fn map<U>(self, f: impl FnOnce(T) -> CellValue<U>) -> CellValue<U> {
        match self {
            Self::Blank => CellValue::Blank,
            Self::Value(value) => f(value),
            Self::Invalid => CellValue::Invalid,
        }
    }
}

/// A number with an exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExponentForm {
    /// With a decimal mark or a sign, as in `6.04E+09`: a spreadsheet program shortened a number to this.
    Shortened,
    /// Digits only, as in `3e3`: may be a real code.
    Bare,
}

/// Longest text that can be a shortened number, in bytes.
const MAX_EXPONENT_FORM_BYTES: usize = 64;

/// Spreadsheet programs show a number like `6.04E+09` if it is too long for its cell, and save it that way in CSV, with the digits and signs
/// of the user's language.
pub(super) fn exponent_form(text: &str) -> Option<ExponentForm> {
    // Fast path: nearly all IDs.
    let starts_like_number =
        |b: &u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b',') || !b.is_ascii();
    let has_letter = |b: u8| matches!(b, b'e' | b'E' | b'^') || !b.is_ascii();
    if text.len() > MAX_EXPONENT_FORM_BYTES
        || !text.as_bytes().first().is_some_and(starts_like_number)
        || !text.bytes().any(has_letter)
    {
        return None;
    }
    let plain = in_ascii(text)?;
    let (mantissa, exponent) = plain.split_once('e')?;
    let unsigned = |part: &'_ str| part.strip_prefix(['+', '-']).unwrap_or(part).to_owned();
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, power) = (unsigned(mantissa), unsigned(exponent));
    let (whole, fraction) = whole.split_once('.').unwrap_or((&whole, ""));
    let is_number = digits(whole)
        && digits(fraction)
        && whole.len() + fraction.len() > 0
        && digits(&power)
        && !power.is_empty();
    let is_shortened = plain.contains(['.', '+', '-']);
    is_number.then_some(if is_shortened {
        ExponentForm::Shortened
    } else {
        ExponentForm::Bare
    })
}

/// A number in ASCII with `.` and `e`; `None` if it has other letters.
fn in_ascii(text: &str) -> Option<String> {
    let text = text
        .replace("\u{D7}10^", "e")
        .replace("x10^", "e")
        .replace("*10^", "e")
        .replace("\u{623}\u{633}", "e");
    text.chars()
        .filter(|c| !unicode::is_blank_char(*c))
        .map(|c| {
            let digit = |zero: char| char::from_digit(u32::from(c) - u32::from(zero), 10);
            match c {
                '0'..='9' | '+' | '-' | '.' => Some(c),
                'e' | 'E' | '\u{415}' | '\u{435}' | '\u{23E8}' => Some('e'),
                ',' | '\u{66B}' | '\u{B7}' => Some('.'),
                '\u{2212}' => Some('-'),
                '\u{660}'..='\u{669}' => digit('\u{660}'),
                '\u{6F0}'..='\u{6F9}' => digit('\u{6F0}'),
                '\u{966}'..='\u{96F}' => digit('\u{966}'),
                '\u{FF10}'..='\u{FF19}' => digit('\u{FF10}'),
                _ => None,
            }
        })
        .collect()
}

/// Whether the text is a plausible email address: a local part, `@`, and a domain with a dot.
pub(super) fn is_email(text: &str) -> bool {
    let Some(at) = memchr::memrchr(b'@', text.as_bytes()) else {
        return false;
    };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    let is_allowed = |byte: u8| {
        let forbidden = matches!(
            byte,
            b'<' | b'>' | b'(' | b')' | b',' | b';' | b':' | b'"' | b'\\' | b'@' | b'[' | b']'
        );
        matches!(byte, b'!'..=b'~') && !forbidden
    };
    let is_invisible = |c: char| c.is_control() || unicode::is_blank_char(c);
    let is_local_part =
        |part: &[u8]| !part.is_empty() && part.iter().all(|b| !b.is_ascii() || is_allowed(*b));
    let is_label = |label: &[u8]| {
        let is_label_byte = |b: &u8| !b.is_ascii() || b.is_ascii_alphanumeric() || *b == b'-';
        (1..=63).contains(&label.len())
            && label.first() != Some(&b'-')
            && label.last() != Some(&b'-')
            && label.iter().all(is_label_byte)
    };
    let is_dot = |byte: &u8| *byte == b'.';
    local.len() <= 64
        && local.as_bytes().split(is_dot).all(is_local_part)
        && domain.as_bytes().contains(&b'.')
        && domain.as_bytes().split(is_dot).all(is_label)
        && (text.is_ascii()
            || !local.contains(is_invisible)
                && domain.chars().all(|c| c.is_ascii() || c.is_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortened_numbers_are_detected_in_any_language() {
        for text in [
            "6.04E+09",
            "6E+09",
            "6.04e+09",
            "60.4E+09",
            "6.04E09",
            "1,23457E+15",
            "1e+05",
            "1.2E7",
            "-1E5",
            "1E\u{2212}5",
            "6,04\u{415}+09",
            "6,04\u{D7}10^9",
            "\u{666}\u{66B}\u{660}\u{664}E+\u{660}\u{669}",
            "6,04 E+09",
        ] {
            assert_eq!(exponent_form(text), Some(ExponentForm::Shortened), "{text}");
        }
        for text in ["3e3", "12E5", "007E1"] {
            assert_eq!(exponent_form(text), Some(ExponentForm::Bare), "{text}");
        }
        for text in [
            "", "E+09", "e5", "ABE+09", "6.04E+0x", "Zoë", "1001", "1-2", "6.04E", "3e3e3", "a.3e4",
        ] {
            assert_eq!(exponent_form(text), None, "{text}");
        }
    }

    #[test]
    fn is_email_accepts_valid_and_rejects_invalid() {
        for text in [
            "jane@example.org",
            "J.O'Neil+x@mail.example.co.uk",
            "a@b.c",
            "zoë@bücher.example",
        ] {
            assert!(is_email(text), "{text}");
        }
        for text in [
            "jane",
            "jane@",
            "@example.org",
            "jane@example",
            "jane doe@example.org",
            "a@b@c.d",
            "jane@example..org",
            "jane@-x.org",
            "a@b.c, d@e.f",
            "<a@b.c>",
            ".a@b.c",
        ] {
            assert!(!is_email(text), "{text}");
        }
    }
}

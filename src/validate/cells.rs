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

/// Whether the text is a number such as `6.04E+09`. Excel shows long numbers and those in narrow columns this way, and saves
/// them this way in CSV.
pub(super) fn is_scientific(text: &str) -> bool {
    if !matches!(text.as_bytes(), [b'0'..=b'9', b'.' | b'E', ..]) {
        return false;
    }
    let Some((mantissa, exponent)) = text.split_once("E+") else {
        return false;
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let is_mantissa = match mantissa.split_once('.') {
        None => mantissa.len() == 1 && is_digits(mantissa),
        Some((integer, fraction)) => {
            integer.len() == 1 && is_digits(integer) && is_digits(fraction)
        }
    };
    is_mantissa && is_digits(exponent) && exponent.len() >= 2
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
    fn scientific_notation_is_detected() {
        for text in ["6.04E+09", "6E+09", "1.234567E+15", "6.0E+123"] {
            assert!(is_scientific(text), "{text}");
        }
        for text in [
            "6.04e+09", "60.4E+09", "E+09", "6.E+09", "6.04E+9", "6.04E09", "ABE+09", "6.04E+0x",
        ] {
            assert!(!is_scientific(text), "{text}");
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

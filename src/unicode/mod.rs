//! Text functions: cleaning of cells, white space, what programs write in cells, and comparison regardless of case. Uses no other module.

mod invisible;
mod program_text;

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

pub use self::invisible::{has_invisible, is_blank_char, is_invisible, without_invisible};
pub use self::program_text::{
    is_error_word, is_placeholder, may_have_text_marker, without_text_marker,
};

/// The text without white space and zero-width characters at its ends.
#[must_use]
pub fn trim(text: &str) -> &str {
    match text.as_bytes() {
        // Fast path: nearly all texts start and end with a printable ASCII character.
        [b'!'..=b'~', .., b'!'..=b'~'] | [b'!'..=b'~'] | [] => text,
        _ => text.trim_matches(is_blank_char),
    }
}

/// The result of [`clean`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned<'a> {
    /// The text: trimmed, in NFC, with each sequence of tabs and line breaks replaced by one space.
    pub text: Cow<'a, str>,
    /// The cell contained a tab or line break.
    pub had_line_break: bool,
    /// The cell contains another control character, which is still in `text`.
    pub has_control: bool,
    /// The cell was marked as text ([`without_text_marker`]); the mark is removed.
    pub had_text_marker: bool,
}

impl<'a> Cleaned<'a> {
    /// A text that needed no cleaning but trimming.
    #[must_use]
    pub fn plain(text: &'a str) -> Self {
        Self {
            text: Cow::Borrowed(text),
            had_line_break: false,
            has_control: false,
            had_text_marker: false,
        }
    }
}

/// Cleans a cell: trims it, removes a mark of text, replaces tabs and line breaks by single spaces, and normalizes to NFC.
#[must_use]
pub fn clean(raw: &str) -> Cleaned<'_> {
    let trimmed = trim(raw);
    if !may_have_text_marker(trimmed) {
        return clean_text(trimmed);
    }
    match without_text_marker(trimmed) {
        None => clean_text(trimmed),
        Some(Cow::Borrowed(text)) => Cleaned {
            had_text_marker: true,
            ..clean_text(text)
        },
        Some(Cow::Owned(text)) => {
            let cleaned = clean_text(&text);
            Cleaned {
                text: Cow::Owned(cleaned.text.into_owned()),
                had_text_marker: true,
                ..cleaned
            }
        }
    }
}

fn clean_text(raw: &str) -> Cleaned<'_> {
    // Fast path: most cells are ASCII without spaces.
    if raw.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
        return Cleaned::plain(raw);
    }
    let trimmed = trim(raw);
    let flags = CharFlags::scan(trimmed);
    if !flags.maybe_control {
        return Cleaned {
            text: to_nfc(Cow::Borrowed(trimmed), flags),
            ..Cleaned::plain("")
        };
    }
    let is_break = |c| {
        matches!(
            c,
            '\t' | '\n' | '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let had_line_break = trimmed.contains(is_break);
    let mut text = Cow::Borrowed(trimmed);
    if had_line_break {
        let parts: Vec<&str> = trimmed
            .split(is_break)
            .map(trim)
            .filter(|part| !part.is_empty())
            .collect();
        text = Cow::Owned(parts.join(" "));
    }
    let has_control = text.chars().any(char::is_control);
    Cleaned {
        text: to_nfc(text, flags),
        had_line_break,
        has_control,
        had_text_marker: false,
    }
}

/// Whether [`clean`] would only trim the text and every part of it.
#[must_use]
pub fn needs_only_trimming(text: &str) -> bool {
    // Fast path: most texts are printable ASCII. Without a branch, the loop is vectorized.
    let other = |b: u8| u8::from(b.wrapping_sub(b' ') > b'~' - b' ');
    if text.bytes().fold(0, |others, b| others | other(b)) == 0 {
        return true;
    }
    let flags = CharFlags::scan(text);
    let maybe_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let needs_more =
        flags.maybe_control && text.contains(maybe_control) || flags.combining && !is_nfc(text);
    !needs_more
}

/// Properties of a text that its bytes reveal quickly.
#[derive(Debug, Clone, Copy)]
struct CharFlags {
    /// The text may contain control characters or line breaks.
    maybe_control: bool,
    /// The text may differ from its NFC form.
    combining: bool,
}

/// Bit of [`byte_flags`] for [`CharFlags::maybe_control`].
const MAYBE_CONTROL: u8 = 1;
/// Bit of [`byte_flags`] for [`CharFlags::combining`].
const COMBINING: u8 = 2;

impl CharFlags {
    fn scan(text: &str) -> Self {
        // Without a branch, the loop is vectorized.
        let bytes = text.as_bytes();
        let last = bytes.last().map_or(0, |last| byte_flags(*last, 0));
        let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
        let flags = pairs.fold(last, |flags, (byte, next)| flags | byte_flags(*byte, *next));
        let (maybe_control, combining) = (flags & MAYBE_CONTROL != 0, flags & COMBINING != 0);
        Self {
            maybe_control,
            combining,
        }
    }
}

/// The flags of a byte, given the next byte.
///
/// In UTF-8, control characters above ASCII start with 0xC2 and a byte below 0xA0; U+2028 and U+2029 start with 0xE2 0x80.
/// Characters that NFC may change or combine with the previous one start at U+0300 (0xCC). Most of Greek and Cyrillic, the
/// CJK ideographs and the Korean syllables are not affected by NFC.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "short-circuit operators would add a branch, which is slower"
)]
const fn byte_flags(byte: u8, next: u8) -> u8 {
    let control = (byte < 0x20) | (byte == 0x7F) | ((byte == 0xC2) & (next < 0xA0));
    let separator = (byte == 0xE2) & (next == 0x80);
    let nfc_stable = ((byte == 0xCE) & (next != 0x87))
        | (byte == 0xCF)
        | (byte == 0xD0)
        | (byte == 0xD1)
        | ((byte >= 0xE4) & (byte <= 0xE9))
        | (byte == 0xEB)
        | (byte == 0xEC);
    let combining = (byte >= 0xCC) & !nfc_stable;
    ((control | separator) as u8 * MAYBE_CONTROL) | (combining as u8 * COMBINING)
}

/// The text in NFC.
fn to_nfc(text: Cow<'_, str>, flags: CharFlags) -> Cow<'_, str> {
    if !flags.combining || is_nfc(&text) {
        return text;
    }
    Cow::Owned(text.nfc().collect())
}

/// The text in a form that is equal for all spellings that differ only in case.
#[must_use]
pub fn fold(text: &str) -> String {
    // Upper case, then lower case: lower case alone would not equate final sigma, sharp s and similar letters.
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let folded = text.to_uppercase().to_lowercase();
    let flags = CharFlags::scan(&folded);
    to_nfc(Cow::Owned(folded), flags).into_owned()
}

/// Whether two texts differ at most in case, as defined by [`fold`].
#[must_use]
pub fn eq_ignore_case(one: &str, other: &str) -> bool {
    let first_chars_differ = |one: &u8, other: &u8| {
        // Folding keeps ASCII characters in ASCII and changes only their case.
        one.is_ascii() && other.is_ascii() && !one.eq_ignore_ascii_case(other)
    };
    match (one.as_bytes(), other.as_bytes()) {
        ([first, ..], [second, ..]) if first_chars_differ(first, second) => false,
        _ if one.is_ascii() && other.is_ascii() => one.eq_ignore_ascii_case(other),
        _ => one == other || fold(one) == fold(other),
    }
}

/// The text, shortened to at most `limit` characters including the ellipsis.
#[must_use]
pub fn shorten(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some(_) => text
            .chars()
            .take(limit.saturating_sub(1))
            .chain(['…'])
            .collect(),
        None => text.to_owned(),
    }
}

/// The words as an English list: "a", "a and b", "a, b and c".
#[must_use]
pub fn join_with_and(words: &[impl AsRef<str>]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [head @ .., last] => {
            let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", head.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, text: &str, had_line_break: bool, has_control: bool) {
        assert_eq!(
            clean(raw),
            Cleaned {
                text: Cow::Borrowed(text),
                had_line_break,
                has_control,
                had_text_marker: false,
            }
        );
    }
    #[test]
    fn clean_trims_normalizes_and_joins_lines() {
        check("  plain ", "plain", false, false);
        check("\u{FEFF}\u{A0}Zoë\u{200B}", "Zoë", false, false);
        check("a\r\nb", "a b", true, false);
        check("a \t\n b", "a b", true, false);
        check("a\u{7}b", "a\u{7}b", false, true);
        check("e\u{301}", "é", false, false);
        check("\u{200B}\u{A0}", "", false, false);
    }

    #[test]
    fn char_flags_cover_every_relevant_character() {
        use unicode_normalization::char::canonical_combining_class;
        let mut buffer = [0; 4];
        for c in '\0'..=char::MAX {
            let text: &str = c.encode_utf8(&mut buffer);
            let flags = CharFlags::scan(text);
            let maybe_control = c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(flags.maybe_control || !maybe_control, "{c:?}");
            // NFC neither changes the character nor combines it with the previous one.
            let checked = unicode_normalization::is_nfc_quick([c].into_iter());
            let nfc_stable = checked == unicode_normalization::IsNormalized::Yes
                && canonical_combining_class(c) == 0;
            assert!(flags.combining || nfc_stable, "{c:?}");
        }
        for text in [
            "Zoë Müller",
            "Ольга",
            "Γιώργος",
            "美咲",
            "민준",
            "de\u{A0}Vries",
        ] {
            let flags = CharFlags::scan(text);
            assert!(!flags.maybe_control && !flags.combining, "{text}");
        }
    }

    #[test]
    fn fold_equates_all_case_variants() {
        for (one, other) in [
            ("ΌΜΗΡΟΣ", "όμηρος"),
            ("STRASSE", "straße"),
            ("Search Team", "SEARCH TEAM"),
            ("É", "e\u{301}"),
            ("\u{212A}elvin", "kELVIN"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
            assert!(eq_ignore_case(one, other), "{one} and {other}");
        }
        for (one, other) in [
            ("North", "South"),
            ("North", "north2"),
            ("", "a"),
            ("\u{212A}", "i"),
        ] {
            assert_ne!(fold(one), fold(other));
            assert!(!eq_ignore_case(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn shorten_counts_chars_and_adds_ellipsis() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
    }
}

//! Characters that are never visible.

use std::borrow::Cow;

/// Whether a character counts as white space in a cell: Unicode white space, and invisible characters.
#[must_use]
pub fn is_blank_char(c: char) -> bool {
    c.is_whitespace() || is_invisible(c)
}

/// Whether a character is never visible: zero-width characters, marks of the writing direction, fillers and the like, which programs
/// leave in cells. Variation selectors are not among them, since they are part of emoji.
#[must_use]
pub const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF9}'..='\u{FFFB}'
            | '\u{1D173}'..='\u{1D17A}'
    )
}

/// Whether a text has invisible characters, except joiners that hold an emoji together.
#[must_use]
pub fn has_invisible(text: &str) -> bool {
    // The first bytes of these characters in UTF-8. Without a branch, the loop is vectorized.
    let may_start = |b: u8| u8::from(matches!(b, 0xC2 | 0xCD | 0xD8 | 0xE1..=0xE3 | 0xEF | 0xF0));
    if text.bytes().fold(0, |found, b| found | may_start(b)) == 0 {
        return false;
    }
    let mut previous = '\0';
    text.chars().any(|c| {
        // Emoji and the variation selector that may follow them.
        let joins_emoji = c == '\u{200D}'
            && (previous >= '\u{1F000}'
                || matches!(previous, '\u{2600}'..='\u{27BF}' | '\u{FE0F}'));
        previous = c;
        is_invisible(c) && !joins_emoji
    })
}

/// The text without its invisible characters.
#[must_use]
pub fn without_invisible(text: &str) -> Cow<'_, str> {
    if has_invisible(text) {
        Cow::Owned(text.chars().filter(|c| !is_invisible(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unicode::clean;

    #[test]
    fn invisible_characters_are_trimmed_and_detected() {
        assert_eq!(clean("\u{202A}Ann\u{202C}").text, "Ann");
        assert_eq!(clean("\u{200E}\u{061C}\u{2066}\u{3164}x\u{2069}").text, "x");
        for text in ["A\u{200B}nn", "A\u{AD}nn", "A\u{2060}\u{202E}nn"] {
            assert!(has_invisible(text), "{text:?}");
            assert_eq!(without_invisible(text), "Ann");
        }
        for text in [
            "Ann",
            "Zoë",
            "\u{1F468}\u{200D}\u{1F692}",
            "\u{2764}\u{FE0F}\u{200D}\u{1F525}",
        ] {
            assert!(!has_invisible(text), "{text:?}");
            assert_eq!(without_invisible(text), text);
        }
    }

    #[test]
    fn every_invisible_character_is_detected() {
        for c in '\0'..=char::MAX {
            let text = format!("A{c}b");
            assert_eq!(has_invisible(&text), is_invisible(c), "{c:?}");
        }
    }
}

//! Texts that programs write in place of a value, or around it: errors, placeholders, marks of text.

use std::borrow::Cow;

/// Whether a trimmed text starts like one that [`without_text_marker`] changes.
#[must_use]
pub fn may_have_text_marker(text: &str) -> bool {
    matches!(text.as_bytes(), [b'=' | b'\'', ..])
}

/// The text of a cell that a program marked as text for spreadsheet programs: `="0042"`, or `'0042` with the apostrophe stored. `None` for
/// any other text; an apostrophe before a letter belongs to a name such as `'t Hart`.
#[must_use]
pub fn without_text_marker(text: &str) -> Option<Cow<'_, str>> {
    if let Some(inner) = text
        .strip_prefix("=\"")
        .and_then(|rest| rest.strip_suffix('"'))
    {
        return Some(if inner.contains("\"\"") {
            Cow::Owned(inner.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(inner)
        });
    }
    let rest = text.strip_prefix('\'')?;
    let is_marker = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t') || c.is_numeric();
    rest.starts_with(is_marker).then_some(Cow::Borrowed(rest))
}

/// Whether the text is an error that a spreadsheet program shows instead of a value.
#[must_use]
pub fn is_error_word(text: &str) -> bool {
    let words: &[&str] = match text.as_bytes().first() {
        Some(b'#') => &[
            "#REF!",
            "#VALUE!",
            "#NAME?",
            "#DIV/0!",
            "#NUM!",
            "#NULL!",
            "#ERROR!",
            "#SPILL!",
            "#CALC!",
            "#FIELD!",
            "#BLOCKED!",
            "#CONNECT!",
            "#UNKNOWN!",
            "#BUSY!",
            "#PYTHON!",
            "#EXTERNAL!",
            "#GETTING_DATA",
        ],
        Some(b'L' | b'l') => &["Loading..."],
        Some(b'I' | b'i') => &["Infinity"],
        Some(b'-') => &["-Infinity"],
        _ => &[],
    };
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether a cell contains a placeholder for an empty value (`n/a`, `null`, …).
#[must_use]
pub fn is_placeholder(text: &str) -> bool {
    let words: &[&str] = match text.as_bytes().first() {
        Some(b'n' | b'N') => &["n/a", "na", "null", "nil", "none", "nan"],
        Some(b'-') => &["-"],
        Some(b'#') => &["#n/a", "#n/a n/a"],
        Some(b'\\') => &["\\n"],
        Some(b'(') => &["(null)"],
        Some(b'u' | b'U') => &["undefined"],
        _ => &[],
    };
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unicode::clean;

    #[test]
    fn text_markers_are_removed_only_before_values() {
        for (raw, text) in [
            ("=\"0001\"", "0001"),
            ("=\"say \"\"hi\"\"\"", "say \"hi\""),
            ("=\"\"", ""),
            ("'0042", "0042"),
            ("'+1 604 555 0104", "+1 604 555 0104"),
            ("'=Lead", "=Lead"),
            ("'@home", "@home"),
        ] {
            let cleaned = clean(raw);
            assert_eq!(
                (cleaned.text.as_ref(), cleaned.had_text_marker),
                (text, true),
                "{raw}"
            );
            assert!(may_have_text_marker(raw), "{raw}");
        }
        for raw in ["'t Hart", "O'Brien", "=A1+1", "=\"", "'", "a'1"] {
            let cleaned = clean(raw);
            assert_eq!(
                (cleaned.text.as_ref(), cleaned.had_text_marker),
                (raw, false),
                "{raw}"
            );
        }
    }

    #[test]
    fn error_words_match_in_any_case() {
        for word in [
            "#REF!",
            "#value!",
            "#DIV/0!",
            "#GETTING_DATA",
            "Loading...",
            "-Infinity",
        ] {
            assert!(is_error_word(word), "{word}");
        }
        for word in [
            "",
            "#1",
            "#N/A",
            "Loading",
            "Lead",
            "#REF",
            "Infinity Rescue",
        ] {
            assert!(!is_error_word(word), "{word}");
        }
    }

    #[test]
    fn placeholders_match_in_any_case() {
        for word in [
            "n/a",
            "NA",
            "Null",
            "nil",
            "None",
            "-",
            "#N/A",
            "#N/A N/A",
            "\\N",
            "NaN",
            "(NULL)",
            "undefined",
        ] {
            assert!(is_placeholder(word), "{word}");
        }
        for word in [
            "", "Nada", "--", "0", "n.a.", "(none)", "\\", "Nanette", "#N/B",
        ] {
            assert!(!is_placeholder(word), "{word}");
        }
    }
}

//! Plain text layout: templates may wrap lines freely, a mail has one line per paragraph and per list item.

/// Joins the lines of each paragraph, keeps list items (`- `) on lines of their own, and leaves one blank line between paragraphs.
pub(super) fn reflow(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at_break = true;
    let mut in_item = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            at_break = true;
            continue;
        }
        let is_item = line.starts_with("- ");
        if !out.is_empty() {
            let is_item_after_break = is_item && in_item;
            out.push_str(
                match (at_break && !is_item_after_break, is_item || in_item) {
                    (true, _) => "\n\n",
                    (false, true) => "\n",
                    (false, false) => " ",
                },
            );
        }
        out.push_str(line);
        (at_break, in_item) = (false, is_item);
    }
    out.push('\n');
    out
}

/// A message of the catalog or an error as a sentence: first letter in upper case, no final period.
pub(super) fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// A message of the form `what happened; what to do` as sentences.
pub(super) fn sentences(message: &str) -> String {
    let parts: Vec<String> = message.split("; ").map(sentence).collect();
    format!("{}.", parts.join(". "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflow_joins_wrapped_lines_and_keeps_list_items() {
        let text = "\n\nOne\n  two.\n\n\n\nList:\n- a\n\n- b\n\nEnd.";
        assert_eq!(reflow(text), "One two.\n\nList:\n- a\n- b\n\nEnd.\n");
    }

    #[test]
    fn sentence_starts_in_upper_case_without_final_period() {
        assert_eq!(sentence("phone number is short."), "Phone number is short");
        assert_eq!(sentence(""), "");
        assert_eq!(
            sentences("no file; check the address"),
            "No file. Check the address."
        );
    }
}

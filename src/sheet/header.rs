//! Matches the titles of a header row to the known columns and suggests corrections. Does not depend on the file format.

use std::collections::{HashMap, HashSet};

use super::error::{ColumnRename, HeaderHint, SheetError};
use crate::model::catalog::Finding;
use crate::model::issue::Issue;
use crate::table::{Field, Header, NumberColumns};
use crate::unicode;

/// Rows searched for the header if the first row is not one. Only the error message uses the result.
pub(super) const SEARCH_ROWS: usize = 50;

/// Maximum number of columns.
pub(super) const MAX_COLUMNS: usize = 1_024;
/// Maximum number of `Number N` columns.
const MAX_NUMBER_COLUMNS: usize = 100;
/// Longest title for which a column is suggested, in characters. Comparing longer ones takes too much time and memory.
const MAX_SUGGESTION_CHARS: usize = 64;

/// Normalizes a title for comparison: case, spaces and trailing asterisks are ignored.
fn normalize(title: &str) -> String {
    let trimmed = unicode::trim(title);
    let marked = unicode::without_text_marker(trimmed);
    let plain: String = marked
        .as_deref()
        .unwrap_or(trimmed)
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| *c == ' ' || !unicode::is_blank_char(*c))
        .collect();
    let plain = plain.trim().trim_end_matches(['*', ' ']);
    unicode::fold(
        &plain
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// The column with this title and its ordinal: 2 for `Number 2`, 1 for a column without an ordinal.
fn match_column(normalized: &str) -> Option<(Field, u32)> {
    if let Some(field) = Field::ALL
        .iter()
        .find(|field| unicode::fold(field.as_str()) == normalized)
    {
        return Some((*field, 1));
    }
    let (base, ordinal) = normalized.rsplit_once(' ')?;
    let ordinal: u32 = ordinal
        .parse()
        .ok()
        .filter(|n| *n >= 2 && !ordinal.starts_with(['0', '+']))?;
    [Field::Number, Field::NumberType, Field::NumberDescription]
        .into_iter()
        .find(|field| unicode::fold(field.as_str()) == base)
        .map(|field| (field, ordinal))
}

/// Number of titles that are known columns. Used to guess the delimiter.
pub(super) fn count_known_columns(titles: &[String]) -> usize {
    titles
        .iter()
        .filter(|title| match_column(&normalize(title)).is_some())
        .count()
}

/// Parses the header row. Returns the issues of optional and unknown columns with it.
pub(super) fn parse(row: u32, titles: &[String]) -> Result<(Header, Vec<Issue>), SheetError> {
    if titles.len() > MAX_COLUMNS {
        return Err(SheetError::TooManyColumns {
            row,
            found: titles.len(),
            limit: MAX_COLUMNS,
        });
    }
    let mut column_indexes: HashMap<(Field, u32), usize> = HashMap::new();
    let mut unknown = Vec::new();
    for (index, title) in titles.iter().enumerate() {
        let normalized = normalize(title);
        match match_column(&normalized) {
            Some(column) => {
                if column_indexes.insert(column, index).is_some() {
                    return Err(SheetError::HeaderDuplicate {
                        row,
                        title: display_title(title),
                    });
                }
            }
            None if normalized.is_empty() => {}
            None => unknown.push((index, normalized)),
        }
    }
    let mut seen = HashSet::new();
    for (index, normalized) in &unknown {
        if !seen.insert(normalized) {
            return Err(SheetError::HeaderDuplicate {
                row,
                title: display_title(&titles[*index]),
            });
        }
    }
    let missing: Vec<String> = Field::ALL
        .iter()
        .filter(|field| field.is_required() && !column_indexes.contains_key(&(**field, 1)))
        .map(|field| field.as_str().to_owned())
        .collect();
    if !missing.is_empty() {
        let hint = missing_hint(&missing, &unknown, titles);
        return Err(SheetError::HeaderMissing { row, missing, hint });
    }
    let numbers = number_columns(row, &column_indexes)?;
    // A type or description column is unknown if the number column with its ordinal does not exist.
    let is_orphaned = |(field, n): &(Field, u32)| {
        *field != Field::Number && *n > 1 && !column_indexes.contains_key(&(Field::Number, *n))
    };
    let orphaned = column_indexes
        .iter()
        .filter(|(column, _)| is_orphaned(column));
    unknown.extend(orphaned.map(|(_, index)| (*index, normalize(&titles[*index]))));
    unknown.sort_unstable();
    let mut issues = Vec::new();
    for field in Field::ALL
        .iter()
        .filter(|field| !field.is_required() && !column_indexes.contains_key(&(**field, 1)))
    {
        issues.push(Issue {
            column: Some(field.as_str().into()),
            ..Issue::new(Finding::ColumnMissing)
        });
    }
    for (index, normalized) in &unknown {
        let title = display_title(&titles[*index]);
        let is_candidate = |field, n| !column_indexes.contains_key(&(field, n));
        let suggestion = match match_column(normalized) {
            // The title is correct, but the number column that it belongs to is missing.
            Some(_) => None,
            None => suggest_numbered_column(normalized, is_candidate).or_else(|| {
                let field = suggest_field(normalized, |field| is_candidate(field, 1))?;
                Some(field.as_str().to_owned())
            }),
        };
        let finding = if suggestion.is_some() {
            Finding::ColumnMisspelled
        } else {
            Finding::ColumnUnknown
        };
        issues.push(Issue {
            row: Some(row),
            column_index: u32::try_from(*index).ok(),
            value: Some(title.clone()),
            column: Some(title.into()),
            ..Issue::with_reference(finding, &suggestion.unwrap_or_default(), 0)
        });
    }
    let columns: Vec<(Field, usize)> = column_indexes
        .iter()
        .filter(|((_, ordinal), _)| *ordinal == 1)
        .map(|((field, _), index)| (*field, *index))
        .collect();
    let titles = titles
        .iter()
        .map(|title| unicode::clean(title).text.into_owned())
        .collect();
    Ok((Header::new(row, titles, &columns, numbers), issues))
}

fn number_columns(
    row: u32,
    column_indexes: &HashMap<(Field, u32), usize>,
) -> Result<Vec<NumberColumns>, SheetError> {
    let mut numbers = Vec::new();
    for ((field, ordinal), index) in column_indexes {
        if *field != Field::Number {
            continue;
        }
        let Some(number_type) = column_indexes.get(&(Field::NumberType, *ordinal)) else {
            return Err(SheetError::HeaderMissing {
                row,
                missing: vec![format!("Number Type {ordinal}")],
                hint: HeaderHint::AddNumberType { ordinal: *ordinal },
            });
        };
        numbers.push(NumberColumns {
            ordinal: *ordinal,
            number: *index,
            number_type: *number_type,
            description: column_indexes
                .get(&(Field::NumberDescription, *ordinal))
                .copied(),
        });
    }
    if numbers.len() > MAX_NUMBER_COLUMNS {
        return Err(SheetError::TooManyNumberColumns {
            row,
            found: numbers.len(),
            limit: MAX_NUMBER_COLUMNS,
        });
    }
    numbers.sort_by_key(|columns| columns.number);
    Ok(numbers)
}

fn display_title(title: &str) -> String {
    unicode::shorten(&unicode::clean(title).text, 60)
}

fn missing_hint(missing: &[String], unknown: &[(usize, String)], titles: &[String]) -> HeaderHint {
    let renames: Vec<ColumnRename> = unknown
        .iter()
        .filter_map(|(index, normalized)| {
            let suggestion = suggest_field(normalized, |field| {
                missing.iter().any(|m| m == field.as_str())
            })?;
            Some(ColumnRename {
                from: display_title(&titles[*index]),
                to: suggestion.as_str().to_owned(),
            })
        })
        .collect();
    if renames.is_empty() {
        HeaderHint::UseTemplate
    } else {
        HeaderHint::Rename(renames)
    }
}

/// The numbered column that a title probably means, for example `Number 2` for `Number2`.
fn suggest_numbered_column(
    normalized: &str,
    is_candidate: impl Fn(Field, u32) -> bool,
) -> Option<String> {
    let base = normalized.trim_end_matches(|c: char| c.is_ascii_digit());
    let ordinal: u32 = normalized[base.len()..].parse().ok()?;
    let numbered = [Field::Number, Field::NumberType, Field::NumberDescription];
    let field = suggest_field(base.trim_end(), |field| {
        ordinal > 1 && numbered.contains(&field) && is_candidate(field, ordinal)
    })?;
    Some(format!("{field} {ordinal}"))
}

fn suggest_field(normalized: &str, is_candidate: impl Fn(Field) -> bool) -> Option<Field> {
    const SYNONYMS: &[(&str, Field)] = &[
        ("phone", Field::Number),
        ("phone number", Field::Number),
        ("mobile", Field::Number),
        ("email", Field::Email),
        ("e-mail", Field::Email),
        ("type", Field::NumberType),
        ("phone type", Field::NumberType),
        ("group", Field::Groups),
        ("teams", Field::Groups),
        ("organization", Field::OrganizationName),
        ("organisation", Field::OrganizationName),
        ("priority", Field::Priority),
        ("full name", Field::Name),
        ("contact id", Field::Id),
        ("description", Field::NumberDescription),
    ];
    if normalized.chars().nth(MAX_SUGGESTION_CHARS).is_some() {
        return None;
    }
    let synonym = SYNONYMS
        .iter()
        .find(|(word, _)| *word == normalized)
        .map(|(_, field)| *field);
    synonym.filter(|field| is_candidate(*field)).or_else(|| {
        Field::ALL
            .iter()
            .copied()
            .filter(|field| is_candidate(*field))
            .map(|field| {
                (
                    strsim::damerau_levenshtein(&unicode::fold(field.as_str()), normalized),
                    field,
                )
            })
            .filter(|(distance, field)| *distance <= 2.min(field.as_str().len() / 3))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, field)| field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::issue::Code;

    fn titles(line: &str) -> Vec<String> {
        line.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn headers_match_in_any_order_case_and_spacing() {
        let (header, issues) =
            parse(1, &titles("\u{feff}id*|NAME| Groups |number\u{a0}type|Number |Organization  Name*|Title|email address|Number Description|notification priority")).unwrap();
        assert_eq!(header.column_index(Field::Id), Some(0));
        assert_eq!(header.column_index(Field::NumberType), Some(3));
        assert_eq!(header.column_index(Field::OrganizationName), Some(5));
        assert!(issues.is_empty(), "{issues:?}");
    }

    #[test]
    fn missing_columns_are_named_with_suggestion() {
        let error = parse(1, &titles("ID|Name|Phone|Number Type|Groups"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the header (row 1) lacks the required column `Number`; rename `Phone` to `Number`"
        );
        let error = parse(3, &titles("A|B")).unwrap_err().to_string();
        assert!(error.contains("(row 3) lacks the required columns `ID`, `Name`, `Number`, `Number Type` and `Groups`"), "{error}");
    }

    #[test]
    fn duplicate_header_is_rejected() {
        assert!(matches!(
            parse(1, &titles("ID|Name|Number|Number Type|Groups|name *")),
            Err(SheetError::HeaderDuplicate { .. })
        ));
        assert!(matches!(
            parse(1, &titles("ID|Name|Number|Number Type|Groups|X|x")),
            Err(SheetError::HeaderDuplicate { .. })
        ));
    }

    #[test]
    fn extra_number_without_type_column_is_rejected() {
        let (header, _) = parse(
            1,
            &titles(
                "ID|Name|Number|Number Type|Groups|Number 2|Number Type 2|Number Description 2",
            ),
        )
        .unwrap();
        assert_eq!(
            header
                .numbers
                .iter()
                .map(|n| (n.ordinal, n.description))
                .collect::<Vec<_>>(),
            [(1, None), (2, Some(7))]
        );
        let error = parse(1, &titles("ID|Name|Number|Number Type|Groups|Number 3")).unwrap_err();
        assert!(error.to_string().contains("`Number Type 3`"), "{error}");
    }

    #[test]
    fn orphaned_number_columns_are_reported() {
        let messages_for = |columns: &str| {
            let (_, issues) = parse(
                1,
                &titles(&format!("ID|Name|Number|Number Type|Groups|{columns}")),
            )
            .unwrap();
            let issues = issues.into_iter().filter(|issue| issue.row.is_some());
            issues
                .map(|issue| issue.message().into_owned())
                .collect::<Vec<_>>()
        };
        for (columns, expected) in [
            ("Number Type 2|Number Description 2", vec!["", ""]),
            ("Number2|Number Type 2", vec!["`Number 2`", ""]),
            ("Numbr 2", vec!["`Number 2`"]),
            ("Number  2|Number Type 2", vec![]),
            ("Shoe 2", vec![""]),
        ] {
            let messages = messages_for(columns);
            assert_eq!(messages.len(), expected.len(), "{columns}: {messages:?}");
            for (message, expected) in messages.iter().zip(expected) {
                let has_suggestion = message.contains("did you mean");
                assert_eq!(has_suggestion, !expected.is_empty(), "{message}");
                assert!(message.contains(expected), "{message}");
            }
        }
    }

    #[test]
    fn missing_and_unknown_columns_give_one_issue_each() {
        let (_, issues) = parse(
            1,
            &titles("ID|Name|Number|Number Type|Groups|Emial Address|Shoe size"),
        )
        .unwrap();
        let codes: Vec<Code> = issues.iter().map(|issue| issue.code).collect();
        assert_eq!(
            codes
                .iter()
                .filter(|code| **code == Code::ColumnMissing)
                .count(),
            5
        );
        assert_eq!(
            codes
                .iter()
                .filter(|code| **code == Code::ColumnUnknown)
                .count(),
            2
        );
        assert!(
            issues
                .iter()
                .any(|issue| issue.message().contains("did you mean `Email Address`?")),
            "{issues:?}"
        );
    }
}

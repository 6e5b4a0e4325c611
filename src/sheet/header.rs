//! Finds the columns in the header row.

use std::collections::{HashMap, HashSet};

use super::SheetError;
use crate::model::catalogue::Finding;
use crate::model::issue::Issue;
use crate::table::{Field, Header, NumberColumns};
use crate::unicode;

/// How many rows below a row that is no header are searched for one, only to say where it is.
pub(super) const SEARCH_ROWS: usize = 50;

/// A title in the form by which it is matched.
fn normalise(title: &str) -> String {
    let plain: String = title
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

/// A known column, with its ordinal where it is one of `Number 2`, `Number Type 2`, ….
fn known(normalised: &str) -> Option<(Field, u32)> {
    if let Some(field) = Field::ALL
        .iter()
        .find(|field| unicode::fold(field.as_str()) == normalised)
    {
        return Some((*field, 1));
    }
    let (base, ordinal) = normalised.rsplit_once(' ')?;
    let ordinal: u32 = ordinal
        .parse()
        .ok()
        .filter(|n| *n >= 2 && !ordinal.starts_with(['0', '+']))?;
    [Field::Number, Field::NumberType, Field::NumberDescription]
        .into_iter()
        .find(|field| unicode::fold(field.as_str()) == base)
        .map(|field| (field, ordinal))
}

/// How many known columns a row of titles has; the delimiter that gives most is the right one.
pub(super) fn count_known(titles: &[String]) -> usize {
    titles
        .iter()
        .filter(|title| known(&normalise(title)).is_some())
        .count()
}

/// Reads the header row, with the issues it gives rise to.
pub(super) fn parse(row: u32, titles: &[String]) -> Result<(Header, Vec<Issue>), SheetError> {
    let mut places: HashMap<(Field, u32), usize> = HashMap::new();
    let mut unknown = Vec::new();
    for (place, title) in titles.iter().enumerate() {
        let normalised = normalise(title);
        match known(&normalised) {
            Some(column) => {
                if places.insert(column, place).is_some() {
                    return Err(SheetError::HeaderDuplicate {
                        row,
                        title: shown(title),
                    });
                }
            }
            None if normalised.is_empty() => {}
            None => unknown.push((place, normalised)),
        }
    }
    let mut seen = HashSet::new();
    for (place, normalised) in &unknown {
        if !seen.insert(normalised) {
            return Err(SheetError::HeaderDuplicate {
                row,
                title: shown(&titles[*place]),
            });
        }
    }
    let missing: Vec<String> = Field::ALL
        .iter()
        .filter(|field| field.is_required() && !places.contains_key(&(**field, 1)))
        .map(|field| field.as_str().to_owned())
        .collect();
    if !missing.is_empty() {
        let hint = missing_hint(&missing, &unknown, titles);
        return Err(SheetError::HeaderMissing { row, missing, hint });
    }
    let numbers = number_columns(row, &places)?;
    // Type and description of a number that has no column of its own.
    let alone = |(field, n): &(Field, u32)| {
        *field != Field::Number && *n > 1 && !places.contains_key(&(Field::Number, *n))
    };
    let alone = places.iter().filter(|(column, _)| alone(column));
    unknown.extend(alone.map(|(_, place)| (*place, normalise(&titles[*place]))));
    unknown.sort_unstable();
    let mut issues = Vec::new();
    for field in Field::ALL
        .iter()
        .filter(|field| !field.is_required() && !places.contains_key(&(**field, 1)))
    {
        issues.push(Issue {
            column: Some(field.as_str().into()),
            ..Issue::new(Finding::ColumnMissing)
        });
    }
    for (place, normalised) in &unknown {
        let title = shown(&titles[*place]);
        let wanted = |field, n| !places.contains_key(&(field, n));
        let meant = match known(normalised) {
            // It is written right, and what it belongs to isn't there.
            Some(_) => None,
            None => numbered_meant(normalised, wanted).or_else(|| {
                let field = did_you_mean(normalised, |field| wanted(field, 1))?;
                Some(field.as_str().to_owned())
            }),
        };
        let finding = if meant.is_some() {
            Finding::ColumnMisspelled
        } else {
            Finding::ColumnUnknown
        };
        issues.push(Issue {
            row: Some(row),
            column_place: u32::try_from(*place).ok(),
            value: Some(title.clone()),
            column: Some(title.into()),
            ..Issue::clashing(finding, &meant.unwrap_or_default(), 0)
        });
    }
    let found: Vec<(Field, usize)> = places
        .iter()
        .filter(|((_, ordinal), _)| *ordinal == 1)
        .map(|((field, _), place)| (*field, *place))
        .collect();
    let titles = titles
        .iter()
        .map(|title| unicode::clean(title).text.into_owned())
        .collect();
    Ok((Header::new(row, titles, &found, numbers), issues))
}

fn number_columns(
    row: u32,
    places: &HashMap<(Field, u32), usize>,
) -> Result<Vec<NumberColumns>, SheetError> {
    let mut numbers = Vec::new();
    for ((field, ordinal), place) in places {
        if *field != Field::Number {
            continue;
        }
        let Some(number_type) = places.get(&(Field::NumberType, *ordinal)) else {
            return Err(SheetError::HeaderMissing {
                row,
                missing: vec![format!("Number Type {ordinal}")],
                hint: format!(", which belongs to `Number {ordinal}`; add it"),
            });
        };
        numbers.push(NumberColumns {
            ordinal: *ordinal,
            number: *place,
            number_type: *number_type,
            description: places.get(&(Field::NumberDescription, *ordinal)).copied(),
        });
    }
    numbers.sort_by_key(|columns| columns.number);
    Ok(numbers)
}

fn shown(title: &str) -> String {
    unicode::shorten(&unicode::clean(title).text, 60)
}

fn missing_hint(missing: &[String], unknown: &[(usize, String)], titles: &[String]) -> String {
    let guesses: Vec<String> = unknown
        .iter()
        .filter_map(|(place, normalised)| {
            let meant = did_you_mean(normalised, |field| {
                missing.iter().any(|m| m == field.as_str())
            })?;
            Some(format!(
                "`{}` looks like it: rename it to `{meant}`",
                shown(&titles[*place])
            ))
        })
        .collect();
    if guesses.is_empty() {
        "; add it as in the template (`rosterd template`)".to_owned()
    } else {
        format!("; {}", guesses.join(", "))
    }
}

/// A column of a further number that is written almost right, as `Number2`.
fn numbered_meant(normalised: &str, wanted: impl Fn(Field, u32) -> bool) -> Option<String> {
    let base = normalised.trim_end_matches(|c: char| c.is_ascii_digit());
    let ordinal: u32 = normalised[base.len()..].parse().ok()?;
    let numbered = [Field::Number, Field::NumberType, Field::NumberDescription];
    let field = did_you_mean(base.trim_end(), |field| {
        ordinal > 1 && numbered.contains(&field) && wanted(field, ordinal)
    })?;
    Some(format!("{field} {ordinal}"))
}

fn did_you_mean(normalised: &str, wanted: impl Fn(Field) -> bool) -> Option<Field> {
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
    let synonym = SYNONYMS
        .iter()
        .find(|(word, _)| *word == normalised)
        .map(|(_, field)| *field);
    synonym.filter(|field| wanted(*field)).or_else(|| {
        Field::ALL
            .iter()
            .copied()
            .filter(|field| wanted(*field))
            .map(|field| {
                (
                    strsim::damerau_levenshtein(&unicode::fold(field.as_str()), normalised),
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
    fn headers_match_in_any_order_case_and_dress() {
        let (header, issues) =
            parse(1, &titles("\u{feff}id*|NAME| Groups |number\u{a0}type|Number |Organization  Name*|Title|email address|Number Description|notification priority")).unwrap();
        assert_eq!(header.place(Field::Id), Some(0));
        assert_eq!(header.place(Field::NumberType), Some(3));
        assert_eq!(header.place(Field::OrganizationName), Some(5));
        assert!(issues.is_empty(), "{issues:?}");
    }

    #[test]
    fn missing_required_columns_are_named_with_a_guess() {
        let error = parse(1, &titles("ID|Name|Phone|Number Type|Groups"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the header (row 1) lacks the required column `Number`; `Phone` looks like it: rename it to `Number`"
        );
        let error = parse(3, &titles("A|B")).unwrap_err().to_string();
        assert!(error.contains("(row 3) lacks the required columns `ID`, `Name`, `Number`, `Number Type` and `Groups`"), "{error}");
    }

    #[test]
    fn a_header_twice_is_refused() {
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
    fn further_numbers_need_their_type() {
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
    fn columns_of_further_numbers_that_lead_nowhere_are_named() {
        let meant = |columns: &str| {
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
        for (columns, said) in [
            ("Number Type 2|Number Description 2", vec!["", ""]),
            ("Number2|Number Type 2", vec!["`Number 2`", ""]),
            ("Numbr 2", vec!["`Number 2`"]),
            ("Number  2|Number Type 2", vec![]),
            ("Shoe 2", vec![""]),
        ] {
            let messages = meant(columns);
            assert_eq!(messages.len(), said.len(), "{columns}: {messages:?}");
            for (message, said) in messages.iter().zip(said) {
                let guesses = message.contains("did you mean");
                assert_eq!(guesses, !said.is_empty(), "{message}");
                assert!(message.contains(said), "{message}");
            }
        }
    }

    #[test]
    fn optional_and_unknown_columns_are_one_issue_each() {
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

//! The house rules of ARCHITECTURE.md: who may know whom, and which outside crate lives in which room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room, and the rooms of ours that it may know. Rooms not named here may know all (they are faces).
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("seal", &[]),
    ("embedded", &["model"]),
    ("lifecycle", &[]),
    ("telemetry", &["config"]),
    ("spool", &["model"]),
    ("fetch", &["model", "clock", "telemetry", "spool"]),
    ("sheet", &["model", "clock", "telemetry"]),
    ("validate", &["model", "clock", "telemetry"]),
    ("reconcile", &["model"]),
    ("report", &["model"]),
    ("mail", &["model", "clock", "telemetry"]),
    // The plan's inputs and outputs pass through the store.
    ("store", &["model", "clock", "telemetry", "reconcile"]),
    ("outbox", &["store", "mail", "model", "clock"]),
    (
        "import",
        &[
            "model",
            "clock",
            "telemetry",
            "lifecycle",
            "fetch",
            "sheet",
            "validate",
            "reconcile",
            "report",
            "seal",
            "spool",
            "store",
        ],
    ),
    (
        "dispatch",
        &[
            "import",
            "store",
            "outbox",
            "mail",
            "model",
            "clock",
            "lifecycle",
        ],
    ),
    ("web", &["config", "store", "model"]),
];

/// An outside crate, and the only rooms that may name it.
const LIVES_IN: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("reqwest", &["fetch"]),
    ("ssh2", &["fetch"]),
    ("aws_sdk_s3", &["fetch"]),
    ("aws_smithy_runtime_api", &["fetch"]),
    ("rustls", &["fetch", "cli"]),
    ("calamine", &["sheet"]),
    ("csv", &["sheet"]),
    ("flate2", &["fetch"]),
    ("zip", &["sheet"]),
    ("encoding_rs", &["sheet"]),
    ("lettre", &["mail"]),
    ("askama", &["report"]),
    ("tokio_cron_scheduler", &["dispatch"]),
    ("axum", &["web"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli"]),
    ("indicatif", &["cli"]),
    ("comfy_table", &["cli"]),
    ("rust_xlsxwriter", &["cli"]),
    ("figment", &["config"]),
    ("sd_notify", &["lifecycle"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The room of a file: the first folder or file name below `src`.
fn room(path: &Path, src: &Path) -> String {
    let first = path
        .strip_prefix(src)
        .unwrap()
        .iter()
        .next()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file without comments and without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Words that follow `prefix`, as in `crate::WORD` or `use crate::{WORD::…, WORD}`.
fn words_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(is_word) {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut start = true;
            for (i, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => start = true,
                    c if is_word(c) && start => {
                        words.insert(list[i..].split(|c: char| !is_word(c)).next().unwrap());
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            words.insert(rest.split(|c: char| !is_word(c)).next().unwrap());
        }
    }
    words
}

fn breaches(path: &Path, room: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, allowed)) = MAY_KNOW.iter().find(|(name, _)| *name == room) {
        for known in words_after(code, "crate::")
            .into_iter()
            .filter(|known| MAY_KNOW.iter().any(|(name, _)| name == known) || *known == "cli")
        {
            if known != room && !allowed.contains(&known) {
                found.push(format!(
                    "{}: `{room}` must not know `{known}`",
                    path.display()
                ));
            }
        }
    }
    for (outside, rooms) in LIVES_IN {
        let path_use = format!("{outside}::");
        let names = code.match_indices(&path_use).any(|(at, _)| {
            let before = &code[..at];
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        });
        if names && !rooms.contains(&room) && !code.contains(&format!("mod {outside};")) {
            found.push(format!(
                "{}: `{outside}` lives in {rooms:?}",
                path.display()
            ));
        }
    }
    found
}

#[test]
fn no_room_knows_what_it_must_not() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 40, "the sources were found");
    let mut found = Vec::new();
    for path in &files {
        let room = room(path, &src);
        let known = MAY_KNOW.iter().any(|(name, _)| *name == room)
            || ["cli", "lib", "main"].contains(&room.as_str());
        assert!(
            known,
            "{}: `{room}` has no place in the house; say in MAY_KNOW what it may know",
            path.display()
        );
        found.extend(breaches(path, &room, &code(path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_breach_would_be_noticed() {
    let check = |room: &str, code: &str| breaches(Path::new("x.rs"), room, code).len();
    assert_eq!(check("model", "use crate::store::Store;"), 1);
    assert_eq!(
        check(
            "fetch",
            "use crate::{model::RunId, sheet::{Facts, Limits}, store};"
        ),
        2
    );
    assert_eq!(check("import", "let x = sqlx::query(\"\");"), 1);
    assert_eq!(
        check("store", "use sqlx::PgConnection; use crate::model::RunId;"),
        0
    );
    assert_eq!(check("sheet", "mod csv; use super::csv::read;"), 0);
}

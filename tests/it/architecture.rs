//! The dependency rules of ARCHITECTURE.md: which modules may use each other, and which module may use which external crate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module and the modules of this crate that it may use. Modules not listed here (the front ends) may use all.
const ALLOWED_DEPENDENCIES: &[(&str, &[&str])] = &[
    ("unicode", &[]),
    ("model", &["unicode"]),
    ("table", &["model", "unicode"]),
    ("compact", &["model"]),
    ("row_cache", &["model", "table"]),
    ("parsed_sheet", &["model", "compact", "row_cache"]),
    ("address", &["model"]),
    ("clock", &[]),
    ("config", &[]),
    ("secrets", &[]),
    ("embedded", &["model"]),
    ("lifecycle", &[]),
    ("telemetry", &["config"]),
    ("temp_file", &["model"]),
    (
        "fetch",
        &[
            "model",
            "address",
            "temp_file",
            "unicode",
            "clock",
            "telemetry",
        ],
    ),
    (
        "sheet",
        &["model", "table", "unicode", "clock", "telemetry"],
    ),
    (
        "validate",
        &[
            "model",
            "table",
            "compact",
            "row_cache",
            "parsed_sheet",
            "unicode",
        ],
    ),
    (
        "reconcile",
        &["model", "compact", "parsed_sheet", "unicode"],
    ),
    ("report", &["model", "compact", "unicode"]),
    ("mail", &["model"]),
    ("store", &["model", "address", "compact", "row_cache"]),
    ("outbox", &["store", "mail", "model", "clock"]),
    (
        "import",
        &[
            "model",
            "unicode",
            "table",
            "compact",
            "row_cache",
            "parsed_sheet",
            "address",
            "clock",
            "telemetry",
            "lifecycle",
            "fetch",
            "sheet",
            "validate",
            "reconcile",
            "report",
            "secrets",
            "temp_file",
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
    ("web", &["config", "store"]),
];

/// An external crate and the only modules that may use it.
const CRATE_OWNERS: &[(&str, &[&str])] = &[
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

fn collect_rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The module of a file: the first directory or file name below `src`.
fn module_of(path: &Path, src: &Path) -> String {
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

/// The source code of a file without comments and unit tests.
fn production_code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Identifiers that follow `prefix`, as in `crate::NAME` or `use crate::{NAME::…, NAME}`.
fn identifiers_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_identifier_char = |c: char| c.is_alphanumeric() || c == '_';
    let mut identifiers = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        if code[..at].ends_with(is_identifier_char) {
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
                    c if is_identifier_char(c) && start => {
                        identifiers.insert(
                            list[i..]
                                .split(|c: char| !is_identifier_char(c))
                                .next()
                                .unwrap(),
                        );
                        start = false;
                    }
                    _ => {}
                }
            }
        } else {
            identifiers.insert(rest.split(|c: char| !is_identifier_char(c)).next().unwrap());
        }
    }
    identifiers
}

fn violations(path: &Path, module: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((_, allowed)) = ALLOWED_DEPENDENCIES
        .iter()
        .find(|(name, _)| *name == module)
    {
        for used in identifiers_after(code, "crate::")
            .into_iter()
            .filter(|used| {
                ALLOWED_DEPENDENCIES.iter().any(|(name, _)| name == used) || *used == "cli"
            })
        {
            if used != module && !allowed.contains(&used) {
                found.push(format!(
                    "{}: `{module}` must not use `{used}`",
                    path.display()
                ));
            }
        }
    }
    for (external_crate, owners) in CRATE_OWNERS {
        let path_use = format!("{external_crate}::");
        let is_used = code.match_indices(&path_use).any(|(at, _)| {
            let before = &code[..at];
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
        });
        if is_used && !owners.contains(&module) && !code.contains(&format!("mod {external_crate};"))
        {
            found.push(format!(
                "{}: `{external_crate}` may only be used in {owners:?}",
                path.display()
            ));
        }
    }
    found
}

#[test]
fn modules_use_only_allowed_dependencies() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect_rust_files(&src, &mut files);
    assert!(files.len() > 40, "expected to find all source files");
    let mut found = Vec::new();
    for path in &files {
        let module = module_of(path, &src);
        let is_listed = ALLOWED_DEPENDENCIES.iter().any(|(name, _)| *name == module)
            || ["cli", "lib", "main"].contains(&module.as_str());
        assert!(
            is_listed,
            "{}: module `{module}` is not listed in ALLOWED_DEPENDENCIES",
            path.display()
        );
        found.extend(violations(path, &module, &production_code(path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn forbidden_use_in_sample_code_is_reported() {
    let count = |module: &str, code: &str| violations(Path::new("x.rs"), module, code).len();
    assert_eq!(count("model", "use crate::store::Store;"), 1);
    assert_eq!(
        count(
            "fetch",
            "use crate::{model::RunId, sheet::{SheetInfo, Limits}, store};"
        ),
        2
    );
    assert_eq!(count("import", "let x = sqlx::query(\"\");"), 1);
    assert_eq!(
        count("store", "use sqlx::PgConnection; use crate::model::RunId;"),
        0
    );
    assert_eq!(count("sheet", "mod csv; use super::csv::read;"), 0);
}

//! `rosterd check`: checks a file as an import would, without a database. Also prints the result of `import --dry-run`.

mod annotated;
mod json;
mod plan_summary;
mod text;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args as ClapArgs;

use super::Exit;
use super::output::{self, Format};
use crate::config::Config;
use crate::import::{self, ParsedFile, Preview};
use crate::model::digest::FileDigest;
use crate::model::failure::{Failure, FailureCode};
use crate::model::issue::{Code, Severity};
use crate::model::run::FileMetadata;
use crate::sheet::{self, FileContent, Limits, WorkbookReader};
use crate::temp_file::SizeLimit;
use annotated::Annotator;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// File to check, .xlsx or .csv; `-` is standard input.
    file: PathBuf,
    /// Write a copy of the sheet with faulty cells colored and a column that explains the issues.
    #[arg(long, value_name = "OUT.xlsx")]
    annotated: Option<PathBuf>,
}

pub(super) fn run(args: &Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let limit = config.fetch.max_bytes;
    let is_input_file = |path: &PathBuf| {
        let [one, other] = [path, &args.file].map(std::fs::canonicalize);
        one.is_ok_and(|one| other.is_ok_and(|other| one == other))
    };
    if let Some(path) = args.annotated.as_ref().filter(|path| is_input_file(path)) {
        anyhow::bail!(
            "cannot write the annotated sheet to `{}`: this is the file to check; choose another file",
            path.display()
        );
    }
    let mut file = open(&args.file, limit)?;
    let metadata = file_metadata(&mut file, limit, format)
        .with_context(|| format!("cannot read file `{}`", args.file.display()))?;
    let workbooks = WorkbookReader::current_exe();
    let parsed_file = if metadata.size_bytes.is_some_and(|size| size > limit) {
        too_large(limit).parsed_file
    } else {
        let content = FileContent::File(&file);
        import::read(content, &workbooks, config.import.max_rows, None)
            .map(Arc::new)
            .map_err(|error| error.failure())
    };
    let preview = Preview {
        file: metadata,
        parsed_file,
        plan: None,
    };
    print(&preview, format)?;
    if let Some(path) = &args.annotated {
        let Ok(parsed_file) = &preview.parsed_file else {
            anyhow::bail!(
                "`{}` was not written because the file cannot be read",
                path.display()
            );
        };
        let limits = Limits {
            max_rows: config.import.max_rows,
        };
        annotate(&file, &workbooks, limits, parsed_file, path)?;
    }
    Ok(exit(&preview))
}

/// The result for a file of more than `limit` bytes, which is not read.
pub(super) fn too_large(limit: u64) -> Preview {
    let message = format!(
        "the file is larger than {} (`fetch.max_bytes`); remove data that does not belong to the contact list",
        SizeLimit(limit)
    );
    Preview {
        file: FileMetadata::default(),
        parsed_file: Err(Failure::new(FailureCode::TooLarge, message)),
        plan: None,
    }
}

/// Opens a file that can be read more than once. Standard input and pipes are copied to a temporary file, up to `limit` bytes
/// plus one, which shows that the file is too large.
fn open(path: &Path, limit: u64) -> anyhow::Result<File> {
    let context = || format!("cannot open file `{}`", path.display());
    let mut copy = tempfile::tempfile().context("cannot create a temporary file (TMPDIR)")?;
    if path == Path::new("-") {
        let mut input = std::io::stdin().lock().take(limit.saturating_add(1));
        std::io::copy(&mut input, &mut copy).context("cannot read standard input")?;
        return Ok(copy);
    }
    let file = File::open(path).with_context(context)?;
    let kind = file.metadata().with_context(context)?;
    anyhow::ensure!(!kind.is_dir(), "`{}` is a directory", path.display());
    if kind.is_file() {
        return Ok(file);
    }
    std::io::copy(&mut file.take(limit.saturating_add(1)), &mut copy).with_context(context)?;
    Ok(copy)
}

/// Returns the size of a file. For JSON output, which shows it, also the SHA-256, unless the file is too large.
fn file_metadata(file: &mut File, limit: u64, format: Format) -> std::io::Result<FileMetadata> {
    let size = file.metadata()?.len();
    let mut metadata = FileMetadata {
        size_bytes: Some(size),
        ..FileMetadata::default()
    };
    if size <= limit && format == Format::Json {
        let mut digest = FileDigest::default();
        file.rewind()?;
        std::io::copy(file, &mut digest)?;
        metadata.sha256 = Some(digest.finish());
    }
    Ok(metadata)
}

/// Reads the file again and writes the annotated copy.
fn annotate(
    file: &File,
    workbooks: &WorkbookReader,
    limits: Limits,
    parsed_file: &ParsedFile,
    path: &Path,
) -> anyhow::Result<()> {
    // Damaged rows may have more cells than the header. All of them are needed to fix the row in the copy.
    let mut max_cells = 0;
    let mut issues = parsed_file.sheet.issues.iter();
    if issues.any(|issue| issue.code == Code::RowDamaged) {
        sheet::read_sandboxed(FileContent::File(file), workbooks, limits, |_, row| {
            max_cells = max_cells.max(row.len());
        })?;
    }
    // The directory of the output needs enough disk space for the workbook anyway, so the temporary file is stored there.
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mut annotator = Annotator::new(parsed_file, max_cells, folder.unwrap_or(Path::new(".")))?;
    let mut write_result = Ok(());
    let info = sheet::read_sandboxed(FileContent::File(file), workbooks, limits, |_, row| {
        if write_result.is_ok() {
            write_result = annotator.write_row(row);
        }
    })?;
    write_result?;
    annotator.save(&info.header, path)?;
    // Printed to standard error, because standard output may be JSON for a script.
    output::print_note(format!("annotated sheet written to {}", path.display()))?;
    Ok(())
}

/// The exit status of a check or dry run.
pub(super) fn exit(preview: &Preview) -> Exit {
    let held = preview
        .plan
        .as_ref()
        .is_some_and(|plan| !plan.hold_reasons.is_empty());
    match &preview.parsed_file {
        _ if preview.failure().is_some() => Exit::Failed,
        Ok(_) if held => Exit::Held,
        Ok(parsed_file) if has_errors(parsed_file) => Exit::ContactsInError,
        _ => Exit::Done,
    }
}

fn has_errors(parsed_file: &ParsedFile) -> bool {
    parsed_file.sheet.issues.count(Severity::Error) > 0
}

pub(super) fn print(preview: &Preview, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => output::print_json(&json::Document::new(preview)),
        Format::Text => output::with_colors(|out| text::print(preview, out)),
    }
}

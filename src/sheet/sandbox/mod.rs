//! The wall between a workbook and this process: a workbook is read by a child process of the same program, which may
//! take so much memory and time and no more. Whatever the workbook does to its reader, it does it there.
//!
//! The child gets the file as its standard input and writes to its standard output what it finds (`frame`). Before anything
//! else it limits itself. Its output is a file without a name, which is looked at once the child is through: a workbook of
//! which only a half can be read gives no row at all, and the two are not in each other's way on the processor.

mod ipc;
pub(super) mod zip_limits;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::{Format, Limits, SheetError, SheetInfo, read};
use crate::table::{Header, SheetRow};
use ipc::{End, Frame};

/// Name of the command by which the program reads a workbook for its parent.
pub const COMMAND: &str = "read-workbook";
/// Most memory of the child for data, bytes. With the program itself it stays below 256 MiB.
const MAX_DATA_BYTES: u64 = 208 << 20;
/// Most time of the child on a processor, seconds.
const MAX_CPU_SECONDS: u64 = 10;
/// Most bytes that the child may write: more than all cells and all text that a sheet may have.
const MAX_OUTPUT_BYTES: u64 = 128 << 20;
/// How a child ends that could not write what it read.
const EXIT_OUTPUT_NOT_WRITTEN: i32 = 1;

/// Who reads workbooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkbookReader {
    /// This process: for tests of the reader itself, where nothing stands between.
    InProcess,
    /// A child process running this program.
    Child(PathBuf),
}

impl WorkbookReader {
    /// A child process of the program that is running, even if its file was replaced meanwhile.
    #[must_use]
    pub fn current_exe() -> Self {
        Self::Child("/proc/self/exe".into())
    }
}

/// Ends the child, whatever happens to its parent's reading.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only for a child that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a workbook in a child process.
pub(super) fn read_in_child<F: FnMut(&Header, &SheetRow)>(
    program: &Path,
    file: &File,
    limits: Limits,
    on_row: &mut F,
) -> Result<SheetInfo, SheetError> {
    let mut input = file.try_clone()?;
    input.rewind()?;
    let mut output = tempfile::tempfile()?;
    let mut child = ChildGuard(
        Command::new(program)
            .arg(COMMAND)
            .arg(limits.max_rows.to_string())
            .env_clear()
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::null())
            .spawn()?,
    );
    let status = child.0.wait()?;
    if !status.success() {
        return Err(classify_exit(status));
    }
    output.rewind()?;
    let mut output = BufReader::with_capacity(64 << 10, output);
    let (mut header, mut row, mut scratch) = (None, SheetRow::default(), Vec::new());
    loop {
        match ipc::read_frame(&mut output, &mut row, &mut scratch)? {
            Frame::Header(found) => header = Some(found),
            Frame::Row => match &header {
                Some(header) => on_row(header, &row),
                None => return Err(ipc::malformed_frame().into()),
            },
            Frame::End(end) => return Ok(sheet_info(end)),
            Frame::Rejected(failure) => return Err(SheetError::RejectedByWorker(failure)),
        }
    }
}

fn sheet_info(end: End) -> SheetInfo {
    SheetInfo {
        format: Format {
            format: "xlsx",
            encoding: None,
            delimiter: None,
            sheet: end.sheet,
        },
        header: end.header,
        issues: end.issues,
        final_newline: None,
    }
}

/// What became of a child that did not end well. How it ended says what the workbook did to it.
fn classify_exit(status: ExitStatus) -> SheetError {
    if status.code() == Some(EXIT_OUTPUT_NOT_WRITTEN) {
        return SheetError::Io(std::io::Error::other(
            "there is no room for what a workbook holds (TMPDIR)",
        ));
    }
    let signal = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok());
    match signal {
        Some(Signal::SIGXCPU | Signal::SIGKILL) => SheetError::WorkbookTooLarge(format!(
            "reading it takes more than {MAX_CPU_SECONDS} seconds"
        )),
        // An allocation beyond the limit aborts.
        Some(Signal::SIGABRT) => {
            SheetError::WorkbookTooLarge("reading it takes more memory than allowed".to_owned())
        }
        Some(Signal::SIGXFSZ) => {
            SheetError::WorkbookTooLarge("its rows take more room than allowed".to_owned())
        }
        _ => SheetError::WorkbookUnreadable(format!("its reader gave up: {status}")),
    }
}

/// The child's whole work: limits itself, reads the workbook from `input` and writes to `output` what it finds.
///
/// # Errors
/// Where the limits can't be set, or there is no room for the output.
pub fn run_worker(input: File, output: File, limits: Limits) -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_DATA, MAX_DATA_BYTES, MAX_DATA_BYTES)?;
    setrlimit(Resource::RLIMIT_CPU, MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1)?;
    setrlimit(Resource::RLIMIT_FSIZE, MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    write_result(BufReader::with_capacity(64 << 10, input), output, limits)
}

fn write_result<R: Read + Seek>(input: R, output: File, limits: Limits) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(64 << 10, output);
    let mut scratch = Vec::new();
    let mut header_written = false;
    let mut write_outcome = Ok(());
    let outcome = read(input, limits, |header, row| {
        if write_outcome.is_err() {
            return;
        }
        if !header_written {
            write_outcome = ipc::write_header(&mut out, header);
            header_written = true;
        }
        if write_outcome.is_ok() {
            write_outcome = ipc::write_row(&mut out, row, &mut scratch);
        }
    });
    write_outcome?;
    match outcome {
        Ok(sheet_info) => ipc::write_end(
            &mut out,
            &End {
                sheet: sheet_info.format.sheet,
                header: sheet_info.header,
                issues: sheet_info.issues,
            },
        )?,
        Err(error) => {
            // Rows that came before count for nothing.
            out.rewind()?;
            out.get_ref().set_len(0)?;
            ipc::write_rejection(&mut out, &error.failure())?;
        }
    }
    out.flush()
}

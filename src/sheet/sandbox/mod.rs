//! Reads workbooks in a worker process with limited memory, processor time and output, so that a malicious or damaged
//! workbook cannot harm this process. Must not parse workbooks itself.
//!
//! The worker is the same program. It limits itself first, receives the file as standard input and writes frames
//! (`ipc`) to standard output. This output is an unnamed temporary file, which the parent reads only after the worker
//! has ended: a workbook that is readable only in part gives no rows, and the two processes do not compete for the
//! processor.

mod ipc;
pub(super) mod zip_limits;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use super::error::{ByteLimit, SheetError, WorkbookDefect, WorkbookLimit};
use super::{Format, Limits, SheetInfo, read};
use crate::table::{Header, SheetRow};
use ipc::{End, Frame};

/// Name of the hidden command that runs the worker process.
pub const COMMAND: &str = "read-workbook";
/// Maximum memory of the worker for data, bytes. Together with the program, the worker needs less than 256 MiB.
const MAX_DATA_BYTES: u64 = 208 << 20;
/// Maximum processor time of the worker, seconds.
const MAX_CPU_SECONDS: u64 = 10;
/// Maximum output of the worker, bytes. The largest sheet within the limits of `xlsx` needs less.
const MAX_OUTPUT_BYTES: u64 = 128 << 20;
/// Exit code of a worker that could not write its output.
const EXIT_OUTPUT_NOT_WRITTEN: i32 = 1;
/// Buffer size for the workbook and for the frames.
const BUFFER_BYTES: usize = 64 << 10;

/// Where workbooks are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkbookReader {
    /// In this process, without limits. Only for tests of the reader.
    InProcess,
    /// In a child process that runs this program.
    Child(PathBuf),
}

impl WorkbookReader {
    /// In a child process of the running program, even if its file was replaced since it started.
    #[must_use]
    pub fn current_exe() -> Self {
        Self::Child("/proc/self/exe".into())
    }
}

/// Kills the child when dropped, including after errors and panics of the parent.
struct ChildGuard(Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Both fail only if the child has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let mut output = BufReader::with_capacity(BUFFER_BYTES, output);
    let (mut header, mut row, mut scratch) = (None, SheetRow::default(), Vec::new());
    loop {
        match ipc::read_frame(&mut output, &mut row, &mut scratch)? {
            Frame::Header(received) => header = Some(received),
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

/// The error for a worker that did not succeed, from its exit status.
fn classify_exit(status: ExitStatus) -> SheetError {
    if status.code() == Some(EXIT_OUTPUT_NOT_WRITTEN) {
        return SheetError::WorkerOutputNotWritten;
    }
    let signal = status
        .signal()
        .and_then(|signal| Signal::try_from(signal).ok());
    match signal {
        Some(Signal::SIGXCPU) => SheetError::WorkbookTooLarge(WorkbookLimit::CpuTime {
            seconds: MAX_CPU_SECONDS,
        }),
        // Sent by the kernel when the machine runs out of memory, or by an operator.
        Some(Signal::SIGKILL) => SheetError::WorkerKilled,
        // An allocation beyond the limit aborts the process.
        Some(Signal::SIGABRT) => SheetError::WorkbookTooLarge(WorkbookLimit::Memory {
            limit: ByteLimit(MAX_DATA_BYTES),
        }),
        Some(Signal::SIGXFSZ) => SheetError::WorkbookTooLarge(WorkbookLimit::Output {
            limit: ByteLimit(MAX_OUTPUT_BYTES),
        }),
        _ => SheetError::WorkbookUnreadable(WorkbookDefect::WorkerFailed(status)),
    }
}

/// Runs the worker process: sets its own limits, reads the workbook from `input` and writes frames to `output`.
///
/// # Errors
/// If the limits cannot be set or the output cannot be written. A rejected workbook is not an error here; the output
/// contains the rejection.
pub fn run_worker(input: File, output: File, limits: Limits) -> std::io::Result<()> {
    setrlimit(Resource::RLIMIT_DATA, MAX_DATA_BYTES, MAX_DATA_BYTES)?;
    setrlimit(Resource::RLIMIT_CPU, MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1)?;
    setrlimit(Resource::RLIMIT_FSIZE, MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    write_result(
        BufReader::with_capacity(BUFFER_BYTES, input),
        output,
        limits,
    )
}

fn write_result<R: Read + Seek>(input: R, output: File, limits: Limits) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, output);
    let mut scratch = Vec::new();
    let mut header_written = false;
    let mut row_result = Ok(());
    let read_result = read(input, limits, |header, row| {
        if row_result.is_err() {
            return;
        }
        if !header_written {
            row_result = ipc::write_header(&mut out, header);
            header_written = true;
        }
        if row_result.is_ok() {
            row_result = ipc::write_row(&mut out, row, &mut scratch);
        }
    });
    row_result?;
    match read_result {
        Ok(sheet_info) => ipc::write_end(
            &mut out,
            &End {
                sheet: sheet_info.format.sheet,
                header: sheet_info.header,
                issues: sheet_info.issues,
            },
        )?,
        Err(error) => {
            // Discard the rows written before the error.
            out.rewind()?;
            out.get_ref().set_len(0)?;
            ipc::write_rejection(&mut out, &error.failure())?;
        }
    }
    out.flush()
}

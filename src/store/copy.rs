//! Writes many rows with COPY in its binary format.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::postgres::PgCopyIn;

use super::{StoreError, query_error};

/// The buffer is sent to the server once it has this many bytes.
const FLUSH_BYTES: usize = 256 << 10;
/// Header of the format: the signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
/// Marks the end of the data. Sent instead of the number of columns of a row.
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// Length of a NULL.
const NULL_LENGTH: [u8; 4] = (-1_i32).to_be_bytes();
/// Microseconds from the Unix epoch to the Postgres epoch (2000-01-01).
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Writes rows, column by column. The caller must call the methods that match the types of the columns.
pub(super) struct CopyWriter<'c> {
    sink: PgCopyIn<&'c mut PgConnection>,
    buffer: Vec<u8>,
    columns: [u8; 2],
    row_started: bool,
    operation: &'static str,
}

impl<'c> CopyWriter<'c> {
    /// Starts a COPY. `target` is the table with its columns, as in `table (column, …)`.
    pub(super) async fn begin(
        db: &'c mut PgConnection,
        target: &str,
        operation: &'static str,
    ) -> Result<Self, StoreError> {
        let sink = db
            .copy_in_raw(&format!("COPY {target} FROM STDIN (FORMAT binary)"))
            .await
            .map_err(query_error(operation))?;
        let columns = target.matches(',').count() + 1;
        let mut buffer = Vec::with_capacity(FLUSH_BYTES + (16 << 10));
        buffer.extend_from_slice(HEADER);
        Ok(Self {
            sink,
            buffer,
            columns: i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes(),
            row_started: false,
            operation,
        })
    }

    fn column(&mut self, content: &[u8]) -> &mut Self {
        if !self.row_started {
            self.buffer.extend_from_slice(&self.columns);
            self.row_started = true;
        }
        self.buffer.extend_from_slice(&NULL_LENGTH);
        self.buffer.extend_from_slice(content);
        self.set_length(self.buffer.len() - content.len(), content.len());
        self
    }

    fn null(&mut self) -> &mut Self {
        self.column(&[]);
        let end = self.buffer.len();
        self.buffer[end - NULL_LENGTH.len()..].copy_from_slice(&NULL_LENGTH);
        self
    }

    /// Writes the next column, a `text`.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.column(text.as_bytes())
    }

    /// Writes the next column, a `text` or NULL.
    pub(super) fn optional_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// Writes the next column, a `jsonb` or NULL.
    pub(super) fn optional_json(
        &mut self,
        value: Option<&impl Serialize>,
    ) -> Result<&mut Self, StoreError> {
        const VERSION: &[u8] = &[1];
        let Some(value) = value else {
            return Ok(self.null());
        };
        self.column(VERSION);
        let begin = self.buffer.len() - VERSION.len();
        serde_json::to_writer(&mut self.buffer, value).map_err(StoreError::Serialize)?;
        let length = self.buffer.len() - begin;
        self.set_length(begin, length);
        Ok(self)
    }

    /// Sets the length of the column whose content starts at `begin`.
    fn set_length(&mut self, begin: usize, length: usize) {
        // Longer values don't occur: the limits of a cell are lower, and Postgres refuses them.
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.buffer[begin - NULL_LENGTH.len()..begin].copy_from_slice(&length.to_be_bytes());
    }

    /// Writes the next column, a `bigint`.
    pub(super) fn bigint(&mut self, number: i64) -> &mut Self {
        self.column(&number.to_be_bytes())
    }

    /// Writes the next column, a `bigint` or NULL.
    pub(super) fn optional_bigint(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.bigint(number),
            None => self.null(),
        }
    }

    /// Writes the next column, an `integer` or NULL.
    pub(super) fn optional_integer(&mut self, number: Option<i32>) -> &mut Self {
        match number {
            Some(number) => self.column(&number.to_be_bytes()),
            None => self.null(),
        }
    }

    /// Writes the next column, a `smallint`.
    pub(super) fn smallint(&mut self, number: i16) -> &mut Self {
        self.column(&number.to_be_bytes())
    }

    /// Writes the next column, a `boolean`.
    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.column(&[u8::from(value)])
    }

    /// Writes the next column, a `timestamptz`.
    pub(super) fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.bigint(time.timestamp_micros() - POSTGRES_EPOCH_MICROS)
    }

    /// Writes the next column, a `bytea`.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.column(bytes)
    }

    /// Writes the next column, a `bytea` or NULL.
    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    /// Ends the row.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        self.row_started = false;
        if self.buffer.len() >= FLUSH_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        self.sink
            .send(&self.buffer[..])
            .await
            .map_err(query_error(self.operation))?;
        self.buffer.clear();
        Ok(())
    }

    /// Ends the COPY. Constraints of all rows have been checked when it returns.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(&TRAILER);
        self.send().await?;
        self.sink
            .finish()
            .await
            .map_err(query_error(self.operation))?;
        Ok(())
    }
}

//! Many rows at once, by COPY in its binary format.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgCopyIn;
use sqlx::{PgConnection, postgres::PgConnection as Connection};

use super::{StoreError, failed};

/// Bytes that are sent in one piece.
const PIECE: usize = 256 << 10;
/// What the format begins with: its signature, no flags, no further header.
const BEGINNING: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
/// Instead of a count of columns, at the end.
const END: [u8; 2] = (-1_i16).to_be_bytes();
/// Instead of a length.
const NULL: [u8; 4] = (-1_i32).to_be_bytes();
/// From the beginning of Unix time to that of Postgres (2000-01-01), microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// Rows on their way into a table. Each column is of the type that the method says.
pub(super) struct Rows<'c> {
    sink: PgCopyIn<&'c mut Connection>,
    out: Vec<u8>,
    columns: [u8; 2],
    begun: bool,
    operation: &'static str,
}

impl<'c> Rows<'c> {
    /// `into` names the table and its columns, as `table (column, …)`.
    pub(super) async fn begin(
        db: &'c mut PgConnection,
        into: &str,
        operation: &'static str,
    ) -> Result<Self, StoreError> {
        let sink = db
            .copy_in_raw(&format!("COPY {into} FROM STDIN (FORMAT binary)"))
            .await
            .map_err(failed(operation))?;
        let columns = into.matches(',').count() + 1;
        let mut out = Vec::with_capacity(PIECE + (16 << 10));
        out.extend_from_slice(BEGINNING);
        Ok(Self {
            sink,
            out,
            columns: i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes(),
            begun: false,
            operation,
        })
    }

    fn column(&mut self, content: &[u8]) -> &mut Self {
        if !self.begun {
            self.out.extend_from_slice(&self.columns);
            self.begun = true;
        }
        self.out.extend_from_slice(&NULL);
        self.out.extend_from_slice(content);
        self.set_length(self.out.len() - content.len(), content.len());
        self
    }

    fn null(&mut self) -> &mut Self {
        self.column(&[]);
        let end = self.out.len();
        self.out[end - NULL.len()..].copy_from_slice(&NULL);
        self
    }

    /// The next column: a text.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.column(text.as_bytes())
    }

    /// The next column: a text or NULL.
    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    /// The next column: a `jsonb` or NULL.
    pub(super) fn optional_json(
        &mut self,
        value: Option<&impl Serialize>,
    ) -> Result<&mut Self, StoreError> {
        const VERSION: &[u8] = &[1];
        let Some(value) = value else {
            return Ok(self.null());
        };
        self.column(VERSION);
        let begin = self.out.len() - VERSION.len();
        serde_json::to_writer(&mut self.out, value)
            .map_err(|error| StoreError::Refused(format!("JSON can't be written: {error}")))?;
        let length = self.out.len() - begin;
        self.set_length(begin, length);
        Ok(self)
    }

    /// Sets the length of the column whose content begins there.
    fn set_length(&mut self, begin: usize, length: usize) {
        // Postgres refuses what is longer than that, and so does the sheet.
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.out[begin - NULL.len()..begin].copy_from_slice(&length.to_be_bytes());
    }

    /// The next column: a `bigint`.
    pub(super) fn bigint(&mut self, number: i64) -> &mut Self {
        self.column(&number.to_be_bytes())
    }

    /// The next column: a `bigint` or NULL.
    pub(super) fn optional_bigint(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.bigint(number),
            None => self.null(),
        }
    }

    /// The next column: an `integer` or NULL.
    pub(super) fn optional_integer(&mut self, number: Option<i32>) -> &mut Self {
        match number {
            Some(number) => self.column(&number.to_be_bytes()),
            None => self.null(),
        }
    }

    /// The next column: a `smallint`.
    pub(super) fn smallint(&mut self, number: i16) -> &mut Self {
        self.column(&number.to_be_bytes())
    }

    /// The next column: a `boolean`.
    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.column(&[u8::from(value)])
    }

    /// The next column: a `timestamptz`.
    pub(super) fn time(&mut self, time: DateTime<Utc>) -> &mut Self {
        self.bigint(time.timestamp_micros() - EPOCH)
    }

    /// The next column: bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.column(bytes)
    }

    /// The next column: bytes or NULL.
    pub(super) fn optional_bytes(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => self.null(),
        }
    }

    /// Ends the row.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        self.begun = false;
        if self.out.len() >= PIECE {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        self.sink
            .send(&self.out[..])
            .await
            .map_err(failed(self.operation))?;
        self.out.clear();
        Ok(())
    }

    /// Ends the rows; Postgres has looked at all of them then.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.out.extend_from_slice(&END);
        self.send().await?;
        self.sink.finish().await.map_err(failed(self.operation))?;
        Ok(())
    }
}

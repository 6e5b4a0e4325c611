//! Many rows at once, by COPY.

use sqlx::postgres::PgCopyIn;
use sqlx::{PgConnection, postgres::PgConnection as Connection};

use super::{StoreError, failed};

/// Bytes that are sent in one piece.
const PIECE: usize = 256 << 10;

/// Rows on their way into a table, in the text format of COPY.
pub(super) struct Rows<'c> {
    sink: PgCopyIn<&'c mut Connection>,
    out: Vec<u8>,
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
            .copy_in_raw(&format!("COPY {into} FROM STDIN"))
            .await
            .map_err(failed(operation))?;
        Ok(Self {
            sink,
            out: Vec::with_capacity(PIECE + (16 << 10)),
            begun: false,
            operation,
        })
    }

    fn next_column(&mut self) {
        if self.begun {
            self.out.push(b'\t');
        }
        self.begun = true;
    }

    /// The next column: a text, or what Postgres reads from one.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.next_column();
        for byte in text.bytes() {
            let escaped = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                _ => {
                    self.out.push(byte);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', escaped]);
        }
        self
    }

    /// The next column: a text or NULL.
    pub(super) fn optional(&mut self, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            return self.text(text);
        }
        self.next_column();
        self.out.extend_from_slice(b"\\N");
        self
    }

    /// The next column: a number.
    pub(super) fn number(&mut self, number: i64) -> &mut Self {
        use std::io::Write as _;
        self.next_column();
        // Writing to a Vec can't fail.
        let _ = write!(self.out, "{number}");
        self
    }

    /// The next column: a number or NULL.
    pub(super) fn optional_number(&mut self, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.optional(None),
        }
    }

    /// The next column: bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.next_column();
        self.out.extend_from_slice(b"\\\\x");
        for byte in bytes {
            let pair = [byte >> 4, byte & 0xF].map(|digit| DIGITS[usize::from(digit)]);
            self.out.extend_from_slice(&pair);
        }
        self
    }

    /// Ends the row.
    pub(super) async fn end(&mut self) -> Result<(), StoreError> {
        self.out.push(b'\n');
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
        self.send().await?;
        self.sink.finish().await.map_err(failed(self.operation))?;
        Ok(())
    }
}

//! Stores the row cache: the active contacts after an applied run, each with the fingerprint of its row. Its size is part
//! of the account's state, which is written elsewhere.

use sqlx::PgConnection;

use super::{Session, Store, StoreError, query_error};
use crate::model::AccountId;
use crate::row_cache::RowCache;

/// Contacts per chunk. A chunk is 1.5 MiB and is in memory twice while it is read or written.
const CHUNK_CONTACTS: usize = 1 << 16;

impl Store {
    /// The row cache of an account; `None` unless it contains exactly `count` contacts, the number in the account's state.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn load_row_cache(
        &self,
        account: AccountId,
        count: usize,
    ) -> Result<Option<RowCache>, StoreError> {
        let mut row_cache = RowCache::with_capacity(count);
        let mut is_complete = true;
        for chunk in 0..chunk_count(count) {
            let rows = sqlx::query_scalar!(
                "SELECT rows FROM import_rows WHERE account_id = $1 AND piece = $2",
                account.0,
                chunk
            )
            .fetch_optional(&self.pool)
            .await
            .map_err(query_error("read the row cache"))?;
            is_complete &= rows.is_some_and(|rows| row_cache.extend_from_bytes(&rows));
        }
        Ok((is_complete && row_cache.len() == count).then_some(row_cache))
    }
}

impl Session {
    /// Replaces the row cache. [`Session::finish_run`] writes its size with the account's state.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_row_cache(&mut self, row_cache: &RowCache) -> Result<(), StoreError> {
        let account = self.account().0;
        sqlx::query!(
            "DELETE FROM import_rows WHERE account_id = $1 AND piece >= $2",
            account,
            chunk_count(row_cache.len())
        )
        .execute(self.db())
        .await
        .map_err(query_error("delete chunks of the row cache"))?;
        for (chunk, rows) in (0..).zip(row_cache.byte_chunks(CHUNK_CONTACTS)) {
            write_chunk(self.db(), account, chunk, rows).await?;
        }
        Ok(())
    }
}

fn chunk_count(count: usize) -> i32 {
    i32::try_from(count.div_ceil(CHUNK_CONTACTS)).unwrap_or(i32::MAX)
}

async fn write_chunk(
    db: &mut PgConnection,
    account: i64,
    chunk: i32,
    rows: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO import_rows (account_id, piece, rows) VALUES ($1, $2, $3)
         ON CONFLICT (account_id, piece) DO UPDATE SET rows = excluded.rows",
        account,
        chunk,
        rows
    )
    .execute(db)
    .await
    .map_err(query_error("write the row cache"))?;
    Ok(())
}

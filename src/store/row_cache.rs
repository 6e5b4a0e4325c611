//! What is known after an applied run: the active contacts, each with the mark of its row.

use sqlx::PgConnection;

use super::{Session, Store, StoreError, query_error};
use crate::model::AccountId;
use crate::row_cache::RowCache;

/// Contacts in a piece: 1.5 MiB, which is what is in memory twice while it is read or written.
const CHUNK_CONTACTS: usize = 1 << 16;

impl Store {
    /// The known contacts of an account, if there are as many as its state says.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn load_row_cache(
        &self,
        account: AccountId,
        count: usize,
    ) -> Result<Option<RowCache>, StoreError> {
        let mut known = RowCache::with_capacity(count);
        let mut is_complete = true;
        for piece in 0..byte_chunks(count) {
            let rows = sqlx::query_scalar!(
                "SELECT rows FROM import_rows WHERE account_id = $1 AND piece = $2",
                account.0,
                piece
            )
            .fetch_optional(&self.pool)
            .await
            .map_err(query_error("read the known contacts"))?;
            is_complete &= rows.is_some_and(|rows| known.extend_from_bytes(&rows));
        }
        Ok((is_complete && known.len() == count).then_some(known))
    }
}

impl Session {
    /// Replaces what is known; how many there are is written with the account's state.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_row_cache(&mut self, known: &RowCache) -> Result<(), StoreError> {
        let account = self.account().0;
        sqlx::query!(
            "DELETE FROM import_rows WHERE account_id = $1 AND piece >= $2",
            account,
            byte_chunks(known.len())
        )
        .execute(self.db())
        .await
        .map_err(query_error("forget the known contacts"))?;
        for (piece, rows) in (0..).zip(known.byte_chunks(CHUNK_CONTACTS)) {
            write_chunk(self.db(), account, piece, rows).await?;
        }
        Ok(())
    }
}

fn byte_chunks(count: usize) -> i32 {
    i32::try_from(count.div_ceil(CHUNK_CONTACTS)).unwrap_or(i32::MAX)
}

async fn write_chunk(
    db: &mut PgConnection,
    account: i64,
    piece: i32,
    rows: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO import_rows (account_id, piece, rows) VALUES ($1, $2, $3)
         ON CONFLICT (account_id, piece) DO UPDATE SET rows = excluded.rows",
        account,
        piece,
        rows
    )
    .execute(db)
    .await
    .map_err(query_error("write the known contacts"))?;
    Ok(())
}

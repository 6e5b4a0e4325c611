//! What is known after an applied run: the active contacts, each with the mark of its row.

use sqlx::PgConnection;

use super::{Session, Store, StoreError, failed};
use crate::model::AccountId;
use crate::row_cache::KnownContacts;

/// Contacts in a piece: 1.5 MiB, which is what is in memory twice while it is read or written.
const PIECE: usize = 1 << 16;

impl Store {
    /// The known contacts of an account, if there are as many as its state says.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn known_contacts(
        &self,
        account: AccountId,
        count: usize,
    ) -> Result<Option<KnownContacts>, StoreError> {
        let mut known = KnownContacts::with_capacity(count);
        let mut sound = true;
        for piece in 0..pieces(count) {
            let rows = sqlx::query_scalar!(
                "SELECT rows FROM import_rows WHERE account_id = $1 AND piece = $2",
                account.0,
                piece
            )
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("read the known contacts"))?;
            sound &= rows.is_some_and(|rows| known.extend_from_bytes(&rows));
        }
        Ok((sound && known.len() == count).then_some(known))
    }
}

impl Session {
    /// Replaces what is known; how many there are is written with the account's state.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn replace_known(&mut self, known: &KnownContacts) -> Result<(), StoreError> {
        let account = self.account().0;
        sqlx::query!(
            "DELETE FROM import_rows WHERE account_id = $1 AND piece >= $2",
            account,
            pieces(known.len())
        )
        .execute(self.db())
        .await
        .map_err(failed("forget the known contacts"))?;
        for (piece, rows) in (0..).zip(known.pieces(PIECE)) {
            write_piece(self.db(), account, piece, rows).await?;
        }
        Ok(())
    }
}

fn pieces(count: usize) -> i32 {
    i32::try_from(count.div_ceil(PIECE)).unwrap_or(i32::MAX)
}

async fn write_piece(
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
    .map_err(failed("write the known contacts"))?;
    Ok(())
}

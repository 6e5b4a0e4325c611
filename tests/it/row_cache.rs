//! The row cache: which rows are skipped, what invalidates it, and that losing it costs only time.

use rosterd::model::AccountId;

use crate::support::TestApp;
use crate::support::sheet::contacts_csv;

/// The number of contacts in the row cache, and the transaction ID that wrote each piece of it.
async fn row_cache(app: &TestApp) -> (Option<i32>, Vec<String>) {
    let count = sqlx::query_scalar("SELECT known_contacts FROM import_state")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let written = sqlx::query_scalar("SELECT xmin::text FROM import_rows ORDER BY piece")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    (count, written)
}

#[tokio::test]
async fn row_cache_is_written_only_when_rows_change() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    let first = row_cache(&app).await;
    assert_eq!((first.0, first.1.len()), (Some(40), 1));
    let run = app
        .import_sheet(account, contacts_csv((1..=40).rev()))
        .await;
    assert_eq!((run.unchanged, run.row_count), (Some(40), Some(40)));
    assert_eq!(row_cache(&app).await, first);

    let edited = contacts_csv(2..=41).replace("Name 7,", "Name Seven,");
    let run = app.import_sheet(account, edited.clone()).await;
    assert_eq!(
        (run.added, run.updated, run.removed, run.unchanged),
        (Some(1), Some(1), Some(1), Some(38))
    );
    assert_eq!(run.contacts_after, Some(40));
    let second = row_cache(&app).await;
    assert_eq!(second.0, Some(40));
    assert_ne!(second.1, first.1);
    // A trailing space changes the row but not the contact.
    let spaced = edited.replace("Name 8,", "Name 8 ,");
    let before = app.state().await;
    let run = app.import_sheet(account, spaced).await;
    assert_eq!((run.unchanged, run.updated), (Some(40), Some(0)));
    assert_eq!(app.state().await, before);
    assert_ne!(row_cache(&app).await.1, second.1);
}

#[tokio::test]
async fn forced_reread_clears_the_row_cache() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    for sql in [
        "UPDATE import_settings SET hold_removed_percent = 20",
        "UPDATE accounts SET import_enabled = false",
        "UPDATE contacts SET name = 'Other' WHERE external_id = '3'",
        "UPDATE accounts SET import_enabled = true",
    ] {
        if row_cache(&app).await.0.is_none() {
            app.import(account).await;
        }
        app.execute(sql).await.unwrap();
        let stays_valid = sql == "UPDATE accounts SET import_enabled = false";
        assert_eq!(row_cache(&app).await.0.is_some(), stays_valid, "{sql}");
    }
    app.execute("UPDATE import_state SET must_confirm = NULL")
        .await
        .unwrap();
    let run = app.import(account).await;
    assert_eq!(run.updated, Some(1), "the external change is corrected");
    let run = app.import_sheet(account, contacts_csv(1..=39)).await;
    assert_eq!((run.removed, row_cache(&app).await.0), (Some(1), Some(39)));
    app.revert(account, run.id, false).await;
    assert_eq!(row_cache(&app).await.0, None);
}

#[tokio::test]
async fn missing_or_damaged_row_cache_does_not_change_results() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    app.import(account).await;
    for (damage, sheet) in [
        ("DELETE FROM import_rows", contacts_csv(1..=39)),
        (
            "UPDATE import_rows SET rows = substring(rows FROM 1 FOR 30)",
            contacts_csv(1..=38),
        ),
        (
            "UPDATE import_state SET known_contacts = 7",
            contacts_csv(1..=37),
        ),
    ] {
        app.execute(damage).await.unwrap();
        let run = app.import_sheet(account, sheet).await;
        assert_eq!((run.removed, run.added), (Some(1), Some(0)), "{damage}");
        let count = i32::try_from(app.contacts().await.len()).unwrap();
        assert_eq!(row_cache(&app).await.0, Some(count), "{damage}");
    }
}

#[tokio::test]
async fn group_with_only_skipped_contacts_is_kept() {
    let app = TestApp::start().await;
    let sheet = |pairs: &[(u32, &str)]| {
        let mut lines = vec!["ID,Name,Number,Number Type,Groups".to_owned()];
        lines.extend(
            pairs
                .iter()
                .map(|(n, groups)| format!("{n},Name {n},60455501{n:02},mobile,\"{groups}\"")),
        );
        lines.join("\n") + "\n"
    };
    let groups = async |account: AccountId| -> Vec<String> {
        sqlx::query_scalar("SELECT name FROM active_groups WHERE account_id = $1 ORDER BY name")
            .bind(account.0)
            .fetch_all(&app.pool)
            .await
            .unwrap()
    };
    let account = app
        .account(sheet(&[(1, "North"), (2, "North, South"), (3, "East")]))
        .await;
    app.import(account).await;
    // Contact 2 leaves South empty; North keeps contact 1, whose row is skipped.
    let run = app
        .import_sheet(account, sheet(&[(1, "North"), (2, "East"), (3, "East")]))
        .await;
    assert_eq!((run.updated, run.unchanged), (Some(1), Some(2)));
    assert_eq!(groups(account).await, ["East", "North"]);
    let emptied: Option<Vec<String>> =
        sqlx::query_scalar("SELECT emptied_groups FROM import_runs WHERE id = $1")
            .bind(run.id)
            .fetch_one(&app.pool)
            .await
            .unwrap();
    assert_eq!(emptied, Some(vec!["South".to_owned()]));
    // A group keeps its stored spelling as long as a row in the file uses it.
    let run = app
        .import_sheet(
            account,
            sheet(&[(1, "North"), (2, "EAST"), (3, "East"), (4, "NORTH")]),
        )
        .await;
    assert_eq!((run.added, run.unchanged), (Some(1), Some(3)));
    assert_eq!(groups(account).await, ["East", "North"]);
    assert_eq!(
        row_cache(&app).await.0,
        None,
        "with two spellings, the next import reads all rows"
    );
    let run = app
        .import_sheet(
            account,
            sheet(&[(1, "NORTH"), (2, "EAST"), (3, "EAST"), (4, "NORTH")]),
        )
        .await;
    assert_eq!(run.unchanged, Some(4));
    assert_eq!(groups(account).await, ["EAST", "NORTH"]);
}

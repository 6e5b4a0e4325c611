//! Contacts known by their rows: what is passed over, what makes it be forgotten, and that a doubt costs time only.

use rosterd::model::AccountId;

use crate::support::TestApp;
use crate::support::sheet::people;

/// How many contacts are known, and the transactions that have written them.
async fn known(app: &TestApp) -> (Option<i32>, Vec<String>) {
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
async fn what_is_known_is_written_only_when_it_changes() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    let first = known(&app).await;
    assert_eq!((first.0, first.1.len()), (Some(40), 1));
    let run = app.import_sheet(account, people((1..=40).rev())).await;
    assert_eq!((run.unchanged, run.row_count), (Some(40), Some(40)));
    assert_eq!(known(&app).await, first);

    let edited = people(2..=41).replace("Name 7,", "Name Seven,");
    let run = app.import_sheet(account, edited.clone()).await;
    assert_eq!(
        (run.added, run.updated, run.removed, run.unchanged),
        (Some(1), Some(1), Some(1), Some(38))
    );
    assert_eq!(run.contacts_after, Some(40));
    let second = known(&app).await;
    assert_eq!(second.0, Some(40));
    assert_ne!(second.1, first.1);
    // Spaces at an end change the row and nothing of the contact.
    let spaced = edited.replace("Name 8,", "Name 8 ,");
    let before = app.state().await;
    let run = app.import_sheet(account, spaced).await;
    assert_eq!((run.unchanged, run.updated), (Some(40), Some(0)));
    assert_eq!(app.state().await, before);
    assert_ne!(known(&app).await.1, second.1);
}

#[tokio::test]
async fn whatever_makes_the_file_be_read_again_makes_the_rows_be_forgotten() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    for sql in [
        "UPDATE import_settings SET hold_removed_percent = 20",
        "UPDATE accounts SET import_enabled = false",
        "UPDATE contacts SET name = 'Other' WHERE external_id = '3'",
        "UPDATE accounts SET import_enabled = true",
    ] {
        if known(&app).await.0.is_none() {
            app.import(account).await;
        }
        app.execute(sql).await.unwrap();
        let off = sql == "UPDATE accounts SET import_enabled = false";
        assert_eq!(known(&app).await.0.is_some(), off, "{sql}");
    }
    app.execute("UPDATE import_state SET must_confirm = NULL")
        .await
        .unwrap();
    let run = app.import(account).await;
    assert_eq!(
        run.updated,
        Some(1),
        "what another has written is put right"
    );
    let run = app.import_sheet(account, people(1..=39)).await;
    assert_eq!((run.removed, known(&app).await.0), (Some(1), Some(39)));
    app.revert(account, run.id, false).await;
    assert_eq!(known(&app).await.0, None);
}

#[tokio::test]
async fn rows_that_were_lost_or_damaged_only_cost_time() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=40)).await;
    app.import(account).await;
    for (damage, sheet) in [
        ("DELETE FROM import_rows", people(1..=39)),
        (
            "UPDATE import_rows SET rows = substring(rows FROM 1 FOR 30)",
            people(1..=38),
        ),
        ("UPDATE import_state SET known_contacts = 7", people(1..=37)),
    ] {
        app.execute(damage).await.unwrap();
        let run = app.import_sheet(account, sheet).await;
        assert_eq!((run.removed, run.added), (Some(1), Some(0)), "{damage}");
        let count = i32::try_from(app.contacts().await.len()).unwrap();
        assert_eq!(known(&app).await.0, Some(count), "{damage}");
    }
}

#[tokio::test]
async fn a_group_that_only_passed_contacts_are_in_stays_and_one_that_loses_its_last_goes() {
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
    // Who changes leaves South empty; North has a member who is passed over.
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
    // A group is called as it is stored as long as somebody in the file calls it so.
    let run = app
        .import_sheet(
            account,
            sheet(&[(1, "North"), (2, "EAST"), (3, "East"), (4, "NORTH")]),
        )
        .await;
    assert_eq!((run.added, run.unchanged), (Some(1), Some(3)));
    assert_eq!(groups(account).await, ["East", "North"]);
    assert_eq!(
        known(&app).await.0,
        None,
        "two spellings: all is read the next time"
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

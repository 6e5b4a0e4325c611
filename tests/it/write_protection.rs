//! While imports are enabled, the database refuses writes by other programs and gives the reason.

use crate::support::TestApp;
use crate::support::sheet::{contacts_csv, csv, row};

#[tokio::test]
async fn direct_write_while_imports_are_enabled_is_refused() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    for sql in [
        "UPDATE contacts SET name = 'x' WHERE external_id = '1'",
        "DELETE FROM contacts WHERE external_id = '1'",
        "INSERT INTO contacts (account_id, name) SELECT id, 'x' FROM accounts",
        "UPDATE contact_numbers SET number = '6045559999'",
        "DELETE FROM contact_numbers",
        "INSERT INTO contact_numbers (contact_id, position, number, number_type) SELECT id, 9, '6045559999', 'mobile' FROM contacts",
        "UPDATE groups SET name = 'x'",
        "DELETE FROM groups",
        "INSERT INTO groups (account_id, name, name_key) SELECT id, 'x', 'x' FROM accounts",
        "DELETE FROM group_members",
        "INSERT INTO group_members (group_id, contact_id) SELECT g.id, c.id FROM groups g, contacts c ON CONFLICT DO NOTHING",
        "TRUNCATE contacts CASCADE",
        "TRUNCATE group_members",
    ] {
        match app.execute(sql).await {
            Ok(rows) => assert!(
                rows == 0 && sql.contains("ON CONFLICT"),
                "{sql} wrote {rows} rows"
            ),
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("managed by an import"), "{sql}: {message}");
                if !sql.starts_with("TRUNCATE") {
                    assert!(
                        message.contains("North Shore Rescue") && message.contains("/contacts.csv"),
                        "{sql}: {message}"
                    );
                }
            }
        }
    }
    assert_eq!(app.snapshot().await, before);
}

/// An account with imports enabled also protects its groups from contacts of another account.
#[tokio::test]
async fn group_member_from_another_account_is_refused() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.store.add_account("Other", "UTC", &[]).await.unwrap();
    app.execute("INSERT INTO contacts (account_id, name) SELECT id, 'Ann' FROM accounts WHERE name = 'Other'")
        .await
        .unwrap();
    let join = "INSERT INTO group_members (group_id, contact_id)
                SELECT g.id, c.id FROM groups g, contacts c WHERE c.name = 'Ann' LIMIT 1";
    let error = app.execute(join).await.unwrap_err().to_string();
    assert!(error.contains("managed by an import"), "{error}");
    app.store.set_import_enabled(account, false).await.unwrap();
    let error = app.execute(join).await.unwrap_err();
    assert_eq!(
        error
            .as_database_error()
            .and_then(|error| error.constraint()),
        Some("group_members_of_one_account")
    );
}

#[tokio::test]
async fn write_while_imports_are_disabled_forces_reread() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute("UPDATE contact_numbers SET number = '6045559999' WHERE contact_id = (SELECT id FROM contacts WHERE external_id = '1')").await.unwrap();
    assert_eq!(
        app.count("SELECT count(*) FROM contacts WHERE digest IS NULL")
            .await,
        1
    );
    let run = app.import(account).await;
    assert_eq!(
        (run.status.as_str(), run.failure_code.as_deref()),
        ("failed", Some("import_disabled"))
    );
    app.store.set_import_enabled(account, true).await.unwrap();
    let run = app.import(account).await;
    assert_eq!(
        (run.status.as_str(), run.updated),
        ("held", Some(1)),
        "the same file is read again"
    );
    let run = app.approve(account, run.id).await;
    assert_eq!(run.updated, Some(1));
    assert_eq!(
        app.count("SELECT count(*) FROM contact_numbers WHERE number = '6045559999'")
            .await,
        0
    );
}

#[tokio::test]
async fn settings_change_forces_reread() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.execute("UPDATE import_settings SET hold_removed_percent = 20")
        .await
        .unwrap();
    assert_eq!(app.import(account).await.status, "succeeded");
    assert_eq!(app.import(account).await.status, "unchanged");
}

#[tokio::test]
async fn external_write_is_corrected_by_the_same_file() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.state().await.len();
    for sql in [
        "UPDATE contacts SET title = 'Chief' WHERE external_id = '1'",
        "UPDATE contacts SET external_id = 'x' WHERE external_id = '2'",
        "DELETE FROM contact_numbers WHERE contact_id = (SELECT id FROM contacts WHERE external_id = '3')",
        "INSERT INTO contact_numbers SELECT id, 2, '6045559999', 'pager' FROM contacts WHERE external_id = '4'",
        "DELETE FROM group_members WHERE contact_id = (SELECT id FROM contacts WHERE external_id = '5')",
        "UPDATE groups SET name = 'Renamed', name_key = 'renamed'",
        "UPDATE contacts SET removed_at = now() WHERE external_id = '6'",
        "UPDATE groups SET removed_at = now()",
        "TRUNCATE contact_numbers",
        "TRUNCATE group_members",
        "UPDATE contact_numbers SET position = 3 WHERE contact_id = (SELECT id FROM contacts WHERE external_id = '7')",
    ] {
        app.store.set_import_enabled(account, false).await.unwrap();
        app.execute(sql).await.unwrap();
        app.execute("UPDATE import_state SET must_confirm = NULL")
            .await
            .unwrap();
        app.execute("UPDATE accounts SET import_enabled = true")
            .await
            .unwrap();
        let run = app.import(account).await;
        let run = if run.status == "held" {
            app.approve(account, run.id).await
        } else {
            run
        };
        assert_eq!(run.status, "succeeded", "{sql}");
        // A renamed group and a contact with a changed ID are added as new records, so only the count is compared.
        assert_eq!(app.state().await.len(), before, "{sql}");
        assert_eq!(
            app.count("SELECT count(*) FROM active_contacts c WHERE title IS NULL AND name = 'Name ' || external_id
                       AND (SELECT count(*) FROM contact_numbers n WHERE n.contact_id = c.id) = 1
                       AND (SELECT array_agg(g.name) FROM active_group_members m JOIN groups g ON g.id = m.group_id
                            WHERE m.contact_id = c.id) = ARRAY['Team']")
                .await,
            20,
            "{sql}"
        );
        assert_eq!(app.import(account).await.status, "unchanged", "{sql}");
    }
}

#[tokio::test]
async fn deleted_account_leaves_no_rows() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    app.import_sheet(account, contacts_csv(1..=19).replace("6045550003", "1"))
        .await;
    app.execute("DELETE FROM accounts").await.unwrap();
    for sql in [
        "SELECT count(*) FROM contacts",
        "SELECT count(*) FROM contact_numbers",
        "SELECT count(*) FROM groups",
        "SELECT count(*) FROM group_members",
        "SELECT count(*) FROM import_runs",
        "SELECT count(*) FROM import_changes",
        "SELECT count(*) FROM import_issues",
        "SELECT count(*) FROM import_settings",
        "SELECT count(*) FROM import_state",
        "SELECT count(*) FROM mail_outbox",
    ] {
        assert_eq!(app.count(sql).await, 0, "{sql}");
    }
}

#[tokio::test]
async fn invalid_settings_and_names_violate_constraints() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=2)).await;
    for (sql, constraint) in [
        (
            "UPDATE import_settings SET url = 'https://jane:pw@example.org/x'",
            "import_settings_url_without_credentials",
        ),
        (
            "UPDATE import_settings SET url = 'HTTPS:\\jane@example.org'",
            "import_settings_url_without_credentials",
        ),
        (
            "UPDATE import_settings SET url = 'jane:pw@example.org/x'",
            "import_settings_url_without_credentials",
        ),
        (
            "UPDATE import_settings SET username = 'jane'",
            "import_settings_username_of_source",
        ),
        (
            "UPDATE import_settings SET s3_region = 'ca-central-1'",
            "import_settings_s3_of_source",
        ),
        (
            "UPDATE import_settings SET source = 'https_basic', password_sealed = 'hunter2'",
            "import_settings_password_sealed",
        ),
        (
            "UPDATE accounts SET name = '123'",
            "accounts_name_not_a_number",
        ),
        (
            "UPDATE accounts SET time_zone = 'Mars/Olympus'",
            "accounts_time_zone_known",
        ),
        (
            "UPDATE accounts SET time_zone = 'posix/UTC'",
            "accounts_time_zone_known",
        ),
        (
            "INSERT INTO import_schedules (account_id, days, at) SELECT id, '{}', '02:30' FROM accounts",
            "import_schedules_days_not_empty",
        ),
    ] {
        let error = app.execute(sql).await.expect_err(sql);
        assert_eq!(
            error
                .as_database_error()
                .and_then(|error| error.constraint()),
            Some(constraint),
            "{sql}"
        );
    }
    app.execute("UPDATE import_settings SET url = 'https://example.org/@me/x?y=a@b'")
        .await
        .unwrap();
}

#[tokio::test]
async fn every_table_and_column_has_a_comment() {
    let app = TestApp::start().await;
    let uncommented: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s.%s', c.relname, a.attname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
         WHERE n.nspname = 'public' AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations' AND col_description(c.oid, a.attnum) IS NULL
         UNION ALL
         SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'public' AND c.relkind IN ('r', 'v') AND c.relname <> '_sqlx_migrations' AND obj_description(c.oid) IS NULL",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    assert!(uncommented.is_empty(), "{uncommented:?}");
}

#[tokio::test]
async fn numbers_at_shifted_positions_are_updated_correctly() {
    let app = TestApp::start().await;
    let two = |n: usize| format!("{},7785550{n:03},pager,", row(n));
    let sheet = |rows: Vec<String>| {
        csv(rows).replacen(
            "Groups",
            "Groups,Number 2,Number Type 2,Number Description 2",
            1,
        )
    };
    let account = app.account(sheet((1..=3).map(two).collect())).await;
    app.import(account).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute("UPDATE contact_numbers SET position = position + 4")
        .await
        .unwrap();
    app.execute("UPDATE accounts SET import_enabled = true")
        .await
        .unwrap();
    app.execute("UPDATE import_state SET must_confirm = NULL")
        .await
        .unwrap();
    let run = app
        .import_sheet(
            account,
            sheet((1..=3).map(|n| two(n).replace("Name", "New")).collect()),
        )
        .await;
    let run = if run.status == "held" {
        app.approve(account, run.id).await
    } else {
        run
    };
    assert_eq!((run.status.as_str(), run.updated), ("succeeded", Some(3)));
    let numbers: Vec<(i16, String)> = sqlx::query_as(
        "SELECT position, number FROM contact_numbers ORDER BY contact_id, position",
    )
    .fetch_all(&app.pool)
    .await
    .unwrap();
    let expected: Vec<(i16, String)> = (1..=3)
        .flat_map(|n| [(1, format!("604555{n:04}")), (2, format!("7785550{n:03}"))])
        .collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn refused_write_does_not_wait_for_running_import() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let _import = app.lock_account().await;
    let mut writer = app.pool.begin().await.unwrap();
    sqlx::query("SET LOCAL lock_timeout = '5s'")
        .execute(&mut *writer)
        .await
        .unwrap();
    // The writer already holds a row lock that the import may need, so waiting for the import would deadlock.
    let error = sqlx::query("UPDATE contacts SET title = 'x' WHERE external_id = '1'")
        .execute(&mut *writer)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("managed by an import"),
        "{error}"
    );
}

//! The command line: output and exit codes.

use serde_json::Value;

use crate::support::cli::{command, run_cli, write};
use crate::support::https_server::Reply;
use crate::support::sheet::contacts_csv;
use crate::support::{TestApp, daemon};

#[tokio::test]
async fn account_set_up_through_commands_imports_contacts() {
    let app = TestApp::start().await;
    let url = app.https.url("/private.csv");
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=20)).basic("jane", "hunter2"),
    );
    write(app.folder.path(), "password", "hunter2\n");
    for line in [
        &["key", "generate"][..],
        &[
            "account",
            "add",
            "North Shore",
            "--time-zone",
            "America/Vancouver",
            "--admin",
            "a@example.org",
            "--admin",
            "b@example.org",
        ],
        &[
            "settings",
            "set",
            "North Shore",
            "--source",
            "https_basic",
            "--url",
            &url,
            "--username",
            "jane",
            "--password-file",
            "password",
        ],
        &["schedule", "set", "1", "--days", "mon,thu", "--at", "02:30"],
        &["account", "enable", "1"],
    ] {
        let result = run_cli(&app, line).await;
        assert_eq!(result.code, 0, "{line:?}: {}", result.stderr);
    }
    let result = run_cli(&app, &["import", "North Shore", "--format", "json"]).await;
    let run = &result.json()["run"];
    assert_eq!(
        (result.code, &run["status"], &run["added"], &run["trigger"]),
        (0, &"succeeded".into(), &20.into(), &"manual".into())
    );
    assert_eq!(
        run_cli(&app, &["import", "1"]).await.code,
        0,
        "an unchanged file is not a failure"
    );

    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=20).replace("6045550003", "3")).basic("jane", "hunter2"),
    );
    let result = run_cli(&app, &["import", "1"]).await;
    assert_eq!(result.code, 3, "{}", result.stderr);
    assert_eq!(
        app.smtp.messages().len(),
        2,
        "mail is sent without a daemon"
    );
    let issues = run_cli(&app, &["runs", "issues", "3", "--format", "json"])
        .await
        .json();
    assert_eq!(
        (&issues[0]["code"], &issues[0]["cell"]),
        (&"number_not_10_digits".into(), &"E4".into())
    );

    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=5)).basic("jane", "hunter2"),
    );
    let result = run_cli(&app, &["import", "1"]).await;
    assert_eq!(result.code, 4, "{}", result.stdout);
    assert!(
        result.stdout.contains("rosterd runs approve 4"),
        "{}",
        result.stdout
    );
    assert!(
        run_cli(&app, &["runs", "show", "4"])
            .await
            .stdout
            .contains("would be removed: Name 6 (ID 6)")
    );
    let result = run_cli(&app, &["runs", "approve", "4"]).await;
    assert_eq!(
        (result.code, app.contacts().await.len()),
        (0, 5),
        "{}",
        result.stderr
    );
    let result = run_cli(&app, &["runs", "reject", "4"]).await;
    assert!(
        result.code == 1 && result.stderr.contains("superseded by run 5"),
        "{}",
        result.stderr
    );
    let runs = run_cli(&app, &["runs", "list", "--format", "json"])
        .await
        .json();
    assert_eq!(runs.as_array().unwrap().len(), 5);

    let report = run_cli(&app, &["schedule", "show", "1", "--format", "json"])
        .await
        .json();
    assert_eq!(report["time_zone"], "America/Vancouver");
    assert_eq!(
        report["schedules"],
        serde_json::json!([{"days": ["mon", "thu"], "at": "02:30", "enabled": true}])
    );
    assert_eq!(report["next_runs"].as_array().unwrap().len(), 5);
    let settings = run_cli(&app, &["settings", "show", "1", "--format", "json"]).await;
    assert!(
        settings.json()["settings"]["password_set"] == true && !settings.stdout.contains("hunter2")
    );

    app.https.serve("/private.csv", Reply::status(404));
    let result = run_cli(&app, &["import", "1"]).await;
    assert!(
        result.code == 1 && result.stdout.contains("there is no file at"),
        "{}",
        result.stdout
    );
    let result = run_cli(&app, &["account", "delete", "1"]).await;
    assert_eq!(result.code, 2, "deleting without --yes is a usage error");
    assert_eq!(
        run_cli(&app, &["account", "delete", "1", "--yes"])
            .await
            .code,
        0
    );
    assert_eq!(app.count("SELECT count(*) FROM accounts").await, 0);
}

#[tokio::test]
async fn dry_run_without_readable_file_reports_failure_code() {
    let app = TestApp::start().await;
    app.account(contacts_csv(1..=3)).await;
    for (sql, code) in [
        (
            format!(
                "UPDATE import_settings SET url = '{}'",
                app.https.url("/gone.csv")
            ),
            "not_found",
        ),
        (
            "DELETE FROM import_settings".to_owned(),
            "settings_incomplete",
        ),
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&app.pool)
            .await
            .unwrap();
        let result = run_cli(&app, &["import", "1", "--dry-run", "--format", "json"]).await;
        let report = result.json();
        assert_eq!(
            (result.code, report["failure"]["code"].as_str()),
            (1, Some(code))
        );
        assert_eq!(report["contacts"], serde_json::json!([]));
        let result = run_cli(&app, &["import", "1", "--dry-run"]).await;
        assert_eq!(result.code, 1);
        assert!(result.stdout.starts_with("failed: "), "{}", result.stdout);
    }
    write(app.folder.path(), "large.csv", contacts_csv(1..=3));
    let line = "import 1 --dry-run --file large.csv --format json";
    let mut command = command(&app);
    let command = command
        .args(line.split(' '))
        .env("ROSTERD_FETCH__MAX_BYTES", "20");
    let result = command.output().await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(
        (result.status.code(), report["failure"]["code"].as_str()),
        (Some(1), Some("too_large"))
    );
}

#[tokio::test]
async fn local_file_over_hold_limit_is_held_until_approved() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=20)).await;
    app.import(account).await;
    let before = app.snapshot().await;
    write(app.folder.path(), "new.csv", contacts_csv(11..=21));
    let result = run_cli(
        &app,
        &[
            "import",
            "1",
            "--dry-run",
            "--file",
            "new.csv",
            "--format",
            "json",
        ],
    )
    .await;
    let report = result.json();
    assert_eq!(
        (result.code, report["plan"]["hold_reasons"][0].as_str()),
        (4, Some("removes_too_many"))
    );
    assert_eq!(report["plan"]["added"], serde_json::json!(["21"]));
    assert_eq!(
        (
            report["plan"]["removed"].as_array().unwrap().len(),
            &report["plan"]["unchanged"]
        ),
        (10, &10.into())
    );
    assert_eq!(app.snapshot().await, before);
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs").await,
        1,
        "a dry run is not recorded as a run"
    );

    let result = run_cli(
        &app,
        &["import", "1", "--file", "new.csv", "--format", "json"],
    )
    .await;
    let run = result.json()["run"]["id"].to_string();
    assert_eq!(
        (result.code, &result.json()["run"]["origin"]),
        (4, &"file".into())
    );
    let refused = run_cli(&app, &["runs", "approve", &run]).await;
    assert!(
        refused.code == 1
            && refused
                .stderr
                .contains(&format!("--file PATH --approve {run}")),
        "{}",
        refused.stderr
    );
    let result = run_cli(
        &app,
        &["import", "1", "--file", "new.csv", "--approve", &run],
    )
    .await;
    assert_eq!(
        (result.code, app.contacts().await.len()),
        (0, 11),
        "{}",
        result.stderr
    );
}

#[tokio::test]
async fn check_without_database_prints_contacts_and_issues() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    write(folder, "good.csv", contacts_csv(1..=2));
    write(
        folder,
        "bad.csv",
        contacts_csv(1..=3).replace("6045550002", "60455501234"),
    );
    write(folder, "page.csv", "<html>log in</html>");
    let check = async |args: &[&str]| {
        let result = daemon::rosterd(folder)
            .arg("check")
            .args(args)
            .env("ROSTERD_DATABASE__EMBEDDED", "false")
            .output()
            .await
            .unwrap();
        (
            result.status.code().unwrap(),
            String::from_utf8(result.stdout).unwrap(),
        )
    };
    assert_eq!(check(&["good.csv"]).await.0, 0);
    let (code, out) = check(&["bad.csv"]).await;
    assert!(
        code == 3 && out.contains("E3") && out.contains("Name 2 (ID 2)"),
        "{out}"
    );
    let (code, out) = check(&["bad.csv", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 3);
    assert_eq!(
        report["contacts"][0],
        serde_json::json!({"external_id": "1", "name": "Name 1", "organization_name": null, "title": null, "email": null,
            "notification_priority": "normal", "numbers": [{"number": "6045550001", "number_type": "mobile", "description": null}],
            "groups": ["Team"], "rows": [2]})
    );
    let issue = &report["issues"][0];
    assert_eq!(
        (
            &issue["severity"],
            &issue["row"],
            &issue["column"],
            &issue["value"]
        ),
        (
            &"error".into(),
            &3.into(),
            &"Number".into(),
            &"60455501234".into()
        )
    );
    assert_eq!(report["file"]["delimiter"], ",");
    let (code, out) = check(&["page.csv", "--format", "json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            code,
            &report["failure"]["code"],
            report["contacts"].as_array().unwrap().len()
        ),
        (1, &"not_a_spreadsheet".into(), 0)
    );
}

#[tokio::test]
async fn invalid_arguments_exit_with_code_and_message() {
    let app = TestApp::start().await;
    write(app.folder.path(), "empty", "");
    for (line, code, expected) in [
        (
            &["account", "show", "Nobody"][..],
            1,
            "there is no account `Nobody`",
        ),
        (
            &["account", "add", "123", "--time-zone", "UTC"],
            1,
            "all digits",
        ),
        (
            &["account", "add", "A", "--time-zone", "Mars/X"],
            1,
            "not an IANA time zone",
        ),
        (
            &[
                "account",
                "add",
                "A",
                "--time-zone",
                "UTC",
                "--admin",
                "not-an-address",
            ],
            1,
            "not an email address",
        ),
        (&["runs", "show", "99"], 1, "there is no run 99"),
        (&["import", "Nobody"], 1, "there is no account"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
        (
            &["schedule", "set", "1", "--days", "mon,foo", "--at", "02:30"],
            2,
            "expected mon, tue",
        ),
        (
            &["schedule", "set", "1", "--days", "mon", "--at", "25:00"],
            2,
            "expected a time from 00:00 to 23:59",
        ),
        (
            &["account", "list", "--format", "csv"],
            2,
            "--format must be text or json",
        ),
        (
            &["account", "list", "--config", "nowhere.toml"],
            2,
            "`nowhere.toml` does not exist",
        ),
        (
            &["check", "nowhere.csv"],
            1,
            "cannot open file `nowhere.csv`",
        ),
    ] {
        let result = run_cli(&app, line).await;
        assert_eq!(result.code, code, "{line:?}: {}", result.stderr);
        assert!(
            result.stderr.contains(expected),
            "{line:?}: {}",
            result.stderr
        );
    }
    let id = app.account(contacts_csv(1..=2)).await.to_string();
    for (line, expected) in [
        (
            &[
                "settings",
                "set",
                &id,
                "--source",
                "https",
                "--url",
                "http://h/x",
            ][..],
            "http:// URLs are not allowed",
        ),
        (
            &[
                "settings",
                "set",
                &id,
                "--source",
                "https",
                "--url",
                "https://a:b@h/x",
            ],
            "contains a user name",
        ),
        (
            &[
                "settings",
                "set",
                &id,
                "--source",
                "https_basic",
                "--url",
                "https://h/x",
                "--username",
                "u",
            ],
            "needs a password",
        ),
        (
            &[
                "settings",
                "set",
                &id,
                "--source",
                "https_basic",
                "--url",
                "https://h/x",
                "--username",
                "u",
                "--password-file",
                "empty",
            ],
            "is empty",
        ),
    ] {
        let result = run_cli(&app, line).await;
        assert!(
            result.code == 1 && result.stderr.contains(expected),
            "{line:?}: {}",
            result.stderr
        );
    }
}

#[tokio::test]
async fn invalid_configuration_stops_startup_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, expected) in [
        ("ROSTERD_FETCH__MAX_BITES", "1", "max_bites"),
        ("ROSTERD_FETCH_MAX_BYTES", "1", "ROSTERD_FETCH__MAX_BYTES"),
        ("ROSTERD_FETCH__CONNECT_TIMEOUT", "soon", "CONNECT_TIMEOUT"),
        ("ROSTERD_LOG__LEVEL", "shout=x=y", "log.level"),
    ] {
        let result = daemon::rosterd(folder.path())
            .args(["account", "list"])
            .env(name, value)
            .output()
            .await
            .unwrap();
        let err = String::from_utf8(result.stderr).unwrap();
        assert!(
            result.status.code() == Some(2)
                && err.to_lowercase().contains(&expected.to_lowercase()),
            "{name}: {err}"
        );
    }
    let result = daemon::rosterd(folder.path())
        .args(["account", "list"])
        .env("ROSTERD_DATABASE__EMBEDDED", "false")
        .output()
        .await
        .unwrap();
    assert!(
        String::from_utf8(result.stderr)
            .unwrap()
            .contains("no database is configured")
    );
    let result = daemon::rosterd(folder.path())
        .args(["check", "nowhere.csv"])
        .envs([
            ("ROSTERD_SMTP__URL", ""),
            ("ROSTERD_FETCH__MAX_BYTES", ""),
            ("DATABASE_URL", ""),
        ])
        .output()
        .await
        .unwrap();
    assert_eq!(
        result.status.code(),
        Some(1),
        "empty environment variables count as unset"
    );
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("postgres://jane:hunter2@127.0.0.1:{}/x", free.port());
    let result = daemon::rosterd(folder.path())
        .args(["account", "list"])
        .env("DATABASE_URL", url)
        .output()
        .await
        .unwrap();
    let err = String::from_utf8(result.stderr).unwrap();
    assert!(
        result.status.code() == Some(1)
            && err.contains("no connection to the database")
            && !err.contains("hunter2"),
        "{err}"
    );
}

/// A file above the current directory may belong to another user.
#[tokio::test]
async fn configuration_of_parent_directory_is_not_read() {
    let parent = tempfile::tempdir().unwrap();
    let current = parent.path().join("current");
    std::fs::create_dir(&current).unwrap();
    std::fs::write(parent.path().join("rosterd.toml"), "[fetsh]\n").unwrap();
    std::fs::write(parent.path().join("other.toml"), "[fetsh]\n").unwrap();
    for (folder, options, code) in [
        (current.as_path(), &[][..], 1),
        (parent.path(), &[], 2),
        (&current, &["--config", "../rosterd.toml"], 2),
        (&current, &["--config", "other.toml"], 2),
    ] {
        let result = daemon::rosterd(folder)
            .args(["check", "nowhere.csv"])
            .args(options)
            .output()
            .await
            .unwrap();
        let err = String::from_utf8(result.stderr).unwrap();
        assert_eq!(result.status.code(), Some(code), "{options:?}: {err}");
        assert_eq!(
            err.contains("fetsh"),
            code == 2 && !err.contains("other.toml")
        );
    }
}

#[tokio::test]
async fn doctor_without_key_reports_failure_and_fix() {
    let app = TestApp::start().await;
    let result = run_cli(&app, &["doctor"]).await;
    assert!(
        result.code == 1
            && result.stdout.contains("FAIL key")
            && result.stdout.contains("rosterd key generate"),
        "{}",
        result.stdout
    );
    run_cli(&app, &["key", "generate"]).await;
    let again = run_cli(&app, &["key", "generate"]).await;
    assert!(
        again.code == 1 && again.stderr.contains("already exists"),
        "{}",
        again.stderr
    );
    let result = run_cli(&app, &["doctor"]).await;
    assert_eq!(result.code, 0, "{}", result.stdout);
    app.execute("INSERT INTO mail_outbox (recipient, message_id, subject, failed_at, last_error) VALUES ('x@example.org', '<1@x>', 's', now(), '550 gone')").await.unwrap();
    let result = run_cli(&app, &["doctor"]).await;
    assert!(
        result.code == 1 && result.stdout.contains("mail to x@example.org was refused"),
        "{}",
        result.stdout
    );
}

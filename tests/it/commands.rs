//! The commands as their user types them: what they print, and what their end means.

use serde_json::Value;

use crate::support::https_server::Reply;
use crate::support::sheet::people;
use crate::support::typing::{command, type_in, write};
use crate::support::{TestApp, daemon};

#[tokio::test]
async fn an_account_is_set_up_and_imported_by_commands_alone() {
    let app = TestApp::start().await;
    let url = app.https.url("/private.csv");
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=20)).basic("jane", "hunter2"),
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
        let done = type_in(&app, line).await;
        assert_eq!(done.code, 0, "{line:?}: {}", done.err);
    }
    let done = type_in(&app, &["import", "North Shore", "--format", "json"]).await;
    let run = &done.json()["run"];
    assert_eq!(
        (done.code, &run["status"], &run["added"], &run["trigger"]),
        (0, &"succeeded".into(), &20.into(), &"manual".into())
    );
    assert_eq!(
        type_in(&app, &["import", "1"]).await.code,
        0,
        "unchanged is no failure"
    );

    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=20).replace("6045550003", "3")).basic("jane", "hunter2"),
    );
    let done = type_in(&app, &["import", "1"]).await;
    assert_eq!(done.code, 3, "{}", done.err);
    assert_eq!(
        app.smtp.messages().len(),
        2,
        "the mail goes out without a daemon"
    );
    let issues = type_in(&app, &["runs", "issues", "3", "--format", "json"])
        .await
        .json();
    assert_eq!(
        (&issues[0]["code"], &issues[0]["cell"]),
        (&"number_not_10_digits".into(), &"E4".into())
    );

    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=5)).basic("jane", "hunter2"),
    );
    let done = type_in(&app, &["import", "1"]).await;
    assert_eq!(done.code, 4, "{}", done.out);
    assert!(done.out.contains("rosterd runs approve 4"), "{}", done.out);
    assert!(
        type_in(&app, &["runs", "show", "4"])
            .await
            .out
            .contains("would be removed: Name 6 (ID 6)")
    );
    let done = type_in(&app, &["runs", "approve", "4"]).await;
    assert_eq!(
        (done.code, app.contacts().await.len()),
        (0, 5),
        "{}",
        done.err
    );
    let done = type_in(&app, &["runs", "reject", "4"]).await;
    assert!(
        done.code == 1 && done.err.contains("superseded by run 5"),
        "{}",
        done.err
    );
    let runs = type_in(&app, &["runs", "list", "--format", "json"])
        .await
        .json();
    assert_eq!(runs.as_array().unwrap().len(), 5);

    let shown = type_in(&app, &["schedule", "show", "1", "--format", "json"])
        .await
        .json();
    assert_eq!(shown["time_zone"], "America/Vancouver");
    assert_eq!(
        shown["schedules"],
        serde_json::json!([{"days": ["mon", "thu"], "at": "02:30", "enabled": true}])
    );
    assert_eq!(shown["next_runs"].as_array().unwrap().len(), 5);
    let settings = type_in(&app, &["settings", "show", "1", "--format", "json"]).await;
    assert!(
        settings.json()["settings"]["password_set"] == true && !settings.out.contains("hunter2")
    );

    app.https.serve("/private.csv", Reply::status(404));
    let done = type_in(&app, &["import", "1"]).await;
    assert!(
        done.code == 1 && done.out.contains("there is no file at"),
        "{}",
        done.out
    );
    let done = type_in(&app, &["account", "delete", "1"]).await;
    assert_eq!(done.code, 2, "without --yes it is a usage error");
    assert_eq!(
        type_in(&app, &["account", "delete", "1", "--yes"])
            .await
            .code,
        0
    );
    assert_eq!(app.count("SELECT count(*) FROM accounts").await, 0);
}

#[tokio::test]
async fn a_dry_run_without_a_file_says_why_in_the_form_that_is_asked_for() {
    let app = TestApp::start().await;
    app.account(people(1..=3)).await;
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
        let done = type_in(&app, &["import", "1", "--dry-run", "--format", "json"]).await;
        let shown = done.json();
        assert_eq!(
            (done.code, shown["failure"]["code"].as_str()),
            (1, Some(code))
        );
        assert_eq!(shown["contacts"], serde_json::json!([]));
        let done = type_in(&app, &["import", "1", "--dry-run"]).await;
        assert_eq!(done.code, 1);
        assert!(done.out.starts_with("failed: "), "{}", done.out);
    }
    write(app.folder.path(), "large.csv", people(1..=3));
    let line = "import 1 --dry-run --file large.csv --format json";
    let mut command = command(&app);
    let command = command
        .args(line.split(' '))
        .env("ROSTERD_FETCH__MAX_BYTES", "20");
    let done = command.output().await.unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (done.status.code(), shown["failure"]["code"].as_str()),
        (Some(1), Some("too_large"))
    );
}

#[tokio::test]
async fn a_local_file_is_previewed_imported_and_approved() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=20)).await;
    app.import(account).await;
    let before = app.fingerprint().await;
    write(app.folder.path(), "new.csv", people(11..=21));
    let done = type_in(
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
    let shown = done.json();
    assert_eq!(
        (done.code, shown["plan"]["hold_reasons"][0].as_str()),
        (4, Some("removes_too_many"))
    );
    assert_eq!(shown["plan"]["added"], serde_json::json!(["21"]));
    assert_eq!(
        (
            shown["plan"]["removed"].as_array().unwrap().len(),
            &shown["plan"]["unchanged"]
        ),
        (10, &10.into())
    );
    assert_eq!(app.fingerprint().await, before);
    assert_eq!(
        app.count("SELECT count(*) FROM import_runs").await,
        1,
        "a dry run is no run"
    );

    let done = type_in(
        &app,
        &["import", "1", "--file", "new.csv", "--format", "json"],
    )
    .await;
    let run = done.json()["run"]["id"].to_string();
    assert_eq!(
        (done.code, &done.json()["run"]["origin"]),
        (4, &"file".into())
    );
    let refused = type_in(&app, &["runs", "approve", &run]).await;
    assert!(
        refused.code == 1
            && refused
                .err
                .contains(&format!("--file PATH --approve {run}")),
        "{}",
        refused.err
    );
    let done = type_in(
        &app,
        &["import", "1", "--file", "new.csv", "--approve", &run],
    )
    .await;
    assert_eq!(
        (done.code, app.contacts().await.len()),
        (0, 11),
        "{}",
        done.err
    );
}

#[tokio::test]
async fn check_needs_no_database_and_prints_what_the_contract_says() {
    let app = TestApp::start().await;
    let folder = app.folder.path();
    write(folder, "good.csv", people(1..=2));
    write(
        folder,
        "bad.csv",
        people(1..=3).replace("6045550002", "60455501234"),
    );
    write(folder, "page.csv", "<html>log in</html>");
    let check = async |args: &[&str]| {
        let done = daemon::rosterd(folder)
            .arg("check")
            .args(args)
            .env("ROSTERD_DATABASE__EMBEDDED", "false")
            .output()
            .await
            .unwrap();
        (
            done.status.code().unwrap(),
            String::from_utf8(done.stdout).unwrap(),
        )
    };
    assert_eq!(check(&["good.csv"]).await.0, 0);
    let (code, out) = check(&["bad.csv"]).await;
    assert!(
        code == 3 && out.contains("E3") && out.contains("Name 2 (ID 2)"),
        "{out}"
    );
    let (code, out) = check(&["bad.csv", "--format", "json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 3);
    assert_eq!(
        shown["contacts"][0],
        serde_json::json!({"external_id": "1", "name": "Name 1", "organization_name": null, "title": null, "email": null,
            "notification_priority": "normal", "numbers": [{"number": "6045550001", "number_type": "mobile", "description": null}],
            "groups": ["Team"], "rows": [2]})
    );
    let issue = &shown["issues"][0];
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
    assert_eq!(shown["file"]["delimiter"], ",");
    let (code, out) = check(&["page.csv", "--format", "json"]).await;
    let shown: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            code,
            &shown["failure"]["code"],
            shown["contacts"].as_array().unwrap().len()
        ),
        (1, &"not_a_spreadsheet".into(), 0)
    );
}

#[tokio::test]
async fn mistakes_are_answered_with_a_sentence_and_a_code() {
    let app = TestApp::start().await;
    write(app.folder.path(), "empty", "");
    for (line, code, sentence) in [
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
                "nobody",
            ],
            1,
            "not an e-mail address",
        ),
        (&["runs", "show", "99"], 1, "there is no run 99"),
        (&["import", "Nobody"], 1, "there is no account"),
        (&["frobnicate"], 2, "unrecognized subcommand"),
        (
            &["schedule", "set", "1", "--days", "mon,foo", "--at", "02:30"],
            2,
            "a day is mon",
        ),
        (
            &["schedule", "set", "1", "--days", "mon", "--at", "25:00"],
            2,
            "a time is written as",
        ),
        (
            &["account", "list", "--format", "csv"],
            2,
            "--format is text or json",
        ),
        (
            &["account", "list", "--config", "nowhere.toml"],
            2,
            "`nowhere.toml` does not exist",
        ),
        (
            &["check", "nowhere.csv"],
            1,
            "`nowhere.csv` can't be opened",
        ),
    ] {
        let done = type_in(&app, line).await;
        assert_eq!(done.code, code, "{line:?}: {}", done.err);
        assert!(done.err.contains(sentence), "{line:?}: {}", done.err);
    }
    let id = app.account(people(1..=2)).await.to_string();
    for (line, sentence) in [
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
            "are not fetched",
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
            "carries a user name",
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
        let done = type_in(&app, line).await;
        assert!(
            done.code == 1 && done.err.contains(sentence),
            "{line:?}: {}",
            done.err
        );
    }
}

#[tokio::test]
async fn settings_that_are_wrong_stop_the_start_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, sentence) in [
        ("ROSTERD_FETCH__MAX_BITES", "1", "max_bites"),
        ("ROSTERD_FETCH_MAX_BYTES", "1", "ROSTERD_FETCH__MAX_BYTES"),
        ("ROSTERD_FETCH__CONNECT_TIMEOUT", "soon", "CONNECT_TIMEOUT"),
        ("ROSTERD_LOG__LEVEL", "shout=x=y", "log.level"),
    ] {
        let done = daemon::rosterd(folder.path())
            .args(["account", "list"])
            .env(name, value)
            .output()
            .await
            .unwrap();
        let err = String::from_utf8(done.stderr).unwrap();
        assert!(
            done.status.code() == Some(2) && err.to_lowercase().contains(&sentence.to_lowercase()),
            "{name}: {err}"
        );
    }
    let done = daemon::rosterd(folder.path())
        .args(["account", "list"])
        .env("ROSTERD_DATABASE__EMBEDDED", "false")
        .output()
        .await
        .unwrap();
    assert!(
        String::from_utf8(done.stderr)
            .unwrap()
            .contains("no database is named")
    );
    let done = daemon::rosterd(folder.path())
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
        done.status.code(),
        Some(1),
        "empty variables count as not set"
    );
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("postgres://jane:hunter2@127.0.0.1:{}/x", free.port());
    let done = daemon::rosterd(folder.path())
        .args(["account", "list"])
        .env("DATABASE_URL", url)
        .output()
        .await
        .unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.code() == Some(1)
            && err.contains("no connection to the database")
            && !err.contains("hunter2"),
        "{err}"
    );
}

#[tokio::test]
async fn doctor_says_what_is_wrong_and_how_to_mend_it() {
    let app = TestApp::start().await;
    let done = type_in(&app, &["doctor"]).await;
    assert!(
        done.code == 1
            && done.out.contains("WRONG key")
            && done.out.contains("rosterd key generate"),
        "{}",
        done.out
    );
    type_in(&app, &["key", "generate"]).await;
    let again = type_in(&app, &["key", "generate"]).await;
    assert!(
        again.code == 1 && again.err.contains("exists already"),
        "{}",
        again.err
    );
    let done = type_in(&app, &["doctor"]).await;
    assert_eq!(done.code, 0, "{}", done.out);
    app.execute("INSERT INTO mail_outbox (recipient, message_id, subject, failed_at, last_error) VALUES ('x@example.org', '<1@x>', 's', now(), '550 gone')").await.unwrap();
    let done = type_in(&app, &["doctor"]).await;
    assert!(
        done.code == 1 && done.out.contains("mail to x@example.org was refused"),
        "{}",
        done.out
    );
}

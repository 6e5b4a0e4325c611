//! All four source types, configured with CLI commands and tested against real servers.

use serde_json::Value;

use crate::secret_leaks::dump;
use crate::support::cli::{CliOutput, run_cli, write};
use crate::support::https_server::Reply;
use crate::support::nginx::{self, Nginx};
use crate::support::s3_server::{KEY_ID, S3Server, SECRET};
use crate::support::sheet::contacts_csv;
use crate::support::ssh_server::{self, Login, SshServer};
use crate::support::{Setup, TestApp};

/// Starts an app with one enabled account (ID 1) and a generated key. It trusts `ca`.
async fn start_app(ca: Option<String>) -> TestApp {
    let app = TestApp::start_with(Setup {
        extra_ca: ca,
        ..Setup::default()
    })
    .await;
    app.account("").await;
    run_ok(&app, "key generate").await;
    app
}

/// Runs a command line that must succeed.
async fn run_ok(app: &TestApp, line: &str) -> CliOutput {
    let ended = run_cli(app, &line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(ended.code, 0, "{line}: {} {}", ended.stdout, ended.stderr);
    ended
}

/// Runs `settings test`. Returns the steps, each with `ok` or its failure code, and the exit code.
async fn test_steps(app: &TestApp) -> (Vec<String>, i32) {
    let ended = run_cli(app, &["settings", "test", "1", "--format", "json"]).await;
    let steps = ended.json()["steps"].as_array().unwrap().clone();
    let format_step = |step: &Value| {
        let outcome = if step["ok"] == true {
            "ok"
        } else {
            step["code"].as_str().unwrap()
        };
        format!("{} {outcome}", step["step"].as_str().unwrap())
    };
    (steps.iter().map(format_step).collect(), ended.code)
}

fn passed(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| format!("{step} ok")).collect()
}

#[tokio::test]
async fn transient_failure_gets_four_attempts_and_refusal_one() {
    let app = start_app(None).await;
    for (status, code, attempts) in [
        (408, "http_status", 4),
        (425, "http_status", 4),
        (429, "rate_limited", 4),
        (500, "server_error", 4),
        (503, "server_error", 4),
        (400, "http_status", 1),
        (403, "forbidden", 1),
        (404, "not_found", 1),
    ] {
        let path = format!("/{status}.csv");
        app.https.serve(&path, Reply::status(status));
        let url = app.https.url(&path);
        run_ok(&app, &format!("settings set 1 --source https --url {url}")).await;
        let ended = run_cli(&app, &["import", "1", "--format", "json"]).await;
        assert_eq!(
            ended.json()["run"]["failure_code"],
            code,
            "{}",
            ended.stdout
        );
        let seen = app.https.requests();
        let request_count = seen.iter().filter(|seen| seen.path == path).count();
        assert_eq!((ended.code, request_count), (1, attempts), "{status}");
    }
}

#[tokio::test]
async fn nginx_with_basic_auth_gzip_and_redirects_is_imported() {
    let nginx = Nginx::start();
    nginx.write("private/contacts.csv", contacts_csv(1..=500));
    let app = start_app(Some(nginx.ca_pem.clone())).await;
    // With BOM and CRLF, as Windows Notepad writes it.
    let password = format!("\u{feff}{}\r\n", nginx::PASSWORD);
    write(app.folder.path(), "password", password);
    for username in ["a:b", "a\nb", " "] {
        let line = [
            "settings",
            "set",
            "1",
            "--source",
            "https_basic",
            "--url",
            "https://localhost/x.csv",
            "--username",
            username,
            "--password-file",
            "password",
        ];
        let refused = run_cli(&app, &line).await;
        assert!(
            refused.code == 1 && refused.stderr.contains("user name"),
            "{username:?}: {}",
            refused.stderr
        );
    }
    let url = nginx.url("private/contacts.csv");
    run_ok(&app, &format!("settings set 1 --source https_basic --url {url} --username {} --password-file password", nginx::USER)).await;
    let all_steps = [
        "settings",
        "resolve",
        "connect",
        "tls",
        "authenticate",
        "file",
        "header",
    ];
    let before = dump(&app.url);
    assert_eq!(test_steps(&app).await, (passed(&all_steps), 0));
    assert_eq!(
        dump(&app.url),
        before,
        "the connection test changes nothing"
    );
    let run = &run_ok(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(
        (&run["status"], &run["added"]),
        (&"succeeded".into(), &500.into())
    );
    let run = &run_ok(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(
        (&run["status"], &run["row_count"]),
        (&"unchanged".into(), &Value::Null),
        "detected by the ETag"
    );
    assert_eq!(nginx.responses_with_status(304), 1);
    run_ok(
        &app,
        &format!(
            "settings set 1 --source https_basic --url {}",
            nginx.url("moved/private/contacts.csv")
        ),
    )
    .await;
    let run = &run_ok(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(run["unchanged"], 500);
    nginx.write("public.csv", contacts_csv(1..=500));
    run_ok(
        &app,
        &format!(
            "settings set 1 --source https --url {}",
            nginx.url("public.csv")
        ),
    )
    .await;
    let run = &run_ok(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(run["unchanged"], 500);
}

#[tokio::test]
async fn settings_test_reports_the_step_that_fails() {
    let nginx = Nginx::start();
    nginx.write(
        "page.csv",
        "<!DOCTYPE html><html><body>log in</body></html>",
    );
    nginx.write("private/contacts.csv", contacts_csv(1..=3));
    let app = start_app(Some(nginx.ca_pem.clone())).await;
    let end = |steps: &[&str], last: &str| {
        let mut steps = passed(steps);
        steps.push(last.to_owned());
        (steps, 1)
    };
    let missing = nginx.url("none.csv");
    let page = nginx.url("page.csv");
    let port = nginx.address.port();
    for (url, expected) in [
        (
            missing.as_str(),
            end(&["settings", "resolve", "connect", "tls"], "file not_found"),
        ),
        (
            page.as_str(),
            end(
                &["settings", "resolve", "connect", "tls", "file"],
                "header not_a_spreadsheet",
            ),
        ),
        (
            &format!("https://127.0.0.1:{port}/x.csv"),
            end(&["settings", "resolve", "connect"], "tls tls_invalid"),
        ),
        (
            "https://127.0.0.1:9/x.csv",
            end(&["settings", "resolve"], "connect connect_failed"),
        ),
        (
            "https://10.1.2.3/x.csv",
            end(&["settings"], "resolve address_refused"),
        ),
        (
            "https://nowhere.invalid/x.csv",
            end(&["settings"], "resolve name_not_found"),
        ),
    ] {
        run_ok(&app, &format!("settings set 1 --source https --url {url}")).await;
        assert_eq!(test_steps(&app).await, expected, "{url}");
    }
    // No connection is opened for a scheme that is not allowed.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    sqlx::query("UPDATE import_settings SET url = $1")
        .bind(format!("http://{}/x.csv", listener.local_addr().unwrap()))
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(test_steps(&app).await, end(&[], "settings scheme_refused"));
    let accept_error = listener.accept().unwrap_err();
    assert_eq!(accept_error.kind(), std::io::ErrorKind::WouldBlock);
    write(app.folder.path(), "password", "wrong");
    let url = nginx.url("private/contacts.csv");
    run_ok(&app, &format!("settings set 1 --source https_basic --url {url} --username jane --password-file password")).await;
    let result = run_cli(&app, &["settings", "test", "1"]).await;
    assert_eq!(result.code, 1);
    assert!(
        result.stdout.contains("✓ tls")
            && result.stdout.contains("✗ authenticate   unauthorized: "),
        "{}",
        result.stdout
    );
    assert!(
        !result.stdout.contains("✓ authenticate"),
        "{}",
        result.stdout
    );
}

#[tokio::test]
async fn sftp_source_configured_by_cli_handles_host_key_changes() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", contacts_csv(1..=3));
    let app = start_app(None).await;
    write(
        app.folder.path(),
        "password",
        format!("{}\n", ssh_server::PASSWORD),
    );
    let (url, port) = ("127.0.0.1/contacts.csv", server.address.port());
    run_ok(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file password")).await;
    let all_steps = [
        "settings",
        "resolve",
        "connect",
        "host_key",
        "authenticate",
        "file",
        "header",
    ];
    assert_eq!(test_steps(&app).await, (passed(&all_steps), 0));
    let before = dump(&app.url);
    assert_eq!(test_steps(&app).await, (passed(&all_steps), 0));
    assert_eq!(
        dump(&app.url),
        before,
        "the connection test changes nothing"
    );
    // Missing file, then wrong password.
    let file = server.home().join("contacts.csv");
    let moved = server.home().join("moved.csv");
    std::fs::rename(&file, &moved).unwrap();
    let mut ended = passed(&all_steps[..5]);
    ended.push("file not_found".to_owned());
    assert_eq!(test_steps(&app).await, (ended, 1));
    std::fs::rename(&moved, &file).unwrap();
    write(app.folder.path(), "wrong", "wrong");
    run_ok(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file wrong")).await;
    let mut ended = passed(&all_steps[..4]);
    ended.push("authenticate unauthorized".to_owned());
    assert_eq!(test_steps(&app).await, (ended, 1));
    run_ok(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file password")).await;
    // For a file modified a moment ago, the test waits until it is old enough.
    server.set_age("contacts.csv", 8);
    assert_eq!(test_steps(&app).await, (passed(&all_steps), 0));
    server.set_age("contacts.csv", 60);
    let shown = run_ok(&app, "settings show 1 --format json").await.json();
    assert_eq!(
        shown["settings"]["sftp_host_key"],
        Value::Null,
        "the connection test pins nothing"
    );
    run_ok(&app, "import 1 --dry-run").await;
    assert!(
        run_ok(&app, "settings show 1")
            .await
            .stdout
            .contains("not pinned yet"),
        "a dry run pins nothing"
    );
    assert_eq!(
        run_ok(&app, "import 1 --format json").await.json()["run"]["added"],
        3
    );
    assert!(
        run_ok(&app, "settings show 1")
            .await
            .stdout
            .contains(&server.fingerprint())
    );
    assert_eq!(
        run_ok(&app, "import 1 --format json").await.json()["run"]["status"],
        "unchanged"
    );

    server.new_host_key();
    let (ended, code) = test_steps(&app).await;
    assert_eq!(
        (ended.last().unwrap().as_str(), code),
        ("host_key host_key_changed", 1)
    );
    let refused = run_cli(
        &app,
        &["settings", "trust", "1", "--fingerprint", "SHA256:other"],
    )
    .await;
    assert!(
        refused.code == 1 && refused.stderr.contains("nothing was pinned"),
        "{}",
        refused.stderr
    );
    assert_eq!(run_cli(&app, &["import", "1"]).await.code, 1);
    let trusted = run_ok(
        &app,
        &format!("settings trust 1 --fingerprint {}", server.fingerprint()),
    )
    .await;
    assert!(
        trusted
            .stdout
            .contains(&format!("pinned: {}", server.fingerprint())),
        "{}",
        trusted.stdout
    );
    assert_eq!(
        run_ok(&app, "import 1 --format json").await.json()["run"]["unchanged"],
        3
    );
    // For another path on the same server, key and password are kept.
    run_ok(
        &app,
        &format!("settings set 1 --source sftp --url {url} --sftp-port {port}"),
    )
    .await;
    assert!(
        run_ok(&app, "settings show 1")
            .await
            .stdout
            .contains(&server.fingerprint())
    );
    // The server's RSA key is not the one it offers first; `trust` finds it by its fingerprint.
    server.new_host_key_of("rsa");
    let trust = format!(
        "settings trust 1 --fingerprint {}",
        server.fingerprint_of("rsa")
    );
    let trusted = run_ok(&app, &trust).await.stdout;
    assert!(trusted.contains("no longer pinned"), "{trusted}");
    let shown = run_ok(&app, "settings show 1").await.stdout;
    assert!(shown.contains(&server.fingerprint_of("rsa")), "{shown}");
    assert_eq!(
        test_steps(&app).await,
        (passed(&all_steps), 0),
        "the trusted key type is requested"
    );
    // Without a fingerprint, `trust` pins the key that an import would receive.
    server.new_host_key_of("rsa");
    let (ended, _) = test_steps(&app).await;
    assert_eq!(ended.last().unwrap(), "host_key host_key_changed");
    run_ok(&app, "settings trust 1").await;
    let shown = run_ok(&app, "settings show 1").await.stdout;
    assert!(shown.contains(&server.fingerprint_of("rsa")), "{shown}");
    run_ok(
        &app,
        &format!("settings trust 1 --fingerprint {}", server.fingerprint()),
    )
    .await;
    let shown = run_ok(&app, "settings show 1").await.stdout;
    assert!(shown.contains(&server.fingerprint()), "{shown}");
}

#[tokio::test]
async fn host_key_pin_is_kept_per_server() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", contacts_csv(1..=3));
    let app = start_app(None).await;
    write(app.folder.path(), "password", ssh_server::PASSWORD);
    let port = server.address.port();
    // Two host names count as two servers.
    let set = async |host: &str, password: &str| {
        let set = format!("settings set 1 --source sftp --url {host}/contacts.csv");
        let set = format!("{set} --sftp-port {port} --username jane{password}");
        run_ok(&app, &set).await.stdout
    };
    let pinned = async || {
        let shown = run_ok(&app, "settings show 1 --format json").await.json();
        shown["settings"]["sftp_host_key"].clone()
    };
    let with = " --password-file password";
    assert!(set("127.0.0.1", with).await.contains("first import pins"));
    run_ok(&app, "import 1").await;
    let first = Value::from(server.fingerprint());
    assert_eq!(pinned().await, first);

    // Change the port without entering the password, then change it back.
    let elsewhere = "settings set 1 --source sftp --url sftp://127.0.0.1:2/contacts.csv";
    let elsewhere = run_ok(&app, elsewhere).await.stdout;
    assert!(
        elsewhere.contains("enter it again with --password-file"),
        "{elsewhere}"
    );
    assert_eq!(pinned().await, Value::Null);
    assert_eq!(
        test_steps(&app).await,
        (vec!["settings secret_for_other_origin".to_owned()], 1)
    );
    assert!(!set("127.0.0.1", "").await.contains("pinned"));
    assert_eq!(pinned().await, first);

    // The second server gets its own pin at the first import.
    assert!(set("localhost", with).await.contains("first import pins"));
    run_ok(&app, "import 1").await;
    assert_eq!(pinned().await, first);

    // Both servers change their key. A key trusted before the password is entered stays trusted.
    server.new_host_key();
    app.execute("UPDATE import_settings SET url = '127.0.0.1/contacts.csv'")
        .await
        .unwrap();
    assert_eq!(
        pinned().await,
        first,
        "kept while another server was configured"
    );
    let trusted = run_ok(&app, "settings trust 1").await.stdout;
    let first = first.as_str().unwrap();
    assert!(
        trusted.contains(&format!("no longer pinned: {first}")),
        "{trusted}"
    );
    assert!(!set("127.0.0.1", with).await.contains("pinned"));
    assert_eq!(pinned().await, server.fingerprint());
    assert_eq!(run_cli(&app, &["import", "1"]).await.code, 0);

    // Trusting the first server's key does not affect the second.
    assert!(!set("localhost", with).await.contains("pinned"));
    let run = run_cli(&app, &["import", "1", "--format", "json"]).await;
    assert_eq!(run.json()["run"]["failure_code"], "host_key_changed");
    assert_eq!(pinned().await, first);
    // The pin survives a change to another source type and back.
    run_ok(
        &app,
        &format!(
            "settings set 1 --source https --url {}",
            app.https.url("/x.csv")
        ),
    )
    .await;
    assert!(!set("localhost", with).await.contains("pinned"));
    assert_eq!(pinned().await, first);
}

#[tokio::test]
async fn s3_source_configured_by_cli_is_tested_and_imported() {
    let server = S3Server::start("north-shore").await;
    server.put("north-shore", "équipe 1.csv", contacts_csv(1..=3));
    let app = start_app(Some(server.ca_pem.clone())).await;
    write(app.folder.path(), "secret", SECRET);
    let url = server.url("north-shore/%C3%A9quipe+1.csv");
    run_ok(&app, &format!("settings set 1 --source s3 --url {url} --s3-region ca-central-1 --s3-access-key-id {KEY_ID} --secret-file secret")).await;
    let all_steps = [
        "settings",
        "resolve",
        "connect",
        "tls",
        "authenticate",
        "file",
        "header",
    ];
    let before = dump(&app.url);
    assert_eq!(test_steps(&app).await, (passed(&all_steps), 0));
    assert_eq!(
        dump(&app.url),
        before,
        "the connection test changes nothing"
    );
    server.remove("north-shore", "équipe 1.csv");
    let mut ended = passed(&all_steps[..5]);
    ended.push("file not_found".to_owned());
    assert_eq!(test_steps(&app).await, (ended, 1));
    server.put("north-shore", "équipe 1.csv", contacts_csv(1..=3));
    assert_eq!(
        run_ok(&app, "import 1 --format json").await.json()["run"]["added"],
        3
    );
    assert_eq!(
        run_ok(&app, "import 1 --format json").await.json()["run"]["status"],
        "unchanged"
    );
    let shown = run_ok(&app, "settings show 1").await.stdout;
    assert!(
        shown.contains("ca-central-1") && shown.contains(KEY_ID) && !shown.contains(SECRET),
        "{shown}"
    );
    write(app.folder.path(), "secret", "wrong");
    run_ok(
        &app,
        &format!("settings set 1 --source s3 --url {url} --secret-file secret"),
    )
    .await;
    let (ended, _) = test_steps(&app).await;
    assert_eq!(ended.last().unwrap(), "authenticate s3_wrong_secret");
}

#[tokio::test]
async fn option_of_another_source_type_is_refused() {
    let app = start_app(None).await;
    for (line, expected_text) in [
        (
            "--source https --url https://h/x --username jane",
            "--username applies only to https_basic and sftp",
        ),
        ("--source https --url sftp://h/x", "https://"),
        ("--source sftp --url https://h/x", "sftp://"),
        ("--source sftp --url sftp://h/x", "user name"),
        (
            "--source sftp --url sftp://h/x --username jane",
            "--password-file",
        ),
        (
            "--source sftp --url sftp://h/x --username jane --s3-region us-east-1",
            "--s3-region applies only to s3",
        ),
        (
            "--source s3 --url https://b.s3.amazonaws.com/x --s3-access-key-id k",
            "S3 region",
        ),
        (
            "--source s3 --url https://b.s3.amazonaws.com/x --s3-region us-east-1/x --s3-access-key-id k",
            "S3 region",
        ),
        (
            "--source s3 --url https://b.s3.us-east-2.amazonaws.com/x --s3-access-key-id k",
            "--secret-file",
        ),
        (
            "--source s3 --url http://h/b/x --s3-region us-east-1",
            "https://",
        ),
        ("--source ftp --url ftp://h/x", "sftp or s3"),
    ] {
        let line = format!("settings set 1 {line}");
        let ended = run_cli(&app, &line.split(' ').collect::<Vec<_>>()).await;
        assert!(
            ended.code == 1 || ended.code == 2,
            "{line}: {}",
            ended.stdout
        );
        assert!(
            ended.stderr.contains(expected_text),
            "{line}: {}",
            ended.stderr
        );
    }
    let shown = run_ok(&app, "settings show 1 --format json").await.json();
    assert_eq!(shown["settings"]["source"], "https", "unchanged");
}

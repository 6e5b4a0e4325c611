//! All four sources as their operator sets them up: typed commands against real servers.

use serde_json::Value;

use crate::secrets::dump;
use crate::support::https_server::Reply;
use crate::support::s3_server::{KEY_ID, S3Server, SECRET};
use crate::support::sheet::people;
use crate::support::ssh_server::{self, Login, SshServer};
use crate::support::typing::{Ended, type_in, write};
use crate::support::web_server::{self, Nginx};
use crate::support::{Setup, TestApp};

/// An application with one enabled account, number 1, and a key; trusts `ca`.
async fn app(ca: Option<String>) -> TestApp {
    let app = TestApp::start_with(Setup {
        extra_ca: ca,
        ..Setup::default()
    })
    .await;
    app.account("").await;
    typed(&app, "key generate").await;
    app
}

/// Types a line that must succeed.
async fn typed(app: &TestApp, line: &str) -> Ended {
    let ended = type_in(app, &line.split(' ').collect::<Vec<_>>()).await;
    assert_eq!(ended.code, 0, "{line}: {} {}", ended.out, ended.err);
    ended
}

/// The steps of `settings test`, each with a tick or its failure code, and the exit code.
async fn steps(app: &TestApp) -> (Vec<String>, i32) {
    let ended = type_in(app, &["settings", "test", "1", "--format", "json"]).await;
    let steps = ended.json()["steps"].as_array().unwrap().clone();
    let word = |step: &Value| {
        let outcome = if step["ok"] == true {
            "ok"
        } else {
            step["code"].as_str().unwrap()
        };
        format!("{} {outcome}", step["step"].as_str().unwrap())
    };
    (steps.iter().map(word).collect(), ended.code)
}

fn passed(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| format!("{step} ok")).collect()
}

#[tokio::test]
async fn by_default_what_may_pass_is_tried_four_times_and_a_refusal_once() {
    let app = app(None).await;
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
        typed(&app, &format!("settings set 1 --source https --url {url}")).await;
        let ended = type_in(&app, &["import", "1", "--format", "json"]).await;
        assert_eq!(ended.json()["run"]["failure_code"], code, "{}", ended.out);
        let seen = app.https.seen();
        let asked = seen.iter().filter(|seen| seen.path == path).count();
        assert_eq!((ended.code, asked), (1, attempts), "{status}");
    }
}

#[tokio::test]
async fn nginx_with_a_password_compression_and_redirects() {
    let nginx = Nginx::start();
    nginx.write("private/contacts.csv", people(1..=500));
    let app = app(Some(nginx.ca_pem.clone())).await;
    // As Notepad may write it.
    let password = format!("\u{feff}{}\r\n", web_server::PASSWORD);
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
        let refused = type_in(&app, &line).await;
        assert!(
            refused.code == 1 && refused.err.contains("user name"),
            "{username:?}: {}",
            refused.err
        );
    }
    let url = nginx.url("private/contacts.csv");
    typed(&app, &format!("settings set 1 --source https_basic --url {url} --username {} --password-file password", web_server::USER)).await;
    let walk = [
        "settings",
        "resolve",
        "connect",
        "tls",
        "authenticate",
        "file",
        "header",
    ];
    let before = dump(&app.url);
    assert_eq!(steps(&app).await, (passed(&walk), 0));
    assert_eq!(dump(&app.url), before, "testing changes nothing");
    let run = &typed(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(
        (&run["status"], &run["added"]),
        (&"succeeded".into(), &500.into())
    );
    let run = &typed(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(
        (&run["status"], &run["row_count"]),
        (&"unchanged".into(), &Value::Null),
        "by its ETag"
    );
    assert_eq!(nginx.answered(304), 1);
    typed(
        &app,
        &format!(
            "settings set 1 --source https_basic --url {}",
            nginx.url("moved/private/contacts.csv")
        ),
    )
    .await;
    let run = &typed(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(run["unchanged"], 500);
    nginx.write("public.csv", people(1..=500));
    typed(
        &app,
        &format!(
            "settings set 1 --source https --url {}",
            nginx.url("public.csv")
        ),
    )
    .await;
    let run = &typed(&app, "import 1 --format json").await.json()["run"];
    assert_eq!(run["unchanged"], 500);
}

#[tokio::test]
async fn settings_test_says_where_the_way_ends() {
    let nginx = Nginx::start();
    nginx.write(
        "page.csv",
        "<!DOCTYPE html><html><body>log in</body></html>",
    );
    nginx.write("private/contacts.csv", people(1..=3));
    let app = app(Some(nginx.ca_pem.clone())).await;
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
        typed(&app, &format!("settings set 1 --source https --url {url}")).await;
        assert_eq!(steps(&app).await, expected, "{url}");
    }
    // Nobody is called by a scheme that is not allowed.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    sqlx::query("UPDATE import_settings SET url = $1")
        .bind(format!("http://{}/x.csv", listener.local_addr().unwrap()))
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(steps(&app).await, end(&[], "settings scheme_refused"));
    let called = listener.accept().unwrap_err();
    assert_eq!(called.kind(), std::io::ErrorKind::WouldBlock);
    write(app.folder.path(), "password", "wrong");
    let url = nginx.url("private/contacts.csv");
    typed(&app, &format!("settings set 1 --source https_basic --url {url} --username jane --password-file password")).await;
    let told = type_in(&app, &["settings", "test", "1"]).await;
    assert_eq!(told.code, 1);
    assert!(
        told.out.contains("✓ tls") && told.out.contains("✗ authenticate   unauthorized: "),
        "{}",
        told.out
    );
    assert!(!told.out.contains("✓ authenticate"), "{}", told.out);
}

#[tokio::test]
async fn sftp_by_commands_from_the_first_key_to_a_changed_one() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", people(1..=3));
    let app = app(None).await;
    write(
        app.folder.path(),
        "password",
        format!("{}\n", ssh_server::PASSWORD),
    );
    let (url, port) = ("127.0.0.1/contacts.csv", server.address.port());
    typed(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file password")).await;
    let walk = [
        "settings",
        "resolve",
        "connect",
        "host_key",
        "authenticate",
        "file",
        "header",
    ];
    assert_eq!(steps(&app).await, (passed(&walk), 0));
    let before = dump(&app.url);
    assert_eq!(steps(&app).await, (passed(&walk), 0));
    assert_eq!(dump(&app.url), before, "testing changes nothing");
    // Where the way ends at a missing file, and at a wrong password.
    let file = server.home().join("contacts.csv");
    let aside = server.home().join("aside.csv");
    std::fs::rename(&file, &aside).unwrap();
    let mut ended = passed(&walk[..5]);
    ended.push("file not_found".to_owned());
    assert_eq!(steps(&app).await, (ended, 1));
    std::fs::rename(&aside, &file).unwrap();
    write(app.folder.path(), "wrong", "wrong");
    typed(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file wrong")).await;
    let mut ended = passed(&walk[..4]);
    ended.push("authenticate unauthorized".to_owned());
    assert_eq!(steps(&app).await, (ended, 1));
    typed(&app, &format!("settings set 1 --source sftp --url {url} --sftp-port {port} --username jane --password-file password")).await;
    // Uploaded a moment ago: it is waited for as long as it has to rest.
    server.age("contacts.csv", 8);
    assert_eq!(steps(&app).await, (passed(&walk), 0));
    server.age("contacts.csv", 60);
    let shown = typed(&app, "settings show 1 --format json").await.json();
    assert_eq!(
        shown["settings"]["sftp_host_key"],
        Value::Null,
        "testing pins nothing"
    );
    typed(&app, "import 1 --dry-run").await;
    assert!(
        typed(&app, "settings show 1")
            .await
            .out
            .contains("none yet"),
        "nor does a dry run"
    );
    assert_eq!(
        typed(&app, "import 1 --format json").await.json()["run"]["added"],
        3
    );
    assert!(
        typed(&app, "settings show 1")
            .await
            .out
            .contains(&server.fingerprint())
    );
    assert_eq!(
        typed(&app, "import 1 --format json").await.json()["run"]["status"],
        "unchanged"
    );

    server.new_host_key();
    let (ended, code) = steps(&app).await;
    assert_eq!(
        (ended.last().unwrap().as_str(), code),
        ("host_key host_key_changed", 1)
    );
    let refused = type_in(
        &app,
        &["settings", "trust", "1", "--fingerprint", "SHA256:other"],
    )
    .await;
    assert!(
        refused.code == 1 && refused.err.contains("nothing was pinned"),
        "{}",
        refused.err
    );
    assert_eq!(type_in(&app, &["import", "1"]).await.code, 1);
    let trusted = typed(
        &app,
        &format!("settings trust 1 --fingerprint {}", server.fingerprint()),
    )
    .await;
    assert!(
        trusted
            .out
            .contains(&format!("pinned: {}", server.fingerprint())),
        "{}",
        trusted.out
    );
    assert_eq!(
        typed(&app, "import 1 --format json").await.json()["run"]["unchanged"],
        3
    );
    // Another path on the same server: key and password stay. Another server: neither does.
    typed(
        &app,
        &format!("settings set 1 --source sftp --url {url} --sftp-port {port}"),
    )
    .await;
    assert!(
        typed(&app, "settings show 1")
            .await
            .out
            .contains(&server.fingerprint())
    );
    // A key that is no better than the one it shows is found by its fingerprint.
    server.new_host_key_of("rsa");
    let trust = format!(
        "settings trust 1 --fingerprint {}",
        server.fingerprint_of("rsa")
    );
    let trusted = typed(&app, &trust).await.out;
    assert!(trusted.contains("no longer pinned"), "{trusted}");
    let shown = typed(&app, "settings show 1").await.out;
    assert!(shown.contains(&server.fingerprint_of("rsa")), "{shown}");
    assert_eq!(steps(&app).await, (passed(&walk), 0), "and is asked for");
    // Without one it pins the key that an import is shown.
    server.new_host_key_of("rsa");
    let (ended, _) = steps(&app).await;
    assert_eq!(ended.last().unwrap(), "host_key host_key_changed");
    typed(&app, "settings trust 1").await;
    let shown = typed(&app, "settings show 1").await.out;
    assert!(shown.contains(&server.fingerprint_of("rsa")), "{shown}");
    typed(
        &app,
        &format!("settings trust 1 --fingerprint {}", server.fingerprint()),
    )
    .await;
    let shown = typed(&app, "settings show 1").await.out;
    assert!(shown.contains(&server.fingerprint()), "{shown}");
}

#[tokio::test]
async fn a_pinned_host_key_stays_that_of_its_server() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", people(1..=3));
    let app = app(None).await;
    write(app.folder.path(), "password", ssh_server::PASSWORD);
    let port = server.address.port();
    // Two servers by their names.
    let set = async |host: &str, password: &str| {
        let set = format!("settings set 1 --source sftp --url {host}/contacts.csv");
        let set = format!("{set} --sftp-port {port} --username jane{password}");
        typed(&app, &set).await.out
    };
    let pinned = async || {
        let shown = typed(&app, "settings show 1 --format json").await.json();
        shown["settings"]["sftp_host_key"].clone()
    };
    let with = " --password-file password";
    assert!(set("127.0.0.1", with).await.contains("first import pins"));
    typed(&app, "import 1").await;
    let first = Value::from(server.fingerprint());
    assert_eq!(pinned().await, first);

    // Another port without a password, and back again.
    let elsewhere = "settings set 1 --source sftp --url sftp://127.0.0.1:2/contacts.csv";
    let elsewhere = typed(&app, elsewhere).await.out;
    assert!(
        elsewhere.contains("enter it again with --password-file"),
        "{elsewhere}"
    );
    assert_eq!(pinned().await, Value::Null);
    assert_eq!(
        steps(&app).await,
        (vec!["settings secret_for_other_origin".to_owned()], 1)
    );
    assert!(!set("127.0.0.1", "").await.contains("pinned"));
    assert_eq!(pinned().await, first);

    // The other one pins its own at first use.
    assert!(set("localhost", with).await.contains("first import pins"));
    typed(&app, "import 1").await;
    assert_eq!(pinned().await, first);

    // Both have another key by now. One that is trusted before the password is entered for it stays trusted.
    server.new_host_key();
    app.execute("UPDATE import_settings SET url = '127.0.0.1/contacts.csv'")
        .await
        .unwrap();
    assert_eq!(pinned().await, first, "not forgotten for the other's");
    let trusted = typed(&app, "settings trust 1").await.out;
    let first = first.as_str().unwrap();
    assert!(
        trusted.contains(&format!("no longer pinned: {first}")),
        "{trusted}"
    );
    assert!(!set("127.0.0.1", with).await.contains("pinned"));
    assert_eq!(pinned().await, server.fingerprint());
    assert_eq!(type_in(&app, &["import", "1"]).await.code, 0);

    // That was not said of the other one.
    assert!(!set("localhost", with).await.contains("pinned"));
    let run = type_in(&app, &["import", "1", "--format", "json"]).await;
    assert_eq!(run.json()["run"]["failure_code"], "host_key_changed");
    assert_eq!(pinned().await, first);
    // Nor is it forgotten for a source of another sort.
    typed(
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
async fn s3_by_commands() {
    let server = S3Server::start("north-shore").await;
    server.put("north-shore", "équipe 1.csv", people(1..=3));
    let app = app(Some(server.ca_pem.clone())).await;
    write(app.folder.path(), "secret", SECRET);
    let url = server.url("north-shore/%C3%A9quipe+1.csv");
    typed(&app, &format!("settings set 1 --source s3 --url {url} --s3-region ca-central-1 --s3-access-key-id {KEY_ID} --secret-file secret")).await;
    let walk = [
        "settings",
        "resolve",
        "connect",
        "tls",
        "authenticate",
        "file",
        "header",
    ];
    let before = dump(&app.url);
    assert_eq!(steps(&app).await, (passed(&walk), 0));
    assert_eq!(dump(&app.url), before, "testing changes nothing");
    server.remove("north-shore", "équipe 1.csv");
    let mut ended = passed(&walk[..5]);
    ended.push("file not_found".to_owned());
    assert_eq!(steps(&app).await, (ended, 1));
    server.put("north-shore", "équipe 1.csv", people(1..=3));
    assert_eq!(
        typed(&app, "import 1 --format json").await.json()["run"]["added"],
        3
    );
    assert_eq!(
        typed(&app, "import 1 --format json").await.json()["run"]["status"],
        "unchanged"
    );
    let shown = typed(&app, "settings show 1").await.out;
    assert!(
        shown.contains("ca-central-1") && shown.contains(KEY_ID) && !shown.contains(SECRET),
        "{shown}"
    );
    write(app.folder.path(), "secret", "wrong");
    typed(
        &app,
        &format!("settings set 1 --source s3 --url {url} --secret-file secret"),
    )
    .await;
    let (ended, _) = steps(&app).await;
    assert_eq!(ended.last().unwrap(), "authenticate s3_wrong_secret");
}

#[tokio::test]
async fn what_belongs_to_another_source_is_refused() {
    let app = app(None).await;
    for (line, said) in [
        (
            "--source https --url https://h/x --username jane",
            "--username belongs to https_basic and sftp",
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
            "--s3-region belongs to s3",
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
        let ended = type_in(&app, &line.split(' ').collect::<Vec<_>>()).await;
        assert!(ended.code == 1 || ended.code == 2, "{line}: {}", ended.out);
        assert!(ended.err.contains(said), "{line}: {}", ended.err);
    }
    let shown = typed(&app, "settings show 1 --format json").await.json();
    assert_eq!(shown["settings"]["source"], "https", "as before");
}

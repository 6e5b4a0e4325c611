//! Fetching over real TLS: passwords stay with their origin, addresses with the policy, and failures have names.

use crate::support::https_server::{HttpsServer, Reply};
use crate::support::sheet::people;
use crate::support::{Setup, TestApp};

/// Imports once and gives back failure code, sentence and how many requests were made.
async fn failure(app: &TestApp, account: rosterd::model::AccountId) -> (String, String, usize) {
    let before = app.https.seen().len();
    let run = app.import(account).await;
    (
        run.failure_code.unwrap_or(run.status),
        run.failure_message.unwrap_or_default(),
        app.https.seen().len() - before,
    )
}

#[tokio::test]
async fn a_password_is_sent_to_its_origin_only() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=3)).basic("jane", "hunter2: ü"),
    );
    app.basic_settings(
        account,
        &app.https.url("/private.csv"),
        "hunter2: ü",
        &app.https.url(""),
    )
    .await;
    assert_eq!(app.import(account).await.status, "succeeded");

    // A redirect to another origin is followed, but not with the password, and without a referrer.
    let other = HttpsServer::start().await;
    app.https.serve(
        "/private.csv",
        Reply::status(302)
            .header("Location", &other.url("/stolen.csv"))
            .basic("jane", "hunter2: ü"),
    );
    app.import(account).await;
    assert!(
        other
            .seen()
            .iter()
            .all(|seen| !seen.headers.contains_key("authorization")
                && !seen.headers.contains_key("referer"))
    );

    // The settings point elsewhere, the password stays behind.
    sqlx::query("UPDATE import_settings SET url = $1")
        .bind(other.url("/x.csv"))
        .execute(&app.pool)
        .await
        .unwrap();
    let (code, message, _) = failure(&app, account).await;
    assert_eq!(code, "secret_for_other_origin", "{message}");
    assert!(
        other.seen().iter().all(|seen| seen.path != "/x.csv"),
        "nothing was even asked"
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_a_wrong_key_changes_nothing() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=3)).basic("jane", "right"),
    );
    let origin = format!("https://localhost:{}", app.https.address.port());
    app.basic_settings(account, &app.https.url("/private.csv"), "wrong", &origin)
        .await;
    let (code, message, requests) = failure(&app, account).await;
    assert_eq!((code.as_str(), requests), ("unauthorized", 1), "{message}");

    let sealed = app
        .count("SELECT hashtext(password_sealed::text)::bigint FROM import_settings")
        .await;
    let key = app.folder.path().join("secrets.key");
    std::fs::remove_file(&key).unwrap();
    rosterd::seal::Keyring::generate(&key).unwrap();
    let (code, message, requests) = failure(&app, account).await;
    assert_eq!(
        (code.as_str(), requests),
        ("secret_unreadable", 0),
        "{message}"
    );
    assert_eq!(
        app.count("SELECT hashtext(password_sealed::text)::bigint FROM import_settings")
            .await,
        sealed
    );
}

#[tokio::test]
async fn answers_that_are_no_file_have_names_and_are_tried_as_often_as_makes_sense() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    for (reply, code, requests) in [
        (Reply::status(404), "not_found", 1),
        (Reply::status(410), "not_found", 1),
        (Reply::status(401), "unauthorized", 1),
        (Reply::status(403), "forbidden", 1),
        (Reply::status(204), "http_status", 1),
        (Reply::status(206), "http_status", 1),
        (Reply::status(304), "http_status", 1),
        (Reply::status(418), "http_status", 1),
        (Reply::status(408), "http_status", 3),
        (
            Reply::status(429).header("Retry-After", "0"),
            "rate_limited",
            3,
        ),
        (Reply::status(503), "server_error", 3),
        (
            Reply {
                claimed_length: Some(1_000_000),
                ..Reply::ok(people(1..=3))
            },
            "incomplete",
            3,
        ),
        (
            Reply::ok("short").header("Content-Encoding", "gzip"),
            "incomplete",
            3,
        ),
        (Reply::status(302), "http_status", 1),
        (
            Reply::status(302).header("Location", "http://localhost/x"),
            "redirect_refused",
            1,
        ),
        (
            Reply::status(302).header("Location", "file:///etc/passwd"),
            "redirect_refused",
            1,
        ),
        (
            Reply::status(302).header("Location", "https://jane@localhost/x"),
            "redirect_refused",
            1,
        ),
        (
            Reply::status(302).header("Location", "/contacts.csv"),
            "too_many_redirects",
            6,
        ),
        (
            Reply::status(302).header("Location", "https://169.254.169.254/latest/meta-data/"),
            "address_refused",
            1,
        ),
    ] {
        app.https.serve("/contacts.csv", reply.clone());
        let (found, message, seen) = failure(&app, account).await;
        assert_eq!(
            (found.as_str(), seen),
            (code, requests),
            "{reply:?}: {message}"
        );
        assert!(message.contains(';'), "says what to do: {message}");
    }
    app.https.serve(
        "/contacts.csv",
        Reply::ok(people(1..=3)).after(vec![Reply::status(503), Reply::status(503)]),
    );
    assert_eq!(
        app.import(account).await.status,
        "succeeded",
        "the third attempt succeeds"
    );
}

#[tokio::test]
async fn no_spelling_of_a_private_address_is_reached() {
    let app = TestApp::start_with(Setup {
        allow_networks: &[],
        ..Setup::default()
    })
    .await;
    let account = app.account(people(1..=3)).await;
    let port = app.https.address.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "[::]",
        "[64:ff9b::7f00:1]",
        "LOCALHOST",
        "①27.0.0.1",
    ] {
        app.settings(account, &format!("https://{host}:{port}/contacts.csv"))
            .await;
        let (code, message, _) = failure(&app, account).await;
        assert_eq!(code, "address_refused", "{host}: {message}");
    }
    assert!(app.https.seen().is_empty());
}

#[tokio::test]
async fn only_https_is_fetched_and_only_from_servers_that_prove_who_they_are() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=3)).await;
    app.settings(
        account,
        &app.https.url("/contacts.csv").replace("https", "http"),
    )
    .await;
    assert_eq!(failure(&app, account).await.0, "scheme_refused");
    app.settings(account, "https://no-such-host.invalid/contacts.csv")
        .await;
    assert_eq!(failure(&app, account).await.0, "name_not_found");
    // Nobody listens on a port that was just free.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    app.settings(
        account,
        &format!("https://localhost:{}/contacts.csv", free.port()),
    )
    .await;
    assert_eq!(failure(&app, account).await.0, "connect_failed");

    for setup in [
        Setup {
            trust_server: false,
            ..Setup::default()
        },
        Setup {
            server_name: "other.example.org",
            ..Setup::default()
        },
    ] {
        let app = TestApp::start_with(setup).await;
        let account = app.account(people(1..=3)).await;
        let (code, message, requests) = failure(&app, account).await;
        assert_eq!((code.as_str(), requests), ("tls_invalid", 0), "{message}");
    }
}

#[tokio::test]
async fn a_file_beyond_the_limit_is_refused_declared_or_not() {
    let app = TestApp::start_with(Setup {
        max_bytes: 1_000,
        ..Setup::default()
    })
    .await;
    let account = app.account(people(1..=500)).await;
    let (code, message, requests) = failure(&app, account).await;
    assert_eq!((code.as_str(), requests), ("too_large", 1), "{message}");
    assert_eq!(app.contacts().await.len(), 0);
}

#[tokio::test]
async fn a_file_that_the_server_says_is_unchanged_is_not_sent_again() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    app.https.serve(
        "/contacts.csv",
        Reply::ok(people(1..=3)).header("ETag", "\"v1\""),
    );
    assert_eq!(app.import(account).await.status, "succeeded");
    let run = app.import(account).await;
    assert_eq!((run.status.as_str(), run.row_count), ("unchanged", None));
    assert_eq!(
        app.https
            .seen()
            .last()
            .unwrap()
            .headers
            .get("if-none-match")
            .map(String::as_str),
        Some("\"v1\"")
    );
    // With an error in the file it is read each time.
    app.https.serve(
        "/contacts.csv",
        Reply::ok(people(1..=20).replace("6045550013", "3")).header("ETag", "\"v2\""),
    );
    assert_eq!(app.import(account).await.status, "succeeded_with_issues");
    assert_eq!(app.import(account).await.status, "succeeded_with_issues");
}

#[tokio::test]
async fn settings_that_lack_something_say_what() {
    let app = TestApp::start().await;
    let account = app.account(people(1..=3)).await;
    for (sql, sentence) in [
        ("UPDATE import_settings SET url = NULL", "enter the address"),
        (
            "UPDATE import_settings SET url = 'contacts.csv'",
            "is not the address of a file",
        ),
        (
            "UPDATE import_settings SET source = 'https_basic', url = 'https://example.org/x'",
            "enter the user name",
        ),
        ("DELETE FROM import_settings", "no import settings"),
    ] {
        app.execute(sql).await.unwrap();
        let (code, message, _) = failure(&app, account).await;
        assert_eq!(code, "settings_incomplete", "{message}");
        assert!(message.contains(sentence), "{sql}: {message}");
    }
}

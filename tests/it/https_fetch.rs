//! Fetching over real TLS: where passwords are sent, which addresses are allowed, and which failure codes are reported.

use rosterd::address::Address;
use rosterd::model::AccountId;
use rosterd::model::settings::{PASSWORD_COLUMN, S3_SECRET_COLUMN, SourceKind};
use rosterd::store::{NewSettings, StoreError};
use std::io::Write;

use crate::support::https_server::{HttpsServer, Reply};
use crate::support::sheet::contacts_csv;
use crate::support::{Setup, TestApp};

/// Runs an import that must fail with `code`. Returns the failure message and the number of requests.
async fn import_failure(app: &TestApp, account: AccountId, code: &str) -> (String, usize) {
    let before = app.https.requests().len();
    let run = app.assert_import_fails(account, code).await;
    let requests = app.https.requests().len() - before;
    (run.failure_message.unwrap_or_default(), requests)
}

#[tokio::test]
async fn password_after_redirect_is_not_sent_to_other_origin() {
    let other = HttpsServer::start().await;
    let app = TestApp::start_trusting(&other.ca_pem).await;
    let account = app.account_with_contacts().await;
    let path = "/private.csv?token=s3cret";
    let password = "hunter2: ü";
    app.https
        .serve(path, Reply::ok(contacts_csv(1..=4)).basic("jane", password));
    app.set_basic_auth_source(account, &app.https.url(path), password, &app.https.url(""))
        .await;
    assert_eq!(app.import(account).await.added, Some(1));

    // A redirect to another origin is followed without the password and without a referrer.
    other.serve("/elsewhere.csv", Reply::ok(contacts_csv(1..=5)));
    let redirect = Reply::status(302).header("Location", &other.url("/elsewhere.csv"));
    app.https.serve(path, redirect.basic("jane", password));
    assert_eq!(app.import(account).await.added, Some(1));
    let seen = other.requests();
    let [seen] = &seen[..] else {
        panic!("expected one request: {seen:?}")
    };
    assert_eq!(seen.path, "/elsewhere.csv");
    for (name, value) in &seen.headers {
        assert!(
            !["authorization", "referer", "cookie", "origin"].contains(&name.as_str())
                && !value.contains("s3cret"),
            "{name}: {value}"
        );
    }

    // The other origin asks for a password and gets none.
    other.serve("/elsewhere.csv", Reply::status(401));
    let (message, requests) = import_failure(&app, account, "unauthorized").await;
    assert_eq!((requests, other.requests().len()), (1, 2), "{message}");
    let other_host = format!("localhost:{}", other.address.port());
    assert!(message.contains(&other_host), "{message}");

    // The stored password is not used for a URL of another origin.
    sqlx::query("UPDATE import_settings SET url = $1")
        .bind(other.url("/x.csv"))
        .execute(&app.pool)
        .await
        .unwrap();
    import_failure(&app, account, "secret_for_other_origin").await;
    assert_eq!(other.requests().len(), 2, "no request was sent");
}

#[tokio::test]
async fn copied_password_or_lost_key_cannot_be_decrypted() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=3)).basic("jane", "right"),
    );
    let origin = format!("https://localhost:{}", app.https.address.port());
    app.set_basic_auth_source(account, &app.https.url("/private.csv"), "right", &origin)
        .await;
    assert_eq!(app.import(account).await.unchanged, Some(3));
    let copying_account = app
        .store
        .add_account("Copy", "UTC", &["copy@example.org".to_owned()])
        .await
        .unwrap();
    app.execute(
        "INSERT INTO import_settings (account_id, source, url, username, password_sealed)
         SELECT (SELECT id FROM accounts WHERE name = 'Copy'), source, url, username, password_sealed FROM import_settings",
    )
    .await
    .unwrap();
    app.store
        .set_import_enabled(copying_account, true)
        .await
        .unwrap();
    let (_, requests) = import_failure(&app, copying_account, "secret_unreadable").await;
    assert_eq!(requests, 0);

    let key = app.folder.path().join("secrets.key");
    for damage in ["lost", "damaged"] {
        if damage == "lost" {
            std::fs::remove_file(&key).unwrap();
        } else {
            std::fs::write(&key, "not a key").unwrap();
        }
        let (message, requests) = import_failure(&app, account, "secret_unreadable").await;
        assert_eq!(requests, 0, "{damage}: {message}");
        assert!(message.contains("key"), "{message}");
        let left = std::fs::read_to_string(&key).ok();
        assert_eq!(left, (damage == "damaged").then(|| "not a key".to_owned()));
    }
}

#[tokio::test]
async fn wrong_password_is_tried_once_and_wrong_key_fails() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=3)).basic("jane", "right"),
    );
    let origin = format!("https://localhost:{}", app.https.address.port());
    // Without a user name, the message suggests another source instead of a new password.
    app.set_https_source(account, &app.https.url("/private.csv"))
        .await;
    let (message, _) = import_failure(&app, account, "unauthorized").await;
    assert!(
        message.contains("choose the source `https_basic`"),
        "{message}"
    );
    app.set_basic_auth_source(account, &app.https.url("/private.csv"), "wrong", &origin)
        .await;
    let (message, requests) = import_failure(&app, account, "unauthorized").await;
    assert_eq!(requests, 1, "{message}");
    assert!(
        message.contains("refused the user name or password (HTTP 401)"),
        "{message}"
    );

    let encrypted = app
        .count("SELECT hashtext(password_sealed::text)::bigint FROM import_settings")
        .await;
    let key = app.folder.path().join("secrets.key");
    std::fs::remove_file(&key).unwrap();
    rosterd::secrets::Keyring::generate(&key).unwrap();
    let (message, requests) = import_failure(&app, account, "secret_unreadable").await;
    assert_eq!(requests, 0, "{message}");
    assert_eq!(
        app.count("SELECT hashtext(password_sealed::text)::bigint FROM import_settings")
            .await,
        encrypted
    );
}

#[tokio::test]
async fn unusable_response_has_failure_code_and_retry_count() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
    let part = contacts_csv(1..=2);
    let with_body = |status, body: &str| Reply {
        status,
        ..Reply::ok(body)
    };
    for (reply, code, requests) in [
        (with_body(404, page), "not_found", 1),
        (with_body(200, page), "not_a_spreadsheet", 1),
        (with_body(206, &part), "http_status", 1),
        (with_body(403, &part), "forbidden", 1),
        (with_body(503, &part), "server_error", 3),
        (Reply::status(404), "not_found", 1),
        (Reply::status(410), "not_found", 1),
        (Reply::status(401), "unauthorized", 1),
        (Reply::status(403), "forbidden", 1),
        (Reply::status(204), "http_status", 1),
        (Reply::status(206), "http_status", 1),
        (Reply::status(304), "http_status", 1),
        (Reply::status(418), "http_status", 1),
        (Reply::status(408), "http_status", 3),
        (Reply::status(425), "http_status", 3),
        (
            Reply::status(429).header("Retry-After", "0"),
            "rate_limited",
            3,
        ),
        (Reply::status(503), "server_error", 3),
        // A server that asks for an hour's wait is not retried.
        (
            Reply::status(429).header("Retry-After", "3600"),
            "rate_limited",
            1,
        ),
        (
            Reply::status(503).header("Retry-After", "3600"),
            "server_error",
            1,
        ),
        (
            Reply::status(408).header("Retry-After", "3600"),
            "http_status",
            1,
        ),
        (
            Reply::ok(contacts_csv(1..=3)).header("Content-Encoding", "identity, BR"),
            "protocol_error",
            1,
        ),
        (
            Reply {
                claimed_length: Some(1_000_000),
                ..Reply::ok(contacts_csv(1..=3))
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
        let (message, seen) = import_failure(&app, account, code).await;
        assert_eq!(seen, requests, "{reply:?}: {message}");
        let waits_too_long = reply.headers.iter().any(|(_, value)| value == "3600");
        let waits_too_long = waits_too_long && code != "http_status";
        assert_eq!(
            message.contains("asks to wait 60 minutes"),
            waits_too_long,
            "{message}"
        );
    }
    app.https.serve(
        "/contacts.csv",
        Reply::ok(contacts_csv(1..=4)).after(vec![Reply::status(503), Reply::status(503)]),
    );
    assert_eq!(
        app.import(account).await.status,
        "succeeded",
        "the third attempt succeeds"
    );
    app.https.serve(
        "/contacts.csv",
        Reply::ok(contacts_csv(1..=5)).header("Content-Encoding", "identity"),
    );
    assert_eq!(app.import(account).await.added, Some(1));
    // Some scripts put a character set into `Content-Encoding`.
    app.https.serve(
        "/contacts.csv",
        Reply::ok(contacts_csv(1..=6)).header("Content-Encoding", "UTF-8"),
    );
    assert_eq!(app.import(account).await.added, Some(1));
}

/// A secret encrypted for the origin of `url`.
fn encrypted_secret_for(app: &TestApp, account: AccountId, kind: SourceKind, url: &str) -> Vec<u8> {
    let origin = Address::parse(kind, url, None).unwrap().origin();
    let field = if kind == SourceKind::S3 {
        S3_SECRET_COLUMN
    } else {
        PASSWORD_COLUMN
    };
    app.encrypt_secret(account, field, "hunter2", &origin)
}

#[tokio::test]
async fn private_address_in_any_notation_is_refused() {
    let app = TestApp::start_with(Setup {
        allow_networks: &[],
        ..Setup::default()
    })
    .await;
    let account = app.account(contacts_csv(1..=3)).await;
    app.store.set_import_enabled(account, false).await.unwrap();
    app.execute(
        "INSERT INTO contacts (account_id, external_id, name) SELECT id, '1', 'Jane' FROM accounts",
    )
    .await
    .unwrap();
    app.store.set_import_enabled(account, true).await.unwrap();
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
        app.set_https_source(account, &format!("https://{host}:{port}/contacts.csv"))
            .await;
        import_failure(&app, account, "address_refused").await;
        let url = format!("sftp://{host}/contacts.csv");
        let sftp_settings = NewSettings {
            username: Some("jane".to_owned()),
            password_sealed: Some(encrypted_secret_for(&app, account, SourceKind::Sftp, &url)),
            ..NewSettings::new(SourceKind::Sftp, url)
        };
        let url = format!("https://{host}:{port}/bucket/contacts.csv");
        let s3_settings = NewSettings {
            s3_access_key_id: Some("AKIDEXAMPLE".to_owned()),
            s3_secret_sealed: Some(encrypted_secret_for(&app, account, SourceKind::S3, &url)),
            ..NewSettings::new(SourceKind::S3, url)
        };
        for settings in [sftp_settings, s3_settings] {
            app.store.save_settings(account, &settings).await.unwrap();
            import_failure(&app, account, "address_refused").await;
        }
    }
    assert!(app.https.requests().is_empty());
    assert_eq!(app.https.connections(), 0, "no connection was opened");
}

#[tokio::test]
async fn insecure_scheme_or_untrusted_server_is_refused() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    app.set_https_source(
        account,
        &app.https.url("/contacts.csv").replace("https", "http"),
    )
    .await;
    import_failure(&app, account, "scheme_refused").await;
    for (source, url) in [
        ("https", "file:///etc/passwd"),
        ("https", "ftp://localhost/contacts.csv"),
        ("sftp", "https://localhost/contacts.csv"),
        ("s3", "ftp://localhost/bucket/contacts.csv"),
    ] {
        sqlx::query("UPDATE import_settings SET source = $1, url = $2")
            .bind(source)
            .bind(url)
            .execute(&app.pool)
            .await
            .unwrap();
        import_failure(&app, account, "scheme_refused").await;
    }
    sqlx::query("UPDATE import_settings SET source = 'https', url = NULL")
        .execute(&app.pool)
        .await
        .unwrap();
    app.set_https_source(account, "https://no-such-host.invalid/contacts.csv")
        .await;
    import_failure(&app, account, "name_not_found").await;
    // No server listens on a port that was just free.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    app.set_https_source(
        account,
        &format!("https://localhost:{}/contacts.csv", free.port()),
    )
    .await;
    import_failure(&app, account, "connect_failed").await;

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
        let account = app.account(contacts_csv(1..=3)).await;
        let (message, requests) = import_failure(&app, account, "tls_invalid").await;
        assert_eq!(requests, 0, "{message}");
    }
}

#[tokio::test]
async fn file_over_size_limit_is_refused() {
    let app = TestApp::start_with(Setup {
        max_bytes: 1_000,
        ..Setup::default()
    })
    .await;
    let account = app.account(contacts_csv(1..=500)).await;
    let (message, requests) = import_failure(&app, account, "too_large").await;
    assert_eq!(requests, 1, "{message}");
    assert_eq!(app.contacts().await.len(), 0);
}

#[tokio::test]
async fn unchanged_file_is_not_downloaded_again() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    app.https.serve(
        "/contacts.csv",
        Reply::ok(contacts_csv(1..=3)).header("ETag", "\"v1\""),
    );
    assert_eq!(app.import(account).await.status, "succeeded");
    let run = app.import(account).await;
    assert_eq!((run.status.as_str(), run.row_count), ("unchanged", None));
    assert_eq!(
        app.https
            .requests()
            .last()
            .unwrap()
            .headers
            .get("if-none-match")
            .map(String::as_str),
        Some("\"v1\"")
    );
    // With only a modification time, `If-Modified-Since` is sent.
    let since = "Sun, 01 Nov 2026 08:00:00 GMT";
    let with_date = Reply::ok(contacts_csv(1..=4)).header("Last-Modified", since);
    app.https.serve("/contacts.csv", with_date);
    assert_eq!(app.import(account).await.added, Some(1));
    app.https.serve("/contacts.csv", Reply::status(304));
    let run = app.import(account).await;
    assert_eq!((run.status.as_str(), run.row_count), ("unchanged", None));
    let asked = app.https.requests().pop().unwrap().headers;
    assert_eq!(
        (asked.get("if-modified-since"), asked.get("if-none-match")),
        (Some(&since.to_owned()), None)
    );
    // A file with an error is read each time.
    app.https.serve(
        "/contacts.csv",
        Reply::ok(contacts_csv(1..=20).replace("6045550013", "3")).header("ETag", "\"v2\""),
    );
    assert_eq!(app.import(account).await.status, "succeeded_with_issues");
    assert_eq!(app.import(account).await.status, "succeeded_with_issues");
}

#[tokio::test]
async fn same_content_with_new_etag_updates_the_stored_etag() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    for (etag, sent_etag) in [
        ("\"v1\"", None),
        ("\"v2\"", Some("\"v1\"")),
        ("\"v2\"", Some("\"v2\"")),
    ] {
        app.https.serve(
            "/contacts.csv",
            Reply::ok(contacts_csv(1..=3)).header("ETag", etag),
        );
        let run = app.import(account).await;
        let status = if sent_etag.is_some() {
            "unchanged"
        } else {
            "succeeded"
        };
        assert_eq!(run.status, status);
        let seen = app.https.requests();
        let headers = &seen.last().unwrap().headers;
        assert_eq!(headers.get("if-none-match").map(String::as_str), sent_etag);
    }
}

#[tokio::test]
async fn etag_is_not_sent_after_redirect_target_changes() {
    let app = TestApp::start().await;
    let account = app.account("").await;
    for (target, last, rows) in [("/a.csv", 3, 3), ("/b.csv", 4, 4)] {
        let (to, file) = (app.https.url(target), contacts_csv(1..=last));
        app.https
            .serve(target, Reply::ok(file).header("ETag", "\"1\""));
        let redirect = Reply::status(302).header("Location", &to);
        app.https.serve("/contacts.csv", redirect);
        let run = app.import(account).await;
        assert_eq!(
            (run.status.as_str(), run.row_count),
            ("succeeded", Some(rows))
        );
        let seen = app.https.requests();
        assert!(
            !seen
                .iter()
                .any(|it| it.headers.contains_key("if-none-match"))
        );
    }
}

#[tokio::test]
async fn multi_member_gzip_is_imported_completely() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=40)).await;
    assert_eq!(app.import(account).await.added, Some(40));
    let file = contacts_csv(1..=41);
    let middle = file.len() / 2;
    let parts = [&file[..middle], &file[middle..]].map(|part| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(part.as_bytes()).unwrap();
        encoder.finish().unwrap()
    });
    let reply = Reply::ok(parts.concat()).header("Content-Encoding", "GZIP");
    app.https.serve("/contacts.csv", reply);
    let run = app.import(account).await;
    assert_eq!(
        (run.row_count, run.added, run.removed),
        (Some(41), Some(1), Some(0)),
        "{:?}",
        run.failure_message
    );
}

#[tokio::test]
async fn url_with_credentials_is_rejected_by_database() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=3)).await;
    for address in [
        "https://jane:secret#1@h/x",
        "https://jane:secret?1@h/x",
        "s3://KEY:sec/ret@bucket/x.csv",
    ] {
        let stored = sqlx::query("UPDATE import_settings SET url = $1")
            .bind(address)
            .execute(&app.pool)
            .await;
        let error = stored.unwrap_err();
        let constraint = error.as_database_error().unwrap().constraint();
        assert_eq!(
            constraint,
            Some("import_settings_url_without_secrets"),
            "{address}"
        );
    }
    // The query may be part of a password.
    let ambiguous = NewSettings::new(SourceKind::Https, "https://h?x=a@b");
    let error = app.store.save_settings(account, &ambiguous).await;
    assert!(matches!(error, Err(StoreError::UrlMayHaveCredentials)));
    // An `@` in the path or query is allowed.
    sqlx::query("UPDATE import_settings SET url = 'https://h.example:8443/a@b.csv?c=d@e'")
        .execute(&app.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn incomplete_settings_name_the_missing_value() {
    let app = TestApp::start().await;
    let account = app.account(contacts_csv(1..=3)).await;
    for (sql, expected) in [
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
        let (message, _) = import_failure(&app, account, "settings_incomplete").await;
        assert!(message.contains(expected), "{sql}: {message}");
    }
}

//! S3 sources: a server that verifies signatures, and the error responses documented for AWS.

use std::sync::atomic::Ordering;

use rosterd::model::AccountId;
use rosterd::model::settings::{S3_SECRET_COLUMN, SourceKind};
use rosterd::store::NewSettings;

use crate::support::https_server::Reply;
use crate::support::s3_server::{KEY_ID, S3Server, SECRET};
use crate::support::sheet::contacts_csv;
use crate::support::tcp_proxy::{AfterLimit, TcpProxy};
use crate::support::{Setup, TestApp};

struct Keys<'a> {
    id: &'a str,
    secret: &'a str,
}

const VALID_KEYS: Keys<'_> = Keys {
    id: KEY_ID,
    secret: SECRET,
};

async fn settings(app: &TestApp, account: AccountId, url: &str, keys: &Keys<'_>) {
    let origin = rosterd::address::S3Address::parse(url).unwrap().origin();
    let new = NewSettings {
        s3_access_key_id: Some(keys.id.to_owned()),
        s3_secret_sealed: Some(app.encrypt_secret(account, S3_SECRET_COLUMN, keys.secret, &origin)),
        s3_region: Some("ca-central-1".to_owned()),
        ..NewSettings::new(SourceKind::S3, url)
    };
    app.store.save_settings(account, &new).await.unwrap();
}

#[tokio::test]
async fn unchanged_object_is_not_downloaded_again() {
    let server = S3Server::start("north-shore").await;
    let app = TestApp::start_trusting(&server.ca_pem).await;
    let file = contacts_csv(1..=3_000);
    server.put("north-shore", "lists/contacts.csv", &file);
    let account = app.account("").await;
    let proxy = TcpProxy::start(server.address, usize::MAX, AfterLimit::Stall);
    let url = format!(
        "https://localhost:{}/north-shore/lists/contacts.csv",
        proxy.port
    );
    settings(&app, account, &url, &VALID_KEYS).await;
    let bytes_sent = || proxy.bytes.swap(0, Ordering::SeqCst);
    let run = app.import(account).await;
    assert_eq!(
        (run.status.as_str(), run.added),
        ("succeeded", Some(3_000)),
        "{:?}",
        run.failure_message
    );
    assert!(run.etag.is_some());
    assert!(bytes_sent() > file.len());
    let run = app.import(account).await;
    assert_eq!((run.status.as_str(), run.row_count), ("unchanged", None));
    let bytes_sent = bytes_sent();
    assert!(bytes_sent < file.len() / 10, "{bytes_sent} bytes");
    server.put("north-shore", "lists/contacts.csv", contacts_csv(1..=3_001));
    assert_eq!(app.import(account).await.added, Some(1));
}

#[tokio::test]
async fn object_keys_with_special_characters_are_found() {
    let server = S3Server::start("north-shore").await;
    let app = TestApp::start_trusting(&server.ca_pem).await;
    let account = app.account("").await;
    let mut names = 100;
    for (key, path) in [
        ("équipe 1.csv", "%C3%A9quipe%201.csv"),
        ("équipe 2.csv", "équipe 2.csv"),
        ("a b.csv", "a+b.csv"),
        ("c+d.csv", "c+d.csv"),
        ("e+f.csv", "e%2Bf.csv"),
        ("100%.csv", "100%25.csv"),
        ("50%41.csv", "50%2541.csv"),
        ("ä/ö (ü) & 'x'=1;2,3!.csv", "ä/ö (ü) & 'x'=1;2,3!.csv"),
    ] {
        // Each object has a different contact, which shows when the wrong object is requested.
        names += 1;
        server.put(
            "north-shore",
            key,
            contacts_csv(1..=3).replace("Name 3", &format!("Name {names}")),
        );
        settings(
            &app,
            account,
            &server.url(&format!("north-shore/{path}")),
            &VALID_KEYS,
        )
        .await;
        let run = app.import(account).await;
        assert_eq!(run.status, "succeeded", "{key}: {:?}", run.failure_message);
        let (_, name) = app.contacts().await.pop().unwrap();
        assert_eq!(name, format!("Name {names}"), "{key}");
    }
}

#[tokio::test]
async fn signature_errors_are_classified_and_not_retried() {
    let server = S3Server::start("north-shore").await;
    let app = TestApp::start_trusting(&server.ca_pem).await;
    server.put("north-shore", "contacts.csv", contacts_csv(1..=3));
    let account = app.account_with_contacts().await;
    let object_url = server.url("north-shore/contacts.csv");
    for (url, keys, code) in [
        (
            object_url.clone(),
            Keys {
                secret: "wrong",
                ..VALID_KEYS
            },
            "s3_wrong_secret",
        ),
        (
            object_url.clone(),
            Keys {
                id: "AKIDOTHER",
                ..VALID_KEYS
            },
            "s3_unknown_key_id",
        ),
        (
            server.url("south-shore/contacts.csv"),
            VALID_KEYS,
            "s3_no_bucket",
        ),
        (server.url("north-shore/none.csv"), VALID_KEYS, "not_found"),
    ] {
        settings(&app, account, &url, &keys).await;
        let before = server.connections();
        app.assert_import_fails(account, code).await;
        let expected_connections = if url == object_url { 1 } else { 2 };
        assert_eq!(
            server.connections() - before,
            expected_connections,
            "{code}: one attempt, plus one request for the bucket"
        );
    }
}

/// An error as S3 reports it; `details` are more elements.
fn error_response(status: u16, code: &str, details: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>m</Message>{details}<RequestId>1</RequestId></Error>"
    );
    Reply {
        body: body.into(),
        ..Reply::status(status)
    }
    .header("Content-Type", "application/xml")
}

#[tokio::test]
async fn aws_error_responses_are_classified_and_retried_if_transient() {
    let app = TestApp::start_with(Setup {
        max_bytes: 2 << 20,
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    app.https.serve("/sar", Reply::status(200));
    app.https.serve("/sar/", Reply::status(200));
    for (reply, failure, requests, expected_text) in [
        (
            error_response(403, "InvalidAccessKeyId", ""),
            "s3_unknown_key_id",
            1,
            "access key ID",
        ),
        (
            error_response(403, "SignatureDoesNotMatch", ""),
            "s3_wrong_secret",
            1,
            "secret key",
        ),
        (
            error_response(403, "AccessDenied", ""),
            "forbidden",
            1,
            "(HTTP 403, AccessDenied); check its sharing settings or the permissions",
        ),
        (
            error_response(404, "NoSuchBucket", ""),
            "s3_no_bucket",
            1,
            "`sar`",
        ),
        (
            error_response(404, "NoSuchKey", ""),
            "not_found",
            2,
            "s3://sar/contacts.csv",
        ),
        (
            error_response(404, "NoSuchKey", "").header("x-amz-delete-marker", "true"),
            "not_found",
            1,
            "s3://sar/contacts.csv",
        ),
        (
            error_response(301, "PermanentRedirect", "").header("x-amz-bucket-region", "us-west-2"),
            "s3_wrong_region",
            1,
            "in us-west-2",
        ),
        (
            error_response(
                400,
                "AuthorizationHeaderMalformed",
                "<Region>eu-west-1</Region>",
            ),
            "s3_wrong_region",
            1,
            "in eu-west-1",
        ),
        // The response does not name a region.
        (
            error_response(400, "AuthorizationHeaderMalformed", ""),
            "s3_unknown_key_id",
            1,
            "access key ID",
        ),
        (
            Reply::status(301).header("Location", "https://example.org/x"),
            "http_status",
            1,
            "301",
        ),
        (
            error_response(403, "InvalidObjectState", ""),
            "s3_archived",
            1,
            "archived",
        ),
        (
            error_response(403, "RequestTimeTooSkewed", ""),
            "clock_skew",
            1,
            "clock",
        ),
        (
            error_response(503, "SlowDown", ""),
            "rate_limited",
            3,
            "too many requests (HTTP 503, SlowDown)",
        ),
        (
            error_response(500, "InternalError", ""),
            "server_error",
            3,
            "500",
        ),
        (Reply::status(503), "server_error", 3, "503"),
        (
            Reply::status(403),
            "forbidden",
            1,
            "(HTTP 403); check its sharing settings or the permissions",
        ),
        (
            Reply::ok("<html>log in</html>"),
            "not_a_spreadsheet",
            1,
            "web page",
        ),
        (
            Reply {
                claimed_length: Some(1_000_000),
                ..Reply::ok(contacts_csv(1..=3))
            },
            "incomplete",
            3,
            "incomplete or damaged",
        ),
        (Reply::ok(vec![b'x'; 3 << 20]), "too_large", 1, "larger"),
        (
            Reply {
                body: contacts_csv(1..=3).into(),
                ..Reply::status(206)
            }
            .header("Content-Range", "bytes 0-199/500"),
            "http_status",
            1,
            "206",
        ),
        (
            Reply::status(302).header("Location", "https://example.org/x"),
            "http_status",
            1,
            "302",
        ),
    ] {
        app.https.serve("/sar/contacts.csv?x-id=GetObject", reply);
        settings(
            &app,
            account,
            &app.https.url("/sar/contacts.csv"),
            &VALID_KEYS,
        )
        .await;
        let before = app.https.requests().len();
        let run = app.assert_import_fails(account, failure).await;
        assert_eq!(app.https.requests().len() - before, requests, "{failure}");
        let message = run.failure_message.unwrap();
        assert!(message.contains(expected_text), "{failure}: {message}");
    }
    // A transient failure that the retry overcomes.
    let slow_down = error_response(503, "SlowDown", "").header("Retry-After", "0");
    app.https.serve(
        "/sar/contacts.csv?x-id=GetObject",
        Reply::ok(contacts_csv(1..=4)).after(vec![slow_down]),
    );
    assert_eq!(app.import(account).await.added, Some(1));
}

#[tokio::test]
async fn missing_keys_or_invalid_region_send_no_request() {
    let server = S3Server::start("north-shore").await;
    let app = TestApp::start_trusting(&server.ca_pem).await;
    server.put("north-shore", "contacts.csv", contacts_csv(1..=3));
    let account = app.account_with_contacts().await;
    settings(
        &app,
        account,
        &server.url("north-shore/contacts.csv"),
        &VALID_KEYS,
    )
    .await;
    for (sql, expected_text) in [
        (
            "UPDATE import_settings SET s3_region = 'evil.example/'",
            "region",
        ),
        (
            "UPDATE import_settings SET s3_region = 'ca-central-1', s3_access_key_id = ' '",
            "access key ID",
        ),
        (
            "UPDATE import_settings SET s3_access_key_id = NULL",
            "access key ID",
        ),
        (
            "UPDATE import_settings SET s3_access_key_id = 'x', s3_secret_sealed = NULL",
            "secret key",
        ),
    ] {
        app.execute(sql).await.unwrap();
        let run = app
            .assert_import_fails(account, "settings_incomplete")
            .await;
        assert!(
            run.failure_message
                .as_ref()
                .unwrap()
                .contains(expected_text),
            "{:?}",
            run.failure_message
        );
    }
    assert_eq!(server.connections(), 0);
    // A secret is used only for the bucket it was entered for.
    settings(
        &app,
        account,
        &server.url("north-shore/contacts.csv"),
        &VALID_KEYS,
    )
    .await;
    sqlx::query("UPDATE import_settings SET url = $1")
        .bind(server.url("other-bucket/contacts.csv"))
        .execute(&app.pool)
        .await
        .unwrap();
    app.assert_import_fails(account, "secret_for_other_origin")
        .await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn directory_bucket_name_sends_no_request() {
    let server = S3Server::start("north-shore").await;
    let app = TestApp::start_trusting(&server.ca_pem).await;
    let account = app.account_with_contacts().await;
    settings(
        &app,
        account,
        &server.url("north-shore/contacts.csv"),
        &VALID_KEYS,
    )
    .await;
    for url in [
        server.url("sar--x-s3/contacts.csv"),
        server.url("sar--usw2-az1--xa-s3/contacts.csv"),
        "s3://sar--usw2-az1--x-s3/contacts.csv".to_owned(),
    ] {
        sqlx::query("UPDATE import_settings SET url = $1")
            .bind(&url)
            .execute(&app.pool)
            .await
            .unwrap();
        let run = app
            .assert_import_fails(account, "settings_incomplete")
            .await;
        let message = run.failure_message.unwrap();
        assert!(message.contains("directory buckets"), "{url}: {message}");
    }
    assert_eq!(server.connections(), 0);
}

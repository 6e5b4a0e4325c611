//! Files over SFTP, from a real OpenSSH server.

use chrono::TimeDelta;
use rosterd::model::AccountId;
use rosterd::model::source::{HostKeyKind, PASSWORD_FIELD, ShownKey, SourceKind};
use rosterd::store::NewSettings;
use std::time::Duration;

use crate::support::sheet::people;
use crate::support::ssh_server::{Login, PASSWORD, SshServer, USER};
use crate::support::{Setup, TestApp, failed};

pub async fn settings(app: &TestApp, account: AccountId, url: &str, port: u16, password: &str) {
    let new = NewSettings {
        username: Some(USER.to_owned()),
        password_sealed: Some(app.seal(
            account,
            PASSWORD_FIELD,
            password,
            &format!("sftp://127.0.0.1:{port}"),
        )),
        ..NewSettings::new(SourceKind::Sftp, url)
    };
    app.store.save_settings(account, &new).await.unwrap();
}

/// Points an account at a file on a server.
pub async fn point_at(app: &TestApp, account: AccountId, server: &SshServer, path: &str) {
    let port = server.address.port();
    settings(app, account, &server.url(path), port, PASSWORD).await;
}

/// An account whose file lies on a server.
async fn account_at(app: &TestApp, server: &SshServer, path: &str) -> AccountId {
    let account = app.account("").await;
    point_at(app, account, server, path).await;
    account
}

pub async fn pinned(app: &TestApp) -> Option<String> {
    sqlx::query_scalar("SELECT sftp_host_key FROM import_settings")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_file_is_imported_its_key_pinned_and_an_unchanged_one_not_read_again() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("équipe 1.csv", people(1..=3));
    let account = account_at(&app, &server, "%C3%A9quipe%201.csv").await;
    let edited = app
        .count("SELECT extract(epoch FROM updated_at)::bigint FROM import_settings")
        .await;
    let run = app.import(account).await;
    assert_eq!(
        (run.status.as_str(), run.added),
        ("succeeded", Some(3)),
        "{:?}",
        run.failure_message
    );
    assert_eq!(
        pinned(&app).await,
        Some(server.fingerprint()),
        "as OpenSSH shows it"
    );
    assert_eq!(
        app.count("SELECT extract(epoch FROM updated_at)::bigint FROM import_settings")
            .await,
        edited,
        "pinning is no edit"
    );
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE mtime IS NOT NULL AND size_bytes > 0")
            .await,
        1
    );

    // Same size, other time: read again. Same content: unchanged by its SHA-256.
    let ago = |minutes| (app.now() - TimeDelta::minutes(minutes)).into();
    server.date("équipe 1.csv", ago(30));
    assert_eq!(app.import(account).await.status, "unchanged");
    let changed = people(1..=3).replace("Name 3", "Nona 3");
    server.write("équipe 1.csv", changed);
    server.date("équipe 1.csv", ago(15));
    assert_eq!(app.import(account).await.updated, Some(1));
}

#[tokio::test]
async fn paths_are_looked_for_from_the_root_and_at_home() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    let file = server.write("contacts.csv", people(1..=2));
    let account = account_at(&app, &server, "contacts.csv").await;
    for path in [
        "contacts.csv".to_owned(),
        "~/contacts.csv".to_owned(),
        file.display().to_string(),
        file.display()
            .to_string()
            .trim_start_matches('/')
            .to_owned(),
    ] {
        point_at(&app, account, &server, &path).await;
        let run = app.import(account).await;
        assert!(
            ["succeeded", "unchanged"].contains(&run.status.as_str()),
            "{path}: {:?}",
            run.failure_message
        );
    }
    // Without a scheme, with the port in its own field.
    let new = NewSettings {
        username: Some(USER.to_owned()),
        sftp_port: Some(server.address.port()),
        password_sealed: Some(app.seal(
            account,
            PASSWORD_FIELD,
            PASSWORD,
            &format!("sftp://127.0.0.1:{}", server.address.port()),
        )),
        ..NewSettings::new(SourceKind::Sftp, "127.0.0.1/contacts.csv")
    };
    app.store.save_settings(account, &new).await.unwrap();
    assert_eq!(app.import(account).await.unchanged, Some(2));
    // A folder of the server's that is closed has a name in common with one of the user's.
    std::fs::create_dir(server.home().join("root")).unwrap();
    server.write("root/contacts.csv", people(1..=2));
    point_at(&app, account, &server, "root/contacts.csv").await;
    assert_eq!(app.import(account).await.unchanged, Some(2));
    point_at(&app, account, &server, "root/none.csv").await;
    app.import_fails(account, "forbidden").await;
    // A link leads to its file.
    std::os::unix::fs::symlink(&file, server.home().join("link.csv")).unwrap();
    point_at(&app, account, &server, "link.csv").await;
    assert_eq!(app.import(account).await.unchanged, Some(2));
}

#[tokio::test]
async fn a_server_that_lets_everybody_in_is_asked_for_the_file() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Nothing);
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    let run = app.import(account).await;
    assert_eq!(run.added, Some(3), "{:?}", run.failure_message);
}

async fn enter_wrong_password(app: &TestApp, account: AccountId, server: &SshServer) {
    let (url, port) = (server.url("contacts.csv"), server.address.port());
    settings(app, account, &url, port, "wrong").await;
}

#[tokio::test]
async fn keyboard_interactive_serves_where_passwords_are_not_taken() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::KeyboardInteractive);
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.added, Some(3));
    enter_wrong_password(&app, account, &server).await;
    let before = server.connections();
    let run = app.import_fails(account, "unauthorized").await;
    let message = run.failure_message.unwrap();
    assert!(
        message.contains("refuses the user name or password"),
        "{message}"
    );
    assert_eq!(
        (server.refusals(), server.connections() - before),
        (1, 1),
        "asked once"
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    for (login, sentence) in [
        (
            Login::Password,
            "refuses the user name or password; enter them anew",
        ),
        (
            Login::PasswordOnce,
            "closed the connection when it was given the user name",
        ),
    ] {
        let server = SshServer::start(login);
        server.write("contacts.csv", people(1..=3));
        enter_wrong_password(&app, account, &server).await;
        let run = app.import_fails(account, "unauthorized").await;
        let message = run.failure_message.unwrap();
        assert!(message.contains(sentence), "{message}");
        assert_eq!((server.refusals(), server.connections()), (1, 1));
    }

    let keys_only = SshServer::start(Login::PublicKey);
    point_at(&app, account, &keys_only, "contacts.csv").await;
    let run = app.import_fails(account, "unauthorized").await;
    assert!(run.failure_message.unwrap().contains("publickey"));
    assert_eq!(keys_only.connections(), 1);
}

#[tokio::test]
async fn a_changed_host_key_gets_no_password_until_a_person_trusts_it() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.status, "succeeded");
    let old = server.fingerprint();
    server.new_host_key();
    let before = app.fingerprint().await;
    let connections = server.connections();
    let run = app.import(account).await;
    failed(&run, "host_key_changed");
    let message = run.failure_message.unwrap();
    assert!(
        message.contains(&old) && message.contains(&server.fingerprint()),
        "{message}"
    );
    assert_eq!(server.connections() - connections, 1, "never tried again");
    assert_eq!(app.fingerprint().await, before);
    assert_eq!(pinned(&app).await, Some(old), "still the old one");
    let key = ShownKey {
        fingerprint: server.fingerprint(),
        kind: HostKeyKind::Ed25519,
    };
    let origin = format!("sftp://{}", server.address);
    app.store
        .trust_host_key(account, &origin, &key)
        .await
        .unwrap();
    assert_eq!(app.import(account).await.unchanged, Some(3));
}

#[tokio::test]
async fn a_server_that_comes_to_have_a_better_key_is_known_by_the_pinned_one() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.remove_host_key("ed25519");
    server.new_host_key_of("rsa");
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.added, Some(3));
    let rsa = Some(server.fingerprint_of("rsa"));
    assert_eq!(pinned(&app).await, rsa);
    server.new_host_key_of("ecdsa");
    server.new_host_key();
    let connections = server.connections();
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(server.connections() - connections, 1);
    assert_eq!(pinned(&app).await, rsa);
    // The pinned one is replaced, or there is none of its kind any more: no other stands in for it.
    server.new_host_key_of("rsa");
    failed(&app.import(account).await, "host_key_changed");
    server.remove_host_key("rsa");
    failed(&app.import(account).await, "host_key_changed");
    assert_eq!(pinned(&app).await, rsa);
}

#[tokio::test]
async fn a_key_entered_in_sql_is_that_of_the_server_that_the_address_names() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.added, Some(3));
    let of = format!("sftp://{}", server.address);
    let pin = "SELECT concat_ws(' ', sftp_host_key, sftp_host_key_kind, sftp_host_key_of) FROM import_settings";
    let pin = async || app.text(pin).await;
    let by_import = format!("{} ssh-ed25519 {of}", server.fingerprint());
    assert_eq!(pin().await, by_import);
    let edited = app
        .text("SELECT updated_at::text FROM import_settings")
        .await;
    app.execute("UPDATE import_settings SET sftp_host_key = 'SHA256:other'")
        .await
        .unwrap();
    assert_eq!(pin().await, "SHA256:other", "neither kind nor server stays");
    assert_ne!(
        app.text("SELECT updated_at::text FROM import_settings")
            .await,
        edited,
        "an edit like any other"
    );
    failed(&app.import(account).await, "host_key_changed");
    app.execute("UPDATE import_settings SET sftp_host_key = NULL")
        .await
        .unwrap();
    assert_eq!(app.import(account).await.unchanged, Some(3));
    assert_eq!(pin().await, by_import);
    app.execute("UPDATE import_settings SET sftp_host_key = NULL")
        .await
        .unwrap();
    assert_eq!(pin().await, "");
}

#[tokio::test]
async fn what_is_not_there_or_no_file_has_a_name() {
    let app = TestApp::start_with(Setup {
        max_bytes: 2 << 20,
        ..Setup::default()
    })
    .await;
    let server = SshServer::start(Login::Password);
    server.write("closed.csv", people(1..=3));
    std::fs::set_permissions(
        server.home().join("closed.csv"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    std::fs::create_dir(server.home().join("folder.csv")).unwrap();
    server.write("large.csv", vec![b'x'; 3 << 20]);
    let account = app.account_with_contacts().await;
    for (link, to) in [
        ("dangling.csv", "gone.csv"),
        ("loop.csv", "loop.csv"),
        ("to-folder.csv", "folder.csv"),
    ] {
        std::os::unix::fs::symlink(to, server.home().join(link)).unwrap();
    }
    for (path, code) in [
        ("none.csv", "not_found"),
        ("dangling.csv", "not_found"),
        ("loop.csv", "not_found"),
        ("to-folder.csv", "not_a_file"),
        ("folder.csv", "not_a_file"),
        ("closed.csv", "forbidden"),
        ("large.csv", "too_large"),
    ] {
        point_at(&app, account, &server, path).await;
        let before = server.connections();
        app.import_fails(account, code).await;
        assert_eq!(server.connections() - before, 1, "{path}");
    }
}

#[tokio::test]
async fn a_file_that_is_still_being_written_is_not_imported() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    let account = account_at(&app, &server, "contacts.csv").await;
    server.write("contacts.csv", people(1..=3));
    // Ten seconds before the clock of the tests, which stands still.
    let written_before = |seconds| {
        server.date(
            "contacts.csv",
            (app.now() - TimeDelta::seconds(seconds)).into(),
        );
    };
    written_before(10);
    assert_eq!(app.import(account).await.status, "succeeded");
    // The clock is set back a second: the file is nine seconds old, and rests until then.
    written_before(9);
    let before = server.connections();
    app.import_fails(account, "changed_while_reading").await;
    assert_eq!(
        server.connections() - before,
        3,
        "tried again as often as any failure that may pass"
    );
    // The server's clock is ahead: the file is read once it was the same for as long as it is to rest.
    server.write("contacts.csv", people(1..=4));
    written_before(-3600);
    let (before, began) = (server.connections(), std::time::Instant::now());
    let run = app.import(account).await;
    assert_eq!(run.added, Some(1), "{:?}", run.failure_message);
    assert_eq!(server.connections() - before, 2);
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(server.connections() - before, 3);
}

#[tokio::test]
async fn a_file_that_grows_on_a_server_whose_clock_is_ahead_is_not_imported() {
    let app = TestApp::start().await;
    // Each time it is looked for, it has become longer, and is an hour newer than now.
    let grow =
        "echo >> contacts.csv; touch -d '+1 hour' contacts.csv; exec /usr/lib/openssh/sftp-server";
    let server = SshServer::start_with(Login::Password, &format!("/bin/sh -c \"{grow}\""));
    server.write("contacts.csv", people(1..=3));
    let account = account_at(&app, &server, "contacts.csv").await;
    app.import_fails(account, "changed_while_reading").await;
    assert_eq!(server.connections(), 3);
}

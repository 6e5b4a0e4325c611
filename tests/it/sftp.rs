//! SFTP sources, tested with a real OpenSSH server.

use chrono::TimeDelta;
use rosterd::model::AccountId;
use rosterd::model::host_key::{HostKeyKind, OfferedHostKey};
use rosterd::model::settings::{PASSWORD_COLUMN, SourceKind};
use rosterd::store::NewSettings;
use std::time::Duration;

use crate::support::sheet::contacts_csv;
use crate::support::ssh_server::{Login, PASSWORD, SshServer, USER};
use crate::support::{Setup, TestApp, assert_failed};

pub async fn settings(app: &TestApp, account: AccountId, url: &str, port: u16, password: &str) {
    let new = NewSettings {
        username: Some(USER.to_owned()),
        password_sealed: Some(app.encrypt_secret(
            account,
            PASSWORD_COLUMN,
            password,
            &format!("sftp://127.0.0.1:{port}"),
        )),
        ..NewSettings::new(SourceKind::Sftp, url)
    };
    app.store.save_settings(account, &new).await.unwrap();
}

/// Sets the account's source to a file on the server.
pub async fn point_at(app: &TestApp, account: AccountId, server: &SshServer, path: &str) {
    let port = server.address.port();
    settings(app, account, &server.url(path), port, PASSWORD).await;
}

/// Adds an account whose source is a file on the server.
async fn add_sftp_account(app: &TestApp, server: &SshServer, path: &str) -> AccountId {
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
async fn first_import_pins_host_key_and_unchanged_file_is_skipped() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("équipe 1.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "%C3%A9quipe%201.csv").await;
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
        "same format as `ssh-keygen -l`"
    );
    assert_eq!(
        app.count("SELECT extract(epoch FROM updated_at)::bigint FROM import_settings")
            .await,
        edited,
        "pinning does not count as an edit of the settings"
    );
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(
        app.count("SELECT count(*) FROM import_state WHERE mtime IS NOT NULL AND size_bytes > 0")
            .await,
        1
    );

    // Same size, new modification time: read again, and unchanged according to its SHA-256.
    let minutes_ago = |minutes| (app.now() - TimeDelta::minutes(minutes)).into();
    server.set_modified("équipe 1.csv", minutes_ago(30));
    assert_eq!(app.import(account).await.status, "unchanged");
    let changed = contacts_csv(1..=3).replace("Name 3", "Nona 3");
    server.write("équipe 1.csv", changed);
    server.set_modified("équipe 1.csv", minutes_ago(15));
    assert_eq!(app.import(account).await.updated, Some(1));
}

#[tokio::test]
async fn path_is_tried_from_root_and_from_home_directory() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    let file = server.write("contacts.csv", contacts_csv(1..=2));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
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
    // An address without a scheme, with the port in its own setting.
    let new = NewSettings {
        username: Some(USER.to_owned()),
        sftp_port: Some(server.address.port()),
        password_sealed: Some(app.encrypt_secret(
            account,
            PASSWORD_COLUMN,
            PASSWORD,
            &format!("sftp://127.0.0.1:{}", server.address.port()),
        )),
        ..NewSettings::new(SourceKind::Sftp, "127.0.0.1/contacts.csv")
    };
    app.store.save_settings(account, &new).await.unwrap();
    assert_eq!(app.import(account).await.unchanged, Some(2));
    // `/root` exists but is not readable: the path is then tried relative to the home directory.
    std::fs::create_dir(server.home().join("root")).unwrap();
    server.write("root/contacts.csv", contacts_csv(1..=2));
    point_at(&app, account, &server, "root/contacts.csv").await;
    assert_eq!(app.import(account).await.unchanged, Some(2));
    point_at(&app, account, &server, "root/none.csv").await;
    app.assert_import_fails(account, "forbidden").await;
    // Symbolic link
    std::os::unix::fs::symlink(&file, server.home().join("link.csv")).unwrap();
    point_at(&app, account, &server, "link.csv").await;
    assert_eq!(app.import(account).await.unchanged, Some(2));
}

#[tokio::test]
async fn server_without_authentication_is_supported() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::NoPassword);
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    let run = app.import(account).await;
    assert_eq!(run.added, Some(3), "{:?}", run.failure_message);
}

async fn set_wrong_password(app: &TestApp, account: AccountId, server: &SshServer) {
    let (url, port) = (server.url("contacts.csv"), server.address.port());
    settings(app, account, &url, port, "wrong").await;
}

#[tokio::test]
async fn keyboard_interactive_is_used_without_password_auth() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::KeyboardInteractive);
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.added, Some(3));
    set_wrong_password(&app, account, &server).await;
    let before = server.connections();
    let run = app.assert_import_fails(account, "unauthorized").await;
    let message = run.failure_message.unwrap();
    assert!(
        message.contains("refused the user name or password (SSH: authentication failed)"),
        "{message}"
    );
    assert_eq!(
        (server.failed_logins(), server.connections() - before),
        (1, 1),
        "one attempt"
    );
}

#[tokio::test]
async fn wrong_password_is_tried_once() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    for (login, expected_text) in [
        (
            Login::Password,
            "refused the user name or password (SSH: authentication failed); enter them again",
        ),
        (
            Login::PasswordOnce,
            "closed the connection after receiving the user name",
        ),
    ] {
        let server = SshServer::start(login);
        server.write("contacts.csv", contacts_csv(1..=3));
        set_wrong_password(&app, account, &server).await;
        let run = app.assert_import_fails(account, "unauthorized").await;
        let message = run.failure_message.unwrap();
        assert!(message.contains(expected_text), "{message}");
        assert_eq!((server.failed_logins(), server.connections()), (1, 1));
    }

    let keys_only = SshServer::start(Login::PublicKey);
    point_at(&app, account, &keys_only, "contacts.csv").await;
    let run = app.assert_import_fails(account, "unauthorized").await;
    assert!(run.failure_message.unwrap().contains("publickey"));
    assert_eq!(keys_only.connections(), 1);
}

#[tokio::test]
async fn changed_host_key_gets_no_password_until_trusted() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.status, "succeeded");
    let old = server.fingerprint();
    server.new_host_key();
    let before = app.snapshot().await;
    let connections = server.connections();
    let run = app.import(account).await;
    assert_failed(&run, "host_key_changed");
    let message = run.failure_message.unwrap();
    assert!(
        message.contains(&old) && message.contains(&server.fingerprint()),
        "{message}"
    );
    assert_eq!(server.connections() - connections, 1, "not retried");
    assert_eq!(app.snapshot().await, before);
    assert_eq!(pinned(&app).await, Some(old), "the pinned key is unchanged");
    let key = OfferedHostKey {
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
async fn pinned_rsa_key_is_accepted_after_server_adds_better_keys() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.remove_host_key("ed25519");
    server.new_host_key_of("rsa");
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    assert_eq!(app.import(account).await.added, Some(3));
    let rsa = Some(server.fingerprint_of("rsa"));
    assert_eq!(pinned(&app).await, rsa);
    server.new_host_key_of("ecdsa");
    server.new_host_key();
    let connections = server.connections();
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(server.connections() - connections, 1);
    assert_eq!(pinned(&app).await, rsa);
    // Another key is not accepted when the pinned one is replaced or removed.
    server.new_host_key_of("rsa");
    assert_failed(&app.import(account).await, "host_key_changed");
    server.remove_host_key("rsa");
    assert_failed(&app.import(account).await, "host_key_changed");
    assert_eq!(pinned(&app).await, rsa);
}

#[tokio::test]
async fn host_key_set_in_sql_applies_to_the_configured_server() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
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
    assert_eq!(
        pin().await,
        "SHA256:other",
        "key type and server are cleared"
    );
    assert_ne!(
        app.text("SELECT updated_at::text FROM import_settings")
            .await,
        edited,
        "counts as an edit of the settings"
    );
    assert_failed(&app.import(account).await, "host_key_changed");
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
async fn missing_unreadable_or_non_file_path_has_failure_code() {
    let app = TestApp::start_with(Setup {
        max_bytes: 2 << 20,
        ..Setup::default()
    })
    .await;
    let server = SshServer::start(Login::Password);
    server.write("closed.csv", contacts_csv(1..=3));
    std::fs::set_permissions(
        server.home().join("closed.csv"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    std::fs::create_dir(server.home().join("folder.csv")).unwrap();
    server.write("large.csv", vec![b'x'; 3 << 20]);
    let account = app.account_with_contacts().await;
    for (link, to) in [
        ("dangling.csv", "missing.csv"),
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
        app.assert_import_fails(account, code).await;
        assert_eq!(server.connections() - before, 1, "{path}");
    }
}

#[tokio::test]
async fn recently_modified_file_is_not_imported() {
    let app = TestApp::start().await;
    let server = SshServer::start(Login::Password);
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    server.write("contacts.csv", contacts_csv(1..=3));
    // Relative to the manual clock of the test.
    let set_age_seconds = |seconds| {
        server.set_modified(
            "contacts.csv",
            (app.now() - TimeDelta::seconds(seconds)).into(),
        );
    };
    set_age_seconds(10);
    assert_eq!(app.import(account).await.status, "succeeded");
    // A file must be at least ten seconds old; this one is nine.
    set_age_seconds(9);
    let before = server.connections();
    app.assert_import_fails(account, "changed_while_reading")
        .await;
    assert_eq!(
        server.connections() - before,
        3,
        "retried like any transient failure"
    );
    // The server's clock is ahead: the file is read after it has not changed for ten seconds.
    server.write("contacts.csv", contacts_csv(1..=4));
    set_age_seconds(-3600);
    let (before, began) = (server.connections(), std::time::Instant::now());
    let run = app.import(account).await;
    assert_eq!(run.added, Some(1), "{:?}", run.failure_message);
    assert_eq!(server.connections() - before, 2);
    assert!(began.elapsed() >= Duration::from_secs(10));
    assert_eq!(app.import(account).await.status, "unchanged");
    assert_eq!(server.connections() - before, 3);
}

#[tokio::test]
async fn growing_file_with_future_timestamp_is_not_imported() {
    let app = TestApp::start().await;
    // Each connection appends to the file and sets its modification time one hour ahead.
    let grow =
        "echo >> contacts.csv; touch -d '+1 hour' contacts.csv; exec /usr/lib/openssh/sftp-server";
    let server = SshServer::start_with(Login::Password, &format!("/bin/sh -c \"{grow}\""));
    server.write("contacts.csv", contacts_csv(1..=3));
    let account = add_sftp_account(&app, &server, "contacts.csv").await;
    app.assert_import_fails(account, "changed_while_reading")
        .await;
    assert_eq!(server.connections(), 3);
}

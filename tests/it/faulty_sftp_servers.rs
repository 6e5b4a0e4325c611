//! Faulty SFTP servers: each fault has its own failure code, and nothing is imported.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::model::AccountId;

use crate::sftp::{pinned, point_at, settings};
use crate::support::sheet::contacts_csv;
use crate::support::ssh_server::{Login, PASSWORD, SshServer};
use crate::support::tcp_proxy::{AfterLimit, TcpProxy, fake_server};
use crate::support::{Setup, TestApp, assert_failed};

/// OpenSSH's SFTP server behind a shell that runs `then` after the first `after_bytes` bytes of output.
fn server_with_interruption(after_bytes: usize, then: &str) -> SshServer {
    let command = format!(
        "/usr/lib/openssh/sftp-server | {{ dd bs=1 count={after_bytes} 2>/dev/null; {then}; }}"
    );
    SshServer::start_with(Login::Password, &command)
}

#[tokio::test]
async fn file_changed_or_truncated_while_read_is_not_imported() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_millis(1500),
        ..Setup::default()
    })
    .await;
    let rows = contacts_csv(1..=20_000);
    let account = app.account_with_contacts().await;
    for (then, code) in [
        ("echo more >> contacts.csv; cat", "changed_while_reading"),
        ("mv other.csv contacts.csv; cat", ""),
        ("rm contacts.csv; cat", "not_found"),
        ("sleep 60", "timed_out"),
        ("true", "incomplete"),
    ] {
        let server = server_with_interruption(50_000, then);
        server.write("contacts.csv", &rows);
        server.write("other.csv", contacts_csv(1..=3));
        point_at(&app, account, &server, "contacts.csv").await;
        if then.starts_with("mv") {
            // The next attempt reads the replacement file completely.
            let run = app.import(account).await;
            assert_eq!((run.status.as_str(), run.row_count), ("succeeded", Some(3)));
            continue;
        }
        app.assert_import_fails(account, code).await;
        let attempts = if code == "not_found" { 2 } else { 3 };
        assert_eq!(server.connections(), attempts, "{then}");
    }
    // The kernel reports a size of 0 for files in `/proc`.
    let server = SshServer::start(Login::Password);
    point_at(&app, account, &server, "/proc/version").await;
    app.assert_import_fails(account, "incomplete").await;
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn file_with_too_large_stat_size_is_not_downloaded() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    let server = SshServer::start(Login::Password);
    let path = server.write("contacts.csv", contacts_csv(1..=3));
    // A sparse file of 1 TiB, which would take hours to send.
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(1 << 40).unwrap();
    server.set_modified("contacts.csv", (app.now() - TimeDelta::minutes(1)).into());
    point_at(&app, account, &server, "contacts.csv").await;
    app.assert_import_fails(account, "too_large").await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn port_without_ssh_or_answer_fails_within_timeout() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_millis(1500),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    let http_server = fake_server(|mut stream| {
        let mut request = [0; 64];
        // A web server waits for the client to send first.
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let endless = fake_server(|mut stream| {
        std::thread::spawn(move || {
            while stream
                .write_all(&[b'x'; 512])
                .and_then(|()| stream.write_all(b"\r\n"))
                .is_ok()
            {}
        });
    });
    // Sends two-byte lines without end.
    let flood = fake_server(|mut stream| {
        std::thread::spawn(move || while stream.write_all(&b"x\n".repeat(32 << 10)).is_ok() {});
    });
    let silent = fake_server(std::mem::forget);
    let closed = fake_server(drop);
    // Sends a banner and closes during key exchange.
    let closes_after_banner = fake_server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Pretender\r\n");
    });
    // FTP: the server greets and then waits for the client.
    let ftp_server = fake_server(|mut stream| {
        let _ = stream.write_all(b"220 ftp.example.org ready\r\n");
        std::mem::forget(stream);
    });
    let http_banner = fake_server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let rejects = fake_server(|mut stream| {
        let _ = stream.write_all(b"Exceeded MaxStartups\r\n");
    });
    let stalls_after_banner = fake_server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Pretender\r\n");
        std::mem::forget(stream);
    });
    for ((port, connections), code, attempts) in [
        (http_server, "protocol_error", 1),
        (endless, "timed_out", 3),
        (flood, "timed_out", 3),
        (silent, "timed_out", 3),
        (closed, "connect_failed", 3),
        (closes_after_banner, "connect_failed", 3),
        (stalls_after_banner, "timed_out", 3),
        (ftp_server, "protocol_error", 1),
        (http_banner, "protocol_error", 1),
        (rejects, "connect_failed", 3),
    ] {
        settings(
            &app,
            account,
            &format!("sftp://127.0.0.1:{port}/x.csv"),
            port,
            PASSWORD,
        )
        .await;
        app.assert_import_fails(account, code).await;
        assert_eq!(connections.load(Ordering::SeqCst), attempts, "{code}");
        assert_eq!(pinned(&app).await, None);
    }
}

#[tokio::test]
async fn lines_before_ssh_banner_are_skipped() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", contacts_csv(1..=3));
    let upstream = server.address;
    let (port, _) = fake_server(move |mut stream| {
        let _ = stream.write_all(b"Welcome to\r\nour file server.\r\n");
        let server = TcpStream::connect(upstream).unwrap();
        for (mut from, mut to) in [
            (stream.try_clone().unwrap(), server.try_clone().unwrap()),
            (server, stream),
        ] {
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                to.shutdown(Shutdown::Write)
            });
        }
    });
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    let url = format!("sftp://127.0.0.1:{port}/contacts.csv");
    settings(&app, account, &url, port, PASSWORD).await;
    let run = app.import(account).await;
    assert_eq!(run.row_count, Some(3), "{:?}", run.failure_message);
}

/// Removes the permissions from each `SSH_FXP_ATTRS` packet.
const WITHOUT_PERMISSIONS: &str = r#"
$| = 1;
while (read(STDIN, $length, 4) == 4) {
    read(STDIN, $packet, unpack("N", $length));
    if (ord($packet) == 105 && unpack("N", substr($packet, 5, 4)) & 4) {
        $flags = unpack("N", substr($packet, 5, 4));
        $before = ($flags & 1 ? 8 : 0) + ($flags & 2 ? 8 : 0);
        substr($packet, 9 + $before, 4) = "";
        substr($packet, 5, 4) = pack("N", $flags & ~4);
    }
    print pack("N", length $packet), $packet;
}
"#;

/// Adds one byte to the file size in each `SSH_FXP_ATTRS` packet.
const SIZE_PLUS_ONE: &str = r#"
$| = 1;
while (read(STDIN, $length, 4) == 4) {
    read(STDIN, $packet, unpack("N", $length));
    if (ord($packet) == 105 && unpack("N", substr($packet, 5, 4)) & 1) {
        substr($packet, 9, 8) = pack("Q>", unpack("Q>", substr($packet, 9, 8)) + 1);
    }
    print pack("N", length $packet), $packet;
}
"#;

/// Limits each `SSH_FXP_READ` request to 10,000 bytes.
const SHORT_READS: &str = r#"
$| = 1;
while (read(STDIN, $length, 4) == 4) {
    read(STDIN, $packet, unpack("N", $length));
    if (ord($packet) == 5 && unpack("N", substr($packet, -4)) > 10000) {
        substr($packet, -4) = pack("N", 10000);
    }
    print pack("N", length $packet), $packet;
}
"#;

/// OpenSSH's SFTP server with a Perl script as filter. `pipe` is the shell pipeline of `SERVER` and `SCRIPT`.
fn server_with_filter(script: &str, pipe: &str) -> (SshServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let file = folder.path().join("script.pl");
    std::fs::write(&file, script).unwrap();
    let command = pipe
        .replace("SERVER", "/usr/lib/openssh/sftp-server")
        .replace("SCRIPT", &format!("perl {}", file.display()));
    (SshServer::start_with(Login::Password, &command), folder)
}

#[tokio::test]
async fn stat_without_permissions_accepts_only_a_file() {
    let (server, _script) = server_with_filter(WITHOUT_PERMISSIONS, "SERVER | SCRIPT");
    server.write("contacts.csv", contacts_csv(1..=3));
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    point_at(&app, account, &server, "contacts.csv").await;
    let run = app.import(account).await;
    assert_eq!(run.row_count, Some(3), "{:?}", run.failure_message);
    std::fs::create_dir(server.home().join("folder.csv")).unwrap();
    point_at(&app, account, &server, "folder.csv").await;
    app.assert_import_fails(account, "not_a_file").await;
}

#[tokio::test]
async fn stat_size_larger_than_file_is_incomplete() {
    let (server, _script) = server_with_filter(SIZE_PLUS_ONE, "SERVER | SCRIPT");
    server.write("contacts.csv", contacts_csv(1..=3));
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    point_at(&app, account, &server, "contacts.csv").await;
    app.assert_import_fails(account, "incomplete").await;
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn short_sftp_reads_are_completed() {
    let (server, _script) = server_with_filter(SHORT_READS, "SCRIPT | SERVER");
    let rows = contacts_csv(1..=5_000);
    assert!(rows.len() > 100_000);
    server.write("contacts.csv", &rows);
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    point_at(&app, account, &server, "contacts.csv").await;
    let run = app.import(account).await;
    assert_eq!(run.row_count, Some(5_000), "{:?}", run.failure_message);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn broken_sftp_subsystem_after_login_fails_import() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_millis(1500),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    for (subsystem, code, attempts) in [
        ("sleep 60", "timed_out", 3),
        ("true", "connect_failed", 3),
        ("echo Welcome to our file server; cat", "protocol_error", 1),
    ] {
        let server = SshServer::start_with(Login::Password, subsystem);
        point_at(&app, account, &server, "contacts.csv").await;
        app.assert_import_fails(account, code).await;
        assert_eq!(server.connections(), attempts, "{subsystem}");
    }
}

#[tokio::test]
async fn connection_fault_at_any_offset_is_retried_safely() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_secs(1),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Offsets from key exchange through login and file open into the content. The library reports every error during
    // keyboard-interactive login alike, so that phase gets closer offsets.
    let transfer_offsets: Vec<usize> = (1..8).map(|offset| 4_500 * offset / 7).collect();
    let login_offsets: Vec<usize> = (20..36).map(|offset| 100 * offset).collect();
    let all_faults = [
        AfterLimit::Disconnect,
        AfterLimit::Stall,
        AfterLimit::Trickle,
    ];
    for (login, offsets, faults) in [
        (Login::Password, transfer_offsets, &all_faults[..]),
        (Login::KeyboardInteractive, login_offsets, &all_faults[..1]),
    ] {
        let after_password =
            count_faults_after_password(&app, account, login, &offsets, faults).await;
        let total = offsets.len() * faults.len();
        assert!(
            after_password < total / 3,
            "{after_password} of {total} faults after the password was sent"
        );
    }
}

#[tokio::test]
async fn password_without_answer_is_sent_only_once() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_secs(20),
        total_timeout: Duration::from_secs(2),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Offsets between key exchange and file open.
    let mut offset = 1_400;
    while count_faults_after_password(
        &app,
        account,
        Login::Password,
        &[offset],
        &[AfterLimit::Stall],
    )
    .await
        == 0
    {
        offset += 100;
        assert!(offset < 2_300, "no offset is just after the password");
    }
}

/// Interrupts the connection at each offset; returns how often this was just after the password was sent.
async fn count_faults_after_password(
    app: &TestApp,
    account: AccountId,
    login: Login,
    offsets: &[usize],
    faults: &[AfterLimit],
) -> usize {
    let server = SshServer::start(login);
    server.write("contacts.csv", contacts_csv(1..=400));
    let connect_through = async |port: u16| {
        let url = format!("sftp://127.0.0.1:{port}/contacts.csv");
        settings(app, account, &url, port, PASSWORD).await;
    };
    let proxy = TcpProxy::start(server.address, usize::MAX, AfterLimit::Stall);
    connect_through(proxy.port).await;
    assert_eq!(app.import(account).await.row_count, Some(400));
    let all = proxy.bytes.load(Ordering::SeqCst);
    assert!(all > 10_000, "expected more than 10,000 bytes, got {all}");
    let mut after_password = 0;
    for &bytes in offsets {
        for &fault in faults {
            let proxy = TcpProxy::start(server.address, bytes, fault);
            connect_through(proxy.port).await;
            let before = app.snapshot().await;
            let run = app.import(account).await;
            let code = run.failure_code.as_deref().unwrap_or_default();
            let message = run.failure_message.as_deref().unwrap_or_default();
            // After the password was sent, the server may have counted it as a failed login.
            let password_sent = message.contains("once only");
            let expected: &[&str] = match fault {
                AfterLimit::Disconnect if password_sent => &["unauthorized"],
                AfterLimit::Disconnect => &["connect_failed", "incomplete"],
                _ => &["timed_out"],
            };
            assert!(
                expected.contains(&code),
                "{fault:?} after {bytes} of {all} bytes: {:?}",
                run.failure_message
            );
            if password_sent && code == "timed_out" {
                assert_eq!(run.status, "failed");
                assert!(
                    message.contains("did not respond to the user name and password in time"),
                    "{message}"
                );
            } else {
                assert_failed(&run, code);
            }
            assert_eq!(app.snapshot().await, before);
            let attempts = proxy.connections.load(Ordering::SeqCst);
            let expected_attempts = if password_sent { 1 } else { 3 };
            assert_eq!(attempts, expected_attempts, "{fault:?} after {bytes} bytes");
            after_password += usize::from(password_sent);
        }
    }
    after_password
}

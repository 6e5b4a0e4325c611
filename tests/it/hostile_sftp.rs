//! SFTP servers that meddle, stall, break off or only pretend to be one: each has a name, and nothing of it is imported.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::model::AccountId;

use crate::sftp::{pinned, point_at, settings};
use crate::support::sheet::people;
use crate::support::ssh_server::{Login, PASSWORD, SshServer};
use crate::support::way::{Then, Way, pretender};
use crate::support::{Setup, TestApp, failed};

/// OpenSSH's own SFTP server behind a shell that meddles with what it sends.
fn meddler(after_bytes: usize, then: &str) -> SshServer {
    let command = format!(
        "/usr/lib/openssh/sftp-server | {{ dd bs=1 count={after_bytes} 2>/dev/null; {then}; }}"
    );
    SshServer::start_with(Login::Password, &command)
}

#[tokio::test]
async fn a_file_that_changes_stalls_or_ends_while_it_is_read_is_not_imported() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_millis(1500),
        ..Setup::default()
    })
    .await;
    let rows = people(1..=20_000);
    let account = app.account_with_contacts().await;
    for (then, code) in [
        ("echo more >> contacts.csv; cat", "changed_while_reading"),
        ("mv other.csv contacts.csv; cat", ""),
        ("rm contacts.csv; cat", "not_found"),
        ("sleep 60", "timed_out"),
        ("true", "incomplete"),
    ] {
        let server = meddler(50_000, then);
        server.write("contacts.csv", &rows);
        server.write("other.csv", people(1..=3));
        point_at(&app, account, &server, "contacts.csv").await;
        if then.starts_with("mv") {
            // The next attempt finds what stands there now, whole.
            let run = app.import(account).await;
            assert_eq!((run.status.as_str(), run.row_count), ("succeeded", Some(3)));
            continue;
        }
        app.import_fails(account, code).await;
        let attempts = if code == "not_found" { 2 } else { 3 };
        assert_eq!(server.connections(), attempts, "{then}");
    }
    // A size of 0 is what the kernel says of its own files.
    let server = SshServer::start(Login::Password);
    point_at(&app, account, &server, "/proc/version").await;
    app.import_fails(account, "incomplete").await;
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_file_that_says_that_it_is_too_large_is_not_begun() {
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    let server = SshServer::start(Login::Password);
    let path = server.write("contacts.csv", people(1..=3));
    // With a hole of a terabyte, which takes hours to send.
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(1 << 40).unwrap();
    server.date("contacts.csv", (app.now() - TimeDelta::minutes(1)).into());
    point_at(&app, account, &server, "contacts.csv").await;
    app.import_fails(account, "too_large").await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn ports_that_speak_no_ssh_or_never_end_have_names_and_end_in_time() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_millis(1500),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    let http = pretender(|mut stream| {
        let mut asked = [0; 64];
        // Waits to be spoken to, as web servers do.
        let _ = stream.read(&mut asked);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let endless = pretender(|mut stream| {
        std::thread::spawn(move || {
            while stream
                .write_all(&[b'x'; 512])
                .and_then(|()| stream.write_all(b"\r\n"))
                .is_ok()
            {}
        });
    });
    // Always has something more to say, a line in two bytes.
    let flood = pretender(|mut stream| {
        std::thread::spawn(move || while stream.write_all(&b"x\n".repeat(32 << 10)).is_ok() {});
    });
    let silent = pretender(std::mem::forget);
    let closed = pretender(drop);
    // Speaks, and hangs up while keys are exchanged; or says nothing more.
    let hangs_up = pretender(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Pretender\r\n");
    });
    // Another protocol, in which it is ours to speak now.
    let ftp = pretender(|mut stream| {
        let _ = stream.write_all(b"220 ftp.example.org ready\r\n");
        std::mem::forget(stream);
    });
    let web_first = pretender(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let turns_away = pretender(|mut stream| {
        let _ = stream.write_all(b"Exceeded MaxStartups\r\n");
    });
    let falls_silent = pretender(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-Pretender\r\n");
        std::mem::forget(stream);
    });
    for ((port, connections), code, attempts) in [
        (http, "protocol_error", 1),
        (endless, "timed_out", 3),
        (flood, "timed_out", 3),
        (silent, "timed_out", 3),
        (closed, "connect_failed", 3),
        (hangs_up, "connect_failed", 3),
        (falls_silent, "timed_out", 3),
        (ftp, "protocol_error", 1),
        (web_first, "protocol_error", 1),
        (turns_away, "connect_failed", 3),
    ] {
        settings(
            &app,
            account,
            &format!("sftp://127.0.0.1:{port}/x.csv"),
            port,
            PASSWORD,
        )
        .await;
        app.import_fails(account, code).await;
        assert_eq!(connections.load(Ordering::SeqCst), attempts, "{code}");
        assert_eq!(pinned(&app).await, None);
    }
}

#[tokio::test]
async fn lines_before_the_greeting_are_passed_over() {
    let server = SshServer::start(Login::Password);
    server.write("contacts.csv", people(1..=3));
    let behind = server.address;
    let (port, _) = pretender(move |mut stream| {
        let _ = stream.write_all(b"Welcome to\r\nour file server.\r\n");
        let server = TcpStream::connect(behind).unwrap();
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

/// Takes the permissions out of each `SSH_FXP_ATTRS` that passes.
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

/// Says in its answers of type `SSH_FXP_ATTRS` that a file is a byte longer than it is.
const LONGER: &str = r#"
$| = 1;
while (read(STDIN, $length, 4) == 4) {
    read(STDIN, $packet, unpack("N", $length));
    if (ord($packet) == 105 && unpack("N", substr($packet, 5, 4)) & 1) {
        substr($packet, 9, 8) = pack("Q>", unpack("Q>", substr($packet, 9, 8)) + 1);
    }
    print pack("N", length $packet), $packet;
}
"#;

/// Asks for 10,000 bytes where `SSH_FXP_READ` asks for more.
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

/// OpenSSH's own SFTP server with a script before or behind it; `SERVER` and `SCRIPT` stand for them.
fn scripted(script: &str, pipe: &str) -> (SshServer, tempfile::TempDir) {
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
async fn a_server_need_not_say_that_a_file_is_one() {
    let (server, _script) = scripted(WITHOUT_PERMISSIONS, "SERVER | SCRIPT");
    server.write("contacts.csv", people(1..=3));
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    point_at(&app, account, &server, "contacts.csv").await;
    let run = app.import(account).await;
    assert_eq!(run.row_count, Some(3), "{:?}", run.failure_message);
    std::fs::create_dir(server.home().join("folder.csv")).unwrap();
    point_at(&app, account, &server, "folder.csv").await;
    app.import_fails(account, "not_a_file").await;
}

#[tokio::test]
async fn a_size_that_lies_is_not_believed_against_the_file() {
    let (server, _script) = scripted(LONGER, "SERVER | SCRIPT");
    server.write("contacts.csv", people(1..=3));
    let app = TestApp::start().await;
    let account = app.account_with_contacts().await;
    point_at(&app, account, &server, "contacts.csv").await;
    app.import_fails(account, "incomplete").await;
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_server_may_send_less_than_it_is_asked_for() {
    let (server, _script) = scripted(SHORT_READS, "SCRIPT | SERVER");
    let rows = people(1..=5_000);
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
async fn servers_that_let_us_in_and_then_serve_no_file_have_names() {
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
        app.import_fails(account, code).await;
        assert_eq!(server.connections(), attempts, "{subsystem}");
    }
}

#[tokio::test]
async fn a_way_that_stalls_breaks_or_drips_anywhere_imports_nothing_and_is_tried_again() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_secs(1),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Through the exchange of keys, the log in and the opening of the file into its content; and, where the library has one
    // word for all that goes wrong, more closely through the log in.
    let everywhere: Vec<usize> = (1..8).map(|place| 4_500 * place / 7).collect();
    let logging_in: Vec<usize> = (20..36).map(|place| 100 * place).collect();
    let every_way = [Then::Break, Then::Silence, Then::Drip];
    for (login, places, ways) in [
        (Login::Password, everywhere, &every_way[..]),
        (Login::KeyboardInteractive, logging_in, &every_way[..1]),
    ] {
        let given = breaks(&app, account, login, &places, ways).await;
        let tried = places.len() * ways.len();
        assert!(given < tried / 3, "{given} of {tried} while logging in");
    }
}

#[tokio::test]
async fn a_password_without_an_answer_is_given_once_also_where_the_whole_transfer_takes_too_long() {
    let app = TestApp::start_with(Setup {
        idle_timeout: Duration::from_secs(20),
        total_timeout: Duration::from_secs(2),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Between the exchange of keys and the opening of the file.
    let mut place = 1_400;
    while breaks(&app, account, Login::Password, &[place], &[Then::Silence]).await == 0 {
        place += 100;
        assert!(place < 2_300, "given nowhere");
    }
}

/// Breaks the way to a server at these places, and counts where that was just after the password was given.
async fn breaks(
    app: &TestApp,
    account: AccountId,
    login: Login,
    places: &[usize],
    ways: &[Then],
) -> usize {
    let server = SshServer::start(login);
    server.write("contacts.csv", people(1..=400));
    let over = async |port: u16| {
        let url = format!("sftp://127.0.0.1:{port}/contacts.csv");
        settings(app, account, &url, port, PASSWORD).await;
    };
    let way = Way::to(server.address, usize::MAX, Then::Silence);
    over(way.port).await;
    assert_eq!(app.import(account).await.row_count, Some(400));
    let all = way.bytes.load(Ordering::SeqCst);
    assert!(all > 10_000, "the file is the smaller part of it: {all}");
    let mut given = 0;
    for &bytes in places {
        for &then in ways {
            let way = Way::to(server.address, bytes, then);
            over(way.port).await;
            let before = app.fingerprint().await;
            let run = app.import(account).await;
            let code = run.failure_code.as_deref().unwrap_or_default();
            let message = run.failure_message.as_deref().unwrap_or_default();
            // Once the password was given, nobody knows whether it counts as a wrong one.
            let is_given = message.contains("once only");
            let expected: &[&str] = match then {
                Then::Break if is_given => &["unauthorized"],
                Then::Break => &["connect_failed", "incomplete"],
                _ => &["timed_out"],
            };
            assert!(
                expected.contains(&code),
                "{then:?} after {bytes} of {all} bytes: {:?}",
                run.failure_message
            );
            if is_given && code == "timed_out" {
                assert_eq!(run.status, "failed");
                assert!(message.contains("took too long to answer"), "{message}");
            } else {
                failed(&run, code);
            }
            assert_eq!(app.fingerprint().await, before);
            let attempts = way.connections.load(Ordering::SeqCst);
            let wanted = if is_given { 1 } else { 3 };
            assert_eq!(attempts, wanted, "{then:?} after {bytes} bytes");
            given += usize::from(is_given);
        }
    }
    given
}

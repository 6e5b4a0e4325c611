//! Web servers that never end, end too soon, or are not what they say: each has a name, and nothing of it is imported.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rosterd::clock::SystemClock;
use rosterd::fetch::{Fetcher, Limits, NetworkPolicy, Place, Request};
use rosterd::model::AccountId;
use rosterd::model::source::{S3_SECRET_FIELD, S3Address, SourceKind};
use rosterd::store::NewSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::sftp;
use crate::support::https_server::Identity;
use crate::support::sheet::people;
use crate::support::typing::{command, type_in, write};
use crate::support::{Setup, TestApp};

/// What a server does with a request that it has heard.
#[derive(Debug, Clone)]
enum Manner {
    /// Says this, and closes.
    Say(Vec<u8>),
    /// Says the first once and the second again and again, with such a pause before each.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Says this, and nothing more.
    Stall(Vec<u8>),
    /// Says this, and is gone without taking leave.
    Vanish(Vec<u8>),
}

struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

async fn serve(acceptor: TlsAcceptor, manner: Manner) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        port: listener.local_addr().unwrap().port(),
        connections: Arc::default(),
    };
    let connections = Arc::clone(&server.connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (acceptor, manner) = (acceptor.clone(), manner.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // The client goes away when it has had enough.
                    let _ = behave(stream, manner).await;
                }
            });
        }
    });
    server
}

async fn behave(mut stream: TlsStream<TcpStream>, manner: Manner) -> std::io::Result<()> {
    let mut asked = [0; 4096];
    let _ = stream.read(&mut asked).await?;
    match manner {
        Manner::Say(bytes) => stream.write_all(&bytes).await?,
        Manner::Drip(first, again, pause) => {
            stream.write_all(&first).await?;
            loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&again).await?;
                stream.flush().await?;
            }
        }
        Manner::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Manner::Vanish(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            drop(stream.into_inner());
            return Ok(());
        }
    }
    stream.shutdown().await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn with_head(head: &str, body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(),
        body,
    ]
    .concat()
}

#[tokio::test]
async fn servers_that_never_end_or_end_too_soon_have_names_and_import_nothing() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_with(Setup {
        extra_ca: Some(identity.ca_pem.clone()),
        connect_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(500),
        total_timeout: Duration::from_secs(10),
        max_bytes: 1 << 20,
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    let file = people(1..=3);
    let length = file.len();
    let packed = gzip(file.as_bytes());
    let packed_head = format!("Content-Encoding: gzip\r\nContent-Length: {}", packed.len());
    let short = Duration::from_millis(1);
    let ok = b"HTTP/1.1 200 OK\r\n".to_vec();
    let mut headers_only = 0;
    for (what, manner, code, attempts) in [
        ("says nothing", Manner::Stall(Vec::new()), "timed_out", 3),
        (
            "stalls in its head",
            Manner::Stall(ok.clone()),
            "timed_out",
            3,
        ),
        (
            "drips its head",
            Manner::Drip(ok.clone(), b"X".to_vec(), Duration::from_millis(100)),
            "timed_out",
            3,
        ),
        (
            "ends in its head",
            Manner::Say(ok.clone()),
            "connect_failed",
            3,
        ),
        (
            "has headers without end",
            Manner::Drip(
                ok,
                b"X: 0123456789abcdef0123456789abcdef\r\n".repeat(100),
                short,
            ),
            "protocol_error",
            1,
        ),
        (
            "stalls in its body",
            Manner::Stall(with_head("Content-Length: 1000", b"ID,Name")),
            "timed_out",
            3,
        ),
        (
            "drips its body",
            Manner::Drip(
                with_head("Content-Length: 100000", b"ID,Name"),
                b"x".to_vec(),
                Duration::from_millis(100),
            ),
            "timed_out",
            3,
        ),
        (
            "has a body without end",
            Manner::Drip(with_head("X: y", b""), vec![b'x'; 64 << 10], short),
            "too_large",
            1,
        ),
        (
            "ends before its length",
            Manner::Say(with_head("Content-Length: 100000", file.as_bytes())),
            "incomplete",
            3,
        ),
        (
            "ends within a chunk",
            Manner::Say(with_head("Transfer-Encoding: chunked", b"1000\r\nID,Name")),
            "incomplete",
            3,
        ),
        (
            "ends after a chunk",
            Manner::Say(with_head(
                "Transfer-Encoding: chunked",
                format!("{length:x}\r\n{file}\r\n").as_bytes(),
            )),
            "incomplete",
            3,
        ),
        (
            "sends a gzip bomb",
            Manner::Say(with_head(
                "Content-Encoding: gzip",
                &gzip(&vec![b'x'; 200 << 20]),
            )),
            "too_large",
            1,
        ),
        (
            "cuts its gzip",
            Manner::Say(with_head(
                "Content-Encoding: gzip",
                &packed[..packed.len() - 9],
            )),
            "incomplete",
            3,
        ),
        (
            "vanishes in a body of which nobody has said how long it is",
            Manner::Vanish(with_head("X: y", file.as_bytes())),
            "incomplete",
            3,
        ),
        (
            "speaks no HTTP",
            Manner::Say(b"220 ftp.example.org ready\r\n".to_vec()),
            "protocol_error",
            1,
        ),
    ] {
        headers_only += usize::from(attempts == 1);
        let server = serve(identity.acceptor(&["http/1.1"]), manner).await;
        app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        app.import_fails(account, code).await;
        assert_eq!(
            server.connections.load(Ordering::SeqCst),
            attempts,
            "a server that {what}"
        );
    }
    assert_eq!(
        headers_only, 4,
        "final are those that say the same each time"
    );
    // What is compressed and whole is read.
    let server = serve(
        identity.acceptor(&[]),
        Manner::Say(with_head(&packed_head, &packed)),
    )
    .await;
    app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    assert_eq!(app.import(account).await.unchanged, Some(3));
}

#[tokio::test]
async fn a_transfer_that_goes_on_for_too_long_is_ended() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_with(Setup {
        extra_ca: Some(identity.ca_pem.clone()),
        total_timeout: Duration::from_millis(500),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Fast enough, and never silent.
    let manner = Manner::Drip(
        with_head("Content-Length: 60000000", b"ID,Name"),
        vec![b'x'; 2048],
        Duration::from_millis(10),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), manner).await;
    app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    let run = app.import_fails(account, "timed_out").await;
    let said = run.failure_message.unwrap();
    assert!(said.contains("the whole transfer took too long"), "{said}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_given_up() {
    let app = TestApp::start_with(Setup {
        connect_timeout: Duration::from_millis(300),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Its queue is full, so that the next to knock hear nothing at all.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut guests = Vec::new();
    while let Ok(Ok(guest)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        guests.push(guest);
    }
    for over_ssh in [false, true] {
        if over_ssh {
            let url = format!("sftp://{address}/x.csv");
            sftp::settings(&app, account, &url, address.port(), "secret").await;
        } else {
            let url = format!("https://{address}/x.csv");
            app.settings(account, &url).await;
        }
        let began = Instant::now();
        let run = app.import_fails(account, "timed_out").await;
        let said = run.failure_message.unwrap();
        assert!(said.contains("connecting took too long"), "{said}");
        assert!(
            began.elapsed() >= Duration::from_millis(3 * 300),
            "tried three times"
        );
    }
}

#[tokio::test]
async fn an_s3_endpoint_that_sends_too_slowly_is_given_up() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let manner = Manner::Drip(
        with_head("Content-Length: 100000\r\nETag: \"x\"", b"ID,Name"),
        b"x".to_vec(),
        Duration::from_millis(100),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), manner).await;
    s3_settings(&app, account, server.port).await;
    let run = app.import_fails(account, "timed_out").await;
    let said = run.failure_message.unwrap();
    assert!(said.contains("it sends too slowly"), "{said}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

async fn s3_settings(app: &TestApp, account: AccountId, port: u16) {
    let url = format!("https://localhost:{port}/sar/contacts.csv");
    let origin = S3Address::parse(&url).unwrap().origin();
    let new = NewSettings {
        s3_access_key_id: Some("id".to_owned()),
        s3_secret_sealed: Some(app.seal(account, S3_SECRET_FIELD, "secret", &origin)),
        ..NewSettings::new(SourceKind::S3, &url)
    };
    app.store.save_settings(account, &new).await.unwrap();
}

#[tokio::test]
async fn streams_that_are_reset_in_http_2_are_tried_again() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
    };
    let settings = frame(4, 0, 0, &[]);
    // Status 200, as HPACK's table has it; then a piece of the file.
    let body = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, b"ID,Name")].concat();
    // With an error of the server's own.
    let reset = frame(3, 0, 1, &[0, 0, 0, 2]);
    // Without one, after what could be a whole file.
    let file = people(1..=2);
    let cut = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, file.as_bytes())].concat();
    let done = frame(3, 0, 1, &[0; 4]);
    let goodbye = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
    for (what, frames, code) in [
        (
            "before the head",
            [&settings[..], &reset].concat(),
            "connect_failed",
        ),
        (
            "in the body",
            [&settings[..], &body, &reset].concat(),
            "incomplete",
        ),
        (
            "in the body without an error",
            [&settings[..], &cut, &done].concat(),
            "incomplete",
        ),
        (
            "with a goodbye",
            [&settings[..], &goodbye].concat(),
            "connect_failed",
        ),
    ] {
        let server = serve(identity.acceptor(&["h2"]), Manner::Stall(frames)).await;
        app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        app.import_fails(account, code).await;
        assert_eq!(server.connections.load(Ordering::SeqCst), 3, "{what}");
    }
    let object = Manner::Stall([&settings[..], &cut, &done].concat());
    let server = serve(identity.acceptor(&["h2"]), object).await;
    s3_settings(&app, account, server.port).await;
    app.import_fails(account, "incomplete").await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
    // The same bytes with an end are a file.
    let whole = [frame(1, 4, 1, &[0x88]), frame(0, 1, 1, file.as_bytes())].concat();
    let server = serve(
        identity.acceptor(&["h2"]),
        Manner::Stall([&settings[..], &whole].concat()),
    )
    .await;
    app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    assert_eq!(app.import(account).await.row_count, Some(2));
}

#[tokio::test]
async fn an_answer_of_an_s3_endpoint_that_makes_no_sense_is_named() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let sheet = people(1..=4);
    let head = format!(
        "Content-Length: {}\r\nLast-Modified: yesterday",
        sheet.len()
    );
    let manner = Manner::Say(with_head(&head, sheet.as_bytes()));
    let server = serve(identity.acceptor(&["http/1.1"]), manner).await;
    s3_settings(&app, account, server.port).await;
    let run = app.import_fails(account, "protocol_error").await;
    let said = run.failure_message.unwrap();
    assert!(said.contains("headers that can't be read"), "{said}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refusal_without_end_from_an_s3_endpoint_is_a_refusal() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let denied = b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n<Error><Code>AccessDenied</Code>";
    let manner = Manner::Drip(
        denied.to_vec(),
        vec![b' '; 64 << 10],
        Duration::from_millis(1),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), manner).await;
    s3_settings(&app, account, server.port).await;
    app.import_fails(account, "forbidden").await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn certificates_that_are_over_self_signed_or_vouched_for_by_strangers_are_refused() {
    let over = Identity::with("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let stranger = Identity::of("other.example.org");
    let trusted = format!("{}{}", over.ca_pem, stranger.ca_pem);
    let app = TestApp::start_trusting(&trusted).await;
    let account = app.account_with_contacts().await;
    let file = Manner::Say(with_head("X: y", people(1..=3).as_bytes()));
    for (identity, said) in [
        (over, "it expired on 1 January 2021"),
        (stranger, "it is made out to other.example.org"),
        (Identity::of("localhost"), "its signature is false"),
        (
            Identity::self_signed("localhost"),
            "no authority that this machine trusts",
        ),
    ] {
        let server = serve(identity.acceptor(&[]), file.clone()).await;
        app.settings(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        let run = app.import_fails(account, "tls_invalid").await;
        let message = run.failure_message.unwrap();
        assert!(message.contains(said), "{message}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn settings_test_ends_where_a_server_stopped() {
    let identity = Identity::of("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account("").await;
    write(app.folder.path(), "password", "secret");
    assert_eq!(type_in(&app, &["key", "generate"]).await.code, 0);
    let say = |text: &str| Manner::Say(text.as_bytes().to_vec());
    for (manner, step) in [
        (Manner::Stall(Vec::new()), "tls timed_out"),
        (Manner::Say(Vec::new()), "authenticate connect_failed"),
        (
            say("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate server_error",
        ),
        (
            say("HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate rate_limited",
        ),
        (
            say("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate unauthorized",
        ),
        (
            say("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
            "file not_found",
        ),
        (
            Manner::Stall(with_head("Content-Length: 1000", b"ID,Name")),
            "file timed_out",
        ),
    ] {
        let server = serve(identity.acceptor(&[]), manner.clone()).await;
        let line = format!(
            "settings set 1 --source https_basic --url https://localhost:{}/x.csv --username jane --password-file password",
            server.port
        );
        let set = type_in(&app, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(set.code, 0, "{}", set.err);
        let mut test = command(&app);
        test.args(["settings", "test", "1"])
            .env("ROSTERD_FETCH__IDLE_TIMEOUT", "1s");
        let shown = String::from_utf8(test.output().await.unwrap().stdout).unwrap();
        let last = shown.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split_whitespace().take(3).collect();
        assert_eq!(words.join(" "), format!("✗ {step}:"), "{manner:?}: {shown}");
        let name = step.split(' ').next().unwrap();
        assert!(!shown.contains(&format!("✓ {name}")), "{shown}");
        assert_eq!(shown.contains("✓ tls"), name != "tls", "{shown}");
        assert_eq!(shown.contains("✓ authenticate"), name == "file", "{shown}");
    }
    // An S3 endpoint that answers with no file.
    let server = serve(identity.acceptor(&[]), say("HTTP/1.1 204 No\r\n\r\n")).await;
    s3_settings(&app, account, server.port).await;
    let shown = type_in(&app, &["settings", "test", "1"]).await.out;
    assert!(shown.contains("✗ authenticate   http_status"), "{shown}");
}

/// Answers so many web requests at once, and counts how many there were at most.
async fn serve_pairs(at_once: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (guests, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (together, seen) = (Arc::new(Barrier::new(at_once)), Arc::clone(&most));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (guests, seen) = (Arc::clone(&guests), Arc::clone(&seen));
            let together = Arc::clone(&together);
            tokio::spawn(async move {
                seen.fetch_max(guests.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                together.wait().await;
                guests.fetch_sub(1, Ordering::SeqCst);
                let _ = stream
                    .write_all(&with_head("Content-Length: 2", b"ID"))
                    .await;
            });
        }
    });
    (port, most)
}

#[tokio::test]
async fn one_host_is_asked_for_so_many_files_at_once_and_another_does_not_wait_for_it() {
    let limits = Limits {
        max_bytes: 1 << 20,
        connect_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(20),
        total_timeout: Duration::from_secs(20),
        min_rate: 1,
        per_host: 2,
    };
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let policy = NetworkPolicy::new(&["127.0.0.0/8".parse().unwrap()]);
    let fetcher = Fetcher::new(policy, limits, true, None, Arc::new(SystemClock)).unwrap();
    let fetcher = Arc::new(fetcher);
    // Neither of the two gets an answer before two of each have come.
    let (busy, most) = serve_pairs(2).await;
    let (other, most_of_other) = serve_pairs(2).await;
    let mut all = JoinSet::new();
    for port in [[busy; 12].as_slice(), &[other; 2]].concat() {
        let fetcher = Arc::clone(&fetcher);
        let url = format!("http://127.0.0.1:{port}/x.csv").parse().unwrap();
        all.spawn(async move {
            let place = Place::Web {
                url,
                credentials: None,
            };
            let nobody = Arc::new(|_| {}) as _;
            let request = Request::new(place);
            fetcher.fetch(&request, &nobody).await.map(drop)
        });
    }
    for fetched in all.join_all().await {
        fetched.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    assert_eq!(most_of_other.load(Ordering::SeqCst), 2);
}

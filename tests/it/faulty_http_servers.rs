//! Faulty HTTPS and S3 servers: each fault has its own failure code, and nothing is imported.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rosterd::address::S3Address;
use rosterd::clock::SystemClock;
use rosterd::fetch::{FetchTarget, Fetcher, Limits, NetworkPolicy, Request};
use rosterd::model::AccountId;
use rosterd::model::settings::{S3_SECRET_COLUMN, SourceKind};
use rosterd::store::NewSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::sftp;
use crate::support::cli::{command, run_cli, write};
use crate::support::https_server::Identity;
use crate::support::sheet::contacts_csv;
use crate::support::{Setup, TestApp};

/// How a server reacts to a request.
#[derive(Debug, Clone)]
enum Behavior {
    /// Sends these bytes and closes the connection.
    Send(Vec<u8>),
    /// Sends the first bytes once, then the second bytes repeatedly, with this delay before each.
    Repeat(Vec<u8>, Vec<u8>, Duration),
    /// Sends these bytes and keeps the connection open.
    Stall(Vec<u8>),
    /// Sends these bytes and drops the connection without a TLS close.
    Drop(Vec<u8>),
}

struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

async fn serve(acceptor: TlsAcceptor, behavior: Behavior) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        port: listener.local_addr().unwrap().port(),
        connections: Arc::default(),
    };
    let connections = Arc::clone(&server.connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::SeqCst);
            let (acceptor, behavior) = (acceptor.clone(), behavior.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    // Fails when the client closes the connection.
                    let _ = respond(stream, behavior).await;
                }
            });
        }
    });
    server
}

async fn respond(mut stream: TlsStream<TcpStream>, behavior: Behavior) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    match behavior {
        Behavior::Send(bytes) => stream.write_all(&bytes).await?,
        Behavior::Repeat(first, again, pause) => {
            stream.write_all(&first).await?;
            loop {
                tokio::time::sleep(pause).await;
                stream.write_all(&again).await?;
                stream.flush().await?;
            }
        }
        Behavior::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Behavior::Drop(bytes) => {
            stream.write_all(&bytes).await?;
            stream.flush().await?;
            drop(stream.into_inner());
            return Ok(());
        }
    }
    stream.shutdown().await
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn ok_response(head: &str, body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes(),
        body,
    ]
    .concat()
}

#[tokio::test]
async fn endless_or_truncated_response_imports_nothing() {
    let identity = Identity::for_host("localhost");
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
    let file = contacts_csv(1..=3);
    let length = file.len();
    let compressed = gzip(file.as_bytes());
    let gzip_headers = format!(
        "Content-Encoding: gzip\r\nContent-Length: {}",
        compressed.len()
    );
    let short_delay = Duration::from_millis(1);
    let ok = b"HTTP/1.1 200 OK\r\n".to_vec();
    let mut permanent_failures = 0;
    for (case, behavior, code, attempts) in [
        ("sends nothing", Behavior::Stall(Vec::new()), "timed_out", 3),
        (
            "stalls in the response headers",
            Behavior::Stall(ok.clone()),
            "timed_out",
            3,
        ),
        (
            "sends its headers too slowly",
            Behavior::Repeat(ok.clone(), b"X".to_vec(), Duration::from_millis(100)),
            "timed_out",
            3,
        ),
        (
            "closes within the response headers",
            Behavior::Send(ok.clone()),
            "connect_failed",
            3,
        ),
        (
            "sends endless headers",
            Behavior::Repeat(
                ok,
                b"X: 0123456789abcdef0123456789abcdef\r\n".repeat(100),
                short_delay,
            ),
            "protocol_error",
            1,
        ),
        (
            "stalls in the body",
            Behavior::Stall(ok_response("Content-Length: 1000", b"ID,Name")),
            "timed_out",
            3,
        ),
        (
            "sends its body too slowly",
            Behavior::Repeat(
                ok_response("Content-Length: 100000", b"ID,Name"),
                b"x".to_vec(),
                Duration::from_millis(100),
            ),
            "timed_out",
            3,
        ),
        (
            "sends an endless body",
            Behavior::Repeat(ok_response("X: y", b""), vec![b'x'; 64 << 10], short_delay),
            "too_large",
            1,
        ),
        (
            "closes before its Content-Length",
            Behavior::Send(ok_response("Content-Length: 100000", file.as_bytes())),
            "incomplete",
            3,
        ),
        (
            "closes within a chunk",
            Behavior::Send(ok_response(
                "Transfer-Encoding: chunked",
                b"1000\r\nID,Name",
            )),
            "incomplete",
            3,
        ),
        (
            "closes before the last chunk",
            Behavior::Send(ok_response(
                "Transfer-Encoding: chunked",
                format!("{length:x}\r\n{file}\r\n").as_bytes(),
            )),
            "incomplete",
            3,
        ),
        (
            "sends a gzip bomb",
            Behavior::Send(ok_response(
                "Content-Encoding: gzip",
                &gzip(&vec![b'x'; 200 << 20]),
            )),
            "too_large",
            1,
        ),
        (
            "sends truncated gzip",
            Behavior::Send(ok_response(
                "Content-Encoding: gzip",
                &compressed[..compressed.len() - 9],
            )),
            "incomplete",
            3,
        ),
        (
            "drops a body of unknown length",
            Behavior::Drop(ok_response("X: y", file.as_bytes())),
            "incomplete",
            3,
        ),
        (
            "does not speak HTTP",
            Behavior::Send(b"220 ftp.example.org ready\r\n".to_vec()),
            "protocol_error",
            1,
        ),
    ] {
        permanent_failures += usize::from(attempts == 1);
        let server = serve(identity.acceptor(&["http/1.1"]), behavior).await;
        app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        app.assert_import_fails(account, code).await;
        assert_eq!(
            server.connections.load(Ordering::SeqCst),
            attempts,
            "a server that {case}"
        );
    }
    assert_eq!(
        permanent_failures, 4,
        "faults that repeat on every attempt are not retried"
    );
    // A complete compressed response is imported.
    let server = serve(
        identity.acceptor(&[]),
        Behavior::Send(ok_response(&gzip_headers, &compressed)),
    )
    .await;
    app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    assert_eq!(app.import(account).await.unchanged, Some(3));
}

#[tokio::test]
async fn transfer_over_total_timeout_is_aborted() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_with(Setup {
        extra_ca: Some(identity.ca_pem.clone()),
        total_timeout: Duration::from_millis(500),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // Above the minimum rate, and without idle time.
    let behavior = Behavior::Repeat(
        ok_response("Content-Length: 60000000", b"ID,Name"),
        vec![b'x'; 2048],
        Duration::from_millis(10),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), behavior).await;
    app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    let run = app.assert_import_fails(account, "timed_out").await;
    let message = run.failure_message.unwrap();
    assert!(
        message.contains("not finished after 500ms, `fetch.total_timeout`"),
        "{message}"
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn server_not_accepting_connections_times_out() {
    let app = TestApp::start_with(Setup {
        connect_timeout: Duration::from_millis(300),
        ..Setup::default()
    })
    .await;
    let account = app.account_with_contacts().await;
    // With a full accept queue, further connection attempts get no answer.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut pending = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        pending.push(stream);
    }
    for over_ssh in [false, true] {
        if over_ssh {
            let url = format!("sftp://{address}/x.csv");
            sftp::settings(&app, account, &url, address.port(), "secret").await;
        } else {
            let url = format!("https://{address}/x.csv");
            app.set_https_source(account, &url).await;
        }
        let began = Instant::now();
        let run = app.assert_import_fails(account, "timed_out").await;
        let message = run.failure_message.unwrap();
        assert!(
            message.contains("no connection within 300ms, `fetch.connect_timeout`"),
            "{message}"
        );
        assert!(
            began.elapsed() >= Duration::from_millis(3 * 300),
            "makes three attempts"
        );
    }
}

#[tokio::test]
async fn slow_s3_endpoint_times_out() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let behavior = Behavior::Repeat(
        ok_response("Content-Length: 100000\r\nETag: \"x\"", b"ID,Name"),
        b"x".to_vec(),
        Duration::from_millis(100),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), behavior).await;
    s3_settings(&app, account, server.port).await;
    let run = app.assert_import_fails(account, "timed_out").await;
    let message = run.failure_message.unwrap();
    assert!(
        message.contains("less than ") && message.contains("`fetch.min_rate`"),
        "{message}"
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

async fn s3_settings(app: &TestApp, account: AccountId, port: u16) {
    let url = format!("https://localhost:{port}/sar/contacts.csv");
    let origin = S3Address::parse(&url).unwrap().origin();
    let new = NewSettings {
        s3_access_key_id: Some("id".to_owned()),
        s3_secret_sealed: Some(app.encrypt_secret(account, S3_SECRET_COLUMN, "secret", &origin)),
        ..NewSettings::new(SourceKind::S3, &url)
    };
    app.store.save_settings(account, &new).await.unwrap();
}

#[tokio::test]
async fn http2_stream_reset_is_retried() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let frame = |kind: u8, flags: u8, stream: u8, content: &[u8]| {
        let length = u8::try_from(content.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], content].concat()
    };
    let settings = frame(4, 0, 0, &[]);
    // Status 200 (entry 8 of HPACK's static table), then a part of the file.
    let body = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, b"ID,Name")].concat();
    // RST_STREAM with INTERNAL_ERROR.
    let reset = frame(3, 0, 1, &[0, 0, 0, 2]);
    // RST_STREAM without an error, after bytes that could be a complete file.
    let file = contacts_csv(1..=2);
    let unfinished = [frame(1, 4, 1, &[0x88]), frame(0, 0, 1, file.as_bytes())].concat();
    let reset_without_error = frame(3, 0, 1, &[0; 4]);
    let go_away = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
    for (case, frames, code) in [
        (
            "before the headers",
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
            [&settings[..], &unfinished, &reset_without_error].concat(),
            "incomplete",
        ),
        (
            "with GOAWAY",
            [&settings[..], &go_away].concat(),
            "connect_failed",
        ),
    ] {
        let server = serve(identity.acceptor(&["h2"]), Behavior::Stall(frames)).await;
        app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        app.assert_import_fails(account, code).await;
        assert_eq!(server.connections.load(Ordering::SeqCst), 3, "{case}");
    }
    let object = Behavior::Stall([&settings[..], &unfinished, &reset_without_error].concat());
    let server = serve(identity.acceptor(&["h2"]), object).await;
    s3_settings(&app, account, server.port).await;
    app.assert_import_fails(account, "incomplete").await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
    // The same bytes with END_STREAM are a complete file.
    let complete = [frame(1, 4, 1, &[0x88]), frame(0, 1, 1, file.as_bytes())].concat();
    let server = serve(
        identity.acceptor(&["h2"]),
        Behavior::Stall([&settings[..], &complete].concat()),
    )
    .await;
    app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
        .await;
    assert_eq!(app.import(account).await.row_count, Some(2));
}

#[tokio::test]
async fn s3_response_with_invalid_header_is_protocol_error() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let sheet = contacts_csv(1..=4);
    let head = format!(
        "Content-Length: {}\r\nLast-Modified: yesterday",
        sheet.len()
    );
    let behavior = Behavior::Send(ok_response(&head, sheet.as_bytes()));
    let server = serve(identity.acceptor(&["http/1.1"]), behavior).await;
    s3_settings(&app, account, server.port).await;
    let run = app.assert_import_fails(account, "protocol_error").await;
    let message = run.failure_message.unwrap();
    assert!(
        message.contains("the response has invalid headers"),
        "{message}"
    );
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn endless_s3_error_body_is_reported_as_forbidden() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account_with_contacts().await;
    let access_denied = b"HTTP/1.1 403 Forbidden\r\nX: y\r\n\r\n<Error><Code>AccessDenied</Code>";
    let behavior = Behavior::Repeat(
        access_denied.to_vec(),
        vec![b' '; 64 << 10],
        Duration::from_millis(1),
    );
    let server = serve(identity.acceptor(&["http/1.1"]), behavior).await;
    s3_settings(&app, account, server.port).await;
    app.assert_import_fails(account, "forbidden").await;
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn untrusted_certificate_is_refused_with_reason() {
    let expired = Identity::with_params("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let other_host = Identity::for_host("other.example.org");
    let trusted = format!("{}{}", expired.ca_pem, other_host.ca_pem);
    let app = TestApp::start_trusting(&trusted).await;
    let account = app.account_with_contacts().await;
    let file = Behavior::Send(ok_response("X: y", contacts_csv(1..=3).as_bytes()));
    for (identity, expected) in [
        (expired, "it expired on 1 January 2021"),
        (other_host, "it was issued for other.example.org"),
        (Identity::for_host("localhost"), "its signature is invalid"),
        (
            Identity::self_signed("localhost"),
            "it was not issued by an authority that this machine trusts",
        ),
    ] {
        let server = serve(identity.acceptor(&[]), file.clone()).await;
        app.set_https_source(account, &format!("https://localhost:{}/x.csv", server.port))
            .await;
        let run = app.assert_import_fails(account, "tls_invalid").await;
        let message = run.failure_message.unwrap();
        assert!(message.contains(expected), "{message}");
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn settings_test_stops_at_the_failing_step() {
    let identity = Identity::for_host("localhost");
    let app = TestApp::start_trusting(&identity.ca_pem).await;
    let account = app.account("").await;
    write(app.folder.path(), "password", "secret");
    assert_eq!(run_cli(&app, &["key", "generate"]).await.code, 0);
    let respond_with = |text: &str| Behavior::Send(text.as_bytes().to_vec());
    for (behavior, step) in [
        (Behavior::Stall(Vec::new()), "tls timed_out"),
        (Behavior::Send(Vec::new()), "authenticate connect_failed"),
        (
            respond_with("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate server_error",
        ),
        (
            respond_with("HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate rate_limited",
        ),
        (
            respond_with("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"),
            "authenticate unauthorized",
        ),
        (
            respond_with("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
            "file not_found",
        ),
        (
            Behavior::Stall(ok_response("Content-Length: 1000", b"ID,Name")),
            "file timed_out",
        ),
    ] {
        let server = serve(identity.acceptor(&[]), behavior.clone()).await;
        let line = format!(
            "settings set 1 --source https_basic --url https://localhost:{}/x.csv --username jane --password-file password",
            server.port
        );
        let set = run_cli(&app, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(set.code, 0, "{}", set.stderr);
        let mut test = command(&app);
        test.args(["settings", "test", "1"])
            .env("ROSTERD_FETCH__IDLE_TIMEOUT", "1s");
        let shown = String::from_utf8(test.output().await.unwrap().stdout).unwrap();
        let last = shown.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split_whitespace().take(3).collect();
        assert_eq!(
            words.join(" "),
            format!("✗ {step}:"),
            "{behavior:?}: {shown}"
        );
        let name = step.split(' ').next().unwrap();
        assert!(!shown.contains(&format!("✓ {name}")), "{shown}");
        assert_eq!(shown.contains("✓ tls"), name != "tls", "{shown}");
        assert_eq!(shown.contains("✓ authenticate"), name == "file", "{shown}");
    }
    // An S3 endpoint that responds without a file.
    let server = serve(
        identity.acceptor(&[]),
        respond_with("HTTP/1.1 204 No\r\n\r\n"),
    )
    .await;
    s3_settings(&app, account, server.port).await;
    let shown = run_cli(&app, &["settings", "test", "1"]).await.stdout;
    assert!(shown.contains("✗ authenticate   http_status"), "{shown}");
}

/// Answers requests in batches of `batch_size`. Returns the port and the highest number of concurrent requests.
async fn serve_in_batches(batch_size: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (active, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (batch_full, seen) = (Arc::new(Barrier::new(batch_size)), Arc::clone(&peak));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (active, seen) = (Arc::clone(&active), Arc::clone(&seen));
            let batch_full = Arc::clone(&batch_full);
            tokio::spawn(async move {
                seen.fetch_max(active.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                batch_full.wait().await;
                active.fetch_sub(1, Ordering::SeqCst);
                let _ = stream
                    .write_all(&ok_response("Content-Length: 2", b"ID"))
                    .await;
            });
        }
    });
    (port, peak)
}

#[tokio::test]
async fn per_host_limit_does_not_delay_other_hosts() {
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
    // Each host answers only once it has two concurrent requests.
    let (busy_port, peak) = serve_in_batches(2).await;
    let (other, peak_of_other) = serve_in_batches(2).await;
    let mut all = JoinSet::new();
    for port in [[busy_port; 12].as_slice(), &[other; 2]].concat() {
        let fetcher = Arc::clone(&fetcher);
        let url = format!("http://127.0.0.1:{port}/x.csv").parse().unwrap();
        all.spawn(async move {
            let location = FetchTarget::Http {
                url,
                credentials: None,
            };
            let ignore_progress = Arc::new(|_| {}) as _;
            let request = Request::new(location);
            fetcher.fetch(&request, &ignore_progress).await.map(drop)
        });
    }
    for fetched in all.join_all().await {
        fetched.unwrap();
    }
    assert_eq!(peak.load(Ordering::SeqCst), 2);
    assert_eq!(peak_of_other.load(Ordering::SeqCst), 2);
}

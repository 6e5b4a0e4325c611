//! No connection is opened to a forbidden address, whatever its spelling. The tests run in a network namespace that routes
//! every address to a local listener, which records the destination.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rosterd::address::Address;
use rosterd::clock::SystemClock;
use rosterd::fetch::{
    Credentials, FetchError, FetchTarget, Fetcher, HostKeyVerifier, Limits, NetworkPolicy, Outcome,
    Request,
};
use rosterd::model::failure::FailureCode;
use rosterd::model::settings::SourceKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::s3_server::{KEY_ID, S3Server, SECRET};
use crate::support::ssh_server::as_root;

/// A public address that nothing else in the namespace uses.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Hosts that are, resolve to, or are disguised as forbidden addresses.
const FORBIDDEN: &[&str] = &[
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0x7F000001",
    "0177.0.0.1",
    "017700000001",
    "2130706433",
    "127.0.0.0x1",
    "1２7.0.0.1",
    "①②⑦.0.0.1",
    "127。0。0。1",
    "localhost",
    "LOCALHOST.",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "[fe80::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "168.63.129.16",
    "100.100.100.200",
    "10.0.0.1",
    "012.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "198.18.0.1",
    "192.0.0.170",
    "224.0.0.1",
    "255.255.255.255",
    "[ff02::1]",
    "[fc00::1]",
    "[fec0::1]",
    "inside.test",
    "two-faced.test",
    "mapped.test",
    "8.8.8.8@127.0.0.1",
    "8.8.8.8\\@127.0.0.1",
    "127.0.0.1#@8.8.8.8",
    "127.0.0.1?@8.8.8.8",
    "8.8.8.8%2f@127.0.0.1",
    "127.0.0.1%00.example.org",
    "127.0.0.1\t",
    "%31%32%37.0.0.1",
];

/// The failure code for a host in [`FORBIDDEN`].
fn failure_code(kind: SourceKind, host: &str) -> FailureCode {
    let is_web = kind == SourceKind::HttpsBasic;
    match host {
        // With the trailing dot, neither the name server nor the hosts file has this name.
        "LOCALHOST." => FailureCode::NameNotFound,
        // URL parsing follows browsers: the path begins at the backslash.
        "8.8.8.8\\@127.0.0.1" if is_web => FailureCode::NotFound,
        "127.0.0.1#@8.8.8.8" | "127.0.0.1?@8.8.8.8" if is_web => FailureCode::AddressRefused,
        "127.0.0.1%00.example.org" => FailureCode::SettingsIncomplete,
        with_user if with_user.contains('@') => FailureCode::SettingsIncomplete,
        _ => FailureCode::AddressRefused,
    }
}

/// The failure code for a redirect to a host in [`FORBIDDEN`].
fn redirect_failure_code(host: &str, to: &str) -> FailureCode {
    match failure_code(SourceKind::HttpsBasic, host) {
        // A redirect to another scheme is refused before the host is looked at.
        _ if to.starts_with("ftp:") || to.starts_with("https:") => FailureCode::RedirectRefused,
        FailureCode::SettingsIncomplete => FailureCode::RedirectRefused,
        other => other,
    }
}

#[test]
fn forbidden_address_in_any_spelling_is_never_connected_to() {
    run_in_namespace("check_forbidden_addresses_in_namespace");
}

#[test]
fn request_to_aws_bucket_host_name_has_valid_signature() {
    run_in_namespace("check_aws_host_names_in_namespace");
}

/// Runs one of the ignored tests below in its own network namespace, without access to the real network.
fn run_in_namespace(test: &str) {
    // The test harness names tests without the crate.
    let (_, module) = module_path!().split_once("::").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("resolv.conf"),
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("hosts"),
        "127.0.0.1 localhost\n::1 localhost\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("nsswitch.conf"), "hosts: files dns\n").unwrap();
    let inside = "set -e; ip link set lo up; ip route add local 0.0.0.0/0 dev lo; ip -6 route add local ::/0 dev lo
        for file in resolv.conf hosts nsswitch.conf; do mount --bind $0/$file /etc/$file; done
        exec \"$1\" --exact \"$2\" --ignored --nocapture";
    let done = as_root("unshare")
        .args(["--net", "--mount", "sh", "-c", inside])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(format!("{module}::{test}"))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && output.contains("1 passed"),
        "{output}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Destinations of the connections that were opened.
#[derive(Clone, Default)]
struct Destinations(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Destinations {
    fn take(&self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Destinations other than the public address.
    fn take_non_public(&self) -> BTreeSet<SocketAddr> {
        let mut destinations = self.take();
        destinations.retain(|to| to.ip() != IpAddr::V4(PUBLIC));
        destinations
    }
}

/// Listens on a port of every address. HTTP requests for `/to/<URL>` are redirected to that URL.
async fn listen(port: u16, destinations: Destinations) {
    let listener = TcpListener::bind(("::", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let wanted = stream.local_addr().unwrap();
            destinations
                .0
                .lock()
                .unwrap()
                .insert(SocketAddr::new(wanted.ip().to_canonical(), port));
            tokio::spawn(async move {
                let mut request_bytes = vec![0; 4096];
                let length = stream.read(&mut request_bytes).await.unwrap_or_default();
                let request_bytes = String::from_utf8_lossy(&request_bytes[..length]).into_owned();
                let path = request_bytes.split(' ').nth(1).unwrap_or_default();
                let answer = match path.strip_prefix("/to/") {
                    Some(to) => format!(
                        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    ),
                    None => {
                        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                            .to_owned()
                    }
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
}

/// A name server with a name for a private address, one with a public and a private address, and names that change (DNS
/// rebinding).
async fn start_name_server() {
    let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    tokio::spawn(async move {
        let mut query_counts = HashMap::new();
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let answer = dns_answer(&query[..length], &mut query_counts);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
}

fn dns_answer(query: &[u8], query_counts: &mut HashMap<String, u32>) -> Vec<u8> {
    let mut name = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let length = usize::from(query[at]);
        name.push_str(&String::from_utf8_lossy(&query[at + 1..=at + length]));
        name.push('.');
        at += length + 1;
    }
    let question = &query[12..at + 5];
    let is_a = query[at + 1..at + 3] == [0, 1];
    let mapped = "::ffff:127.0.0.1".parse::<IpAddr>().unwrap();
    let answers: Vec<IpAddr> = match name.as_str() {
        "outside.test." | "sar.s3.us-west-2.amazonaws.com." if is_a => vec![PUBLIC.into()],
        "inside.test." if is_a => vec![METADATA.into()],
        "two-faced.test." if is_a => vec![PUBLIC.into(), METADATA.into()],
        "mapped.test." if !is_a => vec![mapped],
        // DNS rebinding: the second answer differs from the first.
        rebinding if is_a && rebinding.ends_with(".rebinding.test.") => {
            let count = query_counts.entry(name.clone()).or_default();
            *count += 1;
            vec![if *count == 1 { PUBLIC } else { METADATA }.into()]
        }
        _ => Vec::new(),
    };
    let mut answer = query[..2].to_vec();
    // SERVFAIL
    let code = if name == "lame.test." { 2 } else { 0 };
    answer.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        u8::try_from(answers.len()).unwrap(),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    for address in answers {
        let (kind, bytes) = match address {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        answer.extend([
            0xc0,
            12,
            0,
            kind,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            u8::try_from(bytes.len()).unwrap(),
        ]);
        answer.extend(bytes);
    }
    answer
}

fn fetcher(extra_ca: Option<&str>) -> Fetcher {
    let limits = Limits {
        max_bytes: 1 << 20,
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(2),
        total_timeout: Duration::from_secs(5),
        min_rate: 1,
        per_host: 1,
    };
    Fetcher::new(
        NetworkPolicy::default(),
        limits,
        true,
        extra_ca.map(str::as_bytes),
        Arc::new(SystemClock),
    )
    .unwrap()
}

/// The result for an address as an admin may enter it, for both a connection test and an import.
async fn fetch(with: &Fetcher, kind: SourceKind, url: &str) -> Result<(), FailureCode> {
    let source = source(kind, url)?;
    let reached = with.check_reachability(&source).await;
    let answered = reached.and_then(|reached| reached.peer.map(drop));
    let file = fetch_only(with, source).await;
    file.and(answered.map_err(|error| code(&error)))
}

/// Fetches as an import does, without a connection test.
async fn fetch_only(with: &Fetcher, source: FetchTarget) -> Result<(), FailureCode> {
    let request = Request::new(source);
    let ignore_progress = Arc::new(|_| {}) as _;
    let file = with.fetch(&request, &ignore_progress).await.map(drop);
    file.map_err(|error| code(&error))
}

/// The failure code. Checks that a refused address is not retried and that its message suggests a fix.
fn code(error: &FetchError) -> FailureCode {
    if error.code() == FailureCode::AddressRefused {
        let message = error.to_string();
        assert!(message.contains("; use a public address, or"), "{message}");
        assert!(!error.is_transient(), "{message}");
    }
    error.code()
}

fn source(kind: SourceKind, url: &str) -> Result<FetchTarget, FailureCode> {
    let address = Address::parse(kind, url, None).map_err(|_| FailureCode::SettingsIncomplete)?;
    let credentials = Credentials {
        username: "jane".to_owned(),
        password: "hunter2".into(),
    };
    Ok(match address {
        Address::Http(url) => FetchTarget::Http {
            url,
            credentials: Some(credentials),
        },
        Address::Sftp(address) => FetchTarget::Sftp {
            address,
            credentials,
            host_key: HostKeyVerifier::default(),
        },
        Address::S3(address) => FetchTarget::S3 {
            address,
            region: "us-east-1".to_owned(),
            credentials,
        },
    })
}

fn url(kind: SourceKind, host: &str) -> String {
    match kind {
        SourceKind::Sftp => format!("sftp://{host}/x.csv"),
        SourceKind::S3 => format!("http://{host}/bucket/x.csv"),
        _ => format!("http://{host}/x.csv"),
    }
}

/// Requests AWS host names from a server that verifies the signature, which covers host name and object key.
#[tokio::test]
#[ignore = "needs a network namespace; started by a test above"]
async fn check_aws_host_names_in_namespace() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    start_name_server().await;
    let listener = TcpListener::bind((PUBLIC, 443)).await.unwrap();
    let domain = "s3.us-west-2.amazonaws.com";
    let name = format!("sar.{domain}");
    let server = S3Server::start_as("sar", listener, &name, Some(domain));
    let fetcher = fetcher(Some(&server.ca_pem));
    let mut size = 0;
    for (key, urls) in [
        (
            "a b.csv",
            &[
                "s3://sar/a b.csv",
                "https://sar.s3.us-west-2.amazonaws.com/a%20b.csv",
                "https://sar.s3.us-west-2.amazonaws.com/a+b.csv",
                "https://s3.us-west-2.amazonaws.com/sar/a%20b.csv",
            ][..],
        ),
        (
            "lists/ä+100%.csv",
            &[
                "s3://sar/lists/ä+100%.csv",
                "https://sar.s3.us-west-2.amazonaws.com/lists/%C3%A4%2B100%25.csv",
                "https://s3.us-west-2.amazonaws.com/sar/lists/ä+100%25.csv",
            ],
        ),
    ] {
        // Each object has a different size, which identifies it.
        size += 10;
        server.put("sar", key, vec![b'x'; size]);
        for url in urls {
            let with = |secret: &str| {
                let Address::S3(address) = Address::parse(SourceKind::S3, url, None).unwrap()
                else {
                    panic!("not an S3 address: {url}");
                };
                Request::new(FetchTarget::S3 {
                    address,
                    region: "us-west-2".to_owned(),
                    credentials: Credentials {
                        username: KEY_ID.to_owned(),
                        password: secret.into(),
                    },
                })
            };
            let ignore_progress = Arc::new(|_| {}) as _;
            let answer = fetcher.fetch(&with(SECRET), &ignore_progress).await;
            let Outcome::File(file) = answer.unwrap_or_else(|error| panic!("{url}: {error}"))
            else {
                panic!("no file was returned: {url}");
            };
            assert_eq!(file.content.size(), size as u64, "{url}");
            let refused = fetcher
                .fetch(&with("wrong"), &ignore_progress)
                .await
                .unwrap_err();
            assert_eq!(refused.code(), FailureCode::S3WrongSecret, "{url}");
        }
    }
}

#[tokio::test]
#[ignore = "needs a network namespace; started by a test above"]
async fn check_forbidden_addresses_in_namespace() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let destinations = Destinations::default();
    for port in [80, 443, 22, 21] {
        listen(port, destinations.clone()).await;
    }
    start_name_server().await;
    let fetcher = fetcher(None);
    let kinds = [SourceKind::HttpsBasic, SourceKind::Sftp, SourceKind::S3];

    // Positive control: connections to a public address are recorded.
    for kind in kinds {
        for host in ["8.8.8.8", "outside.test"] {
            fetch(&fetcher, kind, &url(kind, host)).await.unwrap_err();
            let port = if kind == SourceKind::Sftp { 22 } else { 80 };
            assert_eq!(
                destinations.take(),
                BTreeSet::from([SocketAddr::new(PUBLIC.into(), port)]),
                "{kind} {host}"
            );
        }
    }
    for kind in kinds {
        for host in FORBIDDEN {
            let code = fetch(&fetcher, kind, &url(kind, host)).await.unwrap_err();
            assert_eq!(
                (destinations.take_non_public(), code),
                (BTreeSet::new(), failure_code(kind, host)),
                "{kind} {host}"
            );
            let https_url = url(kind, host).replace("http://", "https://");
            let _ = fetch(&fetcher, kind, &https_url).await.unwrap_err();
            assert_eq!(
                destinations.take_non_public(),
                BTreeSet::new(),
                "{https_url}"
            );
        }
    }
    // DNS rebinding: the connection goes to the address that was checked. The next lookup gives a refused address.
    for kind in kinds {
        let port = if kind == SourceKind::Sftp { 22 } else { 80 };
        let host = format!("{}.rebinding.test", kind.as_str().replace('_', "-"));
        let source = || source(kind, &url(kind, &host)).unwrap();
        fetch_only(&fetcher, source()).await.unwrap_err();
        let once = BTreeSet::from([SocketAddr::new(PUBLIC.into(), port)]);
        assert_eq!(destinations.take(), once, "{kind}");
        let code = fetch_only(&fetcher, source()).await.unwrap_err();
        assert_eq!(
            (code, destinations.take()),
            (FailureCode::AddressRefused, BTreeSet::new()),
            "{kind}"
        );
    }
    // A failed lookup (SERVFAIL) is transient, a name that does not exist is not.
    for kind in kinds {
        for (host, is_transient) in [("lame.test", true), ("absent.test", false)] {
            let source = source(kind, &url(kind, host)).unwrap();
            let request = Request::new(source);
            let ignore_progress = Arc::new(|_| {}) as _;
            let error = fetcher.fetch(&request, &ignore_progress).await.unwrap_err();
            assert_eq!(
                (error.code(), error.is_transient()),
                (FailureCode::NameNotFound, is_transient),
                "{kind} {host}: {error}"
            );
        }
    }
    for host in FORBIDDEN {
        for to in [
            format!("http://{host}/x.csv"),
            format!("//{host}/x.csv"),
            format!("https://{host}/x.csv"),
            format!("ftp://{host}/x.csv"),
        ] {
            let code = fetch(
                &fetcher,
                SourceKind::HttpsBasic,
                &format!("http://8.8.8.8/to/{to}"),
            )
            .await
            .unwrap_err();
            assert_eq!(
                (destinations.take_non_public(), code),
                (BTreeSet::new(), redirect_failure_code(host, &to)),
                "redirect to {to}"
            );
        }
    }
}

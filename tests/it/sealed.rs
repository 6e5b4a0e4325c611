//! No socket is opened to a forbidden address, however it is spelled: tried in a network namespace in which every address
//! there is leads to a listener of ours, which notes where people wanted to go.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rosterd::clock::SystemClock;
use rosterd::fetch::{
    Credentials, FetchError, Fetcher, HostKey, Limits, NetworkPolicy, Outcome, Place, Request,
};
use rosterd::model::failure::FailureCode;
use rosterd::model::source::{Address, SourceKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::s3_server::{KEY_ID, S3Server, SECRET};
use crate::support::ssh_server::as_root;

/// A public address, that of nobody within the namespace.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Hosts that lead, or pretend to lead, to where files are not fetched from.
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

/// Why nothing is fetched from a host of [`FORBIDDEN`].
fn refusal(kind: SourceKind, host: &str) -> FailureCode {
    let is_web = kind == SourceKind::HttpsBasic;
    match host {
        // No name server tells of it, and the hosts file doesn't spell it so.
        "LOCALHOST." => FailureCode::NameNotFound,
        // For a web browser all from the backslash on is the path.
        "8.8.8.8\\@127.0.0.1" if is_web => FailureCode::NotFound,
        "127.0.0.1#@8.8.8.8" | "127.0.0.1?@8.8.8.8" if is_web => FailureCode::AddressRefused,
        "127.0.0.1%00.example.org" => FailureCode::SettingsIncomplete,
        with_user if with_user.contains('@') => FailureCode::SettingsIncomplete,
        _ => FailureCode::AddressRefused,
    }
}

/// Why a redirect to a host of [`FORBIDDEN`] is not followed.
fn redirect_refusal(host: &str, to: &str) -> FailureCode {
    match refusal(SourceKind::HttpsBasic, host) {
        // Never to another scheme.
        _ if to.starts_with("ftp:") || to.starts_with("https:") => FailureCode::RedirectRefused,
        FailureCode::SettingsIncomplete => FailureCode::RedirectRefused,
        other => other,
    }
}

#[test]
fn no_forbidden_address_is_ever_connected_to() {
    seal("within_the_namespace");
}

#[test]
fn amazons_names_of_buckets_are_asked_with_signatures_that_hold() {
    seal("amazon_within_the_namespace");
}

/// Runs one of the tests below in a namespace of its own, where nothing can get out.
fn seal(test: &str) {
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
        exec \"$1\" --exact \"sealed::$2\" --ignored --nocapture";
    let done = as_root("unshare")
        .args(["--net", "--mount", "sh", "-c", inside])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// Where connections wanted to go.
#[derive(Clone, Default)]
struct Visited(Arc<Mutex<BTreeSet<SocketAddr>>>);

impl Visited {
    fn take(&self) -> BTreeSet<SocketAddr> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// All but the public address.
    fn elsewhere(&self) -> BTreeSet<SocketAddr> {
        let mut visited = self.take();
        visited.retain(|to| to.ip() != IpAddr::V4(PUBLIC));
        visited
    }
}

/// Answers on a port of every address; web requests are redirected to what stands after `/to/`.
async fn listen(port: u16, visited: Visited) {
    let listener = TcpListener::bind(("::", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let wanted = stream.local_addr().unwrap();
            visited
                .0
                .lock()
                .unwrap()
                .insert(SocketAddr::new(wanted.ip().to_canonical(), port));
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let length = stream.read(&mut asked).await.unwrap_or_default();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                let path = asked.split(' ').nth(1).unwrap_or_default();
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

/// A name server: one name that leads inside, one with two faces, one that changes its mind.
async fn answer_names() {
    let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    tokio::spawn(async move {
        let mut asked_before = HashMap::new();
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let answer = dns_answer(&query[..length], &mut asked_before);
            socket.send_to(&answer, from).await.unwrap();
        }
    });
}

fn dns_answer(query: &[u8], asked_before: &mut HashMap<String, u32>) -> Vec<u8> {
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
        // Each of these names has another answer the second time.
        rebinding if is_a && rebinding.ends_with(".rebinding.test.") => {
            let asked = asked_before.entry(name.clone()).or_default();
            *asked += 1;
            vec![if *asked == 1 { PUBLIC } else { METADATA }.into()]
        }
        _ => Vec::new(),
    };
    let mut answer = query[..2].to_vec();
    // SERVFAIL: the name server itself could not find out.
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

/// What comes of an address as an admin may enter it, on both ways that lead there.
async fn fetch(with: &Fetcher, kind: SourceKind, url: &str) -> Result<(), FailureCode> {
    let place = place(kind, url)?;
    // The way that `settings test` goes, too.
    let reached = with.reach(&place).await;
    let answered = reached.and_then(|reached| reached.answered.map(drop));
    let file = fetch_only(with, place).await;
    file.and(answered.map_err(|error| code(&error)))
}

/// On the way of an import alone.
async fn fetch_only(with: &Fetcher, place: Place) -> Result<(), FailureCode> {
    let request = Request::new(place);
    let nobody = Arc::new(|_| {}) as _;
    let file = with.fetch(&request, &nobody).await.map(drop);
    file.map_err(|error| code(&error))
}

/// The code; a refused address is not tried again, and says what to do.
fn code(error: &FetchError) -> FailureCode {
    if error.code() == FailureCode::AddressRefused {
        let said = error.to_string();
        assert!(said.contains("; use a public address, or"), "{said}");
        assert!(!error.is_transient(), "{said}");
    }
    error.code()
}

fn place(kind: SourceKind, url: &str) -> Result<Place, FailureCode> {
    let address = Address::parse(kind, url, None).map_err(|_| FailureCode::SettingsIncomplete)?;
    let credentials = Credentials {
        username: "jane".to_owned(),
        password: "hunter2".into(),
    };
    Ok(match address {
        Address::Web(url) => Place::Web {
            url,
            credentials: Some(credentials),
        },
        Address::Sftp(address) => Place::Sftp {
            address,
            credentials,
            host_key: HostKey::default(),
        },
        Address::S3(address) => Place::S3 {
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

/// Buckets by their names at Amazon, from a server that verifies that just this name and object were signed for.
#[tokio::test]
#[ignore = "runs in a network namespace, started by a test above"]
async fn amazon_within_the_namespace() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    answer_names().await;
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
        // Each object has another length, by which it is known.
        size += 10;
        server.put("sar", key, vec![b'x'; size]);
        for url in urls {
            let with = |secret: &str| {
                let Address::S3(address) = Address::parse(SourceKind::S3, url, None).unwrap()
                else {
                    panic!("an object in S3: {url}");
                };
                Request::new(Place::S3 {
                    address,
                    region: "us-west-2".to_owned(),
                    credentials: Credentials {
                        username: KEY_ID.to_owned(),
                        password: secret.into(),
                    },
                })
            };
            let nobody = Arc::new(|_| {}) as _;
            let answer = fetcher.fetch(&with(SECRET), &nobody).await;
            let Outcome::File(file) = answer.unwrap_or_else(|error| panic!("{url}: {error}"))
            else {
                panic!("nothing was known: {url}");
            };
            assert_eq!(file.content.size(), size as u64, "{url}");
            let refused = fetcher.fetch(&with("wrong"), &nobody).await.unwrap_err();
            assert_eq!(refused.code(), FailureCode::S3WrongSecret, "{url}");
        }
    }
}

#[tokio::test]
#[ignore = "runs in a network namespace, started by a test above"]
async fn within_the_namespace() {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let visited = Visited::default();
    for port in [80, 443, 22, 21] {
        listen(port, visited.clone()).await;
    }
    answer_names().await;
    let fetcher = fetcher(None);
    let kinds = [SourceKind::HttpsBasic, SourceKind::Sftp, SourceKind::S3];

    // The check can fail: a public address is connected to.
    for kind in kinds {
        for host in ["8.8.8.8", "outside.test"] {
            fetch(&fetcher, kind, &url(kind, host)).await.unwrap_err();
            let port = if kind == SourceKind::Sftp { 22 } else { 80 };
            assert_eq!(
                visited.take(),
                BTreeSet::from([SocketAddr::new(PUBLIC.into(), port)]),
                "{kind} {host}"
            );
        }
    }
    for kind in kinds {
        for host in FORBIDDEN {
            let code = fetch(&fetcher, kind, &url(kind, host)).await.unwrap_err();
            assert_eq!(
                (visited.elsewhere(), code),
                (BTreeSet::new(), refusal(kind, host)),
                "{kind} {host}"
            );
            let over_tls = url(kind, host).replace("http://", "https://");
            let _ = fetch(&fetcher, kind, &over_tls).await.unwrap_err();
            assert_eq!(visited.elsewhere(), BTreeSet::new(), "{over_tls}");
        }
    }
    // A name that changes its mind between two questions leads to where it was looked at; the next time, nowhere.
    for kind in kinds {
        let port = if kind == SourceKind::Sftp { 22 } else { 80 };
        let host = format!("{}.rebinding.test", kind.as_str().replace('_', "-"));
        let place = || place(kind, &url(kind, &host)).unwrap();
        fetch_only(&fetcher, place()).await.unwrap_err();
        let once = BTreeSet::from([SocketAddr::new(PUBLIC.into(), port)]);
        assert_eq!(visited.take(), once, "{kind}");
        let code = fetch_only(&fetcher, place()).await.unwrap_err();
        assert_eq!(
            (code, visited.take()),
            (FailureCode::AddressRefused, BTreeSet::new()),
            "{kind}"
        );
    }
    // A name that nobody could tell of just now is asked for again, one that does not exist is not.
    for kind in kinds {
        for (host, may_pass) in [("lame.test", true), ("absent.test", false)] {
            let place = place(kind, &url(kind, host)).unwrap();
            let request = Request::new(place);
            let nobody = Arc::new(|_| {}) as _;
            let error = fetcher.fetch(&request, &nobody).await.unwrap_err();
            assert_eq!(
                (error.code(), error.is_transient()),
                (FailureCode::NameNotFound, may_pass),
                "{kind} {host}: {error}"
            );
        }
    }
    // Redirects.
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
                (visited.elsewhere(), code),
                (BTreeSet::new(), redirect_refusal(host, &to)),
                "redirect to {to}"
            );
        }
    }
}

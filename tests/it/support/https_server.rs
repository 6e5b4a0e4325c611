//! A real TLS server that serves files, and misbehaves where a test asks it to. Shared with the demo.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// What the server answers on a path.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// User name and password that Basic authorization must carry.
    pub basic: Option<(String, String)>,
    /// Claims this length, and closes after the body.
    pub claimed_length: Option<usize>,
    /// These are answered first, one a request.
    pub first: Vec<Reply>,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn basic(mut self, user: &str, password: &str) -> Self {
        self.basic = Some((user.to_owned(), password.to_owned()));
        self
    }

    pub fn after(mut self, first: Vec<Self>) -> Self {
        self.first = first;
        self
    }
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
}

pub struct HttpsServer {
    pub address: SocketAddr,
    /// Certificate of the authority that vouches for the server, PEM.
    pub ca_pem: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    guests: Arc<AtomicUsize>,
}

impl HttpsServer {
    /// Starts on a free port; ends with the runtime.
    pub async fn start() -> Self {
        Self::start_for("localhost").await
    }

    /// Starts with a certificate for `name`.
    pub async fn start_for(name: &str) -> Self {
        let (acceptor, ca_pem) = tls_for(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self {
            address,
            ca_pem,
            replies: Arc::default(),
            seen: Arc::default(),
            guests: Arc::default(),
        };
        let (replies, seen) = (server.replies.clone(), server.seen.clone());
        let guests = Arc::clone(&server.guests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                guests.fetch_add(1, Ordering::SeqCst);
                let (acceptor, replies, seen) = (acceptor.clone(), replies.clone(), seen.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // A client that goes away is no fault of the server.
                        let _ = answer(stream, &replies, &seen).await;
                    }
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub fn serve(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// The connections so far.
    pub fn guests(&self) -> usize {
        self.guests.load(Ordering::SeqCst)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// A certificate with its key, and the authority that vouches for it.
pub struct Identity {
    pub ca_pem: String,
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Identity {
    pub fn of(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// With a certificate that is changed before it is signed.
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut certificate = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut certificate);
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        Self {
            ca_pem: issuer.pem(),
            certificate,
            key,
        }
    }

    /// With a certificate that vouches for itself.
    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "vouches for itself");
        let certificate = params.self_signed(&key).unwrap();
        Self {
            ca_pem: certificate.pem(),
            certificate,
            key,
        }
    }
}

/// A certificate for `name`, and the PEM of the authority that vouches for it.
pub fn tls_for(name: &str) -> (TlsAcceptor, String) {
    let identity = Identity::of(name);
    (identity.acceptor(&[]), identity.ca_pem)
}

impl Identity {
    /// Answers TLS with this certificate, and speaks these protocols.
    pub fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn answer<S: AsyncWrite + tokio::io::AsyncRead + Unpin>(
    stream: S,
    replies: &Mutex<HashMap<String, Reply>>,
    seen: &Mutex<Vec<Seen>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream).take(64 << 10);
    let mut line = String::new();
    reader.read_line(&mut line).await?;
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let reply = {
        let mut replies = replies.lock().unwrap();
        match replies.get_mut(&path) {
            Some(reply) if !reply.first.is_empty() => reply.first.remove(0),
            Some(reply) => reply.clone(),
            None => Reply::status(404),
        }
    };
    let reply = judge(reply, &headers);
    seen.lock().unwrap().push(Seen { path, headers });
    let length = reply.claimed_length.unwrap_or(reply.body.len());
    let mut head = format!(
        "HTTP/1.1 {} Status\r\nContent-Length: {length}\r\nConnection: close\r\n",
        reply.status
    );
    for (name, value) in &reply.headers {
        head = format!("{head}{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let mut stream = reader.into_inner().into_inner();
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&reply.body).await?;
    stream.shutdown().await
}

/// Asks for the password, and answers that the file is unchanged where the client knows it.
fn judge(reply: Reply, headers: &HashMap<String, String>) -> Reply {
    if let Some((user, password)) = &reply.basic {
        use base64::Engine;
        let expected = format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
        );
        if headers.get("authorization") != Some(&expected) {
            return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"files\"");
        }
    }
    let etag = reply
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("etag"))
        .map(|(_, value)| value);
    if etag.is_some() && headers.get("if-none-match") == etag {
        return Reply::status(304);
    }
    reply
}

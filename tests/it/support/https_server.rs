//! A real TLS server that serves files and simulates failures. Shared with the demo and the benchmarks.

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

/// The response for a path.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// User name and password required by HTTP Basic authentication.
    pub basic: Option<(String, String)>,
    /// `Content-Length` to send instead of the real one. The connection is closed after the body.
    pub claimed_length: Option<usize>,
    /// Responses to the first requests, one per request.
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

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub path: String,
    /// Header names are in lower case.
    pub headers: HashMap<String, String>,
}

pub struct HttpsServer {
    pub address: SocketAddr,
    /// Certificate of the issuing CA, PEM.
    pub ca_pem: String,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    connections: Arc<AtomicUsize>,
}

impl HttpsServer {
    /// Starts on a free port of the loopback interface. Ends with the runtime.
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
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (replies, requests) = (server.replies.clone(), server.requests.clone());
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, replies, requests) =
                    (acceptor.clone(), replies.clone(), requests.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        // Clients may disconnect at any time.
                        let _ = answer(stream, &replies, &requests).await;
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

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// A certificate with its key and the issuing CA.
pub struct Identity {
    pub ca_pem: String,
    pub certificate: rcgen::Certificate,
    pub key: KeyPair,
}

impl Identity {
    pub fn for_host(name: &str) -> Self {
        Self::with_params(name, |_| {})
    }

    /// With certificate parameters that `change` modifies before signing.
    pub fn with_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
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

    /// With a self-signed certificate.
    pub fn self_signed(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "self-signed");
        let certificate = params.self_signed(&key).unwrap();
        Self {
            ca_pem: certificate.pem(),
            certificate,
            key,
        }
    }
}

/// An acceptor with a certificate for `name`, and the issuing CA as PEM.
pub fn tls_for(name: &str) -> (TlsAcceptor, String) {
    let identity = Identity::for_host(name);
    (identity.acceptor(&[]), identity.ca_pem)
}

impl Identity {
    /// A TLS acceptor with this certificate that offers these ALPN protocols.
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
    requests: &Mutex<Vec<ReceivedRequest>>,
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
    let reply = check_request_headers(reply, &headers);
    requests
        .lock()
        .unwrap()
        .push(ReceivedRequest { path, headers });
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

/// Checks Basic authentication (401) and `If-None-Match` (304).
fn check_request_headers(reply: Reply, headers: &HashMap<String, String>) -> Reply {
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

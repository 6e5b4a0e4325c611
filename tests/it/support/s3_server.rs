//! An S3-compatible server that verifies signatures, with objects stored as files in a folder.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::dto::{ETagCondition, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput};
use s3s::host::SingleDomain;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::net::TcpListener;

use super::https_server::tls_for;

pub const KEY_ID: &str = "AKIDEXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// File storage plus `If-None-Match`, which `s3s-fs` does not implement.
struct FileStorage(s3s_fs::FileSystem);

/// Return type of the trait's methods.
type ResponseFuture<'a, T> = Pin<Box<dyn Future<Output = S3Result<S3Response<T>>> + Send + 'a>>;

impl S3 for FileStorage {
    fn get_object<'s, 'a>(
        &'s self,
        request: S3Request<GetObjectInput>,
    ) -> ResponseFuture<'a, GetObjectOutput>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let if_none_match = request.input.if_none_match.clone();
            let if_none_match = if_none_match.and_then(ETagCondition::into_etag);
            let object = self.0.get_object(request).await?;
            if if_none_match.is_some() && if_none_match == object.output.e_tag {
                return Err(S3ErrorCode::NotModified.into());
            }
            Ok(object)
        })
    }

    fn head_bucket<'s, 'a>(
        &'s self,
        request: S3Request<HeadBucketInput>,
    ) -> ResponseFuture<'a, HeadBucketOutput>
    where
        's: 'a,
        Self: 'a,
    {
        self.0.head_bucket(request)
    }
}

pub struct S3Server {
    pub address: SocketAddr,
    /// Certificate of the issuing CA, PEM.
    pub ca_pem: String,
    folder: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
}

impl S3Server {
    /// Starts with one bucket, over TLS, on a free port of the loopback interface. Ends with the runtime.
    pub async fn start(bucket: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_as(bucket, listener, "localhost", None)
    }

    /// Starts on a listener with a certificate for `name`. With `domain`, each bucket is a subdomain of it.
    pub fn start_as(bucket: &str, listener: TcpListener, name: &str, domain: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(bucket)).unwrap();
        let mut service =
            S3ServiceBuilder::new(FileStorage(s3s_fs::FileSystem::new(folder.path()).unwrap()));
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        if let Some(domain) = domain {
            service.set_host(SingleDomain::new(domain).unwrap());
        }
        let service = service.build();
        let (acceptor, ca_pem) = tls_for(name);
        let server = Self {
            address: listener.local_addr().unwrap(),
            ca_pem,
            folder,
            connections: Arc::default(),
        };
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, service) = (acceptor.clone(), service.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let http = Builder::new(TokioExecutor::new());
                        // Clients may disconnect at any time.
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    }
                });
            }
        });
        server
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Stores an object.
    pub fn put(&self, bucket: &str, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(bucket).join(Path::new(key));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub fn remove(&self, bucket: &str, key: &str) {
        std::fs::remove_file(self.folder.path().join(bucket).join(key)).unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.address.port())
    }
}

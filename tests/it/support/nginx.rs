//! A real nginx with TLS, HTTP Basic authentication and compression.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::https_server::Identity;

pub const USER: &str = "jane";
pub const PASSWORD: &str = "hunter2";

pub struct Nginx {
    pub address: SocketAddr,
    pub ca_pem: String,
    folder: tempfile::TempDir,
    child: Child,
}

impl Nginx {
    /// Serves a folder at `/`; `/private` requires a password.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let identity = Identity::for_host("localhost");
        std::fs::write(root.join("certificate.pem"), identity.certificate.pem()).unwrap();
        std::fs::write(root.join("key.pem"), identity.key.serialize_pem()).unwrap();
        std::fs::write(root.join("users"), format!("{USER}:{{PLAIN}}{PASSWORD}\n")).unwrap();
        std::fs::create_dir_all(root.join("files/private")).unwrap();
        // nginx inherits this listener, so the port is free and accepts connections at once.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let user = if nix::unistd::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "{user} daemon off; pid {root}/pid; error_log stderr;
             events {{}}
             http {{
                 access_log {root}/access; gzip on; gzip_types text/csv; gzip_min_length 1; gzip_proxied any;
                 types {{ text/csv csv; }}
                 client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
                 uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
                 server {{
                     listen {address} ssl http2; root {root}/files;
                     ssl_certificate {root}/certificate.pem; ssl_certificate_key {root}/key.pem;
                     location /private/ {{ auth_basic files; auth_basic_user_file {root}/users; }}
                     location /moved/ {{ rewrite ^/moved/(.*)$ /$1 redirect; }}
                 }}
             }}",
            root = root.display(),
        );
        std::fs::write(root.join("nginx.conf"), config).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "/usr/sbin/nginx", "-p"])
            .arg(root)
            .arg("-c")
            .arg(root.join("nginx.conf"))
            .env("NGINX", "0;")
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(root.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            address,
            ca_pem: identity.ca_pem,
            folder,
            child,
        }
    }

    /// Number of responses with this status so far, counted in the access log.
    pub fn responses_with_status(&self, status: u16) -> usize {
        let log = std::fs::read_to_string(self.folder.path().join("access")).unwrap();
        let status = format!("\" {status} ");
        log.lines().filter(|line| line.contains(&status)).count()
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.files().join(path), bytes).unwrap();
    }

    fn files(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("files")
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.address.port())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM also ends the workers. It fails if nginx could not start, in which case the test has already failed.
        let pid = nix::unistd::Pid::from_raw(self.child.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

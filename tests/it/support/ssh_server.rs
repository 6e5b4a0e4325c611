//! A real OpenSSH server. A listener passes each connection to `sshd -i`, which runs in its own mount namespace with a single
//! test user. The users of the machine are neither read nor changed.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// The only user.
pub const USER: &str = "jane";
pub const PASSWORD: &str = "pass: wörd";
/// `PASSWORD`, hashed with `openssl passwd -6`.
const PASSWORD_HASH: &str = "$6$rosterdtest$sfMOFYUCgh7HatpSP94XoV1Qvdo.jiPAMwIG0x7TQXdraEeMPXsFbVG3UxdOR0beHY2icFdVpI9AQv6BDtk5b0";

/// The authentication method of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Password,
    /// Disconnects after one wrong password.
    PasswordOnce,
    KeyboardInteractive,
    PublicKey,
    /// Accepts every client without authentication.
    NoPassword,
}

pub struct SshServer {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
    attempts: PathBuf,
}

impl SshServer {
    /// Starts on a free port of the loopback interface.
    pub fn start(login: Login) -> Self {
        Self::start_with(login, "internal-sftp")
    }

    /// Starts with a custom SFTP server command, run in the user's home directory.
    pub fn start_with(login: Login, subsystem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        set_mode(root, 0o755);
        let home = root.join("home");
        std::fs::create_dir(&home).unwrap();
        set_mode(&home, 0o777);
        let write = |name: &str, text: String| std::fs::write(root.join(name), text).unwrap();
        let home = home.display();
        write(
            "passwd",
            format!(
                "root:x:0:0::/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/sh\n{USER}:x:65534:65534::{home}:/bin/sh\n"
            ),
        );
        let hash = if login == Login::NoPassword {
            ""
        } else {
            PASSWORD_HASH
        };
        write(
            "shadow",
            format!("root:*:1::::::\nsshd:*:1::::::\n{USER}:{hash}:20000:0:99999:7:::\n"),
        );
        let pam = "auth required pam_unix.so nodelay\naccount required pam_unix.so\nsession required pam_permit.so\n";
        write("pam", pam.to_owned());
        let yes_no = |is: bool| if is { "yes" } else { "no" };
        write(
            "config",
            format!(
                "HostKey {root}/ed25519\nHostKey {root}/ecdsa\nHostKey {root}/rsa\nUsePAM {}\nPermitEmptyPasswords yes\nPasswordAuthentication {}\nKbdInteractiveAuthentication {}\n\
                 PubkeyAuthentication yes\nStrictModes no\nSubsystem sftp {subsystem}\nPidFile none\nLogLevel VERBOSE\nMaxAuthTries {}\n",
                yes_no(login != Login::NoPassword),
                yes_no(matches!(
                    login,
                    Login::Password | Login::PasswordOnce | Login::NoPassword
                )),
                yes_no(login == Login::KeyboardInteractive),
                if login == Login::PasswordOnce { 1 } else { 6 },
                root = root.display(),
            ),
        );
        let server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            connections: Arc::default(),
            attempts: root.join("log"),
            folder,
        };
        server.new_host_key();
        server.listen()
    }

    /// Replaces the Ed25519 host key.
    pub fn new_host_key(&self) {
        self.new_host_key_of("ed25519");
    }

    /// Adds or replaces the host key of a type (`ed25519`, `ecdsa` or `rsa`).
    pub fn new_host_key_of(&self, kind: &str) {
        self.remove_host_key(kind);
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f"])
            .arg(self.folder.path().join(kind))
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Removes the host key of a type.
    pub fn remove_host_key(&self, kind: &str) {
        std::fs::remove_file(self.folder.path().join(kind)).ok();
    }

    /// Fingerprint of the Ed25519 host key, as printed by `ssh-keygen -l`.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_of("ed25519")
    }

    /// Fingerprint of the host key of a type.
    pub fn fingerprint_of(&self, kind: &str) -> String {
        let output = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.folder.path().join(format!("{kind}.pub")))
            .output()
            .unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        output.split(' ').nth(1).unwrap().to_owned()
    }

    fn listen(mut self) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = listener.local_addr().unwrap();
        let (root, connections) = (self.folder.path().to_owned(), Arc::clone(&self.connections));
        // The thread runs until the process ends; its children then end too (pdeathsig).
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                connections.fetch_add(1, Ordering::SeqCst);
                let Ok(log) = std::fs::File::options()
                    .create(true)
                    .append(true)
                    .open(root.join("log"))
                else {
                    return;
                };
                let socket = OwnedFd::from(stream);
                let script = "mount --bind $0/passwd /etc/passwd && mount --bind $0/shadow /etc/shadow \
                     && mount --bind $0/pam /etc/pam.d/sshd && mount -t tmpfs none /run && mkdir /run/sshd \
                     && exec /usr/sbin/sshd -i -e -f $0/config";
                let mut sshd = as_root("setpriv");
                sshd.args([
                    "--pdeathsig",
                    "KILL",
                    "unshare",
                    "--mount",
                    "sh",
                    "-c",
                    script,
                ])
                .arg(&root)
                .stdin(socket.try_clone().unwrap())
                .stdout(socket)
                .stderr(log);
                let mut sshd = sshd.spawn().unwrap();
                std::thread::spawn(move || sshd.wait());
            }
        });
        self
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Number of refused passwords so far.
    pub fn failed_logins(&self) -> usize {
        let log = std::fs::read_to_string(&self.attempts).unwrap_or_default();
        log.lines()
            .filter(|line| {
                line.contains("Failed password") || line.contains("Failed keyboard-interactive")
            })
            .count()
    }

    /// Writes a file in the home directory. Its modification time is in the past, also by the manual clock, and later than
    /// that of earlier files.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        static NEXT_MTIME: AtomicU64 = AtomicU64::new(1_790_000_000);
        let path = self.home().join(name);
        std::fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o666);
        let at = Duration::from_secs(NEXT_MTIME.fetch_add(1, Ordering::SeqCst));
        self.set_modified(name, SystemTime::UNIX_EPOCH + at);
        path
    }

    /// Sets a file's modification time.
    pub fn set_modified(&self, name: &str, at: SystemTime) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.home().join(name))
            .unwrap();
        file.set_modified(at).unwrap();
    }

    /// Sets a file's modification time to `seconds` ago, by the system clock.
    pub fn set_age(&self, name: &str, seconds: u64) {
        self.set_modified(name, SystemTime::now() - Duration::from_secs(seconds));
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn url(&self, path: &str) -> String {
        format!("sftp://127.0.0.1:{}/{path}", self.address.port())
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A command run as root, which creating namespaces requires.
pub fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}

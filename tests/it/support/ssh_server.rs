//! A real OpenSSH server. It accepts each connection that a listener of ours hands to it (`sshd -i`), in a mount namespace
//! of its own in which there is one user, so that the machine's users are neither asked nor changed.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// The one user.
pub const USER: &str = "jane";
pub const PASSWORD: &str = "pass: wörd";
/// `openssl passwd -6` of it.
const PASSWORD_HASH: &str = "$6$rosterdtest$sfMOFYUCgh7HatpSP94XoV1Qvdo.jiPAMwIG0x7TQXdraEeMPXsFbVG3UxdOR0beHY2icFdVpI9AQv6BDtk5b0";

/// How the server lets people in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    Password,
    /// Hangs up after one that is wrong.
    PasswordOnce,
    KeyboardInteractive,
    PublicKey,
    /// Lets everybody in who asks.
    Nothing,
}

pub struct SshServer {
    pub address: SocketAddr,
    folder: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
    attempts: PathBuf,
}

impl SshServer {
    /// Starts on a free port of loopback.
    pub fn start(login: Login) -> Self {
        Self::start_with(login, "internal-sftp")
    }

    /// Starts with a command that answers SFTP requests; it begins in the user's home.
    pub fn start_with(login: Login, subsystem: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        allow(root, 0o755);
        let home = root.join("home");
        std::fs::create_dir(&home).unwrap();
        allow(&home, 0o777);
        let write = |name: &str, text: String| std::fs::write(root.join(name), text).unwrap();
        let home = home.display();
        write(
            "passwd",
            format!(
                "root:x:0:0::/root:/bin/sh\nsshd:x:101:65534::/run/sshd:/bin/sh\n{USER}:x:65534:65534::{home}:/bin/sh\n"
            ),
        );
        let hash = if login == Login::Nothing {
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
        let yes = |is: bool| if is { "yes" } else { "no" };
        write(
            "config",
            format!(
                "HostKey {root}/ed25519\nHostKey {root}/ecdsa\nHostKey {root}/rsa\nUsePAM {}\nPermitEmptyPasswords yes\nPasswordAuthentication {}\nKbdInteractiveAuthentication {}\n\
                 PubkeyAuthentication yes\nStrictModes no\nSubsystem sftp {subsystem}\nPidFile none\nLogLevel VERBOSE\nMaxAuthTries {}\n",
                yes(login != Login::Nothing),
                yes(matches!(
                    login,
                    Login::Password | Login::PasswordOnce | Login::Nothing
                )),
                yes(login == Login::KeyboardInteractive),
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

    /// Shows another host key from now on.
    pub fn new_host_key(&self) {
        self.new_host_key_of("ed25519");
    }

    /// Has another host key of a kind (`ed25519`, `ecdsa` or `rsa`) from now on.
    pub fn new_host_key_of(&self, kind: &str) {
        self.remove_host_key(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-N", "", "-f"])
            .arg(self.folder.path().join(kind))
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
    }

    /// Has no host key of a kind any more.
    pub fn remove_host_key(&self, kind: &str) {
        std::fs::remove_file(self.folder.path().join(kind)).ok();
    }

    /// The host key as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        self.fingerprint_of("ed25519")
    }

    /// The host key of a kind.
    pub fn fingerprint_of(&self, kind: &str) -> String {
        let shown = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.folder.path().join(format!("{kind}.pub")))
            .output()
            .unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown.split(' ').nth(1).unwrap().to_owned()
    }

    fn listen(mut self) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        self.address = listener.local_addr().unwrap();
        let (root, connections) = (self.folder.path().to_owned(), Arc::clone(&self.connections));
        // The thread lives as long as the process, and what it starts no longer (pdeathsig).
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
                let inside = "mount --bind $0/passwd /etc/passwd && mount --bind $0/shadow /etc/shadow \
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
                    inside,
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

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Passwords that were refused so far.
    pub fn refusals(&self) -> usize {
        let log = std::fs::read_to_string(&self.attempts).unwrap_or_default();
        log.lines()
            .filter(|line| {
                line.contains("Failed password") || line.contains("Failed keyboard-interactive")
            })
            .count()
    }

    /// A file in the user's home, written long ago (by the clock of the tests, too), and after those before.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        static WRITTEN: AtomicU64 = AtomicU64::new(1_790_000_000);
        let path = self.home().join(name);
        std::fs::write(&path, bytes).unwrap();
        allow(&path, 0o666);
        let at = Duration::from_secs(WRITTEN.fetch_add(1, Ordering::SeqCst));
        self.date(name, SystemTime::UNIX_EPOCH + at);
        path
    }

    /// Sets when a file was written.
    pub fn date(&self, name: &str, at: SystemTime) {
        let file = std::fs::File::options()
            .write(true)
            .open(self.home().join(name))
            .unwrap();
        file.set_modified(at).unwrap();
    }

    /// Sets how many seconds ago a file was written, by the machine's clock.
    pub fn age(&self, name: &str, seconds: u64) {
        self.date(name, SystemTime::now() - Duration::from_secs(seconds));
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn url(&self, path: &str) -> String {
        format!("sftp://127.0.0.1:{}/{path}", self.address.port())
    }
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A command as root: the namespaces of tests need one.
pub fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", program]);
    sudo
}

//! The programs and SQL scripts that are compared: how each loads a file, and what it has stored.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Workload;
use super::https_server::{HttpsServer, Reply};
use super::server::Server;
use super::support::cost::{Cost, cost};
use super::table::{COPY, EXPERT, Figures, ROSTERD};

const ACCOUNT: &str = "bench";

/// What loads the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// COPY into a temporary table: a lower bound.
    Copy,
    /// Hand-tuned SQL.
    Expert {
        schema: PathBuf,
        load: PathBuf,
    },
    Rosterd,
    /// Upserts into one flat table, without groups or removals.
    Sling,
    /// A script with several statements for each row.
    RowByRow,
}

impl Kind {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Copy => COPY,
            Self::Expert { .. } => EXPERT,
            Self::Rosterd => ROSTERD,
            Self::Sling => "sling (flat upsert)",
            Self::RowByRow => "row by row",
        }
    }

    const fn database(&self) -> &'static str {
        match self {
            Self::Copy => "bench_copy",
            Self::Expert { .. } => "bench_expert",
            Self::Rosterd => "bench_rosterd",
            Self::Sling => "bench_sling",
            Self::RowByRow => "bench_rows",
        }
    }

    /// Whether it can handle the workload in a reasonable time.
    pub fn supports(&self, workload: Workload, rows: usize) -> bool {
        match self {
            Self::Copy | Self::Rosterd => true,
            Self::Expert { .. } | Self::Sling => {
                !matches!(workload, Workload::SameBytes | Workload::NotModified)
            }
            Self::RowByRow => {
                rows <= 10_000 && !matches!(workload, Workload::SameBytes | Workload::NotModified)
            }
        }
    }
}

/// A web server with the file, for conditional requests.
pub struct WebSource {
    runtime: tokio::runtime::Runtime,
    server: HttpsServer,
    folder: tempfile::TempDir,
}

impl WebSource {
    pub fn start() -> Self {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(HttpsServer::start());
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &server.ca_pem).unwrap();
        Self {
            runtime,
            server,
            folder,
        }
    }

    fn serve(&self, reply: Reply) {
        self.server
            .serve("/people.csv", reply.header("ETag", "\"one\""));
    }
}

pub struct Contender<'a> {
    pub kind: Kind,
    server: &'a Server,
    source: &'a WebSource,
}

/// The contenders that are installed and support this number of rows.
pub fn installed<'a>(server: &'a Server, source: &'a WebSource, rows: usize) -> Vec<Contender<'a>> {
    let sql = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql");
    let expert = std::env::var_os("EXPERT").map_or_else(
        || Kind::Expert {
            schema: sql.join("expert-schema.sql"),
            load: sql.join("expert-load.sql"),
        },
        |folder| Kind::Expert {
            schema: Path::new(&folder).join("expert.schema.sql"),
            load: Path::new(&folder).join("expert.resync.sql"),
        },
    );
    let mut kinds = vec![Kind::Copy, expert, Kind::Rosterd];
    if std::env::var("PEERS").as_deref() != Ok("no") {
        kinds.extend(succeeds("sling", &["--version"]).then_some(Kind::Sling));
        kinds.extend(succeeds("python3", &["-c", "import psycopg"]).then_some(Kind::RowByRow));
    }
    kinds
        .into_iter()
        .filter(|kind| kind.supports(Workload::FirstLoad, rows))
        .map(|kind| Contender {
            kind,
            server,
            source,
        })
        .collect()
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Contender<'_> {
    /// Creates an empty database for this contender.
    pub fn reset(&self) {
        let schema = match &self.kind {
            Kind::Expert { schema, .. } => vec![schema.clone()],
            Kind::RowByRow => {
                vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql/expert-schema.sql")]
            }
            _ => Vec::new(),
        };
        self.server.create(self.kind.database(), &schema);
        if self.kind == Kind::Rosterd {
            self.rosterd(&["migrate"]);
            self.rosterd(&["account", "add", ACCOUNT, "--time-zone", "UTC"]);
            self.rosterd(&["account", "enable", ACCOUNT]);
        }
    }

    /// Loads a file and returns what it cost.
    pub fn load(&self, workload: Workload, file: &Path) -> Figures {
        self.server.checkpoint();
        let (wal, cpu) = (self.server.wal_bytes(), self.server.cpu_ms());
        let cost = self.run(workload, file);
        Figures {
            elapsed_ms: cost.elapsed_ms,
            client_ms: cost.cpu_ms,
            server_ms: self.server.cpu_ms() - cpu,
            wal_kib: (self.server.wal_bytes() - wal) / 1024.0,
            peak_mib: cost.peak_mib,
        }
    }

    fn run(&self, workload: Workload, file: &Path) -> Cost {
        let url = self.server.url(self.kind.database());
        let path = file.to_str().unwrap();
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        let psql = |script: &Path| {
            let script = script.to_str().unwrap();
            cost(&["psql", "-X", "-q", "-f", script, &url], Some(file))
        };
        match &self.kind {
            Kind::Copy => psql(&benches.join("sql/copy.sql")),
            Kind::Expert { load, .. } => psql(load),
            Kind::Rosterd => {
                let program = env!("CARGO_BIN_EXE_rosterd");
                let conditional = workload == Workload::NotModified;
                let import = [program, "import", ACCOUNT, "--file", path];
                let import = if conditional { &import[..3] } else { &import };
                let environment = self.environment();
                let mut command: Vec<&str> = vec!["env"];
                command.extend(environment.iter().map(String::as_str));
                command.extend(import);
                cost(&command, None)
            }
            Kind::Sling => cost(
                &[
                    "env",
                    "SLING_LOGGING=none",
                    "sling",
                    "run",
                    "--src-stream",
                    &format!("file://{path}"),
                    "--tgt-conn",
                    &self.server.tcp_url(self.kind.database()),
                    "--tgt-object",
                    "public.flat",
                    "--mode",
                    "incremental",
                    "--primary-key",
                    "ID",
                ],
                None,
            ),
            Kind::RowByRow => {
                let script = benches.join("import/row_by_row.py");
                cost(&["python3", script.to_str().unwrap(), &url, path], None)
            }
        }
    }

    /// Serves the file from the web server, imports it from there once, and answers further requests with 304.
    pub fn import_from_source(&self, file: &Path) {
        if self.kind != Kind::Rosterd {
            return;
        }
        self.source.serve(Reply::ok(std::fs::read(file).unwrap()));
        let url = self.source.server.url("/people.csv");
        self.rosterd(&[
            "settings", "set", ACCOUNT, "--source", "https", "--url", &url,
        ]);
        self.rosterd(&["import", ACCOUNT]);
        self.source.serve(Reply::status(304));
    }

    /// The number of contacts and a digest of all their stored data; `None` for contenders that store only a part of it.
    pub fn state(&self) -> Option<String> {
        let own_expert =
            matches!(&self.kind, Kind::Expert { .. } if std::env::var_os("EXPERT").is_none());
        let query = match &self.kind {
            Kind::Copy | Kind::Sling => return None,
            Kind::Rosterd => "state-rosterd.sql",
            Kind::RowByRow => "state-expert.sql",
            Kind::Expert { .. } if own_expert => "state-expert.sql",
            Kind::Expert { .. } => "state-other-expert.sql",
        };
        let query = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("benches/sql")
            .join(query);
        Some(
            self.server
                .psql(self.kind.database(), &["-f", query.to_str().unwrap()]),
        )
    }

    fn environment(&self) -> Vec<String> {
        let folder = self.source.folder.path();
        let path = |name: &str| folder.join(name).display().to_string();
        vec![
            format!("DATABASE_URL={}", self.server.url(self.kind.database())),
            format!("ROSTERD_DATA_DIR={}", path("data")),
            format!("ROSTERD_FETCH__EXTRA_CA_FILE={}", path("ca.pem")),
            "ROSTERD_FETCH__ALLOW_NETWORKS=[\"127.0.0.0/8\", \"::1/128\"]".to_owned(),
            "ROSTERD_FETCH__MAX_BYTES=1000000000".to_owned(),
        ]
    }

    fn rosterd(&self, arguments: &[&str]) {
        let mut command = Command::new("env");
        let output = command
            .args(self.environment())
            .arg(env!("CARGO_BIN_EXE_rosterd"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

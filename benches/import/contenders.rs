//! Those that load the file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Work;
use super::https_server::{HttpsServer, Reply};
use super::server::Server;
use super::support::cost::cost;
use super::table::{COPY, EXPERT, Figures, ROSTERD};

const ACCOUNT: &str = "bench";

/// Who loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// COPY into a temporary table: the floor.
    Copy,
    /// The SQL of an expert.
    Expert {
        schema: PathBuf,
        load: PathBuf,
    },
    Rosterd,
    /// Upserts one flat table: no groups, no removals.
    Sling,
    /// A statement for each row.
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

    /// Whether it can do this at all, and within a reasonable time.
    pub fn does(&self, work: Work, rows: usize) -> bool {
        match self {
            Self::Copy | Self::Rosterd => true,
            Self::Expert { .. } | Self::Sling => {
                !matches!(work, Work::SameBytes | Work::NotModified)
            }
            Self::RowByRow => {
                rows <= 10_000 && !matches!(work, Work::SameBytes | Work::NotModified)
            }
        }
    }
}

/// A web server with the file, for what only a source can say.
pub struct Source {
    runtime: tokio::runtime::Runtime,
    server: HttpsServer,
    folder: tempfile::TempDir,
}

impl Source {
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
    source: &'a Source,
}

/// Those that are installed.
pub fn present<'a>(server: &'a Server, source: &'a Source, rows: usize) -> Vec<Contender<'a>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sql");
    let expert = std::env::var_os("EXPERT").map_or_else(
        || Kind::Expert {
            schema: own.join("expert-schema.sql"),
            load: own.join("expert-load.sql"),
        },
        |folder| Kind::Expert {
            schema: Path::new(&folder).join("expert.schema.sql"),
            load: Path::new(&folder).join("expert.resync.sql"),
        },
    );
    let mut kinds = vec![Kind::Copy, expert, Kind::Rosterd];
    if std::env::var("PEERS").as_deref() != Ok("no") {
        kinds.extend(runs("sling", &["--version"]).then_some(Kind::Sling));
        kinds.extend(runs("python3", &["-c", "import psycopg"]).then_some(Kind::RowByRow));
    }
    kinds
        .into_iter()
        .filter(|kind| kind.does(Work::FirstLoad, rows))
        .map(|kind| Contender {
            kind,
            server,
            source,
        })
        .collect()
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Contender<'_> {
    /// An empty database.
    pub fn begin_anew(&self) {
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

    /// Loads a file; what it has cost.
    pub fn load(&self, work: Work, file: &Path) -> Figures {
        self.server.settle();
        let (wal, cpu) = (self.server.wal_bytes(), self.server.cpu_ms());
        let spent = self.run(work, file);
        Figures {
            wall_ms: spent.wall_ms,
            client_ms: spent.cpu_ms,
            server_ms: self.server.cpu_ms() - cpu,
            wal_kib: (self.server.wal_bytes() - wal) / 1024.0,
            peak_mib: spent.peak_mib,
        }
    }

    fn run(&self, work: Work, file: &Path) -> super::support::cost::Cost {
        let url = self.server.url(self.kind.database());
        let path = file.to_str().unwrap();
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        let psql = |script: &Path| {
            let script = script.to_str().unwrap();
            cost(&["psql", "-X", "-q", "-f", script, &url], Some(file))
        };
        match &self.kind {
            Kind::Copy => psql(&own.join("sql/floor.sql")),
            Kind::Expert { load, .. } => psql(load),
            Kind::Rosterd => {
                let program = env!("CARGO_BIN_EXE_rosterd");
                let from_source = work == Work::NotModified;
                let from_file = [program, "import", ACCOUNT, "--file", path];
                let words = if from_source {
                    &from_file[..3]
                } else {
                    &from_file
                };
                let environment = self.environment();
                let mut command: Vec<&str> = vec!["env"];
                command.extend(environment.iter().map(String::as_str));
                command.extend(words);
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
                let script = own.join("import/row_by_row.py");
                cost(&["python3", script.to_str().unwrap(), &url, path], None)
            }
        }
    }

    /// The file lies at the account's source from now on, and is imported from there.
    pub fn follow_source(&self, file: &Path) {
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

    /// How many contacts are stored, and a digest of all that is stored of them; `None` of those that keep less.
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
        let at = |name: &str| folder.join(name).display().to_string();
        vec![
            format!("DATABASE_URL={}", self.server.url(self.kind.database())),
            format!("ROSTERD_DATA_DIR={}", at("data")),
            format!("ROSTERD_FETCH__EXTRA_CA_FILE={}", at("ca.pem")),
            "ROSTERD_FETCH__ALLOW_NETWORKS=[\"127.0.0.0/8\", \"::1/128\"]".to_owned(),
            "ROSTERD_FETCH__MAX_BYTES=1000000000".to_owned(),
        ]
    }

    fn rosterd(&self, words: &[&str]) {
        let mut command = Command::new("env");
        let done = command
            .args(self.environment())
            .arg(env!("CARGO_BIN_EXE_rosterd"))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{words:?}: {done:?}");
    }
}

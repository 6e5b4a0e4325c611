//! One private Postgres server per test run, one database per test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rosterd::embedded::{EmbeddedPostgres, Role};
use rosterd::store::Store;
use sqlx::{Connection, PgConnection};

const TEMPLATE: &str = "rosterd_template";

fn cluster() -> &'static EmbeddedPostgres {
    static CLUSTER: OnceLock<EmbeddedPostgres> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        remove_leftovers(root);
        let data_dir = root.join(format!("postgres-{}", std::process::id()));
        // The data is discarded after the run, so durability is not needed.
        let settings = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=400",
        ];
        EmbeddedPostgres::start(&data_dir, Role::Daemon, &settings)
            .expect("a private Postgres for the tests")
    })
}

/// Removes clusters of earlier test processes that have ended.
fn remove_leftovers(root: &Path) {
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("postgres-") else {
            continue;
        };
        if !PathBuf::from(format!("/proc/{pid}")).exists() {
            // May fail if another test process removes the same folder; the next run tries again.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Creates an empty database without migrations. Returns its URL.
pub async fn empty_database() -> String {
    create(None).await
}

/// Creates a database with the schema. Returns its URL.
pub async fn database() -> String {
    static MIGRATED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    MIGRATED
        .get_or_init(|| async {
            Store::ensure_database(&cluster.url("postgres").into(), TEMPLATE)
                .await
                .unwrap();
            let store = Store::connect(&cluster.url(TEMPLATE).into(), 4, Duration::from_secs(30))
                .await
                .unwrap();
            store.migrate().await.unwrap();
            store.close().await;
        })
        .await;
    create(Some(TEMPLATE)).await
}

async fn create(template: Option<&str>) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut db = PgConnection::connect(&cluster.url("postgres"))
        .await
        .unwrap();
    let template = template.map_or_else(String::new, |template| format!(" TEMPLATE {template}"));
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "CREATE DATABASE {name}{template}"
    )))
    .execute(&mut db)
    .await
    .unwrap();
    cluster.url(&name)
}

//! Test support: real servers on the loopback interface, and the daemon's components with a manual clock.

pub mod cli;
pub mod cluster;
pub mod daemon;
pub mod https_server;
pub mod nginx;
pub mod s3_server;
pub mod sheet;
pub mod smtp_server;
pub mod ssh_server;
pub mod tcp_proxy;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rosterd::clock::{Clock, ManualClock};
use rosterd::dispatch::Dispatcher;
use rosterd::fetch::{Fetcher, Limits, NetworkPolicy};
use rosterd::import::{Importer, Options, StopPolicy};
use rosterd::lifecycle::Lifecycle;
use rosterd::mail::Mailer;
use rosterd::model::AccountId;
use rosterd::model::settings::{PASSWORD_COLUMN, SourceKind};
use rosterd::secrets::{Binding, Keyring};
use rosterd::sheet::WorkbookReader;
use rosterd::store::{NewSettings, Retention, RunRow, Store};
use sqlx::postgres::PgPool;

use https_server::{HttpsServer, Reply};
use smtp_server::SmtpServer;

/// The daemon's components, connected to real servers and a separate database.
pub struct TestApp {
    pub store: Store,
    pub pool: PgPool,
    pub clock: Arc<ManualClock>,
    pub https: HttpsServer,
    pub smtp: SmtpServer,
    pub dispatcher: Dispatcher,
    pub lifecycle: Lifecycle,
    pub folder: tempfile::TempDir,
    pub url: String,
    /// PEM of a CA that CLI commands trust instead of the one of `https`.
    pub extra_ca: Option<String>,
}

/// Options for starting a [`TestApp`].
pub struct Setup {
    pub allow_networks: &'static [&'static str],
    pub allow_plain_http: bool,
    pub max_bytes: u64,
    pub connect_timeout: Duration,
    pub idle_timeout: Duration,
    pub total_timeout: Duration,
    pub trust_server: bool,
    /// PEM of an additional CA. CLI commands trust it instead of the one of `https`.
    pub extra_ca: Option<String>,
    /// Host name in the web server's certificate.
    pub server_name: &'static str,
    pub operator: Option<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            allow_networks: &["127.0.0.0/8", "::1/128"],
            allow_plain_http: false,
            max_bytes: 64 << 20,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(5),
            total_timeout: Duration::from_secs(30),
            trust_server: true,
            extra_ca: None,
            server_name: "localhost",
            operator: Some("ops@example.org"),
        }
    }
}

impl TestApp {
    pub async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    /// Starts an app that also trusts this CA.
    pub async fn start_trusting(ca_pem: &str) -> Self {
        Self::start_with(Setup {
            extra_ca: Some(ca_pem.to_owned()),
            ..Setup::default()
        })
        .await
    }

    pub async fn start_with(setup: Setup) -> Self {
        rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .ok();
        let url = cluster::database().await;
        let store = Store::connect(&url.as_str().into(), 8, Duration::from_secs(30))
            .await
            .unwrap();
        let pool = PgPool::connect(&url).await.unwrap();
        // A Sunday
        let clock = Arc::new(ManualClock::new("2026-11-22T12:00:00Z".parse().unwrap()));
        let (https, smtp) = (
            HttpsServer::start_for(setup.server_name).await,
            SmtpServer::start().await,
        );
        let folder = tempfile::tempdir().unwrap();
        let networks: Vec<_> = setup
            .allow_networks
            .iter()
            .map(|network| network.parse().unwrap())
            .collect();
        let limits = Limits {
            max_bytes: setup.max_bytes,
            connect_timeout: setup.connect_timeout,
            idle_timeout: setup.idle_timeout,
            total_timeout: setup.total_timeout,
            min_rate: 100,
            per_host: 2,
        };
        let server_ca = setup.trust_server.then_some(https.ca_pem.as_str());
        let ca: String = setup
            .extra_ca
            .as_deref()
            .into_iter()
            .chain(server_ca)
            .collect();
        let ca = (!ca.is_empty()).then_some(ca.as_bytes());
        let fetcher = Fetcher::new(
            NetworkPolicy::new(&networks),
            limits,
            setup.allow_plain_http,
            ca,
            clock.clone(),
        )
        .unwrap();
        let options = Options {
            key_file: folder.path().join("secrets.key"),
            attempts: 3,
            backoff: Duration::from_millis(1),
            max_rows: 1_000_000,
            workbooks: WorkbookReader::Child(env!("CARGO_BIN_EXE_rosterd").into()),
            lease: Duration::from_secs(30),
            owner: "test".to_owned(),
            mail_domain: "example.org".to_owned(),
            operator: setup.operator.map(str::to_owned),
            on_stop: StopPolicy::Requeue,
        };
        let importer = Arc::new(Importer::new(
            store.clone(),
            clock.clone(),
            fetcher,
            options,
        ));
        let mailer = Mailer::new(
            &smtp.url().into(),
            "rosterd <rosterd@example.org>",
            Duration::from_secs(10),
            None,
        )
        .unwrap();
        let lifecycle = Lifecycle::default();
        let dispatcher = Dispatcher::new(
            importer,
            Some(Arc::new(mailer)),
            clock.clone(),
            lifecycle.clone(),
            4,
            Retention {
                removed_days: 30,
                issues_days: 180,
                runs_days: 730,
                outbox_days: 30,
            },
        );
        Self {
            store,
            pool,
            clock,
            https,
            smtp,
            dispatcher,
            lifecycle,
            folder,
            url,
            extra_ca: setup.extra_ca,
        }
    }

    /// Runs everything that is due, including follow-up work and mail.
    pub async fn run_until_idle(&self) {
        for _ in 0..3 {
            self.dispatcher.tick().await.unwrap();
            self.dispatcher.wait_idle().await;
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn advance(&self, delta: TimeDelta) {
        self.clock.advance(delta);
    }

    /// Adds an enabled account with one admin. Its file is `sheet`, served at `/contacts.csv`.
    pub async fn account(&self, sheet: impl Into<Vec<u8>>) -> AccountId {
        self.https.serve("/contacts.csv", Reply::ok(sheet));
        let id = self
            .store
            .add_account(
                "North Shore Rescue",
                "America/Los_Angeles",
                &["admin@example.org".to_owned()],
            )
            .await
            .unwrap();
        self.set_https_source(id, &self.https.url("/contacts.csv"))
            .await;
        self.store.set_import_enabled(id, true).await.unwrap();
        id
    }

    /// Adds an account and imports three contacts.
    pub async fn account_with_contacts(&self) -> AccountId {
        let account = self
            .account(crate::support::sheet::contacts_csv(1..=3))
            .await;
        assert_eq!(self.import(account).await.added, Some(3));
        account
    }

    /// Runs an import that must fail with this code and leave contacts and groups unchanged.
    pub async fn assert_import_fails(&self, account: AccountId, code: &str) -> RunRow {
        let before = self.snapshot().await;
        let run = self.import(account).await;
        assert_failed(&run, code);
        assert_eq!(self.snapshot().await, before, "{code}");
        run
    }

    pub async fn set_https_source(&self, account: AccountId, url: &str) {
        let new = NewSettings::new(SourceKind::Https, url);
        self.store.save_settings(account, &new).await.unwrap();
    }

    /// Saves a source with HTTP Basic authentication and a password encrypted for `origin`.
    pub async fn set_basic_auth_source(
        &self,
        account: AccountId,
        url: &str,
        password: &str,
        origin: &str,
    ) {
        let encrypted = self.encrypt_secret(account, PASSWORD_COLUMN, password, origin);
        let new = NewSettings {
            username: Some("jane".to_owned()),
            password_sealed: Some(encrypted),
            ..NewSettings::new(SourceKind::HttpsBasic, url)
        };
        self.store.save_settings(account, &new).await.unwrap();
    }

    /// Encrypts a secret with the key of this test, which is generated at the first call.
    pub fn encrypt_secret(
        &self,
        account: AccountId,
        field: &'static str,
        secret: &str,
        origin: &str,
    ) -> Vec<u8> {
        let key = self.folder.path().join("secrets.key");
        if !key.exists() {
            Keyring::generate(&key).unwrap();
        }
        let binding = Binding {
            account: account.0,
            field,
            origin,
        };
        Keyring::load(&key)
            .unwrap()
            .encrypt(&secret.into(), binding)
            .unwrap()
    }

    pub fn serve(&self, sheet: impl Into<Vec<u8>>) {
        self.https.serve("/contacts.csv", Reply::ok(sheet));
    }

    /// Requests an import as an operator would, and runs it.
    pub async fn import(&self, account: AccountId) -> RunRow {
        let id = sqlx::query_scalar::<_, i64>(
            "INSERT INTO import_runs (account_id) VALUES ($1) RETURNING id",
        )
        .bind(account.0)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        self.run_until_idle().await;
        self.store.run(rosterd::model::RunId(id)).await.unwrap()
    }

    /// Serves a sheet and imports it.
    pub async fn import_sheet(&self, account: AccountId, sheet: impl Into<Vec<u8>>) -> RunRow {
        self.serve(sheet);
        self.import(account).await
    }

    /// Approves a run as `rosterd runs approve` does, and runs the approval.
    pub async fn approve(&self, account: AccountId, run: i64) -> RunRow {
        self.request_run(account, "approval", run, false, false)
            .await
    }

    /// Approves a run, with contacts recognized under a new ID keeping their records.
    pub async fn approve_keeping_ids(&self, account: AccountId, run: i64) -> RunRow {
        self.request_run(account, "approval", run, true, false)
            .await
    }

    /// Reverts a run as `rosterd runs revert` does, and runs the revert.
    pub async fn revert(&self, account: AccountId, run: i64, force: bool) -> RunRow {
        self.request_run(account, "revert", run, false, force).await
    }

    async fn request_run(
        &self,
        account: AccountId,
        trigger: &str,
        subject: i64,
        keep_ids: bool,
        forced: bool,
    ) -> RunRow {
        let id = sqlx::query_scalar::<_, i64>(
            "INSERT INTO import_runs (account_id, trigger, subject_run_id, keep_ids, forced) VALUES ($1, $2, $3, $4, $5) RETURNING id",
        )
        .bind(account.0)
        .bind(trigger)
        .bind(subject)
        .bind(keep_ids)
        .bind(forced)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        self.run_until_idle().await;
        self.store.run(rosterd::model::RunId(id)).await.unwrap()
    }

    /// Locks the account's row as an import does, until the transaction ends or is dropped.
    pub async fn lock_account(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut blocker = self.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM accounts FOR NO KEY UPDATE")
            .execute(&mut *blocker)
            .await
            .unwrap();
        blocker
    }

    /// Waits until an import is blocked on the account's row.
    pub async fn wait_until_blocked_on_account(&self) {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FOR NO KEY UPDATE%'";
        while self.count(waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Blocks imports in the middle of their transaction, after contacts and numbers and before group members.
    pub async fn lock_group_members(&self) -> sqlx::Transaction<'static, sqlx::Postgres> {
        let mut blocker = self.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE group_members IN SHARE MODE")
            .execute(&mut *blocker)
            .await
            .unwrap();
        blocker
    }

    /// Waits until an import is blocked on `group_members`.
    pub async fn wait_until_blocked_on_members(&self) {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'group_members'::regclass
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        while self.count(waiting).await == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// All active contacts and groups, without timestamps and without the IDs of rows that nothing references.
    pub async fn state(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for sql in [
            "SELECT format('%s %s %s %s %s %s %s', id, external_id, name, organization_name, title, email, notification_priority)
             FROM active_contacts ORDER BY id",
            "SELECT format('%s %s %s %s %s', n.contact_id, n.position, n.number, n.number_type, n.description)
             FROM contact_numbers n JOIN active_contacts c ON c.id = n.contact_id ORDER BY n.contact_id, n.position",
            "SELECT format('%s %s', id, name) FROM active_groups ORDER BY id",
            "SELECT format('%s %s', contact_id, group_id) FROM active_group_members ORDER BY contact_id, group_id",
        ] {
            rows.extend(
                sqlx::query_scalar::<_, String>(sql)
                    .fetch_all(&self.pool)
                    .await
                    .unwrap(),
            );
        }
        rows
    }

    /// External IDs and names of the active contacts.
    pub async fn contacts(&self) -> Vec<(String, String)> {
        sqlx::query_as("SELECT coalesce(external_id, '-'), name FROM active_contacts ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Runs a query that returns one text value.
    pub async fn text(&self, sql: &'static str) -> String {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn execute(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        sqlx::query(sql)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
    }

    /// All stored rows of contacts and groups, each with the transaction that wrote it.
    pub async fn snapshot(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for sql in [
            "SELECT format('%s %s', c.xmin, c) FROM contacts c ORDER BY c.id",
            "SELECT format('%s %s', n.xmin, n) FROM contact_numbers n ORDER BY n.contact_id, n.position",
            "SELECT format('%s %s', g.xmin, g) FROM groups g ORDER BY g.id",
            "SELECT format('%s %s', m.xmin, m) FROM group_members m ORDER BY m.contact_id, m.group_id",
        ] {
            rows.extend(
                sqlx::query_scalar::<_, String>(sql)
                    .fetch_all(&self.pool)
                    .await
                    .unwrap(),
            );
        }
        rows
    }
}

/// Asserts that a run failed with this code and has the message for it.
#[track_caller]
pub fn assert_failed(run: &RunRow, code: &str) {
    assert_eq!(
        run.failure_code.as_deref(),
        Some(code),
        "{}: {:?}",
        run.status,
        run.failure_message
    );
    let message = run.failure_message.as_deref().unwrap_or_default();
    for expected in FAILURE_MESSAGES.iter().filter(|(of, _)| *of == code) {
        let parts = expected.1.split('…');
        assert!(
            parts.clone().all(|part| message.contains(part)),
            "{code}: {message}"
        );
    }
}

/// The message for each failure code of a fetch; `…` stands for names and numbers.
const FAILURE_MESSAGES: &[(&str, &str)] = &[
    (
        "secret_for_other_origin",
        "the password was entered for … and is not sent anywhere else; enter the password again for the new address",
    ),
    ("secret_unreadable", "key…; "),
    (
        "address_refused",
        "; use a public address, or ask the operator to allow this one",
    ),
    (
        "name_not_found",
        "host name `…` could not be resolved; check",
    ),
    (
        "connect_failed",
        "connection to `…` failed (…); check the address and whether the server is running",
    ),
    (
        "timed_out",
        "fetching from `…` timed out (…); check that the server is up",
    ),
    (
        "tls_invalid",
        "the certificate of `…` is not valid (…); the server's administrator",
    ),
    (
        "scheme_refused",
        "addresses that begin with …; enter one that begins with ",
    ),
    (
        "redirect_refused",
        "` redirects to …, which is not followed; enter the address",
    ),
    (
        "too_many_redirects",
        "` redirects more than 5 times; enter the address of the file",
    ),
    (
        "forbidden",
        "` refused access to the file (…); check its sharing settings",
    ),
    ("not_found", "there is no file at `…`; check the address"),
    (
        "rate_limited",
        "` received too many requests (HTTP …; import less often",
    ),
    (
        "server_error",
        "` returned a server error (HTTP 5…; try again later",
    ),
    (
        "http_status",
        "` did not return the file (HTTP …); check the address",
    ),
    (
        "protocol_error",
        "unexpected response from `…` (…); check the address and its port",
    ),
    (
        "too_large",
        "the file is larger than … (`fetch.max_bytes`); remove data that does not belong",
    ),
    (
        "not_a_file",
        "` is not a file; enter the address of the file itself",
    ),
    (
        "host_key_changed",
        "` presented another host key (…No user name or password was sent.…settings trust ACCOUNT --fingerprint SHA256:…`",
    ),
    (
        "changed_while_reading",
        "the file on `… and may still be uploading; let the upload finish",
    ),
    (
        "incomplete",
        "the file from `…` arrived incomplete or damaged; try again",
    ),
    (
        "s3_unknown_key_id",
        "` rejected the S3 access key ID (HTTP …); check it",
    ),
    (
        "s3_wrong_secret",
        "the S3 secret key does not match the access key ID, …SignatureDoesNotMatch); enter both again",
    ),
    (
        "s3_wrong_region",
        "` is not in the region …; correct the S3 region",
    ),
    (
        "s3_no_bucket",
        "there is no bucket `…; check the S3 object URL",
    ),
    (
        "s3_archived",
        "` is archived and must be restored before it can be read; store",
    ),
    (
        "clock_skew",
        "` reports that the clock of this machine is wrong (HTTP …); the operator must set it",
    ),
];

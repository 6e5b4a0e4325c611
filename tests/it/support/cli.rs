//! CLI commands, run as a user would.

use std::path::Path;

use serde_json::Value;

use super::{TestApp, daemon};

/// Exit code and output of a command.
pub struct CliOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl CliOutput {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

/// Runs a command in the test's folder, with the test's database and servers.
pub async fn run_cli(app: &TestApp, args: &[&str]) -> CliOutput {
    let mut command = command(app);
    let output = command.args(args).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CliOutput {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// The program in the test's folder, with the test's database and servers.
pub fn command(app: &TestApp) -> tokio::process::Command {
    let folder = app.folder.path();
    let ca = folder.join("ca.pem");
    let trusted = app.extra_ca.as_ref().unwrap_or(&app.https.ca_pem);
    std::fs::write(&ca, trusted).unwrap();
    let mut command = daemon::rosterd(folder);
    command
        .env("DATABASE_URL", &app.url)
        .env("ROSTERD_SMTP__URL", app.smtp.url())
        .env("ROSTERD_MAIL__FROM", "rosterd@example.org")
        .env("ROSTERD_SECRETS__KEY_FILE", folder.join("secrets.key"))
        .env("ROSTERD_FETCH__ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
        .env("ROSTERD_FETCH__EXTRA_CA_FILE", ca)
        .env("ROSTERD_FETCH__BACKOFF", "1ms")
        // AWS settings of the environment must never be used.
        .env("AWS_ACCESS_KEY_ID", "AKIAMACHINE")
        .env("AWS_SECRET_ACCESS_KEY", "from-environment")
        .env("AWS_SESSION_TOKEN", "from-environment")
        .env("AWS_REGION", "eu-west-3")
        .env("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        // Nothing listens there, so a request that uses the environment's proxy fails.
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("ALL_PROXY", "http://127.0.0.1:9");
    command
}

pub fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), content).unwrap();
}

//! Secrets do not leak: canary secrets are searched for, in many encodings, in all output of the program.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::support::TestApp;
use crate::support::cli::{command, run_cli, write};
use crate::support::https_server::Reply;
use crate::support::s3_server::{self, KEY_ID, S3Server};
use crate::support::sheet::contacts_csv;
use crate::support::ssh_server::{self, Login, SshServer};

const BASIC: &str = "canary+basic/päss wörd";
const SFTP: &str = "canary+sftp/päss wörd";
const S3: &str = "canary+s3/sécret key";
/// The most verbose log. Dependencies are named because their directives override the defaults that quiet them.
const LEVEL: &str = "trace,aws=trace,h2=trace,hyper=trace,hyper_util=trace,lettre=trace,reqwest=trace,rustls=trace,sqlx=trace";
const TOKEN: &str = "canary-token-in-a-query";

/// Each secret in the encodings in which it could leak, with a description.
fn encodings() -> Vec<(String, String)> {
    let mut encodings = Vec::new();
    for secret in [
        BASIC,
        SFTP,
        S3,
        TOKEN,
        ssh_server::PASSWORD,
        s3_server::SECRET,
    ] {
        let encoded =
            percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let mut url = url::Url::parse("https://x/").unwrap();
        url.set_password(Some(secret)).unwrap();
        let url_encoded = url.password().unwrap().to_lowercase();
        let form = encoded.replace("%20", "+");
        let escaped = secret.escape_unicode().to_string();
        let debug = format!("{secret:?}");
        let hex = rosterd::model::digest::hex(secret.as_bytes());
        let basic = format!("jane:{secret}");
        for (encoding_name, text) in [
            ("plain text", secret.to_owned()),
            ("percent-encoded", encoded.to_lowercase()),
            ("percent-encoded as in a URL", url_encoded),
            ("form-encoded", form.to_lowercase()),
            ("escaped", escaped),
            ("Debug output", debug),
            ("hexadecimal", hex),
            ("base64", STANDARD_NO_PAD.encode(secret)),
            ("base64 for URLs", URL_SAFE_NO_PAD.encode(secret)),
            ("HTTP Basic", STANDARD.encode(basic)),
        ] {
            encodings.push((format!("{secret} {encoding_name}"), text.to_lowercase()));
        }
    }
    encodings
}

fn assert_no_secret(location: &str, text: &str) {
    assert!(!text.is_empty(), "{location}: nothing to search");
    let text = text.to_lowercase();
    for (description, encoding) in encodings() {
        assert!(
            !text.contains(&encoding),
            "{description} found in {location}"
        );
    }
}

/// Collects the arguments of every process on the machine until `stop` is set.
fn collect_process_arguments(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut arguments = std::collections::BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for process in std::fs::read_dir("/proc").unwrap().flatten() {
                if let Ok(line) = std::fs::read(process.path().join("cmdline")) {
                    arguments.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
            }
        }
        arguments.into_iter().collect::<Vec<_>>().join("\n")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn canary_secrets_do_not_leak_into_any_output() {
    let s3 = S3Server::start("north-shore").await;
    let sftp = SshServer::start(Login::Password);
    let app = TestApp::start_trusting(&s3.ca_pem).await;
    app.account("").await;
    let ca = format!("{}{}", s3.ca_pem, app.https.ca_pem);
    let app = TestApp {
        extra_ca: Some(ca),
        ..app
    };
    let folder = app.folder.path();
    for (name, secret) in [
        ("basic", BASIC),
        ("sftp-wrong", SFTP),
        ("s3-wrong", S3),
        ("sftp-right", ssh_server::PASSWORD),
        ("s3-right", s3_server::SECRET),
    ] {
        write(folder, name, secret);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let arguments = collect_process_arguments(Arc::clone(&stop));
    let mut log = String::new();
    assert_eq!(run_cli(&app, &["key", "generate"]).await.code, 0);
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=3)).basic("jane", BASIC),
    );
    app.https.serve("/denied.csv", Reply::status(401));
    let query = format!("/contacts.csv?sig={TOKEN}");
    app.https.serve(&query, Reply::ok(contacts_csv(1..=4)));
    app.https.serve(
        "/redirect.csv",
        Reply::status(302).header("Location", &query),
    );
    let moved = format!("http://127.0.0.1/x?sig={TOKEN}");
    app.https.serve(
        "/redirect-inside.csv",
        Reply::status(302).header("Location", &moved),
    );
    let (port, web) = (sftp.address.port(), |path: &str| app.https.url(path));
    let basic = [
        "--source",
        "https_basic",
        "--username",
        "jane",
        "--password-file",
        "basic",
        "--url",
    ];
    let plain = ["--source", "https", "--url"];
    let by_sftp = [
        "--source",
        "sftp",
        "--username",
        "jane",
        "--password-file",
        "sftp-wrong",
        "--url",
    ];
    let by_s3 = [
        "--source",
        "s3",
        "--s3-region",
        "us-east-1",
        "--s3-access-key-id",
        KEY_ID,
        "--secret-file",
        "s3-wrong",
        "--url",
    ];
    let with_file = |settings: &[&'static str], old: &str, right: &'static str| -> Vec<&str> {
        let each = settings.iter();
        each.map(|arg| if *arg == old { right } else { arg })
            .collect()
    };
    let right_sftp = with_file(&by_sftp, "sftp-wrong", "sftp-right");
    let right_s3 = with_file(&by_s3, "s3-wrong", "s3-right");
    sftp.write("contacts.csv", contacts_csv(1..=4));
    s3.put("north-shore", "contacts.csv", contacts_csv(1..=4));
    for (settings, url, expected_code) in [
        (&basic[..], web("/private.csv"), 0),
        (&basic[..], web("/denied.csv"), 1),
        (&basic[..], web("/redirect.csv"), 0),
        (&plain[..], web("/redirect-inside.csv"), 1),
        (&plain[..], web(&query), 0),
        (&plain[..], format!("https://10.0.0.1/x.csv?sig={TOKEN}"), 1),
        // Wrong password
        (&by_sftp[..], format!("sftp://127.0.0.1:{port}/x.csv"), 1),
        // Wrong secret key
        (&by_s3[..], s3.url("north-shore/x.csv"), 1),
        // Correct credentials
        (
            &right_sftp[..],
            format!("sftp://127.0.0.1:{port}/contacts.csv"),
            0,
        ),
        (&right_s3[..], s3.url("north-shore/contacts.csv"), 0),
    ] {
        let line = [&["settings", "set", "1"], settings, &[url.as_str()]].concat();
        for (line, code) in [
            (&line[..], 0),
            (&["settings", "show", "1"], 0),
            (&["settings", "test", "1"], expected_code),
            (&["import", "1"], expected_code),
            (&["runs", "list"], 0),
            (&["doctor"], i32::from(false)),
        ] {
            let mut command = command(&app);
            command
                .env("ROSTERD_LOG__LEVEL", LEVEL)
                .env("RUST_BACKTRACE", "1");
            let output = command.args(line).output().await.unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            // These commands print the URL by design.
            let is_echo = line[0] == "settings" && line[1] != "test";
            assert!(
                output.status.code() == Some(code) || line[0] == "doctor",
                "{line:?}: {text}"
            );
            log.push_str(&if is_echo {
                text.replace(TOKEN, "")
            } else {
                text
            });
        }
    }
    for level in ["TRACE", "DEBUG", "INFO"] {
        assert!(log.contains(level), "no {level} lines in the log");
    }
    stop.store(true, Ordering::Relaxed);
    assert_no_secret("logs and errors", &log);
    let messages = app.smtp.messages();
    assert!(!messages.is_empty());
    for message in &messages {
        assert_no_secret("a mail", &String::from_utf8_lossy(&message.raw));
        assert_no_secret("a mail", &format!("{}{}", message.text(), message.html()));
    }
    // The URL is stored as it was entered, including its query.
    let dump = dump(&app.url)
        .replace(&query, "")
        .replace(&format!("x.csv?sig={TOKEN}"), "");
    assert_no_secret("a dump of the database", &dump);
    // The URL is in the arguments of the tested commands; this is about the processes that they start.
    let arguments = arguments.join().unwrap();
    assert!(arguments.contains("settings set"));
    assert_no_secret("the arguments of processes", &arguments.replace(TOKEN, ""));
}

/// Dumps a database as SQL.
pub fn dump(url: &str) -> String {
    let newest = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .flatten()
        .map(|version| version.path())
        .max()
        .unwrap();
    let output = Command::new(Path::new(&newest).join("bin/pg_dump"))
        .arg("--inserts")
        .arg(url)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let dump = String::from_utf8(output.stdout).unwrap();
    // The `\restrict` lines contain a random token.
    let lines = dump.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn key_rotation_keeps_secrets_usable() {
    let app = TestApp::start().await;
    app.account("").await;
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=3)).basic("jane", "hunter2"),
    );
    write(app.folder.path(), "password", "hunter2");
    assert_eq!(
        run_cli(&app, &["key", "rotate"]).await.code,
        1,
        "no key exists yet"
    );
    assert_eq!(run_cli(&app, &["key", "generate"]).await.code, 0);
    let url = app.https.url("/private.csv");
    let set = [
        "settings",
        "set",
        "1",
        "--source",
        "https_basic",
        "--url",
        &url,
        "--username",
        "jane",
        "--password-file",
        "password",
    ];
    assert_eq!(run_cli(&app, &set).await.code, 0);
    let key_file = app.folder.path().join("secrets.key");
    // While the key file is locked for a change, nothing is encrypted; while a command encrypts, the key is not changed.
    let before = (
        std::fs::read(&key_file).unwrap(),
        stored_password(&app).await,
    );
    let exclusive_lock = rosterd::secrets::Keyring::lock(&key_file).unwrap();
    for command in [&set[..], &["key", "rotate"]] {
        let refused = run_cli(&app, command).await;
        assert!(
            refused.code == 1 && refused.stderr.contains("using or changing the key"),
            "{}",
            refused.stderr
        );
    }
    drop(exclusive_lock);
    let shared_lock = rosterd::secrets::Keyring::lock_shared(&key_file).unwrap();
    assert_eq!(run_cli(&app, &["key", "rotate"]).await.code, 1);
    drop(shared_lock);
    let after = (
        std::fs::read(&key_file).unwrap(),
        stored_password(&app).await,
    );
    assert_eq!(after, before);
    let (old_key, old_encrypted) = (
        std::fs::read(&key_file).unwrap(),
        stored_password(&app).await,
    );
    // A rotation that was interrupted after writing the new key, and is then run again.
    rosterd::secrets::Keyring::begin_rotation(&key_file).unwrap();
    assert_eq!(
        run_cli(&app, &["import", "1"]).await.code,
        0,
        "secrets can be decrypted with either key"
    );
    let rotated = run_cli(&app, &["key", "rotate"]).await;
    assert_eq!(rotated.code, 0, "{}", rotated.stderr);
    assert!(
        rotated.stdout.contains("secrets re-encrypted: 1"),
        "{}",
        rotated.stdout
    );
    assert_ne!(stored_password(&app).await, old_encrypted);
    // Neither the settings nor the file count as changed.
    let again = run_cli(&app, &["import", "1", "--format", "json"]).await;
    assert!(
        again.stdout.contains("\"status\": \"unchanged\""),
        "{}",
        again.stdout
    );
    app.https.serve(
        "/private.csv",
        Reply::ok(contacts_csv(1..=4)).basic("jane", "hunter2"),
    );
    assert_eq!(run_cli(&app, &["import", "1"]).await.code, 0);
    assert_eq!(app.contacts().await.len(), 4);
    // With the old key alone, decryption fails and nothing is overwritten.
    let new_encrypted = stored_password(&app).await;
    std::fs::write(&key_file, old_key).unwrap();
    assert_eq!(run_cli(&app, &["import", "1"]).await.code, 1);
    let rotated = run_cli(&app, &["key", "rotate"]).await;
    assert_eq!(
        rotated.code, 1,
        "a secret that cannot be decrypted is reported"
    );
    assert!(
        rotated.stdout.contains("North Shore Rescue"),
        "{}",
        rotated.stdout
    );
    assert_eq!(stored_password(&app).await, new_encrypted);
    // `doctor` reports a key that cannot decrypt the secrets. A new key can still be generated.
    let doctor = run_cli(&app, &["doctor"]).await.stdout;
    assert!(
        doctor.contains("cannot decrypt the secrets of `North Shore Rescue`"),
        "{doctor}"
    );
    let keys = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(run_cli(&app, &["key", "rotate"]).await.code, 1);
    let more = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(more.lines().count(), keys.lines().count() + 1, "{more}");
    assert!(keys.lines().all(|line| more.contains(line)));
    assert_eq!(run_cli(&app, &set).await.code, 0);
    assert_eq!(run_cli(&app, &["key", "rotate"]).await.code, 0);
    let doctor = run_cli(&app, &["doctor"]).await.stdout;
    assert!(doctor.contains("is usable"), "{doctor}");
}

async fn stored_password(app: &TestApp) -> Vec<u8> {
    sqlx::query_scalar("SELECT password_sealed FROM import_settings")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

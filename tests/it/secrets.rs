//! No secret is found anywhere but where it is sealed: canaries, looked for in every spelling in all that the program leaves.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::support::TestApp;
use crate::support::https_server::Reply;
use crate::support::s3_server::{self, KEY_ID, S3Server};
use crate::support::sheet::people;
use crate::support::ssh_server::{self, Login, SshServer};
use crate::support::typing::{command, type_in, write};

const BASIC: &str = "canary+basic/päss wörd";
const SFTP: &str = "canary+sftp/päss wörd";
const S3: &str = "canary+s3/sécret key";
/// Louder than anybody would ask for: other people's crates are named, and so prevail over their usual silence.
const LEVEL: &str = "trace,aws=trace,h2=trace,hyper=trace,hyper_util=trace,lettre=trace,reqwest=trace,rustls=trace,sqlx=trace";
const TOKEN: &str = "canary-token-in-a-query";

/// All that a secret looks like on its way.
fn spellings() -> Vec<(String, String)> {
    let mut spellings = Vec::new();
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
        let in_url = url.password().unwrap().to_lowercase();
        let form = encoded.replace("%20", "+");
        let escaped = secret.escape_unicode().to_string();
        let debug = format!("{secret:?}");
        let hex = rosterd::model::digest::hex(secret.as_bytes());
        let basic = format!("jane:{secret}");
        for (how, text) in [
            ("as it is", secret.to_owned()),
            ("percent-encoded", encoded.to_lowercase()),
            ("percent-encoded where a URL has to", in_url),
            ("as in a form", form.to_lowercase()),
            ("escaped", escaped),
            ("for debugging", debug),
            ("hexadecimal", hex),
            ("base64", STANDARD_NO_PAD.encode(secret)),
            ("base64 for URLs", URL_SAFE_NO_PAD.encode(secret)),
            ("Basic", STANDARD.encode(basic)),
        ] {
            spellings.push((format!("{secret} {how}"), text.to_lowercase()));
        }
    }
    spellings
}

fn look(place: &str, text: &str) {
    assert!(!text.is_empty(), "{place}: nothing to look through");
    let text = text.to_lowercase();
    for (what, spelling) in spellings() {
        assert!(!text.contains(&spelling), "{what} found in {place}");
    }
}

/// The arguments of every process, again and again until told to stop.
fn watch_arguments(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut seen = std::collections::BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for process in std::fs::read_dir("/proc").unwrap().flatten() {
                if let Ok(line) = std::fs::read(process.path().join("cmdline")) {
                    seen.insert(String::from_utf8_lossy(&line).replace('\0', " "));
                }
            }
        }
        seen.into_iter().collect::<Vec<_>>().join("\n")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_canary_is_found_in_logs_mails_dumps_errors_or_arguments() {
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
    let arguments = watch_arguments(Arc::clone(&stop));
    let mut log = String::new();
    assert_eq!(type_in(&app, &["key", "generate"]).await.code, 0);
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=3)).basic("jane", BASIC),
    );
    app.https.serve("/denied.csv", Reply::status(401));
    let query = format!("/contacts.csv?sig={TOKEN}");
    app.https.serve(&query, Reply::ok(people(1..=4)));
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
    let with = |settings: &[&'static str], old: &str, right: &'static str| -> Vec<&str> {
        let each = settings.iter();
        each.map(|word| if *word == old { right } else { word })
            .collect()
    };
    let right_sftp = with(&by_sftp, "sftp-wrong", "sftp-right");
    let right_s3 = with(&by_s3, "s3-wrong", "s3-right");
    sftp.write("contacts.csv", people(1..=4));
    s3.put("north-shore", "contacts.csv", people(1..=4));
    for (settings, url, ends) in [
        (&basic[..], web("/private.csv"), 0),
        (&basic[..], web("/denied.csv"), 1),
        (&basic[..], web("/redirect.csv"), 0),
        (&plain[..], web("/redirect-inside.csv"), 1),
        (&plain[..], web(&query), 0),
        (&plain[..], format!("https://10.0.0.1/x.csv?sig={TOKEN}"), 1),
        // The password is another: refused.
        (&by_sftp[..], format!("sftp://127.0.0.1:{port}/x.csv"), 1),
        // So is the secret key.
        (&by_s3[..], s3.url("north-shore/x.csv"), 1),
        // And the right ones.
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
            (&["settings", "test", "1"], ends),
            (&["import", "1"], ends),
            (&["runs", "list"], 0),
            (&["doctor"], i32::from(false)),
        ] {
            let mut command = command(&app);
            command
                .env("ROSTERD_LOG__LEVEL", LEVEL)
                .env("RUST_BACKTRACE", "1");
            let done = command.args(line).output().await.unwrap();
            let said = [done.stdout, done.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            // The URL is what an operator has just typed, or asks to see.
            let is_echo = line[0] == "settings" && line[1] != "test";
            assert!(
                done.status.code() == Some(code) || line[0] == "doctor",
                "{line:?}: {said}"
            );
            log.push_str(&if is_echo {
                said.replace(TOKEN, "")
            } else {
                said
            });
        }
    }
    for level in ["TRACE", "DEBUG", "INFO"] {
        assert!(log.contains(level), "no {level} in the log");
    }
    stop.store(true, Ordering::Relaxed);
    look("logs and errors", &log);
    let messages = app.smtp.messages();
    assert!(!messages.is_empty());
    for message in &messages {
        look("a mail", &String::from_utf8_lossy(&message.raw));
        look("a mail", &format!("{}{}", message.text(), message.html()));
    }
    // The address itself is kept as it was entered, with its query.
    let dump = dump(&app.url)
        .replace(&query, "")
        .replace(&format!("x.csv?sig={TOKEN}"), "");
    look("a dump of the database", &dump);
    // Our own arguments hold the address; the program's own child does not.
    let arguments = arguments.join().unwrap();
    assert!(arguments.contains("settings set"));
    look("the arguments of processes", &arguments.replace(TOKEN, ""));
}

/// All that is in a database, as SQL.
pub fn dump(url: &str) -> String {
    let newest = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .flatten()
        .map(|version| version.path())
        .max()
        .unwrap();
    let done = Command::new(Path::new(&newest).join("bin/pg_dump"))
        .arg("--inserts")
        .arg(url)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let dump = String::from_utf8(done.stdout).unwrap();
    // For psql, another word each time.
    let lines = dump.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_key_is_changed_while_secrets_stay_usable() {
    let app = TestApp::start().await;
    app.account("").await;
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=3)).basic("jane", "hunter2"),
    );
    write(app.folder.path(), "password", "hunter2");
    assert_eq!(
        type_in(&app, &["key", "rotate"]).await.code,
        1,
        "there is no key yet"
    );
    assert_eq!(type_in(&app, &["key", "generate"]).await.code, 0);
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
    assert_eq!(type_in(&app, &set).await.code, 0);
    let key_file = app.folder.path().join("secrets.key");
    // While somebody changes the key nobody seals with it, and while somebody seals nobody changes it.
    let before = (std::fs::read(&key_file).unwrap(), sealed(&app).await);
    let changing = rosterd::seal::Keyring::lock(&key_file).unwrap();
    for command in [&set[..], &["key", "rotate"]] {
        let refused = type_in(&app, command).await;
        assert!(
            refused.code == 1 && refused.err.contains("using or changing the key"),
            "{}",
            refused.err
        );
    }
    drop(changing);
    let sealing = rosterd::seal::Keyring::hold(&key_file).unwrap();
    assert_eq!(type_in(&app, &["key", "rotate"]).await.code, 1);
    drop(sealing);
    let after = (std::fs::read(&key_file).unwrap(), sealed(&app).await);
    assert_eq!(after, before);
    let (old_key, old_sealed) = (std::fs::read(&key_file).unwrap(), sealed(&app).await);
    // Interrupted after the new key was written, and after that run again.
    rosterd::seal::Keyring::begin_rotation(&key_file).unwrap();
    assert_eq!(
        type_in(&app, &["import", "1"]).await.code,
        0,
        "both keys open"
    );
    let rotated = type_in(&app, &["key", "rotate"]).await;
    assert_eq!(rotated.code, 0, "{}", rotated.err);
    assert!(
        rotated.out.contains("1 secrets sealed anew"),
        "{}",
        rotated.out
    );
    assert_ne!(sealed(&app).await, old_sealed);
    // The settings are the same, and so is the file.
    let again = type_in(&app, &["import", "1", "--format", "json"]).await;
    assert!(
        again.out.contains("\"status\": \"unchanged\""),
        "{}",
        again.out
    );
    app.https.serve(
        "/private.csv",
        Reply::ok(people(1..=4)).basic("jane", "hunter2"),
    );
    assert_eq!(type_in(&app, &["import", "1"]).await.code, 0);
    assert_eq!(app.contacts().await.len(), 4);
    // With the old key nothing opens, and nothing is overwritten.
    let new_sealed = sealed(&app).await;
    std::fs::write(&key_file, old_key).unwrap();
    assert_eq!(type_in(&app, &["import", "1"]).await.code, 1);
    let rotated = type_in(&app, &["key", "rotate"]).await;
    assert_eq!(
        rotated.code, 1,
        "a secret that no key opens is not passed over in silence"
    );
    assert!(
        rotated.out.contains("North Shore Rescue"),
        "{}",
        rotated.out
    );
    assert_eq!(sealed(&app).await, new_sealed);
    // A key that opens nothing is no good key, and does not keep others from being made.
    let doctor = type_in(&app, &["doctor"]).await.out;
    assert!(
        doctor.contains("does not open the secrets of `North Shore Rescue`"),
        "{doctor}"
    );
    let keys = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(type_in(&app, &["key", "rotate"]).await.code, 1);
    let more = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(more.lines().count(), keys.lines().count() + 1, "{more}");
    assert!(keys.lines().all(|line| more.contains(line)));
    assert_eq!(type_in(&app, &set).await.code, 0);
    assert_eq!(type_in(&app, &["key", "rotate"]).await.code, 0);
    let doctor = type_in(&app, &["doctor"]).await.out;
    assert!(doctor.contains("can be used"), "{doctor}");
}

async fn sealed(app: &TestApp) -> Vec<u8> {
    sqlx::query_scalar("SELECT password_sealed FROM import_settings")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

//! `make demo`: the main job on real input. A web server with a spreadsheet, a mail server, the daemon on its private
//! Postgres; an import that comes due by its schedule, a changed sheet, a truncated sheet.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a demonstration prints, stops where it can't go on, and uses a part of the test servers"
)]

#[path = "../tests/it/support/https_server.rs"]
mod https_server;
#[path = "../tests/it/support/smtp_server.rs"]
mod smtp_server;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use comfy_table::{Table, presets};
use https_server::{HttpsServer, Reply};
use rust_xlsxwriter::Workbook;
use smtp_server::SmtpServer;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const PATH: &str = "/people.xlsx";
const HEADER: [&str; 10] = [
    "ID",
    "Name",
    "Organization Name",
    "Title",
    "Number",
    "Number Type",
    "Number Description",
    "Email Address",
    "Notification Priority",
    "Groups",
];

type People = Vec<[&'static str; 6]>;

/// ID, name, number, type, priority, groups.
fn people() -> People {
    vec![
        [
            "NSR-01",
            "Amira Haddad",
            "(604) 555-0101",
            "mobile",
            "High",
            "Search Team, Medics",
        ],
        [
            "NSR-02",
            "Björn Nilsen",
            "604-555-0102",
            "mobile",
            "High",
            "Search Team",
        ],
        [
            "NSR-03",
            "Chloé Tremblay",
            "604-555-0103",
            "mobile",
            "",
            "Search Team, Drivers",
        ],
        [
            "NSR-04",
            "Dmitri Petrov",
            "604-555-0104",
            "landline",
            "",
            "Base",
        ],
        [
            "NSR-05",
            "Emily Carter",
            "604-555-0105",
            "mobile",
            "",
            "Search Team",
        ],
        [
            "NSR-06",
            "Farid Rahimi",
            "604 555 0106",
            "pager",
            "Low",
            "Base",
        ],
        [
            "NSR-07",
            "Grace O'Brien",
            "+1 604 555 0107",
            "mobile",
            "",
            "Medics",
        ],
        [
            "NSR-08",
            "Hiro Tanaka",
            "604-555-0108",
            "mobile",
            "",
            "Drivers",
        ],
        [
            "NSR-09",
            "Ivana Nowak",
            "604-555-019",
            "mobile",
            "",
            "Search Team",
        ],
        [
            "NSR-10",
            "Jonas Weber",
            "604-555-0110",
            "mobile",
            "",
            "Search Team, Drivers",
        ],
        [
            "NSR-11",
            "Kateri Simpson",
            "604-555-0111",
            "mobile",
            "",
            "Base",
        ],
        [
            "NSR-12",
            "Liam Wilson",
            "604-555-0112",
            "mobile",
            "",
            "Search Team",
        ],
    ]
}

fn workbook(people: &People) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, title) in (0..).zip(HEADER) {
        sheet.write_string(0, column, title).unwrap();
    }
    for (row, [id, name, number, kind, priority, groups]) in (1..).zip(people) {
        for (column, cell) in [
            (0, id),
            (1, name),
            (4, number),
            (5, kind),
            (8, priority),
            (9, groups),
        ] {
            sheet.write_string(row, column, *cell).unwrap();
        }
    }
    workbook.save_to_buffer().unwrap()
}

/// What the demonstration runs on.
struct Stage {
    https: HttpsServer,
    smtp: SmtpServer,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Stage {
    fn rosterd(&self) -> Command {
        let program = std::env::current_exe().unwrap();
        let program: PathBuf = program.ancestors().nth(2).unwrap().join("rosterd");
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, &self.https.ca_pem).unwrap();
        // The daemon dies with this program, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .current_dir(self.folder.path());
        for (name, _) in std::env::vars() {
            if name == "DATABASE_URL" || name.starts_with("ROSTERD_") {
                command.env_remove(name);
            }
        }
        command
            .env("ROSTERD_FETCH__EXTRA_CA_FILE", ca)
            .env("ROSTERD_FETCH__ALLOW_NETWORKS", "127.0.0.0/8,::1/128")
            .env("ROSTERD_SMTP__URL", self.smtp.url())
            .env("ROSTERD_MAIL__FROM", "rosterd <rosterd@example.org>")
            .env("ROSTERD_WEB__LISTEN", "127.0.0.1:0")
            .env("ROSTERD_LOG__LEVEL", "warn")
            // Ctrl-C is for us, who then stop the daemon.
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Types a command, shows it and what it prints.
    async fn type_in(&self, args: &[&str]) {
        println!(
            "$ rosterd {}",
            args.iter()
                .map(|arg| quote(arg))
                .collect::<Vec<_>>()
                .join(" ")
        );
        let done = self.rosterd().args(args).output().await.unwrap();
        for text in [&done.stdout, &done.stderr] {
            for line in String::from_utf8_lossy(text).lines() {
                println!("  {line}");
            }
        }
    }

    async fn database(&self) -> PgPool {
        let socket = self.folder.path().join("rosterd-data/postgres");
        let options = PgConnectOptions::new_without_pgpass()
            .socket(socket)
            .username("rosterd")
            .database("rosterd");
        PgPool::connect_with(options).await.unwrap()
    }

    async fn show_contacts(&self) {
        let rows: Vec<[String; 5]> = sqlx::query_as::<_, (String, String, String, String, String)>(
            "SELECT c.external_id, c.name, string_agg(DISTINCT n.number || ' ' || n.number_type, ', '), c.notification_priority,
                    string_agg(DISTINCT g.name, ', ')
             FROM active_contacts c JOIN contact_numbers n ON n.contact_id = c.id
             JOIN active_group_members m ON m.contact_id = c.id JOIN active_groups g ON g.id = m.group_id
             GROUP BY c.id, c.external_id, c.name, c.notification_priority ORDER BY c.external_id",
        )
        .fetch_all(&self.database().await)
        .await
        .unwrap()
        .into_iter()
        .map(|(id, name, numbers, priority, groups)| [id, name, numbers, priority, groups])
        .collect();
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_HORIZONTAL_ONLY)
            .set_header(["ID", "Name", "Numbers", "Priority", "Groups"]);
        for row in rows {
            table.add_row(row);
        }
        println!("{table}");
    }

    /// Shows the newest mail as its admin reads it.
    fn show_mail(&self) {
        let Some(mail) = self.smtp.messages().pop() else {
            return println!("  (no mail)");
        };
        println!("  ┌ To:      {}", mail.to.join(", "));
        println!("  │ Subject: {}", mail.subject());
        println!("  │");
        for line in mail.text().trim().lines() {
            println!("  │ {line}");
        }
        println!("  └");
    }

    async fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            if let Some(pid) = daemon.id().and_then(|pid| i32::try_from(pid).ok()) {
                nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGTERM,
                )
                .unwrap();
            }
            daemon.wait().await.unwrap();
        }
    }
}

fn quote(arg: &str) -> String {
    if arg.contains(' ') {
        format!("\"{arg}\"")
    } else {
        arg.to_owned()
    }
}

fn chapter(title: &str) {
    println!("\n━━ {title}\n");
}

async fn play(stage: &mut Stage) {
    chapter(
        "A rescue team keeps its people in a spreadsheet on a web server. rosterd, the daemon, starts with nothing set up.",
    );
    let url = stage.https.url(PATH);
    stage.https.serve(PATH, Reply::ok(workbook(&people())));
    println!("  spreadsheet: {url}   mail server: {}", stage.smtp.url());
    println!("$ rosterd serve &");
    let mut serve = stage.rosterd();
    let mut child = serve
        .arg("serve")
        .env("ROSTERD_LOG__LEVEL", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    stage.daemon = Some(child);
    let mut until = async |text: &str| {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("private Postgres") || line.contains("import ended") {
                println!("  {line}");
            }
            if line.contains(text) {
                return;
            }
        }
        panic!("the daemon ended too early");
    };
    until("ready").await;

    chapter(
        "The operator sets up the account: where the file lies, and when it is imported (here: a few seconds from now).",
    );
    stage
        .type_in(&[
            "account",
            "add",
            "North Shore Rescue",
            "--time-zone",
            "America/Vancouver",
            "--admin",
            "amira@example.org",
        ])
        .await;
    stage
        .type_in(&[
            "settings",
            "set",
            "North Shore Rescue",
            "--source",
            "https",
            "--url",
            &url,
        ])
        .await;
    stage
        .type_in(&["account", "enable", "North Shore Rescue"])
        .await;
    let soon = jiff::Timestamp::now()
        .checked_add(jiff::SignedDuration::from_secs(3))
        .unwrap();
    let soon = soon.to_zoned(jiff::tz::TimeZone::get("America/Vancouver").unwrap());
    let (day, at) = (
        soon.strftime("%a").to_string().to_lowercase(),
        soon.strftime("%H:%M:%S").to_string(),
    );
    stage
        .type_in(&[
            "schedule",
            "set",
            "North Shore Rescue",
            "--days",
            &day,
            "--at",
            &at,
        ])
        .await;
    println!("\n  waiting for {at} …");
    until("import ended").await;
    until("mail sent").await;

    chapter("The import came due and fired. The contacts as the notification platform reads them:");
    stage.show_contacts().await;
    println!("\n  Ivana is missing: her number lacks a digit. Her team's admin gets this mail:\n");
    stage.show_mail();

    chapter(
        "A week later: Ivana's number is mended, Emily has a new number, Jonas has left, and Liam's number type is a typo.",
    );
    let mut later = people();
    later.retain(|person| person[0] != "NSR-10");
    for person in &mut later {
        match person[0] {
            "NSR-05" => person[2] = "604-555-0155",
            "NSR-09" => person[2] = "604-555-0109",
            "NSR-12" => person[3] = "mobil",
            _ => {}
        }
    }
    stage.https.serve(PATH, Reply::ok(workbook(&later)));
    stage.type_in(&["import", "North Shore Rescue"]).await;
    println!();
    stage.type_in(&["runs", "changes", "2"]).await;
    println!("\n  Liam was not touched: a contact in error stays as it was. The mail:\n");
    stage.show_mail();

    chapter(
        "Then something goes wrong on their side: the sheet arrives with only its first four rows.",
    );
    later.truncate(4);
    stage.https.serve(PATH, Reply::ok(workbook(&later)));
    stage.type_in(&["import", "North Shore Rescue"]).await;
    println!("\n  Nobody was removed. The mail says who would have been:\n");
    stage.show_mail();
    println!();
    stage.type_in(&["runs", "list"]).await;
    println!();
}

#[tokio::main]
async fn main() {
    let (https, smtp) = (HttpsServer::start().await, SmtpServer::start().await);
    let folder = tempfile::Builder::new()
        .prefix("rosterd-demo-")
        .tempdir()
        .unwrap();
    let mut stage = Stage {
        https,
        smtp,
        folder,
        daemon: None,
    };
    let finished = tokio::select! {
        () = play(&mut stage) => true,
        _ = tokio::signal::ctrl_c() => false,
    };
    stage.stop().await;
    assert!(
        !Path::new(stage.folder.path())
            .join("rosterd-data/postgres/postmaster.pid")
            .exists(),
        "nothing is left running"
    );
    if finished {
        println!(
            "That was the main job; the daemon is stopped and its files are removed. README.md says how to run it for real."
        );
    }
}

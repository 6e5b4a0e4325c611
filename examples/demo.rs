//! `make demo`: rosterd at work. Starts a web server with a spreadsheet, a mail server, and the daemon with a private Postgres.
//! Shows a scheduled import, an error mail, an import of changes, and a truncated file that is held for approval.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    reason = "a demo prints, fails by panicking, and uses only a part of the test servers"
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

/// ID, name, number, number type, notification priority, groups.
type Contact = [&'static str; 6];

/// The first version of the spreadsheet. The number of NSR-09 has only 9 digits.
fn contacts() -> Vec<Contact> {
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

fn workbook(contacts: &[Contact]) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    for (column, title) in (0..).zip(HEADER) {
        sheet.write_string(0, column, title).unwrap();
    }
    for (row, [id, name, number, kind, priority, groups]) in (1..).zip(contacts) {
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

/// The servers and files of the demo.
struct Demo {
    https: HttpsServer,
    smtp: SmtpServer,
    folder: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Demo {
    fn rosterd(&self) -> Command {
        let program = std::env::current_exe().unwrap();
        let program: PathBuf = program.ancestors().nth(2).unwrap().join("rosterd");
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, &self.https.ca_pem).unwrap();
        // Stops the daemon even if the demo is killed.
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
            // Keeps Ctrl-C from reaching the daemon: the demo handles it and stops the daemon.
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Runs a rosterd command and prints the command and its output.
    async fn run_command(&self, args: &[&str]) {
        println!(
            "$ rosterd {}",
            args.iter()
                .map(|arg| quote(arg))
                .collect::<Vec<_>>()
                .join(" ")
        );
        let output = self.rosterd().args(args).output().await.unwrap();
        for text in [&output.stdout, &output.stderr] {
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

    /// Prints the newest mail as the admin sees it.
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

/// Prints a heading and a paragraph that explains what happens next and why it matters.
fn section(heading: &str, text: &str) {
    println!("\n━━ {heading}\n\n{text}\n");
}

async fn run(demo: &mut Demo) {
    section(
        "1. Start the daemon",
        "A rescue team maintains its contacts in a spreadsheet on a web server. rosterd imports them into\n\
         Postgres, where the notification platform reads them. The operator starts the daemon. No database\n\
         is configured, so rosterd starts a private Postgres.",
    );
    let url = demo.https.url(PATH);
    demo.https.serve(PATH, Reply::ok(workbook(&contacts())));
    println!("  spreadsheet: {url}   mail server: {}", demo.smtp.url());
    println!("$ rosterd serve &");
    let mut serve = demo.rosterd();
    let mut child = serve
        .arg("serve")
        .env("ROSTERD_LOG__LEVEL", "info")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    demo.daemon = Some(child);
    let mut wait_for_log = async |text: &str| {
        while let Some(line) = log.next_line().await.unwrap() {
            if line.contains("private Postgres") || line.contains("import ended") {
                println!("  {line}");
            }
            if line.contains(text) {
                return;
            }
        }
        panic!("the daemon exited too early");
    };
    wait_for_log("ready").await;

    section(
        "2. Set up an account",
        "The operator configures where to fetch the spreadsheet, who receives mail, and when to import.\n\
         The schedule is weekly; for this demo, the first import is due in a few seconds.",
    );
    demo.run_command(&[
        "account",
        "add",
        "North Shore Rescue",
        "--time-zone",
        "America/Vancouver",
        "--admin",
        "amira@example.org",
    ])
    .await;
    demo.run_command(&[
        "settings",
        "set",
        "North Shore Rescue",
        "--source",
        "https",
        "--url",
        &url,
    ])
    .await;
    demo.run_command(&["account", "enable", "North Shore Rescue"])
        .await;
    let soon = jiff::Timestamp::now()
        .checked_add(jiff::SignedDuration::from_secs(3))
        .unwrap();
    let soon = soon.to_zoned(jiff::tz::TimeZone::get("America/Vancouver").unwrap());
    let (day, at) = (
        soon.strftime("%a").to_string().to_lowercase(),
        soon.strftime("%H:%M:%S").to_string(),
    );
    demo.run_command(&[
        "schedule",
        "set",
        "North Shore Rescue",
        "--days",
        &day,
        "--at",
        &at,
    ])
    .await;
    println!("\n  Waiting for the scheduled import at {at} …");
    wait_for_log("import ended").await;
    wait_for_log("mail sent").await;

    section(
        "3. The first scheduled import",
        "The daemon fetched the spreadsheet and imported 11 of its 12 contacts. The notification platform\n\
         now finds these contacts in Postgres:",
    );
    demo.show_contacts().await;

    section(
        "4. A mail about an error",
        "Ivana Nowak is missing because her phone number has only 9 digits. One bad row does not stop the\n\
         import of the others, and every skipped contact is reported. The admin of the account received\n\
         this mail:",
    );
    demo.show_mail();

    section(
        "5. A week later",
        "The admin has edited the spreadsheet: Ivana's number is corrected, Emily has a new number, Jonas\n\
         has left the team, and Liam's number type now has a typo. Instead of waiting for the schedule,\n\
         the operator starts an import and looks at the changes:",
    );
    let mut later = contacts();
    later.retain(|contact| contact[0] != "NSR-10");
    for contact in &mut later {
        match contact[0] {
            "NSR-05" => contact[2] = "604-555-0155",
            "NSR-09" => contact[2] = "604-555-0109",
            "NSR-12" => contact[3] = "mobil",
            _ => {}
        }
    }
    demo.https.serve(PATH, Reply::ok(workbook(&later)));
    demo.run_command(&["import", "North Shore Rescue"]).await;
    println!();
    demo.run_command(&["runs", "changes", "2"]).await;
    println!(
        "\nLiam's row has an error, so his stored contact was not changed or removed. The mail says so:\n"
    );
    demo.show_mail();

    section(
        "6. A truncated file is held",
        "Something goes wrong when the spreadsheet is saved: the file now ends after four rows. Importing\n\
         it would remove most of the team, so rosterd holds the import until the operator approves or\n\
         rejects it:",
    );
    later.truncate(4);
    demo.https.serve(PATH, Reply::ok(workbook(&later)));
    demo.run_command(&["import", "North Shore Rescue"]).await;
    println!("\nNothing was changed. The mail lists the contacts that the import would remove:\n");
    demo.show_mail();
    println!(
        "\nThe next import of a complete spreadsheet replaces the held one. The imports of this demo:\n"
    );
    demo.run_command(&["runs", "list"]).await;
    println!();
}

#[tokio::main]
async fn main() {
    let (https, smtp) = (HttpsServer::start().await, SmtpServer::start().await);
    let folder = tempfile::Builder::new()
        .prefix("rosterd-demo-")
        .tempdir()
        .unwrap();
    let mut demo = Demo {
        https,
        smtp,
        folder,
        daemon: None,
    };
    let finished = tokio::select! {
        () = run(&mut demo) => true,
        _ = tokio::signal::ctrl_c() => false,
    };
    demo.stop().await;
    assert!(
        !Path::new(demo.folder.path())
            .join("rosterd-data/postgres/postmaster.pid")
            .exists(),
        "the private Postgres is still running"
    );
    if finished {
        println!(
            "The demo is finished. The daemon is stopped and its files are deleted. README.md explains how to install rosterd."
        );
    }
}

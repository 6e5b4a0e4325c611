//! Applies the same steps to the real program and to the model, and compares the results.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::TimeDelta;
use rosterd::model::{AccountId, RunId};
use rosterd::store::RunRow;

use super::account::{Account, Contact, Decision, Expected, PendingPlan, Row, State, Uid};
use super::rng::Rng;
use crate::support::https_server::Reply;
use crate::support::{Setup, TestApp};

/// ID, external ID, name, title, whether it is removed, phone numbers and group keys.
type StoredRow = (
    i64,
    Option<String>,
    String,
    Option<String>,
    bool,
    Vec<String>,
    Vec<String>,
);

const GROUPS: [&str; 6] = ["Search", "SEARCH", "Medics", "Drivers", "Équipe", "équipe"];

pub struct World {
    app: TestApp,
    account: AccountId,
    model: Account,
    rows: Vec<Row>,
    /// The steps so far, for failure messages.
    log: Vec<String>,
    sequence: u64,
    ids: HashMap<Uid, i64>,
    group_ids: BTreeMap<String, i64>,
    /// Events so far: each status, and each count that was not zero.
    events: BTreeSet<String>,
    skips: usize,
}

impl World {
    pub async fn start() -> Self {
        let setup = Setup {
            operator: None,
            ..Setup::default()
        };
        Self {
            app: TestApp::start_with(setup).await,
            account: AccountId(0),
            model: Account::default(),
            rows: Vec::new(),
            log: Vec::new(),
            sequence: 0,
            ids: HashMap::new(),
            group_ids: BTreeMap::new(),
            events: BTreeSet::new(),
            skips: 0,
        }
    }

    pub fn events(&mut self) -> &mut BTreeSet<String> {
        &mut self.events
    }

    /// Creates a new account with its own file.
    pub async fn begin(&mut self, sequence: u64, rng: &mut Rng) {
        let name = format!("model {sequence}");
        self.account = self.app.store.add_account(&name, "UTC", &[]).await.unwrap();
        let url = self.app.https.url(&path(sequence));
        self.app.set_https_source(self.account, &url).await;
        self.app
            .store
            .set_import_enabled(self.account, true)
            .await
            .unwrap();
        self.model = Account {
            enabled: true,
            must_confirm: Some("first_import"),
            ..Account::default()
        };
        self.rows = (0..8 + rng.below(20)).map(|n| row(n, rng)).collect();
        self.log = vec![format!("sequence {sequence}")];
        self.sequence = sequence;
        self.ids.clear();
        self.group_ids.clear();
        self.skips = 0;
    }

    pub async fn step(&mut self, rng: &mut Rng) {
        self.model.now = self.app.now().timestamp();
        match rng.below(100) {
            0..=44 => {
                if rng.percent(85) {
                    self.edit_file(rng);
                }
                self.import("import").await;
            }
            45..=49 => self.import_after_crash().await,
            50..=67 => self.approve(rng).await,
            68..=72 => self.reject().await,
            73..=84 => self.revert(rng).await,
            85..=94 => self.edit_externally(rng).await,
            _ => self.skip_31_days().await,
        }
        self.compare().await;
    }

    fn edit_file(&mut self, rng: &mut Rng) {
        let count = self.rows.len();
        let some = |rng: &mut Rng| rng.below(count.max(1));
        match rng.below(12) {
            0..=3 => {
                for _ in 0..=rng.below(3) {
                    let index = some(rng);
                    if let Some(row) = self.rows.get_mut(index) {
                        change(row, rng);
                    }
                }
            }
            4 => {
                let n = self.rows.len() + 40 + rng.below(40);
                let new = row(n, rng);
                if self.rows.iter().all(|row| row.id != new.id) {
                    self.rows.push(new);
                }
            }
            5 => {
                let index = some(rng);
                if count > 2 {
                    self.rows.remove(index);
                }
            }
            6 => self.rows.truncate(count / 2 + 1),
            7 => {
                for row in self.rows.iter_mut().filter(|row| !row.id.is_empty()) {
                    row.id = match row.id.strip_prefix("N-") {
                        Some(old) => old.to_owned(),
                        None => format!("N-{}", row.id),
                    };
                }
            }
            8 => {
                let index = some(rng);
                if let Some(row) = self.rows.get_mut(index).filter(|row| !row.id.is_empty()) {
                    row.bad = !row.bad;
                }
            }
            9 => {
                let index = some(rng);
                let has_unidentified = self.rows.iter().any(|row| row.id.is_empty());
                if let Some(row) = self
                    .rows
                    .get_mut(index)
                    .filter(|row| !has_unidentified && !row.bad)
                {
                    row.id.clear();
                }
            }
            10 => self.rows.retain(|row| !row.id.is_empty()),
            _ => {
                self.rows.iter_mut().for_each(|row| row.bad = false);
                for n in 0..6 {
                    let new = row(n, rng);
                    if self.rows.iter().all(|row| row.id != new.id) {
                        self.rows.push(new);
                    }
                }
            }
        }
    }

    fn serve(&self) -> String {
        // With an optional column missing, the stored values are kept, and the program compares field by field.
        let file = csv(&self.rows, !self.sequence.is_multiple_of(4));
        self.app
            .https
            .serve(&path(self.sequence), Reply::ok(file.clone()));
        file
    }

    async fn import(&mut self, step: &str) {
        let file = self.serve();
        let run = self.app.import(self.account).await;
        self.check_import(step, &run, &file, None, Decision::None);
    }

    /// A process claims the run and crashes; another one takes over.
    async fn import_after_crash(&mut self) {
        let file = self.serve();
        let id: i64 =
            sqlx::query_scalar("INSERT INTO import_runs (account_id) VALUES ($1) RETURNING id")
                .bind(self.account.0)
                .fetch_one(&self.app.pool)
                .await
                .unwrap();
        let lease = std::time::Duration::from_secs(30);
        let now = self.app.now();
        let claimed = self
            .app
            .store
            .claim_runs(now, "dead", lease, 9)
            .await
            .unwrap();
        assert_eq!(claimed.len(), 1);
        self.app.advance(TimeDelta::seconds(31));
        self.model.now = self.app.now().timestamp();
        self.app.run_until_idle().await;
        let run = self.app.store.run(RunId(id)).await.unwrap();
        assert_eq!(run.attempts, 2);
        self.check_import("import after a crash", &run, &file, None, Decision::None);
    }

    async fn approve(&mut self, rng: &mut Rng) {
        let pending = match (&self.model.held, &self.model.withheld) {
            (Some(held), Some(_)) if rng.percent(70) => Some(held.clone()),
            (Some(held), None) => Some(held.clone()),
            (_, Some(withheld)) => Some(withheld.clone()),
            (None, None) => None,
        };
        let Some(pending) = pending else {
            return self.import("import, nothing to approve").await;
        };
        if rng.percent(30) {
            self.edit_file(rng);
        }
        let file = self.serve();
        let keep_ids = rng.percent(40);
        let (run, decision) = if keep_ids {
            let run = self
                .app
                .approve_keeping_ids(self.account, pending.run)
                .await;
            (run, Decision::ApproveKeepingIds)
        } else {
            (
                self.app.approve(self.account, pending.run).await,
                Decision::Approve,
            )
        };
        self.check_import("approve", &run, &file, Some(&pending), decision);
    }

    async fn reject(&mut self) {
        let Some(held) = self.model.held.take() else {
            return;
        };
        self.log.push(format!("reject {}", held.run));
        let now = self.app.now();
        self.app
            .store
            .reject_run(RunId(held.run), now)
            .await
            .unwrap();
    }

    async fn revert(&mut self, rng: &mut Rng) {
        if self.model.history.is_empty() {
            return;
        }
        let (subject, _) = *self
            .model
            .history
            .iter()
            .map(|(run, done)| (*run, done.len()))
            .collect::<Vec<_>>()
            .get(rng.below(self.model.history.len()))
            .unwrap();
        let force = rng.percent(30);
        self.log.push(format!("revert {subject}, force {force}"));
        let run = self.app.revert(self.account, subject, force).await;
        let expected = self
            .model
            .revert(run.id, subject, force)
            .unwrap_or(Expected::without_plan("failed"));
        self.check(&run, &expected);
    }

    /// Another program changes contacts while imports are disabled.
    async fn edit_externally(&mut self, rng: &mut Rng) {
        let (store, pool) = (self.app.store.clone(), &self.app.pool.clone());
        store.set_import_enabled(self.account, false).await.unwrap();
        self.model.enabled = false;
        if rng.percent(20) {
            self.import("import while disabled").await;
        }
        let active: Vec<Uid> = self.model.active().map(|contact| contact.uid).collect();
        let edit = rng.below(4);
        self.log.push(format!("external edit {edit}"));
        if edit == 3 || active.is_empty() {
            // A contact with the name and number of a row in the file.
            let template = rng.pick(&self.rows).clone();
            let uid = self.model.new_uid();
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO contacts (account_id, name) VALUES ($1, $2) RETURNING id",
            )
            .bind(self.account.0)
            .bind(&template.name)
            .fetch_one(pool)
            .await
            .unwrap();
            sqlx::query("INSERT INTO contact_numbers (contact_id, position, number, number_type) VALUES ($1, 1, $2, 'mobile')")
                .bind(id)
                .bind(&template.numbers[0])
                .execute(pool)
                .await
                .unwrap();
            self.ids.insert(uid, id);
            self.model.contacts.push(Contact {
                uid,
                removed: None,
                state: State {
                    id: None,
                    name: template.name,
                    title: None,
                    numbers: vec![template.numbers[0].clone()],
                    groups: BTreeSet::new(),
                },
            });
        } else {
            let uid = *rng.pick(&active);
            let id = self.ids[&uid];
            let sql = [
                "UPDATE contacts SET title = 'By hand' WHERE id = $1",
                "UPDATE contacts SET name = name || ' jr' WHERE id = $1",
                "DELETE FROM contacts WHERE id = $1",
            ][edit];
            sqlx::query(sql).bind(id).execute(pool).await.unwrap();
            let index = self
                .model
                .contacts
                .iter()
                .position(|c| c.uid == uid)
                .unwrap();
            let state = &mut self.model.contacts[index].state;
            match edit {
                0 => state.title = Some("By hand".to_owned()),
                1 => state.name.push_str(" jr"),
                _ => drop(self.model.contacts.remove(index)),
            }
        }
        self.app
            .store
            .set_import_enabled(self.account, true)
            .await
            .unwrap();
        self.model.enabled = true;
        self.model.must_confirm = Some("first_import");
        self.model.last_applied_file = None;
    }

    async fn skip_31_days(&mut self) {
        // At most three: issues and row images are deleted after 180 days, which the model does not cover.
        self.skips += 1;
        if self.skips > 3 {
            return;
        }
        self.log.push("31 days pass".to_owned());
        self.app.advance(TimeDelta::days(31));
        self.app.run_until_idle().await;
        self.model.now = self.app.now().timestamp();
        self.model.purge_removed();
    }

    fn check_import(
        &mut self,
        step: &str,
        run: &RunRow,
        file: &str,
        subject: Option<&PendingPlan>,
        decision: Decision,
    ) {
        self.log.push(format!(
            "{step} as run {}, {decision:?} {:?}:\n{file}",
            run.id,
            subject.map(|s| s.run)
        ));
        let rows = self.rows.clone();
        let expected = self.model.import(run.id, file, &rows, subject, decision);
        self.check(run, &expected);
    }

    fn check(&mut self, run: &RunRow, expected: &Expected) {
        let count = |count: Option<i32>| usize::try_from(count.unwrap_or(0)).unwrap();
        let counts = run.added.map(|_| {
            [
                run.added,
                run.updated,
                run.unchanged,
                run.removed,
                run.revived,
                run.adopted,
                run.withheld,
            ]
            .map(count)
        });
        let trigger = run.trigger.as_str();
        let mut note = |event: String| {
            self.events.insert(event);
        };
        note(format!("{trigger} {}", run.status));
        let names = [
            "added",
            "updated",
            "unchanged",
            "removed",
            "revived",
            "adopted",
            "withheld",
        ];
        for (name, count) in names.iter().zip(counts.unwrap_or_default()) {
            if count > 0 {
                note(format!("{trigger} {name}"));
            }
        }
        let mut hold_reasons: Vec<&str> = run
            .hold_reasons
            .iter()
            .flatten()
            .map(String::as_str)
            .collect();
        hold_reasons.sort_unstable();
        if run.status == "held" && count(run.withheld) > 0 {
            for reason in &hold_reasons {
                note(format!("withheld, held for {reason}"));
            }
        }
        let found = (run.status.as_str(), counts, hold_reasons);
        let expected = (
            expected.status,
            expected.counts,
            expected.hold_reasons.clone(),
        );
        assert_eq!(
            found,
            expected,
            "run {} {:?}\n{}",
            run.id,
            run.failure_message,
            self.log.join("\n")
        );
    }

    async fn compare(&mut self) {
        let found: Vec<StoredRow> = sqlx::query_as(
            "SELECT id, external_id, name, title, removed_at IS NOT NULL,
                    ARRAY(SELECT number FROM contact_numbers WHERE contact_id = c.id ORDER BY position),
                    ARRAY(SELECT g.name_key FROM group_members m JOIN groups g ON g.id = m.group_id WHERE m.contact_id = c.id)
             FROM contacts c WHERE account_id = $1",
        )
        .bind(self.account.0)
        .fetch_all(&self.app.pool)
        .await
        .unwrap();
        for contact in &self.model.contacts {
            if self.ids.contains_key(&contact.uid) {
                continue;
            }
            let new = found
                .iter()
                .find(|row| row.1 == contact.state.id && !self.ids.values().any(|id| *id == row.0));
            if let Some(new) = new {
                self.ids.insert(contact.uid, new.0);
            }
        }
        let mut found: Vec<_> = found
            .into_iter()
            .map(|(id, external_id, name, title, removed, numbers, groups)| {
                let state = State {
                    id: external_id,
                    name,
                    title,
                    numbers,
                    groups: groups.into_iter().collect(),
                };
                (Some(id), removed, state)
            })
            .collect();
        let mut expected: Vec<_> = self
            .model
            .contacts
            .iter()
            .map(|c| {
                (
                    self.ids.get(&c.uid).copied(),
                    c.removed.is_some(),
                    c.state.clone(),
                )
            })
            .collect();
        let by_id = |one: &(Option<i64>, bool, State), other: &(Option<i64>, bool, State)| {
            one.0.cmp(&other.0)
        };
        found.sort_by(by_id);
        expected.sort_by(by_id);
        assert_eq!(found, expected, "{}", self.log.join("\n"));

        let groups: Vec<(i64, String, String, bool)> = sqlx::query_as(
            "SELECT id, name_key, name, removed_at IS NOT NULL FROM groups WHERE account_id = $1",
        )
        .bind(self.account.0)
        .fetch_all(&self.app.pool)
        .await
        .unwrap();
        for (id, key, ..) in &groups {
            assert_eq!(self.group_ids.entry(key.clone()).or_insert(*id), id);
        }
        let groups: BTreeMap<String, (String, bool)> = groups
            .into_iter()
            .map(|(_, key, name, removed)| (key, (name, removed)))
            .collect();
        assert_eq!(groups, self.model.groups, "{}", self.log.join("\n"));
    }
}

fn path(sequence: u64) -> String {
    format!("/model-{sequence}.csv")
}

fn row(n: usize, rng: &mut Rng) -> Row {
    // Long IDs, non-ASCII IDs, and IDs that differ only in case.
    let id = match n % 5 {
        0 => format!("Zoë-{n}"),
        1 => format!("{n}{}", "x".repeat(3_000)),
        2 => format!("a{n}"),
        3 => format!("A{}", n - 1),
        _ => n.to_string(),
    };
    let mut row = Row {
        id,
        name: format!("Name {n}"),
        title: None,
        numbers: vec![format!("604555{n:04}")],
        groups: Vec::new(),
        bad: false,
    };
    row.groups = groups(rng);
    if rng.percent(20) {
        row.numbers.push(format!("604777{n:04}"));
    }
    row
}

fn groups(rng: &mut Rng) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for _ in 0..=rng.below(2) {
        let name = *rng.pick(&GROUPS);
        if groups
            .iter()
            .all(|group| group.to_lowercase() != name.to_lowercase())
        {
            groups.push(name.to_owned());
        }
    }
    groups
}

fn change(row: &mut Row, rng: &mut Rng) {
    match rng.below(5) {
        0 => row.name.push_str(" b"),
        1 => row.title = row.title.is_none().then(|| "Chief, =1+1".to_owned()),
        2 => row.groups = groups(rng),
        3 if row.numbers.len() > 1 => drop(row.numbers.remove(rng.below(2))),
        3 => row.numbers.push(format!("778555{:04}", rng.below(10_000))),
        _ => row.numbers[0] = format!("236555{:04}", rng.below(10_000)),
    }
}

fn csv(rows: &[Row], all_columns: bool) -> String {
    let (titles, blank) = if all_columns {
        (
            ",Organization Name,Number Description,Number Description 2,Email Address,Notification Priority",
            ",,,,,",
        )
    } else {
        ("", "")
    };
    let mut file =
        format!("\"ID\",Name,Title,Number,Number Type,Groups,Number 2,Number Type 2{titles}\r\n");
    for (n, row) in rows.iter().enumerate() {
        // The same text in Unicode form NFD.
        let id = if n % 2 == 0 {
            row.id.replace('ë', "e\u{308}")
        } else {
            row.id.clone()
        };
        let number = if row.bad { "12345" } else { &row.numbers[0] };
        let second = row
            .numbers
            .get(1)
            .map_or(",".to_owned(), |number| format!("{number},mobile"));
        let title = row
            .title
            .as_ref()
            .map_or(String::new(), |title| format!("\"{title}\""));
        let groups = row.groups.join(", ");
        let name = &row.name;
        file.extend([
            id,
            format!(",{name},{title},{number},mobile,\"{groups}\",{second}{blank}\r\n"),
        ]);
    }
    file
}

//! Does to the real thing and to the model the same, and holds one against the other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::TimeDelta;
use rosterd::model::{AccountId, RunId};
use rosterd::store::RunRow;

use super::account::{Account, Contact, Expected, Row, State, Uid, Waiting, Word};
use super::chance::Chance;
use crate::support::https_server::Reply;
use crate::support::{Setup, TestApp};

/// Id, external ID, name, title, whether it is removed, numbers and keys of groups.
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
    /// What was done, for whoever has to find out what went wrong.
    story: Vec<String>,
    sequence: u64,
    ids: HashMap<Uid, i64>,
    group_ids: BTreeMap<String, i64>,
    /// What has happened.
    seen: BTreeSet<String>,
    leaps: usize,
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
            story: Vec::new(),
            sequence: 0,
            ids: HashMap::new(),
            group_ids: BTreeMap::new(),
            seen: BTreeSet::new(),
            leaps: 0,
        }
    }

    /// What has happened: each status, and each count that was not zero.
    pub fn seen(&mut self) -> &mut BTreeSet<String> {
        &mut self.seen
    }

    /// A new account with a file of its own.
    pub async fn begin(&mut self, sequence: u64, chance: &mut Chance) {
        let name = format!("model {sequence}");
        self.account = self.app.store.add_account(&name, "UTC", &[]).await.unwrap();
        let url = self.app.https.url(&path(sequence));
        self.app.settings(self.account, &url).await;
        self.app
            .store
            .set_enabled(self.account, true)
            .await
            .unwrap();
        self.model = Account {
            enabled: true,
            must_confirm: Some("first_import"),
            ..Account::default()
        };
        self.rows = (0..8 + chance.below(20)).map(|n| row(n, chance)).collect();
        self.story = vec![format!("sequence {sequence}")];
        self.sequence = sequence;
        self.ids.clear();
        self.group_ids.clear();
        self.leaps = 0;
    }

    pub async fn step(&mut self, chance: &mut Chance) {
        self.model.today = self.app.now().timestamp();
        match chance.below(100) {
            0..=44 => {
                if chance.percent(85) {
                    self.edit_file(chance);
                }
                self.import("import").await;
            }
            45..=49 => self.import_after_crash().await,
            50..=67 => self.decide(chance).await,
            68..=72 => self.reject().await,
            73..=84 => self.revert(chance).await,
            85..=94 => self.edit_by_hand(chance).await,
            _ => self.leap().await,
        }
        self.compare().await;
    }

    fn edit_file(&mut self, chance: &mut Chance) {
        let count = self.rows.len();
        let some = |chance: &mut Chance| chance.below(count.max(1));
        match chance.below(12) {
            0..=3 => {
                for _ in 0..=chance.below(3) {
                    let place = some(chance);
                    if let Some(row) = self.rows.get_mut(place) {
                        change(row, chance);
                    }
                }
            }
            4 => {
                let n = self.rows.len() + 40 + chance.below(40);
                let new = row(n, chance);
                if self.rows.iter().all(|row| row.id != new.id) {
                    self.rows.push(new);
                }
            }
            5 => {
                let place = some(chance);
                if count > 2 {
                    self.rows.remove(place);
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
                let place = some(chance);
                if let Some(row) = self.rows.get_mut(place).filter(|row| !row.id.is_empty()) {
                    row.bad = !row.bad;
                }
            }
            9 => {
                let place = some(chance);
                let known = self.rows.iter().any(|row| row.id.is_empty());
                if let Some(row) = self.rows.get_mut(place).filter(|row| !known && !row.bad) {
                    row.id.clear();
                }
            }
            10 => self.rows.retain(|row| !row.id.is_empty()),
            _ => {
                self.rows.iter_mut().for_each(|row| row.bad = false);
                for n in 0..6 {
                    let new = row(n, chance);
                    if self.rows.iter().all(|row| row.id != new.id) {
                        self.rows.push(new);
                    }
                }
            }
        }
    }

    fn serve(&self) -> String {
        // Without an optional column a contact depends on what is stored, and is compared field by field.
        let file = csv(&self.rows, !self.sequence.is_multiple_of(4));
        self.app
            .https
            .serve(&path(self.sequence), Reply::ok(file.clone()));
        file
    }

    async fn import(&mut self, how: &str) {
        let file = self.serve();
        let run = self.app.import(self.account).await;
        self.check_import(how, &run, &file, None, Word::None);
    }

    /// A process takes the run up and dies; another one does it.
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
        self.model.today = self.app.now().timestamp();
        self.app.settle().await;
        let run = self.app.store.run(RunId(id)).await.unwrap();
        assert_eq!(run.attempts, 2);
        self.check_import("import after a crash", &run, &file, None, Word::None);
    }

    async fn decide(&mut self, chance: &mut Chance) {
        let waiting = match (&self.model.held, &self.model.withheld) {
            (Some(held), Some(_)) if chance.percent(70) => Some(held.clone()),
            (Some(held), None) => Some(held.clone()),
            (_, Some(withheld)) => Some(withheld.clone()),
            (None, None) => None,
        };
        let Some(waiting) = waiting else {
            return self.import("import, since nothing waits").await;
        };
        if chance.percent(30) {
            self.edit_file(chance);
        }
        let file = self.serve();
        let keep = chance.percent(40);
        let (run, word) = if keep {
            let run = self
                .app
                .approve_keeping_ids(self.account, waiting.run)
                .await;
            (run, Word::ApproveKeepingIds)
        } else {
            (
                self.app.approve(self.account, waiting.run).await,
                Word::Approve,
            )
        };
        self.check_import("approve", &run, &file, Some(&waiting), word);
    }

    async fn reject(&mut self) {
        let Some(held) = self.model.held.take() else {
            return;
        };
        self.story.push(format!("reject {}", held.run));
        let now = self.app.now();
        self.app
            .store
            .reject_run(RunId(held.run), now)
            .await
            .unwrap();
    }

    async fn revert(&mut self, chance: &mut Chance) {
        if self.model.history.is_empty() {
            return;
        }
        let (subject, _) = *self
            .model
            .history
            .iter()
            .map(|(run, done)| (*run, done.len()))
            .collect::<Vec<_>>()
            .get(chance.below(self.model.history.len()))
            .unwrap();
        let force = chance.percent(30);
        self.story.push(format!("revert {subject}, force {force}"));
        let run = self.app.revert(self.account, subject, force).await;
        let expected = self
            .model
            .revert(run.id, subject, force)
            .unwrap_or(Expected {
                status: "failed",
                counts: None,
            });
        self.check(&run, &expected);
    }

    /// Imports are off for a while, and another program writes.
    async fn edit_by_hand(&mut self, chance: &mut Chance) {
        let (store, pool) = (self.app.store.clone(), &self.app.pool.clone());
        store.set_enabled(self.account, false).await.unwrap();
        self.model.enabled = false;
        if chance.percent(20) {
            self.import("import while switched off").await;
        }
        let active: Vec<Uid> = self.model.active().map(|contact| contact.uid).collect();
        let what = chance.below(4);
        self.story.push(format!("by hand: {what}"));
        if what == 3 || active.is_empty() {
            // Somebody who is, or will be, in the file.
            let like = chance.pick(&self.rows).clone();
            let uid = self.model.new_uid();
            let id: i64 = sqlx::query_scalar(
                "INSERT INTO contacts (account_id, name) VALUES ($1, $2) RETURNING id",
            )
            .bind(self.account.0)
            .bind(&like.name)
            .fetch_one(pool)
            .await
            .unwrap();
            sqlx::query("INSERT INTO contact_numbers (contact_id, position, number, number_type) VALUES ($1, 1, $2, 'mobile')")
                .bind(id)
                .bind(&like.numbers[0])
                .execute(pool)
                .await
                .unwrap();
            self.ids.insert(uid, id);
            self.model.contacts.push(Contact {
                uid,
                removed: None,
                state: State {
                    id: None,
                    name: like.name,
                    title: None,
                    numbers: vec![like.numbers[0].clone()],
                    groups: BTreeSet::new(),
                },
            });
        } else {
            let uid = *chance.pick(&active);
            let id = self.ids[&uid];
            let sql = [
                "UPDATE contacts SET title = 'By hand' WHERE id = $1",
                "UPDATE contacts SET name = name || ' jr' WHERE id = $1",
                "DELETE FROM contacts WHERE id = $1",
            ][what];
            sqlx::query(sql).bind(id).execute(pool).await.unwrap();
            let place = self
                .model
                .contacts
                .iter()
                .position(|c| c.uid == uid)
                .unwrap();
            let state = &mut self.model.contacts[place].state;
            match what {
                0 => state.title = Some("By hand".to_owned()),
                1 => state.name.push_str(" jr"),
                _ => drop(self.model.contacts.remove(place)),
            }
        }
        self.app
            .store
            .set_enabled(self.account, true)
            .await
            .unwrap();
        self.model.enabled = true;
        self.model.must_confirm = Some("first_import");
        self.model.known_file = None;
    }

    async fn leap(&mut self) {
        // Issues and images are kept for 180 days; this is about contacts.
        self.leaps += 1;
        if self.leaps > 3 {
            return;
        }
        self.story.push("31 days pass".to_owned());
        self.app.advance(TimeDelta::days(31));
        self.app.settle().await;
        self.model.today = self.app.now().timestamp();
        self.model.forget();
    }

    fn check_import(
        &mut self,
        how: &str,
        run: &RunRow,
        file: &str,
        subject: Option<&Waiting>,
        word: Word,
    ) {
        self.story.push(format!(
            "{how} as run {}, {word:?} {:?}:\n{file}",
            run.id,
            subject.map(|s| s.run)
        ));
        let rows = self.rows.clone();
        let expected = self.model.import(run.id, file, &rows, subject, word);
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
        let mut note = |what: String| {
            self.seen.insert(what);
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
        let found = (run.status.as_str(), counts);
        assert_eq!(
            found,
            (expected.status, expected.counts),
            "run {} {:?} {:?}\n{}",
            run.id,
            run.failure_message,
            run.hold_reasons,
            self.story.join("\n")
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
        assert_eq!(found, expected, "{}", self.story.join("\n"));

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
        assert_eq!(groups, self.model.groups, "{}", self.story.join("\n"));
    }
}

fn path(sequence: u64) -> String {
    format!("/model-{sequence}.csv")
}

fn row(n: usize, chance: &mut Chance) -> Row {
    // Of any length, of any script, with capitals that count.
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
    row.groups = groups(chance);
    if chance.percent(20) {
        row.numbers.push(format!("604777{n:04}"));
    }
    row
}

fn groups(chance: &mut Chance) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for _ in 0..=chance.below(2) {
        let name = *chance.pick(&GROUPS);
        if groups
            .iter()
            .all(|known| known.to_lowercase() != name.to_lowercase())
        {
            groups.push(name.to_owned());
        }
    }
    groups
}

fn change(row: &mut Row, chance: &mut Chance) {
    match chance.below(5) {
        0 => row.name.push_str(" b"),
        1 => row.title = row.title.is_none().then(|| "Chief, =1+1".to_owned()),
        2 => row.groups = groups(chance),
        3 if row.numbers.len() > 1 => drop(row.numbers.remove(chance.below(2))),
        3 => row
            .numbers
            .push(format!("778555{:04}", chance.below(10_000))),
        _ => row.numbers[0] = format!("236555{:04}", chance.below(10_000)),
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
        // The same text in another form of Unicode.
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

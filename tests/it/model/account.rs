//! The model: an account's data and the effect of an import on it, written from the specification and not from the program.

use std::collections::{BTreeMap, BTreeSet};

pub type Uid = usize;

/// The stored data of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: Option<String>,
    pub name: String,
    pub title: Option<String>,
    /// Phone numbers as digits, in order.
    pub numbers: Vec<String>,
    /// Case-folded names.
    pub groups: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub struct Contact {
    pub uid: Uid,
    pub state: State,
    /// Unix time of removal; `None` for an active contact.
    pub removed: Option<i64>,
}

/// A row of the file. Each row is one contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Empty for an unidentified row.
    pub id: String,
    pub name: String,
    pub title: Option<String>,
    pub numbers: Vec<String>,
    /// Names as written in the file.
    pub groups: Vec<String>,
    /// The phone number is invalid.
    pub bad: bool,
}

/// Identifies a row with errors across files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadRow {
    WithId(String),
    Unidentified(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Updated,
    Removed,
    Revived,
    Adopted,
}

#[derive(Debug, Clone)]
pub struct Change {
    pub uid: Uid,
    pub kind: ChangeKind,
    pub before: Option<State>,
    pub after: Option<State>,
}

/// A held or withheld plan with its file, which an approval can cover.
#[derive(Debug, Clone)]
pub struct PendingPlan {
    pub run: i64,
    pub file: String,
    pub removed: BTreeSet<Uid>,
    pub changed: BTreeSet<Uid>,
    pub bad: BTreeSet<BadRow>,
    /// Contacts recognized under a new ID keep their records.
    pub keeps_ids: bool,
    /// The confirmation that the plan needs because it would be the first to change existing contacts.
    pub confirms: Option<&'static str>,
}

#[derive(Debug, Clone, Default)]
pub struct Account {
    pub contacts: Vec<Contact>,
    /// By case-folded name: the name as written, and whether the group is removed.
    pub groups: BTreeMap<String, (String, bool)>,
    pub enabled: bool,
    /// Set until an import has changed existing contacts; the hold reason for the first that would.
    pub must_confirm: Option<&'static str>,
    /// The file that counts as unchanged.
    pub last_applied_file: Option<String>,
    pub bad_before: BTreeSet<BadRow>,
    pub accepted: BTreeSet<String>,
    pub held: Option<PendingPlan>,
    pub withheld: Option<PendingPlan>,
    /// Changes of each applied run.
    pub history: Vec<(i64, Vec<Change>)>,
    pub next_uid: Uid,
    pub now: i64,
}

/// The approval, if any, that a run applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    None,
    Approve,
    ApproveKeepingIds,
}

/// The expected outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub status: &'static str,
    /// In the order added, updated, unchanged, removed, revived, adopted, withheld.
    pub counts: Option<[usize; 7]>,
    /// Why the run is held, in alphabetical order.
    pub hold_reasons: Vec<&'static str>,
}

impl Expected {
    pub fn without_plan(status: &'static str) -> Self {
        Self {
            status,
            counts: None,
            hold_reasons: Vec::new(),
        }
    }
}

/// What the hold rules judge: the outcome of a plan if it withheld nothing.
struct Judged<'a> {
    changes: &'a [Change],
    after: &'a [Contact],
    /// Contacts that would be replaced by a new one that looks the same.
    recognized: usize,
    rows: usize,
    bad: &'a BTreeSet<BadRow>,
}

pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

fn changes_existing(changes: &[Change]) -> bool {
    changes
        .iter()
        .any(|d| !matches!(d.kind, ChangeKind::Added | ChangeKind::Revived))
}

fn is_same_contact(one: &State, name: &str, numbers: &[String]) -> bool {
    fold(&one.name) == fold(name) && one.numbers.iter().any(|number| numbers.contains(number))
}

/// Pairs in which neither side matches anything else.
fn unique_pairs<A: Copy + Ord, B: Clone + Ord>(pairs: &[(A, B)]) -> Vec<(A, B)> {
    pairs
        .iter()
        .filter(|(a, b)| {
            pairs.iter().filter(|(other, _)| other == a).count() == 1
                && pairs.iter().filter(|(_, other)| other == b).count() == 1
        })
        .cloned()
        .collect()
}

impl Account {
    pub fn active(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.iter().filter(|c| c.removed.is_none())
    }

    fn by_id(&self, id: &str) -> Option<usize> {
        self.contacts
            .iter()
            .position(|c| c.state.id.as_deref() == Some(id))
    }

    pub fn new_uid(&mut self) -> Uid {
        self.next_uid += 1;
        self.next_uid
    }

    /// Adds new groups, updates their spelling, and marks groups without members as removed.
    fn update_groups(&mut self, names_in_file: &[String]) {
        for name in names_in_file {
            self.groups
                .entry(fold(name))
                .or_insert_with(|| (name.clone(), false));
        }
        let nonempty: BTreeSet<String> = self
            .active()
            .flat_map(|c| c.state.groups.iter().cloned())
            .collect();
        for (key, (spelling, removed)) in &mut self.groups {
            *removed = !nonempty.contains(key);
            let now: Vec<&String> = names_in_file
                .iter()
                .filter(|name| fold(name) == *key)
                .collect();
            if !now.is_empty() && !now.contains(&&*spelling) {
                spelling.clone_from(now[0]);
            }
        }
    }

    /// Imports this file, with an approval of `subject` unless `decision` is `None`.
    #[expect(
        clippy::too_many_lines,
        reason = "one import from start to end, in the order of the specification"
    )]
    pub fn import(
        &mut self,
        run: i64,
        file: &str,
        rows: &[Row],
        subject: Option<&PendingPlan>,
        decision: Decision,
    ) -> Expected {
        let failed = Expected::without_plan("failed");
        if !self.enabled || (decision != Decision::None && subject.is_none()) {
            return failed;
        }
        if decision == Decision::None && self.last_applied_file.as_deref() == Some(file) {
            return Expected::without_plan("unchanged");
        }
        let good: Vec<&Row> = rows
            .iter()
            .filter(|row| !row.id.is_empty() && !row.bad)
            .collect();
        if good.is_empty() {
            return failed;
        }
        let content = |row: &Row| {
            format!(
                "{} {:?} {:?} {:?} {}",
                row.name, row.title, row.numbers, row.groups, row.bad
            )
        };
        let bad: BTreeSet<BadRow> = rows
            .iter()
            .filter(|row| row.id.is_empty() || row.bad)
            .map(|row| {
                if row.id.is_empty() {
                    BadRow::Unidentified(content(row))
                } else {
                    BadRow::WithId(row.id.clone())
                }
            })
            .collect();
        let in_error = |id: &str| bad.contains(&BadRow::WithId(id.to_owned()));
        let same_file =
            decision != Decision::None && subject.is_some_and(|approved| approved.file == file);
        let mut accepted = self.accepted.clone();
        for row in subject.iter().flat_map(|approved| &approved.bad) {
            if let (BadRow::Unidentified(row), true) = (row, decision != Decision::None) {
                accepted.insert(row.clone());
            }
        }
        let has_unaccepted_row = rows
            .iter()
            .any(|row| row.id.is_empty() && !accepted.contains(&content(row)));
        let withhold = has_unaccepted_row && !same_file;

        let mut changes: Vec<Change> = Vec::new();
        let mut counts = [0; 7];
        let mut after = self.contacts.clone();
        let mut uids = self.next_uid;
        let new_rows: Vec<&&Row> = good
            .iter()
            .filter(|row| self.by_id(&row.id).is_none())
            .collect();
        let links = |include: &dyn Fn(&Contact) -> bool, rows: &[&&Row]| -> Vec<(Uid, String)> {
            let mut pairs = Vec::new();
            for contact in self.active().filter(|c| include(c)) {
                for row in rows
                    .iter()
                    .filter(|row| is_same_contact(&contact.state, &row.name, &row.numbers))
                {
                    pairs.push((contact.uid, row.id.clone()));
                }
            }
            unique_pairs(&pairs)
        };
        let adopted = links(&|c| c.state.id.is_none(), &new_rows);
        let in_file = |id: &str| good.iter().any(|row| row.id == id) || in_error(id);
        let unmatched_rows: Vec<&&Row> = good
            .iter()
            .filter(|row| match self.by_id(&row.id) {
                None => adopted.iter().all(|(_, id)| *id != row.id),
                Some(index) => self.contacts[index].removed.is_some(),
            })
            .collect();
        let mut same = links(
            &|c| c.state.id.as_deref().is_some_and(|id| !in_file(id)),
            &unmatched_rows,
        );
        same.retain(|(_, id)| self.by_id(id).is_none());
        let keeps_ids = decision == Decision::ApproveKeepingIds
            || (decision == Decision::Approve
                && subject.is_some_and(|approved| approved.keeps_ids));
        let recognized = if keeps_ids { 0 } else { same.len() };
        if !keeps_ids {
            same.clear();
        }
        for row in &good {
            let target = State {
                id: Some(row.id.clone()),
                name: row.name.clone(),
                title: row.title.clone(),
                numbers: row.numbers.clone(),
                groups: row.groups.iter().map(|name| fold(name)).collect(),
            };
            let known = self.by_id(&row.id).or_else(|| {
                let (uid, _) = adopted.iter().chain(&same).find(|(_, id)| *id == row.id)?;
                self.contacts.iter().position(|c| c.uid == *uid)
            });
            let Some(index) = known else {
                uids += 1;
                after.push(Contact {
                    uid: uids,
                    state: target.clone(),
                    removed: None,
                });
                changes.push(Change {
                    uid: uids,
                    kind: ChangeKind::Added,
                    before: None,
                    after: Some(target),
                });
                counts[0] += 1;
                continue;
            };
            let contact = &self.contacts[index];
            let kind = if contact.removed.is_some() {
                counts[4] += 1;
                ChangeKind::Revived
            } else if contact.state.id.is_none() {
                counts[5] += 1;
                ChangeKind::Adopted
            } else if contact.state == target {
                counts[2] += 1;
                continue;
            } else {
                counts[1] += 1;
                ChangeKind::Updated
            };
            changes.push(Change {
                uid: contact.uid,
                kind,
                before: Some(contact.state.clone()),
                after: Some(target.clone()),
            });
            after[index] = Contact {
                uid: contact.uid,
                state: target,
                removed: None,
            };
        }
        let changed_uids: BTreeSet<Uid> = changes.iter().map(|d| d.uid).collect();
        let missing: Vec<usize> = (0..self.contacts.len())
            .filter(|index| {
                let c = &self.contacts[*index];
                let stays = c.state.id.as_deref().is_some_and(&in_file);
                c.removed.is_none() && !stays && !changed_uids.contains(&c.uid)
            })
            .collect();
        let removals: BTreeSet<Uid> = missing
            .iter()
            .map(|index| self.contacts[*index].uid)
            .collect();
        counts[if withhold { 6 } else { 3 }] = missing.len();
        let (mut all_changes, mut all_after) = (changes.clone(), after.clone());
        for index in missing {
            all_after[index].removed = Some(self.now);
            let c = &self.contacts[index];
            all_changes.push(Change {
                uid: c.uid,
                kind: ChangeKind::Removed,
                before: Some(c.state.clone()),
                after: None,
            });
        }
        let hold_reasons = self.hold_reasons(&Judged {
            changes: &all_changes,
            after: &all_after,
            recognized,
            rows: rows.len(),
            bad: &bad,
        });
        let changes_existing = changes_existing(&all_changes);
        if !withhold {
            (changes, after) = (all_changes, all_after);
        }
        let not_new = changes
            .iter()
            .filter(|d| !matches!(d.kind, ChangeKind::Added | ChangeKind::Removed));
        let changed_uids: BTreeSet<Uid> = not_new.clone().map(|d| d.uid).collect();
        let id_of = |state: &Option<State>| state.as_ref().and_then(|state| state.id.clone());
        let renumbered: BTreeSet<Uid> = not_new
            .filter(|d| d.kind == ChangeKind::Updated && id_of(&d.before) != id_of(&d.after))
            .map(|d| d.uid)
            .collect();
        let covered = decision != Decision::None
            && subject.is_some_and(|approved| {
                let same_confirmation =
                    self.must_confirm.is_none() || self.must_confirm == approved.confirms;
                (approved.file == file && same_confirmation)
                    || (removals.is_subset(&approved.removed)
                        && changed_uids.iter().all(|uid| {
                            let keeps_contact_id =
                                renumbered.contains(uid) && approved.removed.contains(uid);
                            approved.changed.contains(uid) || keeps_contact_id
                        })
                        && bad.is_subset(&approved.bad))
            });
        let pending = PendingPlan {
            run,
            file: file.to_owned(),
            removed: removals,
            changed: changed_uids,
            bad: bad.clone(),
            keeps_ids,
            confirms: self.must_confirm.filter(|_| changes_existing),
        };
        if !hold_reasons.is_empty() && !covered {
            self.held = Some(pending);
            return Expected {
                status: "held",
                counts: Some(counts),
                hold_reasons,
            };
        }
        let names_in_file: Vec<String> = good.iter().flat_map(|row| row.groups.clone()).collect();
        self.contacts = after;
        self.next_uid = uids;
        self.update_groups(&names_in_file);
        self.history.push((run, changes));
        self.held = None;
        self.accepted = rows
            .iter()
            .filter(|row| row.id.is_empty())
            .map(content)
            .filter(|row| same_file || accepted.contains(row))
            .collect();
        let clean = bad.is_empty() && counts[6] == 0;
        self.last_applied_file = clean.then(|| file.to_owned());
        self.withheld = (counts[6] > 0).then_some(pending);
        if counts[6] == 0 {
            self.must_confirm = None;
        }
        self.bad_before = bad;
        Expected {
            status: if clean {
                "succeeded"
            } else {
                "succeeded_with_issues"
            },
            counts: Some(counts),
            hold_reasons: Vec::new(),
        }
    }

    /// Why a plan is held for approval, with the default limits, in alphabetical order.
    fn hold_reasons(&self, judged: &Judged<'_>) -> Vec<&'static str> {
        let stored = self.active().count();
        let too_many =
            |count: usize| count > 0 && (count * 10 > stored && count > 5 || count * 2 >= stored);
        let removed = judged
            .changes
            .iter()
            .filter(|d| d.kind == ChangeKind::Removed)
            .count();
        let renamed = judged
            .changes
            .iter()
            .filter(|d| matches!(d.kind, ChangeKind::Updated | ChangeKind::Adopted))
            .filter(|d| {
                let set = |state: &Option<State>| {
                    let state = state.as_ref().unwrap();
                    (
                        state.name.clone(),
                        state.numbers.iter().cloned().collect::<BTreeSet<_>>(),
                    )
                };
                set(&d.before) != set(&d.after)
            })
            .count();
        let members = |contacts: &[Contact], key: &str| {
            contacts
                .iter()
                .filter(|c| c.removed.is_none() && c.state.groups.contains(key))
                .count()
        };
        let empties_group = self
            .groups
            .keys()
            .any(|key| members(&self.contacts, key) > 5 && members(judged.after, key) == 0);
        let new_bad = judged
            .bad
            .iter()
            .filter(|row| !self.bad_before.contains(row))
            .count();
        let confirmation = self
            .must_confirm
            .filter(|_| changes_existing(judged.changes));
        let limits = [
            (renamed > 10 && renamed * 2 > stored, "changes_too_many"),
            (empties_group, "empties_group"),
            (new_bad * 4 > judged.rows, "errors_too_many"),
            (too_many(judged.recognized), "ids_changed"),
            (too_many(removed), "removes_too_many"),
        ];
        let exceeded = limits.into_iter().filter(|(exceeded, _)| *exceeded);
        let mut reasons: Vec<&str> = exceeded.map(|(_, reason)| reason).collect();
        reasons.extend(confirmation);
        reasons.sort_unstable();
        reasons
    }

    /// Reverts a run. Returns `None` if the run changed no contact.
    pub fn revert(&mut self, run: i64, subject: i64, force: bool) -> Option<Expected> {
        let (_, record) = self.history.iter().find(|(id, _)| *id == subject)?.clone();
        if record.is_empty() {
            return None;
        }
        let (mut changes, mut refused, mut same) = (Vec::new(), 0, 0);
        let mut after = self.contacts.clone();
        for d in &record {
            let Some(index) = self.contacts.iter().position(|c| c.uid == d.uid) else {
                refused += 1;
                continue;
            };
            let c = &self.contacts[index];
            let untouched = match d.kind {
                ChangeKind::Removed => c.removed.is_some(),
                _ => c.removed.is_none() && Some(&c.state) == d.after.as_ref(),
            };
            if !untouched && !force {
                refused += 1;
                continue;
            }
            let target = match d.kind {
                ChangeKind::Added | ChangeKind::Revived => None,
                _ => d.before.clone(),
            };
            let id_in_use = target.as_ref().is_some_and(|target| {
                target.id.is_some()
                    && target.id != c.state.id
                    && self
                        .contacts
                        .iter()
                        .any(|other| other.uid != c.uid && other.state.id == target.id)
            });
            if id_in_use {
                refused += 1;
                continue;
            }
            match (target, c.removed) {
                (None, Some(_)) => same += 1,
                (None, None) => {
                    after[index].removed = Some(self.now);
                    if d.kind == ChangeKind::Revived {
                        let mut then = d.before.clone().unwrap();
                        then.groups.retain(|key| self.groups.contains_key(key));
                        after[index].state = then;
                    }
                    changes.push(Change {
                        uid: c.uid,
                        kind: ChangeKind::Removed,
                        before: Some(c.state.clone()),
                        after: None,
                    });
                }
                (Some(target), None) if target == c.state => same += 1,
                (Some(target), removed) => {
                    let kind = if removed.is_some() {
                        ChangeKind::Revived
                    } else {
                        ChangeKind::Updated
                    };
                    after[index] = Contact {
                        uid: c.uid,
                        state: target.clone(),
                        removed: None,
                    };
                    changes.push(Change {
                        uid: c.uid,
                        kind,
                        before: Some(c.state.clone()),
                        after: Some(target),
                    });
                }
            }
        }
        let count = |kind| changes.iter().filter(|d: &&Change| d.kind == kind).count();
        let counts = [
            0,
            count(ChangeKind::Updated),
            same,
            count(ChangeKind::Removed),
            count(ChangeKind::Revived),
            0,
            0,
        ];
        if !changes.is_empty() {
            self.must_confirm = Some("after_revert");
            self.last_applied_file = None;
        }
        self.contacts = after;
        self.update_groups(&[]);
        if !changes.is_empty() {
            self.held = None;
        }
        self.history.push((run, changes));
        let status = if refused > 0 {
            "succeeded_with_issues"
        } else {
            "succeeded"
        };
        Some(Expected {
            status,
            counts: Some(counts),
            hold_reasons: Vec::new(),
        })
    }

    /// Purges contacts that were removed more than 30 days ago.
    pub fn purge_removed(&mut self) {
        let now = self.now;
        let old = |c: &Contact| c.removed.is_some_and(|at| now - at > 30 * 24 * 60 * 60);
        let purged: BTreeSet<Uid> = self
            .contacts
            .iter()
            .filter(|c| old(c))
            .map(|c| c.uid)
            .collect();
        self.contacts.retain(|c| !purged.contains(&c.uid));
        for (_, changes) in &mut self.history {
            changes.retain(|d| !purged.contains(&d.uid));
        }
    }
}

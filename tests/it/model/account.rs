//! The model: what an account holds, and what an import does to it, written from the contract and not from the program.

use std::collections::{BTreeMap, BTreeSet};

pub type Uid = usize;

/// All that is kept of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub id: Option<String>,
    pub name: String,
    pub title: Option<String>,
    /// Digits, in order.
    pub numbers: Vec<String>,
    /// Folded names.
    pub groups: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub struct Contact {
    pub uid: Uid,
    pub state: State,
    /// Day of removal.
    pub removed: Option<i64>,
}

/// A row of the file; each is a contact of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Blank: the row is nameless.
    pub id: String,
    pub name: String,
    pub title: Option<String>,
    pub numbers: Vec<String>,
    /// As spelled.
    pub groups: Vec<String>,
    /// Its number can't be read.
    pub bad: bool,
}

/// By what a row in error is known again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BadRow {
    Of(String),
    Nameless(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    Added,
    Updated,
    Removed,
    Revived,
    Adopted,
}

#[derive(Debug, Clone)]
pub struct Done {
    pub uid: Uid,
    pub did: Did,
    pub before: Option<State>,
    pub after: Option<State>,
}

/// What a run waits to do, and for which file.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub run: i64,
    pub file: String,
    pub removed: BTreeSet<Uid>,
    pub changed: BTreeSet<Uid>,
    pub bad: BTreeSet<BadRow>,
    /// Those who look like the same person keep their records.
    pub keeps: bool,
    /// Waits because contacts would be touched for the first time since this.
    pub confirms: Option<&'static str>,
}

#[derive(Debug, Clone, Default)]
pub struct Account {
    pub contacts: Vec<Contact>,
    /// By folded name: spelling, and whether it is removed.
    pub groups: BTreeMap<String, (String, bool)>,
    pub enabled: bool,
    /// Since what nobody has been touched.
    pub must_confirm: Option<&'static str>,
    /// The file that need not be read again.
    pub known_file: Option<String>,
    pub bad_before: BTreeSet<BadRow>,
    pub accepted: BTreeSet<String>,
    pub held: Option<Waiting>,
    pub withheld: Option<Waiting>,
    /// What each applied run did.
    pub history: Vec<(i64, Vec<Done>)>,
    pub next_uid: Uid,
    pub today: i64,
}

/// How a person has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    None,
    Approve,
    ApproveKeepingIds,
}

/// What is expected of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub status: &'static str,
    /// added, updated, unchanged, removed, revived, adopted, withheld
    pub counts: Option<[usize; 7]>,
}

pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

fn touches(done: &[Done]) -> bool {
    done.iter()
        .any(|d| !matches!(d.did, Did::Added | Did::Revived))
}

fn alike(one: &State, name: &str, numbers: &[String]) -> bool {
    fold(&one.name) == fold(name) && one.numbers.iter().any(|number| numbers.contains(number))
}

/// Pairs that are alike and alike with nobody else.
fn one_to_one<A: Copy + Ord, B: Clone + Ord>(pairs: &[(A, B)]) -> Vec<(A, B)> {
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

    /// Groups without members are removed, those with members are not.
    fn tidy_groups(&mut self, spelled: &[String]) {
        for name in spelled {
            self.groups
                .entry(fold(name))
                .or_insert_with(|| (name.clone(), false));
        }
        let filled: BTreeSet<String> = self
            .active()
            .flat_map(|c| c.state.groups.iter().cloned())
            .collect();
        for (key, (spelling, removed)) in &mut self.groups {
            *removed = !filled.contains(key);
            let now: Vec<&String> = spelled.iter().filter(|name| fold(name) == *key).collect();
            if !now.is_empty() && !now.contains(&&*spelling) {
                spelling.clone_from(now[0]);
            }
        }
    }

    /// An import of this file, or of a file that a person has spoken about.
    #[expect(
        clippy::too_many_lines,
        reason = "one import from beginning to end, as the contract tells it"
    )]
    pub fn import(
        &mut self,
        run: i64,
        file: &str,
        rows: &[Row],
        subject: Option<&Waiting>,
        word: Word,
    ) -> Expected {
        let failed = Expected {
            status: "failed",
            counts: None,
        };
        if !self.enabled || (word != Word::None && subject.is_none()) {
            return failed;
        }
        if word == Word::None && self.known_file.as_deref() == Some(file) {
            return Expected {
                status: "unchanged",
                counts: None,
            };
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
                    BadRow::Nameless(content(row))
                } else {
                    BadRow::Of(row.id.clone())
                }
            })
            .collect();
        let in_error = |id: &str| bad.contains(&BadRow::Of(id.to_owned()));
        let same_file = word != Word::None && subject.is_some_and(|approved| approved.file == file);
        let mut accepted = self.accepted.clone();
        for row in subject.iter().flat_map(|approved| &approved.bad) {
            if let (BadRow::Nameless(row), true) = (row, word != Word::None) {
                accepted.insert(row.clone());
            }
        }
        let doubtful = rows
            .iter()
            .any(|row| row.id.is_empty() && !accepted.contains(&content(row)));
        let withhold = doubtful && !same_file;

        let mut done: Vec<Done> = Vec::new();
        let mut counts = [0; 7];
        let mut after = self.contacts.clone();
        let mut uids = self.next_uid;
        let strangers: Vec<&&Row> = good
            .iter()
            .filter(|row| self.by_id(&row.id).is_none())
            .collect();
        let links = |wanted: &dyn Fn(&Contact) -> bool, rows: &[&&Row]| -> Vec<(Uid, String)> {
            let mut pairs = Vec::new();
            for contact in self.active().filter(|c| wanted(c)) {
                for row in rows
                    .iter()
                    .filter(|row| alike(&contact.state, &row.name, &row.numbers))
                {
                    pairs.push((contact.uid, row.id.clone()));
                }
            }
            one_to_one(&pairs)
        };
        let adopted = links(&|c| c.state.id.is_none(), &strangers);
        let in_file = |id: &str| good.iter().any(|row| row.id == id) || in_error(id);
        let others: Vec<&&Row> = good
            .iter()
            .filter(|row| match self.by_id(&row.id) {
                None => adopted.iter().all(|(_, id)| *id != row.id),
                Some(place) => self.contacts[place].removed.is_some(),
            })
            .collect();
        let mut same = links(
            &|c| c.state.id.as_deref().is_some_and(|id| !in_file(id)),
            &others,
        );
        same.retain(|(_, id)| self.by_id(id).is_none());
        let keeps = word == Word::ApproveKeepingIds
            || (word == Word::Approve && subject.is_some_and(|approved| approved.keeps));
        if !keeps {
            same.clear();
        }
        for row in &good {
            let wanted = State {
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
            let Some(place) = known else {
                uids += 1;
                after.push(Contact {
                    uid: uids,
                    state: wanted.clone(),
                    removed: None,
                });
                done.push(Done {
                    uid: uids,
                    did: Did::Added,
                    before: None,
                    after: Some(wanted),
                });
                counts[0] += 1;
                continue;
            };
            let contact = &self.contacts[place];
            let did = if contact.removed.is_some() {
                counts[4] += 1;
                Did::Revived
            } else if contact.state.id.is_none() {
                counts[5] += 1;
                Did::Adopted
            } else if contact.state == wanted {
                counts[2] += 1;
                continue;
            } else {
                counts[1] += 1;
                Did::Updated
            };
            done.push(Done {
                uid: contact.uid,
                did,
                before: Some(contact.state.clone()),
                after: Some(wanted.clone()),
            });
            after[place] = Contact {
                uid: contact.uid,
                state: wanted,
                removed: None,
            };
        }
        let touched: BTreeSet<Uid> = done.iter().map(|d| d.uid).collect();
        let gone: Vec<usize> = (0..self.contacts.len())
            .filter(|place| {
                let c = &self.contacts[*place];
                let stays = c.state.id.as_deref().is_some_and(&in_file);
                c.removed.is_none() && !stays && !touched.contains(&c.uid)
            })
            .collect();
        let removals: BTreeSet<Uid> = gone.iter().map(|place| self.contacts[*place].uid).collect();
        counts[if withhold { 6 } else { 3 }] = gone.len();
        if !withhold {
            for place in gone {
                after[place].removed = Some(self.today);
                let c = &self.contacts[place];
                done.push(Done {
                    uid: c.uid,
                    did: Did::Removed,
                    before: Some(c.state.clone()),
                    after: None,
                });
            }
        }
        let not_new = done
            .iter()
            .filter(|d| !matches!(d.did, Did::Added | Did::Removed));
        let changed: BTreeSet<Uid> = not_new.clone().map(|d| d.uid).collect();
        let id_of = |state: &Option<State>| state.as_ref().and_then(|state| state.id.clone());
        let renumbered: BTreeSet<Uid> = not_new
            .filter(|d| d.did == Did::Updated && id_of(&d.before) != id_of(&d.after))
            .map(|d| d.uid)
            .collect();
        let waiting_to_do = done.clone();
        let reasons = self.is_too_much(&done, &after, rows.len(), &bad);
        let covered = word != Word::None
            && subject.is_some_and(|approved| {
                let nothing_since =
                    self.must_confirm.is_none() || self.must_confirm == approved.confirms;
                (approved.file == file && nothing_since)
                    || (removals.is_subset(&approved.removed)
                        && changed.iter().all(|uid| {
                            let keeps_record =
                                renumbered.contains(uid) && approved.removed.contains(uid);
                            approved.changed.contains(uid) || keeps_record
                        })
                        && bad.is_subset(&approved.bad))
            });
        let waiting = Waiting {
            run,
            file: file.to_owned(),
            removed: removals,
            changed,
            bad: bad.clone(),
            keeps,
            confirms: self.must_confirm.filter(|_| touches(&waiting_to_do)),
        };
        if reasons && !covered {
            self.held = Some(waiting);
            return Expected {
                status: "held",
                counts: Some(counts),
            };
        }
        let spelled: Vec<String> = good.iter().flat_map(|row| row.groups.clone()).collect();
        self.contacts = after;
        self.next_uid = uids;
        self.tidy_groups(&spelled);
        self.history.push((run, done));
        self.held = None;
        self.accepted = rows
            .iter()
            .filter(|row| row.id.is_empty())
            .map(content)
            .filter(|row| same_file || accepted.contains(row))
            .collect();
        let clean = bad.is_empty() && counts[6] == 0;
        self.known_file = clean.then(|| file.to_owned());
        self.withheld = (counts[6] > 0).then_some(waiting);
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
        }
    }

    /// Whether a plan waits for a person, with the limits of a new account.
    fn is_too_much(
        &self,
        done: &[Done],
        after: &[Contact],
        rows: usize,
        bad: &BTreeSet<BadRow>,
    ) -> bool {
        let stored = self.active().count();
        let removed = done.iter().filter(|d| d.did == Did::Removed).count();
        let renamed = done
            .iter()
            .filter(|d| matches!(d.did, Did::Updated | Did::Adopted))
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
        let empties = self
            .groups
            .keys()
            .any(|key| members(&self.contacts, key) > 5 && members(after, key) == 0);
        let new_bad = bad
            .iter()
            .filter(|row| !self.bad_before.contains(row))
            .count();
        (removed > 0 && (removed * 10 > stored && removed > 5 || removed * 2 >= stored))
            || (renamed > 10 && renamed * 2 > stored)
            || empties
            || new_bad * 4 > rows
            || (self.must_confirm.is_some() && touches(done))
    }

    /// Undoes a run; `None` if it changed nobody.
    pub fn revert(&mut self, run: i64, subject: i64, force: bool) -> Option<Expected> {
        let (_, record) = self.history.iter().find(|(id, _)| *id == subject)?.clone();
        if record.is_empty() {
            return None;
        }
        let (mut done, mut refused, mut same) = (Vec::new(), 0, 0);
        let mut after = self.contacts.clone();
        for d in &record {
            let Some(place) = self.contacts.iter().position(|c| c.uid == d.uid) else {
                refused += 1;
                continue;
            };
            let c = &self.contacts[place];
            let untouched = match d.did {
                Did::Removed => c.removed.is_some(),
                _ => c.removed.is_none() && Some(&c.state) == d.after.as_ref(),
            };
            if !untouched && !force {
                refused += 1;
                continue;
            }
            let target = match d.did {
                Did::Added | Did::Revived => None,
                _ => d.before.clone(),
            };
            let taken = target.as_ref().is_some_and(|target| {
                target.id.is_some()
                    && target.id != c.state.id
                    && self
                        .contacts
                        .iter()
                        .any(|other| other.uid != c.uid && other.state.id == target.id)
            });
            if taken {
                refused += 1;
                continue;
            }
            match (target, c.removed) {
                (None, Some(_)) => same += 1,
                (None, None) => {
                    after[place].removed = Some(self.today);
                    if d.did == Did::Revived {
                        let mut then = d.before.clone().unwrap();
                        then.groups.retain(|key| self.groups.contains_key(key));
                        after[place].state = then;
                    }
                    done.push(Done {
                        uid: c.uid,
                        did: Did::Removed,
                        before: Some(c.state.clone()),
                        after: None,
                    });
                }
                (Some(target), None) if target == c.state => same += 1,
                (Some(target), removed) => {
                    let did = if removed.is_some() {
                        Did::Revived
                    } else {
                        Did::Updated
                    };
                    after[place] = Contact {
                        uid: c.uid,
                        state: target.clone(),
                        removed: None,
                    };
                    done.push(Done {
                        uid: c.uid,
                        did,
                        before: Some(c.state.clone()),
                        after: Some(target),
                    });
                }
            }
        }
        let count = |did| done.iter().filter(|d: &&Done| d.did == did).count();
        let counts = [
            0,
            count(Did::Updated),
            same,
            count(Did::Removed),
            count(Did::Revived),
            0,
            0,
        ];
        if !done.is_empty() {
            self.must_confirm = Some("after_revert");
            self.known_file = None;
        }
        self.contacts = after;
        self.tidy_groups(&[]);
        if !done.is_empty() {
            self.held = None;
        }
        self.history.push((run, done));
        let status = if refused > 0 {
            "succeeded_with_issues"
        } else {
            "succeeded"
        };
        Some(Expected {
            status,
            counts: Some(counts),
        })
    }

    /// A day passes, or many.
    pub fn forget(&mut self) {
        let today = self.today;
        let old = |c: &Contact| c.removed.is_some_and(|day| today - day > 30);
        let gone: BTreeSet<Uid> = self
            .contacts
            .iter()
            .filter(|c| old(c))
            .map(|c| c.uid)
            .collect();
        self.contacts.retain(|c| !gone.contains(&c.uid));
        for (_, done) in &mut self.history {
            done.retain(|d| !gone.contains(&d.uid));
        }
    }
}

//! Generates realistic contacts: some cells are blank, some need quotes, some have accents. Each contact depends only on its
//! number.

use std::path::Path;

pub const COLUMNS: [&str; 10] = [
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

pub type Person = [String; 10];

const TEAMS: [&str; 12] = [
    "Search Team",
    "Medics",
    "Région Île Volunteers",
    "Drivers",
    "Rope Rescue",
    "Night Crew",
    "Dispatch",
    "South First Aid",
    "Command",
    "Boats",
    "Köln Liaison",
    "Stores",
];

/// The contact with this number, counted from 0. Phone numbers are unique below 8 million.
pub fn person(n: usize) -> Person {
    const FIRST: [&str; 9] = [
        "Zoë",
        "Ann",
        "Mikael",
        "Rosa",
        "Jürgen",
        "Li",
        "Fatima",
        "Noah",
        "Ольга",
    ];
    const LAST: [&str; 7] = [
        "Müller", "Nguyen", "O'Brien", "Lee", "García", "Smith", "Virtanen",
    ];
    let blank_every = |every: usize, text: String| {
        if n.is_multiple_of(every) {
            String::new()
        } else {
            text
        }
    };
    let teams: Vec<String> = (0..=n % 3).map(|k| team(n / 7 + k * 5)).collect();
    let (exchange, line) = (exchange(n / 10_000), n % 10_000);
    [
        format!("C{n:08}"),
        format!("{} {}", FIRST[n % FIRST.len()], LAST[n / 3 % LAST.len()]),
        blank_every(4, format!("Harbour Search and Rescue {}", n % 50)),
        blank_every(
            3,
            ["Team Lead, EMT", "Nurse", "Duty Officer"][n % 3].to_owned(),
        ),
        match n % 3 {
            0 => format!("604{exchange}{line:04}"),
            1 => format!("(778) {exchange}-{line:04}"),
            _ => format!("+1 236 {exchange} {line:04}"),
        },
        ["mobile", "Landline", "pager"][n / 5 % 3].to_owned(),
        blank_every(
            2,
            ["work", "home", "Night shift, only if urgent"][n % 3].to_owned(),
        ),
        blank_every(5, format!("user{n}@example{}.org", n % 100)),
        blank_every(2, ["High", "Normal", "low"][n % 3].to_owned()),
        teams.join(", "),
    ]
}

/// One of 120 groups.
fn team(n: usize) -> String {
    format!("{} {}", TEAMS[n % TEAMS.len()], n % 10 + 1)
}

/// A valid exchange code: 200 to 999, except those that end in 11.
fn exchange(k: usize) -> usize {
    let exchange = 200 + k + k / 99;
    if exchange % 100 >= 11 {
        exchange + 1
    } else {
        exchange
    }
}

/// The same contact with one field edited.
pub fn edited(n: usize) -> Person {
    let mut person = person(n);
    match n / 100 % 5 {
        0 => person[1].push_str(" Jr."),
        1 => person[2].push_str(" West"),
        2 => "Acting Lead".clone_into(&mut person[3]),
        3 => ["Normal", "Low", "High"][n % 3].clone_into(&mut person[8]),
        _ => person[9] = team(n / 7 + 3),
    }
    person
}

/// The contacts from 0, in order.
pub fn base(count: usize) -> impl DoubleEndedIterator<Item = Person> {
    (0..count).map(person)
}

/// The same contacts after 1 % were edited, 0.5 % removed and 0.5 % added.
pub fn changed(count: usize) -> impl Iterator<Item = Person> {
    let kept = (0..count)
        .filter(|n| n % 200 != 50)
        .map(|n| if n % 100 == 7 { edited(n) } else { person(n) });
    kept.chain((count..count + count / 200).map(person))
}

/// Writes contacts as a CSV file.
pub fn write_csv(people: impl Iterator<Item = Person>, path: &Path, line_end: csv::Terminator) {
    let mut out = csv::WriterBuilder::new()
        .terminator(line_end)
        .from_path(path)
        .unwrap();
    out.write_record(COLUMNS).unwrap();
    for person in people {
        out.write_record(person).unwrap();
    }
    out.flush().unwrap();
}

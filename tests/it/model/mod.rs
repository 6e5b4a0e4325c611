//! Random sequences of files, holds, approvals, rejections, reverts, crashes, edits by other programs and time passing,
//! side by side on a tiny model in memory and on the real thing; after each step everything that is stored is compared.
//!
//! `MODEL_SEQUENCES=10000 cargo test --test it model` tries more; `MODEL_SEED` begins elsewhere.

mod account;
mod chance;
mod world;

use std::collections::BTreeSet;

use chance::Chance;
use world::World;

const STEPS: usize = 14;
/// Then they go on in a new database: one that only grows makes each of them slower.
const SEQUENCES_OF_A_WORLD: usize = 500;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Tries every second sequence, beginning with this one.
async fn try_sequences(first: u64) {
    let (seed, count) = (
        from_environment("MODEL_SEED", 0),
        from_environment("MODEL_SEQUENCES", 200),
    );
    let sequences: Vec<u64> = (seed + first..seed + count).step_by(2).collect();
    let mut happened = BTreeSet::new();
    for sequences in sequences.chunks(SEQUENCES_OF_A_WORLD) {
        let mut world = World::start().await;
        for sequence in sequences {
            let mut chance = Chance::new(*sequence);
            world.begin(*sequence, &mut chance).await;
            for _ in 0..STEPS {
                world.step(&mut chance).await;
            }
        }
        happened.append(world.seen());
    }
    // A model that nothing ever happens to proves nothing.
    for what in [
        "manual succeeded",
        "manual succeeded_with_issues",
        "manual held",
        "manual failed",
        "manual unchanged",
        "manual withheld",
        "manual removed",
        "manual revived",
        "manual adopted",
        "approval succeeded",
        "approval held",
        "approval updated",
        "approval removed",
        "approval adopted",
        "revert succeeded",
        "revert succeeded_with_issues",
        "revert updated",
        "revert removed",
        "revert revived",
    ] {
        assert!(
            count < 100 || happened.contains(what),
            "{what} never happened: {happened:?}"
        );
    }
}

#[tokio::test]
async fn whatever_happens_the_database_holds_what_the_model_holds() {
    try_sequences(0).await;
}

#[tokio::test]
async fn whatever_happens_the_database_holds_what_the_model_holds_in_other_sequences() {
    try_sequences(1).await;
}

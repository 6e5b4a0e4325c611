//! Random sequences of files, holds, approvals, rejections, reverts, crashes, edits by other programs and time passing,
//! side by side on a tiny model in memory and on the real thing; after each step everything that is stored is compared.
//!
//! `MODEL_SEQUENCES=10000 cargo test --test it model` tries more; `MODEL_SEED` begins elsewhere.

mod account;
mod chance;
mod world;

use chance::Chance;
use world::World;

const STEPS: usize = 14;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// Tries every second sequence, beginning with this one.
async fn try_sequences(first: u64) {
    let (seed, count) = (
        from_environment("MODEL_SEED", 0),
        from_environment("MODEL_SEQUENCES", 200),
    );
    let mut world = World::start().await;
    for sequence in (seed + first..seed + count).step_by(2) {
        let mut chance = Chance::new(sequence);
        world.begin(sequence, &mut chance).await;
        for _ in 0..STEPS {
            world.step(&mut chance).await;
        }
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
            count < 100 || world.seen().contains_key(what),
            "{what} never happened: {:?}",
            world.seen()
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

//! Model-based tests: random sequences of imports, holds, approvals, rejections, reverts, crashes, edits by other programs and
//! time steps run on both a small in-memory model and the real program. After each step, all stored data is compared.
//!
//! `MODEL_SEQUENCES=10000 cargo test --test it model` runs more sequences; `MODEL_SEED` sets the first seed.

mod account;
mod rng;
mod world;

use std::collections::BTreeSet;

use rng::Rng;
use world::World;

const STEPS: usize = 14;
/// A new database is created after this many sequences, because a growing database slows them down.
const SEQUENCES_PER_DATABASE: usize = 500;

fn env_or(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Runs every second sequence, starting with `first`.
async fn run_sequences(first: u64) {
    let (seed, count) = (env_or("MODEL_SEED", 0), env_or("MODEL_SEQUENCES", 200));
    let sequences: Vec<u64> = (seed + first..seed + count).step_by(2).collect();
    let mut events = BTreeSet::new();
    for sequences in sequences.chunks(SEQUENCES_PER_DATABASE) {
        let mut world = World::start().await;
        for sequence in sequences {
            let mut rng = Rng::new(*sequence);
            world.begin(*sequence, &mut rng).await;
            for _ in 0..STEPS {
                world.step(&mut rng).await;
            }
        }
        events.append(world.events());
    }
    // Guards against sequences that exercise too little.
    for event in [
        "manual succeeded",
        "manual succeeded_with_issues",
        "manual held",
        "manual failed",
        "manual unchanged",
        "manual withheld",
        "withheld, held for removes_too_many",
        "withheld, held for ids_changed",
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
            count < 100 || events.contains(event),
            "{event} never occurred: {events:?}"
        );
    }
}

#[tokio::test]
async fn database_matches_model_in_even_sequences() {
    run_sequences(0).await;
}

#[tokio::test]
async fn database_matches_model_in_odd_sequences() {
    run_sequences(1).await;
}

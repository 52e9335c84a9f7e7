//! The targets over their seeds and over random changes of them, so that they hold and run on every machine.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{TARGETS, Target};

/// Changes of each seed. The log writes and opens folders, so that it gets fewer.
fn rounds(target: &Target) -> u32 {
    if target.name == "wal" { 40 } else { 2_000 }
}

#[test]
fn targets_hold_for_their_seeds_and_changes_of_them() {
    let seed = std::env::var("CRESCENDO_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(20_261_124);
    println!("CRESCENDO_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for target in TARGETS {
        assert!(!target.seeds.is_empty(), "{}: no seeds", target.name);
        for seed in target.seeds {
            (target.run)(seed);
            for _ in 0..rounds(&target) {
                (target.run)(&changed(seed, &mut random));
            }
        }
    }
}

/// Some bytes changed, doubled, cut out or put in.
fn changed(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let to = random.random_range(at..=bytes.len().min(at + 8));
        match random.random_range(0..4) {
            0 => drop(bytes.drain(at..to)),
            1 => bytes.insert(at, random.random()),
            2 => {
                let part: Vec<u8> = bytes.drain(at..to).collect();
                bytes.splice(at..at, part.repeat(2));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        }
    }
    bytes
}

//! One libFuzzer binary for all targets: `FUZZ_TARGET=promql fuzz CORPUS -max_total_time=600`.
//!
//! Rule: built by `make fuzz`, which asks the compiler for coverage; without that it searches blindly.
#![no_main]
#![expect(clippy::panic, reason = "libFuzzer has no other way to end")]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let names: Vec<&str> = fuzz::TARGETS.iter().map(|target| target.name).collect();
    fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name}: expected one of {names:?}"))
}

/// Puts the target's seeds into the folder that `FUZZ_CORPUS` names, before libFuzzer reads it.
fn write_seeds() {
    let Ok(folder) = std::env::var("FUZZ_CORPUS") else { return };
    for (number, seed) in TARGET.get_or_init(chosen).seeds.iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number}"));
        fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fuzz_target!(
    init: write_seeds(),
    |data: &[u8]| (TARGET.get_or_init(chosen).run)(data)
);

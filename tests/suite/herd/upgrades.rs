//! A herd that is upgraded one server after another, from the program of an earlier release to this one, and back.

use super::restarts::{all_know, end_under_load};
use crate::support::herd::{FIVE, Setup};
use crate::support::skipped;
use std::path::PathBuf;

/// The environment variable that names the program of the earlier release, which `.ci/run` builds.
const BEFORE: &str = "HERD_BEFORE";

fn program_before() -> Option<PathBuf> {
    match std::env::var_os(BEFORE).map(PathBuf::from).filter(|path| path.is_file()) {
        None => skipped(&format!("{BEFORE} names no program of an earlier release")),
        found => found,
    }
}

#[test]
fn an_upgrade_server_by_server_under_load_and_back_loses_no_acknowledged_report() {
    let Some(before) = program_before() else { return };
    let setup = Setup::five().journal("sync = \"no\"").without_traffic_in_the_log();
    let mut herd = setup.program(before.clone()).start();
    let mut acknowledged = Vec::new();
    for (round, program) in [None, Some(before.as_path()), None].into_iter().enumerate() {
        herd.use_program(program);
        for name in FIVE {
            end_under_load(&mut herd, name, round, &mut acknowledged);
            herd.restart(name);
        }
        all_know(&herd, &acknowledged);
    }
    for name in FIVE {
        assert!(!herd.log(name).contains("rejected: it speaks"), "{}", herd.log(name));
    }
}

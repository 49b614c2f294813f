//! The journal's promises: what was noted is read again, whatever has become of the file, the disk and the
//! power meanwhile; and nobody is told that something is kept that is not.
//!
//! `files`: the journal alone, on a disk in memory, on real files, and on what is left of them.
//! `members`: real members with clients, whose disk forgets what was not synced.
//!
//! JOURNAL_SEEDS says how many seeds are played (400, in CI 2,000); figures are printed (`--nocapture`).

mod files;
mod members;

use places_herd::journal::{JournalSettings, Sync};
use std::time::Duration;

fn settings(sync: Sync) -> JournalSettings {
    JournalSettings {
        folder: "journal".into(),
        sync,
        compact_bytes: 2_000,
        compact_factor: 2,
        compact_keys: 7,
        retry: Duration::from_secs(5),
        slow_sync: Duration::from_millis(100),
    }
}

fn seeds() -> u64 {
    let set = std::env::var("JOURNAL_SEEDS").ok();
    set.map_or(400, |seeds| seeds.parse().expect("JOURNAL_SEEDS is a number"))
}

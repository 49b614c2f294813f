//! The journal's promises: a start reads every noted line again, despite faults of the file, the disk and the
//! power; and every acknowledged line is kept.
//!
//! `files`: the journal alone, on a disk in memory, on real files, and on damaged files.
//! `members`: real servers with clients, whose disk loses bytes that were not synced.
//!
//! JOURNAL_SEEDS is the number of seeds (400, in CI 2,000); `--nocapture` shows the figures.

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

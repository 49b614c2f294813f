//! The table `[journal]`: how what is known outlives a server.
//!
//! In: the table, if it is there. Out: [`JournalSettings`] in which every number is in its range.
//! Knows no file.

use super::diagnostic::Diagnostics;
use super::limits::Limit;
use super::toml_section::Section;
use crate::journal::{JournalSettings, Sync};
use std::path::Path;
use std::time::Duration;

/// The keys of the table.
pub(super) const KEYS: &[&str] = &[
    "folder",
    "sync",
    "compact_bytes",
    "compact_factor",
    "compact_keys",
    "retry_ms",
    "slow_sync_ms",
];

const POLICIES: &[(&str, Sync)] =
    &[("everysec", Sync::EverySecond), ("always", Sync::Always), ("no", Sync::No)];

/// The limits of the table, in the order of the shipped `topology.toml`.
pub const LIMITS: [&Limit; 5] =
    [&COMPACT_BYTES, &COMPACT_FACTOR, &COMPACT_KEYS, &RETRY_MS, &SLOW_SYNC_MS];

const COMPACT_BYTES: Limit = Limit {
    key: "compact_bytes",
    default: 67_108_864,
    range: 65_536..=1_000_000_000_000,
    meaning: "A file of fewer bytes is never written anew.",
};

const COMPACT_FACTOR: Limit = Limit {
    key: "compact_factor",
    default: 2,
    range: 2..=1_000,
    meaning: "A file so many times larger than what counts of it is written anew.",
};

const COMPACT_KEYS: Limit = Limit {
    key: "compact_keys",
    default: 1_000,
    range: 1..=1_000_000,
    meaning: "So many clients are written in each turn of the loop.",
};

const RETRY_MS: Limit = Limit {
    key: "retry_ms",
    default: 5_000,
    range: 10..=3_600_000,
    meaning: "How long it takes until what the disk has refused is tried again.",
};

const SLOW_SYNC_MS: Limit = Limit {
    key: "slow_sync_ms",
    default: 100,
    range: 1..=3_600_000,
    meaning: "A sync that takes longer is told to the log: nobody is served meanwhile.",
};

/// Reads `[journal]`; without it there is none. `folder`: the topology file's.
pub(super) fn read(
    top: &Section<'_>,
    folder: &Path,
    findings: &mut Diagnostics<'_>,
) -> Option<JournalSettings> {
    let section = top.section("journal", findings)?;
    let name = section.text("folder", "journal", findings);
    let sync = section.choice("sync", POLICIES, findings);
    let mut number = |limit: &Limit| section.integer(limit, findings).unwrap_or(limit.default);
    Some(JournalSettings {
        sync,
        compact_bytes: number(&COMPACT_BYTES),
        compact_factor: number(&COMPACT_FACTOR),
        compact_keys: usize::try_from(number(&COMPACT_KEYS)).unwrap_or(usize::MAX),
        retry: Duration::from_millis(number(&RETRY_MS)),
        slow_sync: Duration::from_millis(number(&SLOW_SYNC_MS)),
        folder: folder.join(name.map_or("journal", |name| *name.get_ref())),
    })
}

//! The table `[journal]`: how reports outlive a server.
//!
//! In: the table, if it is there. Out: [`JournalSettings`]. Knows no file.

use super::diagnostic::Diagnostics;
use super::toml_section::Section;
use crate::journal::{JournalSettings, Sync};
use std::path::Path;

/// Reads `[journal]`; without it there is none. `folder`: the topology file's.
pub(super) fn read(
    top: &Section<'_>,
    folder: &Path,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<JournalSettings> {
    let section = top.section("[journal]", diagnostics);
    section.is_there().then(|| JournalSettings {
        folder: folder.join(section.text_or_default("folder")),
        sync: match section.text_or_default("sync") {
            "always" => Sync::Always,
            "no" => Sync::No,
            _ => Sync::EverySecond,
        },
        compact_bytes: section.number("compact_bytes"),
        compact_factor: section.number("compact_factor"),
        compact_keys: section.number("compact_keys"),
        retry: section.number("retry_ms"),
        slow_sync: section.number("slow_sync_ms"),
    })
}

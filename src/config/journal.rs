//! The table `[journal]`: how reports survive a restart.
//!
//! In: the table, if the file has it. Out: [`JournalSettings`]. It opens no file.

use super::diagnostic::Diagnostics;
use super::toml_section::Section;
use crate::journal::{JournalSettings, Sync};
use std::path::Path;

/// Reads `[journal]`; `None` if the file has no such table. `folder`: the topology file's folder.
pub(super) fn read(
    top: &Section<'_>,
    folder: &Path,
    diagnostics: &mut Diagnostics<'_>,
) -> Option<JournalSettings> {
    let section = top.section("[journal]", diagnostics);
    section.is_there().then(|| JournalSettings {
        folder: section.folder("STATE_DIRECTORY", folder),
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

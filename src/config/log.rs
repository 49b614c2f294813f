//! The table `[log]`: where the log goes, its form, and which lines it has.
//!
//! In: the table, if the file has it. Out: [`LogSettings`]. It opens no file and reads no environment.

use super::diagnostic::{Diagnostics, quoted};
use super::toml_section::Section;
use crate::log::{LEVEL_REMEDY, LogSettings, LogTo, directives};
use std::path::Path;

/// Reads `[log]`. `folder`: the topology file's folder.
pub(super) fn read(
    section: &Section<'_>,
    folder: &Path,
    diagnostics: &mut Diagnostics<'_>,
) -> LogSettings {
    let level = section.text_or_default("level");
    for ignored in directives(level).1 {
        let what = format!("level: {} is neither a level nor MODULE=LEVEL", quoted(ignored));
        diagnostics.error(section.place_of("level"), what, LEVEL_REMEDY);
    }
    LogSettings {
        to: section.text("to").map(|to| match *to.get_ref() {
            "stderr" => LogTo::Stderr,
            "both" => LogTo::Both,
            _ => LogTo::File,
        }),
        folder: folder.join(section.text_or_default("folder")),
        folder_is_set: section.has("folder"),
        json: section.text_or_default("format") == "json",
        level: level.to_owned(),
        rotate_bytes: section.number("rotate_bytes"),
        rotate_keep: section.number("rotate_keep"),
    }
}

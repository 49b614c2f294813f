//! Where the log goes, and how much of it there is.
//!
//! In: the settings and the environment. Out: a folder for the file, if there is a file, and whether stderr gets all
//! lines or only warnings and errors. It opens nothing. The first of these rules that applies decides:
//!
//! 1. the keys `to` and `folder` of `[log]`;
//! 2. LOGS_DIRECTORY, which systemd sets for a unit with LogsDirectory=: a file in the first folder that it names;
//! 3. stderr, if journald reads it;
//! 4. a file in the default folder.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

/// What the topology says about the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// Where the log goes; `None` if the environment decides.
    pub to: Option<LogTo>,
    /// The folder of the log files; created if it does not exist.
    pub folder: PathBuf,
    /// Whether the operator chose `folder`; otherwise it is the default.
    pub folder_is_set: bool,
    /// Whether lines are JSON objects.
    pub json: bool,
    /// The lines to log, as directives of `RUST_LOG`; empty is `info`.
    pub level: String,
    /// The size at which the log starts a new file; 0 = never.
    pub rotate_bytes: u64,
    /// The number of older files of a server to keep, over all its starts.
    pub rotate_keep: u64,
}

/// The key `to` of `[log]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTo {
    /// A file; warnings and errors also to stderr.
    File,
    /// Stderr.
    Stderr,
    /// Every line to both.
    Both,
}

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDestination {
    /// The folder of the file; `None` if the log is stderr.
    pub folder: Option<PathBuf>,
    /// Whether stderr gets every line, and not only warnings and errors.
    pub(super) all_to_stderr: bool,
    /// Whether journald reads stderr.
    pub(super) journal: bool,
}

impl LogDestination {
    /// Decides by the rules at the head of this file. `logs_directory`: the variable of this name; an empty one counts
    /// as unset.
    pub(super) fn choose(
        settings: &LogSettings,
        logs_directory: Option<&OsStr>,
        journal: bool,
    ) -> LogDestination {
        let first = logs_directory.and_then(|all| env::split_paths(all).next());
        let first = first.filter(|first| !first.as_os_str().is_empty());
        let to = settings.to.unwrap_or(match settings.folder_is_set || first.is_some() {
            false if journal => LogTo::Stderr,
            _ => LogTo::File,
        });
        let first = first.filter(|_| !settings.folder_is_set);
        let folder = first.unwrap_or_else(|| settings.folder.clone());
        LogDestination {
            folder: (to != LogTo::Stderr).then_some(folder),
            all_to_stderr: to != LogTo::File,
            journal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_first_then_logs_directory_then_the_journal_then_the_default_folder() {
        use LogTo::{Both, File, Stderr};
        let (own, default, first) = (Some("own"), Some("log"), Some("/var/log/herd"));
        let systemd = Some("/var/log/herd:/var/log/other");
        for (to, is_own, variable, journal, folder, all) in [
            (None, false, None, false, default, false),
            (None, false, None, true, None, true),
            (None, false, systemd, false, first, false),
            (None, false, systemd, true, first, false),
            (None, false, Some(""), true, None, true),
            (None, false, Some(""), false, default, false),
            (None, false, Some(":/b"), false, default, false),
            (None, true, None, true, own, false),
            (None, true, systemd, true, own, false),
            (Some(File), false, None, true, default, false),
            (Some(File), false, systemd, true, first, false),
            (Some(File), true, systemd, true, own, false),
            (Some(Stderr), true, systemd, false, None, true),
            (Some(Stderr), false, None, false, None, true),
            (Some(Both), false, None, true, default, true),
            (Some(Both), false, systemd, false, first, true),
            (Some(Both), true, None, false, own, true),
        ] {
            let settings = LogSettings {
                to,
                folder: if is_own { "own" } else { "log" }.into(),
                folder_is_set: is_own,
                ..LogSettings::default()
            };
            let chosen = LogDestination::choose(&settings, variable.map(OsStr::new), journal);
            let expected = (folder.map(PathBuf::from), all, journal);
            let case = (to, is_own, variable, journal);
            assert_eq!((chosen.folder, chosen.all_to_stderr, chosen.journal), expected, "{case:?}");
        }
    }
}

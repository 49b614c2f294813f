//! Folders and secrets that the service manager gives a process, by environment variables (systemd.exec(5)).
//!
//! `StateDirectory=`, `RuntimeDirectory=` and `LogsDirectory=` of a unit set `STATE_DIRECTORY`, `RUNTIME_DIRECTORY` and
//! `LOGS_DIRECTORY`; `LoadCredential=NAME:PATH` puts a file NAME, which only the service can read, into
//! `CREDENTIALS_DIRECTORY`.

use std::env;
use std::path::{Path, PathBuf};

/// Returns the folder that `variable` names; the first of several, which colons separate.
pub fn given_folder(variable: &str) -> Option<PathBuf> {
    let folders = env::var_os(variable)?;
    env::split_paths(&folders).next().filter(|folder| folder.is_absolute())
}

/// Returns the credential with the file name of `path`, if the service manager gives one, or else `path`.
pub fn credential_or(path: PathBuf) -> PathBuf {
    let credential =
        given_folder(CREDENTIALS).zip(path.file_name()).map(|(folder, name)| folder.join(name));
    credential.filter(|credential| credential.is_file()).unwrap_or(path)
}

/// Whether `path` is a credential. Its mode says nothing about who may read it: systemd admits the service's user by an
/// access control list, whose mask looks like the rights of a group.
pub fn is_credential(path: &Path) -> bool {
    given_folder(CREDENTIALS).is_some_and(|folder| path.starts_with(folder))
}

const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

//! Sets `HERD_VERSION`, which `herd --version` prints: the version, and the commit if it is known.
//!
//! In: the environment variable `HERD_COMMIT`, or else .git. Out: `0.1.0 (abc1234567)`, or `0.1.0` where there is
//! neither, as in a package of the sources. It reads the files of .git itself, so that a build needs no git. Of a folder
//! above this one it reads nothing: that repository is another's.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Digits of the commit that are shown.
const DIGITS: usize = 10;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HERD_COMMIT");
    let given = env::var("HERD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| commit_of(Path::new(".git")));
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=HERD_VERSION={}{commit}", env!("CARGO_PKG_VERSION"));
}

/// The first digits of the commit that is checked out. `git`: the folder, or in a linked worktree the file that names it.
fn commit_of(git: &Path) -> Option<String> {
    let folder = match read(git) {
        Some(link) => PathBuf::from(link.strip_prefix("gitdir: ")?.trim_end()),
        None => git.to_owned(),
    };
    // Each commit and checkout adds a line to the first of these files, and changes one of the others, if only they are there.
    watched(&folder.join("logs/HEAD"));
    let head = watched(&folder.join("HEAD"))?;
    let Some(name) = head.trim_end().strip_prefix("ref: ") else { return digits(&head) };
    let common = read(&folder.join("commondir"));
    let common = folder.join(common.as_deref().unwrap_or("").trim_end());
    if let Some(commit) = watched(&common.join(name)) {
        return digits(&commit);
    }
    let packed = watched(&common.join("packed-refs"))?;
    digits(packed.lines().find(|line| line.ends_with(&format!(" {name}")))?)
}

fn digits(commit: &str) -> Option<String> {
    commit
        .get(..DIGITS)
        .filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
        .map(String::from)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The text of a file whose changes run this program again. One that is not there must not be named: cargo would run
/// it at each command.
fn watched(path: &Path) -> Option<String> {
    let text = read(path)?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}

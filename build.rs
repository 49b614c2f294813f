//! Sets `HERD_VERSION`, which `herd --version` prints: `0.3.0 (abc1234567)`, or `0.3.0` if the commit is not known; and
//! `HERD_BUILT`, the time of the build in seconds since 1970, before which no clock is right. `SOURCE_DATE_EPOCH` sets it,
//! so that a build can be repeated.
//!
//! The commit comes from the environment variable `HERD_COMMIT`, or else from .git, whose files it reads itself, so that
//! a build needs no git. It does not look for .git in the folders above, which belong to another repository.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

/// How many digits of the commit are shown.
const DIGITS: usize = 10;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=HERD_COMMIT");
    let given = env::var("HERD_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_text = given.iter().flat_map(|commit| commit.chars()).all(|c| matches!(c, ' '..='~'));
    assert!(is_text, "HERD_COMMIT must be one line of printable ASCII");
    let commit = given.or_else(|| commit_of(Path::new(".git")));
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    println!("cargo::rustc-env=HERD_VERSION={}{commit}", env!("CARGO_PKG_VERSION"));
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let given = env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    println!("cargo::rustc-env=HERD_BUILT={}", given.unwrap_or_else(now));
}

/// Returns the commit that is checked out. `git`: the folder, or in a linked worktree the file that names it.
fn commit_of(git: &Path) -> Option<String> {
    let folder = match fs::read_to_string(git) {
        Ok(link) => PathBuf::from(link.strip_prefix("gitdir: ")?.trim_end()),
        Err(_) => git.to_owned(),
    };
    // git adds a line to the log of HEAD at each commit and checkout.
    watched(&folder.join("logs/HEAD"));
    let head = watched(&folder.join("HEAD"))?;
    let Some(name) = head.trim_end().strip_prefix("ref: ") else { return digits(&head) };
    let common = fs::read_to_string(folder.join("commondir")).unwrap_or_default();
    let common = folder.join(common.trim_end());
    watched(&common.join(name)).as_deref().and_then(digits).or_else(|| {
        let packed = watched(&common.join("packed-refs"))?;
        digits(packed.lines().find(|line| line.ends_with(&format!(" {name}")))?)
    })
}

fn digits(line: &str) -> Option<String> {
    let is_commit = |digits: &&str| digits.chars().all(|c| c.is_ascii_hexdigit());
    line.get(..DIGITS).filter(is_commit).map(String::from)
}

/// Reads a file, and makes cargo run this program again when it changes. A missing file is not named to cargo, which
/// would run it at each command.
fn watched(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo::rerun-if-changed={}", path.display());
    Some(text)
}

//! Runs tests that change the state of the whole process (its logger, its environment, its limits) in a process of
//! their own.

use std::env;
use std::process::{Command, Stdio};

/// The environment variable that marks a process with a single test.
const ALONE: &str = "HERD_TEST_ALONE";

/// Whether this process runs the test `name` (as `--list` prints it) and no other. If not, runs it in such a process,
/// which must pass; the caller has nothing left to do then.
#[track_caller]
pub(crate) fn in_a_process_of_its_own(name: &str) -> bool {
    if env::var_os(ALONE).is_some_and(|it| it == name) {
        return true;
    }
    let mut child = Command::new(env::current_exe().expect("the tests are a program"));
    child.args([name, "--exact", "--include-ignored", "--nocapture"]).stdin(Stdio::null());
    // RUST_LOG of the caller must not change the result.
    child.env(ALONE, name).env_remove("RUST_LOG");
    let ended = child.output().expect("the tests can be run again");
    let [out, err] =
        [ended.stdout, ended.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(ended.status.success(), "{name}, alone: {}\n{out}\n{err}", ended.status);
    assert!(out.contains("test result: ok. 1 passed"), "{name} is not a test of this name: {out}");
    false
}

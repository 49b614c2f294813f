//! schemathesis against a real server: requests that the OpenAPI document allows, requests that it forbids, and sequences of
//! them. Every answer must be one that the document lists.
//!
//! `tests/python/install` installs it. Without it this test is skipped (`support::skipped`).

use crate::support::herd::Setup;
use crate::support::skipped;
use std::fs;
use std::path::Path;
use std::process::Command;

const TOKEN: &str = "herd-openapi-test";

/// The SHA-256 of [`TOKEN`].
const HASH: &str = "4a167cda8bb127669da419d752d7b59e85a6a1cce98ccdcc88cece2a1a843fbe";

#[test]
fn schemathesis_finds_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let program = folder.join(".venv/bin/st");
    if !program.exists() {
        return skipped("schemathesis is missing: run tests/python/install").unwrap_or_default();
    }
    let write = |folder: &Path| {
        let lines = format!("read * {HASH}\nwrite * {HASH}\n");
        fs::write(folder.join("tokens"), lines).expect("the folder is ours");
    };
    let setup = Setup::alone().http().prepared(write).more("[http]\ntokens = \"tokens\"");
    // A stamp may be in any year.
    let herd = setup.limit("max_future_ms", 0).start();
    let ran = Command::new(program)
        .current_dir(herd.folder())
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", herd.http_address("Alford")))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        // The stream never ends.
        .args(["--exclude-path", "/v1/events", "--max-examples", "10", "--seed", "1"])
        .args(["--continue-on-failure", "--generation-database", "none", "--no-color"])
        .output()
        .expect("schemathesis can be started");
    let [out, err] = [&ran.stdout, &ran.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(ran.status.success(), "{out}\n{err}");
}

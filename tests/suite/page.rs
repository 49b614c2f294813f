//! The live page, in Chromium, against a herd of real processes. tests/page/drive.mjs has the promises, and checks them;
//! this starts the servers, and kills and restarts them when the script asks for it.

use crate::support::herd::{FIVE, Setup};
use crate::support::skipped;
use serde_json::{Map, Value};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// `None`: something is missing that the script needs.
fn script(name: &str) -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !has("node") || fs::metadata(chromium).is_err() {
        return skipped(
            "no page is looked at: install nodejs and chromium, or name one by CHROMIUM",
        );
    }
    if !folder.join("node_modules").exists() {
        return skipped("no page is looked at: run `npm ci` in tests/page");
    }
    let mut command = Command::new("node");
    command.arg(folder.join(name));
    Some(command)
}

#[test]
fn the_page_keeps_its_promises() {
    let Some(mut script) = script("drive.mjs") else { return };
    let mut herd = Setup::five().http().journal("").start();
    let urls = FIVE
        .map(|name| (name.to_owned(), Value::from(format!("http://{}", herd.http_address(name)))));
    script.arg(Value::from(Map::from_iter(urls)).to_string());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node runs");
    let mut answers = child.stdin.take().expect("it is piped");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut said = String::new();
    for line in lines.map_while(Result::ok) {
        match line.split_once(' ') {
            Some(("kill", name)) => herd.kill(name),
            Some(("start", name)) => herd.restart(name),
            _ => {
                said += &format!("{line}\n");
                continue;
            }
        }
        // If the script has ended, its exit status says why.
        let _ = answers.write_all(b"done\n");
    }
    assert!(child.wait().expect("it is our child").success(), "{said}");
}

#[test]
fn what_is_checked_in_is_what_the_tool_makes() {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/page/make");
    match Command::new("python3").arg(tool).arg("--check").output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{said}");
        }
        Err(_) => skipped("the page's hash is not checked: install python3").unwrap_or_default(),
    }
}

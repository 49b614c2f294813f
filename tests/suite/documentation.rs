//! Every command that the documentation prints works: the tests, examples, benches and scripts that it names exist, and
//! `herd`, `herd-bench` and the scripts know its options.
//!
//! In: each page (`*.md`), the doc comments of sources, and `.ci/run`. A command is a line that is indented by four, or
//! a text between backticks. Nothing is built and, except for `--help` and `--list`, nothing is run.

use crate::support::process::Process;
use crate::support::skipped;
use clap::Parser;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command, and the page that prints it.
#[derive(Debug)]
struct Printed {
    page: String,
    words: Vec<String>,
}

/// Finds all files of this repository below `folder`.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Skips the folders of git, Python, cargo and fuzzers.
        if ["target", "corpus", "artifacts", "node_modules"].contains(&&*name)
            || name.starts_with('.')
        {
            continue;
        }
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

/// The documentation in `text`: the whole of a page, or the doc comments of a source.
fn prose(path: &Path, text: &str) -> Option<String> {
    let extension = path.extension().unwrap_or_default();
    if extension == "md" {
        return Some(text.to_owned());
    }
    (extension == "rs").then(|| {
        let comment = |line: &str| {
            let line = line.trim_start();
            let said = line.strip_prefix("//!").or(line.strip_prefix("///")).unwrap_or_default();
            format!("{}\n", said.strip_prefix(' ').unwrap_or(said))
        };
        text.lines().map(comment).collect()
    })
}

/// The possible commands in `prose`: lines that are indented by four, and texts between backticks.
fn candidates(prose: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut flowing = String::new();
    let mut is_fenced = false;
    for line in prose.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if let Some(line) = line.strip_prefix("    ").or(is_fenced.then_some(line)) {
            // Two blanks separate a command from its explanation.
            let line = line.trim_start().trim_start_matches("$ ");
            found.push(line.split("  ").next().unwrap_or_default().to_owned());
        } else {
            flowing += line.trim();
            flowing.push(if line.is_empty() { '\u{1}' } else { ' ' });
        }
    }
    // Backticks are paired within each paragraph, so that an odd one does no harm to the next.
    for paragraph in flowing.split('\u{1}') {
        found.extend(paragraph.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    found
}

/// The folders of scripts. An entry without an extension that is not a folder is a script.
const SCRIPTS: [&str; 4] = ["benches", "fuzz", "tools", ".ci"];

/// Whether `word` is a script's path: two names, no extension, and not a folder (some folders exist only after use).
fn is_script(word: &str) -> bool {
    let made = ["fuzz/artifacts", "fuzz/target"];
    word.split_once('/').is_some_and(|(folder, name)| {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '-';
        let is_file = !name.is_empty() && name.chars().all(is_name);
        let is_ours = SCRIPTS.contains(&folder) && !made.contains(&word);
        is_ours && is_file && !Path::new(word).is_dir()
    })
}

/// The commands of cargo, herd, herd-bench and scripts in `line`, which is split at `;`, `|`, `&` and `#`. Environment
/// variables before a command are dropped.
fn commands(line: &str) -> Vec<Vec<String>> {
    let parts = line.split([';', '|', '&', '#']);
    let words = parts.map(|part| {
        let words = part.split_whitespace().map(|word| word.trim_matches(['\'', ',']).to_owned());
        let is_set = |word: &String| word.contains('=') && word.starts_with(char::is_uppercase);
        let mut words = words.skip_while(is_set).collect::<Vec<_>>();
        if let Some(program) = words.first_mut() {
            for folder in ["./", "target/release/", "target/debug/"] {
                *program = program.strip_prefix(folder).unwrap_or(program).to_owned();
            }
        }
        words
    });
    let is_command = |words: &Vec<String>| match words.as_slice() {
        [] => false,
        [program] => is_script(program),
        [program, ..] => {
            ["cargo", "herd", "herd-bench"].contains(&&**program) || is_script(program)
        }
    };
    words.filter(is_command).collect()
}

fn printed() -> Vec<Printed> {
    let mut all = Vec::new();
    files(Path::new("."), &mut all);
    let mut found = Vec::new();
    for path in all {
        // The peers have manifests and programs of their own.
        if path.starts_with("./benches/peers") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Some(prose) = prose(&path, &text) else { continue };
        let page = path.display().to_string();
        let words = candidates(&prose).into_iter().flat_map(|line| commands(&line));
        found.extend(words.map(|words| Printed { page: page.clone(), words }));
    }
    let steps = fs::read_to_string(".ci/run").expect("it is there");
    for step in steps.lines().filter_map(|line| line.strip_prefix("step ")) {
        let step = step.strip_prefix("env ").unwrap_or(step);
        let page = ".ci/run".to_owned();
        found.extend(commands(step).into_iter().map(|words| Printed { page: page.clone(), words }));
    }
    found
}

/// The names of this binary's tests: all, and the ignored ones.
fn tests() -> [BTreeSet<String>; 2] {
    let own = env::current_exe().expect("the tests are a program");
    ["", "--ignored"].map(|which| {
        let mut list = Command::new(&own);
        list.arg("--list").args(Some(which).filter(|it| !it.is_empty()));
        let list = list.output().expect("it can be run").stdout;
        let list = String::from_utf8(list).expect("names are text");
        list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
    })
}

/// The sources of a package and its test programs, or of one test program.
fn sources(package: Option<&str>, program: Option<&str>) -> Result<String, String> {
    let (own, tests) = match package {
        None | Some("places-herd") => ("src", "tests"),
        Some("herd-reactor") => ("src/reactor", "src/reactor/tests"),
        Some("herd-course") => ("docs/course", "docs/course/tests"),
        Some("herd-bench") => ("benches/herd-bench", "benches/herd-bench/tests"),
        Some(other) => return Err(format!("there is no package {other}")),
    };
    let mut all = Vec::new();
    match program.map(|program| Path::new(tests).join(program)) {
        Some(folder) if folder.join("main.rs").exists() => files(&folder, &mut all),
        Some(folder) => return Err(format!("there is no test program {}", folder.display())),
        None => [own, tests]
            .map(Path::new)
            .into_iter()
            .filter(|it| it.is_dir())
            .for_each(|it| files(it, &mut all)),
    }
    Ok(all.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect())
}

/// The value behind `flag`.
fn value<'w>(words: &'w [String], flag: &str) -> Option<&'w str> {
    let at = words.iter().position(|word| word == flag)?;
    words.get(at + 1).map(String::as_str)
}

/// The words that are neither flags nor the values of the flags `valued`.
fn operands<'w>(words: &'w [String], valued: &[&str]) -> Vec<&'w str> {
    let mut words = words.iter().map(String::as_str);
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        match word.strip_prefix('-') {
            Some(_) if valued.contains(&word) => drop(words.next()),
            Some(_) => {}
            None => found.push(word),
        }
    }
    found
}

/// The names of all modules and tests in `text`.
fn modules_and_tests(text: &str) -> Vec<&str> {
    let mut is_test = false;
    let mut found = Vec::new();
    for line in text.lines().map(|line| line.trim_start().trim_start_matches("pub ")) {
        found.extend(line.strip_prefix("mod ").or(line.strip_prefix("fn ").filter(|_| is_test)));
        // Other attributes may follow `#[test]`.
        is_test = line.starts_with("#[test]") || is_test && line.starts_with("#[");
    }
    found
}

/// Checks that each filter names a test that this command runs.
fn check_test(words: &[String], lists: &[BTreeSet<String>; 2]) -> Result<(), String> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let (cargos, ours) = (&words[..end], words.get(end + 1..).unwrap_or_default());
    let mut filters = operands(cargos, &["--test", "--features", "-p", "--package", "--bin"]);
    filters.extend(operands(ours, &["--test-threads", "--skip"]));
    let program = value(cargos, "--test");
    let package = value(cargos, "-p").or(value(cargos, "--package"));
    let text = sources(package, program)?;
    let names = modules_and_tests(&text);
    let list = &lists[usize::from(ours.iter().any(|word| word == "--ignored"))];
    for filter in filters {
        // A name in capitals is a placeholder.
        let is_any = filter.chars().all(|c| c.is_uppercase() || c == '_');
        let is_there = match program {
            Some("suite") => list.iter().any(|test| test.contains(filter)),
            _ => filter.split("::").all(|part| names.iter().any(|name| name.contains(part))),
        };
        if !is_there && !is_any {
            return Err(format!("{filter} names no test that is run"));
        }
    }
    Ok(())
}

/// Checks that `herd` knows the subcommand and its options.
fn check_herd(words: &[String], helps: &mut BTreeMap<String, String>) -> Result<(), String> {
    let is_word = |word: &&String| word.chars().all(|c| c.is_ascii_lowercase());
    let depth = if ["bus", "places", "pki", "journal"].contains(&&*words[0]) { 2 } else { 1 };
    let subcommand: Vec<&str> =
        words.iter().take(depth).take_while(is_word).map(String::as_str).collect();
    let help = helps.entry(subcommand.join(" ")).or_insert_with(|| {
        let ended = Process::run(&[subcommand.as_slice(), &["--help"]].concat());
        if ended.code == Some(0) { ended.stdout } else { String::new() }
    });
    if help.is_empty() {
        return Err(format!("herd {} --help fails", subcommand.join(" ")));
    }
    let unknown = words.iter().find(|word| {
        let name = word.split(['=', '.', ')']).next().unwrap_or_default();
        name.starts_with("--") && !help.contains(name)
    });
    unknown
        .map_or(Ok(()), |word| Err(format!("herd {} does not know {word}", subcommand.join(" "))))
}

/// Checks that `herd-bench` accepts the whole line. A name in capitals stands for an address or a number, and so does a
/// substitution of the shell.
fn check_bench(words: &[String]) -> Result<(), String> {
    let line = words.join(" ");
    let (before, rest) = line.split_once("\"$(").unwrap_or((&line, ""));
    let (_, after) = rest.split_once(")\"").unwrap_or_default();
    let given = if rest.is_empty() { "" } else { "1" };
    let line = format!("{before}{given}{after}");
    let words = line.split_whitespace().map(|word| match word {
        "ADDRESS" => "127.0.0.1:12000",
        word if word.chars().all(|c| c.is_ascii_uppercase()) => "2",
        word => word,
    });
    let parsed = herd_bench::Options::try_parse_from(["herd-bench"].into_iter().chain(words));
    match parsed {
        Err(why) if why.use_stderr() => {
            Err(why.to_string().lines().next().unwrap_or("").to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks that a script exists, is executable, and knows its options; and that the targets of `fuzz/run` exist.
fn check_script(script: &str, words: &[String]) -> Result<(), String> {
    let file = fs::metadata(script).map_err(|why| format!("{script}: {why}"))?;
    if !file.is_file() || file.permissions().mode() & 0o111 == 0 {
        return Err(format!("{script} cannot be run"));
    }
    let text = fs::read_to_string(script).map_err(|why| format!("{script}: {why}"))?;
    let options = words.iter().filter(|word| word.starts_with("--"));
    let mut options = options.map(|word| word.split('=').next().unwrap_or_default());
    let is_known = |option: &str| text.contains(&format!("\"{option}\""));
    if let Some(option) = options.find(|option| !is_known(option)) {
        return Err(format!("{script} does not know {option}"));
    }
    let targets = words.iter().skip(1).filter(|word| script == "fuzz/run" && !word.contains('.'));
    let mut files = targets.map(|name| format!("fuzz/fuzz_targets/{name}.rs"));
    let missing = files.find(|file| !Path::new(file).exists());
    missing.map_or(Ok(()), |file| Err(format!("{file} is not there")))
}

/// Checks that an example exists and knows its options, as a text or as a field that clap fills.
fn check_example(name: &str, options: &[String]) -> Result<(), String> {
    let folders = ["examples", "src/reactor/examples", "docs/course/examples"].map(Path::new);
    let mut all = Vec::new();
    for path in folders.map(|folder| folder.join(name)) {
        match path.is_dir() {
            true => files(&path, &mut all),
            false => all.extend(Some(path.with_extension("rs")).filter(|path| path.exists())),
        }
    }
    if all.is_empty() {
        return Err(format!("there is no example {name}"));
    }
    let text: String =
        all.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect();
    let is_known = |option: &str| {
        let field = format!("{}:", option.trim_start_matches('-').replace('-', "_"));
        text.contains(&format!("\"{option}\"")) || text.contains(&field)
    };
    let unknown = options.iter().find(|word| word.starts_with("--") && !is_known(word));
    unknown.map_or(Ok(()), |option| Err(format!("{name} does not know {option}")))
}

fn check(
    words: &[String],
    lists: &[BTreeSet<String>; 2],
    helps: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let (program, words) = words.split_first().expect("it has words");
    if program == "herd" {
        return check_herd(words, helps);
    }
    if program == "herd-bench" {
        return check_bench(words);
    }
    if is_script(program) {
        return check_script(program, words);
    }
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let exists =
        |path: String| Path::new(&path).exists().then_some(()).ok_or(path + " is not there");
    match words[0].as_str() {
        "test" => check_test(&words[1..], lists),
        "bench" => {
            value(words, "--bench").map_or(Ok(()), |name| exists(format!("benches/{name}.rs")))
        }
        "run" => match value(words, "--example") {
            Some(name) => check_example(name, words.get(end + 1..).unwrap_or_default()),
            None if end < words.len() => check_herd(&words[end + 1..], helps),
            None => Ok(()),
        },
        "build" | "install" | "fetch" | "fmt" | "clippy" | "doc" | "deny" | "fuzz" => Ok(()),
        other => Err(format!("cargo {other} is unknown here")),
    }
}

#[test]
fn every_command_that_is_printed_can_be_typed() {
    let (printed, lists, mut helps) = (printed(), tests(), BTreeMap::new());
    let mut wrong = Vec::new();
    for Printed { page, words } in &printed {
        if let Err(why) = check(words, &lists, &mut helps) {
            wrong.push(format!("{page}: {}: {why}", words.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(printed.len() > 100, "{} commands", printed.len());
    let of = |page: &str| printed.iter().filter(|it| it.page.ends_with(page)).count();
    assert!(["README.md", "promises.md", ".ci/run"].iter().all(|page| of(page) > 5), "{printed:?}");
}

#[test]
fn a_command_that_cannot_be_typed_is_found() {
    let (lists, mut helps) = (tests(), BTreeMap::new());
    let mut check = |line: &str| {
        let words = commands(line).pop().expect("it is a command");
        check(&words, &lists, &mut helps)
    };
    for fine in [
        "cargo test",
        "cargo test -p herd-reactor timers::",
        "cargo test --lib journal::",
        "./fuzz/run 600 journal table",
        "fuzz/run",
        "benches/run --quick",
        "target/release/herd up",
        "target/release/herd-bench ADDRESS -C 50 --pid \"$(pgrep -xd, herd)\" -P 128",
        "HERD_SEEDS=7 cargo test --release --test suite documentation:: -- --nocapture",
        "cargo run --release --example chaos -- --soak --seed 7",
        "cargo run --release -- up",
        "herd places check google --radius 0.5 # another",
    ] {
        assert_eq!(check(fine), Ok(()), "{fine}");
    }
    for wrong in [
        "cargo test --test fold",
        "cargo test unfolded",
        "cargo test -p fold",
        "cargo test --lib unfolded::",
        "fuzz/run 600 fold",
        "fuzz/fold",
        "tools/fold build",
        "benches/run --fold",
        "target/release/herd-bench ADDRESS --fold",
        "herd-bench ADDRESS --idle N",
        "herd-bench --connect",
        "cargo test --test suite fold::",
        "cargo test --test suite documentation:: -- --ignored",
        "cargo test --test footprint -- fold",
        "cargo run --example fold",
        "cargo run --example chaos -- --fold",
        "cargo run --release -- fold",
        "cargo bench --bench fold",
        "cargo fold",
        "herd fold",
        "herd places fold",
        "herd check --strictly",
    ] {
        assert!(check(wrong).is_err(), "{wrong}");
    }
    assert_eq!(
        candidates("See `herd up\nnow`.\n\n    $ cargo test  # all\n"),
        ["cargo test", "herd up now"]
    );
}

/// The rules that docs/limits.md recommends, checked by nft itself, in a network namespace of their own.
#[test]
fn the_rules_for_nftables_are_valid() {
    let page = fs::read_to_string("docs/limits.md").expect("it is there");
    let rules = page.split("```nft\n").nth(1).and_then(|rest| rest.split("```").next());
    let rules = rules.expect("the page has rules");
    let check = |rules: &str| {
        let path = env::temp_dir().join(format!("herd-rules-{}.nft", std::process::id()));
        fs::write(&path, rules).expect("it can be written");
        let line = format!("PATH=$PATH:/usr/sbin unshare -rn nft -c -f {}", path.display());
        let ended = Process::shell(&line);
        fs::remove_file(&path).expect("it is ours");
        ended
    };
    let fine = check("table inet herd { }");
    if fine.code != Some(0) {
        skipped::<()>(&format!("nft cannot check rules here: {}", fine.stderr.trim()));
        return;
    }
    let checked = check(rules);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert_ne!(check(&rules.replace("ct count", "ct counts")).code, Some(0), "nft reads them");
}

#[test]
fn each_test_that_skips_itself_fails_where_everything_is_required() {
    let mut paths = Vec::new();
    for folder in ["tests", "src", "examples"] {
        files(Path::new(folder), &mut paths);
    }
    for path in paths.iter().filter(|path| path.extension().is_some_and(|it| it == "rs")) {
        let text = fs::read_to_string(path).expect("it is UTF-8");
        let is_skipped = text.contains("eprintln!(\"skip") || text.contains("eprintln!(\"SKIP");
        assert!(!is_skipped || text.contains("HERD_REQUIRE_ALL"), "{}", path.display());
    }
}

//! The pages of the course are true: their programs are those in `examples/`, each command prints what its page says,
//! each experiment shows what its page says, and each link leads to a file.
//!
//! In a page, a fenced block `rust` that begins with `// examples/NAME.rs` is that whole file. A block `diff` is an
//! experiment: the console blocks below it, up to the next block `rust` or `diff`, run the changed program. A block
//! `console` has commands, which begin with `$ `, each followed by its output. In an output `[..]` stands for any text
//! in a line, and a line `...` for any lines. A command that ends in `&` runs until the next experiment, or to the end
//! of the page.
//!
//! The commands of a page run in the folder of the repository, in a network of their own, so that no port is taken.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const LINES_MAX: usize = 250;
const PROGRAM_LINES_MAX: usize = 60;
const WORDS_OF_FIRST_FOUR_MAX: usize = 7_000;

fn course() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn root() -> PathBuf {
    course().join("../..").canonicalize().unwrap()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names of all pages, sorted.
fn pages() -> Vec<String> {
    let entries = fs::read_dir(course()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let mut pages: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    pages.sort();
    pages
}

/// The chapters: pages whose names begin with a number.
fn chapters() -> Vec<String> {
    let is_chapter = |page: &String| page.starts_with(|c: char| c.is_ascii_digit());
    pages().into_iter().filter(is_chapter).collect()
}

/// Returns the fenced blocks of a page: the word behind the fence, and the text.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let (mut found, mut open): (Vec<(&str, String)>, bool) = (Vec::new(), false);
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(word) => {
                open = true;
                found.push((word.split(',').next().unwrap_or(word), String::new()));
            }
            None if open => found.last_mut().unwrap().1.extend([line, "\n"]),
            None => {}
        }
    }
    found
}

/// Applies an experiment, a block `diff`, to a program.
fn changed(program: &str, diff: &str) -> String {
    let side = |dropped: char| -> String {
        let lines = diff.lines().filter(|line| !line.starts_with(dropped));
        lines.map(|line| format!("{}\n", line.get(1..).unwrap_or(""))).collect()
    };
    let (old, new) = (side('+'), side('-'));
    assert_eq!(program.matches(&old).count(), 1, "the program has this not exactly once:\n{old}");
    program.replacen(&old, &new, 1)
}

/// One command of a page, and the output that the page prints.
struct Step {
    command: String,
    output: String,
    /// What the name of the program of its experiment ends in; nothing for the unchanged program.
    experiment: String,
}

/// What a page asks for: its commands in order, and its experiments, as programs by their names.
fn steps(page: &str, text: &str) -> (Vec<Step>, BTreeMap<String, String>) {
    let (mut steps, mut programs): (Vec<Step>, _) = (Vec::new(), BTreeMap::new());
    let (mut diff, mut experiment, mut experiments) = (None, String::new(), 0);
    for (word, block) in blocks(text) {
        match word {
            "rust" => experiment.clear(),
            "diff" => {
                experiments += 1;
                let number = page.split('-').next().unwrap_or_default();
                (diff, experiment) = (Some(block), format!("_x{number}_{experiments}"));
            }
            "console" => {
                for line in block.lines() {
                    match line.strip_prefix("$ ") {
                        Some(command) => steps.push(Step {
                            command: command.to_owned(),
                            output: String::new(),
                            experiment: experiment.clone(),
                        }),
                        None => writeln!(steps.last_mut().expect("a command"), "{line}").unwrap(),
                    }
                }
                if let Some(diff) = diff.take() {
                    let (_, rest) = block.split_once("--example ").expect("an experiment runs it");
                    let name = rest.split_whitespace().next().unwrap();
                    let program = read(course().join(format!("examples/{name}.rs")));
                    programs.insert(format!("{name}{experiment}"), changed(&program, &diff));
                }
            }
            _ => {}
        }
    }
    (steps, programs)
}

impl std::fmt::Write for Step {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.output.write_str(text)
    }
}

/// Whether `line` is what `pattern` says, in which `[..]` stands for any text.
fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once("[..]") else { return pattern == line };
    line.strip_prefix(before).is_some_and(|rest| {
        let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
        ends.any(|at| line_matches(after, &rest[at..]))
    })
}

/// Whether the lines are what the patterns say, in which `...` stands for any lines.
fn matches(patterns: &[&str], lines: &[&str]) -> bool {
    match (patterns, lines) {
        ([], []) => true,
        (["...", patterns @ ..], _) => (0..=lines.len()).any(|at| matches(patterns, &lines[at..])),
        ([pattern, patterns @ ..], [line, lines @ ..]) => {
            line_matches(pattern.trim_end(), line.trim_end()) && matches(patterns, lines)
        }
        _ => false,
    }
}

#[test]
fn patterns_match_any_text_and_any_lines() {
    assert!(matches(&["a [..] c", "...", "e"], &["a b b c", "x", "y", "e"]));
    assert!(matches(&["...", "[..]ms"], &["12ms"]));
    assert!(!matches(&["a"], &["a", "b"]));
    assert!(!matches(&["a [..] c"], &["a b d"]));
    assert_eq!(changed("a\nb\nc\n", " a\n-b\n+d\n"), "a\nd\nc\n");
}

/// Prints that a test is skipped; with `HERD_REQUIRE_ALL=1`, as in CI, the test fails instead.
fn skip(missing: &str) {
    assert!(std::env::var("HERD_REQUIRE_ALL").as_deref() != Ok("1"), "{missing}");
    // The test harness would show the output of a print macro only when a test fails.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
}

/// The folder of the examples that cargo has built for this test.
fn examples() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples")
}

/// Builds the programs of all experiments of all pages, in a package of their own. Returns the folder of the programs.
fn build_experiments() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("experiments");
    fs::create_dir_all(folder.join("examples")).unwrap();
    let manifest = read(course().join("Cargo.toml"));
    let (head, _) = manifest.split_once("\n[lints]").expect("the lints");
    let head = head.replace("rust-version.workspace = true\n", "");
    let head = head.replace("../../", &format!("{}/", root().display()));
    fs::write(folder.join("Cargo.toml"), format!("{head}\n[workspace]\n")).unwrap();
    fs::write(folder.join("lib.rs"), "").unwrap();
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let (_, programs): (Vec<_>, Vec<_>) =
        pages().iter().map(|page| steps(page, &read(course().join(page)))).unzip();
    for (name, text) in programs.iter().flatten() {
        // Cargo builds a file again if it is written again.
        let path = folder.join(format!("examples/{name}.rs"));
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            fs::write(&path, text).unwrap();
        }
    }
    let target = folder.join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--examples"]).current_dir(&folder);
    let built = cargo.env("CARGO_TARGET_DIR", &target).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/examples")
}

static CHANGED: LazyLock<PathBuf> = LazyLock::new(build_experiments);

/// What a page's commands see as `cargo`: it runs what this test's cargo has built. A changed program has the number
/// of its experiment at the end of its name.
const CARGO: &str = r#"#!/usr/bin/env bash
name= words=()
[ "$1" = run ] || exec "$REAL_CARGO" "$@"
shift
while [ $# -gt 0 ]; do
  case $1 in
    --example) name=$2; shift;;
    -p) shift;;
    -q | --release) ;;
    --) shift; break;;
    *) break;;
  esac
  shift
done
[ -n "$name" ] || exec "$EXAMPLES/../herd" "$@"
[ ! -x "$CHANGED/$name$EXPERIMENT" ] || exec "$CHANGED/$name$EXPERIMENT" "$@"
exec "$EXAMPLES/$name" "$@"
"#;

/// The beginning of a page's script. `first` runs a command to its end, `beside` until `finish`; a command that runs
/// beside the others has begun when it has printed something.
const SCRIPT: &str = r#"
ip link set lo up
beside=()
finish() { for pid in "${beside[@]}"; do kill "$pid"; wait "$pid"; done 2>/dev/null; beside=(); }
trap finish EXIT
first() { timeout 120 bash -c "$2" >"$OUT/$1" 2>&1 </dev/null; echo $? >"$OUT/$1.status"; }
beside() {
  bash -c "exec $2" >"$OUT/$1" 2>&1 </dev/null & beside+=($!)
  for _ in $(seq 1200); do [ -s "$OUT/$1" ] && return; sleep 0.05; done
}
"#;

/// Runs the commands of a page, and compares what they print.
fn play(page: &str) {
    let (steps, programs) = steps(page, &read(course().join(page)));
    if steps.is_empty() {
        return;
    }
    if !Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|it| it.success()) {
        return skip("a user cannot make a network here: unshare -rn");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(page.trim_end_matches(".md"));
    let (bin, out) = (folder.join("bin"), folder.join("out"));
    let _ = fs::remove_dir_all(&out);
    [&bin, &out].into_iter().for_each(|it| fs::create_dir_all(it).unwrap());
    let changed = if programs.is_empty() { examples() } else { CHANGED.clone() };
    fs::write(bin.join("cargo"), CARGO).unwrap();
    Command::new("chmod").arg("+x").arg(bin.join("cargo")).status().unwrap();
    let (mut script, mut experiment) = (SCRIPT.to_owned(), "");
    for (number, step) in steps.iter().enumerate() {
        if step.experiment != experiment {
            experiment = &step.experiment;
            writeln!(script, "finish; export EXPERIMENT={experiment}").unwrap();
        }
        let (how, command) = match step.command.strip_suffix(" &") {
            Some(command) => ("beside", command),
            None => ("first", step.command.as_str()),
        };
        writeln!(script, "{how} {number} '{}'", command.replace('\'', r"'\''")).unwrap();
    }
    fs::write(folder.join("script"), script).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut unshare = Command::new("unshare");
    unshare.args(["-rn", "bash"]).arg(folder.join("script")).current_dir(root());
    unshare.env("PATH", path).env("OUT", &out).env("EXPERIMENT", "").env("EXAMPLES", examples());
    unshare.env("CHANGED", changed).env("REAL_CARGO", env!("CARGO"));
    assert!(unshare.status().unwrap().success(), "{page}: {}", folder.join("script").display());
    let mut wrong = String::new();
    for (number, step) in steps.iter().enumerate() {
        let printed =
            String::from_utf8_lossy(&fs::read(out.join(number.to_string())).unwrap()).into_owned();
        let status = fs::read_to_string(out.join(format!("{number}.status"))).unwrap_or_default();
        if status.trim() == "127" {
            skip(&format!("{page}: {}: {printed}", step.command));
            continue;
        }
        let [patterns, lines] =
            [&step.output, &printed].map(|text| text.lines().collect::<Vec<_>>());
        if !matches(&patterns, &lines) {
            let Step { command, output, .. } = step;
            writeln!(wrong, "$ {command}\n-- the page:\n{output}-- printed:\n{printed}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{page}\n{wrong}");
}

/// One test for each page that has commands, so that they run at the same time.
macro_rules! plays {
    ($($name:ident: $page:literal,)*) => {
        $(
            #[test]
            fn $name() {
                play($page);
            }
        )*

        const PLAYED: &[&str] = &[$($page),*];
    };
}

plays! {
    chapter_01: "01-why-a-loop.md",
    chapter_02: "02-readiness.md",
    chapter_03: "03-the-turn.md",
    chapter_04: "04-protocols.md",
    chapter_05: "05-timers.md",
    chapter_06: "06-lines.md",
    chapter_07: "07-back-pressure.md",
    chapter_08: "08-closing.md",
    chapter_09: "09-clients.md",
    chapter_10: "10-tls.md",
    chapter_11: "11-many-servers.md",
    chapter_12: "12-a-network-in-memory.md",
    break_it: "break-it.md",
    follow_iamat: "follow-an-iamat.md",
    follow_whatsat: "follow-a-whatsat.md",
    five_ways: "five-ways.md",
    teachers: "teachers.md",
    readme: "README.md",
}

#[test]
fn every_page_with_commands_is_played() {
    for page in pages() {
        let (steps, _) = steps(&page, &read(course().join(&page)));
        assert!(steps.is_empty() || PLAYED.contains(&&*page), "{page} is not played");
    }
}

#[test]
fn every_page_with_samples_is_compiled() {
    let lib = read(course().join("lib.rs"));
    for page in pages() {
        let has_rust = blocks(&read(course().join(&page))).iter().any(|(word, _)| *word == "rust");
        assert!(!has_rust || lib.contains(&format!("\"{page}\"")), "{page} is not in lib.rs");
    }
}

#[test]
fn a_page_shows_whole_programs() {
    let mut shown = 0;
    for page in pages() {
        for (_, block) in blocks(&read(course().join(&page))) {
            let Some((name, text)) =
                block.strip_prefix("// examples/").and_then(|it| it.split_once('\n'))
            else {
                continue;
            };
            let program = read(course().join("examples").join(name));
            if std::env::var_os("UPDATE_EXPECTED").is_some() && ![&program[..], ""].contains(&text)
            {
                let updated = read(course().join(&page)).replace(text, &program);
                fs::write(course().join(&page), updated).unwrap();
                continue;
            }
            assert_eq!(text, program, "{page}: {name}; UPDATE_EXPECTED=1 writes it there");
            assert!(text.lines().count() <= PROGRAM_LINES_MAX, "{name} has more than 60 lines");
            shown += 1;
        }
    }
    assert!(shown > 0);
}

#[test]
fn each_chapter_has_its_parts_and_keeps_its_size() {
    for page in chapters() {
        let text = read(course().join(&page));
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{page} has {lines} lines");
        for part in
            ["\n```text\n", "\n// examples/", "\n## Experiment", "\n## Elsewhere", "\n## Exercises"]
        {
            assert!(text.contains(part), "{page} has no {part:?}");
        }
        let question = text.lines().next().unwrap_or_default();
        assert!(question.starts_with("# ") && question.ends_with('?'), "{page} asks {question:?}");
    }
    let first_four = chapters().into_iter().take(4).map(|page| read(course().join(page)));
    let words: usize = first_four.map(|text| text.split_whitespace().count()).sum();
    assert!(words <= WORDS_OF_FIRST_FOUR_MAX, "{words} words");
}

#[test]
fn each_link_leads_to_a_file() {
    for page in pages() {
        let text = read(course().join(&page));
        // A link is written in prose, and not in a block.
        let prose: String = text.split("```").step_by(2).collect();
        for (_, rest) in prose.match_indices("](").map(|(at, _)| prose.split_at(at + 2)) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.starts_with("http") {
                assert!(course().join(target).exists(), "{page}: {target}");
            }
        }
    }
}

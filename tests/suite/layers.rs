//! A module of `src/` uses only the modules above it in `src/lib.rs`, which has them in reading order; and
//! `herd-reactor` knows nothing of the herd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The modules of the library, in the order in which `src/lib.rs` declares them.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(source().join("lib.rs")).expect("src/lib.rs can be read");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

/// All sources in `folder` but those of tests and examples.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of src can be read") {
        let path = entry.expect("its entries too").path();
        let is_apart = path.ends_with("tests") || path.ends_with("examples");
        if path.is_dir() && !is_apart {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: no comments, and nothing from its unit tests on.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source can be read");
    let program = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = program.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that `code` names in paths from the root of the crate, also in `use crate::{a, b}`.
fn used<'m>(code: &str, modules: &'m [String]) -> Vec<&'m str> {
    let names = |text: &str, module: &str| {
        let rest = text.strip_prefix(module);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let path = &code[at + "crate::".len()..];
        let listed = path.strip_prefix('{').map(|list| &list[..list.find(';').unwrap_or(0)]);
        for module in modules {
            let is_listed = listed.is_some_and(|list| {
                list.match_indices(module.as_str()).any(|(at, _)| {
                    let before = list[..at].trim_end().chars().next_back();
                    matches!(before, None | Some(',')) && names(&list[at..], module)
                })
            });
            if names(path, module) || is_listed {
                found.push(module.as_str());
            }
        }
    }
    found
}

#[test]
fn a_module_uses_only_those_above_it() {
    let modules = order();
    assert!(modules.len() > 10, "src/lib.rs declares {modules:?}");
    let mut breaches = Vec::new();
    for (rank, module) in modules.iter().enumerate() {
        let mut files = Vec::new();
        sources(&source().join(module), &mut files);
        assert!(!files.is_empty(), "src/{module} has no source");
        for file in files {
            for below in used(&code(&file), &modules[rank + 1..]) {
                breaches.push(format!("{} uses {below}, which stands below it", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_reactor_knows_nothing_of_the_herd() {
    let mut files = Vec::new();
    sources(&source().join("reactor"), &mut files);
    let naming = files.iter().filter(|file| code(file).contains("places_herd"));
    assert_eq!(naming.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
    let manifest = fs::read_to_string(source().join("reactor/Cargo.toml")).expect("it is there");
    let dependencies = manifest.split("[dependencies]").nth(1).expect("it has some");
    let lines = dependencies.lines().skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.split(' ').next());
    let allowed =
        ["log", "memchr", "mio", "rustix", "signal-hook", "signal-hook-mio", "slab", "socket2"];
    let others: Vec<_> = names.filter(|name| !allowed.contains(name)).collect();
    assert!(others.is_empty(), "herd-reactor depends on {others:?}");
}

#[test]
fn a_use_of_a_module_is_found_in_every_spelling() {
    let modules = ["table", "wire"].map(str::to_owned);
    for (code, found) in [
        ("use crate::table::Table;", vec!["table"]),
        ("use crate::{log, table::Table};", vec!["table"]),
        ("use crate::{\n    wire::stamp::Stamp,\n    table,\n};", vec!["table", "wire"]),
        ("let x = crate::wire::stamp::parse();", vec!["wire"]),
        ("use crate::tables::X; use other::table::Y;", vec![]),
    ] {
        let mut all = used(code, &modules);
        all.sort_unstable();
        assert_eq!(all, found, "{code}");
    }
}

/// Circles of files that may be, each with its reason in ARCHITECTURE.md.
const CIRCLES: [&[&str]; 1] = [&[
    "examples/chaos/clients.rs",
    "examples/chaos/faults.rs",
    "examples/chaos/proxy.rs",
    "examples/chaos/run.rs",
]];

/// The sources of a crate by their module's path: `journal::open` for `journal/open.rs`, `journal` for
/// `journal/mod.rs`.
fn modules_of(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = Vec::new();
    sources(root, &mut files);
    let module = |file: &PathBuf| {
        let path = file.strip_prefix(root).expect("it lies there").with_extension("");
        let names: Vec<_> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let names = match names.split_last() {
            Some((last, before)) if ["mod", "lib", "main"].contains(&&**last) => before,
            _ => &names[..],
        };
        names.join("::")
    };
    files.into_iter().map(|file| (module(&file), file)).collect()
}

/// Every path of a list as in `use a::{b, c::{d, e}};`, written out.
fn written_out(prefix: &str, list: &str, paths: &mut Vec<String>) {
    let mut depth = 0;
    for item in list.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    }) {
        match item.trim().split_once('{') {
            Some((before, within)) => {
                let within = within.trim_end().trim_end_matches('}');
                written_out(&format!("{prefix}{before}"), within, paths);
            }
            None => paths.push(format!("{prefix}{}", item.trim())),
        }
    }
}

/// The modules that a file's code names: those of its `use` lines, and of paths from `crate` and `super`.
/// What it only hands on (`pub use`) is not its own need.
fn named(code: &str, module: &str, modules: &BTreeMap<String, PathBuf>) -> BTreeSet<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        match statement.trim_start().trim_end_matches(';') {
            line if line.starts_with("use ") => written_out("", &line["use ".len()..], &mut paths),
            line if line.starts_with("pub") && line.contains(" use ") => {}
            _ => rest.push_str(statement),
        }
    }
    for word in rest.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c))) {
        if word.starts_with("crate::") || word.starts_with("super::") {
            paths.push(word.to_owned());
        }
    }
    let mut found = BTreeSet::new();
    for path in paths {
        let mut at: Vec<&str> = module.split("::").filter(|name| !name.is_empty()).collect();
        let mut names = path.split("::").peekable();
        match names.peek() {
            Some(&"crate") => at.clear(),
            Some(&"super") => {}
            _ => continue,
        }
        for name in names {
            match name {
                "crate" => {}
                "super" => drop(at.pop()),
                _ => at.push(name),
            }
        }
        while !modules.contains_key(&at.join("::")) && at.pop().is_some() {}
        found.insert(at.join("::"));
    }
    found
}

/// The groups of modules of which each needs, over others, all the rest. A module and those within it count
/// as one: what stands in a folder is part of it.
fn circles(modules: &BTreeMap<String, PathBuf>) -> Vec<BTreeSet<String>> {
    let is_within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
    let needs: BTreeMap<&String, BTreeSet<String>> = modules
        .iter()
        .map(|(module, file)| {
            let mut named = named(&code(file), module, modules);
            named.retain(|other| {
                !other.is_empty() && !is_within(module, other) && !is_within(other, module)
            });
            (module, named)
        })
        .collect();
    let reach = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = vec![from];
        while let Some(module) = next.pop() {
            next.extend(needs[module].iter().filter(|other| reached.insert((*other).clone())));
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        modules.keys().map(|module| (module, reach(module))).collect();
    let circle = |module: &String| -> BTreeSet<String> {
        reached[module].iter().filter(|other| reached[other].contains(module)).cloned().collect()
    };
    let all: BTreeSet<_> = modules.keys().map(circle).filter(|circle| circle.len() > 1).collect();
    all.into_iter().collect()
}

#[test]
fn files_need_each_other_in_no_circle_but_those_that_are_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("it is there");
    let mut found = Vec::new();
    for folder in ["src", "src/reactor", "benches/herd-bench/src", "examples/chaos"] {
        let mut modules = modules_of(&root.join(folder));
        if folder == "src" {
            modules.retain(|module, _| !module.starts_with("reactor"));
        }
        for circle in circles(&modules) {
            let files = circle.iter().map(|module| modules[module].strip_prefix(root).unwrap());
            found.push(files.map(|file| file.display().to_string()).collect::<Vec<_>>());
        }
    }
    assert_eq!(found, CIRCLES, "circles of files");
    for file in CIRCLES.concat() {
        let name = file.rsplit('/').next().unwrap();
        assert!(architecture.contains(name), "ARCHITECTURE.md explains {file}");
    }
}

#[test]
fn a_circle_is_found_in_every_spelling() {
    let names = ["a", "a::b", "c", "d"].map(|name| (name.to_owned(), PathBuf::new()));
    let modules = BTreeMap::from(names);
    for (code, found) in [
        ("use super::c::X;", vec!["c"]),
        ("use crate::{a::b::{X, Y}, d};", vec!["a::b", "d"]),
        ("fn f(x: super::c::X) -> crate::d::Y { use_it(); }", vec!["c", "d"]),
        ("pub use super::c::X; pub(crate) use crate::d::Y; use std::fmt;", vec![]),
    ] {
        let all = named(code, "x", &modules);
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), found, "{code}");
    }
}

#[test]
fn no_two_types_of_the_program_have_one_name() {
    let mut files = Vec::new();
    sources(&source(), &mut files);
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut twice = Vec::new();
    for file in files {
        for line in code(&file).lines() {
            let words = line.split([' ', '<', '(', ';', ':', '{']).filter(|word| !word.is_empty());
            let mut words = words.skip_while(|word| ["pub", "crate)", "super)"].contains(word));
            let is_type =
                matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union"));
            let Some(name) = words.next().filter(|_| is_type && !line.starts_with(' ')) else {
                continue;
            };
            if let Some(other) = seen.insert(name.to_owned(), file.clone()) {
                twice.push(format!("{name}: {} and {}", file.display(), other.display()));
            }
        }
    }
    assert!(seen.len() > 300, "only {} types were found", seen.len());
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

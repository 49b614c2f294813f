//! A module of `src/` uses only the modules above it in `src/lib.rs`, which has them in reading order; and
//! `herd-reactor` knows nothing of the herd.

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
        ("use crate::table::Herd;", vec!["table"]),
        ("use crate::{log, table::Herd};", vec!["table"]),
        ("use crate::{\n    wire::stamp::Stamp,\n    table,\n};", vec!["table", "wire"]),
        ("let x = crate::wire::stamp::parse();", vec!["wire"]),
        ("use crate::tables::X; use other::table::Y;", vec![]),
    ] {
        let mut all = used(code, &modules);
        all.sort_unstable();
        assert_eq!(all, found, "{code}");
    }
}

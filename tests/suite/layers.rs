//! A module of `src/` uses only the modules above it in `src/lib.rs`, which lists them in reading order; `herd-reactor`
//! knows nothing of the herd; and the statements of ARCHITECTURE.md about circles of files, clocks and names are true.

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

/// Finds all sources in `folder` except those of tests and examples.
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

/// The code of a file, without comments and unit tests.
fn code(path: &Path) -> String {
    program(&fs::read_to_string(path).expect("a source can be read"))
}

/// The code in `text`, up to its unit tests. Tests in a file of their own (`#[cfg(test)] mod tests;`) cut nothing off.
fn program(text: &str) -> String {
    let heads = text.match_indices("\n#[cfg(test)]\n");
    let is_block = |at: &usize| {
        let line = text[*at..].lines().nth(2).unwrap_or_default();
        line.contains("mod ") && line.ends_with('{')
    };
    let end = heads.map(|(at, _)| at).find(is_block).unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn only_the_unit_tests_in_a_file_are_cut_off() {
    let apart = "use a;\n// b\n#[cfg(test)]\nmod tests;\nuse c;\n#[cfg(test)]\npub(super) mod tests {\nuse d;\n}";
    assert_eq!(program(apart), "use a;\n#[cfg(test)]\nmod tests;\nuse c;");
}

#[test]
fn a_module_uses_only_those_above_it() {
    let modules = order();
    assert!(modules.len() > 10, "src/lib.rs declares {modules:?}");
    let (files, mut breaches) = (modules_of(&source()), Vec::new());
    for (rank, module) in modules.iter().enumerate() {
        let own = files.iter().filter(|(path, _)| path.split("::").next() == Some(module));
        assert!(own.clone().count() > 0, "src/{module} has no source");
        for (path, file) in own {
            let used = named(&code(file), path, &files, HandedOn::Counts);
            let used: BTreeSet<_> =
                used.iter().filter_map(|path| path.split("::").next()).collect();
            for below in modules[rank + 1..].iter().filter(|below| used.contains(below.as_str())) {
                breaches.push(format!("{} uses {below}, which comes after it", file.display()));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn no_module_above_the_server_names_its_state() {
    let (files, mut naming) = (modules_of(&source()), Vec::new());
    for (path, file) in files.iter().filter(|(path, _)| !path.is_empty()) {
        let module = path.split("::").next().unwrap_or_default();
        if ["server", "cli", "reactor"].contains(&module) {
            continue;
        }
        let code = code(file);
        let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        naming.extend(words.any(|word| word == "Member").then_some(path));
    }
    assert_eq!(naming, Vec::<&String>::new());
}

#[test]
fn only_what_asks_the_kernel_and_the_command_line_read_a_clock() {
    let mut files = Vec::new();
    sources(&source(), &mut files);
    let reads = |file: &&PathBuf| {
        let code = code(file);
        ["Instant::now", "SystemTime::now", ".elapsed()"].iter().any(|call| code.contains(call))
    };
    let reading: Vec<_> = files.iter().filter(reads).collect();
    assert!(reading.len() > 3, "{reading:?}");
    let may = ["cli", "reactor/io", "main.rs"].map(|path| source().join(path));
    let others = reading.into_iter().filter(|file| !may.iter().any(|path| file.starts_with(path)));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&PathBuf>::new());
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

/// The circles of files that are allowed; ARCHITECTURE.md has the reason for each.
const CIRCLES: [&[&str]; 1] = [&[
    "examples/chaos/attackers.rs",
    "examples/chaos/clients.rs",
    "examples/chaos/faults.rs",
    "examples/chaos/http.rs",
    "examples/chaos/proxy.rs",
    "examples/chaos/run.rs",
]];

/// The sources of a crate by module path: `journal::open` for `journal/open.rs`, `journal` for `journal/mod.rs`.
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

/// Writes out every path of a list such as that of `use a::{b, c::{d, e}};`.
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
            None if item.trim().is_empty() => {}
            None => paths.push(format!("{prefix}{}", item.trim())),
        }
    }
}

/// Whether a file names the modules that it only re-exports (`pub use`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandedOn {
    Counts,
    IsNoNeed,
}

/// The modules that a file's code names, in `use` lines and in paths from `crate` and `super`.
fn named(
    code: &str,
    module: &str,
    modules: &BTreeMap<String, PathBuf>,
    handed_on: HandedOn,
) -> BTreeSet<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for statement in code.split_terminator(';') {
        let lines: Vec<&str> = statement.split('\n').map(str::trim_start).collect();
        let is_public = |line: &str| line.starts_with("pub") && line.contains(" use ");
        let is_use = |line: &&str| line.starts_with("use ") || is_public(line);
        let (before, used) = lines.split_at(lines.iter().position(is_use).unwrap_or(lines.len()));
        rest += &before.join("\n");
        rest.push('\n');
        let skipped =
            handed_on == HandedOn::IsNoNeed && used.first().is_some_and(|it| is_public(it));
        if let Some((_, list)) = used.join("\n").split_once("use ").filter(|_| !skipped) {
            written_out("", list, &mut paths);
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

/// The module that `module` is part of, or `module` itself. A file in the folder of another file's name
/// (`pool/connect.rs` beside `pool.rs`) is part of that file. The files beside a `mod.rs` are not part of it.
fn whole<'m>(module: &'m str, modules: &BTreeMap<String, PathBuf>) -> &'m str {
    let mut above = module.match_indices("::").map(|(at, _)| &module[..at]);
    let is_file = |above: &&str| modules.get(*above).is_some_and(|file| !file.ends_with("mod.rs"));
    above.find(is_file).unwrap_or(module)
}

/// The groups of modules in which each depends, directly or not, on all the others. A file and the folder of its name
/// count as one, and dependencies between a `mod.rs` and the files in its folder do not count.
fn circles(
    modules: &BTreeMap<String, PathBuf>,
    code: impl Fn(&Path) -> String,
) -> Vec<BTreeSet<String>> {
    let is_within = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, file) in modules {
        let this = whole(module, modules);
        let named = named(&code(file), module, modules, HandedOn::IsNoNeed);
        let others = named.iter().map(|other| whole(other, modules)).filter(|other| {
            !other.is_empty()
                && *other != this
                && !is_within(this, other)
                && !is_within(other, this)
        });
        needs.entry(this.to_owned()).or_default().extend(others.map(str::to_owned));
    }
    let reach = |from: &String| {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = vec![from];
        while let Some(module) = next.pop() {
            next.extend(needs[module].iter().filter(|other| reached.insert((*other).clone())));
        }
        reached
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        needs.keys().map(|module| (module, reach(module))).collect();
    let circle = |module: &String| -> BTreeSet<String> {
        reached[module].iter().filter(|other| reached[other].contains(module)).cloned().collect()
    };
    let all: BTreeSet<_> = needs.keys().map(circle).filter(|circle| circle.len() > 1).collect();
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
        for circle in circles(&modules, code) {
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
fn a_use_of_a_module_is_found_in_every_spelling() {
    let names = ["a", "a::b", "c", "d", "x", "x::y"].map(|name| (name.to_owned(), PathBuf::new()));
    let modules = BTreeMap::from(names);
    for (code, needed, handed_on) in [
        ("use super::super::c::X;", vec!["c"], vec![]),
        ("use crate::{a::b::{X, Y}, d};", vec!["a::b", "d"], vec![]),
        ("use crate::{\n    c::{self, X},\n    a,\n};", vec!["a", "c"], vec![]),
        ("fn f(x: super::super::c::X) -> crate::d::Y { use_it(); }", vec!["c", "d"], vec![]),
        ("fn f() {\n    use crate::{a::X, c};\n    f()\n}", vec!["a", "c"], vec![]),
        ("let x = $crate::a::b::parse();", vec!["a::b"], vec![]),
        ("pub use crate::c::X; pub(crate) use crate::d::Y; use std::fmt;", vec![], vec!["c", "d"]),
        ("use crate::abc::X; use other::c::Y;", vec![""], vec![]),
    ] {
        let find = |handed_on| named(code, "x::y", &modules, handed_on);
        let needs = find(HandedOn::IsNoNeed);
        assert_eq!(needs.iter().map(String::as_str).collect::<Vec<_>>(), needed, "{code}");
        let more: Vec<_> = find(HandedOn::Counts).difference(&needs).cloned().collect();
        assert_eq!(more, handed_on, "{code}");
    }
}

/// For this reason a file and the folder of its name count as one: other files reach the folder only through the file.
#[test]
fn what_is_in_the_folder_of_a_files_name_is_private_to_it() {
    let mut open = Vec::new();
    for (module, file) in modules_of(&source()) {
        let is_head = ["mod.rs", "lib.rs", "main.rs"].iter().any(|name| file.ends_with(name));
        let code = code(&file);
        let public = code.lines().filter(|line| line.starts_with("pub") && line.contains(" mod "));
        open.extend(public.filter(|_| !is_head).map(|line| format!("{module}: {line}")));
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn a_circle_is_found_also_through_a_file_in_the_folder_of_another() {
    let files = [
        ("a", "a.rs", "mod b;"),
        ("a::b", "a/b.rs", "use crate::c::X;"),
        ("c", "c.rs", "use crate::a::Y;"),
        ("d", "d/mod.rs", "use self::e::X; use crate::f::Z;"),
        ("d::e", "d/e.rs", "use super::Y;"),
        ("f", "f.rs", "use crate::d::e::Y;"),
    ];
    let modules = files.map(|(module, file, _)| (module.to_owned(), PathBuf::from(file)));
    let code = |path: &Path| {
        let found = files.iter().find(|(_, file, _)| Path::new(file) == path);
        found.map(|(_, _, code)| (*code).to_owned()).expect("it is one of them")
    };
    let circle = BTreeSet::from(["a", "c"].map(str::to_owned));
    assert_eq!(circles(&BTreeMap::from(modules), code), [circle]);
}

/// The program is `src`, with `herd-reactor`. `herd-bench` is a program of its own that shares no type with it, so ten
/// type names (such as `Reply`, `Stamp`) occur in both; within each program a name occurs once.
#[test]
fn no_two_types_of_the_program_have_one_name() {
    for (root, count) in [("src", 300), ("benches/herd-bench/src", 30)] {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root), &mut files);
        let (found, twice) = types(files);
        assert!(found > count, "only {found} types were found in {root}");
        assert!(twice.is_empty(), "{}", twice.join("\n"));
    }
}

/// The number of types that `files` declare, and those whose name occurs twice.
fn types(files: Vec<PathBuf>) -> (usize, Vec<String>) {
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
    (seen.len(), twice)
}

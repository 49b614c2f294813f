//! Where the functions of the program are in its sources, and which of them calls which.
//!
//! The sources are read as text: rustfmt puts each function and each `impl` where indentation finds it.

use std::fs;
use std::path::{Path, PathBuf};

/// All sources of the server and of the reactor.
#[derive(Debug)]
pub(super) struct Sources(Vec<Function>);

/// One function of the program.
#[derive(Debug)]
pub(super) struct Function {
    /// From the root of the repository.
    file: String,
    line: usize,
    /// The line after its last one.
    end: usize,
    /// The type that has it, or else its module.
    owner: String,
    name: String,
    body: String,
}

impl Sources {
    /// Reads all sources.
    pub(super) fn read() -> Sources {
        let mut paths = Vec::new();
        collect(Path::new("src"), &mut paths);
        let functions = paths.iter().flat_map(|path| functions(path)).collect();
        Sources(functions)
    }

    /// The only function that is called so, as `Type::function` or `module::function`.
    pub(super) fn find(&self, path: &str) -> &Function {
        let (owner, name) = path.split_once("::").unwrap_or_else(|| panic!("{path} has no ::"));
        let found = self.0.iter().filter(|it| it.owner == owner && it.name == name);
        match found.collect::<Vec<_>>().as_slice() {
            [one] => one,
            [] => panic!("no function {path}: rename it in the template of the page"),
            several => panic!("several functions {path}: {several:#?}"),
        }
    }
}

impl Function {
    /// A link to it from docs/course.
    pub(super) fn link(&self) -> String {
        let Function { file, line, owner, name, .. } = self;
        format!("[`{owner}::{name}`](../../{file}#L{line})")
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether its text calls a function of that name, or passes it on to be called.
    pub(super) fn calls(&self, name: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.body.match_indices(name).any(|(at, _)| {
            let (before, after) = (&self.body[..at], &self.body[at + name.len()..]);
            !before.ends_with(is_word) && after.starts_with(['(', ')', ',', ':'])
        })
    }

    /// Whether a line of a backtrace, such as `at ./src/reactor/lib.rs:390:14`, is in this function. A closure in it counts.
    pub(super) fn has(&self, place: &str) -> bool {
        let Some((_, after)) = place.split_once(&format!(" ./{}:", self.file)) else {
            return false;
        };
        let line = after.split(':').next().and_then(|line| line.parse().ok());
        line.is_some_and(|line: usize| (self.line..=self.end).contains(&line))
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true if !path.ends_with("tests") && !path.ends_with("examples") => {
                collect(&path, found);
            }
            false if path.extension().is_some_and(|it| it == "rs") => found.push(path),
            _ => {}
        }
    }
    found.sort();
}

fn functions(path: &Path) -> Vec<Function> {
    let text = fs::read_to_string(path).expect("it is UTF-8");
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    let mut owner = None;
    for (at, line) in lines.iter().enumerate() {
        match *line {
            "mod tests {" => break,
            "}" => owner = None,
            _ if line.starts_with("impl") => owner = Some(implemented(line)),
            _ => {}
        }
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        if indent.len() != if owner.is_some() { 4 } else { 0 } {
            continue;
        }
        let Some(name) = named(code) else { continue };
        let end = format!("{indent}}}");
        let length = lines[at..].iter().take_while(|line| **line != end).count();
        let body = lines[at..at + length].iter().skip(1);
        let body = body.filter(|line| !line.trim_start().starts_with("//"));
        found.push(Function {
            file: path.display().to_string(),
            line: at + 1,
            end: at + 1 + length,
            owner: owner.clone().unwrap_or_else(|| module(path)),
            name,
            body: body.map(|line| format!("{line}\n")).collect(),
        });
    }
    found
}

/// The name of the type in the head of an `impl`.
fn implemented(head: &str) -> String {
    let mut depth = 0;
    let mut plain = String::new();
    for c in head.trim_start_matches("impl").chars() {
        depth += i32::from(c == '<');
        if depth == 0 {
            plain.push(c);
        }
        depth -= i32::from(c == '>');
    }
    let of = plain.split_once(" for ").map_or(&*plain, |(_, of)| of);
    of.trim_matches([' ', '{']).split(" where").next().unwrap_or_default().to_owned()
}

/// The name of the function that this line begins.
fn named(code: &str) -> Option<String> {
    let (before, after) = code.split_once("fn ")?;
    let is_head = before.split_whitespace().all(|word| word.starts_with("pub") || word == "const");
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (is_head && !code.ends_with(';')).then(|| after[..end].to_owned())
}

/// The name of the module in this file.
fn module(path: &Path) -> String {
    let path = if path.ends_with("mod.rs") { path.parent().expect("a folder") } else { path };
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

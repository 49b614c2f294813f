//! Links to lines of sources stay true: ``[`Reactor::turn`](../src/reactor/lib.rs#L371)`` leads to the line that defines
//! `turn`.
//!
//! The word before the last `::` is the type or trait that has the item or field, or else its module. Without such a word, the
//! file must define the name only once. The sources are read as text: rustfmt indents what a type has by four.
//!
//! `UPDATE_EXPECTED=1 cargo test --test suite source_links::` writes the line numbers into the pages.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// All pages that may have such links.
fn pages() -> Vec<PathBuf> {
    let mut found = ["ARCHITECTURE.md", "src/reactor/README.md"].map(PathBuf::from).to_vec();
    let mut folders = vec![PathBuf::from("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is there") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "md") => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// The name at the beginning of `text`.
fn name(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())]
}

/// The kind and the name of the item that begins with this line: `fn` and `turn` for `pub fn turn(&mut self) {`. For an `impl`,
/// the name is that of the type.
fn item(code: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    let words = code.split(|c: char| {
        depth += i32::from("<(".contains(c)) - i32::from(">)".contains(c));
        depth == 0 && c == ' '
    });
    let words: Vec<&str> = words.skip_while(|word| word.starts_with("pub")).collect();
    let (kind, rest) = match words.as_slice() {
        ["const", "fn", rest @ ..] => ("fn", rest),
        [kind, rest @ ..] => (name(kind), rest),
        [] => return None,
    };
    let kinds = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod", "impl"];
    let of = rest.iter().position(|word| *word == "for").map_or(0, |at| at + 1);
    kinds.contains(&kind).then_some((kind, name(rest.get(of).unwrap_or(&""))))
}

/// The number of the only line of `source`, the text of the file `path`, that defines `path_of_item`.
fn line_of(path_of_item: &str, path: &Path, source: &str) -> Result<usize, String> {
    let mut wanted = path_of_item.rsplit("::");
    let (wanted, owner) = (wanted.next().unwrap_or_default(), wanted.next());
    let file = if path.ends_with("mod.rs") { path.parent().unwrap_or(path) } else { path };
    let module = file.file_stem().unwrap_or_default().to_string_lossy();
    let (mut outer, mut items, mut parts) = (("mod", &*module), Vec::new(), Vec::new());
    for (at, line) in source.lines().enumerate() {
        let code = line.trim_start();
        let depth = line.len() - code.len();
        if depth == 0 && code == "}" {
            outer = ("mod", &*module);
        }
        let here = if depth == 0 { ("mod", &*module) } else { outer };
        let is_owners = depth <= 4 && here.0 != "fn" && Some(here.1) == owner;
        match item(code) {
            Some((kind, name)) => {
                if name == wanted && kind != "impl" && (owner.is_none() || is_owners) {
                    items.push(at + 1);
                }
                if depth == 0 {
                    outer = (kind, name);
                }
            }
            None if is_owners && ["struct", "enum"].contains(&here.0) => {
                let part = code.split(": ").next().unwrap_or_default().rsplit(' ').next();
                parts.extend(part.filter(|part| name(part) == wanted).map(|_| at + 1));
            }
            None => {}
        }
    }
    match (items.as_slice(), parts.as_slice()) {
        ([line], _) | ([], [line]) => Ok(*line),
        _ => Err(format!("it is defined in {} lines", items.len() + parts.len())),
    }
}

/// Returns the text of `page` with the right line numbers, and its number of links. Adds to `wrong` those that lead nowhere.
fn mended(page: &Path, text: &str, wrong: &mut Vec<String>) -> (String, usize) {
    let (mut new, mut links, mut rest) = (String::new(), 0, text);
    while let Some(at) = rest.find("`](") {
        let (before, after) = rest.split_at(at + 3);
        new += before;
        rest = after;
        let target = after.split(')').next().unwrap_or_default();
        let Some((to, _)) = target.rsplit_once("#L") else { continue };
        if !to.ends_with(".rs") || to.contains("://") {
            continue;
        }
        let item = before.rsplit('`').nth(1).unwrap_or_default();
        let path = page.parent().unwrap_or(page).join(to);
        let source = fs::read_to_string(&path).map_err(|why| why.to_string());
        let line = source.and_then(|source| line_of(item, &path, &source));
        let line = line.map_err(|why| wrong.push(format!("{}: {item}: {why}", page.display())));
        new += &line.map_or(target.to_owned(), |line| format!("{to}#L{line}"));
        rest = &rest[target.len()..];
        links += 1;
    }
    (new + rest, links)
}

#[test]
fn each_link_to_a_line_leads_to_the_definition_of_its_name() {
    let (mut all, mut wrong) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).expect("it is UTF-8");
        let (new, links) = mended(&page, &text, &mut wrong);
        all += links;
        match env::var_os("UPDATE_EXPECTED").is_some() {
            true if new != text => fs::write(&page, &new).expect("it can be written"),
            false if new != text => wrong.push(format!("{}: old line numbers", page.display())),
            _ => {}
        }
    }
    let help = "`UPDATE_EXPECTED=1 cargo test --test suite source_links::` writes the line numbers";
    assert!(wrong.is_empty(), "{}\n{help}", wrong.join("\n"));
    assert!(all > 100, "{all} links");
}

#[test]
fn an_owner_decides_between_items_of_one_name() {
    let source = "fn a() {\n    fn b() {}\n}\npub struct S {\n    pub(crate) c: u8,\n}\n\nimpl<T: X<T>> S {\n    \
                  pub(in crate::x) const fn b() {}\n}\n\nimpl Drop for Y<'_> {\n    fn b() {\n        let c = 1;\n    }\n}\n";
    let line = |item: &str| line_of(item, Path::new("folder/mod.rs"), source).ok();
    assert_eq!(
        ["a", "folder::a", "S", "S::c", "S::b", "Y::b"].map(line),
        [1, 1, 4, 5, 9, 13].map(Some)
    );
    assert_eq!(["b", "c", "a::b", "S::a", "Y::c", "folder::b"].map(line), [None; 6]);
}

//! What is wrong with a topology file, said so that it can be mended.
//!
//! In: places in the text, what is wrong there, and a remedy. Out:
//!
//! ```text
//! topology.toml:12:25: error: "Wilkes" is no server of this herd
//!    |
//! 12 | neighbours = ["Parker", "Wilkes"]
//!    |                         ^^^^^^^^
//!    = remedy: the servers are "Alford", "Bolden", "Hamilton", "Parker", "Welsh"
//! ```
//!
//! Knows nothing of servers. The idea: a reader of the file goes on after an error, so that all errors are
//! reported at once; they are put in the file's order at the end.
//!
//! Where the text is not TOML, what was understood of it is not to be trusted: then nothing else is
//! said about those lines, and nothing is called missing ([`Diagnostics::is_broken`]).
//!
//! Invariants: no control character of the file reaches the output, and nothing that looks like a secret:
//! such a line is not shown, wherever it stands.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::log::one_line;
use crate::log::secret::mask_keys;

/// One thing that is wrong, or doubtful, with a topology file.
///
/// Printed, it is several lines: place, error or warning, the line with the place underlined, the
/// remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    kind: &'static str,
    place: String,
    excerpt: Option<Excerpt>,
    what: String,
    remedy: String,
}

impl Diagnostic {
    /// The place, what is wrong there and the remedy, on one line: for the log.
    pub fn in_one_line(&self) -> String {
        one_line(&format!("{}: {}: {}", self.place, self.what, self.remedy)).into_owned()
    }

    /// What is wrong and the remedy, for text that is in no file.
    pub fn without_place(&self) -> String {
        format!("{}; {}", self.what, self.remedy)
    }

    /// This error as a warning.
    pub fn into_warning(self) -> Diagnostic {
        Diagnostic { kind: "warning", ..self }
    }

    /// An error in what this place of the topology leads to, such as a file that it names.
    pub fn error(&self, what: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        Diagnostic { kind: "error", what: what.into(), remedy: remedy.into(), ..self.clone() }
    }

    /// The same for what is only doubtful.
    pub fn warning(&self, what: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        Diagnostic { kind: "warning", ..self.error(what, remedy) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", one_line(&self.place), self.kind, one_line(&self.what))?;
        let margin = self.excerpt.as_ref().map_or(1, |excerpt| excerpt.number.to_string().len());
        if let Some(Excerpt { number, line, indent, width }) = &self.excerpt {
            writeln!(f, "{:margin$} |", "")?;
            writeln!(f, "{number} | {line}")?;
            writeln!(f, "{:margin$} | {:indent$}{:^<width$}", "", "", "")?;
        }
        writeln!(f, "{:margin$} = remedy: {}", "", one_line(&self.remedy))
    }
}

/// Why a topology was refused: all that is wrong with it, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors(Vec<Diagnostic>);

impl TopologyErrors {
    /// The one error of a file that cannot be read, or not further than to `at` in its text.
    pub(super) fn of_file(
        path: &Path,
        text: &str,
        at: Option<usize>,
        what: impl Into<String>,
        remedy: &str,
    ) -> TopologyErrors {
        let at = at.map(|at| at..at);
        let draft = Draft { at, is_shown: true, what: what.into(), remedy: remedy.into() };
        TopologyErrors(vec![diagnostic(text, path, "error", draft)])
    }

    /// The errors, at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl fmt::Display for TopologyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TopologyErrors {}

/// The line of a place, as it can be shown, and where in it the place is, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    number: usize,
    line: String,
    indent: usize,
    width: usize,
}

/// So many characters of a line are shown before its place, and so many from its place on.
const SHOWN_BEFORE: usize = 60;
const SHOWN_AFTER: usize = 60;

/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// A diagnostic before its line and column are known.
#[derive(Debug)]
struct Draft {
    at: Option<Span>,
    /// Whether the line may be shown.
    is_shown: bool,
    what: String,
    remedy: String,
}

/// What was found so far, in any order.
#[derive(Debug)]
pub(super) struct Diagnostics<'t> {
    text: &'t str,
    errors: Vec<Draft>,
    warnings: Vec<Draft>,
    /// Where the text is not TOML: lines, and all that stands behind an open list.
    broken: Vec<Span>,
}

impl<'t> Diagnostics<'t> {
    pub(super) fn new(text: &'t str) -> Diagnostics<'t> {
        Diagnostics { text, errors: Vec::new(), warnings: Vec::new(), broken: Vec::new() }
    }

    /// The text is not TOML in these places.
    pub(super) fn not_toml(&mut self, errors: &[toml::de::Error]) {
        let list_is_open =
            errors.iter().any(|error| error.message().starts_with("unclosed array,"));
        for error in errors {
            let what = error.message();
            let at = error.span().unwrap_or(self.text.len()..self.text.len());
            // Behind an open list every line is wrong, and none for a reason of its own: the first
            // is enough.
            let is_end = list_is_open && what.contains("array");
            let remedy = match what {
                _ if is_end => "close the list before this with ]; what follows was not understood",
                "duplicate key" => {
                    "keep one of the two; only the table [[server]] may stand more than once"
                }
                _ => "a line is key = value; text stands in \"quotes\", lists in [brackets]",
            };
            self.error(at.clone(), format!("this is not TOML: {what}"), remedy);
            self.broken.push(line_of(self.text, at.start));
            if is_end {
                self.broken.push(at.start..self.text.len());
                break;
            }
        }
    }

    /// Whether some of the text is not TOML, so that what is missing may only not have been
    /// understood.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Something with which no server may start. `at`: nothing for the file as a whole.
    pub(super) fn error(
        &mut self,
        at: impl Into<Option<Span>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (what, remedy) = (what.into(), remedy.into());
        self.add(Draft { at: at.into(), is_shown: true, what, remedy });
    }

    /// The same of a line that may hold a secret or a password: its place is shown, and not the line.
    pub(super) fn error_unseen(&mut self, at: Span, what: &str, remedy: &str) {
        let (what, remedy) = (what.into(), remedy.into());
        self.add(Draft { at: Some(at), is_shown: false, what, remedy });
    }

    fn add(&mut self, draft: Draft) {
        let is_known = |at: &Span| self.broken.iter().any(|line| line.contains(&at.start));
        if !draft.at.as_ref().is_some_and(is_known) {
            self.errors.push(draft);
        }
    }

    /// Something that may be meant.
    pub(super) fn warn(&mut self, at: Span, what: impl Into<String>, remedy: impl Into<String>) {
        let (what, remedy) = (what.into(), remedy.into());
        self.warnings.push(Draft { at: Some(at), is_shown: true, what, remedy });
    }

    /// A diagnostic about that place of the file at `path`, for others to fill in.
    pub(super) fn diagnostic_at(&self, path: &Path, at: Option<Span>) -> Diagnostic {
        let (what, remedy) = (String::new(), String::new());
        diagnostic(self.text, path, "error", Draft { at, is_shown: true, what, remedy })
    }

    /// The warnings, if there are no errors; each in the file's order.
    pub(super) fn into_result(self, path: &Path) -> Result<Vec<Diagnostic>, TopologyErrors> {
        let Diagnostics { text, errors, warnings, .. } = self;
        match errors.is_empty() {
            true => Ok(in_order(text, path, "warning", warnings)),
            false => Err(TopologyErrors(in_order(text, path, "error", errors))),
        }
    }
}

fn in_order(
    text: &str,
    path: &Path,
    kind: &'static str,
    mut diagnostics: Vec<Draft>,
) -> Vec<Diagnostic> {
    diagnostics.sort_by_key(|draft| draft.at.as_ref().map(|at| at.start));
    diagnostics.into_iter().map(|draft| diagnostic(text, path, kind, draft)).collect()
}

fn diagnostic(text: &str, path: &Path, kind: &'static str, draft: Draft) -> Diagnostic {
    let Draft { at, is_shown, what, remedy } = draft;
    let [what, remedy] = [what, remedy].map(|text| mask_keys(&text).into_owned());
    let path = path.display();
    let Some(at) = at else {
        return Diagnostic { kind, place: path.to_string(), excerpt: None, what, remedy };
    };
    let start = char_boundary(text, at.start);
    let line = line_of(text, start);
    let end = char_boundary(text, at.end).clamp(start, line.end.max(start));
    let (before, under, after) =
        (&text[line.start..start], &text[start..end], &text[end..line.end.max(end)]);

    let number = 1 + text[..start].bytes().filter(|&byte| byte == b'\n').count();
    let column = 1 + before.chars().count();
    let (before, under, after) = (last(&shown(before), SHOWN_BEFORE), shown(under), shown(after));
    let all = &text[line.clone()];
    // As of a proxy with a password, or a URL with a key.
    let has_secret = all.split_once("://").is_some_and(|(_, url)| url.contains(['@', '?']));
    let is_shown = is_shown && !has_secret && matches!(mask_keys(all), Cow::Borrowed(_));
    let excerpt = Excerpt {
        number,
        indent: before.chars().count(),
        width: under.chars().count().clamp(1, SHOWN_AFTER),
        line: format!("{before}{}", first(&format!("{under}{after}"), SHOWN_AFTER)),
    };
    Diagnostic {
        kind,
        place: format!("{path}:{number}:{column}"),
        excerpt: is_shown.then_some(excerpt),
        what,
        remedy,
    }
}

/// The line in which byte `at` is, without its end.
fn line_of(text: &str, at: usize) -> Span {
    let at = char_boundary(text, at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    start..end
}

fn char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Part of a line as it can be shown: a tab is as wide as a space.
fn shown(part: &str) -> String {
    one_line(&part.trim_end_matches('\r').replace('\t', " ")).into_owned()
}

/// The first `most` characters of `text`, with a sign if there are more.
pub(super) fn first(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

fn last(text: &str, most: usize) -> String {
    match text.char_indices().nth_back(most) {
        Some((start, c)) => format!("...{}", &text[start + c.len_utf8()..]),
        None => text.to_string(),
    }
}

/// A value of the file within a sentence: in quotes, and not longer than a name may be.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", first(text, 64))
}

/// Several of them, with commas.
pub(super) fn all_quoted<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, at: Span) -> String {
        let mut diagnostics = Diagnostics::new(text);
        diagnostics.error(at, "it is wrong", "mend it");
        diagnostics.into_result(Path::new("t.toml")).expect_err("there is an error").to_string()
    }

    #[test]
    fn the_place_is_underlined() {
        assert_eq!(
            told("a = 1\nbcd = 22 # x\r\ne = 3", 12..14),
            "t.toml:2:7: error: it is wrong\n  |\n2 | bcd = 22 # x\n  |       ^^\n  = remedy: mend it\n"
        );
    }

    #[test]
    fn the_caret_stands_right_after_what_had_to_be_escaped() {
        assert_eq!(
            told("\té\u{1b} = 1", 7..8),
            "t.toml:1:7: error: it is wrong\n  |\n1 |  é\\x1b = 1\n  |          ^\n  = remedy: mend it\n"
        );
    }

    #[test]
    fn a_place_beyond_the_line_or_the_text_is_shown_at_its_end() {
        assert!(told("a = [\n1\n]", 4..9).contains("\n1 | a = [\n  |     ^\n"));
        assert!(told("a = ", 4..4).contains("\n1 | a = \n  |     ^\n"));
        assert!(told("é", 1..900).contains("\n1 | é\n  | ^\n"));
        assert!(told("a\n", 2..2).starts_with("t.toml:2:1: "));
    }

    #[test]
    fn of_a_long_line_the_neighbourhood_is_shown() {
        let text = told(&format!("{}here{}", "b".repeat(500), "a".repeat(500)), 500..504);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "t.toml:1:501: error: it is wrong");
        assert_eq!(lines[2], format!("1 | ...{}here{}...", "b".repeat(60), "a".repeat(56)));
        assert_eq!(lines[3], format!("  | {}^^^^", " ".repeat(63)));
    }

    #[test]
    fn of_a_line_with_a_secret_only_the_place_is_shown() {
        let mut diagnostics = Diagnostics::new("a = 1\nkey = \"CANARY\"");
        diagnostics.error_unseen(12..20, "it is wrong", "mend it");
        let errors = diagnostics.into_result(Path::new("t")).expect_err("there is an error");
        assert_eq!(errors.to_string(), "t:2:7: error: it is wrong\n  = remedy: mend it\n");
    }

    #[test]
    fn errors_stand_in_the_order_of_the_file() {
        let mut diagnostics = Diagnostics::new("a\nb\nc");
        diagnostics.error(4..5, "third", "e");
        diagnostics.error(0..1, "second", "c");
        diagnostics.error(None, "first", "a");
        let errors = diagnostics.into_result(Path::new("t")).expect_err("there are three");
        let lines: Vec<String> = errors.iter().map(Diagnostic::in_one_line).collect();
        assert_eq!(lines, ["t: first: a", "t:1:1: second: c", "t:3:1: third: e"]);
    }
}

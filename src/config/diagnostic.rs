//! Errors and warnings about a topology file, each with its position, the line it concerns and a remedy.
//!
//! In: positions in the text, what is wrong there, and a remedy. Out:
//!
//! ```text
//! topology.toml:12:25: error: neighbours lists "Wilkes", which is not a server of this herd
//!    |
//! 12 | neighbours = ["Parker", "Wilkes"]
//!    |                         ^^^^^^^^
//!    = remedy: the servers are "Alford", "Bolden", "Hamilton", "Parker", "Welsh"
//! ```
//!
//! It knows nothing of servers. The idea: the reader of a topology continues after an error, so that it reports all
//! errors at once. At the end they are sorted into the file's order.
//!
//! Where the text is not valid TOML, the parser's result is unreliable. Then no further errors are reported for
//! those lines, and no key is reported as missing ([`Diagnostics::is_broken`]).
//!
//! Invariants: no control character of the file reaches the output. A line that may hold a secret is never shown,
//! wherever in the file it is.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use crate::log::one_line;
use crate::log::secret::mask_keys;

/// One error in a topology file, or one warning about it.
///
/// It is printed on several lines: the position and the message, the line of the file with the position underlined,
/// and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    kind: &'static str,
    place: String,
    excerpt: Option<Excerpt>,
    what: String,
    remedy: String,
}

impl Diagnostic {
    /// The position, the message and the remedy on one line, for the log.
    pub fn in_one_line(&self) -> String {
        one_line(&format!("{}: {}: {}", self.place, self.what, self.remedy)).into_owned()
    }

    /// The message and the remedy on one line, for a text that is in no file and has no position.
    pub fn without_place(&self) -> String {
        one_line(&format!("{}; {}", self.what, self.remedy)).into_owned()
    }

    /// This error as a warning.
    pub fn into_warning(self) -> Diagnostic {
        Diagnostic { kind: "warning", ..self }
    }

    /// An error at the same position, about something that the topology names there, such as a file.
    pub fn error(&self, what: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        Diagnostic { kind: "error", what: what.into(), remedy: remedy.into(), ..self.clone() }
    }

    /// A warning at the same position, about something that the topology names there.
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

/// Why a topology was rejected: all of its errors, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyErrors(Vec<Diagnostic>);

impl TopologyErrors {
    /// A single error about the file as a whole, or about the byte offset `at` of its text.
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

/// The line that a diagnostic concerns, made printable. `indent` and `width` mark the position in it, in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    number: usize,
    line: String,
    indent: usize,
    width: usize,
}

/// Maximum number of characters of a line that are shown before the position.
const SHOWN_BEFORE: usize = 60;
/// Maximum number of characters of a line that are shown from the position on.
const SHOWN_AFTER: usize = 60;

/// Maximum errors, and maximum warnings, that are listed. The others are probably of the same kind.
const LISTED_MAX: usize = 200;
/// Maximum names that a message lists.
const QUOTED_MAX: usize = 20;

/// A range of bytes in the text.
pub(super) type Span = Range<usize>;

/// A diagnostic before its line and column are known.
#[derive(Debug)]
struct Draft {
    at: Option<Span>,
    /// Whether the line may be printed; false for a line that may hold a secret.
    is_shown: bool,
    what: String,
    remedy: String,
}

/// The errors and warnings found so far, in any order.
#[derive(Debug)]
pub(super) struct Diagnostics<'t> {
    text: &'t str,
    errors: Vec<Draft>,
    warnings: Vec<Draft>,
    /// Where the text is not valid TOML: the lines with errors, and everything after an unclosed list.
    broken: Vec<Span>,
}

impl<'t> Diagnostics<'t> {
    pub(super) fn new(text: &'t str) -> Diagnostics<'t> {
        Diagnostics { text, errors: Vec::new(), warnings: Vec::new(), broken: Vec::new() }
    }

    /// Records the TOML parser's errors, and their lines as broken.
    pub(super) fn not_toml(&mut self, errors: &[toml::de::Error]) {
        let list_is_open =
            errors.iter().any(|error| error.message().starts_with("unclosed array,"));
        for error in errors {
            let what = error.message();
            let at = error.span().unwrap_or(self.text.len()..self.text.len());
            // After an unclosed list every line is an error with the same cause, so only the first is reported.
            let is_end = list_is_open && what.contains("array");
            let remedy = match what {
                _ if is_end => {
                    "close the list before this position with ]; the rest of the file was not checked"
                }
                "duplicate key" => {
                    "remove one of the two; only the table [[server]] may appear more than once"
                }
                _ => "write key = value, with text in \"quotes\" and lists in [brackets]",
            };
            self.error(at.clone(), format!("invalid TOML: {what}"), remedy);
            self.broken.push(line_of(self.text, at.start));
            if is_end {
                self.broken.push(at.start..self.text.len());
                break;
            }
        }
    }

    /// Whether some of the text is not valid TOML. Then a key that seems to be missing may only not have been parsed.
    pub(super) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Records an error, with which no server may start. Without `at` it concerns the whole file.
    pub(super) fn error(
        &mut self,
        at: impl Into<Option<Span>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (what, remedy) = (what.into(), remedy.into());
        self.add(Draft { at: at.into(), is_shown: true, what, remedy });
    }

    /// Records an error about a line that may hold a secret: its position is printed, but not the line.
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

    /// Records a warning: something that is suspicious, but may be intended.
    pub(super) fn warn(
        &mut self,
        at: impl Into<Option<Span>>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (at, what, remedy) = (at.into(), what.into(), remedy.into());
        self.warnings.push(Draft { at, is_shown: true, what, remedy });
    }

    /// An empty diagnostic at this position of the file at `path`, for [`Diagnostic::error`] and
    /// [`Diagnostic::warning`].
    pub(super) fn diagnostic_at(&self, path: &Path, at: Option<Span>) -> Diagnostic {
        let (what, remedy) = (String::new(), String::new());
        diagnostic(self.text, path, "error", Draft { at, is_shown: true, what, remedy })
    }

    /// The warnings if there are no errors, else the errors; either in the file's order.
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
    let others = diagnostics.len().saturating_sub(LISTED_MAX);
    if others > 0 {
        diagnostics.truncate(LISTED_MAX);
        let (what, remedy) = (format!("{others} more are not shown"), "repair these first".into());
        let end = text.len()..text.len();
        diagnostics.push(Draft { at: Some(end), is_shown: false, what, remedy });
    }
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
    // A URL may hold the password of a proxy or of NATS, or a key.
    let has_query = all.split_once("://").is_some_and(|(_, url)| url.contains('?'));
    let has_secret = has_query || all.contains('@');
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

/// The line that contains byte `at`, without its line end.
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

/// Part of a line, made printable; a tab becomes one space.
fn shown(part: &str) -> String {
    one_line(&part.trim_end_matches('\r').replace('\t', " ")).into_owned()
}

/// The first `most` characters of `text`, followed by "..." if there are more.
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

/// A value of the file, quoted for a sentence and cut to the longest length of a name.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", first(text, 64))
}

/// Several values of the file, quoted and separated by commas; of more than [`QUOTED_MAX`] the first, and the number of
/// the others.
pub(super) fn all_quoted<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut texts = texts.into_iter();
    let first = texts.by_ref().take(QUOTED_MAX).map(quoted).collect::<Vec<_>>().join(", ");
    match texts.count() {
        0 => first,
        others => format!("{first} and {others} more"),
    }
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
    fn more_warnings_and_names_than_can_be_read_are_cut() {
        let mut diagnostics = Diagnostics::new("a\nb");
        (0..1_000).for_each(|_| diagnostics.warn(0..1, "again", "mend it"));
        let warnings = diagnostics.into_result(Path::new("t")).expect("there is no error");
        assert_eq!(warnings.len(), 201);
        let last = "t:2:2: warning: 800 more are not shown\n";
        assert!(warnings[200].to_string().starts_with(last), "{}", warnings[200]);
        assert_eq!(all_quoted(["a"; 20]), ["\"a\""; 20].join(", "));
        assert_eq!(all_quoted(["a"; 1_024]), ["\"a\""; 20].join(", ") + " and 1004 more");
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

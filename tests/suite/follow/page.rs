//! A template becomes a page. Its marked parts:
//!
//! * `{{path A::f > B::g}}`: links to these functions, of which each calls the next one.
//! * `{{stack SERVER "TEXT": A::f > B::g}}`: the same, for functions that were on the stack at the next line of the
//!   server's trace that contains TEXT.
//! * `{{turns SERVER "FROM" "TO"}}`: the trace from the turn with a line that contains FROM to the turn with the next
//!   line that contains TO.
//! * `{{bytes SERVER "TEXT"}}`, `{{length SERVER "TEXT"}}`: the bytes of the line that contains TEXT, at the last step or
//!   after it; how many they are.
//! * `{{head N NAME}}`, `{{size NAME}}`: the first N lines of a text of the test; how many bytes it has.
//! * `{{head N SERVER "TEXT"}}`: the first N lines of the bytes of the line that contains TEXT.
//! * `{{instructions ROW}}`: a row of benches/instructions.md.
//! * `{{measured "ROW" "COLUMN"}}`: a figure of a table in benches/README.md, which `benches/run` writes from its record.

use super::source::{Function, Sources};
use super::world::Seen;
use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, QTYPE};
use std::collections::BTreeMap;
use std::fs;

/// A page of docs/course that is written from a template.
#[derive(Debug)]
pub(super) struct Page {
    name: &'static str,
    sources: Sources,
    runs: BTreeMap<&'static str, Vec<Seen>>,
    /// For each server, where in its trace the last step of the page was.
    reached: BTreeMap<&'static str, usize>,
    texts: BTreeMap<&'static str, String>,
}

impl Page {
    /// The page of this name.
    pub(super) fn new(name: &'static str) -> Page {
        let sources = Sources::read();
        Page {
            name,
            sources,
            runs: BTreeMap::new(),
            reached: BTreeMap::new(),
            texts: BTreeMap::new(),
        }
    }

    /// Adds what was seen of a server.
    pub(super) fn run(&mut self, server: &'static str, seen: Vec<Seen>) {
        self.runs.insert(server, seen);
        self.reached.insert(server, 0);
    }

    /// Adds a text.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.texts.insert(name, text.to_owned());
    }

    /// Compares the page with its template, filled in; with UPDATE_EXPECTED=1, writes it.
    pub(super) fn check(&mut self) {
        let template = format!("tests/fixtures/follow/{}.md", self.name);
        let template = fs::read_to_string(&template).unwrap_or_else(|e| panic!("{template}: {e}"));
        let mut rest = template.as_str();
        let mut text = String::new();
        while let Some((before, after)) = rest.split_once("{{") {
            let (mark, behind) = after.split_once("}}").expect("a mark ends");
            text += before;
            text += &self.filled(mark);
            rest = behind;
        }
        text += rest;
        let path = format!("docs/course/{}.md", self.name);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            return fs::write(&path, text).expect("it can be written");
        }
        let present = fs::read_to_string(&path).unwrap_or_default();
        let differs = present.lines().zip(text.lines()).find(|(present, text)| present != text);
        assert!(
            present == text,
            "{path} is not what a run of the program does now: UPDATE_EXPECTED=1 cargo test --test suite follow:: writes it. \
             The first line that differs, in the page and in the run: {differs:#?}"
        );
    }

    /// The text in the place of a mark.
    pub(super) fn filled(&mut self, mark: &str) -> String {
        let (verb, rest) = mark.split_once(' ').expect("a mark has a verb and its operands");
        let quoted: Vec<&str> = rest.split('"').collect();
        match (verb, quoted.as_slice()) {
            ("path", [path]) => self.path(path),
            ("stack", [server, line, path]) => {
                self.check_stack(server.trim(), line, path);
                self.path(path)
            }
            ("turns", [server, from, _, to, _]) => self.turns(server.trim(), from, to),
            ("bytes", [server, line, _]) => {
                self.seen(server.trim(), line).bytes.escape_ascii().to_string()
            }
            ("length", [server, line, _]) => {
                grouped(self.seen(server.trim(), line).bytes.len().to_string().as_str())
            }
            ("head", [operands]) => {
                let (count, name) = operands.split_once(' ').expect("a number and a name");
                head(&self.texts[name], count)
            }
            ("head", [operands, line, _]) => {
                let (count, server) = operands.split_once(' ').expect("a number and a server");
                let bytes = &self.seen(server.trim(), line).bytes;
                head(&String::from_utf8_lossy(bytes), count)
            }
            ("size", [name]) => grouped(&self.texts[*name].len().to_string()),
            ("instructions", [row]) => instructions(row),
            ("measured", [_, row, _, column, _]) => measured(row, column),
            _ => panic!("{mark:?}"),
        }
    }

    /// Links to functions of which each calls the next one.
    fn path(&self, path: &str) -> String {
        let functions = self.functions(path);
        for pair in functions.windows(2) {
            assert!(
                pair[0].calls(pair[1].name()),
                "{} does not call {}",
                pair[0].link(),
                pair[1].link()
            );
        }
        let links: Vec<String> = functions.iter().map(|function| function.link()).collect();
        links.join(" → ")
    }

    fn functions(&self, path: &str) -> Vec<&Function> {
        path.split('>').map(|name| self.sources.find(name.trim())).collect()
    }

    /// Checks that these functions were on the stack at the next line with `text`.
    fn check_stack(&mut self, server: &str, text: &str, path: &str) {
        let reached = self.reached[server];
        let next = self.runs[server].iter().skip(reached).position(|seen| seen.line.contains(text));
        let at = reached + next.unwrap_or_else(|| panic!("{server}: no {text:?} after {reached}"));
        *self.reached.get_mut(server).expect("it was added") = at + 1;
        if !cfg!(debug_assertions) {
            // An optimized program may lack the lines of inlined functions.
            return;
        }
        let stack = self.runs[server][at].stack.to_string();
        // The innermost frame is the first. Its place tells more than its name: an inlined function may lack its type.
        let mut places = stack.lines().rev();
        for function in self.functions(path) {
            let found = places.any(|place| function.has(place));
            assert!(found, "{} is not on the stack at {text:?}: {stack}", function.link());
        }
    }

    /// The line with `text` at which the page has arrived, or else the next one, or else the first one.
    fn seen(&self, server: &str, text: &str) -> &Seen {
        let (before, after) = self.runs[server].split_at(self.reached[server].saturating_sub(1));
        let found = after.iter().chain(before).find(|seen| seen.line.contains(text));
        found.unwrap_or_else(|| panic!("{server}: no {text:?}: {}", self.lines(server)))
    }

    fn lines(&self, server: &str) -> String {
        self.runs[server].iter().map(|seen| format!("{}\n", seen.line)).collect()
    }

    fn turns(&self, server: &str, from: &str, to: &str) -> String {
        let seen = &self.runs[server];
        let find = |text: &str, after: usize| {
            let next = seen.iter().skip(after).position(|seen| seen.line.contains(text));
            after + next.unwrap_or_else(|| panic!("{server}: no {text:?}: {}", self.lines(server)))
        };
        let first = find(from, 0);
        let last = find(to, first);
        let is_heading = |seen: &Seen| seen.line.starts_with("turn ");
        let begins = seen[..=first].iter().rposition(is_heading).expect("it is in a turn");
        let ends = seen[last..].iter().position(is_heading).map_or(seen.len(), |more| last + more);
        let sockets: Vec<&str> =
            seen.iter().filter_map(|seen| socket_for_datagrams(&seen.line)).collect();
        let shown = seen[begins..ends].iter().filter(|seen| !seen.line.starts_with("called "));
        let lines: Vec<String> = shown.map(|seen| told(seen, &sockets)).collect();
        lines.join("\n")
    }
}

fn socket_for_datagrams(line: &str) -> Option<&str> {
    line.strip_prefix("  opened ")?.split_once(" for datagrams").map(|(name, _)| name)
}

/// The line of a trace; for TLS and DNS, what the bytes are instead of the bytes.
fn told(seen: &Seen, sockets: &[&str]) -> String {
    let Some((call, _)) = seen.line.split_once(": \"") else { return seen.line.clone() };
    if sockets.iter().any(|name| call.ends_with(&format!(" {name}"))) {
        return format!("{call}: {}", datagram(&seen.bytes));
    }
    match seen.bytes.as_slice() {
        [20..=23, 3, ..] => {
            let (records, is_exact) = records(&seen.bytes);
            let total = seen.bytes.len().to_string();
            let about = format!("about {}", (seen.bytes.len() + 50) / 100 * 100);
            let call = if is_exact { call.to_owned() } else { call.replacen(&total, &about, 1) };
            format!("{call}: {records}")
        }
        _ => seen.line.clone(),
    }
}

/// The TLS records in `bytes`, and whether their lengths are the same in each run. Those of certificates and signatures are
/// not.
fn records(mut bytes: &[u8]) -> (String, bool) {
    let (mut records, mut is_exact) = (Vec::new(), true);
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let name = match (kind, rest.first()) {
            (20, _) => "ChangeCipherSpec",
            (21, _) => "an alert",
            (22, Some(1)) => "ClientHello",
            (22, Some(2)) => "ServerHello",
            (22, _) => "a handshake message",
            _ => "encrypted",
        };
        match is_exact || name != "encrypted" {
            true => records.push(format!("{name} {}", length + 5)),
            false => records.push(name.to_owned()),
        }
        is_exact &= name != "ServerHello";
        bytes = &rest[length..];
    }
    (format!("TLS: {}", records.join(", ")), is_exact)
}

/// What a DNS message says.
fn datagram(bytes: &[u8]) -> String {
    let packet = Packet::parse(bytes).expect("it is DNS");
    let question = packet.questions.first().expect("it has a question");
    let kind = match question.qtype {
        QTYPE::TYPE(kind) => format!("{kind:?}"),
        other => format!("{other:?}"),
    };
    let asked = format!("{kind} of {}", question.qname.to_string().to_lowercase());
    let addresses = packet.answers.iter().filter_map(|answer| match &answer.rdata {
        RData::A(address) => Some(std::net::Ipv4Addr::from(address.address).to_string()),
        _ => None,
    });
    match packet.has_flags(PacketFlag::RESPONSE) {
        true => {
            let all = addresses.collect::<Vec<_>>().join(", ");
            format!("DNS: {asked}: {}", if all.is_empty() { "none" } else { &*all })
        }
        false => format!("DNS: {asked}?"),
    }
}

fn head(text: &str, count: &str) -> String {
    let count = count.trim().parse().expect("a number");
    let more = if text.lines().count() > count { "\n..." } else { "" };
    text.lines().take(count).collect::<Vec<_>>().join("\n") + more
}

/// A row of benches/instructions.md.
fn instructions(row: &str) -> String {
    let table = fs::read_to_string("benches/instructions.md").expect("it is there");
    let found = table.lines().find_map(|line| line.strip_prefix(&format!("| {row} | ")));
    let number = found.unwrap_or_else(|| panic!("benches/instructions.md has no row {row:?}"));
    let number: f64 = number.trim_end_matches([' ', '|']).parse().expect("a number");
    grouped(&format!("{number:.0}"))
}

/// A figure of a table in benches/README.md.
fn measured(row: &str, column: &str) -> String {
    let page = fs::read_to_string("benches/README.md").expect("it is there");
    let mut at = None;
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match (line.starts_with('|'), at) {
            (false, _) => at = None,
            (true, None) => at = Some(cells.iter().position(|cell| *cell == column)),
            (true, Some(Some(at))) if cells[0] == row => return cells[at].to_owned(),
            _ => {}
        }
    }
    panic!("benches/README.md has no row {row:?} with a column {column:?}")
}

/// A number with commas between thousands.
fn grouped(digits: &str) -> String {
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for three in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text += str::from_utf8(three).expect("digits");
    }
    text
}

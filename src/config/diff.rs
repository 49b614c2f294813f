//! What a new topology changes for one server.
//!
//! In: two [`ServerView`]s of it, that in force and that of the new file. Out: a list of [`Change`]s, each with the name,
//! both values, and whether a running server can adopt it. It opens no file and changes nothing.
//!
//! The idea: a view is a list of names and values, all as text. The keys of `KEYS` make most of it, so none can be
//! forgotten. Of the servers, a view has only what concerns its own: its addresses, and those of its neighbours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use toml::Spanned;

use super::diagnostic::Diagnostics;
use super::keys::{KEYS, Key, Reload, TOP, ValueType};
use super::toml_section::{Section, bare};
use super::{DialAddr, Topology};
use crate::access::{in_hex, sha256};
use crate::nats::NatsUrl;

/// The keys of files that may change while the topology does not. Their values have the time of the last change.
const FILE_KEYS: [&str; 4] = ["file", "key_file", "ca_file", "tokens"];

/// What stands between a value and what is only compared: that time, or the hash of the passwords in URLs.
const CHANGED: &str = ", changed ";

/// The part of a topology that concerns one server: each value by its name, such as `limits.connections`,
/// `server.Alford.client` or `neighbour Parker`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerView(BTreeMap<String, ViewedValue>);

/// A value as text, whether a running server can adopt another one, and the end of its key's name.
type ViewedValue = (String, bool, &'static str);

/// One difference between two topologies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name of the value.
    pub name: String,
    /// The value in force; `None` if there is none.
    pub old: Option<String>,
    /// The new value; `None` if there is none.
    pub new: Option<String>,
    /// Whether a running server adopts it.
    pub is_live: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if shown(old) != shown(new) => {
                write!(f, "{} {} -> {}", self.name, shown(old), shown(new))
            }
            (Some(old), Some(_)) => {
                let what = if self.name == "bus.nats" { "a login" } else { "the file" };
                write!(f, "{} {}: {what} has changed", self.name, shown(old))
            }
            (None, Some(new)) => write!(f, "{} added: {}", self.name, shown(new)),
            _ => write!(f, "{} removed", self.name),
        }
    }
}

/// A value without what is only there to be compared.
fn shown(value: &str) -> &str {
    value.split_once(CHANGED).map_or(value, |(shown, _)| shown)
}

/// The value of every key but those of servers, as it applies, in the order of [`KEYS`]. A key without a value is left
/// out, and so are the keys of a table that switches something on, if the file lacks it. `text`: the file, whose errors
/// have been recorded. `folder`: its folder.
pub(super) fn settings(
    top: &Section<'_>,
    text: &str,
    folder: &Path,
) -> Vec<(&'static Key, String)> {
    let mut known = Diagnostics::new(text);
    let mut settings = Vec::new();
    for keys in KEYS.chunk_by(|one, next| one.section == next.section) {
        let (name, table) = (keys[0].section, &top.section(keys[0].section, &mut known));
        let section = if name == TOP { top } else { table };
        let is_switch = |key: &Key| {
            key.section == TOP && key.name == bare(name) && key.reload == Reload::Restart
        };
        if !section.is_there() && KEYS.iter().any(is_switch) {
            continue;
        }
        // Whether there is another table does not matter.
        let is_value = |key: &&Key| match key.kind {
            ValueType::Table | ValueType::Tables => key.reload == Reload::Restart,
            _ => key.section != "[[server]]",
        };
        for key in keys.iter().filter(is_value) {
            let Some(mut value) = section.in_force(key) else { continue };
            if FILE_KEYS.contains(&key.name) {
                // The time of the inode, which no copy and no archive sets back.
                if let Ok(file) = fs::metadata(folder.join(&value)) {
                    value += &format!("{CHANGED}{}.{:09}", file.ctime(), file.ctime_nsec());
                }
            }
            if key.name == "nats" {
                let urls = section.texts(key.name).into_iter().map(Spanned::into_inner);
                let urls = urls.filter_map(|url| Some(url.parse::<NatsUrl>().ok()?.to_string()));
                let urls = urls.collect::<Vec<_>>().join(", ");
                value = format!("{urls}{CHANGED}{}", in_hex(&sha256(value.as_bytes())));
            }
            settings.push((key, value));
        }
    }
    settings
}

impl Topology {
    /// The part of this topology that concerns the server `name`; `None` if there is no such server, or if it is plain.
    pub fn view_of(&self, name: &str) -> Option<ServerView> {
        let server = self.server(name).filter(|server| !server.plain)?;
        let mut view = BTreeMap::new();
        let mut put = |name: String, text: String, is_live: bool| {
            view.insert(name, (text, is_live, ""));
        };
        for (key, value) in &self.settings {
            let name = match key.section {
                TOP => key.name.to_owned(),
                table => format!("{}.{}", bare(table), key.name),
            };
            put(name, value.clone(), key.reload == Reload::Live);
        }
        for one in self.neighbours_of(name) {
            let plain = if one.plain { ", plain" } else { "" };
            put(format!("neighbour {}", one.name), format!("{}{plain}", one.peer), true);
        }
        let ports = [
            ("client", &server.client, server.client_listen),
            ("peer", &server.peer, server.peer_listen),
        ];
        for (key, found_at, bound) in ports {
            // Where others find a port concerns only them.
            let end = if *found_at == DialAddr::Ip(bound) { "" } else { "_listen" };
            view.insert(format!("server.{name}.{key}"), (bound.to_string(), false, end));
        }
        for (key, bound) in [("http", server.http), ("client_tls", server.client_tls)] {
            let bound = bound.map(|bound| (bound.to_string(), false, ""));
            view.extend(bound.map(|bound| (format!("server.{name}.{key}"), bound)));
        }
        Some(ServerView(view))
    }
}

impl ServerView {
    /// Adopts those of `changes` that a running server can adopt.
    pub fn adopt(&mut self, changes: &[Change]) {
        for Change { name, new, .. } in changes.iter().filter(|change| change.is_live) {
            self.0.remove(name);
            self.0.extend(new.clone().map(|text| (name.clone(), (text, true, ""))));
        }
    }
}

/// What differs between `old`, the view in force, and `new`, of the same server. While a change that switches a table
/// on or off waits for a restart, the keys of this table do not count.
pub fn diff(old: &ServerView, new: &ServerView) -> Vec<Change> {
    let names: BTreeSet<&String> = old.0.keys().chain(new.0.keys()).collect();
    let difference = |name: &String| {
        let [was, is] = [old, new].map(|view| view.0.get(name));
        let table = name.split(['.', ' ']).next().filter(|table| table != name);
        let [before, now] = [old, new].map(|view| view.0.get(table?));
        let text = |value: Option<&ViewedValue>| Some(value?.0.clone());
        let &(_, mut is_live, end) = is.or(was)?;
        // Without the bus there is nothing that a reply could wait for.
        let waits_for_bus = name == "ack" && is.is_some_and(|(ack, ..)| ack == "bus");
        is_live &= !waits_for_bus || old.0.get("bus") == new.0.get("bus");
        let change =
            Change { name: format!("{name}{end}"), old: text(was), new: text(is), is_live };
        (change.old != change.new && before == now).then_some(change)
    };
    names.into_iter().filter_map(difference).collect()
}

//! What a new topology changes for one server.
//!
//! In: two [`ServerView`]s of it, that in force and that of the new file. Out: a list of [`Change`]s, each with the key,
//! both values, and whether a running server can adopt it. It opens no file and changes nothing.
//!
//! The idea: the values are compared as text, key by key, in the order of [`KEYS`], so no key can be forgotten. Only the
//! servers are compared by hand: a server needs to know itself and its neighbours, and not the rest of the herd.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::Topology;
use super::diagnostic::{Diagnostics, TopologyErrors, quoted};
use super::keys::{KEYS, Key, Reload, TOP, ValueType};
use super::servers::Server;
use super::toml_section::Section;

/// The value of a key as it applies, default included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key's row.
    pub key: &'static Key,
    /// The value as text; `None` if the file does not set the key and it has no default.
    pub value: Option<String>,
}

/// The part of a topology that concerns one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// The value of every key but those of servers, in the order of [`KEYS`].
    pub settings: Vec<Setting>,
    /// The server.
    pub server: Server,
    /// Its neighbours, sorted by name, without their own neighbours: a thousand lists of a thousand names have 50 MB.
    pub neighbours: Vec<Server>,
}

/// One difference between two topologies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, such as `limits.connections` or `server.Alford.client`; or `neighbour Parker`.
    pub key: String,
    /// The value in force. `None`: the key has no value, or the server is no neighbour.
    pub old: Option<String>,
    /// The new value.
    pub new: Option<String>,
    /// Whether a running server adopts it.
    pub live: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{} {old} -> {new}", self.key),
            (None, Some(new)) => write!(f, "{} added: {new}", self.key),
            _ => write!(f, "{} removed", self.key),
        }
    }
}

/// The keys of files that may change while the topology does not. Their values have the time of the last change.
const FILE_KEYS: [&str; 3] = ["file", "key_file", "ca_file"];

/// The value of every key but those of servers. `text`: the file, whose errors have been recorded. `folder`: its folder.
pub(super) fn settings(top: &Section<'_>, text: &str, folder: &Path) -> Vec<Setting> {
    let mut known = Diagnostics::new(text);
    let mut settings = Vec::new();
    for keys in KEYS.chunk_by(|one, next| one.section == next.section) {
        let (name, table) = (keys[0].section, &top.section(keys[0].section, &mut known));
        let section = if name == TOP { top } else { table };
        // Whether there is a table matters only if it switches something on.
        let is_value = |key: &&Key| match key.kind {
            ValueType::Table | ValueType::Tables => key.reload == Reload::Restart,
            _ => key.section != "[[server]]",
        };
        for key in keys.iter().filter(is_value) {
            let mut value = section.in_force(key);
            let changed = value.as_ref().filter(|_| FILE_KEYS.contains(&key.name));
            let changed =
                changed.and_then(|file| fs::metadata(folder.join(file)).ok()?.modified().ok());
            if let (Some(text), Some(Ok(since))) =
                (&mut value, changed.map(|it| it.duration_since(UNIX_EPOCH)))
            {
                text.push_str(&format!(", changed {since:?}"));
            }
            settings.push(Setting { key, value });
        }
    }
    settings
}

impl Topology {
    /// The part of this topology, the file at `path`, that concerns the server `name`.
    ///
    /// # Errors
    /// Fails if there is no such server, or if it is plain.
    pub fn view_of(&self, path: &Path, name: &str) -> Result<ServerView, TopologyErrors> {
        let Some(server) = self.server(name).filter(|server| !server.plain) else {
            let what = format!("the topology no longer has the server {}", quoted(name));
            let remedy = "stop this server, or restore its entry";
            return Err(TopologyErrors::of_file(path, "", None, what, remedy));
        };
        let alone = |server: &Server| Server { neighbours: Vec::new(), ..server.clone() };
        Ok(ServerView {
            settings: self.settings.clone(),
            server: server.clone(),
            neighbours: self.neighbours_of(name).into_iter().map(alone).collect(),
        })
    }
}

impl ServerView {
    /// Adopts everything of `new` that a running server can adopt.
    pub fn adopt(&mut self, new: ServerView) {
        for (old, new) in self.settings.iter_mut().zip(new.settings) {
            if new.key.reload == Reload::Live {
                *old = new;
            }
        }
        let (server, new_server) = (&mut self.server, new.server);
        server.neighbours = new_server.neighbours;
        if server.client_listen == new_server.client_listen {
            server.client = new_server.client;
        }
        if server.peer_listen == new_server.peer_listen {
            server.peer = new_server.peer;
        }
        self.neighbours = new.neighbours;
    }

    /// Whether the table of `section` is switched off.
    fn is_off(&self, section: &str) -> bool {
        let name = section.trim_matches(['[', ']']);
        let mut switches = self.settings.iter().filter(|it| it.key.section == TOP);
        switches.any(|it| it.key.name == name && it.value.as_deref() == Some("off"))
    }
}

/// What differs between `old`, the view in force, and `new`, of the same server.
pub fn diff(old: &ServerView, new: &ServerView) -> Vec<Change> {
    let mut changes = Vec::new();
    for (old_one, new_one) in old.settings.iter().zip(&new.settings) {
        let key = new_one.key;
        if old_one == new_one || [old, new].iter().any(|view| view.is_off(key.section)) {
            continue;
        }
        let table = key.section.trim_matches(['[', ']']);
        changes.push(Change {
            key: if key.section == TOP {
                key.name.to_owned()
            } else {
                format!("{table}.{}", key.name)
            },
            old: old_one.value.clone(),
            new: new_one.value.clone(),
            live: key.reload == Reload::Live,
        });
    }
    let (was, is) = (&old.server, &new.server);
    let ports = |of: &Server| {
        [
            ("client", of.client.to_string(), of.client_listen),
            ("peer", of.peer.to_string(), of.peer_listen),
        ]
    };
    for ((key, old_at, old), (_, new_at, new)) in ports(was).into_iter().zip(ports(is)) {
        if (&old_at, old) == (&new_at, new) {
            continue;
        }
        let (key, was_at, is_at) = match old_at == new_at {
            true => (format!("{key}_listen"), old.to_string(), new.to_string()),
            false => (key.to_owned(), old_at, new_at),
        };
        // Where others find a port does not concern the server itself. What it has bound stays.
        let (key, live) = (format!("server.{}.{key}", is.name), old == new);
        changes.push(Change { key, old: Some(was_at), new: Some(is_at), live });
    }
    // What a neighbour is to this server: its peer port, and whether it is plain.
    let shown = |one: &Server| format!("{}{}", one.peer, if one.plain { ", plain" } else { "" });
    let mut neighbours = BTreeMap::<&str, [Option<String>; 2]>::new();
    for (at, view) in [old, new].into_iter().enumerate() {
        for one in &view.neighbours {
            neighbours.entry(&one.name).or_default()[at] = Some(shown(one));
        }
    }
    for (name, [old, new]) in neighbours.into_iter().filter(|(_, [old, new])| old != new) {
        changes.push(Change { key: format!("neighbour {name}"), old, new, live: true });
    }
    changes
}

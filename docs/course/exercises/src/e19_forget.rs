//! Exercise 19 (chapter 11, 2 points): a table on three servers, in which a name can be forgotten.
//!
//! Each server has the whole table, and answers from it. A client tells one server a change: a new value for a name,
//! or that the name is to be forgotten. The servers pass changes on; links lose, repeat and reorder them. A server
//! that was cut off gets all `changes` of another one later. Each change has a stamp, the time in seconds; the
//! newest one is right.
//!
//! This server forgets a name by removing it. Then an older value, which arrives late or which a server that was cut
//! off still has, brings it back.
//!
//! The promises:
//!
//! * Servers that have got the same changes, in any order, hold the same table.
//! * Of two changes of a name, the one with the higher stamp is right; with equal stamps a FORGET is, and otherwise
//!   the greater value.
//! * `apply` returns whether the change was news.
//! * `compact` frees the memory of everything that was forgotten more than `KEEP` seconds ago; no link is down for
//!   so long.

use std::collections::BTreeMap;

/// How long a server must know that a name was forgotten, in seconds.
pub const KEEP: u64 = 1_000;

/// A change of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    /// When the change was made, in seconds.
    pub stamp: u64,
    /// The new value; `None` if the name is to be forgotten.
    pub value: Option<String>,
}

/// One server's table.
#[derive(Default)]
pub struct Server {
    table: BTreeMap<String, (u64, String)>,
}

impl Server {
    /// Takes a change. Returns whether it was news, so that it is to be passed on.
    pub fn apply(&mut self, change: &Change) -> bool {
        let Change { name, stamp, value } = change;
        if self.table.get(name).is_some_and(|(known, _)| known >= stamp) {
            return false;
        }
        match value {
            Some(value) => drop(self.table.insert(name.clone(), (*stamp, value.clone()))),
            None => drop(self.table.remove(name)),
        }
        true
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.table.get(name).map(|(_, value)| value.as_str())
    }

    /// All that a server which was cut off needs to know.
    pub fn changes(&self) -> Vec<Change> {
        let change = |(name, (stamp, value)): (&String, &(u64, String))| Change {
            name: name.clone(),
            stamp: *stamp,
            value: Some(value.clone()),
        };
        self.table.iter().map(change).collect()
    }

    /// Frees what is not needed any more at the time `now`, in seconds.
    pub fn compact(&mut self, _now: u64) {}
}

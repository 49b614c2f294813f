//! A solution of exercise 19.

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

impl Change {
    /// Of two changes of a name, the one with the greater rank is right.
    fn rank(&self) -> (u64, bool, Option<&str>) {
        (self.stamp, self.value.is_none(), self.value.as_deref())
    }
}

/// One server's table: the latest change of each name. One without a value is a tombstone.
#[derive(Default)]
pub struct Server {
    table: BTreeMap<String, Change>,
}

impl Server {
    /// Takes a change. Returns whether it was news, so that it is to be passed on.
    pub fn apply(&mut self, change: &Change) -> bool {
        let known = self.table.get(&change.name);
        let is_news = known.is_none_or(|known| known.rank() < change.rank());
        if is_news {
            self.table.insert(change.name.clone(), change.clone());
        }
        is_news
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.table.get(name)?.value.as_deref()
    }

    /// All that a server which was cut off needs to know.
    pub fn changes(&self) -> Vec<Change> {
        self.table.values().cloned().collect()
    }

    /// Frees what is not needed any more at the time `now`, in seconds.
    pub fn compact(&mut self, now: u64) {
        self.table.retain(|_, change| change.value.is_some() || change.stamp + KEEP >= now);
    }
}

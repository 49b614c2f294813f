//! A solution of exercise 20.

use std::collections::BTreeMap;

/// The number of buckets.
pub const BUCKETS: usize = 256;

/// What a table knows of a name. Of two entries the one with the higher stamp is right, or else that with the greater value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub stamp: u64,
    pub value: String,
}

/// A message between two tables.
#[derive(Clone, Debug)]
pub enum Message {
    /// The digest of each bucket.
    Digests(Vec<u64>),
    /// Some entries, with their names.
    Entries {
        /// The receiver is to answer with its own entries of these buckets, if they are newer.
        answer: Vec<u8>,
        entries: Vec<(String, Entry)>,
    },
}

impl Message {
    /// The length of the message in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Message::Digests(digests) => 1 + 8 * digests.len(),
            Message::Entries { answer, entries } => {
                let bytes = entries.iter().map(|(name, entry)| name.len() + entry.value.len() + 10);
                2 + answer.len() + bytes.sum::<usize>()
            }
        }
    }
}

/// A hash of some bytes (FNV-1a), with well mixed bits.
pub fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The bucket of a name.
pub fn bucket(name: &str) -> u8 {
    (hash(name.as_bytes()) >> 56) as u8
}

/// One server's table.
#[derive(Clone, Default)]
pub struct Table {
    pub entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Takes an entry if it is newer than the known one.
    pub fn put(&mut self, name: String, entry: Entry) {
        let known = self.entries.entry(name).or_insert_with(|| entry.clone());
        if *known < entry {
            *known = entry;
        }
    }

    /// The digest of each bucket. Names are in order, so equal buckets have equal digests.
    fn digests(&self) -> Vec<u64> {
        let mut digests = vec![0; BUCKETS];
        for (name, Entry { stamp, value }) in &self.entries {
            let digest: &mut u64 = &mut digests[usize::from(bucket(name))];
            *digest = hash(format!("{digest} {stamp} {name} {value}").as_bytes());
        }
        digests
    }

    /// Begins an exchange with another table.
    pub fn begin(&self) -> Message {
        Message::Digests(self.digests())
    }

    /// Takes a message of the other table. Returns the answer, if one is needed.
    pub fn receive(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Digests(theirs) => {
                let ours = self.digests();
                let differs =
                    |bucket: &u8| theirs.get(*bucket as usize) != Some(&ours[*bucket as usize]);
                let answer: Vec<u8> = (0..=255).filter(differs).collect();
                let mut entries = self.entries.clone();
                entries.retain(|name, _| answer.contains(&bucket(name)));
                let entries = entries.into_iter().collect();
                (!answer.is_empty()).then_some(Message::Entries { answer, entries })
            }
            Message::Entries { answer, entries } => {
                let theirs: BTreeMap<String, Entry> = entries.into_iter().collect();
                let mut newer = self.entries.clone();
                newer.retain(|name, entry| {
                    answer.contains(&bucket(name)) && theirs.get(name).is_none_or(|it| it < entry)
                });
                theirs.into_iter().for_each(|(name, entry)| self.put(name, entry));
                let entries: Vec<(String, Entry)> = newer.into_iter().collect();
                (!entries.is_empty()).then_some(Message::Entries { answer: Vec::new(), entries })
            }
        }
    }
}

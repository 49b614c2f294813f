//! What each neighbour has still to be told: one bit for every neighbour and client.
//!
//! In: "this neighbour lacks that client's latest line". Out: the same again, one client at a time,
//! when the neighbour can take it. Neither lines nor connections are known here.
//!
//! The idea: a neighbour is never owed lines, only clients. When its turn comes it gets the line
//! that is the latest *then*, however often the client has moved since. So what is owed is bounded
//! by the number of clients whatever the rate and however long a neighbour is away, and being slow
//! and being gone are one and the same thing: bits that wait.
//!
//! Paying goes round: the search for the next bit starts behind the last one paid, so that a client
//! that is owed again and again cannot keep those behind it waiting.
//!
//! Source: docs/protocol.md "Peer port".

use super::store::ClientKey;

/// For each neighbour the set of clients it is owed.
///
/// Neighbours are numbered from 0; one beyond those it was made for is a bug and panics, as is a
/// client the table does not know.
#[derive(Clone, Debug)]
pub struct Backlogs {
    /// How many keys there are.
    clients: usize,
    neighbours: Vec<DirtySet>,
}

/// What one neighbour is owed.
#[derive(Clone, Debug, Default)]
struct DirtySet {
    /// Bit `k % 64` of word `k / 64` is client `k`; always as many words as clients need.
    words: Vec<u64>,
    /// How many bits are set.
    count: usize,
    /// The client to look at next.
    cursor: usize,
}

impl Backlogs {
    pub(crate) fn new(neighbours: usize) -> Backlogs {
        Backlogs { clients: 0, neighbours: vec![DirtySet::default(); neighbours] }
    }

    /// A client is known; nobody is owed it yet. `key`: one that was forgotten, or the next new one.
    pub(crate) fn admit(&mut self, key: ClientKey) {
        self.clients = self.clients.max(key.index() + 1);
        let words = self.clients.div_ceil(64);
        for debts in &mut self.neighbours {
            debts.words.resize(words, 0);
        }
    }

    /// A client is no longer known: nobody is owed it.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        (0..self.neighbours.len()).for_each(|neighbour| self.settle(neighbour, key));
    }

    /// The neighbour lacks the client's latest line.
    pub fn owe(&mut self, neighbour: usize, key: ClientKey) {
        let debts = &mut self.neighbours[neighbour];
        let (word, bit) = place(key);
        debts.count += usize::from(debts.words[word] & bit == 0);
        debts.words[word] |= bit;
    }

    /// The neighbour may lack every client's line: it has just been met. Takes time for each 64
    /// clients. `unused`: the keys of those that were forgotten.
    pub(crate) fn owe_all(&mut self, neighbour: usize, unused: &[ClientKey]) {
        let debts = &mut self.neighbours[neighbour];
        debts.words.fill(u64::MAX);
        if let Some(last) = debts.words.last_mut() {
            *last >>= (64 - self.clients % 64) % 64;
        }
        debts.count = self.clients;
        unused.iter().for_each(|&key| self.settle(neighbour, key));
    }

    /// Is the neighbour owed this client?
    pub fn owes(&self, neighbour: usize, key: ClientKey) -> bool {
        let (word, bit) = place(key);
        self.neighbours[neighbour].words[word] & bit != 0
    }

    /// The neighbour has the client's latest line: it was the one to tell us.
    pub fn settle(&mut self, neighbour: usize, key: ClientKey) {
        let debts = &mut self.neighbours[neighbour];
        let (word, bit) = place(key);
        debts.count -= usize::from(debts.words[word] & bit != 0);
        debts.words[word] &= !bit;
    }

    /// The next client to tell the neighbour of, which then is no longer owed; `None` when nothing
    /// is.
    ///
    /// Every client owed is served before any is served twice.
    pub fn pay(&mut self, neighbour: usize) -> Option<ClientKey> {
        let debts = &mut self.neighbours[neighbour];
        if debts.count == 0 {
            return None;
        }
        let start = debts.cursor / 64;
        // From the cursor to the end of its word; then the words behind it, round to the beginning
        // and up to that word again, which may have bits before the cursor.
        let ahead = debts.words[start] & (u64::MAX << (debts.cursor % 64));
        let (word, bits) = if ahead != 0 {
            (start, ahead)
        } else {
            let words = debts.words.iter().copied().enumerate();
            let mut round = words.clone().skip(start + 1).chain(words.take(start + 1));
            round.find(|&(_, bits)| bits != 0)?
        };
        let client = word * 64 + bits.trailing_zeros() as usize;
        debts.words[word] &= !(1 << (client % 64));
        debts.count -= 1;
        debts.cursor = if client + 1 < self.clients { client + 1 } else { 0 };
        Some(ClientKey::new(client))
    }

    /// How many clients the neighbour is owed.
    pub fn owed(&self, neighbour: usize) -> usize {
        self.neighbours[neighbour].count
    }

    /// The neighbour is owed nothing more: it is gone, and will be owed everything when it returns.
    pub fn forget(&mut self, neighbour: usize) {
        let debts = &mut self.neighbours[neighbour];
        debts.words.fill(0);
        debts.count = 0;
    }
}

/// A client's word, and its bit therein.
fn place(key: ClientKey) -> (usize, u64) {
    (key.index() / 64, 1 << (key.index() % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(clients: usize) -> Backlogs {
        let mut owed = Backlogs::new(2);
        (0..clients).for_each(|client| owed.admit(ClientKey::new(client)));
        owed
    }

    fn paid(owed: &mut Backlogs) -> Vec<usize> {
        std::iter::from_fn(|| owed.pay(0)).map(ClientKey::index).collect()
    }

    #[test]
    fn everything_owed_is_exactly_the_clients_there_are() {
        for clients in [0, 1, 63, 64, 65, 128, 1000] {
            let mut owed = owed(clients);
            owed.owe_all(0, &[]);
            assert_eq!((owed.owed(0), owed.owed(1)), (clients, 0));
            assert_eq!(paid(&mut owed), (0..clients).collect::<Vec<_>>());
            assert_eq!(owed.owed(0), 0);
        }
    }

    #[test]
    fn a_debt_is_counted_once() {
        let mut owed = owed(100);
        for _ in 0..3 {
            owed.owe(0, ClientKey::new(70));
        }
        assert!(owed.owes(0, ClientKey::new(70)) && !owed.owes(0, ClientKey::new(71)));
        assert_eq!(owed.owed(0), 1);
        owed.settle(0, ClientKey::new(70));
        owed.settle(0, ClientKey::new(70));
        assert_eq!((owed.owed(0), owed.pay(0)), (0, None));
    }

    #[test]
    fn a_client_owed_again_and_again_keeps_nobody_waiting() {
        let mut owed = owed(200);
        owed.owe(0, ClientKey::new(130));
        owed.owe(0, ClientKey::new(5));
        let mut paid = Vec::new();
        for _ in 0..3 {
            owed.owe(0, ClientKey::new(4));
            paid.extend(owed.pay(0).map(ClientKey::index));
        }
        assert_eq!(paid, [4, 5, 130]);
    }

    #[test]
    fn paying_goes_round_within_one_word_too() {
        let mut owed = owed(64);
        owed.owe(0, ClientKey::new(63));
        assert_eq!(paid(&mut owed), [63]);
        owed.owe(0, ClientKey::new(40));
        assert_eq!(paid(&mut owed), [40]);
        owed.owe(0, ClientKey::new(39));
        assert_eq!(paid(&mut owed), [39]);
    }

    #[test]
    fn who_is_forgotten_is_owed_nothing() {
        let mut owed = owed(100);
        owed.owe_all(0, &[]);
        owed.owe_all(1, &[]);
        owed.forget(0);
        assert_eq!((owed.owed(0), owed.pay(0), owed.owed(1)), (0, None, 100));
    }

    #[test]
    fn a_client_that_is_forgotten_is_owed_to_nobody() {
        let mut owed = owed(100);
        let gone = ClientKey::new(70);
        owed.owe(0, gone);
        owed.owe_all(1, &[]);
        owed.forget_client(gone);
        assert_eq!((owed.owed(0), owed.pay(0), owed.owed(1)), (0, None, 99));
        owed.owe_all(0, &[gone]);
        assert_eq!(owed.owed(0), 99);
        assert!(!paid(&mut owed).contains(&70));
        owed.admit(gone);
        assert!(!owed.owes(0, gone));
        owed.owe_all(0, &[]);
        assert_eq!(owed.owed(0), 100);
    }
}

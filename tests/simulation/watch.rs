//! What is looked at after every turn of every member: that nothing grows beyond its limit. Beside
//! it, what a run has met.

use super::sabotage::Saboteur;
use super::world::Meddler;
use places_herd::herd::member::Member;
use places_herd::reactor::Reactor;
use places_herd::testing::{Frame, MemoryIo};
use std::sync::mpsc::Sender;

/// Something that was seen. Each kind is told once a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A neighbour was owed something when a turn ended.
    Owed,
    /// A connection had more pending than its mark, and was held up for that.
    Full,
    /// More is kept than may be.
    TooMuch(String),
}

/// Watches, and lets the saboteur do his work, if there is one.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) mark: usize,
    /// What may wait at most on a link, and on a client's connection.
    pub(crate) most: [usize; 2],
    pub(crate) seen: Sender<Seen>,
    pub(crate) told: [bool; 3],
    pub(crate) saboteur: Option<Saboteur>,
}

impl Watch {
    fn tell(&mut self, which: usize, what: Seen) {
        if !std::mem::replace(&mut self.told[which], true) {
            // Who listens may have heard enough.
            let _ = self.seen.send(what);
        }
    }
}

impl Meddler for Watch {
    fn turned(&mut self, server: usize, reactor: &mut Reactor<MemoryIo, Member>) {
        let conns = reactor.io().connections();
        let (member, core) = reactor.parts();
        for conn in conns {
            let pending = core.pending(conn);
            if pending >= self.mark {
                self.tell(0, Seen::Full);
            }
            let is_link = member.links.iter().any(|(_, link)| link.conn == Some(conn));
            let most = self.most[usize::from(!is_link)];
            if pending > most {
                self.tell(
                    2,
                    Seen::TooMuch(format!("{pending} bytes pending of {most} on {conn:?}")),
                );
            }
        }
        let clients = member.herd.len();
        let owed =
            (0..member.links.len()).map(|link| member.herd.owed.owed(link)).max().unwrap_or(0);
        if owed > 0 {
            self.tell(1, Seen::Owed);
        }
        let questions = member.inquiries.len();
        let limits = &member.limits;
        if owed > clients || questions > limits.whatsats_in_flight + limits.whatsat_queue {
            let much = format!("{owed} owed of {clients} clients, {questions} questions");
            self.tell(2, Seen::TooMuch(much));
        }
        if let Some(saboteur) = &mut self.saboteur {
            saboteur.turned(server, reactor);
        }
    }

    fn sent(&mut self, frame: Frame, ends: [Option<&mut Member>; 2], on: &mut Vec<Frame>) {
        match &mut self.saboteur {
            Some(saboteur) => saboteur.sent(frame, ends, on),
            None => on.push(frame),
        }
    }
}

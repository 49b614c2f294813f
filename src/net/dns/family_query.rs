//! The query for one address family of a lookup, which asks one server after another until one replies.
//!
//! ```text
//!   try_next ──▶ server 1 ───────────── no reply ──────────── late reply, but the first: ended
//!                   └─ wait is over ──▶ server 2 ── SERVFAIL
//!                                                      └─ at once ─▶ server 1 again ── cancelled
//! ```
//!
//! Each try is a query of its own, with its own id and socket. A server that is slower than the wait is not given
//! up: its query stays open beside the next one. The first reply ends the family and cancels the other queries. So
//! a short wait costs a datagram, not an answer.
//!
//! The number of tries is limited, so a family always ends; the lookup around it has a deadline of its own.

use super::DnsError;
use super::action::{Outbox, QueryId, Via};
use super::config::Config;
use super::message::{AddressSet, DnsReply, Family, Question};
use super::name::HostName;
use herd_reactor::{Moment, SplitMix64};
use std::net::SocketAddr;

/// The question for one family, and its progress.
#[derive(Debug)]
pub(super) struct FamilyQuery {
    name: HostName,
    family: Family,
    chance: SplitMix64,
    /// The server that has replied for this lookup before; it is asked first.
    first: Option<SocketAddr>,
    /// Number of tries begun.
    tried: usize,
    /// The time when the wait of the latest try is over.
    next_try: Moment,
    /// Queries that may still be answered, the latest last.
    open: Vec<Open>,
    end: Option<Result<AddressSet, DnsError>>,
}

/// A query that may still be answered.
#[derive(Debug)]
struct Open {
    query: QueryId,
    server: SocketAddr,
    via: Via,
    question: Question,
}

/// What a step may change.
#[derive(Debug)]
pub(super) struct QueryStep<'a> {
    pub(super) config: &'a Config,
    pub(super) out: &'a mut Outbox,
    pub(super) now: Moment,
}

impl FamilyQuery {
    /// A query that has not asked a server yet. `random` seeds the ids.
    pub(super) fn new(name: &HostName, family: Family, random: u64) -> FamilyQuery {
        FamilyQuery {
            name: name.clone(),
            family,
            chance: SplitMix64::new(random),
            first: None,
            tried: 0,
            next_try: Moment::default(),
            open: Vec::new(),
            end: None,
        }
    }

    /// The result, once it has ended.
    pub(super) fn end(&self) -> Option<&Result<AddressSet, DnsError>> {
        self.end.as_ref()
    }

    /// The result; a timeout if it has not ended.
    pub(super) fn into_end(self) -> Result<AddressSet, DnsError> {
        self.end.unwrap_or(Err(DnsError::TimedOut))
    }

    /// The time at which to call [`timeout`](FamilyQuery::timeout).
    pub(super) fn next_timeout(&self) -> Option<Moment> {
        self.end.is_none().then_some(self.next_try)
    }

    /// Starts again for another name, after the query for this one has ended.
    pub(super) fn ask_for(&mut self, cx: &mut QueryStep<'_>, name: &HostName) {
        self.name = name.clone();
        (self.tried, self.end) = (0, None);
        self.try_next(cx);
    }

    /// Sends the question to the next server in turn.
    pub(super) fn try_next(&mut self, cx: &mut QueryStep<'_>) {
        let server = cx.config.server(self.first, self.tried);
        self.tried += 1;
        self.next_try = cx.now + cx.config.wait();
        let open = self.ask(cx.out, server, cx.config.via);
        self.open.push(open);
    }

    /// Handles a message that was received for `query`, if that is one of its open queries.
    pub(super) fn answer(&mut self, cx: &mut QueryStep<'_>, query: QueryId, answer: &[u8]) {
        let Some(position) = self.position(query) else { return };
        let Open { server, via, ref question, .. } = self.open[position];
        let end = match question.read(answer, via) {
            None => return,
            Some(DnsReply::Addresses(addresses)) => Ok(addresses),
            Some(DnsReply::NoAddresses) => Err(DnsError::NoAddresses),
            Some(DnsReply::NoSuchName) => Err(DnsError::NoSuchName),
            Some(DnsReply::Truncated) => {
                cx.out.cancel(query);
                self.open[position] = self.ask(cx.out, server, Via::Tcp);
                if position + 1 == self.open.len() {
                    self.next_try = cx.now + cx.config.wait();
                }
                return;
            }
            Some(DnsReply::Failed) => {
                cx.out.cancel(query);
                return self.failed(cx, query, DnsError::ServerFailed);
            }
        };
        self.first = Some(server);
        self.finish(cx.out, end);
    }

    /// Handles the failure of one of its queries: its socket is closed, or will be. Asks the next server at once,
    /// unless that was done already.
    pub(super) fn failed(&mut self, cx: &mut QueryStep<'_>, query: QueryId, why: DnsError) {
        let Some(position) = self.position(query) else { return };
        self.open.remove(position);
        let was_latest = position == self.open.len();
        if was_latest && self.tried < cx.config.tries() {
            self.try_next(cx);
        } else if self.open.is_empty() {
            self.finish(cx.out, Err(why));
        }
    }

    /// Continues if the wait of the latest try is over.
    pub(super) fn timeout(&mut self, cx: &mut QueryStep<'_>) {
        if self.end.is_some() || cx.now < self.next_try {
            return;
        }
        match self.tried < cx.config.tries() {
            true => self.try_next(cx),
            false => self.finish(cx.out, Err(DnsError::TimedOut)),
        }
    }

    /// Cancels all open queries.
    pub(super) fn stop(&mut self, out: &mut Outbox) {
        self.open.drain(..).for_each(|open| out.cancel(open.query));
    }

    fn finish(&mut self, out: &mut Outbox, end: Result<AddressSet, DnsError>) {
        self.stop(out);
        self.end = Some(end);
    }

    fn ask(&mut self, out: &mut Outbox, server: SocketAddr, via: Via) -> Open {
        let question = Question::new(&self.name, self.family, self.chance.next_u64() as u16);
        let query = out.send(server, via, question.bytes());
        Open { query, server, via, question }
    }

    /// The index of `query` among the open queries.
    pub(super) fn position(&self, query: QueryId) -> Option<usize> {
        self.open.iter().position(|open| open.query == query)
    }
}

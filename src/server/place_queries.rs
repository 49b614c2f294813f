//! The WHATSATs that wait for their places.
//!
//! A source may answer at once, as the embedded one does, or use the network first. The connection that asked
//! sees no difference: the answer arrives as a message, [`Answered`], in a later turn.
//!
//! ```text
//!   ask ──▶ ≤ in_flight at the source ──▶ answered ──▶ Message to the connection
//!      └──▶ ≤ queue waiting for it ──┘        ▲
//!      └──▶ refused: OVER_QUERY_LIMIT         └── or the deadline: UNKNOWN_ERROR
//!
//!   source ─▶ Flight ─▶ next_wanted ─▶ (the pool fetches) ─▶ fetched ─▶ source.read ─▶ all connections that asked
//!            equal questions share one                            └─▶ one retry, if that may help
//! ```
//!
//! Each question is answered exactly once, or forgotten because the connection that asked is gone. The
//! deadline runs from the question, and includes the time in the queue and a second attempt.
//!
//! This file makes no connection and knows only the connections that ask: it hands out what must be fetched, and
//! receives the outcome. An answer is kept only for the questions that wait for it, unless its source allows
//! caching (Google's does not).

use super::network::{self, Network};
use crate::config::PlacesSettings;
use crate::fetch::pool::{FetchError, FetchId, FetchPhase};
use crate::http::Response;
use crate::places::{
    Answer, Fetch, Progress, Query, Retry, SearchFailure, SearchStatus, Source, Ticket,
};
use crate::wire::command::Radius;
use crate::wire::location::Location;
use herd_reactor::{ConnId, Core, Histogram, Moment, Shared, TimerId};
use log::Level;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The minimum pause before a second attempt, if the upstream names none. A random part of up to three times as much
/// is added.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A second attempt is made only if at least this much time is left between that pause and the deadline.
const RETRY_NEEDS: Duration = Duration::from_millis(1_500);

/// Maximum cached answers. Only answers that their source allows to cache are cached.
const KEPT_MAX: usize = 1_024;

/// An answer that several questions may share, each with a bound of its own.
pub type SharedAnswer = Arc<Answer>;

/// A state of the reactor that holds [`PlaceQueries`], so that their deadlines can reach them.
pub trait AsksPlaces: Shared<Message: From<Answered>> {
    /// The questions.
    fn place_queries(&mut self) -> &mut PlaceQueries;
}

/// The answer to the question with this ticket, posted to the connection that asked.
#[derive(Clone, Debug)]
pub struct Answered(pub Ticket, pub SharedAnswer);

/// Limits on questions to the source of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceQueryLimits {
    /// Maximum concurrent questions to the source. Key: `places.in_flight`.
    pub in_flight: usize,
    /// Maximum questions that wait for the source; more are refused. Key: `places.queue`.
    pub queue: usize,
    /// Maximum time from a question to its answer. Key: `places.deadline_ms`.
    pub deadline: Duration,
}

impl PlaceQueryLimits {
    /// The limits in `settings`.
    pub fn of(settings: &PlacesSettings) -> PlaceQueryLimits {
        let &PlacesSettings { in_flight, queue, deadline, .. } = settings;
        PlaceQueryLimits { in_flight, queue, deadline }
    }
}

/// A source of places, with all that it needs.
#[derive(Debug)]
pub struct PlacesInUse {
    /// The source.
    pub source: Box<dyn Source>,
    /// The source that answers when the first one fails.
    pub fallback: Option<Box<dyn Source>>,
    /// The resolver and the connection pool, if the source uses the network.
    pub network: Option<Network>,
}

/// The questions of one server that are not answered yet, and the source that answers them.
#[derive(Debug)]
pub struct PlaceQueries {
    source: Box<dyn Source>,
    /// The source that replaces this one when all questions that were put to it are answered, at the latest after their
    /// deadline. Meanwhile further questions wait.
    pub(super) next: Option<Box<PlacesInUse>>,
    /// The source that answers at once when `source` fails.
    pub fallback: Option<Box<dyn Source>>,
    pub(super) limits: PlaceQueryLimits,
    open: BTreeMap<Ticket, PlaceQuery>,
    /// The questions in `open` that were not put to the source yet, in the order of their tickets.
    queue: BTreeMap<Ticket, Query>,
    /// The fetches that questions wait for. Equal questions have the same key.
    flights: BTreeMap<Vec<u8>, Flight>,
    /// Flights whose fetch must be started.
    wanted: Vec<Vec<u8>>,
    /// Fetches to cancel, because no question waits for them any more.
    unwanted: Vec<FetchId>,
    /// Cached answers, each with the time at which it expires.
    kept: BTreeMap<Vec<u8>, (Moment, SharedAnswer)>,
    last_ticket: u64,
    /// The time from each question to its answer by the loop's clock: 0 for an answer within the same turn.
    pub durations: Histogram,
    /// The number of answers by source and status.
    pub answers: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
}

/// The question for the places around a location.
pub fn query_near(location: Location<'_>, radius: Radius<'_>) -> Query {
    let (latitude, longitude) = location.degrees();
    Query {
        latitude,
        longitude,
        latitude_text: location.latitude().to_vec(),
        longitude_text: location.longitude().to_vec(),
        radius_m: radius.metres(),
        radius_text: radius.text.to_vec(),
    }
}

/// The connection that asked, and when.
type Asker = (ConnId, Moment);

#[derive(Debug)]
struct PlaceQuery {
    asker: Asker,
    deadline: TimerId,
}

/// One fetch, for all equal questions.
#[derive(Debug)]
struct Flight {
    fetch: Fetch,
    query: Query,
    tickets: Vec<Ticket>,
    /// The fetch that is under way.
    id: Option<FetchId>,
    /// The deadline of the first of the questions.
    until: Moment,
    is_second: bool,
}

impl PlaceQueries {
    /// Creates an empty set of questions to `source`.
    pub fn new(source: Box<dyn Source>, limits: PlaceQueryLimits) -> PlaceQueries {
        PlaceQueries {
            source,
            next: None,
            fallback: None,
            limits,
            open: BTreeMap::new(),
            queue: BTreeMap::new(),
            flights: BTreeMap::new(),
            wanted: Vec::new(),
            unwanted: Vec::new(),
            kept: BTreeMap::new(),
            last_ticket: 0,
            durations: Histogram::default(),
            answers: BTreeMap::new(),
        }
    }

    /// Begins to use the next source, if there is one and no question waits for the present one. Returns the next
    /// source's network; the caller then calls [`ask_next`](PlaceQueries::ask_next).
    pub(super) fn take_next(&mut self) -> Option<Option<Network>> {
        self.next.as_ref().filter(|_| self.in_flight() == 0)?;
        let PlacesInUse { source, fallback, network } = *self.next.take()?;
        (self.source, self.fallback) = (source, fallback);
        self.kept.clear();
        Some(network)
    }

    /// How many questions wait for their answers.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// Counts and posts an answer of the source with the name `source`.
    fn post<S: AsksPlaces>(
        &mut self,
        core: &mut Core<S>,
        (asker, asked): Asker,
        source: &'static str,
        answered: Answered,
    ) {
        *self.answers.entry(source).or_default().entry(answered.1.status(1)).or_default() += 1;
        self.durations.add(core.now() - asked);
        core.post(asker, answered.into());
    }

    /// How many have been put to the source.
    fn in_flight(&self) -> usize {
        debug_assert!(self.is_sound());
        self.open.len() - self.queue.len()
    }

    /// Whether another question may be put to the source.
    fn has_room(&self) -> bool {
        self.next.is_none() && self.in_flight() < self.limits.in_flight
    }

    /// Whether each ticket in the queue or in a flight is open, and occurs only once.
    fn is_sound(&self) -> bool {
        let mut seen = BTreeSet::new();
        let flying = self.flights.values().flat_map(|flight| &flight.tickets);
        let mut tickets = self.queue.keys().chain(flying);
        tickets.all(|ticket| self.open.contains_key(ticket) && seen.insert(ticket))
    }

    /// Asks for the places near a point. The answer is posted to the connection `asker` in a later turn, exactly once.
    /// A question beyond the limits is answered with OVER_QUERY_LIMIT.
    pub fn ask<S: AsksPlaces>(
        &mut self,
        core: &mut Core<S>,
        asker: ConnId,
        query: Query,
    ) -> Ticket {
        self.last_ticket += 1;
        let (ticket, asker) = (Ticket(self.last_ticket), (asker, core.now()));
        let source = self.source.name();
        if self.has_room() {
            match self.put(core.now(), ticket, &query) {
                Some(answer) => self.post(core, asker, source, Answered(ticket, answer)),
                None => self.open(core, ticket, asker),
            }
        } else if self.queue.len() < self.limits.queue {
            self.open(core, ticket, asker);
            self.queue.insert(ticket, query);
        } else {
            let max = self.limits.queue;
            let value = format_args!("{max}: {source}");
            core.limit_hit("places.queue", value, 1, "questions refused");
            let failure = SearchFailure {
                status: SearchStatus::OverQueryLimit,
                message: "Query limit reached; retry later.".to_owned(),
            };
            let answer = Arc::new(Answer::Failed(failure));
            self.post(core, asker, source, Answered(ticket, answer));
        }
        ticket
    }

    /// Puts a question to the source. Returns `None` if the answer comes later.
    fn put(&mut self, now: Moment, ticket: Ticket, query: &Query) -> Option<SharedAnswer> {
        let fetch = match self.source.nearby(ticket, query) {
            Progress::Answered(answer) => return Some(Arc::new(answer)),
            Progress::Waiting => return None,
            Progress::Fetch(fetch) => fetch,
        };
        match self.kept.get(&fetch.flight) {
            Some((until, answer)) if *until > now => return Some(answer.clone()),
            _ => {}
        }
        match self.flights.get_mut(&fetch.flight) {
            Some(flight) => flight.tickets.push(ticket),
            None => {
                let key = fetch.flight.clone();
                let until = now + self.limits.deadline;
                let (query, tickets) = (query.clone(), vec![ticket]);
                let flight = Flight { fetch, query, tickets, id: None, until, is_second: false };
                self.flights.insert(key.clone(), flight);
                self.wanted.push(key);
            }
        }
        None
    }

    fn open<S: AsksPlaces>(&mut self, core: &mut Core<S>, ticket: Ticket, asker: Asker) {
        let deadline = core.call_later(self.limits.deadline, move |state: &mut S, core| {
            state.place_queries().expire(core, ticket);
        });
        self.open.insert(ticket, PlaceQuery { asker, deadline });
    }

    /// Takes the next fetch to start, with its key. The caller takes all of them once a turn, and reports each with
    /// [`begun`](PlaceQueries::begun) or [`failed`](PlaceQueries::failed).
    pub fn next_wanted(&mut self) -> Option<(Vec<u8>, Fetch)> {
        loop {
            let key = self.wanted.pop()?;
            // The questions that wanted it may be gone meanwhile, and others may have put the same key into the list
            // again.
            if let Some(flight) = self.flights.get(&key).filter(|flight| flight.id.is_none()) {
                return Some((key, flight.fetch.clone()));
            }
        }
    }

    /// Takes the next fetch to cancel: no question waits for it any more.
    pub fn next_unwanted(&mut self) -> Option<FetchId> {
        self.unwanted.pop()
    }

    /// The caller has started the fetch of `key`, as `id`.
    pub fn begun(&mut self, key: &[u8], id: FetchId) {
        if let Some(flight) = self.flights.get_mut(key) {
            flight.id = Some(id);
        }
    }

    /// The caller cannot start the fetch of `key`. Its questions are answered with a failure.
    pub fn failed<S: AsksPlaces>(&mut self, core: &mut Core<S>, key: &[u8], why: &str) {
        log::error!("{}: {why}", self.source.name());
        self.settle(core, key, Answer::Failed(SearchFailure::misunderstood()));
    }

    /// The fetch `id` has ended with `outcome`: retries it, or answers its questions.
    pub fn fetched<S: AsksPlaces>(
        &mut self,
        core: &mut Core<S>,
        id: FetchId,
        outcome: Result<Response, FetchError>,
    ) {
        let mut flights = self.flights.iter_mut();
        let Some((key, flight)) = flights.find(|(_, flight)| flight.id == Some(id)) else { return };
        let key = key.clone();
        flight.id = None;
        let (answer, retry) = match outcome {
            Ok(response) => {
                let parsed = self.source.read(&flight.query, network::reply(&response));
                if !parsed.log.is_empty() {
                    // A request that the upstream calls invalid is our mistake.
                    let ours = parsed.answer.status(1) == SearchStatus::InvalidRequest.as_str();
                    let level = if ours { log::Level::Error } else { log::Level::Warn };
                    log::log!(level, "{}: {}", self.source.name(), parsed.log);
                }
                (parsed.answer, parsed.retry)
            }
            Err(why) => {
                let what = format_args!("{}: {why}", self.source.name());
                // The log gets one line a second for each kind of failure.
                let key = ("fetch", crc32fast::hash(why.to_string().as_bytes()));
                core.log_throttled(Level::Warn, key, what, 1, "requests failed in this phase");
                // The request was not sent yet, so a retry cannot ask twice. But a bad certificate will not be good a
                // moment later.
                let again = why.phase <= FetchPhase::Tls && !why.lasting;
                let retry = if again { Retry::Soon } else { Retry::No };
                (Answer::Failed(SearchFailure::unanswered(&why.phase.to_string())), retry)
            }
        };
        if !self.try_again(core, &key, retry) {
            self.settle(core, &key, answer);
        }
    }

    /// Schedules a second attempt after a pause, if that may help and there is time. Returns whether it did.
    fn try_again<S: AsksPlaces>(&mut self, core: &mut Core<S>, key: &[u8], retry: Retry) -> bool {
        let chance = core.random() as f64 / u64::MAX as f64;
        let pause = match retry {
            Retry::No => return false,
            Retry::Soon => RETRY_PAUSE.mul_f64(1.0 + 3.0 * chance),
            Retry::After(pause) => pause,
        };
        let Some(flight) = self.flights.get_mut(key) else { return false };
        let left = flight.until - core.now();
        if flight.is_second || core.is_stopping() || pause.saturating_add(RETRY_NEEDS) > left {
            return false;
        }
        flight.is_second = true;
        let key = key.to_vec();
        core.call_later(pause, move |state: &mut S, _| state.place_queries().wanted.push(key));
        true
    }

    /// Ends the flight `key` and answers all its questions.
    fn settle<S: AsksPlaces>(&mut self, core: &mut Core<S>, key: &[u8], answer: Answer) {
        let Some(flight) = self.flights.remove(key) else { return };
        let (answer, source) = self.or_instead(answer, &flight);
        let answer = Arc::new(answer);
        if let (Some(keep), Answer::Found(_) | Answer::Listed(_)) = (flight.fetch.keep, &*answer) {
            self.keep(core.now(), key, keep, answer.clone());
        }
        for ticket in flight.tickets {
            if let Some(place_query) = self.close(core, ticket) {
                self.post(core, place_query.asker, source, Answered(ticket, answer.clone()));
            }
        }
        self.ask_next(core);
    }

    /// Replaces a failure by the fallback's answer, if there is a fallback and it answers at once. Also returns the name
    /// of the source that has answered.
    fn or_instead(&mut self, answer: Answer, flight: &Flight) -> (Answer, &'static str) {
        let source = self.source.name();
        let (Answer::Failed(_), Some(fallback), [first, ..]) =
            (&answer, &mut self.fallback, flight.tickets.as_slice())
        else {
            return (answer, source);
        };
        match fallback.nearby(*first, &flight.query) {
            Progress::Answered(instead) => (instead.into_fallback(), fallback.name()),
            _ => (answer, source),
        }
    }

    fn keep(&mut self, now: Moment, key: &[u8], keep: Duration, answer: SharedAnswer) {
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, (until, _)| *until > now);
        }
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(key.to_vec(), (now + keep, answer));
        }
    }

    /// The source has answered `ticket`. If its connection is gone, the answer is dropped.
    pub fn answered<S: AsksPlaces>(&mut self, core: &mut Core<S>, ticket: Ticket, answer: Answer) {
        let Some(place_query) = self.close(core, ticket) else { return };
        let source = self.source.name();
        self.post(core, place_query.asker, source, Answered(ticket, Arc::new(answer)));
        self.ask_next(core);
    }

    /// Forgets `ticket`, because the connection that asked is gone.
    pub fn forget<S: AsksPlaces>(&mut self, core: &mut Core<S>, ticket: Ticket) {
        self.close(core, ticket);
        self.ask_next(core);
    }

    fn expire<S: AsksPlaces>(&mut self, core: &mut Core<S>, ticket: Ticket) {
        let deadline_ms = self.limits.deadline.as_millis();
        let value = format_args!("{deadline_ms}: {}", self.source.name());
        core.limit_hit("places.deadline_ms", value, 1, "questions expired");
        let message = "The places provider did not answer in time.".to_owned();
        let failure = SearchFailure { status: SearchStatus::UnknownError, message };
        self.answered(core, ticket, Answer::Failed(failure));
    }

    fn close<S: AsksPlaces>(&mut self, core: &mut Core<S>, ticket: Ticket) -> Option<PlaceQuery> {
        let place_query = self.open.remove(&ticket)?;
        if self.queue.remove(&ticket).is_none() {
            self.leave_flight(ticket);
        }
        // This fails if the deadline has just fired.
        let _ = core.cancel(place_query.deadline);
        Some(place_query)
    }

    /// Removes `ticket` from its flight. A flight without tickets ends.
    fn leave_flight(&mut self, ticket: Ticket) {
        self.flights.retain(|_, flight| {
            flight.tickets.retain(|waiting| *waiting != ticket);
            if flight.tickets.is_empty() {
                self.unwanted.extend(flight.id);
            }
            !flight.tickets.is_empty()
        });
    }

    /// Puts the next questions to the source, now that there is room.
    pub(super) fn ask_next<S: AsksPlaces>(&mut self, core: &mut Core<S>) {
        while self.has_room() {
            let Some((ticket, query)) = self.queue.pop_first() else { return };
            if let Some(answer) = self.put(core.now(), ticket, &query)
                && let Some(place_query) = self.close(core, ticket)
            {
                self.post(core, place_query.asker, self.source.name(), Answered(ticket, answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Photon;
    use herd_reactor::testing::StringTransport;

    #[derive(Debug)]
    struct Asking(PlaceQueries);

    impl Shared for Asking {
        type Message = Answered;
    }

    impl AsksPlaces for Asking {
        fn place_queries(&mut self) -> &mut PlaceQueries {
            &mut self.0
        }
    }

    #[test]
    fn a_question_asked_again_after_the_first_asker_has_left_is_fetched_once() {
        let base = "http://127.0.0.1:2322".parse().expect("a URL");
        let source = Box::new(Photon { base, language: None });
        let limits = PlaceQueryLimits { in_flight: 4, queue: 4, deadline: Duration::from_secs(8) };
        let mut transport = StringTransport::new(Asking(PlaceQueries::new(source, limits)));
        let StringTransport { core, state: Asking(place_queries), id } = &mut transport;
        let query = Query {
            latitude: 34.0,
            longitude: -118.0,
            latitude_text: b"+34".to_vec(),
            longitude_text: b"-118".to_vec(),
            radius_m: 10_000.0,
            radius_text: b"10".to_vec(),
        };
        let first = place_queries.ask(core, *id, query.clone());
        place_queries.forget(core, first);
        place_queries.ask(core, *id, query);
        let (key, _) = place_queries.next_wanted().expect("a question waits for it");
        place_queries.begun(&key, FetchId(1));
        assert!(place_queries.next_wanted().is_none(), "it is being fetched");
    }
}

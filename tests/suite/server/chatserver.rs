//! The promises to clients: one real server on a real reactor, over a network in memory.
//!
//! Places come from a source that answers when the test says so: it hands each question to the test with its
//! ticket, and `Stage::answer` answers it. Wall clocks are stopped, so that the difference in an AT line is
//! known; the monotonic clocks run.
//!
//! The plain conversations between client and server are files in `tests/fixtures/transcripts`, which
//! `tests/suite/server/transcripts.rs` plays.

use crate::support::cluster::{Cluster, Ending, MS, NANO, SECOND, TalkId, topology, weathers};
use herd_reactor::testing::MemoryOptions;
use herd_reactor::{ConnId, Context, Factory, Protocol, Signal, UnixNanos};
use places_herd::places::{Answer, Progress, Query, SearchFailure, SearchStatus, Source, Ticket};
use places_herd::server::chatserver::ChatserverFactory;
use places_herd::server::member::Member;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

const KIWI: &str = "IAMAT kiwi +34.068930-118.445127 1479413884.392014450";
const AT_KIWI: &str = "AT Alford +0.263873386 kiwi +34.068930-118.445127 1479413884.392014450\n";

/// The time on the wall clocks.
const NOON: UnixNanos = UnixNanos(1_479_413_884_655_887_836);

const UNKNOWN_ERROR: &str = r#"{
   "error_message" : "The places provider did not answer in time.",
   "html_attributions" : [],
   "results" : [],
   "status" : "UNKNOWN_ERROR"
}

"#;

/// One question to the source: its ticket, and its radius as a text.
type Question = (Ticket, String);

/// A source that answers no question. It passes each one to the test, as the ticket and the radius in the client's
/// digits.
#[derive(Debug)]
struct Scripted(Sender<Question>);

impl Source for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress {
        let radius = String::from_utf8_lossy(&query.radius_text).into_owned();
        self.0.send((ticket, radius)).expect("the test outlives the cluster");
        Progress::Waiting
    }
}

/// A source that answers every question at once, with as much text as a full answer of Google's.
#[derive(Debug)]
struct Generous;

const GENEROUS_BYTES: usize = 16_000;

impl Source for Generous {
    fn name(&self) -> &'static str {
        "generous"
    }

    fn nearby(&mut self, _ticket: Ticket, query: &Query) -> Progress {
        let radius = String::from_utf8_lossy(&query.radius_text).into_owned();
        Progress::Answered(failure(&format!("{radius} {}", "x".repeat(GENEROUS_BYTES))))
    }
}

/// The server Alford, in its cluster, and the questions to its source.
struct Stage {
    cluster: Cluster,
    questions: Receiver<Question>,
    asked: Vec<Question>,
}

impl Stage {
    /// Starts Alford alone.
    fn new(options: MemoryOptions, limits: &str) -> Stage {
        Stage::among("Alford", options, limits)
    }

    /// Starts Alford, with the other servers of the topology `servers`.
    fn among(servers: &str, options: MemoryOptions, limits: &str) -> Stage {
        let (sender, questions) = channel();
        let mut cluster = Cluster::new(options, &topology(servers, limits));
        cluster.start_with("Alford", Box::new(Scripted(sender)));
        for name in cluster.names().into_iter().filter(|name| name != "Alford") {
            cluster.start(&name);
        }
        cluster.stop_wall_clocks(NOON);
        cluster.settle();
        Stage { cluster, questions, asked: Vec::new() }
    }

    fn client(&mut self) -> TalkId {
        self.cluster.client("Alford")
    }

    /// A client that has reported kiwi.
    fn client_with_kiwi(&mut self) -> TalkId {
        let client = self.client();
        assert_eq!(self.cluster.say(client, KIWI), AT_KIWI);
        client
    }

    /// Sends `text` and runs the cluster until it is quiet, without reading replies.
    fn send(&mut self, client: TalkId, text: &str) {
        self.cluster.send(client, text);
        self.cluster.settle();
    }

    /// How many questions the source was asked so far.
    fn asked(&mut self) -> usize {
        self.asked.extend(self.questions.try_iter());
        self.asked.len()
    }

    /// Has the source answer its `nth` question, from 0.
    fn answer(&mut self, nth: usize) {
        assert!(nth < self.asked(), "the source was not asked that question");
        let (ticket, radius) = self.asked[nth].clone();
        let (member, core) = self.cluster.reactor("Alford").parts();
        member.place_queries.answered(core, ticket, failure(&radius));
        self.cluster.settle();
    }

    /// How many questions wait, at the source or for it.
    fn open(&mut self) -> usize {
        self.cluster.member("Alford").place_queries.waiting()
    }

    /// How often the limit `key` was hit.
    fn hits(&mut self, key: &str) -> u64 {
        self.cluster.reactor("Alford").parts().1.throttled(key)
    }

    fn connections(&mut self) -> usize {
        self.cluster.reactor("Alford").parts().1.connections()
    }

    fn signal(&mut self) {
        self.cluster.reactor("Alford").io().signal(Signal::Terminate);
    }

    fn is_stopped(&mut self) -> bool {
        self.cluster.reactor("Alford").is_stopped()
    }
}

/// A short answer that differs from others by `message`.
fn failure(message: &str) -> Answer {
    Answer::Failed(SearchFailure {
        status: SearchStatus::RequestDenied,
        message: message.to_owned(),
    })
}

/// The whole reply to `WHATSAT kiwi <radius> 1`, once its question is answered.
fn reply(radius: &str) -> String {
    let mut json = Vec::new();
    failure(radius).write(1, &mut json);
    format!("{AT_KIWI}{}\n\n", String::from_utf8(json).expect("JSON is UTF-8"))
}

/// `count` WHATSATs, each with a radius of its own, from `first`.
fn whatsats(first: usize, count: usize) -> String {
    (first..first + count).map(|n| format!("WHATSAT kiwi {} 1\n", radius(n))).collect()
}

/// The replies to [`whatsats`].
fn replies(first: usize, count: usize) -> String {
    (first..first + count).map(|n| reply(&radius(n))).collect()
}

fn radius(n: usize) -> String {
    format!("1.{n:05}")
}

// The order of replies.

#[test]
fn replies_leave_in_the_order_of_requests_past_whatsats_answered_in_reverse() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        stage.send(client, &format!("{}nonsense\n{}{KIWI}\n", whatsats(0, 2), whatsats(2, 2)));
        assert_eq!(stage.asked(), 4);
        for nth in [3, 2, 1] {
            stage.answer(nth);
            assert_eq!(stage.cluster.hear(client), "");
        }
        stage.answer(0);
        let expected = format!("{}? nonsense\n{}{AT_KIWI}", replies(0, 2), replies(2, 2));
        assert_eq!(stage.cluster.hear(client), expected);
    }
}

#[test]
fn a_reply_leaves_as_soon_as_all_before_it_have_left() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "");
    let client = stage.client_with_kiwi();
    stage.send(client, &format!("{}first\n{}second\n", whatsats(0, 1), whatsats(1, 1)));
    stage.answer(0);
    assert_eq!(stage.cluster.hear(client), format!("{}? first\n", replies(0, 1)));
    stage.answer(1);
    assert_eq!(stage.cluster.hear(client), format!("{}? second\n", replies(1, 1)));
    assert_eq!(stage.cluster.say(client, "third"), "? third\n");
}

#[test]
fn replies_behind_each_of_many_questions_leave_with_it_whatever_their_sizes() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        // Few bytes follow the first questions and many the last, and the other way round.
        for sizes in [[0, 1, 3, 30, 300], [300, 30, 3, 1, 0]] {
            let first = stage.asked();
            let behind = |nth: usize| (0..sizes[nth]).map(move |n| format!("{nth} behind {n}\n"));
            let said = |nth| whatsats(first + nth, 1) + &behind(nth).collect::<String>();
            stage.send(client, &(0..sizes.len()).map(said).collect::<String>());
            for nth in 0..sizes.len() {
                stage.answer(first + nth);
                // While a question waits, more replies queue up behind the last.
                stage.send(client, "late\n");
                let refused = behind(nth).map(|line| format!("? {line}")).collect::<String>();
                let late = if nth + 1 == sizes.len() {
                    "? late\n".repeat(sizes.len())
                } else {
                    String::new()
                };
                assert_eq!(stage.cluster.hear(client), replies(first + nth, 1) + &refused + &late);
            }
        }
    }
}

#[test]
fn an_iamat_behind_a_slow_whatsat_is_stored_and_flooded_at_once_though_its_reply_waits() {
    for weather in weathers() {
        let mut stage = Stage::among("Alford Bolden; Bolden", weather, "");
        let client = stage.client_with_kiwi();
        stage.send(client, &format!("{}IAMAT fig +1+1 1479413884\n", whatsats(0, 1)));
        let line = "AT Alford +0.655887836 fig +1+1 1479413884";
        for name in ["Alford", "Bolden"] {
            assert_eq!(stage.cluster.knows(name).get("fig").map(String::as_str), Some(line));
        }
        assert_eq!(stage.cluster.hear(client), "");
        stage.answer(0);
        assert_eq!(stage.cluster.hear(client), format!("{}{line}\n", replies(0, 1)));
    }
}

#[test]
fn a_whatsat_is_answered_for_the_location_at_the_time_of_the_question() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "");
    let client = stage.client_with_kiwi();
    stage.send(client, &format!("{}IAMAT kiwi +1+1 1479413884.5\n", whatsats(0, 1)));
    stage.answer(0);
    let moved = "AT Alford +0.155887836 kiwi +1+1 1479413884.5\n";
    assert_eq!(stage.cluster.hear(client), format!("{}{moved}", replies(0, 1)));
}

// Pausing reads.

#[test]
fn the_seventeenth_whatsat_is_not_read_until_a_reply_has_left_and_lines_behind_it_wait() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        stage.send(client, &format!("{}IAMAT fig +1+1 1479413884\n", whatsats(0, 17)));
        assert_eq!(stage.asked(), 16);
        // The question is answered, but an earlier reply still waits.
        stage.answer(5);
        assert_eq!(stage.asked(), 16);
        stage.answer(0);
        assert_eq!(stage.asked(), 17);
        assert!(!stage.cluster.knows("Alford").contains_key("fig"));
        stage.answer(1);
        assert!(stage.cluster.knows("Alford").contains_key("fig"));
        (2..17).filter(|nth| *nth != 5).for_each(|nth| stage.answer(nth));
        let fig = "AT Alford +0.655887836 fig +1+1 1479413884\n";
        assert_eq!(stage.cluster.hear(client), format!("{}{fig}", replies(0, 17)));
    }
}

#[test]
fn more_than_send_buffer_bytes_of_waiting_replies_hold_up_reading() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "send_buffer_bytes = 4_096");
        let client = stage.client_with_kiwi();
        let reports = (0..200).map(|n| format!("IAMAT c{n:03} +1+1 1479413884\n"));
        let said = reports.collect::<String>();
        stage.send(client, &format!("{}{said}", whatsats(0, 1)));
        let reply = |n: usize| format!("AT Alford +0.655887836 c{n:03} +1+1 1479413884\n");
        // The command whose reply exceeds the limit is the last that is read.
        let read = 4_096 / reply(0).len() + 1;
        assert_eq!(stage.cluster.knows("Alford").len(), 1 + read);
        stage.answer(0);
        assert_eq!(stage.cluster.knows("Alford").len(), 1 + 200);
        let said = (0..200).map(reply).collect::<String>();
        assert_eq!(stage.cluster.hear(client), format!("{}{said}", replies(0, 1)));
    }
}

/// A factory that builds the real protocol and reports the id of its connection.
#[derive(Debug)]
struct Watched(ChatserverFactory, Sender<ConnId>);

impl Factory<Member> for Watched {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Member>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Member>>> {
        self.1.send(cx.id).expect("the test outlives the cluster");
        self.0.build_protocol(cx, peer)
    }
}

#[test]
fn a_client_that_never_reads_costs_bounded_memory_and_gets_everything_in_order_at_last() {
    const COUNT: usize = 150;
    for weather in weathers() {
        let mut cluster = Cluster::new(weather, &topology("Alford", ""));
        cluster.start_with("Alford", Box::new(Generous));
        cluster.stop_wall_clocks(NOON);
        let (ids, id) = channel();
        let watched: SocketAddr = "10.0.0.1:13000".parse().expect("an address");
        let factory = Box::new(Watched(ChatserverFactory, ids));
        cluster.reactor("Alford").listen_tcp(watched, factory).expect("nobody listens there");
        let client = cluster.dial(watched);
        let id = id.try_recv().expect("it was accepted");
        cluster.listen_to(client, false);
        cluster.send(client, format!("{KIWI}\n{}", whatsats(0, COUNT)));
        // The buffer was below the limit when the last reply was written.
        let most = 65_536 + GENEROUS_BYTES + 500;
        let mut highest = 0;
        for _ in 0..500 {
            cluster.run_for(MS / 10);
            highest = highest.max(cluster.reactor("Alford").parts().1.pending(id));
        }
        assert!(highest > 0, "it took everything");
        assert!(highest <= most, "{highest}");
        assert_eq!(cluster.heard(client).len(), 0);

        cluster.listen_to(client, true);
        let mut heard = String::new();
        while cluster.reactor("Alford").parts().1.pending(id) > 0
            || !cluster.heard(client).is_empty()
        {
            heard += &cluster.hear(client);
            cluster.settle();
        }
        let mut expected = AT_KIWI.to_owned();
        for n in 0..COUNT {
            expected += &reply(&format!("{} {}", radius(n), "x".repeat(GENEROUS_BYTES)));
        }
        assert!(heard == expected, "{} bytes for {}", heard.len(), expected.len());
    }
}

// The deadline, and the queue.

#[test]
fn at_the_deadline_googles_error_form_is_sent_and_the_next_question_is_answered() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "[places]\ndeadline_ms = 8_000");
    let client = stage.client_with_kiwi();
    stage.cluster.send(client, whatsats(0, 1));
    stage.cluster.run_for(8 * SECOND - NANO);
    assert_eq!(stage.cluster.hear(client), "");
    stage.cluster.run_for(NANO);
    assert_eq!(stage.cluster.hear(client), format!("{AT_KIWI}{UNKNOWN_ERROR}"));
    // The answer of the source is late now.
    stage.answer(0);
    stage.send(client, &whatsats(1, 1));
    assert_eq!(stage.cluster.hear(client), "");
    stage.answer(1);
    assert_eq!(stage.cluster.hear(client), replies(1, 1));
}

#[test]
fn the_deadline_counts_from_the_question_the_time_in_the_queue_included() {
    let limits = "[places]\ndeadline_ms = 1_000\nin_flight = 1";
    let mut stage = Stage::new(MemoryOptions::calm(1), limits);
    let [first, second] = [stage.client_with_kiwi(), stage.client()];
    stage.cluster.send(first, whatsats(0, 1));
    stage.cluster.run_for(400 * MS);
    stage.cluster.send(second, whatsats(1, 1));
    stage.cluster.run_for(600 * MS);
    // The first question has expired, so the second is put to the source; its deadline runs on.
    assert_eq!(stage.cluster.hear(first), format!("{AT_KIWI}{UNKNOWN_ERROR}"));
    assert_eq!(stage.asked(), 2);
    stage.cluster.run_for(400 * MS - NANO);
    assert_eq!(stage.cluster.hear(second), "");
    stage.cluster.run_for(NANO);
    assert_eq!(stage.cluster.hear(second), format!("{AT_KIWI}{UNKNOWN_ERROR}"));
    assert_eq!(stage.open(), 0);
}

#[test]
fn the_source_is_asked_64_at_once_1024_wait_in_order_and_one_more_is_over_the_limit() {
    const ASKED: usize = 64;
    const WAITING: usize = 1_024;
    for weather in weathers() {
        let mut stage = Stage::new(weather, "[places]\ndeadline_ms = 600_000");
        let clients: Vec<TalkId> = (0..(ASKED + WAITING) / 16).map(|_| stage.client()).collect();
        stage.cluster.say(clients[0], KIWI);
        for (n, client) in clients.iter().enumerate() {
            stage.send(*client, &whatsats(16 * n, 16));
        }
        assert_eq!((stage.asked(), stage.open()), (ASKED, ASKED + WAITING));

        let late = stage.client();
        stage.send(late, &whatsats(20_000, 1));
        let heard = stage.cluster.hear(late);
        assert!(heard.starts_with(AT_KIWI) && heard.ends_with("\"OVER_QUERY_LIMIT\"\n}\n\n"));
        assert!(heard.contains("\"results\" : [],"), "{heard}");
        assert_eq!((stage.asked(), stage.open()), (ASKED, ASKED + WAITING));

        // After each answer the next question in the queue is put to the source.
        for nth in 0..ASKED + WAITING {
            stage.answer(nth ^ 1);
            let asked = (ASKED + nth + 1).min(ASKED + WAITING);
            assert_eq!(stage.asked(), asked);
        }
        let radii = stage.asked.iter().map(|(_, radius)| radius.clone());
        assert!(radii.eq((0..ASKED + WAITING).map(radius)), "not in order");
        for (n, client) in clients.iter().enumerate() {
            assert_eq!(stage.cluster.hear(*client), replies(16 * n, 16));
        }
        assert_eq!(stage.open(), 0);
    }
}

// Clients that leave.

#[test]
fn a_client_that_leaves_is_forgotten_and_frees_its_place() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "[places]\nin_flight = 1");
        let [leaves, stays] = [stage.client_with_kiwi(), stage.client()];
        stage.send(leaves, &whatsats(0, 2));
        stage.send(stays, &whatsats(2, 1));
        assert_eq!((stage.asked(), stage.open()), (1, 3));
        stage.cluster.abort(leaves);
        stage.cluster.settle();
        assert_eq!((stage.asked(), stage.open()), (2, 1));
        stage.answer(1);
        assert_eq!(stage.cluster.hear(stays), replies(2, 1));
        assert_eq!(stage.asked[1].1, radius(2));
    }
}

#[test]
fn nothing_is_kept_of_clients_that_left_while_they_waited_for_the_source() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "[places]\nin_flight = 1");
    let slow = stage.client_with_kiwi();
    stage.send(slow, &whatsats(0, 1));
    let before = format!("{:?}", stage.cluster.member("Alford").place_queries).len();
    for _ in 0..200 {
        let client = stage.client();
        stage.send(client, &whatsats(0, 15));
        assert_eq!(stage.open(), 16);
        stage.cluster.abort(client);
        stage.cluster.settle();
    }
    assert_eq!((stage.asked(), stage.open()), (1, 1));
    let after = format!("{:?}", stage.cluster.member("Alford").place_queries).len();
    assert!(after < before + 100, "{before} bytes of text have become {after}");
}

#[test]
fn a_late_answer_never_reaches_the_next_connection_in_the_slot() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let gone = stage.client_with_kiwi();
        stage.send(gone, &whatsats(0, 1));
        stage.cluster.abort(gone);
        stage.cluster.settle();
        assert_eq!(stage.connections(), 0);

        let next = stage.client();
        stage.send(next, &whatsats(1, 1));
        assert_eq!(stage.asked(), 2);
        stage.answer(0);
        assert_eq!(stage.cluster.hear(next), "");
        stage.answer(1);
        assert_eq!(stage.cluster.hear(next), replies(1, 1));
        stage.answer(1);
        assert_eq!(stage.cluster.hear(next), "");
    }
}

#[test]
fn after_the_clients_half_close_it_gets_all_its_replies_and_then_the_end() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        // The last line has no line end.
        stage.cluster.send(client, format!("{}last words", whatsats(0, 3)));
        stage.cluster.end(client);
        stage.cluster.settle();
        stage.answer(1);
        stage.answer(2);
        assert_eq!((stage.cluster.hear(client).as_str(), stage.cluster.ending(client)), ("", None));
        stage.answer(0);
        let expected = format!("{}? last words\n", replies(0, 3));
        assert_eq!(stage.cluster.hear(client), expected);
        assert_eq!(stage.cluster.ending(client), Some(Ending::Fin));
        assert_eq!(stage.connections(), 0);
    }
}

#[test]
fn a_half_close_behind_more_questions_than_the_limit_is_handled_in_its_turn() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        stage.cluster.send(client, whatsats(0, 50));
        stage.cluster.end(client);
        stage.cluster.settle();
        for nth in 0..50 {
            assert_eq!(stage.cluster.ending(client), None);
            stage.answer(nth);
        }
        assert_eq!(stage.cluster.hear(client), replies(0, 50));
        assert_eq!(stage.cluster.ending(client), Some(Ending::Fin));
        assert_eq!(stage.connections(), 0);
    }
}

// The end of the server.

#[test]
fn sigterm_closes_idle_clients_at_once_and_waits_for_open_questions() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let [asks, idle] = [stage.client_with_kiwi(), stage.client()];
        stage.send(asks, &whatsats(0, 2));
        stage.signal();
        stage.cluster.settle();
        assert_eq!(stage.cluster.ending(idle), Some(Ending::Fin));
        let late = stage.client();
        assert_eq!(stage.cluster.ending(late), Some(Ending::Broken));
        assert_eq!(stage.cluster.ending(asks), None);
        stage.answer(1);
        assert_eq!(stage.cluster.ending(asks), None);
        stage.answer(0);
        assert_eq!(stage.cluster.hear(asks), replies(0, 2));
        assert_eq!(stage.cluster.ending(asks), Some(Ending::Fin));
        assert!(stage.is_stopped());
    }
}

#[test]
fn sigterm_lets_what_was_written_reach_a_client_that_reads_late() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "drain_ms = 60_000");
        let client = stage.client_with_kiwi();
        stage.cluster.listen_to(client, false);
        let reports: String = (0..2_000).map(|_| format!("{KIWI}\n")).collect();
        stage.send(client, &reports);
        stage.signal();
        stage.cluster.settle();
        stage.cluster.listen_to(client, true);
        stage.cluster.run_for(SECOND);
        let heard = stage.cluster.hear(client);
        assert!(heard.len() > 60_000 && heard.len().is_multiple_of(AT_KIWI.len()));
        assert_eq!(heard, AT_KIWI.repeat(heard.len() / AT_KIWI.len()));
        assert!(stage.is_stopped());
    }
}

#[test]
fn a_question_that_is_never_answered_holds_up_the_end_for_drain_ms_at_most() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "drain_ms = 4_000");
    let client = stage.client_with_kiwi();
    stage.send(client, &whatsats(0, 1));
    stage.signal();
    stage.cluster.run_for(4 * SECOND - NANO);
    assert!(!stage.is_stopped() && stage.cluster.ending(client).is_none());
    stage.cluster.run_for(NANO);
    assert!(stage.is_stopped());
    stage.cluster.settle();
    assert!(stage.cluster.ending(client).is_some());
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        stage.send(client, &whatsats(0, 1));
        stage.signal();
        stage.cluster.settle();
        assert!(!stage.is_stopped());
        stage.signal();
        stage.cluster.settle();
        assert!(stage.is_stopped());
        assert!(stage.cluster.ending(client).is_some());
    }
}

// A line too long.

#[test]
fn a_line_too_long_is_refused_in_its_turn_then_the_server_lingers() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "");
        let client = stage.client_with_kiwi();
        let line = "x".repeat(20_000);
        stage.send(client, &format!("{}{line}\nIAMAT fig +1+1 1\n", whatsats(0, 1)));
        assert_eq!(stage.cluster.hear(client), "");
        stage.answer(0);
        let expected = format!("{}? {}\n", replies(0, 1), "x".repeat(1_024));
        assert_eq!(stage.cluster.hear(client), expected);
        assert_eq!(stage.cluster.ending(client), Some(Ending::Fin));
        // Further input is discarded, and the connection ends when the client half-closes.
        assert_eq!(stage.cluster.say(client, "IAMAT fig +1+1 1"), "");
        assert!(!stage.cluster.knows("Alford").contains_key("fig"));
        assert_eq!(stage.connections(), 1);
        stage.cluster.end(client);
        stage.cluster.settle();
        assert_eq!(stage.connections(), 0);
    }
}

#[test]
fn a_client_that_goes_on_after_a_line_too_long_is_heard_for_linger_ms() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "linger_ms = 2_000");
    let client = stage.client();
    stage.cluster.send(client, "x".repeat(16_384 + 2));
    stage.cluster.run_for(SECOND);
    stage.cluster.send(client, "y".repeat(1_000));
    stage.cluster.run_for(SECOND - NANO);
    assert_eq!(stage.connections(), 1);
    stage.cluster.run_for(NANO);
    assert_eq!(stage.connections(), 0);
    assert_eq!(stage.cluster.hear(client), format!("? {}\n", "x".repeat(1_024)));
}

#[test]
fn a_client_that_goes_on_after_a_line_too_long_is_heard_for_linger_bytes() {
    for (sends, connections) in [(50_000, 1), (50_001, 0)] {
        let mut stage = Stage::new(MemoryOptions::calm(1), "linger_bytes = 50_000");
        let client = stage.client();
        stage.send(client, &"x".repeat(16_384 + 2));
        stage.send(client, &"y".repeat(sends));
        assert_eq!(stage.connections(), connections, "after {sends} bytes");
        assert_eq!(stage.cluster.hear(client), format!("? {}\n", "x".repeat(1_024)));
    }
}

#[test]
fn a_line_too_long_is_lingered_over_though_the_server_stops_meanwhile() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "");
    let client = stage.client_with_kiwi();
    stage.send(client, &format!("{}{}", whatsats(0, 1), "x".repeat(20_000)));
    stage.signal();
    stage.cluster.settle();
    stage.answer(0);
    let expected = format!("{}? {}\n", replies(0, 1), "x".repeat(1_024));
    assert_eq!(stage.cluster.hear(client), expected);
    // If the server had closed, the kernel would answer this with a reset, which can overtake the refusal.
    assert_eq!(stage.cluster.say(client, "and so on"), "");
    assert_eq!(stage.connections(), 1);
    stage.cluster.end(client);
    stage.cluster.settle();
    assert!(stage.is_stopped());
}

// Limits that refuse reports.

#[test]
fn above_known_clients_only_new_ones_are_refused_and_only_at_the_client_port() {
    for weather in weathers() {
        let mut stage = Stage::among("Aaron Alford; Alford", weather, "known_clients = 2");
        let client = stage.client_with_kiwi();
        let fig = "AT Alford +0.655887836 fig +1+1 1479413884\n";
        assert_eq!(stage.cluster.say(client, "IAMAT fig +1+1 1479413884"), fig);
        let plum = "IAMAT plum +1+1 1479413884";
        assert_eq!(stage.cluster.say(client, plum), format!("? {plum}\n"));
        let moved = "AT Alford +0.155887836 fig +2+2 1479413884.5\n";
        assert_eq!(stage.cluster.say(client, "IAMAT fig +2+2 1479413884.5"), moved);
        // Aaron's table is full, too, but each server stores the other's reports.
        assert_eq!(stage.cluster.knows("Aaron"), stage.cluster.knows("Alford"));
        stage.cluster.crash("Aaron");
        let aaron = stage.cluster.stranger("Alford");
        stage.cluster.say(aaron, "HELLO Aaron places-herd 1");
        let told = "AT Aaron +0.000000001 plum +1+1 1479413883";
        assert_eq!(stage.cluster.say(aaron, told), "");
        let later = "AT Alford +0.655887836 plum +1+1 1479413884\n";
        assert_eq!(stage.cluster.say(client, plum), later);
    }
}

#[test]
fn max_future_refuses_what_is_stamped_further_ahead_and_only_at_the_client_port() {
    let mut stage =
        Stage::among("Aaron Alford; Alford", MemoryOptions::calm(1), "max_future_ms = 1_000");
    let client = stage.client();
    let ahead = "IAMAT kiwi +1+1 1479413885.655887836";
    let expected = "AT Alford -1.000000000 kiwi +1+1 1479413885.655887836\n";
    assert_eq!(stage.cluster.say(client, ahead), expected);
    let too_far = "IAMAT kiwi +1+1 1479413885.655887837";
    assert_eq!(stage.cluster.say(client, too_far), format!("? {too_far}\n"));
    stage.cluster.crash("Aaron");
    let aaron = stage.cluster.stranger("Alford");
    stage.cluster.say(aaron, "HELLO Aaron places-herd 1");
    assert_eq!(stage.cluster.say(aaron, "AT Aaron +0.000000001 fig +1+1 9999999999"), "");
    assert!(stage.cluster.knows("Alford").contains_key("fig"));
}

#[test]
fn without_max_future_any_stamp_is_taken() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "max_future_ms = 0");
    let client = stage.client();
    let expected = "AT Alford -8520586115.344112163 kiwi +1+1 9999999999.999999999\n";
    assert_eq!(stage.cluster.say(client, "IAMAT kiwi +1+1 9999999999.999999999"), expected);
}

#[test]
fn a_repeated_report_gets_a_fresh_at_and_is_neither_stored_nor_flooded() {
    for weather in weathers() {
        let mut stage = Stage::among("Alford Bolden; Bolden", weather, "");
        let client = stage.client_with_kiwi();
        let stored = stage.cluster.knows("Alford");
        stage.cluster.forget_lines();
        stage.cluster.stop_wall_clocks(UnixNanos(NOON.0 + 1_000_000_000));
        let fresh = AT_KIWI.replace("+0.263873386", "+1.263873386");
        assert_eq!(stage.cluster.say(client, KIWI), fresh);
        // An older report, too, is answered and not stored.
        let older = "AT Alford +1.655887836 kiwi +1+1 1479413884\n";
        assert_eq!(stage.cluster.say(client, "IAMAT kiwi +1+1 1479413884"), older);
        assert_eq!(stage.cluster.lines("Alford", "Bolden"), [""; 0]);
        assert_eq!(
            (stage.cluster.knows("Alford"), stage.cluster.knows("Bolden")),
            (stored.clone(), stored)
        );
    }
}

#[test]
fn above_connections_a_client_is_turned_away_until_one_leaves() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "connections = 2");
        let [first, second, third] = [stage.client_with_kiwi(), stage.client(), stage.client()];
        assert_eq!(stage.cluster.ending(third), Some(Ending::Fin));
        assert_eq!((stage.connections(), stage.cluster.hear(third).as_str()), (2, ""));
        assert_eq!(stage.cluster.say(second, KIWI), AT_KIWI);
        stage.cluster.end(first);
        stage.cluster.settle();
        let fourth = stage.client();
        assert_eq!(stage.cluster.say(fourth, KIWI), AT_KIWI);
    }
}

#[test]
fn a_line_must_end_in_time_and_bytes_that_trickle_do_not_prolong_it() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "unfinished_line_ms = 30_000");
    let [slow, idle] = [stage.client(), stage.client()];
    stage.cluster.send(slow, "IAM");
    stage.cluster.run_for(29 * SECOND);
    stage.cluster.send(slow, "AT kiwi");
    stage.cluster.run_for(SECOND - NANO);
    assert_eq!(stage.connections(), 2);
    stage.cluster.run_for(NANO);
    stage.cluster.settle();
    assert_eq!(stage.connections(), 1);
    assert!(stage.cluster.ending(slow).is_some() && stage.cluster.ending(idle).is_none());
}

// Shares: how many connections of an address, how long a client may be idle, how fast it may be.

#[test]
fn a_client_without_a_command_for_idle_client_ms_is_closed_and_a_busy_one_is_not() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "idle_client_ms = 60_000");
    let [idle, busy] = [stage.client(), stage.client()];
    for _ in 0..5 {
        stage.cluster.run_for(50 * SECOND);
        assert_eq!(stage.cluster.say(busy, KIWI), AT_KIWI);
        // Neither a blank line nor half a command is one.
        stage.cluster.send(idle, "\n");
    }
    assert_eq!(stage.cluster.ending(idle), Some(Ending::Fin));
    assert_eq!(stage.cluster.ending(busy), None);
    stage.cluster.run_for(61 * SECOND);
    assert_eq!(stage.cluster.ending(busy), Some(Ending::Fin));
    assert_eq!((stage.connections(), stage.hits("idle_client_ms")), (0, 2));
}

#[test]
fn a_client_that_waits_for_its_answer_is_not_idle() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "idle_client_ms = 1_000");
    let client = stage.client_with_kiwi();
    stage.send(client, "WHATSAT kiwi 1 1\n");
    stage.cluster.run_for(5 * SECOND);
    stage.answer(0);
    assert_eq!(stage.cluster.hear(client), reply("1"));
    assert_eq!(stage.cluster.ending(client), None);
    stage.cluster.run_for(2 * SECOND);
    assert_eq!(stage.cluster.ending(client), Some(Ending::Fin));
}

#[test]
fn connections_per_address_turns_away_and_who_leaves_makes_room() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "connections_per_address = 2");
        let [first, second] = [stage.client(), stage.client()];
        for _ in 0..3 {
            let third = stage.client();
            stage.cluster.settle();
            assert!(stage.cluster.ending(third).is_some());
        }
        assert_eq!(stage.cluster.say(first, KIWI), AT_KIWI);
        stage.cluster.end(second);
        stage.cluster.settle();
        let fourth = stage.client();
        assert_eq!(stage.cluster.say(fourth, KIWI), AT_KIWI);
        assert_eq!((stage.connections(), stage.hits("connections_per_address")), (2, 3));
    }
}

#[test]
fn commands_beyond_commands_per_second_are_answered_later_in_order_and_none_is_refused() {
    for weather in weathers() {
        let mut stage = Stage::new(weather, "commands_per_second = 10");
        let [fast, other] = [stage.client(), stage.client()];
        stage.cluster.send(fast, format!("{KIWI}\n").repeat(45));
        stage.cluster.run_for(50 * MS);
        let mut heard = stage.cluster.hear(fast);
        assert_eq!(heard, AT_KIWI.repeat(10), "the commands of a second are read at once");
        for second in 1..=4 {
            assert_eq!(stage.cluster.say(other, KIWI), AT_KIWI, "nobody else waits");
            stage.cluster.run_for(SECOND);
            heard += &stage.cluster.hear(fast);
            let answered = heard.lines().count();
            let due = (10 + 10 * second).min(45);
            assert!((due - 2..=due).contains(&answered), "{answered} after {second} s");
        }
        assert!(AT_KIWI.repeat(45).starts_with(&heard) && heard.lines().count() >= 45 - 2);
        assert_eq!(stage.cluster.ending(fast), None);
        let pauses = stage.hits("commands_per_second");
        assert!((20..=36).contains(&pauses), "{pauses} pauses");
    }
}

#[test]
fn a_fast_client_gets_the_rest_of_its_replies_after_its_half_close() {
    let mut stage = Stage::new(MemoryOptions::calm(1), "commands_per_second = 10");
    let client = stage.client();
    stage.cluster.send(client, format!("{KIWI}\n").repeat(25));
    stage.cluster.end(client);
    stage.cluster.run_for(3 * SECOND);
    assert_eq!(stage.cluster.hear(client), AT_KIWI.repeat(25));
    assert_eq!(stage.cluster.ending(client), Some(Ending::Fin));
}

#[test]
fn a_client_that_reads_nothing_for_slow_reader_ms_is_cut() {
    let mut cluster =
        Cluster::new(MemoryOptions::calm(1), &topology("Alford", "slow_reader_ms = 9_000"));
    cluster.start_with("Alford", Box::new(Generous));
    cluster.settle();
    let [slow, idle] = [cluster.client("Alford"), cluster.client("Alford")];
    cluster.listen_to(slow, false);
    cluster.send(slow, format!("{KIWI}\n{}", whatsats(0, 150)));
    cluster.run_for(8 * SECOND);
    assert_eq!(cluster.reactor("Alford").parts().1.connections(), 2);
    cluster.run_for(2 * SECOND);
    assert_eq!(cluster.reactor("Alford").parts().1.throttled("slow_reader_ms"), 1);
    assert_eq!(cluster.ending(idle), None);
    cluster.listen_to(slow, true);
    cluster.settle();
    assert_eq!(cluster.ending(slow), Some(Ending::Broken));
}

fn any_line() -> impl Strategy<Value = String> {
    let client = prop::sample::select(vec!["kiwi", "kiwi.cs.ucla.edu", "fig", "a\u{a0}b"]);
    let location =
        prop::sample::select(vec!["+34.068930-118.445127", "+34.068930-18.445127", "+1-1", "+1"]);
    let stamp = prop_oneof![
        (100_000_000..999_999_999u32).prop_map(|nanos| format!("1479413884.{nanos}")),
        (1..9u32).prop_map(|second| second.to_string()),
    ];
    let end = prop::sample::select(vec!["", "", "", "\r", " "]);
    prop_oneof![
        9 => (client, location, stamp, end).prop_map(|(client, location, stamp, end)| {
            format!("IAMAT {client} {location} {stamp}{end}")
        }),
        1 => Just("WHATSAT fig 10 5".to_owned()),
        1 => Just(String::new()),
        1 => Just("IAMAT".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Lines that arrive together are prepared together. This changes no reply and no table.
    #[test]
    fn lines_have_the_same_effect_whether_they_arrive_together_or_one_by_one(
        lines in prop::collection::vec(any_line(), 0..60),
        ahead_max: bool,
    ) {
        let limits = if ahead_max { "ahead_max_s = 1000000000" } else { "" };
        let [together, apart] = [lines.len() + 1, 1].map(|count| {
            let mut stage = Stage::new(MemoryOptions::default(), limits);
            let client = stage.client();
            let replies: String =
                lines.chunks(count).map(|lines| stage.cluster.say(client, &lines.join("\n"))).collect();
            let table = &mut stage.cluster.member("Alford").table;
            let stored: Vec<_> = table.iter().map(|(_, at)| at.line().to_vec()).collect();
            (replies, stored, table.state_hash())
        });
        prop_assert_eq!(together, apart);
    }
}

//! The protocol between servers of the herd: HELLO, AT, PING, ACK, and the lines of anti-entropy. This is the
//! original's second pair of factory and receiver.
//!
//! ```text
//!   accepted ─▶ Stranger ──HELLO──▶ Linked ──AT, PING, SYNC──▶ ...
//!                   └─────AT──────▶ Plain            (only if a plain neighbour is configured)
//!   dialled ──▶ Dialled ──HELLO──▶ Linked
//!   dialled, plain ──────────────▶ Linked            (it says no HELLO; we send AT)
//! ```
//!
//! `link_state` has the states as a table, `admission` decides which connection becomes a link.
//!
//! With `[peer_tls]` the protocol runs inside TLS and begins when the handshake is done. The peer's certificate
//! has then proved its name, and its HELLO must say the same name.
//!
//! A stranger must say HELLO within `hello_ms` (5 s); any other line closes the connection. A plain neighbour sends
//! AT instead and may have no news, so as many strangers may stay silent as there are plain neighbours. A linked
//! neighbour's malformed line is answered with `? ` and the link stays, because its next line may be valid.
//! A line that begins with `?` is such an answer and is never answered, or two servers would answer each
//! other's answers for ever.
//!
//! Both sides send PING; any line is a sign of life. A neighbour that is silent for `silence_ms` is treated as
//! gone, though its TCP connection may not have noticed yet.
//!
//! The server that dialled starts anti-entropy, when the link is made and then periodically. One side suffices,
//! because a comparison repairs both tables; later ones repair what has gone wrong meanwhile.
//!
//! Report: sections 3.1 and 3.3. Rules: docs/protocol.md.

mod admission;
mod factories;
mod link_state;

pub use factories::InterserverFactory;
pub(super) use factories::dialled;

use self::link_state::{LinkState, LinkStep, PeerProof};
use super::counters::Door;
use super::dials::DialTarget;
use super::member::{Cx, Member, Message, limit_closes, log_line, log_name};
use crate::log::{Direction, Party};
use crate::replication::NeighbourId;
use crate::table::{ClientKey, MergeOutcome, ReportOrigin};
use crate::wire::command::{At, Command, is_blank, write_refusal};
use crate::wire::report::Report;
use crate::wire::sync_message::SyncMessage;
use herd_reactor::line_receiver::{LINES_AHEAD, LineProtocol, Mode};
use herd_reactor::{CloseReason, Flow, Moment, TimerId};
use log::Level;
use std::io::ErrorKind;
use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const NAME: &str = "Interserver";

/// The versions of the peer protocol that this server speaks; a reason for a rejection in `admission` names them, too.
/// There is one so far, so a link need not note which one it uses.
pub const VERSIONS: RangeInclusive<u32> = 1..=1;

/// Maximum invalid lines and complaints on one connection. One is a fault; a hundred are an attack on the log,
/// and on our memory if the peer does not read the answers.
const FAULTS_MAX: u32 = 100;

/// The timers of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkTimer {
    Hello,
    Ping,
    Silence,
    Proven,
    Sync,
    Proof,
}

/// The content types of TLS records: change_cipher_spec to application_data. No line begins with such a byte.
const TLS_RECORDS: std::ops::RangeInclusive<u8> = 20..=23;

/// One connection to or from a neighbour.
#[derive(Debug)]
pub struct Interserver {
    link_state: LinkState,
    proof: PeerProof,
    /// Whether we dialled it; if not, it is one of the open connections of the peer port.
    is_dialled: bool,
    /// Whether [`Counters::silent_peers`](super::counters::Counters::silent_peers) counts it.
    is_let_stay: bool,
    /// Whether its HELLO said that it knows BYE, and it has not been told yet.
    takes_bye: bool,
    /// The time when the last line arrived.
    heard: Moment,
    /// Invalid lines and complaints so far.
    faults: u32,
    /// The timers that are set, one of each kind at most.
    timers: Vec<(TimerId, LinkTimer)>,
}

impl LineProtocol<Member> for Interserver {
    fn name(&self) -> &'static str {
        NAME
    }

    fn connection_made(&mut self, cx: &mut Cx<'_>) -> Flow {
        if matches!(self.proof, PeerProof::Awaited { .. }) {
            self.proof = self.proof.proved(self.prove(cx)?);
        }
        match self.link_state {
            LinkState::Dialled(id) if cx.state.neighbours.get(id).server.plain => {
                self.link(cx, id, false)
            }
            LinkState::Dialled(_) => {
                self.say_hello(cx);
                self.set(cx, LinkTimer::Hello, cx.state.limits.hello);
            }
            _ => self.set(cx, LinkTimer::Hello, cx.state.limits.hello),
        }
        Ok(())
    }

    /// Handles the AT lines at the start of `lines` together, if a linked neighbour sends them: all are parsed, then all
    /// clients are found, then all reports are merged, and one write for each neighbour passes the news on. The result is
    /// that of `line_received`, but the log has all lines of the group before what follows from them. A burst to five servers has 1.09 times the rate with groups (8 pairs), and 1.07 times more with
    /// one write for a group (12 pairs).
    fn lines_ahead(&mut self, cx: &mut Cx<'_>, lines: &[&[u8]]) -> usize {
        let LinkState::Linked(id) = self.link_state else { return 0 };
        let (mut reports, mut handled) = ([None; LINES_AHEAD], 0);
        let most = cx.state.limits.line_bytes;
        for (line, report) in lines.iter().take_while(|it| it.len() <= most).zip(&mut reports) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let parsed = Command::parse(line, &cx.state.command_limits);
            let Ok(Command::At(at)) = parsed else { break };
            let Some(canonical) = Report::canonical(&at) else { break };
            self.log_line(cx, Direction::In, line);
            *report = Some(canonical);
            handled += 1;
        }
        if handled > 0 {
            self.heard = cx.now();
            cx.state.neighbours.took(id, handled as u64);
            self.at(cx, &reports, Some(id));
        }
        handled
    }

    /// Inspects the first bytes of a connection without `[peer_tls]`. A peer that speaks TLS is closed at once: it
    /// would wait for our answer while we wait for the end of its line.
    fn raw_data_received(
        &mut self,
        cx: &mut Cx<'_>,
        data: &[u8],
    ) -> Result<(usize, Mode), Box<dyn std::error::Error>> {
        if !data.first().is_some_and(|first| TLS_RECORDS.contains(first)) {
            return Ok((0, Mode::Lines));
        }
        let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
        self.refuse(cx, &line[..cx.state.limits.line_echo_bytes.min(line.len())]);
        Err("it speaks TLS, but [peer_tls] is off on this server".into())
    }

    fn line_received(
        &mut self,
        cx: &mut Cx<'_>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn std::error::Error>> {
        // A connection that was replaced is aborted, so it receives no further lines.
        debug_assert!(cx.state.neighbours.iter().all(|(id, link)| {
            (link.conn == Some(cx.id)) == (self.link_state == LinkState::Linked(id))
        }));
        self.heard = cx.now();
        if is_blank(line) {
            return Ok(Mode::Lines);
        }
        self.log_line(cx, Direction::In, line);
        match (self.link_state, Command::parse(line, &cx.state.command_limits)) {
            (LinkState::Linked(id), Ok(Command::At(at))) => {
                cx.state.neighbours.took(id, 1);
                self.one_at(cx, &at, Some(id));
            }
            (LinkState::Linked(id), Ok(Command::Ack(count)))
                if cx.state.acknowledged(id, count) =>
            {
                cx.state.counters.command(Door::Peer, line, false);
                cx.state.release_acked(cx.core);
            }
            (LinkState::Linked(_), Ok(Command::Ping)) => {
                cx.state.counters.command(Door::Peer, line, false);
            }
            (LinkState::Linked(id), Ok(Command::Bye)) => {
                cx.state.counters.command(Door::Peer, line, false);
                log::info!("{}: it ends soon, and will close this link", self.who(cx));
                cx.state.neighbours.said_bye(id);
            }
            (LinkState::Linked(id), Ok(Command::Compare(what)))
                if !cx.state.neighbours.get(id).server.plain =>
            {
                cx.state.counters.command(Door::Peer, b"SYNC", false);
                self.compare(cx, id, what);
            }
            (LinkState::Stranger | LinkState::Dialled(_), Ok(Command::Hello(hello))) => {
                self.hello(cx, &hello, line);
            }
            (LinkState::Stranger | LinkState::Plain, Ok(Command::At(at)))
                if cx.state.neighbours.plain() > 0 && self.step(LinkStep::Reported) =>
            {
                self.one_at(cx, &at, None);
            }
            // This answers one of our lines. If we answered it, the exchange would never end.
            (LinkState::Linked(_) | LinkState::Plain, _) if line.starts_with(b"?") => {
                self.fault(cx, line, "it refused one of our lines");
            }
            (LinkState::Linked(_) | LinkState::Plain, _) => {
                self.fault(cx, line, "refused an invalid line");
                self.refuse(cx, line);
            }
            (LinkState::Stranger | LinkState::Dialled(_), _) => {
                let is_answer = self.is_dialled && line.starts_with(b"?");
                let why = if is_answer {
                    "it rejected our HELLO, see its log"
                } else {
                    "its first line is not a valid HELLO"
                };
                self.reject(cx, Level::Warn, line, why, why);
            }
        }
        Ok(Mode::Lines)
    }

    fn line_length_exceeded(&mut self, cx: &mut Cx<'_>, start: &[u8]) -> Flow {
        let who = self.who(cx);
        let start = cx.state.line_too_long(cx.core, start, &who);
        self.refuse(cx, start);
        cx.core.linger(cx.id);
        Ok(())
    }

    fn line_timed_out(&mut self, cx: &mut Cx<'_>) -> Flow {
        let who = self.who(cx);
        cx.state.line_timed_out(cx.core, cx.id, &who);
        Ok(())
    }

    /// The send buffer is empty: writes the next portion of this neighbour's backlog.
    fn resume_producing(&mut self, cx: &mut Cx<'_>) -> Flow {
        if let LinkState::Linked(id) = self.link_state {
            cx.state.neighbours.send_due(cx.core, &mut cx.state.table, id);
        }
        Ok(())
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: Message) -> Flow {
        if matches!(message, Message::Leave) {
            self.say_bye(cx);
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Flow {
        let Some(at) = self.timers.iter().position(|(id, _)| *id == timer) else { return Ok(()) };
        let (_, due) = self.timers.swap_remove(at);
        match (due, self.link_state) {
            (LinkTimer::Hello, LinkState::Stranger)
                if cx.state.counters.silent_peers < cx.state.neighbours.plain() as u64 =>
            {
                // It may be a plain neighbour that has no news yet. One such connection may stay open for each of them.
                cx.state.counters.silent_peers += 1;
                self.is_let_stay = true;
            }
            (LinkTimer::Hello, LinkState::Stranger | LinkState::Dialled(_)) => {
                let limit_ms = cx.state.limits.hello.as_millis();
                let who = self.who(cx);
                limit_closes(cx.core, "hello_ms", &limit_ms, &who);
                // The neighbour's kernel accepted, but the neighbour itself hangs. When it goes on, it must find a
                // connection that waits for it. So we dial again at once: hello_ms is the pause between attempts.
                self.reset_delay(cx);
                cx.core.lose_because(cx.id, Some(CloseReason::TimeoutError("HELLO")));
            }
            (LinkTimer::Proof, _) if matches!(self.proof, PeerProof::Awaited { .. }) => {
                let limit_ms = cx.state.limits.peer_tls.as_millis();
                let who = self.who(cx);
                limit_closes(cx.core, "peer_tls_ms", &limit_ms, &who);
                self.reset_delay(cx);
                let why = CloseReason::TimeoutError("TLS handshake");
                cx.core.abort_because(cx.id, why);
            }
            (LinkTimer::Ping, LinkState::Linked(_)) => {
                self.log_line(cx, Direction::Out, b"PING");
                cx.write(b"PING\n");
                self.set(cx, LinkTimer::Ping, cx.state.limits.ping);
            }
            (LinkTimer::Silence, LinkState::Linked(_)) => self.check_silence(cx),
            (LinkTimer::Proven, LinkState::Linked(_)) => self.reset_delay(cx),
            (LinkTimer::Sync, LinkState::Linked(id)) => self.sync_if_quiet(cx, id),
            _ => {}
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &CloseReason) {
        let (conn, who) = (log_name(NAME, cx.id), self.who(cx));
        log::info!(event = "disconnected", conn:% = conn, reason:% = why; "{who}: disconnected: {why}");
        if let (CloseReason::ConnectionLost(e), Some(limit)) =
            (why, cx.state.limits.link_user_timeout)
            && e.kind() == ErrorKind::TimedOut
        {
            let value = format_args!("{}, reached by {who}", limit.as_millis());
            cx.core.limit_hit("link_user_timeout_ms", value, 1, "connections lost");
        }
        if !self.is_dialled {
            cx.state.counters.closed[Door::Peer as usize][why.number()] += 1;
        }
        cx.state.counters.silent_peers -= u64::from(self.is_let_stay);
        debug_assert!(cx.state.counters.silent_peers <= cx.state.counters.open(Door::Peer));
        if let LinkState::Linked(id) = self.link_state {
            cx.state.neighbours.lost(cx.core.now(), &mut cx.state.table, id, cx.id);
        }
    }
}

impl Interserver {
    fn new(cx: &mut Cx<'_>, link_state: LinkState) -> Interserver {
        let mut interserver = Interserver {
            link_state,
            proof: match &cx.state.peer_tls {
                None => PeerProof::NotAsked,
                Some(tls) => PeerProof::Awaited { generation: tls.generation },
            },
            is_dialled: link_state != LinkState::Stranger,
            is_let_stay: false,
            takes_bye: false,
            heard: cx.now(),
            faults: 0,
            timers: Vec::new(),
        };
        if matches!(interserver.proof, PeerProof::Awaited { .. }) {
            interserver.set(cx, LinkTimer::Proof, cx.state.limits.peer_tls);
        }
        interserver
    }

    /// Has the next attempt to connect to this neighbour follow the loss of this connection after the first delay.
    fn reset_delay(&self, cx: &mut Cx<'_>) {
        if let LinkState::Dialled(id) | LinkState::Linked(id) = self.link_state
            && let Some(dial) = cx.state.dials.get_mut(&DialTarget::Neighbour(id))
            && self.is_dialled
        {
            dial.backoff.reset();
        }
    }

    /// Takes `step` in the table of `link_state`. Returns whether the table allows it.
    fn step(&mut self, step: LinkStep) -> bool {
        self.link_state.after(step).map(|after| self.link_state = after).is_some()
    }

    fn set(&mut self, cx: &mut Cx<'_>, timer: LinkTimer, delay: Duration) {
        debug_assert!(self.timers.iter().all(|(_, set)| *set != timer), "{timer:?} is set");
        self.timers.push((cx.timer_later(delay), timer));
    }

    /// Starts to compare our table with that of `id`, and sets the timer for the next comparison.
    fn sync(&mut self, cx: &mut Cx<'_>, id: NeighbourId) {
        let Member { neighbours, table, .. } = &mut *cx.state;
        neighbours.compare(cx.core, table, id);
        self.set(cx, LinkTimer::Sync, cx.state.limits.sync);
    }

    /// Starts a comparison with `id` once the link is quiet. Lines on their way to it would count as differences, and
    /// the previous comparison must end first.
    fn sync_if_quiet(&mut self, cx: &mut Cx<'_>, id: NeighbourId) {
        let Member { neighbours, table, limits, sweeps, .. } = &mut *cx.state;
        if neighbours.is_quiet(cx.core, table, id) && !sweeps.are_giving() {
            neighbours.comparisons.finished += 1;
            return self.sync(cx, id);
        }
        let delay = limits.sync.min(limits.ping);
        self.set(cx, LinkTimer::Sync, delay);
    }

    /// Handles a line of anti-entropy: the neighbour's digests, or its request for ours.
    fn compare(&self, cx: &mut Cx<'_>, id: NeighbourId, what: SyncMessage<'_>) {
        let Member { neighbours, table, .. } = &mut *cx.state;
        neighbours.compared(cx.core, table, id, what);
        cx.state.sweep_on(cx.core);
    }

    /// Says BYE, if the neighbour knows it and has not been told yet.
    fn say_bye(&mut self, cx: &mut Cx<'_>) {
        if mem::take(&mut self.takes_bye) {
            self.say(cx, b"BYE".to_vec());
        }
    }

    /// Handles one AT line.
    fn one_at(&self, cx: &mut Cx<'_>, at: &At<'_>, from: Option<NeighbourId>) {
        let mut scratch = mem::take(&mut cx.state.scratch);
        self.at(cx, &[Some(Report::relayed(at, &mut scratch))], from);
        cx.state.scratch = scratch;
    }

    /// Handles AT: a neighbour passes on reports, at most [`LINES_AHEAD`]. Report: section 3.3.
    fn at(&self, cx: &mut Cx<'_>, reports: &[Option<Report<'_>>], from: Option<NeighbourId>) {
        cx.state.set_window(cx.wall());
        let Member { table, neighbours, limits, counters, .. } = &mut *cx.state;
        let plain = from.is_none_or(|id| neighbours.get(id).server.plain);
        let origin = if plain { ReportOrigin::Plain } else { ReportOrigin::Server };
        // The waits for one client have nothing to overlap with.
        if reports.get(1).is_some_and(Option::is_some) {
            table.look_ahead(reports.iter().flatten().map(Report::client));
        }
        let (mut keys, mut news, mut count) =
            ([ClientKey::new(0); LINES_AHEAD], [&b""[..]; LINES_AHEAD], 0);
        for report in reports.iter().flatten() {
            let (key, outcome) = table.merge(report, origin);
            counters.report(Door::Peer, outcome);
            let dropped = "reports from neighbours dropped";
            let limit = match outcome {
                MergeOutcome::Expired => limits.expire_after.map(|it| ("expire_after_s", it.0)),
                MergeOutcome::Ahead => limits.ahead_max.map(|it| ("ahead_max_s", it.0)),
                _ => None,
            };
            if let Some((key, seconds)) = limit {
                cx.core.limit_hit(key, seconds, 1, dropped);
            }
            if outcome == MergeOutcome::Full {
                let (key, what) = (("table_full", 0), format_args!("table full (8 GiB)"));
                cx.core.log_throttled(Level::Error, key, what, 1, dropped);
            }
            let Some(key) = key else { continue };
            if let Some(id) = from.filter(|_| outcome != MergeOutcome::Older) {
                // The neighbour has this line already, so it leaves the neighbour's backlog.
                table.backlogs.unmark(neighbours.get(id).backlog, key);
            }
            if outcome.is_news() {
                (keys[count], news[count]) = (key, report.line());
                count += 1;
            }
        }
        // A line that is no news must not cost a visit to each of a thousand neighbours.
        if count > 0 {
            cx.state.flood(cx.core, &keys[..count], &news[..count], from);
        }
    }

    fn refuse(&self, cx: &mut Cx<'_>, line: &[u8]) {
        cx.state.counters.command(Door::Peer, line, true);
        let mut refusal = Vec::new();
        write_refusal(&mut refusal, line);
        self.say(cx, refusal);
    }

    /// Logs `line` and sends it with a line end.
    fn say(&self, cx: &mut Cx<'_>, mut line: Vec<u8>) {
        self.log_line(cx, Direction::Out, &line);
        line.push(b'\n');
        cx.write(&line);
    }

    /// Counts and logs (throttled) an invalid line of a neighbour; the connection closes at `FAULTS_MAX`.
    fn fault(&mut self, cx: &mut Cx<'_>, line: &[u8], what: &str) {
        self.faults += 1;
        let what = format_args!("{}: {what}: {}", self.who(cx), crate::log::Escaped(line));
        let key = ("faults", cx.id.generation());
        cx.core.log_throttled(Level::Warn, key, what, 1, "lines like this");
        if self.faults >= FAULTS_MAX {
            let who = self.who(cx);
            limit_closes(cx.core, "FAULTS_MAX", &FAULTS_MAX, &who);
            cx.lose_connection();
        }
    }

    fn check_silence(&mut self, cx: &mut Cx<'_>) {
        let silence = cx.state.limits.silence;
        let quiet = cx.now() - self.heard;
        if quiet < silence {
            return self.set(cx, LinkTimer::Silence, silence - quiet);
        }
        let who = self.who(cx);
        limit_closes(cx.core, "silence_ms", &silence.as_millis(), &who);
        cx.abort_connection();
    }

    /// The connection's name in the log, with the neighbour's name once that is known, else with its address.
    fn who(&self, cx: &Cx<'_>) -> String {
        let name = log_name(NAME, cx.id);
        match self.link_state {
            LinkState::Dialled(id) | LinkState::Linked(id) => {
                format!("{name},{}", cx.state.neighbours.get(id).server.name)
            }
            LinkState::Stranger | LinkState::Plain => {
                let peer = cx.transport().map(|transport| transport.addrs().peer);
                format!("{name},{}", peer.map_or_else(String::new, |peer| peer.to_string()))
            }
        }
    }

    fn log_line(&self, cx: &Cx<'_>, direction: Direction, line: &[u8]) {
        let neighbour = |id| cx.state.neighbours.get(id).server.name.as_str();
        match self.link_state {
            // Each link has two PINGs every ping_ms; at INFO they would bury the other lines.
            LinkState::Linked(id) if line.starts_with(b"PING") && line.trim_ascii() == b"PING" => {
                let sign = if direction == Direction::In { '<' } else { '>' };
                ::log::debug!(target: crate::log::TRAFFIC, "{} {sign} PING", neighbour(id));
            }
            LinkState::Linked(id) if crate::log::traffic_is_on() => {
                let neighbour = Party::Named(neighbour(id).as_bytes());
                crate::log::traffic(cx.wall().0, neighbour, direction, line);
            }
            _ => log_line(cx, NAME, direction, line),
        }
    }
}

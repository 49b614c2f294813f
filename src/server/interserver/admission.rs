//! Decides which connection may become the link to a neighbour, by its certificate, by its HELLO, and by whether it may
//! replace an existing link.
//!
//! In: a HELLO, or a finished handshake. Out: a linked [`Interserver`], or a connection that is rejected with a reason
//! in the log. It knows no other line. Rules: docs/protocol.md.

use super::link_state::{LinkState, LinkStep, PeerProof};
use super::{Interserver, LinkTimer, NAME, VERSIONS};
use crate::replication::NeighbourId;
use crate::replication::replacements::{AT_ONCE, WITHIN};
use crate::server::counters::Door;
use crate::server::member::{Cx, Member, ServerPhase, log_name};
use crate::wire::command::{Hello, SPEAKS, common_version, write_hello};
use herd_reactor::CloseReason;
use log::Level;

/// The option of HELLO that requests ACK lines.
const ACK: &[u8] = b"ack";

/// The option of HELLO that says that the sender knows the line BYE. The dialler says it; the other server says it, too,
/// if the dialler did. A server that does not know BYE ignores the option.
const BYE: &[u8] = b"bye";

impl Interserver {
    /// Handles HELLO: the connection becomes a link, or is rejected.
    pub(super) fn hello(&mut self, cx: &mut Cx<'_>, hello: &Hello<'_>, line: &[u8]) {
        match self.check_hello(cx, hello) {
            Ok(id) => match self.may_replace(cx, id) {
                Ok(()) => {
                    self.takes_bye = hello.options.get(BYE).is_some();
                    self.link(cx, id, hello.options.get(ACK).is_some());
                }
                Err(why) => self.reject(cx, Level::Info, line, "replaced", &why),
            },
            Err(why) => self.reject(cx, Level::Warn, line, why, why),
        }
    }

    /// Decides which neighbour's certificate the peer presented, when the handshake is done. An error closes the
    /// connection.
    pub(super) fn prove(&self, cx: &Cx<'_>) -> Result<NeighbourId, &'static str> {
        let Member { neighbours, peer_tls, .. } = &*cx.state;
        let Some(tls) = peer_tls else {
            return Err("it presented a certificate, but [peer_tls] is off");
        };
        let shown = cx.core.transport(cx.id).map_or(&[][..], |t| t.peer_certificates());
        let id = tls.neighbour_of(neighbours, shown)?;
        match self.link_state {
            LinkState::Dialled(dialled) if dialled != id => {
                Err("its certificate names a server other than the one that we dialled")
            }
            _ => Ok(id),
        }
    }

    /// Decides whether the peer is the neighbour that its `hello` names.
    fn check_hello(&self, cx: &Cx<'_>, hello: &Hello<'_>) -> Result<NeighbourId, &'static str> {
        let Member { server, herd_name, neighbours, peer_tls, .. } = &*cx.state;
        if hello.herd != herd_name.as_bytes() {
            return Err("its HELLO names another herd");
        }
        let theirs = hello.versions().ok_or("its HELLO has an invalid option speaks")?;
        if common_version(&VERSIONS, &theirs).is_none() {
            // The log has their versions, too: it shows their HELLO.
            return Err(
                "it speaks no version of the peer protocol that this server speaks (1-1); upgrade the older of the two",
            );
        }
        let id = neighbours.named(hello.name).ok_or("it is not a neighbour of this server")?;
        match self.proof {
            PeerProof::NotAsked => {}
            PeerProof::Given { by, generation } if by == id => {
                if peer_tls.as_ref().is_some_and(|tls| tls.generation != generation) {
                    return Err(
                        "our certificates were reloaded since its handshake; it must connect again",
                    );
                }
            }
            _ => return Err("its HELLO and its certificate name different servers"),
        }
        match self.link_state {
            _ if neighbours.get(id).server.plain => {
                Err("it said HELLO, but the topology says that this neighbour is plain")
            }
            LinkState::Dialled(dialled) if dialled != id => {
                Err("its HELLO names a server other than the one that we dialled")
            }
            LinkState::Stranger if hello.name > server.name.as_bytes() => {
                Err("our name sorts first, so we dial this neighbour")
            }
            _ => Ok(id),
        }
    }

    /// Decides whether this connection may replace the existing link to `id`, if there is one. Call it only for an
    /// authenticated connection, because each replacement counts.
    fn may_replace(&self, cx: &mut Cx<'_>, id: NeighbourId) -> Result<(), String> {
        let Member { neighbours, limits, .. } = &mut *cx.state;
        let Some((old, ruling)) = neighbours.replace(cx.core, id, limits) else { return Ok(()) };
        let name = &neighbours.get(id).server.name;
        if ruling.is_alarming {
            let address = |id| cx.core.transport(id).map(|t| t.addrs().peer.to_string());
            let [old, new] = [old, cx.id].map(|id| address(id).unwrap_or_default());
            let within = WITHIN.as_secs();
            log::warn!(
                "{NAME}: {name} at {new} connects while {name} at {old} is linked, after {AT_ONCE} such \
                 replacements in {within} s: two servers may claim one name; stop one of them"
            );
        }
        ruling.outcome.map_err(|left| {
            format!("{name} is linked, and was replaced too often; it may try again in {left:.1?}")
        })
    }

    /// Makes this connection the link to `id` and starts to send what the neighbour missed. `wants_acks`: its HELLO
    /// requested ACK lines.
    pub(super) fn link(&mut self, cx: &mut Cx<'_>, id: NeighbourId, wants_acks: bool) {
        if self.link_state == LinkState::Stranger {
            self.say_hello(cx);
        }
        if !self.step(LinkStep::Identified(id)) {
            return;
        }
        let Member { neighbours, table, limits, counters, .. } = &mut *cx.state;
        let server = &neighbours.get(id).server;
        let name = log_name(NAME, cx.id);
        log::info!(
            event = "linked", conn:% = name, neighbour:% = server.name;
            "{name}: connected: linked to {}", server.name
        );
        let (is_plain, ping, silence) = (server.plain, limits.ping, limits.silence);
        let replaced = neighbours.made(cx.core.now(), table, id, cx.id, wants_acks);
        if !is_plain {
            counters.command(Door::Peer, b"HELLO", false);
            self.set(cx, LinkTimer::Ping, ping);
            self.set(cx, LinkTimer::Silence, silence);
        }
        if let Some(replaced) = replaced {
            // The neighbour came back before we noticed that it was gone.
            let why = "a new connection replaces it".into();
            cx.core.abort_because(replaced, CloseReason::ProtocolFailed(why));
        }
        if self.is_dialled {
            self.prepare_to_dial_again(cx, id);
        }
        if cx.state.phase == ServerPhase::LameDuck {
            self.say_bye(cx);
        }
        match self.is_dialled && !is_plain {
            true => self.sync(cx, id),
            false => cx.state.neighbours.send_due(cx.core, &mut cx.state.table, id),
        }
    }

    /// Sets the time after which the retry delay of this neighbour is reset, so that a server that was killed and
    /// restarted is dialled again soon. If its links are lost again and again, a link must last longer first.
    fn prepare_to_dial_again(&mut self, cx: &mut Cx<'_>, id: NeighbourId) {
        let Member { neighbours, limits, .. } = &mut *cx.state;
        let (pause, is_alarming) = neighbours.dialled(cx.core.now(), id, limits);
        if is_alarming {
            let (name, within) = (&neighbours.get(id).server.name, WITHIN.as_secs());
            let max = limits.retry_max.as_millis();
            log::warn!(
                "{NAME}: the link to {name} was lost {AT_ONCE} times in {within} s, see the log of {name}; \
                 the delay before each redial now doubles, up to retry_max_ms = {max}"
            );
        }
        self.set(cx, LinkTimer::Proven, pause);
    }

    pub(super) fn say_hello(&self, cx: &mut Cx<'_>) {
        let Member { server, herd_name, neighbours, .. } = &*cx.state;
        // A server that does not know `speaks` looks at the lowest version, for the only one that it speaks.
        let (lowest, highest) = VERSIONS.into_inner();
        let range = format!("{lowest}-{highest}");
        let mut options: Vec<(&[u8], &[u8])> = vec![(SPEAKS, range.as_bytes())];
        if neighbours.ask_for_acks() {
            options.push((ACK, b"1"));
        }
        if self.is_dialled || self.takes_bye {
            options.push((BYE, b"1"));
        }
        let mut hello = Vec::new();
        write_hello(&mut hello, server.name.as_bytes(), herd_name.as_bytes(), lowest, &options);
        self.say(cx, hello);
    }

    /// Rejects the connection: logs `why` with the start of `line`, answers the line with `? `, and closes. Strangers
    /// can cause this as often as they like, so the log gets one line a second for each `kind` of reason.
    pub(super) fn reject(
        &self,
        cx: &mut Cx<'_>,
        level: Level,
        line: &[u8],
        kind: &'static str,
        why: &str,
    ) {
        let start = crate::log::Escaped(&line[..cx.state.limits.line_echo_bytes.min(line.len())]);
        let what = format_args!("{}: rejected: {why}: {start}", self.who(cx));
        let key = ("rejected", crc32fast::hash(kind.as_bytes()));
        cx.core.log_throttled(level, key, what, 1, "connections like this");
        if !line.starts_with(b"?") {
            self.refuse(cx, line);
        }
        cx.lose_connection();
    }
}

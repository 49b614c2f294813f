//! The status socket, on which a server reports its state to its operator. It is a Unix socket; its mode decides
//! which users may connect.
//!
//! In: the line `STATUS`. Out: one line of JSON with the server's name, its health, all its metrics, its links, and a
//! hash of its table, so that servers can be compared without comparing their tables. In: `RELOAD`, or `RELOAD strict`.
//! Out: one line of JSON with the outcome of the reload (`reload.rs`); then the connection closes. In: `TRACE N`. Out: a line
//! of JSON for each of the next N turns (`traces.rs`); then the connection closes. Any other line is answered
//! with `? ` and a copy, as everywhere in the herd. A connection whose line is too long, or does not end in time,
//! is closed, and the log names the limit.
//!
//! Twisted has no counterpart; its manhole (twisted.conch) comes closest.

use super::counters::Door;
use super::health::unhealthy;
use super::member::{Cx, Member, limit_closes, log_name};
use super::metrics::{METRICS, NEIGHBOUR_METRICS};
use crate::log;
use crate::wire::command::write_refusal;
use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
use herd_reactor::{Core, Flow};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const NAME: &str = "Status";

/// Maximum concurrent status connections.
const ASKERS_MAX: u64 = 16;

/// Maximum bytes of a line.
const LINE_BYTES: usize = 1_024;

/// Maximum time from the first byte of a line to its end.
const UNFINISHED_LINE: Duration = Duration::from_secs(10);

/// Builds a [`StatusProtocol`] for each connection to the status socket.
pub fn status_factory(cx: &mut Cx<'_>, _: SocketAddr) -> Option<LineReceiver<StatusProtocol>> {
    if cx.state.counters.open(Door::Status) >= ASKERS_MAX {
        cx.core.limit_hit("ASKERS_MAX", ASKERS_MAX, 1, "connections of herd status turned away");
        return None;
    }
    cx.state.counters.accepted[Door::Status as usize] += 1;
    let limits = LineLimits { line_bytes: LINE_BYTES, unfinished_line: UNFINISHED_LINE };
    Some(LineReceiver::new(StatusProtocol, limits))
}

/// One connection to the status socket.
#[derive(Debug)]
pub struct StatusProtocol;

impl LineProtocol<Member> for StatusProtocol {
    fn name(&self) -> &'static str {
        NAME
    }

    fn line_received(
        &mut self,
        cx: &mut Cx<'_>,
        line: &[u8],
    ) -> Result<Mode, Box<dyn std::error::Error>> {
        let (line, mut reply) = (line.trim_ascii(), Vec::new());
        let is_reload = [&b"RELOAD"[..], b"RELOAD strict"].contains(&line);
        match line {
            b"STATUS" => {
                serde_json::to_writer(&mut reply, &status(cx.state, cx.core))?;
                cx.core.take_longest_lag();
            }
            _ if let Some(turns) = turns(line) => {
                cx.state.traces.begin(cx.id, turns);
                return Ok(Mode::Lines);
            }
            _ if is_reload => {
                cx.state.reload(cx.core, line.ends_with(b"strict"), "herd reload");
                serde_json::to_writer(&mut reply, &cx.state.config.outcome())?;
            }
            b"" => return Ok(Mode::Lines),
            _ => write_refusal(&mut reply, line),
        }
        reply.push(b'\n');
        cx.write(&reply);
        if is_reload {
            // A reload blocks the loop, and many of them in one turn would block it for long.
            cx.lose_connection();
        }
        Ok(Mode::Lines)
    }

    fn line_length_exceeded(&mut self, cx: &mut Cx<'_>, _start: &[u8]) -> Flow {
        limit_closes(cx.core, "LINE_BYTES", &LINE_BYTES, &log_name(NAME, cx.id));
        cx.lose_connection();
        Ok(())
    }

    fn line_timed_out(&mut self, cx: &mut Cx<'_>) -> Flow {
        let (limit_s, who) = (UNFINISHED_LINE.as_secs(), log_name(NAME, cx.id));
        limit_closes(cx.core, "UNFINISHED_LINE_S", &limit_s, &who);
        cx.lose_connection();
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &herd_reactor::CloseReason) {
        cx.state.counters.closed[Door::Status as usize][why.number()] += 1;
        cx.state.traces.end(cx.id);
    }
}

/// The number of turns in `TRACE N`, at least one.
fn turns(line: &[u8]) -> Option<u64> {
    let number = str::from_utf8(line.strip_prefix(b"TRACE ")?).ok()?;
    number.parse().ok().filter(|turns| *turns > 0)
}

/// The status: the server's identity, all [`METRICS`], and the [`NEIGHBOUR_METRICS`] of each link. Sizes are in bytes.
/// `journal` is null if the server has no journal, `bus` if it has no bus, which otherwise is the last of the links. Reading it changes nothing: the status socket resets `longest_lag_ms`
/// after its answer, while the HTTP port has any number of readers that must not disturb each other.
pub fn status(member: &mut Member, core: &mut Core<Member>) -> Value {
    let state = format!("{:016x}", member.table.state_hash());
    let member = &*member;
    let links = member.neighbours.iter().map(|(_, link)| {
        let mut status = json!({ "name": link.server.name, "plain": link.server.plain });
        for metric in NEIGHBOUR_METRICS {
            metric.put(&mut status, (metric.read)(member, core, link));
        }
        status
    });
    let mut links: Vec<Value> = links.collect();
    links.extend(member.bus.as_ref().map(|port| port.link(&member.table, core)));
    let mut status = json!({
        "links": links,
        "health": { "reasons": unhealthy(member, core.wall()) },
        "server": member.server.name,
        "herd": member.herd_name,
        "process": std::process::id(),
        "state": state,
        "config": member.config.json(),
        "http": {},
        "journal": null,
        "bus": null,
        "log": {
            "path": log::place(), "failing": log::failure(),
            "dropped": log::dropped(), "dropped_stderr": log::dropped_stderr(),
        },
    });
    for metric in METRICS {
        metric.put(&mut status, (metric.read)(member, core));
    }
    status
}

//! The live stream: `GET /v1/events`, as Server-Sent Events.
//!
//! In: changes of the table, and two timers. Out: the events `reports` and `gone`, which [`Follower`] writes, and
//! `status`, which shows a follower and the proxies before it that the stream is alive.
//!
//! If anything has changed, a round begins, at most ten times a second. In a round each follower gets a slice
//! (`slices.rs`), one in each turn of the loop, so that the loop serves all other connections between two followers.
//!
//! A stream writes only while its send buffer is empty. So a follower that does not read holds one buffer, and a bit for
//! each client that changes meanwhile. The reactor closes its connection after `slow_reader_ms`, and logs that. The
//! follower can reconnect with the id of its last event, as browsers do by themselves, and then gets what it has missed.
//!
//! The stream ends when the server stops, and when the configuration is reloaded, because a token may have been revoked. A
//! follower whose token is still valid reconnects.
//!
//! Source: the WHATWG's HTML standard, "Server-sent events".

use super::NAME;
use super::bounding_box::BoundingBox;
use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::follower::{Follower, FollowerFilter};
use super::parameters::parsed;
use super::slices::{add_slices, begin_slices, end_slices, slice_done};
use crate::http::{HttpReply, form_pairs};
use crate::server::http_state::{Followers, HttpState};
use crate::server::member::{Cx, Member, Message, Timer, log_name};
use crate::table::changes::FORGOTTEN_BYTES;
use herd_reactor::{Core, TimerId};
use serde_json::{Value, json};
use std::mem;
use std::time::Duration;

/// The time from one round to the next.
const ROUND: Duration = Duration::from_millis(100);

/// The time between two events `status`.
const STATUS_EVERY: Duration = Duration::from_secs(15);

/// The stream of one follower.
struct EventStream {
    follower: Follower,
    status: TimerId,
}

/// GET /v1/events. The router has checked that the caller may follow these clients.
pub(super) fn events(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    const BBOX: &str = "four numbers, west,south,east,north, in degrees";
    let query = ask.head.query;
    let bbox = match parsed(query, "bbox", BBOX, BoundingBox::parse) {
        Ok(bbox) => bbox,
        Err(reply) => return reply.into(),
    };
    let clients = form_pairs(query.as_bytes()).filter(|(name, _)| **name == *b"client");
    let filter = FollowerFilter { ids: clients.map(|(_, id)| id.into_owned()).collect(), bbox };
    let most = cx.state.http.followers;
    if cx.state.http_port.followers() >= most {
        let value = format_args!("{most}, reached by {}", log_name(NAME, cx.id));
        cx.core.limit_hit("followers", value, 1, "followers turned away");
        let reply = HttpReply::problem(503, "[http] followers is reached", None);
        return reply.with("Retry-After: 60").into();
    }
    let last = ask.head.get("Last-Event-ID");
    let Member { table, counters, http_port, .. } = &mut *cx.state;
    table.changes.get_or_insert_default();
    http_port.followers.streams.insert(cx.id);
    let follower = Follower::new(filter, table, counters.started.0, last);
    let status = cx.core.timer_later(cx.id, STATUS_EVERY);
    let stream = EventStream { follower, status };
    let mut body = b"retry: 2000\n".to_vec();
    stream.write_status(cx.state, Some(stream.follower.is_resumed), &mut body);
    begin_slices(cx);
    let head = HttpReply::new(200, "text/event-stream", body);
    let head = head.with("Cache-Control: no-store").with("X-Accel-Buffering: no");
    HttpAnswer::Stream(head, Box::new(stream))
}

impl Member {
    /// Schedules a round, because there may be something to send to the followers.
    pub(in crate::server) fn wake_followers(&mut self, core: &mut Core<Member>) {
        let Followers { streams, round_is_set } = &mut self.http_port.followers;
        if !streams.is_empty() && !mem::replace(round_is_set, true) {
            Timer::Followers.set(core, ROUND);
        }
    }

    /// Gives each follower a slice.
    pub(in crate::server) fn begin_round(&mut self, core: &mut Core<Member>) {
        let HttpState { followers, slices, .. } = &mut self.http_port;
        followers.round_is_set = false;
        followers.streams.iter().for_each(|id| add_slices(slices, core, *id));
    }

    /// Ends all streams.
    pub(in crate::server) fn end_streams(&self, core: &mut Core<Member>) {
        let streams = &self.http_port.followers.streams;
        streams.iter().for_each(|id| core.post(*id, Message::Leave));
    }
}

impl EventStream {
    /// Appends the event `status`. `is_resumed` is `Some` only in the first one of a stream.
    fn write_status(&self, member: &Member, is_resumed: Option<bool>, out: &mut Vec<u8>) {
        let herd = member.http_port.herd.iter();
        let herd: Value = herd.map(|(name, http)| json!({ "name": name, "http": http })).collect();
        let (name, clients) = (&member.server.name, member.table.len());
        let mut status = json!({ "server": name, "clients": clients, "herd": herd });
        if let Some(is_resumed) = is_resumed {
            status["resumed"] = is_resumed.into();
        }
        self.follower.begin_event(out, "status", true);
        out.extend_from_slice(format!("{status}\n\n").as_bytes());
    }

    /// Writes the next events, if the send buffer is empty. Returns whether the follower needs another slice in this round;
    /// `None` if the stream must end, and the follower reconnect.
    fn write_slice(&mut self, cx: &mut Cx<'_>) -> Option<bool> {
        cx.state.set_window(cx.wall());
        if cx.core.pending(cx.id) > 0 {
            self.follower.catch_up(&cx.state.table);
            return Some(false);
        }
        let mut events = Vec::new();
        let has_more = self.follower.write_slice(&cx.state.table, &mut events);
        if !events.is_empty() {
            cx.core.write(cx.id, &events);
        }
        has_more
    }
}

impl PendingAnswer for EventStream {
    fn message(&mut self, cx: &mut Cx<'_>, message: &Message) -> AnswerStep {
        if !matches!(message, Message::NextSlice) {
            return AnswerStep::Wait;
        }
        let has_more = self.write_slice(cx);
        slice_done(cx, has_more == Some(true));
        if has_more.is_none() {
            cx.core.limit_hit("FORGOTTEN_BYTES", FORGOTTEN_BYTES, 1, "streams ended");
            return AnswerStep::End;
        }
        if self.follower.is_behind() {
            cx.state.wake_followers(cx.core);
        }
        AnswerStep::Wait
    }

    fn timer(&mut self, cx: &mut Cx<'_>, _: TimerId) -> AnswerStep {
        self.status = cx.core.timer_later(cx.id, STATUS_EVERY);
        if cx.core.pending(cx.id) == 0 {
            let mut event = Vec::new();
            self.write_status(cx.state, None, &mut event);
            cx.core.write(cx.id, &event);
        }
        AnswerStep::Wait
    }

    fn stopping(&mut self, _: &mut Cx<'_>) -> AnswerStep {
        AnswerStep::End
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) {
        end_slices(cx);
        cx.state.http_port.followers.streams.remove(&cx.id);
        // It may be due in this turn.
        let _ = cx.core.cancel(self.status);
    }
}

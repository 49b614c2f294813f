//! Long work of several connections, one slice a turn.
//!
//! A slice takes up to a millisecond. If each connection did its next slice in the next turn, a turn would take as many
//! milliseconds as there are connections with long work. So they take turns: the first of the queue is sent
//! [`Message::NextSlice`], does its slice, and goes to the end of the queue.
//!
//! The queue has each connection at most once, so `connections` limits it.

use crate::server::member::{Cx, Member, Message};
use herd_reactor::{ConnId, Core};
use std::collections::VecDeque;

/// The connection of `cx` has long work: it is sent [`Message::NextSlice`] when it is its turn.
pub(super) fn begin_slices(cx: &mut Cx<'_>) {
    add_slices(&mut cx.state.http_port.slices, cx.core, cx.id);
}

/// Adds a connection to the queue, unless it is there.
pub(super) fn add_slices(queue: &mut VecDeque<ConnId>, core: &mut Core<Member>, id: ConnId) {
    if queue.contains(&id) {
        return;
    }
    queue.push_back(id);
    if queue.len() == 1 {
        core.post(id, Message::NextSlice);
    }
}

/// The connection of `cx` has done the slice for which it was sent a message. `has_more`: it has more to do.
pub(super) fn slice_done(cx: &mut Cx<'_>, has_more: bool) {
    let queue = &mut cx.state.http_port.slices;
    debug_assert_eq!(queue.front(), Some(&cx.id));
    queue.pop_front();
    if has_more {
        queue.push_back(cx.id);
    }
    if let Some(next) = queue.front() {
        cx.core.post(*next, Message::NextSlice);
    }
}

/// The connection of `cx` does no more slices, though it may have been sent a message.
pub(super) fn end_slices(cx: &mut Cx<'_>) {
    let queue = &mut cx.state.http_port.slices;
    match queue.front() == Some(&cx.id) {
        true => slice_done(cx, false),
        false => queue.retain(|id| *id != cx.id),
    }
}

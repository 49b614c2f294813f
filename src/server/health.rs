//! Whether a server is healthy: the one rule for the status, `herd status --healthy`, and service managers.
//!
//! In: the server's state. Out: the reasons why it is not healthy. Links do not count: a server whose neighbours are
//! all down still serves its clients, and restarting it would not help.

use super::member::{Member, ServerPhase};
use herd_reactor::UnixNanos;

/// Why `member` is not healthy at the time `wall`; empty if it is. Each reason is one sentence without a full stop.
pub fn unhealthy(member: &Member, wall: UnixNanos) -> Vec<String> {
    let phase = match member.phase {
        ServerPhase::Starting => Some("it is starting"),
        ServerPhase::Serving => None,
        ServerPhase::LameDuck => Some("it is a lame duck: it accepts no connections and will end"),
        ServerPhase::Draining => Some("it is ending"),
    };
    let journal = (!member.takes_reports())
        .then_some("its journal is broken, so it refuses reports; see the ERROR lines of its log");
    let is_expired = member.peer_tls.as_ref().is_some_and(|tls| tls.left(wall)[0].is_zero());
    let certificate =
        is_expired.then_some("its certificate has expired: renew it, and send SIGHUP");
    let is_expired = member.access.tls.as_ref().is_some_and(|tls| tls.left(wall).is_zero());
    let for_clients =
        is_expired.then_some("its certificate for clients has expired: renew it, and send SIGHUP");
    let reasons =
        [phase, journal, certificate, for_clients].into_iter().flatten().map(str::to_owned);
    let log = crate::log::failure().map(|why| format!("its log cannot be written: {why}"));
    reasons.chain(log).collect()
}

/// Whether a server is healthy, in words: `healthy`, or the `reasons` why it is not.
pub fn verdict(reasons: &[String]) -> String {
    if reasons.is_empty() { "healthy".to_owned() } else { reasons.join("; ") }
}

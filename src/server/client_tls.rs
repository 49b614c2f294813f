//! Ports for clients that speak TLS: the second client port, and the HTTP port with `tls = true`.
//!
//! In: accepted connections. Out: [`Tls`](crate::net::tls::Tls) around the protocol of the plain port. So the plain ports know
//! nothing of TLS, and pay nothing for it.
//!
//! | state | begins | ends at the latest after | then |
//! |---|---|---|---|
//! | handshake | with the connection | `client_tls_ms`, `client_tls_bytes`, or `client_tls_handshakes` newer ones | close |
//! | the inner protocol's | with the end of the handshake | as on the plain port | |

use super::member::{Cx, Member, log_name};
use crate::net::tls::HandshakeLimit;
use crate::net::tls::clients::PortSpeaks;
use crate::wire::command::Command;
use herd_reactor::{CloseReason, Protocol, Transport};

/// Makes the protocol of a connection that speaks TLS with `build`, which counts it. Returns `None` if the connection is
/// turned away.
pub(super) fn inside_tls<P: Protocol<Member> + 'static>(
    cx: &mut Cx<'_>,
    speaks: PortSpeaks,
    build: impl FnOnce(&mut Cx<'_>) -> Option<P>,
) -> Option<Box<dyn Protocol<Member>>> {
    let Member { access, limits, .. } = &*cx.state;
    let (bytes, most) = (limits.client_tls_bytes, limits.client_tls_handshakes);
    let time = Some(("client_tls_ms", limits.client_tls));
    let limit = HandshakeLimit { key: "client_tls_bytes", bytes, time };
    // A port that speaks TLS is only opened with a certificate, and a reload keeps one.
    let accepted = access.tls.as_ref()?.ports.accept(speaks, limit);
    let accepted = accepted.map_err(|e| log::error!("cannot set up TLS for a client: {e}")).ok()?;
    let inner = build(cx)?;
    cx.state.client_handshakes.begun(cx.core, cx.id, most);
    Some(Box::new(accepted.around(inner)))
}

/// Closes the connection of a client whose certificate a reload has made invalid.
pub(super) fn check_again(cx: &mut Cx<'_>, protocol: &'static str) {
    let shown = cx.transport().map_or(&[][..], Transport::peer_certificates);
    let tls = cx.state.access.tls.as_ref();
    let why = tls.and_then(|tls| tls.ports.distrust(shown, cx.core.wall()));
    if let Some(why) = why {
        log::warn!("{}: its certificate is no longer valid: {why}", log_name(protocol, cx.id));
        let why = "its certificate is no longer valid".into();
        cx.core.abort_because(cx.id, CloseReason::ProtocolFailed(why));
    }
}

/// Returns the key and the value that forbid `command` to the client, because of the certificate that it presented or not.
#[cold]
pub(super) fn forbidden(
    cx: &Cx<'_>,
    command: &Command<'_>,
) -> Option<(&'static str, &'static str)> {
    let tls = cx.state.access.tls.as_ref()?;
    let shown = cx.transport()?.peer_certificates();
    if tls.lacks(shown) {
        return Some(("certificates", "\"required\""));
    }
    if !tls.is_limited() {
        return None;
    }
    let caller = tls.caller(shown);
    match command {
        Command::Iamat(iamat) if !caller.may_write(iamat.client) => Some(("own_id_only", "true")),
        Command::Whatsat(whatsat) if !caller.may_read_id(whatsat.client) => {
            Some(("ask", "\"own\""))
        }
        _ => None,
    }
}

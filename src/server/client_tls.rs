//! Ports for clients that speak TLS: the second client port, and the HTTP port with `tls = true`.
//!
//! In: accepted connections. Out: [`Tls`](crate::net::tls::Tls) around the protocol of the plain port. So the plain ports know
//! nothing of TLS, and pay nothing for it.
//!
//! | state | begins | ends at the latest after | then |
//! |---|---|---|---|
//! | handshake | with the connection | `client_tls_ms`, `client_tls_bytes`, or `client_tls_handshakes` newer ones | close |
//! | the inner protocol's | with the end of the handshake | as on the plain port | |

use super::member::{Cx, Member};
use crate::net::tls::HandshakeLimit;
use crate::net::tls::clients::PortSpeaks;
use crate::wire::command::Command;
use herd_reactor::Protocol;

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

/// Returns why the client's certificate does not allow `command` by the settings `own_id_only` and `ask`, if it does not.
#[cold]
pub(super) fn forbidden(cx: &Cx<'_>, command: &Command<'_>) -> Option<&'static str> {
    let tls = cx.state.access.tls.as_ref().filter(|tls| tls.is_limited())?;
    let caller = tls.caller(cx.transport()?.peer_certificates());
    match command {
        Command::Iamat(iamat) if !caller.may_write(iamat.client) => {
            Some("its certificate is not for this id, and own_id_only is set")
        }
        Command::Whatsat(whatsat) if !caller.may_read_id(whatsat.client) => {
            Some("its certificate is not for this id, and ask = \"own\" is set")
        }
        _ => None,
    }
}

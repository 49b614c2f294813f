//! The greeting of a server of NATS, and the TLS that begins after it.
//!
//! A server says INFO in plain text. Where the topology wants TLS, the handshake follows on the same connection, and all
//! else is inside it.

use super::NAME;
use crate::nats::{NatsReader, ServerInfo, ServerOp};
use crate::server::member::{Cx, Member};
use herd_reactor::{CloseReason, Filter, Flow, Protocol, TimerId};

/// Adopts what the server says of itself. Returns whether the connection should end, because the server will, and another
/// one is known.
pub(super) fn adopt(cx: &mut Cx<'_>, info: ServerInfo) -> bool {
    let Some(port) = &mut cx.state.bus else { return false };
    let leaves = info.ldm && port.has_others();
    // A server may repeat INFO at any time.
    if info.ldm && !port.info.as_ref().is_some_and(|before| before.ldm) {
        let (name, url) = (NAME, &port.url);
        log::info!("{name}: the server at {url} ends soon");
    }
    port.heard(info);
    leaves
}

/// What an operator can do about an error of the server, as the end of a sentence.
pub(crate) fn remedy(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    let remedies = [
        (
            "authorization violation",
            "; check the login in `credentials` or in the URL of [bus]; its account must have JetStream",
        ),
        ("authentication", "; renew the file that `credentials` in [bus] names"),
        (
            "permissions violation",
            "; docs/bus.md lists the subjects that the herd's user must be allowed",
        ),
        ("maximum payload", "; raise `max_payload` in NATS's configuration"),
        ("maximum connections", "; raise `max_connections` in NATS's configuration"),
        ("slow consumer", "; this server reads too slowly: see its loop lag in `herd status`"),
        (
            "stale connection",
            "; this server was too busy to answer: see its loop lag in `herd status`",
        ),
        ("secure connection", "; write tls:// in `nats` of [bus]"),
    ];
    remedies.iter().find(|(start, _)| text.contains(start)).map_or("", |(_, remedy)| remedy)
}

/// A connection whose protocol begins inside TLS after INFO.
#[derive(Debug)]
pub(super) struct Greeting<P> {
    reader: NatsReader,
    /// What came so far of INFO.
    received: Vec<u8>,
    is_greeted: bool,
    inner: P,
}

impl<P> Greeting<P> {
    pub(super) fn new(inner: P) -> Greeting<P> {
        Greeting { reader: NatsReader::new(0), received: Vec::new(), is_greeted: false, inner }
    }

    /// Handles bytes in plain text: INFO, and nothing behind it.
    fn greeted(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Flow {
        self.received.extend_from_slice(data);
        let (taken, op) = self.reader.read(&self.received)?;
        match op {
            None => return Ok(()),
            Some(ServerOp::Info(json)) if taken == self.received.len() => {
                let info = ServerInfo::parse(json)?;
                if !info.tls_required && !info.tls_available {
                    return Err(
                        "it offers no TLS; write tls in its configuration, or insecure_nats".into(),
                    );
                }
                if adopt(cx, info) {
                    return Err("it ends soon".into());
                }
            }
            Some(_) => return Err("its first line is not INFO alone".into()),
        }
        self.is_greeted = true;
        self.received = Vec::new();
        Ok(())
    }
}

impl<P: Filter<Member>> Protocol<Member> for Greeting<P> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<Member>> {
        Some(self)
    }

    fn data_received(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Flow {
        if self.is_greeted {
            return self.inner.data_received(cx, data);
        }
        self.greeted(cx, data)?;
        match self.is_greeted {
            true => self.inner.connection_made(cx),
            false => Ok(()),
        }
    }

    fn read_connection_lost(&mut self, cx: &mut Cx<'_>) -> Flow {
        match self.is_greeted {
            true => self.inner.read_connection_lost(cx),
            false => Err("it closed the connection before INFO".into()),
        }
    }

    fn resume_producing(&mut self, cx: &mut Cx<'_>) -> Flow {
        match self.is_greeted {
            true => self.inner.resume_producing(cx),
            false => Ok(()),
        }
    }

    fn message(
        &mut self,
        cx: &mut Cx<'_>,
        message: <Member as herd_reactor::Shared>::Message,
    ) -> Flow {
        self.inner.message(cx, message)
    }

    fn timer(&mut self, cx: &mut Cx<'_>, timer: TimerId) -> Flow {
        self.inner.timer(cx, timer)
    }

    fn shutting_down(&mut self, cx: &mut Cx<'_>) -> Flow {
        match self.is_greeted {
            true => self.inner.shutting_down(cx),
            false => {
                cx.lose_connection();
                Ok(())
            }
        }
    }

    fn connection_lost(&mut self, cx: &mut Cx<'_>, why: &CloseReason) {
        self.inner.connection_lost(cx, why);
    }
}

impl<P: Filter<Member>> Filter<Member> for Greeting<P> {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        match self.is_greeted {
            true => self.inner.encode(plain, wire, closing),
            false => Ok(()),
        }
    }
}

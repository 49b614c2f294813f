//! TLS as one more protocol. On the outside it is a [`Protocol`] of the reactor, which receives the bytes from the
//! wire. On the inside it acts as the transport of the protocol that it wraps.
//!
//! ```text
//!   wire ──data_received──▶ rustls ──plaintext──▶ inner.data_received
//!   wire ◀──── encode ───── rustls ◀──plaintext── whatever was written to the connection
//! ```
//!
//! The inner protocol writes to its connection as if TLS were not there, and so may any code that knows the
//! connection's id. Written bytes wait in the transport as plaintext. Once a turn, the reactor has this filter
//! encode them, and then sends them.
//!
//! rustls does no input or output of its own. It takes at most 4 KiB of wire bytes at a time, and holds at most 16
//! KiB of plaintext. So bytes are passed in, processed and taken out in a loop until none are left: no event would
//! announce decrypted bytes that stayed inside.
//!
//! Both sides of a connection are wrapped in the same way. Where both sides present a certificate ([`mutual`]), the
//! peer's certificates are stored in the transport, and the inner protocol determines the peer's name from them.
//!
//! Twisted: protocols/tls.py, TLSMemoryBIOProtocol. Differences: bytes written after lose_connection are dropped on
//! plain TCP too; we do not wait for the peer's close_notify.

pub mod cert_info;
pub mod clients;
pub mod mutual;
pub mod pem;

use self::mutual::LoopClock;
use herd_reactor::{
    CloseReason, Context, Core, Filter, Flow, Protocol, Shared, TimerId, Transport,
};
use rustls::pki_types::ServerName;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, InvalidMessage, OtherError,
    ServerConfig, ServerConnection,
};
use std::error::Error;
use std::fmt;
use std::io::{BufRead, ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

/// One side of a TLS connection, around the protocol that it carries.
///
/// `connection_made` of the inner protocol is called when the handshake is done; `connection_lost` is called in any
/// case, even if the handshake failed.
#[derive(Debug)]
pub struct Tls<P> {
    tls: Connection,
    inner: P,
    /// For mutual TLS, while the handshake is in progress.
    proof: Option<MutualHandshake>,
    /// Whether the handshake is done, and `connection_made` of the inner protocol was called.
    made: bool,
    /// Whether the peer has sent close_notify.
    ended: bool,
    /// The inner protocol has not been told of that yet: it has paused reading, and may have kept bytes that came before.
    end_is_due: bool,
    /// Whether we have sent close_notify.
    closed: bool,
}

/// How much a peer may send, and how long it may take, before it has proved its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimit {
    /// The key of the limit in the topology, for the error.
    pub key: &'static str,
    /// The limit in bytes. Beyond it the connection is closed, after at most 4 KiB more were read.
    pub bytes: usize,
    /// The key of the time limit, and the limit; `None` if the inner protocol limits the time.
    pub time: Option<(&'static str, Duration)>,
}

/// A handshake in which the peer must present a certificate.
#[derive(Debug)]
struct MutualHandshake {
    /// The clock by which the certificate is verified.
    clock: Arc<LoopClock>,
    limit: HandshakeLimit,
    received: usize,
    /// When it ends at the latest.
    timer: Option<TimerId>,
}

impl MutualHandshake {
    /// Counts received bytes. Fails if they exceed the limit.
    fn received<S: Shared>(&mut self, core: &mut Core<S>, bytes: usize) -> Flow {
        let HandshakeLimit { key, bytes: most, .. } = self.limit;
        self.received += bytes;
        if self.received <= most {
            return Ok(());
        }
        core.limit_hit(key, most, 1, "handshakes closed");
        Err(format!("its TLS handshake exceeds {key} ({most} bytes)").into())
    }

    /// Stops the time.
    fn ended<S: Shared>(self, core: &mut Core<S>) {
        if let Some(timer) = self.timer {
            let _ = core.cancel(timer);
        }
    }
}

impl<P> Tls<P> {
    /// The client's side of a connection to `server`, whose certificate must be valid for that name.
    pub fn client(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
        inner: P,
    ) -> Result<Tls<P>, rustls::Error> {
        Ok(Tls::new(ClientConnection::new(config, server)?.into(), inner))
    }

    /// The server's side of a connection.
    pub fn server(config: Arc<ServerConfig>, inner: P) -> Result<Tls<P>, rustls::Error> {
        Ok(Tls::new(ServerConnection::new(config)?.into(), inner))
    }

    /// Wraps `inner` instead, before the connection is made.
    pub fn around<Q>(self, inner: Q) -> Tls<Q> {
        Tls { proof: self.proof, ..Tls::new(self.tls, inner) }
    }

    fn new(mut tls: Connection, inner: P) -> Tls<P> {
        // The protocol that writes limits the bytes. With a limit here, rustls would reject bytes, which would be lost.
        tls.set_buffer_limit(None);
        Tls { tls, inner, proof: None, made: false, ended: false, end_is_due: false, closed: false }
    }

    /// Makes the handshake mutual: the peer's certificates are verified at the time of `clock`, and stored in the
    /// transport. `limit` holds until then.
    fn proving(self, clock: Arc<LoopClock>, limit: HandshakeLimit) -> Tls<P> {
        Tls { proof: Some(MutualHandshake { clock, limit, received: 0, timer: None }), ..self }
    }

    /// Passes decrypted bytes to the inner protocol.
    fn deliver<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: Protocol<S>,
    {
        let Tls { tls, inner, proof, made, ended, end_is_due, .. } = self;
        if !*made && !tls.is_handshaking() {
            *made = true;
            if let Some(proof) = proof.take() {
                proof.ended(cx.core);
                let shown = tls.peer_certificates().unwrap_or_default();
                cx.core
                    .note_peer_certificates(cx.id, shown.iter().map(|der| der.to_vec()).collect());
            }
            inner.connection_made(cx)?;
        }
        loop {
            let mut reader = tls.reader();
            let plain = match reader.fill_buf() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                plain => plain?,
            };
            if plain.is_empty() {
                *end_is_due |= !std::mem::replace(ended, true);
                return self.end_if_due(cx);
            }
            let count = plain.len();
            if cx.transport().is_some_and(Transport::is_connected) {
                inner.data_received(cx, plain)?;
            }
            reader.consume(count);
        }
    }
}

impl<P> Tls<P> {
    /// Tells the inner protocol that the peer has ended its side, unless it has paused reading. On plain TCP nothing is read
    /// meanwhile, either.
    fn end_if_due<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: Protocol<S>,
    {
        if self.end_is_due && cx.transport().is_some_and(Transport::is_delivering) {
            self.end_is_due = false;
            return self.inner.read_connection_lost(cx);
        }
        Ok(())
    }
}

impl<S: Shared, P: Protocol<S>> Protocol<S> for Tls<P> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        Some(self)
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        // The client sends its ClientHello first.
        cx.core.encode_later(cx.id);
        if let Some(proof) = &mut self.proof {
            proof.timer = proof.limit.time.map(|(_, time)| cx.core.timer_later(cx.id, time));
        }
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        if let Some(proof) = &self.proof {
            proof.clock.set(cx.wall());
        }
        let mut rest = data;
        while !rest.is_empty() {
            let taken = self.tls.read_tls(&mut rest)?;
            if taken == 0 {
                // After the peer's close_notify rustls accepts no more bytes.
                break;
            }
            if let Some(proof) = &mut self.proof {
                proof.received(cx.core, taken)?;
            }
            let processed = self.tls.process_new_packets();
            if self.tls.wants_write() {
                // rustls wants to send a part of the handshake or, after an error, the alert for it.
                cx.core.encode_later(cx.id);
            }
            // Records before a bad one are valid, and may be all that the protocol was waiting for. But nothing in a
            // failed handshake is valid.
            if processed.is_ok() || self.made {
                self.deliver(cx)?;
            }
            processed.map_err(BadPeer)?;
        }
        Ok(())
    }

    /// A stream may end only after the peer's close_notify; otherwise an attacker on the path could end it. The inner
    /// protocol receives the reason, since it may not matter: many servers close an idle connection like this.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        let why = (!self.ended).then(|| {
            let what = "the peer closed the connection without a TLS close_notify";
            log::debug!("{},{}: {what}", self.inner.name(), cx.id.generation());
            CloseReason::ProtocolFailed(what.into())
        });
        cx.core.lose_because(cx.id, why);
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.resume_producing(cx)?;
        self.end_if_due(cx)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)?;
        self.end_if_due(cx)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        if let Some(MutualHandshake { limit, timer: due, .. }) = &self.proof
            && *due == Some(timer)
            && let Some((key, time)) = limit.time
        {
            let who = format_args!("{},{}", self.inner.name(), cx.id.generation());
            let value = format_args!("{}, reached by {who}", time.as_millis());
            cx.core.limit_hit(key, value, 1, "connections closed");
            cx.core.abort_because(cx.id, CloseReason::TimeoutError("TLS handshake"));
            return Ok(());
        }
        self.inner.timer(cx, timer)?;
        self.end_if_due(cx)
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        if let Some(proof) = self.proof.take() {
            proof.ended(cx.core);
        }
        self.inner.connection_lost(cx, why);
    }
}

impl<S: Shared, P: Protocol<S>> Filter<S> for Tls<P> {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        if !self.tls.is_handshaking() {
            self.tls.writer().write_all(plain)?;
            plain.clear();
        }
        if closing && !self.closed {
            self.closed = true;
            self.tls.send_close_notify();
            plain.clear();
        }
        while self.tls.wants_write() {
            self.tls.write_tls(wire)?;
        }
        Ok(())
    }
}

/// The peer presented no acceptable certificate, or does not speak TLS. A retry would fail in the same way.
#[derive(Debug)]
pub(crate) struct BadPeer(rustls::Error);

impl Error for BadPeer {}

/// Leaves out the names in the peer's certificate: the peer chooses them and their number, so they must not be
/// logged.
impl fmt::Display for BadPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match &self.0 {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                f.write_str("it does not speak TLS")
            }
            rustls::Error::NoCertificatesPresented => f.write_str("it presented no certificate"),
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                f.write_str("invalid peer certificate: not valid for name")
            }
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
                if why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                f.write_str(
                    "invalid peer certificate: it is a CA certificate (CA:TRUE); the peer needs one that the CA has \
                     issued, or one made by openssl req -x509 with \
                     -addext basicConstraints=critical,CA:FALSE",
                )
            }
            why => why.fmt(f),
        }
    }
}

//! TLS as one more protocol: outside it is a [`Protocol`] of the reactor, fed with what came over the
//! wire; inside it is what a transport is to the protocol it wraps.
//!
//! ```text
//!   wire ──data_received──▶ rustls ──plaintext──▶ inner.data_received
//!   wire ◀──── encode ───── rustls ◀──plaintext── whatever was written to the connection
//! ```
//!
//! The inner protocol writes to its connection as if nothing stood between, and so may anybody who
//! knows its id: what is written lies in the transport as plaintext, and once a turn, before it is
//! sent, the reactor has it encoded here.
//!
//! rustls does no input or output of its own. It takes at most 4 KiB of wire at a time, and at most
//! 16 KiB of plaintext may wait in it, so bytes go in, are processed and taken out in turns until
//! none are left: decrypted bytes that stayed inside would never be announced by any event.
//!
//! Either side of a connection is wrapped alike. Where both sides show a certificate ([`mutual`]), what
//! the peer has shown is noted in the transport, for the inner protocol to decide who that is.
//!
//! Twisted: protocols/tls.py, TLSMemoryBIOProtocol. Differences: what is written after
//! lose_connection is dropped on plain TCP too; our close_notify is not waited upon.

pub mod cert_info;
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

/// One side of a TLS connection, around the protocol that it carries.
///
/// The inner protocol hears `connection_made` when the handshake is done, and `connection_lost` in any
/// case, also when there was no handshake.
#[derive(Debug)]
pub struct Tls<P> {
    tls: Connection,
    inner: P,
    /// Of mutual TLS, while the handshake goes on.
    proof: Option<MutualHandshake>,
    /// The handshake is done, and the inner protocol knows.
    made: bool,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have.
    closed: bool,
}

/// What one stranger may send before it has proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimit {
    /// Under which name the limit is known, for the error.
    pub key: &'static str,
    /// Bytes; beyond them the connection is lost. At most 4 KiB more are read.
    pub bytes: usize,
}

/// A handshake in which the peer has to prove who it is.
#[derive(Debug)]
struct MutualHandshake {
    /// By which its certificate is judged.
    clock: Arc<LoopClock>,
    limit: HandshakeLimit,
    received: usize,
}

impl MutualHandshake {
    /// So much more was received.
    fn received<S: Shared>(&mut self, core: &mut Core<S>, bytes: usize) -> Flow {
        let HandshakeLimit { key, bytes: most } = self.limit;
        self.received += bytes;
        if self.received <= most {
            return Ok(());
        }
        core.limit_hit(key, most, 1, "handshakes closed");
        Err(format!("its TLS handshake is longer than {key}").into())
    }
}

impl<P> Tls<P> {
    /// A connection to `server`, whose certificate must be valid for that name.
    pub fn client(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
        inner: P,
    ) -> Result<Tls<P>, rustls::Error> {
        Ok(Tls::new(ClientConnection::new(config, server)?.into(), inner))
    }

    /// A connection from somebody.
    pub fn server(config: Arc<ServerConfig>, inner: P) -> Result<Tls<P>, rustls::Error> {
        Ok(Tls::new(ServerConnection::new(config)?.into(), inner))
    }

    fn new(mut tls: Connection, inner: P) -> Tls<P> {
        // What is written is bounded by who writes; what rustls would not take would be lost here.
        tls.set_buffer_limit(None);
        Tls { tls, inner, proof: None, made: false, ended: false, closed: false }
    }

    /// The same, and the certificates that the peer shows are judged by `clock` and kept in the
    /// transport; no more than `limit` is read before that.
    fn proving(self, clock: Arc<LoopClock>, limit: HandshakeLimit) -> Tls<P> {
        Tls { proof: Some(MutualHandshake { clock, limit, received: 0 }), ..self }
    }

    /// Hands on what has been decrypted.
    fn deliver<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: Protocol<S>,
    {
        let Tls { tls, inner, proof, made, ended, .. } = self;
        if !*made && !tls.is_handshaking() {
            *made = true;
            if proof.take().is_some() {
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
                return match std::mem::replace(ended, true) {
                    false => inner.read_connection_lost(cx),
                    true => Ok(()),
                };
            }
            let count = plain.len();
            if cx.transport().is_some_and(Transport::is_connected) {
                inner.data_received(cx, plain)?;
            }
            reader.consume(count);
        }
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
        // There is a ClientHello to be sent.
        cx.core.encode_later(cx.id);
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
                // After the peer's close_notify nothing more is taken.
                break;
            }
            if let Some(proof) = &mut self.proof {
                proof.received(cx.core, taken)?;
            }
            let processed = self.tls.process_new_packets();
            if self.tls.wants_write() {
                // A part of the handshake; or, after an error, the alert that names it.
                cx.core.encode_later(cx.id);
            }
            // Records that came before a bad one are good, and may be all that was waited for. Of a
            // handshake that fails nothing is good.
            if processed.is_ok() || self.made {
                self.deliver(cx)?;
            }
            processed.map_err(BadPeer)?;
        }
        Ok(())
    }

    /// The stream may end only after the peer has said so: else anybody on the way could end it. To
    /// whom that matters is told why; many servers do so to a connection that lies idle.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        let why = (!self.ended).then(|| {
            let what = "the TLS connection was cut off";
            log::debug!("{},{}: {what}", self.inner.name(), cx.id.generation());
            CloseReason::ProtocolFailed(what.into())
        });
        cx.core.lose_because(cx.id, why);
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.resume_producing(cx)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        self.inner.timer(cx, timer)
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
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

/// What the peer has sent proves nothing, or is not TLS: the next connection would end the same.
#[derive(Debug)]
pub(crate) struct BadPeer(rustls::Error);

impl Error for BadPeer {}

/// A peer chooses the names in its certificate, and how many: they are for no log.
impl fmt::Display for BadPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match &self.0 {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                f.write_str("it does not speak TLS")
            }
            rustls::Error::NoCertificatesPresented => f.write_str("it shows no certificate"),
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                f.write_str("invalid peer certificate: not valid for name")
            }
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why)))
                if why.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) =>
            {
                f.write_str(
                    "invalid peer certificate: it is an authority's own (CA:TRUE); give the peer one that \
                     the authority has issued, or that openssl req -x509 has made with \
                     -addext basicConstraints=critical,CA:FALSE",
                )
            }
            why => why.fmt(f),
        }
    }
}

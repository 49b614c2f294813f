//! TLS as one more protocol: outside it is a [`Protocol`] of the reactor, fed with what came over the
//! wire; inside it is what a transport is to the protocol it wraps.
//!
//! ```text
//!   wire ──data_received──▶ rustls ──plaintext──▶ inner.data_received
//!   wire ◀──── seal ─────── rustls ◀──plaintext── whatever was written to the connection
//! ```
//!
//! The inner protocol writes to its connection as if nothing stood between, and so may anybody who
//! knows its id: what is written lies in the transport as plaintext, and once a turn, before it is
//! sent, the reactor has it sealed here.
//!
//! rustls does no input or output of its own. It takes at most 4 KiB of wire at a time, and at most
//! 16 KiB of plaintext may wait in it, so bytes go in, are processed and taken out in turns until
//! none are left: decrypted bytes that stayed inside would never be announced by any event.
//!
//! Twisted: protocols/tls.py, TLSMemoryBIOProtocol. Differences: what is written after
//! lose_connection is dropped on plain TCP too; our close_notify is not waited upon.

use crate::reactor::{CloseReason, Context, Flow, Protocol, Shared};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection};
use std::error::Error;
use std::io::{BufRead, ErrorKind, Write};
use std::sync::Arc;

/// The client's side of a TLS connection, around the protocol that it carries.
///
/// The inner protocol hears `connection_made` when the handshake is done, and `connection_lost` in any
/// case, also when there was no handshake.
#[derive(Debug)]
pub struct Tls<P> {
    tls: ClientConnection,
    inner: P,
    /// The handshake is done, and the inner protocol knows.
    made: bool,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have.
    closed: bool,
}

impl<P> Tls<P> {
    /// A connection to `server`, whose certificate must be valid for that name.
    pub fn new(
        config: Arc<ClientConfig>,
        server: ServerName<'static>,
        inner: P,
    ) -> Result<Tls<P>, rustls::Error> {
        let mut tls = ClientConnection::new(config, server)?;
        // What is written is bounded by who writes; what rustls would not take would be lost here.
        tls.set_buffer_limit(None);
        Ok(Tls { tls, inner, made: false, ended: false, closed: false })
    }

    /// Hands on what has been decrypted.
    fn deliver<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: Protocol<S>,
    {
        let Tls { tls, inner, made, ended, .. } = self;
        if !*made && !tls.is_handshaking() {
            *made = true;
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
            if stands(cx) {
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

    fn is_sealing(&self) -> bool {
        true
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        // There is a ClientHello to be sent.
        cx.core.seal_later(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        let mut rest = data;
        // After the peer's close_notify nothing more is taken.
        while !rest.is_empty() && self.tls.read_tls(&mut rest)? > 0 {
            let processed = self.tls.process_new_packets();
            if self.tls.wants_write() {
                // A part of the handshake; or, after an error, the alert that names it.
                cx.core.seal_later(cx.id);
            }
            processed.map_err(in_our_words)?;
            self.deliver(cx)?;
        }
        Ok(())
    }

    fn seal(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
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

    /// The stream may end only after the peer has said so: else anybody on the way could end it.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        match self.ended {
            true => {
                cx.lose_connection();
                Ok(())
            }
            false => Err("the TLS connection was cut off".into()),
        }
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.resume_producing(cx)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, tag: u32) -> Flow {
        self.inner.timer(cx, tag)
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.inner.connection_lost(cx, why);
    }
}

/// A peer chooses the names in its certificate, and how many: they are for no log.
fn in_our_words(why: rustls::Error) -> Box<dyn Error> {
    use CertificateError::{NotValidForName, NotValidForNameContext};
    match why {
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
            "invalid peer certificate: not valid for name".into()
        }
        why => why.into(),
    }
}

fn stands<S: Shared>(cx: &Context<'_, S>) -> bool {
    cx.transport().is_some_and(crate::reactor::Transport::is_connected)
}

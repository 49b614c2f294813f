//! The options of `herd client` for TLS, and a connection that speaks it or not.
//!
//! In: a connected socket. Out: [`Connection`], which reads and writes plaintext. Each of the options switches TLS on.

use super::super::exit::{Exit, Failure};
use super::super::patience::{Patience, Timed};
use crate::fetch::roots::trusting;
use crate::net::tls::pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Stream};
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(super) struct TlsArgs {
    /// Speak TLS, to the port client_tls of a server of the topology; --ca, --cert, --key and --server-name imply it
    #[arg(long, global = true)]
    tls: bool,
    /// The authorities to trust, in PEM [default: those that browsers trust]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client's certificate, in PEM; its key is in --key
    #[arg(long, global = true, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The key of --cert, in PEM
    #[arg(long, global = true, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The name that the server's certificate must have [default: HOST, or NAME.HERD for a server of the topology]
    #[arg(long, global = true, value_name = "NAME")]
    server_name: Option<String>,
}

impl TlsArgs {
    /// Whether the client speaks TLS.
    pub(super) fn is_on(&self) -> bool {
        let has_file = [&self.ca, &self.cert, &self.key].into_iter().any(Option::is_some);
        self.tls || has_file || self.server_name.is_some()
    }

    /// Shakes hands over `socket`, if TLS is on. `name`: the name that the server's certificate must have, unless an
    /// option says another.
    pub(super) fn over(
        &self,
        socket: Socket,
        name: &str,
        patience: Patience,
    ) -> Result<Connection, Failure> {
        let mut wire = Timed { socket, end: Some(patience.end()) };
        let tls = if self.is_on() { Some(self.handshake(&mut wire, name)?) } else { None };
        Ok(Connection { wire, tls })
    }

    fn handshake(
        &self,
        wire: &mut Timed<Socket>,
        name: &str,
    ) -> Result<Box<ClientConnection>, Failure> {
        let name = self.server_name.as_deref().unwrap_or(name);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|e| Failure::config(format!("--server-name {name}: {e}")))?;
        let mut tls = ClientConnection::new(self.config()?, server)
            .map_err(|e| Failure::config(format!("cannot set up TLS: {e}")))?;
        tls.complete_io(wire).map_err(|e| {
            let what = format!("{name}: TLS failed: {e}{}", hint(&e));
            Failure::new(Exit::Unavailable, what)
        })?;
        Ok(Box::new(tls))
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        let builder = trusting(self.ca.as_deref());
        let builder = builder.map_err(|e| Failure::config(format!("--ca: {e}")))?;
        let config = match (&self.cert, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain: Vec<CertificateDer<'_>> = objects(certificate, "certificate")?;
                let key: PrivateKeyDer<'_> = objects(key, "private key")?.swap_remove(0);
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|e| Failure::config(format!("--cert: {e}")))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

fn objects<T: PemObject>(path: &Path, wanted: &str) -> Result<Vec<T>, Failure> {
    pem::read(path, wanted).map(|read| read.0).map_err(Failure::config)
}

/// What to do about a failure of TLS, if one of the options may help.
pub(super) fn hint(error: &io::Error) -> &'static str {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    match error.get_ref().and_then(|e| e.downcast_ref()) {
        Some(Error::InvalidCertificate(Bad::UnknownIssuer)) => {
            "; name the file of its authority with --ca, such as pki/ca.pem"
        }
        Some(Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => "; if it is the right server, say its name with --server-name",
        Some(Error::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure)) => {
            "; show a certificate with --cert and --key"
        }
        Some(Error::AlertReceived(_)) => "; the server's log has the reason",
        Some(Error::InvalidMessage(_)) => "; does this port speak TLS?",
        _ => "",
    }
}

/// A connection to a server, with TLS or without.
#[derive(Debug)]
pub(in crate::cli) struct Connection {
    wire: Timed<Socket>,
    tls: Option<Box<ClientConnection>>,
}

impl Connection {
    /// A connection without TLS.
    pub(in crate::cli) fn plain(socket: Socket) -> Connection {
        Connection { wire: Timed { socket, end: None }, tls: None }
    }

    /// Shakes hands. The certificate of the server must have the name `name`.
    pub(in crate::cli) fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        tls.complete_io(&mut self.wire)?;
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Makes reads and writes fail after `end`.
    pub(in crate::cli) fn fail_after(&mut self, end: Instant) {
        self.wire.end = Some(end);
    }

    /// Makes reads and writes return at once, and never fail because of the time.
    pub(super) fn set_nonblocking(&mut self) -> io::Result<()> {
        self.wire.end = None;
        self.wire.socket.set_nonblocking(true)
    }

    /// The socket, for poll(2).
    pub(super) fn socket(&self) -> &Socket {
        &self.wire.socket
    }

    /// Whether TLS has bytes that could not be sent yet.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Tells the server that no further line comes.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() {
                tls.write_tls(&mut self.wire)?;
            }
        }
        self.wire.socket.shutdown(Shutdown::Write)
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.wire).read(bytes),
            None => self.wire.read(bytes),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => Stream::new(&mut **tls, &mut self.wire).write(bytes),
            None => self.wire.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

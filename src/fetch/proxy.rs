//! The way through a proxy: a connection to it becomes one to the origin, by CONNECT.
//!
//! ```text
//!   wire ◀─ CONNECT origin:443 ─┐
//!   wire ── HTTP/1.1 200 ───────┴──▶ open: from here on all that comes and goes is the inner's
//!   wire ── anything else ─────────▶ the connection is lost, and the fetch was in `FetchPhase::Connect`
//! ```
//!
//! A wrapper around a wrapper: inside is TLS, which never learns that the peer it has reached was not
//! the one it was connected to. So the proxy sees the origin's name, and nothing of what is asked.
//!
//! The proxy's credentials go onto the wire and nowhere else: they are in no `Debug` text and no error.
//!
//! Twisted has none of this; RFC 9110, section 9.3.6.

use super::pool::{self, Fetching, Origin};
use crate::http::{
    HttpError, HttpLimits, Method, Request, RequestError, ResponseProgress, ResponseReader,
};
use crate::log::secret::Secret;
use herd_reactor::{CloseReason, Context, Filter, Flow, Protocol, TimerId};
use std::fmt;
use std::time::Duration;

/// A machine that connects us to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// A name, or an address (of IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// `user:password`.
    pub credentials: Option<Secret>,
}

impl Proxy {
    /// Asks for a tunnel to `origin`.
    ///
    /// # Errors
    ///
    /// The origin's name, or what stands in the credentials, can be in no head.
    pub fn request(&self, origin: &Origin) -> Result<Request, RequestError> {
        let request = match origin.host.contains(':') {
            true => Request::connect(&format!("[{}]", origin.host), origin.port),
            false => Request::connect(&origin.host, origin.port),
        }?;
        match &self.credentials {
            None => Ok(request),
            Some(credentials) => {
                let value = format!("Basic {}", base64(credentials.reveal().as_bytes()));
                request.header("Proxy-Authorization", &value)
            }
        }
    }
}

/// Where it is, without the credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A connection to a proxy, around the filter that is to speak with the origin.
///
/// The inner protocol hears `connection_made` when the tunnel is open, and `connection_lost` in any
/// case.
#[derive(Debug)]
pub struct Tunnel<P> {
    /// Until it is sent.
    request: Option<Request>,
    reader: ResponseReader,
    patience: Duration,
    /// Comes up when the proxy has had its time.
    timer: Option<TimerId>,
    open: bool,
    inner: P,
}

impl<P> Tunnel<P> {
    /// `request`: the one that [asks for it](Proxy::request). `patience`: from the connection to the proxy to the end of its answer's head.
    pub fn new(request: Request, limits: HttpLimits, patience: Duration, inner: P) -> Tunnel<P> {
        let reader = ResponseReader::new(Method::Connect, limits);
        Tunnel { request: Some(request), reader, patience, timer: None, open: false, inner }
    }

    /// Whether the proxy's answer opens the tunnel; not yet, if there is more of it to come.
    fn judge(&self, progress: Result<ResponseProgress, HttpError>) -> Result<bool, String> {
        let status = match &progress {
            Ok(ResponseProgress::Done(response)) => Some(response.status),
            _ => self.reader.status(),
        };
        match (status, progress) {
            // What a refusal says besides is not waited for.
            (Some(status), _) if !(200..300).contains(&status) => {
                Err(format!("it answered {status}"))
            }
            (_, Err(why)) => Err(why.to_string()),
            (_, Ok(ResponseProgress::More)) => Ok(false),
            // In TLS it is for us to speak first.
            (_, Ok(ResponseProgress::Done(response))) if response.leftover > 0 => {
                Err("it sent bytes behind its answer".to_owned())
            }
            (_, Ok(ResponseProgress::Done(_))) => Ok(true),
        }
    }
}

impl<S: Fetching, P: Filter<S>> Protocol<S> for Tunnel<P> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn as_filter(&mut self) -> Option<&mut dyn Filter<S>> {
        Some(self)
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.timer = Some(cx.timer_later(self.patience));
        cx.core.encode_later(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        if self.open {
            return self.inner.data_received(cx, data);
        }
        let progress = self.reader.received(data);
        if self.judge(progress)? {
            self.open = true;
            pool::tunnelled(cx.state, cx.core, cx.id);
            return self.inner.connection_made(cx);
        }
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if self.open {
            return self.inner.read_connection_lost(cx);
        }
        let progress = self.reader.ended();
        self.judge(progress)?;
        cx.lose_connection();
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        match self.open {
            true => self.inner.resume_producing(cx),
            false => Ok(()),
        }
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        if self.timer != Some(timer) {
            return self.inner.timer(cx, timer);
        }
        if !self.open {
            let why = CloseReason::TimeoutError("the answer to CONNECT");
            cx.core.lose_because(cx.id, Some(why));
        }
        Ok(())
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.inner.connection_lost(cx, why);
    }
}

impl<S: Fetching, P: Filter<S>> Filter<S> for Tunnel<P> {
    fn encode(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>, closing: bool) -> Flow {
        if self.open {
            return self.inner.encode(plain, wire, closing);
        }
        if closing {
            plain.clear();
        } else if let Some(request) = self.request.take() {
            request.write(wire);
        }
        Ok(())
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            text.push(match at <= group.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("Aladdin:open sesame", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("~~~???", "fn5+Pz8/"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn the_request_names_the_origin_and_shows_no_credentials() {
        let credentials = Some(Secret::new("me:p4ss").unwrap());
        let proxy = Proxy { host: "proxy".to_owned(), port: 3128, credentials };
        let origin = |host: &str| Origin { secure: true, host: host.to_owned(), port: 443 };
        for (host, line) in [("a.example", "a.example:443"), ("2001:db8::1", "[2001:db8::1]:443")] {
            let request = proxy.request(&origin(host)).unwrap();
            let mut wire = Vec::new();
            request.write(&mut wire);
            let wire = String::from_utf8(wire).unwrap();
            assert!(wire.starts_with(&format!("CONNECT {line} HTTP/1.1\r\nHost: {line}\r\n")));
            assert!(wire.contains("\r\nProxy-Authorization: Basic bWU6cDRzcw==\r\n"), "{wire}");
            let shown = format!("{proxy} {proxy:?} {request:?}");
            assert!(!shown.contains("p4ss") && !shown.contains("bWU6"), "{shown}");
        }
    }
}

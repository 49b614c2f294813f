//! A tunnel through a proxy: CONNECT turns a connection to the proxy into one to the origin.
//!
//! ```text
//!   wire ◀─ CONNECT origin:443 ─┐
//!   wire ── HTTP/1.1 200 ───────┴──▶ open: from here on all bytes belong to the inner protocol
//!   wire ── anything else ─────────▶ the connection is closed; the fetch fails in `FetchPhase::Connect`
//! ```
//!
//! The tunnel is a protocol that wraps the TLS protocol, which does not notice that the connection was made to the
//! proxy. So the proxy sees the origin's name, but nothing of the requests.
//!
//! The proxy's credentials are sent to the proxy and appear nowhere else: in no `Debug` text and in no error.
//!
//! Twisted has no equivalent; RFC 9110, section 9.3.6.

use crate::http::{
    HttpError, HttpLimits, Method, ProxyUrl, Request, RequestError, ResponseProgress,
    ResponseReader, authority,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use herd_reactor::{CloseReason, ConnId, Context, Core, Filter, Flow, Protocol, Shared, TimerId};
use std::fmt;
use std::time::Duration;

impl ProxyUrl {
    /// A request for a tunnel to `port` of `host`.
    ///
    /// # Errors
    ///
    /// The host or the credentials cannot be written in a request.
    pub fn request(&self, host: &str, port: u16) -> Result<Request, RequestError> {
        let request = Request::connect(host, port)?;
        let Some(credentials) = &self.credentials else { return Ok(request) };
        let value = format!("Basic {}", BASE64_STANDARD.encode(credentials.reveal()));
        request.header("Proxy-Authorization", &value)
    }
}

/// Prints host and port, without the credentials.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, Some(self.port)).unwrap_or_default())
    }
}

/// A connection to a proxy, around the filter that speaks with the origin.
///
/// `connection_made` of the inner protocol is called when the tunnel is open; `connection_lost` is called in any
/// case.
#[derive(Debug)]
pub struct Tunnel<S: Shared, P> {
    /// The request, until it is sent.
    request: Option<Request>,
    reader: ResponseReader,
    patience: Duration,
    /// The timer that limits the wait for the proxy's response.
    timer: Option<TimerId>,
    open: bool,
    opened: fn(&mut S, &mut Core<S>, ConnId),
    inner: P,
}

impl<S: Shared, P> Tunnel<S, P> {
    /// `request` comes from [`ProxyUrl::request`]. `patience` is the timeout from the connection to the proxy to
    /// the end of its response's head. `opened` is called when the tunnel is open, before `inner`.
    pub fn new(
        request: Request,
        limits: HttpLimits,
        patience: Duration,
        opened: fn(&mut S, &mut Core<S>, ConnId),
        inner: P,
    ) -> Tunnel<S, P> {
        let reader = ResponseReader::new(Method::Connect, limits);
        Tunnel { request: Some(request), reader, patience, timer: None, open: false, opened, inner }
    }

    /// Whether the proxy's response opens the tunnel; false while it is incomplete. An error if the proxy refuses.
    fn judge(&self, progress: Result<ResponseProgress, HttpError>) -> Result<bool, String> {
        let status = match &progress {
            Ok(ResponseProgress::Done(response)) => Some(response.status),
            _ => self.reader.status(),
        };
        match (status, progress) {
            // The body of a refusal is not needed.
            (Some(status), _) if !(200..300).contains(&status) => {
                Err(format!("it answered {status}"))
            }
            (_, Err(why)) => Err(why.to_string()),
            (_, Ok(ResponseProgress::More)) => Ok(false),
            // In TLS the client speaks first, so bytes after the response are an error.
            (_, Ok(ResponseProgress::Done(response))) if response.leftover > 0 => {
                Err("it sent bytes after its response".to_owned())
            }
            (_, Ok(ResponseProgress::Done(_))) => Ok(true),
        }
    }
}

impl<S: Shared, P: Filter<S>> Protocol<S> for Tunnel<S, P> {
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
            (self.opened)(cx.state, cx.core, cx.id);
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

impl<S: Shared, P: Filter<S>> Filter<S> for Tunnel<S, P> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::secret::Secret;

    #[test]
    fn the_request_names_the_origin_and_shows_no_credentials() {
        let credentials = Some(Secret::new("me:p4ss").unwrap());
        let proxy = ProxyUrl { host: "proxy".to_owned(), port: 3128, credentials };
        for (host, line) in [("a.example", "a.example:443"), ("2001:db8::1", "[2001:db8::1]:443")] {
            let request = proxy.request(host, 443).unwrap();
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

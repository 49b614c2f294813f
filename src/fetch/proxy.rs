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

use crate::http::{
    HttpError, HttpLimits, Method, ProxyUrl, Request, RequestError, ResponseProgress,
    ResponseReader, authority,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use herd_reactor::{CloseReason, ConnId, Context, Core, Filter, Flow, Protocol, Shared, TimerId};
use std::fmt;
use std::time::Duration;

impl ProxyUrl {
    /// Asks for a tunnel to `port` of `host`.
    ///
    /// # Errors
    ///
    /// The host's name, or what stands in the credentials, can be in no head.
    pub fn request(&self, host: &str, port: u16) -> Result<Request, RequestError> {
        let request = Request::connect(host, port)?;
        let Some(credentials) = &self.credentials else { return Ok(request) };
        let value = format!("Basic {}", BASE64_STANDARD.encode(credentials.reveal()));
        request.header("Proxy-Authorization", &value)
    }
}

/// Where it is, without the credentials.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, Some(self.port)).unwrap_or_default())
    }
}

/// A connection to a proxy, around the filter that is to speak with the origin.
///
/// The inner protocol hears `connection_made` when the tunnel is open, and `connection_lost` in any
/// case.
#[derive(Debug)]
pub struct Tunnel<S: Shared, P> {
    /// Until it is sent.
    request: Option<Request>,
    reader: ResponseReader,
    patience: Duration,
    /// Comes up when the proxy has had its time.
    timer: Option<TimerId>,
    open: bool,
    opened: fn(&mut S, &mut Core<S>, ConnId),
    inner: P,
}

impl<S: Shared, P> Tunnel<S, P> {
    /// `request`: the one that [asks for it](ProxyUrl::request). `patience`: from the connection to the proxy to the
    /// end of its answer's head. `opened` is called when the tunnel is open, before `inner`.
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

//! A server's way to the network: its resolver, its connection pool, and how a source's question becomes a
//! request.
//!
//! A source knows neither names nor connections, and the pool knows no source: here the one's question becomes
//! the other's request, and the reply becomes the source's. There is none of this in
//! a server whose source asks nobody.

use crate::fetch::pool::{HttpPool, Origin};
use crate::http::{Request, RequestError, Response};
use crate::net::dns::DnsClient;
use crate::places::{Fetch, Reply, Scheme};

/// The resolver and the pool of a server.
#[derive(Debug)]
pub struct Network {
    /// Names become addresses.
    pub dns: DnsClient,
    /// Requests become responses.
    pub pool: HttpPool,
}

/// What is sent for a source's question, and to whom.
///
/// # Errors
///
/// It would not be HTTP: none of the sources' questions.
pub fn request(fetch: Fetch) -> Result<(Origin, Request), RequestError> {
    let usual = if fetch.scheme == Scheme::Https { 443 } else { 80 };
    let port = Some(fetch.port).filter(|port| *port != usual);
    let target = fetch.target.reveal();
    let request = Request::new(fetch.method, &fetch.host, port, target, fetch.body)?;
    let mut headers = fetch.headers.iter();
    let request =
        headers.try_fold(request, |request, (name, value)| request.header(name, value.reveal()))?;
    let secure = fetch.scheme == Scheme::Https;
    Ok((Origin { secure, host: fetch.host, port: fetch.port }, request))
}

/// A response as a source reads it.
pub fn reply(response: &Response) -> Reply<'_> {
    Reply {
        status: response.status,
        content_type: response.header("Content-Type"),
        content_encoding: response.header("Content-Encoding"),
        retry_after: response.header("Retry-After"),
        date: response.header("Date"),
        body: &response.body,
    }
}

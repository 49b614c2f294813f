//! A server's access to the network: its resolver, its connection pool, and the translation between sources and pool.
//!
//! A source knows neither DNS nor connections, and the pool knows no source: here a source's [`Fetch`] becomes a
//! request of the pool, and the pool's response becomes the source's [`Reply`]. A server whose source does not use the
//! network has no pool; the resolver also looks up the host names of neighbours.

use crate::fetch::pool::{HttpPool, Origin};
use crate::http::{Request, RequestError, Response};
use crate::net::dns::DnsClient;
use crate::places::{Fetch, Reply, Scheme};

/// The resolver and the pool of a server.
#[derive(Debug)]
pub struct Network {
    /// Resolves names to addresses.
    pub dns: DnsClient,
    /// Sends requests and receives responses.
    pub pool: HttpPool,
}

/// Translates a source's `fetch` into a request and the origin to send it to.
///
/// # Errors
///
/// `fetch` cannot be written as HTTP, which no source's fetch causes.
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

/// Translates a response into the form that a source reads.
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

//! A member's way to the network: its resolver, its agent, and how a source's question becomes a request.
//!
//! The one file that knows both the sources of places and the client of HTTPS. There is none of this in
//! a member whose source asks nobody.

use super::member::Member;
use super::place_queries::Inquirer;
use crate::fetch::pool;
use crate::fetch::pool::{Agent, FetchError, FetchId, Fetching, Origin, Trip};
use crate::http::{Request, RequestError, Response};
use crate::net::dns;
use crate::net::dns::{Client, DnsError, LookupId, Resolving};
use crate::places::{Fetch, Method, Reply, Scheme};
use herd_reactor::Core;
use std::net::IpAddr;

/// The resolver and the agent of a member.
#[derive(Debug)]
pub struct Network {
    /// Names become addresses.
    pub dns: Client,
    /// Requests become responses.
    pub agent: Agent,
}

impl Network {
    /// Both, new.
    pub fn new(options: dns::ClientOptions, agent: Agent) -> Network {
        Network { dns: Client::new(options), agent }
    }
}

/// Begins what the questions want fetched, and ends what they want no more.
pub(super) fn fetch_wanted(member: &mut Member, core: &mut Core<Member>) {
    while let Some(id) = member.inquiries.next_unwanted() {
        pool::cancel(member, core, id);
    }
    while let Some((key, fetch)) = member.inquiries.next_wanted() {
        match request(fetch) {
            Ok((origin, request)) => {
                let id = pool::fetch(member, core, origin, request);
                member.inquiries.begun(&key, id);
            }
            Err(why) => member.inquiries.failed(core, &key, &why.to_string()),
        }
    }
}

/// What is sent for a source's question, and to whom.
///
/// # Errors
///
/// It would not be HTTP: none of the sources' questions.
pub fn request(fetch: Fetch) -> Result<(Origin, Request), RequestError> {
    let usual = if fetch.scheme == Scheme::Https { 443 } else { 80 };
    let port = Some(fetch.port).filter(|port| *port != usual);
    let host = match fetch.host.contains(':') {
        true => format!("[{}]", fetch.host),
        false => fetch.host.clone(),
    };
    let target = fetch.target.reveal();
    let request = match fetch.method {
        Method::Get => Request::get(&host, port, target)?,
        Method::Post => Request::post(&host, port, target, fetch.body)?,
    };
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
        content_type: response.content_type(),
        content_encoding: response.content_encoding(),
        retry_after: response.header("Retry-After"),
        date: response.header("Date"),
        body: &response.body,
    }
}

impl Resolving for Member {
    fn dns(&mut self) -> &mut Client {
        &mut self.network().dns
    }

    fn resolved(
        &mut self,
        core: &mut Core<Member>,
        lookup: LookupId,
        result: Result<Vec<IpAddr>, DnsError>,
    ) {
        pool::resolved(self, core, lookup, result);
    }
}

impl Fetching for Member {
    fn agent(&mut self) -> &mut Agent {
        &mut self.network().agent
    }

    fn fetched(
        &mut self,
        core: &mut Core<Member>,
        fetch: FetchId,
        outcome: Result<Response, FetchError>,
        trip: Trip,
    ) {
        log::debug!("Https: {trip:?}");
        self.inquiries().fetched(core, fetch, outcome);
    }
}

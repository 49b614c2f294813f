//! The table of routes, which says which handler answers which method and path; and the checks that every request must
//! pass before its handler sees it.
//!
//! In: a request's head. Out: its route and handler, or the answer that rejects it. The order of the checks:
//!
//! | check | else the answer is |
//! |---|---|
//! | Host is an IP literal, `localhost`, NAME, NAME.HERD, the host name in the server's `client` or `peer`, a name in the certificate, or one of `[http] hosts`, so that no web site can reach a loopback port by DNS rebinding | 421; 400 if the target is absolute |
//! | Expect is `100-continue` | 417 |
//! | the path is a route, in its raw form | 404; 204 for OPTIONS `*` |
//! | the method is one of the route's | 405 with Allow; 204 for OPTIONS |
//! | a write comes from no web site but ours and the allowed ones | 403 |
//! | the segment in braces has no bad escape; it is decoded once | 400 |
//! | the token or the certificate allows the request | 401, 403 |
//! | PUT announces its length | 411 |
//! | the body is not encoded | 415 |
//!
//! The server never redirects, because phone apps lose reports that way.

use super::exchange::{Ask, HttpAnswer};
use super::{clients, events, near, openapi, operations, reports};
use crate::access::{Caller, NoAccess};
use crate::http::{HttpReply, Method, RequestHead, form_pairs, percent_decode};
use crate::server::member::{Cx, Member};
use std::borrow::Cow;
use std::net::IpAddr;

/// Answers a request.
pub(super) type Handler = fn(&mut Cx<'_>, &mut Ask<'_>) -> HttpAnswer;

/// One route.
pub(super) struct Route {
    /// The path. A last segment in braces stands for any one segment.
    pub(super) path: &'static str,
    /// The handler of each method. HEAD has that of GET.
    handlers: &'static [(Method, Handler)],
    /// Whether HEAD is allowed.
    has_head: bool,
    /// Whether GET changes something, as the other methods do.
    get_writes: bool,
    /// What the caller must be allowed to do.
    needs: Needs,
}

/// What the caller of a route must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing.
    Nothing,
    /// To read everything.
    ReadAll,
    /// To read the ids that `client` in the query names; without any, everything.
    ReadNamed,
    /// To report for the id in the path, or to read it with GET.
    OneId,
    /// To report for at least one id. The handler checks each report, and answers 200 even if it allows none: after any
    /// other answer a report with another id would stay at the head of the app's queue for ever.
    WriteSome,
}

const fn route(path: &'static str, handlers: &'static [(Method, Handler)]) -> Route {
    Route { path, handlers, has_head: true, get_writes: false, needs: Needs::WriteSome }
}

impl Route {
    const fn needing(self, needs: Needs) -> Route {
        Route { needs, ..self }
    }
}

use Method::{Get, Post, Put};
use Needs::{Nothing, OneId, ReadAll, ReadNamed};

const REPORT: &[(Method, Handler)] = &[(Get, reports::report), (Post, reports::report)];

/// All routes; the most frequent first. The paths are the values of a metric's label.
pub(super) static ROUTES: &[Route] = &[
    route("/v1/clients/{id}", &[(Put, reports::put), (Get, clients::one)]).needing(OneId),
    route("/owntracks", &[(Post, reports::owntracks)]),
    route("/owntracks/{id}", &[(Post, reports::owntracks)]),
    route("/pub", &[(Post, reports::owntracks)]),
    route("/overland", &[(Post, reports::overland)]),
    route("/overland/{id}", &[(Post, reports::overland)]),
    Route { get_writes: true, has_head: false, ..route("/report", REPORT) },
    Route { get_writes: true, has_head: false, ..route("/report/{id}", REPORT) },
    route("/v1/clients", &[(Get, clients::list)]).needing(ReadAll),
    route("/v1/near", &[(Get, near::near)]).needing(ReadNamed),
    Route { has_head: false, needs: ReadNamed, ..route("/v1/events", &[(Get, events::events)]) },
    route("/healthz", &[(Get, operations::healthz)]).needing(Nothing),
    route("/readyz", &[(Get, operations::readyz)]).needing(Nothing),
    route("/status.json", &[(Get, operations::status)]).needing(ReadAll),
    route("/metrics", &[(Get, operations::metrics)]).needing(ReadAll),
    route("/openapi.json", &[(Get, openapi::document)]).needing(ReadAll),
    route("/", &[(Get, operations::page)]).needing(Nothing),
    route("/assets/{file}", &[(Get, operations::page)]).needing(Nothing),
];

impl Route {
    /// The raw segment of `path` that stands for the one in braces; empty if the route has none; for
    /// `{file}`, all the rest. `None`: another route.
    fn segment<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some((before, _)) = self.path.split_once('{') else {
            return (path == self.path).then_some("");
        };
        let is_one = |segment: &str| self.path.ends_with("{file}") || !segment.contains('/');
        path.strip_prefix(before).filter(|segment| !segment.is_empty() && is_one(segment))
    }

    /// The methods with a handler.
    #[cfg(test)]
    pub(super) fn methods(&self) -> impl Iterator<Item = Method> {
        self.handlers.iter().map(|(method, _)| *method)
    }

    /// The value of Allow.
    fn allow(&self) -> String {
        let mut methods: Vec<_> = self.handlers.iter().map(|(method, _)| method.as_str()).collect();
        if self.has_head && methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.join(", ")
    }
}

/// A request that may be handled.
pub(super) struct Admitted<'a> {
    pub(super) handler: Handler,
    pub(super) caller: Caller,
    pub(super) segment: Option<Cow<'a, [u8]>>,
}

/// The number of the route of `path` in [`ROUTES`], with the raw segment in braces.
pub(super) fn find(path: &str) -> Option<(usize, &str)> {
    ROUTES.iter().enumerate().find_map(|(number, route)| Some((number, route.segment(path)?)))
}

/// Checks the head of a request to the route `found`. `shown`: the certificates of a connection that speaks TLS.
pub(super) fn admit<'a>(
    member: &Member,
    shown: Option<&[Vec<u8>]>,
    head: &RequestHead<'a>,
    found: Option<(usize, &'a str)>,
    origin: &PageOrigin,
) -> Result<Admitted<'a>, HttpReply> {
    let problem = |status, detail: &str| HttpReply::problem(status, detail, None);
    if !is_own_host(member, head.authority) {
        if head.is_absolute {
            return Err(problem(400, "this server is no proxy").closing());
        }
        return Err(problem(421, "this server is not the Host of the request: see [http] hosts"));
    }
    if head.all("Expect").any(|it| !it.eq_ignore_ascii_case(b"100-continue")) {
        return Err(problem(417, "Expect must be 100-continue"));
    }
    if head.path == "*" {
        return Err(HttpReply::empty(204).with("Allow: GET, HEAD, POST, PUT, OPTIONS"));
    }
    let nothing = || problem(404, "there is nothing at this path");
    let (number, segment) = found.ok_or_else(nothing)?;
    let route = &ROUTES[number];
    let is_get = head.method == Get || head.method == Method::Head && route.has_head;
    let method = if is_get { Get } else { head.method };
    let handler = route.handlers.iter().find(|(it, _)| *it == method);
    let (_, handler) = *handler.ok_or_else(|| other_method(route, head, origin))?;
    if *origin == PageOrigin::Foreign && (!is_get || route.get_writes) {
        return Err(problem(403, "this origin may not report here: see [http] allow_origins"));
    }
    let decoded = percent_decode(segment.as_bytes());
    let decoded = decoded.ok_or_else(|| problem(400, "a bad percent-encoding in the path"))?;
    let segment = Some(decoded).filter(|_| route.path.ends_with('}'));
    let caller = authorize(member, shown, head, route.needs, segment.as_deref())?;
    if head.method == Put && !head.announces_body() {
        return Err(problem(411, "PUT needs a Content-Length"));
    }
    let is_encoded = |coding: &[u8]| !coding.eq_ignore_ascii_case(b"identity");
    if head.elements("Content-Encoding").any(is_encoded) {
        return Err(problem(415, "the body must not be encoded").with("Accept-Encoding: identity"));
    }
    Ok(Admitted { handler, caller, segment })
}

/// Returns what the caller may do, or the answer that rejects it because the route `needs` more. `segment`: the id in the
/// path.
fn authorize(
    member: &Member,
    shown: Option<&[Vec<u8>]>,
    head: &RequestHead<'_>,
    needs: Needs,
    segment: Option<&[u8]>,
) -> Result<Caller, HttpReply> {
    if needs == Needs::Nothing {
        return Ok(Caller::everybody());
    }
    // A browser asks its user for a name and a token only if it is challenged for Basic.
    let scheme = if needs == Needs::WriteSome { "Basic" } else { "Bearer" };
    let unknown = |detail| {
        let challenge = format!("WWW-Authenticate: {scheme} realm=\"herd\"");
        HttpReply::problem(401, detail, None).with(&challenge)
    };
    let query = head.query.as_bytes();
    let caller = member.access.caller(shown, head.get("Authorization"), query);
    let caller = caller.map_err(|why| match why {
        NoAccess::Missing => unknown("this server needs a token"),
        NoAccess::Wrong => unknown("this token is not valid here"),
    })?;
    let id = segment.unwrap_or_default();
    let may = match needs {
        Needs::Nothing => true,
        Needs::OneId if head.method == Put => caller.may_write(id),
        Needs::OneId => caller.may_read_id(id),
        Needs::ReadAll => caller.may_read(),
        Needs::ReadNamed => {
            let mut named = form_pairs(query).filter(|(name, _)| **name == *b"client").peekable();
            let is_named = named.peek().is_some();
            caller.may_read() || is_named && named.all(|(_, id)| caller.may_read_id(&id))
        }
        Needs::WriteSome if !caller.may_write_something() => {
            return Err(unknown("this token is not for reports"));
        }
        Needs::WriteSome => true,
    };
    let detail = match (needs, head.method) {
        (Needs::OneId, Put) => "the token or certificate does not allow reports of this client",
        (Needs::OneId, _) => "the token or certificate does not allow reading this client",
        _ => "the token or certificate does not allow reading everything",
    };
    if may { Ok(caller) } else { Err(HttpReply::problem(403, detail, None)) }
}

/// The answer to OPTIONS, and to a method that the route does not have.
fn other_method(route: &Route, head: &RequestHead<'_>, origin: &PageOrigin) -> HttpReply {
    let allow = route.allow();
    let reply = match head.method {
        Method::Options => HttpReply::empty(204),
        _ => HttpReply::problem(405, "this path does not allow this method", None),
    };
    let reply = reply.with(&format!("Allow: {allow}"));
    if head.method != Method::Options || !matches!(origin, PageOrigin::Allowed(_)) {
        return reply;
    }
    reply
        .with(&format!("Access-Control-Allow-Methods: {allow}"))
        .with("Access-Control-Allow-Headers: Authorization, Content-Type, If-None-Match, Last-Event-ID")
        .with("Access-Control-Max-Age: 600")
}

/// The origin of the web page from which a browser sends a request.
#[derive(PartialEq, Eq)]
pub(super) enum PageOrigin {
    /// This server's page, or no page.
    Own,
    /// A page of an allowed origin, here in our spelling.
    Allowed(String),
    /// Any other page.
    Foreign,
}

impl PageOrigin {
    /// The origin of a request.
    pub(super) fn of(member: &Member, head: &RequestHead<'_>) -> PageOrigin {
        let Some(origin) = head.get("Origin") else {
            // A port of the same host is another site's for us, but not for a browser.
            let site = head.get("Sec-Fetch-Site").unwrap_or(b"none");
            let is_own = [&b"same-origin"[..], b"none"].contains(&site);
            return if is_own { PageOrigin::Own } else { PageOrigin::Foreign };
        };
        let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
        let mut all = member.http.allow_origins.iter().chain(&member.http_port.origins);
        match (all.find(|it| **it == origin || *it == "*"), origin.split_once("://")) {
            (Some(allowed), _) => PageOrigin::Allowed(allowed.clone()),
            (None, Some((_, host))) if host.eq_ignore_ascii_case(head.authority) => PageOrigin::Own,
            _ => PageOrigin::Foreign,
        }
    }

    /// The header lines that let a page of an allowed origin read the answer.
    pub(super) fn headers(&self) -> String {
        let PageOrigin::Allowed(origin) = self else { return String::new() };
        let exposed = "ETag, Link, Herd-Verdict, Herd-Dropped, Retry-After";
        format!(
            "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Expose-Headers: {exposed}\r\nVary: Origin\r\n"
        )
    }
}

/// Whether this server answers requests for `authority`. No web site can make an IP literal or `localhost` its own name.
fn is_own_host(member: &Member, authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    };
    // A browser verifies the name in a certificate, so no other site has it.
    let certified = member.access.tls.iter().filter(|_| member.http.tls).flat_map(|it| &it.names);
    let is_named = |name: &String| {
        // One label may be an asterisk.
        let any = name.strip_prefix("*.").zip(host.split_once('.'));
        host.eq_ignore_ascii_case(name)
            || any.is_some_and(|(name, (_, host))| host.eq_ignore_ascii_case(name))
    };
    let mut names = member.http.hosts.iter().chain(&member.http_port.hosts).chain(certified);
    host.is_empty()
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.any(is_named)
}

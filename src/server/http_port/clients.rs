//! Questions about clients: the latest report of one, and all of them page by page.
//!
//! In: GET requests. Out: GeoJSON (`feature.rs`) with an ETag. The ETag of one report is the XXH3 of its AT line. The ETag
//! of a list is a hash of the table's digest, the query, and the time at which the server started. A client that sends an
//! ETag back gets 304 while nothing has changed. For a list the server decides this before it visits any client.
//!
//! The cursor of a page is the number of a slot in the table. The page begins behind that slot, and visits slots until it
//! is full. So without a bbox its cost depends on its own length and not on the table's size, and the cursor stays valid if
//! its slot is freed or reused. A walk over all pages may miss a client that arrives meanwhile, but none that stays.
//!
//! A list is made in slices: the first ones add the lines of changed clients to the digest, the others visit slots. All
//! requests with long work take turns (`slices.rs`), so that their slices together take at most a millisecond of a turn.

use super::NAME;
use super::bounding_box::BoundingBox;
use super::conditional::{etag, is_known, known_etags, not_modified, tagged};
use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::feature::{self, GEO_JSON};
use super::parameters::{count, parsed};
use super::slices::{begin_slices, end_slices, slice_done};
use crate::http::HttpReply;
use crate::server::member::{Cx, Member, Message, log_name};
use crate::wire::report::Report;
use twox_hash::XxHash3_64;

/// Maximum clients of a page.
const LIMIT_MAX: usize = 1_000;

/// A page also ends with the client that makes it this long, in bytes, because ids may be long.
const PAGE_BYTES: usize = 1 << 20;

/// Maximum number of lists in progress, each of which may hold a page in memory. The server rejects further ones.
const LISTS_MAX: usize = 64;

/// Number of slots that a slice visits, or of lines that the first slice adds to the digest. Among 1,000,000 clients a slot
/// takes 140 ns if its client is outside the box. Writing a client takes 0.6 us, and a page has up to 1,000.
const SLICE: usize = 2_048;

/// GET /v1/clients/{id}
pub(super) fn one(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    cx.state.set_window(cx.wall());
    let Some(report) = cx.state.table.latest(ask.segment.as_deref().unwrap_or_default()) else {
        return HttpReply::problem(404, "there is no report of this client", None).into();
    };
    let etag = etag(XxHash3_64::oneshot(report.line()));
    if is_known(&known_etags(ask.head), &etag) {
        return not_modified(&etag).into();
    }
    let mut body = Vec::new();
    feature::write_feature(&mut body, &report);
    tagged(HttpReply::new(200, GEO_JSON, body), &etag).into()
}

/// GET /v1/clients
pub(super) fn list(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    let query = match ListQuery::parse(ask.head.query) {
        Ok(query) => query,
        Err(reply) => return reply.into(),
    };
    if cx.state.http_port.lists >= LISTS_MAX {
        let value = format_args!("{LISTS_MAX}, reached by {}", log_name(NAME, cx.id));
        cx.core.limit_hit("LISTS_MAX", value, 1, "lists of clients refused");
        let reply = HttpReply::problem(503, "too many lists are being made", None);
        return reply.with("Retry-After: 1").into();
    }
    cx.state.http_port.lists += 1;
    begin_slices(cx);
    let next = query.after.map_or(0, |after| after as usize + 1);
    let known = known_etags(ask.head);
    let list = List { query, known, etag: None, slices: 0, next, found: 0, body: Vec::new() };
    HttpAnswer::Waits(Box::new(list))
}

/// The parameters of a request for a list.
#[derive(Clone, Copy, Debug)]
struct ListQuery {
    bbox: Option<BoundingBox>,
    limit: usize,
    /// The slot behind which the page begins.
    after: Option<u32>,
}

impl ListQuery {
    fn parse(query: &str) -> Result<ListQuery, HttpReply> {
        const BBOX: &str =
            "four numbers, west,south,east,north, in degrees, with south at most north";
        let bbox = parsed(query, "bbox", BBOX, BoundingBox::parse)?;
        let limit =
            parsed(query, "limit", "a number from 1 to 1000", |text| count(text, LIMIT_MAX))?;
        let after = parsed(query, "after", "the cursor of a page's next link", |text| {
            let text = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
            u32::from_str_radix(text, 16).ok()
        })?;
        Ok(ListQuery { bbox, limit: limit.unwrap_or(LIMIT_MAX), after })
    }

    /// The header that links to the page behind the slot `after`.
    fn link(&self, after: usize) -> String {
        let bbox = self.bbox.map_or(String::new(), |bbox| format!("bbox={bbox}&"));
        let query = format!("{bbox}limit={}&after={after:x}", self.limit);
        format!("Link: </v1/clients?{query}>; rel=\"next\"")
    }
}

/// A list that is being made.
#[derive(Debug)]
struct List {
    query: ListQuery,
    /// The ETags that the client sent.
    known: Vec<u8>,
    /// The page's ETag; `None` until the digest is up to date.
    etag: Option<String>,
    /// The number of slices that were used to bring the digest up to date.
    slices: u32,
    /// The slot to visit next.
    next: usize,
    /// The number of clients in `body`.
    found: usize,
    body: Vec<u8>,
}

impl PendingAnswer for List {
    fn message(&mut self, cx: &mut Cx<'_>, message: &Message) -> AnswerStep {
        if !matches!(message, Message::NextSlice) {
            return AnswerStep::Wait;
        }
        cx.state.set_window(cx.wall());
        let reply = match self.etag.clone() {
            Some(etag) => self.visit(cx.state).map(|page| tagged(page, &etag)),
            None => self.compare(cx.state),
        };
        slice_done(cx, reply.is_none());
        reply.map_or(AnswerStep::Wait, AnswerStep::Reply)
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) {
        cx.state.http_port.lists -= 1;
        end_slices(cx);
    }
}

impl List {
    /// Adds lines of changed clients to the digest. When the digest is up to date, compares the ETags.
    fn compare(&mut self, member: &mut Member) -> Option<HttpReply> {
        // Each slice is twice as long as the one before, so a flood of reports cannot delay a list for ever.
        let is_settled = member.table.settle_digest(SLICE << self.slices.min(8));
        self.slices += 1;
        if !is_settled {
            return None;
        }
        let (state, start) = (member.table.state_hash(), member.counters.started);
        let hash = XxHash3_64::oneshot(format!("{state:x} {start:?} {:?}", self.query).as_bytes());
        let etag = &*self.etag.insert(etag(hash));
        feature::begin_collection(&mut self.body);
        is_known(&self.known, etag).then(|| not_modified(etag))
    }

    /// Visits the next slots. Returns the page when it is complete.
    fn visit(&mut self, member: &Member) -> Option<HttpReply> {
        let (table, query) = (&member.table, &self.query);
        let is_inside = |report: &Report<'_>| {
            query.bbox.is_none_or(|bbox| bbox.contains(report.location().degrees()))
        };
        let mut is_full = false;
        let end = table.keys().min(self.next.saturating_add(SLICE));
        while self.next < end && !is_full {
            if let Some(report) = table.served(self.next).filter(is_inside) {
                feature::add_feature(&mut self.body, &report);
                self.found += 1;
                is_full = self.found == query.limit || self.body.len() >= PAGE_BYTES;
            }
            self.next += 1;
        }
        let has_more = self.next < table.keys();
        if has_more && !is_full {
            return None;
        }
        feature::end_collection(&mut self.body);
        let page = HttpReply::new(200, GEO_JSON, std::mem::take(&mut self.body));
        Some(if has_more { page.with(&query.link(self.next - 1)) } else { page })
    }
}

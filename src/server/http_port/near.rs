//! What is near a client or a point: the JSON of a WHATSAT.
//!
//! In: GET requests. Out: an answer that waits for the source of places, as a WHATSAT does; `place_queries.rs` has the
//! limits and the deadline. A connection that ends withdraws its question.
//!
//! | answer of the source | status |
//! |---|---|
//! | places, or none | 200 |
//! | OVER_QUERY_LIMIT: a queue of ours or a quota of the provider's is full | 429 |
//! | UNKNOWN_ERROR: no answer within `places.deadline_ms`, or none that makes sense | 504 |
//! | any other: the provider does not accept our requests | 503 |

use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::parameters::{count, parameter, parsed};
use crate::http::HttpReply;
use crate::phones::degrees;
use crate::places::{self, BOUND_MAX, Query, SearchStatus, Ticket};
use crate::server::member::{Cx, Message};
use crate::server::place_queries::{Answered, query_near};
use crate::wire::command::Radius;
use crate::wire::location::Location;

/// The radius in kilometres if the question has none.
const RADIUS_KM: &[u8] = b"10";

/// The smallest radius, in kilometres.
const RADIUS_KM_MIN: f64 = 0.001;

/// When to ask again after a failure of the source.
const RETRY: &str = "Retry-After: 5";

/// GET /v1/near
pub(super) fn near(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    match question(cx, ask.head.query) {
        Ok((query, bound)) => {
            let ticket = cx.state.place_queries.ask(cx.core, cx.id, query);
            HttpAnswer::Waits(Box::new(Near { ticket, bound }))
        }
        Err(reply) => reply.into(),
    }
}

/// Reads the question: its point, its radius and its limit.
fn question(cx: &mut Cx<'_>, query: &str) -> Result<(Query, usize), HttpReply> {
    let bound = parsed(query, "limit", "from 1 to 20", |text| count(text, BOUND_MAX))?;
    let radius = parsed(query, "radius", "kilometres from 0.001 to 50", radius)?;
    let latitude = parsed(query, "lat", "degrees from -90 to 90", |text| number(text, 90))?;
    let longitude = parsed(query, "lon", "degrees from -180 to 180", |text| number(text, 180))?;
    let location = match (parameter(query, "client")?, latitude, longitude) {
        (Some(client), None, None) => {
            cx.state.set_window(cx.wall());
            let report = cx.state.table.latest(&client);
            let problem = || HttpReply::problem(404, "there is no report of this client", None);
            report.ok_or_else(problem)?.location().text.to_vec()
        }
        (None, Some(latitude), Some(longitude)) => [latitude, longitude].concat(),
        _ => {
            let detail = "the question needs either client, or lat and lon";
            return Err(HttpReply::problem(422, detail, None));
        }
    };
    let radius = Radius { text: radius.as_deref().unwrap_or(RADIUS_KM) };
    Ok((query_near(Location::known(&location), radius), bound.unwrap_or(BOUND_MAX)))
}

/// Returns a number of at most `limit` as a decimal with its sign.
fn number(text: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    degrees(text.trim_ascii(), limit, &mut out).ok().map(|()| out)
}

/// Parses a radius in kilometres.
fn radius(text: &[u8]) -> Option<Vec<u8>> {
    let radius = number(text, 50)?.strip_prefix(b"+")?.to_vec();
    let km = str::from_utf8(&radius).ok()?.parse::<f64>().ok()?;
    (km >= RADIUS_KM_MIN).then_some(radius)
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Near {
    ticket: Ticket,
    bound: usize,
}

impl PendingAnswer for Near {
    fn message(&mut self, _: &mut Cx<'_>, message: &Message) -> AnswerStep {
        match message {
            Message::Answered(Answered(ticket, answer)) if *ticket == self.ticket => {
                AnswerStep::Reply(reply(answer, self.bound))
            }
            _ => AnswerStep::Wait,
        }
    }

    /// Withdraws the question, unless it is answered.
    fn close(self: Box<Self>, cx: &mut Cx<'_>) {
        cx.state.place_queries.forget(cx.core, self.ticket);
    }
}

fn reply(answer: &places::Answer, bound: usize) -> HttpReply {
    let places::Answer::Failed(failure) = answer else {
        let mut body = Vec::with_capacity(answer.bytes(bound));
        answer.write(bound, &mut body);
        return HttpReply::json(200, body);
    };
    let status = match failure.status {
        SearchStatus::OverQueryLimit => 429,
        SearchStatus::UnknownError => 504,
        SearchStatus::RequestDenied | SearchStatus::InvalidRequest => 503,
    };
    HttpReply::problem(status, failure.message.trim_end_matches('.'), None).with(RETRY)
}

//! What operators, their programs and the live page ask a server: whether it is alive and ready, its status, its metrics,
//! and the page's files.
//!
//! In: GET requests. Out: the answer of each. An answer with numbers waits for its slice (`slices.rs`). Reading never
//! changes what another reader sees.

use super::conditional::{is_known, known_etags};
use super::exchange::{AnswerStep, Ask, HttpAnswer, PendingAnswer};
use super::slices::{begin_slices, end_slices, slice_done};
use crate::http::{HttpReply, RequestHead};
use crate::page;
use crate::server::exposition::MetricsFormat::{self, OpenMetrics, Prometheus};
use crate::server::exposition::exposition;
use crate::server::health::{unhealthy, verdict};
use crate::server::member::{Cx, Message};
use crate::server::status;

/// GET /healthz: the loop turns.
pub(super) fn healthz(_cx: &mut Cx<'_>, _ask: &mut Ask<'_>) -> HttpAnswer {
    HttpReply::text(200, "ok\n").into()
}

/// GET /readyz: whether the server is healthy, by the rule of `herd status --healthy`.
pub(super) fn readyz(cx: &mut Cx<'_>, _ask: &mut Ask<'_>) -> HttpAnswer {
    let reasons = unhealthy(cx.state, cx.wall());
    let text = verdict(&reasons) + "\n";
    match reasons.is_empty() {
        true => HttpReply::text(200, text).into(),
        false => HttpReply::text(503, text).with("Retry-After: 10").into(),
    }
}

/// GET /status.json: what the status socket says.
pub(super) fn status(cx: &mut Cx<'_>, _ask: &mut Ask<'_>) -> HttpAnswer {
    NumbersReply::answer(cx, None)
}

/// GET /metrics: for Prometheus and its like.
pub(super) fn metrics(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    // Accept must name OpenMetrics: every client sends `*/*`, and not every client can read OpenMetrics.
    let is_open = accepts(ask.head, "Accept", &["application/openmetrics-text"]);
    NumbersReply::answer(cx, Some(if is_open { OpenMetrics } else { Prometheus }))
}

/// The server's numbers, as metrics in this format, or as JSON. They take some 0.1 to 0.4 ms, so a turn makes them for one
/// connection only.
struct NumbersReply(Option<MetricsFormat>);

impl NumbersReply {
    fn answer(cx: &mut Cx<'_>, format: Option<MetricsFormat>) -> HttpAnswer {
        begin_slices(cx);
        HttpAnswer::Waits(Box::new(NumbersReply(format)))
    }
}

impl PendingAnswer for NumbersReply {
    fn message(&mut self, cx: &mut Cx<'_>, message: &Message) -> AnswerStep {
        let Message::NextSlice = message else { return AnswerStep::Wait };
        slice_done(cx, false);
        let status = status::status(cx.state, cx.core);
        let Some(format) = self.0 else {
            let body = status.to_string().into_bytes();
            return AnswerStep::Reply(HttpReply::json(200, body).with("Cache-Control: no-store"));
        };
        let content_type = match format {
            OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        };
        let text = exposition(format, &[(&cx.state.server.name, status)]);
        let reply = HttpReply::new(200, content_type, text.into_bytes());
        AnswerStep::Reply(reply.with("Vary: Accept"))
    }

    fn close(self: Box<Self>, cx: &mut Cx<'_>) {
        end_slices(cx);
    }
}

/// GET / and GET /assets/{file}: the live page. Its files never change under their names.
pub(super) fn page(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    let Some(asset) = page::asset(ask.head.path.as_bytes()) else {
        return HttpReply::problem(404, "the page has no such file", None).into();
    };
    let is_gzip = accepts(ask.head, "Accept-Encoding", &["gzip", "x-gzip", "*"]);
    let etag = if is_gzip { asset.gzip_etag } else { asset.etag };
    let mut reply = match (is_known(&known_etags(ask.head), etag), is_gzip) {
        (true, _) => HttpReply::empty(304),
        (false, true) => {
            HttpReply::new(200, asset.content_type, asset.gzip).with("Content-Encoding: gzip")
        }
        (false, false) => HttpReply::new(200, asset.content_type, asset.plain()),
    };
    let lines = match asset.path {
        "/" => {
            let servers = cx.state.http_port.herd.iter().filter_map(|(_, http)| *http);
            let policy = page::content_security_policy(servers, cx.state.http.tls);
            format!("Cache-Control: no-cache\r\nContent-Security-Policy: {policy}\r\n")
        }
        _ => "Cache-Control: public, max-age=31536000, immutable\r\n".to_owned(),
    };
    reply.headers.to_mut().push_str(&format!("ETag: {etag}\r\n{lines}{PAGE_HEADERS}"));
    reply.into()
}

/// The header lines of each file of the page.
const PAGE_HEADERS: &str = "Vary: Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: strict-origin-when-cross-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n";

/// Whether the header field `field`, a list with weights, accepts the first of `names` that is in it: RFC 9110, section
/// 12.4.2. A weight of zero means that it does not.
fn accepts(head: &RequestHead<'_>, field: &str, names: &[&str]) -> bool {
    let elements = head.elements(field).map(|it| String::from_utf8_lossy(it).to_ascii_lowercase());
    let elements: Vec<_> = elements.collect();
    let accepts = |name: &&str| {
        let has_name = |it: &&String| it.split(';').next().map(str::trim) == Some(name);
        let mut weights = elements
            .iter()
            .find(has_name)?
            .split(';')
            .filter_map(|it| it.trim().strip_prefix("q="));
        Some(weights.all(|weight| weight.contains(|digit| ('1'..='9').contains(&digit))))
    };
    names.iter().find_map(accepts) == Some(true)
}

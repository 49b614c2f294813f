//! Reports by HTTP: PUT, and the paths of the phone apps.
//!
//! In: a request. Out: its reports in the table, on the same path as those of the client port, and the answer. `phones`
//! reads the bodies; [`phone_batch`](super::phone_batch) handles the requests of apps.
//!
//! | the request has | PUT | apps |
//! |---|---|---|
//! | a report that is new, known, or older than the known one | 200, the Feature that is known now, or `{}` to a caller that may not read it, `Herd-Verdict` | 200 |
//! | JSON without a report | 422 | 200 |
//! | a report that can never be right | 422 | 200, `Herd-Dropped: 1`, a line in the log |
//! | something that is not JSON | 400 | 400 |
//! | the table is full, the journal is broken, the server stops | 503, `Retry-After: 60` | 503, `Retry-After: 60` |
//!
//! An app sends nothing else until its report is accepted. So the content of a report never makes its request fail.

use super::NAME;
use super::delayed::when_acknowledged;
use super::exchange::{Ask, HttpAnswer};
use super::feature::{GEO_JSON, write_feature};
use super::phone_batch::PhoneBatch;
use crate::http::HttpReply;
use crate::log::Direction;
use crate::phones::{App, PhoneReport, ReportOutcome, ReportRules, Unreadable, check_id, read_put};
use crate::server::counters::Door;
use crate::server::member::{Cx, log_line};
use crate::server::taking::refusal;
use crate::table::MergeOutcome;
use crate::wire::stamp::Stamp;

/// POST /owntracks[/{id}], /pub
pub(super) fn owntracks(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    PhoneBatch::begin(cx, ask, App::OwnTracks)
}

/// POST /overland[/{id}]
pub(super) fn overland(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    PhoneBatch::begin(cx, ask, App::Overland)
}

/// GET, POST /report[/{id}]
pub(super) fn report(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    PhoneBatch::begin(cx, ask, App::Report)
}

/// PUT /v1/clients/{id}
pub(super) fn put(cx: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    use ReportOutcome::{Early, Full, Journal, Late, New, Same};
    let problem = |status, why: &str, at| HttpReply::problem(status, why, at);
    let media_type = ask.head.get("Content-Type").unwrap_or(b"application/json");
    let media_type = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let accepted = [&b"application/json"[..], b"application/geo+json"];
    if !accepted.iter().any(|it| it.eq_ignore_ascii_case(media_type)) {
        return problem(415, "the body must be application/json or application/geo+json", None)
            .into();
    }
    if cx.core.is_stopping() {
        return unavailable("the server stops").into();
    }
    let (id, rules) = (ask.segment.as_deref().unwrap_or_default(), rules(cx));
    let report = read_put(&ask.body, &rules);
    let report = report.map(|report| check_id(id, &rules.limits).and(report));
    let (outcome, reply) = match &report {
        Err(why @ Unreadable::NotJson(_)) => (None, problem(400, &why.to_string(), None)),
        Err(why @ Unreadable::TooLong) => (None, problem(413, &why.to_string(), None)),
        Ok(Err(fault)) => {
            if fault.outcome == Early {
                cx.state.note_early(cx.core);
            }
            (Some(fault.outcome), problem(422, fault.why, Some(fault.pointer)))
        }
        Ok(Ok(report)) => {
            let outcome = take(cx, id, report);
            let reply = match outcome {
                Full | Journal => unavailable(refusal(outcome)),
                Early | Late => problem(422, refusal(outcome), Some("/time")),
                _ if ask.caller.may_read_id(id) => known(cx, id),
                _ => HttpReply::json(200, &b"{}"[..]),
            };
            (Some(outcome), reply)
        }
    };
    let outcome = outcome.unwrap_or(ReportOutcome::Malformed);
    cx.state.counters.http_reports[outcome as usize] += 1;
    if reply.status != 200 {
        return reply.into();
    }
    let verdict = match outcome {
        New => "Herd-Verdict: new\r\n",
        Same => "Herd-Verdict: same\r\n",
        _ => "Herd-Verdict: older\r\n",
    };
    when_acknowledged(cx, HttpReply { headers: verdict.into(), ..reply })
}

/// The client's report as a Feature.
fn known(cx: &Cx<'_>, id: &[u8]) -> HttpReply {
    let mut body = Vec::with_capacity(256);
    if let Some(report) = cx.state.table.latest(id) {
        write_feature(&mut body, &report);
    }
    HttpReply::new(200, GEO_JSON, body)
}

/// The rules for the reports of a request that arrives now.
pub(super) fn rules(cx: &Cx<'_>) -> ReportRules {
    let (received, limits) = (Stamp::from(cx.wall()), &cx.state.limits);
    let of_client = limits.max_future.map(|max| max.as_nanos());
    let of_herd = limits.ahead_max.map(|max| u128::from(max.0) * 1_000_000_000);
    let ahead = of_client.into_iter().chain(of_herd).min().unwrap_or(u128::MAX);
    let newest = u128::from(received.0).saturating_add(ahead);
    let newest = Stamp(u64::try_from(newest).unwrap_or(u64::MAX));
    ReportRules { received, newest, limits: cx.state.command_limits }
}

/// Takes the report of the client `id`, and logs its IAMAT and AT lines. The caller counts it.
pub(super) fn take(cx: &mut Cx<'_>, id: &[u8], report: &PhoneReport) -> ReportOutcome {
    let iamat = report.iamat(id);
    if crate::log::traffic_is_on() {
        let line = [b"IAMAT", id, iamat.location.text, iamat.stamp_text].join(&b' ');
        log_line(cx, NAME, Direction::In, &line);
    }
    let mut line = std::mem::take(&mut cx.state.scratch);
    let taken = cx.state.take_report(cx.core, Door::Http, &iamat, &mut line);
    if taken.is_ok() {
        log_line(cx, NAME, Direction::Out, &line);
    }
    cx.state.scratch = line;
    match taken {
        Ok(MergeOutcome::Same) => ReportOutcome::Same,
        Ok(MergeOutcome::Older) => ReportOutcome::Older,
        Ok(_) => ReportOutcome::New,
        Err(outcome) => outcome,
    }
}

/// The answer to a report that may be taken later.
pub(super) fn unavailable(why: &str) -> HttpReply {
    HttpReply::problem(503, why, None).with("Retry-After: 60")
}

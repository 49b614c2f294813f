//! One table of all metrics of a server: name, unit, help, and the function that reads the value.
//!
//! In: the server's state. Out: named numbers, from which the status JSON, and from it Prometheus' text, are written;
//! and docs/status.md. To add a metric, write a row; its doc comment is its help.
//!
//! A row reads a number, or yes or no; or a text, which replaces the `*` in the row's labels; or an object of numbers,
//! whose members do so; or a histogram.
//!
//! [`Counters`] holds the counts of connections. Other modules count their own events, and a
//! row reads them there: the clients that sweeps have forgotten, the journal's [`JournalCounts`], and the totals of
//! throttled warnings ([`Core::throttled`]), which say how often each limit was hit.
//!
//! Names follow Prometheus' conventions: base units, and `_total` for counters. A published name or member of the
//! status JSON is never renamed.

use super::counters::{COMMANDS, Counters, DOORS, Door, REFUSING};
use super::health::unhealthy;
use super::member::Member;
use super::resources;
use crate::journal::JournalCounts;
use crate::phones::ReportOutcome;
use crate::replication::bus::Bus;
use crate::replication::neighbours::Neighbour;
use crate::table::MergeOutcome;
use herd_reactor::{CloseReason, Core, Histogram};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

/// One row of a table of metrics; `Read` reads its value, which is null where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Metric<Read> {
    /// The member of the status JSON; `journal.syncs` is the member `syncs` of `journal`.
    pub status: &'static str,
    /// The name and the labels, as Prometheus writes them. The names of the value's members replace each `*`.
    pub name: &'static str,
    /// The unit of the value: `bytes`, `seconds`, `histogram` (of seconds), or empty for numbers of things and for yes
    /// and no. A member of the status JSON that ends in `_ms` has milliseconds instead of seconds, one in `_days` days.
    pub unit: &'static str,
    /// The meaning of the value: one sentence, with blanks around it.
    pub help: &'static str,
    /// Reads the value.
    pub read: Read,
}

impl<Read> Metric<Read> {
    /// Writes `value` into the status JSON, unless it is null.
    pub(super) fn put(&self, json: &mut Value, value: Value) {
        let factor = per_second(self.status, self.unit) * 1_000.0;
        let value = match value.as_f64() {
            Some(seconds) if self.unit == "seconds" => json!((seconds * factor).round() / 1_000.0),
            _ => value,
        };
        match self.status.split_once('.') {
            _ if value.is_null() => {}
            Some((group, member)) => json[group][member] = value,
            None => json[self.status] = value,
        }
    }
}

/// The value that the member `status` of the status JSON has for a second, if its unit is seconds; 1 otherwise.
pub(super) fn per_second(status: &str, unit: &str) -> f64 {
    match status.rsplit_once('_') {
        Some((_, "ms")) if unit == "seconds" => 1_000.0,
        Some((_, "days")) if unit == "seconds" => 1.0 / 86_400.0,
        _ => 1.0,
    }
}

/// Makes a table of metrics: the rows, and then the keys of the limits whose hits throttled warnings count.
macro_rules! metrics {
    (
        $(#[$doc:meta])+ $table:ident: $type:ty;
        $($(#[doc = $help:literal])+ $status:literal, $name:literal, $unit:literal, $read:expr;)*
        $(limits: $($(#[doc = $hits:literal])+ $key:literal;)*)?
    ) => {
        $(#[$doc])+
        pub const $table: &[Metric<$type>] = &[
            $(Metric { status: $status, name: $name, unit: $unit, help: concat!($($help),+), read: $read },)*
        ];
        $(
            /// The limits whose hits are counted: the key of each, and what is counted.
            pub const LIMITS: &[(&str, &str)] = &[$(($key, concat!($($hits),+))),*];
        )?
    };
}

/// Reads a histogram: the number of values up to each bound in seconds, of all values, and their sum.
fn histogram(histogram: &Histogram) -> Value {
    json!({
        "buckets": histogram.buckets().map(|(bound, count)| json!([bound, count])).collect::<Value>(),
        "count": histogram.count(),
        "sum_s": histogram.sum().as_secs_f64(),
    })
}

/// Reads numbers with names.
fn named<T: Into<Value>>(names: &[&str], numbers: impl IntoIterator<Item = T>) -> Value {
    names.iter().copied().zip(numbers).collect()
}

/// Reads the reports of a port by their outcome.
fn reports(counts: [u64; MergeOutcome::COUNT]) -> Value {
    let [first, newer, same, older, full, late, early] = counts;
    let outcomes = ["new", "same", "older", "full", "late", "early"];
    named(&outcomes, [first + newer, same, older, full, late, early])
}

/// Reads the reports by port and outcome.
fn all_reports(counters: &Counters) -> Value {
    let mut all = named(&["client", "peer"], counters.reports.map(reports));
    all["http"] = named(&ReportOutcome::NAMES, counters.http_reports);
    all
}

/// The reports at the client port that were refused because the journal is broken.
fn unkept(member: &Member, core: &Core<Member>) -> u64 {
    core.throttled("journal") - member.counters.http_reports[ReportOutcome::Journal as usize]
}

/// Reads the commands by port, kind and result.
fn commands(member: &Member) -> Value {
    let results = |counts: [_; 2]| named(&["ok", "refused"], counts);
    let kinds = COMMANDS.iter().zip(member.counters.commands());
    named(&DOORS, kinds.map(|(kinds, counts)| named(kinds, counts.map(results))))
}

/// Reads the time that a certificate has left; null without certificates.
fn certificate_left(member: &Member, core: &Core<Member>, number: usize) -> Value {
    let tls = member.peer_tls.as_ref();
    json!(tls.map(|tls| tls.left(core.wall())[number].as_secs_f64()))
}

/// Reads a value from the journal's counts; null without a journal.
fn journal<T: Into<Value>>(member: &Member, read: impl FnOnce(JournalCounts) -> T) -> Value {
    member.journal_counts().map_or(Value::Null, |counts| read(counts).into())
}

/// Reads a value from the bus; null without a bus.
fn bus<T: Into<Value>>(member: &Member, read: impl FnOnce(&Bus) -> T) -> Value {
    member.bus.as_ref().map_or(Value::Null, |port| read(&port.bus).into())
}

metrics! {
    /// The metrics of a server as a whole.
    METRICS: fn(&Member, &mut Core<Member>) -> Value;

    /// Always 1 for Prometheus; the labels say which version of which server runs.
    "version", "herd_build_info{version=\"*\"}", "", |_, _| json!(env!("CARGO_PKG_VERSION"));
    /// Whether the server is healthy: it serves, its journal is sound, its log is written, its certificate is valid.
    "health.healthy", "herd_healthy", "", |m, c| json!(unhealthy(m, c.wall()).is_empty());
    /// The time when the server began to listen, since 1970.
    "started_s", "process_start_time_seconds", "seconds", |m, _| json!(m.counters.started.0 as f64 / 1e9);
    /// Memory in use (the resident set).
    "resources.resident_bytes", "process_resident_memory_bytes", "bytes", |_, _| json!(resources::resident_bytes());
    /// Processor time used.
    "resources.cpu_s", "process_cpu_seconds_total", "seconds", |_, _| json!(resources::processor_time().map(|time| time.as_secs_f64()));
    /// Open descriptors. Missing on Linux before 6.2 if there are more than 4,096.
    "resources.open_fds", "process_open_fds", "", |_, _| json!(resources::open_descriptors());
    /// Maximum open descriptors.
    "resources.max_fds", "process_max_fds", "", |_, _| json!(getrlimit(Resource::Nofile).current);
    /// The time that the loop was busy. Its rate is the share of a core: near 1 the loop cannot do more.
    "busy_s", "herd_busy_seconds_total", "seconds", |_, c| json!(c.turn_durations().sum().as_secs_f64());
    /// The duration of each turn of the loop, without the poll.
    "turn_duration", "herd_turn_duration_seconds", "histogram", |_, c| histogram(c.turn_durations());
    /// How late a ready connection or a due timer was served, once for each turn.
    "loop_lag", "herd_loop_lag_seconds", "histogram", |_, c| histogram(c.lags());
    /// How long the server has run.
    "uptime_s", "herd_uptime_seconds", "seconds", |m, c| json!((c.now() - m.counters.since).as_secs_f64());
    /// The longest delay of a ready connection or a due timer since the last herd status, which resets it.
    "longest_lag_ms", "herd_longest_loop_lag_seconds", "seconds", |_, c| json!(c.longest_lag().as_secs_f64());
    /// Connected clients.
    "connected_clients", "herd_connections{port=\"client\"}", "", |m, _| json!(m.counters.open(Door::Client));
    /// Open connections to the peer port.
    "peer_connections", "herd_connections{port=\"peer\"}", "", |m, _| json!(m.counters.open(Door::Peer));
    /// Open connections to the status socket.
    "status_connections", "herd_connections{port=\"status\"}", "", |m, _| json!(m.counters.open(Door::Status));
    /// Open connections to the HTTP port.
    "http.connections", "herd_connections{port=\"http\"}", "", |m, _| json!(m.counters.open(Door::Http));
    /// Answers to HTTP requests, by route and status; each pair from its first answer on. The route `other` is no route, or no request.
    "http.requests", "herd_http_requests_total{route=\"*\",code=\"*\"}", "", |m, _| json!(m.http_port.requests());
    /// Connections accepted.
    "connections.accepted", "herd_connections_accepted_total{port=\"*\"}", "", |m, _| named(&DOORS, m.counters.accepted);
    /// Connections refused because of a limit. Those that found no free descriptor are in herd_limit_hits_total.
    "connections.refused", "herd_connections_refused_total{port=\"*\"}", "", |_, c| named(&DOORS, REFUSING.map(|limits| limits.iter().map(|key| c.throttled(key)).sum::<u64>()));
    /// Accepted connections that were closed: done (cleanly), lost (the network), aborted, timeout, failed (the protocol), stopped.
    "connections.closed", "herd_connections_closed_total{port=\"*\",reason=\"*\"}", "", |m, _| named(&DOORS, m.counters.closed.map(|closed| named(&CloseReason::NAMES, closed)));
    /// Commands of clients and of neighbours. An AT that a limit keeps out of the table counts as refused; SYNC stands for all lines of comparisons.
    "commands", "herd_commands_total{port=\"*\",kind=\"*\",result=\"*\"}", "", |m, _| commands(m);
    /// Reports: new, same and older were taken; full, late and early were kept out by a limit; those by HTTP may have other faults.
    "reports", "herd_reports_total{door=\"*\",outcome=\"*\"}", "", |m, _| all_reports(&m.counters);
    /// IAMAT lines that are not well-formed.
    "malformed_reports", "herd_reports_total{door=\"client\",outcome=\"malformed\"}", "", |m, c| json!(m.counters.malformed_reports(unkept(m, c)));
    /// Connections to the peer port that are silent and may belong to a plain neighbour.
    "silent_peers", "herd_silent_peers", "", |m, _| json!(m.counters.silent_peers);
    /// Clients whose latest report is stored.
    "known_clients", "herd_table_clients", "", |m, _| json!(m.table.len());
    /// Length of all stored lines, equal on servers with equal tables. The limit known_bytes also counts headers.
    "known_bytes", "herd_table_bytes", "bytes", |m, _| json!(m.table.line_bytes());
    /// Clients forgotten because their latest report is older than expire_after_s.
    "forgotten_old", "herd_forgotten_clients_total{reason=\"old\"}", "", |m, _| json!(m.sweeps.forgotten_old);
    /// Clients forgotten because their latest report is further in the future than ahead_max_s.
    "forgotten_ahead", "herd_forgotten_clients_total{reason=\"ahead\"}", "", |m, _| json!(m.sweeps.forgotten_ahead);
    /// WHATSATs that wait for their places now.
    "waiting_whatsats", "herd_questions_waiting", "", |m, _| json!(m.place_queries.waiting());
    /// Answers to WHATSATs, by the source that gave them and their status; each pair from its first answer on.
    "questions.answers", "herd_questions_total{source=\"*\",status=\"*\"}", "", |m, _| json!(m.place_queries.answers);
    /// The time from each WHATSAT to its answer by the loop's clock, which stands still within a turn.
    "questions.duration", "herd_question_duration_seconds", "histogram", |m, _| histogram(&m.place_queries.durations);
    /// Requests to the source of places that failed.
    "failed_fetches", "herd_fetch_failures_total", "", |_, c| json!(c.throttled("fetch"));
    /// Replies that were sent before a neighbour or the bus acknowledged the report.
    "unreplicated_replies", "herd_unreplicated_replies_total", "", |m, _| json!(m.counters.unreplicated_replies);
    /// Comparisons with neighbours that this server started.
    "comparisons.started", "herd_comparisons_started_total", "", |m, _| json!(m.neighbours.comparisons.started);
    /// Comparisons that this server started and that had ended when the next one was due.
    "comparisons.finished", "herd_comparisons_finished_total", "", |m, _| json!(m.neighbours.comparisons.finished);
    /// Lines of comparisons, without the AT lines that follow.
    "comparisons.lines", "herd_comparison_lines_total{direction=\"*\"}", "", |m, _| named(&["in", "out"], m.neighbours.comparisons.lines);
    /// Failed attempts to connect to a neighbour.
    "dial_failures", "herd_dial_failures_total", "", |m, _| json!(m.counters.dial_failures);
    /// Invalid lines and complaints from neighbours.
    "peer_faults", "herd_peer_faults_total", "", |_, c| json!(c.throttled("faults"));
    /// Connections between servers that were rejected because of their first line.
    "rejected_peers", "herd_rejected_peers_total", "", |_, c| json!(c.throttled("rejected"));
    /// Log lines that could not be written.
    "dropped_log_lines", "herd_log_lines_dropped_total", "", |_, _| json!(crate::log::dropped());
    /// Log lines that stderr lacks, because nothing reads it.
    "dropped_stderr_lines", "herd_stderr_lines_dropped_total", "", |_, _| json!(crate::log::dropped_stderr());
    /// Followers of the live stream.
    "http.followers", "herd_http_followers", "", |m, _| json!(m.http_port.followers());
    /// Whether the last attempt to reload the configuration succeeded, or none was made.
    "config.last_reload_successful", "herd_config_last_reload_successful", "", |m, _| json!(m.config.errors.is_empty());
    /// The time until the server's certificate expires.
    "certificates.own_left_days", "herd_certificate_left_seconds{certificate=\"own\"}", "seconds", |m, c| certificate_left(m, c, 0);
    /// The time until the authority's certificate expires; of several, the first.
    "certificates.authority_left_days", "herd_certificate_left_seconds{certificate=\"authority\"}", "seconds", |m, c| certificate_left(m, c, 1);
    /// The time until the certificate for clients expires.
    "certificates.client_left_days", "herd_certificate_left_seconds{certificate=\"client\"}", "seconds", |m, c| json!(m.access.tls.as_ref().map(|tls| tls.left(c.wall()).as_secs_f64()));
    /// Whether the journal is sound. While it is not, reports of clients are refused.
    "journal.sound", "herd_journal_sound", "", |m, _| journal(m, |_| m.takes_reports());
    /// Lines noted in the journal.
    "journal.records", "herd_journal_records_total", "", |m, _| journal(m, |j| j.records);
    /// Bytes of these records that were written, without compactions.
    "journal.bytes", "herd_journal_bytes_total", "bytes", |m, _| journal(m, |j| j.bytes);
    /// Records of the journal that were skipped at the start because they are stamped too far in the future.
    "journal.records_ahead", "herd_journal_records_ahead_total", "", |m, _| journal(m, |_| m.counters.journal_records_ahead);
    /// Syncs of the journal.
    "journal.syncs", "herd_journal_syncs_total", "", |m, _| journal(m, |j| j.sync_durations.count());
    /// The duration of each sync of the journal, during which no client is served.
    "journal.sync_duration", "herd_journal_sync_duration_seconds", "histogram", |m, _| journal(m, |j| histogram(&j.sync_durations));
    /// The duration of the last sync of the journal.
    "journal.last_sync_ms", "herd_journal_last_sync_seconds", "seconds", |m, _| journal(m, |j| j.last_sync.as_secs_f64());
    /// The duration of the longest sync of the journal.
    "journal.longest_sync_ms", "herd_journal_longest_sync_seconds", "seconds", |m, _| journal(m, |j| j.longest_sync.as_secs_f64());
    /// Syncs of the journal that took longer than slow_sync_ms.
    "journal.slow_syncs", "herd_limit_hits_total{limit=\"slow_sync_ms\"}", "", |m, _| journal(m, |j| j.slow_syncs);
    /// Compactions of the journal.
    "journal.rewrites", "herd_journal_compactions_total", "", |m, _| journal(m, |j| j.compactions);
    /// Writes, syncs and renames of the journal that failed.
    "journal.failures", "herd_journal_failures_total", "", |m, _| journal(m, |j| j.failures);
    /// Reports of clients that were refused because the journal is broken.
    "journal.refused_reports", "herd_reports_total{door=\"client\",outcome=\"journal\"}", "", |m, c| journal(m, |_| unkept(m, c));
    /// Whether the bus is connected and its bucket was read, so that reports are written to it.
    "bus.live", "herd_bus_live", "", |m, _| bus(m, Bus::is_live);
    /// Clients whose latest report the bucket may lack, as far as this server knows.
    "bus.backlog_clients", "herd_bus_backlog_clients", "", |m, _| bus(m, |bus| bus.owed(&m.table));
    /// Writes to the bus that are not acknowledged yet; at most bus_window.
    "bus.in_flight", "herd_bus_in_flight", "", |m, _| bus(m, Bus::in_flight);
    /// Connections to the bus that logged in.
    "bus.logins", "herd_bus_logins_total", "", |m, _| bus(m, |bus| bus.counts.connections);
    /// Times that the whole bucket was read.
    "bus.reads", "herd_bus_reads_total", "", |m, _| bus(m, |bus| bus.counts.reads);
    /// Times that the watch of the bucket went on after a gap, a silence or a new connection.
    "bus.resumes", "herd_bus_resumes_total", "", |m, _| bus(m, |bus| bus.counts.resumed);
    /// Messages of the bucket that were delivered.
    "bus.delivered", "herd_bus_delivered_total", "", |m, _| bus(m, |bus| bus.counts.delivered);
    /// Messages of the bucket that were passed over: no AT line, under another client's key, or stamped too far ahead.
    "bus.passed_over", "herd_bus_passed_over_total", "", |m, c| bus(m, |_| c.throttled("bus_passed_over"));
    /// Writes to the bus that were sent.
    "bus.puts", "herd_bus_puts_total", "", |m, _| bus(m, |bus| bus.counts.puts);
    /// Errors that the servers of the bus said.
    "bus.errors", "herd_bus_errors_total", "", |m, c| bus(m, |_| c.throttled("bus_error"));
    /// What became of the writes: acknowledged; conflict (with another server's); unanswered (for 5 s); refused.
    "bus.results", "herd_bus_put_results_total{result=\"*\"}", "", |m, _| bus(m, |bus| named(&["acknowledged", "conflict", "unanswered", "refused"], [bus.counts.acknowledged, bus.counts.conflicts, bus.counts.unanswered, bus.counts.refused]));
    /// How often each limit rejected, dropped or closed something; the label is its key.
    "limit_hits", "herd_limit_hits_total{limit=\"*\"}", "", |_, c| LIMITS.iter().map(|(key, _)| (*key, c.throttled(key))).collect();

    limits:
    /// Clients turned away because the limit of connected clients is reached.
    "connections";
    /// Clients turned away because connections_per_address of their address are connected.
    "connections_per_address";
    /// Clients disconnected because they sent no command for idle_client_ms.
    "idle_client_ms";
    /// Clients disconnected because they read nothing for slow_reader_ms while replies waited for them.
    "slow_reader_ms";
    /// Pauses in reading from a client that sends more than commands_per_second.
    "commands_per_second";
    /// Connections turned away because no descriptor was free.
    "descriptors";
    /// HTTP connections closed because the head of a request is longer than head_bytes.
    "head_bytes";
    /// HTTP connections closed because the body of a request is longer than body_bytes.
    "body_bytes";
    /// HTTP connections closed because all unfinished requests take more than total_body_bytes.
    "total_body_bytes";
    /// HTTP connections closed because the head of a request did not arrive within head_ms.
    "head_ms";
    /// HTTP connections closed because the body of a request did not arrive within body_ms, or arrived at less than 500 bytes a second behind its first 16 KiB.
    "body_ms";
    /// Lines refused because certificates is "required" since a reload, and the client presented none.
    "certificates";
    /// Lines refused because own_id_only is set, and the client presented no certificate for their id.
    "own_id_only";
    /// Lines refused because ask is "own", and the client presented no certificate for their id.
    "ask";
    /// Connections to the peer port turned away because CALLERS_MAX is reached.
    "CALLERS_MAX";
    /// Connections to the status socket turned away because ASKERS_MAX is reached.
    "ASKERS_MAX";
    /// Connections closed because a line is longer than line_bytes.
    "line_bytes";
    /// Commands refused because the client id is longer than client_id_bytes.
    "client_id_bytes";
    /// Commands refused because the location is longer than location_bytes.
    "location_bytes";
    /// Connections closed because a line did not end within unfinished_line_ms.
    "unfinished_line_ms";
    /// Connections to the status socket closed because a line is longer than LINE_BYTES.
    "LINE_BYTES";
    /// Connections to the status socket closed because a line did not end within UNFINISHED_LINE_S.
    "UNFINISHED_LINE_S";
    /// Connections aborted because their send buffer exceeds BUFFERED_BYTES_MAX.
    "BUFFERED_BYTES_MAX";
    /// Connections aborted because the peer did not read the rest of the data within close_ms.
    "close_ms";
    /// Connections aborted because they did not end within drain_ms after the server began to stop.
    "drain_ms";
    /// Connections closed because the peer kept sending for linger_ms after we ended our side.
    "linger_ms";
    /// Connections closed because the peer sent more than linger_bytes after we ended our side.
    "linger_bytes";
    /// Lists of clients refused because LISTS_MAX are being made.
    "LISTS_MAX";
    /// Followers of the live stream turned away because [http] followers are connected.
    "followers";
    /// Live streams ended because their followers had not been told of all forgotten clients when the ids of these exceeded FORGOTTEN_BYTES.
    "FORGOTTEN_BYTES";
    /// Attempts to connect to a neighbour that timed out after connect_ms.
    "connect_ms";
    /// Connections between servers closed because no HELLO arrived within hello_ms.
    "hello_ms";
    /// Links closed because no line arrived from the neighbour within silence_ms.
    "silence_ms";
    /// Connections between servers lost because sent data was not acknowledged within link_user_timeout_ms.
    "link_user_timeout_ms";
    /// Connections between servers closed because the number of invalid lines reached FAULTS_MAX.
    "FAULTS_MAX";
    /// TLS handshakes between servers that timed out after peer_tls_ms.
    "peer_tls_ms";
    /// TLS handshakes between servers closed because they exceed peer_tls_bytes.
    "peer_tls_bytes";
    /// TLS handshakes between servers closed to make room for another, because of peer_tls_handshakes.
    "peer_tls_handshakes";
    /// TLS handshakes with clients that timed out after client_tls_ms.
    "client_tls_ms";
    /// TLS handshakes with clients closed because they exceed client_tls_bytes.
    "client_tls_bytes";
    /// TLS handshakes with clients closed to make room for another, because of client_tls_handshakes.
    "client_tls_handshakes";
    /// Reports of new clients refused because known_clients or known_bytes is reached.
    "known_clients";
    /// Reports of neighbours dropped because the table is full (8 GiB).
    "table_full";
    /// Reports refused because they are older than expire_after_s.
    "expire_after_s";
    /// Reports refused because they are stamped further in the future than max_future_ms.
    "max_future_ms";
    /// Reports refused because they are stamped further in the future than ahead_max_s.
    "ahead_max_s";
    /// WHATSATs refused because the queue for the source of places is full (places.queue).
    "places.queue";
    /// WHATSATs that the source of places did not answer within places.deadline_ms.
    "places.deadline_ms";
    /// Reports not written to the bus because they are longer than its max_payload.
    "max_payload";
    /// Replies sent because neither a neighbour nor the bus acknowledged the report within ack_wait_ms.
    "ack_wait_ms";
}

metrics! {
    /// The metrics of each neighbour.
    NEIGHBOUR_METRICS: fn(&Member, &mut Core<Member>, &Neighbour) -> Value;

    /// Whether the neighbour is linked.
    "linked", "herd_neighbour_up{neighbour=\"*\"}", "", |_, _, link| json!(link.conn.is_some());
    /// Whether the neighbour has said that it ends soon, or has ended after that, and is not linked again.
    "leaving", "herd_neighbour_leaving{neighbour=\"*\"}", "", |_, _, link| json!(link.is_leaving);
    /// How long the neighbour has been linked or not: since its last link was made or lost, or since the start.
    "changed_s", "herd_neighbour_unchanged_seconds{neighbour=\"*\"}", "seconds", |m, c, link| json!((c.now() - link.changed.unwrap_or(m.counters.since)).as_secs_f64());
    /// Links to the neighbour made and lost: more than four changes in ten minutes mean that the link flaps.
    "link_changes", "herd_neighbour_link_changes_total{neighbour=\"*\"}", "", |_, _, link| json!(link.link_changes);
    /// Reports (AT lines) received from the neighbour and written to it.
    "at_lines", "herd_neighbour_reports_total{neighbour=\"*\",direction=\"*\"}", "", |_, _, link| named(&["in", "out"], link.reports);
    /// Bytes that wait to be sent to the neighbour.
    "pending_bytes", "herd_neighbour_pending_bytes{neighbour=\"*\"}", "bytes", |_, core, link| json!(link.conn.map_or(0, |conn| core.pending(conn)));
    /// Clients whose latest report the neighbour has not been sent yet.
    "backlog_clients", "herd_neighbour_backlog_clients{neighbour=\"*\"}", "", |member, _, link| json!(member.table.backlogs.len(link.backlog));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::exposition::rows;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    #[test]
    fn no_metric_has_the_name_or_the_member_of_another() {
        let rows: Vec<_> = rows().collect();
        let names: BTreeSet<_> = rows.iter().map(|row| row[1]).collect();
        let members: BTreeSet<_> = rows.iter().map(|row| row[0]).collect();
        assert_eq!((names.len(), members.len()), (rows.len(), rows.len()));
        let limits: BTreeSet<_> = LIMITS.iter().map(|(key, _)| key).collect();
        assert_eq!(limits.len(), LIMITS.len());
    }

    #[test]
    fn every_name_says_its_unit_and_every_help_is_a_sentence() {
        for [status, name, unit, help] in rows() {
            let (family, labels) = name.split_once('{').unwrap_or((name, "\"}"));
            let is_ours = family.starts_with("herd_") || family.starts_with("process_");
            assert!(is_ours && labels.ends_with("\"}"), "{name}");
            assert!(family.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            let family = family.trim_end_matches("_total");
            assert_eq!(family.ends_with("_bytes"), unit == "bytes", "{name}");
            let is_time = ["seconds", "histogram"].contains(&unit);
            assert_eq!(family.ends_with("_seconds"), is_time, "{name}");
            let is_time = ["_ms", "_s", "_days"].iter().any(|end| status.ends_with(end));
            assert_eq!(is_time, unit == "seconds", "{status}");
            let help = help.trim();
            assert!(help.starts_with(char::is_uppercase) && help.ends_with('.'), "{name}: {help}");
            assert!(help.contains(' '), "{name}: {help}");
            assert!(
                !help.contains(['\\', '"', '\n']),
                "the formats escape them differently: {help}"
            );
        }
    }

    /// The program's sources, each without blanks, comments and unit tests.
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("it is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() && !path.ends_with("tests") && !path.ends_with("examples") {
                sources(&path, found);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                found.push(lines.flat_map(str::split_whitespace).collect());
            }
        }
    }

    /// Every key by which `code` counts a throttled warning: a literal in the call, or in the binding that the call
    /// uses.
    fn counted(code: &str) -> BTreeSet<&str> {
        if !["limit_hit(", "limit_closes(", "log_throttled(", "HandshakeLimit{"]
            .iter()
            .any(|call| code.contains(call))
        {
            return BTreeSet::new();
        }
        let before = [
            ["limit_hit(", "limit_closes(core,", "limit_closes(cx.core,"],
            ["key=(", "(key,what)=((", "key:"],
            ["Some((", "map(|it|(", "map(|max|("],
            ["limit_hit(cx,", "Head=>(", "Body=>("],
        ];
        let mut keys = BTreeSet::new();
        for before in before.iter().flatten() {
            let before = format!("{before}\"");
            let found = code.split(&before[..]).skip(1);
            keys.extend(found.filter_map(|rest| rest.split_once("\",")).map(|(key, _)| key));
        }
        keys
    }

    /// A limit without a counting call would always read 0, and a count without a row could not be read.
    #[test]
    fn the_limits_in_the_table_are_the_keys_of_the_throttled_warnings() {
        let mut files = Vec::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let keys = files.iter().flat_map(|code| counted(code));
        // Reports by HTTP are counted by their outcome.
        let keys: BTreeSet<_> = keys.filter(|key| *key != "http_reports").collect();
        let limits = LIMITS.iter().map(|(key, _)| *key);
        let own = include_str!("metrics.rs").split("#[cfg(test)]").next().unwrap();
        let own = own.split("throttled(\"").skip(1);
        let read = own.filter_map(|rest| rest.split_once("\")")).map(|(key, _)| key);
        let read: BTreeSet<_> = limits.chain(read).collect();
        assert_eq!(keys, read, "left: counted, right: read by a row");
        // Calls in any other form would have escaped the search above.
        let calls = |call: &str| files.iter().map(|code| code.matches(call).count()).sum::<usize>();
        // In two pieces, so that this line is not found.
        let hits = |argument: &str| calls(&[".limit_", "hit(", argument].concat());
        assert_eq!(hits("key,") + hits("\"") + hits("cx,"), hits(""), "calls by other names");
        let known = ["Level::Warn,key,", "Level::Warn,(key,0),", "Level::Error,key,", "level,key,"];
        let known = known.iter().map(|it| calls(&format!(".log_throttled({it}")));
        assert_eq!(calls(".log_throttled("), known.sum::<usize>(), "calls by other names");
    }

    #[test]
    fn a_value_is_put_where_its_row_says_with_three_decimals_and_null_nowhere() {
        let metric = |status, unit| Metric { status, name: "", unit, help: "", read: () };
        let mut report = json!({"journal": null, "none": null});
        metric("journal.last_sync_ms", "seconds").put(&mut report, json!(0.250_000_4));
        metric("known_bytes", "bytes").put(&mut report, json!(7));
        metric("left_days", "seconds").put(&mut report, json!(129_600));
        metric("uptime_s", "seconds").put(&mut report, json!(1.49951));
        metric("none.syncs", "").put(&mut report, Value::Null);
        metric("none.last_sync_ms", "seconds").put(&mut report, Value::Null);
        let expected = json!({
            "journal": {"last_sync_ms": 250.0}, "known_bytes": 7, "left_days": 1.5, "uptime_s": 1.5, "none": null
        });
        assert_eq!(report, expected);
    }
}

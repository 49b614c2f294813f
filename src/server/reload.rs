//! Reloading the configuration while the server runs.
//!
//! In: SIGHUP, or the line `RELOAD` at the status socket. Out: the new configuration in force, or nothing changed and
//! all the faults.
//!
//! ```text
//!   read all files ─▶ check ─▶ compare (`config::diff`) ─▶ prepare what can fail ─▶ commit ─▶ answer
//!   └───────── ConfigReader::read, a fault ends it here ─────────┘    └─ no step can fail
//! ```
//!
//! Every setting is copied to where it is used, so `commit` is the list of these places. What is not live is not copied:
//! the comparison says so. A lower limit on connections closes none.
//!
//! A neighbour that is added is dialled; the link to one that is removed, or that moved and that we dial, is closed
//! after all that was written to it has been sent. What that neighbour still had on its way to us is not lost to the
//! herd: it gave the same reports to its other neighbours, and a new link begins with a comparison.

use super::bus_port;
use super::config_state::{ConfigState, Prepared};
use super::events::log_warnings;
use super::member::{Member, Message, ServerPhase, clients_max, command_limits};
use super::network::Network;
use super::place_queries::PlaceQueryLimits;
use crate::config::{Acknowledge, Change, HttpSettings, Topology};
use crate::log::{self as log_file, OpenLog, plural};
use crate::net::dns::{DnsClient, DnsOptions};
use crate::replication::neighbours::EVER_MAX;
use herd_reactor::{ConnId, Core};
use std::time::Duration;

impl Member {
    /// Reloads the configuration on SIGHUP, or stops if the signal came because the terminal was closed.
    pub(super) fn hung_up(&mut self, core: &mut Core<Member>) {
        if self.config_reader.as_ref().is_some_and(|reader| reader.terminal_has_closed()) {
            log::info!("SIGHUP: the terminal was closed");
            // The shell may send the signal once more.
            if !core.is_stopping() {
                self.begin_drain(core);
            }
        } else {
            log_file::reopen();
            self.reload(core, false, "SIGHUP");
        }
    }

    /// Reloads the configuration, and logs the outcome. `strict`: a change that needs a restart is an error. `by`: who
    /// asked for it.
    pub(super) fn reload(&mut self, core: &mut Core<Member>, strict: bool, by: &str) {
        if !core.is_stopping() {
            self.notify.reloading(core.now());
        }
        self.config.errors = self.try_reload(core, strict).err().unwrap_or_default();
        self.tell_manager(core);
        self.config.last_attempt = core.wall();
        self.config.log(by);
    }

    fn try_reload(&mut self, core: &mut Core<Member>, strict: bool) -> Result<(), Vec<String>> {
        let ConfigState { in_force, changes, .. } = &mut self.config;
        changes.clear();
        // A link that a lame duck closes cannot come back, because its ports are closed.
        let is_ending = matches!(self.phase, ServerPhase::LameDuck | ServerPhase::Draining);
        let reader = self.config_reader.as_mut().filter(|_| !is_ending);
        let reader = reader.ok_or_else(|| vec!["the server is ending".to_owned()])?;
        let prepared = reader.read(in_force, &self.herd_name, core.wall())?;
        let has = |part: &str| prepared.changes.iter().any(|it| it.name.starts_with(part));
        let in_words = |is_live| {
            let changes = prepared.changes.iter().filter(move |it| it.is_live == is_live);
            changes.map(Change::to_string).collect::<Vec<_>>()
        };
        let (live, pending) = (in_words(true), in_words(false));
        let mut errors = Vec::new();
        if strict {
            errors.extend(pending.iter().map(|it| format!("needs a restart: {it}")));
        }
        let is_new = |it: &&Change| it.old.is_none() && it.name.starts_with("neighbour ");
        let ever = self.neighbours.ever() + prepared.changes.iter().filter(is_new).count();
        if ever > EVER_MAX {
            errors.push(format!(
                "limit: EVER_MAX = {EVER_MAX}: up to {ever} different neighbours since the start; restart the server"
            ));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        // This comes last, because it may create a file.
        let log = match has("log.") {
            true => log_file::prepare(&prepared.topology.log)
                .map_err(|error| vec![format!("cannot create the log: {error}")])?,
            false => None,
        };
        (self.config.changes, self.config.restart_pending) = (live, pending);
        self.commit(core, prepared, log);
        Ok(())
    }

    /// Puts the new configuration in force. Nothing here can fail.
    fn commit(&mut self, core: &mut Core<Member>, prepared: Prepared, log: Option<OpenLog>) {
        let Prepared { topology, changes, places, peer_tls, access, connections_max } = prepared;
        log.into_iter().for_each(OpenLog::apply);
        core.set_limits(Member::reactor_limits(&topology));
        let dialled_before = self.backoff();
        self.limits = topology.limits.clone();
        self.command_limits = command_limits(&self.limits);
        self.http = HttpSettings { tls: self.http.tls, ..topology.http.clone() };
        self.http_port.configure(&topology, &self.server, &self.herd_name, self.http.tls);
        // A token may have been withdrawn. The streams of all others begin again, with what they have missed.
        self.end_streams(core);
        self.clients_max = clients_max(&self.limits, connections_max);
        self.table.set_limits(self.limits.known_clients, self.limits.known_bytes);
        self.sweeps.set_limits(&mut self.table, &self.limits);
        self.set_window(core.wall());
        self.forget_by_the_minute(core);
        self.neighbours.flood_buffer_bytes = self.limits.flood_buffer_bytes;
        if let Some(port) = &mut self.bus {
            bus_port::set_limits(&mut port.bus, &self.limits);
        }
        if let (Some(persist), Some(settings)) = (&mut self.persist, &topology.journal) {
            persist.journal.set_settings(settings);
        }
        self.place_queries.limits = PlaceQueryLimits::of(&topology.places);
        if let Some(places) = places {
            self.place_queries.next = Some(Box::new(places));
        }
        if let (Some(tls), Some(new)) = (&mut self.peer_tls, peer_tls) {
            if tls.replace_by(new) {
                let days = plural(tls.days_left(core.wall())[0] as usize, "day");
                self.config.changes.push(format!("certificates replaced, {days} left"));
            }
            self.use_certificates(core);
        }
        let [is_other, trusts_others] = self.access.replace_by(access);
        if is_other || trusts_others {
            let days = self.access.tls.as_ref().map_or(Duration::ZERO, |tls| tls.left(core.wall()));
            let days = plural((days.as_secs() / 86_400) as usize, "day");
            let what =
                format!("certificates or revocation lists for clients replaced, {days} left");
            self.config.changes.push(what);
        }
        if trusts_others {
            self.client_handshakes.close_all(core);
            let has_shown = |id: &ConnId| {
                core.transport(*id).is_some_and(|it| !it.peer_certificates().is_empty())
            };
            let shown: Vec<_> = core.connection_ids().into_iter().filter(has_shown).collect();
            shown.into_iter().for_each(|id| core.post(id, Message::CertificatesReplaced));
        }
        log_warnings(&self.access.warnings(core.wall()));
        self.use_neighbours(core, &topology);
        if self.backoff() != dialled_before {
            let backoff = self.backoff();
            self.dials.values_mut().for_each(|dial| dial.backoff.clone_from(&backoff));
        }
        self.config.loaded_at = core.wall();
        self.config.sha256 = topology.sha256;
        self.config.in_force.adopt(&changes);
    }

    /// Makes the neighbours of `topology` those of this server.
    fn use_neighbours(&mut self, core: &mut Core<Member>, topology: &Topology) {
        // What has been taken from a link that is closed below is still acknowledged.
        self.neighbours.acknowledge(core);
        let ack = match topology.ack {
            // The bus comes with a restart, and so does this.
            Acknowledge::Bus if self.bus.is_none() && self.neighbours.ask_for_acks() => {
                Acknowledge::Peer
            }
            Acknowledge::Bus if self.bus.is_none() => Acknowledge::Local,
            ack => ack,
        };
        let are_relinked = (ack == Acknowledge::Peer) != self.neighbours.ask_for_acks();
        let is_by_bus = self.neighbours.acks.as_ref().is_some_and(|acks| acks.are_by_bus());
        if are_relinked || is_by_bus != (ack == Acknowledge::Bus) {
            let free = self.neighbours.set_acks(ack);
            free.into_iter().for_each(|(id, batch)| core.post(id, Message::Released(batch)));
        }
        let servers = topology.neighbours_of(&self.server.name);
        let before: Vec<_> =
            self.neighbours.iter().map(|(id, link)| (id, link.server.clone())).collect();
        for (id, old) in before {
            let new = servers.binary_search_by(|it| it.name.cmp(&old.name)).map(|at| servers[at]);
            let keeps_link = new.is_ok_and(|new| {
                new.plain == old.plain && (new.peer == old.peer || !self.dials(new))
            });
            if are_relinked || !keeps_link {
                self.stop_dialling(core, id);
                self.neighbours.unlink(core, &mut self.table, id);
            }
            if new.is_err() {
                self.neighbours.remove(id, &mut self.table.backlogs);
            }
        }
        for server in servers {
            self.neighbours.put(server, &mut self.table.backlogs);
        }
        self.dial_all(core);
    }

    /// Uses the network of a new source of places, and puts the questions to the source that have waited for it.
    pub(super) fn use_network(&mut self, core: &mut Core<Member>, network: Option<Network>) {
        let (dns, pool) = match network {
            Some(Network { dns, pool }) => (dns, Some(pool)),
            None => (DnsClient::new(DnsOptions::default()), None),
        };
        self.resolver.set_options(dns);
        match (&mut self.pool, pool) {
            (Some(old), Some(new)) => old.adopt(core, new),
            // A pool that is not used any more stays, because its last connections still end.
            (Some(_), None) => {}
            (none, new) => *none = new.map(Box::new),
        }
        self.place_queries.ask_next(core);
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_access::ClientAccess;
    use super::super::config_state::ConfigReader;
    use super::super::place_queries::PlacesInUse;
    use super::*;
    use crate::config::{KEYS, Key, Reload, ServerView, TOP, ValueType, diff};
    use crate::places::{Progress, Query, Rank, Source, Ticket};
    use crate::server::dials::DialTarget;
    use herd_reactor::testing::StringTransport;
    use herd_reactor::{ReactorLimits, Shared, TurnCounts, UnixNanos};
    use std::path::Path;

    /// A topology of Welsh, which does not dial its neighbour Alford, in which `key` has `value`.
    fn text(key: Option<(&Key, &str)>) -> String {
        let line = key.map_or(String::new(), |(key, value)| format!("{} = {value}\n", key.name));
        let is_in = |section: &str| key.is_some_and(|(key, _)| key.section == section);
        let top = if is_in(TOP) { line.as_str() } else { "" };
        let table = key.filter(|_| !is_in(TOP)).map_or("", |(key, _)| key.section);
        let herd = if top.starts_with("herd") { "" } else { "herd = \"t\"\n" };
        let line = if top.is_empty() { line.as_str() } else { "" };
        // The key of a source has to name it.
        let source = if is_in("[places]") { "source = \"embedded\"\n" } else { "" };
        // And an id of one's own needs a certificate.
        let is_own = key.is_some_and(|(key, _)| ["ask", "own_id_only"].contains(&key.name));
        let source = if is_own { "certificates = \"optional\"\n" } else { source };
        // A bus needs a server, and answers that wait for it need a bus.
        let nats = "nats = [\"nats://127.0.0.1:1\"]\n";
        let is_other = is_in("[bus]") && !line.starts_with("nats");
        let source = if is_other { nats } else { source };
        format!(
            "{herd}{top}[[server]]\nname = \"Welsh\"\nclient = \"127.0.0.1:1\"\npeer = \"127.0.0.1:2\"\n\
             neighbours = [\"Alford\"]\n[[server]]\nname = \"Alford\"\nclient = \"127.0.0.1:3\"\n\
             peer = \"127.0.0.1:4\"\nneighbours = [\"Welsh\"]\n{table}\n{source}{line}"
        )
    }

    fn topology(text: &str) -> Topology {
        Topology::parse(text, Path::new("t.toml")).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// A value of `key` that is not its default; `None` if the test leaves this key out.
    fn other_value(key: &Key) -> Option<String> {
        let default = match key.default {
            crate::config::DefaultValue::Is(text) => text.replace('_', ""),
            _ => String::new(),
        };
        match &key.kind {
            ValueType::Number(_, range) => {
                let default: u64 = default.parse().expect("a number");
                let other = if default < *range.end() { default + 1 } else { default - 1 };
                Some(other.to_string())
            }
            // Another source needs files or a network.
            ValueType::Choice(_) if key.name == "source" => None,
            ValueType::Choice(words) => {
                words.iter().find(|word| **word != default).map(|word| format!("\"{word}\""))
            }
            ValueType::Flag if [TOP, "[client_tls]"].contains(&key.section) => {
                Some("true".to_owned())
            }
            ValueType::Flag if key.name == "insecure_http" => Some("true".to_owned()),
            ValueType::Texts(_) if key.name == "hosts" => Some("[\"a.b\"]".to_owned()),
            ValueType::Name if key.section == TOP => Some("\"u\"".to_owned()),
            ValueType::Text if key.name == "folder" && key.section != "[peer_tls]" => {
                Some("\"there\"".to_owned())
            }
            _ => None,
        }
    }

    /// A source that shows its rank.
    #[derive(Debug)]
    struct Ranked(#[allow(dead_code, reason = "it is shown")] Rank);

    impl Source for Ranked {
        fn name(&self) -> &'static str {
            "ranked"
        }

        fn nearby(&mut self, _: Ticket, _: &Query) -> Progress {
            Progress::Waiting
        }
    }

    /// Reads a text of the test.
    #[derive(Debug)]
    struct TextReader(String);

    impl ConfigReader for TextReader {
        fn read(
            &mut self,
            in_force: &ServerView,
            _: &str,
            _: UnixNanos,
        ) -> Result<Prepared, Vec<String>> {
            let path = Path::new("t.toml");
            let topology =
                Topology::parse(&self.0, path).map_err(|faults| vec![faults.to_string()])?;
            let changes = diff(in_force, &topology.view_of("Welsh").expect("it is there"));
            let source = Box::new(Ranked(topology.places.rank));
            let is_new = changes.iter().any(|it| it.name.starts_with("places."));
            let places = is_new.then(|| PlacesInUse { source, fallback: None, network: None });
            Ok(Prepared {
                topology,
                changes,
                places,
                peer_tls: None,
                access: ClientAccess::default(),
                connections_max: 100,
            })
        }

        fn terminal_has_closed(&self) -> bool {
            false
        }
    }

    /// A server that has read `text` at its start.
    fn started(text: &str) -> StringTransport<Member> {
        let topology = topology(text);
        let source = Box::new(Ranked(topology.places.rank));
        let member = Member::new(&topology, "Welsh", source, 7, 100).expect("it is there");
        let mut transport = StringTransport::new(member);
        let StringTransport { core, state, .. } = &mut transport;
        core.set_limits(Member::reactor_limits(&topology));
        state.set_window(core.wall());
        state.forget_by_the_minute(core);
        state.dial_all(core);
        transport
    }

    /// Reloads `text`; returns the number of changes, the number of those that need a restart, and the errors.
    fn reload(
        transport: &mut StringTransport<Member>,
        text: &str,
        strict: bool,
    ) -> (usize, usize, String) {
        let StringTransport { core, state, .. } = transport;
        state.config_reader = Some(Box::new(TextReader(text.to_owned())));
        state.reload(core, strict, "test");
        state.before_poll(core, &TurnCounts::default()).expect("there is no journal");
        let ConfigState { changes, restart_pending, errors, .. } = &state.config;
        (changes.len(), restart_pending.len(), errors.join(", "))
    }

    /// Everything that a server has, but for the text that it was read from.
    fn shown(transport: &mut StringTransport<Member>) -> String {
        let StringTransport { core, state, .. } = transport;
        state.config = ConfigState::of(&topology(&text(None)), "Welsh").expect("it is there");
        state.config_reader = None;
        format!("{:?} {state:?}", core.set_limits(ReactorLimits::default()))
    }

    #[test]
    fn every_key_is_adopted_as_by_a_restart_or_named_as_pending() {
        let mut tested = 0;
        for key in KEYS {
            let Some(value) = other_value(key) else { continue };
            let new = text(Some((key, &value)));
            let mut running = started(&text(None));
            // Without [journal] the change is that there is one.
            let is_switched = ["[journal]", "[client_tls]"].contains(&key.section);
            let is_live = key.reload == Reload::Live && !is_switched;
            let (live, pending) = if is_live { (1, 0) } else { (0, 1) };
            let told = reload(&mut running, &new, false);
            assert_eq!(told, (live, pending, String::new()), "{}", key.name);
            let expected = if is_live { &new } else { &text(None) };
            assert_eq!(shown(&mut running), shown(&mut started(expected)), "{}", key.name);
            tested += 1;
        }
        assert!(tested > 50, "{tested}");
    }

    #[test]
    fn reloading_the_same_file_changes_nothing() {
        for key in KEYS {
            let Some(value) = other_value(key) else { continue };
            let same = text(Some((key, &value)));
            let mut running = started(&same);
            for strict in [false, true] {
                let told = reload(&mut running, &same, strict);
                assert_eq!(told, (0, 0, String::new()), "{}", key.name);
            }
            assert_eq!(shown(&mut running), shown(&mut started(&same)), "{}", key.name);
        }
    }

    #[test]
    fn a_refused_file_changes_nothing_and_is_told() {
        let herd = KEYS.iter().find(|key| key.name == "herd").expect("it is there");
        let connections = "[limits]\nconnections = 5\n";
        for (new, strict, why) in [
            (format!("{}{connections}x = 1", text(None)), false, "unknown key"),
            (
                format!("{}{connections}", text(Some((herd, "\"u\"")))),
                true,
                "needs a restart: herd t -> u",
            ),
        ] {
            let mut running = started(&text(None));
            let (live, pending, errors) = reload(&mut running, &new, strict);
            assert!((live, pending) == (0, 0) && errors.contains(why), "{errors}");
            assert_eq!(running.state.config.outcome()["reloaded"], false);
            let config = running.state.config.json();
            assert!(config["last_error"].as_str().is_some_and(|it| it.contains(why)), "{config}");
            assert_eq!(shown(&mut running), shown(&mut started(&text(None))));
        }
    }

    #[test]
    fn ack_bus_comes_with_the_bus_at_the_next_start() {
        let bus = "[bus]\nnats = [\"nats://127.0.0.1:1\"]\n";
        for before in ["local", "peer"] {
            let with = |ack: &str, bus: &str| format!("ack = \"{ack}\"\n{}{bus}", text(None));
            let mut running = started(&with(before, ""));
            let told = reload(&mut running, &with("bus", bus), false);
            assert_eq!(told, (0, 2, String::new()));
            let acks = &running.state.neighbours;
            assert_eq!(acks.ask_for_acks(), before == "peer");
            assert_eq!(acks.acks.is_some(), before == "peer");
        }
    }

    #[test]
    fn neighbours_come_and_go_and_keep_their_numbers() {
        let herd = |names: &[&str]| {
            let mut text = "herd = \"t\"\n".to_owned();
            for (at, name) in ["Welsh"].iter().chain(names).enumerate() {
                let neighbours = if at == 0 { format!("{names:?}") } else { "[]".to_owned() };
                text += &format!(
                    "[[server]]\nname = \"{name}\"\nclient = \"127.0.1.{at}:1\"\npeer = \"127.0.1.{at}:2\"\n\
                     neighbours = {neighbours}\n"
                );
            }
            text
        };
        let mut running = started(&herd(&["Alford", "Bolden"]));
        let ids = |running: &StringTransport<Member>, names: &[&str]| {
            let named = |name: &&str| running.state.neighbours.named(name.as_bytes());
            names.iter().map(named).collect::<Vec<_>>()
        };
        let before = ids(&running, &["Alford", "Bolden"]);
        reload(&mut running, &herd(&["Bolden", "Hamilton"]), false);
        let after = ids(&running, &["Alford", "Bolden", "Hamilton"]);
        assert_eq!((after[0], after[1]), (None, before[1]));
        assert!(!before.contains(&after[2]), "an id belongs to one name for ever");
        assert_eq!(running.state.neighbours.count(), 2);
        reload(&mut running, &herd(&["Alford", "Bolden", "Zoe"]), false);
        assert_eq!(ids(&running, &["Alford", "Bolden"]), before);
        let zoe = running.state.neighbours.iter().find(|(_, link)| link.server.name == "Zoe");
        assert!(
            zoe.is_some_and(|(id, _)| {
                running.state.dials.contains_key(&DialTarget::Neighbour(id))
            }),
            "our name sorts first, so we dial"
        );
        // Names without end are refused before they fill the memory.
        let (mut refused, mut last) = (String::new(), String::new());
        for round in 0..40 {
            let many: Vec<String> = (0..200).map(|n| format!("a{round}-{n}")).collect();
            let many: Vec<&str> = many.iter().map(String::as_str).collect();
            refused = reload(&mut running, &herd(&many), false).2;
            if !refused.is_empty() {
                break;
            }
            last = herd(&many);
        }
        assert!(refused.contains("EVER_MAX = 4096"), "{refused}");
        assert_eq!(reload(&mut running, &last, true), (0, 0, String::new()), "it is in force");
    }
}

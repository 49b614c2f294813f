//! The process `herd serve` with Google's sources, against the fake Google over the kernel: a name server, a
//! certificate of its own authority, a key in a file.
//!
//! tests/suite/places/faults.rs tests the effect of each fault, on a clock advanced by hand. These tests show that
//! the process behaves the same: one answer of each source, a service that dies during a reply and comes back, and
//! invalid certificates.

use crate::support::fake_google::faults::{Switch, named};
use crate::support::fake_google::names::{NameServer, Naming, Zone};
use crate::support::fake_google::places::{Api, Places};
use crate::support::fake_google::{
    Authority, Certificate, FakeGoogle, Gate, Script, Step, setting,
};
use crate::support::process::{DEADLINE, Ended, Herd, Process, until};
use places_herd::net::dns::Via;
use rustix::process::Signal;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;

const BOTH: [Api; 2] = [Api::New, Api::Legacy];

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("places_served"));

/// One server, the fake Google, and the files that connect them. All of them use one loopback address that no other
/// test uses, so a released port is free to be bound again.
struct Stage {
    herd: Herd,
    server: Process,
    fake: Option<FakeGoogle>,
    zone: Zone,
    _names: NameServer,
}

impl Stage {
    fn new(test: &str, api: Api, script: Script) -> Stage {
        let herd = Herd::new(&format!("{test}-{}", api.source()), &[("Alford", &[])]);
        setting::write_files(herd.folder(), &AUTHORITY).expect("the folder is ours");
        let zone = Zone::default();
        zone.say(setting::HOST, Naming::At(vec![herd.ip().into()]));
        let names = NameServer::new(&zone);
        let [client, peer] = [12_000, 12_100].map(|port| (herd.ip(), port).into());
        let addresses = [client, peer, service(&herd), names.address()];
        herd.write(&setting::topology(api, addresses));
        let environment = [("NO_PROXY", setting::HOST), ("RUST_LOG", "debug")];
        let mut server = herd.start_in(&environment, &["serve", "Alford"]);
        server.line();
        let mut stage = Stage { herd, server, fake: None, zone, _names: names };
        stage.start_fake(script);
        stage
    }

    fn start_fake(&mut self, script: Script) {
        self.fake = Some(FakeGoogle::at(service(&self.herd), &AUTHORITY, script));
    }

    fn fake(&self) -> &FakeGoogle {
        self.fake.as_ref().expect("it was started")
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect((self.herd.ip(), 12_000)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        Client(BufReader::new(stream))
    }

    /// Stops the server, and returns all of its output, which must not contain the key.
    fn end(mut self) -> String {
        self.server.signal(Signal::TERM);
        let Ended { code, stdout, stderr } = self.server.end();
        assert_eq!(code, Some(0), "{stderr}");
        let logs = fs::read_dir(self.herd.folder().join("log")).expect("a folder");
        let logs = logs.map(|log| fs::read(log.expect("a file").path()).expect("a file"));
        let logs = String::from_utf8_lossy(&logs.collect::<Vec<_>>().concat()).into_owned();
        let all = [stdout, stderr, logs].concat();
        assert!(!all.contains(setting::KEY), "nobody sees the key: {all}");
        all
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0.get_mut().write_all(line.as_bytes()).expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line, and in time");
        line
    }

    fn is_known(&mut self, name: &str) {
        self.say(&format!("IAMAT {name} +34.068930-118.445127 5"));
        assert!(self.line().starts_with("AT Alford "));
    }

    /// The JSON of the reply to a WHATSAT.
    fn places(&mut self) -> serde_json::Value {
        assert!(self.line().starts_with("AT Alford "));
        let mut json = String::new();
        loop {
            match self.line().as_str() {
                "\n" => return serde_json::from_str(&json).expect("JSON"),
                line => json.push_str(line),
            }
        }
    }

    fn whatsat(&mut self) -> serde_json::Value {
        self.say("WHATSAT kiwi 10 5");
        self.places()
    }

    #[track_caller]
    fn finds(&mut self) {
        let found = self.whatsat();
        assert_eq!(found["status"], "OK", "{found}");
        assert_eq!(found["results"].as_array().map(Vec::len), Some(5));
        assert_eq!(found["results"][0]["name"], "Lantern & Sons Hardware");
    }
}

#[track_caller]
fn assert_unanswered(found: &serde_json::Value, phase: &str) {
    assert_eq!(found["status"], "UNKNOWN_ERROR", "{found}");
    let message = format!("The places provider did not answer (phase: {phase}).");
    assert_eq!(found["error_message"], message.as_str());
}

fn service(herd: &Herd) -> SocketAddr {
    (herd.ip(), 12_443).into()
}

fn places() -> Places {
    Places { key: Some(setting::KEY.to_owned()) }
}

fn good() -> Script {
    Script::answering(|asked| vec![Step::Send(places().answer(asked.request))])
}

#[test]
fn places_come_over_one_connection() {
    for api in BOTH {
        let stage = Stage::new("served", api, good());
        // The name's addresses do not fit in a datagram.
        stage.zone.say(setting::HOST, Naming::Truncated(vec![stage.herd.ip().into()]));
        let mut client = stage.client();
        client.is_known("kiwi");
        client.finds();
        client.finds();
        let queries = [Via::Udp, Via::Tcp].map(|via| stage.zone.queries(via));
        assert_eq!(queries, [2, 2], "of each family");
        assert_eq!((stage.fake().connections(), stage.fake().requests()), (1, 2));
        stage.end();
    }
}

#[test]
fn a_service_that_dies_in_the_middle_costs_one_answer_and_may_come_back() {
    for api in BOTH {
        let switch = Switch::default();
        switch.set(true);
        let slow = named("slow-head").expect("it is a fault").script(api, places(), switch);
        let mut stage = Stage::new("killed", api, slow);
        let mut client = stage.client();
        client.is_known("kiwi");
        client.say("WHATSAT kiwi 10 5\nIAMAT fig +1-1 5");
        until("it is asked", || (stage.fake().requests() == 1).then_some(()));
        stage.client().is_known("pear");
        stage.fake = None;
        assert_unanswered(&client.places(), "first byte");
        assert!(client.line().contains(" fig "), "in the order of the commands");
        assert_unanswered(&client.whatsat(), "connect");
        stage.start_fake(good());
        client.finds();
        stage.end();
    }
}

#[test]
fn a_certificate_that_proves_nothing_is_told_in_the_log_and_nothing_is_asked() {
    for api in BOTH {
        for (certificate, says) in [
            (Certificate::WrongHost, "not valid for name"),
            (Certificate::Untrusted, "UnknownIssuer"),
            (Certificate::Expired, "expired"),
        ] {
            let script = good().certificate(move |_| certificate);
            let stage = Stage::new("wrong-certificate", api, script);
            let mut client = stage.client();
            client.is_known("kiwi");
            assert_unanswered(&client.whatsat(), "tls");
            stage.client().is_known("pear");
            assert_eq!(stage.fake().requests(), 0, "the key was sent to nobody");
            let said = stage.end();
            assert!(said.contains(says), "{certificate:?}: {said}");
        }
    }
}

#[test]
fn a_new_source_answers_when_the_old_one_has_answered_its_last_question() {
    let gate = Gate::default();
    let shut = gate.clone();
    let stage = Stage::new(
        "replaced",
        Api::New,
        Script::answering(move |asked| {
            vec![Step::Await(shut.clone()), Step::Send(places().answer(asked.request))]
        }),
    );
    let google = fs::read_to_string(stage.herd.topology()).expect("it was written");
    let reload = |text: &str| {
        stage.herd.write(text);
        let ended = stage.herd.run(&["reload"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    let mut client = stage.client();
    client.is_known("kiwi");
    client.say("WHATSAT kiwi 10 5");
    until("it is asked", || (stage.fake().requests() == 1).then_some(()));
    reload(google.split("[places]").next().expect("there is a first part"));
    let mut other = stage.client();
    other.say("WHATSAT kiwi 10 5");
    until("both wait", || {
        let status = stage.herd.run(&["status", "--json"]).stdout;
        status.contains("\"waiting_whatsats\":2").then_some(())
    });
    gate.open();
    assert_eq!(client.places()["results"][0]["name"], "Lantern & Sons Hardware");
    let found = other.places();
    assert_eq!(found["status"], "OK", "{found}");
    assert!(!found.to_string().contains("Lantern"), "the embedded places: {found}");
    // And back. No connection of before is used again.
    reload(&google);
    client.finds();
    client.finds();
    assert_eq!((stage.fake().connections(), stage.fake().requests()), (2, 3));
    stage.end();
}

//! The pages docs/course/follow-*.md: one request through a real server, written from a run of it.
//!
//! A template in tests/fixtures/follow/ has the prose. The test runs a real server in memory (`world`), fills the marked
//! parts of the template from the run, the sources and the record (`page`), and compares the page. With UPDATE_EXPECTED=1
//! it writes the page.
//!
//! What ties a named function to the run:
//!
//! * Where the server calls the kernel, or a source of places, the test takes a backtrace. The functions of a
//!   `{{stack ...}}` must be on it, in their order.
//! * In between there is no place where a test could look, since the path of a report calls nothing that a test
//!   provides. There each function of a `{{path ...}}` must name the next one in its body (`source`). That is checked as
//!   text: it proves that the call is written there, and not that this run took it. The bytes that leave prove that the
//!   functions did their work.
//! * The steps of a page must follow each other in the run as they do on the page.

mod page;
mod source;
mod world;

use self::page::Page;
use self::world::{Followed, Log, World, follow};
use crate::support::cluster::{MS, Silent, topology};
use crate::support::fake_google::names::Naming;
use crate::support::fake_google::places::{Api, Places};
use crate::support::fake_google::{Authority, Running, Script, Serves, Step};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{
    ConnectOptions, Context, Flow, Io, Moment, Protocol, Reactor, ReactorLimits, TimerId, factory,
};
use places_herd::config::{PlacesSource, Topology};
use places_herd::fetch::pool::HttpPool;
use places_herd::fetch::roots::client_config;
use places_herd::log::secret::Secret;
use places_herd::net::dns::{DnsClient, DnsOptions};
use places_herd::places::{ParsedReply, Progress, Query, Reply, Source, Ticket};
use places_herd::server::member::Member;
use places_herd::server::network::Network;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// When a run ends. Nothing else happens then for a while.
const END: Moment = Moment::from_nanos(1_900_000_000);

const IAMAT: &str = "IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1479413884.392014450\n";
const WHATSAT: &str = "WHATSAT kiwi.cs.ucla.edu 10 2\n";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the followed WHATSAT"));

/// A kernel in memory whose network carries everything in 100 us. The processor takes no time.
fn kernel(host: IpAddr) -> MemoryIo {
    let delay = Duration::from_micros(100);
    let options = MemoryOptions {
        host,
        delay: delay..=delay,
        turn_cost: Duration::ZERO,
        ..MemoryOptions::calm(17)
    };
    MemoryIo::external_clock(options)
}

fn machine(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// A client that sends lines, each so long after the one before it.
struct Client(Vec<(Duration, &'static str)>);

impl Protocol<()> for Client {
    fn connection_made(&mut self, cx: &mut Context<'_, ()>) -> Flow {
        if let Some((delay, _)) = self.0.first() {
            cx.timer_later(*delay);
        }
        Ok(())
    }

    fn timer(&mut self, cx: &mut Context<'_, ()>, _: TimerId) -> Flow {
        cx.write(self.0.remove(0).1.as_bytes());
        self.connection_made(cx)
    }

    fn data_received(&mut self, _: &mut Context<'_, ()>, _: &[u8]) -> Flow {
        Ok(())
    }
}

/// The machine of a client that connects to `server` after 1.2 s, when the servers have been linked for long.
fn client(server: SocketAddr, lines: &[(Duration, &'static str)]) -> Reactor<MemoryIo, ()> {
    let mut reactor = Reactor::new(kernel([10, 9, 9, 9].into()), (), ReactorLimits::default());
    let lines = lines.to_vec();
    reactor.call_later(1_200 * MS, move |(), core| {
        let build = factory(move |_, _| Some(Client(lines.clone())));
        core.connect_tcp(server, ConnectOptions::default(), build);
    });
    reactor
}

/// Starts `member` on `io`.
fn started<I: Io>(io: I, member: Member, topology: &Topology) -> Reactor<I, Member> {
    let mut reactor = Reactor::new(io, member, Member::reactor_limits(topology));
    Member::start(&mut reactor).expect("nobody listens there yet");
    reactor
}

fn parsed(text: &str) -> Topology {
    Topology::parse(text, Path::new("topology.toml")).unwrap_or_else(|e| panic!("{e:?}\n{text}"))
}

fn run(mut reactor: Reactor<Followed, Member>, log: &Log) -> Vec<world::Seen> {
    while reactor.now() < END {
        reactor.turn().expect("this poll never fails");
    }
    log.take()
}

/// Follows the server `which` (0: Alford, 1: Bolden) while Alford gets an IAMAT.
fn iamat_at(which: usize) -> Vec<world::Seen> {
    let topology = parsed(&topology("Alford Bolden; Bolden", ""));
    let of = |number: usize| {
        let server = &topology.servers[number];
        let source = Box::new(Silent);
        Member::new(&topology, &server.name, source, number as u64, 1_000).expect("it is there")
    };
    let mut world = World::default();
    let alford = topology.servers[0].client_listen;
    world.add(None, client(alford, &[(50 * MS, IAMAT)]));
    let other = 1 - which;
    let address = machine(other as u8 + 1);
    world.add(Some(address), started(kernel(address), of(other), &topology));
    let (address, log) = (machine(which as u8 + 1), Log::default());
    let io = follow(kernel(address), address, world, &log);
    run(started(io, of(which), &topology), &log)
}

/// A source that notes when it is called.
#[derive(Debug)]
struct Noted(Box<dyn Source>, Log);

impl Source for Noted {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress {
        self.1.note("called Source::nearby");
        self.0.nearby(ticket, query)
    }

    fn read(&mut self, query: &Query, reply: Reply<'_>) -> ParsedReply {
        self.1.note("called Source::read");
        self.0.read(query, reply)
    }
}

/// The requests and responses of the fake Google, as plain text.
type Exchanged = Arc<Mutex<Vec<String>>>;

fn whatsat(exchanged: &Exchanged) -> Vec<world::Seen> {
    let name_server = SocketAddr::from(([192, 0, 2, 53], 53));
    let google = SocketAddr::from(([192, 0, 2, 10], 443));
    let text = format!("{}[places]\nsource = 'google'\n", topology("Alford", ""));
    let topology = parsed(&text);
    let alford = topology.servers[0].client_listen;

    let mut world = World::default();
    world.zone.say(Api::New.host(), Naming::At(vec![google.ip()]));
    let mut outside = client(alford, &[(50 * MS, IAMAT), (100 * MS, WHATSAT)]);
    let exchanged = Arc::clone(exchanged);
    let script = Script::answering(move |asked| {
        let response = Places::default().answer(asked.request);
        let texts = [asked.request, &response].map(|it| String::from_utf8_lossy(it).into_owned());
        exchanged.lock().unwrap().extend(texts);
        vec![Step::Send(response)]
    });
    let serves = Box::new(Serves(Running::new(&AUTHORITY, script)));
    outside.listen_tcp(google, serves).expect("nobody listens there yet");
    outside.io().play_datagrams(name_server);
    world.add(None, outside);

    let places = &topology.places;
    let PlacesSource::Network(upstream) = &places.source else { unreachable!("{text}") };
    let key = Secret::new("AIzaNobodysKeyOnlyForTheDouble123456789").ok();
    let source = upstream.clone().open(places.rank, key).expect("there is a key");
    let log = Log::default();
    let source = Box::new(Noted(source, log.clone()));
    let options = DnsOptions {
        servers: vec![name_server],
        total: places.dns_timeout(),
        hosts: "/nonexistent".into(),
        resolv_conf: "/nonexistent".into(),
    };
    let ca =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("follow-{}.pem", std::process::id()));
    AUTHORITY.write_pem(&ca).expect("it can be written");
    let pool = HttpPool::new(client_config(Some(&ca)).expect("it is valid"), places.pool_limits());
    std::fs::remove_file(&ca).expect("it is ours");
    let network = Network { dns: DnsClient::new(options), pool };
    let member = Member::new(&topology, "Alford", source, 1, 1_000).expect("it is there");

    let address = machine(1);
    let io = follow(kernel(address), address, world, &log);
    run(started(io, member.with_network(network), &topology), &log)
}

#[test]
fn the_page_of_an_iamat_shows_what_a_run_does() {
    let mut page = Page::new("follow-an-iamat");
    page.run("Alford", iamat_at(0));
    page.run("Bolden", iamat_at(1));
    page.check();
}

#[test]
fn the_page_of_a_whatsat_shows_what_a_run_does() {
    let (mut page, exchanged) = (Page::new("follow-a-whatsat"), Exchanged::default());
    page.run("Alford", whatsat(&exchanged));
    let exchanged = exchanged.lock().unwrap();
    let [request, response] = exchanged.as_slice() else { panic!("{exchanged:?}") };
    page.text("request", request);
    page.text("response", response);
    page.check();
}

#[test]
#[should_panic(expected = "does not call")]
fn a_path_needs_a_call_from_each_function_to_the_next() {
    Page::new("follow-an-iamat").filled("path Reactor::do_read > Table::merge");
}

#[test]
#[should_panic(expected = "rename it in the template")]
fn a_function_that_is_gone_is_reported() {
    Page::new("follow-an-iamat").filled("path Reactor::do_reed");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is not on the stack")]
fn a_function_that_was_not_on_the_stack_is_reported() {
    let mut page = Page::new("follow-an-iamat");
    page.run("Alford", iamat_at(0));
    page.filled("stack Alford \"accepted c2\" Reactor::turn > Reactor::flush");
}

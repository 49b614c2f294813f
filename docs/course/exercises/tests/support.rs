//! A reactor on a network in memory, and clients that a test plays by hand.
//!
//! A test makes a [`Stage`], listens with a protocol of the exercise, connects clients, and lets virtual time pass.
//! An hour of virtual time takes no time at all, and the same test always sees the same order of events.

use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver};
use herd_reactor::testing::{MemoryIo, MemoryOptions};
use herd_reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, Moment,
    Protocol, Reactor, ReactorLimits, Shared, factory,
};
use std::cell::{Ref, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// One millisecond.
pub const MS: Duration = Duration::from_millis(1);

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// The most turns that [`Stage::pass`] runs. A loop that needs more does not sleep.
const TURNS_MAX: usize = 300_000;

/// A port of this machine.
pub fn port(number: u16) -> SocketAddr {
    ([127, 0, 0, 1], number).into()
}

/// Bytes as text, for messages.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All ways to cut `data` into pieces.
pub fn every_chunking(data: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    assert!(data.len() <= 16, "there are too many ways");
    (0..1_u32 << (data.len() - 1)).map(move |cuts| {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for at in 1..data.len() {
            if cuts & 1 << (at - 1) != 0 {
                pieces.push(&data[start..at]);
                start = at;
            }
        }
        pieces.push(&data[start..]);
        pieces
    })
}

/// What a client has heard.
#[derive(Default)]
struct Heard {
    id: Option<ConnId>,
    data: Vec<(Moment, Vec<u8>)>,
    /// When the server's end was read.
    ended: Option<Moment>,
    lost: Option<(Moment, String)>,
}

/// A client that the test plays. Copies of it are the same client.
#[derive(Clone, Default)]
pub struct Client(Rc<RefCell<Heard>>);

impl Client {
    fn heard(&self) -> Ref<'_, Heard> {
        self.0.borrow()
    }

    /// Its connection, as the client's side knows it.
    #[track_caller]
    pub fn id(&self) -> ConnId {
        self.heard().id.expect("the client is not connected")
    }

    pub fn is_connected(&self) -> bool {
        self.heard().id.is_some()
    }

    /// All bytes that it has received.
    pub fn bytes(&self) -> Vec<u8> {
        self.heard().data.iter().flat_map(|(_, data)| data).copied().collect()
    }

    /// How many bytes it has received.
    pub fn count(&self) -> usize {
        self.heard().data.iter().map(|(_, data)| data.len()).sum()
    }

    /// All bytes that it has received, as text.
    pub fn text(&self) -> String {
        text(&self.bytes())
    }

    /// Each piece that it has received, and when.
    pub fn arrivals(&self) -> Vec<(Duration, Vec<u8>)> {
        let heard = self.heard();
        heard.data.iter().map(|(at, data)| (since_start(*at), data.clone())).collect()
    }

    /// When it received its first bytes.
    pub fn first_at(&self) -> Option<Duration> {
        self.heard().data.first().map(|(at, _)| since_start(*at))
    }

    /// When it read the server's end, or its connection was lost.
    pub fn ended_at(&self) -> Option<Duration> {
        let heard = self.heard();
        heard.ended.or(heard.lost.as_ref().map(|(at, _)| *at)).map(since_start)
    }

    /// Whether the server ended the connection in order, after all of its data.
    pub fn was_closed_in_order(&self) -> bool {
        self.heard().ended.is_some()
    }

    /// Why its connection was lost.
    pub fn lost(&self) -> Option<String> {
        self.heard().lost.as_ref().map(|(_, why)| why.clone())
    }
}

fn since_start(at: Moment) -> Duration {
    at - Moment::default()
}

/// The protocol of a client: it notes what it hears, and answers nothing.
struct Notes(Client);

impl<S: Shared> Protocol<S> for Notes {
    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.0.0.borrow_mut().id = Some(cx.id);
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.0.0.borrow_mut().data.push((cx.now(), data.to_vec()));
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.0.0.borrow_mut().ended = Some(cx.now());
        cx.lose_connection();
        Ok(())
    }

    /// A client does not notice that the server stops: it waits for the server's end.
    fn shutting_down(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.0.0.borrow_mut().lost = Some((cx.now(), why.to_string()));
    }
}

/// The factory of one client.
struct Dial(Client);

impl<S: Shared> Factory<S> for Dial {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, S>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        Some(Box::new(Notes(self.0.clone())))
    }
}

impl<S: Shared> ClientFactory<S> for Dial {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<S>,
        _state: &mut S,
        why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        self.0.0.borrow_mut().lost = Some((core.now(), why.to_string()));
    }
}

/// A reactor on a network in memory, whose protocols share an `S`.
pub struct Stage<S: Shared> {
    pub reactor: Reactor<MemoryIo, S>,
    clients: Vec<Client>,
}

impl<S: Shared + 'static> Stage<S> {
    /// A stage on a fast network, on which everything arrives whole.
    pub fn new(state: S) -> Stage<S> {
        Stage::on(MemoryOptions::calm(0), state)
    }

    /// A stage on a network with these options.
    pub fn on(options: MemoryOptions, state: S) -> Stage<S> {
        let reactor = Reactor::new(MemoryIo::new(options), state, ReactorLimits::default());
        Stage { reactor, clients: Vec::new() }
    }

    pub fn state(&mut self) -> &mut S {
        self.reactor.state()
    }

    /// Listens on a free port.
    pub fn listen(&mut self, factory: Box<dyn Factory<S>>) -> SocketAddr {
        self.reactor.listen_tcp(port(0), factory).expect("the port is free").1
    }

    /// Listens on a free port with a protocol for lines.
    pub fn listen_lines<P: LineProtocol<S> + 'static>(
        &mut self,
        mut build: impl FnMut() -> P + 'static,
    ) -> SocketAddr {
        let receiver = move |_: &mut Context<'_, S>, _| {
            Some(LineReceiver::new(build(), LineLimits::default()))
        };
        self.listen(factory(receiver))
    }

    /// Begins to connect a client.
    pub fn dial(&mut self, address: SocketAddr) -> Client {
        let client = Client::default();
        self.clients.push(client.clone());
        let factory = Box::new(Dial(client.clone()));
        self.reactor.connect_tcp(address, ConnectOptions::default(), factory);
        client
    }

    /// Connects a client, and waits until it is connected.
    #[track_caller]
    pub fn connect(&mut self, address: SocketAddr) -> Client {
        let client = self.dial(address);
        self.until("the client is connected", |_| client.is_connected());
        self.pass(MS);
        client
    }

    /// Has the client send `data`; lets a millisecond pass.
    #[track_caller]
    pub fn send(&mut self, client: &Client, data: &[u8]) {
        self.reactor.write(client.id(), data);
        self.pass(MS);
    }

    /// Has the client end its side; it goes on reading. Lets a millisecond pass.
    pub fn end(&mut self, client: &Client) {
        self.reactor.lose_write_connection(client.id());
        self.pass(MS);
    }

    /// Has the client close its connection in order; lets a millisecond pass.
    pub fn close(&mut self, client: &Client) {
        self.reactor.lose_connection(client.id());
        self.pass(MS);
    }

    /// Has the client reset its connection; lets a millisecond pass.
    pub fn abort(&mut self, client: &Client) {
        self.reactor.abort_connection(client.id());
        self.pass(MS);
    }

    /// Has the client stop reading.
    pub fn pause(&mut self, client: &Client) {
        self.reactor.pause_producing(client.id());
    }

    /// Has the client go on reading.
    pub fn resume(&mut self, client: &Client) {
        self.reactor.resume_producing(client.id());
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        since_start(self.reactor.now())
    }

    /// Runs one turn, which sleeps at most a millisecond.
    #[track_caller]
    pub fn turn(&mut self) {
        let wake = self.reactor.call_later(MS, |_, _| {});
        self.reactor.turn().expect("the turn fails");
        let _ = self.reactor.cancel(wake);
    }

    /// Runs turns for `time`.
    #[track_caller]
    pub fn pass(&mut self, time: Duration) {
        self.watch(time, |_| {});
    }

    /// Runs turns for `time`, and calls `look` after each.
    #[track_caller]
    pub fn watch(&mut self, time: Duration, mut look: impl FnMut(&mut Stage<S>)) {
        let end = self.reactor.now() + time;
        let wake = self.reactor.call_later(time, |_, _| {});
        let mut turns = 0;
        while self.reactor.now() < end && !self.reactor.is_stopped() {
            self.reactor.turn().expect("the turn fails");
            look(self);
            turns += 1;
            assert!(turns < TURNS_MAX, "{turns} turns in {time:?} of virtual time: the loop spins");
        }
        let _ = self.reactor.cancel(wake);
    }

    /// Runs turns until `done` returns true; fails after a minute of virtual time.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Stage<S>) -> bool) {
        let end = self.now() + 60 * SECOND;
        while !done(self) {
            assert!(self.now() < end, "not within a minute of virtual time: {what}");
            self.turn();
        }
    }

    /// The bytes that wait to be sent on the fullest of the server's connections.
    pub fn most_pending(&self) -> usize {
        let own: Vec<Option<ConnId>> = self.clients.iter().map(|it| it.heard().id).collect();
        let ids = self.reactor.connection_ids().into_iter().filter(|id| !own.contains(&Some(*id)));
        ids.map(|id| self.reactor.pending(id)).max().unwrap_or(0)
    }
}

//! The outside of a cluster: clients, strangers, and servers that a test plays itself. They share a reactor of their
//! own, and receive without answering unless the test sends something.

use super::{Cluster, SECOND};
use herd_reactor::testing::MemoryIo;
use herd_reactor::{
    ClientFactory, CloseReason, ConnId, ConnectOptions, Context, Core, Factory, Flow, Protocol,
    Shared,
};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

impl Cluster {
    /// Connects a client to the server `name`.
    pub(crate) fn client(&mut self, name: &str) -> TalkId {
        self.dial(self.topology.server(name).expect("a server of the topology").client_listen)
    }

    /// Connects a stranger to the peer port of the server `name`.
    pub(crate) fn stranger(&mut self, name: &str) -> TalkId {
        self.dial(self.topology.server(name).expect("a server of the topology").peer_listen)
    }

    /// Connects to `address`.
    pub(crate) fn dial(&mut self, address: SocketAddr) -> TalkId {
        let talk = self.begin_dial(address);
        self.settle();
        talk
    }

    /// Starts to connect to `address`. Data is sent when the connection is made.
    pub(crate) fn begin_dial(&mut self, address: SocketAddr) -> TalkId {
        let (outside, core) = self.outside.parts();
        let talk = TalkId(outside.talks.len());
        outside.talks.push(Talk::default());
        let options = ConnectOptions { timeout: 600 * SECOND, reconnect: None };
        core.connect_tcp(address, options, Box::new(Dialled(talk)));
        self.outside_is_touched = true;
        talk
    }

    /// Listens in the place of the server `name`, which must not be started. [`callers`](Cluster::callers) returns the
    /// connections to it.
    pub(crate) fn play(&mut self, name: &str) {
        let address = self.topology.server(name).expect("a server of the topology").peer_listen;
        self.outside.listen_tcp(address, Box::new(Played)).expect("nobody listens there yet");
    }

    /// The connections to servers that the test plays, in the order of their arrival.
    pub(crate) fn callers(&mut self) -> Vec<TalkId> {
        self.outside.state().callers.clone()
    }

    /// Sends `data`.
    pub(crate) fn send(&mut self, talk: TalkId, data: impl AsRef<[u8]>) {
        match self.connection(talk) {
            (Some(id), core) => core.write(id, data.as_ref()),
            (None, _) => self.outside.state().talks[talk.0].unsaid.extend(data.as_ref()),
        }
    }

    /// Sends `text` and a newline, and runs the cluster until it is quiet. Returns the text received since the last
    /// call.
    pub(crate) fn say(&mut self, talk: TalkId, text: &str) -> String {
        self.send(talk, text);
        self.send(talk, "\n");
        self.settle();
        self.hear(talk)
    }

    /// Takes the text received since the last call, with non-ASCII bytes escaped.
    pub(crate) fn hear(&mut self, talk: TalkId) -> String {
        let heard = std::mem::take(&mut self.outside.state().talks[talk.0].heard);
        String::from_utf8(heard).unwrap_or_else(|e| e.into_bytes().escape_ascii().to_string())
    }

    /// The bytes received since the last call of [`hear`](Cluster::hear), without taking them.
    pub(crate) fn heard(&mut self, talk: TalkId) -> &[u8] {
        &self.outside.state().talks[talk.0].heard
    }

    /// Whether the connection is up.
    pub(crate) fn stands(&mut self, talk: TalkId) -> bool {
        self.outside.state().talks[talk.0].id.is_some()
    }

    /// How the other side has ended the connection, if it has.
    pub(crate) fn ending(&mut self, talk: TalkId) -> Option<Ending> {
        self.outside.state().talks[talk.0].ending
    }

    /// Half-closes the connection.
    pub(crate) fn end(&mut self, talk: TalkId) {
        match self.connection(talk) {
            (Some(id), core) => core.lose_write_connection(id),
            (None, _) => self.outside.state().talks[talk.0].ends_at_once = true,
        }
    }

    /// Resets the connection.
    pub(crate) fn abort(&mut self, talk: TalkId) {
        if let (Some(id), core) = self.connection(talk) {
            core.abort_connection(id);
        }
    }

    /// Listens outside, at `address`, with the protocols of `factory`.
    pub(crate) fn host(&mut self, address: SocketAddr, factory: Box<dyn Factory<Outside>>) {
        self.outside.listen_tcp(address, factory).expect("nobody listens there yet");
    }

    /// Answers datagrams to the outside address `address` with `answer`. Only one address can be served.
    pub(crate) fn host_datagrams(
        &mut self,
        address: SocketAddr,
        answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + 'static,
    ) {
        self.outside.io().play_datagrams(address);
        self.answerer = Some(Answerer(Box::new(answer)));
    }

    /// The core of the outside's reactor, for what a test does to the machines that it [hosts](Cluster::host).
    pub(crate) fn outside_core(&mut self) -> &mut Core<Outside> {
        self.outside_is_touched = true;
        self.outside.parts().1
    }

    /// The network of the outside, in which a test can cause faults.
    pub(crate) fn outside_network(&mut self) -> &mut MemoryIo {
        self.outside.io()
    }

    pub(super) fn answer_datagrams(&mut self) {
        let Some(Answerer(answer)) = &mut self.answerer else { return };
        let io = self.outside.io();
        for asked in io.take_datagrams() {
            if let Some(bytes) = answer(&asked.bytes) {
                io.send_datagram(asked.to, asked.from, bytes);
            }
        }
    }

    /// Stops reading from a connection, or starts again.
    pub(crate) fn listen_to(&mut self, talk: TalkId, listens: bool) {
        let (Some(id), core) = self.connection(talk) else { return };
        match listens {
            true => core.resume_producing(id),
            false => core.pause_producing(id),
        }
    }

    fn connection(&mut self, talk: TalkId) -> (Option<ConnId>, &mut Core<Outside>) {
        self.outside_is_touched = true;
        let (outside, core) = self.outside.parts();
        (outside.talks[talk.0].id, core)
    }
}

/// The name of one connection of the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TalkId(usize);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The other side has closed in good order.
    Fin,
    /// The connection was reset, or never made.
    Broken,
}

/// The connections of the outside, with the bytes that they have received.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    talks: Vec<Talk>,
    callers: Vec<TalkId>,
}

#[derive(Debug, Default)]
struct Talk {
    id: Option<ConnId>,
    /// The bytes to send when the connection is made.
    unsaid: Vec<u8>,
    ends_at_once: bool,
    heard: Vec<u8>,
    ending: Option<Ending>,
}

impl Shared for Outside {
    type Message = ();
}

/// Stores what it receives. It does not react when the other side ends the stream or when the connection fails.
impl Protocol<Outside> for TalkId {
    fn name(&self) -> &'static str {
        super::OUTSIDE
    }

    fn connection_made(&mut self, cx: &mut Context<'_, Outside>) -> Flow {
        // It reads while it sends, however much it has to send.
        cx.unregister_producer();
        let talk = &mut cx.state.talks[self.0];
        talk.id = Some(cx.id);
        let (unsaid, ends) = (std::mem::take(&mut talk.unsaid), talk.ends_at_once);
        cx.write(&unsaid);
        if ends {
            cx.core.lose_write_connection(cx.id);
        }
        Ok(())
    }

    fn data_received(&mut self, cx: &mut Context<'_, Outside>, data: &[u8]) -> Flow {
        cx.state.talks[self.0].heard.extend(data);
        Ok(())
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, Outside>) -> Flow {
        cx.state.talks[self.0].ending = Some(Ending::Fin);
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, Outside>, _why: &CloseReason) {
        let talk = &mut cx.state.talks[self.0];
        talk.id = None;
        talk.ending.get_or_insert(Ending::Broken);
    }
}

#[derive(Debug)]
struct Dialled(TalkId);

impl Factory<Outside> for Dialled {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Outside>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Outside>>> {
        Some(Box::new(self.0))
    }
}

impl ClientFactory<Outside> for Dialled {
    fn client_connection_failed(
        &mut self,
        _core: &mut Core<Outside>,
        state: &mut Outside,
        _why: &CloseReason,
        _retry: Option<Duration>,
    ) {
        state.talks[self.0.0].ending = Some(Ending::Broken);
    }
}

#[derive(Debug)]
struct Played;

impl Factory<Outside> for Played {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, Outside>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Outside>>> {
        let caller = TalkId(cx.state.talks.len());
        cx.state.talks.push(Talk::default());
        cx.state.callers.push(caller);
        Some(Box::new(caller))
    }
}

/// A function from a datagram to its answer, or to none.
pub(super) struct Answerer(Box<Answers>);

type Answers = dyn FnMut(&[u8]) -> Option<Vec<u8>>;

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answerer")
    }
}

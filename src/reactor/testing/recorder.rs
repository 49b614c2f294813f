//! A protocol that writes down what it hears, and does what a closure says.
//!
//! All recorders of a reactor write into one [`Records`], which is part of what they share; so the
//! log has one order, and a test reads like a script: who, heard what, when.

use crate::{
    ClientFactory, CloseReason, ConnId, Context, Core, Factory, Flow, Moment, Protocol, Shared,
    TimerId,
};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What a protocol, or its factory, was called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// connection_made.
    Made,
    /// data_received.
    Data(Vec<u8>),
    /// read_connection_lost.
    ReadLost,
    /// resume_producing.
    Resume,
    /// message, as its Debug shows it.
    Message(String),
    /// timer, and its id.
    Timer(TimerId),
    /// shutting_down.
    ShuttingDown,
    /// connection_lost: the name of the reason, and its text.
    Lost(&'static str, String),
    /// The factory's client_connection_failed: the name of the reason, and when the next attempt is.
    Failed(&'static str, Option<Duration>),
    /// The factory's client_connection_lost, likewise.
    ClientLost(&'static str, Option<Duration>),
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The monotonic clock of that turn.
    pub at: Moment,
    /// The name of the recorder.
    pub who: &'static str,
    /// Its connection; a factory has none when nothing could be made.
    pub id: Option<ConnId>,
    /// What it heard.
    pub heard: Heard,
}

/// The log that recorders share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// In the order in which it happened.
    pub log: Vec<Record>,
}

impl Records {
    /// The connection that the latest recorder called `who` has, or had.
    pub fn id(&self, who: &str) -> Option<ConnId> {
        let made = |r: &&Record| r.who == who && r.heard == Heard::Made;
        self.log.iter().rev().find(made)?.id
    }

    /// All that recorders called `who` have heard.
    pub fn heard(&self, who: &str) -> Vec<&Heard> {
        self.log.iter().filter(|record| record.who == who).map(|record| &record.heard).collect()
    }

    /// How often recorders called `who` have heard what `which` picks.
    pub fn count(&self, who: &str, which: impl Fn(&Heard) -> bool) -> usize {
        self.heard(who).into_iter().filter(|heard| which(heard)).count()
    }

    /// All bytes that recorders called `who` have been given.
    pub fn bytes(&self, who: &str) -> Vec<u8> {
        let data = self.heard(who).into_iter().filter_map(|heard| match heard {
            Heard::Data(data) => Some(data.as_slice()),
            _ => None,
        });
        data.flatten().copied().collect()
    }

    /// Why each connection of recorders called `who` was lost: the names of the reasons.
    pub fn lost(&self, who: &str) -> Vec<&'static str> {
        let lost = self.heard(who).into_iter().filter_map(|heard| match heard {
            Heard::Lost(why, _) => Some(*why),
            _ => None,
        });
        lost.collect()
    }
}

/// One event a line; the same run gives the same bytes.
impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Record { at, who, id, heard } in &self.log {
            match id {
                Some(id) => writeln!(f, "{at:?} {who}{id:?} {heard:?}")?,
                None => writeln!(f, "{at:?} {who} {heard:?}")?,
            }
        }
        Ok(())
    }
}

/// Records can be all that is shared; then messages are text.
impl Shared for Records {
    type Message = String;
}

impl AsMut<Records> for Records {
    fn as_mut(&mut self) -> &mut Records {
        self
    }
}

/// The variant's own name: what a test compares.
fn name_of(why: &CloseReason) -> &'static str {
    match why {
        CloseReason::ConnectionDone => "ConnectionDone",
        CloseReason::ConnectionLost(_) => "ConnectionLost",
        CloseReason::ConnectionAborted => "ConnectionAborted",
        CloseReason::ConnectError(_) => "ConnectError",
        CloseReason::TimeoutError(_) => "TimeoutError",
        CloseReason::ProtocolFailed(_) => "ProtocolFailed",
        CloseReason::ReactorStopped => "ReactorStopped",
    }
}

type React<S> = dyn FnMut(&mut Context<'_, S>, &Heard) -> Flow;

/// A protocol that writes down what it hears, then does what it was told to.
pub struct Recorder<S: Shared> {
    name: &'static str,
    react: Box<React<S>>,
    /// It does not close by itself: not at the peer's end, not when the reactor stops.
    stays: bool,
}

impl<S: Shared + AsMut<Records>> Recorder<S> {
    /// A recorder that only records.
    pub fn new(name: &'static str) -> Recorder<S> {
        Recorder { name, react: Box::new(|_, _| Ok(())), stays: false }
    }

    /// Having recorded, it does this.
    pub fn on(mut self, react: impl FnMut(&mut Context<'_, S>, &Heard) -> Flow + 'static) -> Self {
        self.react = Box::new(react);
        self
    }

    /// Neither the peer's end nor the reactor's shutdown closes it, unless its closure does.
    pub fn stays(mut self) -> Self {
        self.stays = true;
        self
    }

    fn note(&mut self, cx: &mut Context<'_, S>, heard: Heard) -> Flow {
        let (at, id) = (cx.now(), Some(cx.id));
        cx.state.as_mut().log.push(Record { at, who: self.name, id, heard: heard.clone() });
        (self.react)(cx, &heard)
    }
}

impl<S: Shared<Message: fmt::Debug> + AsMut<Records>> Protocol<S> for Recorder<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.note(cx, Heard::Made)
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.note(cx, Heard::Data(data.to_vec()))
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.note(cx, Heard::ReadLost)?;
        if !self.stays {
            cx.lose_connection();
        }
        Ok(())
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.note(cx, Heard::Resume)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.note(cx, Heard::Message(format!("{message:?}")))
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        self.note(cx, Heard::Timer(timer))
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.note(cx, Heard::ShuttingDown)?;
        if !self.stays {
            cx.lose_connection();
        }
        Ok(())
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        // The connection is over; an error could cost nothing any more.
        let _ = self.note(cx, Heard::Lost(name_of(why), why.to_string()));
    }
}

impl<S: Shared> fmt::Debug for Recorder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A factory that writes down failures and losses, around another one.
pub struct RecordingFactory<S: Shared> {
    name: &'static str,
    inner: Box<dyn Factory<S>>,
}

impl<S: Shared> RecordingFactory<S> {
    /// A factory called `name` whose protocols `build` makes.
    pub fn by<P: Protocol<S> + 'static>(
        name: &'static str,
        build: impl FnMut(&mut Context<'_, S>, SocketAddr) -> Option<P> + 'static,
    ) -> Box<RecordingFactory<S>> {
        Box::new(RecordingFactory { name, inner: Box::new(build) })
    }
}

impl<S: Shared + AsMut<Records>> RecordingFactory<S> {
    fn note(&self, core: &Core<S>, state: &mut S, heard: Heard) {
        state.as_mut().log.push(Record { at: core.now(), who: self.name, id: None, heard });
    }
}

impl<S: Shared> Factory<S> for RecordingFactory<S> {
    fn build_protocol(
        &mut self,
        cx: &mut Context<'_, S>,
        peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<S>>> {
        self.inner.build_protocol(cx, peer)
    }
}

impl<S: Shared + AsMut<Records>> ClientFactory<S> for RecordingFactory<S> {
    fn client_connection_failed(
        &mut self,
        core: &mut Core<S>,
        state: &mut S,
        why: &CloseReason,
        retry: Option<Duration>,
    ) {
        self.note(core, state, Heard::Failed(name_of(why), retry));
    }

    fn client_connection_lost(
        &mut self,
        core: &mut Core<S>,
        state: &mut S,
        why: &CloseReason,
        retry: Option<Duration>,
    ) {
        self.note(core, state, Heard::ClientLost(name_of(why), retry));
    }
}

impl<S: Shared> fmt::Debug for RecordingFactory<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingFactory").field("name", &self.name).finish_non_exhaustive()
    }
}

//! A protocol that records the calls it gets, and then runs a closure of the test.
//!
//! All recorders of a reactor write to one [`Records`], which is part of the shared state. So the log has one order,
//! and a test reads like a script: which recorder was called, with what, and when.

use crate::{
    ClientFactory, CloseReason, ConnId, Context, Core, Factory, Flow, Moment, Protocol, Shared,
    TimerId,
};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// One call of a protocol or its factory, with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `connection_made`.
    Made,
    /// `data_received`, with the data.
    Data(Vec<u8>),
    /// `read_connection_lost`.
    ReadLost,
    /// `resume_producing`.
    Resume,
    /// `message`, with the message in its `Debug` form.
    Message(String),
    /// `timer`, with the timer's id.
    Timer(TimerId),
    /// `shutting_down`.
    ShuttingDown,
    /// `connection_lost`, with the name of the reason and its text.
    Lost(&'static str, String),
    /// `client_connection_failed` of the factory, with the name of the reason and the delay until the next attempt.
    Failed(&'static str, Option<Duration>),
    /// `client_connection_lost` of the factory, with the name of the reason and the delay until the next attempt.
    ClientLost(&'static str, Option<Duration>),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The monotonic clock at the call.
    pub at: Moment,
    /// The name of the recorder.
    pub who: &'static str,
    /// The connection; `None` for a call of the factory.
    pub id: Option<ConnId>,
    /// The call.
    pub heard: Heard,
}

/// The log that recorders share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// The entries, oldest first.
    pub log: Vec<Record>,
}

impl Records {
    /// The present or last connection of the latest recorder with this name.
    pub fn id(&self, who: &str) -> Option<ConnId> {
        let made = |r: &&Record| r.who == who && r.heard == Heard::Made;
        self.log.iter().rev().find(made)?.id
    }

    /// All calls of the recorders with this name.
    pub fn heard(&self, who: &str) -> Vec<&Heard> {
        self.log.iter().filter(|record| record.who == who).map(|record| &record.heard).collect()
    }

    /// Returns how many calls of the recorders with this name `which` accepts.
    pub fn count(&self, who: &str, which: impl Fn(&Heard) -> bool) -> usize {
        self.heard(who).into_iter().filter(|heard| which(heard)).count()
    }

    /// All data that the recorders with this name have received.
    pub fn bytes(&self, who: &str) -> Vec<u8> {
        let data = self.heard(who).into_iter().filter_map(|heard| match heard {
            Heard::Data(data) => Some(data.as_slice()),
            _ => None,
        });
        data.flatten().copied().collect()
    }

    /// The names of the reasons for which the recorders with this name lost their connections.
    pub fn lost(&self, who: &str) -> Vec<&'static str> {
        let lost = self.heard(who).into_iter().filter_map(|heard| match heard {
            Heard::Lost(why, _) => Some(*why),
            _ => None,
        });
        lost.collect()
    }
}

/// Shows one call per line; the same run gives the same bytes.
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

/// Records can be the whole shared state; messages are then strings.
impl Shared for Records {
    type Message = String;
}

impl AsMut<Records> for Records {
    fn as_mut(&mut self) -> &mut Records {
        self
    }
}

/// The name of the variant, for tests to compare.
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

/// A protocol that records each call and then runs a closure.
pub struct Recorder<S: Shared> {
    name: &'static str,
    react: Box<React<S>>,
    /// The recorder does not close its connection at the peer's end or when the reactor stops.
    stays: bool,
}

impl<S: Shared + AsMut<Records>> Recorder<S> {
    /// Creates a recorder that only records.
    pub fn new(name: &'static str) -> Recorder<S> {
        Recorder { name, react: Box::new(|_, _| Ok(())), stays: false }
    }

    /// Sets the closure that runs after each recorded call. Its result is the result of the call.
    pub fn on(mut self, react: impl FnMut(&mut Context<'_, S>, &Heard) -> Flow + 'static) -> Self {
        self.react = Box::new(react);
        self
    }

    /// Keeps the connection open at the peer's end and when the reactor stops, unless the closure closes it.
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
        // The connection is over; an error would have no effect.
        let _ = self.note(cx, Heard::Lost(name_of(why), why.to_string()));
    }
}

impl<S: Shared> fmt::Debug for Recorder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A factory that records failures and losses, and otherwise calls another factory.
pub struct RecordingFactory<S: Shared> {
    name: &'static str,
    inner: Box<dyn Factory<S>>,
}

impl<S: Shared> RecordingFactory<S> {
    /// Creates a factory called `name` whose protocols `build` makes.
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

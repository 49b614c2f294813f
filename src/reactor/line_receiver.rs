//! Bytes into lines.
//!
//! In: the bytes of a connection, cut anywhere. Out: [`LineProtocol::line_received`], a line at a
//! time, without its end. A line ends with LF; one CR before it belongs to the end. What stands
//! before the end of the stream counts as a line too.
//!
//! ```text
//!   kept from last time │ this chunk
//!   IAMAT kiwi +34.0    │ 68930-118.445127 1479413884\r\n WHATSAT kiwi 10 5\n IAM
//!   └────────── copied together ─────────────────────┘    └─ in place ────┘  └┴ kept
//! ```
//!
//! A line that lies whole in the chunk is delivered from there, without a copy. Only the unfinished
//! tail is kept, and it is never searched again: the search for its end goes on where the last
//! chunk ended (Twisted searches the whole buffer each time and copies the rest for every line,
//! issues #6356 and #6357, so that long chunks cost the square of their length).
//!
//! After each line the receiver asks the transport whether to go on: not when the connection is
//! being lost or was aborted, and not when the protocol or a full send buffer holds it up. What is
//! left of the chunk then waits here.
//!
//! It does not know what a line says, nor who wrote it.
//!
//! Twisted: protocols/basic.py, LineReceiver. Differences: LF ends a line as well as CR LF; the last
//! line needs no end; nothing is delivered after abortConnection; an over-long line has a reason
//! and a log line of its own.

use crate::{CloseReason, Context, Flow, Moment, Protocol, Shared, TimerId};
use memchr::memchr;
use std::any::type_name;
use std::mem;
use std::time::Duration;

/// Room for what is kept, at least: an unfinished line is rarely longer.
const KEPT_BYTES: usize = 128;

/// Limits on what a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// The longest line, in bytes, its end not counted. Twisted: LineReceiver.MAX_LENGTH.
    pub line_bytes: usize,
    /// How long a line may take from its first byte to its end. It is not prolonged by bytes that
    /// trickle in.
    pub unfinished_line: Duration,
}

/// Twisted: LineReceiver.MAX_LENGTH.
pub const MAX_LENGTH: usize = 16_384;

impl Default for LineLimits {
    fn default() -> LineLimits {
        LineLimits { line_bytes: MAX_LENGTH, unfinished_line: Duration::from_secs(30) }
    }
}

/// What understands lines. The hooks are those of [`Protocol`], lines in the place of bytes.
pub trait LineProtocol<S: Shared> {
    /// See [`Protocol::name`].
    fn name(&self) -> &'static str {
        type_name::<Self>()
    }

    /// See [`Protocol::connection_made`].
    fn connection_made(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// A line has come. `line`: without its end, at most [`LineLimits::line_bytes`] bytes, any bytes
    /// but LF. Returns in which way the rest is to be received.
    fn line_received(&mut self, cx: &mut Context<'_, S>, line: &[u8]) -> Flow<Mode>;

    /// In raw mode: all the bytes there are. Returns how many of them were taken and in which way the
    /// rest is to be received. Twisted: rawDataReceived, and setLineMode(extra).
    fn raw_data_received(&mut self, _cx: &mut Context<'_, S>, data: &[u8]) -> Flow<(usize, Mode)> {
        Ok((data.len(), Mode::Raw))
    }

    /// A line is longer than the limit; nothing more is delivered. `start`: as much of it as came.
    /// Unless told otherwise the connection is lost. Twisted: lineLengthExceeded.
    fn line_length_exceeded(&mut self, _cx: &mut Context<'_, S>, _start: &[u8]) -> Flow {
        Err("the line is too long".into())
    }

    /// A line has not ended in time. Unless told otherwise the connection is lost.
    fn line_timed_out(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.core.lose_because(cx.id, Some(CloseReason::TimeoutError("an unfinished line")));
        Ok(())
    }

    /// See [`Protocol::read_connection_lost`]; an unfinished line was delivered before.
    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// See [`Protocol::resume_producing`].
    fn resume_producing(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// See [`Protocol::message`].
    fn message(&mut self, _cx: &mut Context<'_, S>, _message: S::Message) -> Flow {
        Ok(())
    }

    /// See [`Protocol::timer`].
    fn timer(&mut self, _cx: &mut Context<'_, S>, _timer: TimerId) -> Flow {
        Ok(())
    }

    /// See [`Protocol::shutting_down`].
    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.lose_connection();
        Ok(())
    }

    /// See [`Protocol::connection_lost`].
    fn connection_lost(&mut self, _cx: &mut Context<'_, S>, _why: &CloseReason) {}
}

/// How the bytes to come are to be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As lines. Twisted: setLineMode.
    Lines,
    /// As they come. Twisted: setRawMode.
    Raw,
    /// Not at all: a line was too long.
    Ignored,
}

/// [`LineLimits`] as every connection keeps them, in 8 bytes: what is beyond 32 bits is no limit that
/// anybody would meet.
#[derive(Clone, Copy, Debug)]
struct PackedLimits {
    line_bytes: u32,
    unfinished_line_ms: u32,
}

impl From<LineLimits> for PackedLimits {
    fn from(limits: LineLimits) -> PackedLimits {
        let most = |number: u128| u32::try_from(number).unwrap_or(u32::MAX);
        PackedLimits {
            line_bytes: most(limits.line_bytes as u128),
            // Rather longer than shorter.
            unfinished_line_ms: most(limits.unfinished_line.as_micros().div_ceil(1_000)),
        }
    }
}

impl PackedLimits {
    fn line_bytes(self) -> usize {
        self.line_bytes as usize
    }

    fn unfinished_line(self) -> Duration {
        Duration::from_millis(self.unfinished_line_ms.into())
    }
}

/// A [`Protocol`] that delivers lines to `P`.
///
/// ```
/// use herd_reactor::line_receiver::{LineLimits, LineProtocol, LineReceiver, Mode};
/// use herd_reactor::testing::StringTransport;
/// use herd_reactor::{Context, Flow, Protocol};
///
/// struct Shout;
///
/// impl LineProtocol<()> for Shout {
///     fn line_received(&mut self, cx: &mut Context<'_, ()>, line: &[u8]) -> Flow<Mode> {
///         cx.write(&line.to_ascii_uppercase());
///         cx.write(b"\n");
///         Ok(Mode::Lines)
///     }
/// }
///
/// let mut receiver = LineReceiver::new(Shout, LineLimits::default());
/// let mut transport = StringTransport::new(());
/// for chunk in [&b"hel"[..], b"lo\r\nwor", b"ld\n!"] {
///     receiver.data_received(&mut transport.context(), chunk).unwrap();
/// }
/// assert_eq!(transport.take(), b"HELLO\nWORLD\n");
/// ```
///
/// Memory: 56 bytes beside `P`, and what is kept.
#[derive(Debug)]
pub struct LineReceiver<P> {
    inner: P,
    limits: PackedLimits,
    /// How much of `kept` is known to hold no LF.
    searched: u32,
    /// What has come and was not delivered: the start of a line, or what is left of a chunk.
    kept: Vec<u8>,
    /// When the line in `kept` began, and the timer that will ask, if it is set.
    since: Moment,
    timer: Option<TimerId>,
    mode: Mode,
}

impl<P> LineReceiver<P> {
    /// Lines for `inner`, within `limits`.
    pub fn new(inner: P, limits: LineLimits) -> LineReceiver<P> {
        LineReceiver {
            inner,
            limits: limits.into(),
            searched: 0,
            kept: Vec::new(),
            since: Moment::default(),
            timer: None,
            mode: Mode::Lines,
        }
    }

    /// The same, with the first bytes received in another way than as lines.
    pub fn with_mode(self, mode: Mode) -> LineReceiver<P> {
        LineReceiver { mode, ..self }
    }

    fn searched(&self) -> usize {
        self.searched as usize
    }

    /// Delivers what is kept and `data`, as far as the transport lets it; keeps the rest.
    fn receive<S: Shared>(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow
    where
        P: LineProtocol<S>,
    {
        let mut rest = data;
        if !self.kept.is_empty() {
            match self.finish_kept(cx, data)? {
                Some(after) => rest = after,
                None => return Ok(()),
            }
        }
        let left = self.deliver(cx, rest)?;
        if !left.is_empty() {
            self.keep(cx, left);
        }
        Ok(())
    }

    /// Ends the line that is kept with what `data` brings, and delivers it. Returns what follows it
    /// in `data`, or nothing if all is kept.
    fn finish_kept<'d, S: Shared>(
        &mut self,
        cx: &mut Context<'_, S>,
        data: &'d [u8],
    ) -> Flow<Option<&'d [u8]>>
    where
        P: LineProtocol<S>,
    {
        let whole_line = self.searched() == self.kept.len() && self.mode == Mode::Lines;
        if whole_line && is_delivering(cx) {
            let most = self.limits.line_bytes() + 2;
            let end = memchr(b'\n', data);
            let taken = end.map_or(data.len(), |end| end + 1).min(most);
            self.kept.extend_from_slice(&data[..taken]);
            if end.is_none() && without_cr(&self.kept).len() <= self.limits.line_bytes() {
                self.searched = self.kept.len() as u32;
                return Ok(None);
            }
            let line = mem::take(&mut self.kept);
            self.deliver(cx, &line)?;
            // One allocation serves a connection whose lines are split again and again.
            self.kept = line;
            self.kept.clear();
            return Ok(Some(&data[taken..]));
        }
        // Lines are waiting from the last time: what comes goes behind them.
        self.kept.extend_from_slice(data);
        let kept = mem::take(&mut self.kept);
        let left = self.deliver(cx, &kept)?;
        if !left.is_empty() {
            self.keep(cx, left);
        }
        Ok(None)
    }

    /// Delivers the lines of `data` while the transport lets it. Returns what is left: an unfinished
    /// line, or all from the line at which it was held up.
    fn deliver<'d, S: Shared>(&mut self, cx: &mut Context<'_, S>, data: &'d [u8]) -> Flow<&'d [u8]>
    where
        P: LineProtocol<S>,
    {
        let mut rest = data;
        self.searched = 0;
        while !rest.is_empty() && is_delivering(cx) {
            match self.mode {
                Mode::Ignored => return Ok(&[]),
                Mode::Raw => {
                    let (taken, mode) = self.inner.raw_data_received(cx, rest)?;
                    rest = &rest[taken.min(rest.len())..];
                    if mem::replace(&mut self.mode, mode) == mode && taken == 0 {
                        break;
                    }
                }
                Mode::Lines => {
                    let Some(end) = memchr(b'\n', rest) else {
                        // The end may still be a CR LF of which the CR has come.
                        if without_cr(rest).len() > self.limits.line_bytes() {
                            return self.too_long(cx, rest);
                        }
                        self.searched = rest.len() as u32;
                        return Ok(rest);
                    };
                    let line = without_cr(&rest[..end]);
                    if line.len() > self.limits.line_bytes() {
                        return self.too_long(cx, line);
                    }
                    self.mode = self.inner.line_received(cx, line)?;
                    rest = &rest[end + 1..];
                }
            }
        }
        Ok(rest)
    }

    fn too_long<'d, S: Shared>(&mut self, cx: &mut Context<'_, S>, start: &[u8]) -> Flow<&'d [u8]>
    where
        P: LineProtocol<S>,
    {
        self.mode = Mode::Ignored;
        self.inner.line_length_exceeded(cx, start)?;
        Ok(&[])
    }

    /// Keeps `left` for the next time.
    // Once for nearly each chunk: a call would cost as much as the rest. What is rare is apart.
    #[inline(always)]
    fn keep<S: Shared>(&mut self, cx: &mut Context<'_, S>, left: &[u8]) {
        self.kept.clear();
        if left.len() > self.kept.capacity() {
            self.kept = with_room(left.len());
        }
        self.kept.extend_from_slice(left);
        self.since = cx.now();
        if self.timer.is_none() {
            self.ask_later(cx, self.limits.unfinished_line());
        }
    }

    #[cold]
    fn ask_later<S: Shared>(&mut self, cx: &mut Context<'_, S>, delay: Duration) {
        self.timer = Some(cx.timer_later(delay));
    }

    /// Delivers what was held up, now that it may be.
    fn go_on<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: LineProtocol<S>,
    {
        if self.kept.len() > self.searched() && is_delivering(cx) {
            return self.receive(cx, &[]);
        }
        Ok(())
    }

    /// Asked once in a while, not at every line: has the line that is kept now been there too long?
    fn check_unfinished<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: LineProtocol<S>,
    {
        self.timer = None;
        if self.kept.is_empty() {
            self.kept = Vec::new();
            return Ok(());
        }
        let (age, unfinished_line) = (cx.now() - self.since, self.limits.unfinished_line());
        // Whoever is held up waits for us, not we for him.
        let ours = !is_delivering(cx) || self.searched() < self.kept.len();
        if !ours && age >= unfinished_line {
            return self.inner.line_timed_out(cx);
        }
        let left = unfinished_line.saturating_sub(age);
        self.ask_later(cx, if ours { unfinished_line } else { left });
        Ok(())
    }
}

impl<S: Shared, P: LineProtocol<S>> Protocol<S> for LineReceiver<P> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn connection_made(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.connection_made(cx)
    }

    fn data_received(&mut self, cx: &mut Context<'_, S>, data: &[u8]) -> Flow {
        self.receive(cx, data)
    }

    fn read_connection_lost(&mut self, cx: &mut Context<'_, S>) -> Flow {
        if !self.kept.is_empty() && self.mode == Mode::Lines {
            // The end of the stream ends the line.
            let mut last = mem::take(&mut self.kept);
            last.push(b'\n');
            self.deliver(cx, &last)?;
        }
        self.inner.read_connection_lost(cx)
    }

    fn resume_producing(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.resume_producing(cx)?;
        self.go_on(cx)
    }

    fn message(&mut self, cx: &mut Context<'_, S>, message: S::Message) -> Flow {
        self.inner.message(cx, message)?;
        self.go_on(cx)
    }

    fn timer(&mut self, cx: &mut Context<'_, S>, timer: TimerId) -> Flow {
        if self.timer == Some(timer) {
            return self.check_unfinished(cx);
        }
        self.inner.timer(cx, timer)?;
        self.go_on(cx)
    }

    fn shutting_down(&mut self, cx: &mut Context<'_, S>) -> Flow {
        self.inner.shutting_down(cx)
    }

    fn connection_lost(&mut self, cx: &mut Context<'_, S>, why: &CloseReason) {
        self.inner.connection_lost(cx, why);
    }
}

fn is_delivering<S: Shared>(cx: &Context<'_, S>) -> bool {
    cx.transport().is_some_and(crate::Transport::is_delivering)
}

/// An empty buffer for `bytes`. Chunks end anywhere, and the allocator keeps a few of each size that it is
/// given back: so its size is a power of two.
#[cold]
fn with_room(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes.next_power_of_two().max(KEPT_BYTES))
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

//! Splits a stream of bytes into lines.
//!
//! In: the bytes of a connection, cut anywhere. Out: [`LineProtocol::line_received`], called for each line, without
//! the line end. A line ends with LF; one CR before the LF belongs to the line end. Bytes between the last LF and the
//! end of the stream are a line too.
//!
//! ```text
//!   kept from last time │ this chunk
//!   IAMAT kiwi +34.0    │ 68930-118.445127 1479413884\r\n WHATSAT kiwi 10 5\n IAM
//!   └────────── copied together ─────────────────────┘    └─ in place ────┘  └┴ kept
//! ```
//!
//! A line that is complete within a chunk is delivered without a copy. Only the unfinished tail is kept, and it is
//! not searched again: the search for the line end continues where the last chunk ended. (Twisted searches the whole
//! buffer each time and copies the rest for every line, issues #6356 and #6357, so that long chunks cost the square of
//! their length.)
//!
//! After each line the receiver asks the transport whether to deliver more. It stops when the connection is being lost
//! or was aborted, and when the protocol or a full send buffer holds up reading; then it keeps the rest of the chunk.
//!
//! The receiver knows nothing about the contents of lines.
//!
//! Twisted: protocols/basic.py, LineReceiver. Differences: LF ends a line as well as CR LF; the last line needs no
//! line end; nothing is delivered after abortConnection; an over-long line is reported as the reason of the loss, and
//! logged.

use crate::{CloseReason, Context, Flow, Moment, Protocol, Shared, TimerId};
use memchr::{memchr, memchr_iter};
use std::any::type_name;
use std::mem;
use std::time::Duration;

/// The smallest buffer for an unfinished line, which is rarely longer.
const KEPT_BYTES: usize = 128;

/// Limits on the lines that a peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineLimits {
    /// The longest line, in bytes, without its line end. Twisted: LineReceiver.MAX_LENGTH.
    pub line_bytes: usize,
    /// The timeout from a line's first byte to its end. Bytes that trickle in do not extend it.
    pub unfinished_line: Duration,
}

/// Maximum number of lines in a call of [`LineProtocol::lines_ahead`].
pub const LINES_AHEAD: usize = 16;

/// The default of [`LineLimits::line_bytes`]. Twisted: LineReceiver.MAX_LENGTH.
pub const MAX_LENGTH: usize = 16_384;

impl Default for LineLimits {
    fn default() -> LineLimits {
        LineLimits { line_bytes: MAX_LENGTH, unfinished_line: Duration::from_secs(30) }
    }
}

/// A protocol that receives lines. Its methods are those of [`Protocol`], with lines in place of bytes.
pub trait LineProtocol<S: Shared> {
    /// See [`Protocol::name`].
    fn name(&self) -> &'static str {
        type_name::<Self>()
    }

    /// See [`Protocol::connection_made`].
    fn connection_made(&mut self, _cx: &mut Context<'_, S>) -> Flow {
        Ok(())
    }

    /// These lines are in a chunk that does not end with the first of them: at most [`LINES_AHEAD`], each with the CR of a
    /// CR LF, and of any length. Returns how many of them, from the first one on, the protocol has handled here. The
    /// others are delivered next, until the mode changes, a line is too long, or delivery stops; in the last case they are
    /// announced again. A protocol can prepare for them here; by default it does nothing.
    fn lines_ahead(&mut self, _cx: &mut Context<'_, S>, _lines: &[&[u8]]) -> usize {
        0
    }

    /// A line has arrived. Returns the mode for the following bytes.
    ///
    /// `line` excludes the line end. It has at most [`LineLimits::line_bytes`] bytes, with any values but LF.
    fn line_received(&mut self, cx: &mut Context<'_, S>, line: &[u8]) -> Flow<Mode>;

    /// Data has arrived in raw mode. Returns how many of its bytes were taken, and the mode for the rest.
    /// Twisted: rawDataReceived, and setLineMode(extra).
    fn raw_data_received(&mut self, _cx: &mut Context<'_, S>, data: &[u8]) -> Flow<(usize, Mode)> {
        Ok((data.len(), Mode::Raw))
    }

    /// A line is longer than the limit; nothing more is delivered. `start` is the part of it that has arrived.
    /// By default this is an error, which closes the connection. Twisted: lineLengthExceeded.
    fn line_length_exceeded(&mut self, _cx: &mut Context<'_, S>, _start: &[u8]) -> Flow {
        Err("the line is too long".into())
    }

    /// A line has not ended within [`LineLimits::unfinished_line`]. By default this closes the connection.
    fn line_timed_out(&mut self, cx: &mut Context<'_, S>) -> Flow {
        cx.core.lose_because(cx.id, Some(CloseReason::TimeoutError("an unfinished line")));
        Ok(())
    }

    /// See [`Protocol::read_connection_lost`]. The last line, if it had no line end, has been delivered before.
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

/// How a [`LineReceiver`] delivers the following bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The bytes are delivered as lines. Twisted: setLineMode.
    Lines,
    /// The bytes are delivered as they arrive. Twisted: setRawMode.
    Raw,
    /// The bytes are dropped, because a line was too long.
    Ignored,
}

/// The [`LineLimits`] in 8 bytes, as every connection keeps them. A limit beyond 32 bits is stored as the largest
/// value, which no line reaches.
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
            // Rounded up.
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
/// Memory: 56 bytes besides `P`, plus the bytes not yet delivered.
#[derive(Debug)]
pub struct LineReceiver<P> {
    inner: P,
    limits: PackedLimits,
    /// How many bytes of `kept` have been searched and hold no LF.
    searched: u32,
    /// Bytes received but not delivered: the start of a line, or the rest of a chunk.
    kept: Vec<u8>,
    /// The time when the line in `kept` began.
    since: Moment,
    /// The timer that checks the age of that line, if it is set.
    timer: Option<TimerId>,
    mode: Mode,
}

impl<P> LineReceiver<P> {
    /// Creates a receiver that delivers lines to `inner`, within `limits`.
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

    /// Sets the mode for the first bytes; the default is [`Mode::Lines`].
    pub fn with_mode(self, mode: Mode) -> LineReceiver<P> {
        LineReceiver { mode, ..self }
    }

    fn searched(&self) -> usize {
        self.searched as usize
    }

    /// Delivers the kept bytes and then `data`, as far as the transport allows; keeps the rest.
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

    /// Completes the kept line from `data`, and delivers it. Returns the bytes of `data` after that line, or `None` if
    /// all of `data` is kept or delivered.
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
        // Complete lines are kept from the last time; the new data goes behind them.
        self.kept.extend_from_slice(data);
        let kept = mem::take(&mut self.kept);
        let left = self.deliver(cx, &kept)?;
        if !left.is_empty() {
            self.keep(cx, left);
        }
        Ok(None)
    }

    /// Delivers the lines of `data` while the transport allows. Returns the rest: an unfinished line, or everything
    /// from the line at which delivery stopped.
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
                        // The last byte may be the CR of a CR LF.
                        if without_cr(rest).len() > self.limits.line_bytes() {
                            return self.too_long(cx, rest);
                        }
                        self.searched = rest.len() as u32;
                        return Ok(rest);
                    };
                    let (one, several);
                    let lines = if end + 1 == rest.len() {
                        one = [&rest[..end]];
                        &one[..]
                    } else {
                        several = first_lines(rest);
                        let lines = &several.0[..several.1];
                        let handled = self.inner.lines_ahead(cx, lines);
                        if handled > 0 {
                            rest =
                                &rest[lines[..handled].iter().map(|line| line.len() + 1).sum()..];
                            continue;
                        }
                        lines
                    };
                    for line in lines {
                        rest = &rest[line.len() + 1..];
                        let line = without_cr(line);
                        if line.len() > self.limits.line_bytes() {
                            return self.too_long(cx, line);
                        }
                        self.mode = self.inner.line_received(cx, line)?;
                        if self.mode != Mode::Lines || !is_delivering(cx) {
                            break;
                        }
                    }
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
    // Inlined: it runs for nearly every chunk, and a call would cost as much as the body. Rare work is in functions
    // marked cold.
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

    /// Delivers lines that were held up, if the transport allows it now.
    fn go_on<S: Shared>(&mut self, cx: &mut Context<'_, S>) -> Flow
    where
        P: LineProtocol<S>,
    {
        if self.kept.len() > self.searched() && is_delivering(cx) {
            return self.receive(cx, &[]);
        }
        Ok(())
    }

    /// Checks the age of the kept line. The timer calls this once per timeout, not once per line.
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
        // If lines are held up, the peer waits for us.
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

/// An empty buffer for `bytes` bytes. Chunks end anywhere, and allocators cache freed blocks by size, so the capacity
/// is a power of two.
#[cold]
fn with_room(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes.next_power_of_two().max(KEPT_BYTES))
}

/// Returns the first lines of `data`, at most [`LINES_AHEAD`], and their number.
fn first_lines(data: &[u8]) -> ([&[u8]; LINES_AHEAD], usize) {
    let (mut lines, mut count, mut start) = ([&data[..0]; LINES_AHEAD], 0, 0);
    for (line, end) in lines.iter_mut().zip(memchr_iter(b'\n', data)) {
        *line = &data[start..end];
        (count, start) = (count + 1, end + 1);
    }
    (lines, count)
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

//! The reader of requests: a table of states.
//!
//! ```text
//!   state        takes                                     then
//!   Start        a whole request, a head, or any bytes     Complete, Length, Chunked, or Head
//!   Head         an empty line, or a head                  Start; by its framing: Length, Chunked, or Complete
//!   Length(n)    n bytes                                   Complete
//!   Chunked      chunks and trailers                       Complete
//!   Complete     nothing, until the request is answered    Start
//!   Failed       nothing                                   Failed
//! ```
//!
//! In: bytes, split anywhere. Out: a [`RequestEvent`] when the head is complete and the body is not, when the request is
//! complete, and when the peer makes an error. After an error the rest of the stream has no meaning.
//!
//! The reader parses a request that arrives whole in place; it copies and keeps nothing, and its state stays Start. It
//! collects any other request in a [`PartialRequest`], which is freed with the answer. So an idle connection costs one
//! word.
//!
//! In the head each line must end with CR LF. A lone LF is an error, although RFC 9112, section 2.2, lets a server accept
//! it: a proxy that does not accept it sees another request, which is how requests are smuggled past proxies.

use super::chunks::Chunks;
use super::framing::Framing;
use super::lines::{LineBuffer, looked_at};
use super::request::is_token;
use super::request_head::{FieldSlots, RequestHead};
use super::{HttpError, HttpLimits};
use std::borrow::Cow;
use std::fmt;
use std::mem;

/// What [`RequestReader::received`] has found.
pub enum RequestEvent<'a> {
    /// The request is incomplete: all bytes were taken.
    More,
    /// The head is complete, and the body is not. Returned once, so that the caller can reject a request before its body
    /// arrives.
    Head(RequestHead<'a>),
    /// The complete request, with its body without framing. The caller must call [`RequestReader::answered`] before it
    /// hands in more bytes.
    Done(RequestHead<'a>, Cow<'a, [u8]>),
    /// The peer does not speak HTTP/1, or exceeds a limit. No further bytes may be handed in.
    Failed(HttpError),
}

/// Reads one request after the other.
#[derive(Default)]
pub struct RequestReader {
    /// The request that is being read; `None` in the state Start.
    partial: Option<Box<PartialRequest>>,
}

/// A request that did not arrive whole.
#[derive(Default)]
struct PartialRequest {
    state: RequestState,
    /// The lines of the head. The empty lines before it are dropped.
    head: LineBuffer,
    body: Vec<u8>,
}

#[derive(Default)]
enum RequestState {
    #[default]
    Head,
    /// This many bytes of the body are left, at least one.
    Length(usize),
    Chunked(Chunks),
    Complete,
}

impl RequestReader {
    /// Handles bytes from the peer, at least one. Returns how many of them were taken, and what they mean. The others
    /// belong to the body if the event is [`Head`](RequestEvent::Head), or to the next request. `slots` are for the fields
    /// of the head.
    pub fn received<'a>(
        &'a mut self,
        data: &'a [u8],
        slots: &'a mut FieldSlots<'a>,
        limits: &HttpLimits,
    ) -> (usize, RequestEvent<'a>) {
        self.read(data, slots, limits).unwrap_or_else(|error| (0, RequestEvent::Failed(error)))
    }

    fn read<'a>(
        &'a mut self,
        data: &'a [u8],
        slots: &'a mut FieldSlots<'a>,
        limits: &HttpLimits,
    ) -> Result<(usize, RequestEvent<'a>), HttpError> {
        if self.is_idle() {
            self.partial = None;
        }
        let start = if self.partial.is_none() { empty_lines(data) } else { 0 };
        if start == data.len() {
            return Ok((start, RequestEvent::More));
        }
        if self.partial.is_none()
            && let Some(length) = head_length(&data[start..], limits)?
        {
            let (text, rest) = data[start..].split_at(length);
            let head = RequestHead::parse(text, slots, limits)?;
            let state = RequestState::behind(&head, limits)?;
            let (taken, left) = (start + length, state.bytes_left());
            if let Some(body) = left.and_then(|length| rest.get(..length)) {
                let body = Cow::Borrowed(body);
                return Ok((taken + body.len(), RequestEvent::Done(head, body)));
            }
            let lines = LineBuffer { text: text.to_vec() };
            let partial = PartialRequest { state, head: lines, ..PartialRequest::default() };
            self.partial = Some(Box::new(partial));
            return Ok((taken, RequestEvent::Head(head)));
        }
        self.partial.get_or_insert_default().received(data, slots, limits)
    }

    /// Drops the current request, which was answered or rejected. The next bytes begin another one.
    pub fn answered(&mut self) {
        self.partial = None;
    }

    /// The bytes of memory that the unfinished request takes.
    pub fn held_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| {
            size_of::<PartialRequest>() + partial.head.text.capacity() + partial.body.capacity()
        })
    }

    /// The bytes of the body that have arrived; `None` unless the head is complete and the body is not.
    pub fn body_bytes(&self) -> Option<usize> {
        let partial = self.partial.as_ref()?;
        let is_reading =
            matches!(partial.state, RequestState::Length(_) | RequestState::Chunked(_));
        is_reading.then_some(partial.body.len())
    }

    /// Whether no byte of a request has arrived since the last one was answered, besides empty lines.
    pub fn is_idle(&self) -> bool {
        let is_empty =
            |it: &PartialRequest| matches!(it.state, RequestState::Head) && it.head.text.is_empty();
        self.partial.as_deref().is_none_or(is_empty)
    }
}

/// Omits the received bytes.
impl fmt::Debug for RequestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestReader").field("held_bytes", &self.held_bytes()).finish()
    }
}

/// Omits the bytes of the body.
impl fmt::Debug for RequestEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestEvent::More => f.write_str("More"),
            RequestEvent::Head(head) => f.debug_tuple("Head").field(head).finish(),
            RequestEvent::Done(head, _) => f.debug_tuple("Done").field(head).finish(),
            RequestEvent::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl RequestState {
    /// The state behind a head.
    fn behind(head: &RequestHead<'_>, limits: &HttpLimits) -> Result<RequestState, HttpError> {
        Ok(match Framing::of_request(head, limits)? {
            Framing::Length(length) => RequestState::Length(length),
            Framing::Chunked => RequestState::Chunked(Chunks::default()),
            _ => RequestState::Complete,
        })
    }

    /// The bytes of the body that are left, if their number is known.
    fn bytes_left(&self) -> Option<usize> {
        match self {
            RequestState::Length(left) => Some(*left),
            RequestState::Complete => Some(0),
            RequestState::Head | RequestState::Chunked(_) => None,
        }
    }
}

/// The length of the empty lines at the start of `data`. Some clients send one behind a body (RFC 9112, section 2.2).
fn empty_lines(data: &[u8]) -> usize {
    data.chunks(2).take_while(|line| line == b"\r\n").count() * 2
}

/// Returns the length of the head at the start of `data`; `None` if the head is incomplete.
fn head_length(data: &[u8], limits: &HttpLimits) -> Result<Option<usize>, HttpError> {
    let mut start = 0;
    for at in memchr::memchr_iter(b'\n', &data[..data.len().min(limits.head_bytes)]) {
        if is_last_line(&data[start..=at])? {
            looked_at(at);
            return Ok(Some(at + 1));
        }
        start = at + 1;
    }
    looked_at(data.len());
    Ok(None)
}

/// Returns the last line of a text, with the line end that the text must end with.
fn last_line(text: &[u8]) -> &[u8] {
    let before = &text[..text.len().saturating_sub(1)];
    &text[memchr::memrchr(b'\n', before).map_or(0, |at| at + 1)..]
}

/// Whether a line of a head, with its line end, is the empty one.
fn is_last_line(line: &[u8]) -> Result<bool, HttpError> {
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(line.is_empty()),
        None => Err(HttpError::MalformedHead("line end")),
    }
}

impl PartialRequest {
    /// Executes a row of the table.
    fn received<'a>(
        &'a mut self,
        data: &[u8],
        slots: &'a mut FieldSlots<'a>,
        limits: &HttpLimits,
    ) -> Result<(usize, RequestEvent<'a>), HttpError> {
        let is_new = matches!(self.state, RequestState::Head);
        let (taken, is_complete) = match &mut self.state {
            RequestState::Head => self.read_head(data, limits)?,
            RequestState::Length(left) => {
                let taken = data.len().min(*left);
                self.body.extend_from_slice(&data[..taken]);
                *left -= taken;
                (taken, *left == 0)
            }
            RequestState::Chunked(chunks) => {
                (chunks.decode(data, &mut self.body, limits)?, chunks.is_done())
            }
            RequestState::Complete => (0, false),
        };
        if !is_complete {
            return Ok((taken, RequestEvent::More));
        }
        let head = RequestHead::parse(&self.head.text, slots, limits)?;
        let state = RequestState::Complete;
        self.state = if is_new { RequestState::behind(&head, limits)? } else { state };
        Ok(match self.state {
            RequestState::Complete => {
                (taken, RequestEvent::Done(head, Cow::Owned(mem::take(&mut self.body))))
            }
            _ => (taken, RequestEvent::Head(head)),
        })
    }

    /// Takes lines of the head. Returns the number of bytes taken, and whether the head is complete.
    fn read_head(&mut self, data: &[u8], limits: &HttpLimits) -> Result<(usize, bool), HttpError> {
        let (text, mut taken) = (&mut self.head, 0);
        while taken < data.len() {
            let first = *text.text.first().unwrap_or(&data[taken]);
            if !is_token(first) && first != b'\r' {
                // This is TLS or another protocol, and may never send the end of a head.
                return Err(HttpError::MalformedHead("request line"));
            }
            let too_long = HttpError::HeadTooLong(limits.head_bytes);
            let (more, has_ended) = text.take(&data[taken..], limits.head_bytes).ok_or(too_long)?;
            taken += more;
            if has_ended && is_last_line(last_line(&text.text))? {
                if text.text.len() > 2 {
                    return Ok((taken, true));
                }
                text.text.clear();
            }
        }
        Ok((taken, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state of the reader, or of the request that it has just reported.
    fn state(reader: &RequestReader, event: &str) -> &'static str {
        match reader.partial.as_ref().map(|partial| &partial.state) {
            _ if event.starts_with("Failed") => "Failed",
            _ if event.starts_with("Done") => "Complete",
            _ if reader.is_idle() => "Start",
            None => "Start",
            Some(RequestState::Head) => "Head",
            Some(RequestState::Length(_)) => "Length(n)",
            Some(RequestState::Chunked(_)) => "Chunked",
            Some(RequestState::Complete) => "Complete",
        }
    }

    /// Compares the steps with the table at the head of this file.
    #[test]
    fn each_state_follows_as_the_table_says() {
        let table = include_str!("request_reader.rs").lines();
        let rows: Vec<(&str, &str)> = table
            .skip_while(|line| !line.starts_with("//!   state "))
            .skip(1)
            .take_while(|line| line.starts_with("//!   "))
            .map(|row| (row[6..19].trim(), row[61..].trim()))
            .collect();
        let head = "GET / HTTP/1.1\r\nHost: a\r\n";
        let put = format!("{head}Content-Length: 2\r\n\r\n");
        let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        let mut seen = Vec::new();
        // What leads to a state, what comes then, and the state after it.
        for (from, before, more, after) in [
            ("Start", "", "\r\n", "Start"),
            ("Start", "", "\r", "Head"),
            ("Start", "", "GET", "Head"),
            ("Start", "", &*format!("{head}\r\n"), "Complete"),
            ("Start", "", &put, "Length(n)"),
            ("Start", "", &chunks, "Chunked"),
            ("Head", head, "\r\n", "Complete"),
            ("Head", head, &put[head.len()..], "Length(n)"),
            ("Head", head, &chunks[head.len()..], "Chunked"),
            ("Head", "\r", "\n", "Start"),
            ("Head", head, "\n", "Failed"),
            ("Length(n)", &put, "1", "Length(n)"),
            ("Length(n)", &format!("{put}1"), "2", "Complete"),
            ("Chunked", &chunks, "1\r\nx\r\n", "Chunked"),
            ("Chunked", &chunks, "0\r\n\r\n", "Complete"),
            ("Chunked", &chunks, "x", "Chunked"),
            ("Chunked", &chunks, "x\r\n", "Failed"),
        ] {
            let (mut reader, limits) = (RequestReader::default(), HttpLimits::default());
            let mut now = "Start";
            for mut bytes in [before, more] {
                assert!(bytes == before || now == from, "{before:?} leads to {now}");
                while !bytes.is_empty() && now != "Failed" && now != "Complete" {
                    let mut slots = FieldSlots::new();
                    let (taken, event) = reader.received(bytes.as_bytes(), &mut slots, &limits);
                    let event = format!("{event:?}");
                    now = state(&reader, &event);
                    bytes = &bytes[taken..];
                }
            }
            assert_eq!(now, after, "{before:?}, then {more:?}");
            let row = rows.iter().find(|(state, _)| *state == from).expect("a row");
            let stays = from == after || after == "Failed";
            let name = after.trim_end_matches("(n)");
            assert!(stays || row.1.contains(name), "{from} -> {after}: {row:?}");
            seen.push(from);
        }
        seen.dedup();
        let states: Vec<&str> = rows.iter().map(|row| row.0).collect();
        assert_eq!(states[..4], seen[..]);
        assert_eq!(states[4..], ["Complete", "Failed"], "nothing is read in these");
    }

    #[test]
    fn an_answered_request_leaves_the_start_and_no_memory() {
        let mut reader = RequestReader::default();
        let limits = HttpLimits::default();
        let mut slots = FieldSlots::new();
        let event = reader.received(b"GET / HT", &mut slots, &limits);
        assert!(matches!(event, (8, RequestEvent::More)));
        assert!(!reader.is_idle() && reader.held_bytes() > 8 && reader.body_bytes().is_none());
        reader.answered();
        assert!(reader.is_idle() && reader.held_bytes() == 0);
        assert!(size_of::<RequestReader>() == 8, "an idle connection pays for this");
    }
}

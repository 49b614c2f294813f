//! One client's connection, and the replies that it must get: one to each command, in order, and
//! nothing else.

use super::at_line::AtLine;
use super::plan::{PlanLimits, Said};
use crate::support::cluster::TalkId;
use std::collections::{BTreeSet, VecDeque};

/// The message in the reply to a WHATSAT whose deadline has passed.
const TOO_LATE: &str = "The places provider did not answer in time.";

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) talk: TalkId,
    /// The server at the other end.
    pub(crate) server: usize,
    /// The number of the server's life: each restart begins a new one.
    pub(crate) life: usize,
    /// A fault has hit the connection, so that it may have ended.
    pub(crate) is_excused: bool,
    /// The client has ended its side.
    pub(crate) has_ended: bool,
    /// The client has reset the connection.
    pub(crate) has_vanished: bool,
    expected: VecDeque<Expected>,
    /// The number of received bytes that have been checked.
    understood: usize,
    /// The clients that were reported on this connection, which the server must know.
    known: BTreeSet<String>,
}

/// A command, and its expected reply.
#[derive(Debug)]
struct Expected {
    command: String,
    reply: Reply,
    /// A rejection is valid, too, because the server's disk fails or has just failed.
    may_be_refused: bool,
}

#[derive(Debug)]
enum Reply {
    /// The AT line of this server with these operands.
    At { client: String, operands: String },
    /// A refusal.
    Refusal,
    /// An AT line of this client and its places, or a refusal if the client is not known.
    Places { client: String, radius: String },
}

impl Conversation {
    pub(crate) fn new(talk: TalkId, server: usize, life: usize) -> Conversation {
        Conversation {
            talk,
            server,
            life,
            is_excused: false,
            has_ended: false,
            has_vanished: false,
            expected: VecDeque::new(),
            understood: 0,
            known: BTreeSet::new(),
        }
    }

    /// Notes the expected reply to `said`, and returns the line to send.
    pub(crate) fn say(&mut self, said: &Said, clients: &[String], limits: PlanLimits) -> String {
        let (command, reply) = match said {
            Said::Nonsense(text) => ((*text).to_owned(), Reply::Refusal),
            Said::Iamat { client, location, stamp, .. } => {
                let client = clients[*client].clone();
                let operands = format!("{client} {location} {stamp}");
                let refused = limits.refuses(stamp);
                let command = format!("IAMAT {operands}");
                (command, if refused { Reply::Refusal } else { Reply::At { client, operands } })
            }
            Said::Whatsat { client, radius } => {
                let (client, radius) = (clients[*client].clone(), radius.clone());
                (format!("WHATSAT {client} {radius} 5"), Reply::Places { client, radius })
            }
        };
        let line = format!("{command}\n");
        self.expected.push_back(Expected { command, reply, may_be_refused: false });
        line
    }

    /// Allows the server, whose disk fails, to reject the reports that are not answered yet.
    pub(crate) fn may_be_refused(&mut self) {
        self.expected.iter_mut().for_each(|expected| expected.may_be_refused = true);
    }

    /// Returns the number of commands without a reply.
    pub(crate) fn open(&self) -> usize {
        self.expected.len()
    }

    /// Checks all bytes received so far. Returns the acknowledged reports, or describes the fault.
    pub(crate) fn hear(&mut self, heard: &[u8], server: &str) -> Result<Vec<AtLine>, String> {
        let mut acknowledged = Vec::new();
        while let Some(rest) = heard.get(self.understood..).filter(|rest| !rest.is_empty()) {
            let text = std::str::from_utf8(rest).map_err(|e| format!("{e} in a reply"))?;
            let Some(expected) = self.expected.front() else {
                return Err(format!("a reply to nothing: {text:?}"));
            };
            let Some(length) = expected.length(text) else { break };
            let reply = &text[..length];
            let understood = expected.check(reply, server, &self.known);
            understood.map_err(|why| format!("{why}: {:?} to {:?}", reply, expected.command))?;
            if let (Reply::At { client, .. }, true) = (&expected.reply, reply.starts_with("AT ")) {
                self.known.insert(client.clone());
                acknowledged.push(AtLine::read(reply.trim_end()).ok_or("no AT line")?);
            }
            self.understood += length;
            self.expected.pop_front();
        }
        Ok(acknowledged)
    }
}

impl Expected {
    /// Returns the length of the reply at the beginning of `text`, if it is complete.
    fn length(&self, text: &str) -> Option<usize> {
        let end = match self.reply {
            Reply::Places { .. } if text.starts_with("AT ") => text.find("\n\n")? + 2,
            _ => text.find('\n')? + 1,
        };
        Some(end)
    }

    fn check(
        &self,
        reply: &str,
        server: &str,
        known: &BTreeSet<String>,
    ) -> Result<(), &'static str> {
        let is_refusal =
            reply.strip_prefix("? ").is_some_and(|copy| copy.trim_end() == self.command);
        match &self.reply {
            Reply::Refusal if is_refusal => Ok(()),
            Reply::Refusal => Err("it should have been refused"),
            Reply::At { .. } if is_refusal && self.may_be_refused => Ok(()),
            Reply::At { operands, .. } => {
                let mut words = reply.trim_end().splitn(4, ' ');
                let is_at = words.next() == Some("AT")
                    && words.next() == Some(server)
                    && words.next().is_some_and(|difference| difference.starts_with(['+', '-']))
                    && words.next() == Some(operands.as_str());
                if is_at { Ok(()) } else { Err("that is not its AT line") }
            }
            Reply::Places { client, .. } if is_refusal && known.contains(client) => {
                Err("the client was known")
            }
            Reply::Places { .. } if is_refusal => Ok(()),
            Reply::Places { client, radius } => {
                let (line, places) = reply.split_once('\n').ok_or("half a reply")?;
                let is_of = AtLine::read(line).is_some_and(|report| report.client == *client);
                // The source's answer contains its question.
                let echo = format!("\"radius {radius} km\"");
                match is_of && (places.contains(&echo) || places.contains(TOO_LATE)) {
                    true => Ok(()),
                    false => Err("these are not the places that were asked for"),
                }
            }
        }
    }
}

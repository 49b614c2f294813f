//! One client's connection, and what it must hear: a reply to each command, in their order, and
//! nothing else.

use super::at_line::AtLine;
use super::plan::{PlanLimits, Said};
use crate::support::cluster::TalkId;
use std::collections::{BTreeSet, VecDeque};

/// What a question is told when its time is over.
const TOO_LATE: &str = "The places provider did not answer in time.";

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) talk: TalkId,
    /// With which server, and in which of its lives.
    pub(crate) server: usize,
    pub(crate) life: usize,
    /// Something was done to it, so that it may have ended.
    pub(crate) is_excused: bool,
    /// The client has said that it will say nothing more.
    pub(crate) has_ended: bool,
    /// The client is gone, with a reset.
    pub(crate) has_vanished: bool,
    expected: VecDeque<Expected>,
    /// How many of the bytes heard have been understood.
    understood: usize,
    /// Clients that were reported here, and so are known.
    known: BTreeSet<String>,
}

/// What has been said, and what it must be answered with.
#[derive(Debug)]
struct Expected {
    command: String,
    reply: Reply,
    /// The server's disk fails, or has just failed.
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

    /// Notes that `said` is said, and gives the line.
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

    /// Reports that are not answered yet may be refused: the server's disk fails.
    pub(crate) fn may_be_refused(&mut self) {
        self.expected.iter_mut().for_each(|expected| expected.may_be_refused = true);
    }

    /// How many commands are not answered yet.
    pub(crate) fn open(&self) -> usize {
        self.expected.len()
    }

    /// Reads what has been heard in all. Gives the acknowledged reports, or says what is wrong.
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
    /// How long the reply at the beginning of `text` is, if it is there as a whole.
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
                // What the source says names the question it was asked.
                let echo = format!("\"radius {radius} km\"");
                match is_of && (places.contains(&echo) || places.contains(TOO_LATE)) {
                    true => Ok(()),
                    false => Err("these are not the places that were asked for"),
                }
            }
        }
    }
}

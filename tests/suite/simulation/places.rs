//! A source of places that is as unreliable as a real one: it answers at once, late, with a failure,
//! too late, or never. Every answer contains its question, so that the test detects an answer to the
//! wrong question.

use crate::support::cluster::MS;
use crate::support::dice::Dice;
use places_herd::places::{
    Answer, Found, Progress, Query, SearchFailure, SearchStatus, Source, Ticket,
};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// The source of one life of one server.
#[derive(Debug)]
pub(crate) struct Unreliable {
    pub(crate) dice: Dice,
    pub(crate) server: usize,
    pub(crate) life: usize,
    pub(crate) asked: Sender<Asked>,
}

/// A query that may be answered later.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) server: usize,
    pub(crate) life: usize,
    pub(crate) ticket: Ticket,
    /// The answer and its delay; `None` if there will be no answer.
    pub(crate) answer: Option<(Duration, Answer)>,
}

impl Source for Unreliable {
    fn name(&self) -> &'static str {
        "unreliable"
    }

    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress {
        let text = format!("radius {} km", String::from_utf8_lossy(&query.radius_text));
        let answer = match self.dice.percent(25) {
            true => {
                Answer::Failed(SearchFailure { status: SearchStatus::UnknownError, message: text })
            }
            false => Answer::Found(Found { messages: vec![text], ..Found::default() }),
        };
        let later = match self.dice.below(10) {
            0..=4 => return Progress::Answered(answer),
            5..=7 => Some((self.dice.within(1..=1_500) as u32 * MS, answer)),
            8 => Some((self.dice.within(1..=12_000) as u32 * MS, answer)),
            _ => None,
        };
        let Unreliable { server, life, .. } = *self;
        // This cannot fail: the run, which receives, outlives its servers.
        let _ = self.asked.send(Asked { server, life, ticket, answer: later });
        Progress::Waiting
    }
}

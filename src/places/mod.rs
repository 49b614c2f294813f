//! PART THREE. Places nearby: what a WHATSAT asks, what is answered, and who may be asked.
//!
//! In: a [`Query`], a point and a radius. Out: an [`Answer`], and its text as Google's Nearby
//! Search would print it.
//!
//! ```text
//!                     embedded  ---+
//!     Query  -->      file      ---+-->  Answer  --write-->  JSON
//!     (a Source)      ...       ---+     of Places
//! ```
//!
//! Every source speaks of the same [`Place`], and one writer prints it: so what a client sees
//! differs by what a source knows, never by how it tells it. The sources here look into memory
//! and answer at once. One that asks over the network says [`Progress::Waiting`] instead, and
//! whoever runs it hands over the answer later, under the [`Ticket`] of the question.
//!
//! This part knows no connection, no reactor, no clock and no IAMAT. The bound of a WHATSAT is not
//! in the query: a source always looks for [`BOUND_MAX`] places and the writer cuts, so that equal
//! questions with other bounds can share an answer.
//!
//! To read on: [`Place`] (`place.rs`), `plus_code.rs`, `json.rs` (the layout), `answer.rs` (the
//! members), `grid.rs` (the search), then the sources: `embedded.rs`, and `file.rs` with the formats it
//! reads.

mod answer;
#[cfg(feature = "embedded-places")]
mod embedded;
mod entry;
mod file;
mod geojson;
mod geonames;
mod grid;
mod json;
mod place;
mod plus_code;
mod records;

#[cfg(feature = "embedded-places")]
pub use embedded::Embedded;
pub use file::{Fault, File, ROWS_MAX};
pub use grid::Rank;
pub use place::{Place, Point, Viewport};
pub use plus_code::PlusCode;

/// The most places an answer holds, and the largest bound of a WHATSAT. Google: a page has 20.
pub const BOUND_MAX: usize = 20;

/// The largest radius of a WHATSAT, in kilometres. Google: 50,000 metres.
pub const RADIUS_KM_MAX: u32 = 50;

/// One question: what is within so many metres of this point?
///
/// The numbers are for computing; the texts are what the client wrote, for a source that passes
/// them on and must not alter a digit. Whoever makes a query has checked the limits; a source
/// given a number beyond them finds other places or none, and does not panic.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Degrees, -90 to 90, north positive.
    pub latitude: f64,
    /// Degrees, -180 to 180, east positive.
    pub longitude: f64,
    /// The client's own digits, with the sign: `+34.068930`.
    pub latitude_text: Vec<u8>,
    /// The client's own digits, with the sign: `-118.445127`.
    pub longitude_text: Vec<u8>,
    /// Metres, more than 0 and at most 50,000. A place at exactly this distance counts.
    pub radius_m: f64,
    /// Kilometres as the client wrote them: `10`, `0.5`.
    pub radius_text: Vec<u8>,
}

/// What a source has to say to a [`Query`]. Written by [`Answer::write`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It looked; perhaps there was nothing.
    Found(Found),
    /// It could not look.
    Failed(Failure),
}

/// The places that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// At most [`BOUND_MAX`], best first, in an order that is the same every time.
    pub places: Vec<Place>,
    /// Whom to thank, each a piece of HTML that must be shown with the places. Google's
    /// `html_attributions`.
    pub attributions: Vec<String>,
}

impl Found {
    /// These places, and those to thank if there are any.
    fn new(places: Vec<Place>, thanks: &[&str]) -> Found {
        let thanks = if places.is_empty() { &[] } else { thanks };
        Found { places, attributions: thanks.iter().map(|&thanks| thanks.to_string()).collect() }
    }
}

/// Why no places could be looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The kind, in Google's words.
    pub status: Status,
    /// For people, and ours: never an upstream's text, which may hold keys or addresses.
    pub message: String,
}

/// Google's names for the ways in which a search fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The key is missing or refused.
    RequestDenied,
    /// Too many questions: a quota, or a queue of ours that is full.
    OverQueryLimit,
    /// The source did not answer, or not sensibly. Asking again may help.
    UnknownError,
    /// The source did not understand the question: a bug of ours.
    InvalidRequest,
}

impl Status {
    /// As it stands in the reply: `UNKNOWN_ERROR`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::RequestDenied => "REQUEST_DENIED",
            Status::OverQueryLimit => "OVER_QUERY_LIMIT",
            Status::UnknownError => "UNKNOWN_ERROR",
            Status::InvalidRequest => "INVALID_REQUEST",
        }
    }
}

/// What a source does with a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Here is the answer.
    Answered(Answer),
    /// The answer comes later, exactly once, under the ticket of the question.
    Waiting,
}

/// The name of one question, given by the one who asks and never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(
    /// Any number.
    pub u64,
);

/// Someone who can be asked what is nearby.
pub trait Source: std::fmt::Debug {
    /// A word for the log: `embedded`, `file`.
    fn name(&self) -> &'static str;

    /// Looks for the places of `query`, at most [`BOUND_MAX`].
    ///
    /// Must not block. A source that cannot answer at once keeps the `ticket`, says
    /// [`Progress::Waiting`], and answers within a deadline of its own, if only with a failure.
    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_spelled_as_google_spells_it() {
        assert_eq!(Status::RequestDenied.as_str(), "REQUEST_DENIED");
        assert_eq!(Status::OverQueryLimit.as_str(), "OVER_QUERY_LIMIT");
        assert_eq!(Status::UnknownError.as_str(), "UNKNOWN_ERROR");
        assert_eq!(Status::InvalidRequest.as_str(), "INVALID_REQUEST");
    }
}

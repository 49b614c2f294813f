//! PART FOUR. Places nearby: what a WHATSAT asks, what is answered, and who may be asked.
//!
//! In: a [`Query`], a point and a radius. Out: an [`Answer`], and its text as Google's Nearby
//! Search would print it.
//!
//! ```text
//!                    embedded, file
//!     Query  -->  ----------------------------------------------->  Answer  --write-->  JSON
//!                    google, google-legacy, photon                     ^
//!                 --nearby--> Fetch  ==(HTTP)==>  Reply  --read--------+
//! ```
//!
//! Every source speaks of the same [`Place`], and one writer prints it: so what a client sees
//! differs by what a source knows, never by how it tells it. (One source already has Google's
//! text, and cuts it instead.) Some look into memory and answer at once. Those on the network say
//! what they want fetched, and later what the reply means: they open no socket, so a table of
//! replies is enough to test them.
//!
//! This part knows no connection, no reactor, no clock and no IAMAT. The bound of a WHATSAT is not
//! in the query: a source always looks for [`BOUND_MAX`] places and the writer cuts, so that equal
//! questions with other bounds can share an answer.
//!
//! To read on: [`Place`] (`place.rs`), `plus_code.rs`, `json.rs` (the layout), `answer.rs` (the
//! members), `page.rs` (a text that is cut), `failure.rs`; `grid.rs` (the search) and the sources
//! in memory: `embedded.rs`, and `file.rs` with what cuts a file into records (`records.rs`,
//! `features.rs`) and reads each (`geonames.rs`, `geojson.rs`). Then the network: `fetch.rs`
//! (what is asked), `raw_json.rs` and `response.rs` (what came back), and the
//! sources: `google.rs` with `google_place.rs`, `google_legacy.rs` with `verbatim.rs`, `photon.rs`
//! with `osm.rs`.

mod answer;
mod decimal;
#[cfg(feature = "embedded-places")]
mod embedded;
mod entry;
mod failure;
mod features;
mod fetch;
mod file;
mod geojson;
mod geonames;
mod google;
mod google_legacy;
mod google_place;
mod grid;
mod json;
mod osm;
mod page;
mod photon;
mod place;
mod plus_code;
mod raw_json;
mod records;
mod response;
mod scan;
mod verbatim;

pub use crate::http::{BaseUrl, ProxyUrl, Scheme, UrlFault};
#[cfg(feature = "embedded-places")]
pub use embedded::Embedded;
pub use failure::{SearchFailure, SearchStatus};
pub use fetch::{Fetch, LOG_CHARS_MAX, ParsedReply, Reply, RequestTarget, Retry, Value};
pub use file::{Format, PlacesFile, ROWS_MAX};
pub use google::{Google, Mask};
pub use google_legacy::GoogleLegacy;
pub use grid::Rank;
pub use page::Page;
pub use photon::Photon;
pub use place::{Business, Photo, Place, Point, Scope, Viewport};
pub use plus_code::PlusCode;
pub use records::RecordFault;

/// The most places an answer holds, and the largest bound of a WHATSAT. Google: a page has 20.
pub const BOUND_MAX: usize = 20;

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

impl Query {
    /// Metres along the globe, by the haversine formula. NaN in, NaN out: nowhere.
    pub fn distance_m(&self, to: Point) -> f64 {
        let (from, to_latitude) = (self.latitude.to_radians(), to.latitude.to_radians());
        let east = (to.longitude - self.longitude).to_radians();
        let (across, along) = (((to_latitude - from) / 2.0).sin(), (east / 2.0).sin());
        let haversine = across * across + from.cos() * to_latitude.cos() * along * along;
        2.0 * place::EARTH_RADIUS_M * haversine.sqrt().min(1.0).asin()
    }
}

/// What a source has to say to a [`Query`]. Written by [`Answer::write`], which leaves it as it is:
/// one answer may serve many askers, each with a bound of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It looked; perhaps there was nothing.
    Found(Found<'static>),
    /// It looked, and the reply is a text already: Google's own, or one written for all who asked.
    Rendered(Page),
    /// It could not look.
    Failed(SearchFailure),
}

/// The places that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found<'t> {
    /// At most [`BOUND_MAX`], best first, in an order that is the same every time.
    pub places: Vec<Place<'t>>,
    /// Whom to thank, each a piece of HTML that must be shown with the places. Google's
    /// `html_attributions`.
    pub attributions: Vec<String>,
    /// What whoever asked should know of how they were found. Google's `info_messages`, and like
    /// those not written if there are none.
    pub messages: Vec<String>,
}

impl<'t> Found<'t> {
    /// These places, with these attributions if there are any places.
    fn new(places: Vec<Place<'t>>, attributions: &[&str]) -> Found<'t> {
        let attributions = if places.is_empty() { &[] } else { attributions };
        let attributions = attributions.iter().map(|&one| one.to_string()).collect();
        Found { places, attributions, messages: Vec::new() }
    }
}

/// What a source does with a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Here is the answer.
    Answered(Answer),
    /// The answer comes later, exactly once, under the ticket of the question.
    Waiting,
    /// This has to be fetched first; [`Source::read`] makes the answer of what came back.
    Fetch(Fetch),
}

/// The name of one question, given by the one who asks and never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(
    /// Any number.
    pub u64,
);

/// Someone who can be asked what is nearby.
pub trait Source: std::fmt::Debug {
    /// A word for the log: `embedded`, `google-legacy`.
    fn name(&self) -> &'static str;

    /// Looks for the places of `query`, at most [`BOUND_MAX`].
    ///
    /// Must not block. A source that cannot answer at once says what to fetch; or keeps the
    /// `ticket`, says [`Progress::Waiting`], and answers within a deadline of its own, if only with
    /// a failure.
    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress;

    /// Says what a reply means that was fetched for `query`.
    ///
    /// `reply`: whatever came back, however wrong; it is not trusted. Only called after
    /// [`Progress::Fetch`]; a source that never says it need not have this.
    fn read(&mut self, query: &Query, reply: Reply<'_>) -> ParsedReply {
        let _ = (query, reply);
        let answer = Answer::Failed(SearchFailure::unanswered("answer"));
        ParsedReply { answer, retry: Retry::No, log: "a reply nobody asked for".to_string() }
    }
}

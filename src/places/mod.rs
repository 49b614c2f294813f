//! PART FOUR. Places nearby: what a WHATSAT asks, what it is answered, and the sources of places.
//!
//! In: a [`Query`], which has a point and a radius. Out: an [`Answer`], and its text in the format of Google's Nearby
//! Search.
//!
//! ```text
//!                    embedded, file
//!     Query  -->  ----------------------------------------------->  Answer  --write-->  JSON
//!                    google, google-legacy, photon                     ^
//!                 --nearby--> Fetch  ==(HTTP)==>  Reply  --read--------+
//! ```
//!
//! All sources produce the same [`Place`], and one writer prints it. So replies differ in what a source knows, but
//! not in their format. (One source receives Google's own text, and only cuts it; the embedded one writes the text
//! of its rows itself, and a test compares it with that of the writer.) Sources in memory answer at
//! once. A source on the network describes what to fetch, and later interprets the reply. It opens no socket, so a
//! table of replies is enough to test it.
//!
//! This module knows no connection, no reactor, no clock and no IAMAT. The bound of a WHATSAT is not part of the
//! query: a source always looks for [`BOUND_MAX`] places, and the writer cuts the answer. So questions that differ
//! only in the bound can share an answer.
//!
//! To read on: [`Place`] (`place.rs`), `plus_code.rs`, `json.rs` (the layout), `answer.rs` (the members), `page.rs`
//! (a text that can be cut), `failure.rs`; `grid.rs` (the search) and the sources in memory: `embedded.rs`, and
//! `file.rs` with the readers that split a file into records (`records.rs`, `features.rs`) and parse each record
//! (`geonames.rs`, `geojson.rs`). Then the network: `fetch.rs` (requests and replies), `raw_json.rs` and
//! `response.rs` (reading a reply), and the sources: `google.rs` with `google_place.rs`, `google_legacy.rs` with
//! `verbatim.rs`, `photon.rs` with `osm.rs`.

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
pub(crate) use raw_json::{Json, NotJson};
pub use records::RecordFault;

/// Maximum number of places of an answer, and the largest bound of a WHATSAT. A page of Google's has 20.
pub const BOUND_MAX: usize = 20;

/// One question: which places are within a radius of a point?
///
/// The numbers are for computing. The texts are what the client wrote, for a source that must pass them on
/// unchanged. The creator of a query has checked the limits. With a number beyond them a source finds other places
/// or none, but does not panic.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Latitude in degrees, -90 to 90, north positive.
    pub latitude: f64,
    /// Longitude in degrees, -180 to 180, east positive.
    pub longitude: f64,
    /// The latitude as the client wrote it, with its sign: `+34.068930`.
    pub latitude_text: Vec<u8>,
    /// The longitude as the client wrote it, with its sign: `-118.445127`.
    pub longitude_text: Vec<u8>,
    /// The radius in metres, more than 0 and at most 50,000. A place at exactly this distance counts.
    pub radius_m: f64,
    /// The radius in kilometres as the client wrote it: `10`, `0.5`.
    pub radius_text: Vec<u8>,
}

impl Query {
    /// The distance in metres along the globe, by the haversine formula. A NaN gives NaN, which is within no radius.
    pub fn distance_m(&self, to: Point) -> f64 {
        let (from, to_latitude) = (self.latitude.to_radians(), to.latitude.to_radians());
        let east = (to.longitude - self.longitude).to_radians();
        let (across, along) = (((to_latitude - from) / 2.0).sin(), (east / 2.0).sin());
        let haversine = across * across + from.cos() * to_latitude.cos() * along * along;
        2.0 * place::EARTH_RADIUS_M * haversine.sqrt().min(1.0).asin()
    }
}

/// The answer of a source to a [`Query`]. [`Answer::write`] does not change it, so one answer can serve many clients,
/// each with its own bound.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The search succeeded; it may have found nothing.
    Found(Found<'static>),
    /// The search of the embedded gazetteer succeeded; it may have found nothing.
    Listed(Listed),
    /// The search succeeded, and the reply is a text already: Google's own, or one that was rendered once for all
    /// clients.
    Rendered(Page),
    /// The search failed.
    Failed(SearchFailure),
}

/// Rows of the embedded gazetteer, which become text only when they are written: an answer waits for the next turn
/// with those of all other connections, and a [`Place`] takes half a kilobyte.
#[derive(Clone, Debug)]
pub struct Listed {
    /// At most [`BOUND_MAX`] rows, best first, in a deterministic order.
    rows: Vec<usize>,
    /// Writes the members of a row.
    result: fn(&mut json::Object<'_>, &usize),
    /// As in [`Found`].
    attributions: &'static [&'static str],
    /// As in [`Found`].
    messages: Vec<String>,
}

/// The places that were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found<'t> {
    /// At most [`BOUND_MAX`] places, best first, in a deterministic order.
    pub places: Vec<Place<'t>>,
    /// The attributions, each a piece of HTML that must be shown with the places. Google's `html_attributions`.
    pub attributions: Vec<String>,
    /// Messages to the client about the search. Google's `info_messages`; like those, they are omitted if there are
    /// none.
    pub messages: Vec<String>,
}

impl<'t> Found<'t> {
    /// Returns `places`, with `attributions` unless there are no places.
    fn new(places: Vec<Place<'t>>, attributions: &[&str]) -> Found<'t> {
        let attributions = if places.is_empty() { &[] } else { attributions };
        let attributions = attributions.iter().map(|&one| one.to_string()).collect();
        Found { places, attributions, messages: Vec::new() }
    }
}

/// What a source does with a question.
#[derive(Clone, Debug)]
pub enum Progress {
    /// The source answers at once.
    Answered(Answer),
    /// The answer comes later, exactly once, under the ticket of the question.
    Waiting,
    /// The caller must fetch this; [`Source::read`] turns the reply into the answer.
    Fetch(Fetch),
}

/// The id of one question. The caller chooses it, and never reuses it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(
    /// Any number.
    pub u64,
);

/// A source of places.
pub trait Source: std::fmt::Debug {
    /// The name for the log: `embedded`, `google-legacy`.
    fn name(&self) -> &'static str;

    /// Looks for the places of `query`, at most [`BOUND_MAX`].
    ///
    /// Must not block. A source that cannot answer at once either returns what to fetch; or it keeps the `ticket`,
    /// returns [`Progress::Waiting`], and answers within a deadline of its own, if only with a failure.
    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress;

    /// Interprets the reply that was fetched for `query`.
    ///
    /// `reply` is not trusted: it may be anything. Only called after [`Progress::Fetch`]; a source that never
    /// returns that need not implement this.
    fn read(&mut self, query: &Query, reply: Reply<'_>) -> ParsedReply {
        let _ = (query, reply);
        let answer = Answer::Failed(SearchFailure::unanswered("answer"));
        ParsedReply {
            answer,
            retry: Retry::No,
            log: "the source has received a reply without a request".to_string(),
        }
    }
}

//! What phone apps, curl and programs send over HTTP, as reports in the form of an IAMAT.
//!
//! In: one request of an app ([`PhoneRequest`]) or the body of a PUT, and the time of receipt. Out: the newest report
//! of each client in it, as the texts of an IAMAT, or a [`Fault`] with the reason why it has no report.
//!
//! ```text
//!     OwnTracks   one JSON object                                    owntracks.rs --+
//!     Overland    {"locations":[Feature, ...]}    json_parts.rs -->  overland.rs  --+--> draft.rs --> PhoneReport
//!     Report      a form, an object, or an array  json_parts.rs -->  fields.rs    --+       |
//!     PUT         one JSON object, read strictly                     put.rs       --+       +--> number.rs
//! ```
//!
//! Apps keep a report until a server takes it, and send nothing else meanwhile. So whatever an app's report says, the
//! result is a report or a [`Fault`] to count, and never an error of the request: only a body that is not JSON is
//! [`Unreadable`].
//!
//! A batch is read in slices: each call of [`PhoneReading::read`] examines a limited number of bytes, and the next one
//! continues there. Only the newest report of each client is kept, because the others cannot win.
//!
//! It knows no connection, no status code, no table and no clock.
//!
//! Sources: the apps' own sources; docs/http.md has what each app sends.

mod draft;
mod fields;
mod json_parts;
mod number;
mod overland;
mod owntracks;
mod put;
mod reading;

pub(crate) use self::number::degrees;
pub use draft::{Fault, PhoneReport, ReportOutcome, ReportRules, check_id};
pub use json_parts::{Unreadable, VALUE_BYTES_MAX, mended};
pub use put::read_put;
pub use reading::{Kept, PhoneReading, SLICE_BYTES};

/// The kinds of requests that apps send, by their paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// `/owntracks` and `/pub`: OwnTracks in its HTTP mode.
    OwnTracks,
    /// `/overland`: Overland for iOS and Android.
    Overland,
    /// `/report`: Traccar Client, OsmAnd, GPSLogger, Home Assistant, curl.
    Report,
}

/// One request of an app.
#[derive(Clone, Copy, Debug)]
pub struct PhoneRequest<'a> {
    /// The kind of the request.
    pub app: App,
    /// The id in the path, decoded. It takes precedence over any other id.
    pub path_id: Option<&'a [u8]>,
    /// The query, as it was sent.
    pub query: &'a [u8],
    /// The header `X-Limit-U`.
    pub user: Option<&'a [u8]>,
    /// The header `X-Limit-D`.
    pub device: Option<&'a [u8]>,
    /// The user name of `Authorization: Basic`.
    pub basic_user: Option<&'a [u8]>,
    /// The whole body.
    pub body: &'a [u8],
}

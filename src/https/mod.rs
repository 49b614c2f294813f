//! PART THREE. Asking another server over HTTPS, in the same loop as everything else.
//!
//! First values in, values out, with no connection, no clock and no cipher:
//!
//! * [`http`]: one exchange: a request becomes bytes, bytes become a response.
//! * [`eyeballs`]: which of a host's addresses to try next, and when.

pub mod eyeballs;
pub mod http;

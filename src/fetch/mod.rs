//! PART THREE. Asking another server over HTTPS, in the same loop as everything else.
//!
//! First values in, values out, with no connection, no clock and no cipher:
//!
//! * [`http`]: one exchange: a request becomes bytes, bytes become a response.
//! * [`eyeballs`]: which of a host's addresses to try next, and when.
//! * [`no_proxy`]: which hosts are reached without a proxy.
//!
//! Then the same on connections:
//!
//! * [`tls`]: whom it trusts.
//! * [`tunnel`]: the way through a proxy.
//! * [`agent`]: which connection a request goes over, what is kept, and what becomes of it.

pub mod no_proxy;

pub mod roots;

pub mod proxy;

mod connection;
pub mod pool;

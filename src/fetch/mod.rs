//! Asking another server over HTTPS, in the same loop as everything else. It knows neither places nor the herd.
//!
//! * [`no_proxy`]: which hosts are reached without a proxy.
//! * [`roots`]: which certificates are trusted.
//! * [`proxy`]: the way through a proxy.
//! * [`pool`]: which connection a request goes over, what is kept, and what becomes of it; in its folder, how a
//!   connection is made and the requests on it, one after the other.

pub mod no_proxy;
pub mod pool;
pub mod proxy;
pub mod roots;

//! An HTTPS client that runs in the loop. It knows neither places nor the herd.
//!
//! * [`no_proxy`]: which hosts are reached without a proxy.
//! * [`roots`]: which certificates are trusted.
//! * [`proxy`]: the way through a proxy.
//! * [`pool`]: which connection a request uses, which connections are kept, and the result of each request; the
//!   files in its folder open a connection, and run the requests on it one after another.

pub mod no_proxy;
pub mod pool;
pub mod proxy;
pub mod roots;

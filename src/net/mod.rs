//! Names into addresses, addresses into connections, connections encrypted: what a program needs that
//! asks other servers. It knows neither HTTP nor the herd.
//!
//! * [`dns`]: a stub resolver in the loop.
//! * [`eyeballs`]: which of a host's addresses to try next, and when (RFC 8305).
//! * [`tls`]: TLS as a protocol outside and a transport inside; mutual TLS.

pub mod dns;
pub mod eyeballs;
pub mod tls;

//! What a client of other servers needs: names resolved to addresses, addresses to connections, connections
//! encrypted. It knows neither HTTP nor the herd.
//!
//! * [`dns`]: a stub resolver that runs in the loop.
//! * [`eyeballs`]: which of a host's addresses to try next, and when (RFC 8305).
//! * [`race`]: the connectors that happy eyeballs try.
//! * [`tls`]: TLS as a protocol on the outside and a transport on the inside; mutual TLS.

pub mod dns;
pub mod eyeballs;
pub mod race;
pub mod tls;

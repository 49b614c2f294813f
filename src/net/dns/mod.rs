//! Names into addresses, in the loop: a stub resolver.
//!
//! In: the name of a host. Out, a little later: all its addresses of both families, or why there
//! are none. `getaddrinfo` is never called, because it blocks; and no thread is begun to call it.
//!
//! ```text
//!              ┌─────────────────────── Resolver ───────────────────────┐
//!   resolve ──▶│ literal? localhost? cache? hosts? ──────────────▶ Done │──▶ next_action
//!              │           │ no                                ▲        │
//!              │           ▼                                   │        │
//!              │   lookup: A         ── server 1, 2, 1, 2 ─▶ both ended │
//!              │           AAAA      ── server 1, 2, 1, 2 ─▶ or in time │
//!              └────┬───────────────────▲───────────────────────────────┘
//!             Send, Cancel    answer, failed, timeout
//!                   ▼                   │
//!              ┌────────── Client: one socket for each query ───────────┐
//! ```
//!
//! The [`Resolver`] has no socket and no clock: it is given moments, chance and what has come, and
//! says what is to be sent. So every rule of it is tested by steps with times in them. The
//! [`DnsClient`] is the same on our reactor, and has no rules of its own.
//!
//! What an off-path liar must guess is the 16-bit id, the port that the kernel chose for this one
//! query, and the question; the kernel drops what comes from another address than the server's.
//!
//! What getaddrinfo does and this does not: other sources than the hosts file and DNS (nsswitch,
//! mDNS), sorting by RFC 6724 (who connects tries both families, RFC 8305), most options of resolv.conf;
//! docs/sources.md has the list.
//!
//! To read on: [`name`], [`hosts`], [`config`], [`message`], [`cache`] (values); [`Action`],
//! `family_query.rs` and [`resolver`] (the machine); [`client`] (the glue).
//!
//! Twisted: names/client.py, names/hosts.py, names/cache.py, names/resolve.py.

pub mod cache;
pub mod config;
pub mod hosts;
pub mod message;
pub mod name;

mod action;
mod family_query;
pub mod resolver;

#[cfg(test)]
mod tests;

pub mod client;

pub use self::action::{Action, LookupId, QueryId, Via};
pub use self::client::{DnsClient, DnsOptions, Resolving, ask, socket_address};
pub use self::config::Config;
pub use self::hosts::Hosts;
pub use self::name::HostName;
pub use self::resolver::Resolver;

use std::fmt;

/// Why a name has no addresses. Twisted: names/error.py; internet/error.py, DNSLookupError.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It is not the name of a host: empty, too long, or of other letters than a name has.
    BadName,
    /// A server says that there is no such name (NXDOMAIN).
    NoSuchName,
    /// A server says that the name has no address of either family (NODATA).
    NoAddresses,
    /// The servers answered, and could not or would not say (SERVFAIL, REFUSED), or garbled it.
    ServerFailed,
    /// No server could be reached.
    Unreachable,
    /// No server answered in time.
    TimedOut,
    /// Too many lookups wait already.
    TooManyLookups,
}

impl DnsError {
    /// Whether a server has spoken: there is nothing, and asking again soon would not help.
    pub fn is_definite(self) -> bool {
        matches!(self, DnsError::NoSuchName | DnsError::NoAddresses)
    }
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DnsError::BadName => "not a host name",
            DnsError::NoSuchName => "no such host name",
            DnsError::NoAddresses => "the host name has no address",
            DnsError::ServerFailed => "the name servers could not say",
            DnsError::Unreachable => "no name server can be reached",
            DnsError::TimedOut => "no name server answered in time",
            DnsError::TooManyLookups => "too many names are being looked up",
        })
    }
}

impl std::error::Error for DnsError {}

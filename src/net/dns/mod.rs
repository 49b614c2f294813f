//! A stub resolver that runs in the loop.
//!
//! In: a host name. Out, a little later: all its addresses of both families, or why there are none. It never calls
//! `getaddrinfo`, because that blocks, and it starts no thread to call it.
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
//! The [`Resolver`] has no socket and no clock: its caller passes in moments, random bits and received bytes, and
//! it returns what to send. So every rule of it is tested in steps with explicit times. The [`DnsClient`] connects
//! it to the reactor, and has no rules of its own.
//!
//! An off-path attacker must guess the 16-bit id, the port that the kernel chose for this one query, and the
//! question. The kernel drops packets from any address but the server's.
//!
//! Unlike getaddrinfo, it supports no sources but the hosts file and DNS (no nsswitch, no mDNS), few options of
//! resolv.conf, and no sorting by RFC 6724 (the connecting code tries both families, RFC 8305). docs/sources.md has
//! the list.
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
    /// The text is not a host name: it is empty, too long, or has other characters than a name.
    BadName,
    /// A server replied that the name does not exist (NXDOMAIN).
    NoSuchName,
    /// A server replied that the name has no address of either family (NODATA).
    NoAddresses,
    /// The servers replied with an error (SERVFAIL, REFUSED), or with a message that cannot be parsed.
    ServerFailed,
    /// No server could be reached.
    Unreachable,
    /// No server answered in time.
    TimedOut,
    /// The limit on pending lookups is reached.
    TooManyLookups,
}

impl DnsError {
    /// Whether a server has replied that there is no address, so that a retry soon would not help.
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
            DnsError::ServerFailed => "the name servers replied with an error",
            DnsError::Unreachable => "no name server can be reached",
            DnsError::TimedOut => "no name server answered in time",
            DnsError::TooManyLookups => "too many host names are being looked up",
        })
    }
}

impl std::error::Error for DnsError {}

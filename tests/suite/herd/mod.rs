//! The herd as its users meet it: real processes of `herd serve`, real sockets on loopback, and
//! nothing known of their inside.
//!
//! ```text
//!   test ── Client ──▶ client port ┐
//!        ── Client ──▶ peer port   ├ herd serve Alford ◀──▶ herd serve Parker ◀──▶ ...
//!        ── signals, /proc, log ──▶┘
//! ```
//!
//! Each test writes a topology of its own into a folder of its own and starts the servers it needs
//! ([`crate::support::herd::Setup`]). A server that is listed and not started is played by the test, which then
//! speaks the peer protocol by hand.
//!
//! No test sleeps for a time and hopes: it waits for a condition, until a deadline that only a
//! failing test meets ([`crate::support::herd::eventually`]). Where a test must show that something does *not*
//! happen, it does something later whose effect is seen, and looks at what came before.
//!
//! Names of tests are promises; the texts in tables are the rows of the edge cases that a promise is
//! made of. The rules themselves are in docs/protocol.md.

#![cfg(all(target_os = "linux", feature = "embedded-places"))]

mod connections;
mod failures;
mod flooding;
mod iamat;
mod interop_twisted;
mod journal;
mod limits;
mod lines;
mod load;
mod peers;
mod plain;
mod process;
mod restarts;
mod whatsat;

//! The herd as its users see it: real processes of `herd serve` and real sockets on loopback, as black boxes.
//!
//! ```text
//!   test ── Client ──▶ client port ┐
//!        ── Client ──▶ peer port   ├ herd serve Alford ◀──▶ herd serve Parker ◀──▶ ...
//!        ── signals, /proc, log ──▶┘
//! ```
//!
//! Each test writes a topology of its own into a folder of its own and starts the servers it needs
//! ([`crate::support::herd::Setup`]). A test may play a server that is listed but not started: it then speaks the
//! peer protocol itself.
//!
//! No test sleeps and hopes: it waits for a condition, until a deadline that only a failing test
//! reaches ([`crate::support::herd::eventually`]). A test that must show that something does *not*
//! happen causes a later effect, waits for that, and checks what happened before it.
//!
//! Names of tests are promises; the texts in tables name the edge cases of a promise. The rules themselves
//! are in docs/protocol.md.

#![cfg(all(target_os = "linux", feature = "embedded-places"))]

mod access;
mod addresses;
mod backup;
mod bus;
mod bus_real;
mod connections;
mod ends;
mod failures;
mod flooding;
mod hosts;
mod iamat;
mod interop_twisted;
mod journal;
mod limits;
mod lines;
mod load;
mod openapi;
mod peers;
mod plain;
mod process;
mod reload;
mod restarts;
mod upgrades;
mod whatsat;

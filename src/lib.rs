//! An application server herd: a reactor written by hand after Twisted's, and what runs on it.
//!
//! The modules stand in the order in which to read them, and each uses only those above it. To see
//! the whole at once, follow one IAMAT: [`Reactor::turn`](reactor::Reactor::turn) reads it,
//! [`LineReceiver`](line_receiver::LineReceiver) finds its end,
//! [`Chatserver`](herd::chatserver::Chatserver) has it parsed into a
//! [`Command`](herd::command::Command), the [`Herd`](herd::table::Herd) decides whether it is news,
//! and the [`Links`](herd::links::Links) flood it; the turn's end sends reply and flood.

// They panic when nobody can read what they print; and a library does not print.
#![deny(clippy::print_stdout, clippy::print_stderr)]

// PART ONE. The loop, the connections, the timers. It knows no line.
pub mod reactor;

// PART TWO. Bytes into lines. It knows no command.
pub mod line_receiver;

// PART THREE. Asking other servers: names into addresses, connections sealed, requests into
// responses. No herd.
pub mod dns;
pub mod tls;

pub mod https;

// PART FOUR. What is near a point, and how it is written. It knows no connection.
pub mod secret;

pub mod places;

// One event, one line, one file. Used by what follows.
pub mod log;

// Lines that outlive the process. It knows bytes and files, and not what the lines say.
pub mod journal;

// PART FIVE. The herd.
pub mod herd;

// A network in memory, on a clock of its own: for tests, public as twisted.internet.testing is.
pub mod testing;

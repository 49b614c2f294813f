//! The test apparatus: another world under the same reactor. Public, like twisted.internet.testing.
//!
//! [`MemoryIo`] is a network in memory on a clock of its own. The reactor and the protocols above
//! it are the real ones; only what they stand on is replaced. So a test plays years in seconds,
//! breaks what a kernel hardly ever breaks, and with the same seed plays the same again.
//!
//! ```text
//!      Reactor                     the same reactor, the same protocols
//!         │ Io
//!      MemoryIo                    ids, ports, events: what epoll would say, and when
//!         │
//!      Endpoint ── Segment ──▶ EventQueue   one end of one connection; what travels; when it arrives
//!      DatagramSocket              the same without a connection
//! ```
//!
//! Beside it: [`CountingIo`] counts what a reactor asks of any [`Io`](crate::Io), [`Recorder`] is a protocol that
//! writes down what it hears, and [`StringTransport`] lends a protocol a context without any reactor.
//!
//! Randomness comes from one seed, containers whose order can be seen are ordered, and nothing here
//! reads a real clock. Two runs with the same seed give the same log, byte for byte.

mod counting;
mod datagrams;
mod endpoint;
mod event_queue;
mod memory;
mod options;
mod recorder;
mod segment;
mod string_transport;

pub use self::counting::{CallCounts, CountingIo};
pub use self::datagrams::Datagram;
pub use self::memory::MemoryIo;
pub use self::options::{MemoryOptions, NetworkFault};
pub use self::recorder::{Heard, Record, Recorder, RecordingFactory, Records};
pub use self::segment::{Segment, SegmentKind};
pub use self::string_transport::StringTransport;

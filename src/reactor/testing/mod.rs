//! Tools for tests, chiefly an in-memory network. Public, like twisted.internet.testing.
//!
//! [`MemoryIo`] is an in-memory network with a clock of its own. A test runs the real reactor and the real protocols on
//! it; only the kernel is replaced. So a test can cover years in seconds, cause faults that a kernel rarely shows, and
//! repeat a run from its seed.
//!
//! ```text
//!      Reactor                     the same reactor, the same protocols
//!         │ Io
//!      MemoryIo                    ids, ports, and the events that epoll would report
//!         │
//!      Endpoint ── Segment ──▶ EventQueue   one end of a connection; what it sends; when that arrives
//!      DatagramSocket              a UDP socket
//! ```
//!
//! The other tools: [`CountingIo`] counts the calls that a reactor makes on any [`Io`](crate::Io), [`TracedIo`] tells
//! them in plain words, [`Recorder`] is a protocol that logs the calls it gets, and [`StringTransport`] is a context
//! without a reactor.
//!
//! All randomness comes from one seed, every container whose order is visible is sorted, and no code here reads a real
//! clock. Two runs with the same seed give the same log, byte for byte.

mod counting;
mod datagrams;
mod endpoint;
mod event_queue;
mod memory;
mod options;
mod recorder;
mod segment;
mod string_transport;
mod traced;

pub use self::counting::{CallCounts, CountingIo};
pub use self::datagrams::Datagram;
pub use self::memory::MemoryIo;
pub use self::options::{MemoryOptions, NetworkFault};
pub use self::recorder::{Heard, Record, Recorder, RecordingFactory, Records};
pub use self::segment::{Segment, SegmentKind};
pub use self::string_transport::StringTransport;
pub use self::traced::TracedIo;

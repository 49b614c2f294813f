//! The reactor's own limits.

use std::time::Duration;

/// Limits on how a reactor ends connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactorLimits {
    /// How long `lose_connection` waits for the peer to take the written data; then the connection is aborted.
    /// The default is 30 s. Twisted waits for ever, and leaks descriptors (issues #4719, #3037).
    pub close: Duration,
    /// How long a stopping reactor waits for connections to send their data and end. The default is 4 s.
    /// Twisted drops all unsent output at once.
    pub drain: Duration,
    /// How long a lingering connection reads and discards input after all written data has been sent; then it closes.
    /// The default is 2 s.
    pub linger: Duration,
    /// How long a peer may read nothing while output waits for it on a connection with back-pressure; then the connection is
    /// aborted. By default it may wait for ever, as in Twisted.
    pub slow_reader: Option<Duration>,
    /// How many bytes of input a lingering connection reads and discards; then it closes. The default is 1 MiB.
    pub linger_bytes: usize,
}

impl Default for ReactorLimits {
    fn default() -> ReactorLimits {
        ReactorLimits {
            close: Duration::from_secs(30),
            drain: Duration::from_secs(4),
            linger: Duration::from_secs(2),
            slow_reader: None,
            linger_bytes: 1 << 20,
        }
    }
}

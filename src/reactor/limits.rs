//! The reactor's own time limits.

use std::time::Duration;

/// Time limits of the reactor's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactorLimits {
    /// How long `lose_connection` waits for the peer to take what was written; then the connection
    /// is aborted. Twisted waits for ever, and leaks descriptors (issues #4719, #3037).
    pub close: Duration,
    /// How long a stopping reactor waits for what was written and for answers that are due.
    /// Twisted drops all unsent output at once.
    pub drain: Duration,
    /// How long a connection whose peer is still sending is read, and what comes thrown away, when
    /// all that was written has been sent: so long at most,
    pub linger: Duration,
    /// and so many bytes at most.
    pub linger_bytes: usize,
}

impl Default for ReactorLimits {
    fn default() -> ReactorLimits {
        ReactorLimits {
            close: Duration::from_secs(30),
            drain: Duration::from_secs(4),
            linger: Duration::from_secs(2),
            linger_bytes: 1 << 20,
        }
    }
}

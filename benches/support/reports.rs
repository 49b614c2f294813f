//! An endless sequence of clients' reports, for benchmarks.

/// Reports of all clients in random order, then of all again with stamps a second
/// later, and so on.
pub(crate) struct Reports {
    order: Vec<u64>,
    next: usize,
    seconds: u64,
}

/// One client's report.
pub(crate) struct Report {
    /// Client, location and time, as in an IAMAT; the whole IAMAT has 57 bytes.
    pub(crate) operands: String,
    /// The time, in nanoseconds since 1970.
    #[allow(dead_code, reason = "for one of the benches")]
    pub(crate) stamp_nanos: u64,
}

impl Reports {
    pub(crate) fn new(clients: u64) -> Reports {
        let mut order: Vec<u64> = (0..clients).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for last in (1..order.len()).rev() {
            // xorshift; any shuffle will do that is the same every time.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(last, (random % (last as u64 + 1)) as usize);
        }
        Reports { order, next: 0, seconds: 1_479_413_884 }
    }

    /// The whole seconds of the last report's time.
    #[allow(dead_code, reason = "for one of the benches")]
    pub(crate) fn seconds(&self) -> u64 {
        self.seconds
    }

    pub(crate) fn next(&mut self) -> Report {
        if self.next == self.order.len() {
            self.next = 0;
            self.seconds += 1;
        }
        let client = self.order[self.next];
        self.next += 1;
        let (seconds, nanos) = (self.seconds, 100_000_000 + client * 137 % 700_000_000);
        let operands = format!("client-{client:07} +34.068930-118.445127 {seconds}.{nanos}");
        Report { operands, stamp_nanos: seconds * 1_000_000_000 + nanos }
    }
}

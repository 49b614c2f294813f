//! What the kernel counts of this process: memory, processor time and descriptors.
//!
//! A value is `None` where the kernel does not tell it. Reading takes some microseconds, and is done only when an
//! operator asks.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// Maximum number of descriptors that are counted one by one, as Linux before 6.2 requires: some 4 ms.
const COUNTED_MAX: usize = 4_096;

/// Memory in use (the resident set), in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// Processor time used.
pub(super) fn processor_time() -> Option<Duration> {
    clock_gettime(ClockId::ProcessCPUTime).try_into().ok()
}

/// Open descriptors; `None` if there are more than [`COUNTED_MAX`] and the kernel does not count them itself.
pub(super) fn open_descriptors() -> Option<usize> {
    let folder = "/proc/self/fd";
    let counted = fs::metadata(folder).ok()?.len() as usize;
    if counted > 0 {
        return Some(counted);
    }
    // The descriptor that reads the folder is one of them.
    let count = fs::read_dir(folder).ok()?.take(COUNTED_MAX + 2).count() - 1;
    (count <= COUNTED_MAX).then_some(count)
}

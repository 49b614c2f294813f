//! Send buffers that nobody needs now, for the next connection that writes.
//!
//! So a reply costs no allocation, and an idle connection no memory. In: buffers, with what they held
//! last. Out: empty ones. It does not know whose they were.
//!
//! The idea: a buffer is as large as the most that has waited in it, and that may have been a neighbour's
//! backlog, once. Were it kept so, each buffer would sooner or later be as large as the worst that any
//! connection has met, and memory would grow for hours, in ever rarer steps. So a buffer that has held far
//! less than it could gives half of its room back, each time: a few small replies later it is small again.
//! Where replies are large all the time, nothing is given back, and nothing allocated.

use super::transport::BUFFER_SIZE;

/// How many are kept,
const BUFFERS_MAX: usize = 64;

/// how many bytes they have together,
const BYTES_MAX: usize = 16 * BUFFER_SIZE;

/// and how many one of them. A larger one goes back to the allocator.
const BUFFER_BYTES_MAX: usize = 2 * BUFFER_SIZE;

/// A buffer of this size or less is small enough to stay as it is.
const SMALL: usize = BUFFER_SIZE / 4;

/// Empty buffers; those given back last are taken first.
#[derive(Debug, Default)]
pub(super) struct Spares {
    buffers: Vec<Vec<u8>>,
    /// Their capacities.
    bytes: usize,
}

impl Spares {
    /// An empty buffer; a new one if there is none.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let buffer = self.buffers.pop().unwrap_or_default();
        self.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer, or not. `buffer`: with what it held since it was taken.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let (held, room) = (buffer.len(), buffer.capacity());
        buffer.clear();
        if room > SMALL && held < room / 4 {
            buffer.shrink_to(room / 2);
        }
        let room = buffer.capacity();
        let fits = (1..=BUFFER_BYTES_MAX).contains(&room) && self.bytes + room <= BYTES_MAX;
        if fits && self.buffers.len() < BUFFERS_MAX {
            self.bytes += room;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(held: usize, room: usize) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(room);
        buffer.resize(held, 0);
        buffer
    }

    #[test]
    fn what_was_given_back_last_is_taken_first_and_empty() {
        let mut spares = Spares::default();
        spares.give_back(buffer(10, 100));
        spares.give_back(buffer(20, 200));
        let taken = [spares.take(), spares.take(), spares.take()];
        assert_eq!(taken.each_ref().map(Vec::capacity), [200, 100, 0]);
        assert!(taken.iter().all(Vec::is_empty));
        assert_eq!(spares.bytes, 0);
    }

    #[test]
    fn a_buffer_that_was_large_once_is_small_after_a_few_small_replies() {
        let mut spares = Spares::default();
        spares.give_back(buffer(BUFFER_BYTES_MAX, BUFFER_BYTES_MAX));
        let rooms = [(); 4].map(|()| {
            let mut taken = spares.take();
            taken.extend_from_slice(b"AT");
            spares.give_back(taken);
            spares.bytes
        });
        assert_eq!(rooms, [65_536, 32_768, 16_384, 16_384]);
    }

    #[test]
    fn where_replies_are_large_nothing_is_given_back() {
        let mut spares = Spares::default();
        for held in [100_000, 40_000, 33_000, 131_072] {
            spares.give_back(buffer(0, 0));
            let mut taken = spares.take();
            taken.reserve(BUFFER_BYTES_MAX);
            taken.resize(held, 0);
            spares.give_back(taken);
            assert_eq!(spares.bytes, BUFFER_BYTES_MAX);
        }
    }

    #[test]
    fn they_are_few_and_small_in_number_and_in_bytes() {
        let mut spares = Spares::default();
        spares.give_back(buffer(0, 0));
        spares.give_back(buffer(BUFFER_BYTES_MAX + 1, BUFFER_BYTES_MAX + 1));
        assert_eq!((spares.buffers.len(), spares.bytes), (0, 0));
        (0..1_000).for_each(|_| spares.give_back(buffer(BUFFER_BYTES_MAX, BUFFER_BYTES_MAX)));
        assert_eq!((spares.buffers.len(), spares.bytes), (8, BYTES_MAX));
        let mut spares = Spares::default();
        (0..1_000).for_each(|_| spares.give_back(buffer(100, 100)));
        assert_eq!((spares.buffers.len(), spares.bytes), (BUFFERS_MAX, 6_400));
    }
}

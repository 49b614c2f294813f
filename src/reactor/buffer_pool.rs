//! Send buffers that nobody needs now, for the next connection that writes.
//!
//! So replies cost no allocation, and an idle connection costs no memory. In: buffers, and how much is
//! about to be written to one. Out: empty ones, and larger ones. It does not know whose they are.
//!
//! ```text
//!   256 B ──▶ 2 KiB ──▶ 16 KiB ──▶ 64 KiB ──▶ 256 KiB ──▶ larger
//!     each of this very size, and kept for the next who needs one        goes back to the allocator
//! ```
//!
//! The idea: no buffer changes its size. Who outgrows one moves into one of the next size that has room,
//! and leaves his own to others. A buffer that grew by doubling, and was kept, would be large for good
//! because of one large reply; and by chance, over hours, so would all that are kept. One that was shrunk
//! again would leave its first few KiB where it stood, as allocators shrink in place: between such remains
//! are only holes that are smaller than the next large one needs, so that the heap grows at its end. Of few
//! sizes, one that is given back to the allocator leaves a hole that the next one fits into.

use crate::transport::BUFFER_SIZE;
use std::mem;

/// The sizes, in bytes: two or three lines; some twenty; a reply with places, or the sums of a comparison; and
/// what waits for a client, or for a neighbour, that does not read.
const SIZES: [usize; 5] = [256, 2_048, BUFFER_SIZE / 4, BUFFER_SIZE, 4 * BUFFER_SIZE];

/// How many are kept of each: 1.7 MiB, of which the kernel has given what was once written to.
const KEPT: [usize; SIZES.len()] = [64, 64, 16, 4, 4];

/// Up to this size a new buffer is written to, all of it, before it is used: so it costs its pages when it is
/// made. Else a kept one would cost another page whenever a reply is the longest that it has held, hours later.
/// A larger one mostly is made for what fills it.
const TOUCHED_MAX: usize = BUFFER_SIZE / 4;

/// Empty buffers, by their sizes; those given back last are taken first.
#[derive(Debug, Default)]
pub(super) struct BufferPool([Vec<Vec<u8>>; SIZES.len()]);

impl BufferPool {
    /// Sees to it that `more` bytes can be appended to `out`.
    #[inline]
    pub(super) fn make_room(&mut self, out: &mut Vec<u8>, more: usize) {
        if out.capacity() - out.len() < more {
            self.change_for_larger(out, more);
        }
    }

    /// Moves what `out` holds into the smallest size that has room for `more`. Beyond the largest it grows as
    /// a Vec does.
    #[inline(never)]
    fn change_for_larger(&mut self, out: &mut Vec<u8>, more: usize) {
        let needed = out.len() + more;
        let Some(next) = SIZES.iter().position(|&size| size >= needed) else {
            return out.reserve(more);
        };
        let spare = self.0[next].pop();
        let larger = spare.unwrap_or_else(|| new_buffer(SIZES[next]));
        let smaller = mem::replace(out, larger);
        if smaller.capacity() > 0 {
            out.extend_from_slice(&smaller);
            self.give_back(smaller);
        }
    }

    /// Keeps a buffer, or not; what it held is forgotten.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let Some(size) = SIZES.iter().position(|&size| size == buffer.capacity()) else { return };
        if self.0[size].len() < KEPT[size] {
            buffer.clear();
            self.0[size].push(buffer);
        }
    }
}

/// An empty buffer of that size.
fn new_buffer(size: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(size);
    if size <= TOUCHED_MAX {
        buffer.resize(size, 0);
        buffer.clear();
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection writes `count` lines of `line` bytes before they are sent; returns its buffer.
    fn written(pool: &mut BufferPool, count: usize, line: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            pool.make_room(&mut out, line);
            out.extend(std::iter::repeat_n(b'x', line));
        }
        out
    }

    /// How many there are of each size.
    fn counts(pool: &BufferPool) -> [usize; SIZES.len()] {
        pool.0.each_ref().map(Vec::len)
    }

    #[test]
    fn what_was_given_back_last_is_taken_first_and_empty() {
        let mut pool = BufferPool::default();
        let buffers = [1, 2].map(|_| written(&mut pool, 1, 80));
        let mut addresses = buffers.each_ref().map(|buffer| buffer.as_ptr());
        buffers.into_iter().for_each(|buffer| pool.give_back(buffer));
        let taken = [1, 2].map(|_| {
            let mut out = Vec::new();
            pool.make_room(&mut out, 80);
            out
        });
        addresses.reverse();
        assert_eq!(taken.each_ref().map(|buffer| buffer.as_ptr()), addresses);
        assert!(taken.iter().all(Vec::is_empty));
    }

    #[test]
    fn what_is_written_stands_in_the_buffer_whatever_its_size() {
        let mut pool = BufferPool::default();
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for number in 0..20_000_u32 {
            let line = [b'x'; 3_000];
            let line = &line[..if number % 1_000 == 0 { 3_000 } else { 20 }];
            pool.make_room(&mut out, 4 + line.len());
            for text in [&mut out, &mut expected] {
                text.extend_from_slice(&number.to_be_bytes());
                text.extend_from_slice(line);
            }
        }
        assert!(out == expected);
    }

    #[test]
    fn a_backlog_moves_from_size_to_size_and_leaves_each_for_others() {
        for (count, size) in [(1, 0), (3, 0), (4, 1), (100, 2), (700, 3), (1_000, 4), (3_200, 4)] {
            let mut pool = BufferPool::default();
            let out = written(&mut pool, count, 80);
            assert_eq!(out.capacity(), SIZES[size], "{count} lines");
            let left: Vec<usize> =
                (0..SIZES.len()).map(|other| usize::from(other < size)).collect();
            assert_eq!(counts(&pool)[..], left);
        }
    }

    #[test]
    fn what_is_large_at_once_goes_where_it_has_room_and_past_what_has_none() {
        for (line, size) in [(256, 0), (257, 1), (10_000, 2), (20_000, 3), (200_000, 4)] {
            let mut pool = BufferPool::default();
            assert_eq!(written(&mut pool, 1, line).capacity(), SIZES[size]);
            assert_eq!(counts(&pool), [0; SIZES.len()]);
        }
    }

    #[test]
    fn after_the_first_backlog_the_next_ones_allocate_nothing() {
        let mut pool = BufferPool::default();
        let mut addresses = Vec::new();
        for _ in 0..10 {
            let out = written(&mut pool, 2_000, 80);
            addresses.push(out.as_ptr());
            pool.give_back(out);
            assert_eq!(counts(&pool), [1; SIZES.len()]);
            // And what is small meanwhile is given none of them but the smallest.
            let out = written(&mut pool, 1, 80);
            assert_eq!(out.capacity(), SIZES[0]);
            pool.give_back(out);
        }
        assert!(addresses.iter().all(|address| *address == addresses[0]));
    }

    #[test]
    fn more_than_the_largest_size_goes_back_to_the_allocator() {
        let mut pool = BufferPool::default();
        let out = written(&mut pool, 10_000, 80);
        assert!(out.capacity() > SIZES[4]);
        let before = counts(&pool);
        pool.give_back(out);
        assert_eq!(counts(&pool), before);
    }

    #[test]
    fn so_many_are_kept_of_each_size_and_none_of_any_other() {
        let mut pool = BufferPool::default();
        for size in [0, 100, 257, BUFFER_SIZE + 1, 2 * BUFFER_SIZE, 8 * BUFFER_SIZE] {
            pool.give_back(Vec::with_capacity(size));
        }
        assert_eq!(counts(&pool), [0; SIZES.len()]);
        for size in SIZES {
            (0..100).for_each(|_| pool.give_back(Vec::with_capacity(size)));
        }
        assert_eq!(counts(&pool), KEPT);
    }
}

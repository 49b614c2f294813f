//! A pool of unused send buffers, for the next connection that writes.
//!
//! With it replies cost no allocation, and an idle connection holds no buffer. In: buffers, and how many bytes are
//! about to be written to one. Out: empty buffers, and larger ones. The pool does not know which connection uses a
//! buffer.
//!
//! ```text
//!   256 B ──▶ 2 KiB ──▶ 18 KiB ──▶ 64 KiB ──▶ 256 KiB ──▶ larger
//!     each of exactly this size, and pooled when it is free          goes back to the allocator
//! ```
//!
//! The idea: a buffer never changes its size. When the data outgrows a buffer, it moves to one of the smallest size
//! that has room, and the old buffer returns to the pool. If pooled buffers grew by doubling instead, one large reply
//! would make a buffer large for good, and over hours all of them. If they were shrunk again, fragmentation would
//! follow: allocators shrink in place, so the first few KiB of each would stay where they are, the holes between them
//! would be too small for the next large buffer, and the heap would grow. With few sizes, a buffer that is given back
//! to the allocator leaves a hole that fits the next one.

use crate::transport::BUFFER_SIZE;
use std::mem;

/// The size for a long reply, in bytes: 20 places of a gazetteer.
const LONG_REPLY: usize = 18 << 10;

/// The sizes, in bytes: for three short lines; for some twenty; for a long reply; and for the backlog of a peer that
/// does not read, within the default high-water mark and beyond it.
const SIZES: [usize; 5] = [256, 2_048, LONG_REPLY, BUFFER_SIZE, 4 * BUFFER_SIZE];

/// How many buffers of each size the pool keeps: 2.5 MiB, of which only written pages take memory.
///
/// All connections that were read in one turn hold their replies until its end. If the allocator got most of the long
/// ones back, it would return their pages to the kernel and take them again in the next turn. With 50 connections that
/// ask for 20 places each, that was a tenth of the processor time.
const KEPT: [usize; SIZES.len()] = [64, 64, 64, 4, 4];

/// A new buffer of at most this size is filled with zeros before its first use, so that the kernel allocates all its
/// pages at once. Otherwise a pooled buffer would take further pages hours later, whenever a reply is its longest yet.
/// A larger buffer is usually filled at once anyway.
const TOUCHED_MAX: usize = LONG_REPLY;

/// Empty buffers by size; the one returned last is taken first.
#[derive(Debug, Default)]
pub(super) struct BufferPool([Vec<Vec<u8>>; SIZES.len()]);

impl BufferPool {
    /// Makes room for `more` bytes in `out`.
    #[inline]
    pub(super) fn make_room(&mut self, out: &mut Vec<u8>, more: usize) {
        if out.capacity() - out.len() < more {
            self.change_for_larger(out, more);
        }
    }

    /// Moves the contents of `out` to a buffer of the smallest size with room for `more` bytes. Beyond the largest
    /// size, `out` grows as a Vec does.
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

    /// Discards the contents of `buffer`, and pools it if it has one of the sizes and the pool has room.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let Some(size) = SIZES.iter().position(|&size| size == buffer.capacity()) else { return };
        if self.0[size].len() < KEPT[size] {
            buffer.clear();
            self.0[size].push(buffer);
        }
    }
}

/// An empty buffer of capacity `size`.
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

    /// How many buffers of each size the pool holds.
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
            // A small write meanwhile gets a buffer of the smallest size.
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

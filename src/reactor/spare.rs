//! Send buffers that nobody needs now, for the next connection that writes.
//!
//! So replies cost no allocation, but for one of more than 16 KiB in one piece, and an idle connection
//! costs no memory. In: buffers, and what outgrows one. Out: empty ones, and larger ones. It does not know
//! whose they are.
//!
//! ```text
//!   small, 128 B to 16 KiB   grows as a Vec does, by doubling, and is kept as large as it has become
//!        │ outgrown
//!        ▼
//!   64 KiB ───▶ 256 KiB      of this very size, and kept so
//!        │ outgrown
//!        ▼
//!   larger                   grows as a Vec does; goes back to the allocator
//! ```
//!
//! The idea: what waits for a neighbour is a few bytes most of the time, and 100 KB for a moment when it
//! has been away. A buffer that grew to this by doubling, and was shrunk again when little was written to
//! it, would leave its first few KiB where it stood: an allocator shrinks in place. The next one finds
//! only holes that are smaller than it needs, and goes to the end of the heap; so the heap grew for
//! hours, to two and three times of what was in use. Hence no buffer is shrunk: a small one stays small,
//! because what outgrows it is moved into a large one; and the large ones are few, of two sizes, and
//! wait here for the next who needs one.

use super::transport::BUFFER_SIZE;
use std::mem;

/// How large a small one is when it is new: two short lines, and a power of two. Were it as long as the first
/// line, each would have sizes of its own, and the allocator keeps a few of each size that it is given back.
const SMALLEST: usize = 128;

/// How large a small one may become,
const SMALL: usize = BUFFER_SIZE / 4;

/// and how many are kept.
const SMALL_KEPT: usize = 64;

/// A small one of more than this would be no small one if it grew once more, to twice its size.
const HALF_SMALL: usize = SMALL / 2;

/// The sizes of large ones,
const LARGE: [usize; 2] = [BUFFER_SIZE, 4 * BUFFER_SIZE];

/// and how many of each are kept: 1.25 MiB, of which the kernel has given what was once written to.
const LARGE_KEPT: usize = 4;

/// With less room than this a buffer counts as outgrown, before it is: few lines are longer. Where one
/// is, the buffer grows as a Vec does, and is not kept.
const ROOM: usize = 1_024;

/// Empty buffers; those given back last are taken first.
#[derive(Debug, Default)]
pub(super) struct Spares {
    small: Vec<Vec<u8>>,
    /// By their sizes.
    large: [Vec<Vec<u8>>; LARGE.len()],
}

impl Spares {
    /// Sees to it that something can be appended to `out`: gives it a buffer if it has none, and one of
    /// the next size if it is about to outgrow its own.
    #[inline]
    pub(super) fn make_room(&mut self, out: &mut Vec<u8>) {
        let size = out.capacity();
        if size == 0 {
            *out = self.small.pop().unwrap_or_else(|| Vec::with_capacity(SMALLEST));
        } else if size > HALF_SMALL && size - out.len() < ROOM {
            self.change_for_larger(out);
        }
    }

    /// Moves what `out` holds into the next size, if there is one.
    #[cold]
    fn change_for_larger(&mut self, out: &mut Vec<u8>) {
        let needed = out.len() + ROOM;
        let Some(next) = LARGE.iter().position(|&size| size >= needed) else { return };
        let spare = self.large[next].pop();
        let mut larger = spare.unwrap_or_else(|| Vec::with_capacity(LARGE[next]));
        larger.extend_from_slice(out);
        self.give_back(mem::replace(out, larger));
    }

    /// Keeps a buffer, or not; what it held is forgotten.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        let size = buffer.capacity();
        let (kept, most) = match LARGE.iter().position(|&large| large == size) {
            Some(large) => (&mut self.large[large], LARGE_KEPT),
            None if (1..=SMALL).contains(&size) => (&mut self.small, SMALL_KEPT),
            None => return,
        };
        if kept.len() < most {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

/// Enlarges `out` so that `more` bytes fit: to a power of two, as if it had doubled.
#[cold]
pub(super) fn enlarge(out: &mut Vec<u8>, more: usize) {
    let size = (out.len() + more).next_power_of_two();
    out.reserve_exact(size - out.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(size: usize) -> Vec<u8> {
        Vec::with_capacity(size)
    }

    /// A connection writes `count` lines of `line` bytes before they are sent; returns its buffer.
    fn written(spares: &mut Spares, count: usize, line: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            spares.make_room(&mut out);
            out.extend(std::iter::repeat_n(b'x', line));
        }
        out
    }

    /// How many there are: small ones, and of each size of large ones.
    fn counts(spares: &Spares) -> [usize; 3] {
        let [medium, large] = &spares.large;
        [&spares.small, medium, large].map(Vec::len)
    }

    #[test]
    fn what_was_given_back_last_is_taken_first_and_empty() {
        let mut spares = Spares::default();
        for size in [100, 200] {
            let mut buffer = buffer(size);
            buffer.push(b'x');
            spares.give_back(buffer);
        }
        let taken = [(); 3].map(|()| written(&mut spares, 1, 0));
        assert_eq!(taken.each_ref().map(Vec::capacity), [200, 100, SMALLEST]);
        assert!(taken.iter().all(Vec::is_empty));
    }

    #[test]
    fn what_is_written_stands_in_the_buffer_whatever_its_size() {
        let mut spares = Spares::default();
        let mut out = Vec::new();
        let mut expected = Vec::new();
        for number in 0..20_000_u32 {
            spares.make_room(&mut out);
            let line = [b'x'; 3_000];
            let line = &line[..if number % 1_000 == 0 { 3_000 } else { 20 }];
            for text in [&mut out, &mut expected] {
                text.extend_from_slice(&number.to_be_bytes());
                text.extend_from_slice(line);
            }
        }
        assert!(out == expected);
    }

    #[test]
    fn a_backlog_moves_from_size_to_size_and_leaves_each_for_others() {
        let mut spares = Spares::default();
        let sizes: Vec<usize> = [100, 200, 700, 2_000, 2_600]
            .map(|count| written(&mut spares, count, 80))
            .iter()
            .map(Vec::capacity)
            .collect();
        assert!(sizes[0] <= SMALL);
        assert_eq!(sizes[1..], [LARGE[0], LARGE[0], LARGE[1], LARGE[1]]);
        assert!(counts(&spares)[0] > 0, "the small ones that were outgrown");
        assert_eq!(counts(&spares)[1..], [1, 0]);
    }

    #[test]
    fn after_the_first_backlog_the_next_ones_allocate_nothing() {
        let mut spares = Spares::default();
        let mut addresses = Vec::new();
        for _ in 0..10 {
            let out = written(&mut spares, 2_000, 80);
            addresses.push(out.as_ptr());
            spares.give_back(out);
            assert_eq!(counts(&spares), [1, 1, 1]);
            // And what is small meanwhile is given none of them.
            let out = written(&mut spares, 1, 80);
            assert!(out.capacity() <= SMALL);
            spares.give_back(out);
        }
        assert!(addresses.iter().all(|address| *address == addresses[0]));
    }

    #[test]
    fn more_than_the_largest_size_goes_back_to_the_allocator() {
        let mut spares = Spares::default();
        let out = written(&mut spares, 10_000, 80);
        assert!(out.capacity() > LARGE[1]);
        let before = counts(&spares);
        spares.give_back(out);
        assert_eq!(counts(&spares), before);
    }

    #[test]
    fn what_is_enlarged_has_a_size_that_others_have_too() {
        let mut out = buffer(SMALLEST);
        out.extend_from_slice(&[b'x'; 100]);
        for (more, size) in [(600, 1_024), (924, 1_024), (60_000, LARGE[0])] {
            enlarge(&mut out, more);
            assert_eq!((out.len(), out.capacity()), (100, size));
        }
    }

    #[test]
    fn few_are_kept_of_each_size_and_none_of_any_other() {
        let mut spares = Spares::default();
        for size in [0, SMALL + 1, LARGE[0] + 1, LARGE[1] - 1, 2 * LARGE[1]] {
            spares.give_back(buffer(size));
        }
        assert_eq!(counts(&spares), [0, 0, 0]);
        for size in [100, SMALL, LARGE[0], LARGE[1]] {
            (0..100).for_each(|_| spares.give_back(buffer(size)));
        }
        assert_eq!(counts(&spares), [SMALL_KEPT, LARGE_KEPT, LARGE_KEPT]);
    }
}

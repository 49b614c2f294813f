//! The test of exercise 9.

use crate::support::*;
use exercises::e09_lines::{LINE_BYTES, Splitter, TooLong};

/// What a splitter makes of these pieces: the lines, and whether one was too long.
fn split(pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
    let pushed = pieces.iter().try_for_each(|piece| splitter.push(piece, &mut lines));
    if pushed.is_ok() {
        lines.extend(splitter.end());
    }
    (lines.iter().map(|line| text(line)).collect(), pushed == Err(TooLong))
}

#[track_caller]
fn check(stream: &str, expected: &[&str]) {
    for pieces in every_chunking(stream.as_bytes()) {
        let shown: Vec<String> = pieces.iter().map(|piece| text(piece)).collect();
        assert_eq!(split(&pieces).0, expected, "the chunks {shown:?}");
    }
}

#[test]
fn every_chunking_gives_the_same_lines() {
    check("to\nand\nfro\n", &["to", "and", "fro"]);
    check("\n\na\n", &["", "", "a"]);
}

#[test]
fn cr_lf_ends_a_line_and_another_cr_does_not() {
    check("a\r\nb\nc\r\n", &["a", "b", "c"]);
    check("a\rb\r\r\n\r\n", &["a\rb\r", ""]);
}

#[test]
fn bytes_without_a_line_end_are_the_last_line() {
    check("one\ntwo", &["one", "two"]);
    check("cut off", &["cut off"]);
    check("cr\r", &["cr\r"]);
    assert_eq!(split(&[]).0, [""; 0], "an empty stream has no line");
}

#[test]
fn the_longest_line_is_taken() {
    let line = "x".repeat(LINE_BYTES);
    let stream = format!("{line}\r\n{line}\n");
    for size in 1..=stream.len() {
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let expected = (vec![line.clone(), line.clone()], false);
        assert_eq!(split(&pieces), expected, "{LINE_BYTES} bytes, CR LF; chunks of {size} bytes");
    }
}

#[test]
fn a_longer_line_is_an_error_and_the_lines_before_it_are_delivered() {
    let stream = format!("a\nb\n{}\nc\n", "x".repeat(LINE_BYTES + 1));
    for size in 1..=stream.len() {
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let expected = (vec!["a".to_owned(), "b".to_owned()], true);
        assert_eq!(
            split(&pieces),
            expected,
            "a line of {} bytes; chunks of {size}",
            LINE_BYTES + 1
        );
    }
}

#[test]
fn the_error_does_not_wait_for_the_line_end() {
    let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
    let endless = [b'x'; 10];
    let pushed = (0..100).position(|_| splitter.push(&endless, &mut lines).is_err());
    assert_eq!(
        pushed,
        Some(LINE_BYTES / 10),
        "chunks of 10 bytes without a line end: the number of the chunk that is refused"
    );
}

//! The test of exercise 10.

use crate::support::*;
use exercises::e10_netstrings::{Netstrings, PAYLOAD_BYTES};
use herd_reactor::Protocol;
use herd_reactor::testing::StringTransport;

/// The answers to these pieces, and the number of the piece that was refused.
fn answers(pieces: &[&[u8]]) -> (String, Option<usize>) {
    let (mut netstrings, mut transport) = (Netstrings::default(), StringTransport::new(()));
    let mut refused = pieces
        .iter()
        .map(|piece| netstrings.data_received(&mut transport.context(), piece).is_err());
    let refused = refused.position(|refused| refused);
    (text(&transport.take()), refused)
}

#[test]
fn every_chunking_gets_the_same_answers() {
    for stream in ["5:hello,2:to,", "0:,1:,,3:1:,,", "4:a\nb,,", "12:to and frooo,"] {
        for pieces in every_chunking(stream.as_bytes()) {
            let shown: Vec<String> = pieces.iter().map(|piece| text(piece)).collect();
            assert_eq!(answers(&pieces), (stream.to_owned(), None), "the chunks {shown:?}");
        }
    }
}

#[test]
fn a_netstring_that_is_not_complete_gets_no_answer() {
    for stream in ["5:hello", "5:hel", "5:", "5"] {
        assert_eq!(answers(&[stream.as_bytes()]), (String::new(), None), "{stream:?} was sent");
    }
}

#[test]
fn the_longest_payload_is_taken() {
    let stream = format!("{PAYLOAD_BYTES}:{},", "x".repeat(PAYLOAD_BYTES));
    for size in [1, 7, 500, stream.len()] {
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        let (answer, refused) = answers(&pieces);
        assert!(answer == stream && refused.is_none(), "1000 bytes, in chunks of {size} bytes");
    }
}

#[test]
fn a_wrong_byte_is_refused_as_soon_as_it_arrives() {
    for (stream, wrong) in [
        ("x5:hello,", 0),
        (":hello,", 0),
        ("-1:,", 0),
        ("5x:hello,", 1),
        ("5 :hello,", 1),
        ("01:a,", 1),
        ("00:,", 1),
        ("5:hello;", 7),
        ("2:hello,", 4),
        ("1001:", 3),
        ("9999999999999999999999999", 3),
    ] {
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        let (answer, refused) = answers(&bytes);
        assert_eq!(
            refused,
            Some(wrong),
            "{stream:?}, byte by byte: the number of the refused byte"
        );
        assert_eq!(answer, "", "the answer to {stream:?}");
        assert_eq!(answers(&[stream.as_bytes()]).1, Some(0), "{stream:?} in one chunk is refused");
    }
}

#[test]
fn what_came_before_the_error_is_answered() {
    assert_eq!(answers(&[b"2:to,3:and,3:fr0;"]), ("2:to,3:and,".to_owned(), Some(0)));
}

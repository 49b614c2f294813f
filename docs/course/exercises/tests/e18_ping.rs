//! The test of exercise 18.

use crate::support::*;
use exercises::e18_ping::{PAYLOAD_BYTES, WebSocket};
use herd_reactor::Protocol;
use herd_reactor::testing::StringTransport;

/// The answers to these pieces, and whether the connection ended.
fn answers(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut socket, mut transport) = (WebSocket::default(), StringTransport::new(()));
    for piece in pieces {
        if !transport.is_disconnecting() {
            socket.data_received(&mut transport.context(), piece).expect("no error");
        }
    }
    (transport.take(), transport.is_disconnecting())
}

/// The length of a payload, as a frame has it; `mask` is 0x80 or 0.
fn length(count: usize, mask: u8) -> Vec<u8> {
    match count {
        0..126 => vec![mask | count as u8],
        126..65_536 => [&[mask | 126], &(count as u16).to_be_bytes()[..]].concat(),
        _ => [&[mask | 127], &(count as u64).to_be_bytes()[..]].concat(),
    }
}

/// A client's frame.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let payload: Vec<u8> = payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
    [&[first], &length(payload.len(), 0x80)[..], &mask, &payload].concat()
}

/// A server's frame.
fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first], &length(payload.len(), 0)[..], payload].concat()
}

fn error(code: u16) -> (Vec<u8>, bool) {
    (plain(0x88, &code.to_be_bytes()), true)
}

#[test]
fn data_comes_back_without_a_mask() {
    // The example of RFC 6455, section 5.7: "Hello".
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let answer = answers(&[&hello]);
    assert_eq!(answer, (b"\x81\x05Hello".to_vec(), false), "the answer to the text \"Hello\"");
    let answer = answers(&[&masked(0x82, &[0, 255]), &masked(0x81, b"")]);
    assert_eq!(answer.0, [0x82, 2, 0, 255, 0x81, 0], "binary data, and an empty text");
}

#[test]
fn long_payloads_have_a_long_length() {
    for count in [125, 126, 127, 255, 256, PAYLOAD_BYTES] {
        let payload: Vec<u8> = (0..count).map(|at| at as u8).collect();
        let answer = answers(&[&masked(0x82, &payload)]);
        assert!(answer == (plain(0x82, &payload), false), "a frame of {count} bytes: {answer:x?}");
    }
}

#[test]
fn a_ping_gets_a_pong_with_its_payload() {
    assert_eq!(answers(&[&masked(0x89, b"Hello")]).0, plain(0x8a, b"Hello"));
    assert_eq!(answers(&[&masked(0x89, b"")]).0, plain(0x8a, b""), "an empty ping");
    assert_eq!(answers(&[&masked(0x89, &[7; 125])]).0, plain(0x8a, &[7; 125]), "the longest ping");
    assert_eq!(answers(&[&masked(0x8a, b"Hello")]).0, b"", "a pong gets no answer");
}

#[test]
fn a_ping_between_the_frames_of_a_message_is_answered_there() {
    let sent = [masked(0x01, b"Hel"), masked(0x89, b"?"), masked(0x80, b"lo")].concat();
    let expected = [plain(0x01, b"Hel"), plain(0x8a, b"?"), plain(0x80, b"lo")].concat();
    assert_eq!(answers(&[&sent]), (expected, false), "a message in two frames, and a ping");
}

#[test]
fn every_chunking_gets_the_same_answers() {
    let sent = [masked(0x81, b"ab"), masked(0x89, b"c")].concat();
    let expected = [plain(0x81, b"ab"), plain(0x8a, b"c")].concat();
    for pieces in every_chunking(&sent) {
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(answers(&pieces), (expected.clone(), false), "chunks of {sizes:?} bytes");
    }
    let long = masked(0x82, &[9; 300]);
    let bytes: Vec<&[u8]> = long.chunks(1).collect();
    assert!(answers(&bytes).0 == plain(0x82, &[9; 300]), "300 bytes of data, byte by byte");
}

#[test]
fn a_close_frame_is_returned_and_ends_the_connection() {
    let answer = answers(&[&masked(0x88, &[3, 0xe8])]);
    assert_eq!(answer, (plain(0x88, &[3, 0xe8]), true), "a close frame with the code 1000");
    let answer = answers(&[&[masked(0x88, b""), masked(0x81, b"late")].concat()]);
    assert_eq!(answer, (plain(0x88, b""), true), "an empty close frame, and a text behind it");
}

#[test]
fn errors_end_the_connection_with_a_code() {
    assert_eq!(answers(&[&plain(0x81, b"Hello")]), error(1002), "a frame without a mask");
    for first in [0xc1, 0xa1, 0x91] {
        assert_eq!(answers(&[&masked(first, b"x")]), error(1002), "a reserved bit: {first:#x}");
    }
    for first in [0x83, 0x87, 0x8b, 0x8f] {
        assert_eq!(answers(&[&masked(first, b"x")]), error(1002), "an unknown opcode: {first:#x}");
    }
    assert_eq!(answers(&[&masked(0x09, b"x")]), error(1002), "a ping without FIN");
    assert_eq!(answers(&[&masked(0x89, &[0; 126])]), error(1002), "a ping of 126 bytes");
    for count in [PAYLOAD_BYTES + 1, 65_535, 65_536] {
        // The payload never arrives.
        let header = &masked(0x82, &vec![0; count])[..14];
        assert_eq!(answers(&[header]), error(1009), "the header of a frame of {count} bytes");
    }
    let answer = answers(&[&[masked(0x81, b"first"), plain(0x81, b"x")].concat()]);
    assert!(answer.0.starts_with(&plain(0x81, b"first")), "data before the error comes back");
}

//! The test of exercise 1.

use crate::support::*;
use exercises::e01_upper::Upper;
use herd_reactor::factory;
use herd_reactor::testing::MemoryOptions;

fn answer(options: MemoryOptions, sent: &[u8]) -> Vec<u8> {
    let mut stage = Stage::on(options, ());
    let address = stage.listen(factory(|_, _| Some(Upper)));
    let client = stage.connect(address);
    stage.send(&client, sent);
    stage.pass(SECOND);
    client.bytes()
}

#[test]
fn letters_come_back_in_upper_case() {
    let answer = text(&answer(MemoryOptions::calm(0), b"to and Fro\n"));
    assert_eq!(answer, "TO AND FRO\n", "the client sent \"to and Fro\\n\"");
}

#[test]
fn each_other_byte_comes_back_unchanged() {
    for byte in (0..=255_u8).filter(|byte| !byte.is_ascii_alphabetic()) {
        assert_eq!(
            answer(MemoryOptions::calm(0), &[byte]),
            [byte],
            "the client sent the byte {byte}"
        );
    }
}

#[test]
fn any_pieces_give_the_same_answer() {
    let sent = "once upon a time \u{e9} ".repeat(3_000);
    for seed in 0..5 {
        let answer = answer(MemoryOptions::rough(seed), sent.as_bytes());
        let expected = sent.as_bytes().to_ascii_uppercase();
        assert!(
            answer == expected,
            "seed {seed}: the answer to a text of {} bytes is wrong",
            sent.len()
        );
    }
}

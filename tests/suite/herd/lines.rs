//! Lines and white space: what a client may send, and the replies.
//!
//! The text of each row names its case.

use crate::support::herd::{Setup, masked, same, show};

/// Sends each case on a connection of its own, half-closes, and compares the whole reply.
#[track_caller]
fn each_is_answered(cases: &[(&str, &[u8], &[u8])]) {
    let herd = Setup::alone().start();
    for (case, sent, expected) in cases {
        let reply = herd.client("Alford").say_all(sent);
        same(&masked(&reply), expected, &format!("{case}: {}", show(sent)));
    }
}

#[test]
fn six_bytes_are_white_space_and_any_run_of_them_separates() {
    each_is_answered(&[
        (
            "SP, TAB, runs of them: any run separates",
            b"IAMAT \t  k1\t+34-118   \t 1400000000.5\n",
            b"AT Alford # k1 +34-118 1400000000.5\n",
        ),
        (
            "FF, VT: separate and trim",
            b"\x0bIAMAT\x0ck2\x0b+34-118\x0c\x0b1400000000.5\x0c\n",
            b"AT Alford # k2 +34-118 1400000000.5\n",
        ),
        (
            "lone CR inside a line: separator, not a line end",
            b"IAMAT\rk3\r\r+34-118 1400000000.5\n",
            b"AT Alford # k3 +34-118 1400000000.5\n",
        ),
        (
            "lone CR inside a line that is not a command",
            b"IAMAT k4\rWHATSAT k4 10 5\n",
            b"? IAMAT k4\rWHATSAT k4 10 5\n",
        ),
        (
            "leading/trailing white: ignored",
            b" \t IAMAT k5 +34-118 1400000000.5 \t \x0b\x0c\r \n",
            b"AT Alford # k5 +34-118 1400000000.5\n",
        ),
    ]);
}

#[test]
fn lf_and_cr_lf_end_a_line_alike() {
    each_is_answered(&[
        (
            "`\\r\\n`: same as `\\n`",
            b"IAMAT k +34-118 1400000000\r\nIAMAT k +34-118 1400000001\r\n",
            b"AT Alford # k +34-118 1400000000\nAT Alford # k +34-118 1400000001\n",
        ),
        (
            "`\\n` alone: answered",
            b"IAMAT k +34-118 1400000002\nIAMAT k +34-118 1400000003\n",
            b"AT Alford # k +34-118 1400000002\nAT Alford # k +34-118 1400000003\n",
        ),
        ("`\\r\\n` after an invalid command", b"IAMAT k\r\nx\r\n", b"? IAMAT k\n? x\n"),
    ]);
}

#[test]
fn cr_and_lf_in_different_segments_end_one_line() {
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    client.send("IAMAT k +34-118 1400000000\r");
    herd.catch_up("Alford");
    client.send("\nIAMAT k +34-118 1400000001\r");
    herd.catch_up("Alford");
    client.send("\n");
    client.half_close();
    let expected = b"AT Alford # k +34-118 1400000000\nAT Alford # k +34-118 1400000001\n";
    same(&masked(&client.rest()), expected, "CR and LF come in different segments");
}

#[test]
fn other_space_is_part_of_a_client_id() {
    let case = "U+00A0, U+3000, U+2028, U+0085, 0x1C-0x1F in a client ID: part of the ID";
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    let ids =
        ["a\u{a0}b", "a\u{3000}b", "\u{2028}ab", "ab\u{85}", "a\x1cb\x1d\x1e\x1f", "\u{feff}"];
    for id in ids {
        let at = client.ask(format!("IAMAT {id} -48.8767-123.3933 1400000000"));
        let expected = format!("AT Alford # {id} -48.8767-123.3933 1400000000");
        same(&masked(&at), expected.as_bytes(), case);
        let nearby = client.whatsat(id, "10", "5").expect("the client is known");
        same(&nearby.line, &at, case);
    }
}

#[test]
fn lines_of_white_space_are_ignored() {
    each_is_answered(&[
        ("empty / blank line: ignored", b"\n \n\t\n\r\n\x0b\x0c\r\r\n", b""),
        (
            "blank lines between commands",
            b"\n\r\nx\n\n \r\n\nIAMAT k +34-118 1400000000\n\n",
            b"? x\nAT Alford # k +34-118 1400000000\n",
        ),
        ("a blank last line without its end", b"x\n  \t", b"? x\n"),
        ("nothing at all", b"", b""),
    ]);
}

#[test]
fn a_client_id_of_a_thousand_bytes_is_served() {
    let case = "very long ID (1,000): served";
    let herd = Setup::alone().start();
    let mut client = herd.client("Alford");
    for length in [1_000, 4_096] {
        let id = "k".repeat(length);
        let at = client.ask(format!("IAMAT {id} -48.8767-123.3933 1400000000"));
        let expected = format!("AT Alford # {id} -48.8767-123.3933 1400000000");
        same(&masked(&at), expected.as_bytes(), case);
        same(&client.whatsat(&id, "10", "5").expect("it is known").line, &at, case);
    }
    let id = "k".repeat(4_097);
    let line = format!("IAMAT {id} +34-118 1400000000");
    same(&client.ask(&line), format!("? {line}").as_bytes(), "longer than client_id_bytes");
}

#[test]
fn bytes_come_back_as_they_were_sent() {
    each_is_answered(&[
        (
            "not UTF-8 in a client ID: byte-exact copy in AT",
            b"IAMAT \xff\xfe\x80\xc3\x28 +34-118 1400000000\n",
            b"AT Alford # \xff\xfe\x80\xc3\x28 +34-118 1400000000\n",
        ),
        (
            "NUL in a client ID",
            b"IAMAT a\0b +34-118 1400000000\n",
            b"AT Alford # a\0b +34-118 1400000000\n",
        ),
        (
            "every byte that is not white",
            b"IAMAT \x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x1b\x7f\x80\x90\xa0\xf5\xff +0+0 1\n",
            b"AT Alford # \x01\x02\x03\x04\x05\x06\x07\x08\x0e\x0f\x10\x1b\x7f\x80\x90\xa0\xf5\xff +0+0 1\n",
        ),
        ("not UTF-8: byte-exact copy in `?`", b"\xff \xfe\xfd\n", b"? \xff \xfe\xfd\n"),
        ("NUL", b"\0\n\0\0 \0\n", b"? \0\n? \0\0 \0\n"),
        (
            "TLS hello",
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\x03\x0a\x16",
            b"? \x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\x03\n? \x16\n",
        ),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: alford\r\n\r\n",
            b"? GET / HTTP/1.1\n? Host: alford\n",
        ),
    ]);
}

#[test]
fn names_of_commands_are_upper_case_and_exact() {
    each_is_answered(&[
        ("lower case", b"iamat k +34-118 1400000000\n", b"? iamat k +34-118 1400000000\n"),
        ("mixed case", b"Whatsat k 10 5\n", b"? Whatsat k 10 5\n"),
        ("`IAMATX`", b"IAMATX k +34-118 1400000000\n", b"? IAMATX k +34-118 1400000000\n"),
        ("`IAMA`", b"IAMA k +34-118 1400000000\n", b"? IAMA k +34-118 1400000000\n"),
        ("no name", b"+34-118 1400000000\n", b"? +34-118 1400000000\n"),
    ]);
}

#[test]
fn the_copy_keeps_inner_spacing_and_drops_outer_white_space() {
    each_is_answered(&[
        (
            "copy in `? `: inner spacing kept",
            b"NO  such \t command\x0b\x0c!\n",
            b"? NO  such \t command\x0b\x0c!\n",
        ),
        ("copy in `? `: outer white goes", b" \t NO  such \r\x0b \n", b"? NO  such\n"),
        ("a line that looks like a reply", b"? what\n", b"? ? what\n"),
    ]);
}

//! A plain neighbour, such as the Python original. The test plays it: it knows AT lines that end in CR LF, and has one
//! port for everything.

use crate::support::herd::{Client, Herd, NOWHERE, Setup, same, show};

/// Alford, its neighbour Bolden, and a plain neighbour of Alford's.
fn with_a_plain_one() -> Herd {
    let herd = Setup::of(&["Alford", "Bolden"], &[("Alford", "Bolden")]);
    let herd = herd.plain("Old", "Alford").start();
    herd.linked("Alford", "Bolden");
    herd
}

/// The next line to the plain server, without its CR LF.
fn news(link: &mut Client) -> Vec<u8> {
    let mut line = link.read_until(b"\n");
    assert!(line.ends_with(b"\r\n"), "its lines end in CR LF: {}", show(&line));
    line.truncate(line.len() - 2);
    line
}

#[test]
fn a_plain_neighbour_is_dialled_and_sent_the_whole_table_in_its_own_form() {
    let herd = with_a_plain_one();
    let mut client = herd.client("Alford");
    let known =
        [client.ask(format!("IAMAT k1 {NOWHERE} 1")), client.ask(format!("IAMAT k2 {NOWHERE} 1"))];
    let mut link = herd.dialled("Old");
    // The plain server may have been dialled before these reports were made; then they arrive as news. There is no
    // HELLO and no PING.
    let mut told = [news(&mut link), news(&mut link)];
    told.sort_unstable();
    assert!(told == known, "{:?}", told.map(|line| show(&line)));
    let line = client.ask(format!("IAMAT k1 {NOWHERE} 2"));
    same(&news(&mut link), &line, "what is new");
    let line = herd.client("Bolden").ask(format!("IAMAT k3 {NOWHERE} 1"));
    same(&news(&mut link), &line, "what is new at another server");

    drop(link);
    let mut link = herd.dialled("Old");
    let mut told = [(); 3].map(|()| news(&mut link));
    told.sort_unstable();
    assert!(
        told[0].ends_with(b" 2") || told[1].ends_with(b" 2"),
        "a new link receives the whole table"
    );
}

#[test]
fn a_plain_neighbours_line_is_passed_on_as_it_came() {
    let herd = with_a_plain_one();
    let mut old = herd.stranger("Alford");
    for (number, difference) in
        ["+9.5e-05", "+0.00021", "-1.5E+3", "+1479413884.39201", "+0.263873386"].iter().enumerate()
    {
        let at = format!("AT Old {difference} k{number} {NOWHERE} 1400000000.5");
        old.send(format!("{at}\r\n"));
        herd.settle(&["Alford"], &format!("k{number}"), at.as_bytes());
        // Another server must accept the plain server's report from its neighbour, or the tables would never be equal.
        herd.settle(&["Bolden"], &format!("k{number}"), at.as_bytes());
    }
}

#[test]
fn a_plain_neighbours_line_survives_on_both_of_its_connections() {
    let herd = with_a_plain_one();
    let mut link = herd.dialled("Old");
    let at = format!("AT Old +9.5e-05 kiwi {NOWHERE} 1400000000.5");
    link.send(format!("{at}\r\n"));
    herd.settle(&["Alford", "Bolden"], "kiwi", at.as_bytes());
    let mut old = herd.stranger("Alford");
    let newer = format!("AT Old +9.5e-05 kiwi {NOWHERE} 1400000001");
    old.send(format!("{newer}\r\n"));
    herd.settle(&["Alford", "Bolden"], "kiwi", newer.as_bytes());
}

#[test]
fn of_equal_stamps_a_plain_neighbours_line_does_not_count() {
    let herd = with_a_plain_one();
    let mut old = herd.stranger("Alford");
    let known = herd.client("Alford").ask(format!("IAMAT kiwi {NOWHERE} 1400000000.5"));
    // The greatest possible line with this stamp: from a server that is not plain it would count.
    let relabelled = format!("AT Zzz +9.5e-05 kiwi {NOWHERE} 1400000000.5");
    let next = format!("AT Old +9.5e-05 marker {NOWHERE} 1");
    old.send(format!("{relabelled}\r\n{next}\r\n"));
    herd.settle(&["Alford"], "marker", next.as_bytes());
    let still = herd.report("Alford", "kiwi");
    assert_eq!(still, Some(show(&known)), "it may have put its own name into another's line");
}

#[test]
fn a_hello_in_the_name_of_a_plain_neighbour_is_refused() {
    let herd = with_a_plain_one();
    let mut stranger = herd.stranger("Alford");
    let hello = herd.hello("Old");
    stranger.send(format!("{hello}\n"));
    same(&stranger.rest(), format!("? {hello}\n").as_bytes(), "a plain neighbour says no HELLO");
}

#[test]
fn an_anonymous_connection_says_at_and_nothing_else() {
    let herd = with_a_plain_one();
    for line in ["lorem ipsum", "PING", "IAMAT kiwi +34-118 1", "AT Old nan kiwi +34-118 1"] {
        let mut stranger = herd.stranger("Alford");
        stranger.send(format!("{line}\r\n"));
        same(&stranger.rest(), format!("? {line}\n").as_bytes(), "before its first AT it is out");
    }
    let mut old = herd.stranger("Alford");
    let at = format!("AT Old +9.5e-05 kiwi {NOWHERE} 1");
    old.send(format!("{at}\r\nlorem ipsum\r\n"));
    same(&old.line(), b"? lorem ipsum", "a malformed line is answered");
    let newer = format!("AT Old +9.5e-05 kiwi {NOWHERE} 2");
    old.send(format!("{newer}\r\n"));
    herd.settle(&["Alford"], "kiwi", newer.as_bytes());
    assert_eq!(herd.report("Alford", "k"), None);
}

#[test]
fn where_no_plain_neighbour_is_configured_an_anonymous_connection_is_refused() {
    // None of Bolden's neighbours is plain, though the herd has a plain server.
    let herd = with_a_plain_one();
    let mut stranger = herd.stranger("Bolden");
    let at = format!("AT Old +0.000000001 kiwi {NOWHERE} 1");
    stranger.send(format!("{at}\r\n"));
    same(&stranger.rest(), format!("? {at}\n").as_bytes(), "anonymous, and out");
    assert_eq!(herd.report("Bolden", "kiwi"), None, "no effect");
}

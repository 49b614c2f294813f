//! The test of exercise 12.

use crate::support::*;
use exercises::e12_topics::{LIMIT, Topics, Visitor};
use herd_reactor::testing::MemoryOptions;
use std::net::SocketAddr;

/// Room for one line that says how many messages were lost.
const LOST_BYTES: usize = 30;

fn stage() -> (Stage<Topics>, SocketAddr) {
    let options = MemoryOptions {
        send_window_bytes: 65_536,
        receive_window_bytes: 65_536,
        ..MemoryOptions::calm(0)
    };
    let mut stage = Stage::on(options, Topics::default());
    let address = stage.listen_lines(|| Visitor);
    (stage, address)
}

fn subscribe(stage: &mut Stage<Topics>, address: SocketAddr, topic: &str) -> Client {
    let client = stage.connect(address);
    stage.send(&client, format!("SUB {topic}\n").as_bytes());
    client
}

/// Publishes the numbers of `range`, in messages of about a hundred bytes.
fn publish(stage: &mut Stage<Topics>, client: &Client, range: std::ops::Range<usize>) {
    let lines: String =
        range.map(|number| format!("PUB news {number} {}\n", "x".repeat(80))).collect();
    stage.reactor.write(client.id(), lines.as_bytes());
    stage.watch(SECOND / 2, |stage| {
        let most = stage.most_pending();
        assert!(most <= LIMIT + LOST_BYTES, "{most} bytes wait for a client, more than {LIMIT}");
    });
}

/// The numbers of the messages that a client got, and the sum of its `LOST` lines.
fn numbers(client: &Client) -> (Vec<usize>, usize) {
    let (mut numbers, mut lost) = (Vec::new(), 0);
    for line in client.text().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["MSG", "news", number, _] => numbers.push(number.parse().expect("a number")),
            ["LOST", count] => {
                let count: usize = count.parse().expect("a number");
                assert!(count > 0, "a client got the line \"LOST 0\"");
                lost += count;
            }
            _ => panic!("a client got the line {line:?}"),
        }
        if let ["MSG", ..] = words[..] {
            let (got, last) = (numbers.len() + lost, numbers[numbers.len() - 1]);
            assert_eq!(last + 1, got, "message {last} came after {got} others, lost ones included");
        }
    }
    (numbers, lost)
}

#[test]
fn a_message_goes_to_the_subscribers_of_its_topic() {
    let (mut stage, address) = stage();
    let [news, more, weather] =
        ["news", "news", "weather"].map(|topic| subscribe(&mut stage, address, topic));
    let publisher = stage.connect(address);
    stage.send(&publisher, b"PUB news it is late\nPUB weather rain\nPUB nothing at all\n");
    assert_eq!(news.text(), "MSG news it is late\n");
    assert_eq!(more.text(), "MSG news it is late\n");
    assert_eq!(weather.text(), "MSG weather rain\n");
    assert_eq!(publisher.text(), "", "the publisher has not subscribed");
}

#[test]
fn a_slow_subscriber_holds_up_nobody_and_takes_little_memory() {
    let (mut stage, address) = stage();
    let [fast, slow] = ["news", "news"].map(|topic| subscribe(&mut stage, address, topic));
    let publisher = stage.connect(address);
    stage.pause(&slow);
    publish(&mut stage, &publisher, 0..10_000);
    let (received, lost) = numbers(&fast);
    assert_eq!(
        (received.len(), lost),
        (10_000, 0),
        "messages that the fast subscriber got and lost"
    );
    assert!(slow.lost().is_none(), "the slow subscriber was cut off: {:?}", slow.lost());
}

#[test]
fn a_subscriber_learns_how_many_messages_it_has_lost() {
    let (mut stage, address) = stage();
    let slow = subscribe(&mut stage, address, "news");
    let publisher = stage.connect(address);
    for round in 0..3 {
        stage.pause(&slow);
        publish(&mut stage, &publisher, round * 5_001..round * 5_001 + 5_000);
        stage.resume(&slow);
        stage.pass(SECOND);
        publish(&mut stage, &publisher, round * 5_001 + 5_000..(round + 1) * 5_001);
        let (received, lost) = numbers(&slow);
        let total = (round + 1) * 5_001;
        assert_eq!(received.len() + lost, total, "of {total} messages, those it got and lost");
        assert!(lost > 1_000 * (round + 1), "only {lost} were lost, but it did not read");
        assert_eq!(received.last(), Some(&(total - 1)), "the message after it read again");
    }
}

#[test]
fn a_subscriber_that_is_gone_leaves_nothing_behind() {
    let (mut stage, address) = stage();
    let publisher = stage.connect(address);
    for number in 0..10 {
        let slow = subscribe(&mut stage, address, "news");
        stage.send(&slow, format!("SUB topic{number}\n").as_bytes());
        stage.pause(&slow);
        publish(&mut stage, &publisher, 0..4_000);
        match number % 2 {
            0 => stage.close(&slow),
            _ => stage.abort(&slow),
        }
        stage.pass(60 * SECOND);
    }
    let Topics { subscribers, lost, .. } = stage.state();
    let (topics, lost) = (subscribers.len(), lost.len());
    assert_eq!((topics, lost), (0, 0), "topics and counts that are left when all are gone");
}

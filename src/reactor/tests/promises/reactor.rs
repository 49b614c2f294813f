//! The reactor's promises, one test each, on the kernel and in memory.
//!
//! Both ends of every connection belong to the same reactor, the one under test. A test is a script: it connects actors
//! ([`Recorder`](herd_reactor::testing::Recorder)s), which run their closures, and the stage runs turns until an
//! expected call has been logged. On a rough in-memory network arrivals and writes are short, arrivals are late, and
//! some events are spurious. A promise that holds there does not depend on a benign kernel.
//!
//! Twisted, too, runs the same tests on each of its reactors: internet/test/reactormixins.py.

use crate::stage::{Actor, MS, Scene, Stage, actor, pattern};
use herd_reactor::io::Addrs;
use herd_reactor::testing::{CallCounts, Heard, MemoryOptions, RecordingFactory};
use herd_reactor::{
    BUFFER_SIZE, BUFFERED_BYTES_MAX, Backoff, CloseReason, ConnId, ConnectOptions, Context, Core,
    Factory, Io, NotPending, Protocol, READ_BYTES_MAX, ReactorLimits, SEND_LIMIT,
};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

// The order of a turn.

fn timers_run_before_messages<I: Io>(mut stage: Stage<I>) {
    stage.pair(
        actor("server").on(|cx, heard| {
            if let Heard::Message(_) = heard {
                cx.state.note("message");
            }
            Ok(())
        }),
        actor("client"),
    );
    let server = stage.id("server");
    stage.core().post(server, "first asked for".into());
    stage.core().call_later(Duration::ZERO, |scene, _| scene.note("timer"));
    stage.turn();
    assert_eq!(stage.scene().said(), ["timer", "message"]);
}

fn what_a_timer_writes_leaves_in_the_same_turn<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.core().call_later(Duration::ZERO, move |_, core| core.write(client, b"x"));
    stage.reactor.io().take();
    stage.turn();
    assert_eq!(stage.core().pending(client), 0);
    assert_eq!(stage.reactor.io().take().writes, 1);
}

fn what_a_message_writes_leaves_in_the_same_turn<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Message(_) = heard {
            cx.write(b"x");
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let server = stage.id("server");
    stage.core().post(server, "write".into());
    stage.reactor.io().take();
    stage.turn();
    assert_eq!(stage.reactor.io().take().writes, 1);
}

fn before_poll_comes_after_the_calls_and_before_the_send<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Message(_) = heard {
            cx.write(b"three");
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let server = stage.id("server");
    stage.core().call_later(Duration::ZERO, move |_, core| core.write(server, b"two"));
    stage.core().post(server, "write".into());
    stage.scene().watched = Some(server);
    stage.turn();
    assert_eq!(stage.core().pending(server), 0);
    assert_eq!(stage.scene().said(), ["8 wait before the poll"]);
}

fn the_counts_of_a_turn_are_those_of_what_it_has_done<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    stage.pass(MS);
    let server = stage.id("server");
    stage.write("client", b"x");
    stage.core().call_later(Duration::ZERO, |_, _| {});
    stage.core().post(server, "a request".into());
    // Not `stage.turn`, which would add a timer of its own.
    stage.reactor.turn().unwrap();
    let counts = stage.scene().counts;
    assert_eq!((counts.timers, counts.requests, counts.writes), (1, 1, 1));
    stage.until_bytes("server", 1);
    stage.turn();
    let counts = stage.scene().counts;
    assert!(counts.events >= 1 && counts.reads == 1, "what the previous poll found: {counts:?}");
    assert_eq!((counts.timers, counts.requests, counts.writes), (0, 0, 0));
}

fn an_accepted_connection_is_counted_in_the_turn_after_its_accept<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    stage.connect(address, actor("client"));
    while stage.scene().records.id("server").is_none() {
        assert_eq!(stage.scene().counts.accepts, 0);
        stage.turn();
    }
    stage.turn();
    assert_eq!(stage.scene().counts.accepts, 1);
    stage.turn();
    assert_eq!(stage.scene().counts.accepts, 0);
}

fn before_poll_comes_before_the_send_of_a_stopping_reactor_too<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if *heard == Heard::ShuttingDown {
            cx.write(b"last words");
            cx.lose_connection();
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let server = stage.id("server");
    stage.scene().watched = Some(server);
    stage.core().stop();
    stage.turn();
    assert_eq!(stage.core().pending(server), 0);
    assert_eq!(stage.scene().said(), ["10 wait before the poll"]);
}

fn what_waits_when_before_poll_fails_is_never_sent<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    for stopping in [false, true] {
        stage.core().write(server, b"a promise that cannot be kept");
        stage.scene().failure = Some(std::io::ErrorKind::StorageFull.into());
        stage.reactor.io().take();
        let failure = stage.reactor.turn().expect_err("before_poll has failed");
        assert_eq!(failure.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(stage.reactor.io().take().writes, 0, "stopping: {stopping}");
        assert!(stage.core().pending(server) > 0 && stage.reactor.is_stopped());
        stage.reactor.run().expect("it has ended: there is nothing to run");
        stage.core().stop();
    }
}

fn a_timer_made_by_a_timer_waits_a_turn<I: Io>(mut stage: Stage<I>) {
    stage.core().call_later(Duration::ZERO, |scene, core| {
        scene.note("first");
        core.call_later(Duration::ZERO, |scene, _| scene.note("second"));
    });
    stage.turn();
    assert_eq!(stage.scene().said(), ["first"]);
    stage.turn();
    assert_eq!(stage.scene().said(), ["first", "second"]);
}

fn timers_of_one_time_run_first_come<I: Io>(mut stage: Stage<I>) {
    for number in 0..10 {
        stage.core().call_later(5 * MS, move |scene, _| scene.note(number.to_string()));
    }
    stage.until("all have run", |scene, _| scene.notes.len() == 10);
    assert_eq!(stage.scene().said(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

fn a_timer_is_never_early<I: Io>(mut stage: Stage<I>) {
    let set = stage.core().now();
    stage.core().call_later(3 * MS, |scene, core| scene.note(core.now().as_nanos().to_string()));
    stage.until("it has run", |scene, _| !scene.notes.is_empty());
    let ran: u64 = stage.scene().said()[0].parse().unwrap();
    assert!(ran >= (set + 3 * MS).as_nanos());
}

fn a_timer_cancelled_by_an_earlier_one_of_the_turn_does_not_run<I: Io>(mut stage: Stage<I>) {
    let (_, core) = stage.reactor.parts();
    // The first call is made before the second, whose id it gets through the cell.
    let victim = std::rc::Rc::new(std::cell::Cell::new(None));
    let known = victim.clone();
    core.call_later(Duration::ZERO, move |scene, core| {
        let victim = known.get().unwrap();
        scene.note(format!("{:?} {:?}", core.cancel(victim), core.cancel(victim)));
    });
    victim.set(Some(core.call_later(Duration::ZERO, |scene, _| scene.note("ran"))));
    stage.turn();
    stage.turn();
    assert_eq!(stage.scene().said(), ["Ok(()) Err(NotPending)"]);
}

fn a_timer_can_be_moved_until_it_is_spent<I: Io>(mut stage: Stage<I>) {
    let early = stage.core().call_later(3_600 * SECOND, |scene, _| scene.note("moved up"));
    let late = stage.core().call_later(MS, |scene, _| scene.note("put off"));
    stage.core().reset(late, 10 * MS).unwrap();
    stage.core().reset(early, 2 * MS).unwrap();
    let now = stage.core().now();
    assert_eq!([early, late].map(|id| stage.core().due(id)), [2, 10].map(|ms| Some(now + ms * MS)));
    stage.until("both have run", |scene, _| scene.notes.len() == 2);
    assert_eq!(stage.scene().said(), ["moved up", "put off"]);
    assert_eq!(stage.core().reset(early, MS), Err(NotPending));
    assert_eq!(stage.core().cancel(late), Err(NotPending));
    assert_eq!(stage.core().due(late), None);
}

// Writing.

fn nothing_is_sent_inside_a_callback_and_all_writes_leave_in_one_piece<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(_) = heard {
            for piece in [&b"one "[..], b"two ", b"three"] {
                cx.write(piece);
            }
            assert_eq!(cx.core.pending(cx.id), 13);
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    stage.write("client", b"?");
    stage.until_heard("server", &Heard::Data(b"?".to_vec()));
    stage.reactor.io().take();
    stage.until_bytes("client", 1);
    assert_eq!(stage.reactor.io().take().writes, 1);
    assert_eq!(stage.records().bytes("client"), b"one two three");
}

fn one_send_a_turn_of_at_most_131072_bytes<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.write("server", &pattern(1_000_000));
    let mut pending = stage.core().pending(server);
    stage.reactor.io().take();
    let deadline = stage.core().now() + 20 * SECOND;
    while pending > 0 {
        stage.turn();
        assert!(stage.core().now() < deadline, "{pending} bytes are unsent");
        let left = stage.core().pending(server);
        assert!(pending - left <= SEND_LIMIT, "{} bytes in one turn", pending - left);
        assert!(stage.reactor.io().take().writes <= 1, "two sends in one turn");
        pending = left;
    }
    stage.until_bytes("client", 1_000_000);
}

fn writing_nothing_sends_nothing<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    stage.pass(MS);
    stage.reactor.io().take();
    stage.write("server", b"");
    stage.turn();
    assert_eq!(stage.reactor.io().take().writes, 0);
    stage.write("server", b"something");
    stage.until_bytes("client", 9);
}

fn what_is_written_arrives_in_order<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let data = pattern(500_000);
    let mut pieces = data.chunks(1_234);
    while pieces.len() > 0 {
        for piece in pieces.by_ref().take(7) {
            stage.write("client", piece);
        }
        stage.turn();
    }
    stage.until_bytes("server", data.len());
    assert!(stage.records().bytes("server") == data);
}

fn nothing_can_be_written_after_lose_connection<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.write("client", b"one");
    stage.core().lose_connection(client);
    stage.write("client", b"two");
    assert_eq!(stage.core().pending(client), 3);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("server"), b"one");
}

fn nothing_can_be_written_to_a_lost_connection<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.core().abort_connection(client);
    stage.write("client", b"between");
    stage.until_lost("client", 1);
    stage.write("client", b"after");
    assert_eq!(stage.core().pending(client), 0);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("server"), b"");
}

fn lose_connection_delivers_megabytes_and_then_a_clean_end<I: Io>(mut stage: Stage<I>) {
    let data = pattern(5_000_000);
    stage.pair(actor("server"), actor("client"));
    stage.write("server", &data);
    let server = stage.id("server");
    stage.core().lose_connection(server);
    stage.until_lost("client", 1);
    stage.until_lost("server", 1);
    assert!(stage.records().bytes("client") == data);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

fn losing_a_connection_again_changes_nothing<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.write("client", b"word");
    for _ in 0..3 {
        stage.core().lose_connection(client);
    }
    stage.turn();
    stage.core().lose_connection(client);
    stage.until_lost("server", 1);
    stage.pass(5 * MS);
    assert_eq!(stage.records().bytes("server"), b"word");
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

fn nothing_is_delivered_after_lose_connection<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(_) = heard {
            cx.lose_connection();
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    stage.write("client", &pattern(300_000));
    stage.until_lost("server", 1);
    stage.until_lost("client", 1);
    let records = stage.records();
    assert_eq!(records.count("server", |heard| matches!(heard, Heard::Data(_))), 1);
    assert!(matches!(records.heard("server").last(), Some(Heard::Lost("ConnectionDone", _))));
}

fn nothing_but_the_loss_follows_a_close<I: Io>(mut stage: Stage<I>) {
    for abort in [false, true] {
        *stage.records() = Default::default();
        let server = actor("server").on(move |cx, heard| {
            if let Heard::Data(_) = heard {
                cx.timer_later(Duration::ZERO);
                cx.core.post(cx.id, "an answer".into());
                cx.core.resume_when_drained(cx.id);
                cx.write(&pattern(1_000_000));
                match abort {
                    true => cx.abort_connection(),
                    false => cx.lose_connection(),
                }
            }
            Ok(())
        });
        stage.pair(server, actor("client"));
        stage.write("client", b"x");
        stage.until_lost("server", 1);
        stage.pass(MS);
        let heard = stage.records().heard("server");
        assert!(matches!(&heard[..], [Heard::Made, Heard::Data(_), Heard::Lost(..)]), "{heard:?}");
    }
}

fn a_peer_that_never_reads_is_reset_when_the_close_limit_has_passed<I: Io>(mut stage: Stage<I>) {
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.pause_producing();
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    stage.write("server", &pattern(32 << 20));
    let (server, client) = (stage.id("server"), stage.id("client"));
    let lost_at = stage.core().now();
    stage.core().lose_connection(server);
    stage.until_lost("server", 1);
    assert!(stage.core().now() - lost_at >= CLOSE_LIMIT);
    assert_eq!(stage.records().lost("server"), ["TimeoutError"]);
    stage.core().resume_producing(client);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
}

const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// Limits under which a peer must read something every 200 ms.
fn impatient() -> ReactorLimits {
    ReactorLimits { slow_reader: Some(CLOSE_LIMIT), ..ReactorLimits::default() }
}

fn a_peer_that_reads_nothing_for_the_limit_is_reset_while_output_waits<I: Io>(mut stage: Stage<I>) {
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.pause_producing();
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    let begun = stage.core().now();
    stage.write("server", &pattern(32 << 20));
    stage.until_lost("server", 1);
    assert!(stage.core().now() - begun >= CLOSE_LIMIT);
    assert_eq!(stage.records().lost("server"), ["TimeoutError"]);
    assert_eq!(stage.core().throttled("slow_reader_ms"), 1);
    assert_eq!(stage.core().timers_pending(), 0, "its timer is gone");
}

/// The peer reads something in each quarter of the limit, and takes longer than the limit for everything.
fn a_peer_that_reads_slowly_but_steadily_gets_everything<I: Io>(mut stage: Stage<I>) {
    const BYTES: usize = 600_000;
    let client = actor("client").on(|cx, heard| {
        if matches!(heard, Heard::Data(_)) {
            cx.pause_producing();
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    stage.write("server", &pattern(BYTES));
    while stage.records().bytes("client").len() < BYTES {
        stage.pass(CLOSE_LIMIT / 4);
        let client = stage.id("client");
        stage.core().resume_producing(client);
    }
    assert_eq!(stage.core().throttled("slow_reader_ms"), 0);
    assert_eq!(stage.core().timers_pending(), 0, "its timer is gone");
}

fn a_connection_without_back_pressure_may_wait_for_its_reader<I: Io>(mut stage: Stage<I>) {
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.pause_producing();
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.core().unregister_producer(server);
    stage.write("server", &pattern(32 << 20));
    stage.pass(3 * CLOSE_LIMIT);
    stage.core().resume_producing(client);
    stage.until_bytes("client", 32 << 20);
}

fn who_is_closed_with_a_reason_still_gets_what_was_written<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.write("server", b"too slow\n");
    stage.core().lose_because(server, Some(CloseReason::TimeoutError("idle")));
    stage.until_lost("client", 1);
    assert_eq!(stage.records().bytes("client"), b"too slow\n");
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["TimeoutError"]);
}

fn an_aborted_connection_is_reset_and_what_was_unsent_is_dropped<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.write("server", b"never sent");
    for _ in 0..3 {
        stage.core().abort_connection(server);
        assert_eq!(stage.core().pending(server), 0);
    }
    stage.core().lose_connection(server);
    stage.until_lost("client", 1);
    stage.pass(5 * MS);
    assert_eq!(stage.records().bytes("client"), b"");
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionAborted"]);
}

fn an_abort_after_lose_connection_resets_at_once<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.core().pause_producing(client);
    stage.write("server", &pattern(32 << 20));
    stage.core().lose_connection(server);
    stage.pass(5 * MS);
    assert!(stage.core().pending(server) > 0, "it waits for its reader");
    stage.core().abort_connection(server);
    stage.turn();
    assert_eq!(stage.records().lost("server"), ["ConnectionAborted"]);
    stage.core().resume_producing(client);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
}

fn connection_lost_never_comes_inside_the_abort<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        match heard {
            Heard::Data(_) => {
                cx.abort_connection();
                cx.state.note("aborted");
            }
            Heard::Lost(..) => cx.state.note("lost"),
            _ => {}
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    stage.write("client", &pattern(300_000));
    stage.until_lost("server", 1);
    assert_eq!(stage.scene().said(), ["aborted", "lost"]);
    // After the abort only the loss was delivered, no data.
    assert_eq!(stage.records().heard("server").len(), 3);
}

fn a_send_buffer_that_outgrows_every_bound_is_aborted<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    let piece = vec![0; 8 << 20];
    for _ in 0..BUFFERED_BYTES_MAX / piece.len() {
        stage.core().write(server, &piece);
    }
    assert_eq!(stage.core().pending(server), BUFFERED_BYTES_MAX);
    stage.core().write(server, b"x");
    stage.until_lost("server", 1);
    // The protocol gets the reason, not only the log.
    assert_eq!(stage.records().lost("server"), ["ProtocolFailed"]);
}

// Reading.

fn connection_made_comes_before_data<I: Io>(mut stage: Stage<I>) {
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.write(b"at once");
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    stage.until_bytes("server", 7);
    assert_eq!(*stage.records().heard("server")[0], Heard::Made);
}

fn one_read_a_turn_of_at_most_65536_bytes<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(data) = heard {
            cx.state.note(data.len().to_string());
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let data = pattern(1_000_000);
    stage.write("client", &data);
    stage.until_bytes("server", data.len());
    let mut turns: Vec<u64> = stage.scene().notes.iter().map(|note| note.0).collect();
    let reads = turns.len();
    turns.dedup();
    assert_eq!(turns.len(), reads, "two reads in one turn");
    assert!(stage.scene().said().iter().all(|n| n.parse::<usize>().unwrap() <= READ_BYTES_MAX));
}

fn a_fast_sender_does_not_starve_the_others<I: Io>(mut stage: Stage<I>) {
    let mut names = ["fast server", "slow server"].into_iter();
    let address = stage.listen(move || actor(names.next().unwrap()));
    stage.connect(address, actor("fast"));
    stage.until_made(&["fast", "fast server"]);
    stage.connect(address, actor("slow"));
    stage.until_made(&["slow", "slow server"]);
    let data = pattern(8_000_000);
    stage.write("fast", &data);
    stage.until_bytes("fast server", 1);
    stage.write("slow", b"me too");
    stage.until_bytes("slow server", 6);
    assert!(stage.records().bytes("fast server").len() < data.len());
}

fn data_is_delivered_before_the_end_that_came_with_it<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.write("client", b"last words");
    stage.core().lose_connection(client);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("server"), b"last words");
    let heard = stage.records().heard("server");
    let [Heard::Made, Heard::Data(_), .., Heard::ReadLost, Heard::Lost("ConnectionDone", _)] =
        &heard[..]
    else {
        panic!("{heard:?}");
    };
}

fn data_and_the_end_that_came_while_paused_follow_after_resuming<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.core().pause_producing(server);
    stage.write("client", b"unheard");
    stage.core().lose_connection(client);
    stage.until_lost("client", 1);
    stage.pass(20 * MS);
    assert_eq!(stage.records().heard("server").len(), 1);
    stage.core().resume_producing(server);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("server"), b"unheard");
    assert_eq!(stage.records().count("server", |heard| *heard == Heard::ReadLost), 1);
}

fn pausing_inside_data_received_holds_for_the_rest<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(_) = heard {
            cx.pause_producing();
            cx.timer_later(MS);
        }
        if let Heard::Timer(_) = heard {
            cx.state.note("resumed");
            cx.resume_producing();
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let data = pattern(400_000);
    stage.write("client", &data);
    stage.until_bytes("server", data.len());
    assert!(stage.records().bytes("server") == data);
    let heard = stage.records().heard("server");
    let paused = heard.windows(2).all(|two| !matches!(two, [Heard::Data(_), Heard::Data(_)]));
    assert!(paused, "two reads without a resume between");
}

fn resuming_after_lose_connection_delivers_nothing<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.core().pause_producing(server);
    stage.core().pause_producing(client);
    stage.write("client", b"unheard");
    stage.write("server", &pattern(32 << 20));
    stage.pass(5 * MS);
    stage.core().lose_connection(server);
    stage.core().resume_producing(server);
    stage.pass(5 * MS);
    assert!(stage.core().pending(server) > 0, "it waits for its reader");
    assert_eq!(stage.records().heard("server"), [&Heard::Made]);
}

fn a_reset_is_heard_as_connection_lost<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.core().abort_connection(client);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().lost("server"), ["ConnectionLost"]);
    assert_eq!(stage.records().count("server", |heard| *heard == Heard::ReadLost), 0);
}

fn writing_to_a_peer_that_has_gone_ends_in_connection_lost<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server").stays(), actor("client"));
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.core().lose_connection(client);
    stage.until_heard("server", &Heard::ReadLost);
    stage.until_lost("client", 1);
    // The kernel accepts the first write, and the peer answers it with a reset.
    for _ in 0..100 {
        stage.core().write(server, b"anybody there?");
        stage.pass(MS);
    }
    assert_eq!(stage.records().lost("server"), ["ConnectionLost"]);
}

// Half-close.

fn a_reply_reaches_a_peer_that_has_ended_its_side<I: Io>(mut stage: Stage<I>) {
    // Request and end arrive together. By default the server closes at the peer's end.
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(data) = heard {
            cx.write(&data.to_ascii_uppercase());
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let client = stage.id("client");
    stage.write("client", b"whatsat");
    stage.core().lose_write_connection(client);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().bytes("client"), b"WHATSAT");
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
}

fn a_late_reply_reaches_a_peer_that_has_ended_its_side<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").stays().on(|cx, heard| {
        match heard {
            Heard::ReadLost => drop(cx.timer_later(5 * MS)),
            Heard::Timer(_) => {
                cx.write(b"late");
                cx.lose_connection();
            }
            _ => {}
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    let client = stage.id("client");
    stage.core().lose_write_connection(client);
    stage.write("client", b"ignored");
    stage.until_lost("client", 1);
    assert_eq!(stage.records().bytes("client"), b"late");
    assert_eq!(stage.records().bytes("server"), b"");
}

fn a_side_that_has_ended_still_hears_and_the_connection_ends_with_the_other_side<I: Io>(
    mut stage: Stage<I>,
) {
    stage.pair(actor("server").stays(), actor("client").stays());
    let (server, client) = (stage.id("server"), stage.id("client"));
    let data = pattern(200_000);
    stage.write("server", b"my last");
    stage.core().lose_write_connection(server);
    stage.until_heard("client", &Heard::ReadLost);
    assert_eq!(stage.core().connections(), 2, "one side has ended; both connections are open");
    stage.write("client", &data);
    stage.core().lose_write_connection(client);
    // The protocols do not close: the connection ends because both sides have ended.
    stage.until_lost("server", 1);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().bytes("client"), b"my last");
    assert!(stage.records().bytes("server") == data);
    for name in ["server", "client"] {
        assert_eq!(stage.records().count(name, |heard| *heard == Heard::ReadLost), 1);
        assert_eq!(stage.records().lost(name), ["ConnectionDone"]);
    }
    assert_eq!(stage.core().connections(), 0);
    assert_eq!(stage.reactor.io().take().closes, 2, "both sockets are closed");
}

fn both_sides_that_end_at_once_end_the_connection<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server").stays(), actor("client").stays());
    for name in ["server", "client"] {
        let id = stage.id(name);
        stage.core().lose_write_connection(id);
    }
    stage.until_lost("server", 1);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
}

// Producers.

fn a_full_send_buffer_holds_up_reading_until_it_is_empty<I: Io>(mut stage: Stage<I>) {
    const ANSWER: usize = 16 << 20;
    let server = actor("server").on(|cx, heard| {
        match heard {
            Heard::Data(data) if data == b"1" => cx.write(&vec![7; ANSWER]),
            Heard::Resume => assert_eq!(cx.core.pending(cx.id), 0),
            _ => {}
        }
        Ok(())
    });
    let client = actor("client").on(|cx, heard| {
        if *heard == Heard::Made {
            cx.pause_producing();
        }
        Ok(())
    });
    stage.pair(server, client);
    let (server, client) = (stage.id("server"), stage.id("client"));
    stage.write("client", b"1");
    stage.until_bytes("server", 1);
    stage.write("client", b"2");
    stage.pass(20 * MS);
    assert!(stage.core().pending(server) > BUFFER_SIZE);
    assert_eq!(stage.records().bytes("server"), b"1");
    stage.core().resume_producing(client);
    stage.until_bytes("server", 2);
    let heard = [Heard::Made, Heard::Data(b"1".into()), Heard::Resume, Heard::Data(b"2".into())];
    assert_eq!(stage.records().heard("server"), heard.iter().collect::<Vec<_>>());
    stage.until_bytes("client", ANSWER);
}

/// Connects two actors that each write enough at once to fill their send buffers.
fn both_send<I: Io>(stage: &mut Stage<I>, opted_out: bool) {
    const EACH: usize = 16 << 20;
    let speaker = |name| {
        actor(name).on(move |cx, heard| {
            if *heard == Heard::Made {
                if opted_out {
                    cx.core.unregister_producer(cx.id);
                }
                cx.write(&vec![7; EACH]);
            }
            Ok(())
        })
    };
    stage.pair(speaker("server"), speaker("client"));
    match opted_out {
        true => ["server", "client"].iter().for_each(|name| stage.until_bytes(name, EACH)),
        false => stage.pass(50 * MS),
    }
}

fn a_connection_whose_peer_does_not_read_is_not_read<I: Io>(mut stage: Stage<I>) {
    both_send(&mut stage, false);
    for name in ["server", "client"] {
        let id = stage.id(name);
        assert!(stage.core().transport(id).unwrap().is_full(), "both send buffers are full");
        assert_eq!(stage.records().bytes(name), b"");
    }
}

fn two_peers_that_opt_out_of_back_pressure_cannot_wait_for_each_other<I: Io>(mut stage: Stage<I>) {
    both_send(&mut stage, true);
}

fn a_send_buffer_of_exactly_its_size_is_not_full<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.core().write(server, &vec![0; BUFFER_SIZE]);
    assert!(stage.core().transport(server).unwrap().is_delivering());
    stage.core().write(server, b"x");
    assert!(!stage.core().transport(server).unwrap().is_delivering());
    stage.until_heard("server", &Heard::Resume);
    assert!(stage.core().transport(server).unwrap().is_delivering());
}

fn a_send_buffer_is_full_beyond_the_mark_of_its_protocol<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    for high_water in [10, 1 << 20] {
        stage.core().register_producer(server, high_water);
        stage.core().write(server, &pattern(high_water));
        assert!(stage.core().transport(server).unwrap().is_delivering());
        stage.core().write(server, b"x");
        assert!(stage.core().transport(server).unwrap().is_full());
        let resumed = |heard: &Heard| *heard == Heard::Resume;
        let before = stage.records().count("server", resumed);
        stage
            .until("it is empty again", |scene, _| scene.records.count("server", resumed) > before);
    }
}

fn resume_when_drained_calls_once<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.core().write(server, &pattern(300_000));
    stage.core().resume_when_drained(server);
    stage.until_bytes("client", 300_000);
    stage.write("server", b"more");
    stage.until_bytes("client", 300_004);
    stage.pass(5 * MS);
    assert_eq!(stage.records().count("server", |heard| *heard == Heard::Resume), 1);
    // With nothing to send, `resume_producing` is called too.
    stage.core().resume_when_drained(server);
    stage.turn();
    assert_eq!(stage.records().count("server", |heard| *heard == Heard::Resume), 2);
}

// Lingering.

/// A client that writes more whenever its buffer is empty, `total` bytes in all, and reads meanwhile.
fn flooder(total: usize) -> Actor {
    let mut left = total;
    actor("client").on(move |cx, heard| {
        if *heard == Heard::Made {
            cx.unregister_producer();
        }
        if let (Heard::Made | Heard::Resume, 1..) = (heard, left) {
            let now = left.min(100_000);
            left -= now;
            cx.write(&vec![0; now]);
            cx.core.resume_when_drained(cx.id);
        }
        Ok(())
    })
}

fn goodbye() -> Actor {
    actor("server").on(|cx, heard| {
        if let Heard::Data(_) = heard {
            cx.write(b"goodbye");
            cx.core.linger(cx.id);
            cx.write(b"too late");
        }
        Ok(())
    })
}

fn the_last_word_reaches_a_peer_in_full_flow<I: Io>(mut stage: Stage<I>) {
    stage.pair(goodbye(), flooder(2 << 20));
    stage.until_lost("client", 1);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("client"), b"goodbye");
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
    // Data that arrived after `linger` was not delivered.
    let data = stage.records().count("server", |heard| matches!(heard, Heard::Data(_)));
    assert_eq!(data, 1);
}

/// The server closes while input from the peer waits unread; a plain close would reset the connection, and the reset
/// would overtake the server's data.
fn whoever_is_lost_while_it_speaks_hears_everything_that_was_written<I: Io>(mut stage: Stage<I>) {
    const WORDS: usize = 3 << 20;
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(_) = heard {
            cx.write(&vec![b'w'; WORDS]);
            cx.lose_connection();
        }
        Ok(())
    });
    stage.pair(server, flooder(2 << 20));
    stage.until_lost("client", 1);
    stage.until_lost("server", 1);
    assert_eq!(stage.records().bytes("client").len(), WORDS);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
}

fn lingering_ends_at_its_byte_limit<I: Io>(mut stage: Stage<I>) {
    // The peer ignores the server's end and goes on sending.
    stage.pair(goodbye(), flooder(20 << 20).stays());
    stage.until_lost("server", 1);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionLost"]);
}

fn lingering_ends_at_its_time_limit<I: Io>(mut stage: Stage<I>) {
    stage.pair(goodbye(), actor("client").stays());
    stage.write("client", b"and then nothing");
    stage.until_bytes("server", 1);
    let began = stage.core().now();
    stage.until_lost("server", 1);
    assert!(stage.core().now() - began >= 49 * MS);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
    assert_eq!(stage.records().bytes("client"), b"goodbye");
}

// Errors.

fn an_error_costs_its_connection_and_nothing_that_was_written<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| {
        actor("server").on(|cx, heard| match heard {
            Heard::Data(data) if data.starts_with(b"bad") => {
                cx.write(b"sorry");
                Err("a bad line".into())
            }
            Heard::Data(data) => {
                cx.write(data);
                Ok(())
            }
            _ => Ok(()),
        })
    });
    stage.connect(address, actor("good"));
    stage.connect(address, actor("bad"));
    stage.until_made(&["good", "bad"]);
    stage.write("bad", b"bad");
    stage.until_lost("bad", 1);
    stage.write("good", b"good");
    stage.until_bytes("good", 4);
    assert_eq!(stage.records().bytes("bad"), b"sorry");
    assert_eq!(stage.records().lost("bad"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("server"), ["ProtocolFailed"]);
    let lost = |heard: &Heard| *heard == Heard::Lost("ProtocolFailed", "a bad line".into());
    assert_eq!(stage.records().count("server", lost), 1);
}

fn an_error_in_any_call_closes<I: Io>(mut stage: Stage<I>) {
    for which in ["made", "message", "timer", "end"] {
        let fails = actor("server").stays().on(move |_, heard| match (which, heard) {
            ("made", Heard::Made)
            | ("message", Heard::Message(_))
            | ("timer", Heard::Timer(_))
            | ("end", Heard::ReadLost) => Err(which.into()),
            _ => Ok(()),
        });
        *stage.records() = Default::default();
        stage.pair(fails, actor("client"));
        let (server, client) = (stage.id("server"), stage.id("client"));
        match which {
            "message" => stage.core().post(server, "?".into()),
            "timer" => drop(stage.core().timer_later(server, MS)),
            "end" => stage.core().lose_write_connection(client),
            _ => {}
        }
        stage.until_lost("client", 1);
        stage.until_lost("server", 1);
        assert_eq!(stage.records().lost("server"), ["ProtocolFailed"], "{which}");
        assert_eq!(stage.records().lost("client"), ["ConnectionDone"], "{which}");
    }
}

/// The failure is the reason of the loss; no log is needed to learn it.
fn a_failure_is_told_also_to_a_protocol_that_has_closed_or_aborted<I: Io>(mut stage: Stage<I>) {
    for abort in [false, true] {
        *stage.records() = Default::default();
        let server = actor("server").on(move |cx, heard| match heard {
            Heard::Data(_) if abort => {
                cx.abort_connection();
                Err("failed".into())
            }
            Heard::Data(_) => {
                cx.lose_connection();
                Err("failed".into())
            }
            _ => Ok(()),
        });
        stage.pair(server, actor("client"));
        stage.write("client", b"x");
        stage.until_lost("server", 1);
        let lost = |heard: &Heard| *heard == Heard::Lost("ProtocolFailed", "failed".into());
        assert_eq!(stage.records().count("server", lost), 1, "abort: {abort}");
        stage.until_lost("client", 1);
    }
}

// Names.

fn an_id_that_has_outlived_its_connection_reaches_nobody<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("old"));
    let old = [stage.id("old"), stage.id("server")];
    // These timers are pending when the connection ends.
    for id in old {
        stage.core().timer_later(id, 10 * MS);
    }
    stage.core().abort_connection(old[0]);
    stage.until_lost("server", 1);
    stage.until_lost("old", 1);
    stage.pair(actor("new server"), actor("new"));
    let new = [stage.id("new"), stage.id("new server")];
    let slots = |ids: [ConnId; 2]| {
        let mut slots = ids.map(|id| id.key());
        slots.sort();
        slots
    };
    assert_eq!(slots(old), slots(new), "the slots were not reused, so this tests nothing");
    for id in old {
        let core = stage.core();
        core.write(id, b"stale");
        core.post(id, "stale".into());
        core.pause_producing(id);
        core.linger(id);
        core.resume_when_drained(id);
        core.lose_write_connection(id);
        core.lose_connection(id);
        core.abort_connection(id);
        assert_eq!(core.pending(id), 0);
        assert!(core.transport(id).is_none());
    }
    stage.pass(20 * MS);
    stage.write("new", b"alive");
    stage.until_bytes("new server", 5);
    let expected = [Heard::Made, Heard::Data(b"alive".into())];
    assert_eq!(stage.records().bytes("new server"), b"alive");
    assert_eq!(stage.records().heard("new"), [&expected[0]]);
    assert!(stage.records().lost("new server").is_empty());
}

fn a_connection_aborted_by_another_protocol_gets_only_the_loss<I: Io>(mut stage: Stage<I>) {
    // Both have input in the same turn; the one that is read first aborts the other.
    let mut names = ["one", "two"].into_iter();
    let address = stage.listen(move || {
        let name = names.next().unwrap();
        let other = if name == "one" { "two" } else { "one" };
        actor(name).on(move |cx, heard| {
            if let (Heard::Data(_), Some(other)) = (heard, cx.state.records.id(other)) {
                cx.core.abort_connection(other);
                cx.state.note(name);
            }
            Ok(())
        })
    });
    stage.connect(address, actor("client one"));
    stage.connect(address, actor("client two"));
    stage.until_made(&["one", "two", "client one", "client two"]);
    stage.write("client one", b"1");
    stage.write("client two", b"2");
    stage.until("one is lost", |scene, _| {
        !scene.records.lost("one").is_empty() || !scene.records.lost("two").is_empty()
    });
    stage.pass(5 * MS);
    let killer = stage.scene().said()[0].to_string();
    assert_eq!(stage.scene().said(), [killer.as_str()]);
    let killed = if killer == "one" { "two" } else { "one" };
    let heard = stage.records().heard(killed);
    assert!(matches!(&heard[..], [Heard::Made, Heard::Lost("ConnectionAborted", _)]), "{heard:?}");
}

fn connections_are_counted_by_their_generation<I: Io>(mut stage: Stage<I>) {
    for round in 1..=3 {
        *stage.records() = Default::default();
        stage.pair(actor("server"), actor("client"));
        assert_eq!(stage.id("client").generation(), 2 * round - 1);
        assert_eq!(stage.id("server").generation(), 2 * round);
    }
}

fn both_ends_know_each_others_address<I: Io>(mut stage: Stage<I>) {
    let address = stage.pair(actor("server"), actor("client"));
    let (server, client) = (stage.id("server"), stage.id("client"));
    let Addrs { peer, local: host } = stage.core().transport(client).unwrap().addrs();
    assert_eq!(peer, address);
    assert_eq!(
        stage.core().transport(server).unwrap().addrs(),
        Addrs { peer: host, local: address }
    );
}

// Ports.

fn no_protocol_means_closed_at_once<I: Io>(mut stage: Stage<I>) {
    let factory = RecordingFactory::by("port", |_, _| None::<Actor>);
    let any = "127.0.0.1:0".parse().unwrap();
    let (_, address) = stage.reactor.listen_tcp(any, factory).unwrap();
    stage.connect(address, actor("client"));
    stage.until_lost("client", 1);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
    stage.pass(MS);
    assert_eq!(stage.core().connections(), 0);
}

fn a_port_in_use_is_an_error<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    let factory = RecordingFactory::by("port", |_, _| Some(actor("second")));
    let error = stage.reactor.listen_tcp(address, factory).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    // The first port still accepts.
    stage.connect(address, actor("client"));
    stage.until_made(&["server"]);
}

fn connections_outlive_their_port<I: Io>(mut stage: Stage<I>) {
    let (port, address) = stage.listen_as(|| actor("server"));
    stage.connect(address, actor("client"));
    stage.until_made(&["client", "server"]);
    stage.core().stop_listening(port);
    stage.turn();
    stage.connect(address, actor("late"));
    stage.until_heard("connector", &Heard::Failed("ConnectError", None));
    stage.write("client", b"still here");
    stage.until_bytes("server", 10);
}

fn a_burst_of_connections_is_accepted_in_batches_and_whole<I: Io>(mut stage: Stage<I>) {
    const BURST: usize = 300;
    let address = stage.listen(|| {
        actor("server").on(|cx, heard| {
            if *heard == Heard::Made {
                cx.state.note("accepted");
            }
            Ok(())
        })
    });
    for _ in 0..BURST {
        stage.connect(address, actor("client"));
    }
    stage.until("all are accepted", |scene, _| scene.notes.len() == BURST);
    let mut batches: Vec<usize> = Vec::new();
    for batch in stage.scene().notes.chunk_by(|a, b| a.0 == b.0) {
        batches.push(batch.len());
    }
    assert!(batches[0] <= 100, "{batches:?}");
    assert!(batches.iter().all(|batch| *batch <= 120 + 20), "{batches:?}");
}

/// A factory that notes the result of listening.
struct Listens(&'static str);

impl Factory<Scene> for Listens {
    fn build_protocol(
        &mut self,
        _cx: &mut Context<'_, Scene>,
        _peer: SocketAddr,
    ) -> Option<Box<dyn Protocol<Scene>>> {
        Some(Box::new(actor(self.0)))
    }

    fn listening(
        &mut self,
        _core: &mut Core<Scene>,
        scene: &mut Scene,
        at: std::io::Result<SocketAddr>,
    ) {
        scene.note(at.map_or_else(|e| e.kind().to_string(), |address| address.to_string()));
    }
}

fn a_port_can_be_opened_inside_a_call_and_its_factory_is_told<I: Io>(mut stage: Stage<I>) {
    let taken = stage.listen(|| actor("first"));
    let server = actor("server").on(move |cx, heard| {
        if let Heard::Data(_) = heard {
            let [free, taken] = [([127, 0, 0, 1], 0).into(), taken];
            let port = cx.listen_tcp(free, Box::new(Listens("second")));
            let refused = cx.listen_tcp(taken, Box::new(Listens("third")));
            assert_ne!(port, refused);
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    stage.write("client", b"x");
    stage.until("both are told", |scene, _| scene.notes.len() == 2);
    let address = stage.scene().said()[0].parse().expect("the address of the first");
    assert_eq!(stage.scene().said()[1], "address in use");
    stage.connect(address, actor("late"));
    stage.until_made(&["late", "second"]);
    // A stopping reactor opens no port.
    stage.core().stop();
    stage.core().listen_tcp(address, Box::new(Listens("fourth")));
    stage.until("the factory is called", |scene, _| scene.notes.len() == 3);
    assert_eq!(stage.scene().said()[2], "other error");
}

// Connecting.

fn a_refused_connection_is_told_to_its_factory<I: Io>(mut stage: Stage<I>) {
    let address = nobody(&mut stage);
    stage.connect(address, actor("client"));
    stage.until_heard("connector", &Heard::Failed("ConnectError", None));
    stage.pass(MS);
    assert_eq!(stage.core().connections(), 0);
    assert_eq!(stage.core().timers_pending(), 0);
}

fn connecting_begins_after_the_call_and_its_timeout_ends_with_it<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    stage.connect(address, actor("client"));
    assert_eq!((stage.core().connections(), stage.core().timers_pending()), (0, 0));
    stage.until_made(&["client", "server"]);
    assert_eq!((stage.core().connections(), stage.core().timers_pending()), (2, 0));
}

fn a_protocol_hears_of_its_loss_before_its_factory<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let client = stage.id("client");
    stage.core().lose_connection(client);
    stage.until_heard("connector", &Heard::ClientLost("ConnectionDone", None));
    let log = &stage.records().log;
    let told = log.iter().filter(|record| ["client", "connector"].contains(&record.who));
    let told: Vec<&Heard> = told.map(|record| &record.heard).collect();
    let [Heard::Made, Heard::Lost("ConnectionDone", _), Heard::ClientLost(..)] = told[..] else {
        panic!("{told:?}");
    };
}

/// An address at which no port listens.
fn nobody<I: Io>(stage: &mut Stage<I>) -> SocketAddr {
    let (port, address) = stage.listen_as(|| actor("nobody"));
    stage.core().stop_listening(port);
    stage.turn();
    address
}

fn reconnecting(backoff: Backoff) -> ConnectOptions {
    ConnectOptions { reconnect: Some(backoff), ..ConnectOptions::default() }
}

/// The delays that the connector's factory was given, in milliseconds.
fn retries<I: Io>(stage: &mut Stage<I>) -> Vec<u128> {
    let told = stage.records().heard("connector").into_iter().filter_map(|heard| match heard {
        Heard::Failed(_, retry) | Heard::ClientLost(_, retry) => Some(retry.as_ref()?.as_millis()),
        _ => None,
    });
    told.collect()
}

fn the_waits_between_attempts_grow_up_to_their_cap<I: Io>(mut stage: Stage<I>) {
    let address = nobody(&mut stage);
    let factory = RecordingFactory::by("connector", |_, _| Some(actor("client")));
    let backoff = Backoff::new(10 * MS, 50 * MS, 2.0, 0.0);
    let began = stage.core().now();
    let connector = stage.connect_by(address, reconnecting(backoff), factory);
    stage.until("it has failed five times", |scene, _| scene.records.heard("connector").len() == 5);
    assert_eq!(retries(&mut stage), [10, 20, 40, 50, 50]);
    assert!(stage.core().now() - began >= 120 * MS);
    stage.core().stop_trying(connector);
    stage.pass(100 * MS);
    assert_eq!(retries(&mut stage).len(), 5, "it was stopped while it waited");
    assert_eq!(stage.core().timers_pending(), 0);
}

fn a_lost_connection_is_made_again_and_a_good_one_begins_with_the_first_delay<I: Io>(
    mut stage: Stage<I>,
) {
    let address = stage.listen(|| actor("server"));
    let mut attempt = 0;
    let factory = RecordingFactory::by("connector", move |_, _| {
        attempt += 1;
        // The third connection marks itself as good.
        let good = attempt == 3;
        Some(actor("client").on(move |cx, heard| {
            if *heard == Heard::Made {
                if good {
                    cx.core.reset_delay(cx.id);
                }
                cx.timer_later(MS);
            }
            if let Heard::Timer(_) = heard {
                cx.lose_connection();
            }
            Ok(())
        }))
    });
    let backoff = Backoff::new(5 * MS, 500 * MS, 3.0, 0.0);
    let connector = stage.connect_by(address, reconnecting(backoff), factory);
    stage.until_lost("client", 5);
    assert_eq!(retries(&mut stage)[..5], [5, 15, 5, 15, 45]);
    stage.core().stop_trying(connector);
    stage.pass(200 * MS);
    assert_eq!(stage.records().lost("client").len(), 5);
}

fn whoever_stops_trying_is_not_connected<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    let factory = || RecordingFactory::by("connector", |_, _| Some(actor("client")));
    let backoff = Backoff::new(5 * MS, 5 * MS, 1.0, 0.0);
    // The connector is stopped while it is connecting.
    let connector = stage.connect_by(address, reconnecting(backoff.clone()), factory());
    stage.core().stop_trying(connector);
    stage.pass(20 * MS);
    let told = [Heard::Failed("ConnectionAborted", None)];
    assert_eq!(stage.records().heard("connector"), told.iter().collect::<Vec<_>>());
    // The connector is stopped while it is connected.
    *stage.records() = Default::default();
    let connector = stage.connect_by(address, reconnecting(backoff), factory());
    stage.until_made(&["client"]);
    stage.core().stop_trying(connector);
    stage.until_lost("client", 1);
    stage.pass(20 * MS);
    let told = [Heard::ClientLost("ConnectionDone", None)];
    assert_eq!(stage.records().heard("connector"), told.iter().collect::<Vec<_>>());
    assert_eq!(stage.core().timers_pending(), 0);
}

fn a_client_without_a_protocol_is_closed_at_once<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    let factory = RecordingFactory::by("connector", |_, _| None::<Actor>);
    stage.connect_by(address, ConnectOptions::default(), factory);
    stage.until_heard("connector", &Heard::Failed("ConnectionAborted", None));
    stage.until_lost("server", 1);
}

// The end.

fn stopping_closes_ports_and_idle_connections<I: Io>(mut stage: Stage<I>) {
    let address = stage.pair(actor("server"), actor("client"));
    stage.core().stop();
    stage.core().call_later(Duration::ZERO, |scene, _| scene.note("a timer due before the end"));
    assert!(stage.core().is_stopping() && !stage.reactor.is_stopped());
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["a timer due before the end"]);
    for name in ["server", "client"] {
        assert_eq!(stage.records().count(name, |heard| *heard == Heard::ShuttingDown), 1);
        assert_eq!(stage.records().lost(name), ["ConnectionDone"]);
    }
    assert_eq!(stage.core().connections(), 0);
    let factory = RecordingFactory::by("port", |_, _| None::<Actor>);
    assert_eq!(stage.reactor.listen_tcp(address, factory).unwrap().1, address);
}

fn stopping_delivers_what_was_written<I: Io>(mut stage: Stage<I>) {
    // The client stays until it has read everything, although the reactor that it shares with the server stops.
    let client = actor("client").stays().on(|cx, heard| {
        if *heard == Heard::ReadLost {
            cx.lose_connection();
        }
        Ok(())
    });
    stage.pair(actor("server"), client);
    let data = pattern(4_000_000);
    stage.write("server", &data);
    stage.core().stop();
    stage.reactor.run().unwrap();
    assert!(stage.records().bytes("client") == data);
    assert_eq!(stage.records().lost("server"), ["ConnectionDone"]);
    assert_eq!(stage.records().lost("client"), ["ConnectionDone"]);
}

fn stopping_waits_no_longer_than_the_drain_limit<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server").stays(), actor("client").stays());
    let began = stage.core().now();
    stage.core().stop();
    stage.reactor.run().unwrap();
    assert!(stage.core().now() - began >= DRAIN_LIMIT);
    assert_eq!(stage.records().lost("server"), ["ReactorStopped"]);
    assert_eq!(stage.records().lost("client"), ["ReactorStopped"]);
}

fn stopping_again_does_not_wait<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server").stays(), actor("client").stays());
    let began = stage.core().now();
    stage.core().stop();
    stage.core().call_later(5 * MS, |scene, core| {
        scene.note("again");
        core.stop();
    });
    stage.reactor.run().unwrap();
    assert_eq!(stage.scene().said(), ["again"]);
    assert!(stage.core().now() - began < DRAIN_LIMIT);
    assert_eq!(stage.records().lost("server"), ["ReactorStopped"]);
    assert_eq!(stage.records().lost("client"), ["ReactorStopped"]);
}

fn stopping_gives_up_connecting<I: Io>(mut stage: Stage<I>) {
    let address = nobody(&mut stage);
    let factory = RecordingFactory::by("connector", |_, _| Some(actor("client")));
    let backoff = Backoff::new(3_600 * SECOND, 3_600 * SECOND, 1.0, 0.0);
    stage.connect_by(address, reconnecting(backoff), factory);
    stage.until("it waits", |scene, _| !scene.records.heard("connector").is_empty());
    stage.core().stop();
    stage.reactor.run().unwrap();
    assert_eq!(stage.core().timers_pending(), 0);
}

fn nothing_is_begun_after_the_end<I: Io>(mut stage: Stage<I>) {
    let address = stage.listen(|| actor("server"));
    stage.core().stop();
    stage.core().stop();
    stage.connect(address, actor("client"));
    stage.reactor.run().unwrap();
    assert_eq!(stage.core().connections(), 0);
    let told = [Heard::Failed("ReactorStopped", None)];
    assert_eq!(stage.records().heard("connector"), told.iter().collect::<Vec<_>>());
}

// The cost.

fn a_request_and_its_reply_cost_three_system_calls<I: Io>(mut stage: Stage<I>) {
    const ROUNDS: u64 = 100;
    let echo = || {
        |cx: &mut Context<'_, Scene>, heard: &Heard| {
            if let Heard::Data(data) = heard {
                cx.write(data);
            }
            Ok(())
        }
    };
    stage.pair(actor("server").on(echo()), actor("client").on(echo()));
    stage.reactor.io().take();
    stage.write("client", b"ping");
    stage.until_bytes("client", 4 * ROUNDS as usize);
    // Both ends are in this reactor. In each round each end reads once and writes once, in a turn of its own.
    let CallCounts { polls, reads, writes, walls: _, clocks: _, .. } = stage.reactor.io().take();
    assert_eq!((polls, reads, writes), (2 * ROUNDS, 2 * ROUNDS, 2 * ROUNDS));
}

fn lines_sent_together_cost_no_more_than_one<I: Io>(mut stage: Stage<I>) {
    let server = actor("server").on(|cx, heard| {
        if let Heard::Data(data) = heard {
            data.split_inclusive(|byte| *byte == b'\n').for_each(|line| cx.write(line));
        }
        Ok(())
    });
    stage.pair(server, actor("client"));
    stage.reactor.io().take();
    (0..500).for_each(|_| stage.write("client", b"IAMAT\n"));
    stage.until_bytes("client", 500 * 6);
    let CallCounts { polls, reads, writes, .. } = stage.reactor.io().take();
    assert_eq!((polls, reads, writes), (2, 2, 2));
}

fn a_turn_in_which_nothing_happens_is_one_poll<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    stage.pass(MS);
    stage.reactor.io().take();
    stage.core().call_later(2 * MS, |_, _| {});
    stage.turn();
    let counts = CallCounts { clocks: 0, walls: 0, ..stage.reactor.io().take() };
    assert_eq!(counts, CallCounts { polls: 1, ..CallCounts::default() });
}

fn pausing_and_resuming_cost_no_system_call<I: Io>(mut stage: Stage<I>) {
    stage.pair(actor("server"), actor("client"));
    let server = stage.id("server");
    stage.pass(MS);
    stage.reactor.io().take();
    stage.core().pause_producing(server);
    stage.turn();
    stage.core().resume_producing(server);
    stage.core().call_later(MS, |_, _| {});
    stage.turn();
    let CallCounts { polls, reads, writes, .. } = stage.reactor.io().take();
    assert_eq!((polls, reads, writes), (2, 0, 0));
}

on_every_network! {
    ReactorLimits::default() =>
    timers_run_before_messages
    a_timer_made_by_a_timer_waits_a_turn
    timers_of_one_time_run_first_come
    a_timer_is_never_early
    a_timer_cancelled_by_an_earlier_one_of_the_turn_does_not_run
    a_timer_can_be_moved_until_it_is_spent
    one_send_a_turn_of_at_most_131072_bytes
    what_is_written_arrives_in_order
    nothing_can_be_written_after_lose_connection
    nothing_can_be_written_to_a_lost_connection
    lose_connection_delivers_megabytes_and_then_a_clean_end
    losing_a_connection_again_changes_nothing
    nothing_is_delivered_after_lose_connection
    nothing_but_the_loss_follows_a_close
    who_is_closed_with_a_reason_still_gets_what_was_written
    an_aborted_connection_is_reset_and_what_was_unsent_is_dropped
    an_abort_after_lose_connection_resets_at_once
    connection_lost_never_comes_inside_the_abort
    connection_made_comes_before_data
    one_read_a_turn_of_at_most_65536_bytes
    a_fast_sender_does_not_starve_the_others
    data_is_delivered_before_the_end_that_came_with_it
    data_and_the_end_that_came_while_paused_follow_after_resuming
    pausing_inside_data_received_holds_for_the_rest
    resuming_after_lose_connection_delivers_nothing
    a_reset_is_heard_as_connection_lost
    writing_to_a_peer_that_has_gone_ends_in_connection_lost
    a_reply_reaches_a_peer_that_has_ended_its_side
    a_late_reply_reaches_a_peer_that_has_ended_its_side
    a_side_that_has_ended_still_hears_and_the_connection_ends_with_the_other_side
    both_sides_that_end_at_once_end_the_connection
    a_full_send_buffer_holds_up_reading_until_it_is_empty
    a_connection_whose_peer_does_not_read_is_not_read
    two_peers_that_opt_out_of_back_pressure_cannot_wait_for_each_other
    a_send_buffer_of_exactly_its_size_is_not_full
    a_send_buffer_is_full_beyond_the_mark_of_its_protocol
    resume_when_drained_calls_once
    an_error_costs_its_connection_and_nothing_that_was_written
    an_error_in_any_call_closes
    an_id_that_has_outlived_its_connection_reaches_nobody
    a_connection_aborted_by_another_protocol_gets_only_the_loss
    connections_are_counted_by_their_generation
    both_ends_know_each_others_address
    no_protocol_means_closed_at_once
    a_port_in_use_is_an_error
    connections_outlive_their_port
    a_burst_of_connections_is_accepted_in_batches_and_whole
    a_port_can_be_opened_inside_a_call_and_its_factory_is_told
    a_failure_is_told_also_to_a_protocol_that_has_closed_or_aborted
    connecting_begins_after_the_call_and_its_timeout_ends_with_it
    a_protocol_hears_of_its_loss_before_its_factory
    a_refused_connection_is_told_to_its_factory
    the_waits_between_attempts_grow_up_to_their_cap
    a_lost_connection_is_made_again_and_a_good_one_begins_with_the_first_delay
    whoever_stops_trying_is_not_connected
    a_client_without_a_protocol_is_closed_at_once
    stopping_closes_ports_and_idle_connections
    stopping_delivers_what_was_written
    stopping_gives_up_connecting
    nothing_is_begun_after_the_end
}

const DRAIN_LIMIT: Duration = Duration::from_millis(100);

/// Returns short limits, so that tests on the kernel do not take long.
fn short() -> ReactorLimits {
    ReactorLimits { close: CLOSE_LIMIT, drain: DRAIN_LIMIT, ..ReactorLimits::default() }
}

fn linger(time: Duration, bytes: usize) -> ReactorLimits {
    ReactorLimits { linger: time, linger_bytes: bytes, ..ReactorLimits::default() }
}

on_every_network! {
    linger(10 * SECOND, 64 << 20) =>
    the_last_word_reaches_a_peer_in_full_flow
    whoever_is_lost_while_it_speaks_hears_everything_that_was_written
}

on_every_network! {
    linger(3_600 * SECOND, 500_000) =>
    lingering_ends_at_its_byte_limit
}

on_every_network! {
    linger(50 * MS, 1 << 20) =>
    lingering_ends_at_its_time_limit
}

on_every_network! {
    impatient() =>
    a_peer_that_reads_nothing_for_the_limit_is_reset_while_output_waits
    a_peer_that_reads_slowly_but_steadily_gets_everything
    a_connection_without_back_pressure_may_wait_for_its_reader
}

on_every_network! {
    short() =>
    a_peer_that_never_reads_is_reset_when_the_close_limit_has_passed
    stopping_waits_no_longer_than_the_drain_limit
    stopping_again_does_not_wait
}

on_calm_networks! {
    ReactorLimits::default() =>
    what_a_timer_writes_leaves_in_the_same_turn
    what_a_message_writes_leaves_in_the_same_turn
    nothing_is_sent_inside_a_callback_and_all_writes_leave_in_one_piece
    writing_nothing_sends_nothing
    before_poll_comes_after_the_calls_and_before_the_send
    the_counts_of_a_turn_are_those_of_what_it_has_done
    an_accepted_connection_is_counted_in_the_turn_after_its_accept
    before_poll_comes_before_the_send_of_a_stopping_reactor_too
    what_waits_when_before_poll_fails_is_never_sent
    a_request_and_its_reply_cost_three_system_calls
    lines_sent_together_cost_no_more_than_one
    a_turn_in_which_nothing_happens_is_one_poll
    pausing_and_resuming_cost_no_system_call
    a_send_buffer_that_outgrows_every_bound_is_aborted
}

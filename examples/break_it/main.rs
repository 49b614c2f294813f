//! Breaks one rule of the reactor or of the herd, and shows what becomes of it, beside the sound variant.
//!
//!     cargo run -q --example break_it             # lists the rules
//!     cargo run -q --example break_it readiness
//!
//! The broken variants are here and in the tests, and not in the program: an `Io` that breaks its contract
//! (`broken_io.rs`), programs that do what the reactor prevents (`reactor.rs`), and the simulator's controls, which
//! change the bytes between servers (`tests/suite/simulation/sabotage.rs`).

mod broken_io;
mod reactor;

use std::process::{Command, ExitCode};

/// How a broken rule is shown.
enum Shown {
    /// By a function that prints both variants.
    Here(fn() -> std::io::Result<()>),
    /// By the simulator, with this control, at the first seed that shows it.
    Simulated { control: &'static str, seed: u64 },
}

/// A rule that can be broken.
struct Rule {
    name: &'static str,
    what: &'static str,
    shown: Shown,
    /// What one sees, and why.
    why: &'static str,
}

const RULES: [Rule; 7] = [
    Rule {
        name: "readiness",
        what: "readiness is forgotten: a read stops early, and nobody remembers that more is there",
        shown: Shown::Here(reactor::readiness),
        why: "An edge-triggered poll reports data once. A reader that stops before the kernel has no more must remember \
              that; the reactor puts such a connection on its ready list. Here the Io hides the rest of the data \
              behind a short read, so the reactor believes that it has read all, and no event ever reports the rest.",
    },
    Rule {
        name: "generations",
        what: "an id names a slot without a generation",
        shown: Shown::Here(reactor::generations),
        why: "A slot is used again at once. A program that keeps the number of a slot gives a late answer to the next \
              owner of that slot: Bob reads what Ada asked for. A ConnId has the generation of its slot, too, so the \
              answer to a connection that is gone goes nowhere.",
    },
    Rule {
        name: "nested",
        what: "a callback is called inside a callback",
        shown: Shown::Here(reactor::nested),
        why: "The room writes to each client in turn. Bob's buffer is full, so the write closes his connection. If \
              connection_lost comes at once, it removes Bob from the list in the middle of the loop over that list, \
              and the loop passes over Cora. The reactor calls connection_lost in a later turn.",
    },
    Rule {
        name: "wall-clock",
        what: "timers run by the wall clock",
        shown: Shown::Here(reactor::wall_clock),
        why: "After the second PING somebody sets the wall clock back by an hour. Timers that count by it are due an \
              hour later: no PING is sent, no deadline is kept, and no error is logged. The monotonic clock cannot be \
              set.",
    },
    Rule {
        name: "reply-before-sync",
        what: "a report is answered before it is on the disk (journal, sync = \"always\")",
        shown: Shown::Simulated { control: "ReplyBeforeSync", seed: 12 },
        why: "The disk reports a sync that it has not done. Then the power fails. The client has a reply, and the \
              server, when it is back, does not know the report.",
    },
    Rule {
        name: "lost-bit",
        what: "a neighbour's backlog loses a client",
        shown: Shown::Simulated { control: "LostDirtyBit", seed: 36 },
        why: "A neighbour that is slow or away is owed one bit for each client whose newest report it lacks. If a bit is \
              lost, the report is never sent, and no later event repairs that before the next comparison: two \
              servers that are linked have different tables.",
    },
    Rule {
        name: "reports-rule",
        what: "only the rule of the original paper is left: forward a report that is newer, once",
        shown: Shown::Simulated { control: "ReportsRule", seed: 1 },
        why: "Two reports with equal stamps reach the servers in different orders, and each server keeps the first. A \
              report that is sent while a link is down is never sent again. The herd adds a total order, and a \
              comparison of tables on each new link.",
    },
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        println!("cargo run -q --example break_it NAME, with one of these names:\n");
        RULES.iter().for_each(|rule| println!("  {:<18} {}", rule.name, rule.what));
        return if name.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(64) };
    };
    println!("Broken: {}.\n", rule.what);
    let is_shown = match rule.shown {
        Shown::Here(show) => show().inspect_err(|e| println!("{e}")).is_ok(),
        Shown::Simulated { control, seed } => simulate(control, seed),
    };
    println!("\n{}", wrapped(rule.why));
    if is_shown { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Has the simulator run a seed with a control. It prints the smallest plan that shows the fault.
fn simulate(control: &str, seed: u64) -> bool {
    let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
    cargo.args([
        "test",
        "--quiet",
        "--test",
        "suite",
        "simulation::a_control",
        "--",
        "--nocapture",
    ]);
    cargo.env("HERD_CONTROL", control).env("HERD_SEED", seed.to_string());
    println!(
        "HERD_CONTROL={control} HERD_SEED={seed} cargo test --test suite simulation::a_control"
    );
    cargo.status().is_ok_and(|status| status.success())
}

/// Breaks a text into lines of at most 100 characters.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if !last.is_empty() && last.len() + word.len() >= 100 {
            lines.push(word.to_owned());
        } else {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(word);
        }
    }
    lines.join("\n")
}

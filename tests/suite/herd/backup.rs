//! Backups of a journal, made and restored as docs/operating.md says.

use super::journal::{load, run};
use crate::support::herd::{Setup, eventually, holds};
use crate::support::process::Process;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const ALFORD: &str = "Alford";

/// Clients of [`load`]: the report with stamp `n` is of the client `n % CLIENTS`.
const CLIENTS: u64 = 200;

#[test]
fn a_copy_of_the_journal_of_a_loaded_server_is_whole_and_has_all_that_was_acknowledged_before() {
    // A small file is compacted again and again, also while it is copied.
    let settings = "compact_bytes = 65_536\ncompact_keys = 10";
    let mut herd = Setup::alone().without_traffic_in_the_log().journal(settings).start();
    let (journal, copy) = (herd.journal(ALFORD), herd.folder().join("copy"));
    let cp = format!("rm -rf {1} && cp -R {0} {1}", journal.display(), copy.display());
    for _ in 0..3 {
        let acknowledged = Arc::new(AtomicU64::new(0));
        // Stamps go on from the last one, so that the reports are news.
        let from = herd.reports(ALFORD, &clients()).iter().flatten().map(|it| stamp(it)).max();
        let from = from.unwrap_or(0).next_multiple_of(CLIENTS);
        let (client, counting) = (herd.client(ALFORD), acknowledged.clone());
        let loading = thread::spawn(move || load(&client, from, &counting));
        let mut before = 0;
        for _ in 0..10 {
            eventually("the load goes on", || {
                holds(acknowledged.load(Ordering::Relaxed) > before + 500)
            });
            eventually("a copy is made; it fails if a compaction removes a file meanwhile", || {
                before = acknowledged.load(Ordering::Relaxed);
                let ended = Process::shell(&cp);
                if ended.code == Some(0) { Ok(()) } else { Err(ended) }
            });
            let (code, out, err) = run(&["check"], &copy);
            assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
        }
        assert!(herd.status(ALFORD)["journal"]["rewrites"].as_u64() > Some(2), "it was compacted");
        herd.kill(ALFORD);
        loading.join().expect("it only reports");
        fs::remove_dir_all(&journal).expect("the server has ended");
        fs::rename(&copy, &journal).expect("both are in the herd's folder");
        herd.restart(ALFORD);
        let before = from + before;
        for (client, known) in (0..CLIENTS).zip(herd.reports(ALFORD, &clients())) {
            let newest = before - (before + CLIENTS - client) % CLIENTS;
            let known = known.as_deref().map(stamp);
            assert!(known >= Some(newest), "c{client}: {known:?}, {newest} of {before} was copied");
        }
    }
}

fn clients() -> Vec<String> {
    (0..CLIENTS).map(|client| format!("c{client}")).collect()
}

/// The stamp of an AT line.
fn stamp(line: &str) -> u64 {
    line.rsplit(' ').next().and_then(|stamp| stamp.parse().ok()).expect("a stamp of ours")
}

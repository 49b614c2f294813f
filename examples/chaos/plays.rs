//! The plays: their faults, their measurements, and the checks at the end.

use crate::clients::Load;
use crate::faults::{ALL, Kind, OF_NETWORKS};
use crate::proxy::Weather;
use crate::run::{PATIENCE, Run, Stage};
use crate::servers::seconds_since;
use crate::table::{Table, percentile, slope};
use crate::{Failed, Journal, Options};
use herd_reactor::Moment;
use serde_json::Value;
use std::ops::Range;
use std::time::{Duration, Instant};

/// How often each connection of the load sends commands.
const SPEAKS_EVERY: Duration = Duration::from_millis(20);

/// How often each connection to a hub sends a command: often enough to measure the recovery, seldom enough for
/// thousands of connections.
const SPEAKS_TO_HUB_EVERY: Duration = Duration::from_millis(1_000);

/// Maximum growth of a server's memory after the warm-up, in KiB a minute: the slope of the fitted line. It leaves out
/// [steps](STEP_MIN) in a short soak.
const SLOPE_MAX: f64 = 1.0;

/// Minimum growth, in KiB from one sample to the next (half a second), that is a step: the server has allocated a
/// buffer, because more data had to wait than ever before. A single step is steep within [`STEPS_MINUTES`].
const STEP_MIN: f64 = 12.0;

/// The part of a soak that is not judged: in it each server meets its worst moments, and buffers reach their size.
const WARM_UP: f64 = 1.0 / 3.0;

/// In a soak of fewer minutes than this the slope is not judged: a single new page would be steep.
const SLOPE_MINUTES: f64 = 20.0;

/// In a soak of at least this many minutes steps count, too: a leak may come in pieces of any size.
const STEPS_MINUTES: f64 = 40.0;

/// How often the worst moments are repeated; each time different ones coincide.
const WORST_TIMES: usize = 3;

/// A time longer than `silence_ms`.
const BEYOND_SILENCE: Duration = Duration::from_secs(17);

/// A time long enough for nearly every client to be reported again, and shorter than the timeout of connections, so
/// that all of them wait with as many commands as they may send.
const A_WHILE: Duration = Duration::from_secs(4);

/// The time after which most reports have spread and most commands are answered again.
const RECOVERY: Duration = Duration::from_secs(3);

/// Maximum memory of a server, in KiB: a table of a thousand clients with its digests (1 MiB), the reactor's spare
/// buffers (1.7 MiB), a full send buffer for each of three neighbours (256 KiB), and 1 MiB for the rest.
const MEMORY_MAX: f64 = 4_608.0;

/// The time within which a silent neighbour must be detected: `silence_ms`, and a second.
const FOUND_WITHIN: Duration = Duration::from_secs(16);

/// How long a killed hub stays away: until all connectors have failed once and wait.
const AWAY: Duration = Duration::from_secs(3);

/// The time within which all clients and links must be back after a hub's restart.
const BACK_WITHIN: Duration = Duration::from_secs(35);

/// The time within which a server must exit after SIGTERM.
const ENDED_WITHIN: Duration = Duration::from_secs(20);

/// The load of `options`: the number of connections, and each one's share of the rate.
fn load(options: &Options, connections: usize, every: Duration) -> Load {
    let each = f64::from(options.rate) * every.as_secs_f64() / connections as f64;
    // If the share is less than one command at a time, one command is sent less often.
    let stretch = (1.0 / each).max(1.0);
    Load::new(connections, every.mul_f64(stretch), (each * stretch).round() as usize)
}

/// Starts a herd with the connections spread over all servers.
fn spread(options: &Options) -> Result<Stage, Failed> {
    let plan = options.plan()?;
    let servers: Vec<usize> = (0..plan.names.len()).collect();
    let connections = options.connections.map_or(4 * servers.len(), |number| number as usize);
    Stage::new(options, plan, load(options, connections, SPEAKS_EVERY), &servers)
}

/// The headline: what is played, and the settings with which to repeat it.
fn headline(options: &Options, what: &str, servers: usize) -> String {
    let journal = options.journal.sync().unwrap_or("off");
    let tls = if options.tls { ", TLS" } else { "" };
    let http = if options.http { ", HTTP" } else { "" };
    let bus = if options.bus { ", bus" } else { "" };
    let disks = if options.lose_disks { ", disks lost" } else { "" };
    let seed = options.seed();
    format!("{what}: {servers} servers, journal {journal}{disks}{tls}{http}{bus}, seed {seed}")
}

/// Ends a play: checks that all tables are equal and that no promised report is lost. Removes the folder if all checks
/// have passed.
fn end(options: &Options, stage: &mut Stage, mut table: Table) -> Result<bool, Failed> {
    stage.hush()?;
    let mut state = stage.settle()?;
    if options.bus {
        // A server that has lost everything reads all of it from the bus.
        let servers = &mut stage.run().servers;
        servers.all[0].kill();
        servers.remove_journal(0)?;
        servers.start(0)?;
        let read = stage.settle()?;
        table.must("state that an empty server has read", &read, read == state);
        state = read;
    }
    let lost = stage.lost()?;
    let run = stage.run();
    table.replies(&run.ledger);
    table.row("answers checked at the end", lost.checked);
    table.must("acknowledged reports lost", lost.reports.len(), lost.reports.is_empty());
    lost.reports.iter().take(10).for_each(|what| println!("    {what}"));
    if !lost.with_memory.is_empty() {
        table.row("gone with a memory, never promised", lost.with_memory.len());
    }
    table.row("state of all at the end", state);
    table.processes(&run.servers);
    if table.all_held {
        run.servers.remove()?;
    }
    Ok(table.all_held)
}

/// Plays faults of all kinds under load; in a soak only faults that kill no server, while it samples memory.
pub(crate) fn faults(options: &Options) -> Result<bool, Failed> {
    let seconds = options.seconds.unwrap_or(if options.soak { 1_800 } else { 60 });
    let time = Duration::from_secs(seconds);
    let mut stage = spread(options)?;
    let servers = stage.run().servers.all.len();
    let what = if options.soak { "soak" } else { "chaos" };
    let head = headline(options, what, servers);
    let mut table = Table::new(&format!("{head}, {seconds} s of faults"));
    // All connections are up before the first fault, so that descriptors can be compared.
    stage.wait("all connections are answered", PATIENCE, all_answered(0))?;
    let before = descriptors(stage.run());
    if options.http {
        let (run, core) = stage.parts();
        run.begin_attacks(core);
    }
    let mut menu = match options.soak {
        _ if options.calm => Vec::new(),
        true => OF_NETWORKS.to_vec(),
        false => ALL.to_vec(),
    };
    if options.bus && !options.calm {
        menu.push(Kind::BusStopped);
        menu.extend((!options.soak).then_some(Kind::BusKilled));
    }
    let begun = Instant::now();
    if options.soak && !options.calm && is_judged(seconds as f64 / 60.0) {
        worst_moments(&mut stage)?;
    }
    let (run, core) = stage.parts();
    run.begin_faults(core, &menu);
    stage.play(time.saturating_sub(begun.elapsed()))?;
    let (run, core) = stage.parts();
    run.end_faults(core);
    run.end_attacks(core);
    let healed = Instant::now();
    for (kind, count) in &run.faults.counts {
        table.row(kind.name(), count);
    }
    if options.http {
        table.row("attackers closed", run.attackers.closed);
    }
    if options.soak {
        grown(&mut table, run, seconds as f64 / 60.0);
    }
    stage.hush()?;
    stage.settle()?;
    let value = format!("{:.1} s after the last fault", seconds_since(healed));
    table.row("all linked and equal", value);
    if options.soak {
        stage.run().load.is_on = true;
        let now = stage.parts().1.now().as_nanos();
        stage.wait("all connections are answered", PATIENCE, all_answered(now))?;
        let same = |run: &mut Run, _| (descriptors(run) == before).then_some(());
        let held = stage.wait("the descriptors are those of the start", PATIENCE, same).is_ok();
        let after = descriptors(stage.run());
        table.must("descriptors before and after", format!("{before:?} {after:?}"), held);
    }
    end(options, &mut stage, table)
}

/// Causes the moments that need the most memory, which at random would happen only once in several hours: all links are
/// down or silent and return at once with a full backlog; one server or all are stopped, and find all the queued data
/// when they resume.
fn worst_moments(stage: &mut Stage) -> Result<(), Failed> {
    let servers = stage.run().servers.all.len();
    for _ in 0..WORST_TIMES {
        all_links(stage, Weather::Down, A_WHILE)?;
        all_links(stage, Weather::Frozen, BEYOND_SILENCE)?;
        for server in 0..servers {
            stop(stage, server..server + 1, A_WHILE)?;
        }
        stop(stage, 0..servers, A_WHILE)?;
    }
    for server in 0..servers {
        stop(stage, server..server + 1, BEYOND_SILENCE)?;
    }
    Ok(())
}

/// Puts all links into `weather` for `time`, and lets them recover.
fn all_links(stage: &mut Stage, weather: Weather, time: Duration) -> Result<(), Failed> {
    for (weather, time) in [(weather, time), (Weather::Fair, RECOVERY)] {
        let (run, core) = stage.parts();
        run.edges.iter_mut().for_each(|edge| edge.set(core, weather));
        stage.play(time)?;
    }
    Ok(())
}

/// Stops `servers` for `time`, and lets them recover.
fn stop(stage: &mut Stage, servers: Range<usize>, time: Duration) -> Result<(), Failed> {
    for (frozen, time) in [(true, time), (false, RECOVERY)] {
        stage.run().servers.all[servers.clone()]
            .iter_mut()
            .for_each(|server| server.freeze(frozen));
        stage.play(time)?;
    }
    Ok(())
}

/// Whether a soak of this many minutes is judged by the growth of memory.
fn is_judged(minutes: f64) -> bool {
    minutes >= SLOPE_MINUTES
}

/// Whether each connection was answered after `then`.
fn all_answered(then: u64) -> impl FnMut(&mut Run, Moment) -> Option<()> {
    move |run, _| run.load.answered.iter().all(|at| at.as_nanos() > then).then_some(())
}

fn descriptors(run: &Run) -> Vec<usize> {
    run.servers.all.iter().map(|server| server.descriptors()).collect()
}

/// Prints how each server's memory has grown since the warm-up, by steps and between them.
fn grown(table: &mut Table, run: &Run, minutes: f64) {
    for server in &run.servers.all {
        let warm = server.looks.memory.iter().filter(|(at, _)| *at >= minutes * WARM_UP);
        let points: Vec<(f64, f64)> = warm.copied().collect();
        let [first, last] = [points.first(), points.last()].map(|point| point.map_or(0.0, |p| p.1));
        let (creep, steps) = without_steps(&points);
        let (creeping, growing) = (slope(&creep), slope(&points));
        let judged = if minutes >= STEPS_MINUTES { growing.max(creeping) } else { creeping };
        let most = server.looks.most_memory_kib as f64;
        let held = most <= MEMORY_MAX && (judged <= SLOPE_MAX || !is_judged(minutes));
        let value = format!(
            "{last} KiB, {first} when warm; since then {growing:+.2} KiB/min; {steps} by steps, {creeping:+.2} \
             KiB/min between"
        );
        table.must(&format!("memory of {}", server.name), value, held);
    }
    if !is_judged(minutes) {
        table
            .row("how memory creeps is not judged", format_args!("within {SLOPE_MINUTES} minutes"));
    }
}

/// Returns `points` of time and memory with the steps subtracted, and the sum of the steps.
fn without_steps(points: &[(f64, f64)]) -> (Vec<(f64, f64)>, f64) {
    let mut steps = 0.0;
    let mut before = points.first().map_or(0.0, |point| point.1);
    let without = points.iter().map(|&(at, memory)| {
        if memory - before >= STEP_MIN {
            steps += memory - before;
        }
        before = memory;
        (at, memory - steps)
    });
    (without.collect(), steps)
}

/// Stops one server after the other, and measures how soon its neighbours close their links to it.
pub(crate) fn half_open(options: &Options) -> Result<bool, Failed> {
    let mut stage = spread(options)?;
    let servers = stage.run().servers.all.len();
    let mut table = Table::new(&headline(options, "half open", servers));
    for time in 0..options.times.unwrap_or(3) as usize {
        let stopped = time * 3 % servers;
        let name = stage.run().servers.all[stopped].name.clone();
        let neighbours = neighbours(stage.run(), stopped);
        stage.run().servers.all[stopped].freeze(true);
        let begun = Instant::now();
        let unaware = |run: &mut Run, _| {
            let linked = |server: &usize| is_linked(run, *server, &name).unwrap_or(true);
            (!neighbours.iter().any(linked)).then(|| seconds_since(begun))
        };
        let found = stage.wait("the neighbours close their links", PATIENCE, unaware)?;
        let what = format!("{name} stopped, found by {} neighbours", neighbours.len());
        let held = found <= FOUND_WITHIN.as_secs_f64();
        table.must(&what, format_args!("within {found:.1} s"), held);
        stage.run().servers.all[stopped].freeze(false);
        stage.wait("all are linked", PATIENCE, all_linked)?;
    }
    end(options, &mut stage, table)
}

fn neighbours(run: &Run, server: usize) -> Vec<usize> {
    let edges = run.servers.plan.edges.iter();
    let other = edges.filter_map(|&(one, other)| match server {
        _ if one == server => Some(other),
        _ if other == server => Some(one),
        _ => None,
    });
    other.collect()
}

/// Whether `server` says that it is linked to `name`; `None` if it does not answer.
fn is_linked(run: &Run, server: usize, name: &str) -> Option<bool> {
    let said = run.servers.ask(server)?;
    let link = said["links"].as_array()?.iter().find(|link| link["name"] == name)?;
    link["linked"].as_bool()
}

/// Whether all links are up, even if data is still under way.
fn all_linked(run: &mut Run, _: Moment) -> Option<()> {
    let linked = |server: usize| all_stand(&run.servers.ask(server)?);
    (0..run.servers.all.len()).all(|server| linked(server).is_some()).then_some(())
}

/// Kills a hub with many neighbours and clients, and starts it again.
pub(crate) fn storm(options: &Options) -> Result<bool, Failed> {
    let plan = options.plan()?;
    let (hub, leaves) = (plan.names.len() - 1, plan.names.len() - 1);
    let connections = options.connections.unwrap_or(2_000) as usize;
    let load = load(options, connections, SPEAKS_TO_HUB_EVERY);
    let mut stage = Stage::new(options, plan, load, &[hub])?;
    let head = headline(options, "storm", leaves + 1);
    let mut table =
        Table::new(&format!("{head}, a hub with {leaves} neighbours, {connections} clients"));
    stage.wait("all connections are answered", PATIENCE, all_answered(0))?;
    let calm = latencies(&mut stage, |stage| stage.play(Duration::from_secs(5)))?;
    table.row("replies before", calm);
    for _ in 0..options.times.unwrap_or(3) {
        let run = stage.run();
        run.servers.all[hub].kill();
        let lossy = options.journal == Journal::Off || options.lose_disks;
        if lossy {
            run.servers.all[hub].losses += 1;
            run.ledger.forget(hub);
        }
        stage.play(AWAY)?;
        stage.run().servers.start(hub)?;
        let then = stage.parts().1.now().as_nanos();
        let begun = Instant::now();
        let (mut clients, mut links, mut lags) = (0.0, 0.0, Vec::new());
        let during = latencies(&mut stage, |stage| {
            let mut answered = all_answered(then);
            stage.wait("all clients are back", PATIENCE, |run, now| {
                lags.extend(run.servers.ask(hub).as_ref().and_then(lag));
                answered(run, now)
            })?;
            clients = seconds_since(begun);
            stage.wait("all links are back", PATIENCE, |run, _| {
                let said = run.servers.ask(hub)?;
                lags.extend(lag(&said));
                all_stand(&said)
            })?;
            links = seconds_since(begun);
            Ok(())
        })?;
        let held = clients.max(links) <= BACK_WITHIN.as_secs_f64();
        let value = format!("clients {clients:.1} s, links {links:.1} s");
        table.must("hub killed and back; all back after", value, held);
        table.row("replies meanwhile", during);
        table.row("longest lag of the hub, times asked", percentiles(lags));
    }
    end(options, &mut stage, table)
}

/// The loop lag in a server's status, in microseconds: the longest since the last reading.
fn lag(said: &Value) -> Option<u64> {
    said["longest_lag_ms"].as_f64().map(|lag| (lag * 1_000.0) as u64)
}

/// Whether a server's status says that all its links are up.
fn all_stand(said: &Value) -> Option<()> {
    let links = said["links"].as_array()?;
    links.iter().all(|link| link["linked"] == true).then_some(())
}

/// Measures the latency of replies while `play` runs.
fn latencies(
    stage: &mut Stage,
    play: impl FnOnce(&mut Stage) -> Result<(), Failed>,
) -> Result<String, Failed> {
    stage.run().load.latencies = Some(Vec::new());
    play(stage)?;
    Ok(percentiles(stage.run().load.latencies.take().unwrap_or_default()))
}

/// Describes `times`, in microseconds: their number, p50, p99 and maximum.
fn percentiles(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let shown = |percent| percentile(&times, percent) as f64 / 1_000.0;
    let (half, most, worst) = (shown(50), shown(99), shown(100));
    format!("{}: p50 {half:.1} ms, p99 {most:.1} ms, max {worst:.1} ms", times.len())
}

/// Ends one server after the other with SIGTERM, and starts it again.
pub(crate) fn rolling(options: &Options) -> Result<bool, Failed> {
    let mut stage = spread(options)?;
    let servers = stage.run().servers.all.len();
    let times = options.times.unwrap_or(100);
    let head = headline(options, "rolling restart", servers);
    let mut table = Table::new(&format!("{head}, {times} times SIGTERM"));
    stage.wait("all connections are answered", PATIENCE, all_answered(0))?;
    stage.run().load.resets = 0;
    let (mut slowest, mut statuses) = (0.0_f64, 0);
    for time in 0..times as usize {
        let server = time % servers;
        stage.run().servers.all[server].terminate();
        let begun = Instant::now();
        let ended = |run: &mut Run, _| run.servers.all[server].ended();
        let status = stage.wait("the server exits after SIGTERM", ENDED_WITHIN, ended)?;
        slowest = slowest.max(seconds_since(begun));
        statuses += u32::from(!status.success());
        let run = stage.run();
        if run.servers.plan.journal.is_none() {
            run.servers.all[server].losses += 1;
            run.ledger.forget(server);
        }
        run.servers.start(server)?;
        let then = stage.parts().1.now().as_nanos();
        stage.wait("all connections are answered", PATIENCE, all_answered(then))?;
    }
    let resets = stage.run().load.resets;
    table.must("exit statuses other than 0", statuses, statuses == 0);
    table.row("slowest end", format_args!("{slowest:.2} s"));
    table.must("connections reset", resets, resets == 0);
    end(options, &mut stage, table)
}

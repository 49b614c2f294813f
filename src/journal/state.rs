//! The states of a journal, and every step from one to another.
//!
//! | the file  | Written  | Synced | Wanted | Failed | Lost   | Begun   | GaveUp | Placed    | Settled |
//! |-----------|----------|--------|--------|--------|--------|---------|--------|-----------|---------|
//! | Synced    | Unsynced |        |        | Broken | Broken |         |        | Unsettled |         |
//! | Unsynced  |          | Synced |        | Broken | Broken |         |        | Unsettled |         |
//! | Broken    |          |        |        |        |        |         |        | Unsettled |         |
//! | Unsettled |          |        |        |        |        |         |        |           | Synced  |
//!
//! | compaction | Written | Synced | Wanted | Failed | Lost | Begun   | GaveUp | Placed | Settled |
//! |------------|---------|--------|--------|--------|------|---------|--------|--------|---------|
//! | Idle       |         |        | Due    | Due    | Due  | Running | Due    |        |         |
//! | Due        |         |        |        |        | Due  | Running | Due    | Idle   |         |
//! | Running    |         |        |        |        | Due  | Running | Due    | Idle   |         |
//!
//! In an empty cell the step changes nothing. While the file is broken, a compaction is due or running,
//! which replaces the file. Only [`JournalState::take`] changes the states.

use super::file::Compaction;
use herd_reactor::Moment;

/// The state of the current file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FileState {
    /// The whole file is on the disk.
    #[default]
    Synced,
    /// The file has had unsynced records since this moment.
    Unsynced(Moment),
    /// Noted records are missing, or may be.
    Broken,
    /// The file is complete, but its name may not be on the disk: its folder could not be synced.
    Unsettled,
}

/// The state of the compaction.
#[derive(Debug, Default)]
pub(super) enum Compacting {
    /// No compaction is needed until the file is too large.
    #[default]
    Idle,
    /// A compaction is to start at this moment.
    Due(Moment),
    /// A new file is being written.
    Running(Compaction),
}

/// An event that may change the states.
#[derive(Debug)]
pub(super) enum JournalStep {
    /// Records were appended to the file at this moment.
    Written(Moment),
    /// The file was synced.
    Synced,
    /// The start has found damage or older files, so a compaction is due at this moment.
    Wanted(Moment),
    /// A write or a sync of the file failed at this moment.
    Failed(Moment),
    /// The file or its folder has lost its name, so a running compaction is lost, too. A new one is due at
    /// this moment.
    Lost(Moment),
    /// A new file was created.
    Begun(Compaction),
    /// The compaction failed or was cancelled; it is due again at this moment.
    GaveUp(Moment),
    /// The new file has replaced the old one.
    Placed,
    /// The folder was synced, so the new file remains the current one after a crash.
    Settled,
}

/// The state of the file, and that of its compaction.
#[derive(Debug, Default)]
pub(super) struct JournalState {
    file: FileState,
    compacting: Compacting,
}

impl JournalState {
    pub(super) fn file(&self) -> FileState {
        self.file
    }

    pub(super) fn compacting(&self) -> &Compacting {
        &self.compacting
    }

    /// Returns the new file that is being written.
    pub(super) fn compaction(&mut self) -> Option<&mut Compaction> {
        match &mut self.compacting {
            Compacting::Running(new) => Some(new),
            Compacting::Idle | Compacting::Due(_) => None,
        }
    }

    /// Takes a step. Returns the compaction that this step ended.
    pub(super) fn take(&mut self, step: JournalStep) -> Option<Compaction> {
        use {Compacting as C, FileState as F};
        self.file = match (self.file, &step) {
            (F::Synced, JournalStep::Written(now)) => F::Unsynced(*now),
            (F::Unsynced(_), JournalStep::Synced) | (F::Unsettled, JournalStep::Settled) => {
                F::Synced
            }
            (F::Synced | F::Unsynced(_), JournalStep::Failed(_) | JournalStep::Lost(_)) => {
                F::Broken
            }
            (_, JournalStep::Placed) => F::Unsettled,
            (state, _) => state,
        };
        let next = match (&self.compacting, step) {
            (_, JournalStep::Begun(new)) => C::Running(new),
            (_, JournalStep::Lost(then) | JournalStep::GaveUp(then)) => C::Due(then),
            (C::Idle, JournalStep::Wanted(then) | JournalStep::Failed(then)) => C::Due(then),
            (_, JournalStep::Placed) => C::Idle,
            _ => return None,
        };
        match std::mem::replace(&mut self.compacting, next) {
            C::Running(ended) => Some(ended),
            C::Idle | C::Due(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a table of the head comment: its steps, and the rows, each with a state and its successors.
    fn table(name: &str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
        let lines = include_str!("state.rs").lines();
        let from_there = lines.skip_while(|line| !line.starts_with(&format!("//! | {name} ")));
        let table = from_there.take_while(|line| line.starts_with("//! |"));
        let mut rows = table.map(|row| {
            let row = row.strip_prefix("//! |").and_then(|row| row.strip_suffix('|'));
            row.expect("it is a row").split('|').map(str::trim).collect::<Vec<_>>()
        });
        let head = rows.next().expect("it has a head");
        (head[1..].to_vec(), rows.skip(1).collect())
    }

    const BEFORE: Moment = Moment::from_nanos(1);
    const NOW: Moment = Moment::from_nanos(2);

    fn file(name: &str, at: Moment) -> FileState {
        match name {
            "Synced" => FileState::Synced,
            "Unsynced" => FileState::Unsynced(at),
            "Broken" => FileState::Broken,
            "Unsettled" => FileState::Unsettled,
            _ => panic!("{name}"),
        }
    }

    fn compacting(name: &str, at: Moment) -> Compacting {
        match name {
            "Idle" => Compacting::Idle,
            "Due" => Compacting::Due(at),
            "Running" => Compacting::Running(Compaction::default()),
            _ => panic!("{name}"),
        }
    }

    fn step(name: &str) -> JournalStep {
        match name {
            "Written" => JournalStep::Written(NOW),
            "Synced" => JournalStep::Synced,
            "Wanted" => JournalStep::Wanted(NOW),
            "Failed" => JournalStep::Failed(NOW),
            "Lost" => JournalStep::Lost(NOW),
            "Begun" => JournalStep::Begun(Compaction::default()),
            "GaveUp" => JournalStep::GaveUp(NOW),
            "Placed" => JournalStep::Placed,
            "Settled" => JournalStep::Settled,
            _ => panic!("{name}"),
        }
    }

    /// Returns the state in a cell of `row`, and its moment; the row's own state if the cell is empty.
    fn after<'a>(row: &[&'a str], column: usize) -> (&'a str, Moment) {
        match row[1 + column] {
            "" => (row[0], BEFORE),
            next => (next, NOW),
        }
    }

    #[test]
    fn every_step_from_every_state_is_as_the_tables_say() {
        let ((steps, files), (same, compactings)) = (table("the file"), table("compaction"));
        assert_eq!((steps.len(), files.len(), compactings.len()), (9, 4, 3));
        assert_eq!(steps, same);
        for (row, other) in files.iter().flat_map(|row| compactings.iter().map(move |c| (row, c))) {
            for (column, name) in steps.iter().enumerate() {
                let what = format!("{}, {}: {name}", row[0], other[0]);
                let before = (file(row[0], BEFORE), compacting(other[0], BEFORE));
                let mut state = JournalState { file: before.0, compacting: before.1 };
                let ended = state.take(step(name));
                let ((next, since), (then, due)) = (after(row, column), after(other, column));
                assert_eq!(state.file, file(next, since), "{what}");
                let expected = format!("{:?}", compacting(then, due));
                assert_eq!(format!("{:?}", state.compacting), expected, "{what}");
                let ends = other[0] == "Running" && due == NOW;
                assert_eq!(ended.is_some(), ends, "{what}");
            }
        }
    }
}

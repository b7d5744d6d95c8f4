use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pitr_binlog::{Gtid, GtidSet};
use tokio::sync::Notify;

use super::{Batcher, Windows};
use crate::cutter::{Cut, Known, Uncuttable};
use crate::failure::TORN;
use crate::head::FileHead;
use crate::log::{LogPiece, LogReader, ReadError};
use crate::splitter::{Broken, Splitter};

/// With so many batches open, what stands alone waits until half of them are recorded: each is an interval of the
/// executed set, and every commit takes a little longer for it.
const OPEN_MAX: usize = 4000;

/// The GTIDs that batches hide: those of all their transactions but the first. While there is one, the executed set
/// does not say what the server has.
///
/// The server records them while nothing but batches of rows can be in flight: its own locks for the executed set and for
/// what a definition, an account or an engine without rollback needs have been seen to wait for each other. So what stands alone is
/// not sent while they are being recorded, and they are not recorded until what was sent alone is executed.
///
/// Bounded by what the replica holds: a batch leaves when its GTIDs are recorded, and a replica with a bounded relay log
/// takes no more before that.
#[derive(Debug, Clone, Default)]
pub struct Holes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something was recorded: whoever waits may look again.
    recorded: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By their first transactions.
    batches: BTreeMap<Gtid, GtidSet>,
    /// Sent alone, and not known to be executed.
    alone: GtidSet,
    /// Somebody records what is due.
    is_recording: bool,
    /// What stands alone waits for it.
    is_awaited: bool,
}

impl State {
    fn due(&mut self, executed: &GtidSet) -> GtidSet {
        let mut due = GtidSet::new();
        for (_, others) in self.batches.iter().filter(|(first, _)| executed.contains(first)) {
            others.iter().for_each(|(source, numbers)| due.insert_range(&source, numbers));
        }
        let missing = due.subtract(executed);
        self.batches.retain(|first, others| {
            let mut numbers = others.iter();
            !executed.contains(first)
                || numbers
                    .any(|(source, range)| range.into_iter().any(|number| missing.contains(&Gtid { source, number })))
        });
        missing
    }
}

impl Holes {
    /// A stream begins to a replica that has this set. What an earlier one sent and the replica does not have was lost on the way
    /// and is sent again: nobody may wait for it.
    pub(crate) fn begin(&self, has: &GtidSet) {
        let mut state = self.state();
        state.alone = state.alone.intersect(has);
        state.batches.retain(|first, _| has.contains(first));
        state.is_awaited = false;
    }

    /// A batch is about to be sent, or the replica has it.
    pub(super) fn open(&self, first: Gtid, others: GtidSet) {
        self.state().batches.insert(first, others);
    }

    /// What a server that has executed this set has applied without saying so. Batches that it shows in full are
    /// forgotten.
    #[must_use]
    pub fn due(&self, executed: &GtidSet) -> GtidSet {
        self.state().due(executed)
    }

    /// What is due, if it may be recorded now. Until the answer is dropped, nothing is sent that stands alone.
    #[must_use]
    pub fn record(&self, executed: &GtidSet) -> Option<Recording> {
        let mut state = self.state();
        state.alone = state.alone.subtract(executed);
        let due = state.due(executed);
        if !state.alone.is_empty() || due.is_empty() {
            return None;
        }
        state.is_recording = true;
        Some(Recording { holes: self.clone(), due })
    }

    /// Whether the source sends nothing more until something is recorded.
    #[must_use]
    pub fn are_awaited(&self) -> bool {
        self.state().is_awaited
    }

    /// Whether this transaction, which stands alone, may be sent now. If it may not, [`Holes::recorded`] says when to ask again.
    pub(crate) fn let_alone(&self, gtid: &Gtid) -> bool {
        let mut state = self.state();
        // Sent before, by a stream that was lost: nothing is recorded until it is executed, so it must come.
        if state.alone.contains(gtid) {
            return true;
        }
        let limit = if state.is_awaited { OPEN_MAX / 2 } else { OPEN_MAX };
        state.is_awaited = state.batches.len() >= limit;
        let may = !state.is_awaited && !state.is_recording;
        if may {
            state.alone.insert(gtid);
        }
        may
    }

    /// Waits until something was recorded since this was asked last.
    pub(crate) async fn recorded(&self) {
        self.0.recorded.notified().await;
    }

    /// The other transactions of the batch that begins with this one.
    #[must_use]
    pub fn batch_of(&self, first: &Gtid) -> Option<GtidSet> {
        self.state().batches.get(first).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is being recorded on the server.
#[derive(Debug)]
pub struct Recording {
    holes: Holes,
    due: GtidSet,
}

impl Recording {
    /// What is to be recorded.
    #[must_use]
    pub fn due(&self) -> &GtidSet {
        &self.due
    }

    /// It is recorded: the server's executed set is this one now.
    pub fn done(self, executed: &GtidSet) {
        self.holes.state().due(executed);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.holes.state().is_recording = false;
        self.holes.0.recorded.notify_one();
    }
}

/// Reads the log that an earlier source sent in batches, and says what a server that has executed this set has applied
/// without saying so. Reads no further than the last transaction that is executed.
///
/// # Errors
/// The log can't be read, or a batch is executed in part, which no server can have done by itself.
pub async fn left_open(
    reader: &mut dyn LogReader,
    windows: &Windows,
    skip: &GtidSet,
    executed: &GtidSet,
) -> Result<GtidSet, ReadError> {
    let holes = Holes::default();
    let known = Known { skip: skip.clone(), executed: executed.clone() };
    let mut pass = Pass {
        batcher: Batcher::new(windows.clone(), known, holes.clone()),
        splitter: Splitter::default(),
        unsent: VecDeque::new(),
    };
    let mut to_find = None;
    while to_find.is_none_or(|to_find| pass.batcher.found() < to_find) {
        match reader.next().await? {
            Some(LogPiece::File { head, start, left_out, .. }) => {
                let head = FileHead::parse(&head)?;
                // What the reader left out at the beginning: earlier files, and a part of this one.
                let not_read = windows.start.union(&head.previous()).union(&left_out);
                to_find.get_or_insert_with(|| executed.subtract(&not_read).count());
                pass.end_file()?;
                pass.splitter.restart(start)?;
                pass.batcher.restart(head.format.checksum);
            }
            Some(LogPiece::Bytes { bytes, .. }) => pass.read(bytes)?,
            Some(LogPiece::Seam) => pass.close_run()?,
            None => {
                pass.end_file()?;
                break;
            }
        }
    }
    // Batches that are cut out of what was read, up to the last one that is executed.
    Ok(holes.due(executed))
}

/// Reads what a source would send, and sends nothing.
struct Pass {
    batcher: Batcher,
    splitter: Splitter,
    unsent: VecDeque<Cut>,
}

impl Pass {
    fn read(&mut self, bytes: Bytes) -> Result<(), ReadError> {
        self.splitter.feed(bytes);
        while let Some(part) = self.splitter.next()? {
            self.batcher.cut(part, &mut self.unsent)?;
            self.unsent.clear();
        }
        Ok(())
    }

    fn close_run(&mut self) -> Result<(), ReadError> {
        self.batcher.close_run(&mut self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), ReadError> {
        self.splitter.check_whole()?;
        self.batcher.end_file(&mut self.unsent)?;
        self.unsent.clear();
        Ok(())
    }
}

impl From<Broken> for ReadError {
    fn from(broken: Broken) -> Self {
        Self::new(format!("the log is damaged at {}: {}", broken.offset, broken.reason))
    }
}

impl From<Uncuttable> for ReadError {
    fn from(uncuttable: Uncuttable) -> Self {
        Self::new(match uncuttable {
            Uncuttable::Malformed(reason) => format!("the log is damaged: {reason}"),
            Uncuttable::Anonymous => "a transaction has no GTID".to_owned(),
            Uncuttable::Torn => TORN.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> GtidSet {
        text.replace('u', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap()
    }

    #[test]
    fn only_batches_whose_first_is_executed_are_due_and_they_are_until_they_are_filled() {
        let holes = Holes::default();
        let gtid = |text: &str| text.replace('u', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap();
        holes.open(gtid("u:1"), set("u:2-5"));
        holes.open(gtid("u:6"), set("u:7"));
        holes.open(gtid("u:8"), set("u:9-10"));
        assert_eq!(holes.due(&set("")), set(""));
        assert_eq!(holes.due(&set("u:1:6")), set("u:2-5:7"));
        assert_eq!(holes.due(&set("u:1-3:6")), set("u:4-5:7"));
        assert_eq!(holes.due(&set("u:1-7")), set(""));
        assert_eq!(holes.batch_of(&gtid("u:6")), None);
        assert_eq!(holes.batch_of(&gtid("u:8")), Some(set("u:9-10")));
    }

    #[test]
    fn nothing_is_recorded_while_something_stands_alone_and_nothing_stands_alone_meanwhile() {
        let holes = Holes::default();
        let gtid = |text: &str| text.replace('u', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap();
        holes.open(gtid("u:1"), set("u:2-5"));
        assert!(holes.let_alone(&gtid("u:6")));
        assert!(holes.record(&set("u:1")).is_none());
        let recording = holes.record(&set("u:1:6")).unwrap();
        assert_eq!(*recording.due(), set("u:2-5"));
        assert!(!holes.let_alone(&gtid("u:7")));
        recording.done(&set("u:1-6"));
        assert!(holes.let_alone(&gtid("u:7")));
        // A recording that failed holds up nothing, and what it was about is due again.
        holes.open(gtid("u:8"), set("u:9"));
        drop(holes.record(&set("u:1-8")).unwrap());
        assert!(holes.let_alone(&gtid("u:10")));
        assert_eq!(holes.due(&set("u:1-8")), set("u:9"));
    }

    #[test]
    fn what_was_lost_with_a_connection_is_not_waited_for() {
        let holes = Holes::default();
        let source = set("u:1").iter().next().unwrap().0;
        let gtid = |number| Gtid { source, number };
        for batch in 0..OPEN_MAX as u64 {
            assert!(holes.let_alone(&gtid(3 * batch + 1)));
            holes.open(gtid(3 * batch + 2), [gtid(3 * batch + 3)].into_iter().collect());
        }
        let last = 3 * OPEN_MAX as u64 + 1;
        assert!(!holes.let_alone(&gtid(last)));
        // The replica has only the first two of what was sent alone, and the first batch, when it asks again.
        let has = [gtid(1), gtid(2), gtid(4)].into_iter().collect();
        holes.begin(&has);
        assert!(!holes.are_awaited());
        // What is sent anew is let through, and once it is executed, holes are recorded again.
        assert!(holes.let_alone(&gtid(7)));
        assert!(holes.record(&has).is_none());
        let executed = has.union(&[gtid(7)].into_iter().collect());
        let recording = holes.record(&executed).unwrap();
        assert_eq!(*recording.due(), [gtid(3)].into_iter().collect());
        drop(recording);
        // The stream before it may say what it sends once more: that waits for nothing, for it is waited for itself.
        assert!(holes.let_alone(&gtid(10)) && holes.let_alone(&gtid(10)));
    }

    #[test]
    fn what_stands_alone_waits_until_half_of_too_many_batches_are_recorded() {
        let holes = Holes::default();
        let source = set("u:1").iter().next().unwrap().0;
        let gtid = |number| Gtid { source, number };
        for batch in 0..OPEN_MAX as u64 {
            assert!(holes.let_alone(&gtid(3 * batch + 1)), "batch {batch}");
            holes.open(gtid(3 * batch + 2), [gtid(3 * batch + 3)].into_iter().collect());
        }
        let next = gtid(3 * OPEN_MAX as u64 + 1);
        assert!(!holes.let_alone(&next) && holes.are_awaited());
        // All alone ones and a third of the batches are executed, then more than half.
        let alone: GtidSet = (0..OPEN_MAX as u64).map(|batch| gtid(3 * batch + 1)).collect();
        for (part, may) in [(3, false), (1, true)] {
            let mut executed = alone.clone();
            executed.insert_range(&source, 1..=OPEN_MAX as u64 / part * 2);
            executed = executed.subtract(&holes.due(&executed));
            let recording = holes.record(&executed).unwrap();
            let executed = executed.union(recording.due());
            recording.done(&executed);
            assert_eq!(holes.let_alone(&next), may);
        }
        assert!(!holes.are_awaited());
    }
}

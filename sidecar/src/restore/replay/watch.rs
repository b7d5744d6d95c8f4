//! Watching a server apply the log: how far it is, whether it still moves, and why it stopped.

use std::time::Duration;

use pitr_archive::ArchiveError;
use pitr_binlog::GtidSet;
use pitr_recovery::{PlanWarning, code};
use pitr_replay::{END_OF_PLAN, Holes, SourceFailure, SourceProgress};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::archived_log::ArchivedLog;
use super::super::phases::{Restore, interrupted};
use super::batches;
use crate::error::Failure;
use crate::mysql::{ApplierError, Connection, Password, SqlError};
use crate::progress::Place;

/// How often the server is asked.
const POLL: Duration = Duration::from_millis(250);
/// How often batches that are applied are recorded whole: with holes of many seconds in its set, a server commits more slowly.
const FILL: Duration = Duration::from_secs(1);
/// The receiver is done, no worker applies anything, and nothing was executed for so long: that is the end of it.
const STALL: Duration = Duration::from_secs(60);
/// The receiver runs, and yet nothing is sent, applied or executed for so long: longer than any store is waited for.
const SILENCE: Duration = Duration::from_secs(20 * 60);
/// A receiver that stopped for another reason than the end is started again, so often without progress between.
const RECEIVER_RESTARTS: u32 = 10;

/// Why a replay did not reach its end.
pub(super) enum Halt {
    /// The log has our server id: another one must be drawn.
    SharedServerId,
    /// Anything else.
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

impl From<SqlError> for Halt {
    fn from(error: SqlError) -> Self {
        Self::Error(error.into())
    }
}

/// A replay that is being watched.
pub(super) struct Watch<'a, 'r> {
    pub(super) restore: &'a mut Restore<'r>,
    pub(super) connection: &'a mut Connection,
    pub(super) log: &'a ArchivedLog,
    pub(super) sent: watch::Receiver<SourceProgress>,
    pub(super) holes: Holes,
    pub(super) credentials: (&'a str, &'a Password),
}

impl Watch<'_, '_> {
    /// Until everything planned is executed. That the receiver stopped with our own last words is never the end.
    pub(super) async fn until_applied(mut self) -> Result<(), Halt> {
        let (mut moved, mut filled) = (Instant::now(), Instant::now());
        let (mut count, mut bytes, mut restarts) = (0, 0, 0);
        let mut timer = tokio::time::interval(POLL);
        loop {
            let shutdown = &self.restore.context.shutdown;
            tokio::select! {
                () = shutdown.cancelled() => return Err(interrupted().into()),
                _ = timer.tick() => {}
            }
            let mut executed = super::note_executed(self.restore, self.connection).await?;
            if filled.elapsed() >= FILL || self.sent.borrow().finished || self.holes.are_awaited() {
                filled = Instant::now();
                if batches::fill(&self.holes, self.connection, &executed).await? {
                    executed = super::note_executed(self.restore, self.connection).await?;
                }
            }
            self.note_temporary_tables().await?;
            self.show(&executed);
            if self.restore.plan.expected().is_subset_of(&executed) {
                return Ok(());
            }
            if executed.count() > count {
                (moved, count, restarts) = (Instant::now(), executed.count(), 0);
            }
            let sent_bytes = self.sent.borrow().bytes_sent;
            if sent_bytes != bytes {
                (moved, bytes) = (Instant::now(), sent_bytes);
            }
            if let Some(error) = self.connection.applier_error().await? {
                return Err(refused(&error, &self.holes).into());
            }
            let receiver = self.connection.receiver_state().await?;
            if receiver.running {
                if moved.elapsed() > SILENCE && !self.connection.is_applying().await? {
                    return Err(silent(&self.restore.facts.missing).into());
                }
                continue;
            }
            let sent = self.sent.borrow().clone();
            // Or it failed with the last of what was sent on its way: then it is started again.
            if sent.finished && (receiver.error == 0 || receiver.message.contains(END_OF_PLAN)) {
                if moved.elapsed() > STALL && !self.connection.is_applying().await? {
                    return Err(stalled(&self.restore.facts.missing).into());
                }
                continue;
            }
            self.why_the_source_ended(sent.last_error)?;
            restarts += 1;
            if restarts > RECEIVER_RESTARTS {
                let message =
                    format!("the receiver stops again and again: error {}: {}", receiver.error, receiver.message);
                return Err(anyhow::anyhow!(message).into());
            }
            self.connection.start_replica(self.credentials.0, self.credentials.1).await?;
        }
    }

    /// Once there was one, nobody can tell in time whether one is open when the server dies.
    async fn note_temporary_tables(&mut self) -> Result<(), Halt> {
        let plan = self.restore.plan.parts();
        if !self.restore.journal.temporary_tables
            && plan.warnings.contains(&PlanWarning::Statements)
            && self.connection.has_temporary_tables().await?
        {
            self.restore.journal.temporary_tables = true;
            self.restore.write_journal()?;
        }
        Ok(())
    }

    /// What batches hide is done, too.
    fn show(&mut self, executed: &GtidSet) {
        let binlog = self.sent.borrow().current_binlog.as_ref().map(ToString::to_string);
        self.restore.progress.at(Place { binlog, gtid: None });
        let done = self.restore.facts.transactions + self.holes.due(executed).count();
        self.restore.progress.set(done);
    }

    /// A failure of the source that another attempt would meet again, as an error with a name.
    fn why_the_source_ended(&self, failure: Option<SourceFailure>) -> Result<(), Halt> {
        match failure {
            None => Ok(()),
            Some(SourceFailure::SharedServerId { .. }) => Err(Halt::SharedServerId),
            Some(SourceFailure::Unreadable { reason }) => Err(match self.log.take_failure() {
                Some(error) => unreadable(error).into(),
                None => anyhow::anyhow!("the log cannot be read: {reason}").into(),
            }),
            Some(other) => Err(anyhow::Error::new(other).into()),
        }
    }
}

/// The server has had all of the plan, and does not apply it.
fn stalled(missing: &GtidSet) -> anyhow::Error {
    let message =
        format!("restore is incomplete: {} planned transactions are not on the restored server", missing.count());
    Failure::new(&code::RESTORE_INCOMPLETE, message)
        .hint(format!("everything was sent, and for {} s nothing was applied; missing {missing}", STALL.as_secs()))
        .fix("run the same command again")
        .into()
}

/// Neither does the log come, nor does the server apply what it has: the same again may fare better.
fn silent(missing: &GtidSet) -> anyhow::Error {
    let minutes = SILENCE.as_secs() / 60;
    let message =
        format!("restore failed: for {minutes} minutes nothing was sent to the server, and it applied nothing");
    Failure::new(&code::RESTORE_FAILED, message)
        .hint(format!("what is done stays done; {} transactions are missing: {missing}", missing.count()))
        .fix("run the same command again")
        .into()
}

/// The applier refuses an event: no row is ever skipped.
fn refused(error: &ApplierError, holes: &Holes) -> anyhow::Error {
    let at = if error.transaction.is_empty() { String::new() } else { format!(" at {}", error.transaction) };
    if let Some(others) = error.transaction.parse().ok().and_then(|gtid| holes.batch_of(&gtid)) {
        let message = format!("replay stopped{at} or one of {others}: error {}: {}", error.number, error.message);
        return Failure::new(&code::EVENT_REFUSED, message)
            .hint("they were applied as one; no row is ever skipped")
            .fix("the same command with --batch=1, which names the transaction")
            .into();
    }
    Failure::new(&code::EVENT_REFUSED, format!("replay stopped{at}: error {}: {}", error.number, error.message))
        .hint("no row is ever skipped; suspect a skipped GTID, a gap, or writes that never reached the log")
        .fix("an earlier target")
        .into()
}

/// Objects of the plan that left the archive are one thing, a store that does not answer another.
pub(super) fn unreadable(error: ArchiveError) -> anyhow::Error {
    match error {
        ArchiveError::RangeLost { .. } | ArchiveError::RangeChanged { .. } => {
            Failure::new(&code::PLANNED_OBJECT_GONE, error.to_string())
                .hint("no other object covers the range; a plan is never silently made again")
                .fix("plan again")
                .into()
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{silent, stalled};
    use crate::error::Rendered;

    #[test]
    fn what_stopped_moving_is_told_as_it_is() {
        let missing = "3e11fa47-71ca-11e1-9e33-c80aa9429562:4-7".parse().unwrap();
        let (stalled, silent) = (Rendered::of(&stalled(&missing)), Rendered::of(&silent(&missing)));
        // Only what was sent in full is incomplete, which no Job tries again.
        assert_eq!((stalled.code.as_deref(), stalled.exit), (Some("PITR0411"), 5));
        assert_eq!((silent.code.as_deref(), silent.exit), (Some("PITR0410"), 5));
        assert!(stalled.text().contains("everything was sent, and for 60 s nothing was applied"), "{}", stalled.text());
        assert!(silent.text().contains("for 20 minutes nothing was sent"), "{}", silent.text());
        assert!(silent.text().contains("4 transactions are missing"), "{}", silent.text());
    }
}

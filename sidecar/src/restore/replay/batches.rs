//! Which batches a restore makes, and that every run of it understands those of the runs before.

use std::num::{NonZeroU32, ParseIntError};
use std::str::FromStr;

use anyhow::Context as _;
use pitr_binlog::GtidSet;
use pitr_recovery::code;
use pitr_replay::{Batch, CUTTER_VERSION, Holes, LogOpener as _, Windows, left_open};
use serde::{Deserialize, Serialize};

use super::super::Engine;
use super::super::archived_log::ArchivedLog;
use super::super::phases::Restore;
use crate::error::Failure;
use crate::mysql::Connection;
use crate::server::applier_workers;

/// Transactions of a batch that nobody has set. Beyond this the commits that are saved no longer count.
const AUTOMATIC: NonZeroU32 = NonZeroU32::new(200).expect("it is not zero");

/// `--batch`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchSize {
    /// As many as help, and as an earlier run on the same volume did.
    Auto,
    /// At most so many; 1 sends each transaction as it was written.
    AtMost(NonZeroU32),
}

impl FromStr for BatchSize {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::AtMost) }
    }
}

/// What the batches of a volume depend on, noted before the first one is sent. While it is there, the executed set may have holes of
/// ours, and only this makes the same batches again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Batching {
    cutter: u32,
    workers: u32,
    cap: u32,
    plan_hash: String,
    /// What was executed before the first batch, without a hole.
    start: String,
}

impl Batching {
    fn windows(&self, plan_hash: &str) -> anyhow::Result<Windows> {
        if self.cutter != CUTTER_VERSION || self.plan_hash != plan_hash {
            let message = format!(
                "the volume holds a restore whose transactions were put together by version {} of the cutter for plan {}; this program \
                 has version {CUTTER_VERSION}, the plan is {plan_hash}",
                self.cutter, self.plan_hash
            );
            return Err(Failure::new(&code::VOLUME_OF_ANOTHER_PLAN, message)
                .hint("what is on the server can be told only by making the same batches again")
                .fix("the program that began the restore, or another directory")
                .into());
        }
        let start = self.start.parse().context("read in the journal what was executed before the first batch")?;
        Ok(Windows { workers: self.workers, cap: self.cap, start })
    }
}

/// How this run sends the log to a server that has executed this set. What another way of sending has left open is recorded on the
/// server first; the journal says what is sent before the first event is.
pub(super) async fn settle(
    restore: &mut Restore<'_>,
    connection: &mut Connection,
    log: &ArchivedLog,
    mut executed: GtidSet,
) -> anyhow::Result<Batch> {
    let asked = match restore.args.engine {
        Engine::Replication => restore.args.batch,
        Engine::Pipe => BatchSize::AtMost(NonZeroU32::MIN),
    };
    let plan_hash = restore.journal.plan_hash.clone().unwrap_or_default();
    if let Some(begun) = &restore.journal.batching {
        let windows = begun.windows(&plan_hash)?;
        let goes_on = match asked {
            BatchSize::Auto => true,
            BatchSize::AtMost(cap) => cap.get() > 1 && cap.get() == windows.cap,
        };
        if goes_on {
            refuse_a_lost_start(&windows, &executed)?;
            return Ok(Batch::Windows(windows));
        }
        let mut reader = log.open(&executed);
        let open = left_open(&mut *reader, &windows, restore.plan.skip(), &executed).await;
        let open = open.context("read what an earlier run has put together")?;
        connection.record_executed(&open).await?;
        connection.make_durable().await?;
        executed.union_with(&open);
        restore.journal.batching = None;
        restore.write_journal()?;
    }
    let cap = match asked {
        BatchSize::Auto => AUTOMATIC,
        BatchSize::AtMost(cap) if cap.get() == 1 => return Ok(Batch::One),
        BatchSize::AtMost(cap) => cap,
    };
    connection.make_durable().await?;
    let workers = u32::try_from(applier_workers()).unwrap_or(u32::MAX);
    restore.journal.batching =
        Some(Batching { cutter: CUTTER_VERSION, workers, cap: cap.get(), plan_hash, start: executed.to_string() });
    restore.write_journal()?;
    Ok(Batch::Windows(Windows { workers, cap: cap.get(), start: executed }))
}

/// What was executed before the first batch is dropped from the log for good: it must still be there.
fn refuse_a_lost_start(windows: &Windows, executed: &GtidSet) -> anyhow::Result<()> {
    let lost = windows.start.subtract(executed);
    if lost.is_empty() {
        return Ok(());
    }
    Err(Failure::new(&code::VOLUME_SPOILED, format!("restore is incomplete: the server has lost {lost} in a crash"))
        .hint("it had them before the first batch was sent, and nothing would send them again")
        .fix("restore onto an empty volume")
        .into())
}

/// Records on the server what its batches hide, unless something else than rows may be in flight, and says whether it did.
pub(super) async fn fill(holes: &Holes, connection: &mut Connection, executed: &GtidSet) -> anyhow::Result<bool> {
    let Some(recording) = holes.record(executed) else { return Ok(false) };
    connection.record_executed(recording.due()).await?;
    let executed = executed.union(recording.due());
    recording.done(&executed);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_from_one_on_or_automatic() {
        assert_eq!("auto".parse(), Ok(BatchSize::Auto));
        assert_eq!("1".parse(), Ok(BatchSize::AtMost(NonZeroU32::MIN)));
        for bad in ["0", "-1", "", "many", "4294967296"] {
            assert!(bad.parse::<BatchSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn batches_of_another_cutter_or_plan_are_not_guessed() {
        let noted = Batching {
            cutter: CUTTER_VERSION,
            workers: 4,
            cap: 200,
            plan_hash: "sha256:00".into(),
            start: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".into(),
        };
        let windows = noted.windows("sha256:00").unwrap();
        assert_eq!((windows.workers, windows.cap, windows.start.count()), (4, 200, 5));
        assert!(noted.windows("sha256:01").is_err());
        assert!(Batching { cutter: CUTTER_VERSION + 1, ..noted }.windows("sha256:00").is_err());
    }
}

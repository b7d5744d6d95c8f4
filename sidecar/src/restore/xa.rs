//! XA transactions that the stop left prepared: what the source did with them later, and what becomes of them here.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum;
use pitr_archive::Archive;
use pitr_binlog::TransactionFlags;
use pitr_binlog::event::XaId;
use pitr_recovery::{ArchivedBinlog, ArchivedRange, PlanWarning, RestorePlan, code};
use serde::{Deserialize, Serialize};

use super::phases::Restore;
use super::stretch::stretches_of;
use crate::amounts::count_of;
use crate::error::Failure;
use crate::mysql::Connection;
use crate::planning;

/// What becomes of transactions that the stop left prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum XaPolicy {
    /// They stay prepared, with their locks
    Keep,
    /// They are rolled back before hand-over
    Rollback,
    /// The restore fails
    Fail,
}

/// What the log says about one after the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The source committed it.
    Commit,
    /// The source rolled it back.
    Rollback,
    /// The archive does not say.
    Unknown,
}

/// A transaction that was prepared at the stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct XaReport {
    /// As `XA COMMIT` and `XA ROLLBACK` take it.
    pub(crate) xid: String,
    /// What the source did with it later.
    pub(crate) later: Outcome,
    /// Whether it was rolled back here.
    pub(crate) rolled_back: bool,
}

/// Lists what is prepared on the verified server, with what the archive knows of it. An error if the user wants none.
pub(super) async fn look(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<()> {
    let prepared = connection.prepared_xids().await?;
    // Whoever wants none of them misses none.
    if restore.args.xa != XaPolicy::Rollback {
        refuse_if_one_is_lost(restore, &prepared).await?;
    }
    let later = if prepared.is_empty() { Vec::new() } else { decided_later(&restore.archive, &restore.plan).await? };
    let report = |id: &XaId| {
        let outcome = later.iter().find(|(hash, _)| *hash == id.hash64()).map_or(Outcome::Unknown, |(_, how)| *how);
        XaReport { xid: id.to_string(), later: outcome, rolled_back: false }
    };
    restore.journal.xa = prepared.iter().map(report).collect();
    restore.facts.prepared_xa = prepared.len();
    if restore.args.xa == XaPolicy::Fail && !prepared.is_empty() {
        let list: Vec<String> = restore.journal.xa.iter().map(XaReport::to_string).collect();
        let message = format!("{} XA transactions are prepared at the target and undecided", prepared.len());
        return Err(Failure::new(&code::XA_UNDECIDED, message)
            .hint(format!("{}; the volume is not handed over", list.join("; ")))
            .fix("the same command with --xa rollback or --xa keep, or another target")
            .into());
    }
    Ok(())
}

/// A server may forget a prepared transaction when it is started again (decision 0020): its GTID stays executed, and no set tells.
async fn refuse_if_one_is_lost(restore: &Restore<'_>, prepared: &[XaId]) -> anyhow::Result<()> {
    let mut expected: BTreeSet<u64> = restore.journal.xa_of_base.iter().flatten().copied().collect();
    if restore.plan.parts().warnings.contains(&PlanWarning::XaTransactions) {
        follow_the_log(&restore.archive, &restore.plan, &mut expected).await?;
    }
    let lost = expected.iter().filter(|hash| !prepared.iter().any(|id| id.hash64() == **hash)).count();
    if lost == 0 {
        return Ok(());
    }
    let message = format!(
        "restore is incomplete: {} of the target {} not on the restored server",
        count_of(lost as u64, "prepared XA transaction"),
        if lost == 1 { "is" } else { "are" }
    );
    Err(Failure::new(&code::RESTORE_INCOMPLETE, message)
        .hint("the server lost them when it was started again; the GTID set does not tell")
        .fix("restore onto an empty volume; or the same command with --xa rollback")
        .into())
}

/// What is prepared after the plan's log, as hashes of identifiers, given what was before it.
async fn follow_the_log(archive: &Archive, plan: &RestorePlan, prepared: &mut BTreeSet<u64>) -> anyhow::Result<()> {
    // What the log of a second server repeats has had its effect.
    let mut done = plan.base().executed.union(plan.skip());
    for stretch in plan.files().iter().flat_map(stretches_of) {
        let index = archive.read_index(&stretch.reference(), &stretch.range.objects).await;
        let index = index.context("read which XA transactions were prepared and decided")?;
        for entry in index.entries.iter().filter(|entry| entry.end > stretch.from && entry.end <= stretch.to) {
            if entry.gtid.is_some_and(|gtid| done.contains(&gtid)) {
                continue;
            }
            entry.gtid.iter().for_each(|gtid| done.insert(gtid));
            follow(entry.flags, entry.xid, prepared);
        }
    }
    Ok(())
}

fn follow(flags: TransactionFlags, xid: Option<u64>, prepared: &mut BTreeSet<u64>) {
    let Some(xid) = xid else { return };
    if flags.contains(TransactionFlags::XA_PREPARE) {
        prepared.insert(xid);
    } else if flags.intersects(TransactionFlags::XA_COMMIT | TransactionFlags::XA_ROLLBACK) {
        prepared.remove(&xid);
    }
}

/// Rolls them back, if that is what the user wants. Writing must be possible.
pub(super) async fn settle(restore: &mut Restore<'_>, connection: &mut Connection) -> anyhow::Result<()> {
    if restore.args.xa != XaPolicy::Rollback {
        return Ok(());
    }
    for id in connection.prepared_xids().await? {
        connection.roll_xa_back(&id).await?;
        let text = id.to_string();
        restore.journal.xa.iter_mut().filter(|report| report.xid == text).for_each(|report| report.rolled_back = true);
    }
    let left = connection.prepared_xids().await?;
    anyhow::ensure!(left.is_empty(), "{} XA transactions are still prepared after they were rolled back", left.len());
    restore.facts.prepared_xa = 0;
    Ok(())
}

/// What the user must know of what stays prepared.
pub(super) fn note(reports: &[XaReport], of_base: bool) -> Option<String> {
    let kept: Vec<String> = reports.iter().filter(|report| !report.rolled_back).map(XaReport::to_string).collect();
    // Seen with MySQL 9.7.4 without a binary log (decision 0020).
    let doubt = if of_base {
        "; when it is started again the server may forget one that the base backup had: XA RECOVER lists what there is"
    } else {
        ""
    };
    (!kept.is_empty()).then(|| {
        format!(
            "XA transactions are prepared and hold their locks, also after a restart, until someone decides: {}{doubt}",
            kept.join("; ")
        )
    })
}

impl std::fmt::Display for XaReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let later = match self.later {
            Outcome::Commit => "the source committed it later",
            Outcome::Rollback => "the source rolled it back later",
            Outcome::Unknown => "the archive does not say what became of it",
        };
        write!(f, "{} ({later})", self.xid)
    }
}

/// What the server whose log ends the plan decided after the stop: hashes of identifiers, in log order, the first decision first.
async fn decided_later(archive: &Archive, plan: &RestorePlan) -> anyhow::Result<Vec<(u64, Outcome)>> {
    let Some(stop) = &plan.parts().stop else { return Ok(Vec::new()) };
    let inventory = planning::inventory(archive).await?;
    let decides = TransactionFlags::XA_COMMIT | TransactionFlags::XA_ROLLBACK;
    let follows = |binlog: &&Arc<ArchivedBinlog>| {
        binlog.id == stop.binlog || (binlog.id.source == stop.binlog.source && binlog.id.number > stop.binlog.number)
    };
    let mut binlogs: Vec<&Arc<ArchivedBinlog>> = inventory.binlogs.iter().filter(follows).collect();
    binlogs.sort_by_key(|binlog| binlog.id.number);
    let mut decided = Vec::new();
    for binlog in binlogs {
        let from = if binlog.id == stop.binlog { stop.offset } else { 0 };
        let tells = |range: &&ArchivedRange| range.end > from && range.flags.transactions.intersects(decides);
        for range in binlog.ranges.iter().filter(tells) {
            let index = archive.read_index(&binlog.range_ref(range), &range.objects).await;
            let index = index.context("read what became of prepared XA transactions")?;
            for entry in index.entries.iter().filter(|entry| entry.start >= from && entry.flags.intersects(decides)) {
                let committed = entry.flags.contains(TransactionFlags::XA_COMMIT);
                let outcome = if committed { Outcome::Commit } else { Outcome::Rollback };
                decided.extend(entry.xid.map(|xid| (xid, outcome)));
            }
        }
    }
    Ok(decided)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use pitr_binlog::TransactionFlags;

    use super::{Outcome, XaReport, follow, note};

    #[test]
    fn what_is_prepared_is_what_nobody_has_decided() {
        let mut prepared = BTreeSet::from([1]);
        for (flags, xid) in [
            (TransactionFlags::XA_PREPARE, Some(2)),
            (TransactionFlags::XA_PREPARE, Some(3)),
            // One phase, and an ordinary one: nothing is left of either.
            (TransactionFlags::NONE, Some(4)),
            (TransactionFlags::NONE, None),
            (TransactionFlags::XA_COMMIT, Some(2)),
            (TransactionFlags::XA_ROLLBACK, Some(1)),
            (TransactionFlags::XA_PREPARE, Some(2)),
        ] {
            follow(flags, xid, &mut prepared);
        }
        assert_eq!(prepared, BTreeSet::from([2, 3]));
    }

    #[test]
    fn what_stays_prepared_is_told_and_what_does_not_is_not() {
        let report = |xid: &str, rolled_back| XaReport { xid: xid.to_owned(), later: Outcome::Commit, rolled_back };
        assert_eq!(note(&[report("X'61',X'',1", true)], true), None);
        assert!(note(&[report("X'61',X'',1", false)], true).unwrap().contains("XA RECOVER"));
        let told = note(&[report("X'61',X'',1", true), report("X'62',X'',1", false)], false).unwrap();
        assert!(told.ends_with("until someone decides: X'62',X'',1 (the source committed it later)"), "{told}");
    }
}

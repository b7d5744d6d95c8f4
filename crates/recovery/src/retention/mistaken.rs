//! Which base backups a plan would make serve a history that they are not of.
//!
//! After a crash that lost transactions, or a RESET, numbers are given again. That a base backup has the old ones only the log
//! tells; once that has gone, the backup seems to be one of what followed.

use pitr_binlog::GtidSet;

use crate::timeline::Timeline;

/// A base backup, and the end of a branch that it does not lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistaken {
    /// Its id.
    pub(super) backup: String,
    /// What is executed at the branch's end.
    pub(super) end: GtidSet,
    /// When its last transaction was committed: the same numbers may end two branches.
    pub(super) last_us: Option<i64>,
}

/// Every base backup that leads to the end of a branch afterwards, and does not before.
pub(super) fn mistaken(before: &Timeline, after: &Timeline) -> Vec<Mistaken> {
    let told = leads(before);
    let is_told = |lead: &Mistaken| {
        // Nothing but open binlogs may be left of an idle server: then no transaction says when it was.
        let is_same = |at: &Mistaken| lead.last_us.is_none() || lead.last_us == at.last_us;
        told.iter().any(|at| at.backup == lead.backup && at.end == lead.end && is_same(at))
    };
    leads(after).into_iter().filter(|lead| !is_told(lead)).collect()
}

/// Where each base backup leads to by a log.
fn leads(timeline: &Timeline) -> Vec<Mistaken> {
    let mut leads = Vec::new();
    for ((way, entries), branch) in timeline.ways.iter().zip(&timeline.entries).zip(timeline.branches()) {
        for entry in entries.iter().filter(|entry| way.sections[entry.section].alone.is_none()) {
            let backup = timeline.inventory.backups[entry.backup].id.clone();
            leads.push(Mistaken { backup, end: branch.end.clone(), last_us: branch.last_us });
        }
    }
    leads
}

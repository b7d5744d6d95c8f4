use pitr_binlog::BinlogName;
use tokio::sync::watch;

use crate::SourceFailure;

/// How far a source is. What was sent again after a lost connection counts again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Connections accepted.
    pub connections: u64,
    /// Connections that were not let in.
    pub refused: u64,
    /// Times that the log was asked for.
    pub streams: u64,
    /// Transactions sent with what they change.
    pub transactions_sent: u64,
    /// What the replica commits as one transaction each: batches, and transactions that stand alone.
    pub batches_sent: u64,
    /// Transactions sent empty, because they are to be skipped.
    pub transactions_emptied: u64,
    /// Transactions not sent, because the replica had them.
    pub transactions_passed_over: u64,
    /// Bytes of events sent.
    pub bytes_sent: u64,
    /// The binlog that is being sent, or was last.
    pub current_binlog: Option<BinlogName>,
    /// The whole plan was sent, and its end. Not that the replica has applied it.
    pub finished: bool,
    /// Why the source itself ended a stream, the last time that it did.
    pub last_error: Option<SourceFailure>,
}

/// Keeps the account of a run, for those who watch it.
#[derive(Debug)]
pub(crate) struct Ledger(watch::Sender<SourceProgress>);

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::default())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<SourceProgress> {
        self.0.subscribe()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut SourceProgress)) {
        self.0.send_modify(change);
    }

    pub(crate) fn now(&self) -> SourceProgress {
        self.0.borrow().clone()
    }
}

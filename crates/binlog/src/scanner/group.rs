use crate::event::{
    EventHeader, EventType, GtidEvent, MalformedEvent, QueryEvent, QueryKind, RowsKind, XaPrepareEvent, is_query,
};
use crate::{Transaction, TransactionFlags};

/// A transaction that has begun and not ended.
#[derive(Clone, Debug)]
pub(super) struct Group {
    transaction: Transaction,
    shape: Shape,
    /// Something stands between its first and its last event.
    changes: bool,
}

/// What ends a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The first statement that is not BEGIN or XA START, as of DDL.
    Single,
    /// XID, COMMIT, ROLLBACK, XA PREPARE.
    Block,
}

/// What an event does to the transaction that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More follows.
    Continues,
    /// It was the last one.
    Ends,
}

impl Group {
    /// A transaction that begins with this GTID event.
    pub(super) fn named(header: &EventHeader, event: &GtidEvent, start: u64) -> Self {
        let mut group = Self::unnamed(header, start);
        let transaction = &mut group.transaction;
        transaction.gtid = event.gtid;
        transaction.original_commit_us = event.original_commit_us.filter(|us| *us != 0);
        transaction.immediate_commit_us = event.immediate_commit_us.filter(|us| *us != 0);
        transaction.last_committed = event.last_committed;
        transaction.sequence_number = event.sequence_number;
        transaction.xid = event.xa.map(|id| id.hash64());
        if header.event_type == EventType::MARIADB_GTID {
            let has = |flag: u8| event.flags & flag != 0;
            if !has(GtidEvent::STANDALONE) {
                // MariaDB writes no BEGIN.
                group.shape = Shape::Block;
            }
            if has(GtidEvent::DDL) {
                group.transaction.flags |= TransactionFlags::DDL;
            }
        }
        group
    }

    /// A transaction without a GTID event: of servers before MySQL 5.6 and MariaDB 10.0.
    pub(super) fn unnamed(header: &EventHeader, start: u64) -> Self {
        let transaction = Transaction {
            gtid: None,
            start,
            end: start,
            original_commit_us: None,
            immediate_commit_us: None,
            header_time_s: header.timestamp,
            last_committed: 0,
            sequence_number: 0,
            flags: TransactionFlags::NONE,
            xid: None,
            server_id: header.server_id,
        };
        Self { transaction, shape: Shape::Single, changes: false }
    }

    pub(super) fn flag(&mut self, flags: TransactionFlags) {
        self.transaction.flags |= flags;
    }

    /// The whole transaction, once its last event has been seen.
    pub(super) fn finish(mut self, end: u64) -> Transaction {
        self.transaction.end = end;
        self.transaction
    }

    /// Takes the next event of the transaction; `body` may be a prefix, as `Need` says.
    pub(super) fn step(&mut self, event_type: EventType, body: &[u8]) -> Result<Step, MalformedEvent> {
        match event_type {
            EventType::XID => Ok(Step::Ends),
            EventType::XA_PREPARE => self.xa_prepare(body),
            EventType::TRANSACTION_PAYLOAD => {
                self.flag(TransactionFlags::PAYLOAD);
                Ok(Step::Ends)
            }
            EventType::INCIDENT => {
                self.flag(TransactionFlags::INCIDENT);
                Ok(Step::Ends)
            }
            EventType::EXECUTE_LOAD_QUERY => Ok(self.statement(QueryKind::Change)),
            EventType::QUERY_COMPRESSED => Ok(self.compressed_query()),
            _ if is_query(event_type) => self.query(&QueryEvent::parse(body)?),
            _ if RowsKind::of(event_type).is_some() || event_type == EventType::TABLE_MAP => {
                // Rows are always followed by a commit.
                self.shape = Shape::Block;
                self.changes = true;
                Ok(Step::Continues)
            }
            _ => {
                self.changes = true;
                Ok(Step::Continues)
            }
        }
    }

    fn xa_prepare(&mut self, body: &[u8]) -> Result<Step, MalformedEvent> {
        let event = XaPrepareEvent::parse(body)?;
        self.transaction.xid = Some(event.id.hash64());
        if !event.one_phase {
            self.flag(TransactionFlags::XA_PREPARE);
        }
        Ok(Step::Ends)
    }

    fn query(&mut self, query: &QueryEvent<'_>) -> Result<Step, MalformedEvent> {
        let kind = query.kind();
        let xa = match kind {
            QueryKind::Begin => {
                self.shape = Shape::Block;
                return Ok(Step::Continues);
            }
            QueryKind::Commit | QueryKind::Rollback => {
                // An empty one ends like this too: a GTID that was committed without changes.
                if self.changes {
                    self.flag(TransactionFlags::NON_TRANSACTIONAL);
                }
                return Ok(Step::Ends);
            }
            QueryKind::Savepoint => return Ok(Step::Continues),
            QueryKind::Definition | QueryKind::Change | QueryKind::Other => return Ok(self.statement(kind)),
            QueryKind::XaStart => {
                self.shape = Shape::Block;
                TransactionFlags::NONE
            }
            QueryKind::XaEnd => TransactionFlags::NONE,
            QueryKind::XaPrepare => TransactionFlags::XA_PREPARE,
            QueryKind::XaCommit => TransactionFlags::XA_COMMIT,
            QueryKind::XaRollback => TransactionFlags::XA_ROLLBACK,
        };
        let id = query.xa_id().ok_or(MalformedEvent("an XA statement without an identifier"))?;
        self.transaction.xid = Some(id.hash64());
        self.flag(xa);
        Ok(if xa.is_empty() { Step::Continues } else { Step::Ends })
    }

    /// A statement other than those that delimit transactions.
    fn statement(&mut self, kind: QueryKind) -> Step {
        self.changes = true;
        let defines = match self.shape {
            Shape::Block => kind == QueryKind::Definition,
            // Alone, everything but a change of rows is something that commits by itself: GRANT, ANALYZE, FLUSH.
            Shape::Single => kind != QueryKind::Change,
        };
        self.flag(if defines { TransactionFlags::DDL } else { TransactionFlags::STATEMENT });
        match self.shape {
            Shape::Block => Step::Continues,
            Shape::Single => Step::Ends,
        }
    }

    /// A statement whose text is compressed (MariaDB). Those that delimit transactions never are.
    fn compressed_query(&mut self) -> Step {
        let known_ddl = self.transaction.flags.contains(TransactionFlags::DDL);
        self.statement(if known_ddl { QueryKind::Definition } else { QueryKind::Change })
    }
}

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::Gtid;

/// One transaction of a binlog: everything from its GTID event to the event that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its GTID; none in logs without GTIDs.
    pub gtid: Option<Gtid>,
    /// Offset of its first byte in the raw file.
    pub start: u64,
    /// Offset after its last byte.
    pub end: u64,
    /// When it was committed on the server where it came into being. None where the log doesn't say (MariaDB, MySQL 5.7)
    /// or says 0.
    pub original_commit_us: Option<i64>,
    /// When it was committed on the server that wrote this log.
    pub immediate_commit_us: Option<i64>,
    /// The time in the header of its first event.
    pub header_time_s: u32,
    /// The latest transaction of the file that must be committed before it (MySQL's logical clock; else 0).
    pub last_committed: i64,
    /// Its own number within the file (MySQL's logical clock; else 0).
    pub sequence_number: i64,
    /// What is in it.
    pub flags: TransactionFlags,
    /// A hash of the XA transaction's XID: equal in the PREPARE and in the COMMIT or ROLLBACK that decides it.
    pub xid: Option<u64>,
    /// The server where it came into being.
    pub server_id: u32,
}

impl Transaction {
    /// When it was committed, in microseconds since 1970: the original commit time, where that is unknown the immediate
    /// one, and in logs without either the whole second of its first event's header (T1).
    #[must_use]
    pub fn commit_us(&self) -> i64 {
        let known = |time: Option<i64>| time.filter(|us| *us != 0);
        known(self.original_commit_us)
            .or(known(self.immediate_commit_us))
            .unwrap_or_else(|| i64::from(self.header_time_s) * 1_000_000)
    }

    /// Whether `commit_us` is only known to the second.
    #[must_use]
    pub fn is_whole_second(&self) -> bool {
        self.original_commit_us.unwrap_or(0) == 0 && self.immediate_commit_us.unwrap_or(0) == 0
    }

    /// The length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// What is in a transaction, as a set of bits. The bits are stored in archives: their numbers never change.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TransactionFlags(u16);

macro_rules! transaction_flags {
    ($($name:ident = $bit:literal, $about:literal;)*) => {
        impl TransactionFlags {
            $(#[doc = $about] pub const $name: Self = Self(1 << $bit);)*

            const NAMES: &[(Self, &str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

transaction_flags! {
    DDL = 0, "A statement that commits by itself: CREATE, ALTER, DROP, GRANT and so on.";
    XA_PREPARE = 1, "Ends with XA PREPARE: what is in it is decided by a later transaction.";
    XA_COMMIT = 2, "An XA COMMIT.";
    XA_ROLLBACK = 3, "An XA ROLLBACK.";
    STATEMENT = 4, "Changes as SQL text (statement format, LOAD DATA).";
    PAYLOAD = 5, "Its events are in a compressed payload, and what is in them is not known.";
    NON_TRANSACTIONAL = 6, "Changes that end with COMMIT or ROLLBACK as a statement: engines without transactions.";
    INCIDENT = 7, "The server says that something is missing in the log here (T28).";
    UNKNOWN_EVENT = 8, "An event of unknown type that must not be ignored is in it, or stands before it.";
}

impl TransactionFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The flags as stored in archives.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Flags read from an archive; bits that a later version may have added are kept.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether all of these flags are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of these flags is set.
    #[must_use]
    pub const fn intersects(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags of either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for TransactionFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for TransactionFlags {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for TransactionFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)).map(|(_, n)| *n).collect();
        f.write_str(&names.join("|"))
    }
}

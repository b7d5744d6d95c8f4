//! What went wrong while archiving a binlog, with its code, its meaning and what helps.

use std::io;

use pitr_binlog::ScanError;
use pitr_recovery::code;

use super::cutter::CutError;
use super::head::HeadError;
use super::pipeline::WorkError;
use crate::archive_failure::of_archive;
use crate::error::Failure;

/// The named failure of a piece of work on `what`.
pub(super) fn of(error: &WorkError, what: &str, archive: &str) -> Failure {
    match error {
        WorkError::Archive(error) => of_archive(error, archive),
        WorkError::Open(reason) | WorkError::Head(HeadError::Read(reason)) | WorkError::Cut(CutError::Read(reason)) => {
            of_read(reason, what)
        }
        WorkError::Head(HeadError::Scan(reason)) => of_scan(what, reason),
        WorkError::Damaged { reason, .. } => Failure::new(&code::DAMAGED_BELOW_TARGET, format!("{what}: {reason}"))
            .hint("the server writes this file now; what is whole before that is archived")
            .fix("look at the server's disk; FLUSH BINARY LOGS, then take a base backup"),
        WorkError::Head(HeadError::Short) | WorkError::Cut(CutError::Shorter { .. }) => {
            Failure::new(&code::DAMAGED_BELOW_TARGET, format!("{what}: {error}"))
                .hint("it is shorter than it was, or than its head")
                .fix("a base backup makes what follows restorable")
        }
        WorkError::Stopped => Failure::new(&code::STORE_UNREACHABLE, format!("{what}: {error}")).exit(130),
    }
}

/// Why a file is no binlog that can be archived.
pub(super) fn of_scan(name: &str, reason: &ScanError) -> Failure {
    match reason {
        ScanError::Encrypted | ScanError::InnodbBinlog => {
            Failure::new(&code::BINLOG_UNREADABLE, format!("{name}: {reason}"))
                .hint("a copy of the file is useless without the server's keyring; over a connection it comes in clear")
                .fix("source: {mode: stream}, or SET PERSIST binlog_encryption = OFF, then FLUSH BINARY LOGS and take a base backup")
        }
        _ => Failure::new(&code::DAMAGED_BELOW_TARGET, format!("{name}: {reason}"))
            .hint("nothing of it can be archived")
            .fix("a base backup makes what follows restorable"),
    }
}

fn of_read(reason: &io::Error, what: &str) -> Failure {
    let message = format!("\"{what}\" cannot be read: {reason}");
    if reason.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(&code::OWNER_UNKNOWN, message)
            .hint("the archiver needs the same user or group as the server")
            .fix("run it as the user that owns the binlogs");
    }
    Failure::new(&code::BINLOG_VOLUME_NOT_FOUND, message)
        .hint("it may have been purged a moment ago")
        .fix("look at the volume and at source.datadir")
}

//! What went wrong while archiving, with its code, its meaning and what helps.

use std::io;

use pitr_archive::{ArchiveError, StoreError};
use pitr_recovery::code;

use super::cutter::CutError;
use super::head::HeadError;
use super::pipeline::WorkError;
use crate::error::Failure;

/// The named failure of a piece of work on `what`.
pub(crate) fn of(error: &WorkError, what: &str, archive: &str) -> Failure {
    match error {
        WorkError::Archive(error) => of_archive(error, archive),
        WorkError::Open(reason) | WorkError::Head(HeadError::Read(reason)) | WorkError::Cut(CutError::Read(reason)) => of_read(reason, what),
        WorkError::Head(_) | WorkError::Cut(_) => Failure::new(&code::DAMAGED_BELOW_TARGET, format!("{what}: {error}")),
        WorkError::Stopped => Failure::new(&code::STORE_UNREACHABLE, format!("{what}: {error}")),
    }
}

fn of_read(reason: &io::Error, what: &str) -> Failure {
    let message = format!("\"{what}\" cannot be read: {reason}");
    if reason.kind() == io::ErrorKind::PermissionDenied {
        return Failure::new(&code::OWNER_UNKNOWN, message).hint("the archiver needs the same user or group as the server");
    }
    Failure::new(&code::BINLOG_VOLUME_NOT_FOUND, message)
}

/// The named failure of something that was asked of an archive.
pub(crate) fn of_archive(error: &ArchiveError, archive: &str) -> Failure {
    match error {
        ArchiveError::Store(error) => of_store(error, archive),
        ArchiveError::ForeignWorkload { .. } => Failure::new(&code::FOREIGN_ARCHIVE, error.to_string())
            .hint("two histories never share a prefix; nothing was written")
            .fix("archive: an address of its own, such as the bucket with /NAMESPACE/NAME"),
        ArchiveError::NoArchive { .. } => Failure::new(&code::NO_ARCHIVE_THERE, error.to_string()),
        ArchiveError::NewerFormat { .. } => Failure::new(&code::NO_ARCHIVE_THERE, error.to_string()).fix("upgrade this program"),
        other => Failure::new(&code::CHECKSUM_MISMATCH, chain(other)),
    }
}

/// The named failure of a call to a store.
pub(crate) fn of_store(error: &StoreError, archive: &str) -> Failure {
    let message = format!("{archive}: {error}");
    match error {
        StoreError::Denied { operation, .. } => Failure::new(&code::STORE_DENIES, message)
            .hint(format!("the store needs {} on this prefix, or other credentials", operation.action()))
            .fix("see docs/store-policies.md"),
        StoreError::Corrupt { .. } => Failure::new(&code::CHECKSUM_MISMATCH, message).hint("the store answered with bytes that were never stored"),
        StoreError::NotFound { .. } => Failure::new(&code::CHECKSUM_MISMATCH, message).hint("an object that the archive names is gone"),
        StoreError::Cancelled { .. } => Failure::new(&code::STORE_UNREACHABLE, message).exit(130),
        StoreError::Transient { .. } | StoreError::Fatal { .. } => Failure::new(&code::STORE_UNREACHABLE, message),
    }
}

fn chain(error: &ArchiveError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

//! What went wrong with an archive or its store, with its code, its meaning and what helps.

use pitr_archive::{ArchiveError, SegmentError, StoreError};
use pitr_recovery::code;

use crate::error::Failure;

/// The named failure of something that was asked of an archive.
pub(crate) fn of_archive(error: &ArchiveError, archive: &str) -> Failure {
    match error {
        ArchiveError::Store(error) => of_store(error, archive),
        ArchiveError::ForeignWorkload { .. } => Failure::new(&code::FOREIGN_ARCHIVE, error.to_string())
            .hint("two histories never share a prefix; nothing was written")
            .fix("archive: an address of its own, such as the bucket with /NAMESPACE/NAME"),
        ArchiveError::NoArchive { .. } => Failure::new(&code::NO_ARCHIVE_THERE, error.to_string())
            .hint("nothing was archived there yet, or the address is not the whole one")
            .fix("the address as it stands in the archiver's configuration"),
        ArchiveError::NewerFormat { .. } => Failure::new(&code::NO_ARCHIVE_THERE, error.to_string())
            .hint("a later version of this program wrote it")
            .fix("upgrade this program"),
        ArchiveError::NoSuchBackup { .. } => Failure::new(&code::NO_USABLE_BACKUP, error.to_string())
            .hint("ids of base backups are in status")
            .fix("leave out --from-backup"),
        ArchiveError::RangeLost { .. } | ArchiveError::RangeChanged { .. } => {
            Failure::new(&code::PLANNED_OBJECT_GONE, error.to_string())
                .hint("retention may have been there")
                .fix("plan again")
        }
        ArchiveError::ClocksDiffer { .. } => Failure::new(&code::STORE_UNREACHABLE, format!("{archive}: {error}"))
            .hint("every age would be wrong; nothing was marked and nothing deleted")
            .fix("set the clock of this host, or the store's, by NTP"),
        ArchiveError::Segment { source: SegmentError::Encrypted { recipients }, .. } => {
            let to = if recipients.is_empty() { String::new() } else { format!(" to {}", recipients.join(", ")) };
            identity_missing(format!("{archive} is encrypted{to}, and no identity was given"))
        }
        ArchiveError::BackupSealed { wrong: false, .. } => {
            identity_missing(format!("{archive}: {error}, and no identity was given"))
        }
        ArchiveError::Segment { source: SegmentError::WrongIdentity { recipients }, .. } => wrong_identity(format!(
            "no identity that was given opens {archive}, which is encrypted to {}",
            recipients.join(", ")
        )),
        ArchiveError::BackupSealed { wrong: true, .. } => wrong_identity(format!("{archive}: {error}")),
        ArchiveError::Stopped => Failure::new(&code::STORE_UNREACHABLE, format!("{archive}: {error}")).exit(130),
        other => Failure::new(&code::CHECKSUM_MISMATCH, format!("{archive}: {}", chain(other)))
            .hint("what is stored is not what was written")
            .fix("take a new base backup; what precedes the damage stays restorable"),
    }
}

fn identity_missing(message: String) -> Failure {
    Failure::new(&code::IDENTITY_MISSING, message)
        .hint("those who store hold public keys only; windows and plans need no identity, a restore does")
        .fix("--identity-file FILE; in a cluster --identity-secret NAME")
}

fn wrong_identity(message: String) -> Failure {
    Failure::new(&code::WRONG_IDENTITY, message)
        .hint("the public key of an identity stands in its file as a comment: # public key: age1...")
        .hint("another base backup may need only the identities at hand: --from-backup ID; ids are in status")
        .fix("--identity-file with the identity of one of these recipients; several may stand in one file")
}

/// The named failure of a call to a store.
pub(crate) fn of_store(error: &StoreError, archive: &str) -> Failure {
    let message = format!("{archive}: {error}");
    match error {
        StoreError::Denied { reason, .. } if reason.starts_with("RequestTimeTooSkewed") => {
            Failure::new(&code::STORE_DENIES, message)
                .hint("the clock of this host is more than 15 minutes off the store's")
                .fix("set the clock of this host by NTP")
        }
        StoreError::Denied { operation, .. } => Failure::new(&code::STORE_DENIES, message)
            .hint(format!("the store needs {} on this prefix, or other credentials", operation.action()))
            .fix("see docs/operations.md#rights-in-the-bucket"),
        StoreError::Withheld { .. } => Failure::new(&code::STORE_DENIES, message)
            .hint("the object is there, in a storage class that nothing is read from directly")
            .fix("restore it from its storage class in the bucket, and run this again"),
        StoreError::Corrupt { .. } => Failure::new(&code::CHECKSUM_MISMATCH, message)
            .hint("the store answered with bytes that were never stored")
            .fix("run it again; if it stays, take a new base backup"),
        StoreError::NotFound { .. } => Failure::new(&code::CHECKSUM_MISMATCH, message)
            .hint("an object that the archive names is gone")
            .fix("take a new base backup"),
        StoreError::Cancelled { .. } => Failure::new(&code::STORE_UNREACHABLE, message).exit(130),
        StoreError::Transient { .. } => Failure::new(&code::STORE_UNREACHABLE, message)
            .hint("it was tried again until time was up")
            .fix("look at endpoint, network and the store itself"),
        StoreError::Fatal { .. } => Failure::new(&code::STORE_UNREACHABLE, message)
            .hint("trying again will not help")
            .fix("look at bucket, region, endpoint and CA in the configuration"),
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

/// The named failure of an archive or a store that stands somewhere in an error's chain.
pub(crate) fn named(error: &anyhow::Error, archive: &str) -> Option<Failure> {
    error.chain().find_map(|cause| match (cause.downcast_ref::<ArchiveError>(), cause.downcast_ref::<StoreError>()) {
        (Some(error), _) => Some(of_archive(error, archive)),
        (None, Some(error)) => Some(of_store(error, archive)),
        (None, None) => None,
    })
}

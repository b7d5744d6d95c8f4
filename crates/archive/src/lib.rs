//! Where and how the archive is kept: stores, segments, catalog, base backups, and the documents that both programs share.
//!
//! ```text
//! SegmentDraft ─ codec ─▶ binlogs/ or tail/ ─ then ─▶ catalog/ page ─ then ─▶ covered tail objects go
//! expired/ → tail/ → catalog/ → backups/ ──────────▶ Inventory ──▶ pitr_recovery::Timeline ──▶ RestorePlan
//! RestorePlan ◀──▶ PlanDocument (JSON, by hash)      read_range, read_index, restore of a base backup: all verified
//! ```
//!
//! The format and its rules are in docs/archive-format.md. This crate knows nothing of SQL or Kubernetes, and object
//! keys exist only in [`layout`]. Nothing here is a lock, a lease or a conditional write: objects are immutable, shared
//! state only grows, and a reader takes the union.

mod archive;
pub mod backup;
mod catalog;
mod digest;
pub mod document;
mod estimate;
mod expiry;
pub mod layout;
mod seal;
mod segment;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod url;

pub use archive::{
    Adoption, Archive, ArchiveError, Clock, Deduped, Description, Discovered, Drill, Drills, EncodedSegment, Finding,
    FindingKind, Found, FoundTransaction, InventoryReport, LastVerified, Matching, NoResume, OtherBase, Pace, PlanKeys,
    Point, Probe, ProbeStep, Proofs, Proposal, Published, Quarantine, RangeGtids, Rebuilt, RecordList, Resume,
    Retained, RetentionRules, SLICES, Search, SearchError, Slices, Sought, StopDescription, Swept, TailCoverage,
    TailReport, Verified, VerifyProgress, VerifyRules, Workspace, is_log_sealed, lay_over, remove_from,
};
pub use catalog::{MergeEffort, PageError};
pub use digest::{Digest, ShortHash, sha256};
pub use estimate::Estimate;
pub use layout::Place;
pub use seal::{
    HashKey, HashKeyId, Identities, Identity, IdentityFileError, KeyError, KeyFileError, Recipient, Sealer,
};
pub use segment::memory;
pub use segment::{
    Closes, Codec, CodecError, DraftError, EncodingTime, HeaderCodec, HeldSet, IndexedTransaction, OpenedSegment,
    Parts, RawBytes, Repeat, RepeatOf, SEGMENT_RAW_BYTES_MAX, SegmentDamage, SegmentDraft, SegmentError, SegmentHeader,
    SegmentOrigin, SegmentRecord, TransactionSummary, UnknownCodec, open_segment, read_header,
};
pub use store::{
    CallCount, Checksum, Counting, Credentials, FileStore, ListedObject, MemoryStore, OBJECT_BYTES_MAX, ObjectClass,
    ObjectInfo, Operation, OptionError, RetryPolicy, Retrying, S3Options, S3Store, ServerEncryption, StorageClass,
    Store, StoreCounts, StoreError, connect, open_store,
};
pub use url::{ArchiveUrl, UrlError};

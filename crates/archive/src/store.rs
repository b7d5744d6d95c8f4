//! Where objects are kept: one trait, three stores, and wrappers that add what cuts across them.
//!
//! A [`Store`] makes one attempt per call and knows nothing of binlogs. Keys are relative to the archive, with `/`
//! between their parts; `layout` is the only module that builds or parses them. No call needs a precondition: keys
//! contain the hash of what they name, so writing an object twice writes the same bytes twice (archive-format.md).

mod counting;
mod error;
mod file;
mod memory;
mod open;
mod retrying;
mod s3;

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

pub use counting::{CallCount, Counting, StoreCounts};
pub(crate) use error::Call;
pub use error::{Operation, StoreError};
pub use file::FileStore;
pub use memory::MemoryStore;
pub use open::{connect, open_store};
pub use retrying::{RetryPolicy, Retrying};
pub use s3::{Checksum, Credentials, OptionError, S3Options, S3Store, ServerEncryption, StorageClass};

/// No object of an archive is larger: a reader gives up on one before it is in memory.
pub const OBJECT_BYTES_MAX: u64 = 256 << 20;

/// A place where immutable objects are kept.
///
/// Every call is one attempt; [`Retrying`] repeats. All calls may be dropped at any point: a `put` may then have
/// happened or not, and nothing else is left behind but temporary files that no listing shows.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Stores an object, whole or not at all. Storing the same bytes again is harmless.
    async fn put(&self, key: &str, bytes: Bytes, class: ObjectClass) -> Result<(), StoreError>;

    /// The whole object.
    async fn get(&self, key: &str) -> Result<Bytes, StoreError>;

    /// The bytes of a range, fewer or none where the object ends before it.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Length and age of an object.
    async fn head(&self, key: &str) -> Result<ObjectInfo, StoreError>;

    /// All objects whose key starts with `prefix`, in order of their keys. Not a snapshot: what is written or deleted
    /// meanwhile may or may not be in it.
    async fn list(&self, prefix: &str) -> Result<Vec<ListedObject>, StoreError>;

    /// Deletes objects; one that does not exist is no error.
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError>;

    /// The store's address for messages, without credentials.
    fn describe(&self) -> String;

    /// How long a redundant object stays, so that readers with a cached view of a directory find what they have seen.
    fn redundant_for(&self) -> Duration {
        Duration::ZERO
    }
}

/// What an object is for: decides its storage class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectClass {
    /// Small or short-lived: tail, catalog, marks, manifests. Always the store's default class.
    Control,
    /// The bulk: segments of binlogs and chunks of base backups.
    Content,
}

/// What a store says about one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Stored length in bytes.
    pub length: u64,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key, relative to the archive.
    pub key: String,
    /// Stored length in bytes.
    pub length: u64,
    /// When it was stored, by the store's clock.
    pub modified: Timestamp,
}

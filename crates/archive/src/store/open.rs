//! From an address to a store.

use std::sync::Arc;

use super::error::StoreError;
use super::{FileStore, MemoryStore, RetryPolicy, Retrying, S3Options, S3Store, Store};
use crate::url::ArchiveUrl;

/// The store at `url`, whose calls are repeated by the default [`RetryPolicy`].
///
/// Nothing is asked of the store yet; a `memory:` archive is new and empty each time.
///
/// # Errors
/// [`StoreError::Fatal`] when the options cannot be used, e.g. the CA file holds no certificate.
pub async fn open_store(url: &ArchiveUrl, options: &S3Options) -> Result<Arc<dyn Store>, StoreError> {
    Ok(Arc::new(Retrying::new(connect(url, options).await?, RetryPolicy::default())))
}

/// The store at `url`, one attempt per call: for callers that wrap it themselves.
///
/// # Errors
/// As [`open_store`].
pub async fn connect(url: &ArchiveUrl, options: &S3Options) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        ArchiveUrl::S3 { bucket, prefix } => Arc::new(S3Store::connect(bucket, prefix, options).await?),
        ArchiveUrl::File { directory } => Arc::new(FileStore::new(directory)),
        ArchiveUrl::Memory => Arc::new(MemoryStore::new()),
    })
}

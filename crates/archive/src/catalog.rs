//! The catalog: pages of lines, one line for each segment under `binlogs/` (archive-format.md "Catalog").
//!
//! A page is zstd-compressed JSON lines and never changes. A reader takes the union of all pages, keyed by object key,
//! so order and repetition make no difference. It is derived from the segments and can be made again from them.

mod merge;
mod page;

pub use merge::MergeEffort;
pub(crate) use merge::{Merge, choose};
pub use page::PageError;
pub(crate) use page::{PageWriter, raw_lines, records};

/// A page with a larger stored length is not merged any more: rewriting it costs more than it saves.
pub(crate) const FULL_PAGE_STORED_BYTES: u64 = 6 << 20;

/// No page is written larger than this, decompressed.
pub(crate) const PAGE_BYTES_MAX: usize = 64 << 20;

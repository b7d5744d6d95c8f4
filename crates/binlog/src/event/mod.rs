//! Single events: their types, their common header, and the bodies that matter here.
//!
//! Everything is read from bytes in memory; nothing is copied but small texts. Formats are those of MySQL's
//! `libs/mysql/binlog/event` (before 8.1 `libbinlogevents`) and of MariaDB's `sql/log_event.h`.

mod checksum;
mod format_description;
mod header;
mod kind;

pub use checksum::{CRC_LENGTH, ChecksumAlgorithm, clear_in_use, crc32_matches, write_crc32};
pub use format_description::FormatDescription;
pub use header::EventHeader;
pub use kind::EventType;

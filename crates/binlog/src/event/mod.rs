//! Single events: their types, their common header, and the bodies that matter here.
//!
//! Everything is read from bytes in memory; nothing is copied but small texts. Formats are those of MySQL's
//! `libs/mysql/binlog/event` (before 8.1 `libbinlogevents`) and of MariaDB's `sql/log_event.h`.

pub mod build;
mod checksum;
mod control;
mod format_description;
mod frame;
mod gtid;
mod header;
mod kind;
mod mask;
mod query;
mod renumber;
mod rows;
mod table_map;
mod xa;

pub use checksum::{CRC_LENGTH, ChecksumAlgorithm, clear_in_use, crc32_matches, write_crc32};
pub use control::{Compression, IncidentEvent, PayloadEvent, RotateEvent, parse_xid};
pub use format_description::FormatDescription;
pub use frame::{Event, Events};
pub use gtid::{GtidEvent, parse_gtid_list};
pub use header::EventHeader;
pub use kind::EventType;
pub use mask::{mask, unmask};
pub use query::{QueryEvent, QueryKind};
pub use renumber::{LogicalClock, renumbered};
pub use rows::{RowsEvent, RowsKind};
pub use table_map::TableMap;
pub use xa::{XaId, XaPrepareEvent};

pub(crate) use query::is_query;

/// Bytes that are not the event that they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MalformedEvent(pub &'static str);

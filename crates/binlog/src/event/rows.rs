use super::table_map::{Storage, TableMap};
use super::{EventType, MalformedEvent};
use crate::reader::Reader;

/// What rows events do to their rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowsKind {
    /// INSERT, and REPLACE of new rows.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl RowsKind {
    /// What events of this type do, if they are rows events.
    #[must_use]
    pub const fn of(event_type: EventType) -> Option<Self> {
        Some(match event_type {
            EventType::PRE_GA_WRITE_ROWS
            | EventType::WRITE_ROWS_V1
            | EventType::WRITE_ROWS
            | EventType::WRITE_ROWS_COMPRESSED_V1
            | EventType::WRITE_ROWS_COMPRESSED => Self::Insert,
            EventType::PRE_GA_UPDATE_ROWS
            | EventType::UPDATE_ROWS_V1
            | EventType::UPDATE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS
            | EventType::UPDATE_ROWS_COMPRESSED_V1
            | EventType::UPDATE_ROWS_COMPRESSED => Self::Update,
            EventType::PRE_GA_DELETE_ROWS
            | EventType::DELETE_ROWS_V1
            | EventType::DELETE_ROWS
            | EventType::DELETE_ROWS_COMPRESSED_V1
            | EventType::DELETE_ROWS_COMPRESSED => Self::Delete,
            _ => return None,
        })
    }
}

/// Rows of one table (`Rows_event`: table id 6 bytes, flags u16, from version 2 on extra data whose length u16 counts
/// itself, number of columns packed, bits of the columns present, for an update those after it too, row images).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsEvent<'a> {
    /// What happens to the rows.
    pub kind: RowsKind,
    /// Which table: the number in its table map.
    pub table_id: u64,
    columns: usize,
    present: &'a [u8],
    present_after: Option<&'a [u8]>,
    partial: bool,
    /// The row images; `None` if they are compressed.
    images: Option<&'a [u8]>,
}

impl<'a> RowsEvent<'a> {
    /// Reads the body of an event of this type.
    pub fn parse(event_type: EventType, body: &'a [u8]) -> Result<Self, MalformedEvent> {
        let kind = RowsKind::of(event_type).ok_or(MalformedEvent("not a rows event"))?;
        Self::read(event_type, kind, &mut Reader::new(body))
            .ok_or(MalformedEvent("its body is not that of a rows event"))
    }

    /// Whether these are the last rows of their statement (`STMT_END_F`); `None` if the body is too short to say.
    #[must_use]
    pub fn ends_statement(body: &[u8]) -> Option<bool> {
        const STATEMENT_ENDS: u16 = 1;
        let mut reader = Reader::new(body);
        reader.uint(6)?;
        reader.u16().map(|flags| flags & STATEMENT_ENDS != 0)
    }

    fn read(event_type: EventType, kind: RowsKind, reader: &mut Reader<'a>) -> Option<Self> {
        let table_id = reader.uint(6)?;
        let _flags = reader.u16()?;
        if has_extra_data(event_type) {
            let length = usize::from(reader.u16()?);
            reader.take(length.checked_sub(2)?)?;
        }
        let columns = usize::try_from(reader.packed()?).ok()?;
        let present = reader.take(columns.div_ceil(8))?;
        let present_after = match kind {
            RowsKind::Update => Some(reader.take(columns.div_ceil(8))?),
            RowsKind::Insert | RowsKind::Delete => None,
        };
        let images = if is_compressed(event_type) { None } else { Some(reader.rest()) };
        let partial = event_type == EventType::PARTIAL_UPDATE_ROWS;
        Some(Self { kind, table_id, columns, present, present_after, partial, images })
    }

    /// The number of rows, found by walking their images. `None` if that can't be done exactly: a column of unknown type,
    /// compressed rows, or images that don't add up.
    #[must_use]
    pub fn count(&self, table: &TableMap<'_>) -> Option<u64> {
        if table.columns.len() != self.columns {
            return None;
        }
        let mut images = Reader::new(self.images?);
        let mut count = 0;
        while !images.is_empty() {
            let before = images.position();
            skip_image(&mut images, &table.columns, self.present, false)?;
            if let Some(after) = self.present_after {
                skip_image(&mut images, &table.columns, after, self.partial)?;
            }
            if images.position() == before {
                return None;
            }
            count += 1;
        }
        Some(count)
    }
}

/// Version 1 and what MariaDB writes (types up to 25 and their compressed forms) have none.
fn has_extra_data(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::WRITE_ROWS
            | EventType::UPDATE_ROWS
            | EventType::DELETE_ROWS
            | EventType::PARTIAL_UPDATE_ROWS
            | EventType::WRITE_ROWS_COMPRESSED
            | EventType::UPDATE_ROWS_COMPRESSED
            | EventType::DELETE_ROWS_COMPRESSED
    )
}

fn is_compressed(event_type: EventType) -> bool {
    (EventType::WRITE_ROWS_COMPRESSED_V1..=EventType::DELETE_ROWS_COMPRESSED).contains(&event_type)
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
}

/// Passes one row image: bits of NULL values, one per column present, then the values that are not NULL. The image after
/// a partial update begins with packed options; if their bit 0 is set, bits of the partial JSON values follow.
fn skip_image(images: &mut Reader<'_>, columns: &[Option<Storage>], present: &[u8], partial: bool) -> Option<()> {
    const PARTIAL_JSON: u64 = 1;
    if partial && images.packed()? & PARTIAL_JSON != 0 {
        let json = columns.iter().filter(|storage| matches!(storage, Some(Storage::Json(_)))).count();
        images.take(json.div_ceil(8))?;
    }
    let stored = || columns.iter().enumerate().filter(|(at, _)| bit(present, *at));
    let nulls = images.take(stored().count().div_ceil(8))?;
    for (at, (_, storage)) in stored().enumerate() {
        if bit(nulls, at) {
            continue;
        }
        let length = match (*storage)? {
            Storage::Fixed(length) => length,
            Storage::Prefixed(size) | Storage::Json(size) => usize::try_from(images.uint(size)?).ok()?,
        };
        images.take(length)?;
    }
    Some(())
}

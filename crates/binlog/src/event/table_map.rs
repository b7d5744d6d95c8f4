use super::MalformedEvent;
use crate::reader::Reader;

/// Which table the rows events after it mean, and how its columns are stored (`Table_map_event`: table id 6 bytes, flags
/// u16, schema and table each with length u8 and NUL, number of columns packed, a type per column, metadata with packed
/// length, nullability bits; optional metadata after that is not needed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableMap<'a> {
    /// The number that rows events use for the table.
    pub table_id: u64,
    /// The schema's name.
    pub schema: &'a [u8],
    /// The table's name.
    pub table: &'a [u8],
    /// How the values of each column are stored; `None` for a type that we don't know.
    pub(super) columns: Vec<Option<Storage>>,
}

/// How a value of one column is stored in a row image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// So many bytes.
    Fixed(usize),
    /// A length of so many bytes, then the value.
    Prefixed(usize),
    /// JSON: as `Prefixed`, but may be partial.
    Json(usize),
}

impl<'a> TableMap<'a> {
    /// Reads the body.
    pub fn parse(body: &'a [u8]) -> Result<Self, MalformedEvent> {
        Self::read(&mut Reader::new(body)).ok_or(MalformedEvent("its body is not that of a TABLE_MAP event"))
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let table_id = reader.uint(6)?;
        let _flags = reader.u16()?;
        let schema = read_name(reader)?;
        let table = read_name(reader)?;
        let count = usize::try_from(reader.packed()?).ok()?;
        let types = reader.take(count)?;
        let metadata_length = usize::try_from(reader.packed()?).ok()?;
        let mut metadata = Reader::new(reader.take(metadata_length)?);
        let mut columns = Vec::with_capacity(types.len());
        for column_type in types {
            let storage = storage_of(*column_type, &mut metadata);
            columns.push(storage);
            if storage.is_none() {
                // The metadata of an unknown type has an unknown length: nothing after it can be told.
                columns.resize(types.len(), None);
                break;
            }
        }
        Some(Self { table_id, schema, table, columns })
    }
}

fn read_name<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let length = reader.u8()?;
    let name = reader.take(length.into())?;
    reader.take(1)?;
    Some(name)
}

/// Numbers are those of `enum_field_types`; what each stores in a row image is in `Field::pack` and `calc_field_size`.
fn storage_of(column_type: u8, metadata: &mut Reader<'_>) -> Option<Storage> {
    let fractional = |bytes: usize, digits: u8| Storage::Fixed(bytes + usize::from(digits).div_ceil(2));
    Some(match column_type {
        // NULL
        6 => Storage::Fixed(0),
        // TINY, YEAR
        1 | 13 => Storage::Fixed(1),
        // SHORT
        2 => Storage::Fixed(2),
        // INT24, DATE, TIME, NEWDATE
        9 | 10 | 11 | 14 => Storage::Fixed(3),
        // LONG, TIMESTAMP
        3 | 7 => Storage::Fixed(4),
        // LONGLONG, DATETIME
        8 | 12 => Storage::Fixed(8),
        // FLOAT, DOUBLE: the metadata is the size
        4 | 5 => Storage::Fixed(metadata.u8()?.into()),
        // TIMESTAMP2, DATETIME2, TIME2: the metadata is the number of fractional digits
        17 => fractional(4, metadata.u8()?),
        18 => fractional(5, metadata.u8()?),
        19 => fractional(3, metadata.u8()?),
        // BIT: bits of an incomplete byte, bytes
        16 => {
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            Storage::Fixed(usize::from(bytes) + usize::from(bits > 0))
        }
        // NEWDECIMAL: precision, decimals
        246 => decimal(metadata.u8()?, metadata.u8()?)?,
        // VARCHAR, VAR_STRING, MariaDB's compressed VARCHAR: the metadata is the maximal length
        15 | 253 | 141 => Storage::Prefixed(if metadata.u16()? > 255 { 2 } else { 1 }),
        // ENUM and SET hide behind STRING
        254 => string(metadata.u8()?, metadata.u8()?),
        // VECTOR, the blobs, GEOMETRY, MariaDB's compressed BLOB: the metadata is the size of the length
        242 | 249..=252 | 255 | 140 => Storage::Prefixed(metadata.u8()?.into()),
        // JSON
        245 => Storage::Json(metadata.u8()?.into()),
        _ => return None,
    })
}

/// Nine digits take four bytes, on each side of the point; what is left over takes what it needs (`decimal_bin_size`).
fn decimal(precision: u8, decimals: u8) -> Option<Storage> {
    const BYTES_OF_DIGITS: [usize; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    let size = |digits: usize| digits / 9 * 4 + BYTES_OF_DIGITS[digits % 9];
    let whole = precision.checked_sub(decimals)?;
    Some(Storage::Fixed(size(whole.into()) + size(decimals.into())))
}

/// CHAR, BINARY, ENUM and SET: the real type in the first byte, the length in the second, and two further bits of a CHAR's
/// length in bits 4 and 5 of the first, inverted.
fn string(first: u8, second: u8) -> Storage {
    const ENUM: u8 = 247;
    const SET: u8 = 248;
    const LENGTH_BITS: u8 = 0x30;
    if matches!(first, ENUM | SET) {
        return Storage::Fixed(second.into());
    }
    let further = usize::from(!first & LENGTH_BITS) << 4;
    Storage::Prefixed(if further | usize::from(second) > 255 { 2 } else { 1 })
}

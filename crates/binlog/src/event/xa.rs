use std::fmt;

use super::MalformedEvent;
use crate::reader::Reader;

/// The identifier of an XA transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct XaId {
    format_id: i32,
    data: [u8; 2 * Self::PART_LENGTH_MAX],
    gtrid_length: u8,
    bqual_length: u8,
}

impl XaId {
    /// The longest global or branch part, in bytes (`MAXGTRIDSIZE`, `MAXBQUALSIZE`).
    pub const PART_LENGTH_MAX: usize = 64;

    /// An identifier of these parts, if none is too long.
    #[must_use]
    pub fn new(format_id: i32, gtrid: &[u8], bqual: &[u8]) -> Option<Self> {
        if gtrid.len() > Self::PART_LENGTH_MAX || bqual.len() > Self::PART_LENGTH_MAX {
            return None;
        }
        let mut data = [0; 2 * Self::PART_LENGTH_MAX];
        data[..gtrid.len()].copy_from_slice(gtrid);
        data[gtrid.len()..gtrid.len() + bqual.len()].copy_from_slice(bqual);
        Some(Self { format_id, data, gtrid_length: gtrid.len() as u8, bqual_length: bqual.len() as u8 })
    }

    /// Reads the identifier in the text of a logged XA statement: `XA COMMIT X'6162',X'',1`.
    pub(super) fn from_statement(sql: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(sql).ok()?;
        let (_, rest) = text.split_once("X'")?;
        let (gtrid, rest) = rest.split_once("',X'")?;
        let (bqual, rest) = rest.split_once("',")?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        // The server prints the format unsigned.
        let format_id = rest[..digits].parse::<u32>().ok()? as i32;
        Self::new(format_id, &from_hex(gtrid)?, &from_hex(bqual)?)
    }

    /// The format: 1 unless the client chose another.
    #[must_use]
    pub const fn format_id(&self) -> i32 {
        self.format_id
    }

    /// The global part.
    #[must_use]
    pub fn gtrid(&self) -> &[u8] {
        &self.data[..usize::from(self.gtrid_length)]
    }

    /// The branch part.
    #[must_use]
    pub fn bqual(&self) -> &[u8] {
        let start = usize::from(self.gtrid_length);
        &self.data[start..start + usize::from(self.bqual_length)]
    }

    /// A 64-bit hash (FNV-1a over format, length and content of the parts): what archives store, so it never changes.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let format = self.format_id.to_le_bytes();
        let parts: [&[u8]; 4] = [&format, &[self.gtrid_length], self.gtrid(), self.bqual()];
        parts.into_iter().flatten().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
    }
}

impl fmt::Display for XaId {
    /// As the servers log it: `X'6162',X'',1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.gtrid(), self.bqual()] {
            f.write_str("X'")?;
            for byte in part {
                write!(f, "{byte:02x}")?;
            }
            f.write_str("',")?;
        }
        write!(f, "{}", self.format_id as u32)
    }
}

impl fmt::Debug for XaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4 | digit(*low)?) as u8),
            _ => None,
        })
        .collect()
}

/// The end of a transaction by XA PREPARE, or by XA COMMIT ... ONE PHASE (`XA_prepare_event`: one-phase flag u8, format
/// i32, lengths of both parts u32, data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XaPrepareEvent {
    /// Committed at once: nothing stays prepared.
    pub one_phase: bool,
    /// Which XA transaction.
    pub id: XaId,
}

impl XaPrepareEvent {
    /// Reads the body.
    pub fn parse(body: &[u8]) -> Result<Self, MalformedEvent> {
        Self::read(&mut Reader::new(body)).ok_or(MalformedEvent("its body is not that of an XA_PREPARE event"))
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let one_phase = reader.u8()? != 0;
        let format_id = reader.u32()? as i32;
        let gtrid_length = usize::try_from(reader.u32()?).ok()?;
        let bqual_length = usize::try_from(reader.u32()?).ok()?;
        let (gtrid, bqual) = (reader.take(gtrid_length)?, reader.take(bqual_length)?);
        Some(Self { one_phase, id: XaId::new(format_id, gtrid, bqual)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn statement_and_event_give_the_same_id() {
        let of_statement = XaId::from_statement(b"XA COMMIT X'6162',X'63',7").unwrap();
        let body = [&[0, 7, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0], b"abc".as_slice()].concat();
        let event = XaPrepareEvent::parse(&body).unwrap();
        assert_eq!((event.one_phase, event.id), (false, of_statement));
        assert_eq!((of_statement.gtrid(), of_statement.bqual(), of_statement.format_id()), (&b"ab"[..], &b"c"[..], 7));
        assert_ne!(of_statement.hash64(), XaId::new(7, b"a", b"bc").unwrap().hash64());
        for length in 0..body.len() {
            assert!(XaPrepareEvent::parse(&body[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn statements_without_an_id() {
        for sql in ["XA COMMIT 'ab'", "XA COMMIT X'6',X'',1", "XA COMMIT X'zz',X'',1", "XA COMMIT X'',X'',", "", "X'"] {
            assert_eq!(XaId::from_statement(sql.as_bytes()), None, "{sql}");
        }
        assert_eq!(XaId::new(1, &[0; 65], b""), None);
    }

    #[test]
    fn the_stored_hash_never_changes() {
        assert_eq!(XaId::new(1, b"trx-1", b"branch").unwrap().hash64(), 0xe5cf_021f_1670_49cd);
    }

    proptest! {
        #[test]
        fn parse_undoes_display(
            format: i32,
            gtrid in prop::collection::vec(any::<u8>(), 0..=64),
            bqual in prop::collection::vec(any::<u8>(), 0..=64),
        ) {
            let id = XaId::new(format, &gtrid, &bqual).unwrap();
            prop_assert_eq!(XaId::from_statement(format!("XA ROLLBACK {id}").as_bytes()), Some(id));
        }
    }
}

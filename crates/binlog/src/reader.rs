/// Reads little-endian fields from bytes in memory. Each read either succeeds whole or leaves the position unchanged.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) const fn position(&self) -> usize {
        self.position
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.position == self.bytes.len()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position..]
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..length)?;
        self.position += length;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.rest().first_chunk()?;
        self.position += N;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An integer of `length` bytes, at most 8.
    pub(crate) fn uint(&mut self, length: usize) -> Option<u64> {
        let mut wide = [0; 8];
        wide.get_mut(..length)?.copy_from_slice(self.take(length)?);
        Some(u64::from_le_bytes(wide))
    }

    /// A variable-length integer of `mysql::serialization`: the trailing ones of the first byte count the bytes that
    /// follow it; the value is what stands above them and their zero.
    pub(crate) fn varint(&mut self) -> Option<u64> {
        let more = self.rest().first()?.trailing_ones() as usize;
        if more == 8 {
            let mut ahead = self.clone();
            ahead.u8()?;
            let value = ahead.u64()?;
            *self = ahead;
            return Some(value);
        }
        // more + 1 is 8 at most.
        self.uint(more + 1).map(|raw| raw >> (more + 1))
    }

    /// A signed variable-length integer: the sign is the lowest bit.
    pub(crate) fn signed_varint(&mut self) -> Option<i64> {
        self.varint().map(|raw| (raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// A length-encoded integer of the client protocol, as it stands in table maps and payload events.
    pub(crate) fn packed(&mut self) -> Option<u64> {
        let mut ahead = self.clone();
        let value = match ahead.u8()? {
            byte @ 0..=250 => u64::from(byte),
            252 => ahead.uint(2)?,
            253 => ahead.uint(3)?,
            254 => ahead.uint(8)?,
            251 | 255 => return None,
        };
        *self = ahead;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_moves_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!((reader.u32(), reader.u64(), reader.take(4)), (None, None, None));
        assert_eq!((reader.u16(), reader.u8(), reader.u8()), (Some(0x0201), Some(3), None));
        assert!(reader.is_empty());
    }

    #[test]
    fn variable_length_integers_of_each_length() {
        let cases: [(&[u8], u64); 8] = [
            (&[0], 0),
            (&[0xfe], 127),
            (&[0x01, 0x02], 128),
            (&[0xfd, 0xff], 16383),
            (&[0x03, 0, 0x02], 16384),
            (&[0x7f, 1, 0, 0, 0, 0, 0, 0x80], 0x0080_0000_0000_0001),
            (&[0xff, 1, 2, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0201),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], u64::MAX),
        ];
        for (bytes, value) in cases {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.varint(), Some(value), "{bytes:x?}");
            assert!(reader.is_empty(), "{bytes:x?}");
            for short in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..short]).varint(), None, "{bytes:x?} cut at {short}");
            }
        }
    }

    #[test]
    fn signed_integers_keep_the_sign_in_the_lowest_bit() {
        for (byte, value) in [(0u8, 0), (1, -1), (2, 1), (3, -2), (126, 63), (127, -64)] {
            assert_eq!(Reader::new(&[byte << 1]).signed_varint(), Some(value));
        }
    }

    #[test]
    fn packed_integers() {
        let cases: [(&[u8], Option<u64>); 6] = [
            (&[250], Some(250)),
            (&[252, 1, 2], Some(0x0201)),
            (&[253, 1, 2, 3], Some(0x03_0201)),
            (&[254, 1, 2, 3, 4, 5, 6, 7, 8], Some(0x0807_0605_0403_0201)),
            (&[251], None),
            (&[252, 1], None),
        ];
        for (bytes, value) in cases {
            assert_eq!(Reader::new(bytes).packed(), value);
        }
    }
}

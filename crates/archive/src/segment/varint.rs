//! Numbers in as few bytes as they need: LEB128, and zigzag for those that may be negative.

/// A column ends early, or holds a number of more than 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The difference of two numbers, wrapping: small in either direction is short.
pub(super) fn put_delta(out: &mut Vec<u8>, value: u64, before: u64) {
    put_signed(out, value.wrapping_sub(before).cast_signed());
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Reads what was put, from untrusted bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    rest: &'a [u8],
}

impl<'a> Column<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn delta(&mut self, before: u64) -> Result<u64, Malformed> {
        Ok(before.wrapping_add(self.signed()?.cast_unsigned()))
    }

    #[cfg(test)]
    fn remaining(&self) -> usize {
        self.rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_read(values in prop::collection::vec((any::<u64>(), any::<i64>(), any::<u64>()), 0..20)) {
            let mut out = Vec::new();
            for (number, signed, before) in &values {
                put(&mut out, *number);
                put_signed(&mut out, *signed);
                put_delta(&mut out, *number, *before);
            }
            let mut column = Column::new(&out);
            for (number, signed, before) in &values {
                prop_assert_eq!(column.number(), Ok(*number));
                prop_assert_eq!(column.signed(), Ok(*signed));
                prop_assert_eq!(column.delta(*before), Ok(*number));
            }
            prop_assert_eq!(column.remaining(), 0);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut column = Column::new(&bytes);
            while column.number().is_ok() {}
            prop_assert!(column.remaining() <= bytes.len());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(0x01);
        assert_eq!(Column::new(&bytes).number(), Ok(u64::MAX));
        bytes[9] = 0x02;
        assert_eq!(Column::new(&bytes).number(), Err(Malformed));
    }
}

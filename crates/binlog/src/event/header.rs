use super::EventType;

/// The 19 bytes before each event (binlog version 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970: when the statement began, by its session's clock. Goes backwards (T1).
    pub timestamp: u32,
    /// What the event is.
    pub event_type: EventType,
    /// The server where the event came into being.
    pub server_id: u32,
    /// The event's length: header, body and checksum.
    pub size: u32,
    /// The lower 32 bits of the offset after the event, or 0. Wrong beyond 4 GiB and in MariaDB groups: never relied on.
    pub log_pos: u32,
    /// Bits, of which the constants here name some.
    pub flags: u16,
}

impl EventHeader {
    /// The header's length in the file.
    pub const LENGTH: usize = 19;
    /// In a format description: the file is being written, or its server crashed (`LOG_EVENT_BINLOG_IN_USE_F`).
    pub const IN_USE: u16 = 0x1;
    /// Made up by a source for its replica, not in any file (`LOG_EVENT_ARTIFICIAL_F`).
    pub const ARTIFICIAL: u16 = 0x20;
    /// Written by a replica's receiver to its relay log (`LOG_EVENT_RELAY_LOG_F`).
    pub const RELAY_LOG: u16 = 0x40;
    /// Who doesn't know the type may skip the event (`LOG_EVENT_IGNORABLE_F`).
    pub const IGNORABLE: u16 = 0x80;

    /// Reads a header. Any bytes are one: whether the size makes sense is for the caller to say.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::LENGTH]) -> Self {
        let b = bytes;
        Self {
            timestamp: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            event_type: EventType(b[4]),
            server_id: u32::from_le_bytes([b[5], b[6], b[7], b[8]]),
            size: u32::from_le_bytes([b[9], b[10], b[11], b[12]]),
            log_pos: u32::from_le_bytes([b[13], b[14], b[15], b[16]]),
            flags: u16::from_le_bytes([b[17], b[18]]),
        }
    }

    /// The header as it stands in a file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[0..4].copy_from_slice(&self.timestamp.to_le_bytes());
        bytes[4] = self.event_type.0;
        bytes[5..9].copy_from_slice(&self.server_id.to_le_bytes());
        bytes[9..13].copy_from_slice(&self.size.to_le_bytes());
        bytes[13..17].copy_from_slice(&self.log_pos.to_le_bytes());
        bytes[17..19].copy_from_slice(&self.flags.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_and_back(bytes: [u8; EventHeader::LENGTH]) {
            prop_assert_eq!(EventHeader::parse(&bytes).to_bytes(), bytes);
        }
    }
}

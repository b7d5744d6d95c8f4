//! Which events of a dump stand in the file, and where.
//!
//! ```text
//! ROTATE*  FORMAT_DESCRIPTION  PREVIOUS_GTIDS  t1  t2  HEARTBEAT*  t3  ROTATE   ROTATE*  FORMAT_DESCRIPTION ...
//!          |------------------------- the file ---------------------------|
//! ```
//! Those with a star are made up by the server, and so is a format description that comes first where a dump begins behind the file's own.

use pitr_binlog::event::{EventHeader, EventType, RotateEvent, crc32_matches};
use pitr_binlog::{BinlogName, MAGIC};

/// Where the first event of a file begins.
pub(super) const FIRST: u64 = MAGIC.len() as u64;

/// Where the next event of a file belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub(super) file: BinlogName,
    /// The offset after the last event.
    pub(super) position: u64,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stands in the file.
    Keep,
    /// It does not.
    Skip,
    /// It names the file that the next events are of.
    Announcement,
}

impl Place {
    /// What becomes of the event with this header, or why the stream is not that of the file.
    pub(super) fn fate(&self, header: &EventHeader) -> Result<Fate, String> {
        let is_made_up = header.log_pos == 0 || header.flags & EventHeader::ARTIFICIAL != 0;
        match header.event_type {
            EventType::HEARTBEAT | EventType::HEARTBEAT_V2 => return Ok(Fate::Skip),
            EventType::ROTATE if is_made_up => return Ok(Fate::Announcement),
            EventType::FORMAT_DESCRIPTION if self.position > FIRST => return Ok(Fate::Skip),
            _ => {}
        }
        if self.position == FIRST && header.event_type != EventType::FORMAT_DESCRIPTION {
            return Err(format!("{} begins with a {} event", self.file, header.event_type));
        }
        let end = self.position + u64::from(header.size);
        // The event itself has 32 bits for it.
        if header.log_pos != end as u32 {
            let (at, kind) = (self.position, header.event_type);
            return Err(format!("{} at {at}: a {kind} event that ends at {end} says {}", self.file, header.log_pos));
        }
        Ok(Fate::Keep)
    }

    /// The event with this header was kept.
    pub(super) fn pass(&mut self, header: &EventHeader) {
        self.position += u64::from(header.size);
    }
}

/// The file that an announcement names. Whether it carries a checksum, only the checksum says.
pub(super) fn announced(header: &EventHeader, body: &[u8]) -> Result<BinlogName, String> {
    let event = [&header.to_bytes(), body].concat();
    let body = if crc32_matches(&event) { body.get(..body.len().saturating_sub(4)).unwrap_or_default() } else { body };
    RotateEvent::parse(body).map(|rotate| rotate.next).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use pitr_binlog::BinlogName;
    use pitr_binlog::event::{EventHeader, EventType, write_crc32};

    use super::{Fate, Place, announced};

    fn header(event_type: EventType, size: u32, log_pos: u32) -> EventHeader {
        EventHeader { timestamp: 1, event_type, server_id: 1, size, log_pos, flags: 0 }
    }

    fn at(position: u64) -> Place {
        Place { file: BinlogName::parse("b.000001").unwrap(), position }
    }

    #[test]
    fn what_the_server_makes_up_is_left_out() {
        let heartbeat = header(EventType::HEARTBEAT_V2, 40, 500);
        assert_eq!(at(500).fate(&heartbeat), Ok(Fate::Skip));
        assert_eq!(at(500).fate(&header(EventType::ROTATE, 44, 0)), Ok(Fate::Announcement));
        let artificial = EventHeader { flags: EventHeader::ARTIFICIAL, ..header(EventType::ROTATE, 44, 9) };
        assert_eq!(at(4).fate(&artificial), Ok(Fate::Announcement));
        assert_eq!(at(4).fate(&header(EventType::FORMAT_DESCRIPTION, 122, 126)), Ok(Fate::Keep));
        assert_eq!(at(500).fate(&header(EventType::FORMAT_DESCRIPTION, 122, 0)), Ok(Fate::Skip));
        // The file's own end.
        assert_eq!(at(500).fate(&header(EventType::ROTATE, 44, 544)), Ok(Fate::Keep));
    }

    #[test]
    fn events_follow_each_other_or_it_is_another_file() {
        assert_eq!(at(126).fate(&header(EventType::PREVIOUS_GTIDS, 31, 157)), Ok(Fate::Keep));
        assert!(at(126).fate(&header(EventType::GTID, 31, 158)).unwrap_err().contains("ends at 157 says 158"));
        assert!(at(4).fate(&header(EventType::GTID, 31, 35)).unwrap_err().contains("begins with a GTID event"));
        // Beyond 4 GiB events count in 32 bits.
        let far = (1 << 32) + 100;
        assert_eq!(at(far).fate(&header(EventType::XID, 31, 131)), Ok(Fate::Keep));
        let mut place = at(far);
        place.pass(&header(EventType::XID, 31, 131));
        assert_eq!(place.position, far + 31);
    }

    #[test]
    fn announcements_with_and_without_a_checksum() {
        let plain = header(EventType::ROTATE, 19 + 16, 0);
        let body = b"\x04\0\0\0\0\0\0\0b.000007";
        assert_eq!(announced(&plain, body).unwrap().as_str(), "b.000007");
        let header = EventHeader { size: 19 + 20, ..plain };
        let mut event = [&header.to_bytes()[..], &body[..], &[0; 4]].concat();
        write_crc32(&mut event);
        assert_eq!(announced(&header, &event[19..]).unwrap().as_str(), "b.000007");
        assert!(announced(&plain, b"\x04").is_err());
    }
}

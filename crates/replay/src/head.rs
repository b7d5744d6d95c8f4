use bytes::Bytes;
use pitr_binlog::event::{ChecksumAlgorithm, Event, EventHeader, EventType, Events, FormatDescription, write_crc32};
use pitr_binlog::{Flavour, GtidSet};

use crate::splitter::Broken;

/// Where a binlog's events begin.
pub(crate) const FIRST_EVENT: u64 = 4;
/// Where in a FORMAT_DESCRIPTION event it stands when its server started: after the version number u16 and the version
/// text of 50 bytes.
const CREATED_AT: std::ops::Range<usize> = EventHeader::LENGTH + 52..EventHeader::LENGTH + 56;

/// What stands at the beginning of a binlog, ready to be sent.
#[derive(Debug)]
pub(crate) struct FileHead {
    pub(crate) format: FormatDescription,
    /// The events after the format description, as they stand in the file.
    pub(crate) others: Vec<Vec<u8>>,
}

impl FileHead {
    /// Reads the bytes of a file from 4 on to the end of its head.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, Broken> {
        let broken = |reason| Broken { offset: FIRST_EVENT, reason };
        let header = bytes.first_chunk().map(EventHeader::parse).ok_or(broken("no format description"))?;
        let (first, rest) = bytes.split_at_checked(header.size as usize).ok_or(broken("no format description"))?;
        let format = FormatDescription::parse(first).map_err(|malformed| broken(malformed.0))?;
        let mut others = Vec::new();
        for event in Events::new(rest, format.checksum) {
            others.push(event.map_err(|malformed| broken(malformed.0))?.bytes.to_vec());
        }
        Ok(Self { format, others })
    }

    /// What the server had executed before this file; nothing if the file does not say.
    pub(crate) fn previous(&self) -> GtidSet {
        let bodies = self.others.iter().filter_map(|event| {
            let (event, _) = Event::split_first(event, self.format.checksum).ok()?;
            (event.event_type() == EventType::PREVIOUS_GTIDS).then_some(event.body)
        });
        bodies.filter_map(|body| GtidSet::decode_mysql(body).ok()).next().unwrap_or_default()
    }

    pub(crate) fn is_mysql(&self) -> bool {
        self.format.flavour == Flavour::MySql
    }

    /// The format description, in-use bit cleared. With the time of its server's start, if that is in it, a replica
    /// throws away its temporary tables; so not if it has part of the file already (as `Binlog_sender` does).
    pub(crate) fn format_description(&self, resumed: bool) -> Vec<u8> {
        let mut event = self.format.event_bytes.clone();
        if let (true, Some(created)) = (resumed, event.get_mut(CREATED_AT)) {
            created.fill(0);
            if self.format.checksum == ChecksumAlgorithm::Crc32 {
                write_crc32(&mut event);
            }
        }
        event
    }
}

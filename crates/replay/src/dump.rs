use std::io;

use pitr_binlog::GtidSet;

/// The flag by which a replica asks for heartbeats with 64-bit positions (`USE_HEARTBEAT_EVENT_V2`).
const WANTS_HEARTBEAT_V2: u16 = 2;

/// The two ways to write a heartbeat; a replica since 8.0.26 asks for the second, which has 64-bit positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeartbeatForm {
    V1,
    V2,
}

/// COM_BINLOG_DUMP_GTID without its command byte: flags u16, server id u32, a file's name with its length u32, a
/// position u64, then a GTID set with its length u32. Name and position mean nothing beside the set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DumpRequest {
    /// The replica's own `server_id`.
    pub(crate) server_id: u32,
    pub(crate) heartbeat: HeartbeatForm,
    /// What the replica has applied, or received whole.
    pub(crate) executed: GtidSet,
}

impl DumpRequest {
    pub(crate) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let (flags, server_id, set) =
            split(bytes).ok_or_else(|| invalid("a request for the log that ends too early".to_owned()))?;
        let heartbeat = if flags & WANTS_HEARTBEAT_V2 == 0 { HeartbeatForm::V1 } else { HeartbeatForm::V2 };
        let executed = GtidSet::decode_mysql(set).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { server_id, heartbeat, executed })
    }
}

fn split(bytes: &[u8]) -> Option<(u16, u32, &[u8])> {
    let (flags, rest) = bytes.split_first_chunk()?;
    let (server_id, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let rest = rest.get(u32::from_le_bytes(*name) as usize..)?.get(8..)?;
    let (length, rest) = rest.split_first_chunk()?;
    let set = rest.get(..u32::from_le_bytes(*length) as usize)?;
    Some((u16::from_le_bytes(*flags), u32::from_le_bytes(*server_id), set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(flags: u16, name: &str, set: &[u8]) -> Vec<u8> {
        let mut bytes = flags.to_le_bytes().to_vec();
        bytes.extend_from_slice(&77_u32.to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&4_u64.to_le_bytes());
        bytes.extend_from_slice(&(set.len() as u32).to_le_bytes());
        bytes.extend_from_slice(set);
        bytes
    }

    #[test]
    fn untagged_and_tagged_sets_are_understood() {
        for text in ["", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:9", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:t:7-8"]
        {
            let set: GtidSet = text.parse().unwrap();
            for (flags, name, heartbeat) in [(4, "", HeartbeatForm::V1), (6, "binlog.000007", HeartbeatForm::V2)] {
                let parsed = DumpRequest::parse(&request(flags, name, &set.encode_mysql())).unwrap();
                assert_eq!(parsed, DumpRequest { server_id: 77, heartbeat, executed: set.clone() });
            }
        }
    }

    #[test]
    fn a_request_cut_short_or_with_a_broken_set_is_an_error() {
        let set: GtidSet = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().unwrap();
        let whole = request(0, "b.1", &set.encode_mysql());
        for length in 0..whole.len() {
            assert!(DumpRequest::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(DumpRequest::parse(&request(0, "", &[9; 8])).is_err());
    }
}

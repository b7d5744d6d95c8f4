use pitr_binlog::event::{ChecksumAlgorithm, Compression, EventHeader, Events, PayloadEvent, write_crc32};

/// The events of a compressed transaction as its server would have written them without compression, those of `checksum` bytes with
/// one each. `None`: it is larger than `bytes_max`, packed in a way that we don't know, or not what it says it is.
///
/// In the log such events have neither a checksum nor a position: they get both, the position of the whole.
pub(crate) fn unpacked(header: &EventHeader, body: &[u8], checksum: usize, bytes_max: usize) -> Option<Vec<Vec<u8>>> {
    let packed = PayloadEvent::parse(body).ok()?;
    let size = usize::try_from(packed.uncompressed_size).ok().filter(|size| *size <= bytes_max)?;
    let bytes = match packed.compression {
        Compression::Zstd => zstd::bulk::decompress(packed.payload, size).ok()?,
        Compression::None => packed.payload.to_vec(),
        Compression::Zlib | Compression::Unknown(_) => return None,
    };
    if bytes.len() != size {
        return None;
    }
    let whole = |event: Result<pitr_binlog::event::Event<'_>, _>| {
        let event = event.ok()?;
        let size = event.header.size.checked_add(u32::try_from(checksum).ok()?)?;
        let own = EventHeader { size, log_pos: header.log_pos, ..event.header };
        let mut bytes = [&own.to_bytes()[..], event.body].concat();
        if checksum > 0 {
            bytes.resize(bytes.len() + checksum, 0);
            write_crc32(&mut bytes);
        }
        Some(bytes)
    };
    Events::new(&bytes, ChecksumAlgorithm::None).map(whole).collect()
}

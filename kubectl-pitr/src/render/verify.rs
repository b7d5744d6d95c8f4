//! What a verification found, for people, and the error that it is when something is wrong.

use pitr_archive::document::VerifyDocument;
use pitr_recovery::code;

use super::{binary_size, count_of};
use crate::failure::Failure;

/// A line each for what was read and what was found.
pub fn verify_text(found: &VerifyDocument) -> String {
    let mut lines = Vec::new();
    if let Some(rebuilt) = &found.rebuilt {
        let (pages, segments) = (count_of(rebuilt.pages, "page"), count_of(rebuilt.segments, "segment"));
        lines.push(format!("Catalog     made again from {segments}: {pages} in place of {}", rebuilt.replaced));
        lines.extend(rebuilt.unusable.iter().map(|item| format!("Unusable    {}: {}", item.what, item.reason)));
    }
    lines.push(format!(
        "Verified    {} of {}, {} of {}, {} read",
        found.segments_read,
        count_of(found.segments, "segment"),
        found.chunks_read,
        count_of(found.chunks, "chunk"),
        binary_size(found.bytes_read)
    ));
    if found.parts_of_run < found.parts as usize {
        let rest = match found.complete_since {
            Some(since) => format!("everything was read since {since:.0}"),
            None => format!("{} of {} parts were read so far", found.parts_read, found.parts),
        };
        lines.push(format!("Sample      {} of {} parts; {rest}", found.parts_of_run, found.parts));
    }
    lines.extend(found.quarantined.iter().map(|item| format!("{:<11} {}: {}", item.kind, item.what, item.reason)));
    if found.ok {
        lines.push("Result      all of it is what was stored".to_owned());
    }
    if !found.recorded {
        lines.push("Note        the result could not be left in the archive: status will not show its age".to_owned());
    }
    lines.join("\n") + "\n"
}

/// The error; `place` is what follows the verb in a command about the same archive.
pub fn verify_failure(found: &VerifyDocument, place: &str) -> Option<Failure> {
    let first = found.quarantined.first()?;
    let count = count_of(found.quarantined.len() as u64, "problem");
    let message = format!("{count} in the archive, such as {}: {}", first.what, first.reason);
    let mended = found.quarantined.iter().any(pitr_archive::document::FindingItem::is_of_catalog);
    let failure = Failure::new(code::CHECKSUM_MISMATCH, message)
        .hint(if found.recorded {
            "everything else is as it was stored; plans and windows leave out what cannot be read"
        } else {
            "everything else is as it was stored; the result could not be left in the archive: plans go on naming what is lost"
        });
    Some(if first.is_withheld() {
        failure.fix("restore what is withheld from its storage class in the bucket, then verify again")
    } else if mended {
        failure.fix(format!("kubectl pitr verify {place} --rebuild-catalog"))
    } else {
        failure.fix("take a new base backup; what precedes the damage stays restorable")
    })
}

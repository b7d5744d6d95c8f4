//! From a piece of a file to the draft of a segment.

use pitr_archive::{Closes, IndexedTransaction, Place, SegmentDamage, SegmentDraft, SegmentOrigin};
use pitr_binlog::FileEnd;

use super::cutter::Piece;
use super::head::Identified;

/// What is known of the end of the file that a piece belongs to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// How the file ended, if the piece is its last one.
    pub(crate) closes: Option<Closes>,
    /// From where on the file cannot be read, if the piece reaches beyond that.
    pub(crate) damage: Option<SegmentDamage>,
}

impl Ending {
    /// The piece is followed by another.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// The piece reaches to where the file ended when it was read. Only a shutdown tells by itself that nothing follows; whether the bytes
    /// are all there is for the catalog to say, once the file is closed.
    pub(crate) fn of_active(end: &FileEnd) -> Self {
        Self { closes: matches!(end, FileEnd::Stop).then_some(Closes::Stop), damage: None }
    }

    /// The piece is the last one of a file that the server has left.
    pub(crate) fn of(end: &FileEnd, damage: Option<SegmentDamage>) -> Self {
        let closes = match end {
            FileEnd::Rotate { next } => Closes::Rotate { next: next.clone() },
            FileEnd::Stop => Closes::Stop,
            FileEnd::Open => Closes::Crash,
        };
        Self { closes: Some(closes), damage }
    }
}

/// The draft of a segment.
pub(crate) fn draft(place: Place, file: &Identified, piece: Piece, ending: Ending) -> SegmentDraft {
    SegmentDraft {
        place,
        binlog: file.id.clone(),
        name: file.name.clone(),
        origin: SegmentOrigin::from(file.head.as_ref()),
        start: piece.start,
        raw: piece.raw.into(),
        transactions: piece.transactions.iter().map(IndexedTransaction::from).collect(),
        closes: ending.closes,
        damage: ending.damage,
        starts_in_transaction: piece.starts_in_transaction,
        ends_in_transaction: piece.ends_in_transaction,
    }
}

#[cfg(test)]
mod tests {
    use pitr_archive::Closes;
    use pitr_binlog::FileEnd;

    use super::Ending;

    #[test]
    fn of_a_file_that_may_go_on_only_a_shutdown_is_told() {
        let closes = |end: FileEnd| Ending::of_active(&end).closes;
        assert_eq!(closes(FileEnd::Stop), Some(Closes::Stop));
        assert_eq!(closes(FileEnd::Open), None, "the server is writing it");
        // The backlog closes it, once its end is in the catalog.
        assert_eq!(closes(FileEnd::Rotate { next: "binlog.000002".parse().unwrap() }), None);
    }
}

use std::path::{Path, PathBuf};

use pitr_binlog::{Head, Transaction, scan};

use super::{Cutter, Extent, Piece};
use crate::discovery::BinlogFile;

/// Real binlogs of a real server, read elsewhere too.
fn fixtures() -> Vec<PathBuf> {
    let folder =
        PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../crates/binlog/tests/fixtures/mysql-9.7.4");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "binlog")).collect();
    assert!(!files.is_empty());
    files
}

fn whole(bytes: &[u8]) -> (Head, Vec<Transaction>, u64) {
    let mut transactions = Vec::new();
    let scanned = scan(bytes, &mut |transaction| transactions.push(transaction)).unwrap();
    (scanned.head.unwrap(), transactions, scanned.boundary)
}

fn cutter(path: &Path, head: &Head, extent: Extent, segment_bytes: u64) -> Cutter {
    let mut cutter = Cutter::open(BinlogFile::open(path).unwrap(), head, extent, segment_bytes).unwrap();
    // Small reads: every place where a scan may pause.
    cutter.buffer.truncate(101);
    cutter
}

fn all(cutter: &mut Cutter) -> Vec<Piece> {
    std::iter::from_fn(|| {
        let end = cutter.find_whole().unwrap()?;
        Some(cutter.take(end).unwrap())
    })
    .collect()
}

fn ranges(pieces: &[Piece]) -> Vec<(u64, u64)> {
    pieces.iter().map(|piece| (piece.start, piece.end)).collect()
}

const EVERYTHING: Extent = Extent { boundary: 0, start: 0, limit: u64::MAX };

#[test]
fn pieces_follow_each_other_and_hold_each_transaction_once() {
    for path in fixtures() {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[21] &= !1;
        let (head, transactions, boundary) = whole(&bytes);
        for segment_bytes in [64, 500, 1000, 4096, 1 << 20] {
            let pieces = all(&mut cutter(&path, &head, EVERYTHING, segment_bytes));
            let mut position = 0;
            for piece in &pieces {
                assert_eq!(piece.start, position, "{} cut at {segment_bytes}", path.display());
                assert_eq!(
                    piece.raw,
                    bytes[usize::try_from(piece.start).unwrap()..usize::try_from(piece.end).unwrap()]
                );
                let inside = |at: u64| transactions.iter().any(|t| t.start < at && at < t.end);
                assert_eq!(
                    (piece.starts_in_transaction, piece.ends_in_transaction),
                    (inside(piece.start), inside(piece.end))
                );
                assert!(piece.transactions.iter().all(|t| t.end > piece.start && t.end <= piece.end));
                position = piece.end;
            }
            assert_eq!(position, boundary, "{} cut at {segment_bytes}", path.display());
            let handed: Vec<Transaction> = pieces.into_iter().flat_map(|piece| piece.transactions).collect();
            assert_eq!(handed, transactions);
        }
    }
}

#[test]
fn cuts_are_the_same_wherever_and_however_slowly_one_begins() {
    for path in fixtures() {
        let bytes = std::fs::read(&path).unwrap();
        let (head, transactions, boundary) = whole(&bytes);
        for segment_bytes in [64, 500, 4096] {
            let pieces = all(&mut cutter(&path, &head, EVERYTHING, segment_bytes));
            // Begun again at any piece, as after a crash.
            for (at, piece) in pieces.iter().enumerate() {
                let before = transactions.iter().map(|t| t.end).filter(|end| *end <= piece.start).max().unwrap_or(0);
                let extent = Extent { boundary: before, start: piece.start, limit: u64::MAX };
                let again = all(&mut cutter(&path, &head, extent, segment_bytes));
                assert_eq!(ranges(&again), ranges(&pieces[at..]), "{} cut at {segment_bytes}", path.display());
                assert_eq!(again[0].starts_in_transaction, piece.starts_in_transaction);
            }
            // While the server writes it: full pieces are the same, and what is young reaches the last whole transaction.
            let mut growing = cutter(&path, &head, Extent { limit: head.length, ..EVERYTHING }, segment_bytes);
            let (mut full, mut shipped) = (Vec::new(), 0);
            for size in (head.length..=bytes.len() as u64).step_by(37).chain([bytes.len() as u64]) {
                growing.grow(size);
                while let Some(end) = growing.find_full().unwrap() {
                    let piece = growing.take(end).unwrap();
                    shipped = shipped.max(piece.end);
                    full.push((piece.start, piece.end));
                }
                if let Some(young) = growing.young(shipped).unwrap() {
                    assert!(young.start == shipped && !young.ends_in_transaction);
                    shipped = young.end;
                }
                let last = transactions.iter().map(|t| t.end).filter(|end| *end <= size).max().unwrap_or(0);
                assert!(shipped >= last, "{shipped} of {last} at {size}");
            }
            assert_eq!(shipped, boundary);
            assert_eq!(full, ranges(&pieces)[..full.len()]);
        }
    }
}

#[test]
fn what_makes_no_sense_is_kept_as_it_is() {
    for path in fixtures() {
        let mut bytes = std::fs::read(&path).unwrap();
        let (head, transactions, _) = whole(&bytes);
        let Some(victim) = transactions.get(transactions.len() / 2) else { continue };
        if head.format.checksum == pitr_binlog::event::ChecksumAlgorithm::None {
            continue;
        }
        let at = usize::try_from(victim.end - 20).unwrap();
        bytes[at] ^= 0x10;
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("binlog.000001");
        std::fs::write(&damaged, &bytes).unwrap();
        let mut cutter = cutter(&damaged, &head, EVERYTHING, 500);
        let pieces = all(&mut cutter);
        // A length that was changed may reach behind the end of the file: then it ends inside a transaction.
        assert!(cutter.damage().is_some() || cutter.damaged_at() < bytes.len() as u64);
        let mut position = pieces.last().unwrap().end;
        assert!(cutter.damaged_at() <= victim.start && cutter.damaged_at() <= position);
        while let Some(end) = cutter.find_unreadable() {
            let piece = cutter.take(end).unwrap();
            assert!(piece.start == position && piece.end - piece.start <= 500 && piece.transactions.is_empty());
            position = piece.end;
        }
        assert_eq!(position, bytes.len() as u64);
    }
}

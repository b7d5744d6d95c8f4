//! A pass that begins at a seam of the log makes the batches of one that came there from the beginning.

use async_trait::async_trait;
use pitr_binlog::BinlogName;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::batch::left_open;
use crate::log::{LogPiece, LogReader, ReadError};

/// A pass over `log[from..]` with these seams.
fn send_from(log: &[u8], seams: &[usize], from: usize, windows: &Windows, known: Known) -> Sent {
    let (holes, mut out, mut splitter) = (Holes::default(), VecDeque::new(), Splitter::default());
    let mut batcher = Batcher::new(windows.clone(), known, holes.clone());
    batcher.restart(CRC);
    let mut at = from;
    for seam in seams.iter().filter(|seam| **seam > from).chain([&log.len()]) {
        splitter.feed(Bytes::copy_from_slice(&log[at..*seam]));
        while let Some(part) = splitter.next().unwrap() {
            batcher.cut(part, &mut out).unwrap();
        }
        batcher.close_run(&mut out).unwrap();
        at = *seam;
    }
    batcher.end_file(&mut out).unwrap();
    let bytes = out.into_iter().flat_map(|cut| match cut {
        Cut::Send(Part::First { bytes, .. } | Part::Rest(bytes)) => bytes.to_vec(),
        Cut::Instead(events) => events,
        Cut::Alone(_) => Vec::new(),
    });
    Sent { bytes: bytes.collect(), holes, found: batcher.found() }
}

/// What a replica commits: where in the clock, as what, and what that hides.
fn batches(sent: &Sent) -> Vec<(i64, i64, Gtid, GtidSet)> {
    let told = |batch: &Transaction| {
        let first = batch.gtid.unwrap();
        let hidden = sent.holes.batch_of(&first).unwrap_or_default();
        (batch.last_committed, batch.sequence_number, first, hidden)
    };
    transactions(&sent.bytes).iter().map(told).collect()
}

fn members(batch: &(i64, i64, Gtid, GtidSet)) -> GtidSet {
    batch.3.union(&[batch.2].into_iter().collect())
}

fn check_seams(log: &[u8], seams: &[usize], windows: &Windows) -> usize {
    let head = fixture("rows").0.len() as u64;
    let original = transactions(log);
    let whole = send_from(log, seams, 0, windows, nothing());
    let all = batches(&whole);
    assert!(changes(&whole.bytes) == changes(log));
    let mut begun = 0;
    for seam in seams {
        let before: GtidSet = original.iter().filter(|t| t.end - head <= *seam as u64).filter_map(|t| t.gtid).collect();
        let crossing = all.iter().map(members).find(|of| !of.is_disjoint(&before) && !of.is_subset_of(&before));
        assert_eq!(crossing, None, "a batch crosses the seam at {seam}");
        if !original.iter().any(|t| t.end - head == *seam as u64) {
            continue;
        }
        begun += 1;
        let passed = all.iter().take_while(|batch| before.contains(&batch.2)).count();
        // What a replica has that was killed after any number of batches: holes are open from the seam on.
        let mut has = before.clone();
        for killed_at in passed..=all.len() {
            let again = send_from(log, seams, *seam, windows, executed(&has));
            let expected: Vec<_> = all[killed_at..]
                .iter()
                .map(|(waits_for, number, first, hidden)| {
                    let since_the_seam = |number: i64| (number - passed as i64).max(0);
                    (since_the_seam(*waits_for), since_the_seam(*number), *first, hidden.clone())
                })
                .collect();
            assert_eq!(batches(&again), expected, "seam {seam}, killed at {killed_at}");
            assert_eq!(again.found, (killed_at - passed) as u64);
            let open: Vec<GtidSet> = all[passed..killed_at].iter().map(|batch| batch.3.clone()).collect();
            assert_eq!(again.holes.due(&has), open.iter().fold(GtidSet::new(), |open, more| open.union(more)));
            if let Some(next) = all.get(killed_at) {
                has.insert(&next.2);
            }
        }
    }
    begun
}

#[test]
fn every_pass_that_begins_at_a_seam_makes_the_same_batches() {
    let made = Made::new();
    let mut begun = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let reach = random.random_range(1..20);
        let history: Vec<i64> =
            (0..random.random_range(1..40)).map(|n: i64| (n - random.random_range(0..reach)).max(0)).collect();
        let transactions = made.log(&history);
        let log = join(&transactions);
        // Most seams are between transactions; some are within one, as where a huge transaction is cut.
        let mut seams: Vec<usize> = (0..random.random_range(1..5))
            .map(|_| match random.random_range(0..4) {
                0 => random.random_range(1..log.len()),
                _ => join(&transactions[..random.random_range(1..=transactions.len())]).len(),
            })
            .collect();
        seams.sort_unstable();
        seams.dedup();
        begun += check_seams(&log, &seams, &windows(random.random_range(1..5), random.random_range(1..12)));
    }
    assert!(begun > 60, "only {begun} passes began at a seam");
}

#[test]
fn real_logs_of_every_kind_have_seams_after_each_transaction() {
    let head = fixture("rows").0.len() as u64;
    for theme in ["rows", "tagged", "imported", "statement", "myisam", "xa", "payload", "stop"] {
        let (_, log) = fixture(theme);
        let ends: Vec<usize> = transactions(&log).iter().map(|t| (t.end - head) as usize).collect();
        for step in [1, 3] {
            let seams: Vec<usize> = ends.iter().copied().step_by(step).collect();
            check_seams(&log, &seams, &windows(2, 200));
        }
    }
}

/// Pieces, then a store that gives no more.
struct Pieces(std::vec::IntoIter<LogPiece>);

#[async_trait]
impl LogReader for Pieces {
    async fn next(&mut self) -> Result<Option<LogPiece>, ReadError> {
        self.0.next().map(Some).ok_or_else(|| ReadError::new("read too far"))
    }
}

#[tokio::test]
async fn what_is_open_is_found_from_a_seam_on_without_reading_further_than_needed() {
    let made = Made::new();
    let log = made.log(&[0; 12]);
    let (head, _) = fixture("rows");
    let gtids: Vec<Gtid> = transactions(&join(&log)).iter().filter_map(|t| t.gtid).collect();
    let of = |range: std::ops::Range<usize>| gtids[range].iter().copied().collect::<GtidSet>();
    let start = (head.len() + join(&log[..4]).len()) as u64;
    let name = BinlogName::parse("binlog.000001").unwrap();
    let file = LogPiece::File { name, head: head[4..].to_vec().into(), start, left_out: of(0..4) };
    let piece = LogPiece::Bytes { start, bytes: join(&log[4..8]).into() };
    let pieces = Pieces(vec![file, piece, LogPiece::Seam].into_iter());
    // 5 to 8 were sent as one batch, of which the server tells the first.
    let mut pieces = pieces;
    let open = left_open(&mut pieces, &windows(1, 200), &GtidSet::new(), &of(0..5)).await.unwrap();
    assert_eq!(open, of(5..8));
}

//! The batcher as a function: a file in, events out. Files are those of real servers, and made ones.

mod seams;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bytes::Bytes;
use pitr_binlog::event::{
    ChecksumAlgorithm, Event, EventHeader, EventType, Events, GtidEvent, LogicalClock, PayloadEvent, QueryEvent,
    renumbered, write_crc32,
};
use pitr_binlog::{Gtid, GtidSet, Transaction, scan};

use super::{Batcher, Holes, Windows};
use crate::cutter::{Cut, Known, Uncuttable};
use crate::splitter::{Part, Splitter};

const CRC: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

/// A binlog of MySQL 9.7.4: its head, and its transactions' bytes.
fn fixture(theme: &str) -> (Vec<u8>, Vec<u8>) {
    // Tests run in their package's folder.
    let folder = Path::new("../binlog/tests/fixtures/mysql-9.7.4");
    let file = std::fs::read(folder.join(format!("{theme}.binlog"))).unwrap();
    let head = scan(&file[..], &mut |_| ()).unwrap().head.unwrap().length as usize;
    let end = scan(&file[..], &mut |_| ()).unwrap().boundary as usize;
    (file[..head].to_vec(), file[head..end].to_vec())
}

/// What comes out, as a file again, and the batches' hidden GTIDs.
struct Sent {
    bytes: Vec<u8>,
    holes: Holes,
    found: u64,
}

fn windows(workers: u32, cap: u32) -> Windows {
    Windows { workers, cap, start: GtidSet::new() }
}

fn send(log: &[u8], windows: &Windows, known: Known, piece: usize) -> Result<Sent, Uncuttable> {
    send_pieces(&[log], windows, known, piece)
}

fn send_files(files: &[Vec<u8>], windows: &Windows, known: Known) -> Result<Sent, Uncuttable> {
    send_pieces(&files.iter().map(Vec::as_slice).collect::<Vec<_>>(), windows, known, 1000)
}

fn send_pieces(files: &[&[u8]], windows: &Windows, known: Known, piece: usize) -> Result<Sent, Uncuttable> {
    let (holes, mut out) = (Holes::default(), VecDeque::new());
    let mut batcher = Batcher::new(windows.clone(), known, holes.clone());
    for file in files {
        let mut splitter = Splitter::default();
        batcher.restart(CRC);
        for piece in file.chunks(piece) {
            splitter.feed(Bytes::copy_from_slice(piece));
            while let Some(part) = splitter.next().unwrap() {
                batcher.cut(part, &mut out)?;
            }
        }
        batcher.end_file(&mut out)?;
    }
    let mut bytes = Vec::new();
    for cut in out {
        match cut {
            Cut::Send(Part::First { bytes: more, .. } | Part::Rest(more)) => bytes.extend_from_slice(&more),
            Cut::Instead(events) => bytes.extend_from_slice(&events),
            Cut::Alone(_) => {}
        }
    }
    Ok(Sent { bytes, holes, found: batcher.found() })
}

fn nothing() -> Known {
    Known { skip: GtidSet::new(), executed: GtidSet::new() }
}

fn executed(executed: &GtidSet) -> Known {
    Known { skip: GtidSet::new(), executed: executed.clone() }
}

/// Transactions as the server's own reader of logs sees them: each checksum is right, each length is true.
fn transactions(log: &[u8]) -> Vec<Transaction> {
    let (head, _) = fixture("rows");
    let mut found = Vec::new();
    let file = [head, log.to_vec()].concat();
    let scan = scan(&file[..], &mut |transaction| found.push(transaction)).unwrap();
    assert_eq!((scan.damage, scan.boundary), (None, file.len() as u64));
    for event in Events::new(log, CRC).map(Result::unwrap).filter(|event| GtidEvent::is_one(event.event_type())) {
        let place = GtidEvent::parse(&event.header, event.body).unwrap();
        let transaction = found.iter().find(|found| found.gtid == place.gtid).unwrap();
        assert_eq!(place.transaction_length, Some(transaction.end - transaction.start));
    }
    found
}

/// Everything but what batching leaves out: GTID events, and BEGIN and XID where transactions meet. Unpacked.
fn changes(log: &[u8]) -> Vec<(EventType, u32, Vec<u8>)> {
    let is_change = |event: &Event<'_>| match event.event_type() {
        EventType::XID | EventType::ROTATE | EventType::STOP => false,
        EventType::QUERY => QueryEvent::parse(event.body).unwrap().sql != b"BEGIN",
        event_type => !GtidEvent::is_one(event_type),
    };
    let mut changes = Vec::new();
    let mut add = |event: &Event<'_>| {
        if is_change(event) {
            changes.push((event.event_type(), event.header.timestamp, event.body.to_vec()));
        }
    };
    for event in Events::new(log, CRC).map(Result::unwrap) {
        if event.event_type() == EventType::TRANSACTION_PAYLOAD {
            let payload = PayloadEvent::parse(event.body).unwrap();
            let inside = zstd::bulk::decompress(payload.payload, payload.uncompressed_size as usize).unwrap();
            Events::new(&inside, ChecksumAlgorithm::None).for_each(|event| add(&event.unwrap()));
        } else {
            add(&event);
        }
    }
    changes
}

/// What holds for any log and any windows. Gives the lengths of the batches.
fn check(log: &[u8], windows: &Windows) -> Vec<usize> {
    let original = transactions(log);
    let sent = send(log, windows, nothing(), usize::MAX).unwrap();
    for piece in [1, 100, 1013] {
        assert!(send(log, windows, nothing(), piece).unwrap().bytes == sent.bytes, "pieces of {piece} bytes");
    }
    assert!(changes(&sent.bytes) == changes(log));
    let batches = transactions(&sent.bytes);
    let mut firsts: Vec<usize> =
        batches.iter().map(|batch| original.iter().position(|t| t.gtid == batch.gtid).unwrap()).collect();
    assert_eq!(firsts.first(), original.first().map(|_| &0));
    firsts.push(original.len());
    let lengths: Vec<usize> = firsts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (number, batch) in batches.iter().enumerate() {
        let members = &original[firsts[number]..firsts[number + 1]];
        let others: GtidSet = members[1..].iter().filter_map(|t| t.gtid).collect();
        let hidden = sent.holes.batch_of(&batch.gtid.unwrap()).unwrap_or_default();
        assert_eq!(hidden, others);
        // Dense numbers, or the replica waits at each gap.
        assert_eq!(batch.sequence_number, number as i64 + 1);
        // Every transaction that one of them must wait for is in a batch that this one waits for, or before it here.
        for member in members {
            let waits_for = original.iter().take_while(|t| t.sequence_number <= member.last_committed);
            let waits_for = waits_for.filter(|t| !members.contains(t)).count();
            let in_batches = firsts[batch.last_committed as usize];
            assert!(waits_for <= in_batches, "{waits_for} {in_batches} {member:?}");
        }
        assert!(batch.last_committed < batch.sequence_number);
    }
    check_resumption(log, windows, &sent, &batches);
    lengths
}

/// After any number of batches, holes filled or not, a second pass sends the same rest, and knows what is open.
fn check_resumption(log: &[u8], windows: &Windows, sent: &Sent, batches: &[Transaction]) {
    let (mut whole, mut firsts, mut open) = (GtidSet::new(), GtidSet::new(), GtidSet::new());
    let head = fixture("rows").0.len() as u64;
    for batch in batches {
        let gtid = batch.gtid.unwrap();
        let hidden = sent.holes.batch_of(&gtid).unwrap_or_default();
        firsts.insert(&gtid);
        open.union_with(&hidden);
        whole.insert(&gtid);
        whole.union_with(&hidden);
        let rest = &sent.bytes[(batch.end - head) as usize..];
        for has in [&firsts, &whole] {
            let again = send(log, windows, executed(has), usize::MAX).unwrap();
            assert!(again.bytes == rest);
            assert_eq!(again.found, has.count());
            assert_eq!(again.holes.due(has), open.subtract(has));
        }
        // Filled, and begun anew with other windows: nothing is sent twice.
        let other = Windows { workers: 3, cap: 5, start: whole.clone() };
        let again = send(log, &other, executed(&whole), usize::MAX).unwrap();
        assert!(changes(&again.bytes) == changes(rest));
        // A part of the batch without its first: nobody but someone else can have done that.
        if let Some((source, numbers)) = hidden.iter().next() {
            let mut torn = whole.subtract(&[gtid].into_iter().collect());
            torn.insert(&Gtid { source, number: *numbers.start() });
            assert_eq!(send(log, windows, executed(&torn), usize::MAX).err(), Some(Uncuttable::Torn));
        }
    }
}

#[test]
fn real_logs_of_every_kind() {
    let mut merged = BTreeMap::new();
    for theme in ["rows", "tagged", "imported", "statement", "myisam", "xa", "payload", "stop"] {
        let (_, log) = fixture(theme);
        for windows in [windows(1, 200), windows(4, 200), windows(4, 2), windows(2, 1)] {
            let lengths = check(&log, &windows);
            assert!(windows.cap > 1 || lengths.iter().all(|length| *length == 1));
            *merged.entry(theme).or_insert(0) += lengths.iter().filter(|length| **length > 1).count();
        }
    }
    assert!(merged["rows"] > 0 && merged["tagged"] > 0 && merged["imported"] > 0, "{merged:?}");
    // Payloads are unpacked; statements stay alone.
    assert!(merged["payload"] > 0 && merged["statement"] == 0, "{merged:?}");
}

/// One transaction of rows of a real server, again and again with other numbers.
struct Made {
    first: Vec<u8>,
    rest: Vec<Vec<u8>>,
}

impl Made {
    fn new() -> Self {
        let (_, log) = fixture("rows");
        let events: Vec<Event<'_>> = Events::new(&log, CRC).map(Result::unwrap).collect();
        let kinds: Vec<EventType> = events.iter().map(Event::event_type).collect();
        let wanted = [EventType::GTID, EventType::QUERY, EventType::TABLE_MAP, EventType::WRITE_ROWS, EventType::XID];
        let at = kinds.windows(wanted.len()).position(|kinds| kinds == wanted).unwrap();
        let bytes = |event: &Event<'_>| event.bytes.to_vec();
        Self { first: bytes(&events[at]), rest: events[at + 1..at + wanted.len()].iter().map(bytes).collect() }
    }

    /// Transactions that wait for these.
    fn log(&self, last_committed: &[i64]) -> Vec<Vec<Vec<u8>>> {
        let transaction = |(n, last_committed): (usize, &i64)| {
            let mut first = self.first.clone();
            first[36..44].copy_from_slice(&(n as u64 + 1).to_le_bytes());
            let clock = LogicalClock { last_committed: *last_committed, sequence_number: n as i64 + 1 };
            let rest = self.rest.iter().map(Vec::len).sum::<usize>() as u64;
            [vec![renumbered(&first, CRC, clock, rest).unwrap()], self.rest.clone()].concat()
        };
        last_committed.iter().enumerate().map(transaction).collect()
    }
}

fn join(log: &[Vec<Vec<u8>>]) -> Vec<u8> {
    log.iter().map(|transaction| transaction.concat()).collect::<Vec<_>>().concat()
}

#[test]
fn independent_transactions_are_spread_and_dependent_ones_put_together() {
    let made = Made::new();
    assert_eq!(check(&join(&made.log(&[0; 16])), &windows(4, 200)), [4, 4, 4, 4]);
    let chain: Vec<i64> = (0..16).collect();
    assert_eq!(check(&join(&made.log(&chain)), &windows(4, 200)), [16]);
    assert_eq!(check(&join(&made.log(&chain)), &windows(4, 5)), [5, 5, 5, 1]);
    // Two windows of 8: those of the second wait for none of the first beyond the one they name.
    let two = [[0; 8], [8; 8]].concat();
    assert_eq!(check(&join(&made.log(&two)), &windows(2, 200)), [4, 4, 4, 4]);
}

#[test]
fn random_histories_keep_every_promise() {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};
    let made = Made::new();
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let reach = random.random_range(1..20);
        let history: Vec<i64> =
            (0..random.random_range(1..60)).map(|n: i64| (n - random.random_range(0..reach)).max(0)).collect();
        check(&join(&made.log(&history)), &windows(random.random_range(1..5), random.random_range(1..12)));
    }
}

fn sealed(mut event: Vec<u8>) -> Vec<u8> {
    write_crc32(&mut event);
    event
}

fn query(sql: &[u8], status: &[u8], error: u16) -> Vec<u8> {
    let length = (status.len() as u16).to_le_bytes();
    let body = [&[0; 9][..], &error.to_le_bytes(), &length, status, &[0], sql].concat();
    let size = (EventHeader::LENGTH + body.len() + 4) as u32;
    let header = EventHeader { timestamp: 1, event_type: EventType::QUERY, server_id: 1, size, log_pos: 0, flags: 0 };
    sealed([&header.to_bytes()[..], &body, &[0; 4]].concat())
}

/// The same event with one byte changed.
fn with_byte(event: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut event = event.to_vec();
    event[at] = value;
    sealed(event)
}

/// What follows the GTID event of transactions that must stand alone.
fn loners(made: &Made) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let [begin, map, rows, xid] = [0, 1, 2, 3].map(|n| made.rest[n].clone());
    let flags_at = EventHeader::LENGTH + 6;
    let in_place_of_begin = |other: Vec<u8>| vec![other, map.clone(), rows.clone(), xid.clone()];
    let after_begin = |other: Vec<u8>| vec![begin.clone(), other, map.clone(), rows.clone(), xid.clone()];
    let in_place_of_rows = |other: Vec<u8>| vec![begin.clone(), map.clone(), other, xid.clone()];
    vec![
        ("a definition", vec![query(b"DROP TABLE t", b"", 0)]),
        ("CREATE TABLE ... SELECT", after_begin(query(b"CREATE TABLE t", b"", 0))),
        ("no commit", vec![begin.clone(), map.clone(), rows.clone(), query(b"COMMIT", b"", 0)]),
        ("a statement", vec![begin.clone(), query(b"INSERT INTO t VALUES (1)", b"", 0), xid.clone()]),
        ("ROLLBACK TO", after_begin(query(b"ROLLBACK TO `a`", b"", 0))),
        ("a savepoint within a statement", in_place_of_rows(query(b"SAVEPOINT `a`", b"", 0))),
        ("a failed BEGIN", in_place_of_begin(query(b"BEGIN", b"", 1))),
        ("settings that are not known", in_place_of_begin(query(b"BEGIN", b"\x63", 0))),
        ("START TRANSACTION", in_place_of_begin(query(b"START TRANSACTION", b"", 0))),
        ("rows without an end", in_place_of_rows(with_byte(&rows, flags_at, 0))),
        ("rows of old servers", in_place_of_rows(with_byte(&rows, 4, EventType::WRITE_ROWS_V1.0))),
        ("no BEGIN", vec![map.clone(), rows.clone(), xid.clone()]),
        ("much", [vec![begin.clone()], vec![map.clone(); 4000], vec![rows.clone(), xid.clone()]].concat()),
    ]
}

/// Each in the middle of what would be one batch stands alone, and the rest is put together around it.
#[test]
fn what_is_not_on_the_white_list_stands_alone() {
    let made = Made::new();
    for (what, events) in loners(&made) {
        let mut log = made.log(&[0; 9]);
        log[4].truncate(1);
        log[4].extend(events);
        let sizes: Vec<usize> = log[4][1..].iter().map(Vec::len).collect();
        let place = LogicalClock { last_committed: 0, sequence_number: 5 };
        log[4][0] = renumbered(&log[4][0], CRC, place, sizes.iter().sum::<usize>() as u64).unwrap();
        let sent = send(&join(&log), &windows(1, 200), nothing(), 1000).unwrap();
        let numbers: Vec<u64> = committed(&sent.bytes).iter().map(|gtid| gtid.number).collect();
        assert_eq!(numbers, [1, 5, 6], "{what}");
        let own: Vec<usize> = Events::new(&sent.bytes, CRC).map(|event| event.unwrap().bytes.len()).collect();
        assert!(own.windows(sizes.len()).any(|lengths| lengths == sizes), "{what}");
    }
    // Statement-format flag, and no clock.
    for (at, value) in [(19, 1), (44, 0)] {
        let mut log = made.log(&[0; 9]);
        log[4][0] = with_byte(&log[4][0], at, value);
        let sent = send(&join(&log), &windows(1, 200), nothing(), 1000).unwrap();
        assert_eq!(committed(&sent.bytes).len(), 3);
    }
}

#[test]
fn savepoints_stay_in_a_batch_if_they_set_what_is_set() {
    let made = Made::new();
    let begin = &made.rest[0];
    let settings = QueryEvent::parse(&begin[EventHeader::LENGTH..begin.len() - 4]).unwrap().status_variables.to_vec();
    for (settings, commits) in [(settings.clone(), 1), ([&settings[..], b"\x05\x03UTC"].concat(), 3)] {
        let savepoint = query(b"SAVEPOINT `a`", &settings, 0);
        let mut log = made.log(&[0; 9]);
        log[4].insert(2, savepoint.clone());
        log[4].insert(5, savepoint);
        let sent = send(&join(&log), &windows(1, 200), nothing(), 1000).unwrap();
        assert_eq!(committed(&sent.bytes).len(), commits, "{settings:?}");
    }
}

/// The GTIDs of what a replica commits.
fn committed(log: &[u8]) -> Vec<Gtid> {
    let events = Events::new(log, CRC).map(Result::unwrap).filter(|event| GtidEvent::is_one(event.event_type()));
    events.map(|event| GtidEvent::parse(&event.header, event.body).unwrap().gtid.unwrap()).collect()
}

#[test]
fn skipped_transactions_and_those_of_the_start_are_in_no_batch() {
    let made = Made::new();
    let log = join(&made.log(&[0; 12]));
    let gtids: Vec<Gtid> = transactions(&log).iter().filter_map(|t| t.gtid).collect();
    let start: GtidSet = gtids[..2].iter().copied().collect();
    let skip: GtidSet = [gtids[6]].into_iter().collect();
    let windows = Windows { workers: 1, cap: 200, start: start.clone() };
    let sent = send(&log, &windows, Known { skip, executed: start }, 1000).unwrap();
    let batches = transactions(&sent.bytes);
    let clocks: Vec<(Option<Gtid>, i64, i64)> =
        batches.iter().map(|batch| (batch.gtid, batch.last_committed, batch.sequence_number)).collect();
    assert_eq!(clocks, [(Some(gtids[2]), 0, 1), (Some(gtids[6]), 0, 2), (Some(gtids[7]), 0, 3)]);
    assert_eq!(sent.holes.batch_of(&gtids[6]), None);
    assert_eq!(sent.holes.batch_of(&gtids[7]), Some(gtids[8..].iter().copied().collect()));
}

/// What a payload holds must be whole, alone in it, and on the white list: else it goes as it came.
#[test]
fn a_payload_that_is_not_one_ordinary_transaction_stays_packed() {
    let made = Made::new();
    let bare = |events: &[Vec<u8>]| -> Vec<u8> {
        let bare = |event: &Vec<u8>| {
            let header = EventHeader::parse(event.first_chunk().unwrap());
            let header = EventHeader { size: header.size - 4, log_pos: 0, ..header };
            [&header.to_bytes()[..], &event[EventHeader::LENGTH..event.len() - 4]].concat()
        };
        events.iter().flat_map(bare).collect()
    };
    let payload = |inside: &[u8], says: usize| {
        let packed = zstd::bulk::compress(inside, 3).unwrap();
        let field = |number: u8, value: usize| [&[number, 3, 252][..], &(value as u16).to_le_bytes()].concat();
        let body = [field(2, 0), field(3, says), field(1, packed.len()), vec![0], packed].concat();
        let size = (EventHeader::LENGTH + body.len() + 4) as u32;
        let event_type = EventType::TRANSACTION_PAYLOAD;
        let header = EventHeader { timestamp: 1, event_type, server_id: 1, size, log_pos: 9000, flags: 0 };
        sealed([&header.to_bytes()[..], &body, &[0; 4]].concat())
    };
    let [begin, map, rows, xid] = [0, 1, 2, 3].map(|n| made.rest[n].clone());
    let good = bare(&made.rest);
    let twice = bare(&[&made.rest[..], &made.rest[..]].concat());
    let cases = [
        (payload(&good, good.len()), 1),
        (payload(&good, good.len() - 1), 3),
        (payload(&good, good.len() + 1), 3),
        (payload(&twice, twice.len()), 3),
        (
            payload(
                &bare(&[begin.clone(), map.clone(), rows.clone()]),
                bare(&[begin, map.clone(), rows.clone()]).len(),
            ),
            3,
        ),
        (payload(&bare(&[map.clone(), rows.clone(), xid.clone()]), bare(&[map, rows, xid]).len()), 3),
        (payload(&good[..good.len() - 3], good.len() - 3), 3),
    ];
    for (number, (payload, commits)) in cases.into_iter().enumerate() {
        let mut log = made.log(&[0; 9]);
        log[4].truncate(1);
        let place = LogicalClock { last_committed: 0, sequence_number: 5 };
        log[4][0] = renumbered(&log[4][0], CRC, place, payload.len() as u64).unwrap();
        log[4].push(payload.clone());
        let sent = send(&join(&log), &windows(1, 200), nothing(), 1000).unwrap();
        assert_eq!(committed(&sent.bytes).len(), commits, "case {number}");
        let packed = Events::new(&sent.bytes, CRC).any(|event| event.unwrap().bytes == payload);
        assert_eq!(packed, commits > 1, "case {number}");
        if commits == 1 {
            assert!(transactions(&sent.bytes).len() == 1 && changes(&sent.bytes) == changes(&join(&made.log(&[0; 9]))));
        }
    }
}

/// A clock that goes back promises nothing: what comes before must be applied before.
#[test]
fn numbers_that_go_back_end_a_window() {
    let made = Made::new();
    let mut log = made.log(&[0; 12]);
    for (n, sequence_number) in (6..).zip([3, 4, 5, 6, 7, 8]) {
        let rest = log[n][1..].iter().map(Vec::len).sum::<usize>() as u64;
        let clock = LogicalClock { last_committed: 2, sequence_number };
        log[n][0] = renumbered(&log[n][0], CRC, clock, rest).unwrap();
    }
    let sent = send(&join(&log), &windows(2, 200), nothing(), 1000).unwrap();
    let clocks: Vec<(u64, i64, i64)> = transactions(&sent.bytes)
        .iter()
        .map(|t| (t.gtid.unwrap().number, t.last_committed, t.sequence_number))
        .collect();
    let second = clocks.iter().position(|(number, ..)| *number == 7).unwrap() as i64;
    assert!(clocks[..second as usize].iter().all(|(number, ..)| *number < 7), "{clocks:?}");
    assert!(clocks[second as usize].1 == second, "{clocks:?}");
}

/// Two servers' logs, the second of which begins with transactions of the first: each is sent once, and a second pass knows what is open
/// after any number of batches.
#[test]
fn what_came_before_in_another_server_s_log_is_dropped() {
    let made = Made::new();
    let log = made.log(&[0; 24]);
    let renumber = |transactions: &[Vec<Vec<u8>>]| -> Vec<Vec<Vec<u8>>> {
        let place = |(n, transaction): (usize, &Vec<Vec<u8>>)| {
            let mut transaction = transaction.clone();
            let rest = transaction[1..].iter().map(Vec::len).sum::<usize>() as u64;
            let clock = LogicalClock { last_committed: 0, sequence_number: n as i64 + 1 };
            transaction[0] = renumbered(&transaction[0], CRC, clock, rest).unwrap();
            transaction
        };
        transactions.iter().enumerate().map(place).collect()
    };
    // The second server applied some of the first's in another order, and went on by itself.
    let second = renumber(&[&log[4..6], &log[16..20], &log[8..12], &log[20..]].concat());
    let files = [join(&log[..16]), join(&second)];
    let windows = windows(2, 5);
    let whole = send_files(&files, &windows, nothing()).unwrap();
    let mut all = GtidSet::new();
    let (mut firsts, mut open) = (GtidSet::new(), GtidSet::new());
    for gtid in committed(&whole.bytes) {
        let hidden = whole.holes.batch_of(&gtid).unwrap_or_default();
        assert!(!all.contains(&gtid) && all.is_disjoint(&hidden), "{gtid} is sent twice");
        all.insert(&gtid);
        all.union_with(&hidden);
        firsts.insert(&gtid);
        open.union_with(&hidden);
        for has in [&firsts, &all] {
            let again = send_files(&files, &windows, executed(has)).unwrap();
            assert_eq!(again.found, has.count());
            assert_eq!(again.holes.due(has), open.subtract(has));
            let rest = committed(&whole.bytes).into_iter().filter(|gtid| !firsts.contains(gtid)).collect::<Vec<_>>();
            assert_eq!(committed(&again.bytes), rest);
        }
    }
    assert_eq!(all.count(), 24);
    assert_eq!(changes(&whole.bytes).len(), changes(&join(&log)).len());
}

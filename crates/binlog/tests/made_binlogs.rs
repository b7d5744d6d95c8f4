//! The scanner on files that no server can be made to write at will: damaged, strange, old or future ones.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod fixture;

use fixture::mysql;
use pitr_binlog::event::{EventHeader, EventType, write_crc32};
use pitr_binlog::{
    FileEnd, GtidSet, GtidSource, Head, MAGIC, Scan, ScanError, Scanner, Transaction, TransactionFlags, Uuid, scan,
};
use proptest::prelude::*;

fn scan_all(bytes: &[u8]) -> (Scan, Vec<Transaction>) {
    let mut transactions = Vec::new();
    let scan = scan(bytes, &mut |transaction| transactions.push(transaction)).unwrap();
    (scan, transactions)
}

/// The head of a real file.
fn head() -> (Head, Vec<u8>) {
    let bytes = mysql("stop").bytes;
    let head = scan_all(&bytes).0.head.unwrap();
    let raw = bytes[..head.length as usize].to_vec();
    (head, raw)
}

fn event_with(event_type: u8, flags: u16, body: &[u8]) -> Vec<u8> {
    let size = EventHeader::LENGTH + body.len() + 4;
    let header = EventHeader {
        timestamp: 1_700_000_000,
        event_type: EventType(event_type),
        server_id: 9,
        size: size as u32,
        log_pos: 0,
        flags,
    };
    let mut event = [&header.to_bytes(), body].concat();
    event.resize(size, 0);
    write_crc32(&mut event);
    event
}

fn event(event_type: EventType, body: &[u8]) -> Vec<u8> {
    event_with(event_type.0, 0, body)
}

fn query(sql: &str) -> Vec<u8> {
    event(EventType::QUERY, &[&[0; 14], sql.as_bytes()].concat())
}

fn gtid(number: u64) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(&[7; 16]);
    body.extend_from_slice(&number.to_le_bytes());
    event(EventType::GTID, &body)
}

fn xid() -> Vec<u8> {
    event(EventType::XID, &[1, 0, 0, 0, 0, 0, 0, 0])
}

fn rotate(name: &str) -> Vec<u8> {
    event(EventType::ROTATE, &[&[4, 0, 0, 0, 0, 0, 0, 0], name.as_bytes()].concat())
}

/// A file of a real head and these events.
fn file(events: &[Vec<u8>]) -> Vec<u8> {
    [head().1, events.concat()].concat()
}

/// Scans such a file; what is found is counted from the end of its head.
fn scan_events(events: &[Vec<u8>]) -> (Scan, Vec<Transaction>) {
    scan_all(&file(events))
}

/// Why the last of these events is refused.
fn refusal(events: &[Vec<u8>]) -> &'static str {
    let (scan, _) = scan_events(events);
    let start = head().1.len() + events[..events.len() - 1].iter().map(Vec::len).sum::<usize>();
    match scan.damage {
        Some(ScanError::BadEvent { offset, reason, .. }) => {
            assert_eq!(offset, start as u64);
            assert!(scan.boundary <= offset);
            reason
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn files_that_are_no_binlogs() {
    let damage = |bytes: &[u8]| scan_all(bytes).0.damage;
    assert_eq!(damage(b"\xfdbin and so on"), Some(ScanError::Encrypted));
    assert_eq!(damage(b"\xfe\xfe\x0d\x01 and so on"), Some(ScanError::InnodbBinlog));
    assert_eq!(damage(b"text"), Some(ScanError::NotABinlog { found: *b"text" }));
    assert_eq!(damage(&[0; 100]), Some(ScanError::NotABinlog { found: [0; 4] }));
    assert_eq!(damage(b""), None);
    assert_eq!(damage(b"\xfebi"), None);
    let mut relay = head().1;
    relay[4 + 17] |= EventHeader::RELAY_LOG as u8;
    assert_eq!(damage(&relay), Some(ScanError::RelayLog));
    let not_first = [&MAGIC[..], &query("BEGIN")].concat();
    assert!(matches!(damage(&not_first), Some(ScanError::BadEvent { offset: 4, .. })));
    let old = event(EventType::FORMAT_DESCRIPTION, &[&[3, 0], &[0; 60][..]].concat());
    let Some(ScanError::BadEvent { reason, .. }) = damage(&[&MAGIC[..], &old].concat()) else { panic!("accepted") };
    assert_eq!(reason, "the format description is not of binlog version 4");
}

#[test]
fn a_tail_of_zeros_or_noise_is_damage_at_its_place() {
    for theme in ["rows", "crash", "no-checksum"] {
        let whole = mysql(theme).bytes;
        let (good, transactions) = scan_all(&whole);
        let last = transactions.last().unwrap();
        let cut = &whole[..last.end as usize];
        for zeros in 1..200 {
            let (scan, read) = scan_all(&[cut, &vec![0; zeros]].concat());
            assert_eq!(read, transactions);
            assert_eq!((scan.boundary, scan.end), (last.end, FileEnd::Open));
            assert_eq!(scan.damage.is_some(), zeros >= EventHeader::LENGTH, "{zeros} zeros");
        }
        let torn = [&whole[..last.start as usize + 30], &vec![0; 4096]].concat();
        let (scan, read) = scan_all(&torn);
        assert_eq!((scan.boundary, read.len()), (last.start, transactions.len() - 1), "{theme}");
        assert!(good.damage.is_none() && scan.damage.is_some());
    }
}

#[test]
fn order_that_no_server_writes() {
    const BEFORE: &str = "a transaction begins before the one before it has ended";
    assert_eq!(refusal(&[gtid(1), query("BEGIN"), gtid(2)]), BEFORE);
    const ENDED: &str = "the file ends before its last transaction has ended";
    assert_eq!(refusal(&[gtid(1), query("BEGIN"), rotate("b.000002")]), ENDED);
    assert_eq!(refusal(&[gtid(1), event(EventType::STOP, &[])]), ENDED);
    assert_eq!(refusal(&[event(EventType::STOP, &[]), gtid(1)]), "it stands after the end of the file");
    let second = head().0.format.event_bytes;
    assert_eq!(refusal(&[second]), "it stands where only a new file has one");
    assert_eq!(refusal(&[event_with(0, 0, &[1, 2, 3])]), "there is no such type");
}

#[test]
fn bodies_that_no_server_writes() {
    assert_eq!(refusal(&[event(EventType::GTID, &[0; 24])]), "its body is not that of a GTID event");
    assert_eq!(refusal(&[gtid(0)]), "its body is not that of a GTID event");
    assert_eq!(refusal(&[event(EventType::GTID_TAGGED, &[4, 0, 0])]), "its body is not that of a GTID event");
    assert_eq!(refusal(&[gtid(1), event(EventType::QUERY, &[9; 12])]), "its body is not that of a QUERY event");
    assert_eq!(refusal(&[rotate("no name")]), "the ROTATE event names no binlog");
    assert_eq!(refusal(&[gtid(1), query("XA COMMIT 'x'")]), "an XA statement without an identifier");
    let mut long = event(EventType::PREVIOUS_GTIDS, &[]);
    long[9..13].copy_from_slice(&(65u32 << 20).to_le_bytes());
    assert_eq!(refusal(&[long]), "longer than any that a server writes");
    let mut short = query("BEGIN");
    short[9..13].copy_from_slice(&22u32.to_le_bytes());
    assert_eq!(refusal(&[short]), "shorter than a header");
}

#[test]
fn an_incident_is_a_transaction_of_its_own() {
    let incident = event(EventType::INCIDENT, b"\x01\0\x04lost");
    let (scan, transactions) = scan_events(&[gtid(1), incident.clone(), gtid(2), query("DROP TABLE t"), incident]);
    assert_eq!((scan.damage, scan.counts.incidents), (None, 2));
    assert_eq!(scan.boundary, scan.length);
    let flags: Vec<_> = transactions.iter().map(|t| t.flags).collect();
    assert_eq!(flags, [TransactionFlags::INCIDENT, TransactionFlags::DDL, TransactionFlags::INCIDENT]);
    assert_eq!(transactions[2].gtid, None, "one without a GTID is reported too");
}

#[test]
fn unknown_events_are_values() {
    let unknown = event_with(99, 0, b"of the future");
    let ignorable = event_with(98, EventHeader::IGNORABLE, b"of the future");
    let block = [gtid(1), query("BEGIN"), ignorable.clone(), xid()];
    let (scan, transactions) = scan_events(&block);
    assert_eq!((scan.damage, scan.counts.unknown_events), (None, 0));
    assert_eq!(transactions[0].flags, TransactionFlags::NONE);

    let (scan, transactions) = scan_events(&[
        gtid(1),
        query("BEGIN"),
        unknown.clone(),
        xid(),
        ignorable,
        gtid(2),
        query("DROP TABLE t"),
        unknown.clone(),
        gtid(3),
        query("BEGIN"),
        xid(),
        gtid(4),
        query("BEGIN"),
        xid(),
        unknown,
    ]);
    assert_eq!((scan.damage, scan.counts.unknown_events), (None, 3));
    assert_eq!(scan.boundary, scan.length);
    let unknown = TransactionFlags::UNKNOWN_EVENT;
    let flags: Vec<_> = transactions.iter().map(|t| t.flags).collect();
    assert_eq!(flags, [unknown, TransactionFlags::DDL, unknown, TransactionFlags::NONE]);
}

#[test]
fn transactions_without_gtid_events() {
    let rows = event(EventType::WRITE_ROWS, &[0; 8]);
    let (scan, transactions) = scan_events(&[
        query("BEGIN"),
        event(EventType::TABLE_MAP, &[0; 8]),
        rows.clone(),
        xid(),
        query("CREATE TABLE t (a INT)"),
        event(EventType::INTVAR, &[2, 1, 0, 0, 0, 0, 0, 0, 0]),
        query("INSERT INTO t VALUES (NULL)"),
        query("XA START X'61',X'',1"),
        rows,
        query("XA END X'61',X'',1"),
        query("XA ROLLBACK X'61',X'',1"),
        query("BEGIN"),
        query("UPDATE t SET a = 1"),
        query("ROLLBACK"),
    ]);
    assert_eq!((scan.damage, scan.counts.transactions, scan.counts.anonymous), (None, 5, 5));
    let flags: Vec<_> = transactions.iter().map(|t| t.flags).collect();
    assert_eq!(
        flags,
        [
            TransactionFlags::NONE,
            TransactionFlags::DDL,
            TransactionFlags::STATEMENT,
            TransactionFlags::XA_ROLLBACK,
            TransactionFlags::STATEMENT | TransactionFlags::NON_TRANSACTIONAL,
        ]
    );
    assert!(transactions.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(transactions[0].commit_us(), 1_700_000_000_000_000);
    assert!(transactions[0].is_whole_second());
}

#[test]
fn a_file_without_a_set_of_earlier_gtids() {
    let (real, raw) = head();
    let format = &raw[..4 + real.format.event_bytes.len()];
    let (scan, transactions) = scan_all(&[format, &gtid(1), &query("BEGIN"), &xid()].concat());
    let head = scan.head.unwrap();
    assert_eq!((head.length, head.previous.is_empty()), (format.len() as u64, true));
    assert_eq!(head.bytes, real.format.event_bytes);
    assert_eq!((transactions.len(), scan.boundary), (1, scan.length));
    let (scan, _) = scan_all(format);
    assert_eq!((scan.head, scan.boundary), (None, 0), "the set may still come");
}

#[test]
fn a_head_with_a_huge_set() {
    let mut set = GtidSet::new();
    for source in 0..600u32 {
        let mut uuid = [0; 16];
        uuid[..4].copy_from_slice(&source.to_be_bytes());
        let source = GtidSource::MySql { uuid: Uuid(uuid), tag: None };
        for n in 0..2000 {
            set.insert_range(&source, n * 2 + 1..=n * 2 + 1);
        }
    }
    let previous = event(EventType::PREVIOUS_GTIDS, &set.encode_mysql());
    assert!(previous.len() > 16 << 20);
    let (real, raw) = head();
    let format = &raw[..4 + real.format.event_bytes.len()];
    let bytes = [format, &previous, &gtid(1), &query("DROP TABLE t")].concat();
    let mut scanner = Scanner::new();
    let mut transactions = 0;
    for piece in bytes.chunks(100_000) {
        scanner.feed(piece, &mut |_| transactions += 1).unwrap();
    }
    assert_eq!(transactions, 1);
    assert_eq!(scanner.head().unwrap().previous, set);
}

#[test]
fn offsets_beyond_four_gigabytes() {
    let (head, _) = head();
    let at = 5 << 32 | 4711;
    let mut scanner = Scanner::resume(&head, at);
    let mut transactions = Vec::new();
    let bytes = [gtid(1), query("BEGIN"), xid()].concat();
    scanner.feed(&bytes, &mut |transaction| transactions.push(transaction)).unwrap();
    assert_eq!((transactions[0].start, transactions[0].end), (at, at + bytes.len() as u64));
    assert_eq!(scanner.boundary(), scanner.offset());
    let mut damaged = xid();
    damaged[20] ^= 1;
    let failure = scanner.feed(&damaged, &mut |_| unreachable!()).unwrap_err();
    let offset = at + bytes.len() as u64;
    assert_eq!(failure, ScanError::BadChecksum { offset, event_type: EventType::XID });
}

#[test]
fn rows_of_any_size_end_nothing() {
    let rows = event(EventType::WRITE_ROWS, &vec![b'x'; 3 << 20]);
    let bytes = file(&[gtid(1), query("BEGIN"), rows.clone(), rows, xid()]);
    for size in [1 << 10, 1 << 20, 5 << 20] {
        let mut scanner = Scanner::new();
        let mut transactions = Vec::new();
        for piece in bytes.chunks(size) {
            scanner.feed(piece, &mut |transaction| transactions.push(transaction)).unwrap();
        }
        assert_eq!(transactions.len(), 1);
        assert_eq!(scanner.boundary(), bytes.len() as u64);
    }
}

#[test]
fn a_statement_longer_than_what_is_kept() {
    let long = format!("INSERT INTO t VALUES ('{}')", "COMMIT".repeat(50_000));
    let bytes = file(&[gtid(1), query("BEGIN"), query(&long), xid(), gtid(2), query("COMMIT")]);
    for size in [1000, 1 << 20] {
        let mut flags = Vec::new();
        let mut scanner = Scanner::new();
        for piece in bytes.chunks(size) {
            scanner.feed(piece, &mut |transaction| flags.push(transaction.flags)).unwrap();
        }
        assert_eq!(flags, [TransactionFlags::STATEMENT, TransactionFlags::NONE]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Damage that the checksum does not show, as in files without checksums.
    #[test]
    fn no_body_makes_it_panic(
        event_type in prop_oneof![0u8..44, 158u8..175, any::<u8>()],
        body in prop::collection::vec(any::<u8>(), 0..120),
        size in 1usize..50,
    ) {
        let bytes = file(&[gtid(1), query("BEGIN"), event_with(event_type, 0, &body), xid()]);
        let (at_once, transactions) = scan_all(&bytes);
        prop_assert!(at_once.boundary <= bytes.len() as u64);
        let mut scanner = Scanner::new();
        let mut in_pieces = Vec::new();
        let failure = bytes.chunks(size).try_for_each(|piece| scanner.feed(piece, &mut |t| in_pieces.push(t)));
        prop_assert_eq!(failure.err(), at_once.damage);
        prop_assert_eq!(in_pieces, transactions);
        prop_assert_eq!(scanner.boundary(), at_once.boundary);
        prop_assert_eq!(scanner.end(), &at_once.end);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        scan_all(&bytes);
        scan_all(&[&MAGIC[..], &bytes].concat());
        scan_all(&[head().1, bytes].concat());
    }
}

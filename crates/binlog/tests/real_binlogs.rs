//! The scanner on binlogs of real servers, against what the server's own tools say about them.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod fixture;

use fixture::{ExpectedTransaction, Fixture, fixtures, mysql};
use pitr_binlog::event::{EventType, Events, FormatDescription, write_crc32};
use pitr_binlog::{
    FileEnd, Flavour, GtidSet, IN_USE_OFFSET, MAGIC, Scan, ScanError, Scanner, Transaction, TransactionFlags, scan,
};

/// The facts that the other program has told too.
fn facts(transaction: &Transaction) -> ExpectedTransaction {
    ExpectedTransaction {
        start: transaction.start,
        end: transaction.end,
        gtid: transaction.gtid.map_or_else(|| "ANONYMOUS".to_owned(), |gtid| gtid.to_string()),
        original_us: transaction.original_commit_us.unwrap_or(0),
        immediate_us: transaction.immediate_commit_us.unwrap_or(0),
        clock: (transaction.last_committed, transaction.sequence_number),
    }
}

fn scan_all(bytes: &[u8]) -> (Scan, Vec<Transaction>) {
    let mut transactions = Vec::new();
    let scan = scan(bytes, &mut |transaction| transactions.push(transaction)).unwrap();
    (scan, transactions)
}

#[test]
fn boundaries_are_those_that_the_server_wrote() {
    for Fixture { name, bytes, expected } in fixtures("") {
        let (scan, transactions) = scan_all(&bytes);
        assert_eq!(scan.damage, None, "{name}");
        let read: Vec<_> = transactions.iter().map(facts).collect();
        assert_eq!(read, expected.transactions, "{name}");
        let head = scan.head.unwrap();
        assert_eq!(head.previous, expected.previous, "{name}");
        assert_eq!(head.previous.to_string(), expected.previous.to_string(), "{name}");
        assert_eq!(scan.end, expected.end, "{name}");
        assert_eq!((scan.boundary, scan.length), (bytes.len() as u64, bytes.len() as u64), "{name}");
        assert_eq!((scan.in_transaction, scan.counts.unknown_events), (false, 0), "{name}");
        assert!(head.length <= transactions[0].start, "{name}");
    }
}

#[test]
fn the_head_tells_who_wrote_the_file() {
    let head = |theme| scan_all(&mysql(theme).bytes).0.head.unwrap();
    let format = head("rows").format;
    assert!(format.server_version.starts_with("9."), "{}", format.server_version);
    assert_eq!((format.flavour, format.binlog_version, format.in_use), (Flavour::MySql, 4, false));
    assert_eq!(format.post_header_length(EventType::QUERY), Some(13));
    assert_eq!(format.checksum.to_string(), "CRC32");
    assert_eq!(head("no-checksum").format.checksum.to_string(), "NONE");
    assert!(head("crash").format.in_use, "its server was killed");
    let sources: Vec<String> = head("payload").previous.sources().map(ToString::to_string).collect();
    assert_eq!(sources.len(), 5, "three with tags: {sources:?}");
}

#[test]
fn the_in_use_bit_changes_nothing_but_itself() {
    let bytes = mysql("crash").bytes;
    let mut cleared = bytes.clone();
    cleared[IN_USE_OFFSET as usize] &= !1;
    assert_ne!(bytes, cleared);
    let ((with, of_with), (without, of_without)) = (scan_all(&bytes), scan_all(&cleared));
    assert_eq!(of_with, of_without);
    let (with, without) = (with.head.unwrap(), without.head.unwrap());
    assert_eq!(with.bytes, without.bytes);
    assert_eq!(without.bytes, cleared[4..without.length as usize]);
    assert_eq!((with.format.in_use, without.format.in_use), (true, false));
}

#[test]
fn flags_say_what_is_in_a_transaction() {
    const NONE: TransactionFlags = TransactionFlags::NONE;
    const DDL: TransactionFlags = TransactionFlags::DDL;
    const STATEMENT: TransactionFlags = TransactionFlags::STATEMENT;
    const PAYLOAD: TransactionFlags = TransactionFlags::PAYLOAD;
    const PLAIN: TransactionFlags = TransactionFlags::NON_TRANSACTIONAL;
    const PREPARE: TransactionFlags = TransactionFlags::XA_PREPARE;
    const COMMIT: TransactionFlags = TransactionFlags::XA_COMMIT;
    const ROLLBACK: TransactionFlags = TransactionFlags::XA_ROLLBACK;
    let statement_block = STATEMENT | PLAIN;
    let themes: [(&str, &[TransactionFlags]); 7] = [
        (
            "rows",
            &[
                DDL, DDL, DDL, DDL, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, DDL, DDL, NONE,
                DDL, DDL, DDL, DDL, DDL, DDL,
            ],
        ),
        ("myisam", &[DDL, PLAIN, PLAIN, PLAIN, DDL, PLAIN, NONE, PLAIN]),
        ("xa", &[DDL, PREPARE, NONE, COMMIT, PREPARE, ROLLBACK, NONE, PREPARE, COMMIT, PREPARE]),
        ("tagged", &[DDL, NONE, NONE, DDL, NONE, NONE, NONE]),
        ("payload", &[DDL, PAYLOAD, PAYLOAD, PAYLOAD, COMMIT, PLAIN, DDL, PAYLOAD]),
        (
            "statement",
            &[
                DDL,
                STATEMENT,
                STATEMENT,
                STATEMENT,
                DDL,
                statement_block,
                STATEMENT,
                STATEMENT,
                STATEMENT,
                statement_block,
                DDL,
                DDL,
            ],
        ),
        ("anonymous", &[DDL, DDL, NONE, DDL, PLAIN, PREPARE, ROLLBACK, DDL, DDL]),
    ];
    for (theme, flags) in themes {
        let (_, transactions) = scan_all(&mysql(theme).bytes);
        assert_eq!(transactions.iter().map(|t| t.flags).collect::<Vec<_>>(), flags, "{theme}");
    }
}

#[test]
fn flags_of_mariadb() {
    const DDL: TransactionFlags = TransactionFlags::DDL;
    const STATEMENT: TransactionFlags = TransactionFlags::STATEMENT;
    const PREPARE: TransactionFlags = TransactionFlags::XA_PREPARE;
    let xa = [
        DDL,
        STATEMENT | PREPARE,
        TransactionFlags::XA_COMMIT,
        STATEMENT | PREPARE,
        TransactionFlags::XA_ROLLBACK,
        STATEMENT,
    ];
    let engines = [DDL, TransactionFlags::NON_TRANSACTIONAL, DDL];
    let compressed = [
        TransactionFlags::NONE,
        TransactionFlags::NONE,
        STATEMENT,
        DDL,
        STATEMENT | PREPARE,
        TransactionFlags::XA_COMMIT,
    ];
    for fixture in fixtures("mariadb") {
        let (_, transactions) = scan_all(&fixture.bytes);
        let flags: Vec<_> = transactions.iter().map(|t| t.flags).collect();
        match fixture.name.rsplit('/').next().unwrap() {
            "xa" => {
                assert_eq!(flags, xa, "{}", fixture.name);
                assert!(transactions[1].xid.is_some() && transactions[1].xid == transactions[2].xid);
                assert!(transactions[3].xid.is_some() && transactions[3].xid == transactions[4].xid);
            }
            "engines" => assert_eq!(flags[..3], engines, "{}", fixture.name),
            "compressed" => assert_eq!(flags, compressed, "{}", fixture.name),
            "rows" => assert_eq!(flags[..5], [DDL, DDL, flags[2], flags[2], DDL], "{}", fixture.name),
            _ => {}
        }
        assert!(transactions.iter().all(|t| t.is_whole_second() && t.commit_us() % 1_000_000 == 0));
    }
}

#[test]
fn an_encrypted_binlog_is_called_so() {
    let folder = std::path::PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/fixtures");
    let mut found = 0;
    for version in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if let Ok(bytes) = std::fs::read(version.join("encrypted.bin")) {
            let (scan, transactions) = scan_all(&bytes);
            assert_eq!(scan.damage, Some(ScanError::Encrypted));
            assert_eq!((scan.boundary, scan.head, transactions), (0, None, vec![]));
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn an_xa_transaction_has_one_id_in_all_its_parts() {
    let (_, transactions) = scan_all(&mysql("xa").bytes);
    let ids: Vec<Option<u64>> = transactions.iter().map(|t| t.xid).collect();
    assert!(ids[1].is_some() && ids[1] == ids[3], "prepared, then committed: {ids:?}");
    assert!(ids[4].is_some() && ids[4] == ids[5], "prepared, then rolled back: {ids:?}");
    assert!(ids[6].is_some(), "one phase: {ids:?}");
    assert!(ids[7].is_some() && ids[7] == ids[8], "an id of any bytes: {ids:?}");
    let distinct: std::collections::BTreeSet<_> = ids.iter().flatten().collect();
    assert_eq!(distinct.len(), 5, "{ids:?}");
    assert_eq!((ids[0], ids[2]), (None, None));
}

#[test]
fn times_are_those_of_the_commit() {
    let (_, imported) = scan_all(&mysql("imported").bytes);
    let (_, original) = scan_all(&mysql("rows").bytes);
    for (copy, original) in imported.iter().zip(&original) {
        assert_eq!(copy.commit_us(), original.commit_us());
        assert!(copy.immediate_commit_us > copy.original_commit_us);
        assert_eq!(copy.gtid, original.gtid);
    }
}

#[test]
fn files_continue_each_other() {
    let mut executed = GtidSet::new();
    for theme in ["rows", "myisam", "xa", "tagged", "payload", "statement", "no-checksum"] {
        let (scan, transactions) = scan_all(&mysql(theme).bytes);
        let previous = scan.head.unwrap().previous;
        assert!(executed.is_subset_of(&previous), "{theme}");
        let own: GtidSet = transactions.iter().filter_map(|t| t.gtid).collect();
        assert!(own.is_disjoint(&previous), "{theme}");
        assert_eq!(own.count(), transactions.len() as u64, "{theme}");
        executed = previous.union(&own);
    }
    assert_eq!(executed.sources().len(), 5);
}

#[test]
fn pieces_of_any_size_give_the_same() {
    for Fixture { name, bytes, .. } in fixtures("") {
        let (whole, of_whole) = scan_all(&bytes);
        let sizes = (1..70).chain([127, 128, 129, 255, 1000, 4095, 4096, 8191, 65536]);
        for size in sizes {
            let mut scanner = Scanner::new();
            let mut transactions = Vec::new();
            for piece in bytes.chunks(size) {
                scanner.feed(piece, &mut |transaction| transactions.push(transaction)).unwrap();
            }
            assert_eq!(transactions, of_whole, "{name} in pieces of {size}");
            assert_eq!(scanner.head(), whole.head.as_ref(), "{name} in pieces of {size}");
            assert_eq!(scanner.end(), &whole.end, "{name} in pieces of {size}");
            assert_eq!((scanner.boundary(), scanner.offset()), (whole.boundary, whole.length), "{name}");
            assert_eq!(scanner.counts(), whole.counts, "{name} in pieces of {size}");
        }
    }
}

#[test]
fn every_prefix_holds_what_is_whole_in_it_and_is_not_complete() {
    for Fixture { name, bytes, expected } in fixtures("") {
        let (whole, all) = scan_all(&bytes);
        let head = whole.head.as_ref().unwrap().length;
        let mut scanner = Scanner::new();
        let mut transactions = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            scanner.feed(&[*byte], &mut |transaction| transactions.push(transaction)).unwrap();
            let length = at as u64 + 1;
            let context = || format!("{name} cut at {length}");
            let complete = all.iter().take_while(|t| t.end <= length).count();
            assert_eq!(transactions.len(), complete, "{}", context());
            assert_eq!(scanner.offset(), length, "{}", context());
            let at_end = length == bytes.len() as u64;
            let boundary = match transactions.last() {
                _ if at_end => length,
                Some(last) => last.end,
                None if length < head => 0,
                None => head,
            };
            assert!(scanner.boundary() >= boundary && scanner.boundary() <= length, "{}", context());
            assert!(!at_end || scanner.boundary() == boundary, "{}", context());
            assert_eq!(scanner.end() == &expected.end, at_end || expected.end == FileEnd::Open, "{}", context());
            assert_eq!(scanner.head().is_some(), length >= head, "{}", context());
            let within = all.iter().any(|t| t.start < length && length < t.end);
            assert!(within || !scanner.in_transaction(), "{}", context());
        }
        assert_eq!(transactions, all, "{name}");
    }
}

#[test]
fn a_prefix_read_at_once_is_the_same_as_one_read_by_bytes() {
    for Fixture { name, bytes, .. } in fixtures("") {
        let (_, all) = scan_all(&bytes);
        let step = 1 + bytes.len() / 4000;
        for length in (0..bytes.len()).step_by(step) {
            let (scan, transactions) = scan_all(&bytes[..length]);
            assert_eq!(scan.damage, None, "{name} cut at {length}");
            assert_eq!(scan.end, FileEnd::Open, "{name} cut at {length}");
            assert_eq!(scan.length, length as u64, "{name}");
            let complete = all.iter().take_while(|t| t.end <= length as u64).count();
            assert_eq!(transactions, all[..complete], "{name} cut at {length}");
        }
    }
}

#[test]
fn going_on_at_a_boundary_gives_the_rest() {
    for Fixture { name, bytes, .. } in fixtures("") {
        let (whole, all) = scan_all(&bytes);
        let head = whole.head.unwrap();
        let starts = std::iter::once(head.length).chain(all.iter().map(|t| t.end));
        for (passed, at) in starts.enumerate() {
            let mut scanner = Scanner::resume(&head, at);
            let mut rest = Vec::new();
            scanner.feed(&bytes[at as usize..], &mut |transaction| rest.push(transaction)).unwrap();
            assert_eq!(rest, all[passed..], "{name} from {at}");
            assert_eq!((scanner.boundary(), scanner.end()), (whole.boundary, &whole.end), "{name} from {at}");
        }
    }
}

#[test]
fn a_flipped_bit_is_found_in_every_event() {
    for Fixture { name, bytes, .. } in fixtures("") {
        if scan_all(&bytes).0.head.unwrap().format.checksum.length() == 0 {
            continue;
        }
        let (whole, all) = scan_all(&bytes);
        let step = 1 + bytes.len() / 4000;
        for at in (MAGIC.len()..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            let bit = at % 8;
            damaged[at] ^= 1 << bit;
            if at as u64 == IN_USE_OFFSET && bit == 0 {
                continue;
            }
            let (scan, transactions) = scan_all(&damaged);
            let context = || format!("{name}, bit {bit} of byte {at}: {scan:?}");
            // A damaged length may make the file look cut short; nothing of the event is taken then either.
            assert!(scan.damage.is_some() || scan.boundary < whole.boundary, "{}", context());
            assert!(scan.boundary <= at as u64, "{}", context());
            assert_eq!(transactions, all[..transactions.len()], "{}", context());
            if let Some(ScanError::BadChecksum { offset, .. } | ScanError::BadEvent { offset, .. }) = scan.damage {
                assert!(offset <= at as u64 && scan.boundary <= offset, "{}", context());
            }
        }
    }
}

#[test]
fn a_failed_scanner_stays_where_it_is() {
    let mut bytes = mysql("rows").bytes;
    let (_, all) = scan_all(&bytes);
    let damaged_at = all[5].start + 40;
    bytes[damaged_at as usize] ^= 0x10;
    let mut scanner = Scanner::new();
    let mut transactions = Vec::new();
    let failure = scanner.feed(&bytes, &mut |transaction| transactions.push(transaction)).unwrap_err();
    assert_eq!(failure, ScanError::BadChecksum { offset: all[5].start, event_type: EventType::GTID });
    assert_eq!((scanner.boundary(), transactions.as_slice()), (all[5].start, &all[..5]));
    assert_eq!(scanner.feed(&bytes, &mut |_| unreachable!()), Err(failure));
    assert_eq!(scanner.boundary(), all[5].start);
}

#[test]
fn checksums_made_again_are_the_servers() {
    for Fixture { name, bytes, .. } in fixtures("") {
        let head = scan_all(&bytes).0.head.unwrap();
        let events = Events::new(&bytes[MAGIC.len()..], head.format.checksum).skip(1);
        let format = FormatDescription::parse(&head.format.event_bytes).unwrap();
        assert_eq!(FormatDescription { in_use: head.format.in_use, ..format }, head.format, "{name}");
        for event in events.map(Result::unwrap) {
            let mut again = event.bytes.to_vec();
            let end = again.len() - head.format.checksum.length();
            again[end..].fill(0);
            if head.format.checksum.length() > 0 {
                write_crc32(&mut again);
            }
            assert_eq!(again, event.bytes, "{name}");
        }
        let mut again = head.format.event_bytes.clone();
        write_crc32(&mut again);
        assert_eq!(again, head.format.event_bytes, "{name}: the format description");
    }
}

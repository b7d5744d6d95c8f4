//! Events that we make up, read back, and beside those of real servers.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

mod fixture;

use fixture::mysql;
use pitr_binlog::event::build::{EventBuilder, name_anonymous};
use pitr_binlog::event::{
    ChecksumAlgorithm, Event, EventHeader, EventType, Events, GtidEvent, LogicalClock, RotateEvent, renumbered,
};
use pitr_binlog::{BinlogName, Gtid, MAGIC, Transaction, Uuid, scan};

const BUILDER: EventBuilder = EventBuilder { server_id: 77, checksum: ChecksumAlgorithm::Crc32 };

fn read(bytes: &[u8]) -> Event<'_> {
    let (event, rest) = Event::split_first(bytes, ChecksumAlgorithm::Crc32).unwrap();
    assert!(rest.is_empty());
    event
}

fn scan_all(bytes: &[u8]) -> Vec<Transaction> {
    let mut transactions = Vec::new();
    let scan = scan(bytes, &mut |transaction| transactions.push(transaction)).unwrap();
    assert_eq!(scan.damage, None);
    assert_eq!((scan.boundary, scan.in_transaction), (bytes.len() as u64, false));
    transactions
}

/// The bytes of a fixture up to the end of its head.
fn head(file: &[u8]) -> &[u8] {
    let head = scan(file, &mut |_| ()).unwrap().head.unwrap();
    &file[..head.length as usize]
}

#[test]
fn an_artificial_rotate() {
    let name = BinlogName::parse("binlog.000042").unwrap();
    let bytes = BUILDER.artificial_rotate(&name, 4);
    let event = read(&bytes);
    assert_eq!((event.header.flags, event.header.timestamp, event.header.log_pos), (EventHeader::ARTIFICIAL, 0, 0));
    assert_eq!(RotateEvent::parse(event.body).unwrap(), RotateEvent { position: 4, next: name });
}

#[test]
fn heartbeats() {
    let name = BinlogName::parse("binlog.000042").unwrap();
    let bytes = BUILDER.heartbeat(&name, 4711);
    let event = read(&bytes);
    assert_eq!((event.event_type(), event.header.log_pos), (EventType::HEARTBEAT, 4711));
    assert_eq!(event.body, b"binlog.000042");
    let bytes = BUILDER.heartbeat_v2(&name, 5 << 32);
    let event = read(&bytes);
    assert_eq!(event.event_type(), EventType::HEARTBEAT_V2);
    assert_eq!(event.body, b"\x01\x0dbinlog.000042\x02\x09\xfe\0\0\0\0\x05\0\0\0\0");
}

#[test]
fn empty_transactions_take_the_place_of_real_ones() {
    let mut tagged = 0;
    for theme in ["imported", "tagged", "rows"] {
        let file = mysql(theme).bytes;
        let head = head(&file);
        for real in scan_all(&file) {
            let (event, _) = Event::split_first(&file[real.start as usize..], ChecksumAlgorithm::Crc32).unwrap();
            let place = GtidEvent::parse(&event.header, event.body).unwrap();
            let made = BUILDER.empty_transaction(&real.gtid.unwrap(), &place, event.header.timestamp);
            let read = scan_all(&[head, &made].concat()).remove(0);
            let (first, _) = Event::split_first(&made, ChecksumAlgorithm::Crc32).unwrap();
            let again = GtidEvent::parse(&first.header, first.body).unwrap();
            assert_eq!(again.transaction_length, Some(made.len() as u64));
            assert_eq!(first.event_type(), event.event_type());
            assert_eq!((read.gtid, read.commit_us(), read.xid), (real.gtid, real.commit_us(), None));
            assert_eq!(read.immediate_commit_us, real.immediate_commit_us);
            assert_eq!((read.last_committed, read.sequence_number), (real.last_committed, real.sequence_number));
            assert_eq!((read.header_time_s, read.server_id), (real.header_time_s, 77));
            tagged += u32::from(first.event_type() == EventType::GTID_TAGGED);
        }
    }
    assert!(tagged > 3, "{tagged}");
}

/// Numbers and times whose variable-length forms have other lengths.
#[test]
fn empty_transactions_of_any_size() {
    let uuid = "ff31a9f0-8000-4000-8000-0000000000ff";
    let file = mysql("rows").bytes;
    let head = head(&file);
    let real = GtidEvent::parse(
        &Event::split_first(&file[head.len()..], ChecksumAlgorithm::Crc32).unwrap().0.header,
        Event::split_first(&file[head.len()..], ChecksumAlgorithm::Crc32).unwrap().0.body,
    )
    .unwrap();
    let largest = i64::MAX as u64 - 1;
    for number in [1, 63, 64, 1 << 20, 1 << 55, 1 << 56, largest] {
        for (immediate, original) in [(0, 0), (1, 2), (1 << 54, 1), ((1 << 55) - 1, 0)] {
            for tag in [String::new(), "t:".to_owned(), format!("{}:", "x".repeat(32))] {
                let gtid: Gtid = format!("{uuid}:{tag}{number}").parse().unwrap();
                let place = GtidEvent {
                    immediate_commit_us: Some(immediate),
                    original_commit_us: Some(original),
                    last_committed: number as i64 - 1,
                    sequence_number: number as i64,
                    ..real
                };
                let made = BUILDER.empty_transaction(&gtid, &place, 1);
                let (first, _) = Event::split_first(&made, ChecksumAlgorithm::Crc32).unwrap();
                let again = GtidEvent::parse(&first.header, first.body).unwrap();
                assert_eq!(again.transaction_length, Some(made.len() as u64), "{gtid}");
                assert_eq!(
                    GtidEvent { gtid: Some(gtid), transaction_length: again.transaction_length, flags: 0, ..place },
                    again
                );
                assert_eq!(scan_all(&[head, &made].concat())[0].gtid, Some(gtid));
            }
        }
    }
}

#[test]
fn an_empty_transaction_of_mariadb() {
    let file = fixture::fixtures("mariadb").into_iter().find(|f| f.name.ends_with("/rows")).unwrap().bytes;
    let head = head(&file);
    let gtid: Gtid = "7-8-9".parse().unwrap();
    let real = scan_all(&file).remove(0);
    let (event, _) = Event::split_first(&file[real.start as usize..], ChecksumAlgorithm::Crc32).unwrap();
    let place = GtidEvent::parse(&event.header, event.body).unwrap();
    let made = BUILDER.empty_transaction(&gtid, &place, 5);
    let read = scan_all(&[head, &made].concat()).remove(0);
    assert_eq!((read.gtid, read.header_time_s, read.server_id), (Some(gtid), 5, 8));
}

#[test]
fn anonymous_transactions_get_names() {
    for checksum in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::None] {
        let file = mysql("anonymous").bytes;
        let before = scan_all(&file);
        let head = head(&file);
        let uuid = Uuid([9; 16]);
        let mut number = 0;
        let mut named = head.to_vec();
        for event in Events::new(&file[head.len()..], ChecksumAlgorithm::Crc32).map(Result::unwrap) {
            let mut bytes = event.bytes.to_vec();
            if event.event_type() == EventType::ANONYMOUS_GTID {
                number += 1;
                name_anonymous(&mut bytes, uuid, number, checksum).unwrap();
            } else {
                assert!(name_anonymous(&mut bytes, uuid, 1, checksum).is_err());
                assert_eq!(bytes, event.bytes);
            }
            named.extend_from_slice(&bytes);
        }
        if checksum == ChecksumAlgorithm::None {
            // The checksums of the file are as they were, so they are wrong now.
            assert!(scan(named.as_slice(), &mut |_| ()).unwrap().damage.is_some());
            continue;
        }
        let after = scan_all(&named);
        assert_eq!(after.len(), before.len());
        for (n, (after, before)) in after.into_iter().zip(before).enumerate() {
            assert_eq!(after.gtid.unwrap().to_string(), format!("{uuid}:{}", n + 1));
            assert_eq!(Transaction { gtid: None, ..after }, before);
        }
    }
}

/// With its own numbers a real event stays what it is, byte by byte; with others, only they and the length differ.
#[test]
fn real_gtid_events_with_other_numbers() {
    let mut tagged = 0;
    for theme in ["imported", "tagged", "rows"] {
        let file = mysql(theme).bytes;
        for real in scan_all(&file) {
            let (event, _) = Event::split_first(&file[real.start as usize..], ChecksumAlgorithm::Crc32).unwrap();
            let place = GtidEvent::parse(&event.header, event.body).unwrap();
            let own = LogicalClock { last_committed: place.last_committed, sequence_number: place.sequence_number };
            let rest = place.transaction_length.unwrap() - event.bytes.len() as u64;
            assert_eq!(renumbered(event.bytes, ChecksumAlgorithm::Crc32, own, rest).unwrap(), event.bytes);
            tagged += u32::from(event.event_type() == EventType::GTID_TAGGED);
            for (number, rest) in [(1, 0), (63, 60), (64, 200), (8192, 60_000), (1 << 40, 1 << 24), (i64::MAX, 1 << 32)]
            {
                let clock = LogicalClock { last_committed: number - 1, sequence_number: number };
                let made = renumbered(event.bytes, ChecksumAlgorithm::Crc32, clock, rest).unwrap();
                let made_event = read(&made);
                let again = GtidEvent::parse(&made_event.header, made_event.body).unwrap();
                let expected = GtidEvent {
                    last_committed: clock.last_committed,
                    sequence_number: clock.sequence_number,
                    transaction_length: Some(made.len() as u64 + rest),
                    ..place
                };
                assert_eq!(again, expected);
                // And back: nothing else was lost, such as the version of the server that wrote it.
                let back = place.transaction_length.unwrap() - event.bytes.len() as u64;
                assert_eq!(renumbered(&made, ChecksumAlgorithm::Crc32, own, back).unwrap(), event.bytes);
            }
        }
    }
    assert!(tagged > 3, "{tagged}");
    let file = mysql("rows").bytes;
    let (format, _) = Event::split_first(&file[4..], ChecksumAlgorithm::Crc32).unwrap();
    let clock = LogicalClock { last_committed: 0, sequence_number: 1 };
    assert!(renumbered(format.bytes, ChecksumAlgorithm::Crc32, clock, 0).is_err());
}

#[test]
fn events_of_a_range() {
    let file = mysql("rows").bytes;
    let body = &file[MAGIC.len()..];
    let whole = Events::new(body, ChecksumAlgorithm::Crc32).skip(1).map(Result::unwrap);
    assert_eq!(whole.map(|event| event.bytes.len()).sum::<usize>() + 123, body.len());
    let cut = Events::new(&body[..body.len() - 1], ChecksumAlgorithm::Crc32).skip(1).collect::<Vec<_>>();
    let failures = cut.iter().filter(|event| event.is_err()).count();
    assert!(failures == 1 && cut.last().unwrap().is_err(), "nothing follows an error");
}

//! The laws of GTID sets: of their algebra, their text and their binary form.

#![allow(clippy::unwrap_used)] // clippy.toml means functions marked #[test]; here all are theirs

use std::time::{Duration, Instant};

use pitr_binlog::{Gtid, GtidSet, GtidSource, GtidTextError, GtidWireError, Tag, Uuid};
use proptest::prelude::*;

const LARGEST: u64 = i64::MAX as u64 - 1;

fn uuid() -> impl Strategy<Value = Uuid> {
    // Few, so that sets meet.
    (0u8..3).prop_map(|n| Uuid([n; 16]))
}

fn mysql_source() -> impl Strategy<Value = GtidSource> {
    let tag = prop::option::of("[a-b]{1,2}").prop_map(|text| text.map(|text| Tag::parse(&text).unwrap()));
    (uuid(), tag).prop_map(|(uuid, tag)| GtidSource::MySql { uuid, tag })
}

fn mariadb_source() -> impl Strategy<Value = GtidSource> {
    (0u32..2, 1u32..3).prop_map(|(domain, server_id)| GtidSource::MariaDb { domain, server_id })
}

fn range() -> impl Strategy<Value = (u64, u64)> {
    let near = (1u64..40, 0u64..10).prop_map(|(first, length)| (first, first + length));
    prop_oneof![8 => near, 1 => Just((LARGEST - 1, LARGEST)), 1 => Just((1, LARGEST))]
}

fn set_of(source: impl Strategy<Value = GtidSource>) -> impl Strategy<Value = GtidSet> {
    prop::collection::vec((source, range()), 0..12).prop_map(|parts| {
        let mut set = GtidSet::new();
        for (source, (first, last)) in parts {
            set.insert_range(&source, first..=last);
        }
        set
    })
}

fn any_set() -> impl Strategy<Value = GtidSet> {
    prop_oneof![set_of(mysql_source()), set_of(mariadb_source())]
}

proptest! {
    #[test]
    fn algebra(a in any_set(), b in any_set(), c in any_set()) {
        prop_assert_eq!(a.subtract(&b).union(&a.intersect(&b)), a.clone());
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.intersect(&b), b.intersect(&a));
        prop_assert_eq!(a.union(&b).union(&c), a.union(&b.union(&c)));
        prop_assert_eq!(a.intersect(&b.union(&c)), a.intersect(&b).union(&a.intersect(&c)));
        prop_assert_eq!(a.subtract(&b.union(&c)), a.subtract(&b).subtract(&c));
        prop_assert_eq!(a.union(&b).subtract(&b), a.subtract(&b));
        prop_assert!(a.subtract(&b).is_disjoint(&b));
        prop_assert_eq!(a.is_disjoint(&b), a.intersect(&b).is_empty());
        prop_assert_eq!(a.is_subset_of(&b), a.subtract(&b).is_empty());
        prop_assert_eq!(a.is_subset_of(&b), a.union(&b) == b);
        prop_assert!(a.is_subset_of(&a) && a.subtract(&a).is_empty());
        let mut added = a.clone();
        added.union_with(&b);
        prop_assert_eq!(added, a.union(&b));
    }

    #[test]
    fn membership(a in any_set(), b in any_set(), source in prop_oneof![mysql_source(), mariadb_source()], number in 1u64..50) {
        let gtid = Gtid { source, number };
        prop_assert_eq!(a.union(&b).contains(&gtid), a.contains(&gtid) || b.contains(&gtid));
        prop_assert_eq!(a.subtract(&b).contains(&gtid), a.contains(&gtid) && !b.contains(&gtid));
        prop_assert_eq!(a.intersect(&b).contains(&gtid), a.contains(&gtid) && b.contains(&gtid));
        let mut with = a.clone();
        with.insert(&gtid);
        prop_assert!(with.contains(&gtid) && a.is_subset_of(&with));
        prop_assert_eq!(with.subtract(&a).count(), u64::from(!a.contains(&gtid)));
        prop_assert!(with.last(&source) >= Some(number));
    }

    #[test]
    fn text_and_back(set in any_set()) {
        let text = set.to_string();
        prop_assert_eq!(text.parse::<GtidSet>().unwrap(), set.clone());
        let spread = text.replace(',', " ,\n, ").to_uppercase();
        prop_assert_eq!(spread.parse::<GtidSet>().unwrap(), set);
    }

    #[test]
    fn bytes_and_back(set in set_of(mysql_source())) {
        let bytes = set.encode_mysql();
        prop_assert_eq!(GtidSet::decode_mysql(&bytes), Ok(set.clone()));
        for length in 0..bytes.len() {
            prop_assert!(GtidSet::decode_mysql(&bytes[..length]).is_err(), "cut at {}", length);
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        prop_assert_eq!(
            GtidSet::decode_mysql(&longer),
            Err(GtidWireError { offset: bytes.len(), reason: "bytes after the end" })
        );
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), header in 0usize..3) {
        let first: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, [0, 1, 7][header]];
        let _ = GtidSet::decode_mysql(&[&first[..], &bytes].concat());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[0-9a-f:,. \\-x_]{0,60}") {
        if let Ok(set) = text.parse::<GtidSet>() {
            prop_assert_eq!(set.to_string().parse::<GtidSet>(), Ok(set));
        }
    }

    #[test]
    fn ranges_are_what_was_put_in(set in any_set()) {
        let mut again = GtidSet::new();
        for (source, range) in set.iter() {
            prop_assert!(set.ranges(&source).any(|r| r == range));
            again.insert_range(&source, range);
        }
        prop_assert_eq!(&again, &set);
        prop_assert_eq!(set.is_empty(), set.count() == 0);
        prop_assert_eq!(set.sources().len(), set.sources().filter(|s| set.last(s).is_some()).count());
    }
}

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn text_is_that_of_the_server() {
    let cases = [
        ("", "".to_owned()),
        (" , \n", "".to_owned()),
        ("A:1-5:7", format!("{A}:1-5:7")),
        ("A:7:1-3:4-5:2", format!("{A}:1-5:7")),
        ("B:1,A:1:3,A:2", format!("{A}:1-3,{B}:1")),
        ("A:1-5:tag:1-2:Zed:9,A:tag:3,B:b:1", format!("{A}:1-5:tag:1-3:zed:9,{B}:b:1")),
        ("A : 1 - 5 : 7", format!("{A}:1-5:7")),
        ("0-1-7,1-2-100", "0-1-7,1-2-100".to_owned()),
        ("0-1-5..7,0-1-9..9", "0-1-5..7,0-1-9..9".to_owned()),
        ("0-1-5..7,0-1-4", "0-1-7".to_owned()),
    ];
    for (text, shown) in cases {
        let set: GtidSet = text.replace('A', A).replace('B', B).parse().unwrap();
        assert_eq!(set.to_string(), shown, "{text}");
    }
}

#[test]
fn text_that_is_no_set() {
    for text in [
        "A", "A:", "A:tag", "A:1:tag", "A:1-", "A:-1", "A:1-2-3", "A:x-y", "x:1", "7", "0-1", "0-1-", "0-1-5..",
        "0-1-a",
    ] {
        let text = text.replace('A', A);
        assert_eq!(text.parse::<GtidSet>(), Err(GtidTextError::NotASet(text.clone())));
    }
    for text in ["A:0", "A:5-4", "A:9223372036854775807", "A:99999999999999999999", "0-1-0", "0-1-7..6"] {
        let text = text.replace('A', A);
        assert_eq!(text.parse::<GtidSet>(), Err(GtidTextError::OutOfRange(text.clone())));
    }
}

#[test]
fn numbers_out_of_range_are_no_members() {
    let source = GtidSource::MySql { uuid: A.parse().unwrap(), tag: None };
    let mut set = GtidSet::new();
    set.insert_range(&source, 0..=0);
    set.insert_range(&source, LARGEST + 1..=u64::MAX);
    #[allow(clippy::reversed_empty_ranges)]
    set.insert_range(&source, 7..=6);
    assert!(set.is_empty());
    set.insert_range(&source, 0..=u64::MAX);
    assert_eq!(set.ranges(&source).collect::<Vec<_>>(), [1..=LARGEST]);
}

#[test]
fn bytes_are_those_of_the_server() {
    let set: GtidSet = format!("{A}:1-5").parse().unwrap();
    let uuid = "3e11fa4771ca11e19e33c80aa9429562";
    let plain = format!("0100000000000000{uuid}010000000000000001000000000000000600000000000000");
    assert_eq!(hex(&set.encode_mysql()), plain);
    let tagged: GtidSet = format!("{A}:1-5:ab:9").parse().unwrap();
    let expected = [
        "0102000000000001".to_owned(),
        format!("{uuid}00010000000000000001000000000000000600000000000000"),
        format!("{uuid}046162010000000000000009000000000000000a00000000000000"),
    ];
    assert_eq!(hex(&tagged.encode_mysql()), expected.concat());
    assert_eq!(hex(&GtidSet::new().encode_mysql()), "0000000000000000");
}

#[test]
fn bytes_that_the_server_refuses() {
    let mut set = GtidSet::new();
    let source = GtidSource::MySql { uuid: Uuid([7; 16]), tag: None };
    set.insert_range(&source, 1..=2);
    set.insert_range(&source, 5..=6);
    let good = set.encode_mysql();
    let with = |at: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        GtidSet::decode_mysql(&bytes).unwrap_err().reason
    };
    assert_eq!(with(32, 0), "intervals out of order");
    assert_eq!(with(32, 3), "intervals out of order");
    assert_eq!(with(48, 3), "intervals out of order");
    assert_eq!(with(56, u64::MAX), "intervals out of order");
    assert_eq!(with(24, 3), "ends too early");
    assert_eq!(with(24, u64::MAX), "ends too early");
    assert_eq!(with(0, u64::MAX >> 8), "ends too early");
    assert_eq!(with(0, 2 << 56), "unknown format");
}

/// F34: holes are normal, and sets get large. The bound is generous: tests are not built for speed.
#[test]
fn large_sets_are_fast() {
    let mut even = GtidSet::new();
    let mut odd = GtidSet::new();
    for source in 0u32..1000 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&source.to_be_bytes());
        let source = GtidSource::MySql { uuid: Uuid(bytes), tag: None };
        for n in 0..1000u64 {
            even.insert_range(&source, n * 4 + 1..=n * 4 + 1);
            odd.insert_range(&source, n * 4 + 3..=n * 4 + 3);
        }
    }
    let start = Instant::now();
    let union = even.union(&odd);
    assert_eq!(union.count(), 2_000_000);
    assert_eq!(union.subtract(&odd), even);
    assert!(even.is_subset_of(&union) && even.is_disjoint(&odd));
    let bytes = union.encode_mysql();
    assert_eq!(GtidSet::decode_mysql(&bytes).as_ref(), Ok(&union));
    assert_eq!(union.to_string().parse::<GtidSet>().as_ref(), Ok(&union));
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

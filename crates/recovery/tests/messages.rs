//! What users read: the text of each refusal, each cause of a gap, each target and each unreadable time.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml means functions marked #[test]; here all are theirs

use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, TransactionFlags};
use pitr_recovery::{
    BinlogId, BoundaryTransaction, Gap, GapCause, RangeRef, RecoveryTarget, TransactionPoint, Unrecoverable, code,
    parse_time,
};

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
/// 2026-11-21T07:14:03Z
const AT: i64 = 1_795_245_243_000_000;

fn name() -> BinlogName {
    BinlogName::parse("binlog.000301").unwrap()
}

fn id() -> BinlogId {
    BinlogId { source: UUID.to_owned(), number: 301, head: [0xab; 8] }
}

fn gtid() -> Gtid {
    format!("{UUID}:7").parse().unwrap()
}

fn gap(cause: GapCause, transactions: u64) -> Box<Gap> {
    Box::new(Gap {
        id: "gap-7f2a".to_owned(),
        branch: "br-3fa0".to_owned(),
        cause,
        missing: GtidSet::new(),
        transactions,
        after_us: None,
        before_us: None,
        reachable_to_us: Some(AT),
        reachable_from_us: None,
        closed_by: None,
    })
}

fn missing() -> GapCause {
    GapCause::MissingBinlogs { source: UUID.to_owned(), first: name(), last: name() }
}

fn damaged() -> GapCause {
    GapCause::Damaged { binlog: id(), name: name(), offset: 88_213, reason: "the event's checksum is wrong".to_owned() }
}

fn transaction(gtid: Option<Gtid>) -> Box<BoundaryTransaction> {
    let at = TransactionPoint { gtid, commit_us: AT, start: 4_711, end: 5_000 };
    Box::new(BoundaryTransaction { binlog: id(), name: name(), at, logged_us: None, flags: TransactionFlags::NONE })
}

fn check(all: &[(Unrecoverable, &str)]) {
    for (refusal, expected) in all {
        assert_eq!(format!("{} {refusal}", refusal.code()), *expected);
    }
}

fn target() -> RecoveryTarget {
    RecoveryTarget::Time(AT)
}

#[test]
fn refusals_of_base_backups_and_gaps() {
    check(&[
        (Unrecoverable::NoBaseBackup, "PITR0302 the archive holds no base backup"),
        (
            Unrecoverable::BeforeFirstBackup { target: target(), first_us: Some(AT + 1) },
            "PITR0302 2026-11-21T07:14:03Z is before the first usable base backup (2026-11-21T07:14:03.000001Z)",
        ),
        (
            Unrecoverable::BeforeFirstBackup { target: RecoveryTarget::Latest, first_us: None },
            "PITR0302 latest is before the first usable base backup",
        ),
        (
            Unrecoverable::BackupDoesNotReach { backup: "bb-1".to_owned(), target: target(), from_us: None },
            "PITR0302 base backup \"bb-1\" cannot reach 2026-11-21T07:14:03Z",
        ),
        (Unrecoverable::NoSuchBackup { id: "bb".to_owned(), matches: 2 }, "PITR0302 \"bb\" names 2 base backups"),
        (
            Unrecoverable::InGap { target: target(), gap: gap(missing(), 335) },
            "PITR0301 2026-11-21T07:14:03Z cannot be reached: it lies in gap-7f2a (binlog.000301 is not archived, 335 transactions)",
        ),
        (
            Unrecoverable::InGap { target: RecoveryTarget::BeforeGtid(gtid()), gap: gap(missing(), 1) },
            "PITR0301 before 3e11fa47-71ca-11e1-9e33-c80aa9429562:7 cannot be reached: it lies in gap-7f2a (binlog.000301 is not archived, 1 transaction)",
        ),
        (
            Unrecoverable::NoSuchGap { id: "gap-1".to_owned(), branch: "br-3fa0".to_owned(), matches: 0 },
            "PITR0301 \"gap-1\" names 0 gaps of branch br-3fa0",
        ),
        (
            Unrecoverable::AfterLastArchived { target_us: AT, end_us: AT - 41_000_000 },
            "PITR0303 2026-11-21T07:14:03Z is after the recoverable end (2026-11-21T07:13:22Z)",
        ),
    ]);
}

#[test]
fn refusals_of_gtids_and_branches() {
    let several = |ids: &[&str], differing| Unrecoverable::SeveralBranches {
        target: target(),
        branches: ids.iter().map(|id| (*id).to_owned()).collect(),
        differing,
    };
    check(&[
        (
            Unrecoverable::GtidNotArchived { gtid: gtid(), newest: Some(5) },
            "PITR0304 3e11fa47-71ca-11e1-9e33-c80aa9429562:7 is not in the archive",
        ),
        (
            Unrecoverable::GtidInsideEveryBase { gtid: gtid() },
            "PITR0304 3e11fa47-71ca-11e1-9e33-c80aa9429562:7 is already in every base backup that leads there",
        ),
        (
            Unrecoverable::GtidOnOtherBranch {
                gtid: gtid(),
                branch: "br-3fa0".to_owned(),
                others: vec!["br-c2d9".to_owned(), "br-1111".to_owned()],
            },
            "PITR0304 3e11fa47-71ca-11e1-9e33-c80aa9429562:7 is not on branch br-3fa0, but on br-c2d9, br-1111",
        ),
        (
            Unrecoverable::SkipNotReplayed { gtid: gtid() },
            "PITR0304 3e11fa47-71ca-11e1-9e33-c80aa9429562:7 cannot be skipped: this plan does not replay it",
        ),
        (
            Unrecoverable::WrongFlavour { gtid: "0-1-7".parse().unwrap(), flavour: Flavour::MySql },
            "PITR0104 \"0-1-7\" is no mysql GTID",
        ),
        (
            several(&["br-3fa0", "br-c2d9"], 12),
            "PITR0306 br-3fa0 and br-c2d9 both cover 2026-11-21T07:14:03Z; 12 transactions differ",
        ),
        (
            several(&["br-1", "br-2", "br-3"], 1),
            "PITR0306 br-1 and br-2 and br-3 all cover 2026-11-21T07:14:03Z; 1 transaction differs",
        ),
        (Unrecoverable::NoSuchBranch { id: "br".to_owned(), matches: 0 }, "PITR0306 \"br\" names 0 branches"),
        (
            Unrecoverable::Damaged { target: target(), gap: gap(damaged(), 2) },
            "PITR0308 2026-11-21T07:14:03Z cannot be reached: binlog.000301 is damaged at byte 88213: the event's checksum is wrong",
        ),
        (
            Unrecoverable::WithoutGtids { target: target(), name: name() },
            "PITR0305 2026-11-21T07:14:03Z cannot be reached: binlog.000301 holds transactions without GTID",
        ),
    ]);
}

#[test]
fn refusals_of_positions_and_stops() {
    let steps_back = |culprit, count| Unrecoverable::TimesStepBack { target_us: AT, culprit, count, by_us: 1 };
    check(&[
        (
            Unrecoverable::AmbiguousPosition { name: name(), sources: vec!["a".to_owned(), "b".to_owned()] },
            "PITR0105 binlog.000301 may be one of 2 binlogs",
        ),
        (Unrecoverable::NoSuchBinlog { name: name() }, "PITR0105 binlog.000301 is not in the archive"),
        (
            Unrecoverable::PositionBeyond { name: name(), pos: 999, end: 400 },
            "PITR0105 position 999 is beyond what is archived of binlog.000301 (up to 400)",
        ),
        (
            steps_back(transaction(Some(gtid())), 1811),
            "PITR0307 2026-11-21T07:14:03Z cannot be reached exactly: 1811 transactions at or before it follow 3e11fa47-71ca-11e1-9e33-c80aa9429562:7, which is later",
        ),
        (
            steps_back(transaction(None), 1),
            "PITR0307 2026-11-21T07:14:03Z cannot be reached exactly: 1 transaction at or before it follows the one at binlog.000301:4711, which is later",
        ),
        (
            Unrecoverable::IndexNotRead { range: RangeRef { binlog: id(), start: 0, end: 99, raw_sha256: [0; 32] } },
            "PITR0999 the index of bytes 0 to 99 of 3e11fa47-71ca-11e1-9e33-c80aa9429562/0000000301-abababababababab was not read",
        ),
    ]);
}

#[test]
fn only_facts_are_offered_instead() {
    let refusal = Unrecoverable::InGap { target: RecoveryTarget::Time(AT), gap: gap(missing(), 1) };
    assert_eq!((refusal.nearest_before_us(), refusal.next_after_us()), (Some(AT), None));
    let refusal = Unrecoverable::BeforeFirstBackup { target: RecoveryTarget::Latest, first_us: Some(AT) };
    assert_eq!((refusal.nearest_before_us(), refusal.next_after_us()), (None, Some(AT)));
    let refusal = Unrecoverable::AfterLastArchived { target_us: AT, end_us: 5 };
    assert_eq!((refusal.nearest_before_us(), refusal.next_after_us()), (Some(5), None));
    assert_eq!(Unrecoverable::NoBaseBackup.nearest_before_us(), None);
    assert_eq!(Unrecoverable::NoBaseBackup.next_after_us(), None);
}

#[test]
fn causes_of_gaps() {
    let range = |end| GapCause::MissingRange { binlog: id(), name: name(), start: 100, end };
    let last = BinlogName::parse("binlog.000303").unwrap();
    let (a, b) = ("a".to_owned(), "b".to_owned());
    let all = [
        (missing(), "binlog.000301 is not archived"),
        (
            GapCause::MissingBinlogs { source: UUID.to_owned(), first: name(), last },
            "binlog.000301 to binlog.000303 are not archived",
        ),
        (range(Some(200)), "bytes 100 to 200 of binlog.000301 are not archived"),
        (range(None), "binlog.000301 is not archived from byte 100 on"),
        (
            GapCause::Lost { binlog: id(), name: name(), start: 100, end: 200 },
            "bytes 100 to 200 of binlog.000301 are lost in the archive: damaged, gone or withheld",
        ),
        (damaged(), "binlog.000301 is damaged at byte 88213: the event's checksum is wrong"),
        (GapCause::Incident { binlog: id(), name: name() }, "the server reports lost events in binlog.000301"),
        (GapCause::WithoutGtids { binlog: id(), name: name() }, "binlog.000301 holds transactions without GTID"),
        (
            GapCause::NeverLogged { source: a.clone() },
            "server a executed transactions that it did not write to its log",
        ),
        (GapCause::NeverArchived { source: a.clone() }, "errant transactions of server a were never archived"),
        (
            GapCause::BetweenServers { before: a, after: b },
            "the log of server b begins after what is archived of server a",
        ),
    ];
    for (cause, expected) in all {
        assert_eq!(cause.to_string(), expected);
    }
}

#[test]
fn targets() {
    let position =
        |source: Option<&str>| RecoveryTarget::Position { source: source.map(str::to_owned), name: name(), pos: 4 };
    assert_eq!(RecoveryTarget::Latest.to_string(), "latest");
    assert_eq!(RecoveryTarget::Time(AT + 5).to_string(), "2026-11-21T07:14:03.000005Z");
    assert_eq!(RecoveryTarget::ThroughGtid(gtid()).to_string(), format!("through {UUID}:7"));
    assert_eq!(position(None).to_string(), "binlog.000301:4");
    assert_eq!(position(Some("3e11")).to_string(), "binlog.000301:4 of 3e11");
}

#[test]
fn unreadable_times() {
    let all = [
        ("15m ago", "time \"15m ago\" is not an RFC 3339 time with offset"),
        ("2026-11-21 08:14", "time \"2026-11-21 08:14\" has no time zone"),
        ("2026-11-21T08:14:00.1234567Z", "time \"2026-11-21T08:14:00.1234567Z\" is finer than a microsecond"),
        ("2026-02-30T08:14:00Z", "time \"2026-02-30T08:14:00Z\" is not an RFC 3339 time with offset"),
    ];
    for (text, expected) in all {
        assert_eq!(parse_time(text).unwrap_err().to_string(), expected);
    }
    // These two are the examples of the table.
    assert_eq!(parse_time("15m ago").unwrap_err().to_string(), code::TIME_UNREADABLE.message);
    assert_eq!(parse_time("2026-11-21 08:14").unwrap_err().to_string(), code::TIME_WITHOUT_ZONE.message);
}

//! The documents, byte for byte: other programs, and other versions of ours, read them. A change here is a change of the
//! interface; `PITR_BLESS=1 cargo test` writes the new texts down.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use pitr_binlog::describe::Change;
use pitr_binlog::event::RowsKind;
use pitr_recovery::{BaseBackup, IndexEntry, Inventory, Timeline};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::testing::History;
use crate::{Archive, Codec, MemoryStore, Place, Store};

fn assert_golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, document: &T) {
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    let path = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("src/document/golden").join(name);
    let lasting = without_hashes(&text);
    if std::env::var_os("PITR_BLESS").is_some() {
        std::fs::write(&path, &lasting).unwrap();
    }
    assert_eq!(lasting, std::fs::read_to_string(&path).unwrap(), "{name}");
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), document);
    // A later version may say more.
    let more = text.replacen('{', "{\"fromALaterVersion\": {\"x\": 1},", 1);
    assert_eq!(&serde_json::from_str::<T>(&more).unwrap(), document);
}

/// No two encodings of a range have one key (archive-format.md "Segment"): what its hash is cannot be written down.
fn without_hashes(text: &str) -> String {
    let mut parts = text.split(".zst\"").map(|part| part.split_at(part.len().saturating_sub(16))).peekable();
    let mut lasting = String::new();
    while let Some((before, hash)) = parts.next() {
        let ends_a_key = parts.peek().is_some();
        lasting.extend(if ends_a_key { [before, "0123456789abcdef.zst\""] } else { [before, hash] });
    }
    lasting
}

/// Three binlogs of one server, the third of them two numbers later, and a base backup before each part.
async fn inventory() -> Inventory {
    let clock = Arc::new(|| Timestamp::from_second(1_700_000_100).unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let archive = Archive::claim(store, clock, "shop/mysql").await.unwrap();
    for number in [1, 2, 4] {
        let history = History::new(7, number, 20);
        let draft = history.draft(Place::Binlogs, 0, history.length());
        let record = archive.write_segment(draft, Codec::default()).await.unwrap();
        archive.write_page(&[record]).await.unwrap();
    }
    let mut inventory = archive.inventory().await.unwrap().0;
    inventory.backups = vec![backup("bb-20231114-221320-0001", 1, 10), backup("bb-20231114-221320-0002", 4, 15)];
    inventory
}

/// A base backup taken after the `count`-th transaction of a binlog.
fn backup(id: &str, binlog: u64, count: usize) -> BaseBackup {
    let history = History::new(7, binlog, 20);
    let mut executed = history.previous.clone();
    history.transactions[..count].iter().filter_map(|t| t.gtid).for_each(|gtid| executed.insert(&gtid));
    let snapshot_us = history.transactions[count - 1].commit_us;
    BaseBackup {
        id: id.to_owned(),
        method: "clone".to_owned(),
        flavour: history.draft(Place::Tail, 0, history.length()).origin.flavour,
        server_version: "9.7.0".to_owned(),
        source: history.id.source.clone(),
        executed,
        position: Some((history.name.clone(), history.boundary(count - 1))),
        snapshot_us,
        started_us: snapshot_us - 1_000_000,
        finished_us: snapshot_us + 1_500_000,
        raw_bytes: 5_000_000,
        stored_bytes: 1_234_567,
        settings: std::collections::BTreeMap::new(),
        recipients: Vec::new(),
    }
}

#[tokio::test]
async fn windows_and_backups_are_written_like_this() {
    let timeline = Timeline::new(inventory().await);
    let windows = WindowsDocument::from(&timeline);
    assert_eq!((windows.items.len(), windows.gaps.len()), (2, 1));
    assert_golden("windows.json", &windows);
    let backups = BackupsDocument::from(&timeline);
    assert_eq!(backups.items.iter().filter(|backup| backup.usable).count(), 2);
    assert_golden("backups.json", &backups);
}

#[tokio::test]
async fn a_timeline_and_binlogs_are_written_like_this() {
    let timeline = Timeline::new(inventory().await);
    let binlogs = BinlogsDocument::new(&timeline, &BinlogFilter::default());
    assert_eq!(binlogs.items.iter().map(|binlog| binlog.transactions).collect::<Vec<_>>(), [20, 20, 20]);
    assert_golden("binlogs.json", &binlogs);
    let none = BinlogFilter { source: Some("3e11".to_owned()), ..BinlogFilter::default() };
    assert_eq!(BinlogsDocument::new(&timeline, &none).items, []);
    let late = BinlogFilter { from_us: Some(1_700_000_000_070_000), ..BinlogFilter::default() };
    assert_eq!(BinlogsDocument::new(&timeline, &late).items.len(), 1);
    let branch = timeline.branches()[0].id.clone();
    let entry = crate::archive::FoundTransaction {
        entry: IndexEntry {
            gtid: "07070707-0707-0707-0707-070707070707:80".parse().ok(),
            commit_us: 1_700_000_000_080_000,
            immediate_us: None,
            start: 4000,
            end: 4160,
            flags: pitr_binlog::TransactionFlags::DDL,
            xid: None,
        },
        name: pitr_binlog::BinlogName::parse("binlog.000004").unwrap(),
        source: "07070707-0707-0707-0707-070707070707".to_owned(),
        stream: "st-9c1d".to_owned(),
        description: Some(crate::Description {
            changes: vec![
                Change::Statement { schema: "shop".to_owned(), sql: "DROP TABLE invoices".to_owned() },
                Change::Rows {
                    kind: RowsKind::Delete,
                    schema: "shop".to_owned(),
                    table: "x".to_owned(),
                    rows: Some(3),
                },
                Change::Compressed,
            ],
            whole: true,
        }),
    };
    let resume = "07070707-0707-0707-0707-070707070707/0000000002-0102030405060708:1234".parse().unwrap();
    let found = crate::Found {
        transactions: vec![entry],
        before: 1,
        undescribed: 2,
        resume: Some(resume),
        searched_to_us: Some(1_700_000_000_000_000),
    };
    assert_golden("timeline.json", &TimelineDocument::new(&timeline, Some(&branch), &found));
}

#[tokio::test]
async fn lists_come_in_pages_that_are_the_whole_together() {
    let timeline = Timeline::new(inventory().await);
    let all = BinlogsDocument::new(&timeline, &BinlogFilter::default());
    for limit in 1..=4 {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let page = Page { limit: Some(limit), cursor };
            let page = BinlogsDocument::page(&timeline, &BinlogFilter::default(), &page).unwrap();
            assert!(page.items.len() <= limit);
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(items, all.items, "{limit} at a time");
    }
    let backups = BackupsDocument::from(&timeline);
    let first = BackupsDocument::page(&timeline, &Page { limit: Some(1), cursor: None }).unwrap();
    let second = BackupsDocument::page(&timeline, &Page { limit: None, cursor: first.next.clone() }).unwrap();
    assert_eq!([first.items, second.items].concat(), backups.items);
    assert!(first.next.is_some() && second.next.is_none());
    for strange in ["", "x", "x/y", "x/1-zz"] {
        let page = Page { limit: None, cursor: Some(strange.to_owned()) };
        assert_eq!(BinlogsDocument::page(&timeline, &BinlogFilter::default(), &page), None, "{strange}");
        assert_eq!(BackupsDocument::page(&timeline, &page), None, "{strange}");
    }
}

#[tokio::test]
async fn windows_of_one_branch_are_no_others() {
    let timeline = Timeline::new(inventory().await);
    let branch = timeline.branches()[0].id.clone();
    let all = || WindowsDocument::from(&timeline);
    assert_eq!(all().of_branch(&branch), all());
    let none = all().of_branch("br-none");
    assert!(none.items.is_empty() && none.gaps.is_empty());
}

#[test]
fn nothing_is_written_like_this() {
    let empty = Inventory { workload: "shop/mysql".to_owned(), ..Inventory::default() };
    let timeline = Timeline::new(empty);
    assert_golden("windows-none.json", &WindowsDocument::from(&timeline));
    assert_golden("backups-none.json", &BackupsDocument::from(&timeline));
}

#[tokio::test]
async fn a_heartbeat_is_written_like_this() {
    let timeline = Timeline::new(inventory().await);
    let heartbeat = Heartbeat {
        gaps: timeline.gaps().iter().map(GapSummary::from).collect(),
        gaps_total: timeline.gaps().len() as u64,
        ..heartbeat()
    };
    assert_golden("heartbeat.json", &heartbeat);
    assert!(serde_json::to_string(&heartbeat).unwrap().len() <= 4096);
}

#[test]
fn a_heartbeat_of_a_sidecar_that_knows_nothing_yet_is_written_like_this() {
    let unknown = Heartbeat {
        state: "starting".to_owned(),
        codes: vec!["PITR0301".to_owned()],
        pod: None,
        server: ServerState {
            flavour: None,
            version: None,
            id: None,
            role: None,
            gtid_mode: None,
            binlog_expire_seconds: None,
        },
        archive: ArchiveState { stream: None, branch: None, catalog_at: None, ..heartbeat().archive },
        window: None,
        windows_total: 0,
        closed: None,
        active: None,
        lag_seconds: None,
        unarchived_binlogs: None,
        unarchived_bytes: None,
        seconds_until_purge: None,
        volume_free_bytes: None,
        base_backups: BackupSummary { usable: 0, newest_id: None, newest_at: None },
        store: StoreState {
            errors_1h: 3,
            last_error_code: Some("PITR0502".to_owned()),
            retry_in_seconds: Some(2.5),
            stored_at: None,
        },
        verify: VerifyState::default(),
        rss_bytes: None,
        ..heartbeat()
    };
    assert_golden("heartbeat-unknown.json", &unknown);
}

fn heartbeat() -> Heartbeat {
    let at = |us: i64| Instant(1_700_000_000_000_000 + us);
    Heartbeat {
        ts: at(20_114_000),
        level: "INFO".to_owned(),
        event: "heartbeat".to_owned(),
        schema_version: SCHEMA_VERSION,
        version: "0.1.0".to_owned(),
        workload: "shop/mysql".to_owned(),
        pod: Some("mysql-0".to_owned()),
        state: "ok".to_owned(),
        codes: vec![],
        server: ServerState {
            flavour: Some("mysql".to_owned()),
            version: Some("9.7.0".to_owned()),
            id: Some("07070707-0707-0707-0707-070707070707".to_owned()),
            role: Some("primary".to_owned()),
            gtid_mode: Some("on".to_owned()),
            binlog_expire_seconds: Some(259_200),
        },
        archive: ArchiveState {
            url: "s3://backups/shop/mysql".to_owned(),
            format: 1,
            stream: Some("st-9c1d".to_owned()),
            branch: Some("br-3fa0".to_owned()),
            catalog_at: Some(at(0)),
            unreadable: None,
        },
        window: Some(WindowSummary {
            from: at(15_000),
            to: at(80_000),
            proven_to: Some(at(20_000_000)),
            resolution_seconds: 0.000_001,
            last_gtid: Some("07070707-0707-0707-0707-070707070707:80".to_owned()),
        }),
        windows_total: 2,
        expected_lag_seconds: 4.5,
        gaps: vec![],
        gaps_total: 0,
        closed: Some(ClosedBinlog {
            binlog: "binlog.000002".to_owned(),
            closed_at: Some(at(40_000)),
            archived_at: Some(at(1_040_000)),
        }),
        active: Some(ActiveBinlog { binlog: "binlog.000004".to_owned(), position_bytes: 4000, shipped_bytes: 3990 }),
        lag_seconds: Some(0.0),
        unarchived_binlogs: Some(0),
        unarchived_bytes: Some(10),
        seconds_until_purge: Some(200_000.0),
        volume_free_bytes: Some(10 << 30),
        base_backups: BackupSummary {
            usable: 2,
            newest_id: Some("bb-20231114-221320-0002".to_owned()),
            newest_at: Some(at(75_000)),
        },
        store: StoreState {
            errors_1h: 0,
            last_error_code: None,
            retry_in_seconds: None,
            stored_at: Some(Instant(1_795_246_218_402_117)),
        },
        verify: VerifyState { checksums_at: Some(at(0)), ..VerifyState::default() },
        rss_bytes: Some(25 << 20),
    }
}

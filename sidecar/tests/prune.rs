//! `pitr-sidecar prune` on an archive in a folder whose objects are made older by hand, and retention in a running sidecar.

#![allow(clippy::unwrap_used, clippy::panic)]

mod archiving;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use pitr_archive::backup::{BackupFacts, BackupWriter};
use pitr_archive::layout::ObjectKey;
use pitr_archive::testing::History;
use pitr_archive::{Archive, Codec, FileStore, ObjectClass, Place, ShortHash, Store as _};
use pitr_binlog::{Flavour, GtidSet};
use serde_json::Value;
use tempfile::TempDir;

use self::archiving::{Archiving, terminate};

const DAYS: u64 = 12;

/// Twelve days of one server up to now: a binlog a day, base backups of the days 1, 4, 7 and 10.
struct Archived {
    home: TempDir,
    archive: Arc<Archive>,
    store: Arc<FileStore>,
}

fn begin() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * DAYS as i64)
}

impl Archived {
    async fn new() -> Self {
        let home = tempfile::Builder::new().prefix("pitr-prune-").tempdir_in("/tmp").unwrap();
        let store = Arc::new(FileStore::new(home.path().join("archive")));
        let archive = Archive::claim(store.clone(), Arc::new(Timestamp::now), "shop/mysql").await.unwrap();
        let archived = Self { home, archive: Arc::new(archive), store };
        let begin = begin();
        for day in 0..DAYS {
            let at = begin + SignedDuration::from_hours(24 * day as i64);
            archived.day(day + 1, at).await;
            age(&archived.home.path().join("archive"), at + SignedDuration::from_hours(1));
        }
        archived
    }

    async fn day(&self, number: u64, at: Timestamp) {
        let mut history = History::new(5, number, 4);
        for (n, transaction) in history.transactions.iter_mut().enumerate() {
            transaction.commit_us = (at + SignedDuration::from_mins(10 * n as i64)).as_microsecond();
        }
        let draft = history.draft(Place::Binlogs, 0, history.length());
        let record = self.archive.write_segment(draft, Codec::default()).await.unwrap();
        self.archive.write_page(&[record]).await.unwrap();
        if number % 3 == 1 {
            self.backup(&format!("bb-{number}"), history.previous.clone(), at).await;
        }
    }

    async fn backup(&self, id: &str, executed: GtidSet, at: Timestamp) {
        let mut writer = BackupWriter::begin(Arc::clone(&self.archive), id).await.unwrap();
        writer.add_file("ibdata1", 0o640, format!("the data of {id}").as_bytes()).await.unwrap();
        let facts = BackupFacts {
            method: "clone".to_owned(),
            flavour: Flavour::MySql,
            server_version: "9.7.0".to_owned(),
            source: History::new(5, 1, 4).id.source,
            executed,
            position: None,
            snapshot_at: at,
            settings: BTreeMap::new(),
        };
        writer.finish(facts, &AtomicU64::new(0)).await.unwrap();
    }

    /// Makes all marks so much older.
    async fn age_marks(&self, hours: i64) {
        let listed = self.store.list("expired/").await.unwrap();
        let [marks] = &listed[..] else { panic!("{listed:?}") };
        let mut content: Value = serde_json::from_slice(&self.store.get(&marks.key).await.unwrap()).unwrap();
        for kind in ["binlogs", "backups"] {
            for mark in content[kind].as_array_mut().unwrap() {
                for field in ["since", "emptied_at", "unseen_since"] {
                    if let Some(at) = mark.get(field).and_then(Value::as_str) {
                        let at: Timestamp = at.parse().unwrap();
                        mark[field] = (at - SignedDuration::from_hours(hours)).to_string().into();
                    }
                }
            }
        }
        let json = serde_json::to_vec(&content).unwrap();
        let Ok(ObjectKey::Marks { generation, .. }) = marks.key.parse() else { panic!("{marks:?}") };
        let key = ObjectKey::Marks { generation: generation + 1, hash: ShortHash::of(&json) }.to_string();
        self.store.put(&key, json.into(), ObjectClass::Control).await.unwrap();
        self.store.delete(std::slice::from_ref(&marks.key)).await.unwrap();
    }

    fn prune(&self, arguments: &[&str]) -> Output {
        let url = format!("file://{}", self.home.path().join("archive").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitr-sidecar"));
        command.args(["prune", "--archive", &url]).args(arguments).output().unwrap()
    }

    fn document(&self, arguments: &[&str]) -> Value {
        let output = self.prune(&[arguments, &["-o", "json"]].concat());
        assert!(output.status.success(), "{}", archiving::text(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn binlogs(&self) -> BTreeSet<u64> {
        let files = files(&self.home.path().join("archive/binlogs"));
        let folder = |path: &PathBuf| path.parent().unwrap().file_name().unwrap().to_str().unwrap()[..10].to_owned();
        files.iter().map(|path| folder(path).parse().unwrap()).collect()
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        files(&self.home.path().join("archive")).into_iter().collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Makes all objects of an archive that are younger than an hour as old as this.
fn age(archive: &Path, at: Timestamp) {
    let time = |at: Timestamp| SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_second() as u64);
    let (aged, recent) = (time(at), time(Timestamp::now() - SignedDuration::from_hours(1)));
    for path in files(archive) {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        if file.metadata().unwrap().modified().unwrap() > recent {
            file.set_modified(aged).unwrap();
        }
    }
}

fn expired(document: &Value) -> Vec<String> {
    let items = document["items"].as_array().unwrap().iter();
    items.filter(|item| item["verdict"] == "expire").map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_plan_is_printed_marks_come_with_apply_and_objects_go_a_grace_later() {
    let archived = Archived::new().await;
    let before = archived.files();
    let shown = archived.prune(&["--window", "4d"]);
    let said = archiving::text(&shown);
    assert!(shown.status.success(), "{said}");
    // It is the end of day 12, four days back is the end of day 8: the base of day 7 is older.
    for line in ["Expire      base backup bb-1 ", "Expire      base backup bb-4 ", "Keep        base backup bb-7 "] {
        assert!(said.contains(line), "{said}");
    }
    assert!(said.contains("Expire      6 binlogs of ") && said.contains("nothing was done; --apply"), "{said}");
    assert_eq!(archived.files(), before, "a plan writes nothing");

    let applied = archived.document(&["--window", "4d", "--apply"]);
    assert_eq!(expired(&applied).len(), 8);
    assert_eq!(applied["done"]["marked"].as_array().unwrap().len(), 8, "{applied}");
    assert_eq!((&applied["done"]["deletedObjects"], archived.binlogs().len()), (&0.into(), DAYS as usize));
    // Hidden at once: what is planned from now on never names it.
    let inventory = archived.archive.inventory().await.unwrap().0;
    assert_eq!((inventory.binlogs.len(), inventory.backups.len()), (6, 2));
    assert_eq!(archived.document(&["--window", "4d", "--apply"])["done"]["deletedObjects"], 0);

    archived.age_marks(25).await;
    let applied = archived.document(&["--window", "4d", "--apply"]);
    assert!(applied["done"]["deletedObjects"].as_u64().unwrap() >= 10, "{applied}");
    assert_eq!(archived.binlogs(), (7..=12).collect());
    archived.age_marks(3).await;
    archived.document(&["--window", "4d", "--apply"]);
    archived.age_marks(3).await;
    let applied = archived.document(&["--window", "4d", "--apply"]);
    assert!(!applied["done"]["finished"].as_array().unwrap().is_empty(), "{applied}");
    let left = archived.archive.inventory().await.unwrap().0;
    assert_eq!((left.binlogs, left.backups), (inventory.binlogs, inventory.backups));
}

#[tokio::test]
async fn a_shorter_window_than_was_promised_is_refused() {
    let archived = Archived::new().await;
    archived.document(&["--window", "7d", "--apply"]);
    for apply in [&["--window", "2d"][..], &["--window", "2d", "--apply"]] {
        let refused = archived.prune(apply);
        let said = archiving::text(&refused);
        assert_eq!(refused.status.code(), Some(4), "{said}");
        assert!(said.contains("error[PITR0901]") && said.contains("would become unreachable"), "{said}");
    }
    let forced = archived.document(&["--window", "2d", "--apply", "--force"]);
    assert!(!forced["done"]["marked"].as_array().unwrap().is_empty(), "{forced}");
    assert!(archived.prune(&["--window", "2d", "--apply"]).status.success());
}

#[tokio::test]
async fn a_policy_is_the_sidecars_own_section_and_is_never_guessed() {
    let archived = Archived::new().await;
    let file = archived.home.path().join("config.yaml");
    std::fs::write(&file, "retention: {window: 4d, keep_last: 1, pins: [bb-1]}\n").unwrap();
    let document = archived.document(&["--policy", file.to_str().unwrap()]);
    assert_eq!(expired(&document), ["bb-4"], "what the pinned one may need stays");
    let kept = document["items"].as_array().unwrap().iter().find(|item| item["id"] == "bb-1").unwrap();
    assert_eq!((&kept["verdict"], &kept["reasons"][0]), (&"keep".into(), &"pinned".into()));
    for (arguments, code) in [(&[][..], "PITR0209"), (&["--window", "4d", "--grace", "10m"], "PITR0209")] {
        let refused = archived.prune(arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(archiving::text(&refused).contains(code), "{}", archiving::text(&refused));
    }
}

#[tokio::test]
async fn a_sidecar_that_retains_marks_what_no_base_needs_and_archives_on() {
    let retention = "schedule: {archive_interval: 300ms, tail_interval: 100ms}\nretention: {window: 1h, run: here}";
    let Some(scene) = Archiving::new(retention).await else { return };
    // All that the log holds was three hours ago.
    scene.server.sql("RESET BINARY LOGS AND GTIDS").await.unwrap();
    let then = Timestamp::now() - SignedDuration::from_hours(3);
    for id in 0..3 {
        let committed = format!("SET SESSION original_commit_timestamp = {}", then.as_microsecond() + id);
        let old =
            format!("{committed}; CREATE DATABASE old{id}; {committed}; CREATE TABLE old{id}.t (id INT PRIMARY KEY)");
        scene.server.sql(&old).await.unwrap();
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    assert_eq!(scene.once().await.0, 0);
    let stored = scene.inventory().await;
    let archived = Archived {
        home: tempfile::tempdir_in("/tmp").unwrap(),
        archive: Arc::new(scene.archive()),
        store: Arc::new(FileStore::new(scene.path("archive"))),
    };
    let executed: GtidSet = scene.server.gtid_executed().await.unwrap().parse().unwrap();
    archived.backup("bb-1", executed, then + SignedDuration::from_hours(1)).await;
    age(&scene.path("archive"), then + SignedDuration::from_hours(1));
    let mut run = scene.run();
    // The status is made from what is unmarked: three closed binlogs go at the first run, the open one stays.
    let begun = std::time::Instant::now();
    while scene.inventory().await.binlogs.len() + 3 != stored.binlogs.len() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is marked:\n{}", scene.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    scene.insert(3, 640).await;
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(3, 640).await;
    let last = scene.server.gtid_executed().await.unwrap();
    let begun = std::time::Instant::now();
    loop {
        let inventory = scene.inventory().await;
        let mut reached = inventory.backups[0].executed.clone();
        inventory.binlogs.iter().flat_map(|b| &b.ranges).for_each(|range| reached.union_with(&range.gtids));
        if reached == last.parse().unwrap() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{reached} is not {last}:\n{}", scene.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(terminate(&mut run).await, Some(0));
    assert!(scene.log().contains("retention"), "{}", scene.log());
}

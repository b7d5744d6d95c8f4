//! `pitr-sidecar verify` on a real server's archive: all is well, one byte is not, the catalog is lost and made again.

#![allow(clippy::unwrap_used, clippy::panic)]

mod archiving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use pitr_archive::backup::{BackupFacts, BackupWriter};
use serde_json::Value;

use self::archiving::{Archiving, text};

/// Small segments: many of them, and transactions that are cut inside.
const SMALL: &str = "pipeline: {segment_bytes: 64KiB}";

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

async fn verify(scene: &Archiving, arguments: &[&str]) -> (i32, Value, String) {
    let url = scene.url();
    let output = scene.ask(&[&["verify", "--archive", &url, "-o", "json"], arguments].concat()).await;
    let document = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), document, text(&output))
}

async fn told(scene: &Archiving) -> String {
    text(&scene.ask(&["status", "--archive", &scene.url()]).await)
}

/// A base backup of the empty server: enough for a plan.
async fn base(scene: &Archiving) {
    let mut writer = BackupWriter::begin(Arc::new(scene.archive()), "bb-1").await.unwrap();
    writer.add_file("ibdata1", 0o640, &b"nothing"[..]).await.unwrap();
    let binlog = scene.inventory().await.binlogs.remove(0);
    let facts = BackupFacts {
        method: "clone".to_owned(),
        flavour: binlog.flavour,
        server_version: binlog.server_version.clone(),
        source: binlog.id.source.clone(),
        executed: binlog.previous.clone(),
        position: None,
        snapshot_at: Timestamp::UNIX_EPOCH,
        settings: BTreeMap::new(),
    };
    writer.finish(facts, &AtomicU64::new(0)).await.unwrap();
}

/// The only window.
async fn window(scene: &Archiving) -> Value {
    let output = scene.ask(&["status", "--archive", &scene.url(), "-o", "json"]).await;
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["windows"]["items"].as_array().unwrap().len(), 1, "{status}");
    status["windows"]["items"][0].clone()
}

/// Plans a restore to the end of a window.
async fn plan(scene: &Archiving, window: &Value) -> (i32, String) {
    let output = scene.ask(&["plan", "--archive", &scene.url(), "--to", window["to"].as_str().unwrap()]).await;
    (output.status.code().unwrap(), text(&output))
}

#[tokio::test]
async fn every_event_is_checked_one_bad_byte_is_named_and_the_catalog_is_made_again() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    for _ in 0..3 {
        scene.insert(20, 6400).await;
        // Larger than two segments: cut inside.
        scene.insert(1, 640_000).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    scene.insert(5, 640).await;
    assert_eq!(scene.once().await.0, 0);
    let (exit, document, said) = verify(&scene, &["--deep"]).await;
    assert_eq!((exit, &document["ok"]), (0, &true.into()), "{said}");
    let segments = document["segments"].as_u64().unwrap();
    assert!(segments > 10 && document["segmentsRead"] == segments, "{document}");
    assert!(said.contains("\"event\":\"progress\"") || said.contains("\"recorded\": true"), "{said}");

    // Pages of a folder that is lost: the segments tell the same.
    let status = async || {
        let output = scene.ask(&["status", "--archive", &scene.url(), "-o", "json"]).await;
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["newest"].clone()
    };
    let before = status().await;
    std::fs::remove_dir_all(scene.path("archive/catalog")).unwrap();
    let (exit, document, said) = verify(&scene, &["--rebuild-catalog"]).await;
    assert_eq!((exit, &document["ok"]), (0, &true.into()), "{said}");
    assert_eq!(status().await, before);

    base(&scene).await;
    let all = window(&scene).await;
    let bad = files(&scene.path("archive/binlogs")).remove(4);
    let right = std::fs::read(&bad).unwrap();
    let mut bytes = right.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&bad, bytes).unwrap();
    let (exit, document, said) = verify(&scene, &[]).await;
    assert_eq!(exit, 3, "{said}");
    assert!(said.contains("error[PITR0606]"), "{said}");
    let quarantined = document["quarantined"].as_array().unwrap();
    assert_eq!(quarantined.len(), 1, "{document}");
    let name = quarantined[0]["what"].as_str().unwrap();
    assert!(bad.ends_with(name), "{name} is not {}", bad.display());
    assert_eq!(document["segmentsRead"], segments);
    assert!(said.contains("leave out what is lost"), "{said}");
    // What was found is in every sample from now on, and status tells it, until it is right.
    for _ in 0..2 {
        assert_eq!(verify(&scene, &["--sample", "50%"]).await.0, 3);
        assert!(told(&scene).await.contains("1 objects DAMAGED [PITR0606]"));
    }
    // Nothing that the damage hides is claimed: the window ends before it, and a plan for what follows names it.
    let cut = window(&scene).await;
    assert!(cut["from"] == all["from"] && cut["to"].as_str() < all["to"].as_str(), "{cut} {all}");
    assert!(told(&scene).await.contains("are lost in the archive: damaged or gone"));
    let (exit, said) = plan(&scene, &all).await;
    assert_eq!(exit, 4, "{said}");
    assert!(said.contains("error[PITR0308]") && said.contains("are lost in the archive"), "{said}");
    assert_eq!(plan(&scene, &cut).await.0, 0);
    std::fs::write(&bad, right).unwrap();
    assert_eq!(verify(&scene, &["--sample", "50%"]).await.0, 0);
    assert!(!told(&scene).await.contains("DAMAGED"));
    assert_eq!((window(&scene).await, plan(&scene, &all).await.0), (all, 0));
    assert_eq!(verify(&scene, &["--sample", "0%"]).await.0, 2);
}

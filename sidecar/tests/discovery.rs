//! Binlogs whose names come back, change, or go away: with a real server.

#![allow(clippy::unwrap_used, clippy::panic)]

mod archiving;

use std::collections::BTreeMap;

use pitr_recovery::{Closed, GapCause, Problem, Timeline};

use self::archiving::{Archiving, terminate};

const SMALL: &str = "schedule: {archive_interval: 300ms, tail_interval: 100ms}\npipeline: {segment_bytes: 64KiB}";

/// The server's binlogs under a base name, in-use bit cleared.
fn files_of(scene: &Archiving, base: &str) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(scene.server.datadir()).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let is_binlog =
        |name: &String| name.strip_prefix(base).is_some_and(|rest| rest.starts_with('.') && !rest.ends_with('x'));
    let read = |name: String| {
        let mut bytes = std::fs::read(scene.server.datadir().join(&name)).unwrap();
        bytes[21] &= !1;
        (name, bytes)
    };
    names.filter(is_binlog).map(read).collect()
}

#[tokio::test]
async fn a_reset_begins_another_history_and_keeps_the_first() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    let mut run = scene.run();
    scene.insert(20, 6400).await;
    let before = scene.files();
    scene.until_contents(&before).await;
    // Within one second both would have the same head, which is another test.
    scene.server.sql("SELECT SLEEP(1.1); RESET BINARY LOGS AND GTIDS").await.unwrap();
    scene.insert(30, 6400).await;
    let after = scene.files();
    assert_eq!(after.keys().collect::<Vec<_>>(), ["binlog.000001"]);
    scene.until_contents(&after).await;
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(1, 64).await;
    scene.until_contents(&scene.files()).await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    // Nothing of the first history is lost or mixed with the second.
    scene.until_contents(&before).await;
    let inventory = scene.inventory().await;
    let firsts = inventory.binlogs.iter().filter(|binlog| binlog.id.number == 1);
    assert_eq!(firsts.map(|binlog| binlog.id.head).collect::<std::collections::BTreeSet<_>>().len(), 2);
    let timeline = Timeline::new(inventory);
    assert!(timeline.streams().len() >= 2, "{:?}", timeline.streams());
}

#[tokio::test]
async fn a_file_with_the_identity_of_another_is_archived_whole_and_both_are_kept() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    scene.insert(20, 6400).await;
    assert_eq!(scene.once().await.0, 0);
    let (name, before) = scene.files().pop_last().unwrap();
    // A copy of the volume from before goes on by itself: same head, other transactions.
    scene.server.kill().await.unwrap();
    let path = scene.server.datadir().join(&name);
    let whole = std::fs::read(&path).unwrap();
    let twin = [&whole[..whole.len() / 2], &vec![0x5a; whole.len()]].concat();
    std::fs::write(&path, &twin).unwrap();
    let (exit, said) = scene.once().await;
    assert!(exit != 0 && said.contains("\"event\":\"divergence\""), "{exit}: {said}");
    std::fs::write(&path, &whole).unwrap();
    scene.server.start().await.unwrap();
    scene.insert(3, 640).await;
    assert_eq!(scene.once().await.0, 0);
    let files = scene.files();
    assert_eq!(files[&name], before);
    scene.until_contents(&BTreeMap::from([files.last_key_value().map(|(n, b)| (n.clone(), b.clone())).unwrap()])).await;
}

#[tokio::test]
async fn another_base_name_is_followed_and_what_was_left_is_archived() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    scene.insert(20, 6400).await;
    let mut run = scene.run();
    scene.until_contents(&scene.files()).await;
    // The server leaves a file that nobody has archived, and goes on under another name.
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    scene.insert(20, 6400).await;
    scene.server.stop().await.unwrap();
    let mut run = scene.run();
    scene.server.add_option("--log-bin=mysql-bin");
    scene.server.start().await.unwrap();
    scene.insert(20, 6400).await;
    scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    scene.insert(3, 640).await;
    scene.until_contents(&files_of(&scene, "binlog")).await;
    scene.until_contents(&files_of(&scene, "mysql-bin")).await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let timeline = Timeline::new(scene.inventory().await);
    assert!(timeline.problems().is_empty() && timeline.gaps().is_empty(), "{:?}", timeline.gaps());
}

#[tokio::test]
async fn numbers_grow_past_six_digits() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    let mut run = scene.run();
    scene.insert(3, 640).await;
    // The server takes the number after the greatest that it finds.
    std::fs::write(scene.server.datadir().join("binlog.999998"), b"").unwrap();
    for _ in 0..3 {
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
        scene.insert(3, 640).await;
    }
    let files = scene.files();
    assert!(files.contains_key("binlog.999999") && files.contains_key("binlog.1000001"), "{:?}", files.keys());
    scene.until_contents(&files).await;
    scene.until_closed().await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let inventory = scene.inventory().await;
    let timeline = Timeline::new(inventory.clone());
    assert!(timeline.problems().is_empty() && timeline.gaps().is_empty(), "{:?}", timeline.gaps());
    let binlogs = timeline.streams().iter().flat_map(|stream| stream.binlogs.iter());
    assert_eq!(binlogs.map(|binlog| binlog.id.number).collect::<Vec<_>>(), [1, 999_999, 1_000_000, 1_000_001]);
    assert_eq!(timeline.branches().len(), 1);
    assert_eq!(inventory.binlogs.iter().filter(|binlog| binlog.closed == Closed::Open).count(), 1);
}

#[tokio::test]
async fn what_the_server_purged_first_is_a_gap_that_is_named() {
    let Some(scene) = Archiving::new(SMALL).await else { return };
    scene.insert(3, 640).await;
    assert_eq!(scene.once().await.0, 0);
    for _ in 0..3 {
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
        scene.insert(3, 640).await;
    }
    let names: Vec<String> = scene.files().into_keys().collect();
    scene.server.sql(&format!("PURGE BINARY LOGS TO '{}'", names[names.len() - 1])).await.unwrap();
    let mut run = scene.run();
    scene.until_contents(&scene.files()).await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let timeline = Timeline::new(scene.inventory().await);
    let causes: Vec<&GapCause> = timeline.gaps().iter().map(|gap| &gap.cause).collect();
    assert!(
        matches!(&causes[..], [GapCause::MissingBinlogs { .. } | GapCause::MissingRange { .. }, ..]),
        "{:?}",
        timeline.gaps()
    );
}

#[tokio::test]
async fn what_the_server_lost_in_a_crash_is_kept_as_a_branch() {
    let Some(mut scene) = Archiving::new(SMALL).await else { return };
    let mut run = scene.run();
    scene.insert(10, 640).await;
    scene.until_contents(&scene.files()).await;
    let (name, before) = scene.files().pop_last().unwrap();
    scene.insert(10, 640).await;
    scene.until_contents(&scene.files()).await;
    let shipped = scene.files()[&name].clone();
    // The machine loses power: what the disk did not have yet is gone, the sidecar with it.
    run.kill().await.unwrap();
    scene.server.kill().await.unwrap();
    let file = std::fs::File::options().write(true).open(scene.server.datadir().join(&name)).unwrap();
    file.set_len(before.len() as u64).unwrap();
    drop(file);
    let mut run = scene.run();
    scene.server.start().await.unwrap();
    scene.insert(4, 640).await;
    let mut files = scene.files();
    assert_eq!(files.remove(&name), Some(before.clone()));
    scene.until_contents(&files).await;
    let status = scene
        .until_status(|status| status["codes"].as_array().is_some_and(|codes| codes.contains(&"PITR0513".into())))
        .await;
    assert_eq!(status["state"], "degraded", "{status}");
    scene.until_closed().await;
    assert_eq!(terminate(&mut run).await, Some(0), "{}", scene.log());
    let inventory = scene.inventory().await;
    let crashed = inventory.binlogs.iter().find(|binlog| binlog.name.as_str() == name).unwrap();
    let reach = crashed.ranges.iter().map(|range| range.end).max().unwrap();
    assert_eq!((reach, &crashed.closed), (shipped.len() as u64, &Closed::Crashed));
    let timeline = Timeline::new(inventory);
    assert!(
        timeline
            .problems()
            .iter()
            .any(|problem| matches!(problem, Problem::Ahead { offset, .. } if *offset == before.len() as u64)),
        "{:?}",
        timeline.problems()
    );
}

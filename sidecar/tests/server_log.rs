//! What a real server does for the archiver's asking: it closes a binlog that is old, and deletes what is archived. Neither leaves a trace in
//! its history, and nothing of it is done without the privileges, or while the archive lacks something.

#![allow(clippy::unwrap_used, clippy::panic)]

mod archiving;

use archiving::{Archiving, terminate};
use mysql_async::prelude::Queryable as _;
use serde_json::Value;

const TENDED: &str = "schedule: {tail: false, archive_interval: 500ms, flush_when_older_than: 1m}\n\
                      purge_archived: true\npurge_after: 0s\n";

async fn listed(scene: &Archiving) -> Vec<String> {
    let mut connection = scene.server.connect().await.unwrap();
    let rows: Vec<mysql_async::Row> = connection.query("SHOW BINARY LOGS").await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("Log_name").unwrap()).collect()
}

fn has_code(status: &Value, code: &str) -> bool {
    status["codes"].as_array().is_some_and(|codes| codes.contains(&code.into()))
}

#[tokio::test]
async fn a_server_closes_old_binlogs_and_deletes_archived_ones_for_the_asking() {
    let Some(scene) = Archiving::new(TENDED).await else { return };
    scene.log_in().await;
    for _ in 0..3 {
        scene.insert(2, 640).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    scene.insert(2, 640).await;
    assert_eq!(scene.once().await.0, 0);
    let (before, mut files) = (listed(&scene).await, scene.files());

    // The archive is whole, and the account may not.
    let mut run = scene.run();
    let status = scene.until_status(|status| has_code(status, "PITR0518")).await;
    assert!(status["unarchivedBinlogs"] == 0 && listed(&scene).await == before, "{status}");
    assert!(scene.log().contains("BINLOG_ADMIN"), "{}", scene.log());

    // Read-only, as a replica is: both are done all the same, and nothing is written into its history.
    let granted = "GRANT RELOAD, BINLOG_ADMIN ON *.* TO pitr@localhost; SET GLOBAL super_read_only = ON";
    scene.server.sql(granted).await.unwrap();
    let executed = scene.server.gtid_executed().await.unwrap();
    files.extend(scene.files());
    scene.until_status(|status| !has_code(status, "PITR0518")).await;
    let active = before.last().unwrap();
    assert_eq!(listed(&scene).await.first(), Some(active), "{}", scene.log());
    scene.until_status(|status| status["closed"]["binlog"] == active.as_str()).await;
    let after = listed(&scene).await;
    assert_eq!(after.len(), 2, "{after:?}: one rotation, and the old one stays until the archive is listed again");
    assert_eq!(scene.server.gtid_executed().await.unwrap(), executed);
    let log = scene.log();
    assert_eq!(
        (log.matches("\"event\":\"rotated\"").count(), log.matches("\"event\":\"purged\"").count()),
        (1, 1),
        "{log}"
    );

    // Every byte that the server deleted is in the archive.
    assert_eq!(terminate(&mut run).await, Some(0), "{log}");
    files.extend(scene.files());
    let archived = scene.archived().await;
    for name in &before {
        assert!(archived[name] == files[name], "{name} is not archived as it was");
    }
}

#[tokio::test]
async fn what_the_store_does_not_list_stays_on_the_server_and_is_told() {
    let purging = "schedule: {tail: false, archive_interval: 500ms}\npurge_archived: true\npurge_after: 0s\n";
    let Some(scene) = Archiving::new(purging).await else { return };
    scene.log_in().await;
    // More than go at once.
    for _ in 0..70 {
        scene.insert(1, 64).await;
        scene.server.sql("FLUSH BINARY LOGS").await.unwrap();
    }
    assert_eq!(scene.once().await.0, 0);
    let before = listed(&scene).await;
    for name in &before[..70] {
        let file = std::fs::File::options().write(true).open(scene.server.datadir().join(name)).unwrap();
        let closed = file.metadata().unwrap().modified().unwrap();
        file.set_modified(closed - std::time::Duration::from_secs(3600)).unwrap();
    }
    let lost = &before[66];
    let binlogs = scene.inventory().await.binlogs;
    let object = binlogs.iter().find(|binlog| binlog.name.as_str() == lost).unwrap().ranges[0].objects[0].key.clone();
    std::fs::remove_file(scene.path("archive").join(object)).unwrap();

    // Whoever may not is told so before the store is asked for anything.
    let (objects, aside) = (scene.path("archive/binlogs"), scene.path("aside"));
    std::fs::rename(&objects, &aside).unwrap();
    let mut run = scene.run();
    scene.until_status(|status| has_code(status, "PITR0518")).await;
    assert!(scene.log().contains("BINLOG_ADMIN") && !scene.log().contains("not-purged"), "{}", scene.log());
    std::fs::rename(&aside, &objects).unwrap();

    scene.server.sql("GRANT BINLOG_ADMIN ON *.* TO pitr@localhost").await.unwrap();
    scene.until_status(|status| !has_code(status, "PITR0518")).await;
    assert_eq!(listed(&scene).await[0], before[64], "{}", scene.log());
    scene.until_status(|status| has_code(status, "PITR0518")).await;
    let log = scene.log();
    assert_eq!((&listed(&scene).await[0], log.matches("\"event\":\"purged\"").count()), (lost, 2), "{log}");
    let told = format!("the server keeps {lost} and all binlogs after it: it is not in the archive as a whole");
    assert!(log.contains(&told), "{log}");
    assert_eq!(terminate(&mut run).await, Some(0), "{log}");
}

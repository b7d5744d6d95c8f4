//! What `pitr-sidecar restore` refuses, and that nothing is written then; and bases that other tools restored.

#![allow(clippy::unwrap_used, clippy::panic)]

mod rig;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::rig::{Rig, assert_nothing_of_ours, listing, server_program_of, state};

/// A small file system of its own, gone with the value.
struct SmallVolume(PathBuf);

impl SmallVolume {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "none"]).arg(&at).status().unwrap();
        assert!(mounted.success(), "this test mounts a small tmpfs, which needs root");
        Self(at)
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_written() {
    let Some(rig) = Rig::new().await else { return };
    rig.backup("dump", &[]).await.expect_result("stored");
    rig.load(4, 20).await;
    rig.archive_once().await;

    let small = SmallVolume::mount(rig.path("small"));
    for datadir in [small.0.clone(), small.0.join("data")] {
        let outcome = rig.restore(&["--to", "latest"], &datadir).await;
        outcome.expect(4, "refused", "PITR0403", "is too small, the plan needs");
        assert!(outcome.stderr.contains("fix:  a volume of"), "{}", outcome.stderr);
    }
    assert!(listing(&small.0).is_empty());

    let datadir = rig.path("restored");
    let refused = async |more: &[&str], code: i32, pitr: &str, text: &str| {
        let target = [&["--to", "latest"], more].concat();
        rig.restore(&target, &datadir).await.expect(code, "refused", pitr, text);
        assert!(!datadir.exists(), "{text}");
    };
    let (older, other) = (server_program_of(rig.home.path(), "9.6.0"), server_program_of(rig.home.path(), "8.4.6"));
    for program in [older, other] {
        refused(&["--mysqld", &program], 4, "PITR0309", "the server program is").await;
    }
    refused(&["--mysqld", "/bin/no-such-program"], 4, "PITR0309", "is not a server program").await;
    let config = rig.path("my.cnf");
    std::fs::write(&config, "[mysqld]\ninnodb_page_size = 8k\n").unwrap();
    let config = config.display().to_string();
    refused(
        &["--mysqld-config", &config],
        4,
        "PITR0309",
        "innodb_page_size = 16384, the server's configuration says 8k",
    )
    .await;
    refused(&["--from-backup", "bb-20200101-000000-0000"], 4, "PITR0302", "bb-20200101-000000-0000").await;
}

#[tokio::test]
async fn targets_that_mean_nothing_or_cannot_be_reached_are_refused() {
    let Some(rig) = Rig::new().await else { return };
    let datadir = rig.path("restored");
    let early = format!("{:.6}", jiff::Timestamp::now());
    let refused = async |target: &[&str], code: i32, pitr: &str| {
        let outcome = rig.restore(target, &datadir).await;
        assert_eq!((outcome.code, outcome.verdict()["code"].as_str()), (Some(code), Some(pitr)), "{}", outcome.stderr);
        assert!(!datadir.exists(), "{target:?}");
    };
    refused(&["--to", "latest"], 1, "PITR0603").await;
    rig.load(8, 5).await;
    rig.archive_once().await;
    rig.backup("dump", &[]).await.expect_result("stored");
    refused(&["--to", "2026-11-21T07:14:00"], 2, "PITR0102").await;
    refused(&["--to", "yesterday"], 2, "PITR0101").await;
    refused(&["--to", &early], 4, "PITR0302").await;
    refused(&["--to", "2999-01-01T00:00:00Z"], 4, "PITR0303").await;
    refused(&["--through-gtid", "3e11fa47-71ca-11e1-9e33-c80aa9429562:7"], 4, "PITR0304").await;
    refused(&["--before-gtid", "nonsense"], 2, "PITR0104").await;
    refused(&[], 2, "PITR0101").await;
}

#[tokio::test]
async fn a_damaged_or_missing_chunk_is_named_and_never_restored() {
    let Some(rig) = Rig::new().await else { return };
    rig.backup("dump", &[]).await.expect_result("stored");
    rig.load(5, 10).await;
    rig.archive_once().await;
    let chunk = listing(&rig.path("archive/chunks")).into_iter().find(|path| path.is_file()).unwrap();
    let whole = std::fs::read(&chunk).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    let datadir = rig.path("restored");
    std::fs::write(&chunk, &damaged).unwrap();
    let outcome = rig.restore(&["--to", "latest"], &datadir).await;
    assert_eq!(outcome.verdict()["code"], "PITR0606", "{}", outcome.stderr);
    std::fs::remove_file(&chunk).unwrap();
    let outcome = rig.restore(&["--to", "latest"], &datadir).await;
    assert_eq!(outcome.verdict()["code"], "PITR0606", "{}", outcome.stderr);
    assert!(!datadir.join(".pitr/RESTORED.json").exists());
    // Once it is back, the same command goes on.
    std::fs::write(&chunk, &whole).unwrap();
    rig.restore(&["--to", "latest"], &datadir).await.expect_result("verified");
    assert_eq!(rig.restored(&datadir).await, state(&rig.server).await);
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

#[tokio::test]
async fn a_base_that_another_tool_restored_is_taken_as_it_is() {
    let Some(mut rig) = Rig::new().await else { return };
    rig.load(6, 30).await;
    // What a volume snapshot or a copied directory holds: identity, logs, persisted settings, replication settings.
    let replica = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db', SOURCE_USER = 'repl', SOURCE_PASSWORD = 'x'";
    rig.server
        .sql(&format!("{replica}; SET PERSIST max_connections = 77; SET PERSIST_ONLY super_read_only = ON"))
        .await
        .unwrap();
    rig.server.stop().await.unwrap();
    let base = rig.path("base");
    copy(rig.server.datadir(), &base);
    std::fs::remove_file(rig.server.datadir().join("mysqld-auto.cnf")).unwrap();
    rig.server.start().await.unwrap();
    rig.load(7, 60).await;
    rig.archive_once().await;
    let expected = state(&rig.server).await;

    // Refused: the base is as it was.
    let before = listing(&base);
    let late = rig.restore(&["--base", "existing", "--to", "2999-01-01T00:00:00Z"], &base).await;
    late.expect(4, "refused", "PITR0303", "after the recoverable end");
    let left: Vec<PathBuf> = listing(&base).into_iter().filter(|path| !before.contains(path)).collect();
    assert!(left.iter().all(|path| !path.starts_with(base.join(".pitr"))), "{left:?}");
    for name in ["auto.cnf", "mysqld-auto.cnf", "binlog.000001", "binlog.index"] {
        assert!(base.join(name).is_file(), "{name}");
    }

    rig.restore(&["--base", "existing", "--to", "latest"], &base).await.expect_result("verified");
    let mut server = pitr_e2e::mysqld::Mysqld::on(&rig.installation, &base, 99).start().await.unwrap();
    assert_eq!(state(&server).await, expected);
    let persisted = std::fs::read_to_string(base.join("mysqld-auto.cnf")).unwrap();
    assert!(persisted.contains("max_connections") && !persisted.contains("super_read_only"), "{persisted}");
    assert_ne!(
        server.value::<String>("SELECT @@server_uuid").await.unwrap(),
        rig.server.value::<String>("SELECT @@server_uuid").await.unwrap()
    );
    assert_eq!(server.rows("SHOW BINARY LOGS").await.unwrap().len(), 1);
    server.sql("RESET PERSIST").await.unwrap();
    assert_nothing_of_ours(&server).await;
    server.stop().await.unwrap();
    let report = std::fs::read_to_string(base.join(".pitr/RESTORED.json")).unwrap();
    assert!(report.contains("persisted setting \\\"super_read_only\\\" of the source was not given back"), "{report}");

    let empty = rig.path("empty");
    std::fs::create_dir(&empty).unwrap();
    rig.restore(&["--base", "existing", "--to", "latest"], &empty).await.expect(
        5,
        "refused",
        "PITR0412",
        "holds no base",
    );
    assert!(listing(&empty).is_empty());
}

//! The test servers themselves: what every server test relies on.

use pitr_e2e::mysqld::{Installation, Mysqld};

#[tokio::test]
async fn a_server_starts_keeps_its_rows_over_stop_and_kill_and_leaves_nothing() {
    let Some(installation) = Installation::find().unwrap() else { return };
    let mut server = Mysqld::fresh(&installation, 7).option("--max_binlog_size=1M").start().await.unwrap();
    assert_eq!(server.value::<u32>("SELECT @@server_id").await.unwrap(), 7);
    assert_eq!(server.value::<u32>("SELECT @@max_binlog_size").await.unwrap(), 1 << 20);
    server
        .sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2)")
        .await
        .unwrap();
    let checksums = server.checksums().await.unwrap();
    assert!(checksums["d.t"].is_some_and(|checksum| checksum != 0));
    assert!(server.gtid_executed().await.unwrap().ends_with(":1-3"));

    server.stop().await.unwrap();
    server.start().await.unwrap();
    server.kill().await.unwrap();
    server.start().await.unwrap();
    assert_eq!(server.checksums().await.unwrap(), checksums);

    let home = server.socket().parent().unwrap().to_path_buf();
    drop(server);
    assert!(!home.exists());
}

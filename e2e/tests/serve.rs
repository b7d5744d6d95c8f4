//! `serve` shows what was restored, to whoever has an account on it, and lets nobody change it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::sidecar::Sidecar;

const SCHEMA: &str = "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY); \
    CREATE USER look@'%' IDENTIFIED BY 'around'; GRANT ALL ON *.* TO look@'%'";

#[tokio::test]
async fn a_verified_restore_is_served_read_only() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(SCHEMA).await?;
    let archive = tempfile::tempdir()?;
    let sidecar = Sidecar::configure(&source, &format!("file://{}", archive.path().display()), "")?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    source.sql("INSERT INTO shop.orders VALUES (1), (2), (3)").await?;
    sidecar.archive_once().await?.expect(0)?;
    let volume = tempfile::Builder::new().prefix("pitr-served-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    let port = free_port()?;
    let (folder, text) = (datadir.display().to_string(), port.to_string());
    let program = mysqld.display().to_string();
    let arguments = ["serve", "--datadir", &folder, "--mysqld", &program, "--port", &text];

    std::fs::create_dir(&datadir)?;
    let refused = finish(&mut sidecar.command(&arguments)).await?.expect(5)?;
    ensure!(refused.stderr.contains("PITR0411") && refused.stderr.contains("no restore of ours"), "{}", refused.stderr);
    std::fs::remove_dir(&datadir)?;

    finish(&mut sidecar.restore(["--to", "latest"], &datadir, &mysqld)).await?.expect(0)?;
    let mut serving = sidecar.command(&arguments).kill_on_drop(true).spawn()?;
    let mut connection = connected(port, &mut serving).await?;
    let count: Option<u64> = connection.query_first("SELECT count(*) FROM shop.orders").await?;
    ensure!(count == Some(3), "{count:?} rows");
    let executed: Option<String> = connection.query_first("SELECT @@gtid_executed").await?;
    for statement in ["INSERT INTO shop.orders VALUES (4)", "DROP TABLE shop.orders", "CREATE DATABASE x"] {
        let refused = connection.query_drop(statement).await.err().context(statement)?;
        ensure!(refused.to_string().contains("super-read-only"), "{statement}: {refused}");
    }
    ensure!(connection.query_first("SELECT @@gtid_executed").await? == executed, "the GTID set has changed");
    let second = finish(&mut sidecar.command(&arguments)).await?.expect(5)?;
    ensure!(second.stderr.contains("PITR0412"), "a second server on the same data: {}", second.stderr);
    connection.disconnect().await?;

    let pid = i32::try_from(serving.id().context("its process id")?)?;
    let stopped = finish(tokio::process::Command::new("kill").arg(pid.to_string())).await?;
    stopped.expect(0)?;
    let ended = tokio::time::timeout(Duration::from_secs(120), serving.wait()).await.context("it does not end")??;
    ensure!(ended.success(), "{ended}");
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

async fn connected(port: u16, serving: &mut tokio::process::Child) -> Result<Conn> {
    let account =
        || OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("look")).pass(Some("around"));
    for _ in 0..600 {
        if let Ok(connection) = Conn::new(account()).await {
            return Ok(connection);
        }
        if let Some(ended) = serving.try_wait()? {
            bail!("it ended with {ended}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("it does not answer")
}

//! Stream mode on real servers: byte for byte what the files hold, encrypted binlogs restored exactly, and what goes wrong said by name.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::reference::{Replica, content};
use pitr_e2e::shop;
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;

const LOAD: shop::Load = shop::Load { sessions: 2, transactions: 120, seed: 7, ddl_every: 30, flush_every: 60 };
const ACCOUNT: &str = "CREATE USER pitr@'%' IDENTIFIED BY 'geheim' REQUIRE SSL; \
                       GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO pitr@'%'";

fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Over TCP, with TLS and the server's own authority.
fn by_tcp(server: &Mysqld, password: &Path) -> String {
    let ca = server.datadir().join("ca.pem");
    let (ca, password) = (ca.display(), password.display());
    format!(
        "user: pitr, host: 127.0.0.1, port: {}, tls: verify-ca, ca_file: {ca}, password_file: {password}",
        server.port()
    )
}

/// Over the socket, whose path outlives the server.
fn by_socket(server: &Mysqld) -> String {
    format!("user: root, socket: {}", server.socket().display())
}

async fn binlogs(server: &Mysqld) -> Result<Vec<String>> {
    server.rows("SHOW BINARY LOGS").await?.iter().map(|row| row.get(0).context("no name of a binlog")).collect()
}

async fn archived(sidecar: &Sidecar, archive: &str, binlog: &str) -> Result<Vec<u8>> {
    let output = sidecar.command(&["cat", "--archive", archive, "--binlog", binlog]).output().await?;
    ensure!(output.status.success(), "cat {binlog}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The file's bytes but for the in-use bit.
fn on_disk(server: &Mysqld, binlog: &str) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(server.datadir().join(binlog))?;
    *bytes.get_mut(21).context("too short")? &= !1;
    Ok(bytes)
}

async fn hold_the_same(server: &Mysqld, modes: [(&Sidecar, &str); 2]) -> Result<usize> {
    let names = binlogs(server).await?;
    for (sidecar, _) in modes {
        sidecar.archive_once().await?.expect(0)?;
    }
    for name in &names {
        let expected = on_disk(server, name)?;
        for (sidecar, archive) in modes {
            let bytes = archived(sidecar, archive, name).await?;
            ensure!(bytes == expected, "{name} differs in {archive}: {} bytes of {}", bytes.len(), expected.len());
        }
    }
    Ok(names.len())
}

#[tokio::test]
async fn both_modes_archive_the_same_bytes() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=64K").start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql(ACCOUNT).await?;
    shop::run(&source, LOAD).await?;
    let password = home.path().join("password");
    std::fs::write(&password, "geheim\n")?;
    let (of_files, of_stream) = (url(&home.path().join("files")), url(&home.path().join("stream")));
    let files = Sidecar::configure(&source, &of_files, "")?;
    let stream = Sidecar::stream(&source, &of_stream, &by_tcp(&source, &password))?;
    let modes = [(&files, of_files.as_str()), (&stream, of_stream.as_str())];
    let first = hold_the_same(&source, modes).await?;
    // On with what is in the spool, then with a spool that was lost, and with events longer than a packet.
    shop::run(&source, shop::Load { seed: 8, ..LOAD }).await?;
    let second = hold_the_same(&source, modes).await?;
    source.sql("CREATE TABLE shop.large (id INT PRIMARY KEY, body LONGBLOB)").await?;
    source.sql("INSERT INTO shop.large VALUES (1, REPEAT('x', 40000000)), (2, REPEAT('y', 16777215))").await?;
    std::fs::remove_dir_all(stream.spool())?;
    let third = hold_the_same(&source, modes).await?;
    ensure!(first > 3 && second > first && third > second, "{first}, {second} and {third} binlogs");
    // Another algorithm of checksums than the files before have, and none.
    source.sql("SET GLOBAL binlog_checksum = NONE").await?;
    shop::run(&source, shop::Load { seed: 9, transactions: 20, ..LOAD }).await?;
    std::fs::remove_dir_all(stream.spool())?;
    hold_the_same(&source, modes).await?;
    // Files archived by one mode are complete for the other: nothing is stored again.
    let config = std::fs::read_to_string(stream.config())?.replace(&of_stream, &of_files);
    std::fs::write(stream.config(), config)?;
    std::fs::remove_dir_all(stream.spool())?;
    let outcome = stream.archive_once().await?.expect(0)?;
    ensure!(!outcome.stderr.contains("\"event\":\"archived\""), "stored again: {}", outcome.stderr);
    ensure!(outcome.stderr.matches("\"event\":\"following\"").count() == 1, "{}", outcome.stderr);
    Ok(())
}

/// Waits until the sidecar's archive can be restored to this transaction.
async fn reaches(sidecar: &Sidecar, archive: &str, gtid: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let plan = finish(&mut sidecar.command(&["plan", "--archive", archive, "--through-gtid", gtid])).await?;
        if plan.code == Some(0) {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(60) {
            let log = std::fs::read_to_string(sidecar.log()).unwrap_or_default();
            bail!("{gtid} is not archived: {}\n{log}", plan.stderr);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The newest transaction of a server that nobody else writes to.
async fn newest(server: &Mysqld) -> Result<String> {
    let set = server.gtid_executed().await?;
    let (uuid, numbers) = set.rsplit_once(':').context("no GTID")?;
    Ok(format!("{uuid}:{}", numbers.rsplit('-').next().unwrap_or(numbers)))
}

#[tokio::test]
async fn encrypted_binlogs_are_followed_and_restored_exactly() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let launch = Mysqld::fresh(&installation, 1).keyring().option("--binlog_encryption=ON");
    let mut source = launch.option("--max_binlog_size=64K").start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let archive = url(&home.path().join("archive"));
    let refused = Sidecar::configure(&source, &url(&home.path().join("files")), "")?.archive_once().await?;
    ensure!(refused.code != Some(0) && refused.stderr.contains("PITR0505"), "{}", refused.stderr);
    ensure!(refused.stderr.contains("source: {mode: stream}"), "the key is not named: {}", refused.stderr);
    let sidecar = Sidecar::stream(&source, &archive, &by_socket(&source))?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    let mut running = sidecar.run()?;
    shop::run(&source, LOAD).await?;
    let middle = newest(&source).await?;
    reaches(&sidecar, &archive, &middle).await?;
    // The server goes and comes back, in order and not.
    source.stop().await?;
    source.start().await?;
    shop::run(&source, shop::Load { seed: 8, ..LOAD }).await?;
    source.kill().await?;
    source.start().await?;
    shop::run(&source, shop::Load { seed: 9, ..LOAD }).await?;
    let last = newest(&source).await?;
    reaches(&sidecar, &archive, &last).await?;
    let replica = Replica::of(&installation, &source).await?;
    for (name, gtid) in [("middle", middle), ("last", last)] {
        let expected = replica.forward_through(&gtid).await?;
        let datadir = home.path().join(name);
        finish(&mut sidecar.restore(["--through-gtid", &gtid], &datadir, &mysqld)).await?.expect(0)?;
        let restored = Mysqld::on(&installation, &datadir, 77).option("--skip_log_bin").start().await?;
        let restored = content(&restored).await?;
        ensure!(restored == expected, "{gtid}:\nrestored {restored:#?}\nexpected {expected:#?}");
    }
    running.kill().await?;
    Ok(())
}

#[tokio::test]
async fn a_purge_under_our_feet_is_a_gap_and_a_reset_another_history() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let archive = url(&home.path().join("archive"));
    let sidecar = Sidecar::stream(&source, &archive, &by_socket(&source))?;
    sidecar.backup("clone", &installation.program("mysqld")).await?.expect(0)?;
    sidecar.archive_once().await?.expect(0)?;
    source.sql("INSERT INTO shop.stock VALUES (5001, 1, NULL); FLUSH BINARY LOGS").await?;
    source.sql("INSERT INTO shop.stock VALUES (5002, 1, NULL); FLUSH BINARY LOGS").await?;
    let newest = binlogs(&source).await?.pop().context("no binlog")?;
    source.sql(&format!("PURGE BINARY LOGS TO '{newest}'")).await?;
    source.sql("INSERT INTO shop.stock VALUES (5003, 1, NULL)").await?;
    let outcome = sidecar.archive_once().await?.expect(0)?;
    ensure!(outcome.stderr.contains("\"event\":\"left\""), "nothing is said of the loss: {}", outcome.stderr);
    let status = finish(&mut sidecar.command(&["status", "--archive", &archive, "-o", "json"])).await?;
    ensure!(status.stdout.contains("PITR0502"), "no gap: {}", status.stdout);
    // The names of before, in one second or not.
    source.sql("RESET BINARY LOGS AND GTIDS; INSERT INTO shop.stock VALUES (5004, 1, NULL)").await?;
    sidecar.archive_once().await?.expect(0)?;
    let spooled = std::fs::read_to_string(sidecar.spool().join("binlog.index"))?;
    let last = spooled.lines().last().context("an empty spool")?;
    ensure!(last.ends_with("/binlog.000001"), "{spooled}");
    ensure!(
        std::fs::read(sidecar.spool().join(last))? == on_disk(&source, "binlog.000001")?,
        "other bytes than the server's"
    );
    // While somebody follows, who has received more than the new file has for now: the server says nothing of it.
    let mut running = sidecar.run()?;
    source.sql("INSERT INTO shop.stock VALUES (5005, 1, NULL)").await?;
    spools(&sidecar, &source, "binlog.000001").await?;
    let beside = sidecar.archive_once().await?;
    ensure!(beside.code != Some(0) && beside.stderr.contains("another archiver uses the spool"), "{}", beside.stderr);
    source.sql("RESET BINARY LOGS AND GTIDS").await?;
    spools(&sidecar, &source, "binlog.000001").await?;
    source.sql("INSERT INTO shop.stock VALUES (5006, 1, NULL)").await?;
    spools(&sidecar, &source, "binlog.000001").await?;
    // And one that is longer at once, or goes on in another file before anybody has looked.
    source.sql("RESET BINARY LOGS AND GTIDS").await?;
    source.sql("INSERT INTO shop.stock VALUES (5007, 1, NULL), (5008, 1, NULL), (5009, 1, NULL)").await?;
    source.sql("INSERT INTO shop.stock VALUES (5010, 1, NULL)").await?;
    spools(&sidecar, &source, "binlog.000001").await?;
    source.sql("RESET BINARY LOGS AND GTIDS; INSERT INTO shop.stock VALUES (5011, 1, NULL); FLUSH BINARY LOGS").await?;
    spools(&sidecar, &source, "binlog.000002").await?;
    let end = format!("\"end\":{},", on_disk(&source, "binlog.000001")?.len());
    let is_archived =
        |line: &str| line.contains("\"event\":\"archived\"") && line.contains("binlog.000001") && line.contains(&end);
    let begun = Instant::now();
    while !std::fs::read_to_string(sidecar.log())?.lines().any(is_archived) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{}", std::fs::read_to_string(sidecar.log())?);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    running.kill().await?;
    Ok(())
}

/// Waits until the last binlog of the spool holds what this one of the server does.
async fn spools(sidecar: &Sidecar, server: &Mysqld, binlog: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let index = std::fs::read_to_string(sidecar.spool().join("binlog.index")).unwrap_or_default();
        let held = index.lines().last().filter(|line| line.ends_with(binlog));
        let bytes = held.and_then(|line| std::fs::read(sidecar.spool().join(line)).ok());
        if bytes == Some(on_disk(server, binlog)?) {
            return Ok(());
        }
        ensure!(begun.elapsed() < Duration::from_secs(60), "{index}{}", std::fs::read_to_string(sidecar.log())?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Makes the header of the event in the middle of a closed binlog say that it is shorter than itself.
fn damage(server: &Mysqld, binlog: &str) -> Result<()> {
    let path = server.datadir().join(binlog);
    let mut bytes = std::fs::read(&path)?;
    let mut at = 4;
    while at < bytes.len() / 2 {
        let length = bytes.get(at + 9..at + 13).and_then(|length| length.first_chunk()).context("no event")?;
        at += usize::try_from(u32::from_le_bytes(*length))?;
    }
    bytes.get_mut(at + 9..at + 13).context("no event")?.copy_from_slice(&[5, 0, 0, 0]);
    Ok(std::fs::write(path, bytes)?)
}

#[tokio::test]
async fn a_binlog_that_the_server_cannot_send_holds_up_no_other() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("INSERT INTO shop.stock VALUES (6001, 1, NULL)").await?;
    for mode in ["ON_PERMISSIVE", "OFF_PERMISSIVE"] {
        source.sql(&format!("SET GLOBAL gtid_mode = {mode}")).await?;
    }
    // Without a GTID: a server that has them on does not send it.
    source.sql("INSERT INTO shop.stock VALUES (6002, 1, NULL)").await?;
    let anonymous = binlogs(&source).await?.pop().context("no binlog")?;
    for mode in ["ON_PERMISSIVE", "ON"] {
        source.sql(&format!("SET GLOBAL gtid_mode = {mode}")).await?;
    }
    for number in 6010..6020 {
        source.sql(&format!("INSERT INTO shop.stock VALUES ({number}, 1, NULL)")).await?;
    }
    let damaged = binlogs(&source).await?.pop().context("no binlog")?;
    source.sql("FLUSH BINARY LOGS; INSERT INTO shop.stock VALUES (6021, 1, NULL)").await?;
    damage(&source, &damaged)?;
    let active = binlogs(&source).await?.pop().context("no binlog")?;
    let sidecar = Sidecar::stream(&source, &url(&home.path().join("archive")), &by_socket(&source))?;
    let mut running = sidecar.run()?;
    spools(&sidecar, &source, &active).await?;
    source.sql("INSERT INTO shop.stock VALUES (6022, 1, NULL)").await?;
    spools(&sidecar, &source, &active).await?;
    running.kill().await?;
    let log = std::fs::read_to_string(sidecar.log())?;
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("\"event\":\"refused\"")).collect();
    let names = |binlog: &str| refused.iter().filter(|line| line.contains(binlog)).count();
    ensure!((refused.len(), names(&anonymous), names(&damaged)) == (2, 1, 1), "{log}");
    let dumps = log.matches("\"event\":\"following\"").count();
    ensure!(dumps < 12, "asked {dumps} times: {log}");
    Ok(())
}

#[tokio::test]
async fn who_is_not_let_in_learns_why() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(ACCOUNT).await?;
    source.sql("CREATE USER poor@'%' IDENTIFIED BY 'geheim'; GRANT REPLICATION CLIENT ON *.* TO poor@'%'").await?;
    let password = home.path().join("password");
    std::fs::write(&password, "geheim")?;
    let wrong = home.path().join("wrong");
    std::fs::write(&wrong, "geraten")?;
    let good = by_tcp(&source, &password);
    let (ca, foreign) = (source.datadir().join("ca.pem"), home.path().join("foreign.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=elsewhere", "-keyout", "/dev/null", "-out"])
        .arg(&foreign)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let cases = [
        (good.replace("user: pitr", "user: poor"), "PITR0516", "GRANT REPLICATION SLAVE"),
        (good.replace(&password.display().to_string(), &wrong.display().to_string()), "PITR0516", "password_file"),
        (good.replace("tls: verify-ca", "tls: disabled"), "PITR0516", "error"),
        (good.replace(&ca.display().to_string(), &foreign.display().to_string()), "PITR0515", "certificate"),
        (good.replace(&format!("port: {}", source.port()), "port: 1"), "PITR0515", "refused"),
    ];
    for (number, (mysql, code, words)) in cases.iter().enumerate() {
        let archive = url(&home.path().join(format!("archive-{number}")));
        let outcome = Sidecar::stream(&source, &archive, mysql)?.archive_once().await?;
        ensure!(outcome.code != Some(0), "{mysql}: it worked");
        let named = outcome.stderr.contains(code) && outcome.stderr.contains(words);
        ensure!(named && !outcome.stderr.contains("geheim"), "{mysql}: {}", outcome.stderr);
    }
    Sidecar::stream(&source, &url(&home.path().join("good")), &good)?.archive_once().await?.expect(0)?;
    Ok(())
}

//! What a restore is compared with, made without any of our code: the server's own log as `mysqlbinlog` reads it, and an ordinary
//! replica that is stopped at the same transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;

use crate::mysqld::{Installation, Mysqld};

/// One transaction as `mysqlbinlog` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The binlog that holds it.
    pub binlog: String,
    /// Position of its first byte.
    pub start: u64,
    /// Position after its last byte.
    pub end: u64,
    /// `UUID:NUMBER`.
    pub gtid: String,
    /// Original commit time in microseconds since 1970.
    pub commit_us: i64,
}

/// All transactions of the server's binlogs, in log order.
///
/// # Errors
/// The server or `mysqlbinlog` failed.
pub async fn log_of(installation: &Installation, server: &Mysqld) -> Result<Vec<Logged>> {
    let mut transactions = Vec::new();
    for row in server.rows("SHOW BINARY LOGS").await? {
        let binlog: String = row.get(0).context("no name of a binlog")?;
        let output = Command::new(installation.program("mysqlbinlog"))
            .args(["--no-defaults", "--verify-binlog-checksum"])
            .arg(server.datadir().join(&binlog))
            .output()
            .await
            .context("run mysqlbinlog")?;
        ensure!(output.status.success(), "mysqlbinlog {binlog}: {}", String::from_utf8_lossy(&output.stderr));
        transactions.extend(parse(&binlog, &String::from_utf8_lossy(&output.stdout))?);
    }
    Ok(transactions)
}

fn parse(binlog: &str, text: &str) -> Result<Vec<Logged>> {
    let mut transactions = Vec::new();
    let (mut at, mut header) = (0, None);
    for line in text.lines() {
        if let Some(position) = line.strip_prefix("# at ") {
            at = position.trim().parse().context("read a position")?;
        } else if line.contains("original_committed_timestamp=") {
            header = Some((at, field(line, "original_committed_timestamp=")?, field(line, "transaction_length=")?));
        } else if let Some(rest) = line.strip_prefix("SET @@SESSION.GTID_NEXT= '")
            && let Some((start, commit, length)) = header.take()
        {
            let gtid = rest.split('\'').next().unwrap_or_default().to_owned();
            let (start, end) = (start, start + length);
            transactions.push(Logged { binlog: binlog.to_owned(), start, end, gtid, commit_us: commit.cast_signed() });
        }
    }
    Ok(transactions)
}

fn field(line: &str, name: &str) -> Result<u64> {
    let rest = line.split(name).nth(1).with_context(|| format!("no {name} in {line}"))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("read {name} in {line}"))
}

/// What two servers are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// `@@gtid_executed`.
    pub executed: String,
    /// `CHECKSUM TABLE` of each user table.
    pub checksums: BTreeMap<String, Option<u64>>,
}

/// The content of a running server.
///
/// # Errors
/// It does not answer.
pub async fn content(server: &Mysqld) -> Result<Content> {
    Ok(Content { executed: server.gtid_executed().await?, checksums: server.checksums().await? })
}

/// An ordinary replica of a server: it is moved forward to one transaction after another.
#[derive(Debug)]
pub struct Replica {
    server: Mysqld,
}

impl Replica {
    /// A fresh server that replicates from `source` (whose `root` has no password), stopped before the first transaction.
    ///
    /// # Errors
    /// It did not start or did not accept its source.
    pub async fn of(installation: &Installation, source: &Mysqld) -> Result<Self> {
        let launch = Mysqld::fresh(installation, 4_000_001);
        let server = launch.option("--replica_parallel_workers=1").option("--skip_log_bin").start().await?;
        let change = format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={}, SOURCE_USER='root', SOURCE_SSL=0, \
             SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1",
            source.port()
        );
        server.sql(&change).await?;
        Ok(Self { server })
    }

    /// Applies everything up to and including `gtid` (`UUID:NUMBER`), and says what the replica holds then.
    ///
    /// # Errors
    /// The replica stopped with an error, or did not get there in two minutes.
    pub async fn forward_through(&self, gtid: &str) -> Result<Content> {
        self.server.sql(&format!("START REPLICA UNTIL SQL_AFTER_GTIDS = '{gtid}'")).await?;
        let begun = Instant::now();
        let state = "SELECT CONCAT(service_state, ' ', last_error_message) FROM performance_schema.replication_applier_status_by_coordinator \
                     UNION ALL SELECT CONCAT(service_state, ' ', last_error_message) FROM performance_schema.replication_applier_status_by_worker";
        let reached = format!("SELECT GTID_SUBSET('{gtid}', @@GLOBAL.gtid_executed)");
        while self.server.value::<i64>(&reached).await? == 0 || self.running().await? {
            if begun.elapsed() > Duration::from_secs(120) {
                let rows: Vec<String> = self.server.rows(state).await?.into_iter().filter_map(|r| r.get(0)).collect();
                bail!("the replica did not reach {gtid}: {rows:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.server.sql("STOP REPLICA").await?;
        content(&self.server).await
    }

    async fn running(&self) -> Result<bool> {
        let applier = "SELECT COUNT(*) FROM performance_schema.replication_applier_status WHERE service_state = 'ON'";
        Ok(self.server.value::<i64>(applier).await? > 0)
    }
}

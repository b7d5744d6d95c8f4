//! A real server as the replica of our source.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use pitr_binlog::GtidSet;
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_replay::{LogOpener, ReplicationSource, Secret, SourceIdentity, SourceOptions, SourceProgress};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The longest that any of these tests waits.
const PATIENCE: Duration = Duration::from_secs(120);

/// Our source, running.
pub(crate) struct Source {
    pub(crate) port: u16,
    pub(crate) password: Secret,
    pub(crate) progress: watch::Receiver<SourceProgress>,
    cancel: CancellationToken,
    tasks: JoinSet<std::io::Result<SourceProgress>>,
}

impl Source {
    pub(crate) async fn start(log: Arc<dyn LogOpener>, skip: GtidSet) -> Result<Self> {
        let password = Secret::random();
        let identity = SourceIdentity {
            server_uuid: "0b5e55ed-0000-4000-8000-000000000001".parse()?,
            server_id: 4_000_000_001,
            server_version: "9.7.0".to_owned(),
            user: "pitr".to_owned(),
            password: password.clone(),
        };
        let options = SourceOptions { skip, ..SourceOptions::new(1_790_000_000_000_000) };
        let source = ReplicationSource::bind("127.0.0.1:0".parse()?, identity, log, options).await?;
        let (port, progress, cancel) = (source.port(), source.progress(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(source.run(cancel.clone()));
        Ok(Self { port, password, progress, cancel, tasks })
    }

    /// Ends it and gives its last account.
    pub(crate) async fn stop(mut self) -> Result<SourceProgress> {
        self.cancel.cancel();
        match self.tasks.join_next().await {
            Some(account) => Ok(account??),
            None => bail!("the source was not running"),
        }
    }
}

/// A server with nothing of its own, as a restoring one is started.
pub(crate) async fn replica(installation: &Installation, server_id: u32) -> Result<Mysqld> {
    Mysqld::fresh(installation, server_id)
        .option("--skip-log-bin")
        .option("--skip-replica-start")
        .option("--relay-log-recovery=ON")
        .option("--relay-log-space-limit=32M")
        .option("--max-relay-log-size=8M")
        .option("--replica-parallel-workers=4")
        .option("--super-read-only=ON")
        .start()
        .await
}

/// Points the replica at a port and starts it.
pub(crate) async fn follow(replica: &Mysqld, port: u16, password: &str) -> Result<()> {
    let change = format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}, SOURCE_AUTO_POSITION=1, SOURCE_SSL=0, \
         SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=100 FOR CHANNEL 'pitr'"
    );
    replica.sql(&change).await?;
    start(replica, password).await
}

/// Starts receiver and applier.
pub(crate) async fn start(replica: &Mysqld, password: &str) -> Result<()> {
    replica.sql(&format!("START REPLICA USER='pitr' PASSWORD='{password}' FOR CHANNEL 'pitr'")).await
}

/// The executed set of a server.
pub(crate) async fn executed(server: &Mysqld) -> Result<GtidSet> {
    Ok(server.gtid_executed().await?.parse()?)
}

/// Waits until the replica has all of these.
pub(crate) async fn wait_for(replica: &Mysqld, expected: &GtidSet) -> Result<()> {
    let begun = Instant::now();
    while !expected.is_subset_of(&executed(replica).await?) {
        let applier: Option<String> = replica
            .value("SELECT MAX(last_error_message) FROM performance_schema.replication_applier_status_by_worker")
            .await?;
        if let Some(error) = applier.filter(|error| !error.is_empty()) {
            bail!("the applier stopped: {error}");
        }
        if begun.elapsed() > PATIENCE {
            let (number, text) = last_receiver_error(replica).await?;
            bail!("the replica has only {}; its receiver says {number} {text}", executed(replica).await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Waits until the receiver has stopped for good, and gives its last words.
pub(crate) async fn receiver_error(replica: &Mysqld) -> Result<(u32, String)> {
    let begun = Instant::now();
    let state =
        "SELECT service_state FROM performance_schema.replication_connection_status WHERE channel_name = 'pitr'";
    while replica.value::<String>(state).await? != "OFF" {
        if begun.elapsed() > PATIENCE {
            bail!("the receiver goes on: {:?}", last_receiver_error(replica).await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    last_receiver_error(replica).await
}

async fn last_receiver_error(replica: &Mysqld) -> Result<(u32, String)> {
    let status = "performance_schema.replication_connection_status WHERE channel_name = 'pitr'";
    let number = replica.value(&format!("SELECT last_error_number FROM {status}")).await?;
    Ok((number, replica.value(&format!("SELECT last_error_message FROM {status}")).await?))
}

//! A restore equals an ordinary replica that was stopped at the same transaction: table checksums and executed GTID set, at
//! targets of every kind, on workloads with DDL, several binlogs, many transactions in one second, and all kinds that break other tools.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::reference::{Content, Logged, Replica, content, log_of};
use pitr_e2e::sidecar::Sidecar;
use pitr_e2e::{nasty, shop};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Targets of each workload, workloads, and the first one's seed; `PITR_TEST_TARGETS`, `PITR_TEST_WORKLOADS` and `PITR_TEST_SEED` ask for
/// others.
const TARGETS: u64 = 20;
const WORKLOADS: u64 = 1;
const SEED: u64 = 20_261_121;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A flag and its value, and the last transaction that must be there.
struct Target {
    flag: &'static str,
    value: String,
    last: usize,
}

#[tokio::test]
async fn a_restore_equals_a_replica_stopped_there() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let first = number("PITR_TEST_SEED", SEED);
    for seed in first..first + number("PITR_TEST_WORKLOADS", WORKLOADS) {
        workload(&installation, seed).await.with_context(|| format!("PITR_TEST_SEED={seed}"))?;
    }
    Ok(())
}

async fn workload(installation: &Installation, seed: u64) -> Result<()> {
    let options = [
        "--max_binlog_size=256K",
        ["--binlog_transaction_compression=OFF", "--binlog_transaction_compression=ON"]
            [usize::from(seed.is_multiple_of(4))],
        ["--binlog_row_image=FULL", "--binlog_row_image=MINIMAL"][usize::from(seed.is_multiple_of(3))],
    ];
    let source = options.iter().fold(Mysqld::fresh(installation, 1), |launch, option| launch.option(*option));
    let source = source.start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql(nasty::SCHEMA).await?;
    let archive = tempfile::tempdir()?;
    let sidecar = Sidecar::configure(&source, &format!("file://{}", archive.path().display()), "")?;
    let load = shop::Load { sessions: 4, transactions: 150, seed, ddl_every: 20, flush_every: 60 };
    tokio::try_join!(shop::run(&source, load), nasty::run(&source, 40, seed))?;
    // A clone would lose rows of this engine, and is refused.
    source.sql("TRUNCATE nasty.isam").await?;
    source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    let in_base = log_of(installation, &source).await?.len();
    let more = shop::Load { transactions: 500, seed: seed + 1, ..load };
    tokio::try_join!(shop::run(&source, more), nasty::run(&source, 200, seed + 1))?;
    sidecar.archive_once().await?.expect(0)?;

    let log = log_of(installation, &source).await?;
    let targets = targets(&log, in_base, seed);
    let replica = Replica::of(installation, &source).await?;
    for target in &targets {
        let expected = replica.forward_through(&log[target.last].gtid).await?;
        let restored = restore(installation, &sidecar, target, &mysqld).await?;
        ensure!(
            restored == expected,
            "{} {}:\nrestored {restored:#?}\nexpected {expected:#?}",
            target.flag,
            target.value
        );
        println!("{} {}: equal, {} tables, {}", target.flag, target.value, restored.checksums.len(), restored.executed);
    }
    Ok(())
}

/// Targets at random, in log order (the replica only goes forward), each kind in turn.
fn targets(log: &[Logged], in_base: usize, seed: u64) -> Vec<Target> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = number("PITR_TEST_TARGETS", TARGETS);
    let mut places: Vec<usize> = (0..count).map(|_| random.random_range(in_base..log.len() - 1)).collect();
    places.sort_unstable();
    let mut targets: Vec<Target> =
        places.iter().enumerate().map(|(number, place)| target(log, in_base, number, *place)).collect();
    // A time target may stop elsewhere than at the place that it was made from: commit times repeat, and may step back.
    targets.sort_by_key(|target| target.last);
    targets
}

fn target(log: &[Logged], in_base: usize, number: usize, place: usize) -> Target {
    let (here, next) = (&log[place], &log[place + 1]);
    let (flag, value) = match number % 4 {
        0 => {
            // Up to the first transaction in log order that committed later: what --to means.
            let first_later = log.iter().skip(in_base).position(|t| t.commit_us > here.commit_us);
            let last = first_later.map_or(log.len(), |n| in_base + n) - 1;
            return Target { flag: "--to", value: rfc3339(here.commit_us), last };
        }
        1 => ("--through-gtid", here.gtid.clone()),
        2 => ("--before-gtid", next.gtid.clone()),
        // Any position inside a transaction means the boundary before it.
        _ if here.binlog == next.binlog => ("--to-position", format!("{}:{}", here.binlog, next.start + 1)),
        _ => ("--to-position", format!("{}:{}", here.binlog, here.end)),
    };
    Target { flag, value, last: place }
}

fn rfc3339(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map(|t| t.to_string()).unwrap_or_default()
}

async fn restore(installation: &Installation, sidecar: &Sidecar, target: &Target, mysqld: &Path) -> Result<Content> {
    let volume = tempfile::Builder::new().prefix("pitr-restored-").tempdir_in("/tmp")?;
    let datadir = volume.path().join("data");
    finish(&mut sidecar.restore([target.flag, &target.value], &datadir, mysqld))
        .await?
        .expect(0)
        .with_context(|| format!("restore {} {}", target.flag, target.value))?;
    let server = Mysqld::on(installation, &datadir, 77).option("--skip_log_bin").start().await?;
    content(&server).await
}

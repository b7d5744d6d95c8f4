//! The logs that restores are measured on.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use pitr_e2e::mysqld::Mysqld;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

/// Sessions that write at once.
const SESSIONS: u64 = 4;
/// Rows of the table whose rows are changed.
const ITEMS: u64 = 5000;

/// What a log is full of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Transactions of three rows.
    Small,
    /// The same, each compressed by the server.
    Compressed,
    /// Transactions of one row of 64 KiB.
    LargeRows,
    /// Few transactions of 20,000 rows.
    Huge,
    /// Each fourth transaction makes, alters or drops a table.
    Ddl,
    /// All transactions change the same row.
    HotRow,
    /// Parents and children.
    ForeignKeys,
}

impl Workload {
    /// Transactions of a run of the usual length, for one of a hundred.
    pub(crate) fn transactions(self, hundredths: u64) -> u64 {
        let usual = match self {
            Self::Small | Self::Compressed => 90_000,
            Self::LargeRows => 1_200,
            Self::Huge => 16,
            Self::Ddl => 1_600,
            Self::HotRow | Self::ForeignKeys => 12_000,
        };
        (usual * hundredths / 100).max(SESSIONS)
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "small transactions",
            Self::Compressed => "small transactions, compressed",
            Self::LargeRows => "large rows",
            Self::Huge => "huge transactions",
            Self::Ddl => "DDL-heavy",
            Self::HotRow => "one hot row",
            Self::ForeignKeys => "foreign keys",
        }
    }
}

/// Tables that the base backup holds.
pub(crate) const SCHEMA: &str = "
    CREATE DATABASE shop;
    CREATE TABLE shop.orders (
        id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, amount DECIMAL(10,2) NOT NULL,
        note VARCHAR(700), created_at DATETIME(6) NOT NULL, KEY (customer));
    CREATE TABLE shop.stock (item INT PRIMARY KEY, quantity INT NOT NULL, changed_at TIMESTAMP(6) NULL);
    CREATE TABLE shop.files (id BIGINT AUTO_INCREMENT PRIMARY KEY, body LONGBLOB);
    CREATE TABLE shop.parents (id INT PRIMARY KEY, children INT NOT NULL);
    CREATE TABLE shop.children (
        id BIGINT AUTO_INCREMENT PRIMARY KEY, parent INT NOT NULL, note VARCHAR(100),
        FOREIGN KEY (parent) REFERENCES shop.parents (id));
    SET SESSION cte_max_recursion_depth = 1000000;
    INSERT INTO shop.stock (item, quantity)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, 1000 FROM n;
    INSERT INTO shop.parents
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT i, 0 FROM n";

/// Writes so many transactions.
pub(crate) async fn run(server: &Mysqld, workload: Workload, transactions: u64) -> Result<()> {
    let mut sessions = JoinSet::new();
    for session in 0..SESSIONS {
        let connection = server.connect().await?;
        sessions.spawn(run_session(connection, workload, session, transactions / SESSIONS));
    }
    while let Some(done) = sessions.join_next().await {
        done.context("join a session")??;
    }
    Ok(())
}

async fn run_session(mut connection: Conn, workload: Workload, session: u64, transactions: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(session);
    connection.query_drop("SET SESSION cte_max_recursion_depth = 1000000").await?;
    if workload == Workload::Compressed {
        connection.query_drop("SET SESSION binlog_transaction_compression = ON").await?;
    }
    for number in 0..transactions {
        let statements = transaction(workload, &mut random, session, number);
        loop {
            match connection.query_drop(&statements).await {
                Ok(()) => break,
                // A deadlock or a lock wait: the transaction is gone, all of it is done again.
                Err(mysql_async::Error::Server(error)) if matches!(error.code, 1213 | 1205) => {
                    connection.query_drop("ROLLBACK").await?;
                }
                Err(error) => return Err(error).with_context(|| format!("run {statements}")),
            }
        }
    }
    connection.disconnect().await.context("close a session")
}

fn transaction(workload: Workload, random: &mut StdRng, session: u64, number: u64) -> String {
    let (customer, item) = (random.random_range(1..5000), random.random_range(1..=ITEMS));
    let order = |note: usize| {
        let note = "n".repeat(note);
        format!(
            "INSERT INTO shop.orders (customer, amount, note, created_at) VALUES ({customer}, {item} / 100, '{note}', NOW(6))"
        )
    };
    let take =
        |item: u64| format!("UPDATE shop.stock SET quantity = quantity - 1, changed_at = NOW(6) WHERE item = {item}");
    match workload {
        Workload::Small | Workload::Compressed => format!(
            "BEGIN; {}; {}; {}; COMMIT",
            order(random.random_range(100..600)),
            order(random.random_range(0..300)),
            take(item)
        ),
        Workload::LargeRows => {
            format!("INSERT INTO shop.files (body) VALUES (REPEAT('{:08x}', 8192))", random.random::<u32>())
        }
        Workload::Huge => "INSERT INTO shop.orders (customer, amount, note, created_at) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             SELECT i % 977, i / 100, REPEAT('n', 60), NOW(6) FROM n"
            .to_owned(),
        Workload::Ddl if number.is_multiple_of(4) => match number / 4 % 3 {
            0 => format!("CREATE TABLE IF NOT EXISTS shop.work_{session} (id INT PRIMARY KEY, text VARCHAR(50))"),
            1 => format!("ALTER TABLE shop.work_{session} ADD COLUMN more_{number} INT"),
            _ => format!("DROP TABLE shop.work_{session}"),
        },
        Workload::Ddl => order(100),
        Workload::HotRow => format!("BEGIN; {}; {}; COMMIT", order(50), take(1)),
        Workload::ForeignKeys => {
            let parent = random.random_range(1..=500);
            format!(
                "BEGIN; INSERT INTO shop.children (parent, note) VALUES ({parent}, 'a child of {customer}'); \
                 UPDATE shop.parents SET children = children + 1 WHERE id = {parent}; COMMIT"
            )
        }
    }
}

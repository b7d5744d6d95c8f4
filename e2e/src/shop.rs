//! The workload of the tests: a shop whose sessions write, change, delete and alter at random, the same for one seed as far as
//! parallel sessions allow.

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::mysqld::Mysqld;

/// Tables that exist before the first base backup.
pub const SCHEMA: &str = "
    CREATE DATABASE IF NOT EXISTS shop;
    CREATE TABLE IF NOT EXISTS shop.orders (
        id BIGINT AUTO_INCREMENT PRIMARY KEY, customer INT NOT NULL, amount DECIMAL(10,2) NOT NULL,
        note VARCHAR(400), created_at DATETIME(6) NOT NULL, KEY (customer));
    CREATE TABLE IF NOT EXISTS shop.stock (item INT PRIMARY KEY, quantity INT NOT NULL, changed_at TIMESTAMP(6) NULL);
    CREATE TABLE IF NOT EXISTS shop.invoices (
        id BIGINT AUTO_INCREMENT PRIMARY KEY, order_id BIGINT NOT NULL, body JSON, total DOUBLE);
    INSERT IGNORE INTO shop.stock (item, quantity)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200) SELECT i, 1000 FROM n";

/// How much to do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Sessions at once.
    pub sessions: u64,
    /// Transactions of each session.
    pub transactions: u64,
    /// Seed of what they do.
    pub seed: u64,
    /// One in how many transactions is DDL; 0 for none.
    pub ddl_every: u64,
    /// One in how many transactions closes the binlog; 0 for never.
    pub flush_every: u64,
}

/// Runs the load to its end.
///
/// # Errors
/// A statement failed (other than a deadlock, which is tried again).
pub async fn run(server: &Mysqld, load: Load) -> Result<()> {
    let mut sessions = JoinSet::new();
    for session in 0..load.sessions {
        let connection = server.connect().await?;
        sessions.spawn(run_session(connection, load, session));
    }
    while let Some(done) = sessions.join_next().await {
        done.context("join a session")??;
    }
    Ok(())
}

async fn run_session(mut connection: Conn, load: Load, session: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(load.seed * 1000 + session);
    for number in 0..load.transactions {
        let statements = if load.flush_every > 0 && random.random_range(0..load.flush_every) == 0 {
            vec!["FLUSH BINARY LOGS".to_owned()]
        } else if load.ddl_every > 0 && random.random_range(0..load.ddl_every) == 0 {
            ddl(&mut random, session, number)
        } else {
            transaction(&mut random)
        };
        execute(&mut connection, &statements).await?;
    }
    connection.disconnect().await.context("close a session")
}

async fn execute(connection: &mut Conn, statements: &[String]) -> Result<()> {
    'again: loop {
        for statement in statements {
            match connection.query_drop(statement).await {
                Ok(()) => {}
                // A deadlock or a lock wait: the transaction is gone, all of it is done again.
                Err(mysql_async::Error::Server(error)) if matches!(error.code, 1213 | 1205) => {
                    connection.query_drop("ROLLBACK").await?;
                    continue 'again;
                }
                Err(error) => return Err(error).with_context(|| format!("run {statement}")),
            }
        }
        return Ok(());
    }
}

/// One to five changes between BEGIN and COMMIT (or a single one without them).
fn transaction(random: &mut StdRng) -> Vec<String> {
    let count = random.random_range(1..=5);
    let changes = (0..count).map(|_| change(random));
    if count == 1 {
        return changes.collect();
    }
    ["BEGIN".to_owned()].into_iter().chain(changes).chain(["COMMIT".to_owned()]).collect()
}

fn change(random: &mut StdRng) -> String {
    let customer = random.random_range(1..500);
    let amount = random.random_range(100..100_000);
    let note = "n".repeat(random.random_range(0..300));
    match random.random_range(0..10) {
        0..4 => format!(
            "INSERT INTO shop.orders (customer, amount, note, created_at) VALUES \
             ({customer}, {amount} / 100, '{note}', NOW(6)), ({customer}, {amount} / 50, NULL, NOW(6))"
        ),
        4..6 => format!(
            "UPDATE shop.stock SET quantity = quantity - 1, changed_at = NOW(6) WHERE item = {}",
            random.random_range(1..=200)
        ),
        6..8 => format!(
            "INSERT INTO shop.invoices (order_id, body, total) VALUES ({amount}, JSON_OBJECT('customer', {customer}), {amount} / 7)"
        ),
        8 => format!("UPDATE shop.orders SET amount = amount + 1 WHERE customer = {customer}"),
        _ => format!("DELETE FROM shop.orders WHERE customer = {customer} LIMIT 2"),
    }
}

/// A table of this connection's own is made, changed, filled from another and dropped, so that DDL of two connections does not clash.
fn ddl(random: &mut StdRng, session: u64, number: u64) -> Vec<String> {
    let table = format!("shop.work_{session}");
    match random.random_range(0..4) {
        0 => vec![
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} (id INT PRIMARY KEY, text VARCHAR(50)) COMMENT '{number}'"),
            format!("INSERT INTO {table} VALUES (1, 'one'), (2, 'two')"),
        ],
        1 => vec![
            format!("DROP TABLE IF EXISTS {table}"),
            format!("CREATE TABLE {table} AS SELECT item, quantity FROM shop.stock WHERE item < 20"),
        ],
        2 => vec![format!("DROP TABLE IF EXISTS {table}"), format!("CREATE TABLE {table} LIKE shop.orders")],
        _ => vec![format!("DROP TABLE IF EXISTS {table}")],
    }
}

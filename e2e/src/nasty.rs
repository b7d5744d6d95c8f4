//! The transactions that break other tools, at random and between others: settings that change from one to the next, statements, savepoints,
//! XA, engines without rollback, temporary tables, large rows, rows in parts, compressed ones.

use anyhow::{Context as _, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::mysqld::Mysqld;

/// Tables that exist before the first base backup.
pub const SCHEMA: &str = "
    CREATE DATABASE IF NOT EXISTS nasty;
    CREATE TABLE nasty.rows_ (id INT PRIMARY KEY, v INT, t LONGTEXT, d JSON, at TIMESTAMP(6) NULL, g INT AS (v * 2) VIRTUAL, KEY (g));
    CREATE TABLE nasty.log (id INT AUTO_INCREMENT PRIMARY KEY, v DOUBLE, at DATETIME(6), w INT);
    CREATE TABLE nasty.isam (id INT AUTO_INCREMENT PRIMARY KEY, v INT) ENGINE=MyISAM;
    CREATE TABLE nasty.nokey (a INT, b INT);
    CREATE TABLE nasty.parent (id INT PRIMARY KEY);
    CREATE TABLE nasty.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES nasty.parent (id) ON DELETE CASCADE)";

/// Settings of a session, of which one line is drawn from time to time.
const SETTINGS: &[&str] = &[
    "SET SESSION time_zone = '+07:00', sql_mode = 'ANSI_QUOTES'",
    "SET SESSION time_zone = SYSTEM, sql_mode = DEFAULT",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET SESSION auto_increment_increment = 7, auto_increment_offset = 3",
    "SET SESSION auto_increment_increment = 1, auto_increment_offset = 1",
    "SET SESSION foreign_key_checks = 0, unique_checks = 0",
    "SET SESSION foreign_key_checks = 1, unique_checks = 1",
    "SET SESSION binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON",
    "SET SESSION binlog_row_image = FULL, binlog_row_value_options = ''",
    "SET SESSION binlog_transaction_compression = ON",
    "SET SESSION binlog_transaction_compression = OFF",
    "SET SESSION binlog_rows_query_log_events = ON",
    "SET SESSION binlog_rows_query_log_events = OFF",
];

/// Runs so many transactions in one session.
///
/// # Errors
/// A statement failed.
pub async fn run(server: &Mysqld, transactions: u64, seed: u64) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut connection = server.connect().await?;
    for number in 0..transactions {
        if random.random_range(0..4) == 0 {
            execute(&mut connection, SETTINGS[random.random_range(0..SETTINGS.len())]).await?;
        }
        for statement in transaction(&mut random, number).split(';').map(str::trim).filter(|text| !text.is_empty()) {
            execute(&mut connection, statement).await?;
        }
    }
    connection.disconnect().await.context("close a session")
}

async fn execute(connection: &mut Conn, statement: &str) -> Result<()> {
    connection.query_drop(statement).await.with_context(|| format!("run {statement}"))
}

fn transaction(random: &mut StdRng, number: u64) -> String {
    let (id, value) = (random.random_range(0..200), random.random_range(0..1000));
    let size = [10, 500, 20_000, 200_000][random.random_range(0..4)];
    match random.random_range(0..14) {
        0..3 => format!(
            "REPLACE INTO nasty.rows_ (id, v, t, d, at) VALUES ({id}, {value}, REPEAT('x', {size}), JSON_OBJECT('n', {value}, 'a', REPEAT('y', 300)), NOW(6))"
        ),
        3 => format!("UPDATE nasty.rows_ SET d = JSON_SET(d, '$.n', {value}), v = v + 1 WHERE id < {id}"),
        4 => format!("DELETE FROM nasty.rows_ WHERE id = {id}"),
        5 => format!(
            "BEGIN; REPLACE INTO nasty.rows_ (id, v) VALUES ({id}, 1); SAVEPOINT a; REPLACE INTO nasty.rows_ (id, v) VALUES ({value}, 2);
             SAVEPOINT b; DELETE FROM nasty.rows_ WHERE id = {id}; ROLLBACK TO b; COMMIT"
        ),
        6 => format!(
            "SET SESSION binlog_format = STATEMENT; SET @a = {value}; INSERT INTO nasty.log (v, at, w) VALUES (RAND({value}), NOW(6), @a);
             INSERT INTO nasty.log (w) VALUES (LAST_INSERT_ID()); SET SESSION binlog_format = ROW"
        ),
        7 => format!("INSERT INTO nasty.isam (v) VALUES ({value}), ({id}); UPDATE nasty.isam SET v = v + 1 WHERE v < 100"),
        8 => format!(
            "XA START 'x{number}'; INSERT INTO nasty.log (v, w) VALUES ({value}, {id}); XA END 'x{number}'; XA PREPARE 'x{number}'; {}",
            ["XA COMMIT", "XA ROLLBACK"][random.random_range(0..2)].to_owned() + &format!(" 'x{number}'")
        ),
        9 => format!(
            "CREATE TEMPORARY TABLE nasty.tmp (id INT PRIMARY KEY, v INT); INSERT INTO nasty.tmp VALUES (1, {value}), (2, {id});
             INSERT INTO nasty.nokey SELECT id, v FROM nasty.tmp; DROP TEMPORARY TABLE nasty.tmp"
        ),
        10 => format!("INSERT INTO nasty.nokey VALUES ({id}, {value}), ({id}, {value}); UPDATE nasty.nokey SET b = 5 WHERE a = {id} LIMIT 1"),
        11 => format!(
            "INSERT IGNORE INTO nasty.parent VALUES ({id}); INSERT IGNORE INTO nasty.child VALUES ({value}, {id}); DELETE FROM nasty.parent WHERE id = {}",
            random.random_range(0..200)
        ),
        12 => format!("DROP TABLE IF EXISTS nasty.made; CREATE TABLE nasty.made AS SELECT id, v FROM nasty.rows_ WHERE id < {id}"),
        _ => format!("BEGIN; INSERT INTO nasty.log (w) VALUES ({id}); DELETE FROM nasty.log ORDER BY id LIMIT 1; COMMIT"),
    }
}

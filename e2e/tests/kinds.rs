//! The kinds of transactions that break other tools: each on a real server, the restore compared with an ordinary replica that was
//! stopped at the same place.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::reference::{Content, Logged, Replica, content, log_of};
use pitr_e2e::sidecar::Sidecar;

/// Statements of one session each, and what they are about. Each ends in the tables that it needs.
const KINDS: &[(&str, &str)] = &[
    (
        "statements",
        "SET SESSION binlog_format = STATEMENT; USE k; CREATE TABLE s (id INT AUTO_INCREMENT PRIMARY KEY, v DOUBLE, at DATETIME(6), w INT);
         SET @a = 7; INSERT INTO s (v, at, w) VALUES (RAND(42), NOW(6), @a); INSERT INTO s (v, w) VALUES (0.5, LAST_INSERT_ID());
         INSERT INTO s (w) SELECT w + @a FROM s ORDER BY id; SET SESSION time_zone = '+07:00', sql_mode = 'ANSI_QUOTES';
         INSERT INTO s (at, w) VALUES (CURRENT_TIMESTAMP(6), LENGTH(\"w\"));
         SET SESSION insert_id = 5000; INSERT INTO s (w) VALUES (1); SET NAMES latin1; UPDATE s SET w = w + 1 WHERE id < 3",
    ),
    (
        "temporary tables",
        "SET SESSION binlog_format = STATEMENT; USE k; CREATE TABLE real_one (id INT PRIMARY KEY, v INT);
         CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY, v INT); INSERT INTO tmp VALUES (1, 10), (2, 20);
         INSERT INTO real_one SELECT id, v FROM tmp; UPDATE tmp SET v = v + 1; INSERT INTO real_one SELECT id + 10, v FROM tmp",
    ),
    (
        "engines without transactions",
        "USE k; CREATE TABLE my (id INT PRIMARY KEY, v INT) ENGINE=MyISAM; INSERT INTO my VALUES (1, 1), (2, 2), (3, 3);
         UPDATE my SET v = v * 2; DELETE FROM my WHERE id = 2; CREATE TABLE mem (id INT) ENGINE=MEMORY; INSERT INTO mem VALUES (1), (2);
         DELETE FROM mem; SET SESSION binlog_format = STATEMENT; INSERT INTO my VALUES (9, 9)",
    ),
    (
        "compressed payloads",
        "SET SESSION binlog_transaction_compression = ON; USE k; CREATE TABLE z (id INT PRIMARY KEY, t LONGTEXT);
         INSERT INTO z VALUES (1, REPEAT('a', 200000)); BEGIN; INSERT INTO z VALUES (2, 'b'); UPDATE z SET t = REPEAT('c', 100000); COMMIT;
         DELETE FROM z WHERE id = 1",
    ),
    (
        "tags",
        "USE k; SET gtid_next = 'AUTOMATIC:backfill'; CREATE TABLE tagged (id INT PRIMARY KEY); INSERT INTO tagged VALUES (1);
         SET gtid_next = 'AUTOMATIC'; INSERT INTO tagged VALUES (2); SET gtid_next = 'AUTOMATIC:backfill'; INSERT INTO tagged VALUES (3);
         SET gtid_next = 'AUTOMATIC'; INSERT INTO tagged VALUES (4)",
    ),
    (
        "rows in parts",
        "SET SESSION binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON; USE k;
         CREATE TABLE j (id INT PRIMARY KEY, d JSON, g INT AS (id * 2) VIRTUAL, KEY (g)); INSERT INTO j (id, d) VALUES (1, JSON_OBJECT('a', REPEAT('x', 5000), 'n', 1));
         UPDATE j SET d = JSON_SET(d, '$.n', 2) WHERE id = 1; UPDATE j SET d = JSON_REMOVE(d, '$.a'); CREATE TABLE nokey (a INT, b INT);
         INSERT INTO nokey VALUES (1, 1), (1, 1), (2, 2); UPDATE nokey SET b = 5 LIMIT 1; DELETE FROM nokey WHERE a = 2",
    ),
    (
        "foreign keys",
        "USE k; CREATE TABLE parent (id INT PRIMARY KEY); CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE);
         INSERT INTO parent VALUES (1), (2), (3); INSERT INTO child VALUES (1, 1), (2, 2), (3, 3); DELETE FROM parent WHERE id = 2; UPDATE parent SET id = 30 WHERE id = 3",
    ),
    (
        "definitions",
        "USE k; CREATE TABLE c1 (id INT PRIMARY KEY, v INT) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
         INSERT INTO c1 VALUES (1, 1), (20, 20); CREATE TABLE c2 LIKE c1; ALTER TABLE c2 REMOVE PARTITIONING; ALTER TABLE c1 EXCHANGE PARTITION p0 WITH TABLE c2;
         CREATE TABLE c3 AS SELECT * FROM c1; RENAME TABLE c3 TO c4, c2 TO c5; TRUNCATE TABLE c4; ALTER TABLE c5 ADD COLUMN w INT DEFAULT 3, ALGORITHM=INSTANT;
         ALTER TABLE c5 ADD KEY (w), ALGORITHM=INPLACE; DROP TABLE IF EXISTS c4, nothing; CREATE OR REPLACE VIEW v AS SELECT * FROM c5; DROP VIEW v",
    ),
    (
        "accounts",
        "CREATE USER u1@'%' IDENTIFIED BY 'x', u2@localhost; CREATE ROLE r; GRANT SELECT ON k.* TO r; GRANT r TO u1@'%'; SET DEFAULT ROLE r TO u1@'%';
         ALTER USER u2@localhost IDENTIFIED BY 'y' ACCOUNT LOCK; RENAME USER u2@localhost TO u3@localhost; REVOKE r FROM u1@'%'; DROP USER u1@'%'; FLUSH PRIVILEGES; ANALYZE TABLE k.c5",
    ),
    (
        "nothing",
        "USE k; BEGIN; INSERT INTO parent VALUES (77); DELETE FROM parent WHERE id = 77; COMMIT; CREATE TABLE IF NOT EXISTS parent (id INT); DROP TABLE IF EXISTS not_there;
         BEGIN; SAVEPOINT a; INSERT INTO parent VALUES (78); SAVEPOINT b; INSERT INTO parent VALUES (79); ROLLBACK TO b; COMMIT",
    ),
];

/// Each in a request of its own: bodies hold semicolons.
const PROGRAMS: &[&str] = &[
    "CREATE TABLE k.audit (id INT AUTO_INCREMENT PRIMARY KEY, what INT, at DATETIME(6))",
    "CREATE TABLE k.watched (id INT PRIMARY KEY)",
    "CREATE TRIGGER k.trg AFTER INSERT ON k.watched FOR EACH ROW BEGIN INSERT INTO k.audit (what, at) VALUES (NEW.id, NOW(6)); INSERT INTO k.audit (what) VALUES (-NEW.id); END",
    "CREATE FUNCTION k.twice (a INT) RETURNS INT DETERMINISTIC RETURN a * 2",
    "CREATE PROCEDURE k.fill (n INT) BEGIN DECLARE i INT DEFAULT 0; WHILE i < n DO INSERT INTO k.watched VALUES (k.twice(i)); SET i = i + 1; END WHILE; END",
    "CALL k.fill(5)",
    "CREATE EVENT k.tick ON SCHEDULE EVERY 1 SECOND DO INSERT INTO k.audit (what) VALUES (1000)",
    "DO SLEEP(2.5)",
    "ALTER EVENT k.tick DISABLE",
    "INSERT INTO k.watched VALUES (100)",
];

/// MiB of the one large transaction; `PITR_TEST_HUGE_MIB` asks for more.
fn huge_mib() -> u64 {
    std::env::var("PITR_TEST_HUGE_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(32)
}

#[tokio::test]
async fn each_kind_of_transaction_is_what_a_replica_makes_of_it() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1)
        .option("--max_binlog_size=1M")
        .option("--max_allowed_packet=1G")
        .start()
        .await?;
    source.sql("CREATE DATABASE k; INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
    let home = tempfile::Builder::new().prefix("pitr-kinds-").tempdir_in("/tmp")?;
    let sidecar = Sidecar::configure(&source, &format!("file://{}", home.path().join("archive").display()), "")?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("clone", &mysqld).await?.expect(0)?;

    let mut ends: Vec<(&str, Logged)> = Vec::new();
    for (kind, statements) in KINDS {
        let mut session = source.connect().await?;
        for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            session.query_drop(statement).await.with_context(|| format!("{kind}: {statement}"))?;
        }
        ends.push((kind, last_of(&installation, &source).await?));
        // Temporary tables of statement format are dropped in the log when their session ends.
        session.disconnect().await?;
    }
    for statement in PROGRAMS {
        source.sql(statement).await.with_context(|| (*statement).to_owned())?;
    }
    ends.push(("programs", last_of(&installation, &source).await?));
    let huge = format!(
        "CREATE TABLE k.huge (id INT PRIMARY KEY, t LONGTEXT); INSERT INTO k.huge
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i, REPEAT(CHAR(65 + i % 26), 1048576) FROM n",
        huge_mib()
    );
    source.sql(&format!("SET SESSION cte_max_recursion_depth = 100000; {huge}")).await?;
    source.sql("INSERT INTO k.parent VALUES (99)").await?;
    ends.push(("a huge transaction", last_of(&installation, &source).await?));
    sidecar.archive_once().await?.expect(0)?;

    let replica = Replica::of(&installation, &source).await?;
    let mut wrong = Vec::new();
    for (number, (kind, end)) in ends.iter().enumerate() {
        let expected = replica.forward_through(&end.gtid).await.with_context(|| (*kind).to_owned())?;
        let volume = home.path().join(format!("restored-{number}"));
        let restored = restored(&installation, &sidecar, &end.gtid, (&volume, &mysqld)).await;
        match restored {
            Ok(restored) if restored == expected => println!("{kind}: equal, {} tables", restored.checksums.len()),
            Ok(restored) => wrong.push(format!("{kind}:\nrestored {restored:#?}\nexpected {expected:#?}")),
            Err(error) => wrong.push(format!("{kind}: {error:#}")),
        }
        std::fs::remove_dir_all(&volume).context("remove a volume")?;
    }
    // At a tagged GTID the server's own UNTIL stops one later: what is right is what the log says.
    let log = log_of(&installation, &source).await?;
    let place = log.iter().rposition(|logged| logged.gtid.contains(":backfill:")).context("no tagged transaction")?;
    let later: Vec<&str> = log[place + 1..].iter().map(|logged| logged.gtid.as_str()).collect();
    let subtract = format!("SELECT GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{}')", later.join(","));
    let (tagged, volume) = (&log[place].gtid, home.path().join("tagged"));
    let restored = restored(&installation, &sidecar, tagged, (&volume, &mysqld)).await?;
    let expected = source.value::<String>(&subtract).await?.replace('\n', "");
    ensure!(restored.executed == expected, "through {tagged}: {} instead of {expected}", restored.executed);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn last_of(installation: &Installation, source: &Mysqld) -> Result<Logged> {
    log_of(installation, source).await?.pop().context("nothing is logged")
}

async fn restored(
    installation: &Installation,
    sidecar: &Sidecar,
    gtid: &str,
    (volume, mysqld): (&Path, &Path),
) -> Result<Content> {
    let mut command = sidecar.restore(["--through-gtid", gtid], volume, mysqld);
    finish(command.arg("--check-tables")).await?.expect(0)?;
    // Tables that the server itself empties at a start are compared as they were handed over: empty.
    let server =
        Mysqld::on(installation, volume, 77).option("--skip_log_bin").option("--event_scheduler=OFF").start().await?;
    content(&server).await
}

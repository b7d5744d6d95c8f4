//! One table back instead of a server: chosen tables are dumped from the verified data and load into the running database.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::{Outcome, finish};
use pitr_e2e::reference::log_of;
use pitr_e2e::scene::Scene;
use pitr_e2e::sidecar::Sidecar;
use serde_json::Value;
use tokio::process::Command;

/// In one request: the server keeps the semicolons of trigger and event then, and mysqldump writes what nobody can load.
const SCHEMA: &str = "CREATE DATABASE shop; USE shop; CREATE DATABASE `odd one`;
    CREATE TABLE shop.orders (id INT PRIMARY KEY, note VARCHAR(99) CHARACTER SET latin1, picture BLOB, at TIMESTAMP(6) NULL,
        twice INT GENERATED ALWAYS AS (id * 2) STORED, body JSON) PARTITION BY HASH (id) PARTITIONS 3;
    CREATE TABLE shop.log (id INT AUTO_INCREMENT PRIMARY KEY, what INT);
    CREATE TRIGGER shop.logged AFTER INSERT ON shop.orders FOR EACH ROW INSERT INTO shop.log (what) VALUES (NEW.id);
    CREATE EVENT shop.never ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.log WHERE id < 0;
    CREATE TABLE shop.lines (id INT PRIMARY KEY, item INT, KEY (item)) ENGINE=MyISAM;
    CREATE TABLE `odd one`.`a/b c` (id INT PRIMARY KEY);
    INSERT INTO `odd one`.`a/b c` VALUES (1), (2)";

#[tokio::test]
async fn a_dropped_table_comes_back_into_the_running_database() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = Mysqld::fresh(&installation, 1).start().await?;
    source.sql(SCHEMA).await?;
    let home = tempfile::Builder::new().prefix("pitr-tables-").tempdir_in("/tmp")?;
    let sidecar = Sidecar::configure(&source, &format!("file://{}", home.path().join("archive").display()), "")?;
    let mysqld = installation.program("mysqld");
    sidecar.backup("dump", &mysqld).await?.expect(0)?;
    for id in 0..50 {
        let insert = format!(
            "INSERT INTO shop.orders (id, note, picture, at, body) VALUES ({id}, 'Käse \\'\\\\ {id}', 0x00ff0a0d27, NOW(6), '{{\"a\": {id}}}')"
        );
        source.sql(&insert).await?;
        source.sql(&format!("INSERT INTO shop.lines VALUES ({id}, {id})")).await?;
    }
    let before = source.checksums().await?;
    source.sql("DROP TABLE shop.orders").await?;
    source.sql("INSERT INTO shop.log (what) VALUES (1000)").await?;
    sidecar.archive_once().await?.expect(0)?;
    let log = log_of(&installation, &source).await?;
    let dropped = log[log.len() - 2].gtid.clone();
    let restore = |volume: &str, more: &[&str]| {
        let mut command = sidecar.restore(["--before-gtid", &dropped], &home.path().join(volume), &mysqld);
        command.args(more);
        command
    };

    // What can be known beforehand is refused before anything is fetched.
    std::fs::create_dir(home.path().join("taken"))?;
    std::fs::write(home.path().join("taken/precious"), "x")?;
    let taken = home.path().join("taken").display().to_string();
    refused(finish(&mut restore("none", &["--tables", "shop.orders", "--dump-dir", &taken])).await?, 5, "PITR0412")?;
    finish(&mut restore("none", &["--tables", "orders"])).await?.expect(2)?;
    ensure!(!home.path().join("none").exists(), "something was created");

    // A table that is not there: the message says what is, and the same volume goes on with it.
    let wrong = finish(&mut restore("data", &["--tables", "shop.order"])).await?;
    ensure!(wrong.stderr.contains("\"shop\" has lines, log, orders"), "{}", wrong.stderr);
    refused(wrong, 5, "PITR0418")?;
    let wanted = "shop.orders,shop.lines,odd one.*";
    let done = finish(&mut restore("data", &["--tables", wanted, "--assert", "SELECT COUNT(*) = 50 FROM shop.orders"]))
        .await?
        .expect(0)?;
    let verdict: Value = serde_json::from_str(done.stdout.lines().last().context("a verdict")?)?;
    ensure!(verdict["dump"]["tables"] == 3 && verdict["dump"]["rows"] == 102, "{verdict}");
    let directory = home.path().join("data/.pitr/dump");
    let list: Value = serde_json::from_slice(&std::fs::read(directory.join("dump.json"))?)?;
    ensure!(
        list["tables"][0]["file"] == "shop.orders.sql" && list["tables"][2]["file"] == "odd@0020one.a@002fb@0020c.sql",
        "{list:#}"
    );

    load(&installation, &sidecar, "shop", &directory.join("shop.orders.sql")).await?.expect(0)?;
    let after = source.checksums().await?;
    ensure!(after["shop.orders"] == before["shop.orders"], "the table is not what it was");
    source.sql("INSERT INTO shop.orders (id) VALUES (2000)").await?;
    ensure!(source.value::<i64>("SELECT COUNT(*) FROM shop.log WHERE what = 2000").await? == 1, "its trigger is gone");
    // Nothing that is there is ever dropped by loading.
    let again = load(&installation, &sidecar, "shop", &directory.join("shop.orders.sql")).await?;
    ensure!(again.code != Some(0) && again.stderr.contains("1050"), "{again:?}");
    source.sql("CREATE DATABASE rescue").await?;
    load(&installation, &sidecar, "rescue", &directory.join("shop.lines.sql")).await?.expect(0)?;
    load(&installation, &sidecar, "rescue", &directory.join("odd@0020one.a@002fb@0020c.sql")).await?.expect(0)?;
    let after = source.checksums().await?;
    ensure!(after["rescue.lines"] == before["shop.lines"], "MyISAM rows differ");
    ensure!(after["rescue.a/b c"] == before["odd one.a/b c"], "an oddly named table differs");

    // Handed over: told again, and nothing more is started on it.
    let told = finish(&mut restore("data", &["--tables", wanted])).await?.expect(0)?;
    ensure!(told.stdout.contains("\"rows\":102"), "{}", told.stdout);
    finish(&mut restore("plain", &[])).await?.expect(0)?;
    refused(finish(&mut restore("plain", &["--tables", "shop.orders"])).await?, 5, "PITR0412")
}

#[tokio::test]
async fn a_dump_laid_out_for_a_loader_fills_an_empty_server() -> Result<()> {
    let Some(scene) = Scene::new("layout", "id INT PRIMARY KEY, v VARCHAR(20), twice INT AS (id * 2) STORED").await?
    else {
        return Ok(());
    };
    scene.source.sql("CREATE TABLE d.log (id INT); CREATE TABLE d.`odd one` (id INT PRIMARY KEY)").await?;
    scene
        .source
        .sql("CREATE TRIGGER d.seen AFTER INSERT ON d.t FOR EACH ROW INSERT INTO d.log VALUES (NEW.id)")
        .await?;
    scene.backup().await?;
    scene.source.sql("INSERT INTO d.t (id, v) VALUES (1, 'one;\n'), (2, NULL), (3, 'it''s Käse')").await?;
    scene.archive().await?;
    let to_latest = ["--to", "latest"];

    // A name that no file can have is refused: named before anything is fetched, found once it is seen.
    let named = scene.restore("data", to_latest, &["--tables", "d.odd one", "--dump-layout", "mydumper"]).await?;
    refused(named, 4, "PITR0801")?;
    ensure!(!scene.volume("data").exists(), "something was created");
    let found = scene.restore("data", to_latest, &["--tables", "d.*", "--dump-layout", "mydumper"]).await?;
    refused(found, 4, "PITR0801")?;
    let done =
        scene.restore("data", to_latest, &["--tables", "d.t,d.log", "--dump-layout", "mydumper"]).await?.expect(0)?;
    ensure!(done.stdout.contains("\"layout\":\"mydumper\",\"tables\":2,\"rows\":6"), "{}", done.stdout);

    let directory = scene.volume("data").join(".pitr/dump");
    let mut files: Vec<String> = std::fs::read_dir(&directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    files.sort();
    let tables = ["d.log-schema.sql", "d.log.00000.sql", "d.t-schema-triggers.sql", "d.t-schema.sql", "d.t.00000.sql"];
    let others = ["d-schema-create.sql", "dump.json", "metadata"];
    ensure!(files == [&others[..1], &tables[..], &others[1..]].concat(), "{files:?}");
    let metadata = std::fs::read_to_string(directory.join("metadata"))?;
    ensure!(metadata.contains("[`d`.`t`]\nreal_table_name=t\nrows = 3"), "{metadata}");

    // The order of a loader: schemas, tables, rows, and triggers only then.
    let other = Mysqld::fresh(&scene.installation, 2).start().await?;
    let client = Sidecar::configure(&other, &scene.url(), "")?;
    for (schema, file) in [
        ("mysql", "d-schema-create.sql"),
        ("d", "d.t-schema.sql"),
        ("d", "d.log-schema.sql"),
        ("d", "d.t.00000.sql"),
        ("d", "d.log.00000.sql"),
        ("d", "d.t-schema-triggers.sql"),
    ] {
        load(&scene.installation, &client, schema, &directory.join(file)).await?.expect(0)?;
    }
    let (mut before, after) = (scene.source.checksums().await?, other.checksums().await?);
    before.remove("d.odd one");
    ensure!(before == after, "{before:?} became {after:?}");
    other.sql("INSERT INTO d.t (id) VALUES (9)").await?;
    ensure!(other.value::<i64>("SELECT COUNT(*) FROM d.log WHERE id = 9").await? == 1, "its trigger is gone");
    Ok(())
}

fn refused(outcome: Outcome, exit: i32, code: &str) -> Result<()> {
    let outcome = outcome.expect(exit)?;
    for word in [&format!("error[{code}]: ")[..], "hint:", "fix:"] {
        ensure!(outcome.stderr.contains(word), "no {word} in:\n{}", outcome.stderr);
    }
    Ok(())
}

/// `mysql SCHEMA < FILE`, as the verdict says.
async fn load(installation: &Installation, sidecar: &Sidecar, schema: &str, file: &Path) -> Result<Outcome> {
    let mut client = Command::new(installation.program("mysql"));
    client.arg(format!("--defaults-file={}", sidecar.client().display())).arg(schema).stdin(std::fs::File::open(file)?);
    finish(&mut client).await
}

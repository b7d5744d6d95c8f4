//! An encrypted archive end to end: the sidecar and backups hold public keys, a restore needs the identity, and says so before it
//! touches anything.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::reference::content;
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;

/// Pairs made by another program of the age format, for these tests and nothing else.
const IDENTITY: &str = "AGE-SECRET-KEY-104YQJQJUKMPP8WEUGS325C6CSZ3FSX6NNXQW6WKYLRDHH4H3D8TSJ8K86H";
const RECIPIENT: &str = "age1e0j5ynecwfn6synrx9lqme0e7y5r3yrxj5umrv692y59v8ujw3ys9srzt5";
const OTHER_IDENTITY: &str = "AGE-SECRET-KEY-1GSYU6DCH4HHKZCME2EVYK2FDAQ9R4H0VV5KA5CXKZLKR3P4Z4S8SNTWYNS";
const OTHER_RECIPIENT: &str = "age19454nxux9pv3yfzu9zz5q6e8j75fss2qzjes9ywkxvj5f09lqc4q66war7";

struct Scene {
    installation: Installation,
    source: Mysqld,
    home: TempDir,
}

impl Scene {
    async fn new() -> Result<Option<Self>> {
        let Some(installation) = Installation::find()? else { return Ok(None) };
        let source = Mysqld::fresh(&installation, 1).option("--max_binlog_size=256K").start().await?;
        source.sql(shop::SCHEMA).await?;
        source.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'").await?;
        let home = tempfile::Builder::new().prefix("pitr-encrypted-").tempdir_in("/tmp")?;
        std::fs::write(home.path().join("hash-key"), [77; 32])?;
        std::fs::write(home.path().join("identity"), format!("# of the test\n{IDENTITY}\n"))?;
        std::fs::write(home.path().join("other"), format!("{OTHER_IDENTITY}\n"))?;
        Ok(Some(Self { installation, source, home }))
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("file://{}", self.path("archive"))
    }

    /// A sidecar that encrypts to these recipients; none: it does not encrypt.
    fn sidecar(&self, recipients: &[&str], codec: &str) -> Result<Sidecar> {
        let encryption = match recipients {
            [] => String::new(),
            some => format!(
                "encryption: {{age_recipients: [{}], hash_key_file: {}}}\n",
                some.join(", "),
                self.path("hash-key")
            ),
        };
        let quick = "schedule: {archive_interval: 1s, tail_interval: 200ms}";
        let pipeline = format!("pipeline: {{codec: \"{codec}\", segment_bytes: 64KiB}}");
        let sidecar = Sidecar::configure(&self.source, &self.url(), &format!("{encryption}{quick}\n{pipeline}"))?;
        Ok(match recipients {
            [] => sidecar,
            some => sidecar
                .environment("PITR_ENCRYPTION_AGE_RECIPIENTS", &some.join(","))
                .environment("PITR_ENCRYPTION_HASH_KEY_FILE", &self.path("hash-key")),
        })
    }

    async fn load(&self, seed: u64, transactions: u64) -> Result<()> {
        shop::run(&self.source, Load { sessions: 3, transactions, seed, ddl_every: 40, flush_every: 80 }).await?;
        Ok(())
    }

    /// Restores to `latest`; the identity file is one of the scene's.
    async fn restore(
        &self,
        sidecar: &Sidecar,
        identity: Option<&str>,
        datadir: &Path,
    ) -> Result<pitr_e2e::product::Outcome> {
        let mysqld = self.installation.program("mysqld");
        let mut command = sidecar.restore(["--to", "latest"], datadir, &mysqld);
        if let Some(identity) = identity {
            command.args(["--identity-file", &self.path(identity)]);
        }
        finish(&mut command).await
    }

    async fn is_same(&self, datadir: &Path) -> Result<()> {
        let server = Mysqld::on(&self.installation, datadir, 77).option("--skip_log_bin").start().await?;
        let (restored, source) = (content(&server).await?, content(&self.source).await?);
        ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
        Ok(())
    }
}

#[tokio::test]
async fn a_restore_needs_the_identity_and_is_exact_with_it() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let mysqld = scene.installation.program("mysqld");
    let sidecar = scene.sidecar(&[RECIPIENT], "zstd:3")?;
    let mut run = sidecar.run()?;
    scene.load(1, 300).await?;
    sidecar.backup("clone", &mysqld).await?.expect(0)?;
    scene.load(2, 300).await?;
    run.kill().await?;
    sidecar.archive_once().await?.expect(0)?;
    let stored = walk(&scene.home.path().join("archive"))?;
    for part in ["/binlogs/", "/chunks/"] {
        let found: Vec<_> = stored.iter().filter(|path| path.contains(part)).collect();
        ensure!(!found.is_empty() && found.iter().all(|path| path.ends_with(".age")), "{found:?}");
    }

    // A plan needs no identity; a restore says what is missing before it makes anything.
    finish(&mut sidecar.command(&["plan", "--archive", &scene.url(), "--to", "latest"])).await?.expect(0)?;
    for (identity, code) in [(None, "PITR0310"), (Some("other"), "PITR0311"), (Some("hash-key"), "PITR0311")] {
        let datadir = scene.home.path().join("refused");
        let refused = scene.restore(&sidecar, identity, &datadir).await?.expect(4)?;
        ensure!(refused.stderr.contains(code), "{identity:?}: {refused:?}");
        ensure!(!datadir.exists() || std::fs::read_dir(&datadir)?.next().is_none(), "{identity:?} touched the volume");
        let secret = OTHER_IDENTITY.trim_start_matches("AGE-SECRET-KEY-1");
        ensure!(!refused.stderr.contains(secret) && !refused.stdout.contains(secret), "{refused:?}");
    }
    let datadir = scene.home.path().join("restored");
    scene.restore(&sidecar, Some("identity"), &datadir).await?.expect(0)?;
    scene.is_same(&datadir).await
}

#[tokio::test]
async fn recipients_codecs_and_encryption_change_under_way() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let mysqld = scene.installation.program("mysqld");
    let clear = scene.sidecar(&[], "gzip:6")?;
    clear.backup("clone", &mysqld).await?.expect(0)?;
    let turns: [(&[&str], &str); 4] = [
        (&[], "gzip:6"),
        (&[RECIPIENT], "zstd:1"),
        (&[OTHER_RECIPIENT], "bzip2:9"),
        (&[RECIPIENT, OTHER_RECIPIENT], "none"),
    ];
    for (seed, (recipients, codec)) in turns.into_iter().enumerate() {
        let sidecar = scene.sidecar(recipients, codec)?;
        let mut run = sidecar.run()?;
        scene.load(seed as u64, 150).await?;
        // Killed, not stopped: the next one finds whatever this one left.
        run.kill().await.context("kill the sidecar")?;
        if recipients == [OTHER_RECIPIENT] {
            // Closed binlogs that nobody else can open, whatever the kill has left.
            scene.source.sql("FLUSH BINARY LOGS").await?;
            sidecar.archive_once().await?.expect(0)?;
        }
    }
    let last = scene.sidecar(&[RECIPIENT], "zstd:9")?;
    last.archive_once().await?.expect(0)?;
    let refused = clear.backup("clone", &mysqld).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0804"), "{refused:?}");

    let datadir = scene.home.path().join("restored");
    let half = scene.restore(&last, Some("identity"), &datadir).await?.expect(4)?;
    ensure!(half.stderr.contains("PITR0311") && half.stderr.contains(OTHER_RECIPIENT), "{half:?}");
    std::fs::write(scene.path("both"), format!("{IDENTITY}\n{OTHER_IDENTITY}\n"))?;
    scene.restore(&last, Some("both"), &datadir).await?.expect(0)?;
    scene.is_same(&datadir).await?;
    let status = finish(&mut last.command(&["status", "--archive", &scene.url()])).await?.expect(0)?;
    ensure!(!status.stdout.to_lowercase().contains("diverge"), "{status:?}");
    Ok(())
}

fn walk(folder: &Path) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

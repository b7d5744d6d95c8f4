//! An encrypted archive end to end: the sidecar and backups hold public keys, a restore needs the identity, and says so before it
//! touches anything.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::product::{Outcome, Product, finish};
use pitr_e2e::reference::content;
use pitr_e2e::scene::Scene;
use pitr_e2e::shop::{self, Load};
use pitr_e2e::sidecar::Sidecar;

/// Pairs made by another program of the age format, for these tests and nothing else.
const IDENTITY: &str = "AGE-SECRET-KEY-104YQJQJUKMPP8WEUGS325C6CSZ3FSX6NNXQW6WKYLRDHH4H3D8TSJ8K86H";
const RECIPIENT: &str = "age1e0j5ynecwfn6synrx9lqme0e7y5r3yrxj5umrv692y59v8ujw3ys9srzt5";
const OTHER_IDENTITY: &str = "AGE-SECRET-KEY-1GSYU6DCH4HHKZCME2EVYK2FDAQ9R4H0VV5KA5CXKZLKR3P4Z4S8SNTWYNS";
const OTHER_RECIPIENT: &str = "age19454nxux9pv3yfzu9zz5q6e8j75fss2qzjes9ywkxvj5f09lqc4q66war7";

/// A shop whose binlogs are short, and files with keys beside its archive.
async fn scene() -> Result<Option<Scene>> {
    let Some(scene) = Scene::new("encrypted", "id INT PRIMARY KEY").await? else { return Ok(None) };
    scene.source.sql("SET GLOBAL max_binlog_size=262144").await?;
    scene.source.sql(shop::SCHEMA).await?;
    std::fs::write(scene.volume("hash-key"), [77; 32])?;
    std::fs::write(scene.volume("identity"), format!("# of the test\n{IDENTITY}\n"))?;
    std::fs::write(scene.volume("other"), format!("{OTHER_IDENTITY}\n"))?;
    std::fs::write(scene.volume("both"), format!("{IDENTITY}\n{OTHER_IDENTITY}\n"))?;
    Ok(Some(scene))
}

/// A sidecar that encrypts to these recipients; none: it does not encrypt.
fn sidecar(scene: &Scene, recipients: &[&str], codec: &str) -> Result<Sidecar> {
    let hash_key = scene.volume("hash-key").display().to_string();
    let schedule = "schedule: {archive_interval: 1s, tail_interval: 200ms}";
    let pipeline = format!("pipeline: {{codec: \"{codec}\", segment_bytes: 64KiB}}");
    if recipients.is_empty() {
        return Sidecar::configure(&scene.source, &scene.url(), &format!("{schedule}\n{pipeline}"));
    }
    let names = recipients.join(", ");
    let encryption = format!("encryption: {{age_recipients: [{names}], hash_key_file: {hash_key}}}");
    let sidecar = Sidecar::configure(&scene.source, &scene.url(), &format!("{encryption}\n{schedule}\n{pipeline}"))?;
    let sidecar = sidecar.environment("PITR_ENCRYPTION_AGE_RECIPIENTS", &recipients.join(","));
    Ok(sidecar.environment("PITR_ENCRYPTION_HASH_KEY_FILE", &hash_key))
}

async fn backup(scene: &Scene, sidecar: &Sidecar) -> Result<Outcome> {
    sidecar.backup("clone", &scene.installation.program("mysqld")).await
}

async fn load(scene: &Scene, seed: u64, transactions: u64) -> Result<()> {
    shop::run(&scene.source, Load { sessions: 3, transactions, seed, ddl_every: 40, flush_every: 80 }).await?;
    Ok(())
}

/// Restores to `latest` onto this volume; the identity file is one of the scene's.
async fn restore(scene: &Scene, identity: &str, volume: &str) -> Result<Outcome> {
    let file = scene.volume(identity).display().to_string();
    scene.restore(volume, ["--to", "latest"], &["--identity-file", &file]).await
}

async fn is_same(scene: &Scene, volume: &str) -> Result<()> {
    let (restored, source) = (scene.content_of(&scene.volume(volume)).await?, content(&scene.source).await?);
    ensure!(restored == source, "restored {restored:#?}\nsource {source:#?}");
    Ok(())
}

#[tokio::test]
async fn a_restore_needs_the_identity_and_is_exact_with_it() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let sidecar = sidecar(&scene, &[RECIPIENT], "zstd:3")?;
    let mut run = sidecar.run()?;
    load(&scene, 1, 300).await?;
    backup(&scene, &sidecar).await?.expect(0)?;
    load(&scene, 2, 300).await?;
    run.kill().await?;
    sidecar.archive_once().await?.expect(0)?;
    let stored = walk(&scene.volume("archive"))?;
    for part in ["/binlogs/", "/chunks/"] {
        let found: Vec<_> = stored.iter().filter(|path| path.contains(part)).collect();
        ensure!(!found.is_empty() && found.iter().all(|path| path.ends_with(".age")), "{found:?}");
    }

    // What may be known without the identity is known; a restore says what is missing before it makes anything.
    for question in [&["plan", "--to", "latest"][..], &["status"], &["verify"], &["prune", "--window", "1d"]] {
        let mut command = sidecar.command(question);
        finish(command.args(["--archive", &scene.url()])).await?.expect(0)?;
    }
    let nobody = scene.restore("refused", ["--to", "latest"], &[]).await?.expect(4)?;
    ensure!(nobody.stderr.contains("PITR0310"), "{nobody:?}");
    for unfit in ["other", "hash-key", "absent"] {
        let refused = restore(&scene, unfit, "refused").await?.expect(4)?;
        ensure!(refused.stderr.contains("PITR0311"), "{unfit}: {refused:?}");
        let secret = OTHER_IDENTITY.trim_start_matches("AGE-SECRET-KEY-1");
        ensure!(!refused.stderr.contains(secret) && !refused.stdout.contains(secret), "{refused:?}");
    }
    let untouched = scene.volume("refused");
    ensure!(!untouched.exists() || std::fs::read_dir(&untouched)?.next().is_none(), "the volume was touched");
    let done = restore(&scene, "identity", "restored").await?.expect(0)?;
    let secret = IDENTITY.trim_start_matches("AGE-SECRET-KEY-1");
    ensure!(!done.stderr.contains(secret) && !done.stdout.contains(secret), "{done:?}");
    is_same(&scene, "restored").await?;
    drills_need_it_too(&scene, &sidecar).await
}

/// A drill opens what a restore opens; one that cannot is a failed one, which somebody must see.
async fn drills_need_it_too(scene: &Scene, sidecar: &Sidecar) -> Result<()> {
    let scratch = scene.volume("scratch");
    std::fs::create_dir(&scratch)?;
    let (url, place) = (scene.url(), scratch.display().to_string());
    let (mysqld, file) = (scene.installation.program("mysqld"), scene.volume("identity"));
    let drill = || {
        let mut command = sidecar.command(&["drill", "--archive", &url, "--scratch", &place, "-o", "json", "--mysqld"]);
        command.arg(&mysqld);
        command
    };
    let nobody = finish(&mut drill()).await?.expect(4)?;
    ensure!(nobody.stdout.contains("PITR0310"), "{nobody:?}");
    let status =
        || async { finish(&mut sidecar.command(&["status", "--archive", &url, "-o", "json"])).await?.expect(0) };
    ensure!(status().await?.stdout.contains("\"drillFailedCode\": \"PITR0310\""), "the failed drill is not seen");
    let passed = finish(drill().arg("--identity-file").arg(&file)).await?.expect(0)?;
    ensure!(passed.stdout.contains("\"result\":\"verified\""), "{passed:?}");
    let secret = IDENTITY.trim_start_matches("AGE-SECRET-KEY-1");
    ensure!(!passed.stderr.contains(secret) && !passed.stdout.contains(secret), "{passed:?}");
    ensure!(!status().await?.stdout.contains("PITR0310"), "a drill that was verified does not mend the one before");
    ensure!(std::fs::read_dir(&scratch)?.next().is_none(), "the drill left something");
    Ok(())
}

#[tokio::test]
async fn recipients_codecs_and_encryption_change_under_way() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let clear = sidecar(&scene, &[], "gzip:6")?;
    backup(&scene, &clear).await?.expect(0)?;
    let turns: [(&[&str], &str); 4] = [
        (&[], "gzip:6"),
        (&[RECIPIENT], "zstd:1"),
        (&[OTHER_RECIPIENT], "bzip2:9"),
        (&[RECIPIENT, OTHER_RECIPIENT], "none"),
    ];
    for (seed, (recipients, codec)) in turns.into_iter().enumerate() {
        let sidecar = sidecar(&scene, recipients, codec)?;
        let mut run = sidecar.run()?;
        load(&scene, seed as u64, 150).await?;
        // Killed, not stopped: the next one finds whatever this one left.
        run.kill().await.context("kill the sidecar")?;
        if recipients == [OTHER_RECIPIENT] {
            // Closed binlogs that nobody else can open, whatever the kill has left.
            scene.source.sql("FLUSH BINARY LOGS").await?;
            sidecar.archive_once().await?.expect(0)?;
        }
    }
    let last = sidecar(&scene, &[RECIPIENT], "zstd:9")?;
    last.archive_once().await?.expect(0)?;
    let refused = backup(&scene, &clear).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0804"), "{refused:?}");

    let half = restore(&scene, "identity", "restored").await?.expect(4)?;
    ensure!(half.stderr.contains("PITR0311") && half.stderr.contains(OTHER_RECIPIENT), "{half:?}");
    restore(&scene, "both", "restored").await?.expect(0)?;
    is_same(&scene, "restored").await?;
    let status = finish(&mut last.command(&["status", "--archive", &scene.url()])).await?.expect(0)?;
    ensure!(!status.stdout.to_lowercase().contains("diverge"), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_base_after_a_change_of_recipients_needs_only_the_new_ones() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let former = sidecar(&scene, &[RECIPIENT], "zstd:3")?;
    load(&scene, 1, 100).await?;
    let first = stored_id(&backup(&scene, &former).await?)?;
    former.archive_once().await?.expect(0)?;
    // From here on nothing may depend on the first identity: it is lost.
    scene.source.sql("FLUSH BINARY LOGS").await?;
    let now = sidecar(&scene, &[OTHER_RECIPIENT], "zstd:3")?;
    let second = stored_id(&backup(&scene, &now).await?)?;
    load(&scene, 2, 100).await?;
    now.archive_once().await?.expect(0)?;
    let file = scene.volume("other").display().to_string();
    let from = async |id: &str| {
        let options = ["--identity-file", &file, "--from-backup", id];
        scene.restore("restored", ["--to", "latest"], &options).await
    };
    let refused = from(&first).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0311") && refused.stderr.contains("--from-backup"), "{refused:?}");
    from(&second).await?.expect(0)?;
    is_same(&scene, "restored").await
}

/// Nobody has the identity that the newest base backup is encrypted to; an older one and the whole log are encrypted to another.
#[tokio::test]
async fn a_base_that_no_identity_opens_is_passed_over() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    let ours = sidecar(&scene, &[RECIPIENT], "zstd:3")?;
    let first = stored_id(&backup(&scene, &ours).await?)?;
    load(&scene, 1, 100).await?;
    let second = stored_id(&backup(&scene, &sidecar(&scene, &[OTHER_RECIPIENT], "zstd:3")?).await?)?;
    ours.archive_once().await?.expect(0)?;
    // Without identities it is the cheapest, whoever it is encrypted to: the plan says to whom.
    let planned =
        finish(&mut ours.command(&["plan", "--archive", &scene.url(), "--to", "latest", "-o", "text"])).await?;
    let planned = planned.expect(0)?.stdout;
    ensure!(planned.contains(&second) && planned.contains(OTHER_RECIPIENT), "{planned}");
    let mut plugin = Product::find()?.plugin();
    let shown = finish(plugin.args(["restore", "--archive", &scene.url(), "--to", "latest", "--plan"])).await?;
    let shown = shown.expect(0)?.stdout;
    let instead = format!("--from-backup {first}, which is encrypted to {RECIPIENT}");
    ensure!(shown.contains(&format!("base to {OTHER_RECIPIENT}")) && shown.contains(&instead), "{shown}");
    let restored = restore(&scene, "identity", "restored").await?.expect(0)?;
    ensure!(restored.stderr.contains("base-passed-over") && restored.stderr.contains(OTHER_RECIPIENT), "{restored:?}");
    let plan = std::fs::read_to_string(scene.volume("restored").join(".pitr/plan.json"))?;
    ensure!(plan.contains(&first) && !plan.contains(&second), "{plan}");
    is_same(&scene, "restored").await?;
    let file = scene.volume("identity").display().to_string();
    let named = ["--identity-file", &file, "--from-backup", &second];
    let refused = scene.restore("named", ["--to", "latest"], &named).await?.expect(4)?;
    ensure!(refused.stderr.contains("PITR0311") && refused.stderr.contains(OTHER_RECIPIENT), "{refused:?}");
    Ok(())
}

/// The base backup that was taken.
fn stored_id(outcome: &Outcome) -> Result<String> {
    ensure!(outcome.code == Some(0), "{outcome:?}");
    let verdict: serde_json::Value = serde_json::from_str(&outcome.stdout)?;
    Ok(verdict["id"].as_str().with_context(|| format!("no base backup in {outcome:?}"))?.to_owned())
}

#[tokio::test]
async fn encryption_is_turned_off_within_a_binlog_and_nothing_diverges() -> Result<()> {
    let Some(scene) = scene().await? else { return Ok(()) };
    scene.source.sql("SET GLOBAL max_binlog_size=1073741824; FLUSH BINARY LOGS").await?;
    let sealed = sidecar(&scene, &[RECIPIENT], "zstd:3")?;
    backup(&scene, &sealed).await?.expect(0)?;
    scene.source.sql("INSERT INTO d.t VALUES (1)").await?;
    sealed.archive_once().await?.expect(0)?;
    scene.source.sql("INSERT INTO d.t VALUES (2)").await?;
    let clear = sidecar(&scene, &[], "zstd:3")?;
    let went_on = clear.archive_once().await?.expect(0)?;
    ensure!(!went_on.stderr.contains("divergence"), "{went_on:?}");
    // It goes on where the sealed part ends.
    let stored = walk(&scene.volume("archive"))?;
    let in_clear = |path: &&String| (path.contains("/tail/") || path.contains("/binlogs/")) && !path.ends_with(".age");
    let starts: Vec<&str> =
        stored.iter().filter(in_clear).filter_map(|path| path.rsplit('/').next()?.split('-').next()).collect();
    ensure!(!starts.is_empty() && starts.iter().all(|start| !start.trim_matches('0').is_empty()), "{stored:#?}");
    scene.source.sql("INSERT INTO d.t VALUES (3); FLUSH BINARY LOGS").await?;
    let closed = clear.archive_once().await?.expect(0)?;
    ensure!(!closed.stderr.contains("divergence"), "{closed:?}");
    let status = finish(&mut clear.command(&["status", "--archive", &scene.url()])).await?.expect(0)?;
    ensure!(!status.stdout.contains("PITR0507"), "{status:?}");
    restore(&scene, "identity", "restored").await?.expect(0)?;
    is_same(&scene, "restored").await
}

/// The objects in a folder. What a killed process was writing is none: a file that is named `.tmp-`.
fn walk(folder: &Path) -> Result<Vec<String>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(".tmp-")) {
                found.push(path.display().to_string());
            }
        }
    }
    Ok(found)
}

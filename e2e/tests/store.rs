//! The store's options end to end: the built sidecar against our S3 server over TLS, playing its strictest, with keys that
//! rotate, a role for a token, and faults by chance.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pitr_e2e::mysqld::{Installation, Mysqld};
use pitr_e2e::product::finish;
use pitr_e2e::s3::{BUCKET, S3};
use pitr_e2e::shop;
use pitr_e2e::sidecar::Sidecar;
use tempfile::TempDir;

/// A certificate of 127.0.0.1 that is its own authority.
fn certificate(folder: &Path) -> Result<(String, String)> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok((certificate.display().to_string(), key.display().to_string()))
}

/// What the server was told about each object beside its bytes, by key.
fn traits(s3: &S3) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let root = s3.folder().join(".traits");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let hex: String =
                path.strip_prefix(&root)?.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            let bytes =
                hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair)?, 16).context("hex"));
            let key = String::from_utf8(bytes.collect::<Result<_>>()?)?;
            found.insert(key, std::fs::read_to_string(&path)?);
        }
    }
    Ok(found)
}

async fn server(installation: &Installation) -> Result<Mysqld> {
    let source = Mysqld::fresh(installation, 1).start().await?;
    source.sql(shop::SCHEMA).await?;
    source.sql("FLUSH BINARY LOGS").await?;
    Ok(source)
}

#[tokio::test]
async fn customer_keys_classes_and_roles_reach_a_strict_store_from_every_verb() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let home = TempDir::new()?;
    let (certificate, key) = certificate(home.path())?;
    let token = home.path().join("token");
    std::fs::write(&token, "first-token")?;
    let token_file = token.display().to_string();
    // A role that lasts a second: every request needs the token that is good then.
    let arguments = ["--profile", "strict", "--tls-cert", &certificate, "--tls-key", &key];
    let s3 = S3::start(&[&arguments[..], &["--role-token", &token_file, "--role-seconds", "1"]].concat()).await?;
    let sse_key = home.path().join("sse-key");
    std::fs::write(&sse_key, [42; 32])?;
    let own_token = home.path().join("own-token");
    std::fs::write(&own_token, "first-token")?;
    let source = server(&installation).await?;
    let archive = format!("s3://{BUCKET}/shop");
    let sse = format!("c:{}", sse_key.display());
    let yaml = format!(
        "s3: {{endpoint: \"{}\", region: us-east-1, ca_file: {certificate}, sse: \"{sse}\", checksum: md5, storage_class: STANDARD_IA}}\n\
         credentials: {{from: web-identity}}",
        s3.endpoint(),
    );
    let sidecar = Sidecar::configure(&source, &archive, &yaml)?
        .environment("AWS_ROLE_ARN", "arn:aws:iam::1:role/archiver")
        .environment("AWS_WEB_IDENTITY_TOKEN_FILE", &own_token.display().to_string())
        .environment("AWS_ENDPOINT_URL_STS", s3.endpoint());
    sidecar.archive_once().await?.expect(0)?;

    let traits = traits(&s3)?;
    let segments: Vec<_> = traits.iter().filter(|(key, _)| key.starts_with("backups/shop/binlogs/")).collect();
    ensure!(!segments.is_empty(), "{traits:?}");
    for (key, told) in &traits {
        ensure!(told.contains("customer-md5 "), "{key}: {told}");
        ensure!(
            told.contains("storage-class STANDARD_IA") == key.starts_with("backups/shop/binlogs/"),
            "{key}: {told}"
        );
    }
    ensure!(traits.contains_key("backups/shop/archive.json"), "{:?}", traits.keys());

    // Another verb, told by the environment what the configuration says.
    let sidecar = sidecar
        .environment("PITR_S3_ENDPOINT", s3.endpoint())
        .environment("PITR_S3_CA_FILE", &certificate)
        .environment("PITR_S3_REGION", "us-east-1")
        .environment("PITR_S3_CHECKSUM", "md5")
        .environment("PITR_CREDENTIALS_FROM", "web-identity");
    let without_key = finish(&mut sidecar.command(&["status", "--archive", &archive])).await?;
    ensure!(without_key.code != Some(0), "read without the key: {without_key:?}");
    let sidecar = sidecar.environment("PITR_S3_SSE", &sse);
    finish(&mut sidecar.command(&["status", "--archive", &archive])).await?.expect(0)?;

    // The cluster gives out another token: the old one is worth nothing, the new one is read without being told.
    std::fs::write(&token, "second-token")?;
    let stale = finish(&mut sidecar.command(&["status", "--archive", &archive])).await?;
    ensure!(stale.code != Some(0) && stale.stderr.contains("PITR"), "{stale:?}");
    std::fs::write(&own_token, "second-token")?;
    finish(&mut sidecar.command(&["status", "--archive", &archive])).await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn stores_that_ignore_conditions_or_know_only_md5_make_no_difference() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = server(&installation).await?;
    for profile in ["ignores-conditions", "md5-only"] {
        let s3 = S3::start(&["--profile", profile]).await?;
        let sidecar = Sidecar::configure(&source, &format!("s3://{BUCKET}/shop"), &s3.yaml())?.through(&s3);
        sidecar.archive_once().await?.expect(0)?;
        source.sql("FLUSH BINARY LOGS").await?;
        // What was the tail is catalogued now: its objects are deleted.
        sidecar.archive_once().await?.expect(0)?;
        finish(&mut sidecar.command(&["status", "--archive", &format!("s3://{BUCKET}/shop")])).await?.expect(0)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_fails_by_chance_loses_nothing() -> Result<()> {
    let Some(installation) = Installation::find()? else { return Ok(()) };
    let source = server(&installation).await?;
    let chances =
        ["--errors", "25", "--throttles", "30", "--delays", "15", "--delay-max-ms", "50", "--corruptions", "1"];
    for seed in ["1", "2", "3"] {
        let s3 = S3::start(&[&chances[..], &["--seed", seed]].concat()).await?;
        let sidecar = Sidecar::configure(&source, &format!("s3://{BUCKET}/shop"), &s3.yaml())?.through(&s3);
        sidecar.archive_once().await?.expect(0)?;
        source.sql("FLUSH BINARY LOGS").await?;
        sidecar.archive_once().await?.expect(0)?;
        // The bytes, read where the server keeps them: every object is what its key says.
        let folder = s3.folder().join(BUCKET).join("shop/binlogs");
        ensure!(folder.is_dir(), "seed {seed} stored nothing");
        let listed =
            finish(&mut sidecar.command(&["status", "--archive", &format!("s3://{BUCKET}/shop"), "-o", "json"]))
                .await?;
        listed.expect(0)?;
    }
    Ok(())
}

use std::collections::BTreeMap;
use std::time::Duration;

use pitr_archive::{Checksum, Codec, Credentials, ServerEncryption};

use super::{Config, Origin, parse};
use crate::error::{Failure, Rendered};

const LEAST: &str = "workload: shop/mysql\narchive: file:///backups/mysql\n";

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn accepted(text: &str) -> Config {
    parse(text, &none()).unwrap()
}

fn refused(text: &str) -> String {
    let failure: Failure = parse(text, &none()).unwrap_err();
    Rendered::of(&anyhow::Error::new(failure)).text()
}

#[test]
fn two_keys_are_enough() {
    let config = accepted(LEAST);
    assert_eq!(config.workload, "shop/mysql");
    assert_eq!(config.source.datadir.to_str(), Some("/var/lib/mysql"));
    assert_eq!(config.schedule.tail_interval, Some(Duration::from_secs(2)));
    assert_eq!(config.schedule.archive_interval, Duration::from_secs(60));
    assert_eq!(config.listen.map(|address| address.port()), Some(9399));
    assert_eq!(config.source.binlog_basename, None);
}

#[test]
fn the_configmap_that_inject_writes_is_accepted() {
    let config = accepted(
        r#"{workload: shop/mysql, archive: "s3://backups/shop/mysql", s3: {region: eu-west-1}, credentials: {from: "file:/etc/pitr-s3"},
            source: {datadir: /var/lib/mysql, mode: auto}, schedule: {archive_interval: 60s, tail_interval: 2s, tail: true},
            retention: {window: 14d, run: elsewhere, pins: []}}"#,
    );
    assert_eq!(config.archive.region.as_deref(), Some("eu-west-1"));
    assert_eq!(config.archive.credentials_from, Credentials::Directory("/etc/pitr-s3".into()));
}

#[test]
fn retention_is_read_with_its_defaults() {
    let text = "retention: {window: 7d, keep_last: 3, pins: [bb-1, bb-2], run: here, without_base: age}";
    let retention = accepted(&format!("{LEAST}{text}\n")).retention;
    assert!(retention.here);
    assert_eq!((retention.every, retention.rules.grace), (Duration::from_secs(3600), Duration::from_secs(86_400)));
    let policy = retention.rules.policy;
    assert_eq!((policy.window_us, policy.keep_last, policy.pins.len()), (7 * 86_400_000_000, 3, 2));
    assert_eq!(policy.without_base, pitr_recovery::WithoutBase::Age);
    assert!(!accepted(LEAST).retention.here);
}

#[test]
fn an_unknown_key_is_named_with_what_was_meant() {
    let text = refused(&format!("{LEAST}schedule: {{tail_intervall: 2s}}\n"));
    let expected = "error[PITR0209]: unknown key \"schedule.tail_intervall\"\n  hint: did you mean \"schedule.tail_interval\"\n  fix:  ";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn the_server_is_told_to_rotate_and_to_purge_only_where_that_is_asked_for() {
    let silent = accepted(LEAST);
    assert_eq!((silent.schedule.flush_when_older_than, silent.purge_after), (None, None));
    let text =
        "schedule: {flush_when_older_than: 1h}\npurge_archived: true\npurge_after: 2d\nsource: {mysql: {user: pitr}}\n";
    let told = accepted(&format!("{LEAST}{text}"));
    let (hour, days) = (Duration::from_secs(3600), Duration::from_secs(2 * 86_400));
    assert_eq!((told.schedule.flush_when_older_than, told.purge_after), (Some(hour), Some(days)));
    let day = accepted(&format!("{LEAST}purge_archived: true\nsource: {{mysql: {{user: pitr}}}}\n")).purge_after;
    assert_eq!(day, Some(Duration::from_secs(86_400)));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (text, named) in [
        ("source: {mode: relay}", "\"source.mode\" cannot be \"relay\": not supported in this version"),
        ("source: {mode: stream}", "\"source.mode\" is stream, and that needs \"source.spool\""),
        ("source: {mode: stream, spool: /s}", "\"source.mode\" is stream, and that needs \"source.mysql.user\""),
        ("retention: {run: nowhere}", "\"retention.run\" cannot be \"nowhere\""),
        ("retention: {grace: 10m}", "\"retention.grace\" is too short"),
        ("retention: {every: 10s}", "\"retention.every\" is too short"),
        ("retention: {window: 0s}", "\"retention.window\" is too short"),
        ("retention: {window: 14m}", "\"retention.window\" is too short"),
        ("purge_archived: true", "\"purge_archived\" needs \"source.mysql.user\""),
        (
            "purge_archived: true\npurge_after: 2d\nretention: {window: 2d}\nsource: {mysql: {user: p}}",
            "\"purge_after\" is not shorter than \"retention.window\"",
        ),
        ("purge_archived: perhaps", "\"purge_archived\": \"perhaps\" is not valid"),
        ("schedule: {flush_when_older_than: 1h}", "\"schedule.flush_when_older_than\" needs \"source.mysql.user\""),
        (
            "schedule: {flush_when_older_than: 10s}\nsource: {mysql: {user: p}}",
            "\"schedule.flush_when_older_than\": \"10s\" is not valid",
        ),
        (
            "purge_archived: true\nsource: {mode: stream, spool: /s, mysql: {user: p}}",
            "\"purge_archived\" does not go with \"source.mode: stream\"",
        ),
        ("schedule: {archive_timeout: 1h}", "unknown key \"schedule.archive_timeout\""),
        ("dedupe: all", "\"dedupe\" cannot be \"all\""),
    ] {
        let rendered = refused(&format!("{LEAST}{text}\n"));
        assert!(rendered.starts_with("error[PITR0209]") && rendered.contains(named), "{rendered}");
    }
}

#[test]
fn the_options_of_the_store_reach_the_store() {
    let config = accepted(
        r#"{workload: shop/mysql, archive: "s3://backups/shop/mysql", credentials: {from: web-identity},
            s3: {endpoint: "https://rgw.example", sse: "c:/keys/sse", checksum: none, storage_class: STANDARD_IA, path_style: false}}"#,
    );
    let options = config.archive.location().unwrap().options;
    assert_eq!(options.encryption, ServerEncryption::Customer("/keys/sse".into()));
    assert_eq!((options.checksum, options.credentials), (Checksum::None, Credentials::WebIdentity));
    assert_eq!(options.storage_class.map(|class| class.name().to_owned()).as_deref(), Some("STANDARD_IA"));
    assert_eq!(options.path_style, Some(false));
}

#[test]
fn options_that_no_store_has_are_refused_by_key() {
    for (text, named) in [
        ("s3: {sse: aes}", "\"s3.sse\": \"aes\" is no server-side encryption: expected none, s3, kms"),
        ("s3: {checksum: sha1}", "\"s3.checksum\" cannot be \"sha1\""),
        ("s3: {storage_class: DEEP_ARCHIVE}", "\"s3.storage_class\": \"DEEP_ARCHIVE\" is no storage class"),
        ("credentials: {from: vault}", "\"credentials.from\": \"vault\" is no source of credentials"),
    ] {
        let rendered = refused(&format!("{LEAST}{text}\n"));
        assert!(rendered.starts_with("error[PITR0209]") && rendered.contains(named), "{rendered}");
    }
}

#[test]
fn encryption_takes_public_keys_and_a_key_of_hashes_and_repeats_no_secret() {
    let recipient = pitr_archive::Identity::generate().unwrap().recipient().to_string();
    let both = format!("{LEAST}encryption: {{age_recipients: [{recipient}], hash_key_file: /etc/pitr-s3/hash-key}}\n");
    assert_eq!(accepted(&both).encryption.age_recipients, std::slice::from_ref(&recipient));
    assert!(accepted(LEAST).encryption.age_recipients.is_empty());
    let alone = refused(&format!("{LEAST}encryption: {{age_recipients: [{recipient}]}}\n"));
    assert!(alone.contains("go together"), "{alone}");
    let broken = refused(&format!("{LEAST}encryption: {{age_recipients: [age1x], hash_key_file: /k}}\n"));
    assert!(broken.contains("\"encryption.age_recipients\": \"age1x\" is no age recipient"), "{broken}");
    let secret = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0";
    let secret = refused(&format!("{LEAST}encryption: {{age_recipients: [{secret}], hash_key_file: /k}}\n"));
    assert!(secret.contains("make a new pair") && !secret.contains("EGTZVFFV"), "{secret}");
}

#[test]
fn a_codec_is_named_and_must_fit_into_memory() {
    for text in ["zstd:9", "zstd:3:27", "gzip:6", "bzip2", "none"] {
        let config = accepted(&format!("{LEAST}pipeline: {{codec: \"{text}\", memory_limit: 256MiB}}\n"));
        assert_eq!(Ok(config.pipeline.codec), text.parse(), "{text}");
    }
    assert_eq!(accepted(LEAST).pipeline.codec, Codec::default());
    let unknown = refused(&format!("{LEAST}pipeline: {{codec: lz4}}\n"));
    assert!(unknown.contains("\"pipeline.codec\": \"lz4\" is no codec: expected zstd:LEVEL"), "{unknown}");
    let large = refused(&format!("{LEAST}pipeline: {{codec: \"zstd:19\"}}\n"));
    assert!(
        large.contains("\"pipeline.memory_limit\" is too small") && large.contains("workers and zstd:19"),
        "{large}"
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let text = refused("archive: file:///a\nschedule: {tail_interval: 2}\nlisten: here\n");
    assert!(text.contains("\"schedule.tail_interval\": \"2\" is not valid"), "{text}");
    let text = refused("archive: file:///a\nlisten: here\n");
    assert!(text.contains("\"workload\" is missing") && text.contains("also: \"listen\": \"here\""), "{text}");
}

#[test]
fn broken_yaml_and_wrong_kinds_are_named() {
    assert!(refused("workload: [a").contains("not valid YAML"));
    assert!(refused("- a\n").contains("not a mapping"));
    assert!(
        refused(&format!("{LEAST}schedule: {{tail: {{a: 1}}}}\n"))
            .contains("\"schedule.tail\" has a value of the wrong kind")
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = BTreeMap::from([("PITR_SCHEDULE_TAIL_INTERVAL".to_owned(), "5s".to_owned())]);
    let config = parse(&format!("{LEAST}schedule: {{tail_interval: 1s}}\n"), &environment).unwrap();
    assert_eq!(config.schedule.tail_interval, Some(Duration::from_secs(5)));
    let origin = &config.settings["schedule.tail_interval"].origin;
    assert_eq!(*origin, Origin::Environment("PITR_SCHEDULE_TAIL_INTERVAL".to_owned()));
    let wrong = BTreeMap::from([("PITR_ENCRYPTION_AGE_RECIPIENTS".to_owned(), "age1".to_owned())]);
    assert!(parse(LEAST, &wrong).is_err());
    let one = pitr_archive::Identity::generate().unwrap().recipient().to_string();
    let encrypted = BTreeMap::from([
        ("PITR_ENCRYPTION_AGE_RECIPIENTS".to_owned(), format!("{one},{one}")),
        ("PITR_ENCRYPTION_HASH_KEY_FILE".to_owned(), "/etc/pitr-s3/hash-key".to_owned()),
    ]);
    assert_eq!(parse(LEAST, &encrypted).unwrap().encryption.age_recipients, [one.clone(), one]);
}

#[test]
fn an_identity_becomes_part_of_keys_and_is_checked() {
    assert!(
        refused(&format!("{LEAST}source: {{identity: a/b}}\n")).contains("\"source.identity\": \"a/b\" is not valid")
    );
    let config = accepted(&format!("{LEAST}source: {{identity: db-0}}\n"));
    assert_eq!(config.source.identity.as_deref(), Some("db-0"));
}

#[test]
fn the_server_is_asked_only_by_somebody() {
    assert!(accepted(LEAST).source.mysql.is_none());
    let asked = accepted(&format!(
        "{LEAST}source: {{mysql: {{user: pitr, password_file: /run/secrets/pitr, tls: required}}}}\n"
    ));
    let mysql = asked.source.mysql.unwrap();
    assert_eq!((mysql.dsn.to_string().as_str(), mysql.dsn.user.as_str()), ("127.0.0.1:3306", "pitr"));
    let by_socket = accepted(&format!("{LEAST}source: {{mysql: {{user: pitr, socket: /run/mysqld.sock}}}}\n"));
    assert_eq!(by_socket.source.mysql.unwrap().dsn.to_string(), "/run/mysqld.sock");
    let nobody = refused(&format!("{LEAST}source: {{mysql: {{password_file: /run/secrets/pitr}}}}\n"));
    assert!(nobody.contains("\"source.mysql.user\" is missing"), "{nobody}");
    assert!(refused(&format!("{LEAST}source: {{mysql: {{user: a, port: 70000}}}}\n")).contains("is no port"));
}

#[test]
fn limits_fit_each_other() {
    let pipeline = |text: &str| format!("{LEAST}pipeline: {{{text}}}\n");
    let config = accepted(&pipeline("workers: 4, bandwidth_limit: 20MiB, read_limit: none, nice: 0"));
    let limits = config.pipeline;
    assert_eq!((limits.workers, limits.bandwidth_limit, limits.read_limit), (Some(4), Some(20 << 20), None));
    assert_eq!(accepted(LEAST).pipeline.workers, None);
    for (text, said) in [
        ("workers: 0", "\"pipeline.workers\" is out of range"),
        ("workers: many", "\"pipeline.workers\" is out of range"),
        ("workers: 5", "\"pipeline.memory_limit\" is too small\n  hint: at least 112MiB"),
        ("memory_limit: 48MiB", "hint: at least 64MiB"),
        ("bandwidth_limit: 1KiB", "\"pipeline.bandwidth_limit\": \"1KiB\" is not valid"),
        ("read_limit: fast", "\"pipeline.read_limit\""),
        ("nice: 20", "\"pipeline.nice\" is out of range"),
    ] {
        let refused = refused(&pipeline(text));
        assert!(refused.contains(said), "{text}: {refused}");
    }
}

#[test]
fn pins_count_from_the_moment_they_are_written() {
    let home = tempfile::tempdir_in("/tmp").unwrap();
    let file = home.path().join("config.yaml");
    std::fs::write(&file, format!("{LEAST}retention: {{window: 7d}}\n")).unwrap();
    let retention = super::load(&file).unwrap().retention;
    assert!(retention.current_rules().unwrap().policy.pins.is_empty());
    std::fs::write(&file, format!("{LEAST}retention: {{window: 1d, pins: [bb-1]}}\n")).unwrap();
    let rules = retention.current_rules().unwrap();
    assert!(rules.policy.pins.contains("bb-1"));
    assert_eq!(rules.policy.window_us, 7 * 86_400_000_000, "the rest is read at the next start");
    // What is pinned is not known then: no rules, and nothing expires.
    std::fs::write(&file, "retention: {pins: ").unwrap();
    assert!(retention.current_rules().is_err());
}

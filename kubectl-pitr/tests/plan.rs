//! A plan, and the objects that carry it out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::path::PathBuf;

use k8s_openapi::api::apps::v1::StatefulSet;
use kubectl_pitr::args::{DataChecks, ProofArgs};
use kubectl_pitr::inject::survey::Owner;
use kubectl_pitr::inject::tree;
use kubectl_pitr::objects::sizing::restore_bytes;
use kubectl_pitr::objects::{
    BackupJob, Claim, DrillJob, InspectJob, OwnVolume, RestoreJob, Scratch, Server, Store, Upkeep, UpkeepJob,
    backup_job, claim, copied, cron_job, cron_name, drill_job, inspect_job, plan_config_map, restore_job, serve,
    upkeep_job,
};
use kubectl_pitr::refusal;
use kubectl_pitr::render::{Named, PlanFacts, Zone, plan_text};
use pitr_archive::document::PlanDocument;
use pitr_archive::{OtherBase, PlanKeys};
use pitr_binlog::{BinlogName, TransactionFlags};
use pitr_recovery::{
    BinlogId, BoundaryTransaction, Clock, Gap, GapCause, LaterBeforeTarget, PlanParts, PlanRequest, PlanWarning,
    PlannedBinlog, PlannedRange, RecoveryTarget, RestorePlan, Stop, StoredObject, TransactionPoint, Unrecoverable,
};
use support::base_backup::{SERVER, base_backup};
use support::{compare, golden};

/// 2026-11-21T07:14:03Z
const TARGET_US: i64 = 1_795_245_243_000_000;

fn binlog(number: u64) -> (BinlogId, BinlogName) {
    let id = BinlogId { source: SERVER.into(), number, head: [7; 8] };
    (id, BinlogName::parse(&format!("binlog.{number:06}")).unwrap())
}

fn boundary(number: u64, commit_us: i64, flags: TransactionFlags) -> BoundaryTransaction {
    let (id, name) = binlog(413);
    let gtid = format!("{SERVER}:{number}").parse().unwrap();
    let at = TransactionPoint { gtid: Some(gtid), commit_us, start: 23_118_000, end: 23_118_774 };
    BoundaryTransaction { binlog: id, name, at, logged_us: None, flags }
}

fn plan() -> RestorePlan {
    let range = PlannedRange { start: 0, end: 23_118_774, raw_sha256: [1; 32], objects: vec![] };
    let (id, name) = binlog(408);
    let (stop_id, stop_name) = binlog(413);
    RestorePlan::from_parts(PlanParts {
        workload: "shop/mysql".into(),
        target: RecoveryTarget::Time(TARGET_US),
        clock: Clock::Original,
        base: base_backup(83_673_813, TARGET_US - 18_000_000_000),
        branch: "br-3fa0".into(),
        stream: Some("st-9c1d".into()),
        files: vec![PlannedBinlog { id, name, head: range.clone(), ranges: vec![range], from: 157, to: 23_118_774 }],
        stop: Some(Stop { binlog: stop_id, name: stop_name, offset: 23_118_774 }),
        last_applied: Some(boundary(84_910_221, TARGET_US - 81_888, TransactionFlags::default())),
        first_excluded: Some(boundary(84_910_222, TARGET_US + 4_551, TransactionFlags::DDL)),
        later_before_target: LaterBeforeTarget::default(),
        same_second: 16,
        expected: format!("{SERVER}:1-84910221").parse().unwrap(),
        skip: "".parse().unwrap(),
        transactions: 1_236_408,
        bytes: 2_040_109_465,
        warnings: vec![PlanWarning::XaTransactions],
        resolution_us: 1,
    })
}

fn facts(named: Named) -> PlanFacts {
    PlanFacts {
        hash: "sha256:5b0e91c4".into(),
        now: "2026-11-21T07:30:20Z".parse().unwrap(),
        zone: Zone::named("Europe/Paris").unwrap_or(Zone::UTC),
        named,
        creates: Some("persistentvolumeclaim, job, configmap mysql-pitr-20261121-071403 (80Gi, gp3)".into()),
        plan_only: true,
    }
}

#[test]
fn the_plan_says_where_it_stops() {
    let named =
        Named { last: Some("UPDATE shop.orders, 3 rows".into()), first: Some("DROP TABLE shop.invoices".into()), estimate: Some("36 GiB to fetch, 1236408 transactions to replay; 9m12s at the last drill's pace (base 7m00s, replay 2m10s, rest 2s)".into()), ..Named::default() };
    golden("plan/plan.txt", &plan_text(&plan(), &facts(named)));
    golden("plan/plan-unnamed.txt", &plan_text(&plan(), &facts(Named::default())));
}

/// A segment that only an identity opens.
const SEALED: &str = "binlogs/3e11fa47/0000000413-1f2e3d4c5b6a7988/000000000004-000000004096-0011223344556677.zst.age";

#[test]
fn the_plan_says_whose_identity_it_takes() {
    let mut parts = plan().parts().clone();
    parts.base.recipients = vec!["age1qx".into(), "age1b0".into()];
    parts.files[0].ranges[0].objects = vec![StoredObject { key: SEALED.into(), length: 1, sha256_begins: [0; 8] }];
    parts.last_applied = Some(boundary(84_910_221, TARGET_US, TransactionFlags::default()));
    let sealed = RestorePlan::from_parts(parts);
    let others = vec![
        OtherBase { id: "bb-20261113-020010-07d3".into(), recipients: vec![] },
        OtherBase { id: "bb-20261114-020010-91aa".into(), recipients: vec!["age1old".into()] },
    ];
    let keys = PlanKeys { log: vec![vec!["age1old".into()], vec!["age1qx".into()]], others };
    golden("plan/plan-encrypted.txt", &plan_text(&sealed, &facts(Named { keys, ..Named::default() })));
    let text = plan_text(&sealed, &facts(Named::default()));
    assert!(text.contains("Encrypted   base to age1qx or age1b0; log: "), "of the log nobody could tell: {text}");
}

fn server() -> Server {
    Server {
        image: "mysql:8.4.6".into(),
        owner: Some(Owner { uid: 999, gid: Some(999) }),
        service_account: Some("mysql".into()),
        ..Server::default()
    }
}

fn store() -> Store {
    Store {
        url: "s3://backups/shop/mysql".into(),
        region: Some("eu-west-1".into()),
        secret: Some("pitr-s3".into()),
        ..Store::default()
    }
}

fn manifest(object: &impl serde::Serialize) -> String {
    tree::emit(&serde_json::to_value(object).unwrap()).unwrap()
}

/// What we ship as an example of what a command makes: `manifests/jobs/`.
fn shipped(name: &str, command: &str, objects: &str) {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../manifests/jobs");
    let head = format!("# What \"kubectl pitr {command}\" makes: see README.md here.\n");
    compare(&folder.join(format!("{name}.yaml")), &(head + objects));
}

fn restore() -> RestoreJob {
    RestoreJob {
        name: "mysql-pitr-20261121-071403".into(),
        restore: "mysql-pitr-20261121-071403".into(),
        namespace: "shop".into(),
        workload: "mysql".into(),
        target: "2026-11-21T07:14:03Z".into(),
        plan_hash: "sha256:5b0e91c4".into(),
        plan_compressed: false,
        image: "pitr-sidecar:VERSION".into(),
        server: server(),
        store: store(),
        datadir: "/var/lib/mysql".into(),
        mount_path: "/var/lib/mysql".into(),
        sub_path: None,
        options: Vec::new(),
        identity_secret: None,
        stateful_set: None,
        own_volume: None,
    }
}

#[test]
fn a_restore_is_a_claim_a_job_and_a_plan() {
    let job = restore();
    let volume = Claim { name: job.name.clone(), size: "80Gi".into(), storage_class: Some("gp3".into()) };
    let map = plan_config_map(&job, b"{}\n");
    let text =
        [manifest(&claim(&job, &volume)), manifest(&restore_job(&job, &volume.name)), manifest(&map)].join("---\n");
    shipped("restore-new-volume", "restore mysql -n shop --to 2026-11-21T07:14:03Z", &text);
    let pod = serve::pod(&restore_job(&job, &volume.name), &job.restore).unwrap();
    shipped("serve", "restores serve mysql-pitr-20261121-071403 -n shop", &manifest(&pod));
    let own_volume = OwnVolume {
        fs_group: Some(999),
        fs_group_change_policy: Some("OnRootMismatch".into()),
        restore_id: "mysql-pitr-20261121-071403.1795245620".into(),
    };
    let in_place = RestoreJob { own_volume: Some(own_volume), ..job.clone() };
    let text = [manifest(&restore_job(&in_place, "data-mysql-0")), manifest(&plan_config_map(&in_place, b"{}\n"))];
    shipped("restore-in-place", "restore mysql -n shop --to 2026-11-21T07:14:03Z --in-place", &text.join("---\n"));

    let options = ProofArgs {
        tables: vec!["shop.orders".into(), "shop.*".into()],
        dump_layout: "mydumper".into(),
        checks: DataChecks { assert: vec!["SELECT '$(HOME)'".into()], check_tables: true, count_rows: true },
        xa: "rollback".into(),
        batch: "1".into(),
        engine: "pipe".into(),
    };
    let options = options.options();
    let expected = [
        "--tables=shop.orders",
        "--tables=shop.*",
        "--dump-layout=mydumper",
        "--assert=SELECT '$$(HOME)'",
        "--check-tables",
        "--count-rows",
        "--xa=rollback",
        "--batch=1",
        "--engine=pipe",
    ];
    assert_eq!(options, expected);
    let asked = serde_json::to_string(&restore_job(&RestoreJob { options, ..job.clone() }, &volume.name)).unwrap();
    assert!(asked.contains(r#""--staging=/staging","--tables=shop.orders","--tables=shop.*""#), "{asked}");
    let batches = RestoreJob { options: vec!["--batch=50".into()], ..job.clone() };
    golden("plan/restore-batch.yaml", &manifest(&restore_job(&batches, &volume.name)));

    let held = Store {
        secret: None,
        claim: Some(("disk".into(), "/archive".into())),
        url: "file:///archive".into(),
        ..store()
    };
    let job = RestoreJob { store: held, sub_path: Some("db".into()), plan_compressed: true, ..job };
    let object = serde_json::to_value(restore_job(&job, "v")).unwrap();
    let main = &object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(main["command"][3], "--plan-file=/plan/plan.json.gz");
    assert_eq!(main["volumeMounts"][0]["subPath"], "db");
    assert!(
        main["volumeMounts"].as_array().unwrap().iter().any(|m| m["mountPath"] == "/archive" && m["readOnly"] == true)
    );
    let map = serde_json::to_value(plan_config_map(&job, &[0x1f, 0x8b])).unwrap();
    assert!(map["binaryData"]["plan.json.gz"].is_string() && map["immutable"] == true);
}

#[test]
fn a_job_trusts_the_authority_that_its_secret_holds() {
    let at = |file: &str| Store { ca_file: Some(file.into()), ..store() };
    let trusting = at("/etc/pitr-s3/ca.crt");
    trusting.refuse_unseen_files().unwrap();
    store().refuse_unseen_files().unwrap();
    Store { url: "file:///archive".into(), secret: None, ..at("/home/me/ca.pem") }.refuse_unseen_files().unwrap();
    let unseen = ["/etc/ssl/own.pem", "/etc/pitr-s3", "/etc/pitr-s3/../ssl/own.pem", "ca.crt"].map(at);
    for store in unseen.into_iter().chain([Store { secret: None, ..trusting.clone() }]) {
        assert_eq!(store.refuse_unseen_files().unwrap_err().number(), Some(404), "{store:?}");
    }
    let restore =
        serde_json::to_string(&restore_job(&RestoreJob { store: trusting.clone(), ..restore() }, "v")).unwrap();
    let backup = serde_json::to_string(&backup_job(&BackupJob { store: trusting, ..backup() })).unwrap();
    for job in [restore, backup] {
        assert!(job.contains(r#"{"name":"PITR_S3_CA_FILE","value":"/etc/pitr-s3/ca.crt"}"#), "{job}");
    }
}

#[test]
fn a_job_uses_the_store_as_the_sidecar_does() {
    let config = copied::configuration(
        "{archive: \"s3://backups/shop\", s3: {checksum: none, sse: \"c:/etc/pitr-s3/sse-key\", storage_class: STANDARD_IA}}",
    );
    let copied = copied::store(&config.unwrap(), &StatefulSet::default());
    let store = Store { secret: Some("pitr-s3".into()), ..copied };
    store.refuse_unseen_files().unwrap();
    let job = serde_json::to_string(&backup_job(&BackupJob { store: store.clone(), ..backup() })).unwrap();
    for (name, value) in [("CHECKSUM", "none"), ("SSE", "c:/etc/pitr-s3/sse-key"), ("STORAGE_CLASS", "STANDARD_IA")] {
        assert!(job.contains(&format!(r#"{{"name":"PITR_S3_{name}","value":"{value}"}}"#)), "{job}");
    }
    let elsewhere = Store { sse: Some("c:/etc/keys/sse".into()), ..store };
    let refused = elsewhere.refuse_unseen_files().unwrap_err();
    assert_eq!(refused.number(), Some(404), "{refused:?}");
}

#[test]
fn only_the_restore_sees_the_identity_and_backups_have_the_public_half() {
    let job = RestoreJob { identity_secret: Some("pitr-identity".into()), ..restore() };
    let text = serde_json::to_string(&restore_job(&job, "v")).unwrap();
    assert!(text.contains(r#"{"name":"PITR_IDENTITY_FILE","value":"/etc/pitr-identity/identity"}"#), "{text}");
    assert!(text.contains(r#"{"mountPath":"/etc/pitr-identity","name":"identity","readOnly":true}"#), "{text}");
    assert!(text.contains(r#""secretName":"pitr-identity""#), "{text}");
    let config = copied::configuration(
        "{archive: \"file:///a\", encryption: {age_recipients: [age1x, age1y], hash_key_file: /etc/pitr-s3/hash-key}}",
    );
    let copied = copied::store(&config.unwrap(), &StatefulSet::default());
    assert_eq!(copied.refuse_unseen_hash_key().unwrap_err().number(), Some(404), "no Secret, no key of hashes");
    let store = Store { secret: Some("pitr-s3".into()), ..copied };
    store.refuse_unseen_hash_key().unwrap();
    let backup = serde_json::to_string(&backup_job(&BackupJob { store, ..backup() })).unwrap();
    for (name, value) in [("AGE_RECIPIENTS", "age1x,age1y"), ("HASH_KEY_FILE", "/etc/pitr-s3/hash-key")] {
        assert!(backup.contains(&format!(r#"{{"name":"PITR_ENCRYPTION_{name}","value":"{value}"}}"#)), "{backup}");
    }
    assert!(!backup.contains("IDENTITY"), "{backup}");
}

#[test]
fn a_claim_holds_what_the_base_becomes() {
    let parts = |method: &str, raw: u64, recorded: Option<&str>| {
        let mut parts = plan().parts().clone();
        parts.base.method = method.into();
        parts.base.raw_bytes = raw;
        parts.base.settings.extend(recorded.map(|bytes| ("data_bytes".to_owned(), bytes.to_owned())));
        restore_bytes(&parts)
    };
    let (gib, hundred) = (1u64 << 30, (100u64 << 30).to_string());
    assert!(parts("dump", 10 * gib, Some(&hundred)) > 110 * gib);
    assert_eq!(parts("dump", 10 * gib, None), parts("clone", 20 * gib, None));
    assert_eq!(parts("clone", 20 * gib, Some("7")), parts("clone", 20 * gib, None));
    assert_eq!(parts("clone", 20 * gib, Some("unknown")), parts("clone", 20 * gib, None));
}

fn backup() -> BackupJob {
    BackupJob {
        name: "pitr-backup-mysql-20261121-073102".into(),
        namespace: "shop".into(),
        workload: "mysql".into(),
        archive_of: "shop/mysql".into(),
        method: "auto".into(),
        host: "mysql-2.mysql.shop".into(),
        port: 3306,
        mysql_secret: "pitr-mysql".into(),
        scratch: Scratch::Volume { size: "58Gi".into(), storage_class: Some("gp3".into()) },
        image: "pitr-sidecar:VERSION".into(),
        server: server(),
        store: store(),
    }
}

#[test]
fn a_backup_is_one_job() {
    for method in ["clone", "dump"] {
        let job = BackupJob { method: method.into(), ..backup() };
        let command = format!("backup mysql -n shop --method {method}");
        shipped(&format!("backup-{method}"), &command, &manifest(&backup_job(&job)));
    }
}

#[test]
fn a_drill_is_one_job_and_its_volume_goes_with_it() {
    let job = DrillJob {
        name: "pitr-drill-mysql-20261121-073102".into(),
        namespace: "shop".into(),
        workload: "mysql".into(),
        options: vec!["--assert=SELECT 1".into(), "--check-tables".into()],
        scratch: Scratch::Volume { size: "80Gi".into(), storage_class: None },
        image: "pitr-sidecar:VERSION".into(),
        server: server(),
        store: store(),
        identity_secret: Some("pitr-identity".into()),
    };
    golden(
        "plan/drill-schedule.yaml",
        &manifest(&cron_job(drill_job(&job), &cron_name("drill", "mysql"), "0 4 * * 0")),
    );
    // Others leave a log for as long as the CronJob says.
    let kept = |job| cron_job(job, "x", "@daily").spec.unwrap().job_template.spec.unwrap().ttl_seconds_after_finished;
    assert_eq!((kept(drill_job(&job)), kept(backup_job(&backup()))), (Some(900), None));
}

fn upkeep(upkeep: Upkeep) -> UpkeepJob {
    UpkeepJob {
        upkeep,
        name: format!("pitr-{}-mysql-20261121-073102", upkeep.verb()),
        namespace: "shop".into(),
        workload: "mysql".into(),
        options: match upkeep {
            Upkeep::Verify => vec!["--sample=5%".into()],
            Upkeep::Prune => vec!["--window=14d".into(), "--apply".into()],
        },
        policy: (upkeep == Upkeep::Prune).then(|| "pitr-mysql".into()),
        identity_secret: None,
        image: "pitr-sidecar:VERSION".into(),
        server: Server { image: String::new(), ..server() },
        store: store(),
    }
}

#[test]
fn verify_and_prune_are_jobs_of_our_image_alone() {
    let command = "verify mysql -n shop --sample 5%";
    shipped("verify", command, &manifest(&upkeep_job(&upkeep(Upkeep::Verify))));
    let prune = upkeep_job(&upkeep(Upkeep::Prune));
    shipped("prune", "prune mysql -n shop --window 14d --confirm mysql", &manifest(&prune));
    let name = cron_name("prune", "mysql");
    golden("plan/prune-schedule.yaml", &manifest(&cron_job(prune.clone(), &name, "15 3 * * *")));
    let opening = UpkeepJob { identity_secret: Some("pitr-identity".into()), ..upkeep(Upkeep::Verify) };
    let opening = serde_json::to_string(&upkeep_job(&opening)).unwrap();
    assert!(opening.contains(r#"{"name":"PITR_IDENTITY_FILE","value":"/etc/pitr-identity/identity"}"#), "{opening}");
    let text = manifest(&prune);
    assert!(!text.contains("initContainers") && !text.contains("mysql:8.4.6"), "{text}");
}

#[test]
fn one_question_is_a_job_of_our_image_that_does_not_outlive_it() {
    let job = InspectJob {
        name: "pitr-inspect-mysql-20261121-073102".into(),
        namespace: "shop".into(),
        workload: "mysql".into(),
        path: "/v1/plan".into(),
        body: Some(r#"{"target":{"latest":true}}"#.into()),
        image: "pitr-sidecar:VERSION".into(),
        server: Server { image: String::new(), ..server() },
        store: store(),
    };
    let command = "restore mysql -n shop --to latest --plan --via=job";
    shipped("inspect", command, &manifest(&inspect_job(&job)));
}

#[test]
fn a_plan_document_is_kept_byte_by_byte() {
    let document = PlanDocument::new(plan()).unwrap();
    let again = PlanDocument::parse(document.bytes()).unwrap();
    assert_eq!((again.hash(), again.plan()), (document.hash(), document.plan()));
}

#[test]
fn targets_out_of_reach_are_refused_by_name() {
    let now = "2026-11-21T07:30:20Z".parse().unwrap();
    let request = PlanRequest::new(RecoveryTarget::Time(TARGET_US));
    let gap = Gap {
        id: "gap-7f2a".into(),
        branch: "br-3fa0".into(),
        cause: GapCause::MissingBinlogs { source: SERVER.into(), first: binlog(301).1, last: binlog(301).1 },
        missing: format!("{SERVER}:7-341").parse().unwrap(),
        transactions: 335,
        after_us: Some(TARGET_US - 9_000_000),
        before_us: Some(TARGET_US + 9_000_000),
        reachable_to_us: Some(TARGET_US - 9_000_000),
        reachable_from_us: Some(TARGET_US + 60_000_000),
        closed_by: Some("bb-1".into()),
    };
    let target = RecoveryTarget::Time(TARGET_US);
    let gtid = format!("{SERVER}:84999999").parse().unwrap();
    let answers = [
        Unrecoverable::NoBaseBackup,
        Unrecoverable::BeforeFirstBackup { target: target.clone(), first_us: Some(TARGET_US + 5_000_000) },
        Unrecoverable::InGap { target: target.clone(), gap: Box::new(gap) },
        Unrecoverable::AfterLastArchived { target_us: TARGET_US, end_us: TARGET_US - 41_000_000 },
        Unrecoverable::GtidNotArchived { gtid, newest: Some(84_925_816) },
        Unrecoverable::SeveralBranches { target, branches: vec!["br-3fa0".into(), "br-c2d9".into()], differing: 12 },
        Unrecoverable::AmbiguousPosition { name: binlog(410).1, sources: vec!["3e11fa47".into(), "77d0c2e1".into()] },
    ];
    let texts: Vec<String> = answers
        .iter()
        .map(|answer| {
            let failure = refusal::unrecoverable(answer, (&request, "shop/mysql"), now);
            format!("{}exit {}\n", failure.text(), failure.exit())
        })
        .collect();
    golden("plan/refusals.txt", &texts.join("\n"));
}

//! The gates, answered from values: what is refused, with which words, and that all of it is said at once.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::gates::{Confirmed, DataClaim, Gate, Ground, gates, mounting, refusal, text};
use super::ground::{claim_of, outside};
use super::turning::{Outcome, outcome};
use crate::args::ReplicasPlan;
use crate::cluster::JobEnd;
use crate::inject::survey::{Hints, survey};
use crate::state::Heartbeat;

const NOW: &str = "2026-11-21T07:30:20Z";

fn set(spec: &Value) -> StatefulSet {
    let mut object = json!({"metadata": {"name": "mysql", "namespace": "shop"}, "spec": {"replicas": 1, "serviceName": "mysql",
        "selector": {}, "template": {"spec": {"containers": [{"name": "mysql", "image": "mysql:8.4.6",
            "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn pod(name: &str, claim: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": name}, "status": {"phase": phase}, "spec": {"containers": [],
        "nodeName": "node-1", "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}}))
    .unwrap()
}

fn beat(change: &Value) -> Heartbeat {
    let mut beat = json!({"ts": NOW, "unarchivedBinlogs": 0, "lagSeconds": 2.1, "expectedLagSeconds": 20.0,
        "volumeFreeBytes": 50_u64 << 30});
    for (key, value) in change.as_object().unwrap() {
        beat[key] = value.clone();
    }
    Heartbeat::read(&beat).unwrap()
}

/// A workload that may be restored in place.
fn good() -> Ground {
    Ground {
        name: "mysql".into(),
        namespace: "shop".into(),
        object: set(&json!({})),
        pods: vec![pod("mysql-0", "data-mysql-0", "Running"), pod("old-job", "data-mysql-0", "Succeeded")],
        claim: Some(DataClaim {
            name: "data-mysql-0".into(),
            pod: "mysql-0".into(),
            attached: Ok(vec!["node-1".into()]),
        }),
        outside: Vec::new(),
        autoscalers: Ok(Vec::new()),
        unwatched: Vec::new(),
        now: NOW.parse().unwrap(),
        heartbeats: vec![("mysql-0".into(), Ok(beat(&json!({}))))],
        image: "mysql:8.4.6".into(),
        base_version: "8.4.6".into(),
        needed_bytes: 41 << 30,
        replicas_plan: None,
        allow_drift: false,
        confirmed: Confirmed::Given,
    }
}

#[test]
fn a_workload_that_may_be_restored_passes_all_eight() {
    let gates = gates(&good());
    assert!(refusal(&gates).is_none(), "{gates:#?}");
    let expected = "\
Gates       √ nothing else scales it: no operator, no GitOps, no autoscaler
            √ scaling to 0 keeps the data volumes
            √ nothing else holds data-mysql-0
            √ volume data-mysql-0 has 50 GiB free of 41 GiB that it needs
            √ it has one replica
            √ nothing is unarchived: the present stays restorable
            √ image \"mysql:8.4.6\" runs the base, MySQL 8.4.6
            √ the name is confirmed
";
    assert_eq!(text(&gates), expected);
}

#[test]
fn every_gate_that_fails_is_told_with_its_way_out() {
    let mut object = set(&json!({"replicas": 3, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}));
    object.metadata.annotations =
        Some([("argocd.argoproj.io/tracking-id".to_owned(), "shop:apps/StatefulSet:shop/mysql".to_owned())].into());
    let ground = Ground {
        object,
        pods: vec![pod("mysql-0", "data-mysql-0", "Running"), pod("curious", "data-mysql-0", "Running")],
        heartbeats: vec![(
            "mysql-0".into(),
            Ok(beat(&json!({"volumeFreeBytes": 12_u64 << 30, "unarchivedBinlogs": 4}))),
        )],
        image: "mysql:8.0.36".into(),
        confirmed: Confirmed::No("--confirm mysql is required when stdin is not a terminal".into()),
        ..good()
    };
    let gates = gates(&ground);
    let failure = refusal(&gates).unwrap();
    assert_eq!((failure.number(), failure.exit()), (Some(405), 4));
    let expected = "\
error[PITR0405]: refusing --in-place: 8 of 8 gates failed
  × Argo CD app \"shop\" may scale mysql up during the restore
    fix: suspend its sync, or --allow-drift
  × persistentVolumeClaimRetentionPolicy.whenScaled=Delete: scaling to 0 deletes the data volumes
    fix: kubectl patch statefulset mysql -n shop --type merge -p '{\"spec\":{\"persistentVolumeClaimRetentionPolicy\":{\"whenScaled\":\"Retain\"}}}'
  × pod curious mounts data-mysql-0 too
    fix: kubectl delete pod curious -n shop
  × volume data-mysql-0 has 12 GiB free, the restored data beside the old needs 41 GiB
    fix: a larger volume (kubectl patch pvc), or restore onto a new one: leave --in-place out
  × it has 3 replicas, which would hold another history than the restored one
    fix: --replicas-plan=reclone: it comes back with 1 replica
  × 4 binlogs of mysql-0 are not archived: the present could not be restored
    fix: kubectl pitr logs mysql -n shop (pod mysql-0)
  × base is version 8.4.6, image is \"mysql:8.0.36\"
    fix: the image of the base's series, in the workload
  × --confirm mysql is required when stdin is not a terminal
    fix: --confirm mysql
  hint: nothing was touched
";
    assert_eq!(failure.text(), expected);
}

/// The one gate that fails, by its place.
fn only(ground: &Ground, place: usize, words: &str) {
    let gates = gates(ground);
    let failed: Vec<_> = (0..gates.len()).filter(|index| !gates[*index].is_passed()).collect();
    assert_eq!(failed, [place], "{gates:#?}");
    let Gate::Failed { what, .. } = &gates[place] else { unreachable!() };
    assert!(what.contains(words), "{what}");
}

#[test]
fn what_cannot_be_known_fails_but_for_attachments() {
    only(&Ground { autoscalers: Err("forbidden".into()), ..good() }, 0, "is not known: forbidden");
    let nowhere = gates(&Ground { claim: None, ..good() });
    assert!(!nowhere[2].is_passed() && !nowhere[3].is_passed(), "neither volume nor room: {nowhere:#?}");
    let silent = Ground { heartbeats: vec![("mysql-0".into(), Err("connection refused".into()))], ..good() };
    let failed = gates(&silent).iter().filter(|gate| !gate.is_passed()).count();
    assert_eq!(failed, 2, "neither room nor what is archived is known");
    let claim = good().claim.map(|claim| DataClaim { attached: Err("forbidden".into()), ..claim });
    assert!(refusal(&gates(&Ground { claim, ..good() })).is_none());
}

#[test]
fn each_gate_looks_at_its_own_question() {
    let drifting = Ground { autoscalers: Ok(vec!["KEDA ScaledObject \"mysql\"".into()]), ..good() };
    only(&drifting, 0, "KEDA ScaledObject \"mysql\" scales mysql");
    assert!(refusal(&gates(&Ground { allow_drift: true, ..drifting })).is_none());
    let claim = good().claim.map(|claim| DataClaim { attached: Ok(vec!["node-2".into()]), ..claim });
    only(&Ground { claim, ..good() }, 2, "attached to node node-2");
    let outside = vec!["binlogs are written to /logs/binlog".to_owned()];
    only(&Ground { outside, ..good() }, 2, "/logs/binlog: what lies outside");
    let late = vec![("mysql-0".to_owned(), Ok(beat(&json!({"lagSeconds": 90.0}))))];
    only(&Ground { heartbeats: late, ..good() }, 5, "1m30s behind mysql-0");
    for (change, words) in [
        (json!({"ts": "2026-11-21T07:29:00Z"}), "spoke last 1m20s ago"),
        (json!({"ts": null}), "spoke last at an unknown time"),
        (json!({"unarchivedBinlogs": null}), "does not say"),
        (json!({"lagSeconds": null}), "does not say"),
        (json!({"expectedLagSeconds": null}), "does not say"),
    ] {
        only(&Ground { heartbeats: vec![("mysql-0".to_owned(), Ok(beat(&change)))], ..good() }, 5, words);
    }
    only(&Ground { unwatched: vec!["mysql-1".to_owned()], ..good() }, 5, "mysql-1 has no sidecar");
    let untagged = gates(&Ground { image: "mysql:latest".into(), ..good() });
    let Gate::Passed(words) = &untagged[6] else { unreachable!("{untagged:#?}") };
    assert!(words.contains("its tag does not say"), "{words}");
    let many = |plan| Ground { object: set(&json!({"replicas": 3})), replicas_plan: plan, ..good() };
    assert!(refusal(&gates(&many(Some(ReplicasPlan::Reclone)))).is_none());
    only(&many(Some(ReplicasPlan::Keep)), 4, "not built yet");
    only(&Ground { object: set(&json!({"replicas": 0})), ..good() }, 4, "has no replica");
    let wrong = Confirmed::No("--confirm mysq does not name \"mysql\"".into());
    only(&Ground { confirmed: wrong, ..good() }, 7, "does not name");
}

#[test]
fn a_restore_exchanges_the_data_directory_and_nothing_else() {
    let of = |template: Value, claims: Value| {
        let object = set(&json!({"template": template, "volumeClaimTemplates": claims}));
        let survey = survey(&object, &Hints::default(), &|_| None).unwrap();
        (claim_of(&object, &survey), outside(&object, &survey))
    };
    let template = |args: Value, mounts: Value, volumes: Value| {
        json!({"spec": {"containers": [{"name": "mysql", "image": "mysql:8.4.6", "args": args, "volumeMounts": mounts}],
            "volumes": volumes}})
    };
    let data = json!({"name": "data", "mountPath": "/var/lib/mysql"});
    let claims = json!([{"metadata": {"name": "data"}}]);
    let own = Some(("data-mysql-0".to_owned(), "mysql-0".to_owned()));
    let passing = json!([data, {"name": "config", "mountPath": "/etc/mysql"}, {"name": "run", "mountPath": "/run"}]);
    let volumes = json!([{"name": "config", "configMap": {"name": "c"}}, {"name": "run", "emptyDir": {}}]);
    assert_eq!(of(template(json!([]), passing, volumes), claims.clone()), (own.clone(), Vec::new()));
    let logs = json!([data, {"name": "logs", "mountPath": "/logs"}]);
    let two = json!([{"metadata": {"name": "data"}}, {"metadata": {"name": "logs"}}]);
    let (claim, found) = of(template(json!(["--log-bin=/logs/binlog"]), logs, json!([])), two);
    assert_eq!(claim, own);
    assert_eq!(found, ["binlogs are written to /logs/binlog", "container mysql mounts volume logs at /logs too"]);
    let below = |args: Value| {
        let mount = json!([{"name": "data", "mountPath": "/var/lib/mysql"}]);
        of(template(args, mount, json!([])), claims.clone()).1
    };
    let beside = ["undo_directory=./", "directories=", "log_group_home_dir=/var/lib/mysql/data", "data-home-dir="];
    let mut args: Vec<String> = beside.iter().map(|option| format!("--innodb-{option}")).collect();
    args.push("--datadir=/var/lib/mysql/data".to_owned());
    assert_eq!(below(json!(args)), Vec::<String>::new());
    for elsewhere in ["/var/lib/mysql/undo", "../undo", "/var/lib/mysql/data2"] {
        args.push(format!("--innodb-undo-directory={elsewhere}"));
        let found = below(json!(args));
        assert!(found.len() == 1 && found[0].contains("innodb_undo_directory is inside"), "{elsewhere}: {found:?}");
    }
    assert_eq!(below(json!(["--datadir=/var/lib/mysql/data"])).len(), 1, "an option file may say anything");
    // Restored files of these lie at the top.
    for option in ["undo-directory=undo", "log-group-home-dir=/var/lib/mysql/redo", "data-home-dir=/elsewhere"] {
        let found = below(json!([format!("--innodb-{option}")]));
        assert!(found.len() == 1 && found[0].contains("not to /var/lib/mysql"), "{option}: {found:?}");
    }
    let network = json!([data, {"name": "nfs", "mountPath": "/logs"}]);
    let volumes = json!([{"name": "nfs", "nfs": {"server": "s", "path": "/"}}]);
    let (_, found) = of(template(json!([]), network, volumes), claims);
    assert_eq!(found, ["container mysql mounts volume nfs at /logs too"]);
    let lent = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "by-hand"}}]);
    let (claim, _) = of(template(json!([]), json!([data]), lent), json!([]));
    assert_eq!(claim, Some(("by-hand".to_owned(), "mysql-0".to_owned())));
    let (claim, _) = of(template(json!([]), json!([data]), json!([{"name": "data", "emptyDir": {}}])), json!([]));
    assert_eq!(claim, None);
}

#[test]
fn only_a_verdict_that_the_old_data_is_back_counts_as_done() {
    let end = |succeeded, verdict: Option<Value>| {
        let verdict = verdict.map(|verdict| Box::new(serde_json::from_value(verdict).unwrap()));
        outcome(JobEnd { succeeded, verdict, document: None, reason: Some("OOMKilled".to_owned()) })
    };
    let said = |result: &str, code: Option<&str>| Some(json!({"result": result, "code": code, "message": "words"}));
    assert!(matches!(end(true, said("aborted", None)), Outcome::Done(_)));
    assert_eq!(end(true, said("nothing", None)), Outcome::Nothing("words".to_owned()));
    assert_eq!(end(false, said("refused", Some("PITR0420"))), Outcome::Another("words".to_owned()));
    assert_eq!(end(false, said("refused", Some("PITR0412"))), Outcome::Failed("words".to_owned()));
    assert_eq!(end(true, None), Outcome::Failed("OOMKilled".to_owned()));
}

#[test]
fn a_pod_that_has_ended_holds_no_volume() {
    assert_eq!(mounting(&good().pods, "data-mysql-0"), ["mysql-0"]);
}

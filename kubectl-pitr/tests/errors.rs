//! What commands say of what is wrong, word for word, and their exit codes: errors that end them, and findings before an injection.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use kubectl_pitr::inject::tree;
use pitr_recovery::BaseBackup;
use serde_json::{Value, json};
use support::api::{Answers, program, refusal, serve, told};
use support::base_backup::{base_backup, plan_of};
use support::{golden, manifest};

const SETS: &str = "/apis/apps/v1/namespaces/shop/statefulsets";

/// The objects that a command prints, by kind.
fn printed(words: &[&str], stdin: Option<&str>) -> Vec<Value> {
    let mut command = program(words);
    if let Some(text) = stdin {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("given.yaml");
        std::fs::write(&path, text).unwrap();
        let output = command.args(["-f", path.to_str().unwrap()]).output().unwrap();
        return documents(&output);
    }
    documents(&command.output().unwrap())
}

fn documents(output: &std::process::Output) -> Vec<Value> {
    let (code, text, errors) = told(output);
    assert_eq!(code, 0, "{errors}");
    tree::parse(&text).unwrap().into_iter().map(|document| document.value).collect()
}

fn of_kind(documents: &[Value], kind: &str) -> Value {
    let mut object = documents.iter().find(|document| document["kind"] == kind).unwrap().clone();
    object["metadata"]["namespace"] = "shop".into();
    object
}

/// statefulset/mysql with the sidecar, and its ConfigMap.
fn injected(archive: &str) -> (Value, Value) {
    let words = ["inject", "-n", "shop", "--archive", archive, "--secret", "pitr-s3"];
    let all = printed(&words, Some(&manifest("mysql.yaml")));
    let map = all.iter().find(|d| d["kind"] == "ConfigMap" && d["metadata"]["name"] == "pitr-mysql").unwrap();
    (of_kind(&all, "StatefulSet"), map.clone())
}

fn list(kind: &str, items: &[Value]) -> (u16, Value) {
    (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}))
}

/// A namespace with one workload.
fn shop(set: &Value, map: Option<&Value>) -> Answers {
    let mut answers = Answers::from([
        (format!("GET {SETS}"), list("StatefulSetList", std::slice::from_ref(set))),
        (format!("GET {SETS}/{}", set["metadata"]["name"].as_str().unwrap()), (200, set.clone())),
        ("GET /api/v1/namespaces/shop/pods".into(), list("PodList", &[])),
    ]);
    if let Some(map) = map {
        let path = format!("/api/v1/namespaces/shop/configmaps/{}", map["metadata"]["name"].as_str().unwrap());
        for verb in ["GET", "PATCH"] {
            answers.insert(format!("{verb} {path}"), (200, map.clone()));
        }
    }
    answers
}

/// The same with more answers.
fn with(mut answers: Answers, more: &[(&str, (u16, Value))]) -> Answers {
    answers.extend(more.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())));
    answers
}

/// A command and what it said; names made of the time of day are not told apart.
fn story(words: &[&str], answers: Option<Answers>) -> String {
    let mut command = program(words);
    if let Some(answers) = answers {
        command.args(["-n", "shop", "--server", &serve(answers)]);
    }
    let (code, out, errors) = told(&command.output().unwrap());
    let digits = |c: char| c.is_ascii_digit();
    let mut text = format!("$ kubectl pitr {}\n{out}{errors}exit {code}\n", words.join(" "));
    while let Some(at) = text.match_indices('-').map(|(at, _)| at).find(|at| {
        let rest = &text[at + 1..];
        rest.len() > 15 && rest[..8].chars().all(digits) && &rest[8..9] == "-" && rest[9..15].chars().all(digits)
    }) {
        // The name of a Job has milliseconds, that of a restore has none.
        let more = text[at + 16..].chars().take_while(|c| digits(*c)).count();
        text.replace_range(at + 1..at + 16 + more, "TIME");
    }
    text
}

#[test]
fn what_ends_a_command_is_said_with_its_code_what_it_means_and_what_helps() {
    let (set, map) = injected("s3://b/shop/mysql");
    let (_, in_a_directory) = injected("file:///backups");
    let mut bare = of_kind(&printed(&["uninject"], Some(&manifest("mysql.yaml"))), "StatefulSet");
    bare["metadata"]["name"] = "legacy".into();
    let mut in_git = set.clone();
    in_git["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = "shop:apps/StatefulSet:shop/mysql".into();
    let attach = ["attach", "orders", "-n", "shop", "--host", "db", "--mysql-user", "pitr", "--mysql-secret", "s"];
    let archiver = of_kind(&printed(&[&attach[..], &["--archive", "s3://b/o"]].concat(), None), "StatefulSet");
    let archiver_of = |namespace: &str| {
        let mut other = archiver.clone();
        other["metadata"]["namespace"] = namespace.into();
        other
    };
    let orders = ("GET /api/v1/namespaces/shop/pods/orders-0", json!({"metadata": {"name": "orders-0"}}));

    let jobs = "POST /apis/batch/v1/namespaces/shop/jobs";
    let stories = [
        story(&["backup"], None),
        story(&["status", "--archive", "s3://key:secret@bucket/prefix"], None),
        story(
            &["verify", "mysql", "--wait=false"],
            Some(with(shop(&set, Some(&map)), &[(jobs, refusal(409, "AlreadyExists"))])),
        ),
        story(&["verify", "mysql", "--wait=false"], Some(shop(&set, Some(&in_a_directory)))),
        story(
            &["detach", "orders", "--confirm", "orders", "--timeout", "0s"],
            Some(with(
                shop(&archiver, None),
                &[
                    (orders.0, (200, orders.1.clone())),
                    (&format!("DELETE {SETS}/orders"), (200, json!({"kind": "Status"}))),
                ],
            )),
        ),
        story(&["logs", "legacy"], Some(shop(&bare, None))),
        story(&["config", "set", "mysql", "schedule.tail_interval=5s"], Some(shop(&in_git, Some(&map)))),
        story(&["config", "view", "mysq"], Some(shop(&set, Some(&map)))),
        story(
            &["config", "view", "orders"],
            Some(with(
                shop(&set, None),
                &[("GET /apis/apps/v1/statefulsets", list("StatefulSetList", &[archiver_of("sales")]))],
            )),
        ),
    ];
    for code in ["PITR0106", "PITR0107", "PITR0401", "PITR0404", "PITR0414", "PITR0511", "PITR0512", "PITR0702"] {
        assert!(stories.iter().any(|story| story.contains(&format!("[{code}]"))), "{code}: {stories:#?}");
    }
    golden("errors.txt", &stories.join("\n"));
}

/// The same namespace with pods, some of them ready, and a version of Kubernetes.
fn shop_with_pods(set: &Value, ready: usize) -> Answers {
    let pod = |index: usize| {
        let condition = json!({"type": "Ready", "status": if index < ready { "True" } else { "False" },
            "lastTransitionTime": "2026-11-21T07:00:00Z"});
        json!({"metadata": {"name": format!("mysql-{index}"), "namespace": "shop", "ownerReferences":
            [{"kind": "StatefulSet", "name": "mysql", "apiVersion": "apps/v1", "uid": "u"}]},
            "spec": set["spec"]["template"]["spec"], "status": {"conditions": [condition]}})
    };
    let pods: Vec<Value> = (0..3).map(pod).collect();
    let version = json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0", "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "", "platform": ""});
    let mut answers = shop(set, None);
    answers.insert("GET /api/v1/namespaces/shop/pods".into(), list("PodList", &pods));
    answers.insert("GET /version".into(), (200, version));
    answers
}

fn check_before(set: &Value, ready: usize) -> String {
    story(&["check", "mysql", "--pre"], Some(shop_with_pods(set, ready)))
}

#[test]
fn what_stands_in_the_way_of_an_injection_is_told_before_it() {
    let free = of_kind(&printed(&["uninject"], Some(&manifest("mysql.yaml"))), "StatefulSet");
    let mut owned = free.clone();
    owned["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = "shop:apps/StatefulSet:shop/mysql".into();
    owned["metadata"]["ownerReferences"] = json!([{"apiVersion": "k8s.mariadb.com/v1alpha1", "kind": "MariaDB", "name": "db", "uid": "u", "controller": true}]);
    golden("check-pre.txt", &[check_before(&free, 3), check_before(&owned, 2)].join("\n"));
}

/// A command about a plan in a file; where the file is does not matter.
fn story_of_plan(words: &[&str], recipients: &[&str], answers: Answers) -> String {
    let recipients = recipients.iter().map(|key| (*key).to_owned()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), plan_of(BaseBackup { recipients, ..base_backup(9, 1_795_245_243_000_000) })).unwrap();
    let path = file.path().to_str().unwrap();
    let words: Vec<&str> = words.iter().map(|word| if *word == "plan.json" { path } else { word }).collect();
    story(&words, Some(answers)).replace(path, "plan.json")
}

#[test]
fn a_restore_tells_what_stands_in_its_way_before_it_makes_anything() {
    let (set, map) = injected("s3://b/shop/mysql");
    let answers = || shop(&set, Some(&map));
    let restore = ["restore", "mysql", "--plan-file", "plan.json"];
    let made = json!({"metadata": {"name": "mysql-pitr-20261121-071403"}});
    let jobs = "/apis/batch/v1/namespaces/shop/jobs";
    let taken = with(answers(), &[(&format!("GET {jobs}/*"), (200, made))]);
    let stories = [
        story_of_plan(&[&restore[..], &["--plan"]].concat(), &["age1qx", "age1b0"], taken),
        story_of_plan(&restore, &["age1qx", "age1b0"], answers()),
    ];
    golden("restore-refused.txt", &stories.join("\n"));
}

#[test]
fn a_job_whose_pod_does_not_start_says_what_it_waits_for() {
    let (set, map) = injected("s3://b/shop/mysql");
    let mount = "MountVolume.SetUp failed for volume \"pitr-s3\" : secret \"pitr-s3\" not found";
    let event = json!({"metadata": {}, "type": "Warning", "reason": "FailedMount", "message": mount,
        "lastTimestamp": "2026-11-21T07:00:00Z", "involvedObject": {"name": "p"}});
    let pod = json!({"metadata": {"name": "p", "namespace": "shop"}, "status": {"phase": "Pending"}});
    let (jobs, core) = ("/apis/batch/v1/namespaces/shop/jobs", "/api/v1/namespaces/shop");
    let waiting = with(
        shop(&set, Some(&map)),
        &[
            (&format!("POST {jobs}"), (201, json!({"metadata": {"name": "j"}}))),
            (&format!("GET {jobs}/*"), (200, json!({"metadata": {"name": "j"}}))),
            (&format!("GET {core}/pods"), list("PodList", &[pod])),
            (&format!("GET {core}/events"), list("EventList", &[event])),
        ],
    );
    golden("waiting.txt", &story(&["verify", "mysql", "--timeout", "4s"], Some(waiting)));
}

#[test]
fn a_sidecar_of_a_later_version_is_told_from_one_that_is_understood() {
    let (set, map) = injected("s3://b/shop/mysql");
    let pod = json!({"metadata": {"name": "mysql-0", "namespace": "shop", "ownerReferences":
        [{"kind": "StatefulSet", "name": "mysql", "apiVersion": "apps/v1", "uid": "u"}]},
        "spec": set["spec"]["template"]["spec"]});
    let heartbeat = json!({"ts": jiff::Timestamp::now().to_string(), "event": "heartbeat", "schemaVersion": 99, "state": "ok",
        "codes": [], "active": {"binlog": "binlog.000413", "positionBytes": 9, "shippedBytes": 9}});
    let core = "/api/v1/namespaces/shop/pods";
    let answers = with(
        shop(&set, Some(&map)),
        &[(&format!("GET {core}"), list("PodList", &[pod])), (&format!("GET {core}/mysql-0/log"), (200, heartbeat))],
    );
    let text = story(&["status", "mysql", "--via", "log"], Some(answers));
    assert!(text.contains("warning[PITR0703]: the sidecar speaks schema 99, the plugin up to"), "{text}");
    assert!(text.contains("active binlog.000413"), "what is understood is shown: {text}");
}

//! `restore --in-place` and what follows it, against an API server that keeps one workload: in which order what is touched, what is left
//! where the plugin is killed at any change, and that every such state goes on and turns back.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pitr_recovery::BaseBackup;
use serde_json::{Value, json};

use support::api::start;
use support::base_backup::{base_backup, plan_of};

const CONFIG: &str = "workload: shop/mysql\narchive: s3://b/shop/mysql\ns3: {region: eu-west-1}\n";

/// One StatefulSet, and every ConfigMap and Job that is made.
#[derive(Default)]
struct World {
    replicas: i64,
    /// Told to have none, its pods take so many looks to end.
    slowness: u32,
    ending: u32,
    maps: BTreeMap<String, Value>,
    jobs: BTreeMap<String, Value>,
    /// Jobs that fail, by a part of their command.
    failing: BTreeSet<String>,
    /// An autoscaler of the workload.
    autoscaler: bool,
    /// What the last abort kept.
    kept: bool,
    /// `finish` finds that something else is kept.
    refusing: bool,
    /// The verdict of an abort that has nothing to do.
    idle: Option<Value>,
    /// Somebody else notes a step as soon as the workload is scaled to 0.
    interfered: bool,
    /// How many replicas somebody has told it to have since the plan was made.
    scaled: Option<i64>,
    /// Jobs that were deleted.
    ended: Vec<Value>,
    /// What was changed, one after the other.
    changes: Vec<String>,
    /// This change is made and never answered.
    silent_after: Option<usize>,
}

impl World {
    fn new(replicas: i64) -> Self {
        Self { replicas, maps: BTreeMap::from([("pitr-mysql".to_owned(), config_map())]), ..Self::default() }
    }

    fn template(&self) -> Value {
        json!({"metadata": {"labels": {"app": "mysql"}}, "spec": {"securityContext": {"fsGroup": 1234},
            "initContainers": [{"name": "pitr", "image": "pitr-sidecar:1", "args": ["run", "--config=/etc/pitr/config.yaml"],
                "securityContext": {"runAsUser": 999, "runAsGroup": 999}}],
            "containers": [{"name": "mysql", "image": "mysql:8.4.6", "volumeMounts": [{"name": "data", "mountPath": "/var/lib/mysql"}]}],
            "volumes": [{"name": "pitr-config", "configMap": {"name": "pitr-mysql"}}, {"name": "pitr-s3", "secret": {"secretName": "pitr-s3"}}]}})
    }

    fn set(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "mysql", "namespace": "shop"},
            "spec": {"replicas": self.replicas, "serviceName": "mysql", "selector": {"matchLabels": {"app": "mysql"}},
                "template": self.template(), "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}})
    }

    fn pods(&self) -> Vec<Value> {
        let running = if self.replicas == 0 && self.ending > 0 { 1 } else { self.replicas };
        let pod = |index: i64| {
            let mut spec = self.template()["spec"].clone();
            spec["nodeName"] = "node-1".into();
            spec["volumes"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "data", "persistentVolumeClaim": {"claimName": format!("data-mysql-{index}")}}));
            json!({"metadata": {"name": format!("mysql-{index}"), "namespace": "shop",
                "ownerReferences": [{"kind": "StatefulSet", "name": "mysql", "apiVersion": "apps/v1", "uid": "u"}]},
                "spec": spec, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        (0..running).map(pod).collect()
    }

    /// A Job ends as soon as it is made.
    fn end_of(&self, job: &Value) -> (bool, String) {
        let command = job["spec"]["template"]["spec"]["containers"][0]["command"].to_string();
        let fails = self.failing.iter().any(|part| command.contains(part));
        let verdict = match () {
            () if fails => json!({"event": "verdict", "result": "failed", "message": "error[PITR0410]: no luck\n"}),
            () if command.contains("\"abort\"") && self.idle.is_some() => self.idle.clone().unwrap(),
            () if command.contains("\"abort\"") => {
                json!({"event": "verdict", "result": "aborted", "message": "the old data is back", "kept": self.kept})
            }
            () if command.contains("\"finish\"") && self.refusing => {
                json!({"event": "verdict", "result": "refused", "code": "PITR0411", "message": "what was restored is kept here"})
            }
            () if command.contains("\"finish\"") => {
                json!({"event": "verdict", "result": "finished", "message": "deleted"})
            }
            () => json!({"event": "verdict", "result": "verified", "transactions": 9}),
        };
        (!fails && verdict["result"] != "refused", verdict.to_string())
    }

    fn pod_of(&self, job: &str) -> Value {
        let Some(made) = self.jobs.get(job) else { return json!([]) };
        let (good, words) = self.end_of(made);
        let state = json!({"terminated": {"exitCode": i32::from(!good), "message": words}});
        json!([{"metadata": {"name": format!("{job}-pod")}, "spec": made["spec"]["template"]["spec"],
            "status": {"phase": "Succeeded", "containerStatuses": [{"name": "restore", "image": "", "imageID": "",
                "ready": false, "restartCount": 0, "state": state}]}}])
    }

    fn changed(&mut self, what: String) {
        self.changes.push(what);
    }

    fn answer(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let dry = query.contains("dryRun=All");
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let absent = || {
            (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"}))
        };
        let list =
            |kind: &str, items: Value| (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items}));
        match (method, words.as_slice()) {
            ("POST", [.., "selfsubjectaccessreviews"]) => {
                let mut review = body.clone();
                review["status"] = json!({"allowed": true});
                (201, review)
            }
            ("GET", [.., "statefulsets", "mysql"]) => (200, self.set()),
            ("GET" | "PATCH", [.., "statefulsets", "mysql", "scale"]) => {
                if method == "PATCH" {
                    self.replicas = body["spec"]["replicas"].as_i64().unwrap();
                    self.ending = self.slowness;
                    if self.interfered {
                        self.maps.get_mut("back-steps").unwrap()["metadata"]["resourceVersion"] = "99".into();
                    }
                    self.changed(format!("scale {}", self.replicas));
                }
                (
                    200,
                    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "mysql"},
                    "spec": {"replicas": self.scaled.unwrap_or(self.replicas)}, "status": {"replicas": self.replicas}}),
                )
            }
            ("GET", [.., "horizontalpodautoscalers"]) => list("HorizontalPodAutoscalerList", self.autoscalers()),
            ("GET", [.., "volumeattachments"]) => (
                403,
                json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "no"}),
            ),
            ("GET", [.., "persistentvolumeclaims"]) => list("PersistentVolumeClaimList", json!([])),
            ("GET", [.., "persistentvolumeclaims", name]) => (
                200,
                json!({"metadata": {"name": name},
                "spec": {"volumeName": "pv-1", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "80Gi"}}}}),
            ),
            ("GET", [.., "pods"]) => match query.split("job-name%3D").nth(1).or(query.split("job-name=").nth(1)) {
                Some(job) => list("PodList", self.pod_of(job.split('&').next().unwrap())),
                None => {
                    self.ending = self.ending.saturating_sub(1);
                    list("PodList", self.pods().into())
                }
            },
            ("GET", [.., "pods", name, "log"]) => match name.strip_suffix("-pod") {
                Some(job) => {
                    (200, self.jobs.get(job).map(|job| self.end_of(job).1.parse().unwrap()).unwrap_or_default())
                }
                None => (200, heartbeat()),
            },
            ("GET", [.., "configmaps"]) => {
                list("ConfigMapList", self.maps.values().cloned().collect::<Vec<_>>().into())
            }
            (_, [.., "configmaps"] | [.., "configmaps", _]) => self.object(method, (&words, dry), body, "configmap"),
            ("GET", [.., "jobs"]) => list("JobList", self.selected_jobs(query)),
            (_, [.., "jobs"] | [.., "jobs", _]) => self.object(method, (&words, dry), body, "job"),
            _ => absent(),
        }
    }

    fn autoscalers(&self) -> Value {
        let one = json!([{"metadata": {"name": "h"}, "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "StatefulSet", "name": "mysql"}}}]);
        if self.autoscaler { one } else { json!([]) }
    }

    /// The Jobs that a selector names: by their component, and by their restore if it says one.
    fn selected_jobs(&self, query: &str) -> Value {
        let endings = query.contains("restore-ending");
        let named = query.split("pitr%2Frestore%3D").nth(1).and_then(|rest| rest.split(['&', '%']).next());
        let is = |job: &&Value| {
            let labels = &job["metadata"]["labels"];
            (labels["kubectl-pitr/component"] == "restore-ending") == endings
                && named.is_none_or(|name| labels["kubectl-pitr/restore"] == name)
        };
        self.jobs.values().filter(is).cloned().collect::<Vec<_>>().into()
    }

    /// ConfigMaps and Jobs are kept as they are made.
    fn object(&mut self, method: &str, (words, dry): (&[&str], bool), body: &Value, kind: &str) -> (u16, Value) {
        let name = body["metadata"]["name"].as_str().unwrap_or(words.last().unwrap()).to_owned();
        let name = if method == "POST" { name } else { (*words.last().unwrap()).to_owned() };
        let count = self.changes.len();
        let objects = if kind == "job" { &mut self.jobs } else { &mut self.maps };
        let status = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        match (method, objects.get_mut(&name)) {
            ("POST", Some(_)) => status(409, "AlreadyExists"),
            ("POST", None) => {
                let mut made = body.clone();
                made["metadata"]["uid"] = "u".into();
                made["metadata"]["resourceVersion"] = "1".into();
                made["metadata"]["creationTimestamp"] = format!("2026-11-21T07:{:02}:00Z", count % 60).into();
                if dry {
                    return (201, made);
                }
                objects.insert(name.clone(), made.clone());
                if kind == "job" {
                    let good = self.end_of(&made).0;
                    let ended = json!({"conditions": [{"type": if good { "Complete" } else { "Failed" }, "status": "True", "lastTransitionTime": "2026-11-21T08:00:00Z"}],
                        "completionTime": "2026-11-21T08:00:00Z"});
                    self.jobs.get_mut(&name).unwrap()["status"] = ended;
                }
                self.changed(format!("make {kind} {name}"));
                (201, made)
            }
            ("GET", Some(found)) => (200, found.clone()),
            ("PATCH", Some(found)) if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"] => {
                status(409, "Conflict")
            }
            ("PATCH", Some(found)) => {
                found["metadata"]["resourceVersion"] = (count + 2).to_string().into();
                for (key, value) in body["data"].as_object().unwrap() {
                    found["data"][key] = value.clone();
                }
                let found = found.clone();
                let state: Value = serde_json::from_str(found["data"]["state.json"].as_str().unwrap()).unwrap();
                self.changed(format!("step {}", state["step"].as_str().unwrap()));
                (200, found)
            }
            ("DELETE", Some(_)) => {
                self.ended.extend(objects.remove(&name).filter(|_| kind == "job"));
                self.changed(format!("delete {kind} {name}"));
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => status(404, "NotFound"),
        }
    }
}

fn config_map() -> Value {
    json!({"metadata": {"name": "pitr-mysql", "namespace": "shop"}, "data": {"config.yaml": CONFIG}})
}

fn heartbeat() -> Value {
    json!({"ts": jiff::Timestamp::now().to_string(), "event": "heartbeat", "state": "ok", "unarchivedBinlogs": 0,
        "lagSeconds": 1.0, "expectedLagSeconds": 20.0, "volumeFreeBytes": 60_u64 << 30})
}

/// The server, as long as the test runs.
struct Api {
    server: String,
    world: Arc<Mutex<World>>,
    plan: tempfile::NamedTempFile,
}

impl Api {
    fn start(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        let server = start(move |method, target, body| {
            let mut world = shared.lock().unwrap();
            let answer = world.answer(method, target, body);
            if world.silent_after.is_some_and(|count| world.changes.len() > count) {
                drop(world);
                // Whoever waits for this answer is killed meanwhile.
                std::thread::sleep(Duration::from_secs(20));
            }
            answer
        });
        let plan_file = tempfile::NamedTempFile::new().unwrap();
        let base = BaseBackup { raw_bytes: 4 << 30, stored_bytes: 1 << 30, ..base_backup(9, 1_795_245_243_000_000) };
        std::fs::write(plan_file.path(), plan_of(base)).unwrap();
        Self { server, world, plan: plan_file }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-pitr"));
        command
            .args(words)
            .args(["-n", "shop", "--server", &self.server])
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent");
        command.stdin(Stdio::null());
        command
    }

    fn restore_words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let plan = self.plan.path().to_str().unwrap();
        [&["restore", "mysql", "--in-place", "--new-name", "back", "--plan-file", plan][..], more].concat()
    }

    /// Exit code, stdout and stderr.
    fn restore(&self, more: &[&str]) -> (i32, String) {
        told(&self.command(&self.restore_words(more)).output().unwrap())
    }

    fn restores(&self, verb: &str) -> (i32, String) {
        let confirmed: &[&str] = if verb == "attach" { &[] } else { &["--confirm", "mysql"] };
        told(&self.command(&[&["restores", verb, "back"][..], confirmed].concat()).output().unwrap())
    }

    /// Nothing of the restore is left in the cluster.
    fn is_forgotten(&self) -> bool {
        let world = self.world();
        world.jobs.is_empty() && world.maps.keys().eq(["pitr-mysql"])
    }
}

fn told(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

const THERE: [&str; 9] = [
    "make configmap back-steps",
    "make configmap back",
    "step scaling-down",
    "scale 0",
    "step restoring",
    "make job back",
    "step scaling-up",
    "scale 1",
    "step done",
];

#[test]
fn it_is_scaled_down_restored_and_scaled_up_and_finish_forgets_it() {
    let api = Api::start(World { slowness: 3, ..World::new(1) });
    let (code, text) = api.restore(&["--confirm", "mysql"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(api.world().changes, THERE, "{text}");
    for words in [
        "√ nothing else scales it",
        "its attachments are not known",
        "Verified",
        "Now:       kubectl pitr backup mysql -n shop",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    {
        let world = api.world();
        let spec = &world.jobs["back"]["spec"]["template"]["spec"];
        assert!(spec["containers"][0]["command"].as_array().unwrap().contains(&"--in-place".into()), "{spec}");
        assert_eq!(spec["volumes"][0]["persistentVolumeClaim"]["claimName"], "data-mysql-0");
        assert_eq!(spec["securityContext"]["fsGroup"], 1234, "the group that the workload gives its volume");
    }
    let id = |job: &Value| {
        let words = job["spec"]["template"]["spec"]["containers"][0]["command"].as_array().unwrap().clone();
        words.into_iter().find(|word| word.as_str().unwrap().starts_with("--restore-id=back-")).unwrap()
    };
    let made = id(&api.world().jobs["back"]);
    let (code, text) = api.restores("finish");
    assert_eq!(code, 0, "{text}");
    assert!(api.is_forgotten() && api.world().replicas == 1, "{text}");
    assert_eq!(id(api.world().ended.last().unwrap()), made, "another restore would be finished");
    assert_eq!(api.world().changes[THERE.len()..THERE.len() + 2], ["step finishing", "make job back-finish"], "{text}");
}

#[test]
fn a_plan_and_a_gate_that_fails_touch_nothing() {
    let api = Api::start(World { autoscaler: true, ..World::new(3) });
    for more in [&["--plan"][..], &["--confirm", "mysql"], &[]] {
        let (code, text) = api.restore(more);
        assert_eq!(code, 4, "{text}");
        let failed = 2 + usize::from(more.is_empty());
        assert!(text.contains(&format!("error[PITR0405]: refusing --in-place: {failed} of 8 gates failed")), "{text}");
        assert!(text.contains("HorizontalPodAutoscaler \"h\" scales mysql"), "{text}");
        assert!(text.contains("--replicas-plan=reclone"), "{text}");
    }
    let allowed = ["--allow-drift", "--replicas-plan", "reclone"];
    let (code, text) = api.restore(&[&["--plan"][..], &allowed].concat());
    assert!(code == 0 && text.contains("scaled from 3 to 0"), "{text}");
    let (code, text) = api.restore(&[&["--dry-run=client", "-o", "yaml"][..], &allowed].concat());
    assert!(code == 0 && text.contains("name: back-steps") && text.contains("kind: Job"), "{text}");
    let (code, text) = api.restore(&[&["--dry-run=server", "--confirm", "mysql"][..], &allowed].concat());
    assert_eq!(code, 0, "{text}");
    for unbuilt in [["--safety", "snapshot"], ["--replicas-plan", "keep"]] {
        let (code, text) = api.restore(&unbuilt);
        assert!(code == 2 && text.contains("is not built yet"), "{text}");
    }
    assert!(api.world().changes.is_empty(), "{:?}", api.world().changes);
}

#[test]
fn a_job_that_fails_leaves_the_workload_still_and_goes_either_way() {
    for verb in ["resume", "abort"] {
        let api = Api::start(World { failing: ["restore".to_owned()].into(), ..World::new(3) });
        let (code, text) = api.restore(&["--confirm", "mysql", "--replicas-plan", "reclone"]);
        assert_eq!(code, 5, "{text}");
        assert!(text.contains("stays scaled to 0") && text.contains("restores abort back"), "{text}");
        assert_eq!(api.world().replicas, 0);
        let (code, text) = api.restores("finish");
        assert!(code == 5 && text.contains("nothing was deleted"), "{text}");
        api.world().failing.clear();
        let (code, text) = api.restores(verb);
        assert_eq!(code, 0, "{text}");
        match verb {
            "resume" => {
                assert!(api.world().jobs.contains_key("back-r2") && api.world().replicas == 1, "{text}");
                assert!(text.contains("it had 3 and has 1"), "{text}");
            }
            _ => assert!(api.is_forgotten() && api.world().replicas == 3, "{text}"),
        }
    }
}

#[test]
fn killed_after_any_change_it_goes_on_and_it_turns_back() {
    for verb in ["resume", "abort"] {
        for count in 0..THERE.len() {
            let api = Api::start(World::new(1));
            kill_after(&api, &api.restore_words(&["--confirm", "mysql"]), count + 1);
            let at = format!("{verb} after \"{}\"", THERE[count]);
            assert_eq!(api.world().changes, THERE[..=count], "{at}");
            let (code, text) = api.restores(verb);
            if verb == "resume" && count == 0 {
                // Nothing but the steps was made: the plan was not, and the restore is given up.
                assert!(code != 0 && text.contains("restores abort back"), "{at}: {text}");
                continue;
            }
            assert_eq!(code, 0, "{at}: {text}");
            assert_eq!(api.world().replicas, 1, "{at}: {text}");
            match verb {
                "resume" => {
                    assert_eq!(api.world().changes.last().map(String::as_str), Some("step done"), "{at}: {text}");
                }
                _ => assert!(api.is_forgotten(), "{at}: {text}"),
            }
        }
    }
}

#[test]
fn what_may_have_been_used_is_kept_until_it_is_finished() {
    let api = Api::start(World { kept: true, ..World::new(3) });
    assert_eq!(api.restore(&["--confirm", "mysql", "--replicas-plan", "reclone"]).0, 0);
    let (code, text) = api.restores("abort");
    assert_eq!(code, 0, "{text}");
    // The others may be clones of what is withdrawn.
    assert!(text.contains("may have been written to") && text.contains("it had 3 and has 1"), "{text}");
    assert_eq!(api.world().replicas, 1, "{text}");
    assert!(api.world().maps.contains_key("back-steps"), "{text}");
    let (code, text) = api.restores("resume");
    assert!(code != 0 && text.contains("was"), "{text}");
    let before = api.world().changes.len();
    assert_eq!(api.restores("abort").0, 0);
    assert_eq!(api.world().changes.len(), before, "a second abort did something");
    let (code, text) = api.restores("finish");
    assert_eq!(code, 0, "{text}");
    assert!(api.is_forgotten() && api.world().replicas == 1, "{text}");
}

#[test]
fn where_somebody_else_goes_on_this_one_stops() {
    let api = Api::start(World { interfered: true, ..World::new(1) });
    let (code, text) = api.restore(&["--confirm", "mysql"]);
    assert!(code == 1 && text.contains("was gone on with by somebody else"), "{text}");
    assert_eq!(api.world().changes, THERE[..4], "{text}");
    let api = Api::start(World { scaled: Some(2), ..World::new(1) });
    let (code, text) = api.restore(&["--confirm", "mysql"]);
    assert!(code == 4 && text.contains("somebody scaled statefulset/mysql from 1 to 2"), "{text}");
    assert!(api.world().changes.is_empty(), "{text}");
}

#[test]
fn what_is_being_finished_is_not_turned_back() {
    let api = Api::start(World { failing: ["finish".to_owned()].into(), ..World::new(1) });
    assert_eq!(api.restore(&["--confirm", "mysql"]).0, 0);
    assert_eq!(api.restores("finish").0, 5);
    let before = api.world().changes.len();
    for verb in ["abort", "resume"] {
        let (code, text) = api.restores(verb);
        assert!(code != 0 && text.contains("is being finished"), "{verb}: {text}");
    }
    assert_eq!(api.world().changes.len(), before);
    api.world().failing.clear();
    let (code, text) = api.restores("finish");
    assert!(code == 0 && api.is_forgotten() && api.world().replicas == 1, "{text}");
}

#[test]
fn an_abort_that_has_nothing_to_do_scales_up_only_what_was_never_touched() {
    let nothing = json!({"event": "verdict", "result": "nothing", "message": "no restore in place"});
    let another = json!({"event": "verdict", "result": "refused", "code": "PITR0420", "message": "another plan"});
    // Whether the restore failed, and how many replicas abort finds then.
    for (verdict, fails, found, expected) in [
        (&nothing, true, 0, (0, 1)),
        (&nothing, false, 2, (5, 2)),
        (&nothing, false, 0, (5, 0)),
        (&another, true, 0, (5, 0)),
        (&another, false, 1, (5, 1)),
    ] {
        let failing = fails.then(|| "restore".to_owned()).into_iter().collect();
        let api = Api::start(World { idle: Some(verdict.clone()), failing, ..World::new(1) });
        assert_eq!(api.restore(&["--confirm", "mysql"]).0, if fails { 5 } else { 0 });
        api.world().failing.clear();
        api.world().replicas = found;
        let (code, text) = api.restores("abort");
        assert_eq!((code, api.world().replicas), expected, "{text}");
        let words = format!("has {found} replicas, as before this command; before the restore it had 1");
        assert!(text.contains(&words) == (code == 5) && api.is_forgotten(), "{text}");
    }
}

#[test]
fn a_job_of_another_restore_by_that_name_is_not_taken_for_its_own() {
    let labels = json!({"kubectl-pitr/component": "restore", "kubectl-pitr/restore": "back"});
    let job = json!({"metadata": {"name": "back-r2", "labels": labels, "creationTimestamp": "2026-11-21T09:00:00Z"},
        "spec": {"template": {"spec": {"containers": [{"name": "restore", "command": ["restore"]}]}}},
        "status": {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-21T08:00:00Z"}]}});
    let api = Api::start(World { jobs: [("back-r2".to_owned(), job.clone())].into(), ..World::new(1) });
    let (code, text) = api.restore(&["--confirm", "mysql"]);
    assert!(code == 4 && text.contains("job \"back-r2\" of a restore \"back\" exists"), "{text}");
    assert!(api.world().changes.is_empty(), "{text}");
    // Made when this one had begun already.
    let api = Api::start(World::new(1));
    kill_after(&api, &api.restore_words(&["--confirm", "mysql"]), 3);
    api.world().jobs.insert("back-r2".to_owned(), job);
    assert_eq!(api.restores("resume").0, 0);
    let changes = api.world().changes.clone();
    assert!(changes.iter().any(|change| change == "make job back"), "the other one's was taken: {changes:?}");
    assert_eq!(api.restores("finish").0, 0);
    assert!(api.world().jobs.keys().eq(["back-r2"]), "the other one's went too");
}

#[test]
fn a_finish_that_was_refused_can_be_turned_back_still() {
    let api = Api::start(World { refusing: true, ..World::new(1) });
    assert_eq!(api.restore(&["--confirm", "mysql"]).0, 0);
    let (code, text) = api.restores("finish");
    assert!(code == 5 && text.contains("what was restored is kept here"), "{text}");
    assert_eq!(api.world().changes.last().map(String::as_str), Some("step done"), "{text}");
    let (code, text) = api.restores("abort");
    assert_eq!(code, 0, "{text}");
    assert!(api.is_forgotten() && api.world().replicas == 1, "{text}");
}

/// Runs a command until it has made so many more changes, and kills it before it is answered.
fn kill_after(api: &Api, words: &[&str], changes: usize) {
    let all = api.world().changes.len() + changes;
    api.world().silent_after = Some(all - 1);
    let mut child = api.command(words);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while api.world().changes.len() < all {
        assert!(child.try_wait().unwrap().is_none(), "it ended before change {changes}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    api.world().silent_after = None;
}

#[test]
fn an_abort_that_is_killed_goes_on_and_stops_the_workload_once() {
    const BACK: [&str; 6] =
        ["step aborting", "scale 0", "make job back-abort", "step scaling-back", "scale 1", "step aborted"];
    for (kept, count) in [true, false].into_iter().flat_map(|kept| (1..=BACK.len()).map(move |count| (kept, count))) {
        let api = Api::start(World { kept, ..World::new(1) });
        assert_eq!(api.restore(&["--confirm", "mysql"]).0, 0);
        kill_after(&api, &["restores", "abort", "back", "--confirm", "mysql"], count);
        let at = format!("kept {kept}, after {:?}", api.world().changes.last());
        let (code, text) = api.restores("abort");
        assert_eq!((code, api.world().replicas), (0, 1), "{at}: {text}");
        assert_eq!(api.is_forgotten(), !kept, "{at}: {text}");
        let world = api.world();
        assert_eq!(world.changes.iter().filter(|change| *change == "scale 0").count(), 2, "{at}: {:?}", world.changes);
        if kept && count == BACK.len() {
            assert_eq!(world.changes[THERE.len()..], BACK, "{at}");
        }
    }
}

#[test]
fn what_has_no_job_yet_or_no_more_is_listed_too() {
    let api = Api::start(World::new(1));
    kill_after(&api, &api.restore_words(&["--confirm", "mysql"]), 3);
    let (code, text) = told(&api.command(&["restores", "--no-headers"]).output().unwrap());
    assert_eq!(code, 0, "{text}");
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        words,
        ["back", "mysql", "latest", "-", "-", "scaling", "down;", "in", "place", "data-mysql-0"],
        "{text}"
    );
    assert_eq!(api.restores("resume").0, 0);
    let (_, text) = told(&api.command(&["restores"]).output().unwrap());
    assert!(text.contains("; in place; in use"), "{text}");
}

#[test]
fn attach_changes_nothing_and_what_stops_a_workload_is_asked_for() {
    let api = Api::start(World { failing: ["restore".to_owned()].into(), ..World::new(1) });
    assert_eq!(api.restore(&["--confirm", "mysql"]).0, 5);
    let before = api.world().changes.len();
    assert_eq!(api.restores("attach").0, 5);
    assert_eq!(api.world().changes.len(), before);
    // Somebody scaled it up since.
    api.world().replicas = 1;
    let (code, text) = told(&api.command(&["restores", "resume", "back"]).output().unwrap());
    assert!(code == 4 && text.contains("--confirm mysql is required"), "{text}");
    assert_eq!(api.world().changes.len(), before);
}

#[test]
fn verbs_for_volumes_of_their_own_leave_it_alone() {
    let api = Api::start(World::new(1));
    assert_eq!(api.restore(&["--confirm", "mysql"]).0, 0);
    let before = api.world().changes.len();
    for verb in ["serve", "statefulset"] {
        let (code, text) = told(&api.command(&["restores", verb, "back"]).output().unwrap());
        assert!(code == 2 && text.contains("is in place"), "{text}");
    }
    let prune = ["restores", "prune", "--older-than", "0s", "--with-volumes", "--confirm", "shop"];
    let (code, text) = told(&api.command(&prune).output().unwrap());
    assert!(code == 0 && text.contains("\"back\" stays: it is in place"), "{text}");
    let plan = api.plan.path().to_str().unwrap();
    let other = ["restore", "mysql", "--in-place", "--new-name", "other", "--plan-file", plan, "--confirm", "mysql"];
    let (code, text) = told(&api.command(&other).output().unwrap());
    assert!(code == 4 && text.contains("restore \"back\" of mysql in place is not finished"), "{text}");
    // Its Job may have been deleted since: its steps tell of it.
    api.world().jobs.clear();
    let (code, text) = told(&api.command(&other).output().unwrap());
    assert!(code == 4 && text.contains("restore \"back\" of mysql in place is not finished"), "{text}");
    assert_eq!(api.world().changes.len(), before);
}

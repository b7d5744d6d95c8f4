//! Jobs as they reach the API server: what `--via=job` makes, reads and deletes, and what `--overrides` changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::api::{program, refusal, start, told};

const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";
const SETS: &str = "/apis/apps/v1/namespaces/shop/statefulsets";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What the Job does with a question.
#[derive(Clone)]
enum End {
    /// Whether it is what was asked for, and the document.
    Answers(fn(&str) -> (bool, Value)),
    Fails,
    Never,
}

/// A workload whose name begins like this one cannot be read: its Job is not made.
const BROKEN: &str = "broken";

/// Workloads whose pods are all gone, and what was asked of the API server.
#[derive(Clone)]
struct Shop {
    address: String,
    made: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Shop {
    /// `forbidden`: what may not be done, such as `delete jobs`.
    fn open(end: End, forbidden: &'static [&'static str]) -> Self {
        let made = Arc::new(Mutex::new(Vec::<Value>::new()));
        let asked = Arc::new(Mutex::new(Vec::<String>::new()));
        let (jobs, log) = (Arc::clone(&made), Arc::clone(&asked));
        let address = start(move |method, target, body| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            log.lock().unwrap().push(format!("{method} {path}"));
            let made = jobs.lock().unwrap().last().cloned();
            match (method, path) {
                ("POST", ACCESS) => {
                    let wanted = &body["spec"]["resourceAttributes"];
                    let words =
                        format!("{} {}", wanted["verb"].as_str().unwrap(), wanted["resource"].as_str().unwrap());
                    let mut review = body.clone();
                    review["status"] = json!({"allowed": !forbidden.contains(&words.as_str())});
                    (201, review)
                }
                ("POST", JOBS) if body["metadata"]["labels"]["kubectl-pitr/workload"] == BROKEN => {
                    refusal(500, "InternalError")
                }
                ("POST", JOBS) => {
                    jobs.lock().unwrap().push(body.clone());
                    (201, body.clone())
                }
                ("DELETE", _) => (200, json!({"kind": "Status", "status": "Success"})),
                ("GET", "/api/v1/namespaces/shop/pods") if query.contains("job-name") => pods(&end),
                ("GET", "/api/v1/namespaces/shop/pods/reader/log") => (200, line(&end, &made.unwrap())),
                ("GET", path) if path.starts_with(JOBS) => (200, with_end(made.unwrap(), &end)),
                ("GET", SETS) if query.contains("labelSelector") => {
                    let count = if query.contains("two") { 1 } else { 20 };
                    let many = (0..count).map(|n| set(&format!("db{n:02}")));
                    let broken = query.contains("two").then(|| set(BROKEN));
                    (200, list("StatefulSetList", &many.chain(broken).collect::<Vec<_>>()))
                }
                ("GET", path) => thing(path).map_or_else(|| refusal(404, "NotFound"), |thing| (200, thing)),
                _ => refusal(404, "NotFound"),
            }
        });
        Self { address, made, asked }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = program(words);
        command.args(["-n", "shop", "--server", &self.address]);
        command
    }

    /// Exit code, stdout and stderr of a command, and the Jobs that it made, all of which are deleted.
    fn run(&self, words: &[&str]) -> ((i32, String, String), Vec<Value>) {
        let told = told(&self.command(words).output().unwrap());
        (told, self.jobs())
    }

    fn jobs(&self) -> Vec<Value> {
        let made = self.made.lock().unwrap().clone();
        let asked = self.asked.lock().unwrap();
        for job in &made {
            let deleted = format!("DELETE {JOBS}/{}", job["metadata"]["name"].as_str().unwrap());
            assert!(asked.contains(&deleted), "no {deleted} in {asked:#?}");
        }
        made
    }
}

fn list(kind: &str, items: &[Value]) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {}, "items": items})
}

fn set(name: &str) -> Value {
    let sidecar =
        json!({"name": "pitr", "image": "pitr-sidecar:test", "securityContext": {"runAsUser": 999, "runAsGroup": 999}});
    let pod = json!({"containers": [{"name": "mysql", "image": "mysql:9.7"}, sidecar],
        "volumes": [{"name": "pitr-s3", "secret": {"secretName": "pitr-s3"}}]});
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 0, "serviceName": name, "selector": {}, "template": {"spec": pod}}})
}

/// The objects of the shop.
fn thing(path: &str) -> Option<Value> {
    if let Some(name) = path.strip_prefix("/apis/apps/v1/namespaces/shop/statefulsets/") {
        return Some(set(name));
    }
    if let Some(name) = path.strip_prefix("/api/v1/namespaces/shop/configmaps/pitr-") {
        let config = format!("archive: s3://backups/shop/{name}\ns3: {{region: eu-west-1}}\n");
        return Some(json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("pitr-{name}")},
            "data": {"config.yaml": config}}));
    }
    Some(match path {
        SETS => list("StatefulSetList", &[set("mysql")]),
        "/api/v1/namespaces/shop/pods" => list("PodList", &[]),
        _ => return None,
    })
}

fn with_end(mut job: Value, end: &End) -> Value {
    let kind = match end {
        End::Answers(_) => "Complete",
        End::Fails => "Failed",
        End::Never => return job,
    };
    job["status"] = json!({"conditions": [{"type": kind, "status": "True"}]});
    job
}

fn pods(end: &End) -> (u16, Value) {
    let state = match end {
        End::Answers(_) => json!({"terminated": {"exitCode": 0}}),
        End::Fails => json!({"terminated": {"exitCode": 2, "message": "unexpected argument '--in-log' found"}}),
        End::Never => json!({"waiting": {"reason": "ContainerCreating"}}),
    };
    let status =
        json!({"name": "inspect", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let pod = json!({"metadata": {"name": "reader", "namespace": "shop"}, "status": {"containerStatuses": [status]}});
    (200, json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]}))
}

/// The one line of the Job's log.
fn line(end: &End, job: &Value) -> Value {
    let End::Answers(answer) = end else { return json!({"level": "ERROR"}) };
    let path = job["spec"]["template"]["spec"]["containers"][0]["args"][1].as_str().unwrap();
    let (ok, document) = answer(path);
    json!({"apiVersion": "kubectl-pitr/v1", "kind": "Answer", "schemaVersion": 1, "ok": ok, "body": document.to_string()})
}

fn backup(id: &str) -> Value {
    json!({"id": id, "method": "clone", "flavour": "mysql", "serverVersion": "9.7.0", "usable": true, "storedBytes": 1 << 20,
        "consistentAt": "2026-11-21T02:00:10Z", "reachesTo": "2026-11-21T07:30:18Z"})
}

fn archive(path: &str) -> (bool, Value) {
    (
        true,
        match path {
            "/v1/backups" => json!({"kind": "BackupList", "items": [backup("bb-2")], "next": "bb-2"}),
            "/v1/backups?cursor=bb-2" => json!({"kind": "BackupList", "items": [backup("bb-1")]}),
            "/v1/status" => json!({"kind": "Status", "archive": "s3://backups/shop/mysql", "server": "MySQL 9.7.0",
            "windows": {"items": [{"branch": "br-1", "live": true, "from": "2026-11-14T02:00:10Z", "to": "2026-11-21T07:30:18Z"}]},
            "backups": {"items": [backup("bb-2")]}, "verify": {"checksumsAt": "2026-11-21T01:12:00Z"}}),
            _ => {
                return (
                    false,
                    json!({"kind": "Error", "code": "PITR0302", "message": "there is no base backup", "exit": 4,
            "hint": "binlogs alone restore nothing", "fix": "pitr-sidecar backup"}),
                );
            }
        },
    )
}

#[test]
fn a_list_is_read_by_a_job_page_by_page() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let ((code, out, errors), jobs) = shop.run(&["backups", "mysql", "--via=job", "--no-headers"]);
    assert_eq!(code, 0, "{errors}");
    let ids: Vec<_> = out.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(ids, ["bb-2", "bb-1"], "{out}");
    assert_eq!(jobs.len(), 2, "{jobs:#?}");
    let (meta, pod) = (&jobs[0]["metadata"], &jobs[0]["spec"]["template"]["spec"]);
    assert_eq!(meta["labels"]["kubectl-pitr/component"], "inspect");
    assert_eq!(
        (&pod["containers"][0]["image"], &pod["volumes"][0]["secret"]["secretName"]),
        (&"pitr-sidecar:test".into(), &"pitr-s3".into())
    );
    assert!(
        errors.contains(meta["name"].as_str().unwrap()) && errors.contains("deleted when it has answered"),
        "{errors}"
    );
    assert!(!shop.asked.lock().unwrap().iter().any(|asked| asked.contains("portforward")), "a sidecar was asked");
}

#[test]
fn a_status_without_any_pod() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let ((code, out, errors), jobs) = shop.run(&["status", "mysql", "--via=job"]);
    assert_eq!((code, jobs.len()), (0, 1), "{errors}");
    assert!(out.contains("MySQL 9.7.0   s3://backups/shop/mysql"), "{out}");
    assert!(out.contains("Recoverable  2026-11-14T02:00:10Z .. 2026-11-21T07:30:18Z"), "{out}");
    assert!(out.contains("kubectl pitr restore mysql -n shop --via=job --to 2026-11-21T07:30:18Z"), "{out}");
}

#[test]
fn what_the_archive_refuses_is_the_error() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let ((code, _, errors), jobs) =
        shop.run(&["restore", "mysql", "--to", "latest", "--plan", "--via=job", "--secret", "reader"]);
    assert_eq!(code, 4, "{errors}");
    assert!(
        errors.contains("error[PITR0302]: there is no base backup")
            && errors.contains("kubectl pitr backup mysql -n shop"),
        "{errors}"
    );
    let pod = &jobs[0]["spec"]["template"]["spec"];
    let data = pod["containers"][0]["args"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(data.starts_with("--data={") && data.contains("latest"), "{data}");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "reader", "what is chosen for Jobs is chosen for this one");
}

#[test]
fn nobody_gets_a_job_unasked() {
    let shop = Shop::open(End::Answers(archive), &[]);
    for words in [
        &["backups", "mysql"][..],
        &["binlogs", "mysql"],
        &["restore", "mysql", "--to", "latest", "--plan"],
        &["timeline", "mysql"],
    ] {
        let ((code, _, errors), jobs) = shop.run(words);
        assert_eq!((code, jobs.len()), (1, 0), "{words:?}: {errors}");
        assert!(errors.contains("[PITR0702]") && errors.contains("--via=job"), "{words:?}: {errors}");
    }
    for words in [
        &["check", "mysql", "--via=job"][..],
        &["status", "-w", "--via=job"],
        &["backups", "-w", "--via=job"],
        &["binlogs", "-w", "--archive", "file:///x"],
    ] {
        let ((code, _, errors), jobs) = shop.run(words);
        assert_eq!((code, jobs.len()), (2, 0), "{words:?}: {errors}");
    }
}

#[test]
fn missing_rights_are_told_before_anything_is_made() {
    let shop = Shop::open(End::Answers(archive), &["create jobs", "delete jobs"]);
    let ((code, _, errors), jobs) = shop.run(&["backups", "mysql", "--via=job"]);
    assert_eq!((code, jobs.len()), (7, 0), "{errors}");
    assert!(errors.contains("[PITR0701]") && errors.contains("create jobs.batch, delete jobs.batch"), "{errors}");
}

#[test]
fn a_job_that_gives_no_answer_says_why_and_goes() {
    let shop = Shop::open(End::Fails, &[]);
    let ((code, _, errors), jobs) = shop.run(&["binlogs", "mysql", "--via=job"]);
    assert_eq!((code, jobs.len()), (1, 1), "{errors}");
    assert!(errors.contains("gave no answer: container \"inspect\" ended with 2: unexpected argument"), "{errors}");
}

#[test]
fn ctrl_c_leaves_no_job_behind() {
    let shop = Shop::open(End::Never, &[]);
    let child =
        shop.command(&["backups", "mysql", "--via=job"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // It waits once it has looked at the Job.
    while !shop.asked.lock().unwrap().iter().any(|asked| asked.starts_with(&format!("GET {JOBS}/"))) {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", shop.asked);
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, _, errors) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, shop.jobs().len()), (130, 1), "{errors}");
}

#[test]
fn ctrl_c_ends_all_that_are_read_and_begins_no_other() {
    let shop = Shop::open(End::Never, &[]);
    let words = ["backups", "-l", "many", "--via=job"];
    let child = shop.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    // Twenty are to be read, sixteen at once.
    while shop.made.lock().unwrap().len() < 16 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", shop.asked);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (code, out, errors) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, shop.jobs().len(), out.as_str()), (130, 16, ""), "{errors}");
}

#[test]
fn a_workload_whose_archive_cannot_be_read_is_a_row_of_which_nothing_is_known() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let ((code, out, errors), jobs) = shop.run(&["status", "-l", "two", "--via=job", "--exit-code"]);
    assert_eq!((code, jobs.len()), (3, 1), "{out}{errors}");
    let row = out.lines().find(|line| line.contains(BROKEN)).unwrap_or_else(|| panic!("{out}"));
    assert!(row.contains("UNKNOWN") && !row.contains('0') && out.contains("db00"), "{out}");
    assert!(errors.contains("warning[PITR0704]: statefulset/broken in namespace \"shop\": "), "{errors}");
    // It may have been made, and only its answer was lost.
    let asked = shop.asked.lock().unwrap();
    let deleted = format!("DELETE {JOBS}/pitr-inspect-{BROKEN}-");
    assert!(asked.iter().any(|asked| asked.starts_with(&deleted)), "{asked:#?}");
}

/// At a terminal, which `script` is.
fn at_a_terminal(shop: &Shop, words: &str, typed: &str) -> (i32, String) {
    let line = format!("{} {words} -n shop --server {}", env!("CARGO_BIN_EXE_kubectl-pitr"), shop.address);
    let mut command = Command::new("script");
    command
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C.UTF-8");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let (code, out, _) = told(&child.wait_with_output().unwrap());
    (code, out)
}

#[test]
fn whoever_sits_there_is_asked_once() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let (code, out) = at_a_terminal(&shop, "backups mysql", "y\n");
    assert_eq!(code, 0, "{out}");
    assert!(out.matches("[y/N]").count() == 1 && out.contains("bb-2") && out.contains("bb-1"), "{out}");
    assert_eq!(shop.jobs().len(), 2);
    let shop = Shop::open(End::Answers(archive), &[]);
    let (code, out) = at_a_terminal(&shop, "backups mysql", "n\n");
    assert!(code == 1 && out.contains("PITR0702") && shop.jobs().is_empty(), "{code}: {out}");
    let failing = Shop::open(End::Fails, &[]);
    let (code, out) = at_a_terminal(&failing, "status mysql", "y\n");
    assert!(code == 1 && out.contains("UNKNOWN") && out.contains("warning[PITR0704]"), "{code}: {out}");
    let (code, out) = at_a_terminal(&shop, "status mysql", "y\n");
    assert!(code == 0 && out.contains("Recoverable  2026-11-14T02:00:10Z") && shop.jobs().len() == 1, "{code}: {out}");
}

#[test]
fn a_job_is_made_with_what_is_laid_over_it() {
    let shop = Shop::open(End::Answers(archive), &[]);
    let wanted = r#"{"spec":{"template":{"spec":{"priorityClassName":"low","containers":[{"name":"verify","resources":{"limits":{"memory":"1Gi"}}}]}}}}"#;
    let words = ["verify", "mysql", "--wait=false", "--identity-secret", "age", "--overrides", wanted];
    let (code, _, errors) = told(&shop.command(&words).output().unwrap());
    let made = shop.made.lock().unwrap().clone();
    assert_eq!((code, made.len()), (0, 1), "{errors}");
    let pod = &made[0]["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["priorityClassName"], &pod["containers"][0]["resources"]["limits"]["memory"]),
        (&"low".into(), &"1Gi".into())
    );
    assert!(pod["volumes"].to_string().contains(r#""secretName":"age""#), "{pod}");
    for (words, wanted) in [
        (["--overrides", r#"{"spec":{"templat":{"a":1}}}"#], "spec.templat"),
        (["--overrides", "[]"], "not a JSON object"),
        (
            ["--overrides", r#"{"spec":{"template":{"spec":{"containers":[{"name":"verify","args":["prune"]}]}}}}"#],
            "cannot change",
        ),
    ] {
        let (code, _, errors) = told(&shop.command(&[&["verify", "mysql"][..], &words].concat()).output().unwrap());
        assert!(code == 2 && errors.contains(wanted), "{code}: {errors}");
    }
    assert_eq!(shop.made.lock().unwrap().len(), 1);
}

//! `inject --live` against an API server that keeps one StatefulSet and restarts its pods as a controller does: which pods get a
//! change, in which order, and what is left where it fails or is broken off.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kubectl_pitr::inject::tree;
use serde_json::{Value, json};
use support::manifest;

const GOOD: &str = "registry/pitr-sidecar:1";
const BETTER: &str = "registry/pitr-sidecar:2";
/// No node can pull it.
const BAD: &str = "registry/pitr-sidecar:bad";
const REMEMBERED: &str = "kubectl-pitr/partition-before";

/// One StatefulSet, its pods and its ConfigMap.
struct World {
    set: Value,
    /// Each template that there ever was: a revision is its place.
    templates: Vec<Value>,
    /// The revision of each pod.
    pods: Vec<usize>,
    map: Option<Value>,
    /// Pods that never archive.
    stuck: BTreeSet<usize>,
    /// What the partition was set to, one after the other.
    partitions: Vec<i64>,
}

impl World {
    fn new(partition: i64) -> Self {
        let text = manifest("mysql.yaml");
        let documents = tree::parse(&text).unwrap();
        let mut set = documents.into_iter().map(|d| d.value).find(|v| v["kind"] == "StatefulSet").unwrap();
        set["metadata"]["generation"] = 1.into();
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
        let templates = vec![set["spec"]["template"].clone()];
        Self { set, templates, pods: vec![0; 3], map: None, stuck: BTreeSet::new(), partitions: Vec::new() }
    }

    fn partition(&self) -> i64 {
        self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap()
    }

    fn remembered(&self) -> Option<&str> {
        self.set["metadata"]["annotations"][REMEMBERED].as_str()
    }

    /// The image of the sidecar in the template, or in a pod.
    fn image(template: &Value) -> Option<String> {
        let of = |list: &str| template["spec"][list].as_array().cloned().unwrap_or_default();
        let ours = of("initContainers").into_iter().find(|c| c["name"] == "pitr")?;
        Some(ours["image"].as_str().unwrap().to_owned())
    }

    fn images(&self) -> Vec<Option<String>> {
        self.pods.iter().map(|revision| Self::image(&self.templates[*revision])).collect()
    }

    /// Server-side apply by the one manager: its entries are those of the patch, and no others.
    fn applied(&self, patch: &Value) -> Value {
        let mut set = self.set.clone();
        let template = &mut set["spec"]["template"];
        for (list, names) in [("initContainers", &["pitr"][..]), ("volumes", &["pitr-config", "pitr-s3"])] {
            let mut items = template["spec"][list].as_array().cloned().unwrap_or_default();
            items.retain(|item| !names.contains(&item["name"].as_str().unwrap()));
            items.extend(patch["spec"]["template"]["spec"][list].as_array().into_iter().flatten().cloned());
            template["spec"][list] = items.into();
        }
        for (parent, key) in [("labels", "kubectl-pitr/workload"), ("annotations", "kubectl-pitr/config-hash")] {
            template["metadata"][parent][key] = patch["spec"]["template"]["metadata"][parent][key].clone();
        }
        set
    }

    fn change(&mut self, patch: &Value) {
        let partition = &patch["spec"]["updateStrategy"]["rollingUpdate"]["partition"];
        if let Some(partition) = partition.as_i64() {
            self.partitions.push(partition);
            self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.into();
            self.set["metadata"]["annotations"][REMEMBERED] = patch["metadata"]["annotations"][REMEMBERED].clone();
        } else {
            self.set = self.applied(patch);
        }
        self.set["metadata"]["generation"] = (self.set["metadata"]["generation"].as_i64().unwrap() + 1).into();
        let template = self.set["spec"]["template"].clone();
        if !self.templates.contains(&template) {
            self.templates.push(template);
        }
        self.progress();
    }

    /// The controller's next step: from the last pod down to the partition, and never behind one that is not ready.
    fn progress(&mut self) {
        let revision = self.revision();
        for index in (usize::try_from(self.partition()).unwrap().min(3)..3).rev() {
            self.pods[index] = revision;
            if !self.is_ready(index) {
                return;
            }
        }
    }

    fn is_ready(&self, index: usize) -> bool {
        Self::image(&self.templates[self.pods[index]]).is_none() || self.archives(index)
    }

    fn revision(&self) -> usize {
        self.templates.iter().position(|t| *t == self.set["spec"]["template"]).unwrap()
    }

    fn object(&self) -> Value {
        let mut set = self.set.clone();
        set["metadata"]["annotations"].as_object_mut().into_iter().for_each(|a| a.retain(|_, v| !v.is_null()));
        set["spec"]["template"]["metadata"]["annotations"]
            .as_object_mut()
            .into_iter()
            .for_each(|a| a.retain(|_, v| !v.is_null()));
        set["spec"]["template"]["metadata"]["labels"].as_object_mut().unwrap().retain(|_, v| !v.is_null());
        set["status"] = json!({"replicas": 3, "observedGeneration": set["metadata"]["generation"],
            "updateRevision": format!("mysql-{}", self.revision())});
        set
    }

    fn archives(&self, index: usize) -> bool {
        let image = Self::image(&self.templates[self.pods[index]]);
        image.is_some_and(|image| image != BAD) && !self.stuck.contains(&index)
    }

    fn pod(&self, index: usize) -> Value {
        let template = &self.templates[self.pods[index]];
        let ready = if self.is_ready(index) { "True" } else { "False" };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("mysql-{index}"), "namespace": "shop",
            "labels": {"controller-revision-hash": format!("mysql-{}", self.pods[index])},
            "ownerReferences": [{"kind": "StatefulSet", "name": "mysql", "apiVersion": "apps/v1", "uid": "u"}]},
            "spec": template["spec"], "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    /// Status and body.
    fn answer(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        self.progress();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let dry = query.contains("dryRun=All");
        let absent =
            (404, json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": "no"}));
        match (method, path.trim_start_matches("/api/v1/namespaces/shop/")) {
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
                let mut review = body.clone();
                review["status"] = json!({"allowed": true});
                (201, review)
            }
            ("GET", "/apis/apps/v1/namespaces/shop/statefulsets/mysql") => (200, self.object()),
            ("PATCH", "/apis/apps/v1/namespaces/shop/statefulsets/mysql") => {
                if !dry {
                    self.change(body);
                }
                (200, self.object())
            }
            ("GET", "pods") => (
                200,
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {},
                "items": (0..3).map(|index| self.pod(index)).collect::<Vec<_>>()}),
            ),
            ("GET", "configmaps/pitr-mysql") => self.map.clone().map_or(absent, |map| (200, map)),
            ("PATCH", "configmaps/pitr-mysql") => {
                if !dry {
                    self.map = Some(body.clone());
                }
                (200, body.clone())
            }
            ("DELETE", "configmaps/pitr-mysql") => {
                self.map = None;
                (200, json!({"kind": "Status"}))
            }
            ("GET", other) => match other.strip_prefix("pods/mysql-") {
                Some(index) if index.len() == 1 => (200, self.pod(index.parse().unwrap())),
                Some(log) if log.ends_with("/log") && self.archives(log[..1].parse().unwrap()) => (
                    200,
                    json!({"ts": jiff::Timestamp::now().to_string(), "event": "heartbeat", "state": "ok",
                        "active": {"binlog": "b.1", "positionBytes": 9, "shippedBytes": 9}}),
                ),
                _ => absent,
            },
            _ => absent,
        }
    }
}

/// The server, as long as the test runs.
struct Api {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Api {
    fn start(world: World) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { address, world }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The partition, the one that is to come back, and each pod's image of the sidecar.
    fn standing(&self) -> (i64, Option<String>, Vec<Option<String>>) {
        let world = self.world();
        (world.partition(), world.remembered().map(str::to_owned), world.images())
    }

    fn command(&self, image: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-pitr"));
        command
            .args([
                "inject",
                "mysql",
                "-n",
                "shop",
                "--live",
                "--mode",
                "native",
                "--confirm",
                "mysql",
                "--image",
                image,
            ])
            .args([
                "--archive",
                "s3://b/shop/mysql",
                "--secret",
                "pitr-s3",
                "--server",
                &format!("http://{}", self.address),
            ])
            .args(more)
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent");
        command
    }

    /// Exit code and stderr.
    fn inject(&self, image: &str, more: &[&str]) -> (i32, String) {
        told(&self.command(image, more).output().unwrap())
    }
}

fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn serve(stream: &TcpStream, world: &Mutex<World>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream.try_clone().unwrap();
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let (mut length, mut header) = (0, String::new());
        while reader.read_line(&mut header).is_ok_and(|read| read > 2) {
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            header.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        let mut words = request.split(' ');
        let (status, answer) = world.lock().unwrap().answer(words.next().unwrap(), words.next().unwrap(), &body);
        let text = answer.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", text.len());
        if out.write_all(head.as_bytes()).and_then(|()| out.write_all(text.as_bytes())).is_err() {
            return;
        }
    }
}

fn all(image: &str) -> Vec<Option<String>> {
    vec![Some(image.to_owned()); 3]
}

#[test]
fn the_last_pod_goes_first_and_the_others_follow() {
    let api = Api::start(World::new(0));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), &world.partitions, world.remembered()), (all(GOOD), &vec![2, 0], None), "{text}");
}

#[test]
fn an_upgrade_that_cannot_start_is_taken_back_to_what_ran_before() {
    let api = Api::start(World::new(0));
    assert_eq!(api.inject(GOOD, &[]).0, 0);
    let map = api.world().map.clone().unwrap();
    api.world().partitions.clear();
    // Every pod archives, with the old image: none of that says anything about the new one.
    let (code, text) = api.inject(BAD, &["--timeout", "1s", "--retention", "30d"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("error[PITR0208]: mysql-2 does not archive"), "{text}");
    let world = api.world();
    assert_eq!(world.images(), all(GOOD), "{text}");
    assert_eq!((&world.partitions, world.remembered()), (&vec![2, 0], None), "{text}");
    assert_eq!(world.templates.len(), 3, "the template of before, not one like it: {text}");
    assert_eq!(world.map.as_ref().unwrap()["data"], map["data"]);
    assert!(world.pods[..2].iter().all(|revision| *revision == 1), "{:?}", world.pods);
}

#[test]
fn a_later_pod_that_does_not_archive_stops_the_rollout_which_then_goes_on() {
    let mut world = World::new(0);
    world.stuck.insert(1);
    let api = Api::start(world);
    let (code, text) = api.inject(GOOD, &["--timeout", "1s"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("mysql-1 does not archive") && text.contains("held back by partition 1"), "{text}");
    assert_eq!(api.standing(), (1, Some("0".to_owned()), vec![None, Some(GOOD.to_owned()), Some(GOOD.to_owned())]));
    api.world().stuck.clear();
    let (code, text) = api.inject(BETTER, &["--timeout", "10s"]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.partition(), world.remembered()), (all(BETTER), 0, None), "{text}");
}

#[test]
fn pods_that_their_owner_holds_back_stay_as_they_are() {
    let api = Api::start(World::new(3));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("its partition 3 holds every pod back"), "{text}");
    assert_eq!(api.standing(), (3, None, vec![None; 3]));
    let api = Api::start(World::new(1));
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!(
        (&world.partitions, world.images()[0].as_ref(), world.images()[1].as_deref()),
        (&vec![2, 1], None, Some(GOOD))
    );
}

#[test]
fn a_rollout_that_is_broken_off_holds_back_and_goes_on_with_the_same_command() {
    let mut world = World::new(0);
    world.stuck.insert(2);
    let api = Api::start(world);
    let child = api.command(GOOD, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while api.world().pods[2] == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let (code, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{text}");
    assert!(text.contains("statefulset/mysql is held back by its partition"), "{text}");
    assert_eq!(api.standing(), (2, Some("0".to_owned()), vec![None, None, Some(GOOD.to_owned())]));
    api.world().stuck.clear();
    let (code, text) = api.inject(GOOD, &[]);
    assert_eq!(code, 0, "{text}");
    let world = api.world();
    assert_eq!((world.images(), world.partition(), world.remembered()), (all(GOOD), 0, None), "{text}");
}

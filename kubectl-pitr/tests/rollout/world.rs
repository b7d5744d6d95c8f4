//! An API server that keeps one StatefulSet and restarts its pods as a controller does.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, MutexGuard};

use kubectl_pitr::inject::tree;
use serde_json::{Value, json};

use crate::support::api::start;
use crate::support::manifest;

pub(crate) const GOOD: &str = "registry/pitr-sidecar:1";
pub(crate) const BETTER: &str = "registry/pitr-sidecar:2";
/// No node can pull it.
pub(crate) const BAD: &str = "registry/pitr-sidecar:bad";
pub(crate) const REMEMBERED: &str = "kubectl-pitr/partition-before";
pub(crate) const BEFORE: &str = "kubectl-pitr/injection-before";
pub(crate) const READY_SINCE: &str = "2026-11-21T07:00:00Z";

/// One StatefulSet, its pods and its ConfigMap.
pub(crate) struct World {
    pub(crate) set: Value,
    /// Each template that there ever was: a revision is its place.
    pub(crate) templates: Vec<Value>,
    /// The revision of each pod.
    pub(crate) pods: Vec<usize>,
    pub(crate) map: Option<Value>,
    /// Nobody may read it.
    pub(crate) is_map_hidden: bool,
    /// Requests that changed something.
    pub(crate) changes: usize,
    /// No pod is replaced while any is not ready, as where the StatefulSet starts pods in their order.
    pub(crate) waits_for_pods: bool,
    /// Pods that never archive, and are not ready either.
    pub(crate) stuck: BTreeSet<usize>,
    /// Pods that are ready, and whose sidecar archives nothing.
    pub(crate) mute: BTreeSet<usize>,
    /// Pods whose sidecar has said nothing since they became ready.
    pub(crate) silent: BTreeSet<usize>,
    /// The Secret that the sidecar mounts is there, as far as anybody may look.
    pub(crate) has_secret: Option<bool>,
    /// What the partition was set to, one after the other.
    pub(crate) partitions: Vec<i64>,
}

impl World {
    pub(crate) fn new(partition: i64) -> Self {
        let text = manifest("mysql.yaml");
        let documents = tree::parse(&text).unwrap();
        let mut set = documents.into_iter().map(|d| d.value).find(|v| v["kind"] == "StatefulSet").unwrap();
        set["metadata"]["generation"] = 1.into();
        set["spec"]["updateStrategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}});
        let templates = vec![set["spec"]["template"].clone()];
        let (stuck, mute, silent) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (pods, partitions) = (vec![0; 3], Vec::new());
        Self {
            set,
            templates,
            pods,
            map: None,
            is_map_hidden: false,
            changes: 0,
            waits_for_pods: false,
            stuck,
            mute,
            silent,
            has_secret: Some(true),
            partitions,
        }
    }

    pub(crate) fn partition(&self) -> i64 {
        self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap()
    }

    pub(crate) fn remembered(&self) -> Option<&str> {
        self.set["metadata"]["annotations"][REMEMBERED].as_str()
    }

    /// The image of the sidecar in the template, or in a pod.
    pub(crate) fn image(template: &Value) -> Option<String> {
        let of = |list: &str| template["spec"][list].as_array().cloned().unwrap_or_default();
        let ours = of("initContainers").into_iter().find(|c| c["name"] == "pitr")?;
        Some(ours["image"].as_str().unwrap().to_owned())
    }

    pub(crate) fn images(&self) -> Vec<Option<String>> {
        self.pods.iter().map(|revision| Self::image(&self.templates[*revision])).collect()
    }

    /// Server-side apply by the one manager: its entries are those of the patch, and no others.
    pub(crate) fn applied(&self, patch: &Value) -> Value {
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

    /// A patch that applies names its kind; the others merge.
    pub(crate) fn change(&mut self, patch: &Value) {
        self.changes += 1;
        if patch["kind"].is_string() {
            self.set = self.applied(patch);
        }
        for (key, value) in patch["spec"]["template"]["metadata"]["annotations"].as_object().into_iter().flatten() {
            self.set["spec"]["template"]["metadata"]["annotations"][key] = value.clone();
        }
        for (key, value) in patch["metadata"]["annotations"].as_object().into_iter().flatten() {
            self.set["metadata"]["annotations"][key] = value.clone();
        }
        if let Some(partition) = patch["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64() {
            self.partitions.push(partition);
            self.set["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.into();
        }
        self.set["metadata"]["generation"] = (self.set["metadata"]["generation"].as_i64().unwrap() + 1).into();
        let template = self.set["spec"]["template"].clone();
        if !self.templates.contains(&template) {
            self.templates.push(template);
        }
        self.progress();
    }

    /// The controller's next step: from the last pod down to the partition, and never behind one that is not ready.
    pub(crate) fn progress(&mut self) {
        let revision = self.revision();
        for index in (usize::try_from(self.partition()).unwrap().min(3)..3).rev() {
            if self.waits_for_pods && !(0..3).all(|index| self.is_ready(index)) {
                return;
            }
            self.pods[index] = revision;
            if !self.is_ready(index) {
                return;
            }
        }
    }

    pub(crate) fn is_ready(&self, index: usize) -> bool {
        Self::image(&self.templates[self.pods[index]]).is_none() || self.runs(index)
    }

    pub(crate) fn revision(&self) -> usize {
        self.templates.iter().position(|t| *t == self.set["spec"]["template"]).unwrap()
    }

    fn object(&self) -> Value {
        let mut set = as_read(self.set.clone());
        set["status"] = json!({"replicas": 3, "observedGeneration": set["metadata"]["generation"],
            "updateRevision": format!("mysql-{}", self.revision())});
        set
    }

    /// Its sidecar has started.
    fn runs(&self, index: usize) -> bool {
        let image = Self::image(&self.templates[self.pods[index]]);
        image.is_some_and(|image| image != BAD) && !self.stuck.contains(&index) && self.has_secret != Some(false)
    }

    /// What a kubelet tells of a pod that mounts what is not there.
    fn warnings(&self, pod: &str) -> Vec<Value> {
        let index = pod.rsplit('-').next().and_then(|index| index.parse().ok());
        let waits = |index: usize| Self::image(&self.templates[self.pods[index]]).is_some();
        if self.has_secret != Some(false) || !index.is_some_and(waits) {
            return Vec::new();
        }
        vec![
            json!({"metadata": {"name": "w"}, "type": "Warning", "reason": "FailedMount", "involvedObject": {"name": pod},
            "lastTimestamp": READY_SINCE,
            "message": "MountVolume.SetUp failed for volume \"pitr-s3\" : secret \"pitr-s3\" not found"}),
        ]
    }

    fn heartbeat(&self, index: usize) -> Value {
        let stored_at = (!self.mute.contains(&index)).then(|| self.said_at(index));
        json!({"ts": self.said_at(index), "event": "heartbeat", "state": "ok", "codes": [],
            "active": {"binlog": "b.1", "positionBytes": 9, "shippedBytes": 9}, "store": {"storedAt": stored_at}})
    }

    pub(crate) fn pod(&self, index: usize) -> Value {
        let template = &self.templates[self.pods[index]];
        let ready = if self.is_ready(index) { "True" } else { "False" };
        let is_unpulled = Self::image(template).as_deref() == Some(BAD);
        let waiting = is_unpulled.then(|| {
            json!([{"name": "pitr", "image": BAD, "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff"}}}])
        });
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("mysql-{index}"), "namespace": "shop",
            "uid": format!("mysql-{index}-of-{}", self.pods[index]),
            "labels": {"controller-revision-hash": format!("mysql-{}", self.pods[index])},
            "ownerReferences": [{"kind": "StatefulSet", "name": "mysql", "apiVersion": "apps/v1", "uid": "u"}]},
            "spec": template["spec"], "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": READY_SINCE}],
                "initContainerStatuses": waiting}})
    }

    pub(crate) fn said_at(&self, index: usize) -> String {
        let now = jiff::Timestamp::now().to_string();
        if self.silent.contains(&index) { "2026-11-21T06:59:59Z".to_owned() } else { now }
    }

    /// A patch that names a version changes that one and no other.
    pub(crate) fn put(&mut self, body: &Value, dry: bool) -> (u16, Value) {
        let version = |map: &Value| map["metadata"]["resourceVersion"].clone();
        let now = self.map.as_ref().map(version);
        if !version(body).is_null() && now.as_ref() != Some(&version(body)) {
            return refused(409, "Conflict");
        }
        let mut map = body.clone();
        if let (false, Some(there)) = (body["kind"].is_string(), &self.map) {
            map = there.clone();
            map["data"] = body["data"].clone();
        }
        if !dry {
            self.changes += 1;
            map["metadata"]["resourceVersion"] = self.changes.to_string().into();
            self.map = Some(map.clone());
        }
        (200, map)
    }

    /// Somebody else's change of the ConfigMap.
    pub(crate) fn pin(&mut self, id: &str) {
        let (mut map, mut config) = (self.map.clone().unwrap(), self.config());
        config["retention"]["pins"] = json!([id]);
        map["data"]["config.yaml"] = tree::emit(&config).unwrap().into();
        map["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        self.put(&map, false);
    }

    pub(crate) fn config(&self) -> Value {
        let text = self.map.as_ref().unwrap()["data"]["config.yaml"].as_str().unwrap().to_owned();
        tree::parse(&text).unwrap().pop().unwrap().value
    }

    pub(crate) fn has_before(&self) -> bool {
        self.set["metadata"]["annotations"][BEFORE].is_string()
    }

    /// Status and body.
    pub(crate) fn answer(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        self.progress();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let dry = query.contains("dryRun=All");
        let absent = refused(404, "NotFound");
        match (method, path.trim_start_matches("/api/v1/namespaces/shop/")) {
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
                let mut review = body.clone();
                review["status"] = json!({"allowed": true});
                (201, review)
            }
            ("GET", "/apis/apps/v1/namespaces/shop/statefulsets/mysql") => (200, self.object()),
            ("PATCH", "/apis/apps/v1/namespaces/shop/statefulsets/mysql") => {
                if dry {
                    return (200, as_read(self.applied(body)));
                }
                self.change(body);
                (200, self.object())
            }
            ("GET", "pods") => (
                200,
                json!({"kind": "PodList", "apiVersion": "v1", "metadata": {},
                "items": (0..3).map(|index| self.pod(index)).collect::<Vec<_>>()}),
            ),
            ("GET", "events") => {
                let pod = query.split("involvedObject.name%3D").nth(1).unwrap().split("%2C").next().unwrap();
                let items = self.warnings(pod);
                (200, json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items}))
            }
            ("GET", "secrets/pitr-s3") => match self.has_secret {
                Some(true) => (200, json!({"metadata": {"name": "pitr-s3", "namespace": "shop"}})),
                Some(false) => absent,
                None => refused(403, "Forbidden"),
            },
            ("GET", "configmaps/pitr-mysql") if self.is_map_hidden => refused(403, "Forbidden"),
            ("GET", "configmaps/pitr-mysql") => self.map.clone().map_or(absent, |map| (200, map)),
            ("PATCH", "configmaps/pitr-mysql") => self.put(body, dry),
            ("DELETE", "configmaps/pitr-mysql") => {
                self.changes += 1;
                self.map = None;
                (200, json!({"kind": "Status"}))
            }
            ("DELETE", other) if other.starts_with("pods/mysql-") => {
                self.changes += 1;
                let index: usize = other["pods/mysql-".len()..].parse().unwrap();
                if body["preconditions"]["uid"] != self.pod(index)["metadata"]["uid"] {
                    return refused(409, "Conflict");
                }
                self.pods[index] = self.revision();
                (200, json!({"kind": "Status"}))
            }
            ("GET", other) => match other.strip_prefix("pods/mysql-") {
                Some(index) if index.len() == 1 => (200, self.pod(index.parse().unwrap())),
                Some(log) if log.ends_with("/log") && self.runs(log[..1].parse().unwrap()) => {
                    (200, self.heartbeat(log[..1].parse().unwrap()))
                }
                _ => absent,
            },
            _ => absent,
        }
    }
}

/// Entries that were taken away are not there.
fn as_read(mut set: Value) -> Value {
    let keep = |entries: &mut Value| {
        entries.as_object_mut().into_iter().for_each(|entries| entries.retain(|_, value| !value.is_null()));
    };
    keep(&mut set["metadata"]["annotations"]);
    let metadata = &mut set["spec"]["template"]["metadata"];
    keep(&mut metadata["annotations"]);
    keep(&mut metadata["labels"]);
    set
}

fn refused(code: u16, reason: &str) -> (u16, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": "no"}))
}

/// The server, as long as the test runs.
pub(crate) struct Api {
    pub(crate) server: String,
    world: Arc<Mutex<World>>,
}

impl Api {
    pub(crate) fn start(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let shared = Arc::clone(&world);
        let server = start(move |method, target, body| shared.lock().unwrap().answer(method, target, body));
        Self { server, world }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The partition, the one that is to come back, and each pod's image of the sidecar.
    pub(crate) fn standing(&self) -> (i64, Option<String>, Vec<Option<String>>) {
        let world = self.world();
        (world.partition(), world.remembered().map(str::to_owned), world.images())
    }

    pub(crate) fn command(&self, image: &str, more: &[&str]) -> Command {
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
            .args(["--archive", "s3://b/shop/mysql", "--secret", "pitr-s3", "--server", &self.server])
            .args(more)
            .env_remove("KUBECONFIG")
            .env("HOME", "/nonexistent");
        command
    }

    /// Any other command about the workload: exit code and stderr.
    pub(crate) fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-pitr"));
        command.args(words).args(["-n", "shop", "--server", &self.server]);
        told(&command.env_remove("KUBECONFIG").env("HOME", "/nonexistent").output().unwrap())
    }

    /// Exit code and stderr.
    pub(crate) fn inject(&self, image: &str, more: &[&str]) -> (i32, String) {
        told(&self.command(image, more).output().unwrap())
    }
}

/// Exit code and stderr.
pub(crate) fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

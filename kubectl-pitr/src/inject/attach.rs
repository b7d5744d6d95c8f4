//! An archiver of its own, for a server that has no pod to put a sidecar into, or whose files are of no use: a StatefulSet of the sidecar
//! alone, which reads the binlogs over a connection.

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::VolumeMount;
use serde_json::{Value, json};

use super::settings::Settings;
use super::sidecar::{ANNOTATION_CONFIG, Injection, LABEL_MANAGED, LABEL_WORKLOAD, MANAGER, injection};
use super::survey::{Owner, Survey};
use crate::failure::Failure;
use crate::objects::LABEL_COMPONENT;

/// By this label the StatefulSet finds its pod.
const LABEL_ARCHIVER: &str = "kubectl-pitr/archiver";
/// What the StatefulSet is for: it is all ours.
pub(super) const COMPONENT: &str = "archiver";
/// The user of our image, and of the servers' public ones.
const OWNER: Owner = Owner { uid: 999, gid: Some(999) };
/// Where binlogs wait until they are archived.
pub const SPOOL_DIRECTORY: &str = "/spool";
const SPOOL_VOLUME: &str = "spool";
/// Where a restored server has its data: no pod of its own says otherwise.
const DATADIR: &str = "/var/lib/mysql";

/// The server that is read, and who reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// Secret with the password.
    pub secret: String,
}

/// The pod's surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    pub service_account: Option<String>,
    pub spool_size: String,
    pub spool_class: Option<String>,
}

/// The ConfigMap and the StatefulSet, in the order in which they are applied.
pub fn objects(name: &str, namespace: &str, settings: &Settings, around: &Surroundings) -> Result<[Value; 2]> {
    let spool = VolumeMount { name: SPOOL_VOLUME.into(), mount_path: SPOOL_DIRECTORY.into(), ..VolumeMount::default() };
    let survey = Survey { mounts: vec![spool], ..survey() };
    let made = injection(name, Some(namespace), &survey, OWNER, settings)?;
    let mut map = made.config_map.clone();
    map["apiVersion"] = "v1".into();
    map["kind"] = "ConfigMap".into();
    Ok([map, stateful_set((name, namespace), &made, around)])
}

fn stateful_set((name, namespace): (&str, &str), made: &Injection, around: &Surroundings) -> Value {
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": OWNER.uid,
            "runAsGroup": OWNER.gid,
            "fsGroup": OWNER.gid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [made.container],
        "volumes": made.volumes,
    });
    if let Some(account) = &around.service_account {
        pod["serviceAccountName"] = json!(account);
    }
    let mut spool = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": around.spool_size}},
    });
    if let Some(class) = &around.spool_class {
        spool["storageClassName"] = json!(class);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {LABEL_MANAGED: MANAGER, LABEL_WORKLOAD: name, LABEL_COMPONENT: COMPONENT},
        },
        "spec": {
            // One server sends its binlogs once.
            "replicas": 1,
            "serviceName": name,
            "selector": {"matchLabels": {LABEL_ARCHIVER: name}},
            // The spool is a cache: what is lost with it, the server sends again.
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"},
            "template": {
                "metadata": {
                    "labels": {LABEL_ARCHIVER: name, LABEL_WORKLOAD: name},
                    "annotations": {ANNOTATION_CONFIG: made.config_hash},
                },
                "spec": pod,
            },
            "volumeClaimTemplates": [{"metadata": {"name": SPOOL_VOLUME}, "spec": spool}],
        },
    })
}

/// Whether a StatefulSet is an archiver that was made here, and no server.
pub fn is_archiver(object: &StatefulSet) -> bool {
    object.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_COMPONENT)).is_some_and(|is| is == COMPONENT)
}

/// Refuses to treat an archiver of ours as a server's StatefulSet.
pub fn refuse_archiver(name: &str, object: &StatefulSet) -> Result<(), Failure> {
    if !is_archiver(object) {
        return Ok(());
    }
    Err(Failure::usage(format!("statefulset/{name} is an archiver that \"attach\" made: there is no server in it"))
        .hint("nothing was changed")
        .fix(format!("kubectl pitr attach {name} again changes it, kubectl pitr detach {name} takes it away")))
}

/// What stands for the facts of a server that has no pod here: no image, and the data where the public images have it.
pub fn survey() -> Survey {
    Survey {
        container: String::new(),
        image: String::new(),
        datadir: DATADIR.to_owned(),
        binlog_basename: None,
        mounts: Vec::new(),
        owner: Some(OWNER),
        directory_from: "the public images".to_owned(),
        owner_from: "the public images",
    }
}

/// What to know before it is applied.
pub fn report(name: &str, namespace: &str, stream: &Stream, settings: &Settings) -> String {
    let Stream { host, port, user, secret } = stream;
    let store = settings.secret.as_ref().map_or_else(
        || "  store    no --secret: the sidecar takes the credentials of the pod's ServiceAccount".to_owned(),
        |secret| format!("  store    credentials in secret/{secret}, one file a key"),
    );
    [
        format!("statefulset/{name}: archives {host}:{port} over a connection, image {}", settings.image),
        format!(
            "  account  CREATE USER '{user}'@'%' IDENTIFIED BY '...' REQUIRE SSL; GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '{user}'@'%';"
        ),
        format!("  secret   secret/{secret}: key password; for base backups also my.cnf, a client option file of an account for them"),
        store,
        format!("  spool    binlogs wait in clear on volume {SPOOL_VOLUME}-{name}-0 until they are archived; it goes with the StatefulSet"),
        format!(
            "Then: kubectl pitr check {name} -n {namespace} --wait 2m\n      kubectl pitr backup {name} -n {namespace} --server-image mysql:VERSION --scratch-size SIZE"
        ),
    ]
    .join("\n")
}

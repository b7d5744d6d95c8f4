//! What `inject` tells about a workload, on stderr.

use k8s_openapi::api::core::v1::VolumeMount;
use serde_json::{Value, json};

use super::settings::{Settings, default_image};
use super::sidecar::CONTAINER;
use super::survey::{Owner, Survey};

/// Facts for the report that are not in the survey.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// The pods that the change restarts, in that order.
    pub restarts: Vec<String>,
    pub deployer: Option<String>,
    pub live: bool,
    /// It is a native sidecar because nobody said otherwise and no cluster was asked.
    pub assumed_native: bool,
}

/// `kind: InjectReport`: the same facts for programs, with `objects` as they would be applied.
pub fn report_document(
    (name, namespace): (&str, Option<&str>),
    survey: &Survey,
    owner: Owner,
    settings: &Settings,
    (around, objects): (&Circumstances, &[Value]),
) -> Value {
    let mount =
        |mount: &VolumeMount| json!({"volume": mount.name, "mountPath": mount.mount_path, "subPath": mount.sub_path});
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "InjectReport",
        "namespace": namespace,
        "workload": name,
        "mode": if settings.native { "native" } else { "plain" },
        "modeAssumed": around.assumed_native,
        "image": settings.image,
        "archive": settings.archive,
        "secret": settings.secret,
        "container": survey.container,
        "directory": survey.datadir,
        "directoryFrom": survey.directory_from,
        "mounts": survey.mounts.iter().map(mount).collect::<Vec<_>>(),
        "user": owner.uid,
        "group": owner.gid,
        "ownerFrom": survey.owner_from,
        "managedBy": around.deployer,
        "restarts": around.restarts,
        "objects": objects,
    })
}

/// The report, line by line.
pub fn report(name: &str, survey: &Survey, owner: Owner, settings: &Settings, around: &Circumstances) -> String {
    let kind = if settings.native { "native sidecar" } else { "container" };
    let mut lines = vec![format!("statefulset/{name}: {kind} \"{CONTAINER}\", image {}", settings.image)];
    let group = owner.gid.map_or_else(String::new, |g| format!(":{g}"));
    for mount in &survey.mounts {
        let sub_path = mount.sub_path.as_ref().map_or_else(|| "no subPath".to_owned(), |s| format!("subPath \"{s}\""));
        lines.push(format!(
            "  mounts   \"{}\" at {}, {sub_path}, read-only (from {}), as {}{group} (from {})",
            mount.name, mount.mount_path, survey.directory_from, owner.uid, survey.owner_from
        ));
    }
    if let Some(deployer) = &around.deployer {
        let live = if around.live {
            "a live change will be lost at its next sync"
        } else {
            "commit this output; --live would be refused (PITR0204)"
        };
        lines.push(format!("  managed  {deployer}: {live}"));
    }
    lines.push(match around.restarts.len() {
        0 => "  restart  applying it restarts no pod by itself: there is none, or its update strategy holds them back"
            .to_owned(),
        count => {
            let order = if count > 1 { ", in this order" } else { "" };
            format!("  restart  applying it restarts {}{order}", around.restarts.join(", "))
        }
    });
    if settings.secret.is_none() {
        lines.push("  store    no --secret: the sidecar takes the credentials of the pod's ServiceAccount".to_owned());
    }
    if around.assumed_native {
        lines.push(
            "  mode     native needs Kubernetes 1.29 or newer, which a file does not tell: on an older one mysqld would never start (--mode plain)"
                .to_owned(),
        );
    }
    if survey.is_mariadb() {
        lines.push(
            "  warning  MariaDB is archived, but base backups and restores of it do not exist in this version"
                .to_owned(),
        );
    }
    // A live change was told which one to take, or takes the one that runs.
    if settings.image == default_image() && !around.live {
        lines
            .push(format!("  warning  {} is in no public registry: push it to yours and give --image", settings.image));
    }
    lines.push(
        "  image    it must be pullable on every node: a native sidecar that cannot start keeps mysqld from starting"
            .to_owned(),
    );
    lines.push(
        "  stop     the sidecar outlives mysqld and uploads the last binlog within the same grace period".to_owned(),
    );
    lines.join("\n") + "\n"
}

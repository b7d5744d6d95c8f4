//! `uninject`: takes the sidecar out of manifests or out of a live object.

use anyhow::{Context, Result};
use pitr_recovery::code;
use serde_json::json;

use super::inject::{read_manifests, refuse_foreign_map, text_of};
use super::rollout::{MapBefore, Rollout};
use crate::args::UninjectArgs;
use crate::cluster::{ApplyOptions, Cluster, Need, require};
use crate::failure::Failure;
use crate::inject::{attach, manifest, ours};
use crate::session::Session;

pub(super) const LIVE_NEEDS: [Need; 4] = [
    Need::of("get", "apps", "statefulsets"),
    Need::of("patch", "apps", "statefulsets"),
    Need::core("get", "pods"),
    Need::core("list", "pods"),
];

pub async fn run(session: &Session, args: &UninjectArgs) -> Result<u8> {
    session.prints_text("uninject")?;
    if let Some(path) = &args.filename {
        session.print(&manifest::strip(&read_manifests(path)?, args.keep_config)?)?;
        return Ok(0);
    }
    let name = args.workload.as_deref().ok_or_else(|| Failure::usage("name a WORKLOAD or give -f FILE"))?;
    let name: crate::cluster::WorkloadName = name.parse()?;
    let cluster = session.cluster().await?;
    if !args.live {
        let object = cluster.stateful_set(&name.0).await?;
        attach::refuse_archiver(&name.0, &object)?;
        session.print(&manifest::strip(&text_of(&object)?, args.keep_config)?)?;
        return Ok(0);
    }
    require(&cluster, &LIVE_NEEDS, "injector").await?;
    if !args.keep_config {
        require(&cluster, &[Need::core("delete", "configmaps")], "injector").await?;
    }
    live(session, &cluster, args, &name.0).await
}

async fn live(session: &Session, cluster: &Cluster, args: &UninjectArgs, name: &str) -> Result<u8> {
    let object = cluster.stateful_set(name).await?;
    attach::refuse_archiver(name, &object)?;
    let carries = |object| serde_json::to_value(object).map(|v| ours::holds_ours(&v)).context("read the object");
    if carries(&object)? {
        // An empty set of entries under our field manager: what it owned goes away, and nothing else.
        let nothing = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": name, "namespace": cluster.namespace()}});
        let after = cluster.apply_stateful_set(name, &nothing, ApplyOptions { dry_run: true, force: false }).await?;
        if carries(&after)? {
            return Err(Failure::new(code::APPLY_CONFLICT, format!("statefulset/{name} was not injected with --live"))
                .hint("another manager owns the sidecar's entries; nothing was changed")
                .fix(format!("kubectl pitr uninject {name} -n {} | kubectl apply -f -", cluster.namespace()))
                .into());
        }
        session.confirm(
            name,
            args.confirm.confirm.as_deref(),
            &format!("This restarts the pods of statefulset/{name}"),
        )?;
        let rollout = Rollout::of(&object, true);
        cluster.apply_stateful_set(name, &nothing, ApplyOptions::default()).await?;
        session.tell(&format!("statefulset/{name} changed"));
        rollout.let_go(cluster, name).await?;
        rollout.wait_without_sidecar(cluster, name, args.confirm.timeout).await?;
    } else {
        session.tell(&format!("statefulset/{name} carries no sidecar"));
        // An injection that was interrupted before its change may have held the pods back.
        Rollout::of(&object, true).let_go_if_held(cluster, name).await?;
    }
    if !args.keep_config {
        delete_config(session, cluster, &format!("pitr-{name}")).await?;
    }
    Ok(0)
}

/// Deletes the configuration that an injection made; a ConfigMap of that name which is somebody else's stays.
async fn delete_config(session: &Session, cluster: &Cluster, map: &str) -> Result<()> {
    let left = match refuse_foreign_map(cluster, map).await {
        Ok(MapBefore::Was(_)) => {
            cluster.delete_config_map(map).await?;
            format!("configmap/{map} deleted")
        }
        Ok(MapBefore::Absent) => return Ok(()),
        Ok(MapBefore::Unknown) => format!("configmap/{map} stays: it cannot be read, so nobody knows whose it is"),
        Err(_) => format!("configmap/{map} stays: it was not made here"),
    };
    session.tell(&left);
    Ok(())
}

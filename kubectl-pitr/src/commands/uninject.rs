//! `uninject`: takes the sidecar out of manifests or out of a live object.

use anyhow::{Context, Result};
use pitr_recovery::code;
use serde_json::{Value, json};

use super::inject::{read_manifests, text_of};
use super::injected_map;
use super::proof;
use super::restore::manifests;
use super::rollout::Rollout;
use crate::args::{DryRun, OutputFormat, UninjectArgs};
use crate::cluster::{ApplyOptions, Cluster, Need, WorkloadName, require};
use crate::failure::Failure;
use crate::inject::sidecar::config_map_name;
use crate::inject::{attach, manifest, ours};
use crate::session::Session;

pub(super) const LIVE_NEEDS: [Need; 4] = [
    Need::of("get", "apps", "statefulsets"),
    Need::of("patch", "apps", "statefulsets"),
    Need::core("get", "pods"),
    Need::core("list", "pods"),
];

/// What `--delete-wedged-pods` needs besides.
pub(super) const WEDGED_NEEDS: [Need; 1] = [Need::core("delete", "pods")];

pub async fn run(session: &Session, args: &UninjectArgs) -> Result<u8> {
    if args.dry_run != DryRun::Client {
        session.prints_text("uninject")?;
    }
    if let Some(path) = &args.filename {
        session.print(&manifest::strip(&read_manifests(path)?, args.keep_config)?)?;
        return Ok(0);
    }
    let name = args.workload.as_deref().ok_or_else(|| Failure::usage("name a WORKLOAD or give -f FILE"))?;
    let name: WorkloadName = name.parse()?;
    let cluster = session.cluster().await?;
    if !args.live {
        let object = cluster.stateful_set(&name.0).await?;
        attach::refuse_archiver(&name.0, &object)?;
        session.print(&manifest::strip(&text_of(&object)?, args.keep_config)?)?;
        return Ok(0);
    }
    if args.dry_run != DryRun::Client {
        require(&cluster, &LIVE_NEEDS, "injector").await?;
        if !args.keep_config {
            require(&cluster, &[Need::core("delete", "configmaps")], "injector").await?;
        }
        if args.delete_wedged_pods {
            require(&cluster, &WEDGED_NEEDS, "injector").await?;
        }
    }
    live(session, &cluster, args, &name.0).await
}

async fn live(session: &Session, cluster: &Cluster, args: &UninjectArgs, name: &str) -> Result<u8> {
    let object = cluster.stateful_set(name).await?;
    attach::refuse_archiver(name, &object)?;
    if args.dry_run == DryRun::Client {
        manifests(session, &[nothing(cluster, name)], session.output(OutputFormat::Yaml)?)?;
        if !args.keep_config {
            session.tell(&format!("configmap/{} would be deleted", config_map_name(name)));
        }
        return Ok(0);
    }
    let waiting = (args.confirm.timeout, args.delete_wedged_pods);
    let carries = |object| serde_json::to_value(object).map(|v| ours::holds_ours(&v)).context("read the object");
    if carries(&object)? {
        let nothing = nothing(cluster, name);
        let after = cluster.apply_stateful_set(name, &nothing, ApplyOptions { dry_run: true, force: false }).await?;
        if carries(&after)? {
            return Err(Failure::new(code::APPLY_CONFLICT, format!("statefulset/{name} was not injected with --live"))
                .hint("another manager owns the sidecar's entries; nothing was changed")
                .fix(format!("kubectl pitr uninject {name} -n {} | kubectl apply -f -", cluster.namespace()))
                .into());
        }
        if args.dry_run == DryRun::Server {
            let map = if args.keep_config {
                String::new()
            } else {
                format!(", then configmap/{} deleted", config_map_name(name))
            };
            session.tell(&format!("the API server would accept this{map}; nothing was changed"));
            return Ok(0);
        }
        confirm(session, args, (name, "This restarts the pods")).await?;
        let rollout = Rollout::of(&cluster.stateful_set(name).await?, true);
        cluster.apply_stateful_set(name, &nothing, ApplyOptions::default()).await?;
        session.tell(&format!("statefulset/{name} changed"));
        rollout.let_go_if_held(cluster, name).await?;
        rollout.wait_without_sidecar(cluster, name, waiting).await?;
    } else {
        session.tell(&format!("statefulset/{name} carries no sidecar"));
        let rollout = Rollout::of(&object, true);
        // An injection that was interrupted before its change may have held the pods back.
        if rollout.is_unfinished() {
            session.tell("an injection that was broken off holds its pods back: they are let go");
        }
        if args.dry_run == DryRun::Server {
            return Ok(0);
        }
        if rollout.is_unfinished() || args.delete_wedged_pods {
            confirm(session, args, (name, "This may restart pods")).await?;
        } else if !args.keep_config && matches!(injected_map::look(cluster, &config_map_name(name)).await, Ok(Some(_)))
        {
            confirm(session, args, (name, "This deletes the configuration")).await?;
        }
        rollout.let_go_if_held(cluster, name).await?;
        if args.delete_wedged_pods {
            rollout.wait_without_sidecar(cluster, name, waiting).await?;
        }
    }
    if !args.keep_config {
        delete_config(session, cluster, name).await?;
    }
    Ok(0)
}

async fn confirm(session: &Session, args: &UninjectArgs, (name, what): (&str, &str)) -> Result<()> {
    let what = format!("{what} of statefulset/{name}");
    session.confirm(name, args.confirm.confirm.as_deref(), &what).await
}

/// An empty set of entries under our field manager: what it owned goes away, and nothing else.
fn nothing(cluster: &Cluster, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": cluster.namespace()}})
}

/// Deletes the configuration that an injection made. A ConfigMap of that name which is somebody else's stays, and one that a pod mounts: it
/// would not start again without.
async fn delete_config(session: &Session, cluster: &Cluster, name: &str) -> Result<()> {
    let map = &config_map_name(name);
    let pods = cluster.workload(&WorkloadName(name.to_owned())).await?.pods;
    let mounting: Vec<_> =
        pods.iter().filter(|pod| proof::carries(pod)).filter_map(|pod| pod.metadata.name.as_deref()).collect();
    let left = match injected_map::look(cluster, map).await {
        Ok(Some(_)) if mounting.is_empty() => {
            cluster.delete_config_map(map).await?;
            format!("configmap/{map} deleted")
        }
        Ok(Some(_)) => format!(
            "configmap/{map} stays: {} would not start without. When they have been restarted: kubectl pitr uninject {name} -n {} --live",
            mounting.join(", "),
            cluster.namespace()
        ),
        Ok(None) => return Ok(()),
        Err(failure) if failure.number() == Some(code::APPLY_CONFLICT.number) => {
            format!("configmap/{map} stays: it was not made here")
        }
        Err(reason) => format!("configmap/{map} stays: whose it is cannot be seen: {reason}"),
    };
    session.tell(&left);
    Ok(())
}

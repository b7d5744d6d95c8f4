//! A StatefulSet on restored data: what `restore --statefulset` prepares, and `restores statefulset` prints.

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::Job;
use pitr_recovery::code;
use serde::Serialize;

use super::facts;
use super::restores_state::{jobs_of, volume};
use crate::args::OutputFormat;
use crate::cluster::{Cluster, finished};
use crate::failure::Failure;
use crate::inject::sidecar::LABEL_WORKLOAD;
use crate::inject::tree;
use crate::objects::ANNOTATION_STATEFUL_SET;
use crate::objects::stateful_set::{Stand, empty_claims, has_claim, service, shared, stateful_set};
use crate::session::Session;

/// The name must be free: a StatefulSet that is there would not stand on the restored data.
pub(super) async fn refuse_taken(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    if cluster.has_stateful_set(name).await? {
        return Err(Failure::new(code::RESTORE_EXISTS, format!("statefulset \"{name}\" exists"))
            .hint("the restored data goes to a new one; nothing was created")
            .fix("--statefulset with another name"));
    }
    Ok(())
}

/// The copy must stand on the restored claim, and on nothing that the workload's server writes to.
pub(super) fn refuse_shared(object: &StatefulSet, data_volume: &str) -> Result<(), Failure> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if !has_claim(object, data_volume) {
        return Err(Failure::usage(format!("the data of statefulset/{name} is no volume claim"))
            .hint("a copy of it would stand on the same directory, not on the restored data; nothing was created")
            .fix("restore without --statefulset, and restores serve"));
    }
    let shared = shared(object, data_volume);
    if !shared.is_empty() {
        let message = format!("a copy of statefulset/{name} would write to its volumes, too: {}", shared.join(", "));
        return Err(Failure::usage(message)
            .hint("two servers with one directory of binlogs destroy it; nothing was created")
            .fix("restore without --statefulset, and write a StatefulSet with volumes of its own"));
    }
    Ok(())
}

fn wanted(job: &Job) -> Option<String> {
    job.metadata.annotations.as_ref()?.get(ANNOTATION_STATEFUL_SET).cloned()
}

/// What follows a verified restore that was made for a StatefulSet.
pub(super) fn next(job: &Job, (restore, namespace): (&str, &str)) -> Option<String> {
    let name = wanted(job)?;
    Some(format!(
        "Then: kubectl pitr restores statefulset {restore} -n {namespace} | kubectl apply -f - (statefulset/{name} on that volume)"
    ))
}

/// Prints the Service and the StatefulSet. Nothing is created.
pub(super) async fn print(session: &Session, cluster: &Cluster, restore: &str) -> Result<u8> {
    let format = session.output(OutputFormat::Yaml)?;
    let jobs = jobs_of(cluster, restore).await?;
    let Some(job) = jobs.iter().rev().find(|job| finished(job) == Some(true)) else {
        let message = format!("restore \"{restore}\" is not verified: no server is put on its volume");
        let describe = format!("kubectl pitr restores describe {restore} -n {}", cluster.namespace());
        return Err(Failure::new(code::RESTORE_INCOMPLETE, message).fix(describe).into());
    };
    let (Some(name), Some(claim)) = (wanted(job), volume(job)) else {
        return Err(Failure::usage(format!("restore \"{restore}\" was not made for a StatefulSet"))
            .hint("a StatefulSet adopts a volume by its name, which was given when it was made")
            .fix("kubectl pitr restore ... --statefulset NAME")
            .into());
    };
    let workload =
        job.metadata.labels.as_ref().and_then(|labels| labels.get(LABEL_WORKLOAD)).cloned().unwrap_or_default();
    let object = cluster.stateful_set(&workload).await?;
    let data_volume = facts::data_volume(cluster, &object).await?;
    refuse_shared(&object, &data_volume)?;
    let stand = Stand { name: &name, restore, data_volume: &data_volume, claim: &claim };
    let set =
        stateful_set(&object, &stand).ok_or_else(|| Failure::without_code(1, "the workload has no pod template"))?;
    session.tell(&notes(&stand, &empty_claims(&object, &data_volume), &workload));
    let service = kind(&service(&object, &stand), "v1", "Service")?;
    let set = kind(&set, "apps/v1", "StatefulSet")?;
    match format {
        OutputFormat::Json => {
            let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": [service, set]});
            session.print_document(&list, OutputFormat::Json)?;
        }
        _ => session.print(&format!("{}---\n{}", tree::emit(&service)?, tree::emit(&set)?))?,
    }
    Ok(0)
}

fn kind(object: &impl Serialize, version: &str, kind: &str) -> Result<serde_json::Value> {
    let mut object = serde_json::to_value(object)?;
    object["apiVersion"] = version.into();
    object["kind"] = kind.into();
    Ok(object)
}

/// What to know before it is applied.
fn notes(stand: &Stand<'_>, empty: &[&str], workload: &str) -> String {
    let (name, claim) = (stand.name, stand.claim);
    let mut lines = vec![
        format!(
            "statefulset/{name}: one replica of statefulset/{workload} on {claim}, restored and verified by \"{}\"",
            stand.restore
        ),
        format!(
            "  reached  by its own headless service/{name}; its labels are new, so no Service of {workload} sends to it"
        ),
        format!(
            "  sidecar  left out: its archive holds {workload}'s history. Then: kubectl pitr inject {name} --archive URL-OF-ITS-OWN"
        ),
        format!("  server   server_id and settings that name hosts are {workload}'s: change them before it replicates"),
        "  events   scheduled events of the data run as soon as it starts, as they did before".to_owned(),
    ];
    if !empty.is_empty() {
        lines.push(format!("  empty    further volumes are new: {}", empty.join(", ")));
    }
    lines.join("\n")
}

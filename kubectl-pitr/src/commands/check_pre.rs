//! `check --pre`: what an injection would find, before there is any sidecar. Nothing is changed, and no server is asked.

use pitr_recovery::code;

use super::inject::{LIVE_NEEDS, NATIVE_SINCE, examined_owner, option_files, text_of};
use super::injected_map;
use super::secrets::{self, Purpose};
use crate::cluster::{Cluster, Workload, is_ready, missing};
use crate::failure::Failure;
use crate::inject::plan::{self, Found};
use crate::inject::sidecar::config_map_name;
use crate::inject::survey::{Hints, Owner};
use crate::inject::{manifest, ownership};
use crate::objects::copied;
use crate::state::{Area, Check, Mark};

/// Everything that can be seen of a workload that is to get a sidecar.
pub(super) async fn checks(
    cluster: &Cluster,
    workload: &Workload,
    (secret, mysql_secret): (Option<&str>, Option<&str>),
) -> anyhow::Result<Vec<Check>> {
    let (name, object) = (&workload.name, &workload.object);
    let text = manifest::strip(&text_of(object)?, false)?;
    let files = option_files(cluster, object).await;
    let mut checks = Vec::new();
    match plan::find(&text, &Hints::default(), &files) {
        Ok(found) => {
            for found in &found {
                checks.extend(server(cluster, workload, found).await);
            }
        }
        Err(error) => checks.push(refused(Area::Server, Mark::Bad, &crate::failure::of(&error))),
    }
    if workload.is_archived() {
        checks.push(Check {
            hint: Some(format!("kubectl pitr check {}", workload.place())),
            ..said(Area::Cluster, Mark::Warning, "it carries the sidecar already")
        });
    }
    checks.push(match ownership::refuse_deployer(name, object) {
        Ok(()) => said(Area::Cluster, Mark::Good, "no Git and no Helm is known to deploy it: --live may change it"),
        Err(failure) => refused(Area::Cluster, Mark::Warning, &failure),
    });
    checks.push(match cluster.minor_version().await {
        Ok(minor) if minor >= NATIVE_SINCE => {
            said(Area::Cluster, Mark::Good, format!("Kubernetes 1.{minor} has native sidecars"))
        }
        Ok(minor) => Check {
            hint: Some("--mode plain, which auto takes by itself".to_owned()),
            ..said(Area::Cluster, Mark::Warning, format!("Kubernetes 1.{minor} has no native sidecars"))
        },
        Err(failure) => refused(Area::Cluster, Mark::Warning, &failure),
    });
    checks.push(match injected_map::look(cluster, &config_map_name(name)).await {
        Ok(None) => said(Area::Cluster, Mark::Good, format!("configmap/{} is free", config_map_name(name))),
        Ok(Some(_)) => said(Area::Cluster, Mark::Good, "its ConfigMap is an earlier injection's: pins in it stay"),
        Err(failure) => refused(Area::Cluster, Mark::Bad, &failure),
    });
    let mounted = copied::credentials_secret(object);
    let named = [(secret.or(mounted.as_deref()), Purpose::Store), (mysql_secret, Purpose::Backups)];
    checks.extend(secrets::look(cluster, &named).await.iter().map(|secret| secret.check(&workload.namespace)));
    checks.push(pods(workload));
    checks.extend(rights(cluster).await);
    Ok(checks)
}

async fn server(cluster: &Cluster, workload: &Workload, found: &Found) -> Vec<Check> {
    let survey = &found.survey;
    let mounts = survey.mounts.iter().map(|mount| format!("\"{}\" at {}", mount.name, mount.mount_path));
    let mounts = mounts.collect::<Vec<_>>().join(", ");
    let text =
        format!("container \"{}\" ({}), {mounts} (from {})", survey.container, survey.image, survey.directory_from);
    let mut checks = vec![said(Area::Server, Mark::Good, text)];
    let examined = match survey.owner {
        Some(owner) => Some((owner, survey.owner_from)),
        None => examined_owner(cluster, (&survey.container, &survey.datadir), &workload.pods)
            .await
            .map(|owner| (owner, "the running pod")),
    };
    if let Some((Owner { uid, gid }, from)) = examined {
        let group = gid.map_or_else(String::new, |gid| format!(":{gid}"));
        checks.push(said(Area::Server, Mark::Good, format!("binlogs belong to {uid}{group} (from {from})")));
    } else if let Err(failure) = found.owner() {
        checks.push(refused(Area::Server, Mark::Bad, &failure));
    }
    if survey.is_mariadb() {
        let text = "MariaDB is archived, but base backups and restores of it do not exist in this version";
        checks.push(said(Area::Server, Mark::Warning, text));
    }
    checks
}

fn pods(workload: &Workload) -> Check {
    let ready = workload.pods.iter().filter(|pod| is_ready(pod)).count();
    let wanted = workload.replicas();
    let mark = if i32::try_from(ready).is_ok_and(|ready| ready >= wanted) { Mark::Good } else { Mark::Warning };
    said(Area::Cluster, mark, format!("{ready} of {wanted} pods are ready: --live restarts them one by one"))
}

async fn rights(cluster: &Cluster) -> Option<Check> {
    // Who cannot ask is not told.
    let missing = missing(cluster, &LIVE_NEEDS).await.ok()?;
    Some(match missing.is_empty() {
        true => said(Area::Cluster, Mark::Good, "you may: inject --live"),
        false => Check {
            code: Some(code::VERBS_MISSING),
            hint: Some("printing needs none of it; manifests/rbac/injector.yaml grants it".to_owned()),
            ..said(Area::Cluster, Mark::Warning, format!("inject --live lacks {}", missing.join(", ")))
        },
    })
}

pub(super) fn said(area: Area, mark: Mark, text: impl Into<String>) -> Check {
    Check { area, mark, text: text.into(), hint: None, code: None }
}

fn refused(area: Area, mark: Mark, failure: &Failure) -> Check {
    let code = failure.number().and_then(code::find).copied();
    Check { area, mark, text: failure.to_string(), hint: failure.way_out(), code }
}

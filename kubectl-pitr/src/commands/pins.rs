//! `backups pin` and `backups unpin`: base backups that retention leaves alone, whatever their age.

use anyhow::Result;
use pitr_recovery::code;
use serde_json::json;

use super::asking::Asking;
use super::source;
use crate::args::{DryRun, PinArgs, StateArgs};
use crate::cluster::{Cluster, Need, Workload, WorkloadName, require};
use crate::failure::Failure;
use crate::inject::sidecar::config_map_name;
use crate::inject::{ownership, pins};
use crate::objects::copied;
use crate::session::Session;
use crate::state::Backups;

pub(super) const NEEDS: [Need; 3] =
    [Need::of("get", "apps", "statefulsets"), Need::core("get", "configmaps"), Need::core("patch", "configmaps")];

/// Whether a pin comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Pin,
    Unpin,
}

pub(super) async fn run(session: &Session, args: &PinArgs, change: Change) -> Result<u8> {
    let name: WorkloadName = args.workload.parse()?;
    let cluster = session.cluster().await?;
    if args.dry_run != DryRun::Client {
        require(&cluster, &NEEDS, "backup").await?;
    }
    let workload = cluster.workload(&name).await?;
    if !workload.is_archived() {
        return Err(source::not_injected(&workload).into());
    }
    let map_name = config_map_name(&workload.name);
    let map = cluster.config_map(&map_name).await?.ok_or_else(|| {
        Failure::new(code::NOT_REACHABLE, format!("configmap \"{map_name}\" not found"))
            .hint("the sidecar's configuration is in it, and the pins with it")
    })?;
    let there = map.data.as_ref().and_then(|data| data.get("config.yaml")).cloned().unwrap_or_default();
    let config = copied::configuration(&there)?;
    let before = pins::listed(&config);
    let id = match change {
        Change::Pin => one_of(&known(session, &cluster, (&workload, &args.state)).await?, &args.id, "base backup")?,
        Change::Unpin => one_of(&before, &args.id, "pin")?,
    };
    let mut after: Vec<String> = before.iter().filter(|pin| **pin != id).cloned().collect();
    if change == Change::Pin {
        after.push(id.clone());
    }
    let text = pins::with(&config, &after)?;
    if args.dry_run == DryRun::Client {
        session.print(&text)?;
        return Ok(0);
    }
    let dry_run = args.dry_run == DryRun::Server;
    if after != before {
        let patch =
            json!({"metadata": {"resourceVersion": map.metadata.resource_version}, "data": {"config.yaml": text}});
        cluster.patch_config_map(&map_name, &patch, dry_run).await?;
    }
    if dry_run {
        session.tell("the API server would accept the ConfigMap; nothing was changed");
        return Ok(0);
    }
    tell(session, &workload, (change, &id, &after));
    Ok(0)
}

async fn known(
    session: &Session,
    cluster: &Cluster,
    (workload, state): (&Workload, &StateArgs),
) -> Result<Vec<String>, Failure> {
    let list: Backups = Asking::of(session, cluster, workload, state).await.required("/v1/backups").await?;
    Ok(list.items.into_iter().map(|backup| backup.id).collect())
}

/// The one id that begins so.
fn one_of(known: &[String], wanted: &str, what: &str) -> Result<String, Failure> {
    let mut found = known.iter().filter(|id| id.starts_with(wanted));
    match (known.iter().find(|id| *id == wanted), found.next(), found.next()) {
        (Some(exact), ..) => Ok(exact.clone()),
        (None, Some(only), None) => Ok(only.clone()),
        (None, Some(_), Some(_)) => {
            let names: Vec<_> = known.iter().filter(|id| id.starts_with(wanted)).map(String::as_str).collect();
            Err(Failure::usage(format!("several ids begin with \"{wanted}\"")).hint(names.join(", ")))
        }
        (None, None, _) => {
            let failure = Failure::usage(format!("there is no {what} \"{wanted}\"")).fix("kubectl pitr backups");
            Err(if known.is_empty() { failure } else { failure.hint(format!("there are: {}", known.join(", "))) })
        }
    }
}

fn tell(session: &Session, workload: &Workload, (change, id, after): (Change, &str, &[String])) {
    let done = match change {
        Change::Pin => format!("{id} is pinned: it does not expire, nor do the binlogs after it"),
        Change::Unpin => format!("{id} is not pinned any more: it expires as the policy says"),
    };
    let all = if after.is_empty() { "none".to_owned() } else { after.join(", ") };
    session.tell(&format!("{done}\npins of statefulset/{}: {all}", workload.name));
    if let Some(deployer) = ownership::deployer(&workload.object) {
        session.tell(&format!(
            "warning[PITR0512]: {deployer} may set configmap/pitr-{} back: write retention.pins there, too",
            workload.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_may_be_cut_as_long_as_it_is_unique() {
        let known: Vec<String> = ["bb-1", "bb-12", "bb-20"].map(str::to_owned).to_vec();
        assert_eq!(one_of(&known, "bb-2", "base backup").unwrap(), "bb-20");
        assert_eq!(one_of(&known, "bb-1", "base backup").unwrap(), "bb-1", "an exact one goes before a longer one");
        assert_eq!(one_of(&known, "bb-", "base backup").unwrap_err().exit(), 2);
        assert_eq!(one_of(&known, "bb-9", "pin").unwrap_err().exit(), 2);
    }
}

//! What the gates are answered from, read from the cluster. Nothing is changed.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use pitr_recovery::RestorePlan;

use super::super::facts::JobFacts;
use super::gates::{Confirmed, DataClaim, Ground};
use crate::args::RestoreArgs;
use crate::cluster::{Cluster, Workload};
use crate::failure::Failure;
use crate::inject::survey::{Survey, pod_of};
use crate::objects::sizing;
use crate::objects::stateful_set::has_claim;
use crate::state::Heartbeat;

/// What is known before the cluster is asked.
pub(super) struct Reading<'a> {
    pub(super) args: &'a RestoreArgs,
    pub(super) facts: &'a JobFacts,
    pub(super) plan: &'a RestorePlan,
    pub(super) confirmed: Confirmed,
    pub(super) now: Timestamp,
}

/// Reads everything that a gate asks for.
pub(super) async fn read(cluster: &Cluster, workload: &Workload, reading: &Reading<'_>) -> Result<Ground, Failure> {
    let Reading { args, facts, plan, confirmed, now } = reading;
    let states = cluster.pod_states(&workload.pods, args.state.via, args.state.via_timeout).await;
    let is_watched = |pod: &&str| states.iter().any(|state| state.pod == *pod);
    let pods = workload.pods.iter().filter_map(|pod| pod.metadata.name.as_deref());
    let unwatched: Vec<String> = pods.filter(|pod| !is_watched(pod)).map(str::to_owned).collect();
    let heartbeats = states.into_iter().map(|state| {
        let silence = || state.silences.iter().map(|s| s.reason.clone()).collect::<Vec<_>>().join("; ");
        let beat = state.heartbeat.as_ref().and_then(Heartbeat::read).ok_or_else(silence);
        (state.pod, beat)
    });
    let claim = match claim_of(&workload.object, &facts.survey) {
        Some((name, pod)) => {
            let attached = match volume_of(cluster, &name).await? {
                Some(volume) => cluster.attachments(&volume).await,
                None => Err(format!("claim {name} is bound to no volume")),
            };
            Some(DataClaim { name, pod, attached })
        }
        None => None,
    };
    Ok(Ground {
        name: workload.name.clone(),
        namespace: workload.namespace.clone(),
        object: workload.object.clone(),
        pods: cluster.pods(None).await?,
        claim,
        outside: outside(&workload.object, &facts.survey),
        autoscalers: cluster.autoscalers(&workload.name).await,
        unwatched,
        now: *now,
        heartbeats: heartbeats.collect(),
        image: facts.survey.image.clone(),
        base_version: plan.base().server_version.clone(),
        needed_bytes: sizing::restore_bytes(plan.parts()),
        replicas_plan: args.in_place.replicas_plan,
        allow_drift: args.in_place.allow_drift,
        confirmed: confirmed.clone(),
    })
}

async fn volume_of(cluster: &Cluster, claim: &str) -> Result<Option<String>, Failure> {
    Ok(cluster.claim(claim).await?.and_then(|claim| claim.spec?.volume_name))
}

/// The claim of the first pod's data, and that pod.
pub(super) fn claim_of(object: &StatefulSet, survey: &Survey) -> Option<(String, String)> {
    let volume = survey.mounts.first()?.name.as_str();
    let name = object.metadata.name.as_deref()?;
    let start = object.spec.as_ref()?.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    let pod = format!("{name}-{start}");
    let templates = object.spec.as_ref()?.volume_claim_templates.as_deref().unwrap_or_default();
    if templates.iter().any(|template| template.metadata.name.as_deref() == Some(volume)) {
        return Some((format!("{volume}-{pod}"), pod));
    }
    let found = pod_of(object)?.volumes.iter().flatten().find(|found| found.name == volume)?;
    Some((found.persistent_volume_claim.as_ref()?.claim_name.clone(), pod))
}

/// What the server keeps beside its data directory: a restore exchanges that directory and nothing else, and a server that finds its old
/// binlogs elsewhere takes their transactions for its own.
pub(super) fn outside(object: &StatefulSet, survey: &Survey) -> Vec<String> {
    let datadir = survey.datadir.trim_end_matches('/');
    let is_inside = |path: &str| path.strip_prefix(datadir).is_some_and(|rest| rest.starts_with('/'));
    let binlogs = survey.binlog_basename.as_deref().filter(|path| !is_inside(path));
    let mut found: Vec<String> = binlogs.map(|path| format!("binlogs are written to {path}")).into_iter().collect();
    let Some(pod) = pod_of(object) else { return found };
    let container = pod.containers.iter().find(|container| container.name == survey.container);
    let data = survey.mounts.first();
    let is_whole = data.is_some_and(|data| data.mount_path.trim_end_matches('/') == datadir);
    let words = container.map(words_of).unwrap_or_default();
    let unsure = BESIDE.iter().find(|name| !setting(&words, name).is_some_and(|path| stays_inside(path, datadir)));
    if let (false, Some(name)) = (is_whole, unsure) {
        let dashed = name.replace('_', "-");
        found.push(format!(
            "the volume holds more than {datadir}, and no argument says that {name} is inside (as --{dashed}={datadir} does)"
        ));
    }
    for name in AT_THE_TOP {
        let leads = |path: &&str| (is_whole || stays_inside(path, datadir)) && !is_top(path, datadir);
        if let Some(path) = setting(&words, name).filter(leads) {
            found.push(format!("--{} leads to {path}, not to {datadir}", name.replace('_', "-")));
        }
    }
    for mount in container.and_then(|container| container.volume_mounts.as_deref()).unwrap_or_default() {
        let is_data = data.is_some_and(|data| data.mount_path == mount.mount_path);
        if !is_data && is_kept(object, pod, &mount.name) {
            found.push(format!(
                "container {} mounts volume {} at {} too",
                survey.container, mount.name, mount.mount_path
            ));
        }
    }
    found
}

/// Where InnoDB may keep files of the data outside of the data directory.
const BESIDE: [&str; 4] =
    ["innodb_undo_directory", "innodb_directories", "innodb_log_group_home_dir", "innodb_data_home_dir"];

/// Of these the restored files lie at the top of the data directory, and a server that is told otherwise does not find them.
const AT_THE_TOP: [&str; 3] = ["innodb_undo_directory", "innodb_log_group_home_dir", "innodb_data_home_dir"];

fn is_top(path: &str, datadir: &str) -> bool {
    let path = path.trim_end_matches('/');
    path == datadir || matches!(path, "" | ".")
}

/// Command-line words of a container; a shell script as one word is searched as well.
fn words_of(container: &Container) -> Vec<&str> {
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    words.flat_map(|word| word.split_whitespace()).collect()
}

/// The value of an option of the server. Arguments go before option files, so nothing overrides it.
fn setting<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let options = words.iter().filter_map(|word| word.strip_prefix("--")?.split_once('='));
    let mut values = options.filter(|(option, _)| option.replace('-', "_") == name).map(|(_, value)| value);
    values.next_back()
}

/// Whether each path of a list lies in the data directory, to which relative ones belong.
fn stays_inside(list: &str, datadir: &str) -> bool {
    let is_inside = |path: &str| match path.trim_end_matches('/').strip_prefix(datadir) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => !path.starts_with('/'),
    };
    let paths: Vec<&str> = list.split(';').map(|path| path.trim_matches(['"', '\''])).collect();
    paths.iter().all(|path| is_inside(path) && !path.split('/').any(|part| part == ".."))
}

/// Whether what is written to a volume outlives the pod.
fn is_kept(object: &StatefulSet, pod: &PodSpec, volume: &str) -> bool {
    let claimed = pod.volumes.iter().flatten().find(|found| found.name == volume);
    has_claim(object, volume)
        || claimed.is_some_and(|found| {
            let written_by_others = found.config_map.is_some() || found.secret.is_some() || found.projected.is_some();
            !(found.empty_dir.is_some() || found.downward_api.is_some() || found.image.is_some() || written_by_others)
        })
}

//! `config view` and `config set`: the sidecar's configuration, as its ConfigMap holds it.

use std::time::Duration;

use anyhow::Result;
use pitr_recovery::code;
use serde_json::{Value, json};

use super::rollout::{self, Rollout};
use super::source;
use crate::args::{ConfigArgs, ConfigSetArgs, ConfigVerb, ConfigViewArgs, DryRun, OutputFormat};
use crate::cluster::{Cluster, Need, Workload, WorkloadName, require};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::inject::keys::{self, Effective, effective};
use crate::inject::sidecar::config_map_name;
use crate::inject::{ownership, settings, together, tree};
use crate::objects::copied;
use crate::render::Table;
use crate::session::Session;

pub(super) const SET_NEEDS: [Need; 3] =
    [Need::of("get", "apps", "statefulsets"), Need::core("get", "configmaps"), Need::core("patch", "configmaps")];
/// What `--restart` needs besides.
pub(super) const RESTART_NEEDS: [Need; 4] = [
    Need::of("patch", "apps", "statefulsets"),
    Need::core("get", "pods"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
];
/// Keys that another command changes, because more hangs on them than the sidecar.
const ELSEWHERE: [(&str, &str, &str); 3] = [
    ("workload", "whose history it is decides which archive it may go to", "kubectl pitr inject, with --archive"),
    (
        "archive",
        "another archive is another history, and needs a base backup of its own",
        "kubectl pitr inject, with --archive",
    ),
    ("retention.pins", "a pin must name a base backup that there is", "kubectl pitr backups pin"),
];

pub async fn run(session: &Session, args: &ConfigArgs) -> Result<u8> {
    match &args.verb {
        ConfigVerb::View(args) => view(session, args).await,
        ConfigVerb::Set(args) => set(session, args).await,
    }
}

/// The ConfigMap of a workload that carries the sidecar.
struct Held {
    workload: Workload,
    name: String,
    version: Option<String>,
    config: Value,
}

async fn held(cluster: &Cluster, workload: &str) -> Result<Held, Failure> {
    let workload = cluster.workload(&workload.parse::<WorkloadName>()?).await?;
    if !workload.is_archived() {
        return Err(source::not_injected(&workload));
    }
    let name = config_map_name(&workload.name);
    let map = cluster.config_map(&name).await?.ok_or_else(|| {
        Failure::new(code::NOT_REACHABLE, format!("configmap \"{name}\" not found"))
            .hint("the sidecar's configuration is in it")
    })?;
    let text = map.data.as_ref().and_then(|data| data.get("config.yaml")).map(String::as_str).unwrap_or_default();
    Ok(Held { config: copied::configuration(text)?, version: map.metadata.resource_version, workload, name })
}

async fn view(session: &Session, args: &ConfigViewArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    let cluster = session.cluster().await?;
    let held = held(&cluster, &args.workload).await?;
    let all: Vec<Effective> = effective(&held.config).into_iter().filter(|key| key.is_set || !args.set_only).collect();
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(&document(&held, &all), format)?,
        OutputFormat::Name => session.print(&all.iter().map(|key| format!("{}\n", key.path)).collect::<String>())?,
        OutputFormat::Table | OutputFormat::Wide => {
            session.print(&table(&all, format == OutputFormat::Wide).text(!args.no_headers))?;
        }
    }
    Ok(0)
}

fn document(held: &Held, all: &[Effective]) -> Value {
    let item = |key: &Effective| json!({"key": key.path, "value": key.value, "from": key.from()});
    json!({
        "apiVersion": "kubectl-pitr/v1",
        "kind": "Configuration",
        "namespace": held.workload.namespace,
        "workload": held.workload.name,
        "items": all.iter().map(item).collect::<Vec<_>>(),
    })
}

fn table(all: &[Effective], wide: bool) -> Table {
    let mut header = vec!["KEY", "VALUE", "FROM"];
    header.extend(wide.then_some("WHAT"));
    let mut table = Table::new(&header);
    for key in all {
        let mut cells = vec![key.path.to_owned(), key.value.clone(), key.from().to_owned()];
        cells.extend(wide.then(|| key.about.to_owned()));
        table.row(cells);
    }
    table
}

async fn set(session: &Session, args: &ConfigSetArgs) -> Result<u8> {
    session.prints_text("config set")?;
    for (key, _) in &args.settings {
        refuse_elsewhere(key)?;
    }
    let cluster = session.cluster().await?;
    if args.dry_run != DryRun::Client {
        require(&cluster, &SET_NEEDS, "injector").await?;
    }
    if args.restart && args.dry_run != DryRun::Client {
        require(&cluster, &RESTART_NEEDS, "injector").await?;
    }
    let held = held(&cluster, &args.workload).await?;
    refuse_under_way(&cluster, &held.workload).await?;
    let mut config = held.config.clone();
    for (key, value) in &args.settings {
        settings::set(&mut config, key, value)?;
    }
    together::check(&config, copied::sidecar_memory(&held.workload.object))?;
    let text = tree::emit(&config)?;
    if args.dry_run == DryRun::Client {
        session.print(&text)?;
        if args.restart {
            session.tell(&would_restart(&held.workload));
        }
        return Ok(0);
    }
    let restarts = args.restart && args.dry_run == DryRun::None;
    let name = &held.workload.name;
    if restarts {
        session
            .confirm(name, args.confirm.as_deref(), &format!("This restarts the pods of statefulset/{name}"))
            .await?;
    }
    if config == held.config {
        session.tell(&format!("configmap/{} says so already", held.name));
    } else {
        let patch = json!({"metadata": {"resourceVersion": held.version}, "data": {"config.yaml": text}});
        let dry_run = args.dry_run == DryRun::Server;
        cluster.patch_config_map(&held.name, &patch, dry_run).await?;
        match dry_run {
            true => session.tell("the API server would accept the ConfigMap; nothing was changed"),
            false => tell(session, &held, &args.settings, restarts),
        }
    }
    match (args.restart, restarts) {
        (true, true) => restart(session, &cluster, &held, args.timeout).await,
        (true, false) => {
            Rollout::of(&held.workload.object, false).try_restart(&cluster, name, session.now()).await?;
            session.tell(&would_restart(&held.workload));
            Ok(0)
        }
        (false, _) => Ok(0),
    }
}

fn would_restart(workload: &Workload) -> String {
    let pods = Rollout::of(&workload.object, false).restarts(&workload.name);
    match pods.is_empty() {
        true => "no pod would restart by itself: there is none, or its update strategy holds them back".to_owned(),
        false => format!("would restart {}, each once the one before it archives", pods.join(", ")),
    }
}

/// The pods that start now take all of it.
async fn restart(session: &Session, cluster: &Cluster, held: &Held, limit: Duration) -> Result<u8> {
    let name = &held.workload.name;
    // Read now, and not before the name was typed.
    let (_, rollout) = Rollout::now(cluster, name, false).await?;
    tokio::select! {
        ended = rollout.restart(session, cluster, name, (limit, session.now())) => ended?,
        () = session.interrupted() => {
            session.tell(&rollout::standing(cluster, name, None).await);
            return Ok(EXIT_INTERRUPTED);
        }
    }
    Ok(0)
}

/// An injection that fails brings the configuration back that was there before it, and with it takes away what was set meanwhile.
async fn refuse_under_way(cluster: &Cluster, workload: &Workload) -> Result<(), Failure> {
    if !rollout::is_under_way(cluster, &workload.name, &workload.object).await? {
        return Ok(());
    }
    let text = format!("an injection of statefulset/{} has not come to its end", workload.name);
    Err(Failure::new(code::APPLY_CONFLICT, text)
        .hint("no pod has proven it yet, and if none does the configuration of before comes back; nothing was changed")
        .fix(format!(
            "wait for it; or, if it was broken off, the same inject again, or kubectl pitr uninject {} --live",
            workload.place()
        )))
}

fn refuse_elsewhere(key: &str) -> Result<(), Failure> {
    match ELSEWHERE.iter().find(|(path, ..)| *path == key) {
        None => Ok(()),
        Some((_, hint, fix)) => {
            Err(Failure::usage(format!("\"{key}\" is not set here")).hint(*hint).hint("nothing was changed").fix(*fix))
        }
    }
}

fn tell(session: &Session, held: &Held, changed: &[(String, String)], restarts: bool) {
    let Held { workload, name, .. } = held;
    let flags: Vec<String> = changed.iter().map(|(key, value)| format!("--set {key}={value}")).collect();
    let copied = ["s3.", "encryption.", "credentials.", "source."];
    if changed.iter().any(|(key, _)| copied.iter().any(|section| key.starts_with(section))) {
        // A schedule's Jobs were given these when it was made.
        session.tell(
            "schedules of backup, drill, verify and prune keep what they were made with: make them again with --schedule",
        );
    }
    let at_the_start: Vec<&str> =
        changed.iter().map(|(key, _)| key.as_str()).filter(|key| keys::is_taken_at_the_start(key)).collect();
    let when = match at_the_start.is_empty() {
        _ if restarts => "each sidecar takes it when its pod is restarted".to_owned(),
        true => "sidecars take it within two minutes, without a restart".to_owned(),
        false => format!(
            "sidecars take {} at their next start, and nothing else of it before: the same command with --restart",
            at_the_start.join(", ")
        ),
    };
    session.tell(&format!(
        "configmap/{name} changed; {when}\nan inject or attach writes the configuration anew: give it {}, too",
        flags.join(" ")
    ));
    if let Some(deployer) = ownership::deployer(&workload.object) {
        session.tell(&format!("warning[PITR0512]: {deployer} may set configmap/{name} back: change it there, too"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_on_more_than_the_sidecar_is_not_set_here() {
        for key in ["workload", "archive", "retention.pins"] {
            assert_eq!(refuse_elsewhere(key).unwrap_err().exit(), 2, "{key}");
        }
        refuse_elsewhere("retention.window").unwrap();
    }

    #[test]
    fn keys_that_only_a_start_takes_are_read_from_the_page() {
        for key in
            ["workload", "s3.endpoint", "source.mysql.user", "encryption.age_recipients", "pipeline.nice", "listen"]
        {
            assert!(keys::is_taken_at_the_start(key), "{key}");
        }
        for key in ["s3.region", "pipeline.codec", "retention.window", "schedule.tail", "credentials.from"] {
            assert!(!keys::is_taken_at_the_start(key), "{key}");
        }
    }
}

//! `inject`: reads manifests or a live object, prints the change, or applies it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::Value;

use super::restore::manifests;
use super::secrets::{self, Purpose};
use super::{injected_map, rollout};
use crate::args::{DryRun, InjectArgs, InjectMode, InjectOutput, OutputFormat, Rollout};
use crate::cluster::{ApplyOptions, Cluster, Need, WorkloadName, require};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::inject::plan::{self, Found};
use crate::inject::report::{Circumstances, report, report_document};
use crate::inject::settings::{Settings, check_archive_url, default_image};
use crate::inject::sidecar::{ANNOTATION_BEFORE, ANNOTATION_PARTITION, Injection, config_map_name};
use crate::inject::survey::{Hints, Owner, parse_owner};
use crate::inject::{attach, manifest, ours, output, ownership, pins, tree};
use crate::objects::copied;
use crate::session::Session;

/// Native sidecars came with this minor version of Kubernetes.
pub(super) const NATIVE_SINCE: u32 = 29;
/// What `--live` does to the cluster.
pub(super) const LIVE_NEEDS: [Need; 8] = [
    Need::of("get", "apps", "statefulsets"),
    Need::of("patch", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::core("create", "configmaps"),
    Need::core("patch", "configmaps"),
    Need::core("get", "pods"),
    Need::core("list", "pods"),
    Need::sub("get", "pods", "log"),
];

pub async fn run(session: &Session, args: &InjectArgs) -> Result<u8> {
    if args.live && args.dry_run != DryRun::Client {
        session.prints_text("inject --live")?;
    }
    match (&args.filename, &args.workload) {
        (Some(path), _) => from_files(session, args, path),
        (None, Some(name)) => from_cluster(session, args, &name.parse()?).await,
        (None, None) => Err(Failure::usage("name a WORKLOAD or give -f FILE").into()),
    }
}

fn hints(args: &InjectArgs) -> Result<Hints, Failure> {
    let volume = args.binlog_volume.as_deref().map(|v| match v.split_once(':') {
        Some((name, sub_path)) => (name.to_owned(), Some(sub_path.to_owned())),
        None => (v.to_owned(), None),
    });
    Ok(Hints {
        container: args.container.clone(),
        binlog_volume: volume,
        binlog_dir: args.binlog_dir.clone(),
        run_as_user: args.run_as_user.as_deref().map(parse_owner).transpose()?,
    })
}

/// The image of the sidecar: what is asked for, else what runs there already, else the name that `make images` gives it.
fn image(args: &InjectArgs, running: Option<String>) -> Result<String, Failure> {
    match args.image.clone().or(running) {
        Some(image) => Ok(image),
        None if args.live => Err(Failure::usage("--live needs to know the sidecar's image")
            .hint("a native sidecar whose image cannot be pulled keeps mysqld from starting")
            .fix(format!("--image REGISTRY/{}", default_image()))),
        None => Ok(default_image()),
    }
}

fn settings(args: &InjectArgs, native: bool, running: Option<String>) -> Result<Settings, Failure> {
    let Some(archive) = args.archive.clone() else {
        return Err(Failure::usage("--archive is missing").fix("--archive s3://BUCKET/PREFIX"));
    };
    check_archive_url(&archive)?;
    Ok(Settings {
        archive,
        region: args.region.clone(),
        endpoint: args.endpoint.clone(),
        secret: args.secret.clone(),
        mysql_secret: args.mysql_secret.clone(),
        retention: args.retention.clone(),
        image: image(args, running)?,
        native,
        set: args.set.clone(),
        pins: Vec::new(),
        stream: None,
    })
}

fn from_files(session: &Session, args: &InjectArgs, path: &Path) -> Result<u8> {
    let given = read_manifests(path)?;
    let read = manifest::strip_server_fields(&given)?;
    let settings = settings(args, args.mode != InjectMode::Plain, manifest::sidecar_image(&read)?)?;
    let text = manifest::strip(&read, false)?;
    let found = plan::find(&text, &hints(args)?, &BTreeMap::new())?;
    for found in &found {
        let owner = found.owner()?;
        let namespace = match &found.namespace {
            Some(namespace) => namespace.clone(),
            None => session.namespace_here()?,
        };
        let settings = Settings { pins: pins::of_manifests(&given, &found.name), ..settings.clone() };
        let injection = found.injection(Some(&namespace), owner, &settings)?;
        let around = circumstances(found, args.mode == InjectMode::Auto, false);
        session.tell(&report(&found.name, &found.survey, owner, &settings, &around));
        print(session, &text, (found, &injection), (owner, &settings, &around))?;
    }
    Ok(0)
}

fn circumstances(found: &Found, assumed_native: bool, live: bool) -> Circumstances {
    Circumstances {
        assumed_native,
        restarts: rollout::Rollout::of(&found.object, false).restarts(&found.name),
        deployer: ownership::deployer(&found.object),
        live,
    }
}

fn print(
    session: &Session,
    text: &str,
    (found, injection): (&Found, &Injection),
    (owner, settings, around): (Owner, &Settings, &Circumstances),
) -> Result<()> {
    if let Some(chart) = session.output_text().and_then(|text| text.strip_prefix("helm-values=")) {
        return session.print(&output::helm_values(injection, chart)?);
    }
    session.print(&match session.output(InjectOutput::Yaml)? {
        InjectOutput::Yaml => manifest::add(text, found.place, injection)?,
        InjectOutput::Patch => output::patch(injection, found.namespace.as_deref())?,
        InjectOutput::Kustomize => output::kustomize(injection)?,
        InjectOutput::Json => {
            let namespace = injection.config_map["metadata"]["namespace"].as_str();
            let objects = [output::named_patch(injection, namespace), injection.config_map.clone()];
            let place = (found.name.as_str(), namespace);
            let document = report_document(place, &found.survey, owner, settings, (around, &objects));
            return session.print_document(&document, OutputFormat::Json);
        }
    })
}

/// One file, all manifests of a directory, or stdin.
pub(super) fn read_manifests(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read stdin")?;
        return Ok(text);
    }
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("read \"{}\"", path.display()));
    if !path.is_dir() {
        return read(path);
    }
    let is_manifest = |p: &Path| p.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("read \"{}\"", path.display()))? {
        let path = entry.context("read the directory")?.path();
        if path.is_file() && is_manifest(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("\"{}\" holds no manifests (.yaml, .yml, .json)", path.display());
    }
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let part = read(&path)?;
        if !text.is_empty() && !part.starts_with("---") {
            text.push_str("---\n");
        }
        text.push_str(&part);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

async fn from_cluster(session: &Session, args: &InjectArgs, name: &WorkloadName) -> Result<u8> {
    let cluster = session.cluster().await?;
    if args.live && args.dry_run != DryRun::Client {
        require(&cluster, &LIVE_NEEDS, "injector").await?;
    }
    let workload = cluster.workload(name).await?;
    attach::refuse_archiver(&name.0, &workload.object)?;
    if args.live && !args.allow_drift {
        ownership::refuse_deployer(&name.0, &workload.object)?;
    }
    let native = match args.mode {
        InjectMode::Auto => cluster.minor_version().await? >= NATIVE_SINCE,
        InjectMode::Native => true,
        InjectMode::Plain => false,
    };
    let mut settings = settings(args, native, copied::sidecar_image(&workload.object))?;
    let map = injected_map::look(&cluster, &config_map_name(&name.0)).await?;
    settings.pins = map.as_ref().map(injected_map::pinned).unwrap_or_default();
    let text = manifest::strip(&text_of(&workload.object)?, false)?;
    let files = option_files(&cluster, &workload.object).await;
    let found = plan::find(&text, &hints(args)?, &files)?.pop().context("the workload went missing")?;
    let owner = match found.owner() {
        Ok(owner) => owner,
        Err(unknown) => examined_owner(&cluster, (&found.survey.container, &found.survey.datadir), &workload.pods)
            .await
            .ok_or(unknown)?,
    };
    let injection = found.injection(Some(cluster.namespace()), owner, &settings)?;
    let around = circumstances(&found, false, args.live);
    session.tell(&report(&found.name, &found.survey, owner, &settings, &around));
    let named = [(settings.secret.as_deref(), Purpose::Store), (settings.mysql_secret.as_deref(), Purpose::Backups)];
    for secret in secrets::look(&cluster, &named).await {
        if args.live && args.dry_run != DryRun::Client {
            secret.refuse_absent(cluster.namespace())?;
        }
        secret.note().into_iter().for_each(|note| session.tell(&note));
    }
    if !args.live {
        print(session, &text, (&found, &injection), (owner, &settings, &around))?;
        return Ok(0);
    }
    let patch = output::named_patch(&injection, Some(cluster.namespace()));
    match args.dry_run {
        DryRun::Client => {
            manifests(session, &[injection.config_map.clone(), patch], session.output(OutputFormat::Yaml)?)?;
            Ok(0)
        }
        DryRun::Server => {
            let changes = try_out(&cluster, &workload.object, (&patch, &injection), args.force_conflicts).await?;
            session.tell(match changes {
                true => "the API server would accept this; nothing was changed",
                false => "this would change nothing",
            });
            Ok(0)
        }
        DryRun::None => apply(session, &cluster, args, (&found, &injection, &patch, &workload.object)).await,
    }
}

/// The live object as a manifest, without what a rollout notes on it.
pub(super) fn text_of(object: &StatefulSet) -> Result<String> {
    let mut object = object.clone();
    if let Some(annotations) = &mut object.metadata.annotations {
        annotations.retain(|key, _| key != ANNOTATION_PARTITION && key != ANNOTATION_BEFORE);
    }
    let value = serde_json::to_value(object).context("write the manifest")?;
    manifest::strip_server_fields(&tree::emit(&value)?)
}

/// Option files that the pod mounts from ConfigMaps, as far as they may be read.
pub(super) async fn option_files(cluster: &Cluster, object: &StatefulSet) -> BTreeMap<String, String> {
    let volumes = object.spec.as_ref().and_then(|s| s.template.spec.as_ref()).and_then(|s| s.volumes.clone());
    let names = volumes.into_iter().flatten().filter_map(|v| v.config_map).map(|m| m.name);
    let mut files = BTreeMap::new();
    for name in names.collect::<Vec<_>>() {
        if let Ok(Some(map)) = cluster.config_map(&name).await {
            let texts: Vec<String> = map.data.into_iter().flatten().map(|(_, text)| text).collect();
            files.insert(name, texts.join("\n"));
        }
    }
    files
}

/// Asks a running pod who owns the data directory.
pub(super) async fn examined_owner(
    cluster: &Cluster,
    (container, datadir): (&str, &str),
    pods: &[k8s_openapi::api::core::v1::Pod],
) -> Option<Owner> {
    for pod in pods {
        let name = pod.metadata.name.as_deref()?;
        if let Some((uid, gid)) = cluster.owner_of(name, container, datadir).await {
            return Some(Owner { uid, gid: Some(gid) });
        }
    }
    None
}

/// Everything once without effect, so that a refusal leaves nothing half done. Tells whether it would change anything.
async fn try_out(
    cluster: &Cluster,
    live: &StatefulSet,
    (patch, injection): (&Value, &Injection),
    force: bool,
) -> Result<bool, Failure> {
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let options = ApplyOptions { dry_run: true, force };
    let other_map = injected_map::put(cluster, &config_map_name(name), &injection.config_map, options).await?;
    let tried = cluster.apply_stateful_set(name, patch, options).await?;
    Ok(other_map || live.spec != tried.spec)
}

async fn apply(
    session: &Session,
    cluster: &Cluster,
    args: &InjectArgs,
    (found, injection, patch, live): (&Found, &Injection, &Value, &StatefulSet),
) -> Result<u8> {
    let (name, map_name) = (&found.name, config_map_name(&found.name));
    let at_once = args.rollout == Some(Rollout::Rolling);
    let changes = try_out(cluster, live, (patch, injection), args.force_conflicts).await?;
    if !changes && !rollout::Rollout::of(live, at_once).is_unfinished() {
        session.tell(&format!(
            "statefulset/{name} is injected like that already, nothing was changed\nNext: kubectl pitr status {name} -n {}",
            cluster.namespace()
        ));
        return Ok(0);
    }
    session
        .confirm(name, args.confirm.confirm.as_deref(), &format!("This restarts the pods of statefulset/{name}"))
        .await?;
    // Read now, and not before the name was typed: what was changed in the meantime is what is brought back.
    let map = injected_map::look(cluster, &map_name).await?.map(|map| injected_map::as_it_was(&map));
    let (live, rollout) = rollout::Rollout::now(cluster, name, at_once).await?;
    let entries = ours::entries(&serde_json::to_value(live).context("read the object")?);
    let before = rollout.before(entries, map);
    let change = async {
        rollout.hold_back(cluster, name, &before).await?;
        let options = ApplyOptions { dry_run: false, force: args.force_conflicts };
        if let Err(failure) = apply_both(cluster, name, (patch, &injection.config_map), options).await {
            return Err(match rollout.take_back(cluster, name, &before).await {
                Ok(_) => failure,
                Err(reason) => failure.hint(format!("the change could not be taken back: {reason}")),
            });
        }
        session.tell(&format!("statefulset/{name} changed, configmap/{map_name} applied"));
        rollout.finish(session, cluster, name, (args.confirm.timeout, &before)).await
    };
    tokio::select! {
        ended = change => ended?,
        () = session.interrupted() => {
            let undo = format!("kubectl pitr uninject {name} -n {} --live", cluster.namespace());
            session.tell(&rollout::standing(cluster, name, Some(&undo)).await);
            return Ok(EXIT_INTERRUPTED);
        }
    }
    session.tell(&format!(
        "Next: kubectl pitr backup {name} -n {ns} (nothing is restorable without a base backup), then kubectl pitr status {name} -n {ns}",
        ns = cluster.namespace()
    ));
    Ok(0)
}

async fn apply_both(
    cluster: &Cluster,
    name: &str,
    (patch, map): (&Value, &Value),
    options: ApplyOptions,
) -> Result<(), Failure> {
    injected_map::put(cluster, &config_map_name(name), map, options).await?;
    cluster.apply_stateful_set(name, patch, options).await.map(|_| ())
}

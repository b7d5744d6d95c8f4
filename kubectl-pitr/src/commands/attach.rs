//! `attach` and `detach`: an archiver beside no pod, for a server elsewhere.

use std::time::Duration;

use anyhow::Result;
use pitr_recovery::code;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::injected_map;
use super::restore::manifests;
use super::secrets::{self, Purpose};
use crate::args::{AttachArgs, DetachArgs, DryRun, OutputFormat};
use crate::cluster::{ApplyOptions, Cluster, Need, WorkloadName, require};
use crate::failure::Failure;
use crate::inject::attach::{self, Stream, Surroundings};
use crate::inject::settings::{Settings, check_archive_url, default_image};
use crate::inject::sidecar::config_map_name;
use crate::render::quantity;
use crate::session::Session;

/// The pod's name is the StatefulSet's with `-0`, and a label of it.
const NAME_BYTES_MAX: usize = 52;
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is printed does not wait longer for a cluster.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

pub(super) const ATTACH_NEEDS: [Need; 6] = [
    Need::of("get", "apps", "statefulsets"),
    Need::of("create", "apps", "statefulsets"),
    Need::of("patch", "apps", "statefulsets"),
    Need::core("get", "configmaps"),
    Need::core("create", "configmaps"),
    Need::core("patch", "configmaps"),
];
pub(super) const DETACH_NEEDS: [Need; 4] = [
    Need::of("get", "apps", "statefulsets"),
    Need::of("delete", "apps", "statefulsets"),
    Need::core("delete", "configmaps"),
    Need::core("get", "pods"),
];

pub async fn attach(session: &Session, args: &AttachArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Yaml)?;
    let prints = !args.live || args.dry_run == DryRun::Client;
    let name = archiver_name(&args.name)?;
    let stream = stream(args)?;
    let settings = settings(args, &stream)?;
    let around = Surroundings {
        service_account: args.service_account.clone(),
        spool_size: spool_size(&args.spool_size)?,
        spool_class: args.spool_class.clone(),
    };
    if prints {
        let namespace = session.namespace_here()?;
        let settings = look(session, &name, settings).await?;
        let objects = attach::objects(&name, &namespace, &settings, &around)?;
        session.tell(&attach::report(&name, &namespace, &stream, &settings));
        manifests(session, &objects, format)?;
        return Ok(0);
    }
    session.prints_text("attach --live")?;
    let cluster = session.cluster().await?;
    require(&cluster, &ATTACH_NEEDS, "injector").await?;
    refuse_other(&cluster, &name).await?;
    let [map, set] = attach::objects(&name, cluster.namespace(), &settings, &around)?;
    session.tell(&attach::report(&name, cluster.namespace(), &stream, &settings));
    let named = [(settings.secret.as_deref(), Purpose::Store), (Some(args.mysql_secret.as_str()), Purpose::Account)];
    for secret in secrets::look(&cluster, &named).await {
        secret.refuse_absent(cluster.namespace())?;
        secret.note().into_iter().for_each(|note| session.tell(&note));
    }
    // First all of it without effect, so that a refusal leaves nothing half done.
    apply(&cluster, &name, (&map, &set), true).await?;
    if args.dry_run == DryRun::Server {
        session.tell("the API server would accept this; nothing was changed");
        return Ok(0);
    }
    apply(&cluster, &name, (&map, &set), false).await?;
    session.tell(&format!("configmap/{}, statefulset/{name} applied", config_map_name(&name)));
    Ok(0)
}

/// What was pinned since stays pinned.
async fn apply(cluster: &Cluster, name: &str, (map, set): (&Value, &Value), dry_run: bool) -> Result<(), Failure> {
    let options = ApplyOptions { dry_run, force: false };
    injected_map::put(cluster, &config_map_name(name), map, options).await?;
    cluster.apply_stateful_set(name, set, options).await.map(|_| ())
}

async fn pins_of(cluster: &Cluster, name: &str) -> Result<Vec<String>, Failure> {
    let map = injected_map::look(cluster, &config_map_name(name)).await?;
    Ok(map.as_ref().map(injected_map::pinned).unwrap_or_default())
}

/// What can be seen in the cluster, if there is one and it answers soon: printing needs none. The name of a server's own StatefulSet is
/// refused, and pins that were made since the archiver stay.
async fn look(session: &Session, name: &str, settings: Settings) -> Result<Settings, Failure> {
    let looked = tokio::time::timeout(LOOK_LIMIT, async {
        let cluster = session.cluster().await.ok()?;
        match refuse_other(&cluster, name).await {
            Err(failure) if failure.number() == Some(code::APPLY_CONFLICT.number) => Some(Err(failure)),
            Err(_) => None,
            Ok(()) => Some(Ok(pins_of(&cluster, name).await.unwrap_or_default())),
        }
    });
    match looked.await {
        Ok(Some(pins)) => Ok(Settings { pins: pins?, ..settings }),
        Ok(None) | Err(_) => {
            session.tell(&format!(
                "note: the cluster was not asked: {name} must not be the name of the server's own StatefulSet, whose configuration this \
                 would replace. No pins are printed: applied again, this takes away those made since. --live checks the one and keeps the others."
            ));
            Ok(settings)
        }
    }
}

async fn refuse_other(cluster: &Cluster, name: &str) -> Result<(), Failure> {
    if !cluster.has_stateful_set(name).await? || attach::is_archiver(&cluster.stateful_set(name).await?) {
        return Ok(());
    }
    Err(Failure::new(code::APPLY_CONFLICT, format!("statefulset/{name} exists and is no archiver of ours"))
        .hint("attach makes a StatefulSet of its own beside the server's; nothing was changed")
        .fix("another NAME; or kubectl pitr inject, for the server's own StatefulSet"))
}

fn archiver_name(text: &str) -> Result<String, Failure> {
    let WorkloadName(name) = text.parse()?;
    if name.len() <= NAME_BYTES_MAX && !name.contains('.') && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(name);
    }
    Err(Failure::usage(format!("\"{name}\" cannot name a StatefulSet and its pod"))
        .hint("lower-case letters, digits and \"-\", at most 52, beginning and ending with a letter or digit"))
}

fn stream(args: &AttachArgs) -> Result<Stream, Failure> {
    let host = args.host.trim();
    let is_host = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
    if !is_host {
        return Err(Failure::usage(format!("\"{host}\" is not a host")).fix("--host mysql-0.mysql --port 3306"));
    }
    // It stands in a statement to copy.
    if args.mysql_user.is_empty() || args.mysql_user.contains(['\'', '"', '\\', ':', '@', '/', ' ']) {
        return Err(Failure::usage(format!("\"{}\" is not a name of an account", args.mysql_user))
            .hint("the name alone, without host or password"));
    }
    Ok(Stream {
        host: host.to_owned(),
        port: args.port,
        user: args.mysql_user.clone(),
        secret: args.mysql_secret.clone(),
    })
}

fn spool_size(text: &str) -> Result<String, Failure> {
    match quantity(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Failure::usage(format!("\"{text}\" is not a size")).fix("--spool-size 5Gi")),
    }
}

fn settings(args: &AttachArgs, stream: &Stream) -> Result<Settings, Failure> {
    check_archive_url(&args.archive)?;
    if args.archive.starts_with("file://") {
        return Err(
            Failure::usage("a directory of a pod is no archive that outlives it").fix("--archive s3://BUCKET/PREFIX")
        );
    }
    let image = match &args.image {
        Some(image) => image.clone(),
        None if args.live && args.dry_run != DryRun::Client => {
            return Err(Failure::usage("--live needs to know the sidecar's image")
                .fix(format!("--image REGISTRY/{}", default_image())));
        }
        None => default_image(),
    };
    Ok(Settings {
        archive: args.archive.clone(),
        region: args.region.clone(),
        endpoint: args.endpoint.clone(),
        secret: args.secret.clone(),
        mysql_secret: Some(args.mysql_secret.clone()),
        retention: args.retention.clone(),
        image,
        native: false,
        set: args.set.clone(),
        pins: Vec::new(),
        stream: Some(stream.clone()),
    })
}

pub async fn detach(session: &Session, args: &DetachArgs) -> Result<u8> {
    session.prints_text("detach")?;
    let WorkloadName(name) = args.name.parse()?;
    let cluster = session.cluster().await?;
    if args.dry_run != DryRun::Client {
        require(&cluster, &DETACH_NEEDS, "injector").await?;
    }
    if !attach::is_archiver(&cluster.stateful_set(&name).await?) {
        return Err(Failure::usage(format!("statefulset/{name} is not one that \"attach\" made"))
            .hint("nothing was changed")
            .fix(format!("kubectl pitr uninject {name} takes a sidecar out of a server's StatefulSet"))
            .into());
    }
    if args.dry_run != DryRun::None {
        if args.dry_run == DryRun::Server {
            cluster.delete_stateful_set(&name, true).await?;
        }
        session.print(&format!("statefulset/{name}\nconfigmap/pitr-{name}\n"))?;
        session.tell("these would be deleted; nothing was");
        return Ok(0);
    }
    session.confirm(&name, args.confirm.as_deref(), &format!("statefulset/{name} archives its server no more")).await?;
    cluster.delete_stateful_set(&name, false).await?;
    wait_until_gone(&cluster, &name, args.timeout).await?;
    cluster.delete_config_map(&config_map_name(&name)).await?;
    session.tell(&format!(
        "statefulset/{name} and configmap/pitr-{name} deleted, and Kubernetes deletes the spool's volume. The archive stays, \
         and so do schedules: kubectl get cronjob -n {} shows pitr-backup-{name}, pitr-drill-{name}, pitr-verify-{name} and pitr-prune-{name}, \
         where they were made",
        cluster.namespace()
    ));
    Ok(0)
}

/// Its last act is to archive what it has: the configuration stays till then.
async fn wait_until_gone(cluster: &Cluster, name: &str, limit: Duration) -> Result<(), Failure> {
    let (pod, deadline) = (format!("{name}-0"), Instant::now() + limit);
    while cluster.pod(&pod).await?.is_some() {
        if Instant::now() >= deadline {
            return Err(Failure::new(code::WAIT_TIMED_OUT, format!("pod \"{pod}\" has not ended"))
                .hint("its StatefulSet is deleted, its ConfigMap is not: it may still archive what it has")
                .fix(format!(
                    "kubectl wait --for=delete pod/{pod} -n {0} --timeout 10m && kubectl delete configmap pitr-{name} -n {0}",
                    cluster.namespace()
                )));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(name: &str, more: &[&str]) -> Box<AttachArgs> {
        let words = ["kubectl-pitr", "attach", name, "--mysql-secret", "db", "--archive", "s3://b/p"];
        match Cli::parse_from([&words[..], more].concat()).command {
            Command::Attach(args) => args,
            _ => unreachable!("it is attach"),
        }
    }

    #[test]
    fn words_are_checked_before_anything_is_made() {
        let good = parsed("orders", &["--host", "mysql-0.mysql", "--mysql-user", "pitr"]);
        let stream = stream(&good).unwrap();
        assert_eq!((stream.host.as_str(), stream.port), ("mysql-0.mysql", 3306));
        assert_eq!(settings(&good, &stream).unwrap().image, default_image());
        for (host, user) in [("a b", "pitr"), ("mysql://h", "pitr"), ("h", "pitr:secret"), ("h", "'")] {
            let args = parsed("orders", &["--host", host, "--mysql-user", user]);
            assert_eq!(super::stream(&args).unwrap_err().exit(), 2, "{host} {user}");
        }
        let live = parsed("orders", &["--host", "h", "--mysql-user", "pitr", "--live"]);
        assert!(settings(&live, &stream).unwrap_err().text().contains("--image"));
        for name in ["my.sql", "-x", "x-", "UP"] {
            assert!(archiver_name(name).is_err(), "{name}");
        }
        assert!(archiver_name(&"x".repeat(53)).is_err() && archiver_name("sts/orders").is_ok());
        assert!(spool_size("much").is_err() && spool_size("5Gi").is_ok());
    }
}

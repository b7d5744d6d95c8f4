//! What a Job of a workload needs to know, gathered before anything is made.

use k8s_openapi::api::apps::v1::StatefulSet;
use pitr_recovery::code;
use serde_json::Value;

use super::inject::{examined_owner, option_files};
use super::source::not_injected;
use crate::args::{JobArgs, PodArgs};
use crate::cluster::{Cluster, Workload};
use crate::failure::Failure;
use crate::inject::attach;
use crate::inject::settings::default_image;
use crate::inject::sidecar::{ANNOTATION_MYSQL_SECRET, CREDENTIALS_DIRECTORY, config_map_name};
use crate::inject::survey::{Hints, Owner, Survey, survey};
use crate::objects::{Server, Store, copied};
use crate::render::quantity;

/// Facts of a workload for its Jobs.
pub(super) struct JobFacts {
    pub(super) image: String,
    pub(super) server: Server,
    pub(super) store: Store,
    /// What the archive belongs to. A StatefulSet that took another one's place may go on with that one's archive.
    pub(super) archive_of: String,
    pub(super) survey: Survey,
    /// Host and port of a server that is read over a connection. Its image may not be known: then `server.image` is empty.
    pub(super) address: Option<(String, u16)>,
    /// Secret with the account for base backups.
    pub(super) mysql_secret: Option<String>,
    pub(super) volume_bytes: Option<u64>,
    pub(super) storage_class: Option<String>,
}

impl JobFacts {
    /// Refuses a Job that runs the server's programs where nobody knows which.
    pub(super) fn refuse_unknown_server(&self) -> Result<(), Failure> {
        if !self.server.image.is_empty() {
            return Ok(());
        }
        Err(Failure::usage("the server's image is not known: no pod here runs it")
            .hint("the Job runs the server's own programs, of its version")
            .fix("--server-image mysql:VERSION"))
    }
}

/// What a Job that has to do with the archive alone needs to know.
pub(super) struct ArchiveFacts {
    pub(super) image: String,
    pub(super) server: Server,
    pub(super) store: Store,
    archive_of: String,
    address: Option<(String, u16)>,
    mysql_secret: Option<String>,
}

/// Image, place and store of a workload's Jobs. The server itself is not looked at: `server.image` is empty.
pub(super) async fn of_archive(cluster: &Cluster, workload: &Workload, pod: &PodArgs) -> Result<ArchiveFacts, Failure> {
    if !workload.is_archived() {
        return Err(not_injected(workload));
    }
    let (config, mysql_secret) = configuration(cluster, workload).await?;
    let store = store(workload, &config, pod)?;
    let mut server = copied::server(&workload.object, String::new(), copied::sidecar_owner(&workload.object));
    server.service_account = pod.service_account.clone().or(server.service_account);
    let image = pod.image.clone().or_else(|| copied::sidecar_image(&workload.object)).unwrap_or_else(default_image);
    let archive_of = copied::archive_of(&config, (&workload.namespace, &workload.name));
    let address = copied::streamed_from(&config);
    Ok(ArchiveFacts { image, server, store, archive_of, address, mysql_secret })
}

/// How the Jobs of a workload reach its archive.
fn store(workload: &Workload, config: &Value, pod: &PodArgs) -> Result<Store, Failure> {
    let mut store = copied::store(config, &workload.object);
    if store.url.is_empty() {
        return Err(Failure::new(code::BAD_CONFIGURATION_KEY, "the sidecar's configuration names no archive")
            .fix(format!("kubectl pitr inject {} -n {} --archive URL", workload.name, workload.namespace)));
    }
    store.secret = pod.secret.clone().or(store.secret);
    store.refuse_unseen_files().map_err(|failure| {
        let secret = store.secret.as_deref().unwrap_or("NAME");
        failure.fix(format!(
            "put them into the Secret as key ca.crt, then: kubectl pitr inject {} -n {} --archive {} --secret {secret} \
             --set s3.ca_file={CREDENTIALS_DIRECTORY}/ca.crt, with the other flags as they were",
            workload.name, workload.namespace, store.url
        ))
    })?;
    Ok(store)
}

/// Gathers them.
pub(super) async fn gather(
    cluster: &Cluster,
    workload: &Workload,
    job: &JobArgs,
    run_as_user: Option<Owner>,
) -> Result<JobFacts, Failure> {
    let ArchiveFacts { image, mut server, store, archive_of, address, mysql_secret } =
        of_archive(cluster, workload, &job.pod).await?;
    let survey = if attach::is_archiver(&workload.object) {
        attach::survey()
    } else {
        let files = option_files(cluster, &workload.object).await;
        let hints = Hints { run_as_user, ..Hints::default() };
        survey(&workload.object, &hints, &|map| files.get(map).cloned())?
    };
    let owner = match run_as_user.or(copied::sidecar_owner(&workload.object)).or(survey.owner) {
        Some(owner) => Some(owner),
        None => examined_owner(cluster, (&survey.container, &survey.datadir), &workload.pods).await,
    };
    server.image = job.server_image.clone().unwrap_or_else(|| survey.image.clone());
    server.owner = owner;
    let (volume_bytes, storage_class) = volume(cluster, workload, &survey).await;
    Ok(JobFacts { image, server, store, archive_of, survey, address, mysql_secret, volume_bytes, storage_class })
}

/// Name of the volume in the pod template that holds the data.
pub(super) async fn data_volume(cluster: &Cluster, object: &StatefulSet) -> Result<String, Failure> {
    let files = option_files(cluster, object).await;
    let survey = survey(object, &Hints::default(), &|map| files.get(map).cloned())?;
    survey.mounts.first().map(|mount| mount.name.clone()).ok_or_else(|| {
        Failure::new(code::BINLOG_VOLUME_NOT_FOUND, "no volume of the workload holds its data".to_owned())
    })
}

/// The sidecar's configuration, and the Secret that its ConfigMap names for base backups.
async fn configuration(cluster: &Cluster, workload: &Workload) -> Result<(Value, Option<String>), Failure> {
    let name = config_map_name(&workload.name);
    let map = cluster.config_map(&name).await?.ok_or_else(|| {
        Failure::new(
            code::NOT_REACHABLE,
            format!("configmap \"{name}\" not found in namespace \"{}\"", workload.namespace),
        )
        .hint("the sidecar's configuration is in it")
        .fix(format!("kubectl pitr inject {} -n {} --archive URL", workload.name, workload.namespace))
    })?;
    let secret = map.metadata.annotations.as_ref().and_then(|a| a.get(ANNOTATION_MYSQL_SECRET).cloned());
    let text = map.data.as_ref().and_then(|d| d.get("config.yaml")).map(String::as_str).unwrap_or_default();
    Ok((copied::configuration(text)?, secret))
}

/// Size and class of the data's volume: what its claim has now, which may have grown, else what the workload asks for.
async fn volume(cluster: &Cluster, workload: &Workload, survey: &Survey) -> (Option<u64>, Option<String>) {
    let Some(name) = survey.mounts.first().map(|m| m.name.as_str()) else { return (None, None) };
    let (size, class) = copied::claim_template(&workload.object, name);
    let claim = cluster.claim(&format!("{name}-{}-0", workload.name)).await.ok().flatten();
    let Some(spec) = claim.as_ref().and_then(|c| c.spec.as_ref()) else { return (size, class) };
    let asked = spec.resources.as_ref().and_then(|r| r.requests.as_ref()).and_then(|r| r.get("storage"));
    let now = asked.and_then(|q| quantity(&q.0));
    (now.max(size), spec.storage_class_name.clone().or(class))
}

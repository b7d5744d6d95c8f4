//! Where a restore goes: names, volume and server of its Job, beside a workload or from the archive alone.

use anyhow::Result;
use pitr_archive::PlanKeys;
use pitr_archive::document::PlanDocument;
use pitr_recovery::{RestorePlan, code};
use serde_json::Value;

use super::facts::JobFacts;
use super::making::RestoreObjects;
use super::restore::named_after;
use super::standing;
use crate::args::{PathStyle, RestoreArgs};
use crate::cluster::Workload;
use crate::failure::Failure;
use crate::inject::attach;
use crate::inject::settings::default_image;
use crate::inject::sidecar::CREDENTIALS_DIRECTORY;
use crate::inject::survey::Owner;
use crate::objects::{
    self, Claim, OwnVolume, PLAN_BYTES_PLAIN_MAX, RestoreJob, Server, Store, sizing, stateful_set, stem,
};
use crate::render::{instead, sealed_parts};
use crate::state::micros;

/// The server's own image runs as this user, in the images that people use.
const IMAGE_OWNER: Owner = Owner { uid: 999, gid: Some(999) };
const DATADIR: &str = "/var/lib/mysql";

/// Everything about a restore but its plan's bytes.
pub(super) struct Destination {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) server: Server,
    workload: String,
    target: String,
    image: String,
    store: Store,
    datadir: String,
    mount_path: String,
    sub_path: Option<String>,
    size: String,
    storage_class: Option<String>,
    options: Vec<String>,
    identity_secret: Option<String>,
    /// Name of the new volume.
    claim: String,
    stateful_set: Option<String>,
    own_volume: Option<OwnVolume>,
    overrides: Option<Value>,
}

/// A name that Kubernetes takes for a Job, a claim and a label.
pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    if bytes.len() <= 52 && bytes.iter().all(|b| inner(*b)) && ends(bytes.first()) && ends(bytes.last()) {
        return Ok(());
    }
    Err(Failure::usage(format!("\"{name}\" cannot name a Job and a volume"))
        .hint("lower-case letters, digits and \"-\", at most 52, beginning and ending with a letter or digit"))
}

fn name(args: &RestoreArgs, workload: &str, plan: &RestorePlan) -> String {
    args.new_name.clone().unwrap_or_else(|| {
        let at = micros(named_after(plan)).strftime("%Y%m%d-%H%M%S").to_string();
        stem(&format!("{}-pitr-{at}", workload.replace('.', "-")))
    })
}

/// A restore beside its workload.
pub(super) fn beside(
    args: &RestoreArgs,
    workload: &Workload,
    facts: JobFacts,
    plan: &RestorePlan,
) -> Result<Destination, Failure> {
    let name = name(args, &workload.name, plan);
    let size = sizing::volume_size(args.size.as_deref(), facts.volume_bytes, sizing::restore_bytes(plan.parts()))?;
    if attach::is_archiver(&workload.object) {
        refuse_stateful_set(args)?;
    }
    let mount = facts.survey.mounts.first();
    let volume = mount.map(|m| m.name.as_str()).unwrap_or_default();
    if args.statefulset.is_some() {
        standing::refuse_shared(&workload.object, volume)?;
    }
    let adopted = args.statefulset.as_ref().map(|set| stateful_set::claim_name(&workload.object, volume, set));
    let mut server = facts.server;
    if server.image.is_empty() {
        server.image = server_image(plan);
    }
    let mut store = facts.store;
    store.claim = archive_claim(args, &store.url)?;
    Ok(Destination {
        claim: adopted.unwrap_or_else(|| name.clone()),
        stateful_set: args.statefulset.clone(),
        own_volume: None,
        name,
        namespace: workload.namespace.clone(),
        workload: workload.name.clone(),
        target: plan.parts().target.to_string(),
        image: facts.image,
        server,
        store,
        mount_path: mount.map_or_else(|| facts.survey.datadir.clone(), |m| m.mount_path.clone()),
        sub_path: mount.and_then(|m| m.sub_path.clone()),
        datadir: facts.survey.datadir,
        size,
        storage_class: args.storage_class.clone().or(facts.storage_class),
        identity_secret: args.identity_secret.clone(),
        options: args.proof.options(),
        overrides: args.job.overrides.clone(),
    })
}

/// A restore with no workload left: what cannot be copied comes from the base backup and the flags.
pub(super) fn from_archive(
    args: &RestoreArgs,
    namespace: &str,
    owner: Option<Owner>,
    plan: &RestorePlan,
) -> Result<Destination, Failure> {
    refuse_stateful_set(args)?;
    let parts = plan.parts();
    let of_archive = parts.workload.rsplit('/').next().unwrap_or(&parts.workload).to_owned();
    let workload = match &args.workload {
        Some(name) => name.parse::<crate::cluster::WorkloadName>()?.0,
        None => of_archive,
    };
    let url = args.archive.archive.clone().unwrap_or_default();
    let claim = archive_claim(args, &url)?;
    if claim.is_none() {
        let loopback = |e: &String| ["//127.", "//localhost", "//[::1]"].iter().any(|l| e.contains(l));
        if let Some(endpoint) = args.archive.endpoint.as_ref().filter(|e| loopback(e)) {
            return Err(no_identity(&url)
                .hint(format!("its pod cannot reach {endpoint}, which is this machine"))
                .fix("--endpoint with an address that pods reach; --plan works from here"));
        }
        if args.job.pod.secret.is_none() && args.job.pod.service_account.is_none() {
            return Err(no_identity(&url)
                .hint("your own credentials are never copied into the cluster")
                .fix("--secret NAME (keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or --service-account NAME"));
        }
    }
    let image = args.job.server_image.clone().unwrap_or_else(|| server_image(plan));
    let store = Store {
        url,
        region: args.archive.region.clone(),
        endpoint: args.archive.endpoint.clone(),
        path_style: path_style(args.archive.path_style),
        ca_file: args.archive.ca_bundle.as_ref().map(|file| file.display().to_string()),
        sse: args.archive.sse.clone(),
        checksum: None,
        storage_class: None,
        age_recipients: None,
        hash_key_file: None,
        secret: args.job.pod.secret.clone(),
        claim,
    };
    // With a plan in a file, nothing is read from here: --ca-bundle then names the file that the Job has.
    store.refuse_unseen_files().map_err(|failure| {
        failure.fix("put them into the Secret as key ca.crt, and name it with --secret NAME").fix(format!(
            "write the plan with --plan -o json, then --plan-file FILE --ca-bundle {CREDENTIALS_DIRECTORY}/ca.crt"
        ))
    })?;
    let name = name(args, &workload, plan);
    Ok(Destination {
        claim: name.clone(),
        stateful_set: None,
        own_volume: None,
        name,
        namespace: namespace.to_owned(),
        workload,
        target: parts.target.to_string(),
        image: args.job.pod.image.clone().unwrap_or_else(default_image),
        server: Server {
            image,
            service_account: args.job.pod.service_account.clone(),
            owner: owner.or(Some(IMAGE_OWNER)),
            ..Server::default()
        },
        store,
        datadir: DATADIR.to_owned(),
        mount_path: DATADIR.to_owned(),
        sub_path: None,
        size: sizing::volume_size(args.size.as_deref(), None, sizing::restore_bytes(parts))?,
        storage_class: args.storage_class.clone(),
        options: args.proof.options(),
        identity_secret: args.identity_secret.clone(),
        overrides: args.job.overrides.clone(),
    })
}

/// As the sidecar is told it; none where the store decides.
fn path_style(style: PathStyle) -> Option<String> {
    match style {
        PathStyle::Auto => None,
        PathStyle::Always => Some("always".to_owned()),
        PathStyle::Never => Some("never".to_owned()),
    }
}

/// Without a workload there is none to copy.
fn refuse_stateful_set(args: &RestoreArgs) -> Result<(), Failure> {
    if args.statefulset.is_some() {
        return Err(Failure::usage("--statefulset copies the server's StatefulSet, and there is none here")
            .hint("restore onto a volume that your own manifest's StatefulSet adopts: --new-name data-NAME-0"));
    }
    Ok(())
}

fn no_identity(url: &str) -> Failure {
    Failure::new(code::NO_STORE_IDENTITY, format!("the Job cannot read {url}"))
}

/// The claim that holds a `file://` archive, and where it is mounted.
fn archive_claim(args: &RestoreArgs, url: &str) -> Result<Option<(String, String)>, Failure> {
    let directory = url.strip_prefix("file://");
    match (directory, &args.archive_claim) {
        (Some(directory), Some(claim)) => Ok(Some((claim.clone(), directory.to_owned()))),
        (Some(_), None) => Err(no_identity(url).hint("a directory is not in the Job's pod").fix("--archive-claim PVC")),
        (None, Some(_)) => Err(Failure::usage("--archive-claim is for a file:// archive")),
        (None, None) => Ok(None),
    }
}

/// The public image of the base's server.
fn server_image(plan: &RestorePlan) -> String {
    let base = plan.base();
    let version: String = base.server_version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    format!("{}:{}", base.flavour, version.trim_end_matches('.'))
}

impl Destination {
    /// The same restore onto the workload's own volume.
    pub(super) fn in_place(self, claim: &str, own_volume: OwnVolume) -> Self {
        Self { claim: claim.to_owned(), stateful_set: None, own_volume: Some(own_volume), ..self }
    }

    /// Name of the volume that it restores onto.
    pub(super) fn claim(&self) -> &str {
        &self.claim
    }

    /// What the plan says it creates.
    pub(super) fn creates(&self) -> String {
        let class = self.storage_class.as_deref().unwrap_or("default class");
        let made = match &self.stateful_set {
            None => format!("persistentvolumeclaim, job, configmap {}", self.name),
            Some(_) => format!("persistentvolumeclaim {}; job, configmap {}", self.claim, self.name),
        };
        format!("{made} ({}, {class})", self.size)
    }

    /// Refuses a restore of an encrypted archive that nobody could open. A plan alone needs no identity.
    pub(super) fn refuse_without_identity(&self, plan: &RestorePlan, keys: &PlanKeys) -> Result<(), Failure> {
        let sealed = sealed_parts(plan, keys);
        if sealed.is_empty() || self.identity_secret.is_some() {
            return Ok(());
        }
        let message = format!("{} is encrypted, and no identity was given", self.store.url);
        let failure = Failure::new(code::IDENTITY_MISSING, message)
            .hint(format!("encrypted: {}", sealed.join("; ")))
            .hint("the sidecar holds public keys only; nothing was created")
            .fix("kubectl create secret generic NAME --from-file=identity=FILE, then --identity-secret NAME");
        Err(keys.others.iter().fold(failure, |failure, other| failure.fix(instead(other))))
    }

    /// The objects for a plan.
    pub(super) fn objects(&self, plan: &PlanDocument) -> Result<RestoreObjects> {
        let compressed = plan.bytes().len() > PLAN_BYTES_PLAIN_MAX;
        let job = RestoreJob {
            name: self.name.clone(),
            restore: self.name.clone(),
            namespace: self.namespace.clone(),
            workload: self.workload.clone(),
            target: self.target.clone(),
            plan_hash: plan.hash(),
            plan_compressed: compressed,
            image: self.image.clone(),
            server: self.server.clone(),
            store: self.store.clone(),
            datadir: self.datadir.clone(),
            mount_path: self.mount_path.clone(),
            sub_path: self.sub_path.clone(),
            options: self.options.clone(),
            identity_secret: self.identity_secret.clone(),
            stateful_set: self.stateful_set.clone(),
            own_volume: self.own_volume.clone(),
        };
        let claim =
            Claim { name: self.claim.clone(), size: self.size.clone(), storage_class: self.storage_class.clone() };
        let stored = if compressed { gzip(plan.bytes())? } else { plan.bytes().to_vec() };
        Ok(RestoreObjects {
            claim: objects::claim(&job, &claim),
            job: objects::overridden(objects::restore_job(&job, &claim.name), self.overrides.as_ref())?,
            plan: objects::plan_config_map(&job, &stored),
        })
    }
}

/// Large plans are stored compressed: a ConfigMap holds 1 MiB.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

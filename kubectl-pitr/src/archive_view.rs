//! The archive read from where the user sits, with no cluster at all: inventory, windows, plans, and what a transaction did.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitr_archive::document::{BackupsDocument, BinlogFilter, BinlogsDocument, PlanDocument, WindowsDocument};
use pitr_archive::{
    Archive, ArchiveUrl, Credentials, Estimate, OptionError, PlanKeys, Proofs, RetryPolicy, Retrying, S3Options,
    ServerEncryption, StopDescription, connect,
};
use pitr_recovery::{PlanRequest, RestorePlan, Timeline};
use serde_json::Value;

use crate::args::{ArchiveArgs, PathStyle};
use crate::failure::Failure;
use crate::question::Question;
use crate::refusal;
use crate::render::{binary_size, duration};
use crate::state::{Backups, Verify, Windows};

/// Someone waits in front of a terminal: a store that does not answer is told about soon.
const PATIENCE: Duration = Duration::from_secs(10);

/// An archive and what its inventory means.
pub struct ArchiveView {
    pub url: String,
    /// What it belongs to: `shop/mysql`.
    pub workload: String,
    /// The flags that name it: ` --archive URL --endpoint URL`.
    pub flags: String,
    /// Flavour and version of the server that wrote last.
    pub server: Option<(String, String)>,
    /// What others have proven of it.
    pub proofs: Proofs,
    archive: Archive,
    timeline: Timeline,
}

/// Checks the flags: no call to a store is made.
pub fn location(args: &ArchiveArgs) -> Result<Option<(ArchiveUrl, S3Options)>, Failure> {
    let Some(url) = &args.archive else { return Ok(None) };
    let url: ArchiveUrl = url.parse().map_err(|e| refusal::bad_url(&e))?;
    if url == ArchiveUrl::Memory {
        return Err(Failure::usage("\"memory:\" is no archive that outlives a process"));
    }
    let options = S3Options {
        endpoint: args.endpoint.clone(),
        region: args.region.clone(),
        path_style: match args.path_style {
            PathStyle::Auto => None,
            PathStyle::Always => Some(true),
            PathStyle::Never => Some(false),
        },
        ca_file: args.ca_bundle.clone(),
        credentials: Credentials::Environment,
        encryption: match &args.sse {
            None => ServerEncryption::None,
            Some(sse) => sse.parse().map_err(|reason: OptionError| Failure::usage(format!("--sse: {reason}")))?,
        },
        ..S3Options::default()
    };
    Ok(Some((url, options)))
}

/// The flags that lead to an archive, for commands to paste.
fn flags(url: &str, options: &S3Options) -> String {
    // With the others a reader needs nothing.
    let sse = match &options.encryption {
        ServerEncryption::Customer(file) => Some(format!("c:{}", file.display())),
        _ => None,
    };
    let flags = [
        ("--archive", Some(url.to_owned())),
        ("--endpoint", options.endpoint.clone()),
        ("--region", options.region.clone()),
        ("--path-style", options.path_style.map(|always| if always { "always" } else { "never" }.to_owned())),
        ("--ca-bundle", options.ca_file.as_ref().map(|file| file.display().to_string())),
        ("--sse", sse),
    ];
    flags.into_iter().filter_map(|(flag, value)| value.map(|value| format!(" {flag} {value}"))).collect()
}

/// The archive itself, for long work on it.
pub struct Direct {
    pub archive: Archive,
    pub url: String,
    /// The flags that name it: ` --archive URL --endpoint URL`.
    pub flags: String,
    /// What it belongs to: `shop/mysql`.
    pub workload: String,
}

/// Opens the archive and reads nothing but whose it is.
pub async fn connected(location: &(ArchiveUrl, S3Options), clock: fn() -> Timestamp) -> Result<Direct, Failure> {
    let (archive, url) = opened((&location.0, &location.1), clock, RetryPolicy::interactive()).await?;
    let workload = archive.workload().await.map_err(|error| refusal::archive(&error, &url))?;
    Ok(Direct { flags: flags(&url, &location.1), archive, url, workload })
}

async fn opened(
    (url, options): (&ArchiveUrl, &S3Options),
    clock: fn() -> Timestamp,
    patience: RetryPolicy,
) -> Result<(Archive, String), Failure> {
    let shown = url.to_string();
    let store = connect(url, options).await.map_err(|e| refusal::store(&e, &shown))?;
    Ok((Archive::open(Arc::new(Retrying::new(store, patience)), Arc::new(clock)), shown))
}

impl ArchiveView {
    /// Reads the inventory and whatever makes its windows exact.
    pub async fn open((url, options): &(ArchiveUrl, S3Options), clock: fn() -> Timestamp) -> Result<Self, Failure> {
        let patience = RetryPolicy::within(PATIENCE);
        let (archive, shown) = opened((url, options), clock, patience).await?;
        let told = |e| refusal::archive(&e, &shown);
        let workload = archive.workload().await.map_err(told)?;
        let (inventory, report) = archive.inventory().await.map_err(told)?;
        for (key, reason) in &report.unreadable {
            tracing::warn!(key, reason, "an object of the archive cannot be read and is passed over");
        }
        let newest = inventory.binlogs.iter().max_by_key(|b| b.ranges.iter().map(|r| r.max_commit_us).max());
        let server = newest.map(|b| (b.flavour.to_string(), b.server_version.clone()));
        let flags = flags(&shown, options);
        let timeline = archive.exact(Timeline::new(inventory)).await.map_err(told)?;
        let proofs = archive.proofs().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "nobody can say what verification and restore drills have proven");
            Proofs::default()
        });
        Ok(Self { url: shown, flags, workload, server, proofs, archive, timeline })
    }

    /// The plan for a target.
    pub async fn plan(self, request: &PlanRequest, now: Timestamp) -> Result<(Self, PlanDocument), Failure> {
        let pace = self.archive.last_pace().await.map(|pace| pace.of_restores()).unwrap_or_default();
        let request = &PlanRequest { pace, ..request.clone() };
        let planned = self.archive.plan(self.timeline, request).await;
        let (timeline, plan) = planned.map_err(|e| refusal::archive(&e, &self.url))?;
        let plan = plan.map_err(|a| refusal::unrecoverable(&a, (request, &self.workload), now))?;
        let document = PlanDocument::new(plan).map_err(|e| Failure::without_code(1, e.to_string()))?;
        Ok((Self { timeline, ..self }, document))
    }

    /// How long a plan may take, in words.
    pub async fn estimate(&self, plan: &RestorePlan) -> String {
        let pace = self.archive.last_pace().await;
        Estimate::of(plan.parts(), pace.as_ref()).text(binary_size, duration)
    }

    /// What a restore by a plan for this request must be able to open, besides its base.
    pub async fn keys(&self, request: &PlanRequest, plan: &RestorePlan) -> PlanKeys {
        self.archive.plan_keys(self.timeline.clone(), request, plan).await
    }

    pub fn windows(&self) -> Windows {
        documents(&WindowsDocument::from(&self.timeline))
    }

    pub fn verify(&self) -> Verify {
        documents(&self.proofs.document())
    }

    pub fn backups(&self) -> Backups {
        documents(&BackupsDocument::from(&self.timeline))
    }

    /// The timeline as a document, with the transactions that are sought.
    pub async fn timeline(&self, question: &Question) -> Result<Value, Failure> {
        let branch = question.branch.as_deref();
        let told = self.archive.tell_timeline(&self.timeline, branch, question.sought.clone()).await;
        let document = told.map_err(|e| refusal::search(&e, &self.timeline, &self.url))?;
        serde_json::to_value(document).map_err(|e| Failure::without_code(1, e.to_string()))
    }

    /// The archived binlogs as a document.
    pub fn binlogs(&self, filter: &BinlogFilter) -> Result<Value, Failure> {
        serde_json::to_value(BinlogsDocument::new(&self.timeline, filter))
            .map_err(|e| Failure::without_code(1, e.to_string()))
    }

    /// What the transactions next to a plan's stop did.
    pub async fn describe_stop(&self, plan: &RestorePlan) -> StopDescription {
        self.archive.describe_stop(self.timeline.inventory(), plan).await
    }
}

/// The same documents as a sidecar answers, read the same way.
fn documents<T: serde::Serialize, D: serde::de::DeserializeOwned + Default>(document: &T) -> D {
    serde_json::to_value(document).ok().and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_an_archive_is_said_whole() {
        let args = ArchiveArgs {
            archive: Some("s3://backups/shop".into()),
            path_style: PathStyle::Always,
            ca_bundle: Some("/etc/ca.pem".into()),
            ..ArchiveArgs::default()
        };
        let (url, options) = location(&args).unwrap().unwrap();
        let expected = " --archive s3://backups/shop --path-style always --ca-bundle /etc/ca.pem";
        assert_eq!(flags(&url.to_string(), &options), expected);
    }
}

//! Who answers a question about one workload: its sidecars, or its archive.

use std::time::Duration;

use anyhow::Result;
use pitr_archive::document::BinlogFilter;
use serde_json::Value;

use super::source;
use crate::archive_view::ArchiveView;
use crate::args::{ArchiveArgs, StateArgs};
use crate::cluster::{Cluster, Workload, WorkloadName};
use crate::failure::Failure;
use crate::question::{Question, binlogs_path};
use crate::session::Session;

/// An answer may be read from the store.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A workload that can be asked.
pub(super) enum Origin {
    Sidecars(Box<Sidecars>),
    Archive(Box<ArchiveView>),
}

/// The sidecars of a workload, and how they are asked.
pub(super) struct Sidecars {
    cluster: Cluster,
    workload: Workload,
    pods: Vec<String>,
    state: StateArgs,
}

impl Origin {
    pub(super) async fn find(
        session: &Session,
        name: Option<&str>,
        (state, archive): (&StateArgs, &ArchiveArgs),
    ) -> Result<Self> {
        if let Some(location) = source::archive(archive, state)? {
            return Ok(Self::Archive(Box::new(source::view(session, &location, name).await?)));
        }
        let name = name.map(str::parse::<WorkloadName>).transpose()?;
        let cluster = session.cluster().await?;
        let workload = source::one_workload(&cluster, name.as_ref()).await?;
        let cluster = cluster.in_namespace(&workload.namespace);
        Ok(Self::of(session, cluster, workload, state).await)
    }

    /// The sidecars of a workload; `cluster` is in its namespace.
    pub(super) async fn of(session: &Session, cluster: Cluster, workload: Workload, state: &StateArgs) -> Self {
        let pods = source::pods_to_ask(&cluster, &workload, state, session.now()).await;
        let state = StateArgs { via_timeout: state.via_timeout.max(ANSWER_LIMIT), ..state.clone() };
        Self::Sidecars(Box::new(Sidecars { cluster, workload, pods, state }))
    }

    /// What follows the verb in a command about this workload: `mysql -n shop`.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Sidecars(of) => of.workload.place(),
            Self::Archive(view) => view.flags.trim_start().to_owned(),
        }
    }

    pub(super) async fn timeline(&self, question: &Question) -> Result<Value, Failure> {
        match self {
            Self::Archive(view) => view.timeline(question).await,
            Self::Sidecars(of) => of.asked(&question.path()).await,
        }
    }

    pub(super) async fn binlogs(&self, filter: &BinlogFilter) -> Result<Value, Failure> {
        match self {
            Self::Archive(view) => view.binlogs(filter),
            Self::Sidecars(of) => of.asked(&binlogs_path(filter)).await,
        }
    }
}

impl Sidecars {
    async fn asked(&self, path: &str) -> Result<Value, Failure> {
        source::document(&self.cluster, (&self.workload, &self.pods), path, &self.state).await
    }
}

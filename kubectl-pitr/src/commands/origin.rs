//! Who answers a question about one workload: itself, or its archive.

use std::time::Duration;

use anyhow::Result;
use pitr_archive::document::BinlogFilter;
use serde_json::Value;

use super::asking::Asking;
use super::source;
use crate::archive_view::ArchiveView;
use crate::args::{ArchiveArgs, StateArgs};
use crate::cluster::WorkloadName;
use crate::failure::Failure;
use crate::question::{Question, binlogs_path};
use crate::session::Session;

/// An answer may be read from the store.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A workload that can be asked.
pub(super) enum Origin<'a> {
    Workload(Box<Asking<'a>>),
    Archive(Box<ArchiveView>),
}

impl<'a> Origin<'a> {
    pub(super) async fn find(
        session: &'a Session,
        name: Option<&str>,
        (state, archive): (&StateArgs, &ArchiveArgs),
    ) -> Result<Self> {
        if let Some(location) = source::archive(archive, state)? {
            return Ok(Self::Archive(Box::new(source::view(session, &location, name).await?)));
        }
        let name = name.map(str::parse::<WorkloadName>).transpose()?;
        let cluster = session.cluster().await?;
        let workload = source::one_workload(&cluster, name.as_ref()).await?;
        let asking = Asking::of(session, &cluster, &workload, state).await;
        Ok(Self::Workload(Box::new(asking.patient(ANSWER_LIMIT))))
    }

    /// Nobody is asked for a Job.
    pub(super) fn without_offer(self) -> Self {
        match self {
            Self::Workload(asking) => Self::Workload(Box::new(asking.without_offer())),
            archive @ Self::Archive(_) => archive,
        }
    }

    /// What follows the verb in a command about this workload: `mysql -n shop`.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Workload(asking) => asking.place(),
            Self::Archive(view) => view.flags.trim_start().to_owned(),
        }
    }

    /// Whether each answer is a Job's, which Ctrl-C must not leave behind.
    pub(super) fn is_by_job(&self) -> bool {
        match self {
            Self::Workload(asking) => asking.is_by_job(),
            Self::Archive(_) => false,
        }
    }

    pub(super) async fn timeline(&self, question: &Question) -> Result<Value, Failure> {
        match self {
            Self::Workload(asking) => asking.document(&question.path()).await,
            Self::Archive(view) => view.timeline(question).await,
        }
    }

    pub(super) async fn binlogs(&self, filter: &BinlogFilter) -> Result<Value, Failure> {
        match self {
            Self::Workload(asking) => asking.document(&binlogs_path(filter)).await,
            Self::Archive(view) => view.binlogs(filter),
        }
    }
}

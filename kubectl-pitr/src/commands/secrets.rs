//! The Secrets that a command names for others to mount: whether they are there, before a pod waits for one of them.

use pitr_recovery::code;

use super::check_pre::said;
use crate::cluster::{Cluster, Presence};
use crate::failure::Failure;
use crate::state::{Area, Check, Mark};

/// What a Secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The sidecar's credentials of the store: its pods mount it.
    Store,
    /// The account that reads a server over a connection: the archiver's pod mounts it.
    Account,
    /// The account of base backups: their Jobs mount it.
    Backups,
}

/// A Secret that is named, and whether it is there.
#[derive(Debug)]
pub(super) struct Named {
    name: String,
    purpose: Purpose,
    presence: Presence,
}

/// Looks at those that are named.
pub(super) async fn look(cluster: &Cluster, named: &[(Option<&str>, Purpose)]) -> Vec<Named> {
    let mut seen = Vec::new();
    for (name, purpose) in named {
        let Some(name) = name else { continue };
        seen.push(Named { name: (*name).to_owned(), purpose: *purpose, presence: cluster.secret(name).await });
    }
    seen
}

impl Named {
    fn stops(&self) -> &'static str {
        match self.purpose {
            Purpose::Store | Purpose::Account => "no pod that mounts it starts, whatever else is in it",
            Purpose::Backups => "no base backup starts",
        }
    }

    /// What whoever injects should know, as a line of the report; nothing of one that is there.
    pub(super) fn note(&self) -> Option<String> {
        let (name, stops) = (&self.name, self.stops());
        match &self.presence {
            Presence::There => None,
            Presence::Absent => Some(format!("  secret   \"{name}\" is not there yet: without it {stops}")),
            Presence::Unseen(reason) => {
                Some(format!("  secret   \"{name}\" could not be looked at ({reason}): without it {stops}"))
            }
        }
    }

    /// The same as a line of `check --pre`.
    pub(super) fn check(&self, namespace: &str) -> Check {
        let name = &self.name;
        match &self.presence {
            Presence::There => said(Area::Cluster, Mark::Good, format!("secret \"{name}\" is there")),
            Presence::Absent => Check {
                hint: Some(self.make(namespace)),
                code: Some(code::NOT_REACHABLE),
                ..said(Area::Cluster, Mark::Bad, format!("secret \"{name}\" is not there: {}", self.stops()))
            },
            Presence::Unseen(reason) => Check {
                hint: Some("only \"get secrets\" shows it, which no Role of ours grants".to_owned()),
                ..said(Area::Cluster, Mark::Warning, format!("secret \"{name}\" could not be looked at: {reason}"))
            },
        }
    }

    /// Refuses a change after which pods would not start.
    pub(super) fn refuse_absent(&self, namespace: &str) -> Result<(), Failure> {
        if self.presence != Presence::Absent || self.purpose == Purpose::Backups {
            return Ok(());
        }
        let message = format!("secret \"{}\" not found in namespace \"{namespace}\"", self.name);
        Err(Failure::new(code::NOT_REACHABLE, message)
            .hint(format!("{}; nothing was changed", self.stops()))
            .fix(self.make(namespace)))
    }

    /// The command that makes it.
    fn make(&self, namespace: &str) -> String {
        let content = match self.purpose {
            Purpose::Store => "--from-literal=AWS_ACCESS_KEY_ID=... --from-literal=AWS_SECRET_ACCESS_KEY=...",
            Purpose::Account => "--from-literal=password=... --from-file=my.cnf",
            Purpose::Backups => "--from-file=my.cnf",
        };
        format!("kubectl create secret generic {} -n {namespace} {content}", self.name)
    }
}

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::checks::literal;
use super::client::duration;
use super::{ArchiveArgs, DataChecks, JobArgs, ListArgs, StateArgs, TargetArgs};

/// Restore to an instant or a transaction, onto a new volume or in place
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kubectl pitr restore mysql -n shop --to 2026-11-21T07:14:03Z --plan\n  \
kubectl pitr restore mysql -n shop --to 2026-11-21T07:14:03Z --in-place --plan\n\nNeeds: \
statefulsets get,list; pods list; pods/log get; pods/portforward get,create;\njobs create,get; configmaps \
create,get; persistentvolumeclaims create,get. With --plan only the first four.\nIn place: statefulsets/scale get,patch; jobs \
list,delete; configmaps patch,delete;\nhorizontalpodautoscalers list. No persistentvolumeclaims create.")]
pub struct RestoreArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME; with --archive only a name for the new objects
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Show what would be done and create nothing; with -o json the plan's exact bytes, for --plan-file
    #[arg(long)]
    pub plan: bool,
    /// Carry out a plan made earlier, as it is
    #[arg(long, value_name = "FILE", group = "target", conflicts_with_all = ["from_backup", "branch", "skip_gtid", "nearest", "allow_gap", "clock", "accept_early_stop"])]
    pub plan_file: Option<PathBuf>,
    /// Name of the Job and of the new volume [default: WORKLOAD-pitr-YYYYMMDD-HHMMSS of the target]
    #[arg(long, value_name = "NAME")]
    pub new_name: Option<String>,
    /// Name the volume so that a StatefulSet of this name adopts it; "restores statefulset" prints that one once it is verified
    #[arg(long, value_name = "NAME")]
    pub statefulset: Option<String>,
    /// StorageClass of the new volume [default: that of the workload's volume]
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Size of the new volume [default: that of the workload's volume, or more if the plan needs it]
    #[arg(long, value_name = "SIZE")]
    pub size: Option<String>,
    /// User and group that the server runs as [default: the workload's]
    #[arg(long, value_name = "UID[:GID]")]
    pub run_as_user: Option<String>,
    #[command(flatten)]
    pub in_place: InPlaceArgs,
    #[command(flatten)]
    pub proof: ProofArgs,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub state: StateArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Secret whose key "identity" opens an encrypted archive; only the restore's pod sees it
    #[arg(long, value_name = "NAME")]
    pub identity_secret: Option<String>,
    /// Claim that holds a file:// archive: it is mounted at the URL's directory
    #[arg(long, value_name = "PVC")]
    pub archive_claim: Option<String>,
}

/// Into the workload itself
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "In place")]
#[group(skip)]
pub struct InPlaceArgs {
    /// Scale the workload to 0, exchange the data on its own volume, scale it back; the old data is kept until "restores finish"
    #[arg(long, conflicts_with_all = ["archive", "statefulset", "storage_class", "size"])]
    pub in_place: bool,
    /// The workload's name, to confirm without a terminal
    #[arg(long, value_name = "WORKLOAD", requires = "in_place")]
    pub confirm: Option<String>,
    /// How the old data is kept: renamed, on the same volume ("snapshot" is not built yet)
    #[arg(long, value_enum, value_name = "WAY", default_value = "rename")]
    pub safety: Safety,
    /// What becomes of the other replicas: it comes back with 1, and they are made anew by hand ("keep" is not built yet)
    #[arg(long, value_enum, value_name = "PLAN", requires = "in_place")]
    pub replicas_plan: Option<ReplicasPlan>,
    /// Go on although an operator, Git or an autoscaler may scale the workload meanwhile
    #[arg(long, requires = "in_place")]
    pub allow_drift: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Safety {
    #[default]
    Rename,
    Snapshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReplicasPlan {
    Reclone,
    Keep,
}

/// What the Job does beside the replay, on the server that it runs
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Proof and results")]
#[group(skip)]
pub struct ProofArgs {
    /// Write these tables (or SCHEMA.*) down as SQL files on the new volume too: .pitr/dump (repeatable, or with commas)
    #[arg(long, value_name = "SCHEMA.TABLE", value_delimiter = ',', value_parser = table)]
    pub tables: Vec<String>,
    /// How those files are laid out: one file a table for mysql, or a directory that myloader reads
    #[arg(long, value_name = "LAYOUT", default_value = "mysql", value_parser = ["mysql", "mydumper"], requires = "tables")]
    pub dump_layout: String,
    #[command(flatten)]
    pub checks: DataChecks,
    /// What becomes of XA transactions that the target leaves prepared
    #[arg(long, value_name = "POLICY", default_value = "keep", value_parser = ["keep", "rollback", "fail"])]
    pub xa: String,
    /// Transactions that are committed as one, at most; 1 applies each as it was written [N or auto]
    #[arg(long, value_name = "N", default_value = "auto", value_parser = batch)]
    pub batch: String,
    /// How the log is applied: by the server as a replica of the archive, or by mysqlbinlog and mysql of its image (slower)
    #[arg(long, value_name = "ENGINE", default_value = "replication", value_parser = ["replication", "pipe"])]
    pub engine: String,
}

fn batch(text: &str) -> Result<String, String> {
    match text.parse::<u32>() {
        _ if text == "auto" => Ok(text.to_owned()),
        Ok(1..) => Ok(text.to_owned()),
        Ok(0) | Err(_) => Err("a number from 1 on, or auto".to_owned()),
    }
}

fn table(text: &str) -> Result<String, String> {
    match text.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() => Ok(text.to_owned()),
        _ => Err("not SCHEMA.TABLE or SCHEMA.*".to_owned()),
    }
}

impl ProofArgs {
    /// The same for the Job's program.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = self.tables.iter().map(|t| format!("--tables={}", literal(t))).collect();
        options.extend((self.dump_layout == "mydumper").then(|| "--dump-layout=mydumper".to_owned()));
        options.extend(self.checks.options());
        options.extend((!matches!(self.xa.as_str(), "" | "keep")).then(|| format!("--xa={}", self.xa)));
        options.extend((!matches!(self.batch.as_str(), "" | "auto")).then(|| format!("--batch={}", self.batch)));
        options.extend((self.engine == "pipe").then(|| "--engine=pipe".to_owned()));
        options
    }
}

/// What another attempt at a restore does otherwise than the one before it
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Otherwise than before")]
#[group(skip)]
pub struct ChangeArgs {
    /// Tables to write down, instead of those that were asked for (repeatable, or with commas)
    #[arg(long, value_name = "SCHEMA.TABLE", value_delimiter = ',', value_parser = table)]
    pub tables: Vec<String>,
    /// What becomes of XA transactions that the target leaves prepared
    #[arg(long, value_name = "POLICY", value_parser = ["keep", "rollback", "fail"])]
    pub xa: Option<String>,
    /// Transactions that are committed as one, at most; 1 is slower and names the very one that the server refuses
    #[arg(long, value_name = "N|auto", value_parser = batch)]
    pub batch: Option<String>,
    /// How the log is applied
    #[arg(long, value_name = "ENGINE", value_parser = ["replication", "pipe"])]
    pub engine: Option<String>,
}

impl ChangeArgs {
    /// The same for the Job's program.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = self.tables.iter().map(|t| format!("--tables={}", literal(t))).collect();
        options.extend(self.xa.as_ref().map(|policy| format!("--xa={policy}")));
        options.extend(self.batch.as_ref().map(|size| format!("--batch={size}")));
        options.extend(self.engine.as_ref().map(|engine| format!("--engine={engine}")));
        options
    }
}

/// List, describe, attach, serve, finish, resume, abort or prune restores
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr restores -n shop\n  kubectl pitr restores -A -l kubectl-pitr/workload=mysql --sort-by .state\n\nNeeds: pods list; pods/log get; jobs get,list; \
                  persistentvolumeclaims list. resume: jobs create; configmaps create,get. abort, prune, finish: jobs delete. In place: as restore --in-place. \
                  serve: pods get,create; finish: pods delete. statefulset: statefulsets, configmaps get. \
                  --with-volumes: persistentvolumeclaims delete."
)]
pub struct RestoresArgs {
    #[command(subcommand)]
    pub verb: Option<RestoresVerb>,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub enum RestoresVerb {
    /// A row per restore
    List(ListArgs),
    /// Everything known of one restore
    Describe { name: String },
    /// Follow a restore to its end
    Attach {
        name: String,
        /// Stop waiting after this time; the Job runs on
        #[arg(long, default_value = "6h", value_parser = duration, value_name = "DURATION")]
        timeout: Duration,
    },
    /// Go on with a restore that ended early, on the same volume and by the same plan
    Resume {
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
        /// The workload's name, to confirm without a terminal that it is stopped (of a restore in place, while the workload runs)
        #[arg(long, value_name = "WORKLOAD")]
        confirm: Option<String>,
        /// Stop waiting after this time; the Job runs on
        #[arg(long, default_value = "6h", value_parser = duration, value_name = "DURATION")]
        timeout: Duration,
    },
    /// Stop a restore that is not verified: its Jobs are deleted, its volume stays. In place: put the old data back
    Abort {
        name: String,
        /// The workload's name, to confirm without a terminal (of a restore in place)
        #[arg(long, value_name = "WORKLOAD")]
        confirm: Option<String>,
        /// Stop waiting after this time (of a restore in place)
        #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
        timeout: Duration,
    },
    /// Run a server on a verified restore, read-only, to look around or to dump one table
    Serve {
        name: String,
        /// Stop waiting for it after this time
        #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION")]
        timeout: Duration,
    },
    /// Print a StatefulSet that stands on a verified restore, and its Service: the workload's own with one replica and no sidecar
    Statefulset { name: String },
    /// End a verified restore: its server and its Jobs go, its volume stays. In place: delete the old data
    Finish {
        name: String,
        /// The workload's name, to confirm without a terminal (of a restore in place)
        #[arg(long, value_name = "WORKLOAD")]
        confirm: Option<String>,
        /// Stop waiting after this time (of a restore in place)
        #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
        timeout: Duration,
    },
    /// Delete the Jobs of restores that ended
    Prune {
        /// Only those that ended this long ago
        #[arg(long, default_value = "7d", value_parser = duration, value_name = "DURATION")]
        older_than: Duration,
        /// Delete the restored volumes too, but those that a running pod mounts
        #[arg(long)]
        with_volumes: bool,
        /// The namespace, to confirm without a terminal
        #[arg(long, value_name = "NAMESPACE")]
        confirm: Option<String>,
    },
}

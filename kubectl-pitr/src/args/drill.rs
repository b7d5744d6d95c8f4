use clap::Args;

use super::{DataChecks, JobArgs};

/// Restore to scratch, verify, and throw the data away: proof that a restore works, now or by a schedule
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr drill mysql -n shop\n  kubectl pitr drill mysql -n shop --schedule '0 4 * * 0' --assert 'SELECT COUNT(*) > 0 FROM shop.orders'\n\nA real restore \
                  to the end of what is archived, by the server's own image, on a volume that comes and goes with the Job. Its result stays in the archive: \"status\" \
                  tells its age and how long it took, a failed one as PITR0514 until another passes, and plans estimate with its pace. Exit 0 when it passed, 5 when not.\n\n\
                  Its store identity needs ListBucket and GetObject, and PutObject and DeleteObject on drills/ to leave the result.\n\nNeeds: \
                  statefulsets get; configmaps get; jobs create,get; pods list; pods/log get. --schedule: cronjobs create,get,patch instead of jobs."
)]
pub struct DrillArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Restore to this instant instead: RFC 3339 with an offset, or latest
    #[arg(long, value_name = "TIME", conflicts_with = "schedule")]
    pub to: Option<String>,
    #[command(flatten)]
    pub checks: DataChecks,
    /// Room for the whole server, such as 60Gi [default: the size of its own volume]
    #[arg(long, value_name = "SIZE")]
    pub scratch_size: Option<String>,
    /// StorageClass of that room; "emptydir" takes it from the node's disk
    #[arg(long, value_name = "CLASS")]
    pub scratch_class: Option<String>,
    /// Secret whose key "identity" opens an encrypted archive; only the drill's pod sees it
    #[arg(long, value_name = "NAME")]
    pub identity_secret: Option<String>,
    /// Not now but again and again: five fields of cron, in UTC, such as "0 4 * * 0"; makes a CronJob, or changes it
    #[arg(long, value_name = "CRON", conflicts_with_all = ["wait", "timeout"])]
    pub schedule: Option<String>,
    #[command(flatten)]
    pub job: JobArgs,
}

impl DrillArgs {
    /// What the Job's program is told.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        self.to.iter().map(|time| format!("--to={time}")).chain(self.checks.options()).collect()
    }
}

use clap::Args;

use super::{ArchiveArgs, JobArgs};

/// Is what the archive names there, and is it what was stored?
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr verify mysql -n shop\n  kubectl pitr verify mysql -n shop --sample 5% --schedule '30 4 * * *'\n\nEvery object that \
                  the archive names is looked for; all of it, or a sample that rotates, is fetched and checked. Exit 0 when all is \
                  well, 3 when something is not.\n\nIt runs as a Job with the store identity of the sidecar. That one also needs \
                  PutObject and DeleteObject on verified/ to leave the result, and on catalog/ for --rebuild-catalog.\n\nNeeds: \
                  statefulsets get; configmaps get; jobs create,get; pods list; pods/log get. --schedule: cronjobs \
                  create,get,patch instead of jobs. With --archive: nothing in the cluster, it runs here."
)]
pub struct VerifyArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// How much of it is fetched; each run takes the part that was read longest ago
    #[arg(long, default_value = "100%", value_name = "N%", value_parser = percent)]
    pub sample: u32,
    /// Walk the events too: their checksums, and whether each segment's index fits them
    #[arg(long)]
    pub deep: bool,
    /// First make the catalog again from the headers of all segments
    #[arg(long)]
    pub rebuild_catalog: bool,
    /// Not now but again and again: five fields of cron, in UTC; makes a CronJob, or changes it
    #[arg(long, value_name = "CRON", conflicts_with = "rebuild_catalog")]
    pub schedule: Option<String>,
    /// Secret whose key "identity" opens an encrypted archive: without it only what is in clear and the hashes of what is stored are checked
    #[arg(long, value_name = "NAME", conflicts_with = "archive")]
    pub identity_secret: Option<String>,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// What may leave the archive under the retention policy; deletes nothing without --confirm
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kubectl pitr prune mysql -n shop\n  kubectl pitr prune mysql -n shop --confirm mysql\n  kubectl pitr prune mysql -n shop --schedule '15 3 * * *' --secret pitr-pruner --confirm mysql\n\nThe \
                  policy is the \"retention\" section of the sidecar's configuration, with what is typed laid over it. What expires is \
                  marked first, and deleted when its mark is as old as the grace: run it again and again.\n\nIt runs as a Job. Its \
                  store identity (--secret, --service-account) needs ListBucket and GetObject for the plan, and PutObject and \
                  DeleteObject with --confirm.\n\nNeeds: statefulsets get; configmaps get; jobs create,get; pods list; pods/log \
                  get. --schedule: cronjobs create,get,patch instead of jobs. With --archive: nothing in the cluster, it runs here."
)]
pub struct PruneArgs {
    /// NAME, sts/NAME or statefulset.apps/NAME
    #[arg(value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// How far back every instant stays restorable [default: retention.window of the configuration]
    #[arg(long, value_name = "DURATION")]
    pub window: Option<String>,
    /// Usable base backups to keep at least
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u64>,
    /// Between the mark and the deletion of what expires
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<String>,
    /// A base backup that stays, with the binlogs after it, beside those that are pinned (repeatable)
    #[arg(long = "pin", value_name = "ID")]
    pub pins: Vec<String>,
    /// Let a window shrink that was promised to be longer
    #[arg(long, conflicts_with = "schedule")]
    pub force: bool,
    /// The workload's name: mark what expires, and delete what was marked a grace ago
    #[arg(long, value_name = "WORKLOAD")]
    pub confirm: Option<String>,
    /// Not now but again and again: five fields of cron, in UTC; makes a CronJob, or changes it
    #[arg(long, value_name = "CRON")]
    pub schedule: Option<String>,
    #[command(flatten)]
    pub job: JobArgs,
    #[command(flatten)]
    pub archive: ArchiveArgs,
}

/// `20%` or `20`.
fn percent(text: &str) -> Result<u32, String> {
    let number = text.trim_end_matches('%').parse().ok().filter(|percent| (1..=100).contains(percent));
    number.ok_or_else(|| "1% to 100%: at 5% everything has been read after 20 runs".to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sample_is_a_percentage() {
        assert_eq!(super::percent("5%"), Ok(5));
        assert_eq!(super::percent("100"), Ok(100));
        for bad in ["0%", "101%", "all", ""] {
            assert!(super::percent(bad).is_err(), "{bad}");
        }
    }
}

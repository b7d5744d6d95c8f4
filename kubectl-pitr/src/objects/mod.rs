//! The objects that the plugin creates, as values: the same facts give the same objects, byte for byte.

mod backup;
pub mod copied;
mod cron;
mod drill;
pub mod in_place;
mod inspect;
mod job;
mod names;
mod overrides;
mod pod;
mod restore;
pub mod resume;
pub mod serve;
pub mod sizing;
pub mod stateful_set;
mod upkeep;

pub use backup::{BackupJob, CONTAINER as BACKUP_CONTAINER, Scratch, backup_job};
pub use cron::{cron_job, name as cron_name};
pub use drill::{COMPONENT as DRILL_COMPONENT, DrillJob, drill_job};
pub use inspect::{CONTAINER as INSPECT_CONTAINER, InspectJob, inspect_job};
pub use names::{job_name, labels, stem};
pub use overrides::overridden;
pub use pod::{Server, Store};
pub use restore::{
    CONTAINER as RESTORE_CONTAINER, Claim, OwnVolume, PLAN_BYTES_PLAIN_MAX, RestoreJob, claim, plan_config_map,
    restore_job,
};
pub use upkeep::{Upkeep, UpkeepJob, upkeep_job};

/// Labels and annotations that say what an object is for.
pub const LABEL_RESTORE: &str = "kubectl-pitr/restore";
pub const LABEL_COMPONENT: &str = "kubectl-pitr/component";
pub const ANNOTATION_TARGET: &str = "kubectl-pitr/target";
/// On a restore's Job and volume: the StatefulSet that will adopt the volume.
pub const ANNOTATION_STATEFUL_SET: &str = "kubectl-pitr/statefulset";
/// On a restore's Job: its volume is the workload's own.
pub const ANNOTATION_IN_PLACE: &str = "kubectl-pitr/in-place";
pub const ANNOTATION_PLAN_HASH: &str = "kubectl-pitr/plan-hash";

//! Whom the parts of a restore are encrypted to.

use pitr_archive::{OtherBase, PlanKeys, is_log_sealed};
use pitr_recovery::RestorePlan;

/// What of a plan only an identity opens: `base to age1qx… or age1b0…`, `log to age1qx…`. Any one of the recipients of a part opens it.
pub fn sealed_parts(plan: &RestorePlan, keys: &PlanKeys) -> Vec<String> {
    let to = |part: &str, recipients: &[String]| format!("{part} to {}", recipients.join(" or "));
    let base = Some(&plan.base().recipients).filter(|recipients| !recipients.is_empty());
    let mut parts: Vec<String> = base.map(|recipients| to("base", recipients)).into_iter().collect();
    if keys.log.is_empty() && is_log_sealed(plan) {
        parts.push("log".to_owned());
    }
    parts.extend(keys.log.iter().map(|recipients| to("log", recipients)));
    parts
}

/// How to restore from a base backup with other keys: `--from-backup bb-1, which is encrypted to age1qx…`.
pub fn instead(other: &OtherBase) -> String {
    match other.recipients.as_slice() {
        [] => format!("--from-backup {}, which is in clear", other.id),
        recipients => format!("--from-backup {}, which is encrypted to {}", other.id, recipients.join(" or ")),
    }
}

//! What the domain and the archive answer, as errors that users see.

use jiff::Timestamp;
use pitr_archive::{ArchiveError, SearchError, StoreError, UrlError};
use pitr_recovery::{PlanRequest, RecoveryTarget, Rfc3339, Timeline, Unrecoverable, code};

use crate::failure::Failure;
use crate::render::duration;

/// What follows the verb in a command about a workload: `mysql -n shop` for `shop/mysql`.
pub fn place(workload: &str) -> String {
    workload.split_once('/').map_or_else(|| workload.to_owned(), |(namespace, name)| format!("{name} -n {namespace}"))
}

/// A sidecar speaks of itself to whoever is in its pod. What that is for people elsewhere; `place` as [`place`] gives it.
pub fn way_out(told: &str, place: &str) -> String {
    let Some((before, after)) = told.split_once("pitr-sidecar ") else { return told.to_owned() };
    let verb = after.split([' ', ',']).next().unwrap_or_default();
    match verb {
        "backup" => format!("kubectl pitr backup {place}"),
        // What a server's log holds, the archive shows too.
        "inspect" => format!("copy one from: kubectl pitr timeline {place}"),
        "status" => format!("{before}kubectl pitr status {place}"),
        _ => told.to_owned(),
    }
}

/// Why a target cannot be reached, for the workload `shop/mysql`. Nothing was created, and what can be reached is named.
pub fn unrecoverable(answer: &Unrecoverable, (request, workload): (&PlanRequest, &str), now: Timestamp) -> Failure {
    let message = match answer {
        Unrecoverable::AfterLastArchived { target_us, end_us } => format!(
            "{} is {} after the recoverable end ({})",
            Rfc3339(*target_us),
            duration(target_us.saturating_sub(*end_us).unsigned_abs() / 1_000_000),
            Rfc3339(*end_us)
        ),
        other => other.to_string(),
    };
    let failure = Failure::new(*answer.code(), message);
    let failure = match hint(answer, now) {
        Some(hint) => failure.hint(format!("{hint}; nothing was created")),
        None => failure.hint("nothing was created"),
    };
    match fix(answer, (request, &place(workload))) {
        Some(fix) => failure.fix(fix),
        None => failure,
    }
}

fn hint(answer: &Unrecoverable, now: Timestamp) -> Option<String> {
    Some(match answer {
        Unrecoverable::NoBaseBackup => "binlogs alone restore nothing".to_owned(),
        Unrecoverable::BeforeFirstBackup { .. } => {
            "no earlier full copy, and not the whole history since the first binlog".to_owned()
        }
        Unrecoverable::AfterLastArchived { target_us, .. } if *target_us > now.as_microsecond() => {
            "the target lies in the future".to_owned()
        }
        Unrecoverable::AfterLastArchived { .. } => "nothing proves what was committed between".to_owned(),
        Unrecoverable::GtidNotArchived { newest: Some(newest), .. } => {
            format!("newest archived of the same source is {newest}")
        }
        Unrecoverable::AmbiguousPosition { sources, .. } => sources.join(", "),
        Unrecoverable::TimesStepBack { by_us, .. } => {
            format!("commit times step back by {}ms there: a GTID says exactly what is meant", by_us / 1000)
        }
        other => {
            let before = other.nearest_before_us().map(|us| format!("nearest before {}", Rfc3339(us)));
            let after = other.next_after_us().map(|us| format!("next after {}", Rfc3339(us)));
            let both: Vec<_> = before.into_iter().chain(after).collect();
            if both.is_empty() {
                return None;
            }
            both.join("; ")
        }
    })
}

fn fix(answer: &Unrecoverable, (request, place): (&PlanRequest, &str)) -> Option<String> {
    Some(match answer {
        Unrecoverable::NoBaseBackup => format!("kubectl pitr backup {place}"),
        Unrecoverable::BeforeFirstBackup { .. } => "a time inside a window of kubectl pitr status".to_owned(),
        Unrecoverable::BackupDoesNotReach { .. } | Unrecoverable::NoSuchBackup { .. } => {
            "leave --from-backup out, or take an id of kubectl pitr backups".to_owned()
        }
        Unrecoverable::AfterLastArchived { .. } => "--nearest, --to latest, or wait".to_owned(),
        Unrecoverable::Lost { .. } => {
            format!("--nearest, or put the objects back and run: kubectl pitr verify {place}")
        }
        Unrecoverable::SeveralBranches { branches, .. } => format!("--branch {}", branches.first()?),
        Unrecoverable::GtidOnOtherBranch { others, .. } => format!("--branch {}", others.first()?),
        Unrecoverable::AmbiguousPosition { sources, .. } => format!("--source {}", sources.first()?),
        Unrecoverable::TimesStepBack { culprit, .. } => match culprit.gtid() {
            Some(gtid) => format!("--before-gtid {gtid}, --clock immediate, --nearest, or --accept-early-stop"),
            None => "--clock immediate, --nearest, or --accept-early-stop".to_owned(),
        },
        Unrecoverable::InGap { gap, .. } | Unrecoverable::Damaged { gap, .. } => {
            let across = format!("--allow-gap {} to replay across it without those transactions", gap.id);
            match request.target {
                RecoveryTarget::Time(_) | RecoveryTarget::Latest if gap.reachable_to_us.is_some() => {
                    format!("--nearest, or {across}")
                }
                RecoveryTarget::Position { .. } => return None,
                _ => across,
            }
        }
        _ => return None,
    })
}

/// An archive URL that is none. One that holds credentials is not repeated.
pub fn bad_url(error: &UrlError) -> Failure {
    match error {
        UrlError::Credentials => Failure::new(code::CREDENTIALS_IN_URL, error.to_string())
            .hint("they would end in history and logs")
            .fix("AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        _ => Failure::usage(error.to_string()).fix("--archive s3://BUCKET/PREFIX or file:///DIRECTORY"),
    }
}

/// What the archive or its store answered.
pub fn archive(error: &ArchiveError, url: &str) -> Failure {
    match error {
        ArchiveError::Store(store) => self::store(store, url),
        ArchiveError::NoArchive { .. } => Failure::new(code::NO_ARCHIVE_THERE, error.to_string())
            .hint("the URL names one workload's prefix, which holds \"archive.json\"")
            .fix("--archive with the URL that status shows"),
        ArchiveError::NewerFormat { .. } => {
            Failure::new(code::NO_ARCHIVE_THERE, error.to_string()).fix("upgrade the plugin")
        }
        ArchiveError::RangeLost { .. } | ArchiveError::RangeChanged { .. } | ArchiveError::Vanished { .. } => {
            Failure::new(code::PLANNED_OBJECT_GONE, error.to_string()).fix("plan again")
        }
        other => {
            let first: &dyn std::error::Error = other;
            let causes = std::iter::successors(Some(first), |e| e.source()).map(ToString::to_string);
            Failure::new(code::CHECKSUM_MISMATCH, format!("{url}: {}", causes.collect::<Vec<_>>().join(": ")))
        }
    }
}

/// What a store answered.
pub fn store(error: &StoreError, url: &str) -> Failure {
    let message = format!("{url}: {error}");
    match error {
        StoreError::Withheld { .. } => Failure::new(code::STORE_DENIES, message)
            .hint("the object is there, in a storage class that nothing is read from directly")
            .fix("restore it from its storage class in the bucket, and run this again"),
        StoreError::Denied { operation, .. } => Failure::new(code::STORE_DENIES, message)
            .hint(format!("{} is needed on this prefix, or the credentials are other ones", operation.action()))
            .fix("AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        StoreError::Corrupt { .. } | StoreError::NotFound { .. } => Failure::new(code::CHECKSUM_MISMATCH, message),
        StoreError::Cancelled { .. } | StoreError::Transient { .. } | StoreError::Fatal { .. } => {
            Failure::new(code::STORE_UNREACHABLE, message).fix("--endpoint URL, --region NAME, --ca-bundle FILE")
        }
    }
}

/// Why a timeline cannot be told.
pub fn search(error: &SearchError, timeline: &Timeline, url: &str) -> Failure {
    let branches: Vec<_> = timeline.branches().iter().map(|branch| branch.id.as_str()).collect();
    let hint = format!("branches: {}", branches.join(", "));
    match error {
        SearchError::NoBranch(_) => Failure::new(code::SEVERAL_BRANCHES, error.to_string())
            .hint(hint)
            .fix("the id of one of them, or as much of it as is unique"),
        SearchError::NotOnBranch(branch) => {
            let message = format!("this transaction is not on branch {branch}");
            Failure::new(code::GTID_NOT_REACHABLE, message).hint(hint).fix("another --branch, or a time")
        }
        SearchError::Archive(error) => archive(error, url),
    }
}

#[cfg(test)]
mod tests {
    use super::{place, way_out};

    #[test]
    fn what_a_sidecar_advises_can_be_pasted_elsewhere() {
        let shop = place("shop/mysql");
        let told = |text: &str| way_out(text, &shop);
        let backup = "take a base backup: pitr-sidecar backup, or kubectl pitr backup";
        assert_eq!(told(backup), "kubectl pitr backup mysql -n shop");
        let inspect = "copy one from the server's log: pitr-sidecar inspect FILE --transactions";
        assert_eq!(told(inspect), "copy one from: kubectl pitr timeline mysql -n shop");
        let status = "a point inside a window: pitr-sidecar status";
        assert_eq!(told(status), "a point inside a window: kubectl pitr status mysql -n shop");
        assert_eq!(told("--nearest, or wait"), "--nearest, or wait");
    }
}

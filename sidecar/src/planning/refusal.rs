//! Why a target cannot be reached, with what can be reached instead.

use pitr_recovery::{GapCause, RecoveryTarget, Timeline, Unrecoverable, format_time};

use crate::error::Failure;

/// The named failure of an answer of the timeline. A refusal always says that nothing was done.
pub(crate) fn refusal(answer: &Unrecoverable, timeline: &Timeline) -> Failure {
    let failure = Failure::new(answer.code(), answer.to_string());
    let nearest = [("nearest before", answer.nearest_before_us()), ("next after", answer.next_after_us())];
    let nearest: Vec<String> =
        nearest.iter().filter_map(|(what, us)| us.map(|us| format!("{what} {}", format_time(us)))).collect();
    let failure = match nearest.is_empty() {
        true => failure.hint(meaning(answer, timeline)),
        false => failure.hint(format!("{}; {}", nearest.join(", "), meaning(answer, timeline))),
    };
    failure.hint("nothing was created").fix(way_out(answer))
}

fn meaning(answer: &Unrecoverable, timeline: &Timeline) -> String {
    match answer {
        Unrecoverable::NoBaseBackup => {
            "binlogs alone cannot be restored: they need a full copy to start from".to_owned()
        }
        Unrecoverable::BeforeFirstBackup { .. } => "no earlier full copy of the data is in the archive".to_owned(),
        Unrecoverable::BackupDoesNotReach { .. } | Unrecoverable::NoSuchBackup { .. } => {
            let ids: Vec<&str> = timeline.backups().iter().map(|reach| reach.backup.as_str()).collect();
            format!("base backups: {}", if ids.is_empty() { "none".to_owned() } else { ids.join(", ") })
        }
        Unrecoverable::InGap { gap, .. } => match &gap.closed_by {
            Some(backup) => format!("what follows the gap is reached from {backup}"),
            None => "only a new base backup makes what follows reachable".to_owned(),
        },
        Unrecoverable::NoSuchGap { .. } => {
            let ids: Vec<&str> = timeline.gaps().iter().map(|gap| gap.id.as_str()).collect();
            format!("gaps: {}", if ids.is_empty() { "none".to_owned() } else { ids.join(", ") })
        }
        Unrecoverable::Lost { .. } => {
            "the objects that held it are damaged, gone or withheld by their storage class: verify names each; what comes before is whole".to_owned()
        }
        Unrecoverable::Damaged { gap, .. } if matches!(gap.cause, GapCause::Lost { .. }) => {
            "the objects that held it are damaged, gone or withheld by their storage class: verify names each".to_owned()
        }
        Unrecoverable::Damaged { .. } => "the bytes are kept, and what comes before them is whole".to_owned(),
        Unrecoverable::AfterLastArchived { .. } => "nothing proves what was committed after it".to_owned(),
        Unrecoverable::GtidNotArchived { newest: Some(newest), .. } => {
            format!("the newest archived one of its source is number {newest}")
        }
        Unrecoverable::GtidNotArchived { newest: None, .. } => "no transaction of its source is archived".to_owned(),
        Unrecoverable::GtidInsideEveryBase { .. } => "no base backup is older than it".to_owned(),
        Unrecoverable::GtidOnOtherBranch { .. }
        | Unrecoverable::SeveralBranches { .. }
        | Unrecoverable::NoSuchBranch { .. } => {
            let ids: Vec<String> = timeline.branches().iter().map(|branch| branch.id.clone()).collect();
            format!("branches: {}", ids.join(", "))
        }
        Unrecoverable::WrongFlavour { .. } => "MySQL: UUID[:TAG]:N; MariaDB: DOMAIN-SERVER-SEQ".to_owned(),
        Unrecoverable::SkipNotReplayed { .. } => {
            "only transactions between the base backup and the stop can be left out".to_owned()
        }
        Unrecoverable::WithoutGtids { .. } => "no set of GTIDs accounts for them".to_owned(),
        Unrecoverable::AmbiguousPosition { sources, .. } => format!("sources: {}", sources.join(", ")),
        Unrecoverable::NoSuchBinlog { .. } | Unrecoverable::PositionBeyond { .. } => {
            "only archived bytes can be reached".to_owned()
        }
        Unrecoverable::TimesStepBack { .. } => {
            "a restore would leave out transactions that were committed before the target".to_owned()
        }
        Unrecoverable::IndexNotRead { .. } => "this is a bug".to_owned(),
    }
}

fn way_out(answer: &Unrecoverable) -> String {
    match answer {
        Unrecoverable::NoBaseBackup => "take a base backup: pitr-sidecar backup, or kubectl pitr backup".to_owned(),
        Unrecoverable::Lost { .. } => "--nearest, or put the objects back and run pitr-sidecar verify".to_owned(),
        Unrecoverable::AfterLastArchived { .. } => "--nearest, --to latest, or wait until it is archived".to_owned(),
        Unrecoverable::GtidNotArchived { .. } => "--to latest, or wait until it is archived".to_owned(),
        Unrecoverable::BackupDoesNotReach { .. } | Unrecoverable::NoSuchBackup { .. } => {
            "leave out --from-backup".to_owned()
        }
        Unrecoverable::GtidOnOtherBranch { others, .. } => {
            format!("--branch {}", others.first().map_or("ID", String::as_str))
        }
        Unrecoverable::SeveralBranches { branches, .. } => {
            format!("--branch {}", branches.first().map_or("ID", String::as_str))
        }
        Unrecoverable::NoSuchBranch { .. } => "--branch with one of these".to_owned(),
        Unrecoverable::WrongFlavour { .. } => {
            "copy one from the server's log: pitr-sidecar inspect FILE --transactions".to_owned()
        }
        Unrecoverable::SkipNotReplayed { .. } => "leave out --skip-gtid".to_owned(),
        Unrecoverable::WithoutGtids { .. } => {
            "a time before them; turn gtid_mode on and take a new base backup".to_owned()
        }
        Unrecoverable::AmbiguousPosition { sources, .. } => {
            format!("--source {}", sources.first().map_or("ID", String::as_str))
        }
        Unrecoverable::TimesStepBack { culprit, .. } => match culprit.gtid() {
            Some(gtid) => format!("--before-gtid {gtid}, --clock immediate, --nearest, or --accept-early-stop"),
            None => "--clock immediate, --nearest, or --accept-early-stop".to_owned(),
        },
        Unrecoverable::InGap { target, gap } | Unrecoverable::Damaged { target, gap } => {
            let across = format!("--allow-gap {} to replay across it without those transactions", gap.id);
            match target {
                RecoveryTarget::Time(_) | RecoveryTarget::Latest if gap.reachable_to_us.is_some() => {
                    format!("--nearest, or {across}")
                }
                RecoveryTarget::Position { .. } => "a point inside a window: pitr-sidecar status".to_owned(),
                _ => across,
            }
        }
        Unrecoverable::NoSuchGap { .. } => "--allow-gap with one of these, or leave it out".to_owned(),
        Unrecoverable::BeforeFirstBackup { .. }
        | Unrecoverable::GtidInsideEveryBase { .. }
        | Unrecoverable::NoSuchBinlog { .. }
        | Unrecoverable::PositionBeyond { .. } => "a point inside a window: pitr-sidecar status".to_owned(),
        Unrecoverable::IndexNotRead { .. } => "report it".to_owned(),
    }
}

//! `prune`: what retention would do, or retention by hand. Without `--apply` nothing is written.

mod lines;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use pitr_archive::document::{DedupedItem, PruneDocument};
use pitr_archive::{Archive, ArchiveError, Deduped, Proposal, Retained, RetentionRules, Swept, Workspace};
use pitr_recovery::{RetentionPolicy, WithoutBase, code};

use super::Context;
use crate::archive_failure::of_archive;
use crate::archiver::{retention_refusal, unknown_pins, window_shrinks};
use crate::cli::{OutputFormat, PruneArgs};
use crate::error::Failure;
use crate::{config, output};

/// What was found out and done.
struct Pruned {
    proposal: Proposal,
    done: Option<(Retained, Swept)>,
    /// Where the policy asks for it (`dedupe: gtid`).
    deduped: Option<Deduped>,
}

/// Plans, and with `--apply` carries it out.
pub(super) async fn run(args: &PruneArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let (rules, dedupes) = rules(args)?;
    let archive = super::open_for_long(&args.archive, context).await?;
    let named = |error| of_archive(&error, &archive.describe());
    archive.workload().await.map_err(named)?;
    let (pruned, failure) = tokio::select! {
        done = prune(&archive, &rules, (args.apply, dedupes), context) => done.map_err(named)?,
        () = context.shutdown.cancelled() => {
            let failure = Failure::new(&code::STORE_UNREACHABLE, "retention was interrupted").exit(130);
            return Err(failure.hint("what it began the next run finishes").fix("run it again").into());
        }
    };
    match args.output {
        OutputFormat::Json => {
            let mut document = PruneDocument::new(&pruned.proposal, pruned.done.as_ref(), &rules, archive.describe());
            document.deduped = pruned.deduped.map(DedupedItem::from);
            output::print_document(&document, context.json_log)?;
        }
        OutputFormat::Text => output::print_line(&lines::of(&pruned, &rules).join("\n"))?,
    }
    failure.map_or(Ok(ExitCode::SUCCESS), |failure| Err(failure.into()))
}

async fn prune(
    archive: &Archive,
    rules: &RetentionRules,
    (apply, dedupes): (bool, bool),
    context: &Context,
) -> Result<(Pruned, Option<Failure>), ArchiveError> {
    if !apply {
        let proposal = archive.propose_expiry(rules, context.clock.now()).await?;
        let failure = match &proposal.unknown_pins[..] {
            _ if rules.force => None,
            [] => (!proposal.plan.shrinks.is_empty()).then(|| window_shrinks(&proposal.plan)),
            pins => Some(unknown_pins(pins)),
        };
        return Ok((Pruned { proposal, done: None, deduped: None }, failure));
    }
    let retained = archive.retain(rules).await?;
    let failure = retention_refusal(&retained);
    if failure.is_some() {
        let done = Some((retained.clone(), Swept::default()));
        return Ok((Pruned { proposal: retained.proposal, done, deduped: None }, failure));
    }
    // First what must not wait for the other.
    let swept = archive.sweep(rules.grace, &Workspace::ENOUGH).await?;
    let deduped = if dedupes { Some(archive.dedupe(rules.grace, &Workspace::ENOUGH).await?) } else { None };
    Ok((Pruned { proposal: retained.proposal.clone(), done: Some((retained, swept)), deduped }, None))
}

/// The rules of a policy file, with what was typed laid over them; and whether the file says `dedupe: gtid`.
fn rules(args: &PruneArgs) -> Result<(RetentionRules, bool), Failure> {
    let mut dedupes = false;
    let mut rules = match (&args.policy, &args.window) {
        (Some(file), window) => {
            let retention = config::retention_of(file)?;
            if !retention.is_window_given && window.is_none() {
                let message = format!("\"{}\" says nothing about \"retention.window\"", file.display());
                return Err(Failure::new(&code::BAD_CONFIGURATION_KEY, message)
                    .hint("how long things are kept is never guessed; nothing was marked or deleted")
                    .fix("retention: {window: 14d} in the file, or --window 14d"));
            }
            dedupes = retention.dedupes;
            retention.rules
        }
        (None, Some(_)) => default_rules(),
        (None, None) => {
            return Err(Failure::new(&code::BAD_CONFIGURATION_KEY, "no policy is given")
                .hint("how long things are kept is never guessed")
                .fix("--policy FILE (the sidecar's configuration), or --window 14d"));
        }
    };
    if let Some(window) = &args.window {
        let length = duration("--window", window)?;
        config::check_window(length).map_err(|least| {
            Failure::new(&code::BAD_CONFIGURATION_KEY, format!("--window {window} is too short"))
                .hint(least)
                .fix("--window 14d")
        })?;
        rules.policy.window_us = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    }
    if let Some(grace) = &args.grace {
        rules.grace = duration("--grace", grace)?;
        config::check_grace(rules.grace).map_err(|least| {
            Failure::new(&code::BAD_CONFIGURATION_KEY, format!("--grace {grace} is too short"))
                .hint(least)
                .fix("--grace 24h")
        })?;
    }
    rules.policy.keep_last = args.keep_last.unwrap_or(rules.policy.keep_last);
    rules.policy.pins.extend(args.pins.iter().cloned());
    rules.force = args.force;
    Ok((rules, dedupes))
}

fn default_rules() -> RetentionRules {
    let policy = RetentionPolicy { window_us: 0, keep_last: 1, pins: BTreeSet::new(), without_base: WithoutBase::Keep };
    RetentionRules { policy, grace: Duration::from_secs(24 * 60 * 60), force: false, running: None }
}

fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    config::parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Failure::new(&code::BAD_CONFIGURATION_KEY, format!("{flag} {text} is not valid"))
            .hint("a number with a unit: 2s, 1m, 6h, 14d")
            .fix(format!("{flag} 14d"))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn rules_of(flags: &[&str]) -> Result<RetentionRules, Failure> {
        let cli = Cli::try_parse_from(["pitr-sidecar", "prune"].iter().chain(flags)).unwrap();
        let Verb::Prune(args) = cli.verb else { panic!("{cli:?}") };
        super::rules(&args).map(|(rules, _)| rules)
    }

    #[test]
    fn how_long_things_are_kept_is_never_guessed() {
        let home = tempfile::tempdir().unwrap();
        let file = |content: &str| {
            let path = home.path().join("config.yaml");
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let silent = file("workload: shop/mysql\nretention: {keep_last: 3}\n");
        let refused = rules_of(&["--policy", &silent]).unwrap_err();
        assert_eq!(refused.code().to_string(), "PITR0209");
        assert!(refused.to_string().contains("says nothing about \"retention.window\""), "{refused}");
        let kept = rules_of(&["--policy", &silent, "--window", "7d"]).unwrap();
        assert_eq!((kept.policy.window_us, kept.policy.keep_last), (7 * 86_400_000_000, 3));
        for slip in ["14m", "1s"] {
            assert!(rules_of(&["--window", slip]).unwrap_err().to_string().contains("is too short"), "{slip}");
        }
        assert!(rules_of(&["--policy", &file("retention: {window: 14m}\n")]).is_err());
        assert!(rules_of(&[]).is_err());
        let said = file("workload: shop/mysql\nretention: {window: 2d}\n");
        assert_eq!(rules_of(&["--policy", &said]).unwrap().policy.window_us, 2 * 86_400_000_000);
    }
}

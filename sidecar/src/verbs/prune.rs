//! `prune`: what retention would do, or retention by hand. Without `--apply` nothing is written.

mod document;
mod lines;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use pitr_archive::{Archive, ArchiveError, Proposal, Retained, RetentionRules, Swept};
use pitr_recovery::{RetentionPolicy, WithoutBase, code};

use self::document::PruneDocument;
use super::Context;
use crate::archive_failure::of_archive;
use crate::archiver::{retention_refusal, window_shrinks};
use crate::cli::{OutputFormat, PruneArgs};
use crate::error::Failure;
use crate::{config, output};

/// What was found out and done.
struct Pruned {
    proposal: Proposal,
    done: Option<(Retained, Swept)>,
}

/// Plans, and with `--apply` carries it out.
pub(super) async fn run(args: &PruneArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let rules = rules(args)?;
    let archive = super::open(&args.archive, context).await?;
    let named = |error| of_archive(&error, &archive.describe());
    archive.workload().await.map_err(named)?;
    let (pruned, failure) = tokio::select! {
        done = prune(&archive, &rules, args.apply, context) => done.map_err(named)?,
        () = context.shutdown.cancelled() => {
            let failure = Failure::new(&code::STORE_UNREACHABLE, "retention was interrupted").exit(130);
            return Err(failure.hint("what it began the next run finishes").fix("run it again").into());
        }
    };
    match args.output {
        OutputFormat::Json => {
            let document = PruneDocument::new(&pruned, &rules, archive.describe());
            output::print_line(&serde_json::to_string_pretty(&document)?)?;
        }
        OutputFormat::Text => output::print_line(&lines::of(&pruned, &rules).join("\n"))?,
    }
    failure.map_or(Ok(ExitCode::SUCCESS), |failure| Err(failure.into()))
}

async fn prune(
    archive: &Archive,
    rules: &RetentionRules,
    apply: bool,
    context: &Context,
) -> Result<(Pruned, Option<Failure>), ArchiveError> {
    if !apply {
        let proposal = archive.propose_expiry(rules, context.clock.now()).await?;
        let failure = (!rules.force && !proposal.plan.shrinks.is_empty()).then(|| window_shrinks(&proposal.plan));
        return Ok((Pruned { proposal, done: None }, failure));
    }
    let retained = archive.retain(rules).await?;
    let failure = retention_refusal(&retained);
    let swept = if failure.is_none() { archive.sweep(rules.grace).await? } else { Swept::default() };
    Ok((Pruned { proposal: retained.proposal.clone(), done: Some((retained, swept)) }, failure))
}

/// The rules of a policy file, with what was typed laid over them.
fn rules(args: &PruneArgs) -> Result<RetentionRules, Failure> {
    let mut rules = match (&args.policy, &args.window) {
        (Some(file), _) => config::retention_of(file)?.rules,
        (None, Some(_)) => default_rules(),
        (None, None) => {
            return Err(Failure::new(&code::BAD_CONFIGURATION_KEY, "no policy is given")
                .hint("how long things are kept is never guessed")
                .fix("--policy FILE (the sidecar's configuration), or --window 14d"));
        }
    };
    if let Some(window) = &args.window {
        let us = duration("--window", window)?.as_micros();
        rules.policy.window_us = i64::try_from(us).unwrap_or(i64::MAX);
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
    Ok(rules)
}

fn default_rules() -> RetentionRules {
    let policy = RetentionPolicy { window_us: 0, keep_last: 1, pins: BTreeSet::new(), without_base: WithoutBase::Keep };
    RetentionRules { policy, grace: Duration::from_secs(24 * 60 * 60), force: false }
}

fn duration(flag: &str, text: &str) -> Result<Duration, Failure> {
    config::parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Failure::new(&code::BAD_CONFIGURATION_KEY, format!("{flag} {text} is not valid"))
            .hint("a number with a unit: 2s, 1m, 6h, 14d")
            .fix(format!("{flag} 14d"))
    })
}

//! `prune`: what retention would take out of the archive, and with a confirmation, taking it out. By a Job beside the workload, or here.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use pitr_archive::document::PruneDocument;
use pitr_archive::{Archive, ArchiveError, RetentionRules};
use pitr_recovery::{RetentionPolicy, WithoutBase, code};

use super::scheduling::{self, Schedule};
use super::source;
use super::upkeep::{self, Carried, Place};
use super::watch::DETACHED;
use crate::archive_view::Direct;
use crate::args::{DryRun, OutputFormat, PruneArgs, is_duration};
use crate::failure::Failure;
use crate::objects::Upkeep;
use crate::refusal;
use crate::render::{prune_refusal, prune_text};
use crate::session::Session;

/// Running base backups renew their claims on what they need every hour: with less grace it would be none.
const GRACE_MIN: Duration = Duration::from_secs(2 * 60 * 60);
/// Shorter than anybody takes to notice what went wrong: a slip of the pen.
const WINDOW_MIN: Duration = Duration::from_secs(60 * 60);
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
const APPLY: &str = "--apply";
const WARNING: &str = "This marks what expires, and deletes for ever what was marked a grace ago";

pub async fn run(session: &Session, args: &PruneArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    check(args)?;
    upkeep::refuse_job_flags(&args.archive, &args.job, args.schedule.as_deref())?;
    if args.archive.archive.is_some() {
        rules(args)?;
    }
    if let Some(direct) = source::direct(session, &args.archive, args.workload.as_deref()).await? {
        return here(session, args, (&direct, format)).await;
    }
    let scheduled = args.schedule.is_some();
    let place = Place::find(session, Upkeep::Prune, (args.workload.as_deref(), &args.job, scheduled)).await?;
    let name = place.workload.name.clone();
    if let Some(cron) = &args.schedule {
        if args.job.dry_run == DryRun::None {
            session.confirm(&name, args.confirm.as_deref(), &format!("{WARNING}, at each run")).await?;
        }
        let job = place.job(session, Upkeep::Prune, options(args, true));
        let schedule = Schedule {
            cron,
            component: Upkeep::Prune.verb(),
            workload: &name,
            dry_run: args.job.dry_run,
            format,
            what: "marking what expires and deleting what was marked a grace ago".to_owned(),
        };
        return scheduling::apply(session, &place.cluster, upkeep::object(&job, &args.job)?, &schedule).await;
    }
    if args.confirm.is_some() {
        session.confirm(&name, args.confirm.as_deref(), WARNING).await?;
        return job(session, args, (&place, format, true)).await.map(|(code, _)| code);
    }
    let (code, plan) = job(session, args, (&place, format, false)).await?;
    let Some(plan) = plan.filter(|_| format.is_text()) else { return Ok(code) };
    if !goes_on(session, &plan, &again(args, &place.words()), &name).await? {
        return Ok(code);
    }
    job(session, args, (&place, format, true)).await.map(|(code, _)| code)
}

/// After a plan: asks at a terminal, and says elsewhere what carries it out.
async fn goes_on(session: &Session, plan: &PruneDocument, command: &str, name: &str) -> Result<bool> {
    if plan.expired().next().is_none() && !plan.items.iter().any(|item| item.marked) {
        return Ok(false);
    }
    if !session.terminal.interactive {
        session.tell(&format!("Next: {command} --confirm {name}"));
        return Ok(false);
    }
    session.confirm(name, None, WARNING).await?;
    Ok(true)
}

/// Words that do not make sense are refused before anything is made.
fn check(args: &PruneArgs) -> Result<(), Failure> {
    for (flag, text) in [("--window", &args.window), ("--grace", &args.grace)] {
        if let Some(text) = text {
            positive(flag, text)?;
        }
    }
    if let Some(window) = &args.window
        && positive("--window", window)? < WINDOW_MIN
    {
        return Err(Failure::new(code::BAD_CONFIGURATION_KEY, format!("--window {window} is too short"))
            .hint("at least 1h: what is marked is gone before anybody has noticed a mistake")
            .fix("--window 14d"));
    }
    if let Some(grace) = &args.grace
        && positive("--grace", grace)? < GRACE_MIN
    {
        return Err(Failure::new(code::BAD_CONFIGURATION_KEY, format!("--grace {grace} is too short"))
            .hint("at least 2h: running backups renew their claims every hour")
            .fix("--grace 24h"));
    }
    Ok(())
}

fn positive(flag: &str, text: &str) -> Result<Duration, Failure> {
    is_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Failure::new(code::BAD_CONFIGURATION_KEY, format!("{flag} {text} is not valid"))
            .hint("a number with a unit: 6h, 14d")
            .fix(format!("{flag} 14d"))
    })
}

fn options(args: &PruneArgs, apply: bool) -> Vec<String> {
    let mut options = Vec::new();
    options.extend(args.window.as_ref().map(|window| format!("--window={window}")));
    options.extend(args.keep_last.map(|count| format!("--keep-last={count}")));
    options.extend(args.grace.as_ref().map(|grace| format!("--grace={grace}")));
    options.extend(args.pins.iter().map(|pin| format!("--pin={pin}")));
    options.extend(args.force.then(|| "--force".to_owned()));
    options.extend(apply.then(|| APPLY.to_owned()));
    options
}

/// The same command again: what was planned is what is carried out.
fn again(args: &PruneArgs, place: &str) -> String {
    let mut words = vec!["kubectl pitr prune".to_owned(), place.to_owned()];
    words.extend(options(args, false));
    let job = [
        ("--image", &args.job.pod.image),
        ("--server-image", &args.job.server_image),
        ("--secret", &args.job.pod.secret),
        ("--service-account", &args.job.pod.service_account),
    ];
    words.extend(job.into_iter().filter_map(|(flag, value)| value.as_ref().map(|value| format!("{flag}={value}"))));
    let overrides = args.job.overrides.as_ref().map(|overrides| overrides.to_string().replace('\'', r"'\''"));
    words.extend(overrides.map(|overrides| format!("--overrides='{overrides}'")));
    words.join(" ")
}

/// One Job: its exit code, and what it found.
async fn job(
    session: &Session,
    args: &PruneArgs,
    (place, format, apply): (&Place, OutputFormat, bool),
) -> Result<(u8, Option<PruneDocument>)> {
    let job = place.job(session, Upkeep::Prune, options(args, apply));
    let object = upkeep::object(&job, &args.job)?;
    if let Some(code) = upkeep::dry_run(session, &place.cluster, (&object, args.job.dry_run, format)).await? {
        return Ok((code, None));
    }
    let found = match upkeep::carry_out(session, &place.cluster, (&job, &args.job)).await? {
        Carried::Left(code) => return Ok((code, None)),
        Carried::Ended(found) => found,
    };
    let document = found.document.map(serde_json::from_value::<PruneDocument>).transpose();
    let document = document.context("read the Job's report")?;
    if let Some(document) = &document {
        print(session, document, format)?;
        refuse(document, args.force, &place.words())?;
    }
    found.failure.map_or(Ok((0, document)), |failure| Err(failure.into()))
}

fn print(session: &Session, plan: &PruneDocument, format: OutputFormat) -> Result<()> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(plan, format),
        OutputFormat::Table | OutputFormat::Wide => session.print(&prune_text(plan)),
        OutputFormat::Name => session.print(&plan.expired().map(|item| format!("{}\n", item.id)).collect::<String>()),
    }
}

fn refuse(plan: &PruneDocument, force: bool, place: &str) -> Result<(), Failure> {
    prune_refusal(plan, force, place).map_or(Ok(()), Err)
}

/// Plans, and after a confirmation carries out, from where the user sits.
async fn here(session: &Session, args: &PruneArgs, (direct, format): (&Direct, OutputFormat)) -> Result<u8> {
    let rules = rules(args)?;
    let Direct { archive, url, .. } = direct;
    session.tell("note: pins of the sidecar's configuration are not known here; only --pin keeps a base backup");
    let name = direct.workload.rsplit('/').next().unwrap_or(&direct.workload);
    let place = direct.flags.trim();
    if args.confirm.is_some() {
        session.confirm(name, args.confirm.as_deref(), WARNING).await?;
    } else {
        let work = archive.propose_expiry(&rules, session.now());
        let Some(proposal) = unless_interrupted(session, work, url).await? else { return Ok(DETACHED) };
        let plan = PruneDocument::new(&proposal, None, &rules, url.clone());
        print(session, &plan, format)?;
        refuse(&plan, args.force, place)?;
        if !format.is_text() || !goes_on(session, &plan, &again(args, place), name).await? {
            return Ok(0);
        }
    }
    let Some(done) = unless_interrupted(session, carry_out(archive, &rules), url).await? else {
        return Ok(DETACHED);
    };
    let done = PruneDocument::new(&done.0.proposal, Some(&done), &rules, url.clone());
    print(session, &done, format)?;
    refuse(&done, args.force, place).map(|()| 0).map_err(Into::into)
}

async fn carry_out(
    archive: &Archive,
    rules: &RetentionRules,
) -> Result<(pitr_archive::Retained, pitr_archive::Swept), ArchiveError> {
    let retained = archive.retain(rules).await?;
    let swept = if retained.refused {
        pitr_archive::Swept::default()
    } else {
        archive.sweep(rules.grace, &pitr_archive::Workspace::ENOUGH).await?
    };
    Ok((retained, swept))
}

/// Ctrl-C ends it: what a run began, the next one finishes.
async fn unless_interrupted<T>(
    session: &Session,
    work: impl Future<Output = Result<T, ArchiveError>>,
    url: &str,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        done = work => done.map(Some).map_err(|error| refusal::archive(&error, url)),
        () = session.interrupted() => Ok(None),
    }
}

/// The rules for an archive with no configuration at hand: how long things are kept is never guessed.
fn rules(args: &PruneArgs) -> Result<RetentionRules, Failure> {
    let Some(window) = &args.window else {
        return Err(Failure::new(code::BAD_CONFIGURATION_KEY, "no policy is given")
            .hint("with --archive alone there is no configuration, and how long things are kept is never guessed")
            .hint("pins of the configuration are not known here either: name them with --pin")
            .fix("--window 14d"));
    };
    let policy = RetentionPolicy {
        window_us: i64::try_from(positive("--window", window)?.as_micros()).unwrap_or(i64::MAX),
        keep_last: args.keep_last.unwrap_or(1),
        pins: args.pins.iter().cloned().collect::<BTreeSet<_>>(),
        without_base: WithoutBase::Keep,
    };
    let grace = args.grace.as_ref().map_or(Ok(GRACE), |grace| positive("--grace", grace))?;
    Ok(RetentionRules { policy, grace, force: args.force, running: None })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn parsed(words: &[&str]) -> Box<PruneArgs> {
        match Cli::parse_from([&["kubectl-pitr", "prune"], words].concat()).command {
            Command::Prune(args) => args,
            _ => unreachable!("it is prune"),
        }
    }

    #[test]
    fn nothing_is_deleted_by_a_job_that_was_not_confirmed() {
        let args = parsed(&["mysql", "--window", "7d", "--keep-last", "2", "--pin", "bb-1", "--force"]);
        assert_eq!(options(&args, false), ["--window=7d", "--keep-last=2", "--pin=bb-1", "--force"]);
        assert_eq!(options(&parsed(&["mysql"]), true), ["--apply"]);
        // What is printed as the next command carries out the plan that was shown.
        assert_eq!(
            again(&args, "mysql -n shop"),
            "kubectl pitr prune mysql -n shop --window=7d --keep-last=2 --pin=bb-1 --force"
        );
    }

    #[test]
    fn words_are_checked_before_anything_is_made() {
        for words in [["--window", "soon"], ["--window", "0d"], ["--window", "14m"], ["--grace", "1h"]] {
            assert_eq!(check(&parsed(&words)).unwrap_err().number(), Some(209), "{words:?}");
        }
        check(&parsed(&["--window", "14d", "--grace", "2h"])).unwrap();
        assert_eq!(rules(&parsed(&[])).unwrap_err().number(), Some(209));
        let rules = rules(&parsed(&["--window", "1d", "--pin", "bb-1"])).unwrap();
        assert_eq!((rules.policy.window_us, rules.grace, rules.force), (86_400_000_000, GRACE, false));
        assert!(rules.policy.pins.contains("bb-1"));
    }
}

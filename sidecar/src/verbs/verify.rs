//! `verify`: is what the archive names there, and is it what was stored? `--rebuild-catalog` makes the catalog again first.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use pitr_archive::document::{FindingItem, VerifyDocument};
use pitr_archive::{Archive, Finding, Rebuilt, SLICES, Verified, VerifyProgress, VerifyRules};
use pitr_recovery::code;

use super::Context;
use crate::amounts::{binary_size, count_of};
use crate::archive_failure::of_archive;
use crate::cli::{OutputFormat, VerifyArgs};
use crate::error::Failure;
use crate::output;
use crate::progress::{Progress, Unit, ticking};

/// Verifies, prints what was found, and says by the exit code whether all is well.
pub(super) async fn run(args: &VerifyArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let rules = VerifyRules { percent: percent(&args.sample)?, deep: args.deep };
    let archive = super::open_for_long(&args.archive, context).await?;
    let work = async {
        archive.workload().await.map_err(|error| of_archive(&error, &archive.describe()))?;
        let rebuilt = if args.rebuild_catalog { Some(rebuild(&archive, context).await?) } else { None };
        Ok::<_, anyhow::Error>((rebuilt, verify(&archive, rules, context).await?))
    };
    let (rebuilt, verified) = tokio::select! {
        done = work => done?,
        () = context.shutdown.cancelled() => {
            let failure = Failure::new(&code::STORE_UNREACHABLE, "verification was interrupted").exit(130);
            return Err(failure.hint("nothing is left half done").fix("run it again").into());
        }
    };
    match args.output {
        OutputFormat::Json => {
            let document = VerifyDocument::new(&verified, rebuilt.as_ref(), archive.describe());
            output::print_document(&document, context.json_log)?;
        }
        OutputFormat::Text => output::print_line(&lines(&verified, rebuilt.as_ref()).join("\n"))?,
    }
    match verified.findings.first() {
        None => Ok(ExitCode::SUCCESS),
        Some(first) => Err(failure(first, &verified).into()),
    }
}

async fn rebuild(archive: &Archive, context: &Context) -> anyhow::Result<Rebuilt> {
    let counted = VerifyProgress::default();
    let work = archive.rebuild_catalog(&counted);
    let rebuilt = shown(work, ("rebuild", Unit::Files), &counted, context).await;
    Ok(rebuilt.map_err(|error| of_archive(&error, &archive.describe()))?)
}

async fn verify(archive: &Archive, rules: VerifyRules, context: &Context) -> anyhow::Result<Verified> {
    let counted = VerifyProgress::default();
    let work = archive.verify(rules, &counted);
    let verified = shown(work, ("verify", Unit::Bytes), &counted, context).await;
    Ok(verified.map_err(|error| of_archive(&error, &archive.describe()))?)
}

/// Shows how far a piece of work is.
async fn shown<T>(
    work: impl Future<Output = T>,
    (phase, unit): (&'static str, Unit),
    counted: &VerifyProgress,
    context: &Context,
) -> T {
    let mut progress = Progress::new(context.clock.clone(), context.json_log);
    progress.begin(phase, unit, 0, 0);
    let result = ticking(work, || {
        progress.set_total(counted.total.load(Ordering::Relaxed));
        progress.set(counted.done.load(Ordering::Relaxed));
    })
    .await;
    progress.set_total(counted.total.load(Ordering::Relaxed));
    progress.set(counted.done.load(Ordering::Relaxed));
    progress.end();
    result
}

/// `20%` or `20`.
fn percent(text: &str) -> Result<u32, Failure> {
    let number = text.trim_end_matches('%').parse().ok().filter(|percent| (1..=100).contains(percent));
    number.ok_or_else(|| {
        Failure::new(&code::BAD_CONFIGURATION_KEY, format!("--sample {text} is not valid"))
            .hint("1% to 100%: at 5% everything has been read after 20 runs")
            .fix("--sample 20%")
    })
}

fn failure(first: &Finding, verified: &Verified) -> Failure {
    let count = verified.findings.len() as u64;
    let message = format!("{} in the archive, such as {}: {}", count_of(count, "problem"), first.what, first.reason);
    Failure::new(&code::CHECKSUM_MISMATCH, message)
        .hint(if verified.recorded {
            "everything else that was read is as it was stored; plans and windows leave out what is lost"
        } else {
            "everything else that was read is as it was stored; the result could not be left in the archive, so plans and \
             windows go on naming what is lost"
        })
        .fix(match FindingItem::from(first) {
            item if item.is_of_catalog() => "pitr-sidecar verify --archive URL --rebuild-catalog",
            item if item.is_withheld() => "restore what is withheld from its storage class in the bucket, then verify again",
            _ => "take a new base backup; what precedes the damage stays restorable",
        })
}

fn lines(verified: &Verified, rebuilt: Option<&Rebuilt>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rebuilt) = rebuilt {
        lines.push(format!(
            "Catalog       made again from {}: {} in place of {}",
            count_of(rebuilt.segments, "segment"),
            count_of(rebuilt.pages, "page"),
            rebuilt.replaced
        ));
        lines.extend(rebuilt.unusable.iter().map(|(key, reason)| format!("Unusable      {key}: {reason}")));
    }
    lines.push(format!(
        "Verified      {} of {}, {} of {}, {} read",
        verified.segments_read,
        count_of(verified.segments, "segment"),
        verified.chunks_read,
        count_of(verified.chunks, "chunk"),
        binary_size(verified.bytes_read)
    ));
    let slices = &verified.slices;
    let (parts, current) = (SLICES as usize, slices.current.len());
    if current < parts {
        let rest = match slices.complete_since() {
            Some(since) => format!("everything was read since {since}"),
            None => format!("{} of {parts} parts were read so far", slices.read_at.len()),
        };
        lines.push(format!("Sample        {current} of {parts} parts; {rest}"));
    }
    for FindingItem { kind, what, reason } in verified.findings.iter().map(FindingItem::from) {
        lines.push(format!("{kind:<13} {what}: {reason}"));
    }
    if verified.findings.is_empty() {
        lines.push("Result        all of it is what was stored".to_owned());
    }
    if !verified.recorded {
        lines
            .push("Note          the result could not be left in the archive: status will not show its age".to_owned());
    }
    lines
}

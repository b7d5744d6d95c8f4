//! `verify`: is what the archive names there, and is it what was stored? By a Job beside the workload, or here.

use anyhow::{Context, Result};
use pitr_archive::document::VerifyDocument;
use pitr_archive::{Archive, VerifyProgress, VerifyRules};

use super::scheduling::{self, Schedule};
use super::source;
use super::upkeep::{self, Carried, Place};
use super::watch::{DETACHED, counted};
use crate::archive_view::Direct;
use crate::args::{OutputFormat, VerifyArgs};
use crate::objects::{Upkeep, UpkeepJob};
use crate::refusal;
use crate::render::{verify_failure, verify_text};
use crate::session::Session;

pub async fn run(session: &Session, args: &VerifyArgs) -> Result<u8> {
    let format = session.output(OutputFormat::Table)?;
    upkeep::refuse_job_flags(&args.archive, &args.job, args.schedule.as_deref())?;
    if let Some(direct) = source::direct(session, &args.archive, args.workload.as_deref()).await? {
        return here(session, args, (&direct, format)).await;
    }
    let scheduled = args.schedule.is_some();
    let place = Place::find(session, Upkeep::Verify, (args.workload.as_deref(), &args.job, scheduled)).await?;
    let job = place.job(session, Upkeep::Verify, options(args));
    let job = UpkeepJob { identity_secret: args.identity_secret.clone(), ..job };
    let object = upkeep::object(&job, &args.job)?;
    if let Some(cron) = &args.schedule {
        let what = format!("reading {} % of the archive each time", args.sample);
        let schedule = Schedule {
            cron,
            component: Upkeep::Verify.verb(),
            workload: &place.workload.name,
            dry_run: args.job.dry_run,
            format,
            what,
        };
        return scheduling::apply(session, &place.cluster, object, &schedule).await;
    }
    if let Some(code) = upkeep::dry_run(session, &place.cluster, (&object, args.job.dry_run, format)).await? {
        return Ok(code);
    }
    match upkeep::carry_out(session, &place.cluster, (&job, &args.job)).await? {
        Carried::Left(code) => Ok(code),
        Carried::Ended(found) => {
            let document = found.document.map(serde_json::from_value::<VerifyDocument>).transpose();
            if let Some(document) = document.context("read the Job's report")? {
                conclude(session, &document, (&place.words(), format))?;
            }
            found.failure.map_or(Ok(0), |failure| Err(failure.into()))
        }
    }
}

fn options(args: &VerifyArgs) -> Vec<String> {
    let mut options = vec![format!("--sample={}%", args.sample)];
    options.extend(args.deep.then(|| "--deep".to_owned()));
    options.extend(args.rebuild_catalog.then(|| "--rebuild-catalog".to_owned()));
    options
}

/// Prints what was found; what is wrong is the error.
fn conclude(session: &Session, found: &VerifyDocument, (place, format): (&str, OutputFormat)) -> Result<()> {
    match format {
        OutputFormat::Json | OutputFormat::Yaml => session.print_document(found, format)?,
        OutputFormat::Table | OutputFormat::Wide => session.print(&verify_text(found))?,
        OutputFormat::Name => {
            session.print(&found.quarantined.iter().map(|item| format!("{}\n", item.what)).collect::<String>())?;
        }
    }
    verify_failure(found, place).map_or(Ok(()), |failure| Err(failure.into()))
}

/// Reads the archive from where the user sits.
async fn here(session: &Session, args: &VerifyArgs, (direct, format): (&Direct, OutputFormat)) -> Result<u8> {
    let Some(document) = read(session, args, (&direct.archive, &direct.url)).await? else { return Ok(DETACHED) };
    conclude(session, &document, (direct.flags.trim(), format)).map(|()| 0)
}

async fn read(
    session: &Session,
    args: &VerifyArgs,
    (archive, url): (&Archive, &str),
) -> Result<Option<VerifyDocument>> {
    let mut rebuilt = None;
    if args.rebuild_catalog {
        let progress = VerifyProgress::default();
        let work = archive.rebuild_catalog(&progress);
        match counted(session, ("rebuild", "files"), &progress, work).await {
            Some(done) => rebuilt = Some(done.map_err(|error| refusal::archive(&error, url))?),
            None => return Ok(None),
        }
    }
    let progress = VerifyProgress::default();
    let work = archive.verify(VerifyRules { percent: args.sample, deep: args.deep }, &progress);
    let Some(verified) = counted(session, ("verify", "bytes"), &progress, work).await else { return Ok(None) };
    let verified = verified.map_err(|error| refusal::archive(&error, url))?;
    Ok(Some(VerifyDocument::new(&verified, rebuilt.as_ref(), url.to_owned())))
}

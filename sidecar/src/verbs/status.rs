//! `status`: what is recoverable, from the archive alone or from a running sidecar.

use std::process::ExitCode;

use anyhow::Context as _;
use pitr_archive::document::Heartbeat;
use pitr_recovery::{Timeline, code};

use super::Context;
use crate::archive_args::ArchiveArgs;
use crate::cli::{OutputFormat, StatusArgs};
use crate::error::Failure;
use crate::http;
use crate::status::{Report, StatusDocument};
use crate::{output, planning};

/// Prints the status.
pub(super) async fn run(args: &StatusArgs, context: &Context) -> anyhow::Result<ExitCode> {
    match &args.url {
        Some(url) => of_sidecar(url, args.output).await,
        None => of_archive(&args.archive, args.output, context).await,
    }
}

async fn of_archive(archive: &ArchiveArgs, format: OutputFormat, context: &Context) -> anyhow::Result<ExitCode> {
    let archive = super::open(archive, context).await?;
    let (inventory, report) = planning::reported_inventory(&archive).await?;
    let timeline = planning::exact(&archive, Timeline::new(inventory)).await?;
    let status =
        StatusDocument::new(&timeline, &archive.proofs_with(report.verified.as_ref()).await?, archive.describe());
    let status = status.with_repeats(&report);
    // The process ends here: to give millions of small things back one by one would only take time.
    std::mem::forget(timeline);
    match format {
        OutputFormat::Json => output::print_line(&serde_json::to_string_pretty(&status)?)?,
        OutputFormat::Text => {
            let report = Report { status: &status, heartbeat: None, now_us: context.clock.now_us() };
            output::print_line(report.to_string().trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn of_sidecar(url: &str, format: OutputFormat) -> anyhow::Result<ExitCode> {
    let address = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let reply = http::ask(address, "/v1/status", None).await?;
    if !reply.ok {
        let message = String::from_utf8_lossy(&reply.body).trim().to_owned();
        return Err(Failure::new(&code::NOT_REACHABLE, format!("the sidecar at {address} answers: {message}")).into());
    }
    match format {
        OutputFormat::Json => output::write_bytes(&[&reply.body[..], b"\n"].concat())?,
        OutputFormat::Text => {
            let heartbeat: Heartbeat = serde_json::from_slice(&reply.body).context("read the sidecar's answer")?;
            output::print_line(&lines(&heartbeat))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A heartbeat for people.
fn lines(heartbeat: &Heartbeat) -> String {
    let mut lines =
        vec![format!("{}   {}   {}", heartbeat.workload, heartbeat.archive.url, heartbeat.state.to_uppercase())];
    lines.push(match &heartbeat.window {
        Some(window) => {
            format!("Recoverable  {} .. {}", window.from, window.proven_to.unwrap_or(window.to).max(window.to))
        }
        None => "Recoverable  nothing yet".to_owned(),
    });
    if let Some(active) = &heartbeat.active {
        let lag = heartbeat.lag_seconds.map_or_else(String::new, |lag| format!("; lag {lag:.1}s"));
        lines.push(format!(
            "Archived     {} to position {} of {}{lag}",
            active.binlog, active.shipped_bytes, active.position_bytes
        ));
    }
    lines.push(match (&heartbeat.base_backups.newest_id, &heartbeat.base_backups.newest_at) {
        (Some(id), Some(at)) => format!("Base         {} usable; newest {id}, {at}", heartbeat.base_backups.usable),
        _ => "Base         none usable".to_owned(),
    });
    if let Some(at) = &heartbeat.verify.drill_failed_at {
        let code = heartbeat.verify.drill_failed_code.as_deref().unwrap_or("-");
        lines.push(format!("Verified     restore drill of {at} FAILED with {code}"));
    } else if let Some(at) = &heartbeat.verify.drill_at {
        lines.push(format!("Verified     restore drill of {at} passed"));
    }
    if let Some(unreadable) = &heartbeat.archive.unreadable {
        lines.push(format!("Unreadable   {} objects, such as {} [PITR0606]", unreadable.objects, unreadable.first));
    }
    if !heartbeat.codes.is_empty() {
        lines.push(format!("Findings     {}", heartbeat.codes.join(", ")));
    }
    lines.join("\n")
}

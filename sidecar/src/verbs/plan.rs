//! `plan`: what a restore would do.

use std::process::ExitCode;

use pitr_archive::document::{PlanDocument, plan_hash};
use pitr_archive::{ArchiveError, Estimate, Pace, StopDescription};
use pitr_binlog::Gtid;
use pitr_recovery::{BoundaryTransaction, Clock, PlanParts, PlanWarning, Timeline, format_time};

use super::Context;
use crate::amounts::{binary_size, count_of, duration};
use crate::cli::{OutputFormat, PlanArgs};
use crate::{output, planning};

/// Plans and prints the plan. Nothing is created.
pub(super) async fn run(args: &PlanArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let mut request = planning::request(&args.target)?;
    let archive = super::open(&args.archive, context).await?;
    let pace = archive.last_pace().await;
    request.pace = pace.as_ref().map(Pace::of_restores).unwrap_or_default();
    let inventory = planning::inventory(&archive).await?;
    let plan = planning::plan_from(&archive, Timeline::new(inventory.clone()), &request).await?;
    let bytes = PlanDocument::encode(&plan)?;
    match args.output {
        OutputFormat::Json => output::write_bytes(&bytes)?,
        OutputFormat::Text => {
            let stop = archive.describe_stop(&inventory, &plan).await;
            let estimate = Estimate::of(plan.parts(), pace.as_ref());
            let mut lines = lines(plan.parts(), &stop, &estimate, &plan_hash(&bytes));
            // Not being able to tell is no error: whoever restores is told.
            if let Err(ArchiveError::BackupSealed { recipients, .. }) = archive.check_base(&plan.base().id).await {
                lines.push(sealed(&plan.base().id, &recipients));
            }
            output::print_line(&lines.join("\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(plan: &PlanParts, words: &StopDescription, estimate: &Estimate, hash: &str) -> Vec<String> {
    let stream = plan.stream.as_ref().map_or_else(String::new, |stream| format!(", stream {stream}"));
    let clock = if plan.clock == Clock::Original { "" } else { " by the clock of the server that wrote the log" };
    let mut lines = vec![format!("Target      {}{clock}   branch {}{stream}", plan.target, plan.branch)];
    lines.extend(plan.last_applied.as_ref().map(|last| {
        format!("Includes    {}   last applied", boundary(last, plan.clock, words.last_applied.as_deref()))
    }));
    lines.push(match &plan.first_excluded {
        Some(first) => {
            format!("Excludes    {}   first not applied", boundary(first, plan.clock, words.first_excluded.as_deref()))
        }
        None => "Excludes    nothing that is archived".to_owned(),
    });
    lines.push(format!(
        "Later       {} committed at or before the target stand after the stop in log order; {} share the stop's second",
        count_of(plan.later_before_target.count, "transaction"),
        plan.same_second
    ));
    let base = &plan.base;
    lines.push(format!(
        "Base        {}, {}, {} ({} stored), GTID set {}",
        base.id,
        base.method,
        binary_size(base.raw_bytes),
        binary_size(base.stored_bytes),
        base.executed
    ));
    lines.push(match (plan.files.first(), plan.files.last(), &plan.stop) {
        (Some(first), Some(last), Some(stop)) => format!(
            "Replay      {}, {}, {} .. {} at position {}",
            count_of(plan.transactions, "transaction"),
            binary_size(plan.bytes),
            first.name,
            last.name,
            stop.offset
        ),
        _ => "Replay      nothing: the base backup is the answer".to_owned(),
    });
    lines.push(format!(
        "Proof       success means: the GTID set is exactly {}; what bypassed the log (sql_log_bin=0, filters) since the base is in no archive",
        plan.expected
    ));
    lines.extend(plan.warnings.iter().map(|warning| format!("Warning     {}", text(warning))));
    lines.push(format!("Estimate    {}", estimate.text(binary_size, duration)));
    lines.push(format!("Plan        {hash}; nothing was created"));
    lines
}

fn sealed(base: &str, recipients: &[String]) -> String {
    format!(
        "Warning     base {base} is encrypted to {}: a restore needs one of their identities",
        recipients.join(", ")
    )
}

fn boundary(transaction: &BoundaryTransaction, clock: Clock, words: Option<&str>) -> String {
    let name = match transaction.gtid() {
        Some(gtid) => gtid.to_string(),
        None => format!("{}:{}", transaction.name, transaction.at.start),
    };
    let place = format!("{}:{}", transaction.name, transaction.at.start);
    format!("{name}   {}   {}", format_time(transaction.us(clock)), words.map_or(place, str::to_owned))
}

/// Where the clock that did not decide would stop.
fn other_clock(clock: Clock, more: Option<i64>, before: Option<Gtid>) -> String {
    let Some(more) = more else {
        return format!("by --clock {clock} this time means another stop, or none");
    };
    let place = before.map_or("at the end of what is archived".to_owned(), |gtid| format!("before {gtid}"));
    let than = if more < 0 { "earlier" } else { "later" };
    format!(
        "by --clock {clock} this time means a stop {place}, {} {than}",
        count_of(more.unsigned_abs(), "transaction")
    )
}

fn text(warning: &PlanWarning) -> String {
    match warning {
        PlanWarning::WholeSeconds => "commit times are only known to the second".to_owned(),
        PlanWarning::TimesStepBack { by_us } => {
            format!("transactions from up to {by_us} microseconds before the target stand after the stop")
        }
        PlanWarning::XaTransactions => "XA transactions are replayed: some may stay prepared".to_owned(),
        PlanWarning::Statements => "changes are replayed as SQL text: they may have another effect".to_owned(),
        PlanWarning::NonTransactional => "changes of engines without transactions are replayed".to_owned(),
        PlanWarning::Skipped(set) => format!("{set} is committed empty: what depends on it may differ"),
        PlanWarning::ProvenByServer { to_us } => {
            format!(
                "after the last archived transaction only the sidecar's word says that nothing was committed until {}",
                format_time(*to_us)
            )
        }
        PlanWarning::Nearest { asked } => {
            format!("{asked} cannot be reached: this is the latest instant before it that can")
        }
        PlanWarning::AcrossGap { gap, missing } => {
            format!("{gap} is crossed: {missing} will be missing, and a row that does not fit stops the replay")
        }
        PlanWarning::OtherClock { clock, more, before } => other_clock(*clock, *more, *before),
        PlanWarning::BaseAlone => "the base backup's own time is all there is to compare with".to_owned(),
    }
}

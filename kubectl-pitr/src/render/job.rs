//! How far a Job is, and how it ended.

use pitr_recovery::code;

use super::{binary_size, count_of, duration};
use crate::failure::Failure;
use crate::job_line::{Progress, Rows, Verdict};

const CELLS: u64 = 20;

/// How a Job's progress is measured here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The phase goes on.
    Running,
    /// The phase is over, after this time.
    Ended { seconds: u64 },
}

/// `replay       █████████████░░░░░░░   778937/1236408 transactions     binlog.000411   eta 56s`
pub fn progress_line(progress: &Progress, pace: Pace) -> String {
    let total = progress.total.filter(|t| *t > 0);
    let filled = match (total, pace) {
        (Some(total), _) => CELLS * progress.done.min(total) / total,
        (None, Pace::Ended { .. }) => CELLS,
        (None, Pace::Running) => 0,
    };
    let bar: String = (0..CELLS).map(|cell| if cell < filled { '█' } else { '░' }).collect();
    let mut parts = vec![format!("{:<13}{bar}   {:<32}", progress.phase, amount(progress))];
    parts.extend(progress.binlog.clone().filter(|_| pace == Pace::Running));
    match pace {
        Pace::Ended { seconds } => parts.push(duration(seconds)),
        Pace::Running => parts.extend(progress.eta_seconds.map(|eta| format!("eta {}", duration(eta.max(0.0) as u64)))),
    }
    parts.join("   ").trim_end().to_owned()
}

fn amount(progress: &Progress) -> String {
    let bytes = progress.unit == "bytes";
    // A phase that is done or not has nothing to count.
    if (progress.unit == "files" && progress.total == Some(1)) || (progress.total.is_none() && progress.done == 0) {
        return String::new();
    }
    match (progress.total.filter(|t| *t > 0), bytes) {
        (Some(total), true) => {
            let of = binary_size(total);
            let unit = of.rsplit(' ').next().unwrap_or_default();
            let whole = of.split(' ').next().unwrap_or_default();
            let done = if progress.done >= total { whole.to_owned() } else { in_unit(progress.done, unit) };
            format!("{done}/{of}")
        }
        (Some(total), false) => format!("{}/{total} {}", progress.done, progress.unit),
        (None, true) => binary_size(progress.done),
        (None, false) => format!("{} {}", progress.done, progress.unit),
    }
}

fn in_unit(bytes: u64, unit: &str) -> String {
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return bytes.to_string(),
    };
    let tenths = (u128::from(bytes) * 10) >> shift;
    if tenths % 10 == 0 { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// The last line of a restore that is verified, or the error of one that is not. The names are the restore's, its workload's and their namespace: for what to do next.
pub fn restore_verdict(
    verdict: &Verdict,
    volume: &str,
    (name, workload, namespace): (&str, &str, &str),
) -> Result<String, Failure> {
    let resume = format!("kubectl pitr restores resume {name} -n {namespace}");
    if let ("verified", Some(message)) = (verdict.result.as_str(), &verdict.message) {
        return Ok(format!("{message}. Data: pvc/{volume}\n{}", results(verdict, volume)));
    }
    if verdict.result == "verified" {
        let seconds = |s: Option<f64>| duration(s.unwrap_or(0.0).max(0.0) as u64);
        return Ok(format!(
            "Verified: the GTID set equals the plan. {} replayed in {}, {} in all. Data: pvc/{volume}\n{}Next: \
             kubectl pitr restores serve {name} -n {namespace} (read-only server: look around, dump one table)\n",
            count_of(verdict.transactions.unwrap_or(0), "transaction"),
            seconds(verdict.replay_seconds),
            seconds(verdict.duration_seconds),
            results(verdict, volume)
        ));
    }
    if let Some(failure) = told(verdict) {
        // Whatever stopped the Job, the restore failed.
        let failure = if failure.exit() == 1 { failure.with_exit(code::RESTORE_FAILED.exit) } else { failure };
        if asks_for_identity(&failure) {
            return Err(failure.fix(format!(
                "kubectl pitr backups {workload} -n {namespace} -o wide says whom each base backup is encrypted to; then the same restore with \
                 --from-backup ID --new-name NAME"
            )));
        }
        if verdict.result == "refused" {
            return Err(failure);
        }
        let batched = verdict.message.as_deref().is_some_and(|text| text.contains("--batch"));
        return Err(ways_on(&failure, &resume, batched).into_iter().fold(failure, Failure::fix));
    }
    let phase = verdict.phase.as_deref().unwrap_or("unknown");
    Err(match verdict.result.as_str() {
        "incomplete" => {
            let missing = verdict.missing.clone().unwrap_or_default();
            Failure::new(
                code::RESTORE_INCOMPLETE,
                "restore is incomplete: planned transactions are not on the restored server",
            )
            .hint(format!("missing {missing}; the volume is marked incomplete"))
            .fix(resume)
        }
        _ => Failure::new(code::RESTORE_FAILED, format!("restore failed in phase \"{phase}\"")).fix(resume),
    })
}

/// How a restore that failed goes on: with something changed, where the same again would end the same.
fn ways_on(failure: &Failure, resume: &str, batched: bool) -> Vec<String> {
    let number = |code: code::Code| Some(code.number);
    match failure.number() {
        n if n == number(code::EVENT_REFUSED) && batched => vec![format!("{resume} --batch 1")],
        n if n == number(code::XA_UNDECIDED) => vec![format!("{resume} --xa rollback"), format!("{resume} --xa keep")],
        n if n == number(code::TABLE_NOT_THERE) => vec![format!("{resume} --tables SCHEMA.TABLE")],
        n if [code::EVENT_REFUSED, code::PLANNED_OBJECT_GONE, code::VOLUME_SPOILED].map(number).contains(&n) => {
            Vec::new()
        }
        _ => vec![resume.to_owned()],
    }
}

/// What a verified restore left beside the data, a line each.
fn results(verdict: &Verdict, volume: &str) -> String {
    let mut lines = String::new();
    if verdict.prepared_xa > 0 {
        let count = count_of(verdict.prepared_xa, "XA transaction");
        lines.push_str(&format!("Prepared: {count} undecided, with their locks: XA RECOVER lists them\n"));
    }
    if let Some(rows) = &verdict.rows {
        lines.push_str(&rows_line(rows));
    }
    if let Some(dump) = &verdict.dump {
        let (tables, rows) = (count_of(dump.tables, "table"), count_of(dump.rows, "row"));
        let (size, directory) = (binary_size(dump.bytes), &dump.directory);
        lines.push_str(&format!("Dumped: {tables}, {rows}, {size} in {directory} of pvc/{volume}\n"));
    }
    lines
}

/// What the accounting of rows found.
pub fn rows_line(rows: &Rows) -> String {
    let Rows { equal, not_accounted, inserted, updated, deleted } = rows;
    let more = if *not_accounted == 0 { String::new() } else { format!("; {not_accounted} not accounted for") };
    let tables = count_of(*equal, "table");
    format!("Rows: {tables} as base and log say ({inserted} inserted, {updated} updated, {deleted} deleted){more}\n")
}

/// The last line of a base backup that is stored, or the error of one that is not.
pub fn backup_verdict(verdict: &Verdict, again: &str) -> Result<String, Failure> {
    if verdict.result == "stored" {
        return Ok(format!(
            "Stored and read back: {}, {} ({} stored), GTID set {}; consistent at {}. Later instants follow as they are archived: status has the window\n",
            verdict.id.as_deref().unwrap_or("-"),
            binary_size(verdict.raw_bytes.unwrap_or(0)),
            binary_size(verdict.stored_bytes.unwrap_or(0)),
            verdict.gtid_set.as_deref().unwrap_or("-"),
            verdict.snapshot_at.as_deref().unwrap_or("-")
        ));
    }
    if let Some(failure) = told(verdict) {
        return Err(failure);
    }
    let phase = verdict.phase.as_deref().unwrap_or("unknown");
    Err(Failure::new(code::BACKUP_FAILED, format!("backup failed in phase \"{phase}\""))
        .hint("nothing partial is listed")
        .fix(again))
}

/// The last line of a drill that passed, or the error of one that did not.
pub fn drill_verdict(verdict: &Verdict) -> Result<String, Failure> {
    if verdict.result == "verified" {
        return Ok(format!(
            "Drill passed: the restored server held exactly the plan's GTID set, {}. {} replayed, {} in all; thrown away\n",
            verdict.gtid_set.as_deref().unwrap_or("-"),
            count_of(verdict.transactions.unwrap_or(0), "transaction"),
            duration(verdict.duration_seconds.unwrap_or(0.0).max(0.0) as u64)
        ) + &verdict.rows.as_ref().map_or_else(String::new, rows_line));
    }
    let phase = verdict.phase.as_deref().unwrap_or("unknown");
    let failure = told(verdict)
        .unwrap_or_else(|| Failure::new(code::RESTORE_FAILED, format!("the drill failed in phase \"{phase}\"")));
    Err(if failure.exit() == 1 { failure.with_exit(code::RESTORE_FAILED.exit) } else { failure })
}

/// The error that a Job which looks after the archive tells.
pub fn job_failure(verdict: &Verdict) -> Option<Failure> {
    told(verdict)
}

/// The error that the Job itself tells: it is rendered already, with hints and fixes on lines of their own.
fn told(verdict: &Verdict) -> Option<Failure> {
    let text = verdict.message.as_deref()?;
    let mut lines = text.lines();
    let head = lines.next()?;
    let head = head.strip_prefix("error").map_or(head, |rest| {
        let rest = rest.strip_prefix('[').and_then(|r| r.split_once(']')).map_or(rest, |(_, rest)| rest);
        rest.trim_start_matches(": ")
    });
    let mut failure = Failure::told(verdict.code.as_deref(), Some(5), head);
    // In a Job "the same command" is another Job: `ways_on` says how to get one.
    let is_elsewhere = |line: &str| line.contains("the same command") || line.contains("--identity-file");
    for line in lines.map(str::trim).filter(|line| !is_elsewhere(line)) {
        if let Some(hint) = line.strip_prefix("hint:") {
            failure = failure.hint(hint.trim());
        } else if let Some(fix) = line.strip_prefix("fix:") {
            failure = failure.fix(fix.trim());
        }
    }
    if asks_for_identity(&failure) {
        failure = failure.fix(
            "--identity-secret NAME, a Secret whose key \"identity\" holds an identity of these recipients, or several",
        );
    }
    Some(failure)
}

/// Whether a Job found that it cannot open what it has to read.
pub fn asks_for_identity(failure: &Failure) -> bool {
    [code::IDENTITY_MISSING, code::WRONG_IDENTITY].iter().any(|code| failure.number() == Some(code.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(phase: &str, done: u64, total: u64, unit: &str) -> Progress {
        Progress { phase: phase.into(), done, total: Some(total), unit: unit.into(), ..Progress::default() }
    }

    #[test]
    fn progress_stands_in_columns() {
        let mut replay = progress("replay", 778_937, 1_236_408, "transactions");
        (replay.binlog, replay.eta_seconds) = (Some("binlog.000411".into()), Some(56.2));
        assert_eq!(
            progress_line(&replay, Pace::Running),
            "replay       ████████████░░░░░░░░   778937/1236408 transactions        binlog.000411   eta 56s"
        );
        let fetch = progress("fetch-base", 44_238_013_235, 44_238_013_235, "bytes");
        assert_eq!(
            progress_line(&fetch, Pace::Ended { seconds: 352 }),
            "fetch-base   ████████████████████   41.2/41.2 GiB                      5m52s"
        );
    }

    #[test]
    fn the_jobs_own_words_become_the_error() {
        let verdict = Verdict {
            result: "failed".into(),
            code: Some("PITR0413".into()),
            message: Some(
                "error[PITR0413]: replay stopped at x:7\n  hint: no row is ever skipped\n  fix:  an earlier target\n"
                    .into(),
            ),
            ..Verdict::default()
        };
        let failure = restore_verdict(&verdict, "v", ("n", "mysql", "shop")).unwrap_err();
        assert_eq!(
            failure.text(),
            "error[PITR0413]: replay stopped at x:7\n  hint: no row is ever skipped\n  fix:  an earlier target\n"
        );
        assert_eq!(failure.exit(), 5);
        let verdict = Verdict {
            code: Some("PITR0602".into()),
            result: "failed".into(),
            message: Some("x".into()),
            ..Verdict::default()
        };
        assert_eq!(restore_verdict(&verdict, "v", ("n", "mysql", "shop")).unwrap_err().exit(), 5);
        assert_eq!(backup_verdict(&verdict, "again").unwrap_err().exit(), 1);
        assert_eq!(drill_verdict(&verdict).unwrap_err().exit(), 5);
        let passed = Verdict { result: "verified".into(), transactions: Some(1), ..Verdict::default() };
        assert!(drill_verdict(&passed).unwrap().starts_with("Drill passed: "));
        let rows = Some(Rows { equal: 1, not_accounted: 2, inserted: 3, ..Rows::default() });
        let line = "Rows: 1 table as base and log say (3 inserted, 0 updated, 0 deleted); 2 not accounted for\n";
        assert!(drill_verdict(&Verdict { rows, ..passed }).unwrap().ends_with(line));
    }

    #[test]
    fn where_the_same_again_would_fail_again_it_is_said_what_to_change() {
        let fixes = |code: &str, fix: &str| {
            let verdict = Verdict {
                result: "failed".into(),
                code: Some(code.into()),
                message: Some(format!("error[{code}]: stopped\n  fix:  {fix}\n")),
                ..Verdict::default()
            };
            let text = restore_verdict(&verdict, "v", ("n", "mysql", "shop")).unwrap_err().text();
            text.lines().skip(1).map(|line| line.trim().replace("fix:  ", "")).collect::<Vec<_>>()
        };
        let resume = "kubectl pitr restores resume n -n shop";
        let batch = fixes("PITR0413", "the same command with --batch=1, which names the transaction");
        assert_eq!(batch, [format!("{resume} --batch 1")]);
        let xa = fixes("PITR0417", "the same command with --xa rollback or --xa keep, or another target");
        assert_eq!(xa, [format!("{resume} --xa rollback"), format!("{resume} --xa keep")]);
        let tables = fixes("PITR0418", "the same command with another --tables, or an earlier target");
        assert_eq!(tables, [format!("{resume} --tables SCHEMA.TABLE")]);
        assert_eq!(fixes("PITR0416", "plan again"), ["plan again"]);
        assert_eq!(fixes("PITR0419", "restore onto an empty volume"), ["restore onto an empty volume"]);
        assert_eq!(fixes("PITR0414", "run the same command again"), [resume]);
    }

    #[test]
    fn what_no_identity_opens_is_told_with_the_flags_of_this_program() {
        let text = "error[PITR0311]: s3://b: \"chunks/1\" is encrypted to age1qx, and none of the identities at hand opens it\n  \
                    hint: the public key of an identity stands in its file\n  fix:  --identity-file with the identity of one of these\n";
        let verdict = Verdict {
            result: "refused".into(),
            code: Some("PITR0311".into()),
            message: Some(text.into()),
            ..Verdict::default()
        };
        let failure = restore_verdict(&verdict, "v", ("n", "mysql", "shop")).unwrap_err();
        let told = failure.text();
        assert!(told.contains("encrypted to age1qx") && !told.contains("--identity-file"), "{told}");
        assert!(
            told.contains("fix:  --identity-secret NAME") && told.contains("--from-backup ID --new-name NAME"),
            "{told}"
        );
        assert_eq!(failure.exit(), 4);
        assert!(!drill_verdict(&verdict).unwrap_err().text().contains("--from-backup"), "a drill chooses by itself");
    }

    #[test]
    fn a_verdict_without_words_still_has_a_code() {
        let verdict = Verdict { result: "incomplete".into(), missing: Some("u:7".into()), ..Verdict::default() };
        assert_eq!(restore_verdict(&verdict, "v", ("n", "mysql", "shop")).unwrap_err().number(), Some(411));
        let verdict = Verdict { result: "failed".into(), phase: Some("upload".into()), ..Verdict::default() };
        assert_eq!(backup_verdict(&verdict, "again").unwrap_err().number(), Some(802));
    }
}

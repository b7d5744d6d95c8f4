//! The recovery target, from words on the command line to a request. Nothing is guessed: a time says its offset, a GTID is one.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pitr_binlog::{BinlogName, Gtid};
use pitr_recovery::{
    Clock, PlanRequest, RecoveryTarget, Rfc3339, TimeError, TimeTarget, UnknownClock, code, parse_time,
};
use serde_json::{Value, json};

use crate::args::TargetArgs;
use crate::failure::Failure;
use crate::render::{duration, to_micros};
use crate::state::micros;

/// What a message about a time without an offset needs.
#[derive(Debug, Clone)]
pub struct Reader {
    pub now: Timestamp,
    /// The zone of whoever wrote it, and its name.
    pub zone: Option<(String, TimeZone)>,
}

/// The request that the flags make.
pub fn request(args: &TargetArgs, reader: &Reader) -> Result<PlanRequest, Failure> {
    let mut request = PlanRequest::new(target(args, reader)?);
    request.from_backup.clone_from(&args.from_backup);
    request.branch.clone_from(&args.branch);
    request.accept_early_stop = args.accept_early_stop;
    request.nearest = args.nearest;
    request.allow_gap.clone_from(&args.allow_gap);
    request.clock = clock(args, &request.target)?;
    request.skip = args.skip_gtid.iter().map(|text| gtid(text)).collect::<Result<_, _>>()?;
    Ok(request)
}

fn target(args: &TargetArgs, reader: &Reader) -> Result<RecoveryTarget, Failure> {
    if let Some(text) = &args.to {
        return match parse_time(text) {
            Ok(TimeTarget::Latest) => Ok(RecoveryTarget::Latest),
            Ok(TimeTarget::At(us)) => Ok(RecoveryTarget::Time(us)),
            Err(error) => Err(bad_time(&error, ("--to", text), reader)),
        };
    }
    if let Some(text) = &args.before_gtid {
        return gtid(text).map(RecoveryTarget::BeforeGtid);
    }
    if let Some(text) = &args.through_gtid {
        return gtid(text).map(RecoveryTarget::ThroughGtid);
    }
    match &args.to_position {
        Some(text) => position(text, args.source.clone()),
        None => Err(Failure::usage("no target is given").fix("--to latest, or --to 2026-11-21T07:14:00Z")),
    }
}

/// The clock that is asked for, where the target has any use for it.
fn clock(args: &TargetArgs, target: &RecoveryTarget) -> Result<Clock, Failure> {
    let Some(text) = &args.clock else { return Ok(Clock::default()) };
    let clock = text.parse().map_err(|error: UnknownClock| Failure::usage(error.to_string()))?;
    if !matches!(target, RecoveryTarget::Time(_)) {
        return Err(Failure::usage("only a time is looked up by a clock").fix("leave out --clock"));
    }
    if clock == Clock::Immediate && args.nearest {
        let failure = Failure::usage("--nearest is by the original clock, as windows are");
        return Err(failure.fix("leave out --nearest or --clock"));
    }
    Ok(clock)
}

/// An instant that is no target: where to look, how far back.
pub fn instant(flag: &str, text: &str, reader: &Reader) -> Result<i64, Failure> {
    match parse_time(text) {
        Ok(TimeTarget::Latest) => Ok(i64::MAX),
        Ok(TimeTarget::At(us)) => Ok(us),
        Err(error) => Err(bad_time(&error, (flag, text), reader)),
    }
}

fn gtid(text: &str) -> Result<Gtid, Failure> {
    text.parse().map_err(|_| {
        Failure::new(code::GTID_UNREADABLE, format!("\"{text}\" is not a GTID"))
            .hint("MySQL: UUID[:TAG]:N; MariaDB: DOMAIN-SERVER-SEQ")
            .fix("copy one from the plan: kubectl pitr restore W --to TIME --plan")
    })
}

fn position(text: &str, source: Option<String>) -> Result<RecoveryTarget, Failure> {
    let bad = || {
        Failure::new(code::POSITION_AMBIGUOUS, format!("\"{text}\" is not FILE:POS"))
            .fix("--to-position binlog.000410:23118774")
    };
    let (name, pos) = text.rsplit_once(':').ok_or_else(bad)?;
    let name = BinlogName::parse(name).map_err(|_| bad())?;
    Ok(RecoveryTarget::Position { source, name, pos: pos.parse().map_err(|_| bad())? })
}

fn bad_time(error: &TimeError, (flag, text): (&str, &str), reader: &Reader) -> Failure {
    let time = to_micros(crate::render::seconds_down(ago(text, reader.now).unwrap_or(reader.now)));
    match error {
        TimeError::NotRfc3339 { .. } => Failure::new(code::TIME_UNREADABLE, error.to_string())
            .hint("a relative time means something else a minute later")
            .fix(format!("{flag} {time}")),
        TimeError::TooFine { .. } => Failure::new(code::TIME_UNREADABLE, error.to_string())
            .hint(
                "servers record commits to the microsecond: more digits would be rounded, and nothing is rounded here",
            )
            .fix(format!("{flag} with at most six digits of a second")),
        TimeError::NoZone { as_utc_us, .. } => no_zone(error, *as_utc_us, (flag, reader)),
    }
}

/// The instant that `15m ago` or `5 minutes ago` means now. It is offered, not taken.
fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let span = text.trim().strip_suffix("ago")?.trim();
    let digits = span.find(|c: char| !c.is_ascii_digit())?;
    let count: i64 = span[..digits].parse().ok()?;
    let seconds = match span[digits..].trim() {
        "s" | "sec" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 86_400,
        _ => return None,
    };
    Timestamp::from_second(now.as_second().checked_sub(count.checked_mul(seconds)?)?).ok()
}

/// Both readings, so that the user sees which one was meant.
fn no_zone(error: &TimeError, as_utc_us: i64, (flag, reader): (&str, &Reader)) -> Failure {
    let utc = micros(as_utc_us);
    let mut hint = format!("{} UTC is {}", hour_of(utc), from_now(utc, reader.now));
    let mut fix = to_micros(utc);
    let civil = utc.to_zoned(TimeZone::UTC).datetime();
    if let Some((name, zone)) = &reader.zone
        && let Ok(local) = civil.to_zoned(zone.clone())
        && local.timestamp() != utc
    {
        hint.push_str(&format!("; {} {name} is {}", hour_of(utc), to_micros(local.timestamp())));
        // The reading in the future cannot be meant.
        if utc > reader.now || local.timestamp() <= reader.now {
            fix = to_micros(local.timestamp());
        }
    }
    Failure::new(code::TIME_WITHOUT_ZONE, error.to_string()).hint(hint).fix(format!("{flag} {fix}"))
}

fn hour_of(at: Timestamp) -> String {
    at.strftime("%H:%M").to_string()
}

/// `44m in the future`, `16m ago`.
pub fn from_now(at: Timestamp, now: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let distance = duration(seconds.unsigned_abs());
    if seconds > 0 { format!("{distance} in the future") } else { format!("{distance} ago") }
}

/// The body of `POST /v1/plan`.
pub fn body(request: &PlanRequest) -> Value {
    let target = match &request.target {
        RecoveryTarget::Time(us) => json!({"time": Rfc3339(*us).to_string()}),
        RecoveryTarget::Latest => json!({"latest": true}),
        RecoveryTarget::BeforeGtid(gtid) => json!({"beforeGtid": gtid.to_string()}),
        RecoveryTarget::ThroughGtid(gtid) => json!({"throughGtid": gtid.to_string()}),
        RecoveryTarget::Position { source, name, pos } => {
            json!({"position": {"binlog": name.to_string(), "position": pos, "source": source}})
        }
    };
    let mut body = json!({
        "target": target,
        "fromBackup": request.from_backup,
        "branch": request.branch,
        "skipGtids": request.skip.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "acceptEarlyStop": request.accept_early_stop,
    });
    // Sidecars refuse what they do not know: an older one is told of these only when they are wanted.
    if request.nearest {
        body["nearest"] = true.into();
    }
    if request.clock != Clock::default() {
        body["clock"] = request.clock.to_string().into();
    }
    if let Some(gap) = &request.allow_gap {
        body["allowGap"] = gap.to_string().into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        Reader { now: "2026-11-21T07:30:00Z".parse().unwrap(), zone: Some(("Europe/Paris".into(), zone)) }
    }

    fn to(text: &str) -> Result<PlanRequest, Failure> {
        request(&TargetArgs { to: Some(text.into()), ..TargetArgs::default() }, &reader())
    }

    #[test]
    fn a_time_without_offset_is_refused_with_both_readings() {
        let failure = to("2026-11-21 08:14").unwrap_err();
        assert_eq!(
            failure.text(),
            "error[PITR0102]: time \"2026-11-21 08:14\" has no time zone\n  hint: 08:14 UTC is 44m in the future; 08:14 \
             Europe/Paris is 2026-11-21T07:14:00Z\n  fix:  --to 2026-11-21T07:14:00Z\n"
        );
        assert_eq!(failure.exit(), 2);
    }

    #[test]
    fn other_times_are_refused_and_nothing_is_rounded() {
        for text in ["15m ago", "10", "yesterday", "2026-11-21T07:14:03.1234567Z", ""] {
            assert_eq!(to(text).unwrap_err().number(), Some(101), "{text}");
        }
        assert_eq!(to("latest").unwrap().target, RecoveryTarget::Latest);
        assert_eq!(to("2026-11-21T08:14:03+01:00").unwrap().target, to("2026-11-21T07:14:03Z").unwrap().target);
    }

    #[test]
    fn the_fix_of_a_time_names_the_flag_and_what_was_meant() {
        let fix = |flag: &str, text: &str| instant(flag, text, &reader()).unwrap_err().text();
        assert!(
            fix("--around", "15m ago").contains("fix:  --around 2026-11-21T07:15:00"),
            "{}",
            fix("--around", "15m ago")
        );
        assert!(fix("--from", "2 hours ago").contains("fix:  --from 2026-11-21T05:30:00"));
        assert!(fix("--from", "yesterday").contains("fix:  --from 2026-11-21T07:30:00"));
        assert!(fix("--around", "2026-11-21T07:14:03").contains("fix:  --around 2026-11-21T0"));
    }

    #[test]
    fn gtids_and_positions_are_read_strictly() {
        let args = |f: fn(&mut TargetArgs)| {
            let mut args = TargetArgs::default();
            f(&mut args);
            request(&args, &reader())
        };
        assert!(args(|a| a.before_gtid = Some("3e11fa47-71ca-11e1-9e33-c80aa9429562:7".into())).is_ok());
        assert_eq!(args(|a| a.through_gtid = Some("nonsense".into())).unwrap_err().number(), Some(104));
        assert!(args(|a| a.to_position = Some("binlog.000042:1234".into())).is_ok());
        assert_eq!(args(|a| a.to_position = Some("binlog.000042".into())).unwrap_err().number(), Some(105));
    }

    #[test]
    fn a_clock_goes_with_a_time_and_nothing_else() {
        let args = |to: &str, clock: &str, nearest: bool| {
            let clock = Some(clock.to_owned());
            request(&TargetArgs { to: Some(to.into()), clock, nearest, ..TargetArgs::default() }, &reader())
        };
        let asked = args("2026-11-21T07:14:03Z", "immediate", false).unwrap();
        assert_eq!((asked.clock, &super::body(&asked)["clock"]), (Clock::Immediate, &json!("immediate")));
        assert_eq!(super::body(&args("2026-11-21T07:14:03Z", "original", true).unwrap())["clock"], Value::Null);
        for (to, clock, nearest) in [
            ("latest", "immediate", false),
            ("2026-11-21T07:14:03Z", "immediate", true),
            ("2026-11-21T07:14:03Z", "x", false),
        ] {
            assert_eq!(args(to, clock, nearest).unwrap_err().exit(), 2, "{to} {clock} {nearest}");
        }
    }

    #[test]
    fn the_request_is_told_as_the_control_api_takes_it() {
        let body = body(&to("2026-11-21T07:14:03.5Z").unwrap());
        assert_eq!(body["target"]["time"], "2026-11-21T07:14:03.500000Z");
        assert_eq!(body["skipGtids"], json!([]));
    }
}

//! Targets as they are typed or posted. Nothing is guessed: what is not exact is refused with the readings that it may have.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pitr_binlog::{BinlogName, Gtid};
use pitr_recovery::{
    Clock, PlanRequest, RecoveryTarget, TimeError, TimeTarget, UnknownClock, code, format_time, parse_time,
};
use serde::Deserialize;

use crate::error::Failure;
use crate::target_args::TargetArgs;

/// The request that flags make.
pub(crate) fn request(args: &TargetArgs) -> anyhow::Result<PlanRequest> {
    let target = match (&args.to, &args.before_gtid, &args.through_gtid, &args.to_position) {
        (Some(time), ..) => time_target(time)?,
        (_, Some(text), ..) => RecoveryTarget::BeforeGtid(gtid(text)?),
        (_, _, Some(text), _) => RecoveryTarget::ThroughGtid(gtid(text)?),
        (_, _, _, Some(text)) => position(text, args.source.as_deref())?,
        (None, None, None, None) => {
            return Err(Failure::new(&code::TIME_UNREADABLE, "no target is given")
                .hint("a restore goes to one exact point")
                .fix("--to TIME|latest, --before-gtid GTID, --through-gtid GTID or --to-position FILE:POS")
                .into());
        }
    };
    let by_time = matches!(target, RecoveryTarget::Time(_) | RecoveryTarget::Latest);
    let by_position = matches!(target, RecoveryTarget::Position { .. });
    if (args.nearest && !by_time) || (args.allow_gap.is_some() && by_position) {
        return Err(Failure::new(&code::TIME_UNREADABLE, "this target has no such option")
            .hint("only a time has a nearest one, and a position lies on one side of every gap")
            .fix("leave out nearest, or allow-gap")
            .into());
    }
    Ok(PlanRequest {
        clock: clock(args.clock.as_deref(), &target, args.nearest)?,
        from_backup: args.from_backup.clone(),
        branch: args.branch.clone(),
        skip: args.skip_gtid.iter().map(|text| gtid(text)).collect::<Result<_, _>>()?,
        accept_early_stop: args.accept_early_stop,
        nearest: args.nearest,
        allow_gap: args.allow_gap.clone(),
        ..PlanRequest::new(target)
    })
}

/// The clock that is asked for, where the target has any use for it.
fn clock(text: Option<&str>, target: &RecoveryTarget, nearest: bool) -> Result<Clock, Failure> {
    let clock = text.map_or(Ok(Clock::default()), str::parse).map_err(|error: UnknownClock| {
        Failure::new(&code::TIME_UNREADABLE, error.to_string()).fix("--clock immediate, or leave it out")
    })?;
    if text.is_some() && !matches!(target, RecoveryTarget::Time(_)) {
        return Err(Failure::new(&code::TIME_UNREADABLE, "this target needs no clock")
            .hint("only a time is looked up by a clock")
            .fix("leave out --clock"));
    }
    if clock == Clock::Immediate && nearest {
        return Err(Failure::new(&code::TIME_UNREADABLE, "--nearest is by the original clock")
            .hint("windows, and so the instant that is nearest, are by the original clock")
            .fix("leave out --nearest or --clock"));
    }
    Ok(clock)
}

fn time_target(text: &str) -> Result<RecoveryTarget, Failure> {
    match parse_time(text) {
        Ok(TimeTarget::Latest) => Ok(RecoveryTarget::Latest),
        Ok(TimeTarget::At(us)) => Ok(RecoveryTarget::Time(us)),
        Err(error) => Err(time_failure(&error)),
    }
}

fn time_failure(error: &TimeError) -> Failure {
    const EXAMPLE: &str = "--to 2026-11-21T07:14:00Z";
    match error {
        TimeError::NotRfc3339 { .. } => Failure::new(&code::TIME_UNREADABLE, error.to_string())
            .hint("a relative time means something else a minute later")
            .fix(EXAMPLE),
        TimeError::TooFine { .. } => Failure::new(&code::TIME_UNREADABLE, error.to_string())
            .hint("commit times are kept in microseconds, and nothing is rounded")
            .fix("at most six digits after the point"),
        TimeError::NoZone { as_utc_us, .. } => {
            let utc = format_time(*as_utc_us);
            let failure = Failure::new(&code::TIME_WITHOUT_ZONE, error.to_string()).hint(format!("as UTC it is {utc}"));
            let failure = match in_local_zone(*as_utc_us) {
                Some((zone, local)) if local != utc => {
                    failure.hint(format!("in {zone} it is {local}")).fix(format!("--to {local}"))
                }
                Some(_) | None => failure,
            };
            failure.fix(format!("--to {utc}"))
        }
    }
}

/// The same digits as this machine's time zone reads them.
fn in_local_zone(as_utc_us: i64) -> Option<(String, String)> {
    let civil = Timestamp::from_microsecond(as_utc_us).ok()?.to_zoned(TimeZone::UTC).datetime();
    let zone = TimeZone::try_system().ok()?;
    let name = zone.iana_name()?.to_owned();
    let local = zone.to_timestamp(civil).ok()?;
    Some((name, format_time(local.as_microsecond())))
}

fn gtid(text: &str) -> Result<Gtid, Failure> {
    text.parse().map_err(|_| {
        Failure::new(&code::GTID_UNREADABLE, format!("\"{text}\" is not a GTID"))
            .hint("MySQL: UUID[:TAG]:N; MariaDB: DOMAIN-SERVER-SEQ")
            .fix("copy one from the server's log: pitr-sidecar inspect FILE --transactions")
    })
}

fn position(text: &str, source: Option<&str>) -> Result<RecoveryTarget, Failure> {
    let parts = text.rsplit_once(':').and_then(|(name, pos)| Some((BinlogName::parse(name).ok()?, pos.parse().ok()?)));
    let Some((name, pos)) = parts else {
        return Err(Failure::new(&code::POSITION_AMBIGUOUS, format!("\"{text}\" is not a position of a binlog"))
            .hint("a binlog's name and an offset in it")
            .fix("--to-position binlog.000042:1234"));
    };
    Ok(RecoveryTarget::Position { source: source.map(str::to_owned), name, pos })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostedRequest {
    target: PostedTarget,
    #[serde(default)]
    from_backup: Option<String>,
    #[serde(default)]
    branch: Option<String>,
    #[serde(default)]
    skip_gtids: Vec<String>,
    #[serde(default)]
    accept_early_stop: bool,
    #[serde(default)]
    nearest: bool,
    #[serde(default)]
    allow_gap: Option<String>,
    #[serde(default)]
    clock: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct PostedTarget {
    time: Option<String>,
    latest: Option<bool>,
    before_gtid: Option<String>,
    through_gtid: Option<String>,
    position: Option<PostedPosition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostedPosition {
    binlog: String,
    position: u64,
    #[serde(default)]
    source: Option<String>,
}

/// The request of a body of `POST /v1/plan`.
pub(crate) fn posted(body: &[u8]) -> anyhow::Result<PlanRequest> {
    let posted: PostedRequest = serde_json::from_slice(body).map_err(|reason| {
        Failure::new(&code::TIME_UNREADABLE, format!("the request cannot be read: {reason}"))
            .hint("a JSON object with one target")
            .fix("{\"target\":{\"time\":\"2026-11-21T07:14:00Z\"}}")
    })?;
    let target = posted.target;
    let latest = target.latest.unwrap_or(false);
    let given = [
        target.time.is_some(),
        latest,
        target.before_gtid.is_some(),
        target.through_gtid.is_some(),
        target.position.is_some(),
    ];
    if given.iter().filter(|given| **given).count() > 1 {
        return Err(Failure::new(&code::TIME_UNREADABLE, "more than one target is given")
            .hint("a restore goes to one exact point")
            .fix("{\"target\":{\"latest\":true}}")
            .into());
    }
    let (position, source) = match target.position {
        Some(position) => (Some(format!("{}:{}", position.binlog, position.position)), position.source),
        None => (None, None),
    };
    request(&TargetArgs {
        to: target.time.or(latest.then(|| "latest".to_owned())),
        before_gtid: target.before_gtid,
        through_gtid: target.through_gtid,
        to_position: position,
        source,
        skip_gtid: posted.skip_gtids,
        from_backup: posted.from_backup,
        branch: posted.branch,
        accept_early_stop: posted.accept_early_stop,
        nearest: posted.nearest,
        allow_gap: posted.allow_gap,
        clock: posted.clock,
    })
}

#[cfg(test)]
mod tests {
    use pitr_recovery::{Clock, RecoveryTarget};

    use super::{posted, request};
    use crate::error::Rendered;
    use crate::target_args::TargetArgs;

    fn code_of(args: &TargetArgs) -> (Option<String>, u8) {
        let rendered = Rendered::of(&request(args).unwrap_err());
        assert!(rendered.text().contains("hint:") && rendered.text().contains("fix:"), "{}", rendered.text());
        (rendered.code, rendered.exit)
    }

    #[test]
    fn what_is_not_exact_is_refused_by_name() {
        let to = |text: &str| TargetArgs { to: Some(text.to_owned()), ..TargetArgs::default() };
        let code = |text: &str, exit| (Some(text.to_owned()), exit);
        assert_eq!(code_of(&to("15m ago")), code("PITR0101", 2));
        assert_eq!(code_of(&to("2026-11-21 08:14")), code("PITR0102", 2));
        assert_eq!(code_of(&to("2026-11-21T07:14:03.1234567Z")), code("PITR0101", 2));
        assert_eq!(code_of(&TargetArgs::default()), code("PITR0101", 2));
        let before = TargetArgs { before_gtid: Some("nonsense".to_owned()), ..TargetArgs::default() };
        assert_eq!(code_of(&before), code("PITR0104", 2));
        let position = TargetArgs { to_position: Some("binlog.000001".to_owned()), ..TargetArgs::default() };
        assert_eq!(code_of(&position), code("PITR0105", 2));
    }

    #[test]
    fn a_posted_target_is_the_typed_one() {
        let body = br#"{"target":{"position":{"binlog":"binlog.000042","position":1234,"source":"3e11"}},"acceptEarlyStop":true}"#;
        let asked = posted(body).unwrap();
        assert_eq!(asked.target.to_string(), "binlog.000042:1234 of 3e11");
        assert!(asked.accept_early_stop && !asked.nearest);
        let asked = posted(br#"{"target":{"latest":true},"nearest":true,"allowGap":"gap-7f2a"}"#).unwrap();
        assert_eq!((asked.nearest, asked.allow_gap.as_deref()), (true, Some("gap-7f2a")));
        let asked = posted(br#"{"target":{"time":"2026-11-21T07:14:03Z"},"clock":"immediate"}"#).unwrap();
        assert_eq!(asked.clock, Clock::Immediate);
        assert_eq!(posted(br#"{"target":{"latest":true}}"#).unwrap().target, RecoveryTarget::Latest);
        for wrong in [
            r#"{"target":{}}"#,
            r#"{"target":{"latest":true,"time":"latest"}}"#,
            r#"{"target":{"tiem":"latest"}}"#,
            r#"{"target":{"throughGtid":"3e11fa47-71ca-11e1-9e33-c80aa9429562:7"},"nearest":true}"#,
            r#"{"target":{"position":{"binlog":"binlog.000042","position":4}},"allowGap":"gap-1"}"#,
            r#"{"target":{"latest":true},"clock":"immediate"}"#,
            r#"{"target":{"time":"2026-11-21T07:14:03Z"},"clock":"mine"}"#,
            r#"{"target":{"time":"2026-11-21T07:14:03Z"},"clock":"immediate","nearest":true}"#,
            "x",
        ] {
            assert!(posted(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

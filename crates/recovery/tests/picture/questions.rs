//! Questions about a picture: targets, and the plans or refusals that answer them.
//!
//! `? time 3.2`, `? before a4`, `? through a4`, `? latest`, `? pos 2:300` or `? pos A.2:300`; then, in any order, `skip a3`,
//! `branch 2` (the second one), `from b1`, `proven 9`, `clock immediate`, `accept`, `nearest`, `across 1` (the first gap). `? log 2` asks for the log of
//! the second branch.

use pitr_binlog::GtidSet;
use pitr_recovery::{
    BoundaryTransaction, PlanRequest, PlanWarning, RecoveryTarget, RestorePlan, Rfc3339, Stretch, Timeline,
    Unrecoverable,
};

use super::draw::{binlog, readable, seconds, set};
use super::read::{Picture, gtid_of, seconds as micros, source_of};
use crate::world::name;

/// The answers to all questions of a picture, each below its question.
pub(crate) fn answer(picture: &Picture, timeline: &Timeline) -> String {
    let one = |question: &String| {
        if let Some(branch) = question.strip_prefix("log ") {
            let log = log(picture, timeline, &timeline.branches()[branch.parse::<usize>().unwrap() - 1].id);
            return format!("? {question}\n  {}\n", readable(timeline, &log));
        }
        let request = request(question, timeline);
        let answer = match picture.world.plan(timeline, &request) {
            Ok(plan) => drawn(&plan),
            Err(why) => refusal(&why),
        };
        format!("? {question}\n  {}\n", readable(timeline, &answer))
    };
    picture.questions.iter().map(one).collect()
}

/// The transactions of a branch in the order in which they are replayed, a part for each stretch.
fn log(picture: &Picture, timeline: &Timeline, branch: &str) -> String {
    let drawn = |stretch: &Stretch| {
        let indices = picture.world.indices(std::slice::from_ref(&stretch.range));
        let transactions = timeline.transactions_of(stretch, &indices[&stretch.range]);
        assert_eq!(transactions.len() as u64, stretch.transactions);
        let gtids = || transactions.iter().filter_map(|entry| entry.gtid);
        assert!(gtids().all(|gtid| timeline.is_in(&gtid, stretch)));
        let words: Vec<String> = gtids().map(|gtid| set(&GtidSet::from_iter([gtid]))).collect();
        format!("{} {}", binlog(&stretch.range.binlog), words.join(" "))
    };
    timeline.stretches(branch).iter().map(drawn).collect::<Vec<_>>().join(", ")
}

fn request(question: &str, timeline: &Timeline) -> PlanRequest {
    let mut words = question.split_whitespace();
    let mut next = || words.next().unwrap_or_default();
    let target = match next() {
        "latest" => RecoveryTarget::Latest,
        "time" => RecoveryTarget::Time(micros(next())),
        "before" => RecoveryTarget::BeforeGtid(gtid_of(next())),
        "through" => RecoveryTarget::ThroughGtid(gtid_of(next())),
        "pos" => {
            let (binlog, pos) = next().split_once(':').unwrap();
            let (source, number) = match binlog.split_once('.') {
                Some((letter, number)) => (Some(source_of(letter)), number),
                None => (None, binlog),
            };
            RecoveryTarget::Position { source, name: name(number.parse().unwrap()), pos: pos.parse().unwrap() }
        }
        other => panic!("{other:?} is no target"),
    };
    let mut request = PlanRequest::new(target);
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap_or_default();
        match word {
            "skip" => request.skip.push(gtid_of(next())),
            "branch" => request.branch = Some(timeline.branches()[next().parse::<usize>().unwrap() - 1].id.clone()),
            "from" => request.from_backup = Some(next().to_owned()),
            "clock" => request.clock = next().parse().unwrap(),
            "proven" => request.proven_to_us = Some(micros(next())),
            "accept" => request.accept_early_stop = true,
            "nearest" => request.nearest = true,
            "across" => request.allow_gap = Some(timeline.gaps()[next().parse::<usize>().unwrap() - 1].id.clone()),
            other => panic!("{other:?} is no option"),
        }
    }
    request
}

fn drawn(plan: &RestorePlan) -> String {
    let parts = plan.parts();
    let mut text = parts.base.id.clone();
    for file in plan.files() {
        text += &format!(" + {} {}..{}", binlog(&file.id), file.from, file.to);
    }
    text += &format!(" = {}", set(plan.expected()));
    let gtid = |transaction: &BoundaryTransaction| {
        let only = |gtid| set(&GtidSet::from_iter([gtid])).trim_matches(['{', '}']).to_owned();
        let name = transaction.gtid().map_or("-".to_owned(), only);
        format!("{name}:{}", seconds(transaction.commit_us()))
    };
    let or_none = |transaction: &Option<BoundaryTransaction>| transaction.as_ref().map_or("-".to_owned(), gtid);
    text += &format!("\n  last {}, next {}", or_none(&parts.last_applied), or_none(&parts.first_excluded));
    text += &format!(", {} transactions, {} in that second", parts.transactions, parts.same_second);
    if let Some(first) = &parts.later_before_target.first {
        text += &format!(", left out {} from {}", parts.later_before_target.count, gtid(first));
    }
    for warning in &parts.warnings {
        text += &format!("\n  warning: {}", warned(warning));
    }
    text
}

fn warned(warning: &PlanWarning) -> String {
    match warning {
        PlanWarning::WholeSeconds => "times are whole seconds".to_owned(),
        PlanWarning::TimesStepBack { by_us } => format!("times step back by {}", seconds(*by_us)),
        PlanWarning::XaTransactions => "XA transactions".to_owned(),
        PlanWarning::Statements => "statements".to_owned(),
        PlanWarning::NonTransactional => "no rollback".to_owned(),
        PlanWarning::Skipped(gtids) => format!("{} committed empty", set(gtids)),
        PlanWarning::ProvenByServer { to_us } => format!("proven by the server to {}", seconds(*to_us)),
        PlanWarning::Nearest { asked } => format!("the nearest before {asked}"),
        PlanWarning::AcrossGap { gap, missing } => format!("across {gap} without {}", set(missing)),
        PlanWarning::OtherClock { clock, more, before } => {
            let before = before.map_or("-".to_owned(), |gtid| set(&GtidSet::from_iter([gtid])));
            format!("the {clock} clock: {more:?} more, before {before}")
        }
        PlanWarning::BaseAlone => "the base backup alone".to_owned(),
    }
}

/// The code and the message, and what can be reached instead. Times in messages are kept as they are printed.
fn refusal(why: &Unrecoverable) -> String {
    let mut text = format!("{} {why}", why.code());
    if let Some(us) = why.nearest_before_us() {
        text += &format!("\n  nearest before {}", Rfc3339(us));
    }
    if let Some(us) = why.next_after_us() {
        text += &format!("\n  next after {}", Rfc3339(us));
    }
    text
}

//! `timeline`: what happened, and when.

use anyhow::Result;
use pitr_archive::{Matching, Point, Sought};
use serde_json::Value;

use super::origin::Origin;
use crate::args::{TimelineArgs, TimelineFormat, is_duration};
use crate::failure::Failure;
use crate::question::Question;
use crate::render::{TimelineShown, timeline_text, to_micros};
use crate::session::Session;
use crate::state::Timeline;
use crate::target;

/// Transactions on either side of a point.
const AROUND: usize = 5;
/// Transactions that a search gives.
const FOUND: usize = 20;

pub async fn run(session: &Session, args: &TimelineArgs) -> Result<u8> {
    let format = session.output(TimelineFormat::Text)?;
    let question = question(session, args)?;
    let origin = Origin::find(session, args.workload.as_deref(), (&args.state, &args.archive)).await?;
    let document = ask_all(session, &origin, question.clone()).await?;
    let yaml = match format {
        TimelineFormat::Text | TimelineFormat::Wide => {
            let timeline: Timeline = serde_json::from_value(document)?;
            let place = origin.place();
            let wide = format == TimelineFormat::Wide;
            let shown = TimelineShown { question: &question, since: since(session, args)?, place: &place, wide };
            return session.print(&timeline_text(&timeline, &shown, &session.zone)).map(|()| 0);
        }
        TimelineFormat::Json => crate::args::OutputFormat::Json,
        TimelineFormat::Yaml => crate::args::OutputFormat::Yaml,
    };
    session.print_document(&document, yaml).map(|()| 0)
}

fn question(session: &Session, args: &TimelineArgs) -> Result<Question, Failure> {
    let reader = session.reader();
    let count = |default: usize| args.transactions.map_or(default, |n| usize::try_from(n).unwrap_or(default));
    let searches = args.grep.is_some() || args.ddl || args.until.is_some();
    let sought = match &args.around {
        Some(text) => match text.parse() {
            Ok(gtid) => Sought::Around(Point::Before(gtid), count(AROUND)),
            Err(_) => Sought::Around(Point::Time(target::instant(text, &reader)?), count(AROUND)),
        },
        None if !searches => Sought::Around(Point::Time(i64::MAX), count(FOUND)),
        None => Sought::Matching(Matching {
            text: args.grep.clone(),
            ddl: args.ddl,
            since_us: since(session, args)?,
            until_us: args.until.as_deref().map_or(Ok(i64::MAX), |text| target::instant(text, &reader))?,
            limit: count(FOUND),
            below: None,
        }),
    };
    Ok(Question { branch: args.branch.clone(), sought })
}

/// How far back the picture and a search go, in microseconds since 1970.
fn since(session: &Session, args: &TimelineArgs) -> Result<i64, Failure> {
    match is_duration(&args.since) {
        Some(back) => {
            let back_us = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
            Ok(session.now().as_microsecond().saturating_sub(back_us))
        }
        None => target::instant(&args.since, &session.reader()),
    }
}

/// One document out of as many answers as a long search takes: each goes on, further back, where the one before it ended.
async fn ask_all(session: &Session, origin: &Origin, mut question: Question) -> Result<Value> {
    let mut document = origin.timeline(&question).await?;
    loop {
        let timeline: Timeline = serde_json::from_value(document.clone())?;
        let (Sought::Matching(matching), Some(next)) = (&mut question.sought, &timeline.next) else {
            return Ok(document);
        };
        let missing = matching.limit.saturating_sub(timeline.transactions.len());
        if missing == 0 {
            return Ok(document);
        }
        let back = timeline.searched_to.map_or_else(String::new, |at| format!(" back to {}", to_micros(at)));
        session.tell(&format!("searched{back}, found {} so far; Ctrl-C stops", timeline.transactions.len()));
        matching.below = Some(next.parse()?);
        let limit = std::mem::replace(&mut matching.limit, missing);
        let more = origin.timeline(&question).await?;
        if let Sought::Matching(matching) = &mut question.sought {
            matching.limit = limit;
        }
        document = joined(&document, more);
    }
}

/// The later answer with what the earlier one, whose transactions are younger, had found.
fn joined(younger: &Value, mut older: Value) -> Value {
    let found = |document: &Value| document["transactions"].as_array().cloned().unwrap_or_default();
    older["transactions"] = Value::Array(found(&older).into_iter().chain(found(younger)).collect());
    let undescribed = |document: &Value| document["undescribed"].as_u64().unwrap_or(0);
    older["undescribed"] = (undescribed(&older) + undescribed(younger)).into();
    older
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_of_one_search_are_one_document() {
        let younger = json!({"transactions": [{"gtid": "u:8"}, {"gtid": "u:9"}], "undescribed": 1, "next": "s/1-0:9"});
        let older = json!({"transactions": [{"gtid": "u:3"}], "undescribed": 2, "next": null, "searchedTo": 5});
        let expected = json!({"transactions": [{"gtid": "u:3"}, {"gtid": "u:8"}, {"gtid": "u:9"}], "undescribed": 3,
            "next": null, "searchedTo": 5});
        assert_eq!(joined(&younger, older), expected);
    }
}

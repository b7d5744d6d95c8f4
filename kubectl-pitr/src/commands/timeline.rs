//! `timeline`: what happened, and when.

use anyhow::Result;
use pitr_archive::{Matching, Point, Sought};
use serde_json::Value;

use super::origin::Origin;
use crate::args::{TimelineArgs, TimelineFormat, is_duration};
use crate::failure::{EXIT_INTERRUPTED, Failure};
use crate::question::Question;
use crate::render::{TimelineShown, timeline_html, timeline_text, to_micros};
use crate::session::Session;
use crate::state::Timeline;
use crate::target;

/// Transactions on either side of a point.
const AROUND: usize = 5;
/// How far back a search goes that is not told.
const SINCE: &str = "7d";
/// Transactions that a search gives.
const FOUND: usize = 20;

pub async fn run(session: &Session, args: &TimelineArgs) -> Result<u8> {
    let format = session.output(TimelineFormat::Text)?;
    let question = question(session, args)?;
    let origin = Origin::find(session, args.workload.as_deref(), (&args.state, &args.archive)).await?;
    let ask = async |question: &Question| origin.timeline(question).await;
    // A Job is told by whoever waits for it, and deleted then.
    let stop = async {
        match origin.is_by_job() {
            true => std::future::pending().await,
            false => session.interrupted().await,
        }
    };
    let (document, end) = ask_all((ask, stop), question.clone(), &|text| session.tell(text)).await?;
    print(session, args, (&question, &origin.place()), (document, format))?;
    Ok(match end {
        End::All => 0,
        End::Stopped => EXIT_INTERRUPTED,
    })
}

fn print(
    session: &Session,
    args: &TimelineArgs,
    (question, place): (&Question, &str),
    (document, format): (Value, TimelineFormat),
) -> Result<()> {
    let yaml = match format {
        TimelineFormat::Text | TimelineFormat::Wide | TimelineFormat::Html => {
            let timeline: Timeline = serde_json::from_value(document)?;
            let wide = format == TimelineFormat::Wide;
            let shown = TimelineShown { question, since: since(session, args)?, place, wide };
            if format == TimelineFormat::Html {
                return session.print_bytes(timeline_html(&timeline, &shown, &session.zone, session.now()).as_bytes());
            }
            return session.print(&timeline_text(&timeline, &shown, &session.zone));
        }
        TimelineFormat::Json => crate::args::OutputFormat::Json,
        TimelineFormat::Yaml => crate::args::OutputFormat::Yaml,
    };
    session.print_document(&document, yaml)
}

fn question(session: &Session, args: &TimelineArgs) -> Result<Question, Failure> {
    let reader = session.reader();
    let count = |default: usize| args.transactions.map_or(default, |n| usize::try_from(n).unwrap_or(default));
    let searches = args.grep.is_some() || args.ddl || args.until.is_some() || args.since.is_some();
    let sought = match &args.around {
        Some(text) => match text.parse() {
            Ok(gtid) => Sought::Around(Point::Before(gtid), count(AROUND)),
            Err(_) => Sought::Around(Point::Time(target::instant("--around", text, &reader)?), count(AROUND)),
        },
        None if !searches => Sought::Around(Point::Time(i64::MAX), count(FOUND)),
        None => Sought::Matching(Matching {
            text: args.grep.clone(),
            ddl: args.ddl,
            since_us: since(session, args)?,
            until_us: args.until.as_deref().map_or(Ok(i64::MAX), |text| target::instant("--until", text, &reader))?,
            limit: count(FOUND),
            below: None,
        }),
    };
    Ok(Question { branch: args.branch.clone(), sought })
}

/// How far back the picture and a search go, in microseconds since 1970.
fn since(session: &Session, args: &TimelineArgs) -> Result<i64, Failure> {
    let text = args.since.as_deref().unwrap_or(SINCE);
    match is_duration(text) {
        Some(back) => {
            let back_us = i64::try_from(back.as_micros()).unwrap_or(i64::MAX);
            Ok(session.now().as_microsecond().saturating_sub(back_us))
        }
        None => target::instant("--since", text, &session.reader()),
    }
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    All,
    /// Ctrl-C: what was found until then is shown.
    Stopped,
}

/// One document out of as many answers as a long search takes: each goes on, further back, where the one before it ended.
async fn ask_all(
    (ask, stop): (impl AsyncFn(&Question) -> Result<Value, Failure>, impl Future<Output = ()>),
    mut question: Question,
    tell: &dyn Fn(&str),
) -> Result<(Value, End)> {
    let mut document = ask(&question).await?;
    let mut stop = std::pin::pin!(stop);
    loop {
        let timeline: Timeline = serde_json::from_value(document.clone())?;
        let (Sought::Matching(matching), Some(next)) = (&mut question.sought, &timeline.next) else {
            return Ok((document, End::All));
        };
        let missing = matching.limit.saturating_sub(timeline.transactions.len());
        if missing == 0 {
            return Ok((document, End::All));
        }
        let back = timeline.searched_to.map_or_else(String::new, |at| format!(" back to {}", to_micros(at)));
        tell(&format!("searched{back}, found {} so far; Ctrl-C stops and shows them", timeline.transactions.len()));
        matching.below = Some(next.parse()?);
        let limit = std::mem::replace(&mut matching.limit, missing);
        let more = tokio::select! {
            biased;
            () = &mut stop => return Ok((document, End::Stopped)),
            more = ask(&question) => match more {
                // A Job that was interrupted has been deleted by whoever waited for it.
                Err(failure) if failure.exit() == EXIT_INTERRUPTED => return Ok((document, End::Stopped)),
                more => more?,
            },
        };
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

    const NEXT: &str = "3e11fa47/0000000413-1f2e3d4c5b6a7988:7";

    #[test]
    fn answers_of_one_search_are_one_document() {
        let younger = json!({"transactions": [{"gtid": "u:8"}, {"gtid": "u:9"}], "undescribed": 1, "next": "s/1-0:9"});
        let older = json!({"transactions": [{"gtid": "u:3"}], "undescribed": 2, "next": null, "searchedTo": 5});
        let expected = json!({"transactions": [{"gtid": "u:3"}, {"gtid": "u:8"}, {"gtid": "u:9"}], "undescribed": 3,
            "next": null, "searchedTo": 5});
        assert_eq!(joined(&younger, older), expected);
    }

    #[tokio::test]
    async fn what_was_found_is_there_when_a_search_is_stopped() {
        let sought = Matching { text: None, ddl: true, since_us: 0, until_us: i64::MAX, limit: 9, below: None };
        let question = Question { branch: None, sought: Sought::Matching(sought) };
        let (asked, told) = (std::cell::Cell::new(0), std::cell::RefCell::new(String::new()));
        let ask = async |_: &Question| {
            asked.set(asked.get() + 1);
            if asked.get() > 1 {
                std::future::pending::<()>().await;
            }
            Ok(json!({"transactions": [], "next": NEXT}))
        };
        let tell = |text: &str| told.borrow_mut().push_str(text);
        let (document, end) = ask_all((ask, async { tokio::task::yield_now().await }), question, &tell).await.unwrap();
        assert_eq!((end, document["next"].as_str()), (End::Stopped, Some(NEXT)));
        assert!(told.borrow().contains("Ctrl-C stops"), "{}", told.borrow());
    }
}

//! `explain`: the table of codes, offline; the story of a gap, from whoever knows it.

use anyhow::Result;
use pitr_recovery::code::{self, Code};

use super::asking::Asking;
use super::source;
use crate::args::ExplainArgs;
use crate::cluster::WorkloadName;
use crate::failure::{Failure, parse_code};
use crate::refusal::place;
use crate::render::gap_story;
use crate::session::Session;
use crate::state::Windows;

pub async fn run(session: &Session, args: &ExplainArgs) -> Result<u8> {
    session.prints_text("explain")?;
    if args.code.starts_with("gap-") {
        return gap(session, args).await;
    }
    match parse_code(&args.code).and_then(code::find) {
        Some(code) => session.print(&text(code)).map(|()| 0),
        None => {
            let numbers: Vec<_> = code::CODES.iter().map(|c| format!("{:04}", c.number)).collect();
            Err(Failure::usage(format!("\"{}\" is not a code of this version", args.code))
                .hint(format!("codes: {}", numbers.join(" ")))
                .into())
        }
    }
}

async fn gap(session: &Session, args: &ExplainArgs) -> Result<u8> {
    let archive = source::archive(&args.archive, &args.state)?;
    let name = args.workload.as_deref().map(str::parse::<WorkloadName>).transpose()?;
    let (windows, again): (Windows, String) = match archive {
        Some(location) => {
            let view = source::view(session, &location, args.workload.as_deref()).await?;
            (view.windows(), format!("kubectl pitr backup {}", place(&view.workload)))
        }
        None => {
            let cluster = session.cluster().await?;
            let workload = source::one_workload(&cluster, name.as_ref()).await?;
            let windows = Asking::of(session, &cluster, &workload, &args.state).await.required("/v1/windows").await?;
            (windows, format!("kubectl pitr backup {} -n {}", workload.name, workload.namespace))
        }
    };
    let mut found = windows.gaps.iter().filter(|g| g.id.starts_with(&args.code));
    match (found.next(), found.next()) {
        (Some(gap), None) => session.print(&gap_story(gap, &again)).map(|()| 0),
        (Some(_), Some(_)) => Err(Failure::usage(format!("\"{}\" names several gaps", args.code)).into()),
        (None, _) => {
            let known: Vec<_> = windows.gaps.iter().map(|g| g.id.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Err(Failure::usage(format!("no gap \"{}\"", args.code)).hint(format!("known gaps: {known}")).into())
        }
    }
}

/// What is known of one code.
pub fn text(code: &Code) -> String {
    let exit = match code.exit {
        0 => "0: a warning, the command goes on".to_owned(),
        3 => "3, as a finding of status --exit-code".to_owned(),
        other => format!("{other}, when it ends the command"),
    };
    let kind = if code.exit == 0 { "warning" } else { "error" };
    format!(
        "{code}\n\nWhen     {}\nExit     {exit}\nExample  {kind}[{code}]: {}\n           hint: {}\n           fix:  {}\n",
        code.when, code.message, code.hint, code.fix
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_shown_as_one() {
        assert!(text(&code::NOT_IN_GIT).contains("Example  warning[PITR0512]: "));
        assert!(text(&code::OPEN_GAP).contains("Example  error[PITR0502]: "));
    }
}

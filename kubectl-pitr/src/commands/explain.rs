//! `explain`: the table of codes, offline.

use anyhow::Result;
use pitr_recovery::code::{self, Code};

use crate::args::ExplainArgs;
use crate::failure::{Failure, parse_code};
use crate::session::Session;

pub fn run(session: &Session, args: &ExplainArgs) -> Result<u8> {
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

/// What is known of one code.
pub fn text(code: &Code) -> String {
    let exit = match code.exit {
        0 => "0: a warning, the command goes on".to_owned(),
        3 => "3, as a finding of status --exit-code".to_owned(),
        other => format!("{other}, when it ends the command"),
    };
    format!(
        "{code}\n\nWhen     {}\nExit     {exit}\nExample  error[{code}]: {}\n           hint: {}\n           fix:  {}\n",
        code.when, code.message, code.hint, code.fix
    )
}

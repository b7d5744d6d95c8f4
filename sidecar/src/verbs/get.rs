//! `get`: one request of the control API on standard output, answered by the sidecar on this host or from the archive.

use std::process::ExitCode;

use super::Context;
use crate::cli::GetArgs;
use crate::http::{self, Answer, Api, Audience};
use crate::output;

/// Prints the answer. An error document is printed too, and decides the exit code.
pub(super) async fn run(args: &GetArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let (ok, body) = if args.archive.archive.is_some() {
        let answer = match of_archive(args, context).await {
            // Whoever reads a log finds the answer and nothing else.
            Err(error) if args.in_log => Answer::error(&error),
            answer => answer?,
        };
        if args.in_log {
            output::print_line(&answer.line())?;
        } else {
            output::write_bytes(&answer.body)?;
        }
        (answer.is_ok(), answer.body)
    } else {
        let reply = http::ask(&args.address, &args.path, args.data.clone()).await?;
        output::write_bytes(&reply.body)?;
        (reply.ok, reply.body.to_vec())
    };
    if ok {
        return Ok(ExitCode::SUCCESS);
    }
    let document: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
    let exit = document.and_then(|document| u8::try_from(document["exit"].as_u64()?).ok());
    Ok(ExitCode::from(exit.filter(|exit| *exit != 0).unwrap_or(1)))
}

async fn of_archive(args: &GetArgs, context: &Context) -> anyhow::Result<Answer> {
    let api = Api::Archive(super::open(&args.archive, context).await?);
    let answer = api.respond(&args.path, args.data.as_deref().map(str::as_bytes), Audience::Loopback).await;
    // A log is cut where it becomes too long, as an answer over HTTP is refused.
    Ok(if args.in_log { http::fitting(answer) } else { answer })
}

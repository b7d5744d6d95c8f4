//! Requests that get no answer, as `kind: Error` like every other failure of the control API.

use std::time::Duration;

use pitr_recovery::code;

use super::answer::Answer;
use crate::amounts::binary_size;
use crate::error::Failure;

/// What is read.
pub(super) const GETS: [&str; 6] =
    ["/v1/status", "/v1/windows", "/v1/backups", "/v1/binlogs", "/v1/timeline", "/v1/gaps/ID"];
/// What is more than reading: work, or something that is written.
pub(super) const POSTS: [&str; 3] = ["/v1/plan", "/v1/archive", "/v1/check"];

/// A path that is none of ours.
pub(super) fn no_such_path(path: &str) -> Answer {
    let failure = asked_wrongly(format!("\"{path}\" is no path of the control API"))
        .hint(format!("GET {}; POST {}", GETS.join(", "), POSTS.join(", ")))
        .fix("one of these, or a newer sidecar");
    Answer::refused(404, &failure)
}

/// A GET where there is work to do, or a POST where there is none.
pub(super) fn wrong_method(path: &str) -> Answer {
    let (method, hint) = if POSTS.contains(&path) {
        ("POST", "pitr-sidecar get PATH --data '{}' makes a POST of it")
    } else {
        ("GET", "a body makes it a POST")
    };
    let failure = asked_wrongly(format!("{path} takes a {method}")).hint(hint).fix(format!("{method} {path}"));
    Answer::refused(405, &failure)
}

/// A method that nothing takes.
pub(super) fn no_such_method() -> Answer {
    Answer::refused(405, &asked_wrongly("the control API takes GET, HEAD and POST".to_owned()).fix("GET /v1/status"))
}

/// A gap that there is not, or several.
pub(super) fn no_such_gap(id: &str) -> Answer {
    let failure = asked_wrongly(format!("no gap, or several, have an id that begins with \"{id}\""))
        .hint("a gap is gone once what was missing is archived")
        .fix("GET /v1/windows lists them");
    Answer::refused(404, &failure)
}

/// A body longer than any question.
pub(super) fn too_long(bytes: usize) -> Answer {
    let message = format!("the request is longer than {}", binary_size(bytes as u64));
    Answer::refused(413, &asked_wrongly(message).fix("a shorter body"))
}

/// An answer longer than those who ask take.
pub(super) fn too_much(bytes: usize, most: usize) -> Answer {
    let (bytes, most) = (binary_size(bytes as u64), binary_size(most as u64));
    let failure = asked_wrongly(format!("the answer has {bytes}, and one answer has {most} at most"))
        .hint("lists come in pages")
        .fix("ask for less: limit=N and cursor, a branch, a time");
    Answer::refused(413, &failure)
}

/// An answer that takes too long.
pub(super) fn too_late(limit: Duration) -> Answer {
    let failure = Failure::new(&code::NOT_REACHABLE, format!("there is no answer within {} s", limit.as_secs()))
        .hint("the archive is slow, or the question needs much of it")
        .fix("ask again, or for less");
    Answer::refused(503, &failure)
}

/// What only an archiver can do, asked of an archive.
pub(super) fn needs_a_sidecar(path: &str) -> Failure {
    asked_wrongly(format!("{path} is for a running sidecar, and this is an archive alone"))
        .hint("nothing that could be archived is here")
        .fix("pitr-sidecar archive --config FILE --once")
}

fn asked_wrongly(message: String) -> Failure {
    Failure::new(&code::QUERY_UNREADABLE, message)
}

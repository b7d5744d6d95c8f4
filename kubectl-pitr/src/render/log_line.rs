//! One line of our logs for people.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{duration, to_micros};
use crate::state::{Heartbeat, Window};
use crate::terminal::{Terminal, Tone};

/// Fields that stand in places of their own.
const PLACED: [&str; 6] = ["ts", "level", "event", "message", "target", "schemaVersion"];

/// When a line was written; lines that do not say so go first.
pub fn log_time(line: &str) -> Option<Timestamp> {
    let value: Value = serde_json::from_str(line).ok()?;
    value["ts"].as_str()?.parse().ok()
}

/// `07:30:20.114  WARN   mysql-0  put-failed: the message  key=value`; nothing for a heartbeat that is not wanted.
pub fn log_line(line: &str, (pod, heartbeats): (Option<&str>, bool), terminal: Terminal) -> Option<String> {
    let place = pod.map_or_else(String::new, |pod| format!("{pod}  "));
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
        // A server's own words, in a Job's log.
        return Some(format!("{:14}{:6}{place}{}\n", "", "", plain(line)));
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default();
    let event = text("event");
    if event == "heartbeat" && !heartbeats {
        return None;
    }
    let time =
        text("ts").parse::<Timestamp>().map_or_else(|_| String::new(), |at| at.strftime("%H:%M:%S.%3f").to_string());
    let level = format!("{:<6}", text("level"));
    let level = match text("level") {
        "ERROR" => terminal.paint(Tone::Bad, &level),
        "WARN" => terminal.paint(Tone::Warning, &level),
        _ => level,
    };
    let words = if event == "heartbeat" { heartbeat(&fields) } else { words(event, text("message"), &fields) };
    Some(format!("{time:<14}{level}{place}{}\n", plain(&words)))
}

fn words(event: &str, message: &str, fields: &Map<String, Value>) -> String {
    let head = match (event, message) {
        ("", message) => message.to_owned(),
        (event, "") => event.to_owned(),
        (event, message) => format!("{event}: {message}"),
    };
    let rest = fields.iter().filter(|(key, value)| !PLACED.contains(&key.as_str()) && !value.is_null());
    rest.fold(head, |line, (key, value)| match value {
        Value::String(text) if text.contains(' ') => format!("{line}  {key}=\"{text}\""),
        Value::String(text) => format!("{line}  {key}={text}"),
        other => format!("{line}  {key}={other}"),
    })
}

fn heartbeat(fields: &Map<String, Value>) -> String {
    let Some(beat) = Heartbeat::read(&Value::Object(fields.clone())) else { return "heartbeat".to_owned() };
    let mut parts = vec![format!("heartbeat: {}", beat.state.as_deref().unwrap_or("unknown"))];
    parts.extend(beat.window.as_ref().and_then(Window::end).map(|end| format!("recoverable to {}", to_micros(end))));
    parts.extend(beat.lag_seconds.map(|lag| format!("lag {}", duration(lag.max(0.0) as u64))));
    if !beat.codes.is_empty() {
        parts.push(beat.codes.join(", "));
    }
    parts.join(", ")
}

/// Nothing in a log may steer a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, pod: Option<&str>, heartbeats: bool, expected: Option<&str>) {
        assert_eq!(log_line(line, (pod, heartbeats), Terminal::PLAIN).as_deref(), expected);
    }

    #[test]
    fn lines_are_made_readable() {
        check(
            "{\"ts\":\"2026-11-21T07:30:20.114Z\",\"level\":\"INFO\",\"event\":\"archived\",\"binlog\":\"binlog.000413\",\"bytes\":7}",
            Some("mysql-0"),
            false,
            Some("07:30:20.114  INFO  mysql-0  archived  binlog=binlog.000413  bytes=7\n"),
        );
        check(
            "{\"ts\":\"2026-11-21T07:30:20.114Z\",\"level\":\"WARN\",\"event\":\"unreadable\",\"message\":\"one\",\"key\":\"a b\"}",
            None,
            false,
            Some("07:30:20.114  WARN  unreadable: one  key=\"a b\"\n"),
        );
        check("mysqld: ready\u{1b}[31m", None, false, Some("                    mysqld: ready?[31m\n"));
    }

    #[test]
    fn heartbeats_are_shown_only_when_wanted() {
        let line = "{\"ts\":\"2026-11-21T07:30:20.114Z\",\"level\":\"INFO\",\"event\":\"heartbeat\",\"state\":\"ok\",\"lagSeconds\":2.1,\
                    \"codes\":[\"PITR0504\"]}";
        check(line, None, false, None);
        check(line, None, true, Some("07:30:20.114  INFO  heartbeat: ok, lag 2s, PITR0504\n"));
    }
}

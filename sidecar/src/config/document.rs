//! The configuration as text: file and environment brought together, key by key, before anything is interpreted.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Problem;
use super::keys::{self, KEYS, Key, Kind, Support};
use super::values::{parse_duration, parse_size};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The built-in default.
    Default,
    /// The configuration file.
    File,
    /// This environment variable.
    Environment(String),
}

/// One key's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As text; a list is joined by commas.
    pub(crate) value: String,
    /// Where it came from.
    pub(crate) origin: Origin,
}

/// All settings by path, each valid in itself.
pub(crate) type Settings = BTreeMap<&'static str, Setting>;

/// Reads the file's text, lays the environment over it and the defaults under it. All problems are found, not only the first.
pub(super) fn read(text: &str, environment: &BTreeMap<String, String>) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut settings = Settings::new();
    match serde_saphyr::from_str::<Value>(text) {
        Ok(Value::Null) => {}
        Ok(Value::Object(members)) => flatten("", &members, &mut settings, &mut problems),
        Ok(_) => {
            problems.push(Problem::new("the file is not a mapping of keys", "begin with: workload: NAMESPACE/NAME"));
        }
        Err(reason) => problems.push(Problem::new(
            format!("not valid YAML: {}", first_line(&reason)),
            "see the sample in docs/configuration.md",
        )),
    }
    for key in KEYS {
        let name = key.environment_name();
        if let Some(value) = environment.get(&name) {
            settings.insert(key.path, Setting { value: value.clone(), origin: Origin::Environment(name) });
        } else if !key.default.is_empty() {
            let default = || Setting { value: key.default.to_owned(), origin: Origin::Default };
            settings.entry(key.path).or_insert_with(default);
        }
    }
    for (path, setting) in &settings {
        if let Some(problem) = keys::find(path).and_then(|key| refusal(key, setting)) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { Ok(settings) } else { Err(problems) }
}

fn first_line(reason: &serde_saphyr::Error) -> String {
    reason.to_string().lines().next().unwrap_or_default().to_owned()
}

fn flatten(
    prefix: &str,
    members: &serde_json::Map<String, Value>,
    settings: &mut Settings,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in members {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (keys::find(&path), value) {
            (Some(key), value) => match text_of(key.kind, value) {
                Ok(Some(value)) => {
                    settings.insert(key.path, Setting { value, origin: Origin::File });
                }
                Ok(None) => {}
                Err(()) => {
                    problems
                        .push(Problem::new(format!("\"{path}\" has a value of the wrong kind"), expected(key.kind)));
                }
            },
            (None, Value::Object(members)) if keys::is_section(&path) => flatten(&path, members, settings, problems),
            (None, Value::Null) if keys::is_section(&path) => {}
            (None, _) => problems.push(unknown(&path)),
        }
    }
}

fn unknown(path: &str) -> Problem {
    let hint = match keys::nearest(path) {
        Some(near) => format!("did you mean \"{near}\""),
        None => "all keys are listed in docs/configuration.md".to_owned(),
    };
    Problem::new(format!("unknown key \"{path}\""), hint)
}

/// The value as text, `None` for null (as if the key were absent).
fn text_of(kind: Kind, value: &Value) -> Result<Option<String>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Bool(flag) => Ok(Some(flag.to_string())),
        Value::Number(number) => Ok(Some(number.to_string())),
        Value::Array(items) if kind == Kind::List => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            texts.map(|texts| Some(texts.join(","))).ok_or(())
        }
        Value::Array(_) | Value::Object(_) => Err(()),
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Flag => "true or false",
        Kind::Duration => "a number with a unit: 500ms, 2s, 1m, 6h, 14d",
        Kind::Size => "a number with a unit: 64KiB, 32MiB, 1GiB",
        Kind::Count => "a whole number",
        Kind::List => "a list of texts",
    }
}

/// Why a value cannot be accepted.
fn refusal(key: &Key, setting: &Setting) -> Option<Problem> {
    let value = setting.value.as_str();
    if let Support::Only(values) = key.support
        && !values.contains(&value)
    {
        let message = format!("\"{}\" cannot be \"{value}\": not supported in this version", key.path);
        return Some(Problem::new(message, format!("supported: {}", values.join(", "))));
    }
    let valid = match key.kind {
        Kind::Text | Kind::List => true,
        Kind::Flag => value.parse::<bool>().is_ok(),
        Kind::Duration => parse_duration(value).is_some(),
        Kind::Size => parse_size(value).is_some(),
        Kind::Count => value.parse::<u64>().is_ok(),
    };
    let message = || format!("\"{}\": \"{value}\" is not valid", key.path);
    (!valid).then(|| Problem::new(message(), format!("expected {}", expected(key.kind))))
}

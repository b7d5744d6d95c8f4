//! The keys of the sidecar's configuration: a wrong one is refused here, before a database restarts for it.
//!
//! They are read from docs/configuration.md, which is made from the sidecar's own table of keys and tested against it.

use pitr_recovery::code;

use serde_json::Value;

use crate::failure::Failure;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// A row of the page: path, kind, and what may stand there if only some things may.
struct Key {
    path: &'static str,
    kind: &'static str,
    default: &'static str,
    about: &'static str,
    only: Vec<&'static str>,
}

fn keys() -> impl Iterator<Item = Key> {
    let (_, table) = PAGE.split_once("## All keys").unwrap_or_default();
    table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let path = cells.next()?.trim_end_matches('`');
        let (kind, default) = (cells.next()?, cells.next()?.trim_matches('`'));
        let about = cells.last()?.trim_end_matches(" |");
        // "…; `auto`, `file`"
        let end = about.rsplit("; ").next().unwrap_or_default();
        let is_list = end.starts_with('`') && end.ends_with('`');
        let only = if is_list { end.split('`').skip(1).step_by(2).collect() } else { Vec::new() };
        Some(Key { path, kind, default, about, only })
    })
}

/// Whether a sidecar takes a key only when it starts.
pub fn is_taken_at_the_start(path: &str) -> bool {
    let line = PAGE.lines().find_map(|line| line.strip_prefix("- Only a start takes ")).unwrap_or_default();
    let mut named = line.split('`').skip(1).step_by(2);
    named.any(|key| key.strip_suffix('*').map_or(key == path, |section| path.starts_with(section)))
}

/// A key and the value that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    pub path: &'static str,
    /// Empty where there is no default.
    pub value: String,
    /// Whether the configuration names it.
    pub is_set: bool,
    pub about: &'static str,
}

impl Effective {
    pub fn from(&self) -> &'static str {
        if self.is_set { "configuration" } else { "default" }
    }
}

/// Every key with what a configuration says of it, else its default.
pub fn effective(config: &Value) -> Vec<Effective> {
    let value_of = |path: &str| path.split('.').try_fold(config, |place, part| place.get(part));
    keys()
        .map(|key| {
            let said = value_of(key.path).and_then(text);
            let is_set = said.is_some();
            Effective {
                path: key.path,
                value: said.unwrap_or_else(|| key.default.to_owned()),
                is_set,
                about: key.about,
            }
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => Some(all.iter().filter_map(text).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

/// An error for a key that there is not, or that cannot have this value. What fits together is for the sidecar to say.
pub fn check(path: &str, value: &str) -> Result<(), Failure> {
    let refused = |message: String| Failure::new(code::BAD_CONFIGURATION_KEY, message).hint("nothing was changed");
    let Some(key) = keys().find(|key| key.path == path) else {
        let near = keys().map(|key| key.path).find(|known| path.starts_with(known) || known.starts_with(path));
        let failure = refused(format!("unknown key \"{path}\""));
        return Err(match near {
            Some(near) => failure.fix(format!("--set {near}=VALUE")),
            None => failure.fix("a key of docs/configuration.md"),
        });
    };
    let wrong = |expected: &str| Err(refused(format!("\"{path}\" cannot be \"{value}\"")).fix(expected.to_owned()));
    if !key.only.is_empty() && !key.only.contains(&value) {
        return wrong(&format!("one of: {}", key.only.join(", ")));
    }
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let (is_number, unit) = (number.parse::<u64>().is_ok(), unit.trim_start());
    match key.kind {
        "number" if !is_number || !unit.is_empty() => wrong("a whole number"),
        "true, false" if !["true", "false"].contains(&value) => wrong("true or false"),
        kind if kind.starts_with("`500ms`") && !(is_number && ["ms", "s", "m", "h", "d"].contains(&unit)) => {
            wrong("a number with a unit: 500ms, 2s, 1m, 6h, 14d")
        }
        kind if kind.starts_with("`64KiB`") && !(is_number && ["", "B", "KiB", "MiB", "GiB"].contains(&unit)) => {
            wrong("a number with a unit: 64KiB, 8MiB, 1GiB")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{check, effective, keys};

    #[test]
    fn the_page_is_understood() {
        assert!(keys().count() > 40, "{}", keys().count());
        let key = |path: &str| keys().find(|key| key.path == path).unwrap();
        assert_eq!(key("s3.path_style").only, ["auto", "always", "never", "true", "false"]);
        assert!(key("purge_archived").only.is_empty() && key("purge_archived").kind.contains("true"));
        assert!(key("s3.region").only.is_empty() && key("schedule.tail_interval").kind.contains("500ms"));
    }

    #[test]
    fn what_counts_is_what_is_said_else_the_default() {
        let config = json!({"schedule": {"tail_interval": "5s", "tail": false}, "pipeline": {"nice": 5},
            "encryption": {"age_recipients": ["age1a", "age1b"]}, "retention": {}});
        let all = effective(&config);
        assert_eq!(all.len(), keys().count());
        let of = |path: &str| {
            let key = all.iter().find(|key| key.path == path).unwrap();
            (key.value.as_str(), key.is_set)
        };
        assert_eq!(of("schedule.tail_interval"), ("5s", true));
        assert_eq!(of("schedule.tail"), ("false", true));
        assert_eq!(of("pipeline.nice"), ("5", true));
        assert_eq!(of("encryption.age_recipients"), ("age1a,age1b", true));
        assert_eq!(of("s3.path_style"), ("auto", false));
        assert_eq!(of("schedule.archive_interval"), ("60s", false));
        assert_eq!(of("s3.endpoint"), ("", false));
    }

    #[test]
    fn what_the_sidecar_would_refuse_is_refused() {
        for (path, value) in [
            ("schedule.tail_interval", "5s"),
            ("retention.window", "14d"),
            ("workload", "old/mysql"),
            ("s3.path_style", "true"),
            ("pipeline.segment_bytes", "16MiB"),
            ("pipeline.nice", "5"),
            ("schedule.tail", "false"),
            ("source.mysql.password_file", "/etc/pitr-s3/mysql-password"),
        ] {
            check(path, value).unwrap();
        }
        for (path, value, words) in [
            ("schedule.tail_intervall", "5s", "--set schedule.tail_interval=VALUE"),
            ("no.such.key", "1", "docs/configuration.md"),
            ("retention.window", "soon", "14d"),
            ("retention.window", "14", "14d"),
            ("purge_archived", "yes", "true"),
            ("pipeline.segment_bytes", "16MB", "8MiB"),
            ("pipeline.nice", "low", "whole number"),
        ] {
            let failure = check(path, value).unwrap_err();
            assert!(failure.number() == Some(209) && failure.text().contains(words), "{path}: {}", failure.text());
        }
    }
}

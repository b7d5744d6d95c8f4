//! Instants in documents: text, or a number of microseconds where no calendar text can say it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

/// An instant that may be missing or may be none that we can show: both are unknown, never an error of the whole document.
pub(super) fn lenient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(match &value {
        serde_json::Value::String(text) => text.parse().ok(),
        serde_json::Value::Number(number) => number.as_i64().and_then(|us| Timestamp::from_microsecond(us).ok()),
        _ => None,
    })
}

/// Microseconds of an archive as an instant. What lies outside the calendar is shown as its end.
pub fn micros(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(if us < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

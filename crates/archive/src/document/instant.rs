//! An instant in a document.

use std::fmt;

use jiff::Timestamp;
use pitr_recovery::Rfc3339;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since 1970, written as RFC 3339 in UTC with six digits. What no calendar text can say (a client may claim
/// any commit time) is written as the bare number, so that no value is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub i64);

impl From<Timestamp> for Instant {
    fn from(at: Timestamp) -> Self {
        Self(at.as_microsecond())
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{}", at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")),
            Err(_) => Rfc3339(self.0).fmt(f),
        }
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        let readable = text.parse::<Timestamp>().is_ok_and(|at| at.as_microsecond() == self.0);
        if readable { serializer.serialize_str(&text) } else { serializer.serialize_i64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Micros(i64),
            Text(String),
        }
        match Wire::deserialize(deserializer)? {
            Wire::Micros(us) => Ok(Self(us)),
            Wire::Text(text) => text.parse::<Timestamp>().map(Self::from).map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_instant_is_lost(us in any::<i64>()) {
            let json = serde_json::to_string(&Instant(us)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Instant>(&json).unwrap(), Instant(us));
        }

        #[test]
        fn usual_instants_are_texts(us in 0_i64..4_000_000_000_000_000) {
            let json = serde_json::to_string(&Instant(us)).unwrap();
            prop_assert!(json.ends_with("Z\"") && json.len() == 29, "{}", json);
        }
    }
}

//! Windows and gaps as documents tell them.

use jiff::Timestamp;
use serde::Deserialize;

use super::times::lenient;

/// `GET /v1/windows`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Windows {
    pub schema_version: Option<u64>,
    pub items: Vec<WindowRow>,
    pub gaps: Vec<Gap>,
}

/// An interval, every instant of which can be restored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WindowRow {
    pub branch: Option<String>,
    pub live: bool,
    #[serde(deserialize_with = "lenient")]
    pub from: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub to: Option<Timestamp>,
    pub ends_at: Option<String>,
    pub transactions: Option<u64>,
    pub bytes: Option<u64>,
    pub backups: Vec<String>,
}

/// Transactions known to have existed that are not archived.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gap {
    pub id: String,
    pub branch: Option<String>,
    pub state: String,
    #[serde(deserialize_with = "lenient")]
    pub from: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub to: Option<Timestamp>,
    pub transactions: u64,
    pub reason: String,
    pub text: Option<String>,
    pub closed_by: Option<String>,
}

impl Gap {
    /// Nothing after it can be reached yet.
    pub fn is_open(&self) -> bool {
        self.state != "closed"
    }

    /// Why, in words: the sentence where there is one, else the word made readable.
    pub fn why(&self) -> String {
        self.text.clone().unwrap_or_else(|| self.reason.replace('-', " "))
    }
}

impl WindowRow {
    /// Both ends, where they are known.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.from.zip(self.to)
    }
}

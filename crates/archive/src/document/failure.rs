//! An error as a document.

use serde::{Deserialize, Serialize};

use super::API_VERSION;

/// `kind: Error`, on one line of stderr or as the body of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `Error`
    pub kind: String,
    /// `PITR0301`
    pub code: String,
    /// The exit code.
    pub exit: u8,
    /// What happened.
    pub message: String,
    /// What it means here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Something to paste.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl ErrorDocument {
    /// An error with the number and exit of a code.
    #[must_use]
    pub fn new(code: &pitr_recovery::Code, message: impl Into<String>) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "Error".to_owned(),
            code: code.to_string(),
            exit: code.exit,
            message: message.into(),
            hint: None,
            fix: None,
        }
    }
}

//! An answer before it is HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use pitr_archive::document::{API_VERSION, SCHEMA_VERSION};
use pitr_archive::{PlanKeys, StopDescription};
use serde::Serialize;
use serde_json::json;

use crate::error::{Failure, Rendered};

/// What is sent.
pub(super) type Body = Full<Bytes>;

/// Status, type and bytes.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    content_type: &'static str,
    /// The bytes.
    pub(crate) body: Vec<u8>,
    /// What the transactions next to a plan's stop did: no part of the plan's bytes, which are hashed.
    pub(super) stop: StopDescription,
    /// How long a plan may take, in words.
    pub(super) estimate: Option<String>,
    /// What a plan must be able to open, besides its base.
    pub(super) keys: PlanKeys,
}

impl Answer {
    fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        let (stop, keys) = (StopDescription::default(), PlanKeys::default());
        Self { status, content_type, body, stop, estimate: None, keys }
    }

    /// A line of text.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", format!("{text}\n").into_bytes())
    }

    /// Metrics.
    pub(crate) fn metrics(text: String) -> Self {
        Self::new(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes())
    }

    /// A document.
    pub(crate) fn document(document: &impl Serialize) -> Self {
        match serde_json::to_vec(document) {
            Ok(json) => Self::json(200, json),
            Err(reason) => Self::error(&anyhow::Error::new(reason)),
        }
    }

    /// Exact bytes of JSON.
    pub(crate) fn json(status: u16, body: Vec<u8>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// `kind: Error`: 4xx for what the asker can change, 500 for the rest.
    pub(crate) fn error(error: &anyhow::Error) -> Self {
        let rendered = Rendered::of(error);
        let status = match rendered.exit {
            2 => 400,
            4 => 409,
            _ => 500,
        };
        Self::json(status, rendered.document().to_string().into_bytes())
    }

    /// `kind: Error` with a status of its own.
    pub(super) fn refused(status: u16, failure: &Failure) -> Self {
        Self { status, ..Self::error(&anyhow::Error::new(failure.clone())) }
    }

    /// Whether it is what was asked for.
    pub(crate) fn is_ok(&self) -> bool {
        self.status < 300
    }

    /// One line that is found again in a log, with what HTTP has beside the bytes. They are text in it: a plan's are hashed.
    pub(crate) fn line(&self) -> String {
        let line = json!({
            "apiVersion": API_VERSION,
            "kind": "Answer",
            "schemaVersion": SCHEMA_VERSION,
            "ok": self.is_ok(),
            "body": String::from_utf8_lossy(&self.body),
            "lastApplied": self.stop.last_applied,
            "firstExcluded": self.stop.first_excluded,
            "estimate": self.estimate,
            "keys": self.keys,
        });
        line.to_string()
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let keys = (self.keys != PlanKeys::default()).then(|| serde_json::to_string(&self.keys).ok()).flatten();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.content_type));
        let notes = [
            ("pitr-last-applied", &self.stop.last_applied),
            ("pitr-first-excluded", &self.stop.first_excluded),
            ("pitr-estimate", &self.estimate),
            ("pitr-keys", &keys),
        ];
        for (name, words) in notes {
            let value = words.as_ref().and_then(|words| header::HeaderValue::from_str(&percent_encoded(words)).ok());
            headers.extend(value.map(|value| (header::HeaderName::from_static(name), value)));
        }
        response
    }
}

/// A header holds ASCII only, and a name of a table anything.
fn percent_encoded(words: &str) -> String {
    words.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'%' | 0..b' ' | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(byte)),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_a_log_is_one_line_with_the_exact_bytes() {
        let mut answer = Answer::json(200, b"{\n  \"b\": 1,\n  \"a\": \"\xc3\xa4\"\n}\n".to_vec());
        answer.stop.last_applied = Some("UPDATE shop.orders".to_owned());
        let line = answer.line();
        assert!(!line.contains('\n'), "{line}");
        let told: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&told["kind"], &told["ok"]), (&"Answer".into(), &true.into()));
        assert_eq!(told["body"].as_str().unwrap().as_bytes(), answer.body);
        assert_eq!((&told["lastApplied"], &told["estimate"]), (&"UPDATE shop.orders".into(), &serde_json::Value::Null));
        assert!(!Answer::text(404, "not found").is_ok());
    }
}

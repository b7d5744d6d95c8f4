//! An answer before it is HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use serde::Serialize;

use crate::error::Rendered;

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
}

impl Answer {
    /// A line of text.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{text}\n").into_bytes() }
    }

    /// Metrics.
    pub(crate) fn metrics(text: String) -> Self {
        Self {
            status: 200,
            content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
            body: text.into_bytes(),
        }
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
        Self { status, content_type: "application/json", body }
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

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(self.content_type));
        response
    }
}

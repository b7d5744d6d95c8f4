//! Misbehaviour on request: what a store does on its bad days, so that tests can see what its clients make of it.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use s3s::service::S3Service;
use s3s::{HttpError, HttpResponse, S3Error, S3ErrorCode};

/// What goes wrong, and how often.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) fail_every: Option<u64>,
    pub(crate) drop_every: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) access_log: bool,
}

/// The S3 service with its faults.
#[derive(Clone)]
pub(crate) struct Misbehaving {
    service: S3Service,
    faults: Arc<Faults>,
    requests: Arc<AtomicU64>,
}

impl Misbehaving {
    pub(crate) fn new(service: S3Service, faults: Faults) -> Self {
        Self { service, faults: Arc::new(faults), requests: Arc::default() }
    }
}

impl Service<Request<Incoming>> for Misbehaving {
    type Response = HttpResponse;
    type Error = HttpError;
    type Future = BoxFuture<'static, Result<HttpResponse, HttpError>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let is_turn = |every: Option<u64>| every.is_some_and(|every| every > 0 && number.is_multiple_of(every));
        let (fails, drops) = (is_turn(self.faults.fail_every), is_turn(self.faults.drop_every));
        let what = self.faults.access_log.then(|| format!("{} {}", request.method(), request.uri()));
        let (service, delay) = (self.service.clone(), self.faults.delay);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let response = if fails { slow_down() } else { Service::call(&service, request).await };
            if let (Some(what), Ok(response)) = (what, &response) {
                // Whoever reads the log may have gone; the service is not theirs alone.
                let _ = writeln!(io::stdout(), "{what} {}", response.status().as_u16());
            }
            if drops { Err(HttpError::new("the connection is dropped on purpose".into())) } else { response }
        })
    }
}

fn slow_down() -> Result<HttpResponse, HttpError> {
    S3Error::with_message(S3ErrorCode::SlowDown, "reduce your request rate")
        .to_http_response()
        .map_err(|error| HttpError::new(Box::new(error)))
}

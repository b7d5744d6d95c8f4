//! Misbehaviour on request: what a store does on its bad days, so that tests can see what its clients make of it.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Method, Request, StatusCode};
use s3s::service::S3Service;
use s3s::{Body, HttpError, HttpResponse, S3Error, S3ErrorCode, S3Result};

use crate::profile::Profile;
use crate::sts::Keys;

/// What goes wrong, and how often.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    pub(crate) fail_every: Option<u64>,
    pub(crate) drop_every: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) access_log: bool,
    pub(crate) chances: Chances,
}

/// How many of a hundred requests meet which fault. The same seed makes the same requests meet the same.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chances {
    pub(crate) seed: u64,
    /// 500, half of them after the request was done.
    pub(crate) errors: u64,
    /// 503 SlowDown.
    pub(crate) throttles: u64,
    /// A wait of up to [`Self::delay_max`].
    pub(crate) delays: u64,
    pub(crate) delay_max: Duration,
    /// Answers with one bit of the object flipped.
    pub(crate) corruptions: u64,
}

/// What one request meets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fate {
    error_before: bool,
    error_after: bool,
    throttled: bool,
    delay: Duration,
    /// Which bit of the answer is flipped.
    flip: Option<u64>,
}

impl Chances {
    fn fate(&self, number: u64) -> Fate {
        // Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (2014), the finalizer of SplitMix64.
        let mut state = self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut draw = move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        let (error, after, throttle, delay, share, corrupt, bit) =
            (draw(), draw(), draw(), draw(), draw(), draw(), draw());
        let fails = error % 100 < self.errors;
        let delay_ms = u64::try_from(self.delay_max.as_millis()).unwrap_or(u64::MAX);
        Fate {
            error_before: fails && after.is_multiple_of(2),
            error_after: fails && !after.is_multiple_of(2),
            throttled: throttle % 100 < self.throttles,
            delay: if delay % 100 < self.delays {
                Duration::from_millis(share % (delay_ms + 1))
            } else {
                Duration::ZERO
            },
            flip: (corrupt % 100 < self.corruptions).then_some(bit),
        }
    }
}

/// The S3 service as its profile is, with its faults.
#[derive(Clone)]
pub(crate) struct Misbehaving {
    service: S3Service,
    profile: Profile,
    keys: Keys,
    faults: Arc<Faults>,
    requests: Arc<AtomicU64>,
}

impl Misbehaving {
    pub(crate) fn new(service: S3Service, (profile, keys): (Profile, Keys), faults: Faults) -> Self {
        Self { service, profile, keys, faults: Arc::new(faults), requests: Arc::default() }
    }

    async fn work(self, request: Request<Incoming>) -> Result<HttpResponse, HttpError> {
        if self.keys.is_asked(&request) {
            return Ok(self.keys.answer(request).await);
        }
        let headers = request.headers();
        let checked = self.profile.check(request.method(), request.uri(), headers);
        if let Err(refusal) = checked.and_then(|()| self.keys.check_session(headers)) {
            return answer(Err(refusal));
        }
        Service::call(&self.service, request).await
    }

    async fn work_or_fail(self, request: Request<Incoming>, fate: Fate) -> Result<HttpResponse, HttpError> {
        if fate.throttled {
            return answer(Err(S3Error::with_message(S3ErrorCode::SlowDown, "reduce your request rate")));
        }
        if fate.error_before {
            return answer(Err(internal_error()));
        }
        let is_get = request.method() == Method::GET;
        let response = self.work(request).await?;
        if fate.error_after {
            return answer(Err(internal_error()));
        }
        match fate.flip {
            Some(bit) if is_get && [StatusCode::OK, StatusCode::PARTIAL_CONTENT].contains(&response.status()) => {
                flipped(response, bit).await
            }
            _ => Ok(response),
        }
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
        let mut fate = self.faults.chances.fate(number);
        fate.throttled |= fails;
        let (this, delay) = (self.clone(), self.faults.delay + fate.delay);
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let response = this.work_or_fail(request, fate).await;
            if let (Some(what), Ok(response)) = (what, &response) {
                let length = response.headers().get("content-length").and_then(|length| length.to_str().ok());
                // Whoever reads the log may have gone; the service is not theirs alone.
                let _ = writeln!(io::stdout(), "{what} {} {}", response.status().as_u16(), length.unwrap_or("-"));
            }
            if drops { Err(HttpError::new("the connection is dropped on purpose".into())) } else { response }
        })
    }
}

fn internal_error() -> S3Error {
    S3Error::with_message(S3ErrorCode::InternalError, "an error on purpose")
}

fn answer(result: S3Result<HttpResponse>) -> Result<HttpResponse, HttpError> {
    match result {
        Ok(response) => Ok(response),
        Err(error) => error.to_http_response().map_err(|error| HttpError::new(Box::new(error))),
    }
}

/// The same answer with one bit of its body flipped.
async fn flipped(response: HttpResponse, bit: u64) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(HttpError::new)?;
    let mut bytes = body.to_bytes().to_vec();
    let bits = bytes.len() as u64 * 8;
    if let Some(at) = bit.checked_rem(bits)
        && let Some(byte) = usize::try_from(at / 8).ok().and_then(|at| bytes.get_mut(at))
    {
        *byte ^= 1 << (at % 8);
    }
    Ok(HttpResponse::from_parts(head, Body::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_shares_are_kept() {
        let chances = Chances {
            seed: 7,
            errors: 25,
            throttles: 30,
            delays: 15,
            delay_max: Duration::from_secs(1),
            corruptions: 1,
        };
        let fates: Vec<Fate> = (1..=100_000).map(|number| chances.fate(number)).collect();
        assert_eq!(fates[..100], (1..=100).map(|number| chances.fate(number)).collect::<Vec<_>>()[..]);
        let share = |which: fn(&Fate) -> bool| fates.iter().filter(|fate| which(fate)).count() / 1000;
        assert_eq!(share(|fate| fate.error_before || fate.error_after), 25);
        assert!((29..=30).contains(&share(|fate| fate.throttled)));
        assert!((14..=15).contains(&share(|fate| fate.delay > Duration::ZERO)));
        assert!(share(|fate| fate.flip.is_some()) <= 1 && fates.iter().any(|fate| fate.flip.is_some()));
        assert_ne!(chances.fate(1), Chances { seed: 9, ..chances }.fate(1));
        assert_eq!(Chances::default().fate(3), Fate::default());
    }
}

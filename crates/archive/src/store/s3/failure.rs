//! What a failed request means for the caller, in words for a human.

use std::error::Error;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::options::StorageClass;
use crate::store::error::{Call, Operation, StoreError};

/// Where the request went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) endpoint: &'a str,
    pub(super) bucket: &'a str,
}

/// Answers that another attempt may change (faults.md §6.1).
const PASSING: [u16; 4] = [408, 425, 429, 409];

/// Codes of other answers that another attempt may change: damage on the way, a slow sender, a short pause of the service.
const PASSING_CODES: [&str; 8] = [
    "BadDigest",
    "IncompleteBody",
    "InvalidDigest", // AWS means one that is none, which we never send; Garage one that does not fit the body
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
    "XAmzContentChecksumMismatch",
    "OperationAborted",
];

/// Codes that say that nobody may do this with these credentials.
const DENIED_CODES: [&str; 7] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];

/// Of these, the ones that other credentials may cure: keys that were replaced, a token that has run out.
const STALE_CODES: [&str; 5] =
    ["ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"];

/// What may have been replaced since it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stale {
    Credentials,
    /// Credentials, or nothing: the answer to HEAD has no body, and so does not say why.
    Unsaid,
    /// The authorities that are trusted.
    Authorities,
}

/// Whether a request failed for something that may have been replaced.
pub(super) fn stale<E>(error: &SdkError<E>) -> Option<Stale>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => match answer.err().code().unwrap_or_default() {
            "" => matches!(answer.raw().status().as_u16(), 401 | 403).then_some(Stale::Unsaid),
            code => STALE_CODES.contains(&code).then_some(Stale::Credentials),
        },
        SdkError::DispatchFailure(_) if is_about_certificates(&root(error)) => Some(Stale::Authorities),
        _ => None,
    }
}

fn is_about_certificates(reason: &str) -> bool {
    let lower = reason.to_lowercase();
    lower.contains("certificate") || lower.contains("unknownissuer")
}

/// The object lies in an archive class, such as GLACIER, and nobody has restored it from there.
const ARCHIVED: &str = "InvalidObjectState";

/// Where a range lies beyond the object's end.
const INVALID_RANGE: &str = "InvalidRange";

pub(super) fn is_range_error(reason: &str) -> bool {
    reason.starts_with(INVALID_RANGE)
}

/// The error of one request.
pub(super) fn classify<E>(call: Call<'_>, place: &Place<'_>, error: &SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let answer = Answer {
                status: answer.raw().status().as_u16(),
                code: answer.err().code(),
                message: answer.err().message(),
            };
            answered(call, place, &answer)
        }
        SdkError::DispatchFailure(_) | SdkError::TimeoutError(_) => not_dispatched(call, place, error),
        SdkError::ResponseError(answer) => {
            let status = answer.raw().status().as_u16();
            call.transient(format!("{} gave an answer that cannot be read (status {status})", place.endpoint))
        }
        _ if is_about_credentials(error) => call.denied(root(error)),
        _ => call.fatal(root(error)),
    }
}

struct Answer<'a> {
    status: u16,
    code: Option<&'a str>,
    message: Option<&'a str>,
}

fn answered(call: Call<'_>, place: &Place<'_>, answer: &Answer<'_>) -> StoreError {
    let Answer { status, code, message } = *answer;
    let code = code.unwrap_or_default();
    let bucket = place.bucket;
    if code == "NoSuchBucket" {
        return call.fatal(format!("bucket \"{bucket}\" does not exist"));
    }
    if PASSING.contains(&status) || PASSING_CODES.contains(&code) || (500..600).contains(&status) && status != 501 {
        return call.transient(described(status, code, message));
    }
    if code == ARCHIVED {
        return call.withheld(described(status, code, message));
    }
    if matches!(status, 401 | 403) || DENIED_CODES.contains(&code) {
        return call.denied(described(status, code, message));
    }
    match status {
        404 => call.not_found(),
        301 | 307 | 308 => call.fatal(format!("bucket \"{bucket}\" is in another region or at another endpoint")),
        416 => call.fatal(INVALID_RANGE),
        _ => call.fatal(described(status, code, message)),
    }
}

/// Code and message of the service, on one line and cut: it may be a page of HTML.
fn described(status: u16, code: &str, message: Option<&str>) -> String {
    const LENGTH_MAX: usize = 200;
    let message = message.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let message: String = message.chars().take(LENGTH_MAX).collect();
    match (code.is_empty(), message.is_empty()) {
        (true, true) => format!("status {status}"),
        (true, false) => format!("status {status}: {message}"),
        (false, true) => format!("{code} (status {status})"),
        (false, false) => format!("{code}: {message}"),
    }
}

/// No answer came: the network, TLS, or credentials that could not be had.
fn not_dispatched(call: Call<'_>, place: &Place<'_>, error: &(dyn Error + 'static)) -> StoreError {
    if is_about_credentials(error) {
        return call.denied(root(error));
    }
    let reason = root(error);
    let lower = reason.to_lowercase();
    let endpoint = place.endpoint;
    if is_about_certificates(&reason) {
        // Waiting does not help: somebody has to give the right authority, or the right address.
        call.fatal(format!("the certificate of {endpoint} is not trusted: {reason}"))
    } else if lower.contains("corrupt message") {
        call.fatal(format!("{endpoint} does not speak TLS: {reason}"))
    } else if lower.contains("tls") || lower.contains("handshake") {
        call.transient(format!("TLS with {endpoint} failed: {reason}"))
    } else {
        call.transient(format!("{endpoint} cannot be reached: {reason}"))
    }
}

/// What a batch delete says of one object that it did not delete; none: a code that we do not know, and a delete of the object alone
/// has a status that tells.
pub(super) fn refused_delete(prefix: &str, refused: &aws_sdk_s3::types::Error) -> Option<StoreError> {
    let key = refused.key().unwrap_or_default();
    let call = Call::new(Operation::Delete, key.strip_prefix(prefix).unwrap_or(key));
    let code = refused.code().unwrap_or_default();
    let reason = described(200, code, refused.message());
    match code {
        _ if DENIED_CODES.contains(&code) || code == "ObjectLocked" => Some(call.denied(reason)),
        "InternalError" | "ServiceUnavailable" => Some(call.transient(reason)),
        _ if PASSING_CODES.contains(&code) => Some(call.transient(reason)),
        _ => None,
    }
}

/// A refused upload with what may be the reason: Ceph's gateway answers a storage class that it does not know with
/// `InvalidArgument` and no word more (seen with 20.2.4).
pub(super) fn about_class(error: StoreError, class: Option<&StorageClass>) -> StoreError {
    match (error, class) {
        (StoreError::Fatal { operation, key, reason }, Some(class))
            if reason.starts_with("InvalidArgument") || reason.starts_with("InvalidStorageClass") =>
        {
            let reason = format!("{reason}; does the service know the storage class {}?", class.name());
            StoreError::Fatal { operation, key, reason }
        }
        (error, _) => error,
    }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause.is::<aws_credential_types::provider::error::CredentialsError>()
            || cause.to_string().starts_with("credentials:")
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}

/// The innermost cause: the layers above it only say that something failed.
pub(super) fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> StoreError {
        let place = Place { endpoint: "https://s3.example:9000", bucket: "backups" };
        let answer = Answer { status, code: (!code.is_empty()).then_some(code), message: None };
        answered(Call::new(Operation::Put, "tail/x"), &place, &answer)
    }

    #[test]
    fn only_passing_failures_are_retryable() {
        for (status, code) in [
            (500, ""),
            (503, "SlowDown"),
            (429, ""),
            (408, ""),
            (400, "RequestTimeout"),
            (409, ""),
            (400, "InvalidDigest"),
        ] {
            assert!(answer(status, code).is_retryable(), "{status} {code}");
        }
        for (status, code) in [(400, "InvalidRequest"), (403, ""), (404, "NoSuchKey"), (412, ""), (501, ""), (301, "")]
        {
            assert!(!answer(status, code).is_retryable(), "{status} {code}");
        }
    }

    #[test]
    fn a_refusal_names_the_action_and_a_missing_bucket_itself() {
        assert_eq!(
            answer(403, "AccessDenied").to_string(),
            "PutObject tail/x: access denied: AccessDenied (status 403)"
        );
        assert_eq!(answer(404, "NoSuchBucket").to_string(), "PutObject tail/x: bucket \"backups\" does not exist");
        assert!(answer(404, "NoSuchKey").is_not_found());
        assert!(matches!(answer(403, "InvalidObjectState"), StoreError::Withheld { .. }));
        assert!(matches!(answer(400, "ExpiredToken"), StoreError::Denied { .. }));
    }
}

//! Roles for tokens: just enough of the Security Token Service for `AssumeRoleWithWebIdentity`, on the same address.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use s3s::auth::{S3Auth, SecretKey};
use s3s::{Body, HttpResponse, S3Result, s3_error};

const FORM_BYTES_MAX: usize = 64 << 10;

/// What was given out for a token.
#[derive(Debug, Clone)]
struct Session {
    secret: String,
    token: String,
    until: Timestamp,
}

/// Who may sign requests: the key of the environment, and sessions of roles. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    permanent: (String, String),
    /// The file with the token that is good now, and how long a session lasts.
    roles: Option<(PathBuf, Duration)>,
    sessions: Arc<Mutex<BTreeMap<String, Session>>>,
}

impl Keys {
    pub(crate) fn new(permanent: (String, String), roles: Option<(PathBuf, Duration)>) -> Self {
        Self { permanent, roles, sessions: Arc::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session's key counts only with the session's token, and only until it ends.
    pub(crate) fn check_session(&self, headers: &HeaderMap) -> S3Result<()> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signed_by = text("authorization").split_once("Credential=").map_or("", |(_, rest)| rest);
        let sessions = self.sessions();
        let Some(session) = sessions.get(signed_by.split('/').next().unwrap_or_default()) else { return Ok(()) };
        if text("x-amz-security-token") != session.token {
            return Err(s3_error!(InvalidToken, "the session's token is missing or is another's"));
        }
        if session.until < Timestamp::now() {
            return Err(s3_error!(ExpiredToken, "the session has ended"));
        }
        Ok(())
    }

    /// Whether this is a question for a role, and no request of S3.
    pub(crate) fn is_asked(&self, request: &Request<Incoming>) -> bool {
        let is_form = request
            .headers()
            .get("content-type")
            .is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded")));
        self.roles.is_some() && request.method() == Method::POST && request.uri().path() == "/" && is_form
    }

    /// Gives out a session for the token that is good now.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> HttpResponse {
        let form = match Limited::new(request.into_body(), FORM_BYTES_MAX).collect().await {
            Ok(body) => parse_form(&body.to_bytes()),
            Err(_) => return refusal("InvalidParameterValue", "the form cannot be read"),
        };
        let field = |name: &str| form.get(name).map_or("", String::as_str);
        let Some((file, lasts)) = &self.roles else { return refusal("AccessDenied", "no roles here") };
        let good = std::fs::read_to_string(file).unwrap_or_default();
        if field("Action") != "AssumeRoleWithWebIdentity" || !field("RoleArn").starts_with("arn:") {
            return refusal("InvalidAction", "only AssumeRoleWithWebIdentity with a RoleArn is known");
        }
        if good.trim().is_empty() || field("WebIdentityToken") != good.trim() {
            return refusal("InvalidIdentityToken", "the token is not valid");
        }
        let until = Timestamp::now().saturating_add(*lasts).unwrap_or(Timestamp::MAX);
        let mut sessions = self.sessions();
        let number = sessions.len() + 1;
        let (id, secret, token) =
            (format!("ROLE{number:016}"), format!("role-secret-{number}"), format!("session-{number}"));
        sessions.insert(id.clone(), Session { secret: secret.clone(), token: token.clone(), until });
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ");
        xml(
            StatusCode::OK,
            format!(
                "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{id}</AccessKeyId>\
             <SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>\
             <Expiration>{until}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>"
            ),
        )
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let (id, secret) = &self.permanent;
        if access_key == id {
            return Ok(secret.as_str().into());
        }
        let sessions = self.sessions();
        let session = sessions.get(access_key).ok_or_else(|| s3_error!(InvalidAccessKeyId))?;
        Ok(session.secret.as_str().into())
    }
}

fn refusal(code: &str, message: &str) -> HttpResponse {
    let error = format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    );
    xml(StatusCode::BAD_REQUEST, error)
}

fn xml(status: StatusCode, text: String) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("text/xml"));
    response
}

/// `a=b&c=%2F`
fn parse_form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        let escaped = |bytes: &mut std::str::Bytes<'_>| {
            let hex = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()
        };
        match byte {
            b'+' => out.push(b' '),
            b'%' => out.extend(escaped(&mut bytes)),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

//! What requests are sent with: a client that trusts certain authorities and has certain credentials. All of these may be replaced under
//! a running program, which then goes on with what is there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::time::Instant;

use super::client;
use super::failure::Stale;
use super::options::{Credentials, S3Options};
use crate::store::error::{Operation, StoreError};

/// Between the change at a service and the change of a mounted file lie up to two minutes (kubelet: a sync period of 60 s and the delay
/// of its cache): what has worked before and is refused now is repeated for as long.
const ROTATION_MAX: Duration = Duration::from_secs(120);

/// A client is not made anew more often.
const RENEWED_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// The client, and how it fares.
#[derive(Debug)]
pub(super) struct Access {
    options: S3Options,
    /// For tests that look at what is sent; else it is made from the options, each time.
    http: Option<SharedHttpClient>,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    client: Client,
    made_at: Instant,
    /// How each operation fares: a right to one says nothing about the others.
    operations: [Fare; Operation::ALL.len()],
}

/// How requests of one operation fare.
#[derive(Debug, Clone, Copy, Default)]
struct Fare {
    /// Whether one was ever answered as wanted.
    has_worked: bool,
    refused_since: Option<Instant>,
}

impl Fare {
    fn worked(&mut self, sent: Instant) {
        self.has_worked = true;
        self.refused_since = self.refused_since.filter(|since| sent < *since);
    }

    /// Whether a refusal is young enough for a rotation that is under way.
    fn is_young(&mut self, now: Instant) -> bool {
        now.duration_since(*self.refused_since.get_or_insert(now)) < ROTATION_MAX
    }
}

impl Access {
    pub(super) async fn new(options: &S3Options, http: Option<SharedHttpClient>) -> Result<Self, String> {
        let client = made(options, http.as_ref()).await?;
        let standing = Standing { client, made_at: Instant::now(), operations: Default::default() };
        Ok(Self { options: options.clone(), http, standing: Mutex::new(standing) })
    }

    pub(super) fn client(&self) -> Client {
        self.locked(|standing| standing.client.clone())
    }

    /// A request that was sent then was answered as wanted. One that was under way when others were first refused says nothing about
    /// what is there since.
    pub(super) fn worked(&self, operation: Operation, sent: Instant) {
        self.locked(|standing| standing.operations[operation.index()].worked(sent));
    }

    /// A client for a second try, with the credentials and authorities that are there now. None: they were just read.
    pub(super) async fn renewed(&self, stale: Stale) -> Option<Client> {
        // These are read for each request as it is.
        if stale != Stale::Authorities && matches!(self.options.credentials, Credentials::Directory(_)) {
            return Some(self.client());
        }
        let is_due = self.locked(|standing| {
            let is_due = standing.made_at.elapsed() >= RENEWED_AT_MOST_EVERY;
            if is_due {
                standing.made_at = Instant::now();
            }
            is_due
        });
        if !is_due {
            return None;
        }
        // A file that is being replaced is not there for a moment: what was read of it last goes on.
        let client = made(&self.options, self.http.as_ref()).await.ok()?;
        self.locked(|standing| standing.client = client.clone());
        Some(client)
    }

    /// A refusal that stays after the second try. While it may be a rotation under way, the same call is worth another attempt.
    pub(super) fn refused(&self, error: StoreError, stale: Stale) -> StoreError {
        let is_passing = self.locked(|standing| {
            let has_worked = standing.operations.iter().any(|fare| fare.has_worked);
            let fare = &mut standing.operations[error.operation().index()];
            // Rights to one operation say nothing about those to another.
            fare.is_young(Instant::now()) && if stale == Stale::Unsaid { fare.has_worked } else { has_worked }
        });
        match error {
            StoreError::Denied { operation, key, reason } | StoreError::Fatal { operation, key, reason }
                if is_passing =>
            {
                StoreError::Transient { operation, key, reason: format!("{reason} (it was accepted before)") }
            }
            error => error,
        }
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Standing) -> T) -> T {
        work(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn made(options: &S3Options, http: Option<&SharedHttpClient>) -> Result<Client, String> {
    let http = match http {
        Some(http) => http.clone(),
        None => client::http_client(options.ca_file.as_deref())?,
    };
    Ok(client::s3_client(options, http).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_sent_later_ends_a_refusal() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let mut fare = Fare::default();
        assert!(fare.is_young(after(10)) && fare.is_young(after(129)));
        // A request that was sent before the others were refused, and that is answered late.
        fare.worked(after(9));
        assert!(fare.has_worked && !fare.is_young(after(130)));
        fare.worked(after(131));
        assert!(fare.is_young(after(140)));
    }
}

//! HTTP: probes and metrics for anybody, the control API for this host. Handlers read snapshots and the archive, never the server,
//! and hold nothing up.

mod answer;
mod client;
mod query;
mod refused;
mod routes;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answer::Answer;
use self::answer::Body;
pub(crate) use self::client::ask;
pub(crate) use self::routes::{Api, Audience};

/// Connections at once; others wait.
const CONNECTIONS_MAX: usize = 64;
/// A request's body.
const BODY_BYTES_MAX: usize = 1 << 20;
/// An answer's body: what the plugin takes.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// From the first byte of a request to its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A connection without a whole request is closed.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// An address that cannot be had now is tried again: it is no reason not to archive.
const BIND_EVERY: Duration = Duration::from_secs(10);

/// Serves until told to stop.
pub(crate) async fn serve(address: SocketAddr, api: Arc<Api>, audience: Audience, stop: &CancellationToken) {
    let Some(listener) = bind(address, stop).await else { return };
    tracing::info!(event = "listening", address = %listener.local_addr().unwrap_or(address), audience = ?audience);
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = connections.next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => connections.push(connection(stream, Arc::clone(&api), audience)),
                // Out of descriptors: they come back when others are done.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn bind(address: SocketAddr, stop: &CancellationToken) -> Option<TcpListener> {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Some(listener),
            Err(reason) if !told => {
                told = true;
                tracing::warn!(event = "not-listening", address = %address, %reason, "archiving goes on");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(BIND_EVERY) => {}
        }
    }
}

async fn connection(stream: TcpStream, api: Arc<Api>, audience: Audience) {
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, Infallible>(answer(request, &api, audience).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(reason) = served.await {
        tracing::debug!(event = "connection", %reason);
    }
}

async fn answer(request: Request<Incoming>, api: &Api, audience: Audience) -> hyper::Response<Body> {
    let is_control = audience == Audience::Loopback && request.uri().path().starts_with("/v1/");
    let answer = match tokio::time::timeout(ANSWER_WITHIN, respond(request, api, audience)).await {
        Ok(answer) if is_control => fitting(answer),
        Ok(answer) => answer,
        Err(_) if is_control => refused::too_late(ANSWER_WITHIN),
        Err(_) => Answer::text(503, "no answer in time"),
    };
    answer.into_response()
}

/// The answer, unless it is longer than whoever asks takes.
pub(crate) fn fitting(answer: Answer) -> Answer {
    match answer.body.len() {
        0..=ANSWER_BYTES_MAX => answer,
        bytes => refused::too_much(bytes, ANSWER_BYTES_MAX),
    }
}

async fn respond(request: Request<Incoming>, api: &Api, audience: Audience) -> Answer {
    let (head, body) = request.into_parts();
    let post = match head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => Some(body.to_bytes()),
            Err(_) => return refused::too_long(BODY_BYTES_MAX),
        },
        _ => return refused::no_such_method(),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    api.respond(target, post.as_deref(), audience).await
}

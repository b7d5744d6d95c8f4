//! One request to a sidecar on this host.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use pitr_recovery::code;
use tokio::net::TcpStream;

use crate::error::Failure;

/// An answer's body.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// From connecting to the last byte.
const REPLY_WITHIN: Duration = Duration::from_secs(40);

/// What a sidecar answered.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Whether the status is a success.
    pub(crate) ok: bool,
    /// The body.
    pub(crate) body: Bytes,
}

/// Asks the sidecar at `address` (host and port): GET, or with a body POST.
pub(crate) async fn ask(address: &str, path: &str, body: Option<String>) -> anyhow::Result<Reply> {
    let asked = tokio::time::timeout(REPLY_WITHIN, exchange(address, path, body)).await;
    let reply = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {}s", REPLY_WITHIN.as_secs())));
    reply.map_err(|reason| {
        Failure::new(&code::NOT_REACHABLE, format!("no sidecar answers at {address}: {reason:#}"))
            .hint("it listens on the loopback address of its own pod or host")
            .fix("--archive URL reads the archive itself")
            .into()
    })
}

async fn exchange(address: &str, path: &str, body: Option<String>) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let body = Full::new(Bytes::from(body.unwrap_or_default()));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .body(body)
        .context("this is no path")?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let ok = response.status().is_success();
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await;
        let body = body.map_err(|reason| anyhow::anyhow!("{reason}"))?.to_bytes();
        anyhow::Ok(Reply { ok, body })
    };
    let mut exchange = std::pin::pin!(exchange);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        reply = &mut exchange => reply,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

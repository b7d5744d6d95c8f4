//! Requests to the control API of a sidecar: HTTP/1 over a port-forward, or the sidecar's own `get` by exec.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use pitr_archive::PlanKeys;
use tokio::io::AsyncReadExt;

use super::Cluster;
use super::problem::short;
use crate::inject::sidecar::CONTAINER;

/// Where the sidecar listens, on the pod's loopback address only.
const CONTROL_PORT: u16 = 9398;
/// A reply may not be longer.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// An answer of the control API: its status and its bytes as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub ok: bool,
    pub body: Bytes,
    /// Words about the answer that are no part of it.
    pub notes: Notes,
}

/// What the transactions next to a plan's stop did: the plan itself, which is hashed, does not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    pub last_applied: Option<String>,
    pub first_excluded: Option<String>,
    /// How long the restore may take.
    pub estimate: Option<String>,
    /// What it must be able to open, besides its base.
    pub keys: PlanKeys,
}

impl Notes {
    /// From headers that may hold any text, percent-encoded.
    fn read(headers: &hyper::HeaderMap) -> Self {
        let text = |name: &str| decoded(headers.get(name)?.to_str().ok()?);
        Self {
            last_applied: text("pitr-last-applied"),
            first_excluded: text("pitr-first-excluded"),
            estimate: text("pitr-estimate"),
            keys: text("pitr-keys").and_then(|keys| serde_json::from_str(&keys).ok()).unwrap_or_default(),
        }
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    let text = String::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    /// A body makes it a POST.
    pub(super) body: Option<&'a str>,
}

impl Cluster {
    /// Asks over a port-forward. `Err` is the reason why there was no answer.
    pub(super) async fn ask_by_port_forward(
        &self,
        pod: &str,
        question: Question<'_>,
        limit: Duration,
    ) -> Result<Reply, String> {
        let exchange = self.exchange(pod, question);
        tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    async fn exchange(&self, pod: &str, question: Question<'_>) -> Result<Reply, String> {
        let api: Api<Pod> = self.patient_api();
        let mut forward = api.portforward(pod, &[CONTROL_PORT]).await.map_err(|e| short(&e))?;
        let refused = forward.take_error(CONTROL_PORT);
        let stream = forward.take_stream(CONTROL_PORT).ok_or("the port-forward has no stream")?;
        let answer = http(stream, question).await;
        forward.abort();
        match (answer, refused) {
            (Ok(reply), _) => Ok(reply),
            (Err(reason), None) => Err(reason),
            // What the kubelet says is nearer to the cause than a closed connection.
            (Err(reason), Some(refused)) => {
                let told = tokio::time::timeout(Duration::from_millis(200), refused).await.ok().flatten();
                Err(told.map_or(reason, |t| {
                    if t.contains("refused") { "connection refused on 9398".to_owned() } else { t }
                }))
            }
        }
    }

    /// Asks by running the sidecar's `get` in its container.
    pub(super) async fn ask_by_exec(
        &self,
        pod: &str,
        question: Question<'_>,
        limit: Duration,
    ) -> Result<Reply, String> {
        let mut command = vec!["/pitr-sidecar", "get", question.path];
        if let Some(body) = question.body {
            command.extend(["--data", body]);
        }
        let run = self.run_in(pod, CONTAINER, &command);
        let (ok, stdout, stderr) =
            tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))?;
        if !ok && stdout.is_empty() {
            return Err(String::from_utf8_lossy(&stderr).lines().next().unwrap_or("the command failed").to_owned());
        }
        Ok(Reply { ok, body: stdout.into(), notes: Notes::default() })
    }

    /// Runs a command in a container: whether it succeeded, its stdout, its stderr.
    pub(super) async fn run_in(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
    ) -> Result<(bool, Vec<u8>, Vec<u8>), String> {
        let api: Api<Pod> = self.patient_api();
        let params = AttachParams::default().container(container).stdin(false).stdout(true).stderr(true);
        let mut process = api.exec(pod, command.iter().copied(), &params).await.map_err(|e| short(&e))?;
        let status = process.take_status();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let out = process.stdout().map(|s| s.take(REPLY_BYTES_MAX as u64));
        let err = process.stderr().map(|s| s.take(REPLY_BYTES_MAX as u64));
        let read_out = async {
            if let Some(mut out) = out {
                let _ = out.read_to_end(&mut stdout).await;
            }
        };
        let read_err = async {
            if let Some(mut err) = err {
                let _ = err.read_to_end(&mut stderr).await;
            }
        };
        tokio::join!(read_out, read_err);
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        let ok = status.is_some_and(|s| s.status.as_deref() == Some("Success"));
        Ok((ok, stdout, stderr))
    }

    /// Owner of a directory in a running container, as `stat` there tells it: uid and gid.
    pub async fn owner_of(&self, pod: &str, container: &str, directory: &str) -> Option<(i64, i64)> {
        /// It is one of several ways to know.
        const LIMIT: Duration = Duration::from_secs(5);
        let command = ["stat", "-c", "%u:%g", directory];
        let run = self.run_in(pod, container, &command);
        let (ok, stdout, _) = tokio::time::timeout(LIMIT, run).await.ok()?.ok()?;
        let text = String::from_utf8(stdout).ok()?;
        let (uid, gid) = text.trim().split_once(':')?;
        if ok { Some((uid.parse().ok()?, gid.parse().ok()?)) } else { None }
    }
}

async fn http<S>(stream: S, question: Question<'_>) -> Result<Reply, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = Request::builder()
        .method(if question.body.is_some() { Method::POST } else { Method::GET })
        .uri(question.path)
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("connection", "close")
        .body(Full::new(Bytes::from(question.body.unwrap_or_default().to_owned())))
        .map_err(|e| e.to_string())?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let ok = response.status() == StatusCode::OK;
        let notes = Notes::read(response.headers());
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await.map_err(|e| e.to_string())?;
        Ok(Reply { ok, body: body.to_bytes(), notes })
    };
    // The connection ends by itself once the exchange has dropped its sender.
    let (reply, _) = tokio::join!(exchange, connection);
    reply
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn served(reply: &'static str) -> Result<Reply, String> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let server = async move {
            let mut request = vec![0; 4096];
            let read = theirs.read(&mut request).await.unwrap();
            theirs.write_all(reply.as_bytes()).await.unwrap();
            drop(theirs);
            String::from_utf8(request[..read].to_vec()).unwrap()
        };
        let question = Question { path: "/v1/plan", body: Some("{}") };
        let (reply, request) = tokio::join!(http(ours, question), server);
        assert!(request.starts_with("POST /v1/plan HTTP/1.1\r\n"), "{request}");
        reply
    }

    #[tokio::test]
    async fn an_answer_is_taken_as_it_comes() {
        let reply = served("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{ }").await.unwrap();
        assert_eq!(reply, Reply { ok: true, body: Bytes::from_static(b"{ }"), notes: Notes::default() });
        let reply = served("HTTP/1.1 422 Unprocessable\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        assert!(!reply.ok);
    }

    #[test]
    fn notes_hold_any_text_and_nothing_broken() {
        assert_eq!(decoded("DROP TABLE shop.%C3%A4, 100%25").unwrap(), "DROP TABLE shop.ä, 100%");
        for broken in ["%", "%4", "%zz", "%ff", "", "%1b[31m"] {
            assert_eq!(decoded(broken), None, "{broken}");
        }
    }

    #[tokio::test]
    async fn a_cut_answer_is_no_answer() {
        assert!(served("HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{ }").await.is_err());
        assert!(served("").await.is_err());
    }
}

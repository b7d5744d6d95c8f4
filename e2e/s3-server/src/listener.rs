//! Accepts connections, with or without TLS, and serves HTTP/1.1 on them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::faults::Misbehaving;

/// Where the certificate chain and its key are, in PEM.
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A bound socket, and how connections on it are secured.
pub(crate) struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    pub(crate) async fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
        Ok(Self { socket, tls: tls.map(acceptor).transpose()? })
    }

    /// The URL that leads here.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(format!("{scheme}://{}", self.socket.local_addr().context("read the socket's address")?))
    }

    /// Serves until this future is dropped, which ends all connections.
    pub(crate) async fn serve(self, service: Misbehaving) -> anyhow::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.socket.accept() => {
                    // A client that is gone again, or no file descriptor for now: the next one may do better.
                    let Ok((stream, _)) = accepted else { continue };
                    connections.spawn(connection(stream, self.tls.clone(), service.clone()));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

fn acceptor(files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("read certificate \"{}\"", files.certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("read private key \"{}\"", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("set up TLS")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, service: Misbehaving) {
    // Small answers must not wait for more to send.
    let _ = stream.set_nodelay(true);
    match tls {
        None => http(stream, service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => http(stream, service).await,
            Err(error) => eprintln!("TLS: {error}"),
        },
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: Misbehaving) {
    // A broken connection is the client's to notice.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

//! Greeting, TLS and login of one connection.

use std::io;
use std::time::Duration;

use mysql_common::constants::CapabilityFlags;
use mysql_common::io::ParseBuf;
use mysql_common::packets::{AuthPlugin, AuthSwitchRequest, HandshakePacket, HandshakeResponse, SslRequest};
use mysql_common::proto::MySerialize;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};

use super::super::dsn::{Dsn, TlsMode};
use super::packets::{PacketReader, receive, send};
use super::{ANSWER_MAX, DumpError, Duplex, ERROR, OK, refusal, tls};

/// To connect and to log in may take this long.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
/// A server that waits says so every few seconds; one that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// What the server may send in one payload: the largest event.
const PAYLOAD_MAX: u32 = 1 << 30;
/// `utf8mb4_general_ci`, in the request for TLS.
const COLLATION: u8 = 45;
/// First byte of an answer: log in by another method.
const SWITCH: u8 = 0xfe;
/// First byte of an answer: the method goes on.
const MORE: u8 = 0x01;
/// `caching_sha2_password`: the server knows the password already.
const KNOWN: u8 = 3;
/// `caching_sha2_password`: the server wants the password itself.
const WANTED: u8 = 4;

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Wire {
    packets: PacketReader<Box<dyn Duplex>>,
    /// Where to, for messages.
    to: String,
}

impl Wire {
    #[cfg(test)]
    pub(super) fn over(server: tokio::io::DuplexStream) -> Self {
        Self { packets: PacketReader::new(Box::new(server), SILENCE), to: "a test".to_owned() }
    }

    fn broken(&self) -> impl Fn(io::Error) -> DumpError + use<> {
        let to = self.to.clone();
        move |reason| DumpError::Connection { to: to.clone(), reason }
    }

    /// Sends a command.
    pub(super) async fn command(&mut self, command: u8, body: &[u8]) -> Result<(), DumpError> {
        let broken = self.broken();
        self.packets.send(0, &[&[command], body].concat()).await.map_err(broken)
    }

    /// A whole answer.
    pub(super) async fn answer(&mut self, limit: usize) -> Result<Vec<u8>, DumpError> {
        self.begin().await?;
        self.rest(limit).await
    }

    pub(super) async fn begin(&mut self) -> Result<(), DumpError> {
        let broken = self.broken();
        self.packets.begin().await.map_err(broken)
    }

    pub(super) async fn piece(&mut self) -> Result<&[u8], DumpError> {
        let to = &self.to;
        self.packets.piece().await.map_err(|reason| DumpError::Connection { to: to.clone(), reason })
    }

    pub(super) async fn exact(&mut self, bytes: &mut [u8]) -> Result<(), DumpError> {
        let broken = self.broken();
        self.packets.exact(bytes).await.map_err(broken)
    }

    pub(super) async fn rest(&mut self, limit: usize) -> Result<Vec<u8>, DumpError> {
        let broken = self.broken();
        self.packets.rest(limit).await.map_err(broken)
    }

    pub(super) fn is_drained(&self) -> bool {
        self.packets.is_drained()
    }
}

/// Connects and logs in.
pub(super) async fn connect(dsn: &Dsn) -> Result<Wire, DumpError> {
    let silent = |_| DumpError::Connection { to: dsn.to_string(), reason: io::ErrorKind::TimedOut.into() };
    tokio::time::timeout(LOGIN_TIMEOUT, log_in(dsn)).await.map_err(silent)?
}

/// What the server said first, and a connection that nobody else reads.
struct Greeted {
    socket: Box<dyn Duplex>,
    greeting: HandshakePacket<'static>,
    /// The number of the next packet.
    number: u8,
    capabilities: CapabilityFlags,
    /// Whether nobody can listen.
    is_private: bool,
}

async fn log_in(dsn: &Dsn) -> Result<Wire, DumpError> {
    let Greeted { socket, greeting, number, capabilities, is_private } = greet(dsn).await?;
    let nonce = greeting.nonce();
    let plugin = match greeting.auth_plugin() {
        Some(AuthPlugin::MysqlNativePassword) => AuthPlugin::MysqlNativePassword,
        // The default of the last ten years. The server switches if the account has another one.
        _ => AuthPlugin::CachingSha2Password,
    };
    let proof = plugin.gen_data(Some(dsn.password.reveal()), &nonce);
    let response = HandshakeResponse::new(
        Some(proof.as_deref().unwrap_or_default()),
        greeting.server_version_parsed().unwrap_or((8, 0, 0)),
        Some(dsn.user.as_bytes()),
        None::<&[u8]>,
        Some(plugin),
        capabilities,
        None,
        PAYLOAD_MAX,
    );
    let mut wire = Wire { packets: PacketReader::new(socket, SILENCE), to: dsn.to_string() };
    let broken = wire.broken();
    wire.packets.send(number, &serialized(&response)).await.map_err(broken)?;
    finish_login(&mut wire, dsn, is_private).await?;
    Ok(wire)
}

/// Answers until the server agrees.
async fn finish_login(wire: &mut Wire, dsn: &Dsn, is_private: bool) -> Result<(), DumpError> {
    let refused = |reason: String| DumpError::Method { user: dsn.user.clone(), reason };
    loop {
        let answer = wire.answer(ANSWER_MAX).await?;
        let reply = match answer.as_slice() {
            [OK, ..] => return Ok(()),
            [MORE, KNOWN, ..] => continue,
            [MORE, WANTED, ..] if is_private => [dsn.password.reveal().as_bytes(), b"\0"].concat(),
            [MORE, WANTED, ..] => {
                return Err(refused("has a password that is sent through TLS or a socket only".to_owned()));
            }
            [SWITCH, ..] => {
                let request: AuthSwitchRequest<'_> =
                    ParseBuf(&answer).parse(()).map_err(|_| DumpError::Answer("a switch of the login method"))?;
                match request.auth_plugin() {
                    plugin @ (AuthPlugin::CachingSha2Password | AuthPlugin::MysqlNativePassword) => {
                        let proof = plugin.gen_data(Some(dsn.password.reveal()), request.plugin_data());
                        proof.as_deref().unwrap_or_default().to_vec()
                    }
                    other => {
                        let name = String::from_utf8_lossy(other.as_bytes()).into_owned();
                        return Err(refused(format!("logs in by {name}: only caching_sha2_password is supported")));
                    }
                }
            }
            [ERROR, ..] => return Err(refusal(&answer)),
            _ => return Err(DumpError::Answer("the login")),
        };
        let (broken, number) = (wire.broken(), wire.packets.answer_number());
        wire.packets.send(number, &reply).await.map_err(broken)?;
    }
}

/// Connects, reads the greeting and, where it is wanted, changes to TLS.
async fn greet(dsn: &Dsn) -> Result<Greeted, DumpError> {
    let broken = |reason| DumpError::Connection { to: dsn.to_string(), reason };
    if let Some(path) = dsn.by_socket() {
        let mut socket = UnixStream::connect(path).await.map_err(broken)?;
        let (greeting, number) = greeting(&mut socket).await.map_err(broken)??;
        let capabilities = capabilities(&greeting);
        return Ok(Greeted { socket: Box::new(socket), greeting, number, capabilities, is_private: true });
    }
    let host = dsn.host.as_deref().unwrap_or("localhost");
    let mut socket = TcpStream::connect((host, dsn.port.unwrap_or(3306))).await.map_err(broken)?;
    socket.set_nodelay(true).map_err(broken)?;
    let (greeting, number) = greeting(&mut socket).await.map_err(broken)??;
    let mut capabilities = capabilities(&greeting);
    let has_tls = greeting.capabilities().contains(CapabilityFlags::CLIENT_SSL);
    let wants_tls = match dsn.tls {
        TlsMode::Disabled => false,
        TlsMode::Preferred => has_tls,
        TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity => true,
    };
    if !wants_tls {
        return Ok(Greeted { socket: Box::new(socket), greeting, number, capabilities, is_private: false });
    }
    let failed = |reason: String| DumpError::Tls { to: dsn.to_string(), reason };
    if !has_tls {
        return Err(failed("the server has none".to_owned()));
    }
    capabilities.insert(CapabilityFlags::CLIENT_SSL);
    let request = serialized(&SslRequest::new(capabilities, PAYLOAD_MAX, COLLATION));
    send(&mut socket, number, &request).await.map_err(broken)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|reason| failed(reason.to_string()))?;
    let connector = tls::connector(dsn.tls, dsn.ca.as_deref()).map_err(failed)?;
    let socket = connector.connect(name, socket).await.map_err(|reason| failed(reason.to_string()))?;
    Ok(Greeted { socket: Box::new(socket), greeting, number: number.wrapping_add(1), capabilities, is_private: true })
}

async fn greeting(socket: &mut impl Duplex) -> io::Result<Result<(HandshakePacket<'static>, u8), DumpError>> {
    let (number, payload) = receive(socket, ANSWER_MAX).await?;
    if payload.first() == Some(&ERROR) {
        return Ok(Err(refusal(&payload)));
    }
    let greeting = ParseBuf(&payload).parse::<HandshakePacket<'_>>(());
    let greeting = greeting.map_err(|_| DumpError::Answer("this is no MySQL server"));
    Ok(greeting.map(|greeting| (greeting.into_owned(), number.wrapping_add(1))))
}

/// What both can. No compression: events are to arrive as they are.
fn capabilities(greeting: &HandshakePacket<'_>) -> CapabilityFlags {
    let ours = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    ours & greeting.capabilities()
}

fn serialized(packet: &impl MySerialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.serialize(&mut bytes);
    bytes
}

//! The greeting, the login and the three short answers of the protocol (OK, EOF, ERR).

use std::io;

use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use crate::identity::SourceIdentity;

/// The only authentication that is offered: its fast path needs neither TLS nor RSA.
const PLUGIN: &[u8] = b"caching_sha2_password";
/// The number of utf8mb4_0900_ai_ci.
pub(crate) const COLLATION: u8 = 255;
const SERVER_STATUS_AUTOCOMMIT: u16 = 2;

mod capability {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const FOUND_ROWS: u32 = 1 << 1;
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(super) const CONNECT_ATTRS: u32 = 1 << 20;
    pub(super) const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    /// Without TLS, and without DEPRECATE_EOF: results end in plain EOF packets.
    pub(super) const OFFERED: u32 = LONG_PASSWORD
        | FOUND_ROWS
        | LONG_FLAG
        | CONNECT_WITH_DB
        | PROTOCOL_41
        | TRANSACTIONS
        | SECURE_CONNECTION
        | PLUGIN_AUTH
        | CONNECT_ATTRS
        | PLUGIN_AUTH_LENENC;
}

/// The random bytes that a login must mix with its password: 20, none of them 0, each below 128.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nonce([u8; 20]);

impl Nonce {
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 20];
        for byte in &mut bytes {
            *byte = rand::rng().random_range(1..128);
        }
        Self(bytes)
    }

    /// What a client that knows the password answers:
    /// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) || nonce)`.
    fn scramble(&self, password: &str) -> [u8; 32] {
        let once = Sha256::digest(password.as_bytes());
        let thrice = Sha256::new().chain_update(Sha256::digest(once)).chain_update(self.0).finalize();
        std::array::from_fn(|i| once[i] ^ thrice[i])
    }
}

/// The first packet of a connection.
pub(crate) fn greeting(server_version: &str, connection: u32, nonce: &Nonce) -> Vec<u8> {
    let [c0, c1, c2, c3] = capability::OFFERED.to_le_bytes();
    let mut packet = vec![10];
    packet.extend_from_slice(server_version.as_bytes());
    packet.push(0);
    packet.extend_from_slice(&connection.to_le_bytes());
    packet.extend_from_slice(&nonce.0[..8]);
    packet.extend_from_slice(&[0, c0, c1, COLLATION]);
    packet.extend_from_slice(&SERVER_STATUS_AUTOCOMMIT.to_le_bytes());
    packet.extend_from_slice(&[c2, c3, nonce.0.len() as u8 + 1]);
    packet.extend_from_slice(&[0; 10]);
    packet.extend_from_slice(&nonce.0[8..]);
    packet.push(0);
    packet.extend_from_slice(PLUGIN);
    packet.push(0);
    packet
}

/// What a client says of itself, and its answer to the nonce.
#[derive(PartialEq, Eq)]
pub(crate) struct Login {
    user: Vec<u8>,
    answer: Vec<u8>,
    /// The answer belongs to another authentication plugin: ask again.
    pub(crate) other_plugin: bool,
}

impl Login {
    /// Reads a HandshakeResponse41.
    pub(crate) fn parse(packet: &[u8]) -> io::Result<Self> {
        read_login(packet).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a login packet"))
    }

    /// The client's answer to [`switch_plugin`].
    pub(crate) fn answer_again(&mut self, packet: Vec<u8>) {
        self.answer = packet;
        self.other_plugin = false;
    }

    /// Whether this is the replica that was told the one-time password.
    pub(crate) fn is_right(&self, identity: &SourceIdentity, nonce: &Nonce) -> bool {
        let expected = nonce.scramble(identity.password.expose());
        let differing = expected.iter().zip(&self.answer).fold(0, |bits, (a, b)| bits | (a ^ b));
        self.user == identity.user.as_bytes() && self.answer.len() == expected.len() && differing == 0
    }
}

fn read_login(packet: &[u8]) -> Option<Login> {
    let (capabilities, rest) = packet.split_first_chunk::<4>()?;
    let capabilities = u32::from_le_bytes(*capabilities);
    if capabilities & capability::PROTOCOL_41 == 0 {
        return None;
    }
    // Largest packet u32, collation u8, 23 bytes of nothing.
    let rest = rest.get(28..)?;
    let (user, rest) = until_zero(rest)?;
    // A length of more than 250 would have another form; no answer is as long.
    let (length, rest) = rest.split_first().filter(|(length, _)| **length <= 250)?;
    let (answer, mut rest) = rest.split_at_checked(usize::from(*length))?;
    if capabilities & capability::CONNECT_WITH_DB != 0 {
        rest = until_zero(rest)?.1;
    }
    let other_plugin = capabilities & capability::PLUGIN_AUTH != 0 && until_zero(rest)?.0 != PLUGIN;
    Some(Login { user: user.to_vec(), answer: answer.to_vec(), other_plugin })
}

fn until_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Asks the client to log in by our plugin (AuthSwitchRequest).
pub(crate) fn switch_plugin(nonce: &Nonce) -> Vec<u8> {
    [&[0xfe], PLUGIN, &[0], &nonce.0, &[0]].concat()
}

/// `caching_sha2_password`: the answer was right, no further exchange; OK follows.
pub(crate) const FAST_PATH: &[u8] = &[1, 3];

/// An OK packet.
pub(crate) const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];

/// An EOF packet.
pub(crate) const EOF: &[u8] = &[0xfe, 0, 0, 2, 0];

/// An ERR packet.
pub(crate) fn err(code: u16, state: &[u8; 5], text: &str) -> Vec<u8> {
    let mut packet = vec![0xff];
    packet.extend_from_slice(&code.to_le_bytes());
    packet.push(b'#');
    packet.extend_from_slice(state);
    packet.extend_from_slice(text.as_bytes());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn identity() -> SourceIdentity {
        SourceIdentity {
            server_uuid: "3e11fa47-71ca-11e1-9e33-c80aa9429562".parse().unwrap(),
            server_id: 7,
            server_version: "9.7.4".into(),
            user: "pitr".into(),
            password: Secret::new("open sesame"),
        }
    }

    fn login(capabilities: u32, user: &str, answer: &[u8], plugin: &str) -> Vec<u8> {
        let mut packet = capabilities.to_le_bytes().to_vec();
        packet.extend_from_slice(&[0; 28]);
        packet.extend_from_slice(user.as_bytes());
        packet.extend_from_slice(&[0, answer.len() as u8]);
        packet.extend_from_slice(answer);
        packet.extend_from_slice(plugin.as_bytes());
        packet.push(0);
        packet
    }

    #[test]
    fn only_the_right_user_with_the_right_password_is_let_in() {
        let caps = capability::OFFERED & !capability::CONNECT_WITH_DB;
        let (nonce, other) = (Nonce::random(), Nonce::random());
        let right = nonce.scramble("open sesame");
        let cases: [(&str, &[u8], bool); 6] = [
            ("pitr", &right, true),
            ("root", &right, false),
            ("pitr", &nonce.scramble("open barley"), false),
            ("pitr", &other.scramble("open sesame"), false),
            ("pitr", &right[..31], false),
            ("pitr", &[], false),
        ];
        for (user, answer, expected) in cases {
            let login = Login::parse(&login(caps, user, answer, "caching_sha2_password")).unwrap();
            assert!(!login.other_plugin);
            assert_eq!(login.is_right(&identity(), &nonce), expected, "{user}");
        }
        let mut late = Login::parse(&login(caps, "pitr", b"x", "mysql_native_password")).unwrap();
        assert!(late.other_plugin);
        late.answer_again(right.to_vec());
        assert!(late.is_right(&identity(), &nonce));
    }

    #[test]
    fn a_login_cut_short_is_refused() {
        let whole =
            login(capability::OFFERED & !capability::CONNECT_WITH_DB, "pitr", &[1; 32], "caching_sha2_password");
        assert!(Login::parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(Login::parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(Login::parse(&login(0, "pitr", &[1; 32], "caching_sha2_password")).is_err());
    }

    #[test]
    fn the_greeting_is_as_clients_expect() {
        let nonce = Nonce::random();
        let packet = greeting("9.7.4", 5, &nonce);
        assert_eq!(&packet[..11], b"\x0a9.7.4\0\x05\0\0\0");
        assert_eq!(packet[11..19], nonce.0[..8]);
        assert_eq!(packet[27], 21);
        assert_eq!(packet[38..50], nonce.0[8..]);
        assert_eq!(&packet[50..], b"\0caching_sha2_password\0");
        assert!(nonce.0.iter().all(|byte| (1..128).contains(byte)));
    }
}

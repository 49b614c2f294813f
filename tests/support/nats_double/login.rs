//! Checks what a client says in CONNECT to prove its name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::SignatureVerificationAlgorithm;
use serde_json::Value;
use webpki::ring::ED25519;

/// Who may log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoginRule {
    /// Everybody, without a login.
    #[default]
    Nobody,
    Token(String),
    User {
        user: String,
        password: String,
    },
    Nkey(PublicKey),
    /// The JWT is compared and not read.
    Jwt {
        jwt: String,
        nkey: PublicKey,
    },
}

/// A user's public key: the 56 characters that begin with U.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(String);

impl PublicKey {
    /// The prefix of a user's public key.
    const USER: u8 = 20 << 3;

    /// The key with these bytes.
    pub fn new(bytes: &[u8; 32]) -> PublicKey {
        let mut all = vec![PublicKey::USER];
        all.extend_from_slice(bytes);
        all.extend_from_slice(&checksum(&all).to_le_bytes());
        PublicKey(base32(&all))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether `signature` is that of this key for `message`.
    fn has_signed(&self, message: &str, signature: &str) -> bool {
        let Some(bytes) = base32_decoded(&self.0) else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        ED25519.verify_signature(&bytes[1..33], message.as_bytes(), &signature).is_ok()
    }
}

/// The seed of a user's key, as in a `.creds` file: the 58 characters that begin with SU.
pub fn seed_text(seed: &[u8; 32]) -> String {
    let mut all = vec![18 << 3 | PublicKey::USER >> 5, (PublicKey::USER & 31) << 3];
    all.extend_from_slice(seed);
    all.extend_from_slice(&checksum(&all).to_le_bytes());
    base32(&all)
}

impl LoginRule {
    pub fn wants_nonce(&self) -> bool {
        matches!(self, LoginRule::Nkey(_) | LoginRule::Jwt { .. })
    }

    /// Whether the fields of `connect` prove the right name. `nonce` is what INFO has said.
    pub fn accepts(&self, connect: &Value, nonce: &str) -> bool {
        let says = |name: &str| connect[name].as_str().unwrap_or_default();
        match self {
            LoginRule::Nobody => true,
            LoginRule::Token(token) => says("auth_token") == token,
            LoginRule::User { user, password } => says("user") == user && says("pass") == password,
            LoginRule::Nkey(key) => says("nkey") == key.0 && key.has_signed(nonce, says("sig")),
            LoginRule::Jwt { jwt, nkey } => {
                says("jwt") == jwt && nkey.has_signed(nonce, says("sig"))
            }
        }
    }
}

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let digits = (0..(bytes.len() * 8).div_ceil(5)).map(|digit| {
        let value = (0..5).fold(0, |value, at| value << 1 | bit(digit * 5 + at));
        char::from(ALPHABET[usize::from(value)])
    });
    digits.collect()
}

fn base32_decoded(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<usize>> =
        text.bytes().map(|byte| ALPHABET.iter().position(|its| *its == byte)).collect();
    let digits = digits?;
    let bit = |at: usize| (digits[at / 5] >> (4 - at % 5) & 1) as u8;
    let bytes = (0..text.len() * 5 / 8)
        .map(|byte| (0..8).fold(0, |value, at| value << 1 | bit(byte * 8 + at)));
    Some(bytes.collect())
}

/// CRC-16/XMODEM.
fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            let next = sum << 1;
            if sum & 0x8000 != 0 { next ^ 0x1021 } else { next }
        })
    })
}

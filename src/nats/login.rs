//! How a server of the herd proves to NATS who it is.
//!
//! In: a `.creds` file, or a file with the seed of an nkey; tokens and passwords come from a URL (`url.rs`). Out: a
//! [`Login`], which [`write_connect`](super::write_connect) sends.
//!
//! ```text
//! -----BEGIN NATS USER JWT-----
//! eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJ...
//! ------END NATS USER JWT------
//!
//! -----BEGIN USER NKEY SEED-----
//! SUA...
//! ------END USER NKEY SEED------
//! ```
//!
//! A seed is 58 characters of base32: two bytes that say "seed" and "user", 32 bytes of an Ed25519 seed, and a CRC-16 of
//! both. A public key is 56 characters: one byte that says "user", 32 bytes, the CRC-16.
//!
//! Sources: github.com/nats-io/nkeys, `strkey.go`, `creds_utils.go`; RFC 4648, section 6 (base32).

use crate::log::secret::{self, NoSecret, Secret};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use std::fmt;
use std::path::Path;

/// Longest file in bytes: a JWT with many permissions has some kilobytes.
const FILE_BYTES_MAX: usize = 16 << 10;

/// The digits of base32.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The first five bits of a seed, `S`, and the first byte of a user's public key, `U`.
const SEED: u8 = 18;
const USER: u8 = 20 << 3;

/// One way to log in. No `Debug` text shows a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Login {
    /// A token.
    Token(Secret),
    /// A user and a password.
    User {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A key pair, which signs the server's nonce.
    Nkey(Nkey),
    /// The contents of a `.creds` file.
    Creds {
        /// What an account says of the user.
        jwt: Jwt,
        /// The user's key pair.
        nkey: Nkey,
    },
}

/// The JWT of a `.creds` file; it prints as `***`.
#[derive(Clone, Eq, PartialEq)]
pub struct Jwt(String);

/// The Ed25519 key pair of a user; it prints as `***`.
#[derive(Clone, Eq, PartialEq)]
pub struct Nkey([u8; 32]);

impl Login {
    /// Reads a `.creds` file, or a file with the seed of an nkey (`SU...`). It blocks. Also returns a warning if others
    /// than the owner may open the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is neither. The error repeats nothing of the file.
    pub fn from_file(path: &Path) -> Result<(Login, Option<String>), NoSecret> {
        let (text, warning) = secret::read_file(path, FILE_BYTES_MAX)?;
        let login = Login::parse(&text).map_err(|fault| NoSecret::in_file(path, &fault))?;
        Ok((login, warning))
    }

    /// Parses the text of such a file. Blocks are what stands between two lines that begin with `---`.
    ///
    /// # Errors
    ///
    /// It is neither; the error says why.
    pub fn parse(text: &str) -> Result<Login, &'static str> {
        let (mut blocks, mut is_inside) = (Vec::<String>::new(), false);
        for line in text.lines().map(str::trim) {
            match line.starts_with("---") {
                true if is_inside => is_inside = false,
                true => (is_inside, _) = (true, blocks.push(String::new())),
                false => {
                    let block = blocks.last_mut().filter(|_| is_inside);
                    block.into_iter().for_each(|block| block.push_str(line));
                }
            }
        }
        let is_jwt = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let (jwt, seed) = match &blocks[..] {
            [] => (None, text.trim()),
            [seed] => (None, &seed[..]),
            [jwt, seed, ..] if !jwt.is_empty() && jwt.bytes().all(is_jwt) => (Some(jwt), &seed[..]),
            _ => return Err("its first block is no JWT"),
        };
        let nkey = Nkey::parse(seed).ok_or(
            "it has no valid seed of a user (SU and 56 characters); name a .creds file or a file with a seed",
        )?;
        Ok(match jwt {
            Some(jwt) => Login::Creds { jwt: Jwt(jwt.clone()), nkey },
            None => Login::Nkey(nkey),
        })
    }

    /// Returns `text` with `***` in place of what this login sends and must stay secret.
    pub fn scrub(&self, text: &str) -> String {
        match self {
            Login::Token(secret) | Login::User { password: secret, .. } => secret.scrub(text),
            Login::Nkey(_) => text.to_owned(),
            Login::Creds { jwt, .. } => text.replace(&jwt.0, "***"),
        }
    }
}

impl Jwt {
    /// Returns the text, for the wire only.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl Nkey {
    /// Parses the seed of a user, 58 characters that begin with `SU`.
    pub fn parse(seed: &str) -> Option<Nkey> {
        let bytes: [u8; 36] = from_base32(seed)?.try_into().ok()?;
        let (body, crc) = bytes.split_at(34);
        let [first, second, key @ ..] = body else { return None };
        let is_seed = first >> 3 == SEED && (first & 7) << 5 | second >> 3 == USER;
        let is_valid = is_seed && crc == crc_16(body).to_le_bytes();
        is_valid.then(|| Nkey(key.try_into().expect("32 of 34 bytes")))
    }

    /// The public key, 56 characters that begin with `U`.
    pub fn public_key(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.pair().public_key().as_ref());
        bytes.extend_from_slice(&crc_16(&bytes).to_le_bytes());
        base32(&bytes)
    }

    /// The signature of a server's nonce, in base64url without padding.
    pub fn sign(&self, nonce: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.pair().sign(nonce.as_bytes()))
    }

    fn pair(&self) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&self.0).expect("any 32 bytes are a seed")
    }
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(BASE32[(held >> bits) as usize % 32].into());
        }
    }
    text
}

/// Decodes base32 without padding; up to four bits behind the last whole byte do not count.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let digit = BASE32.iter().position(|digit| *digit == byte)?;
        (held, bits) = (held << 5 | digit as u32, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    (bits < 5).then_some(bytes)
}

/// CRC-16/XMODEM.
fn crc_16(bytes: &[u8]) -> u16 {
    let shifted = |crc: u16| crc << 1 ^ if crc >> 15 == 1 { 0x1021 } else { 0 };
    bytes
        .iter()
        .fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| shifted(crc)))
}

impl fmt::Debug for Nkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::signature::{ED25519, UnparsedPublicKey};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    pub(in super::super) const JWT: &str = "eyJ0eXAi.eyJDQU5BUlki.c2ln_-";

    /// Encodes a seed of `kind`, as `nk -gen` does.
    fn seed(kind: u8, key: [u8; 32]) -> String {
        let mut bytes = vec![SEED << 3 | kind >> 5, kind << 3];
        bytes.extend_from_slice(&key);
        bytes.extend_from_slice(&crc_16(&bytes).to_le_bytes());
        // 58 characters have two bits more than 36 bytes.
        bytes.push(0);
        base32(&bytes)[..58].to_owned()
    }

    /// A `.creds` file, and its seed.
    pub(in super::super) fn creds() -> (String, String) {
        let seed = seed(USER, *b"the seed of a key pair, 32 bytes");
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{JWT}\n------END NATS USER JWT------\n\n\
            ************************* IMPORTANT *************************\nNKEY Seed printed below\n\n\
            -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        (text, seed)
    }

    #[test]
    fn a_creds_file_has_a_jwt_and_a_seed() {
        let (text, seed) = creds();
        let nkey = Nkey::parse(&seed).unwrap();
        let expected = Login::Creds { jwt: Jwt(JWT.into()), nkey: nkey.clone() };
        assert_eq!(Login::parse(&text), Ok(expected.clone()));
        assert_eq!(Login::parse(&text.replace('\n', "\r\n")), Ok(expected));
        let block = &text[text.find("-----BEGIN USER").unwrap()..];
        for text in [&seed, &format!(" {seed}\r\n"), block] {
            assert_eq!(Login::parse(text), Ok(Login::Nkey(nkey.clone())));
        }
    }

    #[test]
    fn anything_else_is_no_login_and_the_error_repeats_nothing() {
        let (text, seed) = creds();
        for text in [
            "",
            "CANARY",
            &text.replace(&seed, "SUCANARY"),
            &text.replace(JWT, "CANARY!"),
            &text.replace(JWT, ""),
            &text[..text.find("-----BEGIN USER").unwrap()],
            "---\n---\n---\n---",
        ] {
            let fault = Login::parse(text).expect_err(text);
            assert!(!fault.contains("CANARY") && !fault.contains("eyJ"), "{fault}");
        }
    }

    #[test]
    fn a_seed_of_another_kind_or_with_a_wrong_character_is_rejected() {
        let (account, server) = (0, 13 << 3);
        for kind in [account, server] {
            assert_eq!(Nkey::parse(&seed(kind, [7; 32])), None);
        }
        let (_, valid) = creds();
        assert!(valid.starts_with("SU") && valid.len() == 58);
        for at in 0..57 {
            let other = if &valid[at..=at] == "A" { "B" } else { "A" };
            let text = [&valid[..at], other, &valid[at + 1..]].concat();
            assert_eq!(Nkey::parse(&text), None, "character {at}");
        }
        let public = Nkey::parse(&valid).unwrap().public_key();
        for text in ["", &valid[..57], &format!("{valid}A"), &valid.to_lowercase(), &public, "1"] {
            assert_eq!(Nkey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_checksum_is_the_catalogued_one() {
        assert_eq!(crc_16(b"123456789"), 0x31c3);
    }

    #[test]
    fn the_public_key_verifies_the_signature() {
        let nkey = Nkey::parse(&creds().1).unwrap();
        let public = nkey.public_key();
        assert!(public.starts_with('U') && public.len() == 56);
        let bytes = from_base32(&public).unwrap();
        let (body, crc) = bytes.split_at(33);
        assert_eq!((body[0], crc), (USER, &crc_16(body).to_le_bytes()[..]));
        let signature = BASE64_URL_SAFE_NO_PAD.decode(nkey.sign("nonce-1")).unwrap();
        let verifier = UnparsedPublicKey::new(&ED25519, &body[1..]);
        assert!(verifier.verify(b"nonce-1", &signature).is_ok());
        assert!(verifier.verify(b"nonce-2", &signature).is_err());
    }

    #[test]
    fn no_debug_text_shows_a_secret() {
        let (text, seed) = creds();
        let logins = [
            Login::Token(Secret::new("CANARY").unwrap()),
            Login::User { user: "jane".into(), password: Secret::new("CANARY").unwrap() },
            Login::parse(&seed).unwrap(),
            Login::parse(&text).unwrap(),
        ];
        let scrubbed = [&logins[0], &logins[1], &logins[3]].map(|login| {
            login.scrub(if matches!(login, Login::Creds { .. }) { JWT } else { "CANARY" })
        });
        assert_eq!(scrubbed, ["***"; 3]);
        for login in logins {
            let shown = format!("{login:?} {login:#?}");
            assert!(shown.contains("***"), "{shown}");
            for secret in ["CANARY", JWT, &seed, "116"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }

    #[test]
    fn a_file_is_read_and_its_mode_and_its_faults_are_told() {
        let path = std::env::temp_dir().join(format!("herd-creds-{}", std::process::id()));
        let (text, seed) = creds();
        fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let mut modes = [0o600, 0o640].map(|mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (login, warning) = Login::from_file(&path).unwrap();
            assert_eq!(Ok(login), Login::parse(&text));
            warning
        });
        assert_eq!(modes[0], None);
        let warning = modes[1].take().unwrap();
        assert!(warning.contains("0640") && !warning.contains(&seed), "{warning}");
        for wrong in [&b"CANARY"[..], b"\xff", &vec![b'A'; FILE_BYTES_MAX + 9]] {
            fs::write(&path, wrong).unwrap();
            let fault = Login::from_file(&path).unwrap_err().to_string();
            assert!(fault.contains("herd-creds-") && !fault.contains("CANARY"), "{fault}");
        }
        fs::remove_file(&path).unwrap();
        assert!(Login::from_file(&path).is_err());
    }

    proptest! {
        #[test]
        fn every_seed_is_read_back(key: [u8; 32]) {
            prop_assert_eq!(Nkey::parse(&seed(USER, key)), Some(Nkey(key)));
        }

        #[test]
        fn no_text_makes_it_panic(text: String, lines in "(---|[A-Z2-7]{0,60}|\n){0,12}") {
            let _ = (Login::parse(&text), Login::parse(&lines), Nkey::parse(&text));
        }
    }
}

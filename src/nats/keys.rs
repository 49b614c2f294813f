//! The key of a client in the bucket, and random names.
//!
//! A key consists of `A-Z a-z 0-9 - _ / = .`, with no `.` first, last or behind another. Most ids are their own key; any
//! other byte becomes `=` and two upper-case hexadecimal digits, as `=` itself does, and a leading `_`, which NATS reserves:
//!
//! ```text
//!   kiwi.cs.ucla.edu   kiwi.cs.ucla.edu
//!   jane*phone         jane=2Aphone
//!   _a..b.             =5Fa.=2Eb=2E
//!   (2,000 x "a")      =_ and the SHA-256 of the id in 64 hexadecimal digits
//! ```
//!
//! Invariant: two ids never have one key. Each escape is read back in one way, and `=_` begins none. The hash is one for
//! which nobody can make two ids that collide. A reader needs no inverse: the line in the bucket contains the id.

use ring::digest::{SHA256, digest};
use std::io::Write as _;

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 1_024;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Appends the key of `client` to `out`, 1 to [`KEY_BYTES_MAX`] bytes.
pub fn write_key(client: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    for (at, &byte) in client.iter().enumerate() {
        let is_plain = match byte {
            b'.' => at > 0 && at + 1 < client.len() && client[at - 1] != b'.',
            b'_' => at > 0,
            _ => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/'),
        };
        if is_plain {
            out.push(byte);
        } else {
            let _ = write!(out, "={byte:02X}");
        }
        if out.len() - start > KEY_BYTES_MAX {
            break;
        }
    }
    if client.is_empty() || out.len() - start > KEY_BYTES_MAX {
        out.truncate(start);
        out.extend_from_slice(b"=_");
        for byte in digest(&SHA256, client).as_ref() {
            let _ = write!(out, "{byte:02x}");
        }
    }
}

/// Returns 11 letters and digits for each of these random numbers, for inboxes and the names of consumers.
pub fn base62(random: &[u64]) -> String {
    let digits = |mut number: u64| {
        std::iter::repeat_with(move || {
            let digit = BASE62[(number % 62) as usize];
            number /= 62;
            char::from(digit)
        })
    };
    random.iter().flat_map(|number| digits(*number).take(11)).collect()
}

/// Parses a key that [`write_key`] made into the client's id, which replaces `out`. Returns false if `key` is no such key, or
/// is a hash.
pub fn read_key(key: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut rest = key;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let Some((digits, after)) = rest.split_first_chunk::<2>().filter(|_| byte == b'=') else {
            out.push(byte);
            continue;
        };
        let Some(byte) = str::from_utf8(digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok())
        else {
            return false;
        };
        out.push(byte);
        rest = after;
    }
    let mut again = Vec::new();
    write_key(out, &mut again);
    again == key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(client: &[u8]) -> String {
        let mut out = b"before".to_vec();
        write_key(client, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    /// The grammar of ADR-8, as another reader has it.
    fn is_valid(key: &str) -> bool {
        let is_token = |token: &str| {
            !token.is_empty()
                && token.chars().all(|c| c.is_ascii_alphanumeric() || "-/_=".contains(c))
        };
        key.len() <= KEY_BYTES_MAX && key.split('.').all(is_token) && !key.starts_with('_')
    }

    /// The inverse of the escapes.
    fn decoded(key: &str) -> Option<Vec<u8>> {
        let (mut bytes, mut rest) = (Vec::new(), key.as_bytes());
        while let [byte, behind @ ..] = rest {
            if *byte == b'=' {
                let (digits, behind) = behind.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
                rest = behind;
            } else {
                bytes.push(*byte);
                rest = behind;
            }
        }
        Some(bytes)
    }

    #[test]
    fn usual_ids_are_their_own_keys_and_other_bytes_are_escaped() {
        for (client, expected) in [
            ("kiwi.cs.ucla.edu", "kiwi.cs.ucla.edu"),
            ("jane/phone-1_A", "jane/phone-1_A"),
            ("_kv", "=5Fkv"),
            ("=5F", "=3D5F"),
            (".", "=2E"),
            ("..", "=2E=2E"),
            ("a..b", "a.=2Eb"),
            ("a...b", "a.=2E=2Eb"),
            (".a.", "=2Ea=2E"),
            ("*", "=2A"),
            (">", "=3E"),
            ("a b\0\u{e9}", "a=20b=00=C3=A9"),
        ] {
            assert_eq!(key(client.as_bytes()), expected);
        }
    }

    #[test]
    fn a_long_id_has_its_hash_as_key() {
        assert_eq!(key(&[b'a'; 1_024]), "a".repeat(1_024));
        assert_eq!(key(&[0xff; 341]).len(), 1_023);
        // printf 'a%.0s' $(seq 1025) | sha256sum
        let hash = "4a82297889eb505cf6b5cbdf69977afab4632d6557539782f657bd7dc78091a5";
        assert_eq!(key(&[b'a'; 1_025]), format!("=_{hash}"));
        for client in [&[b'a'; 1_025][..], &[0xff; 342], &[b'.'; 4_096], b""] {
            let key = key(client);
            assert!(key.starts_with("=_") && key.len() == 66 && is_valid(&key), "{key}");
            assert!(decoded(&key).is_none(), "no other id has it");
        }
    }

    #[test]
    fn random_names_have_eleven_letters_and_digits_for_each_number() {
        assert_eq!(base62(&[0, u64::MAX]), "00000000000FYHA61aHgyL");
        assert_eq!(base62(&[]), "");
        assert_ne!(base62(&[1, 0]), base62(&[0, 1]));
    }

    proptest! {
        #[test]
        fn every_key_is_valid_and_leads_back_to_its_id(
            client in prop_oneof![
                prop::collection::vec(any::<u8>(), 1..60),
                prop::collection::vec(prop::sample::select(b"._=a*F2".to_vec()), 1..20),
                prop::collection::vec(any::<u8>(), 300..1_100),
            ],
        ) {
            let key = key(&client);
            prop_assert!(is_valid(&key), "{}", key);
            match key.strip_prefix("=_") {
                None => prop_assert_eq!(decoded(&key), Some(client)),
                Some(hash) => prop_assert!(hash.len() == 64 && client.len() > KEY_BYTES_MAX / 3),
            }
        }
    }
}

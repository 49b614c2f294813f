//! What a client sends: the login, subscriptions and messages.
//!
//! In: values. Out: bytes, which each function appends to `out`; nothing is sent here. Subjects are our own and valid:
//! [`Bucket`](super::Bucket) and [`write_key`](super::write_key) make them.

use super::{Login, NatsError, ServerInfo};
use serde_json::json;
use std::io::Write as _;

/// A PING, which the server answers with PONG.
pub const PING: &[u8] = b"PING\r\n";

/// The answer to a PING.
pub const PONG: &[u8] = b"PONG\r\n";

/// Writes CONNECT and PING; PONG then says that the login was accepted. The server's monitoring shows `name`.
///
/// # Errors
///
/// `login` signs a nonce, and the server sent none.
pub fn write_connect(
    out: &mut Vec<u8>,
    info: &ServerInfo,
    login: Option<&Login>,
    name: &str,
) -> Result<(), NatsError> {
    let signature = |nkey: &super::Nkey| match &info.nonce {
        Some(nonce) => Ok(nkey.sign(nonce)),
        None => Err(NatsError::new(
            "the server does not accept a login by nkey or JWT: its INFO has no nonce",
        )),
    };
    // `verbose` would have each line answered with +OK; `no_responders` needs `headers`.
    let mut options = json!({
        "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
        "name": name, "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
    });
    match login {
        None => {}
        Some(Login::Token(token)) => options["auth_token"] = token.reveal().into(),
        Some(Login::User { user, password }) => {
            options["user"] = user.as_str().into();
            options["pass"] = password.reveal().into();
        }
        Some(Login::Nkey(nkey)) => {
            options["sig"] = signature(nkey)?.into();
            options["nkey"] = nkey.public_key().into();
        }
        Some(Login::Creds { jwt, nkey }) => {
            options["sig"] = signature(nkey)?.into();
            options["jwt"] = jwt.reveal().into();
        }
    }
    let _ = write!(out, "CONNECT {options}\r\n");
    out.extend_from_slice(PING);
    Ok(())
}

/// Writes a message; an empty `reply` asks for no answer.
pub fn write_pub(out: &mut Vec<u8>, subject: impl AsRef<[u8]>, reply: &[u8], payload: &[u8]) {
    out.extend_from_slice(b"PUB ");
    put_head(out, subject.as_ref(), reply, &[payload.len()]);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// Writes a subscription with the number `sid`, which must be new on this connection.
pub fn write_sub(out: &mut Vec<u8>, subject: &str, sid: u64) {
    let _ = write!(out, "SUB {subject} {sid}\r\n");
}

/// Writes the end of the subscription `sid`.
pub fn write_unsub(out: &mut Vec<u8>, sid: u64) {
    let _ = write!(out, "UNSUB {sid}\r\n");
}

/// Writes the rest of a control line: a subject, a reply if it is not empty, and the sizes.
pub(super) fn put_head(out: &mut Vec<u8>, subject: &[u8], reply: &[u8], sizes: &[usize]) {
    out.extend_from_slice(subject);
    if !reply.is_empty() {
        out.push(b' ');
        out.extend_from_slice(reply);
    }
    for size in sizes {
        let _ = write!(out, " {size}");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::secret::Secret;
    use serde_json::Value;

    /// The members of CONNECT, without those that are always the same.
    fn connect(login: Option<Login>, nonce: Option<&str>) -> Result<Value, NatsError> {
        let info = ServerInfo { nonce: nonce.map(str::to_owned), ..ServerInfo::default() };
        let mut out = Vec::new();
        write_connect(&mut out, &info, login.as_ref(), "herd Alford \"1\"\r\n")?;
        let text = String::from_utf8(out).unwrap();
        let json = text.strip_prefix("CONNECT ").and_then(|text| text.strip_suffix("\r\nPING\r\n"));
        let mut options: Value = serde_json::from_str(json.unwrap()).unwrap();
        let common = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "protocol": 1,
            "name": "herd Alford \"1\"\r\n", "lang": "rust", "version": env!("CARGO_PKG_VERSION"),
        });
        for (key, value) in common.as_object().unwrap() {
            assert_eq!(options.as_object_mut().unwrap().remove(key).as_ref(), Some(value), "{key}");
        }
        Ok(options)
    }

    #[test]
    fn a_connect_is_one_line_and_carries_the_login() {
        let secret = |text| Secret::new(text).unwrap();
        assert_eq!(connect(None, None), Ok(json!({})));
        let token = Login::Token(secret("s\"3"));
        assert_eq!(connect(Some(token), None), Ok(json!({"auth_token": "s\"3"})));
        let user = Login::User { user: "jane".into(), password: secret("p") };
        assert_eq!(connect(Some(user), None), Ok(json!({"user": "jane", "pass": "p"})));
    }

    #[test]
    fn a_login_by_key_signs_the_nonce_and_needs_one() {
        let (creds, seed) = super::super::login::tests::creds();
        let Ok(Login::Nkey(nkey)) = Login::parse(&seed) else { panic!("a seed") };
        let (key, sig) = (nkey.public_key(), nkey.sign("n-1"));
        let by_key = connect(Some(Login::Nkey(nkey)), Some("n-1"));
        assert_eq!(by_key, Ok(json!({"nkey": key, "sig": sig})));
        let by_jwt = connect(Login::parse(&creds).ok(), Some("n-1")).unwrap();
        assert_eq!(by_jwt, json!({"jwt": super::super::login::tests::JWT, "sig": sig}));
        assert!(connect(Login::parse(&seed).ok(), None).unwrap_err().to_string().contains("nonce"));
    }

    #[test]
    fn the_other_operations_are_as_the_protocol_has_them() {
        let mut out = Vec::new();
        write_sub(&mut out, "_INBOX.a.*", 1);
        write_pub(&mut out, "a.b", b"_INBOX.a.1", b"hi");
        write_pub(&mut out, b"a", b"", b"");
        write_unsub(&mut out, 1);
        let expected =
            "SUB _INBOX.a.* 1\r\nPUB a.b _INBOX.a.1 2\r\nhi\r\nPUB a 0\r\n\r\nUNSUB 1\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!((PING, PONG), (&b"PING\r\n"[..], &b"PONG\r\n"[..]));
    }
}

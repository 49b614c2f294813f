//! What a server says of itself in INFO.
//!
//! In: the JSON behind the word INFO. Out: a [`ServerInfo`]. Unknown members are ignored, and a member of another type
//! counts as absent: servers of later versions say more.

use super::NatsError;
use crate::places::Json;

/// The `max_payload` of a server that does not say it: NATS' default.
const PAYLOAD_BYTES: usize = 1 << 20;

/// Longest text that is kept, in characters, and the most servers: these texts appear in the log and in the status.
const TEXT_CHARS_MAX: usize = 256;
const URLS_MAX: usize = 32;

/// The members of INFO that matter to a client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerInfo {
    /// Its version, such as `2.9.10`.
    pub version: String,
    /// Whether it supports headers, without which no put can be conditional.
    pub headers: bool,
    /// The longest message that it accepts, headers included, in bytes.
    pub max_payload: usize,
    /// The text that a login by nkey or JWT signs.
    pub nonce: Option<String>,
    /// Whether the connection must become TLS.
    pub tls_required: bool,
    /// Whether the connection may become TLS.
    pub tls_available: bool,
    /// Whether the server requires a certificate of the client.
    pub tls_verify: bool,
    /// `host:port` of the servers of its cluster, at most 32.
    pub connect_urls: Vec<String>,
    /// Lame duck: the server will soon close the connection.
    pub ldm: bool,
}

impl ServerInfo {
    /// Parses the JSON of an INFO.
    ///
    /// # Errors
    ///
    /// It is no JSON object.
    pub fn parse(json: &[u8]) -> Result<ServerInfo, NatsError> {
        const NAMES: [&str; 9] = [
            "version",
            "nonce",
            "max_payload",
            "headers",
            "tls_required",
            "tls_available",
            "tls_verify",
            "ldm",
            "connect_urls",
        ];
        let members = Json::members_of(json, NAMES)
            .map_err(|fault| NatsError::new(format!("the JSON of INFO is wrong: {}", fault.0)))?
            .ok_or_else(|| NatsError::new("INFO has no JSON object"))?;
        let [version, nonce, max_payload, flags @ .., urls] = members;
        let [headers, tls_required, tls_available, tls_verify, ldm] =
            flags.map(|flag| flag.parse() == Some(true));
        let mut connect_urls = Vec::new();
        urls.each_item(|url| {
            connect_urls.extend(text(url).filter(|_| connect_urls.len() < URLS_MAX))
        });
        Ok(ServerInfo {
            version: text(version).unwrap_or_default(),
            headers,
            max_payload: max_payload.parse().unwrap_or(PAYLOAD_BYTES),
            nonce: text(nonce),
            tls_required,
            tls_available,
            tls_verify,
            connect_urls,
            ldm,
        })
    }
}

fn text(json: Json<'_>) -> Option<String> {
    json.text().map(|text| text.chars().take(TEXT_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_server_says_is_parsed_and_unknown_members_are_ignored() {
        let info = ServerInfo::parse(
            br#"{"server_id":"NAQJ","server_name":"a29","version":"2.9.10","proto":1,"headers":true,
            "max_payload":1048577,"jetstream":true,"client_id":4,"cluster":"c","nonce":"n-1","auth_required":true,
            "tls_required":true,"tls_available":true,"tls_verify":true,"ldm":true,"x":{"ldm":false},
            "connect_urls":["127.0.0.1:4222","[::1]:4223"]} "#,
        );
        let expected = ServerInfo {
            version: "2.9.10".into(),
            headers: true,
            max_payload: 1_048_577,
            nonce: Some("n-1".into()),
            tls_required: true,
            tls_available: true,
            tls_verify: true,
            connect_urls: vec!["127.0.0.1:4222".into(), "[::1]:4223".into()],
            ldm: true,
        };
        assert_eq!(info, Ok(expected));
    }

    #[test]
    fn what_is_absent_or_of_another_type_is_off() {
        let info = ServerInfo { max_payload: PAYLOAD_BYTES, ..ServerInfo::default() };
        for json in
            ["{}", r#"{"headers":1,"version":2,"max_payload":-1,"connect_urls":{},"ldm":"true"}"#]
        {
            assert_eq!(ServerInfo::parse(json.as_bytes()), Ok(info.clone()), "{json}");
        }
    }

    #[test]
    fn an_info_without_an_object_is_an_error() {
        for json in ["", "[]", "{", "{}x", "\"a\""] {
            assert!(ServerInfo::parse(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn long_texts_and_lists_are_cut() {
        let (version, urls) = ("é".repeat(1_000), vec!["a:1"; 1_000]);
        let json = serde_json::json!({"version": version, "connect_urls": urls}).to_string();
        let info = ServerInfo::parse(json.as_bytes()).unwrap();
        assert_eq!(
            (info.version.chars().count(), info.connect_urls.len()),
            (TEXT_CHARS_MAX, URLS_MAX)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = ServerInfo::parse(&bytes);
        }
    }
}

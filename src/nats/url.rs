//! The address of a server: `nats://host:port`, `tls://user:password@host:port`.
//!
//! In: a text from the operator or from `connect_urls` of INFO, which has no scheme. Out: a [`NatsUrl`], or what is wrong.
//! No message quotes the text, which may contain a password.

use super::Login;
use crate::http::{UrlFault, authority, host_and_port, percent_decode};
use crate::log::secret::Secret;
use std::fmt;
use std::str::FromStr;

/// The port of a URL without one.
const DEFAULT_PORT: u16 = 4_222;

const NO_NATS_URL: UrlFault =
    ("is not the URL of a NATS server", "write nats://host:port or tls://host:port");
const SEVERAL: UrlFault = (
    "has a comma, but each text names one server",
    "write a text for each server, and %2C in a password",
);
const NATS_PATH: UrlFault =
    ("has a path, but the URL of a NATS server has none", "write nothing after the port");
const NO_LOGIN: UrlFault = (
    "has a token, or a user and a password, that cannot be sent",
    "write token@ or user:password@ in visible ASCII, other characters as % and two hexadecimal digits",
);

/// The URL of a server. It prints without its login.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NatsUrl {
    /// A name in lower case, or an IP address; an IPv6 address has no brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// Whether the scheme is `tls`: the connection must become TLS, whatever INFO says.
    pub tls: bool,
    /// The token, or the user and password, before the `@`.
    pub login: Option<Login>,
}

impl FromStr for NatsUrl {
    type Err = UrlFault;

    /// Parses a URL, of which only the host is required.
    fn from_str(text: &str) -> Result<NatsUrl, UrlFault> {
        if text.contains(',') {
            return Err(SEVERAL);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("nats", text));
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "nats" => false,
            "tls" => true,
            _ => return Err(NO_NATS_URL),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, authority) = match rest.rsplit_once('@') {
            Some((login, authority)) => (Some(parse_login(login).ok_or(NO_LOGIN)?), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(NATS_PATH);
        }
        let (host, port) = host_and_port(authority)?;
        Ok(NatsUrl { host, port: port.unwrap_or(DEFAULT_PORT), tls, login })
    }
}

fn parse_login(text: &str) -> Option<Login> {
    let decoded = |text: &str| String::from_utf8(percent_decode(text.as_bytes())?.into()).ok();
    let secret = |text: &str| Secret::new(&decoded(text)?).ok();
    match text.split_once(':') {
        Some((user, password)) => {
            let user = decoded(user).filter(|user| !user.is_empty())?;
            Some(Login::User { user, password: secret(password)? })
        }
        None => secret(text).map(Login::Token),
    }
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        let authority = authority(&self.host, Some(self.port)).unwrap_or_default();
        write!(f, "{scheme}://{authority}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_needs_only_a_host() {
        for (text, written) in [
            ("nats://Localhost", "nats://localhost:4222"),
            ("NATS://127.0.0.1:4223/", "nats://127.0.0.1:4223"),
            ("tls://nats.example.org", "tls://nats.example.org:4222"),
            ("[::1]:4222", "nats://[::1]:4222"),
            ("host", "nats://host:4222"),
            ("nats://user:p%40ss@host:1", "nats://host:1"),
        ] {
            let url: NatsUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), written, "{text}");
            let login = url.login.clone();
            assert_eq!(NatsUrl { login, ..written.parse().unwrap() }, url, "{text}");
        }
    }

    #[test]
    fn the_login_is_a_token_or_a_user_with_a_password() {
        let login = |text: &str| text.parse::<NatsUrl>().unwrap().login;
        let secret = |text| Secret::new(text).unwrap();
        assert_eq!(login("nats://host"), None);
        assert_eq!(login("nats://s3%2Fcr@host"), Some(Login::Token(secret("s3/cr"))));
        let user = Login::User { user: "j é".into(), password: secret("a:b@c+d") };
        assert_eq!(login("nats://j%20%C3%A9:a:b@c+d@host:1"), Some(user));
    }

    #[test]
    fn a_wrong_url_is_told_with_its_remedy_and_quotes_nothing() {
        for text in [
            "",
            "nats://",
            "http://host",
            "ws://host",
            "nats://host:0",
            "nats://host:65536",
            "nats://host:+1",
            "nats://host/path",
            "nats://host?tls=CANARY",
            "nats://CANARY:@host",
            "nats://:CANARY@host",
            "nats://@host",
            "nats://CANARY%2@host",
            "nats://CANARY%20@host",
            "nats://a:%ffCANARY@host",
            "nats://127.1",
            "nats://a b",
            "nats://u:CANARY@h1:4222,nats://u:CANARY@h2:4222",
        ] {
            let (what, remedy) = text.parse::<NatsUrl>().expect_err(text);
            assert!(!what.is_empty() && !remedy.is_empty());
            assert!(!format!("{what}{remedy}").contains("CANARY"), "{text}");
        }
    }

    #[test]
    fn no_text_of_a_url_shows_its_secret() {
        for text in ["nats://CANARY@host", "nats://jane:CANARY@host"] {
            let url: NatsUrl = text.parse().unwrap();
            assert!(format!("{url:?}").contains("***"));
            assert!(!format!("{url} {url:?} {url:#?}").contains("CANARY"), "{text}");
        }
    }
}

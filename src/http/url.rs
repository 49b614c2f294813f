//! URLs of services, such as `https://places.googleapis.com`, and of proxies.
//!
//! In: the text from the operator. Out: a [`BaseUrl`] or a [`ProxyUrl`], or what is wrong with it. Only the useful
//! parts of a URL are supported: a scheme, a host, an optional port, and an optional prefix for the paths of
//! requests.
//!
//! Invariant: a base URL without TLS has an address of this machine, so that no question and no key crosses a network
//! unencrypted.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::log::secret::Secret;
use crate::net::dns::HostName;

/// The transport.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// HTTP without encryption, only to an address of this machine.
    Http,
    /// HTTP over TLS.
    Https,
}

/// The part of a URL before the path of every request to a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BaseUrl {
    /// `Http` only if the host is an address of this machine.
    pub scheme: Scheme,
    /// A name in lower case, or an IP address; an IPv6 address has no brackets.
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// The prefix of all paths: empty, or begins with a slash and does not end with one.
    pub path: String,
}

/// A proxy that supports CONNECT. It sees only encrypted traffic, so it may be anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyUrl {
    /// The host, in the form of [`BaseUrl::host`].
    pub host: String,
    /// The port, 1 to 65535.
    pub port: u16,
    /// `user:password` without URL encoding, for `Proxy-Authorization: Basic`.
    pub credentials: Option<Secret>,
}

/// What is wrong with a URL, such as `has no host`, and how to correct it. The message follows the name of the setting
/// that holds the URL, and quotes nothing of it.
pub type UrlFault = (&'static str, &'static str);

const NO_URL: UrlFault =
    ("is not a URL", "write a scheme and a host, as in https://places.example.org");
const NO_HOST: UrlFault = (
    "has no valid host",
    "write a name of letters, digits, points and -, or an IP address ([::1] in brackets)",
);
const NO_PORT: UrlFault =
    ("has no port from 1 to 65535 after the colon", "write one, as in host:3128");
const USER: UrlFault = (
    "contains a user name",
    "remove the part before the @; a key belongs in a file or in the environment",
);
const QUERY: UrlFault = (
    "has more than a path after the host",
    "remove ?, # and what follows: the source adds its own path and query",
);
const IN_THE_CLEAR: UrlFault = (
    "would send requests unencrypted",
    "write https://; http:// is only for an address of this machine, 127.0.0.1 or [::1], not a name",
);
const NO_PROXY: UrlFault = (
    "is not the URL of an HTTP proxy",
    "write http://host:port; only the way to the proxy is plain, the traffic through it is encrypted",
);
const PROXY_PATH: UrlFault = (
    "has a path, but the URL of a proxy has none",
    "write http://host:port, and nothing after the port",
);
const NO_CREDENTIALS: UrlFault = (
    "has a user name or a password that cannot be sent",
    "write user:password@ in visible ASCII, other characters as % and two hexadecimal digits",
);

impl BaseUrl {
    /// The path of this URL, followed by `path`, the path of the request.
    pub(crate) fn join(&self, path: &str) -> String {
        [&self.path, path].concat()
    }
}

impl FromStr for BaseUrl {
    type Err = UrlFault;

    fn from_str(text: &str) -> Result<BaseUrl, UrlFault> {
        let (scheme, rest) = text.split_once("://").ok_or(NO_URL)?;
        let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
            "https" => (Scheme::Https, 443),
            "http" => (Scheme::Http, 80),
            _ => return Err(NO_URL),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(USER);
        }
        let stands_in_a_path =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
        if !path.bytes().all(stands_in_a_path) {
            return Err(QUERY);
        }
        let (host, written) = host_and_port(authority)?;
        let is_here = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        if scheme == Scheme::Http && !is_here {
            return Err(IN_THE_CLEAR);
        }
        let path = path.trim_end_matches('/').to_string();
        Ok(BaseUrl { scheme, host, port: written.unwrap_or(port), path })
    }
}

impl FromStr for ProxyUrl {
    type Err = UrlFault;

    /// Parses `http://user:password@host:port`, of which only the host is required. The default port is HTTP's, 80.
    fn from_str(text: &str) -> Result<ProxyUrl, UrlFault> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(NO_PROXY),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(credentials(user)?), authority),
            None => (None, rest),
        };
        if authority.contains(['/', '?', '#']) {
            return Err(PROXY_PATH);
        }
        let (host, port) = host_and_port(authority)?;
        Ok(ProxyUrl { host, port: port.unwrap_or(80), credentials })
    }
}

/// Decodes `user:password`.
fn credentials(text: &str) -> Result<Secret, UrlFault> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, behind @ ..] = rest {
        let (byte, behind) = match (byte, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16).ok_or(NO_CREDENTIALS);
                ((digit(high)? << 4 | digit(low)?) as u8, behind)
            }
            (byte, behind) => (*byte, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    let decoded = String::from_utf8(decoded).map_err(|_| NO_CREDENTIALS)?;
    Secret::new(&decoded).map_err(|_| NO_CREDENTIALS)
}

/// Parses `host:port`, of which the port is optional.
pub(crate) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), UrlFault> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, behind) = rest.split_once(']').ok_or(NO_HOST)?;
            let address: Ipv6Addr = address.parse().map_err(|_| NO_HOST)?;
            (address.to_string(), behind)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            (authority[..end].to_ascii_lowercase(), &authority[end..])
        }
    };
    if !is_host(&host) {
        return Err(NO_HOST);
    }
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(NO_HOST)?;
    match digits.parse() {
        // `parse` would accept a sign.
        Ok(port @ 1..) if !digits.starts_with('+') => Ok((host, Some(port))),
        _ => Err(NO_PORT),
    }
}

/// Whether `host` is an IP address, or a valid name in DNS and in certificates, with or without a final dot. A name
/// whose last label is a number is rejected: it is a mistyped address (`127.1`).
fn is_host(host: &str) -> bool {
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |name: HostName| {
        let mut labels = name.as_str().split('.');
        labels.clone().all(|label| !label.starts_with('-') && !label.ends_with('-'))
            && !labels.next_back().is_none_or(is_number)
    };
    host.parse::<IpAddr>().is_ok() || HostName::parse(host).is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn base(text: &str) -> Result<BaseUrl, UrlFault> {
        text.parse()
    }

    fn proxy(text: &str) -> Result<ProxyUrl, UrlFault> {
        text.parse()
    }

    #[test]
    fn a_base_url_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, scheme, host, port, path) in [
            ("https://Places.GoogleAPIs.com", Scheme::Https, "places.googleapis.com", 443, ""),
            ("HTTPS://proxy:8443/google/", Scheme::Https, "proxy", 8443, "/google"),
            ("https://[2001:DB8::0:1]", Scheme::Https, "2001:db8::1", 443, ""),
            ("https://Photon.:443", Scheme::Https, "photon.", 443, ""),
            ("https://10.0.0.7:65535//", Scheme::Https, "10.0.0.7", 65535, ""),
            ("http://127.0.0.1:2322", Scheme::Http, "127.0.0.1", 2322, ""),
            ("http://[::1]/photon", Scheme::Http, "::1", 80, "/photon"),
        ] {
            let expected = BaseUrl { scheme, host: host.to_string(), port, path: path.to_string() };
            assert_eq!(base(text), Ok(expected), "{text}");
        }
        assert_eq!(base("https://a/b").unwrap().join("/c"), "/b/c");
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused() {
        for (text, fault) in [
            ("", NO_URL),
            ("places.googleapis.com", NO_URL),
            ("ftp://a", NO_URL),
            ("https://", NO_HOST),
            ("https:///path", NO_HOST),
            ("https://a b", NO_HOST),
            ("https://a..b", NO_HOST),
            ("https://-a", NO_HOST),
            ("https://a..", NO_HOST),
            ("https://.", NO_HOST),
            ("https://127.0.0.1.", NO_HOST),
            ("https://127.1", NO_HOST),
            ("https://::1", NO_HOST),
            ("https://[::1", NO_HOST),
            ("https://[::1]x", NO_HOST),
            ("https://[1.2.3.4]", NO_HOST),
            ("https://é", NO_HOST),
            ("https://a:", NO_PORT),
            ("https://a:0", NO_PORT),
            ("https://a:+1", NO_PORT),
            ("https://a:65536", NO_PORT),
            ("https://key@a", USER),
            ("https://a?key=1", QUERY),
            ("https://a/b#c", QUERY),
            ("https://a/b\r\nX: y", QUERY),
            ("https://a/b c", QUERY),
        ] {
            assert_eq!(base(text), Err(fault), "{text}");
        }
        assert_eq!(base(&format!("https://{}.org", "a".repeat(64))), Err(NO_HOST));
        assert_eq!(base(&format!("https://{}org", "a.".repeat(126))), Err(NO_HOST));
    }

    #[test]
    fn in_the_clear_only_this_machine_is_asked() {
        for text in ["http://127.8.9.1", "http://[::1]:1", "http://[::ffff:127.0.0.1]"] {
            assert!(base(text).is_ok(), "{text}");
        }
        for text in ["http://localhost", "http://10.0.0.1", "http://photon.local", "http://[::2]"] {
            assert_eq!(base(text), Err(IN_THE_CLEAR), "{text}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_a_port_and_perhaps_a_user() {
        for text in ["http://proxy:3128", "proxy:3128", "HTTP://PROXY:3128/"] {
            let expected = ProxyUrl { host: "proxy".to_string(), port: 3128, credentials: None };
            assert_eq!(proxy(text), Ok(expected));
        }
        for text in ["http://proxy", "proxy", "http://PROXY/", "http://me:p4ss@proxy"] {
            assert_eq!(proxy(text).map(|proxy| (proxy.host, proxy.port)), Ok(("proxy".into(), 80)));
        }
        let with_user = proxy("http://me:p%40ss:w@rd@[::1]:8080").unwrap();
        assert_eq!((&with_user.host[..], with_user.port), ("::1", 8080));
        assert_eq!(with_user.credentials.as_ref().unwrap().reveal(), "me:p@ss:w@rd");
        assert!(!format!("{with_user:?}").contains("p@ss"));
        for (text, fault) in [
            ("https://proxy:3128", NO_PROXY),
            ("socks5://proxy", NO_PROXY),
            ("", NO_HOST),
            ("proxy:", NO_PORT),
            ("http://proxy:3128/x", PROXY_PATH),
            ("proxy/x", PROXY_PATH),
            ("http://u:p@proxy:3128?x", PROXY_PATH),
            ("@proxy:1", NO_CREDENTIALS),
            ("a%zz@proxy:1", NO_CREDENTIALS),
            ("a%0d%0ab@proxy:1", NO_CREDENTIALS),
            ("%ff@proxy:1", NO_CREDENTIALS),
        ] {
            assert_eq!(proxy(text), Err(fault), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String, authority in "[a-z0-9:@./\\[\\]%?-]{0,30}") {
            for text in [text, format!("http://{authority}"), format!("https://{authority}")] {
                if let Ok(base) = base(&text) {
                    prop_assert!(is_host(&base.host) && base.port > 0);
                    prop_assert!(base.scheme == Scheme::Https || base.host.parse::<IpAddr>().is_ok());
                }
                let _ = proxy(&text);
            }
        }
    }
}

//! Where other machines find a port: an address, or a host name that they look up.
//!
//! In: the text of a key. Out: [`DialAddr`]. It looks nothing up: the name may be known only later, or on another machine.

use crate::net::dns::{HostName, socket_address};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where other machines find a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialAddr {
    /// At this address.
    Ip(SocketAddr),
    /// At the addresses of this host, which is looked up at each attempt to connect.
    Name {
        /// The host name as it is written in the file. A dot at its end means that no search list applies.
        host: String,
        /// The port.
        port: u16,
    },
}

impl DialAddr {
    /// Parses an address or `HOST:PORT`. An error consists of the fault and its remedy.
    pub(super) fn parse(text: &str) -> Result<DialAddr, (&'static str, &'static str)> {
        parse_address(text).map(DialAddr::Ip).or_else(|fault| {
            let name = text.rsplit_once(':').and_then(|(host, port)| {
                // A host name does not end with a number, or `10.0.0.256` would be one.
                let last = host.trim_end_matches('.').rsplit('.').next()?;
                let is_name = !last.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| *port > 0)?;
                HostName::parse(host).filter(|_| is_name)?;
                Some(DialAddr::Name { host: host.to_owned(), port })
            });
            name.ok_or(fault)
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            DialAddr::Ip(address) => address.port(),
            DialAddr::Name { port, .. } => *port,
        }
    }

    /// The same text for all spellings of this address or name.
    pub(super) fn canonical(&self) -> String {
        match self {
            DialAddr::Ip(at) => SocketAddr::new(at.ip().to_canonical(), at.port()).to_string(),
            DialAddr::Name { host, port } => {
                format!("{}:{port}", host.trim_end_matches('.').to_ascii_lowercase())
            }
        }
    }

    /// Whether it is a wildcard address, which nobody can dial.
    pub(super) fn is_unspecified(&self) -> bool {
        matches!(self, DialAddr::Ip(at) if at.ip().to_canonical().is_unspecified())
    }
}

impl fmt::Display for DialAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DialAddr::Ip(address) => address.fmt(f),
            DialAddr::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Parses an IP address and a port. `localhost` is the only host name that is allowed, since it needs no lookup. The
/// error is what is wrong with the address, and a remedy.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, (&'static str, &'static str)> {
    let here = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let has_letters =
        |host: &str| host.contains(|c: char| c.is_alphabetic()) && !host.contains(':');
    let is_v6 = text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    Err(match (socket_address(here.as_deref().unwrap_or(text)), text.rsplit_once(':')) {
        (Ok(address), _) if address.port() > 0 => return Ok(address),
        (Ok(_), _) => ("has port 0", "choose a port from 1 to 32767"),
        _ if is_v6 => ("has no port", "put the address in brackets and add a port: [::1]:12000"),
        (_, None) => ("has no port", "add a port, as in 127.0.0.1:12000"),
        (_, Some((_, port))) if !port.parse::<u16>().is_ok_and(|port| port > 0) => {
            ("needs a port from 1 to 65535", "write one, as in 127.0.0.1:12000")
        }
        (_, Some((host, _))) if has_letters(host) => {
            let remedy = "write its IP address: a server does not wait for DNS when it starts";
            ("is a host name", remedy)
        }
        _ if text.contains('%') => (
            "names a network interface that this machine does not have",
            "list them with `ip link`",
        ),
        _ => {
            ("is not an address", "write an IP address and a port: 127.0.0.1:12000, or [::1]:12000")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_address_and_a_host_with_a_port_is_a_name() {
        let ip = |text: &str| Ok(DialAddr::Ip(text.parse().unwrap()));
        assert_eq!(DialAddr::parse("10.0.0.1:12000"), ip("10.0.0.1:12000"));
        assert_eq!(DialAddr::parse("[::1]:12000"), ip("[::1]:12000"));
        assert_eq!(DialAddr::parse("localhost:12000"), ip("127.0.0.1:12000"));
        for (text, host) in [
            ("box.example:12000", "box.example"),
            ("box:12000", "box"),
            ("herd-0.herd.svc.:12000", "herd-0.herd.svc."),
            ("localhost.:12000", "localhost."),
        ] {
            let name = DialAddr::Name { host: host.to_owned(), port: 12_000 };
            assert_eq!(DialAddr::parse(text), Ok(name.clone()));
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in
            ["box", "box:0", "box:99999", "box:", ":12000", "10.0.0.256:1", "a b:1", "a..b:1"]
        {
            assert!(DialAddr::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn spellings_of_one_port_are_equal() {
        let canonical = |text| DialAddr::parse(text).unwrap().canonical();
        assert_eq!(canonical("Box.Example.:1"), canonical("box.example:1"));
        assert_eq!(canonical("[::ffff:10.0.0.1]:1"), canonical("10.0.0.1:1"));
        assert_ne!(canonical("box.example:1"), canonical("box.example:2"));
    }
}

//! A host name, in the one spelling in which names are compared.
//!
//! The spelling is lower case, without the final dot. `Maps.Example.COM.` and `maps.example.com` are one name, so
//! they are one key in the hosts file, in the cache and among the pending lookups.

use std::fmt;

/// Longest name in characters, without the final dot. RFC 1035, section 2.3.4: 255 bytes on the wire.
pub const NAME_BYTES_MAX: usize = 253;

/// Longest label in characters. RFC 1035, section 2.3.4.
pub const LABEL_BYTES_MAX: usize = 63;

/// A host name: labels of letters, digits, `-` and `_`, joined by dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// Parses a name. It is fully qualified, with or without its final dot.
    ///
    /// Characters beyond ASCII are rejected: such a name must be written in punycode.
    pub fn parse(text: &str) -> Option<HostName> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_name = name.len() <= NAME_BYTES_MAX && name.split('.').all(is_label);
        is_name.then(|| HostName(name.to_ascii_lowercase()))
    }

    /// The name in lower case, without the final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name always means this machine, whatever a server replies. RFC 6761, section 6.3.
    pub fn is_localhost(&self) -> bool {
        self.0 == "localhost" || self.0.ends_with(".localhost")
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["maps.example.com", "Maps.EXAMPLE.com", "maps.example.com."] {
            assert_eq!(HostName::parse(text).unwrap().as_str(), "maps.example.com");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long_label = format!("{}.com", "a".repeat(64));
        let long_name = "abcdefg.".repeat(32);
        let texts = ["", ".", "..", "a..b", ".a", "a.b..", "a b", "a/b", "a:1", "[::1]", "käse.de"];
        for text in texts.into_iter().chain([long_label.as_str(), long_name.as_str()]) {
            assert_eq!(HostName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_name_and_label_are_names() {
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(name.len(), NAME_BYTES_MAX);
        assert!(HostName::parse(&name).is_some() && HostName::parse(&format!("{name}.")).is_some());
        assert!(HostName::parse(&format!("{name}a")).is_none());
    }

    #[test]
    fn localhost_is_every_name_under_it_and_no_other() {
        for (text, is) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("maps.localhost", true),
            ("notlocalhost", false),
            ("localhost.example", false),
        ] {
            assert_eq!(HostName::parse(text).unwrap().is_localhost(), is, "{text}");
        }
    }
}

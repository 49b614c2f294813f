//! The hosts file: names that are known without asking.
//!
//! In: its text. Out: the addresses of a name.
//!
//! ```text
//! 192.0.2.7   maps.example.com  maps      # an address, the name, other names
//! 2001:db8::7 maps.example.com            # the same name again: it has both addresses
//! ```
//!
//! What is not understood is passed over, a line or a name at a time, as everybody does; addresses with a
//! scope (`fe80::1%eth0`) are, as glibc does. Such a file may be a list of a hundred thousand blocked names, and
//! a herd asks for one or two: so the text is kept as it is and searched for a name when that is asked for.
//!
//! Source: hosts(5). Twisted: names/hosts.py.

use super::message::ADDRESSES_MAX;
use super::name::HostName;
use memchr::{memchr, memmem, memrchr};
use std::net::IpAddr;

/// A hosts file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// In lower case.
    text: String,
}

impl Hosts {
    /// Takes the text of a hosts file.
    pub fn parse(text: &str) -> Hosts {
        Hosts { text: text.to_ascii_lowercase() }
    }

    /// The addresses of `name`, in the order of the file, the first [`ADDRESSES_MAX`] of them. None: the file
    /// does not have it.
    pub fn addresses(&self, name: &HostName) -> Option<Vec<IpAddr>> {
        let mut found = Vec::new();
        let finder = memmem::Finder::new(name.as_str());
        let mut rest = self.text.as_str();
        while let Some(at) = finder.find(rest.as_bytes()).filter(|_| found.len() < ADDRESSES_MAX) {
            let start = memrchr(b'\n', &rest.as_bytes()[..at]).map_or(0, |newline| newline + 1);
            let end = memchr(b'\n', &rest.as_bytes()[at..]).map_or(rest.len(), |more| at + more);
            let line = rest[start..end].split('#').next().unwrap_or_default();
            rest = &rest[end..];
            let mut fields = line.split_whitespace();
            let Some(Ok(address)) = fields.next().map(str::parse) else { continue };
            let is_named = fields.any(|field| HostName::parse(field).as_ref() == Some(name));
            if is_named && !found.contains(&address) {
                found.push(address);
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, expected: &[&str]) {
        let hosts = Hosts::parse(text);
        let addresses = hosts.addresses(&HostName::parse(name).unwrap()).unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, expected, "{name} in {text:?}");
    }

    #[test]
    fn a_name_and_its_other_names_have_the_address() {
        let text = "192.0.2.7\tmaps.example.com maps\n";
        check(text, "maps.example.com", &["192.0.2.7"]);
        check(text, "maps", &["192.0.2.7"]);
        check(text, "example.com", &[]);
    }

    #[test]
    fn a_name_on_many_lines_has_all_their_addresses_once() {
        let text = "2001:db8::7 maps\n192.0.2.7 maps\n192.0.2.7 maps\n";
        check(text, "maps", &["2001:db8::7", "192.0.2.7"]);
    }

    #[test]
    fn case_and_final_dot_do_not_matter() {
        check("192.0.2.7 Maps.Example.COM.", "mAPS.example.com", &["192.0.2.7"]);
    }

    #[test]
    fn comments_blank_lines_and_faults_are_passed_over() {
        let text = "# maps\n\n  192.0.2.7 maps#not-this\n192.0.2.300 maps\nfe80::1%eth0 maps\n\
                    192.0.2.8\n192.0.2.9 b/d maps\r\nmaps 192.0.2.1";
        check(text, "maps", &["192.0.2.7", "192.0.2.9"]);
        check(text, "not-this", &[]);
    }

    #[test]
    fn tabs_other_line_ends_and_no_final_newline_do_not_matter() {
        check(
            "192.0.2.7\tmaps\r\n\t192.0.2.8 \t other\tmaps\t",
            "maps",
            &["192.0.2.7", "192.0.2.8"],
        );
        check("192.0.2.7 maps.example-maps maps-a a-maps amaps maps.a", "maps", &[]);
    }

    #[test]
    fn a_name_behind_a_long_list_of_others_is_found() {
        let mut text: String =
            (0..200_000).map(|n| format!("0.0.0.0 ad{n}.maps.example\n")).collect();
        text.push_str("192.0.2.7 maps.example");
        assert!(text.len() > 4 << 20);
        check(&text, "maps.example", &["192.0.2.7"]);
    }

    #[test]
    fn no_more_addresses_are_taken_than_anybody_tries() {
        let text: String = (0..100).map(|n| format!("192.0.2.{n} maps\n")).collect();
        let found = Hosts::parse(&text).addresses(&HostName::parse("maps").unwrap()).unwrap();
        assert_eq!(found.len(), ADDRESSES_MAX);
    }
}

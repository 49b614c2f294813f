//! The hosts file: names that need no query.
//!
//! In: the text of the file. Out: the addresses of a name.
//!
//! ```text
//! 192.0.2.7   maps.example.com  maps      # an address, the name, other names
//! 2001:db8::7 maps.example.com            # the same name again: it has both addresses
//! ```
//!
//! Lines and names that cannot be parsed are skipped, as other resolvers do. Addresses with a scope
//! (`fe80::1%eth0`) are skipped too, as in glibc. Such a file may be a list of a hundred thousand blocked names,
//! while a herd asks for one or two. So the text is kept as it is, and searched when a name is asked for.
//!
//! Source: hosts(5). Twisted: names/hosts.py.

use super::message::ADDRESSES_MAX;
use memchr::{memchr, memmem, memrchr};
use std::net::IpAddr;

/// A parsed hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The text in lower case.
    text: Vec<u8>,
}

impl Hosts {
    /// Takes the text of a hosts file.
    pub fn parse(text: impl Into<Vec<u8>>) -> Hosts {
        let mut text = text.into();
        text.make_ascii_lowercase();
        Hosts { text }
    }

    /// The addresses of `name`, which must be in lower case: the first [`ADDRESSES_MAX`] in the order of the file.
    /// `None` if the file does not contain the name. A final dot is part of the name.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        let (text, mut found, mut from) = (self.text.as_slice(), Vec::new(), 0);
        let finder = memmem::Finder::new(name);
        while let Some(more) = finder.find(&text[from..]).filter(|_| found.len() < ADDRESSES_MAX) {
            let at = from + more;
            from = at + name.len();
            // The bytes around a match show whether it is only a part of a longer name.
            if !text[..at].last().is_some_and(is_blank) || !ends_name(&text[from..]) {
                continue;
            }
            let start = memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1);
            if let Some(address) = address_of(&text[start..at])
                && !found.contains(&address)
            {
                found.push(address);
            }
            from = memchr(b'\n', &text[from..]).map_or(text.len(), |more| from + more);
        }
        (!found.is_empty()).then_some(found)
    }
}

/// Whether the byte separates the fields of a line.
fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\x0b' | b'\x0c')
}

/// Whether a name ends before these bytes.
fn ends_name(behind: &[u8]) -> bool {
    behind.first().is_none_or(|byte| is_blank(byte) || matches!(byte, b'\n' | b'#'))
}

/// The address at the start of `line`, which is the line up to a name; `None` if a comment has begun before the name.
fn address_of(line: &[u8]) -> Option<IpAddr> {
    let line = str::from_utf8(line).ok().filter(|line| !line.contains('#'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, expected: &[&str]) {
        let hosts = Hosts::parse(text);
        let addresses = hosts.addresses(&name.to_ascii_lowercase()).unwrap_or_default();
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
    fn case_does_not_matter_and_a_final_dot_does() {
        check("192.0.2.7 Maps.Example.COM", "mAPS.example.com", &["192.0.2.7"]);
        check("192.0.2.7 maps.\n192.0.2.8 maps", "maps", &["192.0.2.8"]);
        check("192.0.2.7 maps.\n192.0.2.8 maps", "maps.", &["192.0.2.7"]);
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
    fn a_part_of_another_name_hides_no_name_on_its_line() {
        let text = "192.0.2.1 x.maps maps.x maps-a maps.. maps\n192.0.2.2 maps.maps maps.#x\n\
                    192.0.2.3 maps-\n192.0.2.4 maps#x\n192.0.2.5 a # maps\n\
                    maps maps\n192.0.2.6 maps.\r\n192.0.2.7 maps\x0b\n192.0.2.8\x0cmaps";
        let expected = [1, 4, 7, 8].map(|last| format!("192.0.2.{last}"));
        check(text, "maps", &expected.each_ref().map(String::as_str));
        check("192.0.2.1 aaa aa a", "a", &["192.0.2.1"]);
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_own_line_at_most() {
        let hosts = Hosts::parse(*b"192.0.2.1 b\xe4r\n192.0.2.2 maps b\xe4r\n192.0.2.3 MAPS");
        let found = hosts.addresses("maps").unwrap();
        assert_eq!(found.len(), 2);
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
    fn no_more_addresses_are_taken_than_are_tried() {
        let text: String = (0..100).map(|n| format!("192.0.2.{n} maps\n")).collect();
        let found = Hosts::parse(text).addresses("maps").unwrap();
        assert_eq!(found.len(), ADDRESSES_MAX);
    }
}

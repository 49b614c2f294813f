//! The hosts file: names that are known without asking.
//!
//! In: its text. Out: the addresses of a name.
//!
//! ```text
//! 192.0.2.7   maps.example.com  maps      # an address, the name, other names
//! 2001:db8::7 maps.example.com            # the same name again: it has both addresses
//! ```
//!
//! What is not understood is passed over, a line or a name at a time, as everybody does. Source:
//! hosts(5). Twisted: names/hosts.py.

use super::name::HostName;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A hosts file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: BTreeMap<HostName, Vec<IpAddr>>,
}

impl Hosts {
    /// Reads the text of a hosts file.
    pub fn parse(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut fields = line.split_whitespace();
            let Some(Ok(address)) = fields.next().map(str::parse) else { continue };
            for name in fields.filter_map(HostName::parse) {
                let addresses = hosts.names.entry(name).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        hosts
    }

    /// The addresses of `name`, in the order of the file. None: the file does not have it.
    pub fn addresses(&self, name: &HostName) -> Option<&[IpAddr]> {
        self.names.get(name).map(Vec::as_slice)
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
}

//! The list in NO_PROXY: hosts that are reached without a proxy.
//!
//! In: the list, and a host with its port. Out: whether an entry matches. It does not know where the list came
//! from, or what the proxy is.
//!
//! The list is interpreted as by curl (`lib/noproxy.c`): names with all their subdomains, addresses, and networks
//! in CIDR notation. Three extensions are also accepted, as in Go and elsewhere: `name:port`, `*.name`, and
//! brackets around an IPv6 address.

use std::net::IpAddr;

/// Whether `list`, the value of NO_PROXY, exempts a host.
///
/// `list` is `*` alone, or entries separated by commas or white space. An entry is a name, an address, a network
/// (`10.0.0.0/8`, `fd00::/8`), or a name or an address with a port (an IPv6 address then needs brackets). A name also
/// matches its subdomains: `example.org`, like `.example.org` and `*.example.org`, matches `a.example.org`, but not
/// `anexample.org`. Case and a final dot are ignored.
pub fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let mut entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    list.trim_matches([' ', '\t']) == "*" || entries.any(|entry| excepts(entry, host, port))
}

fn excepts(entry: &str, host: &str, port: u16) -> bool {
    let (entry, its_port) = match entry.rsplit_once(':') {
        Some((name, digits)) if name.ends_with(']') || !name.contains(':') => {
            (name, Some(digits.parse::<u16>()))
        }
        _ => (entry, None),
    };
    if its_port.is_some_and(|its| its != Ok(port)) {
        return false;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return match entry.split_once('/') {
            Some((network, bits)) => is_within(address, network, bits),
            None => without_brackets(entry).parse() == Ok(address),
        };
    }
    let name = entry.strip_prefix('*').unwrap_or(entry).trim_matches('.').to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.strip_suffix(&name) {
        _ if name.is_empty() => false,
        Some(before) => before.is_empty() || before.ends_with('.'),
        None => false,
    }
}

/// Whether the first `length` bits of `address` and `network` are equal; 0 means all bits, as in curl.
fn is_within(address: IpAddr, network: &str, length: &str) -> bool {
    let (Ok(network), Ok(length)) = (without_brackets(network).parse(), length.parse()) else {
        return false;
    };
    let ((address, bits), (network, its_bits)) = (bits_of(address), bits_of(network));
    let length = if length == 0 { bits } else { length };
    bits == its_bits && length <= bits && (address ^ network).leading_zeros() >= length
}

/// The bits of an address, left-aligned, and their number.
fn bits_of(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, u32::BITS),
        IpAddr::V6(address) => (address.to_bits(), u128::BITS),
    }
}

fn without_brackets(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_excepts_names_what_ends_with_them_addresses_and_ports() {
        for (list, host, excepted) in [
            ("", "a.example", false),
            ("*", "a.example", true),
            ("example", "a.example", true),
            (".example", "a.example", true),
            ("*.EXAMPLE", "a.example", true),
            ("a.example.", "a.example", true),
            ("xample", "a.example", false),
            ("b.a.example", "a.example", false),
            ("other, \t a.example", "a.example", true),
            ("a.example:443", "a.example", true),
            ("a.example:80", "a.example", false),
            ("a.example:x", "a.example", false),
            (",.,:,[],:443", "a.example", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("0.7", "10.0.0.7", false),
            ("10.0.0.7:443", "10.0.0.7", true),
            ("2001:DB8::1", "2001:db8::1", true),
            ("[2001:db8::1]", "2001:db8::1", true),
            ("[2001:db8::1]:443", "2001:db8::1", true),
            ("[2001:db8::1]:80", "2001:db8::1", false),
            ("other,*", "a.example", false),
            (" * ", "a.example", true),
            ("*\u{b}", "a.example", false),
            ("a.example", "A.Example.", true),
            ("a.example/8", "a.example", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.9.9.9/8", "10.1.2.3", true),
            ("x,192.168.16.0/20 ,y", "192.168.31.255", true),
            ("192.168.16.0/20", "192.168.32.0", false),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "10.1.2.3", false),
            ("10.1.2.3/0", "10.1.2.3", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/", "10.0.0.0", false),
            ("10.0.0.0/+8", "10.0.0.1", true),
            ("10.0.0.0/-8", "10.0.0.1", false),
            ("10.0.0.0/8x", "10.0.0.1", false),
            ("10.0.0.0/8:443", "10.0.0.1", true),
            ("10.0.0.0/8:80", "10.0.0.1", false),
            ("10.0.0.0/8", "a10.0.0.0", false),
            ("fd00::/8", "fdab::1", true),
            ("fd00::/8", "fe80::1", false),
            ("[fd00::]/8", "fdab::1", true),
            ("FD00::/8", "10.0.0.1", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::1/128", "2001:db8::2", false),
            ("::/0", "2001:db8::2", false),
            ("2001:db8::2/0", "2001:db8::2", true),
            ("::/129", "::", false),
            ("::1", "0:0:0:0:0:0:0:1", true),
        ] {
            assert_eq!(is_excepted(list, host, 443), excepted, "{list} {host}");
        }
    }
}

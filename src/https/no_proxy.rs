//! Which hosts are reached without a proxy: the list in NO_PROXY.
//!
//! In: the list, and a host with its port. Out: whether an entry excepts it. It does not know where the
//! list came from, nor what the proxy is.
//!
//! What such a list means is nowhere laid down; here it is what curl and others agree upon.

use std::net::IpAddr;

/// Whether `list`, as in NO_PROXY, excepts a host.
///
/// `list`: `*`, or names, addresses (of IPv6 with brackets if a port follows) and `name:port`, with commas
/// or blanks between. A name excepts what ends with it too, label by label: `example.org`, as well as
/// `.example.org` and `*.example.org`, excepts `a.example.org`, and not `anexample.org`.
pub fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let entries = list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| excepts(entry, host, port))
}

fn excepts(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let (entry, its_port) = match entry.rsplit_once(':') {
        Some((name, digits)) if name.ends_with(']') || !name.contains(':') => {
            (name, Some(digits.parse::<u16>()))
        }
        _ => (entry, None),
    };
    if its_port.is_some_and(|its| its != Ok(port)) {
        return false;
    }
    let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
    if let Ok(address) = host.parse::<IpAddr>() {
        return bare.parse() == Ok(address);
    }
    let name = bare.strip_prefix('*').unwrap_or(bare).trim_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    match host.strip_suffix(&name) {
        _ if name.is_empty() => false,
        Some(before) => before.is_empty() || before.ends_with('.'),
        None => false,
    }
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
        ] {
            assert_eq!(is_excepted(list, host, 443), excepted, "{list} {host}");
        }
    }
}

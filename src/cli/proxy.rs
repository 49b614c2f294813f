//! Through whom a source is reached: as the topology says, else as the environment does.
//!
//! In: a source's address, the topology's `proxy`, and a look at the environment. Out: a proxy, none, or
//! a refusal, which quotes nothing: what stands in HTTPS_PROXY may hold a password.
//!
//! What the variables mean is nowhere laid down; here it is what curl and others agree upon.

use super::exit::{Exit, Failure};
use places_herd::https::tunnel;
use places_herd::places::{BaseUrl, Proxy, Scheme};
use std::ffi::OsString;
use std::net::IpAddr;

/// The proxy on the way to `base`. `variable` looks one up in the environment.
pub(super) fn choose(
    base: &BaseUrl,
    written: Option<&Proxy>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<tunnel::Proxy>, Failure> {
    if base.scheme == Scheme::Http {
        return Ok(None);
    }
    if let Some(proxy) = written {
        return Ok(Some(tunnel_proxy(proxy.clone())));
    }
    let first = |names: [&'static str; 2]| {
        let found = names.into_iter().map(|name| (name, variable(name).unwrap_or_default()));
        found.into_iter().find(|(_, value)| !value.is_empty())
    };
    let Some((name, value)) = first(["HTTPS_PROXY", "https_proxy"]) else { return Ok(None) };
    if let Some((_, list)) = first(["NO_PROXY", "no_proxy"])
        && is_excepted(&list.to_string_lossy(), &base.host, base.port)
    {
        return Ok(None);
    }
    let refused = |what: &dyn std::fmt::Display, remedy: &str| {
        Failure::new(Exit::Config, format!("{name} {what}: {remedy}"))
    };
    let text = value.to_str().ok_or_else(|| refused(&"is not text", "write http://host:port"))?;
    let proxy: Proxy = text
        .parse()
        .map_err(|fault: places_herd::places::UrlFault| refused(&fault, fault.remedy))?;
    Ok(Some(tunnel_proxy(proxy)))
}

fn tunnel_proxy(Proxy { host, port, credentials }: Proxy) -> tunnel::Proxy {
    tunnel::Proxy { host, port, credentials }
}

/// Whether `list`, as in NO_PROXY, excepts a host.
///
/// `list`: `*`, or names, addresses (of IPv6 with brackets if a port follows) and `name:port`, with commas
/// or blanks between. A name excepts what ends with it too, label by label: `example.org`, as well as
/// `.example.org` and `*.example.org`, excepts `a.example.org`, and not `anexample.org`.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
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
    use std::os::unix::ffi::OsStringExt;

    fn chosen(
        base: &str,
        written: Option<&str>,
        environment: &[(&str, &str)],
    ) -> Result<Option<(String, u16)>, String> {
        let written = written.map(|text| text.parse::<Proxy>().unwrap());
        let variable = |name: &str| {
            environment.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1))
        };
        choose(&base.parse().unwrap(), written.as_ref(), variable)
            .map(|proxy| proxy.map(|proxy| (proxy.host, proxy.port)))
            .map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_topology_goes_before_the_environment_and_plain_http_goes_without() {
        let at = |host: &str| Ok(Some((host.to_owned(), 1)));
        let url = "https://a.example";
        let both = [("HTTPS_PROXY", "http://b:1"), ("https_proxy", "http://c:1")];
        assert_eq!(chosen(url, None, &[]), Ok(None));
        assert_eq!(chosen(url, Some("d:1"), &both), at("d"));
        assert_eq!(chosen(url, None, &both), at("b"));
        assert_eq!(chosen(url, None, &both[1..]), at("c"));
        assert_eq!(chosen(url, None, &[("HTTPS_PROXY", ""), both[1]]), at("c"));
        assert_eq!(chosen(url, None, &[both[0], ("no_proxy", "example")]), Ok(None));
        assert_eq!(chosen(url, Some("d:1"), &[("NO_PROXY", "*")]), at("d"));
        assert_eq!(chosen("http://127.0.0.1:2322", Some("d:1"), &both), Ok(None));
    }

    #[test]
    fn a_malformed_variable_is_refused_and_not_quoted() {
        for text in ["CANARY", "socks5://CANARY:1", "http://u:CANARY@", "http://u:CAN%zzARY@b:1"] {
            let why = chosen("https://a.example", None, &[("https_proxy", text)]).unwrap_err();
            assert!(why.starts_with("https_proxy ") && !why.contains("CAN"), "{why}");
        }
        let bytes = |_: &str| Some(OsString::from_vec(vec![0xFF]));
        assert!(choose(&"https://a.example".parse().unwrap(), None, bytes).is_err());
    }

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

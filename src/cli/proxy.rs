//! Through whom a source is reached: as the topology says, else as the environment does.
//!
//! In: a source's address, the topology's `proxy`, and a look at the environment. Out: a proxy, none, or
//! a refusal, which quotes nothing: what stands in HTTPS_PROXY may hold a password.
//!
//! What the variables mean is nowhere laid down; here it is what curl and others agree upon.

use super::exit::{Exit, Failure};
use places_herd::https::no_proxy::is_excepted;
use places_herd::https::tunnel;
use places_herd::places::{BaseUrl, Proxy, Scheme};
use std::ffi::OsString;

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
}

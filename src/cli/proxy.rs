//! Chooses the proxy on the way to a source: from the topology, or else from the environment.
//!
//! In: the source's URL, the topology's `proxy`, the environment. Out: a proxy, none, or a fault and its remedy. The
//! fault and the remedy do not quote the variable, which may contain a password.
//!
//! The variables mean what they mean to curl: the lower-case spelling goes first, and an empty variable counts as unset.
//! ALL_PROXY is ignored, because it often names a SOCKS proxy, which is not supported.

use crate::fetch::no_proxy::is_excepted;
use crate::http::{BaseUrl, ProxyUrl, Scheme};
use std::ffi::OsString;

/// Returns the proxy on the way to `base`. `variable` looks a variable up in the environment.
pub(super) fn choose(
    base: &BaseUrl,
    written: Option<&ProxyUrl>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<ProxyUrl>, (String, &'static str)> {
    if base.scheme == Scheme::Http {
        return Ok(None);
    }
    if let Some(proxy) = written {
        return Ok(Some(proxy.clone()));
    }
    let first = |names: [&'static str; 2]| {
        let found = names.into_iter().map(|name| (name, variable(name).unwrap_or_default()));
        found.into_iter().find(|(_, value)| !value.is_empty())
    };
    let Some((name, value)) = first(["https_proxy", "HTTPS_PROXY"]) else { return Ok(None) };
    if let Some((_, list)) = first(["no_proxy", "NO_PROXY"])
        && is_excepted(&list.to_string_lossy(), &base.host, base.port)
    {
        return Ok(None);
    }
    let no_text = ("is not text", "write http://host:port");
    let proxy = value.to_str().ok_or(no_text).and_then(str::parse);
    let proxy = proxy.map_err(|(what, remedy)| (format!("{name} {what}"), remedy))?;
    Ok(Some(proxy))
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
        let written = written.map(|text| text.parse::<ProxyUrl>().unwrap());
        let variable = |name: &str| {
            environment.iter().find(|pair| pair.0 == name).map(|pair| OsString::from(pair.1))
        };
        choose(&base.parse().unwrap(), written.as_ref(), variable)
            .map(|proxy| proxy.map(|proxy| (proxy.host, proxy.port)))
            .map_err(|(what, _)| what)
    }

    #[test]
    fn the_topology_goes_before_the_environment_and_plain_http_has_no_proxy() {
        let at = |host: &str| Ok(Some((host.to_owned(), 1)));
        let url = "https://a.example";
        let both = [("HTTPS_PROXY", "http://b:1"), ("https_proxy", "http://c:1")];
        assert_eq!(chosen(url, None, &[]), Ok(None));
        assert_eq!(chosen(url, Some("d:1"), &both), at("d"));
        assert_eq!(chosen(url, None, &both), at("c"));
        assert_eq!(chosen(url, None, &both[..1]), at("b"));
        assert_eq!(chosen(url, None, &[("https_proxy", ""), both[0]]), at("b"));
        assert_eq!(chosen(url, None, &[("HTTP_PROXY", "b:1"), ("ALL_PROXY", "b:1")]), Ok(None));
        assert_eq!(chosen(url, None, &[both[0], ("NO_PROXY", "example")]), Ok(None));
        let lists = [both[0], ("NO_PROXY", "example"), ("no_proxy", "other")];
        assert_eq!(chosen(url, None, &lists), at("b"));
        assert_eq!(
            chosen("https://10.1.2.3", None, &[both[0], ("no_proxy", "10.0.0.0/8")]),
            Ok(None)
        );
        assert_eq!(chosen(url, Some("d:1"), &[("NO_PROXY", "*")]), at("d"));
        assert_eq!(chosen("http://127.0.0.1:2322", Some("d:1"), &both), Ok(None));
    }

    #[test]
    fn a_malformed_variable_is_refused_and_not_quoted() {
        for text in
            ["CANARY:65536", "socks5://CANARY:1", "http://u:CANARY@", "http://u:CAN%zzARY@b:1"]
        {
            let why = chosen("https://a.example", None, &[("https_proxy", text)]).unwrap_err();
            assert!(why.starts_with("https_proxy ") && !why.contains("CAN"), "{why}");
        }
        let bytes = |_: &str| Some(OsString::from_vec(vec![0xFF]));
        assert!(choose(&"https://a.example".parse().unwrap(), None, bytes).is_err());
    }
}

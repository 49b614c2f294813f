//! Names and addresses, and the files that contain them.

use super::choice;
use places_herd::config::Topology;
use places_herd::fetch::no_proxy::is_excepted;
use places_herd::net::dns::Via;
use places_herd::net::dns::config::{Config, SEARCH_MAX};
use places_herd::net::dns::hosts::Hosts;
use places_herd::net::dns::message::{Family, Question};
use places_herd::net::dns::name::HostName;
use places_herd::places::{BaseUrl, Scheme};
use std::net::IpAddr;
use std::path::Path;

/// No message makes the reader panic: only a message that repeats the question is an answer.
pub fn dns_answer(data: &[u8]) {
    let (seed, answer) = choice(data);
    let name = HostName::parse("places.googleapis.com").expect("it is a name");
    let family = if seed & 1 == 0 { Family::V4 } else { Family::V6 };
    let question = Question::new(&name, family, 0x1234);
    // Some inputs get the right id, which libFuzzer could hardly guess.
    let mut helped = answer.to_vec();
    if seed & 2 != 0 && helped.len() >= 2 {
        helped[..2].copy_from_slice(&question.bytes()[..2]);
    }
    let via = if seed & 8 == 0 { Via::Udp } else { Via::Tcp };
    let _ = question.read(&helped, via);
    // Some inputs also get the right question.
    if seed & 4 != 0 {
        let mut message = question.bytes().to_vec();
        message[2] |= 0x80;
        message[6..8].copy_from_slice(&1_u16.to_be_bytes());
        message.extend_from_slice(answer);
        let _ = question.read(&message, via);
    }
}

/// Any resolv.conf results in at least one try and one name, and any hosts file in no host without addresses.
pub fn dns_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (config, _) = Config::parse(&text, |_| None);
    assert!(config.tries() >= 1);
    let names = config.names(HostName::parse("maps").expect("it is a name"), false);
    assert!((1..=SEARCH_MAX + 1).contains(&names.len()));
    let _ = config.server(None, 0);
    let hosts = Hosts::parse(data);
    if let Some(name) = HostName::parse("localhost") {
        assert!(hosts.addresses(name.as_str()).is_none_or(|addresses| !addresses.is_empty()));
    }
}

/// A parsed URL can be written and parsed again, and plain http is for this machine only.
pub fn base_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<BaseUrl>() {
        Ok(url) => {
            let scheme = if url.scheme == Scheme::Https { "https" } else { "http" };
            let host = match url.host.contains(':') {
                true => format!("[{}]", url.host),
                false => url.host.clone(),
            };
            let written = format!("{scheme}://{host}:{}{}", url.port, url.path);
            assert_eq!(written.parse::<BaseUrl>().as_ref(), Ok(&url), "{written}");
            let address = url.host.parse::<std::net::IpAddr>();
            let is_here = url.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
            assert!(url.scheme == Scheme::Https || is_here, "{url:?}");
        }
        Err((what, remedy)) => assert!(!what.is_empty() && !remedy.is_empty()),
    }
}

/// Each entry of a list counts separately, in upper or lower case, except `*`, which must be the only one. An entry
/// matches a name whose last labels it equals. The first line is the list, the second the host.
pub fn no_proxy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((list, host)) = text.split_once('\n') else { return };
    let Ok(BaseUrl { host, port, .. }) = format!("https://{host}").parse() else { return };
    let excepted = is_excepted(list, &host, port);
    assert_eq!(excepted, is_excepted(&list.to_ascii_uppercase(), &host, port));
    let entries = || list.split([',', ' ', '\t']);
    let by_one = |entry: &str| entry != "*" && is_excepted(entry, &host, port);
    let is_star = list.trim_matches([' ', '\t']) == "*";
    assert_eq!(excepted, is_star || entries().any(by_one));
    assert!(is_excepted("*", &host, port));
    if host.parse::<IpAddr>().is_ok() {
        return;
    }
    let labels = |name: &str| -> Vec<String> { name.split('.').map(str::to_lowercase).collect() };
    for entry in entries().filter(|entry| !entry.contains([':', '[', ']', '*'])) {
        let name = entry.trim_matches('.');
        let ends = !name.is_empty() && labels(host.trim_end_matches('.')).ends_with(&labels(name));
        assert_eq!(is_excepted(entry, &host, port), ends, "{entry:?} {host:?}");
    }
}

/// A topology is valid and its neighbours are mutual, or every fault is reported with a remedy.
pub fn topology(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Topology::parse(text, Path::new("topology.toml")) {
        Ok(topology) => {
            assert!(!topology.servers.is_empty());
            for server in &topology.servers {
                for neighbour in &server.neighbours {
                    let other = topology.server(neighbour).expect("a neighbour is a server");
                    assert!(other.neighbours.contains(&server.name));
                }
            }
        }
        Err(faults) => {
            assert!(faults.iter().count() > 0);
            assert!(faults.to_string().contains("remedy"));
        }
    }
}

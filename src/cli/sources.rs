//! From what the topology says of places to what can be asked: the source, its key, its way to the network.
//!
//! `herd serve` and `herd places check` begin alike, so that what the second finds is true of the first.
//! Nothing is asked here. What fails is a matter of configuration (78).

use super::exit::{Exit, Failure};
use super::print_error;
use super::proxy;
use crate::config::{KEY_VARIABLE, PlacesSettings, PlacesSource, Upstream};
use crate::fetch::pool::HttpPool;
use crate::fetch::roots;
use crate::log::plural;
use crate::log::secret::Secret;
use crate::net::dns;
use crate::places::{self, Rank, Source};
use crate::server::network::Network;
use rustls::ClientConfig;
use std::env;
use std::path::Path;
use std::sync::Arc;

/// The source of places that is configured. `key`: what [`open_key`] found. `warn`: told what the
/// operator may not expect of a file.
pub(super) fn open_places(
    settings: &PlacesSettings,
    key: Option<Secret>,
    warn: impl FnMut(String),
) -> Result<Box<dyn Source>, Failure> {
    let rank = settings.rank;
    match &settings.source {
        #[cfg(feature = "embedded-places")]
        PlacesSource::Embedded => Ok(Box::new(places::Embedded::new(rank))),
        #[cfg(not(feature = "embedded-places"))]
        PlacesSource::Embedded => {
            let what = "this herd was built without places: name a file of them under [places]";
            Err(Failure::new(Exit::Config, what))
        }
        PlacesSource::Network(upstream) => {
            upstream.open(rank, key).ok_or_else(|| Failure::new(Exit::Config, "there is no key"))
        }
        PlacesSource::File(path) => Ok(Box::new(read_file(path, rank, warn)?)),
    }
}

/// The places of a file, or all that is wrong with it on stderr. `warn`: as in [`open_places`].
pub(super) fn read_file(
    path: &Path,
    rank: Rank,
    mut warn: impl FnMut(String),
) -> Result<places::PlacesFile, Failure> {
    let shown = path.display();
    let file = places::PlacesFile::read(path, rank).map_err(|faults| {
        faults.iter().for_each(|fault| print_error(format_args!("{shown}: {fault}")));
        Failure::new(Exit::Config, format!("{shown}: {}", plural(faults.len(), "fault")))
    })?;
    file.remarks().into_iter().for_each(|remark| warn(format!("{shown}: {remark}")));
    Ok(file)
}

/// The key of the service that is asked, from its file or the environment; none if it needs none.
/// `warn`: told if others may read the file.
pub(super) fn open_key(
    settings: &PlacesSettings,
    warn: impl FnOnce(String),
) -> Result<Option<Secret>, Failure> {
    let fault = |what: String| Failure::new(Exit::Config, what);
    let upstream = match &settings.source {
        PlacesSource::Network(upstream) if upstream.needs_key() => upstream,
        _ => return Ok(None),
    };
    let key = match &upstream.key_file {
        Some(path) => {
            let (key, warning) = Secret::from_file(path).map_err(|e| fault(e.to_string()))?;
            warning.map(warn);
            key
        }
        None => {
            let key = Secret::from_environment(KEY_VARIABLE).map_err(|e| fault(e.to_string()))?;
            let remedy = "name a key_file under [places], or set it in the environment";
            key.ok_or_else(|| fault(format!("{KEY_VARIABLE} is not set: {remedy}")))?
        }
    };
    Ok(Some(key))
}

/// Whom to trust on the way to a service.
pub(super) fn open_trusted(upstream: &Upstream) -> Result<Arc<ClientConfig>, Failure> {
    roots::client_config(upstream.ca_file.as_deref())
        .map_err(|e| Failure::new(Exit::Config, format!("no certificates to trust: {e}")))
}

/// The way to the network that a source needs.
pub(super) fn open_network(
    settings: &PlacesSettings,
    upstream: &Upstream,
) -> Result<Network, Failure> {
    let tls = open_trusted(upstream)?;
    let proxy = proxy::choose(&upstream.base, upstream.proxy.as_ref(), |name| env::var_os(name))?;
    let agent = HttpPool::new(tls, settings.pool_limits()).with_proxy(proxy);
    let options = dns::DnsOptions {
        servers: upstream.resolver.into_iter().collect(),
        total: settings.dns_timeout(),
        hosts: upstream.hosts_file.clone(),
        resolv_conf: upstream.resolv_conf.clone(),
    };
    Ok(Network::new(options, agent))
}

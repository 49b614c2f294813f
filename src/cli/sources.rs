//! Opens the source of places that a topology names: the source, its key, and its access to the network.
//!
//! `herd serve`, `herd check` and `herd places check` share this code, so that the results of the checks hold for a
//! server. No request is sent here. All faults are faults of the configuration (78).

use super::proxy;
use crate::config::{Diagnostic, KEY_VARIABLE, PlacesSettings, PlacesSource, Upstream};
use crate::fetch::pool::HttpPool;
use crate::fetch::roots;
use crate::log::secret::Secret;
use crate::net::dns::{DnsClient, DnsOptions};
use crate::places::{self, Source};
use crate::server::network::Network;
use crate::server::place_queries::PlacesInUse;
use std::env;
use std::path::Path;

/// Everything that a server needs to answer WHATSATs.
pub(super) struct OpenPlaces {
    pub(super) in_use: PlacesInUse,
    /// The key of the service, if it needs one.
    pub(super) key: Option<Secret>,
}

impl OpenPlaces {
    /// Opens the configured source, or returns all faults. Calls `warn` with each warning.
    pub(super) fn open(
        settings: &PlacesSettings,
        warn: impl FnMut(Diagnostic),
    ) -> Result<OpenPlaces, Vec<Diagnostic>> {
        let source = match &settings.source {
            PlacesSource::Embedded => embedded(settings)?,
            PlacesSource::File(path) => Box::new(read_file(settings, path, warn)?),
            PlacesSource::Network(upstream) => return open_network(settings, upstream, warn),
        };
        let in_use = PlacesInUse { source, network: None, fallback: None };
        Ok(OpenPlaces { in_use, key: None })
    }
}

#[cfg(feature = "embedded-places")]
fn embedded(settings: &PlacesSettings) -> Result<Box<dyn Source>, Vec<Diagnostic>> {
    Ok(Box::new(places::Embedded::new(settings.rank)))
}

#[cfg(not(feature = "embedded-places"))]
fn embedded(settings: &PlacesSettings) -> Result<Box<dyn Source>, Vec<Diagnostic>> {
    let what = "this program was built without the embedded places";
    Err(vec![settings.here("source").error(what, "name a file of places under [places]")])
}

fn read_file(
    settings: &PlacesSettings,
    path: &Path,
    warn: impl FnMut(Diagnostic),
) -> Result<places::PlacesFile, Vec<Diagnostic>> {
    let (shown, here) = (path.display(), settings.here("file"));
    let file = places::PlacesFile::read(path, settings.rank).map_err(|faults| {
        let remedy = "correct the file, or name another one";
        let fault = |fault| here.error(format!("{shown}: {fault}"), remedy);
        faults.into_iter().map(fault).collect::<Vec<_>>()
    })?;
    let remedy = "if this is not intended, correct the file (docs/sources.md says what is read)";
    let remark = |what| here.warning(format!("{shown}: {what}"), remedy);
    file.remarks().into_iter().map(remark).for_each(warn);
    Ok(file)
}

/// Opens a service: its key, the certificates to trust, and the proxy.
fn open_network(
    settings: &PlacesSettings,
    upstream: &Upstream,
    warn: impl FnMut(Diagnostic),
) -> Result<OpenPlaces, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let key = open_key(settings, upstream, warn).map_err(|fault| faults.push(*fault));
    let tls = roots::client_config(upstream.ca_file.as_deref()).map_err(|why| {
        let remedy = "name a file of certificates in PEM, or remove ca_file";
        let what = format!("cannot read the certificates to trust: {why}");
        faults.push(settings.here("ca_file").error(what, remedy));
    });
    let proxy = proxy::choose(&upstream.base, upstream.proxy.as_ref(), |name| env::var_os(name));
    let proxy = proxy.map_err(|(what, remedy)| {
        faults.push(settings.here("source").error(what, remedy));
    });
    let fallback = upstream.falls_back.then(|| embedded(settings)).transpose();
    let fallback = fallback.map_err(|fault| faults.extend(fault));
    let key = key.unwrap_or_default();
    let source = upstream.open(settings.rank, key.clone());
    let (Some(source), Ok(tls), Ok(proxy), Ok(fallback)) = (source, tls, proxy, fallback) else {
        return Err(faults);
    };
    let pool = HttpPool::new(tls, settings.pool_limits()).with_proxy(proxy);
    let network = Some(Network { dns: DnsClient::new(dns_options(settings)), pool });
    Ok(OpenPlaces { in_use: PlacesInUse { source, network, fallback }, key })
}

/// How a server looks up names: as [places] says, if its source uses the network.
pub(super) fn dns_options(settings: &PlacesSettings) -> DnsOptions {
    let PlacesSource::Network(upstream) = &settings.source else { return DnsOptions::default() };
    DnsOptions {
        servers: upstream.resolver.into_iter().collect(),
        total: settings.dns_timeout(),
        hosts: upstream.hosts_file.clone(),
        resolv_conf: upstream.resolv_conf.clone(),
    }
}

/// Reads the key of the service from its file or the environment; `None` if the service needs none. Calls `warn` if other
/// users may read the file.
fn open_key(
    settings: &PlacesSettings,
    upstream: &Upstream,
    warn: impl FnMut(Diagnostic),
) -> Result<Option<Secret>, Box<Diagnostic>> {
    if !upstream.needs_key() {
        return Ok(None);
    }
    let here = settings.here("key_file");
    let found = match &upstream.key_file {
        Some(path) => Secret::from_file(path).map(|(key, warning)| {
            warning.map(|what| here.warning(what, "chmod 600 it")).into_iter().for_each(warn);
            Some(key)
        }),
        None => Secret::from_environment(KEY_VARIABLE),
    };
    match found {
        Ok(Some(key)) => Ok(Some(key)),
        Ok(None) => Err(missing_key(settings).into()),
        Err(why) => Err(here.error(why.to_string(), KEY_REMEDY).into()),
    }
}

const KEY_REMEDY: &str =
    "write only the key into a file, and name the file: key_file = \"google.key\"";

/// Returns the fault of a source whose key is neither in a file nor in the environment.
pub(super) fn missing_key(settings: &PlacesSettings) -> Diagnostic {
    let what = format!("{KEY_VARIABLE} is not set, and no key_file is named");
    settings.here("key_file").error(what, KEY_REMEDY)
}

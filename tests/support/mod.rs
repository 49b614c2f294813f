//! What suites have in common. A test that needs a part of it names it: `use crate::support::cluster::Cluster;`.

pub(crate) mod alone;
pub(crate) mod cluster;
pub(crate) mod dice;
pub(crate) mod fake_google;
#[cfg(all(target_os = "linux", feature = "embedded-places"))]
pub(crate) mod herd;
pub(crate) mod logged;
pub(crate) mod ports;
pub(crate) mod process;

pub(crate) use fake_google::certs;

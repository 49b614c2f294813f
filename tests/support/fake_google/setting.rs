//! The settings that lead a herd to the fake Google instead of Google: the trusted certificate, the name server and
//! a key.

use super::Authority;
use super::places::Api;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The name of the fake Google. It is reserved: RFC 6761, section 6.2.
pub const HOST: &str = "places.test";

/// A key as long as Google's, which belongs to no project.
pub const KEY: &str = "AIzaNobodysKeyOnlyForTheDouble123456789";

/// Writes `ca.pem`, and `key` with access for its owner only, into an existing folder.
pub fn write_files(folder: &Path, authority: &Authority) -> io::Result<()> {
    authority.write_pem(&folder.join("ca.pem"))?;
    let key = folder.join("key");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key)?;
    // The file may have existed with other permissions.
    fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    writeln!(file, "{KEY}")
}

/// A topology of one server, to be written beside the files of [`write_files`].
///
/// The server listens at `client` and `peer`. The fake Google is at `service`, and its name server at `names`.
pub fn topology(api: Api, [client, peer, service, names]: [SocketAddr; 4]) -> String {
    format!(
        "herd = \"places-double\"\n\n[[server]]\nname = \"Alford\"\nclient = \"{client}\"\n\
         peer = \"{peer}\"\nneighbours = []\n\n[places]\nsource = \"{}\"\n\
         base_url = \"https://{HOST}:{}\"\nkey_file = \"key\"\nca_file = \"ca.pem\"\n\
         resolver = \"{names}\"\n",
        api.source(),
        service.port()
    )
}

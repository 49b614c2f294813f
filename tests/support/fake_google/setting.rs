//! What a herd is told, so that it finds the fake Google in the place of Google: who vouches for it, who
//! knows its name, and a key.

use super::Authority;
use super::places::Api;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The name of the fake Google. Nobody else's: RFC 6761, section 6.2.
pub const HOST: &str = "places.test";

/// As long as Google's, and nobody's.
pub const KEY: &str = "AIzaNobodysKeyOnlyForTheDouble123456789";

/// Writes `ca.pem`, and `key` for its owner alone, into a folder that is there.
pub fn write_files(folder: &Path, authority: &Authority) -> io::Result<()> {
    authority.write_pem(&folder.join("ca.pem"))?;
    let key = folder.join("key");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&key)?;
    // It may have been there.
    fs::set_permissions(&key, Permissions::from_mode(0o600))?;
    writeln!(file, "{KEY}")
}

/// A topology beside those files, of one server.
///
/// `client`, `peer`: where the server is to listen; `service`, `names`: where the fake Google does.
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

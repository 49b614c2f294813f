//! The live page: the files that a browser gets from a server's HTTP port, and the policy under which it runs them.
//!
//! The program contains only the compressed files, which nearly every client accepts. For one that does not, it
//! decompresses a file at each request: 1.3 ms for the largest, `world.json`.
//!
//! `tools/page/make` makes the compressed forms, and the hash in the paths. All files share one hash, which changes with
//! each of them, so a browser may keep what it has got under a path for ever. [`INDEX`] has no hash in its path; a browser
//! revalidates it by its ETag.
//!
//! | file | what |
//! |---|---|
//! | `index.html`, `page.css` | the page's structure and its look, light and dark |
//! | `page.js` | starts everything; the stream of reports, its states, and the one loop that draws |
//! | `dom.js` | what the other modules share: elements, durations, requests |
//! | `clients.js` | every client's location, in typed arrays |
//! | `map.js`, `world.js` | the map: projection, land, clients, moves by mouse, touch and keys |
//! | `herd.js` | the servers' statuses: the graph of links, the numbers and the charts |
//! | `find.js` | the search, the followed client, and what is near it |
//! | `uplot.js`, `uplot.css`, `world.json` | made from packages (NOTICE) |
//!
//! This module does not know HTTP: `server` answers with these bytes, and adds the heads.

use std::fmt::Write;
use std::net::SocketAddr;

/// One file of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// The path of its URL.
    pub path: &'static str,
    /// The value of Content-Type.
    pub content_type: &'static str,
    /// The file, compressed: for Content-Encoding `gzip`.
    pub gzip: &'static [u8],
    /// The strong ETag of [`plain`](Asset::plain), in its quotes.
    pub etag: &'static str,
    /// The strong ETag of `gzip`: other bytes have another tag (RFC 9110, 8.8.3).
    pub gzip_etag: &'static str,
}

impl Asset {
    /// The file itself. Each call decompresses it.
    pub fn plain(&self) -> Vec<u8> {
        // The gzip header has no optional fields, so it takes ten bytes; the trailer takes eight (RFC 1952).
        let deflated = &self.gzip[10..self.gzip.len() - 8];
        miniz_oxide::inflate::decompress_to_vec(deflated).expect("a test decompresses each file")
    }
}

/// Makes an [`Asset`]: the prefix of its path, its file, its type.
macro_rules! asset {
    ($path:expr, $name:literal, $content_type:literal) => {
        Asset {
            path: $path,
            content_type: $content_type,
            gzip: include_bytes!(concat!("gzip/", $name, ".gz")),
            etag: concat!("\"", hashed!(), $name, "\""),
            gzip_etag: concat!("\"", hashed!(), $name, ".gz\""),
        }
    };
    ($name:literal, $content_type:literal) => {
        asset!(concat!(hashed!(), $name), $name, $content_type)
    };
}

/// The folder of all assets. `tools/page/make` writes the hash.
macro_rules! hashed {
    () => {
        "/assets/cf89651bf46f/"
    };
}

/// The page itself. Answer it with `Cache-Control: no-cache`: a browser keeps it, and asks whether it is still current.
pub static INDEX: Asset = asset!("/", "index.html", "text/html; charset=utf-8");

/// All other files. Answer them with `Cache-Control: public, max-age=31536000, immutable`.
pub static ASSETS: &[Asset] = &[
    asset!("page.css", "text/css; charset=utf-8"),
    asset!("uplot.css", "text/css; charset=utf-8"),
    asset!("page.js", "text/javascript; charset=utf-8"),
    asset!("dom.js", "text/javascript; charset=utf-8"),
    asset!("clients.js", "text/javascript; charset=utf-8"),
    asset!("map.js", "text/javascript; charset=utf-8"),
    asset!("world.js", "text/javascript; charset=utf-8"),
    asset!("herd.js", "text/javascript; charset=utf-8"),
    asset!("find.js", "text/javascript; charset=utf-8"),
    asset!("uplot.js", "text/javascript; charset=utf-8"),
    asset!("world.json", "application/json"),
];

/// Returns the file at `path`, which is a whole path as the client sent it, without a query.
pub fn asset(path: &[u8]) -> Option<&'static Asset> {
    std::iter::once(&INDEX).chain(ASSETS).find(|asset| asset.path.as_bytes() == path)
}

/// The value of Content-Security-Policy for [`INDEX`]. `servers` are the HTTP addresses of the herd, whose statuses the
/// page reads; `tls`, whether they speak TLS. An unspecified address (0.0.0.0) stands for every host at its port.
pub fn content_security_policy(servers: impl IntoIterator<Item = SocketAddr>, tls: bool) -> String {
    let mut policy = String::from(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'",
    );
    let scheme = if tls { "https" } else { "http" };
    for server in servers {
        // Writing to a String cannot fail.
        let _ = match server.ip().is_unspecified() {
            true => write!(policy, " {scheme}://*:{}", server.port()),
            false => write!(policy, " {scheme}://{server}"),
        };
    }
    policy + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn each_compressed_form_contains_the_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        for asset in std::iter::once(&INDEX).chain(ASSETS) {
            let name = asset.etag.trim_matches('"').rsplit('/').next().expect("a name");
            let file = fs::read(folder.join(name)).expect("a file");
            assert!(asset.plain() == file, "run tools/page/make: {name}");
        }
    }

    #[test]
    fn the_page_takes_at_most_150_kilobytes() {
        let all = std::iter::once(&INDEX).chain(ASSETS).map(|asset| asset.gzip.len());
        assert!(all.clone().sum::<usize>() <= 150_000, "{:?}", all.collect::<Vec<_>>());
    }

    #[test]
    fn the_page_names_its_files_by_paths_that_exist() {
        let index = String::from_utf8(INDEX.plain()).expect("it is text");
        let named: Vec<_> = index.split('"').filter(|text| text.starts_with("/assets/")).collect();
        assert!(named.len() > 3, "{named:?}");
        assert!(named.iter().all(|path| asset(path.as_bytes()).is_some()), "{named:?}");
        assert_eq!(asset(b"/"), Some(&INDEX));
        assert_eq!(asset(b"/assets/page.js"), None);
    }

    #[test]
    fn the_policy_lets_the_page_read_the_status_of_each_server() {
        let servers = ["127.0.0.1:12200", "[::1]:12201", "0.0.0.0:12202"];
        let servers = servers.map(|address| address.parse().expect("an address"));
        let policy = content_security_policy(servers, false);
        let connect = policy.split("; ").find(|part| part.starts_with("connect-src"));
        let expected =
            "connect-src 'self' http://127.0.0.1:12200 http://[::1]:12201 http://*:12202";
        assert_eq!(connect, Some(expected));
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"), "{policy}");
    }
}

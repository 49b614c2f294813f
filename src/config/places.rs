//! The table `[places]`: the source of places for WHATSAT, and how it is reached.
//!
//! In: the table. Out: [`PlacesSettings`] that fit the source, or errors. It opens no file, but checks that
//! named files exist. It reads no key and no environment, so a topology contains no secret.
//!
//! The idea: `source` alone selects the source. A key, a file or a URL beside it only configures a source; it never
//! selects one. So it is an error if the file configures a source but does not set `source`: the operator expects
//! more than would happen. If `source` is set, keys for other sources are checked, but have no effect.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::Supposed;
use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::keys::keys_of;
use super::toml_section::Section;
use crate::fetch::pool::HttpPoolLimits;
use crate::files;
use crate::http::HttpLimits;
use crate::log::secret::Secret;
use crate::places::{
    BaseUrl, Format, Google, GoogleLegacy, Mask, Photon, ProxyUrl, Rank, Source, UrlFault,
};

/// The keys of `[places]` that apply to any source.
const COMMON_KEYS: [&str; 6] =
    ["source", "rank", "deadline_ms", "in_flight", "queue", "body_bytes"];

/// The keys with a value that refers to something outside the topology: a file, or the environment.
const LEADING_KEYS: [&str; 4] = ["source", "file", "key_file", "ca_file"];

const GOOGLE: &str = "https://places.googleapis.com";
const GOOGLE_LEGACY: &str = "https://maps.googleapis.com";

/// Maximum handshakes with a service at once: a few are enough, since connections are kept.
const HANDSHAKES_MAX: usize = 4;

/// How long an unused connection to a service is kept.
const IDLE: Duration = Duration::from_secs(90);

/// Memory for all reply bodies together, as a multiple of the longest body.
const BODIES_MAX: usize = 16;

/// A text of this length may be a key: Google's have 39 characters, and file names are usually shorter.
const KEY_BYTES_MIN: usize = 30;

/// Longest language tag in bytes: BCP 47 recommends room for 35 characters.
const LANGUAGE_BYTES_MAX: usize = 35;

/// The settings of `[places]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacesSettings {
    /// Where the places come from.
    pub source: PlacesSource,
    /// The order of the places in an answer.
    pub rank: Rank,
    /// Time to answer a WHATSAT. After it the client gets an error.
    pub deadline: Duration,
    /// Maximum concurrent questions to the source.
    pub in_flight: usize,
    /// Maximum questions that wait for the source.
    pub queue: usize,
    /// Longest body of a reply of a service.
    pub body_bytes: usize,
    /// The positions of the keys that refer to something outside the topology: see [`PlacesSettings::here`].
    pub here: BTreeMap<&'static str, Diagnostic>,
}

impl PlacesSettings {
    /// The position of `key` in the topology, or that of `source` if the file does not set `key`. Errors about the
    /// file or the service that `key` names show this position.
    pub fn here(&self, key: &str) -> &Diagnostic {
        &self.here[key]
    }

    /// Timeout for looking up the host name of a service.
    pub fn dns_timeout(&self) -> Duration {
        self.deadline / 4
    }

    /// The limits of a request to a service. Each phase of a request gets a share of the deadline, so that a second
    /// attempt is possible after a phase fails.
    pub fn pool_limits(&self) -> HttpPoolLimits {
        HttpPoolLimits {
            handshakes: HANDSHAKES_MAX,
            idle_connections: self.in_flight,
            connect: self.deadline * 3 / 16,
            tls: self.deadline / 4,
            first_byte: self.deadline / 2,
            between_bytes: self.deadline / 4,
            idle: IDLE,
            http: HttpLimits { body_bytes: self.body_bytes, ..HttpLimits::default() },
            all_bytes: self.body_bytes * BODIES_MAX,
        }
    }
}

/// Where places come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlacesSource {
    /// The program's own places.
    Embedded,
    /// A file; it existed when the topology was read.
    File(PathBuf),
    /// A service on the network.
    Network(Box<Upstream>),
}

/// A service on the network, and how to reach it. Named files existed when the topology was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Which service it is.
    pub kind: UpstreamKind,
    /// The URL of the service.
    pub base: BaseUrl,
    /// The file that holds the key; `None`: the key is in the environment, as [`KEY_VARIABLE`].
    pub key_file: Option<PathBuf>,
    /// The language of names; `None`: the service chooses.
    pub language: Option<String>,
    /// Whether the embedded places answer, and say so, when the service fails.
    pub falls_back: bool,
    /// The trusted certificates, in PEM; `None`: those that browsers trust.
    pub ca_file: Option<PathBuf>,
    /// The proxy; `None`: as the environment says, or none.
    pub proxy: Option<ProxyUrl>,
    /// The address of the one name server to ask; `None`: those of `resolv_conf`.
    pub resolver: Option<SocketAddr>,
    /// The file that lists the name servers.
    pub resolv_conf: PathBuf,
    /// The file of names that need no name server.
    pub hosts_file: PathBuf,
}

/// The supported services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Places API (New), with this field mask.
    Google(Mask),
    /// Nearby Search (legacy).
    GoogleLegacy,
    /// Photon, a search service for OpenStreetMap.
    Photon,
}

/// The environment variable that holds the key if there is no key file.
pub const KEY_VARIABLE: &str = "GOOGLE_MAPS_API_KEY";

impl Upstream {
    /// Whether [`Upstream::open`] needs a key.
    pub fn needs_key(&self) -> bool {
        !matches!(self.kind, UpstreamKind::Photon)
    }

    /// The source that asks this service; `None` if it needs a key and `key` is `None`.
    pub fn open(&self, rank: Rank, key: Option<Secret>) -> Option<Box<dyn Source>> {
        let (base, language) = (self.base.clone(), self.language.clone());
        Some(match self.kind {
            UpstreamKind::Google(mask) => {
                Box::new(Google { base, key: key?, mask, rank, language })
            }
            UpstreamKind::GoogleLegacy => Box::new(GoogleLegacy { base, key: key?, language }),
            UpstreamKind::Photon => Box::new(Photon { base, language }),
        })
    }
}

/// The values of `source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// The program's own places.
    Embedded,
    /// The places of a file.
    File,
    /// Places API (New).
    Google,
    /// Nearby Search (legacy).
    GoogleLegacy,
    /// Photon, a search service for OpenStreetMap.
    Photon,
}

impl FromStr for SourceName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SourceName, &'static str> {
        Ok(match text {
            "embedded" => SourceName::Embedded,
            "file" => SourceName::File,
            "google" => SourceName::Google,
            "google-legacy" => SourceName::GoogleLegacy,
            "photon" => SourceName::Photon,
            _ => return Err("choose one of embedded, file, google, google-legacy, photon"),
        })
    }
}

/// Reads `[places]`; without that table the source is embedded. `supposed` may override the source of the table.
/// `path`: the topology file's path.
pub(super) fn read(
    section: &Section<'_>,
    path: &Path,
    supposed: Supposed,
    diagnostics: &mut Diagnostics<'_>,
) -> PlacesSettings {
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = PlacesTable { section, folder, supposed };
    table.check_that_a_source_is_named(diagnostics);
    let named = section.text_or_default("source").parse().unwrap_or(SourceName::Embedded);
    let named = supposed.source.unwrap_or(named);
    let rank = table.rank(named, diagnostics);
    let file = table.places_file(named == SourceName::File, diagnostics);
    let upstream = table.upstream(named, diagnostics);
    let source = match (named, file, upstream) {
        (SourceName::File, Some(file), _) => PlacesSource::File(file),
        (_, _, Some(upstream)) => PlacesSource::Network(Box::new(upstream)),
        // The source is embedded, or an error was recorded and these settings will not be used.
        _ => PlacesSource::Embedded,
    };
    if named == SourceName::File {
        let what = "source = \"file\" requires the key file";
        table.check_that_it_has("file", what, "places.json", diagnostics);
    }
    let here = LEADING_KEYS.map(|key| {
        let place = section.place_of(key).or_else(|| section.place_of("source"));
        (key, diagnostics.diagnostic_at(path, place.or_else(|| section.head.clone())))
    });
    PlacesSettings {
        source,
        rank,
        deadline: section.number("deadline_ms"),
        in_flight: section.number("in_flight"),
        queue: section.number("queue"),
        body_bytes: section.number("body_bytes"),
        here: here.into(),
    }
}

/// The table, and the folder that paths in it are relative to.
struct PlacesTable<'t> {
    section: &'t Section<'t>,
    folder: &'t Path,
    /// A source that was chosen elsewhere may not be the one that the table names.
    supposed: Supposed,
}

impl PlacesTable<'_> {
    /// Records an error for each key of a particular source if the table does not name a source.
    fn check_that_a_source_is_named(&self, diagnostics: &mut Diagnostics<'_>) {
        if self.supposed.source.is_some() || self.section.has("source") {
            return;
        }
        let keys = keys_of("[places]").map(|key| key.name);
        for key in keys.filter(|key| !COMMON_KEYS.contains(key)) {
            let Some(place) = self.section.place_of(key) else { continue };
            let source = if key == "file" { "file" } else { "google" };
            let remedy = format!("name the source that {key} is for, as in source = \"{source}\"");
            let what = format!("{key} has no effect without the key source");
            match key {
                // The operator may have written the API key itself here, so the error does not show the value.
                "key_file" => diagnostics.error_unseen(place, &what, &remedy),
                _ => diagnostics.error(place, what, remedy),
            }
        }
    }

    /// Records an error if the table lacks `key`, which its source requires.
    fn check_that_it_has(
        &self,
        key: &str,
        what: &str,
        example: &str,
        diagnostics: &mut Diagnostics<'_>,
    ) {
        if !self.section.has(key) {
            let place = self.section.place_of("source").or(self.section.head.clone());
            diagnostics.error(place, what, format!("add {key} = \"{example}\""));
        }
    }

    /// The order of places; not every source supports both.
    fn rank(&self, named: SourceName, diagnostics: &mut Diagnostics<'_>) -> Rank {
        let rank = match self.section.text_or_default("rank") {
            "distance" => Rank::Distance,
            _ => Rank::Prominence,
        };
        // The key rank was written for the source beside it, and not for one that is chosen elsewhere.
        let place = self.section.place_of("rank").filter(|_| self.supposed.source.is_none());
        match (named, rank, place) {
            (SourceName::GoogleLegacy, Rank::Distance, Some(place)) => {
                let what = "source = \"google-legacy\" does not support rank = \"distance\"";
                diagnostics.error(place, what, "remove rank, or choose source = \"google\"");
                rank
            }
            (SourceName::Photon, Rank::Prominence, Some(place)) => {
                let what = "source = \"photon\" does not support rank = \"prominence\": it answers the nearest first";
                diagnostics.error(place, what, "remove rank, or write rank = \"distance\"");
                rank
            }
            (SourceName::Photon, _, _) => Rank::Distance,
            _ => rank,
        }
    }

    /// Checks the keys for all services, even for sources that are not selected. Returns the service if one is
    /// selected.
    fn upstream(&self, named: SourceName, diagnostics: &mut Diagnostics<'_>) -> Option<Upstream> {
        let mask = match self.section.text_or_default("mask") {
            "full" => Mask::Full,
            _ => Mask::Basic,
        };
        let (kind, default) = match named {
            SourceName::Embedded | SourceName::File => (None, None),
            SourceName::Google => (Some(UpstreamKind::Google(mask)), Some(GOOGLE)),
            SourceName::GoogleLegacy => (Some(UpstreamKind::GoogleLegacy), Some(GOOGLE_LEGACY)),
            SourceName::Photon => (Some(UpstreamKind::Photon), None),
        };
        if named == SourceName::Photon {
            let what =
                "source = \"photon\" requires the key base_url, the address of your Photon server";
            self.check_that_it_has("base_url", what, "http://127.0.0.1:2322", diagnostics);
        }
        let base: Option<BaseUrl> = self.url("base_url", diagnostics);
        let is_used = kind.is_some();
        let needs_key = is_used && named != SourceName::Photon;
        let key_file = self.key_file(needs_key, diagnostics);
        let language = self.language(diagnostics);
        let falls_back = self.section.text_or_default("fallback") == "embedded";
        let ca_file = self.file("ca_file", is_used, diagnostics);
        let proxy = self.proxy(diagnostics);
        let resolver = self.section.address("resolver").map(toml::Spanned::into_inner);
        let [resolv_conf, hosts_file] = ["resolv_conf", "hosts_file"].map(|key| {
            self.file(key, is_used, diagnostics)
                .unwrap_or_else(|| self.section.text_or_default(key).into())
        });
        Some(Upstream {
            kind: kind?,
            base: base.or_else(|| default.map(|url| url.parse().expect("ours is a URL")))?,
            key_file,
            language,
            falls_back,
            ca_file,
            proxy,
            resolver,
            resolv_conf,
            hosts_file,
        })
    }

    /// The path of a regular file, relative to the topology's folder. If `is_used`, a missing file is an error.
    fn file(&self, key: &str, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let file = self.section.text(key)?;
        let path = self.folder.join(file.get_ref());
        let path = if key == "key_file" { files::credential_or(path) } else { path };
        if is_used && !self.supposed.no_source && !path.is_file() {
            let is = if path.exists() { "not a regular file:" } else { "no such file:" };
            let what = format!("{key}: {is} {}", quoted(&path.to_string_lossy()));
            let remedy = "correct the path; it is relative to the folder of the topology file";
            diagnostics.error(file.span(), what, remedy);
        }
        Some(path)
    }

    /// The path of the file of places. Its name must end with a known extension.
    fn places_file(&self, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let path = self.file("file", is_used, diagnostics)?;
        if let (true, Err(what), place) =
            (is_used, Format::of(&path), self.section.place_of("file"))
        {
            diagnostics.error(
                place,
                format!("file: {what}"),
                "rename the file, or choose another one",
            );
        }
        Some(path)
    }

    /// The path of the key file. An operator may have written the key itself instead, so an error does not repeat it.
    fn key_file(&self, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let text = self.section.text("key_file")?;
        let is_key = text.get_ref().len() >= KEY_BYTES_MIN && !text.get_ref().contains(['/', '.']);
        if is_key && !files::credential_or(self.folder.join(text.get_ref())).exists() {
            let what = "key_file looks like a key, but must name a file that holds the key";
            diagnostics.error_unseen(
                text.span(),
                what,
                "write the key to a file, and protect it with chmod 600",
            );
            return None;
        }
        self.file("key_file", is_used, diagnostics)
    }

    fn proxy(&self, diagnostics: &mut Diagnostics<'_>) -> Option<ProxyUrl> {
        let proxy: ProxyUrl = self.url("proxy", diagnostics)?;
        if let (Some(_), Some(place)) = (&proxy.credentials, self.section.place_of("proxy")) {
            let what = "proxy contains a password, but other users may read this file";
            diagnostics.error_unseen(
                place,
                what,
                "remove the password here, and set HTTPS_PROXY instead",
            );
        }
        Some(proxy)
    }

    /// Parses a URL. An error does not repeat the URL, because it may hold a password.
    fn url<T: FromStr<Err = UrlFault>>(
        &self,
        key: &str,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Option<T> {
        let text = self.section.text(key)?;
        match text.get_ref().parse() {
            Ok(url) => Some(url),
            Err((what, remedy)) => {
                diagnostics.error_unseen(text.span(), &format!("{key} {what}"), remedy);
                None
            }
        }
    }

    fn language(&self, diagnostics: &mut Diagnostics<'_>) -> Option<String> {
        let text = self.section.text("language")?;
        if is_language(text.get_ref()) {
            return Some(text.get_ref().to_string());
        }
        let what = format!("language cannot be {}", quoted(text.get_ref()));
        diagnostics.error(text.span(), what, "write a language tag, as in \"en\" or \"pt-BR\"");
        None
    }
}

/// Whether `text` has the form of a BCP 47 tag. Only the service knows whether the language exists.
fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let fits = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let first = parts.next().unwrap_or_default();
    text.len() <= LANGUAGE_BYTES_MAX
        && first.len() >= 2
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && fits(first)
        && parts.all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_a_tag() {
        for text in ["en", "pt-BR", "zh-Hant-TW", "sr-Latn-RS-x-abc", "es-419"] {
            assert!(is_language(text), "{text}");
        }
        for text in ["", "e", "en_US", "english!", "1a", "en-", "-en", "en--US", "languagesss"] {
            assert!(!is_language(text), "{text}");
        }
        assert!(!is_language(&["en", &"-abcdefgh".repeat(4)].concat()));
    }
}

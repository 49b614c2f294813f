//! The table `[places]`: whom WHATSAT asks, and how they are reached.
//!
//! In: the table. Out: [`PlacesSettings`] in which what is said fits the source, or errors. Opens
//! no file but to see that it is there, reads no key and no environment: the topology may be shown
//! to anyone.
//!
//! The idea: `source` alone decides. A key, a file or a URL beside it says how a source is to be
//! asked if it is; never that it is. So where `source` is not written and something for a source
//! is, that is an error: the operator expects more than would happen. Where it is written, what is
//! for another source is kept for another day.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::diagnostic::{Diagnostic, Diagnostics, quoted};
use super::keys::keys_of;
use super::toml_section::Section;
use crate::fetch::pool::HttpPoolLimits;
use crate::http::HttpLimits;
use crate::log::secret::Secret;
use crate::places::{
    BaseUrl, Format, Google, GoogleLegacy, Mask, Photon, ProxyUrl, Rank, Source, UrlFault,
};

/// The keys of `[places]` that hold for any source.
const COMMON_KEYS: [&str; 6] =
    ["source", "rank", "deadline_ms", "in_flight", "queue", "body_bytes"];

/// The keys that lead to something outside of the topology: a file, or the environment.
const LEADING_KEYS: [&str; 4] = ["source", "file", "key_file", "ca_file"];

const GOOGLE: &str = "https://places.googleapis.com";
const GOOGLE_LEGACY: &str = "https://maps.googleapis.com";

/// Handshakes with a service that may be under way at once: a few are enough, since connections are kept.
const HANDSHAKES_MAX: usize = 4;

/// How long an unused connection to a service is kept.
const IDLE: Duration = Duration::from_secs(90);

/// What all replies at once may take, in longest bodies.
const BODIES_MAX: usize = 16;

/// Keys are longer than the names people give to files: Google's have 39 characters.
const KEY_BYTES_MIN: usize = 30;

/// The longest tag of a language: BCP 47 recommends room for 35 characters.
const LANGUAGE_BYTES_MAX: usize = 35;

/// Where WHATSAT looks, and what comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacesSettings {
    /// Where the places come from.
    pub source: PlacesSource,
    /// In which order they are answered.
    pub rank: Rank,
    /// How long a WHATSAT may take; then the client gets an error.
    pub deadline: Duration,
    /// Maximum questions put to the source at once.
    pub in_flight: usize,
    /// Maximum questions that wait for the source.
    pub queue: usize,
    /// Longest body of a reply of a service.
    pub body_bytes: usize,
    /// Where the topology has what leads out of it: see [`PlacesSettings::here`].
    pub here: BTreeMap<&'static str, Diagnostic>,
}

impl PlacesSettings {
    /// The place of `key` in the topology, or that of the source if the topology does not have it. Errors about the
    /// file or the service that `key` names point here.
    pub fn here(&self, key: &str) -> &Diagnostic {
        &self.here[key]
    }

    /// How long looking up the host of a service may take.
    pub fn dns_timeout(&self) -> Duration {
        self.deadline / 4
    }

    /// The limits of a request to a service. Each of its phases gets a share of the deadline, so that a phase that
    /// fails leaves time for a second attempt.
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
    /// From the program itself.
    Embedded,
    /// From a file; it was there when the topology was read.
    File(PathBuf),
    /// From a service on the network.
    Network(Box<Upstream>),
}

/// A service on the network, and the way to it. Files were there when the topology was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Which one.
    pub kind: UpstreamKind,
    /// Where it is.
    pub base: BaseUrl,
    /// Where its key is; none: in the environment, as [`KEY_VARIABLE`].
    pub key_file: Option<PathBuf>,
    /// In which language names are wanted, if it is not left to the service.
    pub language: Option<String>,
    /// Whether the embedded places answer, and say so, where the service fails.
    pub falls_back: bool,
    /// Who may vouch for the service, in PEM; none: those whom browsers trust.
    pub ca_file: Option<PathBuf>,
    /// Through whom it is reached; none: as the environment says, or directly.
    pub proxy: Option<ProxyUrl>,
    /// The one name server to ask; none: those of `resolv_conf`.
    pub resolver: Option<SocketAddr>,
    /// Where the name servers are listed.
    pub resolv_conf: PathBuf,
    /// Where names are listed that no server is asked about.
    pub hosts_file: PathBuf,
}

/// The services that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// Places API (New), asked for these fields.
    Google(Mask),
    /// Nearby Search (legacy).
    GoogleLegacy,
    /// Photon, of OpenStreetMap.
    Photon,
}

/// The environment variable that holds a key where no file does.
pub const KEY_VARIABLE: &str = "GOOGLE_MAPS_API_KEY";

impl Upstream {
    /// Whether [`Upstream::open`] needs a key.
    pub fn needs_key(&self) -> bool {
        !matches!(self.kind, UpstreamKind::Photon)
    }

    /// The source that asks this service. `None`: it needs a key.
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

/// What may be written after `source = `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// The program's own places.
    Embedded,
    /// Those of a file.
    File,
    /// Places API (New).
    Google,
    /// Nearby Search (legacy).
    GoogleLegacy,
    /// Photon, of OpenStreetMap.
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
            _ => return Err("the sources are embedded, file, google, google-legacy, photon"),
        })
    }
}

/// Reads `[places]`; without it the embedded places serve. `asked`: the source to take, whatever the
/// table says. `path`: of the topology file.
pub(super) fn read(
    section: &Section<'_>,
    path: &Path,
    asked: Option<SourceName>,
    diagnostics: &mut Diagnostics<'_>,
) -> PlacesSettings {
    let folder = path.parent().unwrap_or(Path::new(""));
    let table = PlacesTable { section, folder, is_asked: asked.is_some() };
    table.check_that_a_source_is_named(diagnostics);
    let named = section.text_or_default("source").parse().unwrap_or(SourceName::Embedded);
    let named = asked.unwrap_or(named);
    let rank = table.rank(named, diagnostics);
    let file = table.places_file(named == SourceName::File, diagnostics);
    let upstream = table.upstream(named, diagnostics);
    let source = match (named, file, upstream) {
        (SourceName::File, Some(file), _) => PlacesSource::File(file),
        (_, _, Some(upstream)) => PlacesSource::Network(Box::new(upstream)),
        // Or there was an error, and then it does not matter.
        _ => PlacesSource::Embedded,
    };
    if named == SourceName::File {
        let what = "the places are to come from a file, and none is named";
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
    /// The source is another than the one that is written, or written here for the first time.
    is_asked: bool,
}

impl PlacesTable<'_> {
    /// What is for some source only means nothing if none is named.
    fn check_that_a_source_is_named(&self, diagnostics: &mut Diagnostics<'_>) {
        if self.is_asked || self.section.has("source") {
            return;
        }
        let keys = keys_of("[places]").map(|key| key.name);
        for key in keys.filter(|key| !COMMON_KEYS.contains(key)) {
            let Some(place) = self.section.place_of(key) else { continue };
            let source = if key == "file" { "file" } else { "google" };
            let remedy = format!("name the source it is for, as in source = \"{source}\"");
            let what = "this would not be used";
            match key {
                // It may be the key itself.
                "key_file" => diagnostics.error_unseen(place, what, &remedy),
                _ => diagnostics.error(place, what, remedy),
            }
        }
    }

    /// A source without `key` is of no use.
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

    /// In which order places come; not every source has both.
    fn rank(&self, named: SourceName, diagnostics: &mut Diagnostics<'_>) -> Rank {
        let rank = match self.section.text_or_default("rank") {
            "distance" => Rank::Distance,
            _ => Rank::Prominence,
        };
        // A rank is for the source beside it.
        let place = self.section.place_of("rank").filter(|_| !self.is_asked);
        match (named, rank, place) {
            (SourceName::GoogleLegacy, Rank::Distance, Some(place)) => {
                let what = "google-legacy cannot look for whatever is nearest";
                diagnostics.error(place, what, "leave rank out, or choose source = \"google\"");
                rank
            }
            (SourceName::Photon, Rank::Prominence, Some(place)) => {
                let what = "photon knows no prominence: it answers the nearest first";
                diagnostics.error(place, what, "leave rank out, or write rank = \"distance\"");
                rank
            }
            (SourceName::Photon, _, _) => Rank::Distance,
            _ => rank,
        }
    }

    /// All that is said of a service, whether it is asked or not; the service only if it is.
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
            let what = "photon is a server of one's own, and it is not said where";
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

    /// The path of a regular file, relative to the topology's folder. It has to be there if it `is_used`.
    fn file(&self, key: &str, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let file = self.section.text(key)?;
        let path = self.folder.join(file.get_ref());
        if is_used && !path.is_file() {
            let is = if path.exists() { "this is no regular file:" } else { "there is no file" };
            let what = format!("{is} {}", quoted(&path.to_string_lossy()));
            let remedy = "paths are relative to the folder of the topology file";
            diagnostics.error(file.span(), what, remedy);
        }
        Some(path)
    }

    /// The same for the file of places, the name of which says what is in it.
    fn places_file(&self, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let path = self.file("file", is_used, diagnostics)?;
        if let (true, Err(what), place) =
            (is_used, Format::of(&path), self.section.place_of("file"))
        {
            diagnostics.error(place, format!("file: {what}"), "rename it, or choose another");
        }
        Some(path)
    }

    /// The same for the file of a key. Somebody will write the key itself: it is not repeated.
    fn key_file(&self, is_used: bool, diagnostics: &mut Diagnostics<'_>) -> Option<PathBuf> {
        let text = self.section.text("key_file")?;
        let is_key = text.get_ref().len() >= KEY_BYTES_MIN && !text.get_ref().contains(['/', '.']);
        if is_key && !self.folder.join(text.get_ref()).exists() {
            let what = "this looks like a key, and should be the name of a file that holds it";
            diagnostics.error_unseen(
                text.span(),
                what,
                "write the key into a file, and chmod 600 it",
            );
            return None;
        }
        self.file("key_file", is_used, diagnostics)
    }

    fn proxy(&self, diagnostics: &mut Diagnostics<'_>) -> Option<ProxyUrl> {
        let proxy: ProxyUrl = self.url("proxy", diagnostics)?;
        if let (Some(_), Some(place)) = (&proxy.credentials, self.section.place_of("proxy")) {
            let what = "a password does not belong in this file, which many may read";
            diagnostics.error_unseen(place, what, "leave it out, and set HTTPS_PROXY instead");
        }
        Some(proxy)
    }

    /// What is wrong with a URL is told without it: it may hold a password.
    fn url<T: FromStr<Err = UrlFault>>(
        &self,
        key: &str,
        diagnostics: &mut Diagnostics<'_>,
    ) -> Option<T> {
        let text = self.section.text(key)?;
        match text.get_ref().parse() {
            Ok(url) => Some(url),
            Err(fault) => {
                diagnostics.error_unseen(text.span(), &format!("{key} {fault}"), fault.remedy);
                None
            }
        }
    }

    fn language(&self, diagnostics: &mut Diagnostics<'_>) -> Option<String> {
        let text = self.section.text("language")?;
        if is_language(text.get_ref()) {
            return Some(text.get_ref().to_string());
        }
        let what = format!("{} is no language", quoted(text.get_ref()));
        diagnostics.error(text.span(), what, "write its tag, as in \"en\" or \"pt-BR\"");
        None
    }
}

/// Whether it looks like a tag of BCP 47; whether there is such a language, the service knows.
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

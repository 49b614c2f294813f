//! The sources on the network, without a network: what they ask, and how they interpret replies.
//!
//! `tests/fixtures/places/<source>/*.http` are replies that we wrote from the references of Google and Photon.
//! Beside each, a `.txt` has the source's result. `UPDATE_EXPECTED=1 cargo test --test suite places::replies`
//! rewrites these; then read the difference. Some replies contain [`KEY`], which must appear nowhere else.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use places_herd::http::Method;
use places_herd::log::secret::Secret;
use places_herd::places::{
    Answer, BaseUrl, Fetch, Google, GoogleLegacy, Mask, ParsedReply, Photon, Progress, ProxyUrl,
    Query, Rank, Reply, Retry, Scheme, SearchStatus, Source, Ticket,
};
use places_herd::server::network;
use proptest::prelude::*;

/// The canary.
const KEY: &str = "CANARY-4fZq91-key";

fn key() -> Secret {
    Secret::new(KEY).expect("a key")
}

fn base(url: &str) -> BaseUrl {
    url.parse().expect("a URL")
}

fn google() -> Google {
    Google {
        base: base("https://places.googleapis.com"),
        key: key(),
        mask: Mask::Basic,
        rank: Rank::Prominence,
        language: None,
    }
}

fn google_legacy() -> GoogleLegacy {
    GoogleLegacy { base: base("https://maps.googleapis.com"), key: key(), language: None }
}

fn photon() -> Photon {
    Photon { base: base("http://127.0.0.1:2322/photon"), language: None }
}

/// Each source, with the folder of its replies.
fn sources() -> [(&'static str, Box<dyn Source>); 3] {
    [
        ("google", Box::new(google())),
        ("google-legacy", Box::new(google_legacy())),
        ("photon", Box::new(photon())),
    ]
}

fn query() -> Query {
    Query {
        latitude: 34.06893,
        longitude: -118.445127,
        latitude_text: b"+34.068930".to_vec(),
        longitude_text: b"-118.445127".to_vec(),
        radius_m: 10_500.0,
        radius_text: b"010.50".to_vec(),
    }
}

fn fetch(source: &mut dyn Source, query: &Query) -> Fetch {
    match source.nearby(Ticket(1), query) {
        Progress::Fetch(fetch) => fetch,
        other => panic!("{other:?}"),
    }
}

fn written(answer: &Answer, bound: usize) -> String {
    let mut out = Vec::new();
    answer.write(bound, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

// The key.

#[test]
fn no_panic_that_carries_what_holds_the_key_shows_it() {
    fn panicked(with: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let payload = std::panic::catch_unwind(with).expect_err("it panics");
        *payload.downcast::<String>().expect("a text that was formatted")
    }
    fn all_ways<T: std::fmt::Debug + Clone + std::panic::UnwindSafe>(value: T) -> String {
        let one = value.clone();
        let [two, three]: [Result<T, T>; 2] = [Err(value.clone()), Ok(value)];
        let texts = [
            panicked(move || panic!("{one:?} {one:#?}")),
            panicked(move || two.map(drop).unwrap()),
            panicked(move || three.map_err(drop).expect_err("a word")),
        ];
        texts.concat()
    }
    let mut texts = vec![
        all_ways(key()),
        panicked(|| panic!("{}", key())),
        panicked(|| assert_eq!(key(), Secret::new("another").expect("a key"))),
        all_ways(google()),
        all_ways(google_legacy()),
        all_ways("http://me:CANARY-4fZq91-key@proxy:1".parse::<ProxyUrl>().expect("a proxy")),
    ];
    for (_, mut source) in sources() {
        let fetch = fetch(source.as_mut(), &query());
        texts.push(all_ways(fetch.clone()));
        texts.push(all_ways(fetch.target.clone()));
        texts.push(all_ways(fetch.headers.clone()));
        texts.push(all_ways(network::request(fetch).expect("HTTP")));
    }
    for text in texts {
        assert!(!text.contains("CANARY"), "{text}");
        assert!(!text.is_empty());
    }
}

// The requests.

#[test]
fn google_is_asked_for_a_circle_and_for_the_fields_that_are_paid_for() {
    let fetch = fetch(&mut google(), &query());
    assert_eq!(
        (fetch.scheme, fetch.host.as_str(), fetch.port),
        (Scheme::Https, "places.googleapis.com", 443)
    );
    assert_eq!((fetch.method, fetch.target.reveal()), (Method::Post, "/v1/places:searchNearby"));
    let headers: Vec<(&str, &str)> =
        fetch.headers.iter().map(|(name, value)| (*name, value.reveal())).collect();
    let mask = "places.id,places.displayName,places.location,places.viewport,places.types,\
        places.shortFormattedAddress,places.businessStatus,places.plusCode,places.iconMaskBaseUri,\
        places.iconBackgroundColor,places.photos.name,places.photos.widthPx,places.photos.heightPx,\
        places.photos.authorAttributions,places.attributions";
    assert_eq!(
        headers,
        [("Content-Type", "application/json"), ("X-Goog-Api-Key", KEY), ("X-Goog-FieldMask", mask)]
    );
    assert_eq!(
        String::from_utf8(fetch.body).expect("JSON"),
        r#"{"locationRestriction":{"circle":{"center":{"latitude":34.06893,"longitude":-118.445127},"radius":10500.0}},"maxResultCount":20,"rankPreference":"POPULARITY"}"#
    );
    assert_eq!(fetch.keep, None);
}

#[test]
fn google_is_told_language_rank_and_the_larger_mask_if_they_are_wanted() {
    let language = Some("pt-BR".to_string());
    let mut google = Google { mask: Mask::Full, rank: Rank::Distance, language, ..google() };
    let fetch = fetch(&mut google, &Query { radius_m: 0.0, ..query() });
    let mask = fetch.headers[2].1.reveal();
    let more = ",places.attributions,places.rating,places.userRatingCount,places.priceLevel,\
        places.currentOpeningHours.openNow";
    assert!(mask.ends_with(more) && !mask.contains(' '), "{mask}");
    let body = String::from_utf8(fetch.body).expect("JSON");
    assert!(body.contains(r#""languageCode":"pt-BR""#), "{body}");
    assert!(body.contains(r#""rankPreference":"DISTANCE""#), "{body}");
    assert!(body.contains(r#""radius":1.0"#), "{body}");
}

#[test]
fn legacy_is_asked_with_the_clients_digits_and_exact_metres() {
    let fetch = fetch(&mut google_legacy(), &query());
    assert_eq!(
        (fetch.scheme, fetch.host.as_str(), fetch.port),
        (Scheme::Https, "maps.googleapis.com", 443)
    );
    assert_eq!(fetch.method, Method::Get);
    assert_eq!(
        fetch.target.reveal(),
        "/maps/api/place/nearbysearch/json?location=34.068930,-118.445127&radius=10500&key=CANARY-4fZq91-key"
    );
    assert_eq!(fetch.target.path(), "/maps/api/place/nearbysearch/json");
    assert!(fetch.headers.is_empty() && fetch.body.is_empty() && fetch.keep.is_none());
    let mut german = GoogleLegacy { language: Some("de".to_string()), ..google_legacy() };
    let fetch = self::fetch(&mut german, &query());
    assert!(fetch.target.reveal().contains("&radius=10500&language=de&key="));
}

#[test]
fn photon_is_asked_for_fifty_and_may_be_remembered_for_a_minute() {
    let fetch = fetch(&mut photon(), &query());
    assert_eq!((fetch.scheme, fetch.host.as_str(), fetch.port), (Scheme::Http, "127.0.0.1", 2322));
    assert_eq!(
        fetch.target.reveal(),
        "/photon/reverse?lat=34.068930&lon=-118.445127&radius=10.5&limit=50\
         &osm_tag=amenity&osm_tag=tourism&osm_tag=leisure&osm_tag=shop&osm_tag=historic\
         &osm_tag=railway&osm_tag=aeroway&osm_tag=place&osm_tag=office&osm_tag=healthcare"
    );
    assert_eq!(fetch.keep, Some(Duration::from_secs(60)));
    let mut english = Photon { language: Some("en".to_string()), ..photon() };
    assert!(
        self::fetch(&mut english, &query()).target.reveal().contains("&limit=50&lang=en&osm_tag")
    );
}

#[test]
fn equal_questions_share_a_flight_and_others_do_not() {
    for (name, mut source) in sources() {
        let first = fetch(&mut *source, &query());
        assert_eq!(first, fetch(&mut *source, &query()), "{name}");
        let others = [
            Query { latitude: 34.1, latitude_text: b"+34.1".to_vec(), ..query() },
            Query { longitude: 34.1, longitude_text: b"+34.1".to_vec(), ..query() },
            Query { radius_m: 1.0, radius_text: b"0.001".to_vec(), ..query() },
        ];
        for other in others {
            assert_ne!(first.flight, fetch(&mut *source, &other).flight, "{name}");
        }
        assert!(!String::from_utf8_lossy(&first.flight).contains(KEY), "{name}");
    }
}

// The results.

/// A reply as stored in a file: a status line, headers, a blank line, and the unchanged body.
struct Stored {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Stored {
    fn read(path: &Path) -> Stored {
        let text = fs::read_to_string(path).expect("the file is there");
        let (head, body) = text.split_once("\n\n").expect("a blank line ends the head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_ascii_lowercase(), value.to_string())
        };
        Stored {
            status: status.parse().expect("a status"),
            headers: lines.map(header).collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn reply(&self) -> Reply<'_> {
        let header = |wanted: &str| {
            let found = self.headers.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_bytes())
        };
        Reply {
            status: self.status,
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            retry_after: header("retry-after"),
            date: header("date"),
            body: &self.body,
        }
    }
}

/// The replies that are stored for a source, in order.
fn stored(source: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new("tests/fixtures/places").join(source))
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .collect();
    files.sort();
    files
}

fn described(reading: &ParsedReply) -> String {
    let ParsedReply { answer, retry, log } = reading;
    let mut text = format!("retry: {retry:?}\nlog: {log}\n");
    for bound in [20, 1] {
        let (status, count) = (answer.status(bound), answer.count(bound));
        writeln!(text, "\nbound {bound}: {status}, {count}").expect("a String takes all");
        writeln!(text, "{}", written(answer, bound)).expect("a String takes all");
    }
    text
}

#[test]
fn every_stored_reply_means_what_is_written_beside_it() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    for (name, mut source) in sources() {
        let files = stored(name);
        assert!(files.len() > 5, "{name}");
        for file in files {
            let reading = source.read(&query(), Stored::read(&file).reply());
            let (described, expected) = (described(&reading), file.with_extension("txt"));
            if update {
                fs::write(&expected, &described).expect("the folder can be written");
            }
            let expected = fs::read_to_string(&expected).unwrap_or_default();
            assert!(described == expected, "{}:\n{described}", file.display());
            assert!(!described.contains(KEY), "{}", file.display());
            assert!(!format!("{reading:?} {source:?}").contains("CANARY"), "{}", file.display());
        }
    }
}

#[test]
fn one_answer_serves_askers_with_other_bounds() {
    let stored = Stored::read(Path::new("tests/fixtures/places/google-legacy/classic.http"));
    let answer = Arc::new(google_legacy().read(&query(), stored.reply()).answer);
    let (one, other) = (Arc::clone(&answer), answer);
    for bound in [1, 3, 2] {
        assert_eq!((one.count(bound), other.count(bound)), (bound, bound));
        assert_eq!(written(&one, bound), written(&other, bound));
    }
}

#[test]
fn a_legacy_reply_within_the_bound_is_googles_byte_for_byte() {
    for name in ["classic", "current", "nothing"] {
        let stored = Stored::read(
            &Path::new("tests/fixtures/places/google-legacy").join(name).with_extension("http"),
        );
        let body = String::from_utf8(stored.body.clone()).expect("UTF-8");
        let answer = google_legacy().read(&query(), stored.reply()).answer;
        assert_eq!(written(&answer, 20), body.trim_end_matches('\n'), "{name}");
    }
}

#[test]
fn a_source_that_asks_nothing_can_read_nothing() {
    #[derive(Debug)]
    struct Silent;
    impl Source for Silent {
        fn name(&self) -> &'static str {
            "silent"
        }
        fn nearby(&mut self, _: Ticket, _: &Query) -> Progress {
            Progress::Waiting
        }
    }
    let stored = Stored::read(Path::new("tests/fixtures/places/google/nothing.http"));
    let reading = Silent.read(&query(), stored.reply());
    let Answer::Failed(failure) = reading.answer else { panic!("{reading:?}") };
    assert_eq!((failure.status, reading.retry), (SearchStatus::UnknownError, Retry::No));
}

#[test]
fn no_question_shows_the_key() {
    for (name, mut source) in sources() {
        let fetch = fetch(&mut *source, &query());
        let shown =
            format!("{fetch:?} {fetch:#?} {source:?} {:?} {:?}", fetch.target, fetch.headers);
        assert!(!shown.contains("CANARY"), "{name}: {shown}");
        assert!(!String::from_utf8_lossy(&fetch.body).contains(KEY), "{name}");
    }
}

// Any reply.

/// JSON with the members that the sources read, and with unexpected values for them.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_string()),
        Just("true".to_string()),
        Just("\"OK\"".to_string()),
        Just(format!("\"{KEY}\"")),
        Just("\"PRICE_LEVEL_FREE\"".to_string()),
        Just("\"41s\"".to_string()),
        Just("\"\\ud800 \\n<é>\"".to_string()),
        any::<f64>()
            .prop_map(|number| number.to_string().replace("inf", "1e400").replace("NaN", "0")),
        any::<i32>().prop_map(|number| number.to_string()),
    ];
    let key = prop::sample::select(MEMBERS);
    leaf.prop_recursive(6, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec((key.clone(), inner), 0..8).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(",\n\n"))
            }),
        ]
    })
}

const MEMBERS: &[&str] = &[
    "places",
    "error",
    "results",
    "status",
    "features",
    "id",
    "displayName",
    "text",
    "location",
    "latitude",
    "longitude",
    "viewport",
    "low",
    "high",
    "types",
    "photos",
    "authorAttributions",
    "displayName",
    "uri",
    "attributions",
    "provider",
    "providerUri",
    "plusCode",
    "globalCode",
    "priceLevel",
    "rating",
    "userRatingCount",
    "currentOpeningHours",
    "openNow",
    "code",
    "message",
    "details",
    "reason",
    "retryDelay",
    "error_message",
    "geometry",
    "coordinates",
    "properties",
    "extent",
    "osm_type",
    "osm_id",
    "osm_key",
    "name",
    "street",
    "city",
    "iconMaskBaseUri",
];

/// A place, a feature or an error with some of its members changed.
fn nearly(source: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let bodies: Vec<Vec<u8>> = stored(source).iter().map(|file| Stored::read(file).body).collect();
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    (prop::sample::select(bodies), prop::collection::vec(change, 0..6)).prop_map(
        |(mut body, changes)| {
            for (at, byte, kind) in changes {
                if body.is_empty() {
                    break;
                }
                let at = at.index(body.len());
                match kind {
                    0 => body[at] = byte,
                    1 => drop(body.remove(at)),
                    _ => body.truncate(at),
                }
            }
            body
        },
    )
}

/// What must hold for every result, whatever the reply is.
fn check(source: &mut dyn Source, reply: Reply<'_>) -> Result<(), TestCaseError> {
    let reading = source.read(&query(), reply);
    let source_has_no_key = source.name() == "photon";
    // Photon does not know the key.
    let hides_the_key = |text: &str| source_has_no_key || !text.contains(KEY);
    let shown = format!("{} {reading:?}", reading.log);
    prop_assert!(hides_the_key(&shown), "{}", shown);
    for bound in [1, 7, 20] {
        let (text, answer) = (written(&reading.answer, bound), &reading.answer);
        prop_assert!(hides_the_key(&text), "{}", text);
        prop_assert!(!text.contains("\n\n") && !text.ends_with('\n'), "{}", text);
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) else {
            // Half a surrogate pair, or a number beyond all doubles, is valid by the grammar, so it is passed on
            // unchanged.
            prop_assert_eq!(source.name(), "google-legacy", "{}", text);
            continue;
        };
        prop_assert_eq!(value["status"].as_str(), Some(answer.status(bound)));
        prop_assert_eq!(value["results"].as_array().map(Vec::len), Some(answer.count(bound)));
        prop_assert!(answer.count(bound) <= bound);
    }
    prop_assert!(!reading.log.contains(char::is_control));
    let failed = matches!(reading.answer, Answer::Failed(_));
    prop_assert_eq!(failed, !reading.log.is_empty());
    prop_assert!(failed || reading.retry == Retry::No);
    Ok(())
}

fn reply(status: u16, body: &[u8]) -> Reply<'_> {
    Reply {
        status,
        content_type: Some(b"application/json"),
        content_encoding: None,
        retry_after: None,
        date: None,
        body,
    }
}

proptest! {
    #[test]
    fn no_json_makes_a_source_panic_or_tell_the_key(
        json in json(), wrap in prop::sample::select(vec!["", "places", "results", "features", "error"]),
        status in prop::sample::select(vec![200, 400, 429, 503]),
    ) {
        let json = match wrap {
            "" => json,
            member => format!("{{\"{member}\":[{json}],\"status\":\"OK\"}}"),
        };
        for (_, mut source) in sources() {
            check(&mut *source, reply(status, json.as_bytes()))?;
        }
    }

    #[test]
    fn no_change_to_a_good_reply_makes_a_source_panic(
        google in nearly("google"), legacy in nearly("google-legacy"), photon in nearly("photon"),
        status in prop::sample::select(vec![200, 403]),
    ) {
        for ((_, mut source), body) in sources().into_iter().zip([google, legacy, photon]) {
            check(&mut *source, reply(status, &body))?;
        }
    }

    #[test]
    fn no_bytes_make_a_source_panic(
        status in 200..600_u16,
        body: Vec<u8>,
        headers in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 4),
    ) {
        let reply = Reply {
            status,
            content_type: headers[0].as_deref(),
            content_encoding: headers[1].as_deref(),
            retry_after: headers[2].as_deref(),
            date: headers[3].as_deref(),
            body: &body,
        };
        for (_, mut source) in sources() {
            check(&mut *source, reply)?;
        }
    }

    #[test]
    fn no_query_makes_a_source_panic(
        latitude: f64, longitude: f64, radius_m: f64,
        texts in prop::collection::vec(any::<Vec<u8>>(), 3),
    ) {
        let query = Query {
            latitude, longitude, radius_m,
            latitude_text: texts[0].clone(),
            longitude_text: texts[1].clone(),
            radius_text: texts[2].clone(),
        };
        for (_, mut source) in sources() {
            let fetch = fetch(&mut *source, &query);
            let is_plain = |byte: u8| byte.is_ascii_graphic();
            prop_assert!(fetch.target.reveal().bytes().all(is_plain));
        }
    }
}

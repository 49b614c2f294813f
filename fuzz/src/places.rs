//! The readers of places: files, and replies of providers.

use super::choice;
use places_herd::log::secret::Secret;
use places_herd::places::{
    Answer, BaseUrl, Format, Google, GoogleLegacy, Mask, Photon, PlacesFile, Progress, Query, Rank,
    Reply, Source, Ticket,
};

const KEY: &str = "CANARY-4fZq91-key";

fn query() -> Query {
    Query {
        latitude: 34.06893,
        longitude: -118.445127,
        latitude_text: b"+34.068930".to_vec(),
        longitude_text: b"-118.445127".to_vec(),
        radius_m: 10_000.0,
        radius_text: b"10".to_vec(),
    }
}

/// For any reply, the answer is JSON without a blank line or the key, and has at most `bound` results.
///
/// `key`: the source's key, if it has one.
fn read_reply(mut source: impl Source, key: Option<&str>, data: &[u8]) {
    let (seed, body) = choice(data);
    let status = [200, 200, 200, 200, 400, 403, 429, 503][usize::from(seed % 8)];
    let reply = Reply {
        status,
        content_type: (seed & 8 == 0).then_some(b"application/json".as_slice()),
        content_encoding: None,
        retry_after: None,
        date: None,
        body,
    };
    let reading = source.read(&query(), reply);
    assert!(!key.is_some_and(|key| reading.log.contains(key)) && !reading.log.contains('\n'));
    is_well_written(&reading.answer, key);
}

/// Checks that the answer is JSON without a blank line, the key, or more results than `bound`.
fn is_well_written(answer: &Answer, key: Option<&str>) {
    for bound in [1, 20] {
        let mut out = Vec::new();
        answer.write(bound, &mut out);
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        assert!(!text.contains("\n\n") && !text.ends_with('\n'), "{text}");
        assert!(!key.is_some_and(|key| text.contains(key)), "{text}");
        let read: serde_json::Value = serde_json::from_str(&with_whole_surrogates(&text))
            .unwrap_or_else(|e| panic!("{e}: {text}"));
        let results = read["results"].as_array().map_or(0, Vec::len);
        assert!(results <= bound, "{results} of {bound}");
    }
}

/// Returns `text` with U+FFFD in place of each escaped surrogate: the legacy source passes on a lone surrogate
/// unchanged, and serde_json, the oracle here, rejects it.
fn with_whole_surrogates(text: &str) -> String {
    let mut parts = text.split("\\u");
    let mut whole = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let is_surrogate = part.as_bytes().first().is_some_and(|byte| matches!(byte, b'd' | b'D'))
            && part.as_bytes().get(1).is_some_and(|byte| !(b'0'..=b'7').contains(byte));
        whole.push_str("\\u");
        whole.push_str(if is_surrogate { "fffd" } else { part.get(..4).unwrap_or(part) });
        whole.push_str(part.get(4..).unwrap_or_default());
    }
    whole
}

fn base(url: &str) -> BaseUrl {
    url.parse().expect("it is a URL")
}

fn key() -> Secret {
    Secret::new(KEY).expect("it is a key")
}

/// Reads a reply of Google's Places API (New).
pub fn places_google(data: &[u8]) {
    read_reply(
        Google {
            base: base("https://places.googleapis.com"),
            key: key(),
            mask: Mask::Full,
            rank: Rank::Prominence,
            language: None,
        },
        Some(KEY),
        data,
    );
}

/// Reads a reply of Google's legacy Nearby Search.
pub fn places_legacy(data: &[u8]) {
    let base = base("https://maps.googleapis.com");
    read_reply(GoogleLegacy { base, key: key(), language: None }, Some(KEY), data);
}

/// Reads a reply of Photon.
pub fn places_photon(data: &[u8]) {
    read_reply(Photon { base: base("http://127.0.0.1:2322"), language: None }, None, data);
}

/// A file is accepted as a whole, or every fault is reported with its line. Results are near, and well
/// formed.
pub fn places_file(data: &[u8]) {
    let (seed, bytes) = choice(data);
    let format = if seed & 1 == 0 { Format::GeoNames } else { Format::GeoJson };
    let rank = if seed & 2 == 0 { Rank::Prominence } else { Rank::Distance };
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    let mut file = match PlacesFile::parse(bytes, format, rank) {
        Ok(file) => file,
        Err(faults) => {
            assert!((1..=21).contains(&faults.len()));
            for fault in &faults {
                assert!(fault.line <= lines && !fault.to_string().contains('\n'), "{fault}");
            }
            return;
        }
    };
    assert!(file.count() > 0);
    // A record has at least one byte.
    assert!(file.count() + file.passed_over() <= bytes.len());
    for (latitude, longitude) in [
        (34.06893, -118.445127),
        (0.0, 0.0),
        (90.0, 0.0),
        (-90.0, 7.0),
        (0.1, 180.0),
        (0.0, -180.0),
    ] {
        let query = Query { latitude, longitude, radius_m: 50_000.0, ..query() };
        let Progress::Answered(answer) = file.nearby(Ticket(1), &query) else {
            panic!("a file answers at once");
        };
        is_well_written(&answer, None);
        let Answer::Found(found) = answer else { panic!("it has no other answer") };
        assert!(found.places.len() <= file.count().min(20));
        let far: Vec<f64> = found.places.iter().map(|p| query.distance_m(p.location)).collect();
        assert!(far.iter().all(|metres| *metres <= query.radius_m + 1.0), "{far:?}");
        if rank == Rank::Distance {
            assert!(far.windows(2).all(|pair| pair[0] <= pair[1] + 1.0), "{far:?}");
        }
        for place in &found.places {
            assert!(!place.name.is_empty() && !place.name.contains(char::is_control));
        }
    }
}

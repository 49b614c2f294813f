//! Both of Google's interfaces to Nearby Search, as far as a client can tell: the same requests, layouts and
//! errors, with places that are made up.
//!
//! In: a request. Out: a response. Around each point there are twenty places, always the same, so that a reader can
//! match an answer to its question.
//!
//! * `POST /v1/places:searchNearby`: Places API (New). The key and the mask are in headers; the answer contains
//!   only the fields of the mask; errors have an HTTP status.
//! * `GET /maps/api/place/nearbysearch/json`: legacy. The key is in the URL; errors come with status 200.
//!
//! Source: Google's reference of both. No text and no place is copied from there.

use super::with_status;
use serde_json::{Map, Value, json};

/// The header field for a JSON body.
pub const JSON: &str = "Content-Type: application/json; charset=UTF-8\r\n";

/// Number of places around each point, and the most in an answer.
const PLACES: usize = 20;

/// One degree of latitude in metres.
const DEGREE_M: f64 = 111_195.0;

/// One of the two interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    New,
    Legacy,
}

impl Api {
    /// The value of `source` in a topology.
    pub fn source(self) -> &'static str {
        match self {
            Api::New => "google",
            Api::Legacy => "google-legacy",
        }
    }

    /// Google's real URL.
    pub fn host(self) -> &'static str {
        match self {
            Api::New => "places.googleapis.com",
            Api::Legacy => "maps.googleapis.com",
        }
    }
}

/// The fake service.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The only valid key; `None`: any key is valid.
    pub key: Option<String>,
}

/// A request in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    pub method: &'r str,
    pub path: &'r str,
    query: &'r str,
    head: &'r str,
    body: &'r [u8],
}

impl<'r> Request<'r> {
    /// `None` if the text is not a request.
    pub fn read(bytes: &'r [u8]) -> Option<Request<'r>> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (line, head) = str::from_utf8(&bytes[..end]).ok()?.split_once("\r\n")?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Request { method, path, query, head, body: &bytes[end + 4..] })
    }

    pub fn header(&self, name: &str) -> Option<&'r str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The decoded value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(its, _)| *its == name)?;
        let mut pieces = value.split('%');
        let mut text = pieces.next()?.as_bytes().to_vec();
        for piece in pieces {
            text.push(u8::from_str_radix(piece.get(..2)?, 16).ok()?);
            text.extend_from_slice(&piece.as_bytes()[2..]);
        }
        String::from_utf8(text).ok()
    }

    /// The request line, without the key.
    pub fn line(&self) -> String {
        let open = self.query.split('&').map(|pair| match pair.split_once('=') {
            Some(("key", _)) => "key=***",
            _ => pair,
        });
        let query = open.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{} {}{mark}{query}", self.method, self.path)
    }
}

impl Places {
    /// The response to a request.
    pub fn answer(&self, request: &[u8]) -> Vec<u8> {
        let Some(request) = Request::read(request) else {
            return with_status("400 Bad Request", "Content-Length: 0\r\n", b"");
        };
        match (request.method, request.path) {
            ("POST", "/v1/places:searchNearby") => match self.search(&request) {
                Ok(found) => response("200 OK", "", &pretty(&found)),
                Err(error) => error.response(""),
            },
            ("GET", "/maps/api/place/nearbysearch/json") => {
                let found = self.search_legacy(&request);
                let found = found.unwrap_or_else(|(status, text)| refusal(status, text));
                response("200 OK", "", &legacy_text(&found))
            }
            _ => response("404 Not Found", "", b"{}"),
        }
    }

    /// The response of Places API (New).
    fn search(&self, request: &Request<'_>) -> Result<Value, Error> {
        let key = request.header("X-Goog-Api-Key").ok_or(Error {
            reason: None,
            ..Error::new("403 Forbidden", "PERMISSION_DENIED", "Unregistered callers may not call.")
        })?;
        if self.key.as_ref().is_some_and(|good| good != key) {
            let text = "API key not valid. Please pass a valid API key.";
            let error = Error::new("400 Bad Request", "INVALID_ARGUMENT", text);
            return Err(Error { reason: Some("API_KEY_INVALID"), ..error });
        }
        let invalid = |text| Error::new("400 Bad Request", "INVALID_ARGUMENT", text);
        let mask = request
            .header("X-Goog-FieldMask")
            .ok_or_else(|| invalid("FieldMask is a required parameter."))?;
        let question: Value =
            serde_json::from_slice(request.body).map_err(|_| invalid("Invalid JSON payload."))?;
        let circle = &question["locationRestriction"]["circle"];
        let number = |value: &Value| value.as_f64();
        let (Some(latitude), Some(longitude), Some(radius)) = (
            number(&circle["center"]["latitude"]),
            number(&circle["center"]["longitude"]),
            number(&circle["radius"]),
        ) else {
            return Err(invalid("A circle is required."));
        };
        if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
            return Err(invalid("The center is nowhere."));
        }
        if !(0.0..=50_000.0).contains(&radius) {
            return Err(invalid("Radius must be between 0 and 50000."));
        }
        let count = question.get("maxResultCount").map_or(Some(20), Value::as_u64);
        let count = count.filter(|count| (1..=20).contains(count));
        let count = count.ok_or_else(|| invalid("maxResultCount must be between 1 and 20."))?;
        let places = (0..PLACES.min(count as usize)).map(|number| {
            let place = json!({ "places": place(number, latitude, longitude, radius) });
            masked(&place, &mask.split(',').collect::<Vec<_>>())["places"].take()
        });
        Ok(json!({ "places": places.collect::<Vec<_>>() }))
    }

    /// The response of Nearby Search (legacy).
    fn search_legacy(&self, request: &Request<'_>) -> Result<Value, (&'static str, &'static str)> {
        let key = request.parameter("key").filter(|key| !key.is_empty());
        let key = key.ok_or(("REQUEST_DENIED", "A key is needed to use this API."))?;
        if self.key.as_ref().is_some_and(|good| *good != key) {
            return Err(("REQUEST_DENIED", "The provided API key is invalid."));
        }
        let point = request.parameter("location");
        let point = point.as_ref().and_then(|text| text.split_once(','));
        let point = point.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let radius = request.parameter("radius").and_then(|text| text.parse::<f64>().ok());
        let (Some((latitude, longitude)), Some(radius)) = (point, radius) else {
            return Err(("INVALID_REQUEST", "location and radius are required."));
        };
        let radius = radius.min(50_000.0);
        let results =
            (0..PLACES).map(|number| legacy_place(&place(number, latitude, longitude, radius)));
        Ok(json!({
            "html_attributions": [],
            "next_page_token": "ADoubleHasNoSecondPage",
            "results": results.collect::<Vec<_>>(),
            "status": "OK",
        }))
    }
}

/// An error of the new interface.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// The status and its reason in the status line.
    pub http: &'static str,
    pub status: &'static str,
    pub message: &'static str,
    pub reason: Option<&'static str>,
    /// The delay in `google.rpc.RetryInfo`.
    pub retry_delay: Option<&'static str>,
}

impl Error {
    pub const fn new(http: &'static str, status: &'static str, message: &'static str) -> Error {
        Error { http, status, message, reason: None, retry_delay: None }
    }

    /// The response, with additional header fields, each with its line end.
    pub fn response(&self, fields: &str) -> Vec<u8> {
        response(self.http, fields, &self.body())
    }

    pub fn body(&self) -> Vec<u8> {
        let code: u16 = self.http[..3].parse().expect("a status begins with its number");
        let mut error = json!({ "code": code, "message": self.message, "status": self.status });
        let info = self.reason.map(|reason| {
            json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": { "service": "places.googleapis.com" },
            })
        });
        let retry = self.retry_delay.map(|delay| {
            json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay })
        });
        let details: Vec<Value> = info.into_iter().chain(retry).collect();
        if !details.is_empty() {
            error["details"] = details.into();
        }
        pretty(&json!({ "error": error }))
    }
}

/// An error of the old interface.
pub fn refusal(status: &str, text: &str) -> Value {
    json!({ "error_message": text, "html_attributions": [], "results": [], "status": status })
}

/// A JSON response.
pub fn response(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    with_status(status, &format!("{JSON}{fields}Content-Length: {length}\r\n"), body)
}

/// The body of a response with a Content-Length.
pub fn body(response: &[u8]) -> &[u8] {
    let end = response.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    &response[end..]
}

/// The location of each made-up place, and its kind.
const SIGHTS: [(&str, &str, &str); PLACES] = [
    ("Lantern & Sons Hardware", "hardware_store", "store"),
    ("The Second Cup", "cafe", "food"),
    ("Museum of Small Inventions", "museum", "tourist_attraction"),
    ("Pear Tree Bakery", "bakery", "food"),
    ("Northgate Library", "library", "establishment"),
    ("Café Größenwahn", "cafe", "food"),
    ("Meridian Hotel", "hotel", "lodging"),
    ("Tin Roof \"Live\"", "bar", "food"),
    ("Old Harbour Park", "park", "tourist_attraction"),
    ("Copper Kettle", "restaurant", "food"),
    ("Quarter Past Books", "book_store", "store"),
    ("Hilltop Observatory", "tourist_attraction", "establishment"),
    ("Clinic of the Four Winds", "hospital", "health"),
    ("Bluebird Cinema", "movie_theater", "establishment"),
    ("Saffron & Salt", "restaurant", "food"),
    ("Riverside Baths", "gym", "health"),
    ("Post Office Lane", "post_office", "establishment"),
    ("Green Door Pharmacy", "pharmacy", "health"),
    ("Velvet Lounge", "bar", "food"),
    ("Last Stop Diner", "restaurant", "food"),
];

/// The place with this number around a point, with all fields of the full mask.
fn place(number: usize, latitude: f64, longitude: f64, radius: f64) -> Value {
    let (name, kind, family) = SIGHTS[number];
    // The places form a spiral outwards that ends within the circle.
    let angle = 2.4 * number as f64;
    let away = radius * (number + 1) as f64 / (PLACES + 1) as f64;
    let lat = (latitude + away * angle.cos() / DEGREE_M).clamp(-90.0, 90.0);
    let narrow = latitude.to_radians().cos().max(1e-6);
    let lng = longitude + away * angle.sin() / (DEGREE_M * narrow);
    let lng = (lng + 540.0).rem_euclid(360.0) - 180.0;
    let [lat, lng] = [lat, lng].map(rounded);
    let corner = |by: f64| json!({ "latitude": rounded(lat + by), "longitude": rounded(lng + by) });
    let id = format!("ChIJdouble{number:017}");
    let author = format!("https://maps.example/contrib/{number:010}");
    json!({
        "id": id,
        "types": [kind, family, "point_of_interest", "establishment"],
        "plusCode": {
            "globalCode": format!("85632H9{}+{}", number % 9 + 1, "XQ"),
            "compoundCode": format!("2H9{}+XQ Doubletown", number % 9 + 1),
        },
        "location": { "latitude": lat, "longitude": lng },
        "viewport": { "low": corner(-0.001_349), "high": corner(0.001_349) },
        "businessStatus": "OPERATIONAL",
        "iconMaskBaseUri": "https://maps.gstatic.com/mapfiles/place_api/icons/v2/generic_pinlet",
        "iconBackgroundColor": "#7B9EB0",
        "displayName": { "text": name, "languageCode": "en" },
        "shortFormattedAddress": format!("{} Example Street, Doubletown", 10 + 7 * number),
        "photos": [{
            "name": format!("places/{id}/photos/ADouble{number:020}"),
            "widthPx": 4_032,
            "heightPx": 3_024,
            "authorAttributions": [{
                "displayName": format!("Walker {number}"),
                "uri": author,
                "photoUri": format!("//maps.example/{number}"),
            }],
        }],
        "rating": 3.0 + (number % 20) as f64 / 10.0,
        "userRatingCount": 12 + 31 * number,
        "priceLevel": "PRICE_LEVEL_MODERATE",
        "currentOpeningHours": { "openNow": !number.is_multiple_of(3) },
    })
}

/// Rounds to about a centimetre.
fn rounded(degrees: f64) -> f64 {
    (degrees * 1e7).round() / 1e7
}

/// Returns `place` in the format of the old interface.
fn legacy_place(place: &Value) -> Value {
    let point = |point: &Value| json!({ "lat": point["latitude"], "lng": point["longitude"] });
    let photo = &place["photos"][0];
    let author = &photo["authorAttributions"][0];
    let thanks = format!(
        "<a href=\"{}\">{}</a>",
        author["uri"].as_str().unwrap(),
        author["displayName"].as_str().unwrap()
    );
    json!({
        "business_status": place["businessStatus"],
        "geometry": {
            "location": point(&place["location"]),
            "viewport": {
                "northeast": point(&place["viewport"]["high"]),
                "southwest": point(&place["viewport"]["low"]),
            },
        },
        "icon": "https://maps.gstatic.com/mapfiles/place_api/icons/v1/png_71/generic_business-71.png",
        "icon_background_color": place["iconBackgroundColor"],
        "icon_mask_base_uri": place["iconMaskBaseUri"],
        "name": place["displayName"]["text"],
        "opening_hours": { "open_now": place["currentOpeningHours"]["openNow"] },
        "photos": [{
            "height": photo["heightPx"],
            "html_attributions": [thanks],
            "photo_reference": photo["name"],
            "width": photo["widthPx"],
        }],
        "place_id": place["id"],
        "plus_code": {
            "compound_code": place["plusCode"]["compoundCode"],
            "global_code": place["plusCode"]["globalCode"],
        },
        "price_level": 2,
        "rating": place["rating"],
        "reference": place["id"],
        "scope": "GOOGLE",
        "types": place["types"],
        "user_ratings_total": place["userRatingCount"],
        "vicinity": place["shortFormattedAddress"],
    })
}

/// The parts of `value` that the paths name: `a.b` names `b` of each `a`, and `a` all of it.
fn masked(value: &Value, paths: &[&str]) -> Value {
    if paths.contains(&"") {
        return value.clone();
    }
    match value {
        Value::Array(items) => items.iter().map(|item| masked(item, paths)).collect(),
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, member) in members {
                let below = paths.iter().filter_map(|path| {
                    let rest = path.strip_prefix(name.as_str())?;
                    if rest.is_empty() { Some("") } else { rest.strip_prefix('.') }
                });
                let below: Vec<&str> = below.collect();
                if !below.is_empty() {
                    kept.insert(name.clone(), masked(member, &below));
                }
            }
            Value::Object(kept)
        }
        _ => value.clone(),
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text
}

/// JSON in the old interface's layout: three spaces per level, and one before each colon.
pub fn legacy_text(value: &Value) -> Vec<u8> {
    let mut text = String::new();
    write_legacy(value, 0, &mut text);
    text.push('\n');
    text.into_bytes()
}

fn write_legacy(value: &Value, depth: usize, text: &mut String) {
    let (opening, closing, items): (_, _, Vec<(String, &Value)>) = match value {
        Value::Array(items) => ('[', ']', items.iter().map(|item| (String::new(), item)).collect()),
        Value::Object(members) => {
            let named = members.iter().map(|(name, member)| (format!("\"{name}\" : "), member));
            ('{', '}', named.collect())
        }
        scalar => return text.push_str(&scalar.to_string()),
    };
    text.push(opening);
    let indent = |depth: usize| format!("\n{}", "   ".repeat(depth));
    for (number, (name, item)) in items.iter().enumerate() {
        text.push_str(if number == 0 { "" } else { "," });
        text.push_str(&indent(depth + 1));
        text.push_str(name);
        write_legacy(item, depth + 1, text);
    }
    if !items.is_empty() {
        text.push_str(&indent(depth));
    }
    text.push(closing);
}

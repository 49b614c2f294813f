//! A reply of Google's own Nearby Search, cut to the bound and passed on.
//!
//! In: the bytes of a reply. Out: a [`Page`] of the same bytes. So the layout, the digits of every number and unknown
//! members are preserved.
//!
//! Two other things are changed. Runs of newlines become one, and none is left at either end, because a blank line ends
//! the reply to a WHATSAT; a JSON string contains no newline. And a result whose location, or a part of it, is null
//! or a string is not a place, so it is removed with its comma.

use std::borrow::Cow;

use super::BOUND_MAX;
use super::page::Page;
use super::raw_json::{Json, NotJson};

/// The meaning of a document from Nearby Search.
#[derive(Debug, PartialEq)]
pub(super) enum LegacyReply {
    /// A reply with places, or with an empty list of them.
    Places(Page),
    /// An error, with its status and its message.
    Refusal(String, String),
    /// Another document.
    Other,
}

impl LegacyReply {
    /// Parses a reply.
    pub(super) fn read(body: &[u8]) -> Result<LegacyReply, NotJson> {
        let text = without_blank_lines(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
        let (mut results, mut status, mut message) = (None, None, None);
        // If a member appears twice, readers differ in which one they take, so the document is rejected.
        let mut is_ambiguous = false;
        Json::document(&text)?.each_member(|key, value| match key {
            "results" => is_ambiguous |= results.replace(value).is_some(),
            "status" => is_ambiguous |= status.replace(value).is_some(),
            "error_message" => message = value.text(),
            _ => {}
        });
        let found = |status| {
            let page = results.and_then(|results| page(&text, results, status));
            page.map_or(LegacyReply::Other, LegacyReply::Places)
        };
        Ok(match status.and_then(Json::text).as_deref() {
            _ if is_ambiguous => LegacyReply::Other,
            None => LegacyReply::Other,
            Some("OK") => found("OK"),
            Some("ZERO_RESULTS") => found("ZERO_RESULTS"),
            Some(other) => {
                LegacyReply::Refusal(other.to_string(), message.unwrap_or_default().into_owned())
            }
        })
    }
}

/// The page for `text`, without the results that have no location or exceed a page. `None` if `results`, which is a
/// part of `text`, is not an array.
fn page(text: &[u8], results: Json<'_>, status: &'static str) -> Option<Page> {
    let start = |part: Json<'_>| part.as_str().as_ptr().addr() - text.as_ptr().addr();
    let mut end = start(results) + 1;
    let (mut kept, mut ends, mut first) = (text[..end].to_vec(), vec![end], None);
    let is_array = results.each_item(|result| {
        let start = start(result);
        let before = std::mem::replace(&mut end, start + result.as_str().len());
        let first = *first.get_or_insert(start);
        if ends.len() <= BOUND_MAX && !is_nowhere(result) {
            // The white space of the list precedes the first result; a comma and white space precede the others.
            let separator = if ends.len() == 1 { ends[0]..first } else { before..start };
            kept.extend_from_slice(&text[separator]);
            kept.extend_from_slice(&text[start..end]);
            ends.push(kept.len());
        }
    });
    kept.extend_from_slice(&text[end..]);
    is_array.then(|| Page::new(kept, ends, status))
}

/// Whether the location of a result, or a part of it, is null or a string.
fn is_nowhere(result: Json<'_>) -> bool {
    let geometry = result.member("geometry");
    let location = geometry.member("location");
    let [latitude, longitude] = location.members(["lat", "lng"]);
    let parts = [geometry, location, latitude, longitude];
    parts.iter().any(|part| part.as_str().starts_with(['n', '"']))
}

/// The non-empty lines of `text`, which end with LF, CR or both, joined by newlines.
fn without_blank_lines(text: &[u8]) -> Cow<'_, [u8]> {
    let is_newline = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_newline(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_newline(byte)).map_or(start, |last| last + 1);
    let text = &text[start..end];
    // This is the format in which Google sends it.
    if memchr::memchr(b'\r', text).is_none() && memchr::memmem::find(text, b"\n\n").is_none() {
        return text.into();
    }
    let mut lines = Vec::with_capacity(text.len());
    for line in text.split(is_newline).filter(|line| !line.is_empty()) {
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        lines.extend_from_slice(line);
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Page {
        match LegacyReply::read(text.as_bytes()) {
            Ok(LegacyReply::Places(page)) => page,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn cut(text: &str, bound: usize) -> String {
        let mut out = Vec::new();
        read(text).write(bound, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_cut_takes_the_comma_and_leaves_the_rest() {
        let text = "{\n \"results\" : [\n  {\"a\":1.50},\n  2 ,\n  []\n ],\n \"status\" : \"OK\"}";
        assert_eq!(cut(text, 3), text);
        assert_eq!(cut(text, 20), text);
        assert_eq!(
            cut(text, 2),
            "{\n \"results\" : [\n  {\"a\":1.50},\n  2\n ],\n \"status\" : \"OK\"}"
        );
        assert_eq!(cut(text, 1), "{\n \"results\" : [\n  {\"a\":1.50}\n ],\n \"status\" : \"OK\"}");
        assert_eq!(cut(text, 0), "{\n \"results\" : [\n ],\n \"status\" : \"OK\"}");
        assert_eq!((read(text).count(2), read(text).count(20)), (2, 3));
    }

    #[test]
    fn a_result_whose_location_is_null_or_a_text_is_left_out() {
        let bar = r#"{"geometry":{"location":{"lat":1.50,"lng":-2}},"name":"Bar"}"#;
        for nowhere in [
            bar.replace(r#"{"location":{"lat":1.50,"lng":-2}}"#, "null"),
            bar.replace(r#"{"location":{"lat":1.50,"lng":-2}}"#, "\"POINT(1 2)\""),
            bar.replace(r#"{"lat":1.50,"lng":-2}"#, "null"),
            bar.replace(r#"{"lat":1.50,"lng":-2}"#, "\"1,2\""),
            bar.replace("1.50", "null"),
            bar.replace("1.50", "\"1.50\""),
            bar.replace("-2", "null"),
            bar.replace("-2", "\"-2\""),
            bar.replace("lng\":-2", "\\u006cng\":null"),
        ] {
            let page = |items: &str, status: &str| {
                let items = items.replace('B', bar).replace('N', &nowhere);
                format!("{{\"a\" : null, \"results\" : [{items}], \"status\" : \"{status}\"}}")
            };
            for (items, kept) in [
                ("\n  N,\n  B\n ", "\n  B\n "),
                ("\n  N ,N,\n  B,B\n ", "\n  B,B\n "),
                ("\n  B,\n  N,\n  B\n ", "\n  B,\n  B\n "),
                ("B , N,N", "B"),
                ("\n  N,\n  B,\n N\n,B,N\n ", "\n  B\n,B\n "),
                ("\n  N\n ", "\n "),
                ("N,N", ""),
            ] {
                for status in ["OK", "ZERO_RESULTS"] {
                    assert_eq!(cut(&page(items, status), 20), page(kept, status), "{nowhere}");
                }
            }
            assert_eq!(cut(&page("N,B,N,B", "OK"), 1), page("B", "OK"), "the bound counts places");
            let many = page(&format!("{}B", "N,".repeat(30)), "OK");
            assert_eq!(cut(&many, 20), page("B", "OK"));
        }
    }

    #[test]
    fn a_result_with_another_location_or_none_stays() {
        for item in [
            "{}",
            "null",
            r#"{"geometry":{}}"#,
            r#"{"geometry":{"location":{}}}"#,
            r#"{"geometry":{"location":{"lat":0,"lng":0.0e1}}}"#,
            r#"{"geometry":{"location":{"lat":1,"lng":2},"viewport":null,"lat":null}}"#,
            r#"{"location":null,"lat":"1","a":{"geometry":null}}"#,
        ] {
            let text = format!(r#"{{"results":[{item} , {item}],"status":"OK","geometry":null}}"#);
            assert_eq!(cut(&text, 20), text);
        }
    }

    #[test]
    fn more_than_a_page_is_cut_to_a_page() {
        let text = format!(r#"{{"results":[{}0],"status":"OK"}}"#, "0,".repeat(30));
        let value: Value = serde_json::from_str(&cut(&text, usize::MAX)).unwrap();
        assert_eq!(value["results"].as_array().unwrap().len(), BOUND_MAX);
        assert_eq!(read(&text).text, cut(&text, BOUND_MAX).as_bytes(), "no more is kept");
    }

    #[test]
    fn runs_of_newlines_become_one_and_none_is_at_an_end() {
        let text = "\r\n\n{\"results\" : \r\n\r\n[\n\n\n{}\r,{}\n\n],\n\"status\":\"ZERO_RESULTS\"\n}\r\n\n";
        assert_eq!(
            cut(text, 20),
            "{\"results\" : \n[\n{}\n,{}\n],\n\"status\":\"ZERO_RESULTS\"\n}"
        );
        assert_eq!(cut(text, 0), "{\"results\" : \n[\n],\n\"status\":\"ZERO_RESULTS\"\n}");
        assert_eq!(read(text).status, "ZERO_RESULTS");
    }

    #[test]
    fn a_byte_order_mark_is_not_passed_on() {
        let text = r#"{"results":[1],"status":"OK"}"#;
        assert_eq!(cut(&format!("\u{feff}{text}"), 20), text);
    }

    #[test]
    fn results_deeper_down_are_not_the_results() {
        let text = r#"{"a":{"results":[1,2,3],"status":"NO"},"results":[[1,2],3],"status":"OK"}"#;
        assert_eq!(cut(text, 1), text.replace("],3]", "]]"));
    }

    #[test]
    fn what_is_no_reply_with_places_is_something_else() {
        for text in [
            "{}",
            "[]",
            "7",
            r#"{"results":[]}"#,
            r#"{"status":"OK"}"#,
            r#"{"status":"OK","results":{}}"#,
            r#"{"status":7,"results":[]}"#,
            r#"{"status":"OK","results":[],"results":[1]}"#,
            r#"{"status":"OK","results":[],"status":"OK"}"#,
            r#"{"status":"OK","results":[],"r\u0065sults":[1]}"#,
        ] {
            assert_eq!(LegacyReply::read(text.as_bytes()), Ok(LegacyReply::Other), "{text}");
        }
        let refusal = r#"{"error_message":"no","results":[],"status":"REQUEST_DENIED"}"#;
        let expected = LegacyReply::Refusal("REQUEST_DENIED".to_string(), "no".to_string());
        assert_eq!(LegacyReply::read(refusal.as_bytes()), Ok(expected));
        let spoilt = r#"{"error_message":"\ud800","status":"\udc00","results":null}"#;
        let expected = LegacyReply::Refusal("\u{fffd}".to_string(), "\u{fffd}".to_string());
        assert_eq!(LegacyReply::read(spoilt.as_bytes()), Ok(expected));
        for text in ["", "<html>", r#"{"status":"OK","results":[]"#, "{\"a\":\"\n\"}"] {
            assert!(LegacyReply::read(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_of_googles_is_in_debug() {
        let shown = format!("{:?}", read(r#"{"results":["Bar Nil"],"status":"OK"}"#));
        assert_eq!(shown, "Page { bytes: 37, results: 1, status: \"OK\" }");
    }

    /// Values that are serialized by serde in one of two layouts, or with random blank lines.
    fn document() -> impl Strategy<Value = (String, usize)> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            // The text has no colon, because the last layout inserts its blank lines there.
            "[^:]{0,8}".prop_map(Value::from),
            Just(json!("\n\n\\\"[{,")),
        ];
        let value = leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,7}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        let results = prop::collection::vec(value.clone(), 0..25);
        (results, value, 0..4_u8).prop_map(|(results, other, layout)| {
            let count = results.len();
            let value = json!({ "a": other, "results": results, "status": "OK", "z": other });
            let text = match layout {
                0 => value.to_string(),
                1 => serde_json::to_string_pretty(&value).unwrap(),
                2 => serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n\r\n"),
                _ => format!("\n\n {}\n\n", value.to_string().replace("\":", "\" : \n\n")),
            };
            (text, count)
        })
    }

    proptest! {
        #[test]
        fn any_cut_parses_and_has_the_same_first_results((text, count) in document(), bound in 1..=20_usize) {
            let whole: Value = serde_json::from_str(&text).unwrap();
            let (page, cut) = (read(&text), cut(&text, bound));
            let kept = count.min(bound);
            prop_assert_eq!(page.count(bound), kept);

            let mut expected = whole;
            expected["results"].as_array_mut().unwrap().truncate(kept);
            prop_assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), expected);

            // The text is unchanged up to the end of the last kept result, and from the end of the last result on.
            let end = page.ends[kept];
            let after = &page.text[*page.ends.last().unwrap()..];
            prop_assert_eq!(&cut.as_bytes()[..end], &page.text[..end]);
            prop_assert_eq!(&cut.as_bytes()[end..], after);
            let reply = without_blank_lines(text.as_bytes());
            prop_assert!(reply.starts_with(&cut.as_bytes()[..end]) && reply.ends_with(after));
            prop_assert!(!cut.contains("\n\n") && !cut.contains('\r'));
            prop_assert!(!cut.starts_with('\n') && !cut.ends_with('\n'));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = LegacyReply::read(&bytes);
        }
    }
}

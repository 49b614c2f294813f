//! The OpenAPI document, which describes every route of this port but the page.
//!
//! It is written by hand. Tests compare its paths and methods with the table of routes, and check that it lists the status
//! of every answer that they get.

use super::conditional::{etag, is_known, known_etags, not_modified, tagged};
use super::exchange::{Ask, HttpAnswer};
use crate::http::HttpReply;
use crate::server::member::Cx;
use twox_hash::XxHash3_64;

/// The document.
static DOCUMENT: &str = include_str!("openapi.json");

/// GET /openapi.json
pub(super) fn document(_: &mut Cx<'_>, ask: &mut Ask<'_>) -> HttpAnswer {
    let etag = etag(XxHash3_64::oneshot(DOCUMENT.as_bytes()));
    match is_known(&known_etags(ask.head), &etag) {
        true => not_modified(&etag).into(),
        false => tagged(HttpReply::json(200, DOCUMENT.as_bytes()), &etag).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).expect("JSON")
    }

    #[test]
    fn its_paths_and_methods_are_those_of_the_routes() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let listed: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().expect("operations").keys();
                methods.map(move |method| (path.as_str(), method.to_ascii_uppercase()))
            })
            .collect();
        let page = ["/", "/assets/{file}"];
        let routes = ROUTES.iter().filter(|route| !page.contains(&route.path));
        let routed: BTreeSet<_> = routes
            .flat_map(|route| route.methods().map(|it| (route.path, it.as_str().to_owned())))
            .collect();
        assert_eq!(listed, routed);
    }

    #[test]
    fn every_operation_lists_its_statuses_and_no_schema_is_free() {
        let document = document();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let responses = operation["responses"].as_object().expect("responses");
                let name = format!("{method} {path}");
                assert!(!responses.contains_key("default"), "{name}");
                // What the reader of requests and the router may answer to any request.
                for status in [
                    "200", "400", "408", "413", "414", "415", "417", "421", "431", "501", "503",
                    "505",
                ] {
                    assert!(responses.contains_key(status), "{name}: {status}");
                }
                assert_eq!(responses.contains_key("411"), method == "put", "{name}");
                let is_guarded = operation["security"].is_null();
                assert_eq!(responses.contains_key("401"), is_guarded, "{name}");
                assert_eq!(responses.contains_key("403"), is_guarded, "{name}");
            }
        }
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for (name, schema) in schemas {
            let is_typed = !schema["type"].is_null() || !schema["anyOf"].is_null();
            assert!(is_typed && schema["additionalProperties"] != true, "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_part_is_used() {
        let document = document();
        let parts = ["schemas", "responses", "parameters", "headers"];
        let used: BTreeSet<_> = DOCUMENT
            .split("\"$ref\": \"#/components/")
            .skip(1)
            .map(|rest| rest.split('"').next().expect("a target").to_owned())
            .collect();
        let defined: BTreeSet<_> = parts
            .into_iter()
            .flat_map(|part| {
                let all = document["components"][part].as_object().expect("parts");
                all.keys().map(move |name| format!("{part}/{name}"))
            })
            .collect();
        assert_eq!(used, defined);
    }
}

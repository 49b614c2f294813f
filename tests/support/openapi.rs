//! The OpenAPI document as an oracle: a test that gets an answer asks whether the document lists it.

use serde_json::Value;
use std::sync::LazyLock;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../src/server/http_port/openapi.json");
    serde_json::from_str(text).expect("openapi.json is JSON")
});

/// Panics if the document does not list the status and the content type in `head`, the head of an answer; but not if it has
/// no such operation: it describes neither the page nor HEAD, OPTIONS, and the methods that a path does not have.
///
/// `request` is the beginning of the request: its method and its target.
pub(crate) fn assert_listed(request: &str, head: &str) {
    let mut words = request.split_ascii_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    let path = target.split('?').next().unwrap_or_default();
    let Some(operation) = operation(method, path) else { return };
    let status = head.split(' ').nth(1).unwrap_or_default();
    let response = &operation["responses"][status];
    assert!(!response.is_null(), "openapi.json does not list {status} for {method} {path}");
    let response = match response["$ref"].as_str() {
        Some(target) => DOCUMENT.pointer(&target[1..]).expect("a reference leads somewhere"),
        None => response,
    };
    let fields = head.lines().filter_map(|line| line.strip_prefix("Content-Type: "));
    let found: Vec<_> = fields.map(without_parameters).collect();
    let listed = response["content"].as_object().into_iter().flat_map(|it| it.keys());
    let listed: Vec<_> = listed.map(|it| without_parameters(it)).collect();
    let is_listed =
        found.iter().all(|it| listed.contains(it)) && found.is_empty() == listed.is_empty();
    assert!(is_listed, "{status} of {method} {path}: {found:?}, openapi.json lists {listed:?}");
}

fn without_parameters(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default()
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let matches = |template: &str| match template.split_once('{') {
        Some((before, _)) => path
            .strip_prefix(before)
            .is_some_and(|segment| !segment.is_empty() && !segment.contains('/')),
        None => template == path,
    };
    let mut paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    let (_, operations) = paths.find(|(template, _)| matches(template))?;
    operations.get(method.to_ascii_lowercase())
}

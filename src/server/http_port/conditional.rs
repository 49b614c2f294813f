//! Conditional requests: RFC 9110, sections 8.8 and 13.
//!
//! In: the If-None-Match of a request. Out: whether it names the current ETag, and if so, an answer without a body. All our
//! ETags are strong: equal ones mean equal bytes.

use crate::http::{HttpReply, RequestHead};

/// Writes a hash of the body, or of all that the body depends on, as an ETag.
pub(super) fn etag(hash: u64) -> String {
    format!("\"{hash:016x}\"")
}

/// Adds the ETag, and makes caches revalidate the answer before they use it again.
pub(super) fn tagged(reply: HttpReply, etag: &str) -> HttpReply {
    reply.with(&format!("ETag: {etag}")).with("Cache-Control: no-cache")
}

/// Returns 304, the answer to a client that has the current ETag.
pub(super) fn not_modified(etag: &str) -> HttpReply {
    tagged(HttpReply::empty(304), etag)
}

/// The values of If-None-Match, joined by commas.
pub(super) fn known_etags(head: &RequestHead<'_>) -> Vec<u8> {
    head.all("If-None-Match").collect::<Vec<_>>().join(&b","[..])
}

/// Whether the values of If-None-Match match this ETag. A weak ETag matches the strong one: RFC 9110, section 13.1.2.
pub(super) fn is_known(known: &[u8], etag: &str) -> bool {
    known
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|one| one == b"*" || one.strip_prefix(b"W/").unwrap_or(one) == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_tags_is_enough() {
        let present = etag(0x12ab);
        assert_eq!(present, "\"00000000000012ab\"");
        for known in ["\"00000000000012ab\"", "\"x\", W/\"00000000000012ab\"", "*", "\"x\",*"] {
            assert!(is_known(known.as_bytes(), &present), "{known}");
        }
        for other in
            ["", "\"\"", "00000000000012ab", "\"00000000000012AB\"", "w/\"00000000000012ab\""]
        {
            assert!(!is_known(other.as_bytes(), &present), "{other}");
        }
    }
}

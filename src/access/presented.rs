//! The token that a request presents: as Bearer, as the password of Basic, or as `token` in the query.
//!
//! In: the field Authorization and the query. Out: the token, and the user of Basic. It does not know which tokens are
//! valid.
//!
//! The field takes precedence over the query. A phone app that has only a URL sends the token in the query, so the log
//! must contain no query. RFC 6750 (Bearer), RFC 7617 (Basic).

use crate::http::form_pairs;
use base64::Engine;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::GeneralPurposeConfig;
use std::borrow::Cow;

/// What a request presents. Its text is a secret: it has no `Debug` that would show it.
pub struct Presented<'r> {
    /// The token.
    pub token: Cow<'r, [u8]>,
    /// The user of Basic, which may be the first part of an OwnTracks phone's id.
    pub user: Option<Vec<u8>>,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(***)")
    }
}

/// Base64 with or without padding, which some apps leave out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

impl Presented<'_> {
    /// Finds the token in the field `authorization`, or else in the `query`; `None` if neither has one.
    pub fn find<'r>(authorization: Option<&'r [u8]>, query: &'r [u8]) -> Option<Presented<'r>> {
        if let Some(field) = authorization.filter(|field| !field.trim_ascii().is_empty()) {
            return Some(Presented::of(field.trim_ascii()));
        }
        let (_, token) = form_pairs(query).find(|(name, _)| **name == *b"token")?;
        Some(Presented { token, user: None })
    }

    fn of(field: &[u8]) -> Presented<'_> {
        let at = field.iter().position(u8::is_ascii_whitespace).unwrap_or(field.len());
        let (scheme, rest) = (&field[..at], field[at..].trim_ascii());
        if !scheme.eq_ignore_ascii_case(b"Basic") {
            // A field of another scheme is a wrong token.
            return Presented { token: rest.into(), user: None };
        }
        let Ok(pair) = BASE64.decode(rest) else {
            // Overland's mode "Owntracks" sends the token and a colon as they are.
            return Presented { token: rest.strip_suffix(b":").unwrap_or(rest).into(), user: None };
        };
        let colon = pair.iter().position(|byte| *byte == b':').unwrap_or(pair.len());
        let token = pair.get(colon + 1..).unwrap_or_default().to_vec();
        Presented { token: token.into(), user: Some(pair[..colon].to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(field: &str, query: &str) -> Option<(String, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let field = Some(field.as_bytes()).filter(|field| !field.is_empty());
        let found = Presented::find(field, query.as_bytes())?;
        Some((text(&found.token), found.user.map(|user| text(&user))))
    }

    #[test]
    fn a_token_is_found_in_each_form() {
        let token = |token: &str| Some((token.to_owned(), None));
        let pair = |user: &str, token: &str| Some((token.to_owned(), Some(user.to_owned())));
        for (field, query, expected) in [
            ("", "", None),
            ("", "id=x&lat=1", None),
            ("  ", "token=a%2Bb", token("a+b")),
            ("Bearer abc", "", token("abc")),
            ("bearer   abc ", "token=other", token("abc")),
            ("Basic amFuZTpzZWNyZXQ=", "", pair("jane", "secret")),
            ("basic amFuZTpzZWNyZXQ", "", pair("jane", "secret")),
            ("Basic amFuZTphOmI=", "", pair("jane", "a:b")),
            ("Basic amFuZQ==", "", pair("jane", "")),
            ("Basic abc:", "", token("abc")),
            ("Bearer", "token=other", token("")),
            ("abc", "", token("")),
        ] {
            assert_eq!(found(field, query), expected, "{field} ? {query}");
        }
    }

    #[test]
    fn what_is_presented_is_never_shown() {
        let presented = Presented::find(Some(b"Bearer CANARY"), b"").expect("it is there");
        assert!(!format!("{presented:?}").contains("CANARY"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(field: Vec<u8>, query: Vec<u8>) {
            let _ = Presented::find(Some(&field), &query);
        }
    }
}

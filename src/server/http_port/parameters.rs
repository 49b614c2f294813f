//! The parameters of a question's query.
//!
//! In: a query as it was sent. Out: the value of a parameter, or the answer that says what is wrong with it. This file
//! ignores unknown parameters, and the token. A known parameter that occurs twice is an error, because two readers may
//! choose different ones.

use crate::http::{HttpReply, form_pairs};
use std::borrow::Cow;

/// Returns the value of the parameter `name`, decoded; `None` if the query has none.
pub(super) fn parameter<'q>(
    query: &'q str,
    name: &str,
) -> Result<Option<Cow<'q, [u8]>>, HttpReply> {
    let pairs = form_pairs(query.as_bytes()).filter(|(key, _)| **key == *name.as_bytes());
    let mut values = pairs.map(|(_, value)| value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(HttpReply::problem(422, &format!("{name} stands twice"), None)),
        (value, None) => Ok(value),
    }
}

/// Parses the parameter `name`; `wanted` says in a message what it must be, as in `a number from 1 to 20`.
pub(super) fn parsed<T>(
    query: &str,
    name: &str,
    wanted: &str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, HttpReply> {
    let Some(value) = parameter(query, name)? else { return Ok(None) };
    let problem = || HttpReply::problem(422, &format!("{name} must be {wanted}"), None);
    parse(&value).map(Some).ok_or_else(problem)
}

/// Parses a whole number in decimal digits, from 1 to `max`.
pub(super) fn count(text: &[u8], max: usize) -> Option<usize> {
    let text = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    text.parse().ok().filter(|count| (1..=max).contains(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_decoded_and_stands_once() {
        for (query, value) in [
            ("limit=5&client=jane%2Fphone&x", Ok(Some(&b"jane/phone"[..]))),
            ("clients=a&limit=5", Ok(None)),
            ("client", Ok(Some(b""))),
            ("client=a&client=a", Err(422)),
        ] {
            let found = parameter(query, "client").map_err(|reply| reply.status);
            assert_eq!(
                found.as_ref().map(Option::as_deref),
                value.as_ref().map(|it| *it),
                "{query}"
            );
        }
    }

    #[test]
    fn a_count_is_a_whole_number_from_one_to_its_limit() {
        for text in ["1", "20", "007"] {
            assert!(count(text.as_bytes(), 20).is_some(), "{text}");
        }
        for text in ["0", "21", "", "+5", "-1", "5.0", "1e1", "five", " 5", "99999999999999999999"]
        {
            assert_eq!(count(text.as_bytes(), 20), None, "{text}");
        }
    }
}

//! The headers of a message: `NATS/1.0[ status[ description]]`, then a line `Name: value` for each, then an empty line.
//!
//! In: their bytes, which a [`Delivery`](super::Delivery) borrows. Out: the status, a value. They are parsed again for each
//! question: a delivery of the bucket has one header, and usually nobody asks for it.

/// The first bytes of all headers.
const VERSION: &[u8] = b"NATS/1.0";

/// The headers of a delivery as the server sent them; empty if it has none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NatsHeaders<'d>(pub &'d [u8]);

impl<'d> NatsHeaders<'d> {
    /// The status of a message that the server itself wrote, such as 100 (heartbeat), 408 or 503 (nobody listens).
    pub fn status(&self) -> Option<u16> {
        let (digits, _) = self.status_line();
        super::number(digits).and_then(|status| status.try_into().ok())
    }

    /// The text behind the status; empty if there is none.
    pub fn description(&self) -> &'d [u8] {
        let (_, text) = self.status_line();
        text
    }

    /// The value of the first header with this name. Case matters in names, as it does to servers.
    pub fn get(&self, name: &str) -> Option<&'d [u8]> {
        self.lines().skip(1).find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            Some(value.trim_ascii())
        })
    }

    /// Whether the message marks a deleted, purged or expired key. Such a message has no line.
    pub fn is_marker(&self) -> bool {
        // Since 2.11 a server writes a marker itself when a key expires.
        self.get("Nats-Marker-Reason").is_some()
            || matches!(self.get("KV-Operation"), Some(b"DEL" | b"PURGE"))
    }

    fn lines(&self) -> impl Iterator<Item = &'d [u8]> {
        self.0.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end)
    }

    /// The status and the description.
    fn status_line(&self) -> (&'d [u8], &'d [u8]) {
        let first = self.lines().next().and_then(|line| line.strip_prefix(VERSION));
        let status = first.unwrap_or_default().trim_ascii();
        let end = status.iter().position(|byte| *byte == b' ').unwrap_or(status.len());
        (&status[..end], status[end..].trim_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_status_has_a_number_and_perhaps_a_description() {
        for (head, status, description) in [
            ("NATS/1.0 503\r\n\r\n", Some(503), ""),
            (
                "NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n",
                Some(408),
                "Request Timeout",
            ),
            ("NATS/1.0 100 Idle Heartbeat\r\n\r\n", Some(100), "Idle Heartbeat"),
            ("NATS/1.0\r\nA: 1\r\n\r\n", None, ""),
            ("NATS/1.0 \r\n\r\n", None, ""),
            ("NATS/1.0 70000 x", None, "x"),
            ("NATS/1.0 -1", None, ""),
            ("HTTP/1.1 200 OK\r\n\r\n", None, ""),
            ("", None, ""),
        ] {
            let headers = NatsHeaders(head.as_bytes());
            assert_eq!(headers.status(), status, "{head}");
            assert_eq!(headers.description(), description.as_bytes(), "{head}");
        }
    }

    #[test]
    fn a_value_is_found_by_the_exact_name_and_the_first_one_counts() {
        let headers = NatsHeaders(b"NATS/1.0\r\nAb:  one \r\nA: 1\r\nA: 2\r\nEmpty:\r\n\r\n");
        assert_eq!(headers.get("Ab"), Some(&b"one"[..]));
        assert_eq!(headers.get("A"), Some(&b"1"[..]));
        assert_eq!(headers.get("Empty"), Some(&b""[..]));
        assert_eq!(
            (headers.get("a"), headers.get("AB"), headers.get("NATS/1.0")),
            (None, None, None)
        );
        assert_eq!(NatsHeaders::default().get("A"), None);
    }

    #[test]
    fn a_marker_is_a_deletion_a_purge_or_an_expiry() {
        for (header, is_marker) in [
            ("KV-Operation: DEL", true),
            ("KV-Operation: PURGE", true),
            ("Nats-Marker-Reason: MaxAge", true),
            ("KV-Operation: PUT", false),
            ("Nats-Expected-Last-Subject-Sequence: 7", false),
        ] {
            let head = format!("NATS/1.0\r\n{header}\r\n\r\n");
            assert_eq!(NatsHeaders(head.as_bytes()).is_marker(), is_marker, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            for headers in [NatsHeaders(&bytes), NatsHeaders(&[VERSION, &bytes].concat())] {
                let _ = (headers.status(), headers.description(), headers.get("A"), headers.is_marker());
            }
        }
    }
}

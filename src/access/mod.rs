//! Who may do what over HTTP and TLS: the tokens of a file, and the ids in client certificates.
//!
//! In: what a request presents. Out: a [`Caller`], which says for each id whether this request may report or read it. It
//! knows no connection, no request and no certificate; the server joins them.
//!
//! | tokens configured | valid certificate | token presented | the caller may |
//! |---|---|---|---|
//! | no | no | any | do everything; with `own_id_only` not report, with `ask = "own"` not read |
//! | yes | no | none, or a wrong one | nothing: 401 |
//! | yes | no | a right one | what the token's lines say |
//! | any | yes | none, or no token is configured | do everything; with `own_id_only` or `ask = "own"` only for its own id |
//! | yes | yes | a right one | what the certificate or the token allows |
//! | yes | yes | a wrong one | nothing: 401 |
//! | any | no, but required since a reload | any | nothing: 403 |
//!
//! The file has hashes of tokens, so nobody can use it, or a backup of it, to log in. A token has 128 random bits, so no
//! hash needs a salt or many rounds.

mod presented;
mod tokens;

pub use presented::Presented;
pub use tokens::{TOKEN_BYTES_MAX, TokenFault, Tokens, new_token};

use std::rc::Rc;

/// What a request may do. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    writes: IdScope,
    reads: IdScope,
}

/// Why a request has no access: it presents no token, or a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAccess {
    /// It presents no token.
    Missing,
    /// Its token is not in the file.
    Wrong,
}

/// The ids for which something is allowed: those that match one of the patterns. `None`: all ids.
type IdScope = Option<Rc<[IdPattern]>>;

/// An id, or a prefix of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPattern {
    start: Box<[u8]>,
    is_whole: bool,
}

impl IdPattern {
    /// Reads a pattern: `jane/phone` is one id, `jane*` every id that begins with `jane`, and `*` every id.
    pub fn parse(text: &[u8]) -> IdPattern {
        let start = text.strip_suffix(b"*");
        IdPattern { start: start.unwrap_or(text).into(), is_whole: start.is_none() }
    }

    /// The pattern that only `id` matches, even if it ends with `*`.
    pub fn exactly(id: &[u8]) -> IdPattern {
        IdPattern { start: id.into(), is_whole: true }
    }

    fn matches(&self, id: &[u8]) -> bool {
        if self.is_whole { *id == *self.start } else { id.starts_with(&self.start) }
    }
}

fn scope(patterns: Vec<IdPattern>) -> IdScope {
    let has_all = patterns.iter().any(|it| !it.is_whole && it.start.is_empty());
    (!has_all).then(|| patterns.into())
}

fn has(scope: &IdScope, id: &[u8]) -> bool {
    scope.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(id)))
}

fn either(these: &IdScope, those: &IdScope) -> IdScope {
    Some(these.as_ref()?.iter().chain(those.as_ref()?.iter()).cloned().collect())
}

impl Caller {
    /// A caller that may report and read the ids that match one of these patterns.
    pub fn new(writes: Vec<IdPattern>, reads: Vec<IdPattern>) -> Caller {
        Caller { writes: scope(writes), reads: scope(reads) }
    }

    /// A caller that may do everything.
    pub fn everybody() -> Caller {
        Caller { writes: None, reads: None }
    }

    /// A caller that may do everything that either of the two may do.
    pub fn and(&self, other: &Caller) -> Caller {
        let (writes, reads) = (&other.writes, &other.reads);
        Caller { writes: either(&self.writes, writes), reads: either(&self.reads, reads) }
    }

    /// Whether it may report for `id`.
    pub fn may_write(&self, id: &[u8]) -> bool {
        has(&self.writes, id)
    }

    /// Whether it may report for any id at all.
    pub fn may_write_something(&self) -> bool {
        self.writes.as_ref().is_none_or(|patterns| !patterns.is_empty())
    }

    /// Whether it may read everything: lists, the stream of all clients, places near a location, status and metrics.
    pub fn may_read(&self) -> bool {
        self.reads.is_none()
    }

    /// Whether it may read what concerns `id`.
    pub fn may_read_id(&self, id: &[u8]) -> bool {
        has(&self.reads, id)
    }
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    // Any suite of TLS 1.3 with SHA-256 will do.
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = suite.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    hash.and_then(|hash| hash.as_ref().try_into().ok()).expect("SHA-256 has 32 bytes")
}

/// `bytes` in hexadecimal digits.
pub fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_an_id_or_the_start_of_ids() {
        for (pattern, id, matches) in [
            ("jane/phone", "jane/phone", true),
            ("jane/phone", "jane/phone2", false),
            ("jane*", "jane", true),
            ("jane*", "jane/phone", true),
            ("jane*", "jan", false),
            ("*", "", true),
            ("*", "x", true),
            ("a*b", "a*b", true),
            ("a*b", "axb", false),
        ] {
            let found = IdPattern::parse(pattern.as_bytes()).matches(id.as_bytes());
            assert_eq!(found, matches, "{pattern} {id}");
        }
        assert!(!IdPattern::exactly(b"*").matches(b"x"));
    }

    #[test]
    fn a_caller_may_do_what_its_scopes_say() {
        let jane = || vec![IdPattern::parse(b"jane*")];
        let writer = Caller::new(jane(), Vec::new());
        assert!(writer.may_write(b"jane/phone") && writer.may_write_something());
        assert!(!writer.may_write(b"kim") && !writer.may_read_id(b"jane") && !writer.may_read());
        let reader = Caller::new(Vec::new(), vec![IdPattern::parse(b"*")]);
        assert!(reader.may_read() && reader.may_read_id(b"kim") && !reader.may_write_something());
        let both = writer.and(&reader);
        assert!(both.may_read() && both.may_write(b"jane") && !both.may_write(b"kim"));
        let kim = Caller::new(vec![IdPattern::exactly(b"kim")], jane());
        let two = writer.and(&kim);
        assert!(two.may_write(b"kim") && two.may_write(b"jane") && two.may_read_id(b"jane1"));
        assert!(!two.may_read() && !two.may_read_id(b"kim"));
        assert!(Caller::everybody().may_write(b"x") && Caller::everybody().may_read());
    }

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(in_hex(&sha256(b"abc")), hash);
    }
}

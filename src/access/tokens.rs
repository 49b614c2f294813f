//! The file of tokens: which token may do what.
//!
//! In: the file, or a token that a request presents. Out: [`Tokens`], or all faults; the [`Caller`] of a token.
//!
//! ```text
//! # role  id or start of ids  SHA-256 of the token
//! read    *                   9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! write   jane*               60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752
//! ```
//!
//! A line is a role, a pattern and a hash. `read *` allows reading everything, `read jane*` only what concerns ids that
//! begin with `jane`; `write jane*` allows reporting for these ids. A token may have several lines. Empty lines and lines
//! that begin with `#` are ignored.
//!
//! A search for a token compares the first bytes of hashes, whose time tells nothing about the token: nobody can choose a
//! token by its hash. Then it compares the whole hash in constant time. No message repeats a part of the file, because an
//! operator may have written a token in place of its hash.

use super::{Caller, IdPattern, sha256};
use crate::files;
use rustls::crypto::ring;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use subtle::ConstantTimeEq;

/// Longest token that a request may present, in bytes.
pub const TOKEN_BYTES_MAX: usize = 512;

/// Maximum number of different tokens.
const TOKENS_MAX: usize = 1_024;

/// Longest file in bytes.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Characters of new tokens, 32 that cannot be mistaken for each other and that a phone types without a shift key.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

type TokenHash = [u8; 32];

/// The roles of a line. To write is to report.
const ROLES: [&str; 2] = ["write", "read"];

/// The tokens of one file, sorted by their hashes.
#[derive(Debug, PartialEq, Eq)]
pub struct Tokens {
    tokens: Vec<(TokenHash, Caller)>,
}

/// A fault of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFault {
    /// Its line, counted from 1; 0 if it concerns the whole file.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl TokenFault {
    fn new(line: usize, what: impl Into<String>, remedy: &'static str) -> TokenFault {
        TokenFault { line, what: what.into(), remedy }
    }
}

impl Tokens {
    /// Reads the file at `path`; also returns a warning if other users may open it. It blocks.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or has faults; all of them are returned.
    pub fn read(path: &Path) -> Result<(Tokens, Option<String>), Vec<TokenFault>> {
        let (bytes, permissions) = files::read(path, FILE_BYTES_MAX).map_err(|error| {
            let remedy = "write the file with \"herd token new\", and let the user that runs the servers read it";
            vec![TokenFault::new(0, error.to_string(), remedy)]
        })?;
        let mode = permissions.mode() & 0o777;
        let warning = (mode & 0o077 != 0)
            .then(|| format!("other users may open this file of tokens (mode {mode:04o})"));
        Ok((Tokens::parse(&bytes)?, warning))
    }

    /// Parses the contents of a file.
    ///
    /// # Errors
    /// Fails if a line has a fault; all faults are returned.
    pub fn parse(bytes: &[u8]) -> Result<Tokens, Vec<TokenFault>> {
        if let Some(what) = files::encoded(bytes) {
            return Err(vec![TokenFault::new(0, what, "save the file as text in UTF-8")]);
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let (mut faults, mut tokens) = (Vec::new(), BTreeMap::<TokenHash, [Vec<_>; 2]>::new());
        for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match parse_line(line) {
                Ok((role, ids, hash)) => tokens.entry(hash).or_default()[role].push(ids),
                Err((what, remedy)) => faults.push(TokenFault::new(number, what, remedy)),
            }
        }
        if tokens.len() > TOKENS_MAX {
            let what =
                format!("it has {} tokens, but at most {TOKENS_MAX} are allowed", tokens.len());
            faults.push(TokenFault::new(0, what, "remove tokens, or give one to several clients"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let tokens = tokens.into_iter();
        let tokens = tokens.map(|(hash, [writes, reads])| (hash, Caller::new(writes, reads)));
        Ok(Tokens { tokens: tokens.collect() })
    }

    /// What the bearer of `token` may do; `None` if it is not in the file.
    pub fn caller(&self, token: &[u8]) -> Option<&Caller> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash = sha256(token);
        let first = self.tokens.partition_point(|(known, _)| known[..8] < hash[..8]);
        let (known, caller) = self.tokens.get(first)?;
        bool::from(known[..].ct_eq(&hash[..])).then_some(caller)
    }
}

/// Parses one line; an error is what is wrong, and the remedy.
fn parse_line(line: &[u8]) -> Result<(usize, IdPattern, TokenHash), (&'static str, &'static str)> {
    const FORM: &str = "write a role, an id or the start of ids with *, and the hash that \"herd token new\" printed";
    let fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    let &[role, ids, digits] = &fields.collect::<Vec<_>>()[..] else {
        return Err(("a line has three fields: role, id and hash", FORM));
    };
    let role = ROLES.iter().position(|known| known.as_bytes() == role);
    let role = role.ok_or(("the role is neither read nor write", FORM))?;
    let hash = from_hex(digits).ok_or((
        "the third field is not a SHA-256 in 64 hexadecimal digits",
        "write the hash, not the token: printf %s TOKEN | sha256sum",
    ))?;
    Ok((role, IdPattern::parse(ids), hash))
}

fn from_hex(text: &[u8]) -> Option<TokenHash> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => Some((16 * digit(high)? + digit(low)?) as u8),
        _ => None,
    };
    text.chunks(2).map(byte).collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// Makes a token of 128 random bits, which has 26 characters; `None` if the system gives no random numbers.
pub fn new_token() -> Option<String> {
    let mut bytes = [0; 16];
    ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    let number = u128::from_le_bytes(bytes);
    let character = |place: u32| char::from(ALPHABET[(number >> (5 * place)) as usize & 31]);
    Some((0..26).map(character).collect())
}

#[cfg(test)]
mod tests {
    use super::super::in_hex;
    use super::*;
    use proptest::prelude::*;

    fn line(role: &str, ids: &str, token: &str) -> String {
        format!("{role} {ids} {}\n", in_hex(&sha256(token.as_bytes())))
    }

    #[test]
    fn a_token_may_do_what_its_lines_say() {
        let text = format!(
            "\u{feff}# the page\n{}\n{}  {}\r\n{}",
            line("read", "*", "page"),
            line("write", "jane*", "jane"),
            line("read", "jane/phone", "jane").trim_end(),
            line("write", "kim", "kim")
                .to_uppercase()
                .replace("WRITE", "write")
                .replace("KIM", "kim")
        );
        let tokens = Tokens::parse(text.as_bytes()).expect("it is valid");
        assert_eq!(tokens.tokens.len(), 3);
        let page = tokens.caller(b"page").expect("it is there");
        assert!(page.may_read() && !page.may_write(b"jane"));
        let jane = tokens.caller(b"jane").expect("it is there");
        assert!(jane.may_write(b"jane/car") && jane.may_read_id(b"jane/phone") && !jane.may_read());
        assert!(tokens.caller(b"kim").expect("hashes may be upper case").may_write(b"kim"));
        let long = [b'x'; TOKEN_BYTES_MAX + 1];
        for wrong in [&b""[..], b"pag", b"page ", b"PAGE", &long] {
            assert_eq!(tokens.caller(wrong), None);
        }
        assert!(Tokens::parse(b"# nothing\n").expect("it is valid").tokens.is_empty());
    }

    #[test]
    fn each_of_1024_tokens_is_found_and_no_other() {
        let token = |n: usize| format!("token-{n}");
        let text: String = (0..TOKENS_MAX).map(|n| line("write", &token(n), &token(n))).collect();
        let tokens = Tokens::parse(text.as_bytes()).expect("it is valid");
        for n in 0..TOKENS_MAX {
            let caller = tokens.caller(token(n).as_bytes()).expect("it is there");
            assert!(caller.may_write(token(n).as_bytes()) && !caller.may_write(b"token-"));
            assert_eq!(tokens.caller(token(TOKENS_MAX + n).as_bytes()), None);
        }
    }

    #[test]
    fn all_faults_are_told_with_their_lines_and_nothing_is_repeated() {
        let good = line("read", "*", "x");
        let text = format!(
            "{good}CANARY\nread * CANARY\nwrit jane {}\n\nread * {} CANARY\n",
            "0".repeat(64),
            "0".repeat(64)
        );
        let faults = Tokens::parse(text.as_bytes()).expect_err("it has faults");
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 3, 4, 6]);
        assert!(!format!("{faults:?}").contains("CANARY"));
        let faults = Tokens::parse(b"\xff\xfer\0").expect_err("it is UTF-16");
        assert!(faults[0].what.contains("iconv"), "{faults:?}");
        let many: String = (0..=TOKENS_MAX).map(|n| line("read", "*", &n.to_string())).collect();
        let faults = Tokens::parse(many.as_bytes()).expect_err("they are too many");
        assert!(faults[0].what.contains("1025 tokens"), "{faults:?}");
    }

    #[test]
    fn a_new_token_can_be_typed_and_is_another_each_time() {
        let [one, other] = [new_token(), new_token()].map(|token| token.expect("random numbers"));
        assert_ne!(one, other);
        assert!(one.len() == 26 && one.bytes().all(|byte| ALPHABET.contains(&byte)), "{one}");
    }

    proptest! {
        #[test]
        fn a_token_is_found_if_and_only_if_it_is_in_the_file(
            known in prop::collection::btree_set("[a-c]{0,3}", 0..20), asked in "[a-c]{0,3}",
        ) {
            let text: String = known.iter().map(|token| line("write", token, token)).collect();
            let text = text.replace("write  ", "write * ");
            let tokens = Tokens::parse(text.as_bytes()).expect("it is valid");
            let caller = tokens.caller(asked.as_bytes());
            prop_assert_eq!(caller.is_some(), known.contains(&asked));
            prop_assert!(caller.is_none_or(|caller| caller.may_write(asked.as_bytes())));
        }

        #[test]
        fn the_answer_is_that_of_a_search_from_first_to_last(
            known in prop::collection::vec("[a-z]{1,8}", 0..40), asked in "[a-z]{1,8}",
        ) {
            let text: String = known.iter().map(|token| line("write", token, token)).collect();
            let tokens = Tokens::parse(text.as_bytes()).expect("it is valid");
            for token in known.iter().chain([&asked]) {
                let hash = sha256(token.as_bytes());
                let first_to_last = tokens.tokens.iter().find(|(known, _)| *known == hash);
                let found = tokens.caller(token.as_bytes());
                prop_assert_eq!(found, first_to_last.map(|(_, caller)| caller));
            }
        }

        #[test]
        fn a_token_that_differs_in_one_bit_is_wrong(token: Vec<u8>, at: usize, bit in 0..8_u8) {
            let text = format!("read * {}", in_hex(&sha256(&token)));
            let tokens = Tokens::parse(text.as_bytes()).expect("it is valid");
            prop_assert_eq!(tokens.caller(&token).is_some(), token.len() <= TOKEN_BYTES_MAX);
            let mut other = token.clone();
            if let Some(length) = std::num::NonZeroUsize::new(other.len()) {
                other[at % length] ^= 1 << bit;
                prop_assert_eq!(tokens.caller(&other), None);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Tokens::parse(&bytes);
        }
    }
}

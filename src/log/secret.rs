//! A key that must never be visible: not in a log, a reply, an error, a panic or a list of processes.
//!
//! In: a file or an environment variable, never an argument (all users can see those). Out: a
//! [`Secret`], which always prints as `***`. Two functions use the text itself:
//! [`Secret::reveal`], for the code that writes it to an encrypted connection, and
//! [`Secret::scrub`], which removes it from foreign text.
//!
//! It is not wiped from memory: without `unsafe` that cannot be guaranteed, and a program that can read this
//! process's memory can use the key anyway.

use crate::files;
use memchr::memmem;
use std::borrow::Cow;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The longest secret in bytes; anything longer is a wrong file.
pub const BYTES_MAX: usize = 512;

/// The text that replaces a secret.
const MASK: &[u8] = b"***";

/// The beginning of Google's keys, which have 39 characters.
const KEY_START: &str = "AIza";
/// The number of further characters that make a word a key; a truncated key has fewer than 39.
const KEY_REST_MIN: usize = 8;

/// A secret of 1 to [`BYTES_MAX`] visible ASCII characters, which are valid in a header.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

/// Why there is no secret. It repeats nothing of the text that was found instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoSecret(String);

impl Secret {
    /// Makes a secret of `text` without the newlines at its end.
    ///
    /// # Errors
    ///
    /// The text is empty, too long, or has a character that is not valid in a header: a space, a control
    /// character, a non-ASCII character.
    pub fn new(text: &str) -> Result<Secret, NoSecret> {
        let text = text.trim_end_matches(['\r', '\n']);
        let fault = match text.len() {
            0 => "it is empty",
            length if length > BYTES_MAX => "it is longer than any key",
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                "it has a character that no key has, perhaps a space or a second line"
            }
            _ => return Ok(Secret(text.to_string())),
        };
        Err(NoSecret(fault.to_string()))
    }

    /// Reads a secret from the file at `path`, without a byte order mark. It blocks, so call it at the start only. Also
    /// returns a warning if others than the owner may read or write the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or [`Secret::new`] rejects its contents.
    pub fn from_file(path: &Path) -> Result<(Secret, Option<String>), NoSecret> {
        let (text, warning) = read_file(path, BYTES_MAX + "\r\n".len())?;
        let secret = Secret::new(&text).map_err(|fault| NoSecret::in_file(path, &fault))?;
        Ok((secret, warning))
    }

    /// Reads a secret from the environment variable `name`; `None` if it is unset or empty.
    ///
    /// # Errors
    ///
    /// The variable is set, and [`Secret::new`] rejects its value.
    pub fn from_environment(name: &str) -> Result<Option<Secret>, NoSecret> {
        Secret::from_variable(name, env::var_os(name).as_deref())
    }

    fn from_variable(name: &str, value: Option<&OsStr>) -> Result<Option<Secret>, NoSecret> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        let secret = match value.to_str() {
            Some(text) => Secret::new(text),
            None => Err(NoSecret("it is not text".to_string())),
        };
        secret.map(Some).map_err(|fault| NoSecret(format!("{name}: {fault}")))
    }

    /// Returns the text, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns `text` with `***` in place of the secret, be it plain or encoded for a URL or for JSON.
    pub fn scrub(&self, text: &str) -> String {
        let scrubbed = self.scrub_bytes(text.as_bytes());
        // The removed parts begin and end with ASCII, so the rest is still UTF-8.
        String::from_utf8_lossy(&scrubbed).into_owned()
    }

    /// Returns `text`, which may be any bytes, with `***` in place of the secret; borrowed if it has no secret.
    pub fn scrub_bytes<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let secret = self.0.as_bytes();
        let (first, second) = (secret[0], secret.get(1));
        // The secret's first byte is frequent in any text; the next byte usually rules out a match.
        let may_begin = |text: &[u8]| match *text {
            [byte, next, ..] if byte == first => {
                second.is_none_or(|second| next == *second) || matches!(next, b'%' | b'\\')
            }
            _ => true,
        };
        masked(text, |rest| {
            memchr::memchr3_iter(first, b'%', b'\\', rest).find_map(|at| {
                let found = &rest[at..];
                let behind = may_begin(found).then(|| behind(secret, found))??;
                Some(at..rest.len() - behind.len())
            })
        })
    }
}

impl NoSecret {
    /// Says what is wrong with the file at `path`.
    pub(crate) fn in_file(path: &Path, fault: &dyn fmt::Display) -> NoSecret {
        NoSecret(format!("{}: {fault}", path.display()))
    }
}

/// Reads a file with secrets, of at most `bytes_max` bytes after a byte order mark, which it removes. It blocks. Also
/// returns a warning if others than the owner may read or write the file.
///
/// # Errors
///
/// The file cannot be read, is too long, or is not UTF-8.
pub(crate) fn read_file(
    path: &Path,
    bytes_max: usize,
) -> Result<(String, Option<String>), NoSecret> {
    let limit = ("\u{feff}".len() + bytes_max) as u64;
    let (bytes, permissions) =
        files::read(path, limit).map_err(|error| NoSecret::in_file(path, &error))?;
    let mode = permissions.mode() & 0o777;
    let text = str::from_utf8(&bytes).map_err(|_| NoSecret::in_file(path, &"it is not text"))?;
    let warning = (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path}: other users may open this key file (mode {mode:04o}); chmod 600 it")
    });
    Ok((text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(), warning))
}

/// Returns `text` with `***` in place of anything that looks like one of Google's keys. For texts in which
/// an operator may have put a key by mistake, such as a line of a configuration.
pub fn mask_keys(text: &str) -> Cow<'_, str> {
    let is_key = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let masked = masked(text.as_bytes(), |rest| {
        memmem::find_iter(rest, KEY_START).find_map(|at| {
            let start = at + KEY_START.len();
            let length = rest[start..].iter().take_while(is_key).count();
            (length >= KEY_REST_MIN).then_some(at..start + length)
        })
    });
    match masked {
        Cow::Borrowed(_) => text.into(),
        Cow::Owned(masked) => String::from_utf8_lossy(&masked).into_owned().into(),
    }
}

/// Returns `text` with `***` in place of each part that `next` finds in the rest of the text.
fn masked(text: &[u8], next: impl Fn(&[u8]) -> Option<Range<usize>>) -> Cow<'_, [u8]> {
    let (mut masked, mut rest) = (Vec::new(), text);
    while let Some(part) = next(rest) {
        masked.extend_from_slice(&rest[..part.start]);
        masked.extend_from_slice(MASK);
        rest = &rest[part.end..];
    }
    if rest.len() == text.len() {
        return text.into();
    }
    masked.extend_from_slice(rest);
    masked.into()
}

/// Returns the rest of a text after the `secret` at its start. Each character may have any form: plain,
/// encoded for a URL, escaped for JSON, or one within the other. `None` if it does not start with the secret.
fn behind<'t>(secret: &[u8], text: &'t [u8]) -> Option<&'t [u8]> {
    let Some((&byte, secret)) = secret.split_first() else { return Some(text) };
    let plain = text.strip_prefix(&[byte]);
    // Nearly always only the plain form is possible.
    if !matches!(text.first(), Some(b'%' | b'\\')) {
        return behind(secret, plain?);
    }
    let escaped = match text {
        [b'\\', b'u', b'0', b'0', high, low, rest @ ..] => {
            is_hex(byte, *high, *low).then_some(rest)
        }
        [b'\\', escaped @ (b'"' | b'\\' | b'/'), rest @ ..] => (*escaped == byte).then_some(rest),
        _ => None,
    };
    // The percent sign may be plain, encoded itself, or escaped for JSON.
    let encoded = [&b"%"[..], b"%25", b"\\u0025"].map(|percent| {
        let [high, low, rest @ ..] = text.strip_prefix(percent)? else { return None };
        is_hex(byte, *high, *low).then_some(rest)
    });
    let mut ways = [plain, escaped].into_iter().chain(encoded).flatten();
    ways.find_map(|rest| behind(secret, rest))
}

fn is_hex(byte: u8, high: u8, low: u8) -> bool {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    digit(high) == Some(u32::from(byte >> 4)) && digit(low) == Some(u32::from(byte & 15))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for NoSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoSecret {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;

    const CANARY: &str = "CANARY-4f_Zq.91";

    fn canary() -> Secret {
        Secret::new(CANARY).unwrap()
    }

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = canary();
        assert_eq!(
            format!("{secret} {secret:?} {:#?}", Some(&secret)),
            "*** *** Some(\n    ***,\n)"
        );
        assert_eq!(secret.reveal(), CANARY);
    }

    #[test]
    fn what_may_not_stand_in_a_header_is_no_secret() {
        assert_eq!(Secret::new("key\r\n").unwrap().reveal(), "key");
        assert!(Secret::new(&"k".repeat(BYTES_MAX)).is_ok());
        let long = "k".repeat(BYTES_MAX + 1);
        for text in ["", "\n", "a b", "a\nb", "a\r\nX-Evil: 1", "k\u{e9}y", "\0", " key", &long] {
            let fault = Secret::new(text).unwrap_err().to_string();
            assert!(!fault.contains("Evil"), "{fault}");
        }
    }

    #[test]
    fn a_key_file_that_others_may_read_is_warned_of() {
        let path = env::temp_dir().join(format!("herd-key-{}", std::process::id()));
        fs::write(&path, format!("{CANARY}\n")).unwrap();
        let mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let (secret, warning) = Secret::from_file(&path).unwrap();
            assert_eq!(secret, canary());
            warning
        };
        assert_eq!((mode(0o600), mode(0o400)), (None, None));
        for loose in [0o640, 0o604, 0o620] {
            let warning = mode(loose).unwrap();
            assert!(
                warning.contains("other users may open") && !warning.contains(CANARY),
                "{warning}"
            );
        }
        fs::write(&path, format!("\u{feff}{CANARY}\r\n")).unwrap();
        assert_eq!(mode(0o600), None);
        for wrong in ["", "\u{feff}", "a b\n", &"long".repeat(1_000)] {
            fs::write(&path, wrong).unwrap();
            let fault = Secret::from_file(&path).unwrap_err().to_string();
            assert!(fault.contains("herd-key-"), "{fault}");
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        assert!(Secret::from_file(&path).unwrap_err().to_string().ends_with("it is not text"));
        fs::remove_file(&path).unwrap();
        assert!(Secret::from_file(&path).is_err());
        assert!(Secret::from_file(&env::temp_dir()).is_err());
    }

    #[test]
    fn an_empty_variable_is_no_secret_and_a_bad_one_a_fault() {
        let read = |value: &[u8]| Secret::from_variable("KEY", Some(OsStr::from_bytes(value)));
        assert_eq!(Secret::from_variable("KEY", None), Ok(None));
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(CANARY.as_bytes()), Ok(Some(canary())));
        for bad in [&b"a b"[..], b"\xff"] {
            assert!(read(bad).unwrap_err().to_string().starts_with("KEY: it "));
        }
    }

    #[test]
    fn a_text_is_scrubbed_of_the_secret_in_every_form() {
        let secret = Secret::new("a-%/b").unwrap();
        for text in
            ["a-%/b", "a%2D%25%2fb", "%61-%%2Fb", r"a-%\/b", r"\u0061\u002d\u0025\u002F\u0062"]
        {
            assert_eq!(secret.scrub(&format!("é{text}é{text}")), "é***é***", "{text}");
        }
        for text in ["", "a-%", "a-%/", "%", "%2", "\\", r"\u006", "A-%/b", "a-%25é/b"] {
            assert_eq!(secret.scrub(text), text);
            assert!(matches!(secret.scrub_bytes(text.as_bytes()), Cow::Borrowed(_)));
        }
        assert_eq!(secret.scrub("aa-%/bb a-a-%/b"), "a***b a-***");
    }

    #[test]
    fn a_text_is_scrubbed_of_a_secret_that_was_encoded_twice() {
        let secret = canary();
        let each = |form: fn(u8) -> String| CANARY.bytes().map(form).collect::<String>();
        for text in [
            each(|byte| format!("%{byte:02x}")),
            each(|byte| format!("%25{byte:02X}")),
            each(|byte| format!("\\u0025{byte:02x}")),
            each(|byte| format!("\\u{byte:04x}")),
            each(
                |byte| {
                    if byte % 2 == 0 { format!("%{byte:02x}") } else { format!("\\u{byte:04X}") }
                },
            ),
        ] {
            assert_eq!(secret.scrub(&format!("a{text}b")), "a***b", "{text}");
        }
        // The forms of a secret of percent signs and digits are ambiguous.
        let secret = Secret::new("%25").unwrap();
        for text in ["%25", "%2525", "%25%32%35"] {
            assert!(secret.scrub(text).starts_with("***"), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_key_is_masked() {
        let key = "AIzaSyCANARY-0123456789_abcdefghijklmnop";
        for (text, masked) in [
            (key.to_owned(), "***"),
            (format!("\"{key}\" and 'é{key}é'"), "\"***\" and 'é***é'"),
            (format!("key={key}&radius=1"), "key=***&radius=1"),
            (key[..12].to_owned(), "***"),
        ] {
            assert_eq!(mask_keys(&text), masked, "{text}");
        }
        for text in ["", "AIza", "AIza is how they begin", "aiza0123456789"] {
            assert!(matches!(mask_keys(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_scrubbed_text_has_the_secret(before: String, after: String, many in 0..4_usize) {
            let text = format!("{before}{}{after}", CANARY.repeat(many));
            let scrubbed = canary().scrub(&text);
            prop_assert!(!scrubbed.contains(CANARY));
            prop_assert_eq!(scrubbed, text.replace(CANARY, "***"));
        }

        #[test]
        fn no_bytes_make_scrubbing_panic(text: Vec<u8>, secret in "[!-~]{1,8}") {
            let scrubbed = Secret::new(&secret).unwrap().scrub_bytes(&text).into_owned();
            prop_assert!(memchr::memmem::find(&scrubbed, secret.as_bytes()).is_none() || secret.contains('*'));
        }
    }
}

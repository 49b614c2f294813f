//! Reads PEM files. If the contents are unsuitable, the error says what the file contains instead.
//!
//! In: the bytes of a file. Out: its certificates, or other objects; or a message for the author of the file, which
//! says how to correct it. The message quotes nothing of the file, because that may contain a key.
//!
//! A byte order mark, text between the sections, and sections of other kinds are skipped.

use crate::files;
use crate::log::{operand, shell_quoted};
use memchr::memmem;
use rustls::pki_types::pem::{Error, PemObject};
use std::fs::Permissions;
use std::path::Path;

/// Longest PEM file in bytes. The certificates of all public authorities take a quarter of a megabyte.
pub const BYTES_MAX: u64 = 4 << 20;

/// Reads all objects of one kind from the file at `path`; also returns its permissions. See [`objects`].
///
/// # Errors
/// Fails if the file cannot be read, or as [`objects`] does.
pub fn read<T: PemObject>(path: &Path, wanted: &str) -> Result<(Vec<T>, Permissions), String> {
    let read = files::read(path, BYTES_MAX);
    let (bytes, permissions) = read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((objects(&bytes, wanted, path)?, permissions))
}

/// Parses all objects of one kind in `bytes`; returns at least one. `wanted` is the name of the kind, and `path` is
/// the origin of the bytes.
///
/// # Errors
/// Fails if there is none. The message names the path, and what the file contains instead.
pub fn objects<T: PemObject>(bytes: &[u8], wanted: &str, path: &Path) -> Result<Vec<T>, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let found: Result<Vec<T>, Error> = T::pem_slice_iter(text).collect();
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Err(Error::Base64Decode(_))
            if memmem::find(text, b"\nProc-Type: 4,ENCRYPTED").is_some() =>
        {
            instead(b"-----BEGIN ENCRYPTED PRIVATE KEY-----", wanted, &operand(path))
        }
        Ok(_) => instead(text, wanted, &operand(path)),
        Err(Error::MissingSectionEnd { .. }) => "its last section has no END line".to_owned(),
        Err(Error::IllegalSectionStart { .. }) => "it has a malformed BEGIN line".to_owned(),
        Err(_) => "a section in it is not valid base64".to_owned(),
    };
    Err(format!("{} should hold a {wanted} in PEM: {why}", path.display()))
}

/// Describes a file without a section of the wanted kind, with the command that converts it, if there is one.
fn instead(text: &[u8], wanted: &str, path: &str) -> String {
    let listed = if wanted == "private key" { "certificate" } else { wanted };
    let (is, makes, command) = match text {
        [] => return "it is empty".to_owned(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            return "it is UTF-16 text: save it as UTF-8".to_owned();
        }
        // The kind of DER shows in the first element of the sequence, or in the first element of that.
        [0x30, n @ 0..=0x83, ..] => match (inside(text), inside(inside(text))) {
            ([0x06, ..], _) => ("PKCS #7 in DER", listed, "pkcs7 -inform DER -print_certs"),
            ([0x02, 1, 3, ..], _) if wanted == "private key" => {
                ("PKCS #12", wanted, "pkcs12 -nodes")
            }
            ([0x02, 1, 3, ..], _) => ("PKCS #12", "certificate", "pkcs12 -nokeys"),
            ([0x02, ..], _) => ("a private key in DER", "private key", "pkey -inform DER"),
            _ if *n < 0x80 => return "it contains none".to_owned(),
            (_, [0x06, ..]) => ("an encrypted key in DER", "private key", "pkey -inform DER"),
            (_, [2 | 0x30, ..]) if listed != "certificate" => ("in DER", wanted, "crl -inform DER"),
            _ => ("in DER", "certificate", "x509 -inform DER"),
        },
        _ => match label(text) {
            None => return "it contains none".to_owned(),
            Some((_, true)) => {
                return "its BEGIN line is indented: remove the white space at the start of all lines"
                    .to_owned();
            }
            Some(("PKCS7", _)) => ("PKCS #7", listed, "pkcs7 -print_certs"),
            Some(("TRUSTED CERTIFICATE" | "X509 CERTIFICATE", _)) => {
                ("a certificate in OpenSSL's own format", "certificate", "x509")
            }
            Some(("ENCRYPTED PRIVATE KEY", _)) if wanted == "private key" => {
                ("encrypted, but a server has no password", wanted, "pkey")
            }
            Some(("ENCRYPTED PRIVATE KEY", _)) => {
                return "it contains an encrypted key: remove that section".to_owned();
            }
            Some((label, _)) => return format!("it contains a section {label} instead"),
        },
    };
    if makes != wanted {
        return format!("it is {is}, not a {wanted}");
    }
    let to = format!("{path}.pem");
    format!(
        "it is {is}; convert it: openssl {command} -in {} -out {}",
        shell_quoted(path),
        shell_quoted(&to)
    )
}

/// The contents of a DER sequence whose length takes up to three more bytes; empty for anything else.
fn inside(der: &[u8]) -> &[u8] {
    let [0x30, n @ 0..=0x83, rest @ ..] = der else { return &[] };
    rest.get(usize::from(n.saturating_sub(0x80))..).unwrap_or_default()
}

/// The label of the first section, and whether its line is indented. Nothing else of a file is ever quoted.
fn label(text: &[u8]) -> Option<(&str, bool)> {
    let begin = b"-----BEGIN ";
    let at = memmem::find(text, begin)?;
    let label = &text[at + begin.len()..];
    let label = str::from_utf8(&label[..memmem::find(label, b"-----")?]).ok()?;
    let is_label = |byte: u8| byte.is_ascii_uppercase() || b"0123456789 ".contains(&byte);
    let is_indented = text[..at].last().is_some_and(|byte| b" \t".contains(byte));
    label.bytes().all(is_label).then_some((label, is_indented))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

    fn certificates(bytes: &[u8]) -> Result<usize, String> {
        let found: Result<Vec<CertificateDer<'_>>, _> =
            objects(bytes, "certificate", Path::new("ca.pem"));
        found.map(|found| found.len())
    }

    #[test]
    fn what_stands_around_certificates_does_no_harm() {
        let two = [CERTIFICATE, CERTIFICATE].concat();
        for text in [
            two.clone(),
            format!("\u{feff}{two}"),
            two.replace('\n', "\r\n"),
            format!("Subject: CN = x\n{CERTIFICATE}{KEY}\ntext\n{CERTIFICATE}"),
            two.trim_end().to_owned(),
        ] {
            assert_eq!(certificates(text.as_bytes()), Ok(2), "{text:?}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_told_what_it_is_and_quoted_nowhere() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nMAA=\n-----END {label}-----\n");
        let der = |content: &[u8]| [b"\x30\x82\x01\x01", content].concat();
        let indented = CERTIFICATE.replace("-----BEGIN", "  -----BEGIN");
        for (bytes, says) in [
            (&b""[..], "it is empty"),
            (b"\xef\xbb\xbf", "it is empty"),
            (b"\xff\xfe-\0-\0", "it is UTF-16 text: save it as UTF-8"),
            (
                b"\x30\x82\x01\x01",
                "it is in DER; convert it: openssl x509 -inform DER -in ca.pem -out ca.pem.pem",
            ),
            (&der(b"\x30\x03"), "it is in DER; convert it: openssl x509 -inform DER -in ca.pem"),
            (&der(b"\x06\x09\x2a"), "openssl pkcs7 -inform DER -print_certs -in ca.pem"),
            (
                &der(b"\x02\x01\x03"),
                "it is PKCS #12; convert it: openssl pkcs12 -nokeys -in ca.pem",
            ),
            (&der(b"\x02\x01\x00"), "PEM: it is a private key in DER, not a certificate"),
            (b"\x30\x77\x02\x01\x01\x04", "PEM: it is a private key in DER, not a certificate"),
            (b"0abc CANARY", "it contains none"),
            (b"0x0 CANARY", "it contains none"),
            (indented.as_bytes(), "its BEGIN line is indented: remove the white space"),
            (pem("X509 CERTIFICATE").as_bytes(), "openssl x509 -in ca.pem"),
            (pem("X509 CRL").as_bytes(), "it contains a section X509 CRL instead"),
            (pem("canary CANARY").as_bytes(), "it contains none"),
            (pem("PKCS7").as_bytes(), "openssl pkcs7 -print_certs -in ca.pem"),
            (pem("TRUSTED CERTIFICATE").as_bytes(), "openssl x509 -in ca.pem"),
            (
                pem("CERTIFICATE REQUEST").as_bytes(),
                "it contains a section CERTIFICATE REQUEST instead",
            ),
            (KEY.as_bytes(), "it contains a section PRIVATE KEY instead"),
            (pem("EC PRIVATE KEY").as_bytes(), "it contains a section EC PRIVATE KEY instead"),
            (b"CANARY\n", "it contains none"),
            (b"-----BEGIN CERTIFICATE-----\nCANARY", "its last section has no END line"),
            (b"-----BEGIN CERTIFICATE CANARY", "it has a malformed BEGIN line"),
            (
                b"-----BEGIN CERTIFICATE-----\nCANARY!\n-----END CERTIFICATE-----\n",
                "not valid base64",
            ),
        ] {
            let fault = certificates(bytes).unwrap_err();
            assert!(fault.starts_with("ca.pem should hold a certificate in PEM: "), "{fault}");
            assert!(fault.contains(says) && !fault.contains("CANARY"), "{fault}");
        }
        let key =
            objects::<PrivateKeyDer<'_>>(CERTIFICATE.as_bytes(), "private key", Path::new("k"));
        let fault = key.unwrap_err();
        assert_eq!(
            fault,
            "k should hold a private key in PEM: it contains a section CERTIFICATE instead"
        );
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let key = objects::<PrivateKeyDer<'_>>(encrypted.as_bytes(), "private key", Path::new("k"));
        let encrypted_pem = "k should hold a private key in PEM: it is encrypted, but a server has no password; convert it: \
                             openssl pkey -in k -out k.pem";
        assert_eq!(key.unwrap_err(), encrypted_pem);
        // OpenSSL wrote this format before 3.0, and still does on request.
        let head = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,2D8B\n\n";
        let traditional = format!("{head}MAA=\n-----END EC PRIVATE KEY-----\n");
        let windows = traditional.replace('\n', "\r\n");
        for text in
            [&traditional, &windows, &format!("\u{feff}{windows}"), &format!("\n\n{windows}")]
        {
            let key = objects::<PrivateKeyDer<'_>>(text.as_bytes(), "private key", Path::new("k"));
            assert_eq!(key.unwrap_err(), encrypted_pem, "{text:?}");
        }
        let both = certificates(format!("{CERTIFICATE}{traditional}").as_bytes()).unwrap_err();
        assert!(both.ends_with("it contains an encrypted key: remove that section"), "{both}");
        let pkcs12 = "it is PKCS #12; convert it: openssl pkcs12 -nodes -in f -out f.pem";
        for (bytes, wanted, says) in [
            (&der(b"\x02\x01\x03"), "private key", pkcs12),
            (&der(b"\x02\x01\x00"), "private key", "pkey -inform DER -in f -out f.pem"),
            (&der(b"\x06\x09"), "private key", "it is PKCS #7 in DER, not a private key"),
            (
                &der(b"\x06\x09"),
                "revocation list",
                "pkcs7 -inform DER -print_certs -in f -out f.pem",
            ),
            (&pem("PKCS7").into_bytes(), "private key", "it is PKCS #7, not a private key"),
            (&pem("X509 CERTIFICATE").into_bytes(), "private key", "own format, not a private key"),
            (
                &pem("TRUSTED CERTIFICATE").into_bytes(),
                "revocation list",
                "own format, not a revocation list",
            ),
            (
                &der(b"\x30\x0d\x02"),
                "revocation list",
                "it is in DER; convert it: openssl crl -inform DER -in f -out f.pem",
            ),
            // The first element of an encrypted key is its cipher, that of a certificate its version or serial
            // number.
            (&der(b"\x30\x0d\x06"), "private key", "pkey -inform DER -in f -out f.pem"),
            (&der(b"\x30\x82\x01\x01\xa0"), "private key", "it is in DER, not a private key"),
            (
                &der(b"\x30\x82\x01\x01\xa0"),
                "revocation list",
                "it is in DER, not a revocation list",
            ),
        ] {
            let fault = objects::<PrivateKeyDer<'_>>(bytes, wanted, Path::new("f")).unwrap_err();
            assert!(fault.ends_with(says), "{fault}");
        }
        let path = Path::new("-my key");
        let key = objects::<PrivateKeyDer<'_>>(encrypted.as_bytes(), "private key", path);
        assert!(key.unwrap_err().ends_with("openssl pkey -in './-my key' -out './-my key.pem'"));
    }
}

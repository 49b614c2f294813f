//! What is in a file of PEM; and if there is not what should be, what the file is instead.
//!
//! In: the bytes of a file. Out: its certificates, or whatever else is wanted; or a sentence for whoever has
//! written the file, which says how to mend it and quotes nothing: it may hold a key.
//!
//! A byte order mark, text between the sections, and sections of another kind do no harm.

use crate::log::{operand, shell_quoted};
use memchr::memmem;
use rustls::pki_types::pem::{Error, PemObject};
use std::path::Path;

/// The object identifier of PKCS #7 signedData, in DER. RFC 2315, section 14.
const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

/// All objects of one kind in `bytes`, at least one. `wanted`: what they are called; `path`: where the bytes are
/// from.
///
/// # Errors
///
/// What the file is instead, behind its name.
pub fn objects<T: PemObject>(bytes: &[u8], wanted: &str, path: &Path) -> Result<Vec<T>, String> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let found: Result<Vec<T>, Error> = T::pem_slice_iter(text).collect();
    let why = match found {
        Ok(found) if !found.is_empty() => return Ok(found),
        Ok(_) => instead(text, wanted, &operand(path)),
        Err(Error::MissingSectionEnd { .. }) => "its last section has no end".to_owned(),
        Err(Error::IllegalSectionStart { .. }) => "a line of BEGIN in it is malformed".to_owned(),
        Err(_) => "a section of it is not base64".to_owned(),
    };
    Err(format!("{} should hold a {wanted} in PEM: {why}", path.display()))
}

/// What a file is that has no section of the kind.
fn instead(text: &[u8], wanted: &str, path: &str) -> String {
    let has = |part: &[u8]| memmem::find(text, part).is_some();
    let (from, to) = (shell_quoted(path), format!("{path}.pem"));
    let made = |command: &str| format!("openssl {command} -in {from} -out {}", shell_quoted(&to));
    let (what, remedy) = match text {
        [] => ("it is empty", String::new()),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("it is in UTF-16", "save it in UTF-8".to_owned()),
        [0x30, ..] if has(SIGNED_DATA) => {
            ("it is PKCS #7 in DER", made("pkcs7 -inform DER -print_certs"))
        }
        [0x30, 0x80..=0x83, ..] if wanted == "certificate" => {
            ("it is in DER", made("x509 -inform DER"))
        }
        [0x30, 0x80..=0x83, ..] => ("it is in DER", "convert it with openssl".to_owned()),
        _ if has(b"-----BEGIN PKCS7-----") => ("it is PKCS #7", made("pkcs7 -print_certs")),
        _ if has(b"-----BEGIN TRUSTED CERTIFICATE-----") => {
            ("it is a certificate in a form of OpenSSL's own", made("x509"))
        }
        _ if has(b"ENCRYPTED") => ("its key is encrypted, which nobody could unlock", made("pkey")),
        _ if has(b"PRIVATE KEY-----") => ("it holds a private key instead", String::new()),
        _ if has(b"-----BEGIN CERTIFICATE REQUEST-----") => {
            ("it is a request for a certificate", "have an authority sign it".to_owned())
        }
        _ if has(b"-----BEGIN CERTIFICATE-----") => {
            ("it holds a certificate instead", String::new())
        }
        _ => ("there is none in it", String::new()),
    };
    let colon = if remedy.is_empty() { "" } else { ": " };
    format!("{what}{colon}{remedy}")
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
        let pkcs7 = [b"\x30\x82\x01\x01", SIGNED_DATA].concat();
        for (bytes, says) in [
            (&b""[..], "it is empty"),
            (b"\xef\xbb\xbf", "it is empty"),
            (b"\xff\xfe-\0-\0", "it is in UTF-16: save it in UTF-8"),
            (
                b"\x30\x82\x01\x01",
                "it is in DER: openssl x509 -inform DER -in ca.pem -out ca.pem.pem",
            ),
            (&pkcs7, "openssl pkcs7 -inform DER -print_certs -in ca.pem"),
            (pem("PKCS7").as_bytes(), "openssl pkcs7 -print_certs -in ca.pem"),
            (pem("TRUSTED CERTIFICATE").as_bytes(), "openssl x509 -in ca.pem"),
            (pem("CERTIFICATE REQUEST").as_bytes(), "have an authority sign it"),
            (KEY.as_bytes(), "it holds a private key instead"),
            (pem("EC PRIVATE KEY").as_bytes(), "it holds a private key instead"),
            (b"CANARY\n", "there is none in it"),
            (b"-----BEGIN CERTIFICATE-----\nCANARY", "its last section has no end"),
            (b"-----BEGIN CERTIFICATE CANARY", "a line of BEGIN in it is malformed"),
            (b"-----BEGIN CERTIFICATE-----\nCANARY!\n-----END CERTIFICATE-----\n", "not base64"),
        ] {
            let fault = certificates(bytes).unwrap_err();
            assert!(fault.starts_with("ca.pem should hold a certificate in PEM: "), "{fault}");
            assert!(fault.contains(says) && !fault.contains("CANARY"), "{fault}");
        }
        let key =
            objects::<PrivateKeyDer<'_>>(CERTIFICATE.as_bytes(), "private key", Path::new("k"));
        let fault = key.unwrap_err();
        assert_eq!(fault, "k should hold a private key in PEM: it holds a certificate instead");
        let encrypted = KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let key = objects::<PrivateKeyDer<'_>>(encrypted.as_bytes(), "private key", Path::new("k"));
        assert!(key.unwrap_err().ends_with("openssl pkey -in k -out k.pem"));
        let path = Path::new("-my key");
        let key = objects::<PrivateKeyDer<'_>>(encrypted.as_bytes(), "private key", path);
        assert!(key.unwrap_err().ends_with("openssl pkey -in './-my key' -out './-my key.pem'"));
    }
}

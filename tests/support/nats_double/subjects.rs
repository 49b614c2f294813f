//! Subjects: tokens with dots between them, and the wildcards `*` (one token) and `>` (the rest).

/// Whether a subscription or a stream with the subject `pattern` receives `subject`.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut wanted = pattern.split(|byte| *byte == b'.');
    let mut given = subject.split(|byte| *byte == b'.');
    loop {
        match (wanted.next(), given.next()) {
            (Some(b">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == b"*" || wanted == given => {}
            _ => return false,
        }
    }
}

/// Whether a subscription to `subject` is possible: no empty token, and `>` is the last one.
pub fn is_valid(subject: &[u8]) -> bool {
    let tokens: Vec<&[u8]> = subject.split(|byte| *byte == b'.').collect();
    let last = tokens.len() - 1;
    tokens.iter().enumerate().all(|(at, token)| !token.is_empty() && (*token != b">" || at == last))
}

/// Whether a message to `subject` reaches anything: it has no empty token.
pub fn is_literal(subject: &[u8]) -> bool {
    subject.split(|byte| *byte == b'.').all(|token| !token.is_empty())
}

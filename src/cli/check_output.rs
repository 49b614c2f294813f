//! The output of `herd places check` and `herd bus check`: a line for each step, and no secret.
//!
//! In: the name of each step, its time, and texts of others. Out: text, from which the secrets are removed.

use crate::log::one_line;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// The longest text of a service that is printed, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// The output, collected.
pub(super) struct CheckOutput {
    text: String,
    /// Removes the secrets from a text.
    scrub: Box<dyn Fn(&str) -> String>,
}

impl CheckOutput {
    pub(super) fn new(scrub: impl Fn(&str) -> String + 'static) -> CheckOutput {
        CheckOutput { text: String::new(), scrub: Box::new(scrub) }
    }

    pub(super) fn line(&mut self, name: &str, value: impl fmt::Display) {
        let _ = writeln!(self.text, "{name:<12}{value}");
    }

    /// Returns a service's text without secrets, escaped and cut.
    pub(super) fn cut(&self, text: &str) -> String {
        let text = (self.scrub)(if text.is_empty() { "-" } else { text });
        one_line(&text).chars().take(TEXT_CHARS_MAX).collect()
    }

    /// Returns all lines, without secrets and without the last newline.
    pub(super) fn finish(&self) -> String {
        (self.scrub)(self.text.trim_end())
    }
}

/// A duration, in milliseconds.
pub(super) struct Ms(pub(super) Duration);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8.3} ms", self.0.as_secs_f64() * 1e3)
    }
}

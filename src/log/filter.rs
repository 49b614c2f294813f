//! Checks the directives of `RUST_LOG` and of the key `level`.
//!
//! In: their value. Out: directives that `env_filter` understands, and each ignored directive. It does not read the
//! environment and prints nothing.
//!
//! `env_filter` itself takes a misspelt level (`inof`) for the name of a module and then logs nothing but that
//! module, and it takes an empty text for "errors only". So it gets only directives that it understands.

use ::log::LevelFilter;

use super::{TRAFFIC, WHATSAT};

/// The crates that log; the path of a module begins with one of them. `herd` is the program itself; its only targets
/// with a path are [`TRAFFIC`] and [`WHATSAT`].
const CRATES: [&str; 5] = ["herd", "herd_reactor", "mio", "places_herd", "rustls"];

/// What to write instead of a directive that makes no sense.
pub const LEVEL_REMEDY: &str =
    "write levels (off, error, warn, info, debug, trace) or MODULE=LEVEL, separated by commas";

/// Returns the directives of `text` that make sense, and the others.
pub fn directives(text: &str) -> (String, Vec<&str>) {
    // After a slash comes a text that lines must contain.
    let (directives, text) = text.split_at(text.find('/').unwrap_or(text.len()));
    let directives = directives.split(',').map(str::trim).filter(|each| !each.is_empty());
    let (good, mut bad): (Vec<&str>, Vec<&str>) = directives.partition(|each| makes_sense(each));
    let has_text = text.rfind('/') == Some(0);
    if !text.is_empty() && !has_text {
        bad.push(text);
    }
    // `env_filter` would take blanks around an equals sign for a part of the name.
    let tight = |each: &&str| each.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    let mut good = good.iter().map(tight).collect::<Vec<_>>().join(",");
    if has_text {
        // A text without a directive is one for all lines.
        good = if good.is_empty() { "info".to_owned() } else { good } + text;
    }
    (good, bad)
}

fn makes_sense(directive: &str) -> bool {
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_module = |text: &str| {
        let text = text.trim();
        let first = text.split("::").next().unwrap_or_default();
        let is_there = !text.starts_with("herd::") || [TRAFFIC, WHATSAT].contains(&text);
        CRATES.contains(&first) && is_there && text.split("::").all(is_word)
    };
    match directive.split_once('=') {
        Some((name, level)) => is_module(name) && (level.trim().is_empty() || is_level(level)),
        None => is_level(directive) || is_module(directive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> (String, usize) {
        let (good, bad) = directives(value);
        (good, bad.len())
    }

    #[test]
    fn nothing_is_no_directive_and_levels_and_modules_are_passed_on() {
        for nothing in ["", " ", ",", " , "] {
            assert_eq!(of(nothing), (String::new(), 0), "{nothing:?}");
        }
        for good in [
            "warn",
            "WARN",
            "off",
            "info,herd::traffic=off",
            "info,herd::whatsat=off",
            "places_herd::fetch",
            "herd=",
            "rustls",
            "debug/kiwi",
            "herd=debug",
            "herd_reactor::tcp,mio,places_herd=warn",
        ] {
            assert_eq!(of(good), (good.into(), 0));
        }
        assert_eq!(of("info, herd::traffic = off"), ("info,herd::traffic=off".into(), 0));
    }

    #[test]
    fn a_directive_that_makes_no_sense_is_ignored_with_a_warning() {
        assert_eq!(of("inof"), (String::new(), 1));
        assert_eq!(of("inof/kiwi"), ("info/kiwi".into(), 1));
        assert_eq!(of("herd=inof"), (String::new(), 1));
        assert_eq!(of("warn,herd::traffic=of,x=y=z"), ("warn".into(), 2));
        assert_eq!(of("warn/a/b"), ("warn".into(), 1));
        for none in [
            "r",
            "her",
            "::",
            "::herd",
            "herd::",
            "herd:traffic",
            "warn=",
            "INFO=debug",
            "=warn",
            "=",
            "a b=warn",
            "herd::=info",
            "herd::traffic off",
            "herd::trafic=off",
            "nosuch=trace",
            "herds=info",
        ] {
            assert_eq!(of(none), (String::new(), 1), "{none}");
        }
        assert_eq!(directives("warn, inof ,x=y").1, ["inof", "x=y"]);
    }
}

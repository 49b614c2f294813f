//! Checks the directives of `RUST_LOG`.
//!
//! In: the variable's value. Out: directives that `env_logger` understands, `info` if none is left, and a
//! message for each ignored directive. It does not read the environment and prints nothing.
//!
//! `env_logger` itself takes a misspelt level (`inof`) for the name of a module and then logs nothing but that
//! module; it takes an empty variable for "errors only"; and it prints its complaints in a way that panics if
//! stderr is closed. So it gets only directives that it understands.

use std::ffi::OsStr;

use ::log::LevelFilter;

use super::{TRAFFIC, one_line};

/// The crates that log; the path of a module begins with one of them. `herd` is the program itself; its only target
/// with a path is [`TRAFFIC`].
const CRATES: [&str; 5] = ["herd", "herd_reactor", "mio", "places_herd", "rustls"];

/// Returns the directives to use, and a message for each ignored one.
pub(super) fn chosen(value: &OsStr) -> (String, Vec<String>) {
    let value = value.to_string_lossy();
    // After a slash comes a text that lines must contain.
    let (directives, text) = value.split_at(value.find('/').unwrap_or(value.len()));
    let directives = directives.split(',').map(str::trim).filter(|each| !each.is_empty());
    let (good, mut bad): (Vec<&str>, Vec<&str>) = directives.partition(|each| makes_sense(each));
    let has_text = text.rfind('/') == Some(0);
    if !text.is_empty() && !has_text {
        bad.push(text);
    }
    // `env_logger` would take blanks around an equals sign for a part of the name.
    let tight = |each: &&str| each.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    let good: Vec<String> = good.iter().map(tight).collect();
    let good = if good.is_empty() { "info".to_owned() } else { good.join(",") };
    let faults = bad.into_iter().map(|directive| {
        let directive = one_line(directive);
        format!(
            "RUST_LOG: ignored \"{directive}\"; write levels (off, error, warn, info, debug, trace) or \
             MODULE=LEVEL, separated by commas"
        )
    });
    (good + if has_text { text } else { "" }, faults.collect())
}

fn makes_sense(directive: &str) -> bool {
    let is_level = |text: &str| text.trim().parse::<LevelFilter>().is_ok();
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_module = |text: &str| {
        let text = text.trim();
        let first = text.split("::").next().unwrap_or_default();
        let is_there = !text.starts_with("herd::") || text == TRAFFIC;
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
        let (filter, faults) = chosen(OsStr::new(value));
        (filter, faults.len())
    }

    #[test]
    fn nothing_is_as_unset_and_levels_and_modules_are_passed_on() {
        for nothing in ["", " ", ",", " , "] {
            assert_eq!(of(nothing), ("info".into(), 0), "{nothing:?}");
        }
        for good in [
            "warn",
            "WARN",
            "off",
            "info,herd::traffic=off",
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
        assert_eq!(of("inof"), ("info".into(), 1));
        assert_eq!(of("herd=inof"), ("info".into(), 1));
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
            assert_eq!(of(none), ("info".into(), 1), "{none}");
        }
        let told = &chosen(OsStr::new("herd=in\nof")).1[0];
        assert!(told.starts_with("RUST_LOG: ignored \"herd=in\\x0aof\"; write levels"), "{told}");
    }
}

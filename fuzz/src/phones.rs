//! The bodies of phone apps and of PUT.

use super::choice;
use places_herd::phones::{
    App, PhoneReading, PhoneReport, PhoneRequest, ReportRules, Unreadable, VALUE_BYTES_MAX,
    read_put,
};
use places_herd::wire::command::{Command, CommandLimits};
use places_herd::wire::stamp::Stamp;
use serde_json::value::RawValue;

/// Every report that is read is a valid IAMAT within all limits. A body that is not JSON has none, and one that is JSON is
/// read, unless it is too long or nested too deeply.
pub fn phone_body(data: &[u8]) {
    let (seed, body) = choice(data);
    let rules = ReportRules {
        received: Stamp(1_795_954_540_500_000_000),
        newest: Stamp(1_795_958_140_500_000_000),
        limits: CommandLimits { client_id_bytes: 40, location_bytes: 39 },
    };
    let app = [App::OwnTracks, App::Overland, App::Report][usize::from(seed % 3)];
    let (query, body) = match body.iter().position(|byte| *byte == b'\n') {
        Some(end) if seed & 4 != 0 => (&body[..end], &body[end + 1..]),
        _ => (&b""[..], body),
    };
    let (user, device) = (Some(query), Some(&b"phone"[..]));
    let path_id = Some(query).filter(|_| seed & 8 != 0);
    let request = PhoneRequest { app, path_id, query, user, device, basic_user: None, body };
    let mut reading = PhoneReading::new(&request, rules);
    let read = loop {
        match reading.read(body) {
            Ok(true) => {}
            read => break read,
        }
    };
    match read {
        Ok(_) => reading.kept.iter().for_each(|(id, report)| is_iamat(id, report, &rules)),
        Err(Unreadable::TooLong) => assert!(body.len() > VALUE_BYTES_MAX),
        Err(Unreadable::NotJson(why)) => {
            let is_json = serde_json::from_slice::<&RawValue>(body).is_ok();
            // An outermost value of another kind has no parts.
            let has_parts = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
            assert!(!is_json || !has_parts || why.contains("nested"), "{why}");
        }
    }
    if let Ok(Ok(report)) = read_put(body, &rules) {
        is_iamat(b"jane", &report, &rules);
    }
}

fn is_iamat(id: &[u8], report: &PhoneReport, rules: &ReportRules) {
    let iamat = report.iamat(id);
    let line = [&b"IAMAT"[..], id, iamat.location.text, iamat.stamp_text].join(&b' ');
    match Command::parse(&line, &rules.limits) {
        Ok(Command::Iamat(parsed)) => {
            assert_eq!((parsed.client, parsed.location), (id, iamat.location));
            assert_eq!((parsed.stamp, parsed.stamp_text), (iamat.stamp, iamat.stamp_text));
        }
        other => panic!("{other:?}"),
    }
    assert!(iamat.stamp <= rules.newest && !id.iter().any(u8::is_ascii_control));
}

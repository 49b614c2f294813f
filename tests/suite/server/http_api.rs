//! The JSON API of the HTTP port: questions about clients, lists of them, and places near them. One real server on a real
//! reactor, over a network in memory.
//!
//! Every answer that a test gets is looked up in the OpenAPI document.

use crate::support::cluster::{Cluster, MS, SECOND, TalkId, know, topology};
use crate::support::openapi::assert_listed;
use herd_reactor::testing::MemoryOptions;
use places_herd::places::{Answer, Progress, Query, SearchFailure, SearchStatus, Source, Ticket};
use places_herd::wire::stamp::Stamp;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A source that answers no question. It passes each one to the test.
#[derive(Debug)]
struct Asked(Sender<(Ticket, Query)>);

impl Source for Asked {
    fn name(&self) -> &'static str {
        "asked"
    }

    fn nearby(&mut self, ticket: Ticket, query: &Query) -> Progress {
        self.0.send((ticket, query.clone())).expect("the test outlives the cluster");
        Progress::Waiting
    }
}

/// The server Alford with an HTTP port, a connection to it, and the questions to its source.
struct Api {
    cluster: Cluster,
    talk: TalkId,
    questions: Receiver<(Ticket, Query)>,
}

/// The answer to a request.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The ids of the clients of a list.
    fn ids(&self) -> Vec<String> {
        let list = self.json();
        let features = list["features"].as_array().expect("features");
        features.iter().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// The target of the next page.
    fn next(&self) -> Option<String> {
        let link = self.header("Link")?;
        let target = link.strip_prefix('<').and_then(|it| it.strip_suffix(">; rel=\"next\""));
        Some(target.unwrap_or_else(|| panic!("{link}")).to_owned())
    }
}

impl Api {
    fn new(limits: &str) -> Api {
        let text = topology("Alford", &format!("{limits}\n[http]\ninsecure_http = true"));
        let client = "client = '10.0.0.1:12000'\n";
        let text = text.replace(client, &format!("{client}http = '10.0.0.1:12200'\n"));
        let (sender, questions) = channel();
        let mut cluster = Cluster::new(MemoryOptions::calm(1), &text);
        cluster.start_with("Alford", Box::new(Asked(sender)));
        cluster.settle();
        let talk = dial(&mut cluster);
        Api { cluster, talk, questions }
    }

    /// Puts a report of `client` into the table, stamped one hour ago.
    fn know(&mut self, client: &str, location: &str) {
        let stamp = self.wall() / 1_000_000_000 - 3_600;
        know(&mut self.cluster, "Alford", &format!("AT Alford +0.5 {client} {location} {stamp}"));
    }

    fn wall(&mut self) -> u64 {
        self.cluster.reactor("Alford").parts().1.wall().0
    }

    fn get(&mut self, target: &str) -> Got {
        self.get_with(target, "")
    }

    /// Asks on the one connection; `fields` are further header lines.
    fn get_with(&mut self, target: &str, fields: &str) -> Got {
        self.send(self.talk, target, fields);
        self.cluster.settle();
        self.hear(self.talk, target)
    }

    fn send(&mut self, talk: TalkId, target: &str, fields: &str) {
        let request = format!("GET {target} HTTP/1.1\r\nHost: 10.0.0.1:12200\r\n{fields}\r\n");
        self.cluster.send(talk, request);
    }

    /// Takes the one answer that has arrived.
    fn hear(&mut self, talk: TalkId, target: &str) -> Got {
        let heard = self.cluster.hear(talk);
        let (head, body) = heard.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{heard:?}"));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{head:?}"));
        let got = Got { status, head: head.to_owned(), body: body.to_owned() };
        let length = got.header("Content-Length").map_or(0, |it| it.parse().expect("digits"));
        assert_eq!(got.body.len(), length, "{target}");
        assert_listed(&format!("GET {target}"), &got.head);
        got
    }

    /// Follows the links from `target` to the last page; returns the ids of each page.
    fn walk(&mut self, target: &str) -> Vec<Vec<String>> {
        let (mut pages, mut next) = (Vec::new(), Some(target.to_owned()));
        while let Some(target) = next {
            let page = self.get(&target);
            assert_eq!(page.status, 200, "{target}");
            pages.push(page.ids());
            next = page.next();
        }
        pages
    }

    fn answer(&mut self, ticket: Ticket, status: SearchStatus) {
        let failure = SearchFailure { status, message: "No.".to_owned() };
        let (member, core) = self.cluster.reactor("Alford").parts();
        member.place_queries.answered(core, ticket, Answer::Failed(failure));
        self.cluster.settle();
    }

    fn waiting(&mut self) -> usize {
        self.cluster.member("Alford").place_queries.waiting()
    }
}

fn dial(cluster: &mut Cluster) -> TalkId {
    cluster.dial("10.0.0.1:12200".parse().expect("an address"))
}

// One client.

#[test]
fn a_client_is_the_feature_of_its_latest_report_and_the_etag_changes_with_it() {
    let mut api = Api::new("");
    let line = "AT Alford +0.263873386 jane/phone +034.0689301-118.4451270 1479413884.392014450";
    know(&mut api.cluster, "Alford", line);
    let got = api.get("/v1/clients/jane%2Fphone");
    assert_eq!((got.status, got.header("Content-Type")), (200, Some("application/geo+json")));
    assert_eq!(
        got.body,
        r#"{"type":"Feature","id":"jane/phone","geometry":{"type":"Point","coordinates":[-118.4451270,34.0689301]},"properties":{"time":"1479413884.392014450","server":"Alford","diff":"+0.263873386"}}"#
    );
    let etag = got.header("ETag").expect("an ETag").to_owned();
    let hash = twox_hash::XxHash3_64::oneshot(line.as_bytes());
    assert_eq!(etag, format!("\"{hash:016x}\""));
    let field = format!("If-None-Match: {etag}\r\n");
    let same = api.get_with("/v1/clients/jane%2Fphone", &field);
    assert_eq!((same.status, same.body.as_str(), same.header("ETag")), (304, "", Some(&*etag)));
    know(&mut api.cluster, "Alford", "AT Alford +0.5 jane/phone +1+1 1479413885");
    let newer = api.get_with("/v1/clients/jane%2Fphone", &field);
    assert_eq!((newer.status, newer.header("ETag") != Some(&etag)), (200, true));
}

#[test]
fn an_unknown_client_is_not_found_and_any_bytes_are_an_id() {
    let mut api = Api::new("");
    for id in ["kiwi", "%ff%00".trim_end_matches("%00"), "a%20b", "%0A", "%2F"] {
        let got = api.get(&format!("/v1/clients/{id}"));
        assert_eq!((got.status, &got.json()["status"]), (404, &Value::from(404)), "{id}");
        assert_eq!(got.header("Content-Type"), Some("application/problem+json"));
    }
    api.cluster.member("Alford");
    let client = api.cluster.client("Alford");
    api.cluster.send(client, b"IAMAT \xff\"<b> +1-1 5\n");
    api.cluster.settle();
    let feature = api.get("/v1/clients/%FF%22%3Cb%3E").json();
    assert_eq!(feature["id"], "\u{fffd}\"<b>");
    assert_eq!(feature["properties"]["id_hex"], "ff223c623e");
}

#[test]
fn an_expired_report_is_in_no_answer_even_before_it_is_forgotten() {
    let mut api = Api::new("expire_after_s = 3_601");
    api.know("kiwi", "+1+1");
    assert_eq!(api.get("/v1/clients/kiwi").status, 200);
    assert_eq!(api.get("/v1/clients").ids(), ["kiwi"]);
    api.cluster.run_for(2 * SECOND);
    assert_eq!(api.cluster.member("Alford").table.len(), 1, "it is still stored");
    assert_eq!(api.get("/v1/clients/kiwi").status, 404);
    assert_eq!(api.get("/v1/clients").ids(), [""; 0]);
    assert_eq!(api.get("/v1/near?client=kiwi").status, 404);
}

// Lists.

#[test]
fn the_pages_of_a_list_contain_every_client_once() {
    let mut api = Api::new("");
    let ids: Vec<String> = (0..25).map(|n| format!("client-{n:02}")).collect();
    ids.iter().for_each(|id| api.know(id, "+34-118"));
    assert_eq!(api.get("/v1/clients").ids(), ids);
    assert_eq!(api.get("/v1/clients").next(), None);
    for limit in [1, 7, 24, 25, 26, 1_000] {
        let pages = api.walk(&format!("/v1/clients?limit={limit}"));
        assert_eq!(pages.concat(), ids);
        assert!(pages.iter().all(|page| page.len() <= limit), "{pages:?}");
    }
    assert_eq!(api.walk("/v1/clients?after=ffffffff"), [[""; 0]]);
    assert_eq!(Api::new("").walk("/v1/clients?limit=5"), [[""; 0]]);
}

#[test]
fn a_box_selects_clients_also_across_the_antimeridian_and_the_link_keeps_it() {
    let mut api = Api::new("");
    for (id, location) in [
        ("fiji", "-18.1+178.4"),
        ("samoa", "-13.8-171.8"),
        ("ucla", "+34.068930-118.445127"),
        ("suva", "-18.125+178.45"),
    ] {
        api.know(id, location);
    }
    let within =
        |api: &mut Api, bbox: &str| api.walk(&format!("/v1/clients?limit=1&bbox={bbox}")).concat();
    assert_eq!(within(&mut api, "170,-20,-170,-10"), ["fiji", "samoa", "suva"]);
    assert_eq!(within(&mut api, "170%2C-20%2C180%2C-10"), ["fiji", "suva"]);
    assert_eq!(within(&mut api, "-119,34,-118,35"), ["ucla"]);
    assert_eq!(within(&mut api, "-170,-20,170,-10"), [""; 0]);
    assert_eq!(within(&mut api, "-180,-90,180,90").len(), 4);
}

#[test]
fn slots_that_are_freed_and_reused_between_two_pages_are_no_problem() {
    let mut api = Api::new("");
    let old = Stamp(2_000_000_000);
    for n in 0..30 {
        let stamp = if n % 3 == 0 { 1 } else { 3 };
        let line = format!("AT Alford +0.5 client-{n:02} +34-118 {stamp}");
        know(&mut api.cluster, "Alford", &line);
    }
    let first = api.get("/v1/clients?limit=10");
    // The client that the cursor names is forgotten, too.
    assert_eq!(first.ids().last().expect("a client"), "client-09");
    let table = &mut api.cluster.member("Alford").table;
    assert_eq!(table.forget_before(old, 0..table.keys()), 10);
    api.know("new", "+34-118");
    let mut rest = api.walk(&first.next().expect("a page")).concat();
    rest.retain(|id| id != "new");
    let stays: Vec<String> =
        (10..30).filter(|n| n % 3 != 0).map(|n| format!("client-{n:02}")).collect();
    assert_eq!(rest, stays);
    // All are forgotten.
    let table = &mut api.cluster.member("Alford").table;
    table.forget_before(Stamp(u64::MAX), 0..table.keys());
    assert_eq!(api.walk(&first.next().expect("a page")), [[""; 0]]);
}

#[test]
fn the_etag_of_a_list_is_that_of_the_table_and_the_query() {
    let mut api = Api::new("");
    api.know("kiwi", "+1+1");
    let etag = |api: &mut Api, target: &str| api.get(target).header("ETag").unwrap().to_owned();
    let all = etag(&mut api, "/v1/clients");
    assert_eq!(etag(&mut api, "/v1/clients?limit=1000&token=secret"), all);
    assert_ne!(etag(&mut api, "/v1/clients?limit=10"), all);
    assert_ne!(etag(&mut api, "/v1/clients?bbox=0,0,1,1"), all);
    let field = format!("If-None-Match: \"x\", W/{all}\r\n");
    let same = api.get_with("/v1/clients", &field);
    assert_eq!((same.status, same.header("ETag")), (304, Some(&*all)));
    api.know("fig", "+1+1");
    assert_eq!(api.get_with("/v1/clients", &field).status, 200);
}

#[test]
fn a_parameter_that_is_wrong_or_stands_twice_is_refused() {
    let mut api = Api::new("");
    api.know("kiwi", "+1+1");
    for query in [
        "limit=0",
        "limit=1001",
        "limit=",
        "limit=ten",
        "limit=1.5",
        "limit=1&limit=2",
        "bbox=1,2,3",
        "bbox=1,2,3,4,5",
        "bbox=",
        "bbox=181,0,0,0",
        "bbox=0,NaN,0,0",
        "bbox=-180,10,180,-10",
        "after=",
        "after=x",
        "after=-1",
        "after=100000000",
        "after=%2B1",
    ] {
        let got = api.get(&format!("/v1/clients?{query}"));
        assert_eq!(got.status, 422, "{query}");
        let name = query.split('=').next().unwrap();
        assert!(got.json()["detail"].as_str().unwrap().starts_with(name), "{got:?}");
    }
    for query in [
        "",
        "client=kiwi&lat=1",
        "lat=1",
        "lon=1",
        "client=kiwi&lat=1&lon=1",
        "lat=91&lon=1",
        "lat=1&lon=x",
        "client=kiwi&limit=21",
        "client=kiwi&limit=0",
        "client=kiwi&radius=50.1",
        "client=kiwi&radius=0",
        "client=kiwi&radius=-1",
        "client=kiwi&client=kiwi",
        "lat=nan&lon=1",
        "client=kiwi&radius=1e9",
    ] {
        assert_eq!(api.get(&format!("/v1/near?{query}")).status, 422, "{query}");
    }
    assert_eq!(api.waiting(), 0);
}

#[test]
fn a_scan_is_cut_into_slices_between_which_others_are_served() {
    const CLIENTS: usize = 20_000;
    let mut api = Api::new("");
    for n in 0..CLIENTS {
        api.know(&format!("client-{n}"), "+34-118");
    }
    let line = api.cluster.client("Alford");
    api.cluster.settle();
    // Each turn takes a millisecond.
    api.cluster.set_pace("Alford", MS);
    api.send(api.talk, "/v1/clients?bbox=0,0,1,1", "");
    let mut replies = 0;
    while api.cluster.heard(api.talk).is_empty() {
        api.cluster.send(line, "IAMAT other +50+50 5\n");
        api.cluster.run_for(MS);
        replies += api.cluster.hear(line).lines().count();
        assert!(replies < 1_000, "the scan never ends");
    }
    assert!(replies > 8, "{replies} commands of another client were answered meanwhile");
    assert_eq!(api.hear(api.talk, "/v1/clients").ids(), [""; 0]);
}

#[test]
fn a_page_of_long_ids_ends_early() {
    let mut api = Api::new("");
    let ids: BTreeSet<String> = (0..600).map(|n| format!("{n:04}{}", "x".repeat(4_000))).collect();
    ids.iter().for_each(|id| api.know(id, "+34-118"));
    let pages = api.walk("/v1/clients");
    assert!(pages.len() >= 3, "{} pages", pages.len());
    assert_eq!(pages.concat().into_iter().collect::<BTreeSet<_>>(), ids);
}

#[test]
fn the_sixty_fifth_list_at_a_time_is_refused_and_a_lost_one_makes_room() {
    let mut api = Api::new("");
    api.know("kiwi", "+1+1");
    let talks: Vec<TalkId> = (0..65).map(|_| dial(&mut api.cluster)).collect();
    api.cluster.settle();
    talks.iter().for_each(|talk| api.send(*talk, "/v1/clients", ""));
    api.cluster.settle();
    let got: Vec<Got> = talks.iter().map(|talk| api.hear(*talk, "/v1/clients")).collect();
    let refused: Vec<&Got> = got.iter().filter(|got| got.status == 503).collect();
    assert_eq!(refused.len(), 1, "{got:?}");
    assert_eq!(refused[0].header("Retry-After"), Some("1"));
    for talk in &talks {
        api.send(*talk, "/v1/clients", "");
        api.cluster.abort(*talk);
    }
    api.cluster.settle();
    assert_eq!(api.get("/v1/clients").status, 200);
}

// Places.

#[test]
fn what_is_near_a_client_is_the_json_of_whatsat() {
    let mut api = Api::new("");
    api.know("kiwi", "+34.068930-118.445127");
    api.send(api.talk, "/v1/near?client=kiwi&radius=5.50&limit=3", "");
    api.cluster.settle();
    let (ticket, query) = api.questions.try_recv().expect("a question");
    assert_eq!(query.latitude_text, b"+34.068930");
    assert_eq!(query.longitude_text, b"-118.445127");
    assert_eq!((query.radius_m, &query.radius_text[..]), (5_500.0, &b"5.5"[..]));
    let places = Answer::Found(places_herd::places::Found::default());
    let mut expected = Vec::new();
    places.write(3, &mut expected);
    let (member, core) = api.cluster.reactor("Alford").parts();
    member.place_queries.answered(core, ticket, places);
    api.cluster.settle();
    let got = api.hear(api.talk, "/v1/near");
    assert_eq!((got.status, got.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(got.body.as_bytes(), expected);
    // The connection goes on.
    assert_eq!(api.get("/v1/near?client=fig").status, 404);
}

#[test]
fn a_point_is_taken_in_any_form_of_a_number() {
    let mut api = Api::new("");
    for (query, latitude, longitude, radius) in [
        ("lat=34.06&lon=-118.44", "+34.06", "-118.44", "10"),
        ("lat=%2B34.060&lon=-1.1844e2&radius=50", "+34.06", "-118.44", "50"),
        ("lat=-0&lon=180&radius=1e-3", "-0", "+180", "0.001"),
    ] {
        let talk = dial(&mut api.cluster);
        api.send(talk, &format!("/v1/near?{query}"), "");
        api.cluster.settle();
        let (ticket, asked) = api.questions.try_recv().expect("a question");
        let texts = [&asked.latitude_text, &asked.longitude_text, &asked.radius_text];
        assert_eq!(texts.map(|it| str::from_utf8(it).unwrap()), [latitude, longitude, radius]);
        api.answer(ticket, SearchStatus::UnknownError);
        assert_eq!(api.hear(talk, "/v1/near").status, 504);
    }
}

#[test]
fn a_question_that_fails_says_why_and_when_to_ask_again() {
    let mut api = Api::new(
        "whatsats_per_connection = 2\n[places]\nin_flight = 1\nqueue = 1\ndeadline_ms = 2_000",
    );
    for (failure, status) in [
        (SearchStatus::OverQueryLimit, 429),
        (SearchStatus::UnknownError, 504),
        (SearchStatus::RequestDenied, 503),
        (SearchStatus::InvalidRequest, 503),
    ] {
        api.send(api.talk, "/v1/near?lat=1&lon=1", "");
        api.cluster.settle();
        let (ticket, _) = api.questions.try_recv().expect("a question");
        api.answer(ticket, failure);
        let got = api.hear(api.talk, "/v1/near");
        assert_eq!((got.status, got.json()["detail"].as_str()), (status, Some("No")));
        assert!(got.header("Retry-After").is_some_and(|it| it.parse::<u32>().is_ok()));
    }
    // One is at the source, one waits in the queue, and the third is one too many.
    let talks: Vec<TalkId> = (0..3).map(|_| dial(&mut api.cluster)).collect();
    api.cluster.settle();
    for talk in &talks {
        api.send(*talk, "/v1/near?lat=1&lon=1", "");
        api.cluster.run_for(MS);
    }
    assert_eq!(api.hear(talks[2], "/v1/near").status, 429);
    assert_eq!(api.waiting(), 2);
    // Nobody answers: the deadline does.
    api.cluster.run_for(2 * SECOND);
    assert_eq!(api.hear(talks[0], "/v1/near").status, 504);
    assert_eq!(api.hear(talks[1], "/v1/near").status, 504);
}

#[test]
fn a_connection_that_is_lost_gives_its_question_back() {
    let mut api = Api::new("[places]\nin_flight = 1");
    let talks: Vec<TalkId> = (0..3).map(|_| dial(&mut api.cluster)).collect();
    for talk in &talks {
        api.send(*talk, "/v1/near?lat=1&lon=1", "");
    }
    api.cluster.settle();
    assert_eq!(api.waiting(), 3);
    api.cluster.abort(talks[0]);
    api.cluster.abort(talks[2]);
    api.cluster.settle();
    assert_eq!(api.waiting(), 1);
    let (late, _) = api.questions.try_recv().expect("the first question");
    let (ticket, _) = api.questions.try_recv().expect("the second question");
    api.answer(late, SearchStatus::RequestDenied);
    api.answer(ticket, SearchStatus::UnknownError);
    assert_eq!(api.hear(talks[1], "/v1/near").status, 504);
    assert_eq!(api.waiting(), 0);
}

// The document.

#[test]
fn the_openapi_document_is_served_and_cached_by_its_etag() {
    let mut api = Api::new("");
    let got = api.get("/openapi.json");
    assert_eq!((got.status, &got.json()["openapi"]), (200, &Value::from("3.1.0")));
    let field = format!("If-None-Match: {}\r\n", got.header("ETag").expect("an ETag"));
    assert_eq!(api.get_with("/openapi.json", &field).status, 304);
}

//! The parts of a policy together: from a request to the fields of its event.

use super::*;
use crate::request::head::with_head;

const ORIGIN: &str = "127.0.0.1:9";

fn policy(text: &str) -> Policy {
    Policy::new(&toml::from_str(text).unwrap()).unwrap()
}

fn origin(peer: &str, is_proxied: bool) -> Origin {
    Origin { peer: peer.parse().unwrap(), is_proxied, is_tls: false }
}

fn request(target: &str, headers: &[(&str, &str)]) -> String {
    let lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {target} HTTP/1.0\r\n{}", lines.concat())
}

/// The event as JSON; `None` if there is none.
fn recorded(policy: &Policy, request: &str, body: Option<&[u8]>) -> Option<serde_json::Value> {
    recorded_from(policy, request, body, &origin(ORIGIN, false))
}

fn recorded_from(
    policy: &Policy,
    request: &str,
    body: Option<&[u8]>,
    origin: &Origin,
) -> Option<serde_json::Value> {
    with_head(request, |head| {
        let Verdict::Record(recording) = policy.judge(head) else { return None };
        let mut memory = Vec::new();
        let body = body.and_then(|body| recording.body(head, body, &mut memory).unwrap());
        recording.with_event(head, origin, body.as_ref(), 1_700_000_000_123, |event| {
            serde_json::to_value(event).unwrap()
        })
    })
}

const EVERYTHING: &str = r#"
    [event]
    method = true
    scheme = true
    uuid = true
    extra_headers = ["accept-language", "x-absent"]
    [event.static]
    dc = "ams"
    [cookie]
    name = "v"
    [privacy]
    honour_dnt = "anonymous"
    honour_gpc = "skip"
    ip = "truncate"
    cookies = ["a"]
    [[pixel.route]]
    prefix = "/b"
    body = true
    fields = { dc = "fra", kind = "beacon" }
    [[event.drop]]
    field = "cookies"
    regex = "monitor"
"#;

const HEADERS: [(&str, &str); 5] = [
    ("x-forwarded-for", "203.0.113.77"),
    ("x-forwarded-proto", "https"),
    ("referer", "https://a.example/"),
    ("cookie", "a=1; v=me; b=2"),
    ("accept-language", "nl"),
];

#[test]
fn an_event_has_what_is_asked_for_and_no_more() {
    let policy = policy(EVERYTHING);
    let mut event = recorded(&policy, &request("/b?q", &HEADERS), Some(b"{}")).unwrap();
    let uuid = event.as_object_mut().unwrap().remove("uuid").unwrap();
    let uuid = Uuid::parse_str(uuid.as_str().unwrap()).unwrap();
    assert_eq!(uuid.get_version_num(), 7);
    assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_700_000_000, 123_000_000));
    assert_eq!(
        event,
        serde_json::json!({
            "timestamp": 1_700_000_000_123_i64, "ip": "203.0.113.0", "host": null,
            "request_path": "/b", "query_string": "q", "referer": "https://a.example/",
            "user_agent": null, "cookies": "a=1", "method": "GET", "scheme": "https",
            "accept-language": "nl", "body": "{}", "visitor": "me", "dc": "fra", "kind": "beacon",
        })
    );
    let plain = recorded(&self::policy(""), &request("/b?q", &HEADERS), None).unwrap();
    assert_eq!(plain.as_object().unwrap().len(), 8, "{plain}");
    assert_eq!(plain["cookies"], "a=1; v=me; b=2");
}

#[test]
fn an_anonymous_event_has_nothing_of_its_sender() {
    let headers = [&HEADERS[..], &[("dnt", "1")]].concat();
    let request = request("/p", &headers);
    let policy = policy(EVERYTHING);
    let event = recorded(&policy, &request, None).unwrap();
    for absent in ["ip", "cookies", "referer", "visitor", "accept-language"] {
        assert_eq!(event[absent], serde_json::Value::Null, "{absent}");
    }
    assert_eq!((&event["dc"], &event["method"]), (&"ams".into(), &"GET".into()));
    assert_eq!(cookies_set(&policy, &request), 0);
}

#[test]
fn a_visitor_gets_a_cookie_with_the_answer_and_is_known_by_it() {
    let policy = policy(EVERYTHING);
    let (new, known) = (request("/p", &[]), request("/p", &HEADERS));
    assert_eq!((cookies_set(&policy, &new), cookies_set(&policy, &known)), (1, 0));
}

fn cookies_set(policy: &Policy, request: &str) -> usize {
    with_head(request, |head| match policy.judge(head) {
        Verdict::Record(recording) => {
            recording.answer.headers.iter().filter(|(name, _)| *name == "set-cookie").count()
        }
        Verdict::Answer(..) => panic!("it is recorded"),
    })
}

#[test]
fn behind_a_balancer_the_default_trusts_no_source_and_a_list_of_ones_own_does() {
    let lines = request("/p", &[("x-forwarded-for", "6.6.6.6")]);
    let ip = |text: &str, is_proxied| {
        let event = recorded_from(&policy(text), &lines, None, &origin("10.1.1.1:1", is_proxied));
        event.unwrap()["ip"].as_str().unwrap().to_owned()
    };
    assert_eq!(ip("", false), "6.6.6.6", "a peer in a private network");
    assert_eq!(ip("", true), "10.1.1.1", "a source in a private network");
    let own = "[pixel]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    assert_eq!(ip(own, true), "6.6.6.6");
}

#[test]
fn rules_see_what_privacy_then_takes_away() {
    let policy = policy(EVERYTHING);
    assert!(recorded(&policy, &request("/p", &[("cookie", "x=monitor")]), None).is_none());
    let anonymous = request("/p", &[("cookie", "x=monitor"), ("dnt", "1")]);
    assert!(recorded(&policy, &anonymous, None).is_none());
    assert!(recorded(&policy, &request("/p", &[("cookie", "x=1")]), None).is_some());
}

#[test]
fn what_is_not_recorded_has_its_reason_and_its_answer() {
    let text = "[[pixel.route]]\nprefix = \"/quiet\"\nlog = false\nresponse = \"gif\"\n\
        [cors]\nallow_origin = \"*\"\n[privacy]\nhonour_gpc = \"skip\"\n";
    let policy = policy(text);
    for (target, headers, why, content) in [
        ("/robots.txt", &[][..], Unrecorded::WellKnown, Content::Robots),
        ("/quiet/x", &[], Unrecorded::Route, Content::Gif),
        ("/p", &[("sec-gpc", "1")], Unrecorded::Privacy, Content::Nothing),
    ] {
        with_head(&request(target, headers), |head| {
            let Verdict::Answer(answer, found) = policy.judge(head) else { panic!("{target}") };
            assert_eq!((found, answer.content), (why, content), "{target}");
        });
    }
    for (place, why) in Unrecorded::ALL.into_iter().enumerate() {
        assert_eq!(why as usize, place);
    }
}

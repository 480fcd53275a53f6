//! The parts of a policy together: from a request to the fields of its event.

use actix_http::Request;
use actix_http::header::{HeaderName, HeaderValue, SET_COOKIE};
use actix_http::test::TestRequest;

use super::*;

fn policy(text: &str) -> Policy {
    Policy::new(&toml::from_str(text).unwrap()).unwrap()
}

fn request(target: &str, headers: &[(&'static str, &'static str)]) -> Request {
    let mut request = TestRequest::with_uri(target);
    for (name, value) in headers {
        request.append_header((HeaderName::from_static(name), HeaderValue::from_static(value)));
    }
    request.finish()
}

fn head(request: &Request) -> Head<'_> {
    Head { peer: Some("127.0.0.1:9".parse().unwrap()), ..Head::of(request, false) }
}

/// The event as JSON; `None` if there is none.
fn recorded(policy: &Policy, request: &Request, body: Option<&[u8]>) -> Option<serde_json::Value> {
    let head = head(request);
    let Plan::Record(recording) = policy.plan(&head) else { return None };
    recording
        .with_event(&head, body, 1_700_000_000_123, |event| serde_json::to_value(event).unwrap())
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
    let Plan::Record(recording) = policy.plan(&head(&request)) else { panic!("it is recorded") };
    assert_eq!(recording.answer.headers, []);
}

#[test]
fn a_visitor_gets_a_cookie_with_the_answer_and_is_known_by_it() {
    let policy = policy(EVERYTHING);
    let (new, known) = (request("/p", &[]), request("/p", &HEADERS));
    let cookies = |request| match policy.plan(&head(request)) {
        Plan::Record(recording) => recording.answer.headers,
        Plan::Answer(..) => panic!("it is recorded"),
    };
    let set = cookies(&new);
    assert_eq!((set.len(), &set[0].0), (1, &SET_COOKIE));
    assert_eq!(cookies(&known), []);
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
        let request = request(target, headers);
        let Plan::Answer(answer, found) = policy.plan(&head(&request)) else { panic!("{target}") };
        assert_eq!((found, answer.content), (why, content), "{target}");
    }
    for (place, why) in Unrecorded::ALL.into_iter().enumerate() {
        assert_eq!(why as usize, place);
    }
}

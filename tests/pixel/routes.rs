//! What the pixel answers, and to what: routes, the GIF, well-known names, CORS, bodies, drop
//! rules.

use std::time::Duration;

use serde_json::{Value, json};
use sewer_test_support::http::{Connection, Response};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a request on a connection of its own; `rest` is what follows the request line and Host.
fn send(pixel: &Pixel, method: &str, target: &str, rest: &str) -> Response {
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let rest = if rest.is_empty() { "\r\n" } else { rest };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{rest}");
    connection.send(request.as_bytes()).unwrap();
    let receive = if method == "HEAD" { Connection::receive_head } else { Connection::receive };
    receive(&mut connection).unwrap_or_else(|e| panic!("{method} {target}: {e}"))
}

fn post(pixel: &Pixel, target: &str, body: &str) -> Response {
    let length = body.len();
    send(pixel, "POST", target, &format!("Content-Length: {length}\r\n\r\n{body}"))
}

fn texts<'a>(events: &'a [Value], name: &str) -> Vec<Option<&'a str>> {
    events.iter().map(|event| event[name].as_str()).collect()
}

fn unrecorded(pixel: &Pixel, reason: &str) -> String {
    let name = format!("sewer_pixel_unrecorded_requests_total{{reason=\"{reason}\"}}");
    pixel.metrics()[&name].to_string()
}

#[test]
fn the_route_of_the_longest_prefix_says_what_is_answered_and_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let routes = "pixel.route=[\
        {prefix=\"/a\",response=\"gif\",fields={kind=\"image\"}},\
        {prefix=\"/a/quiet\",log=false},\
        {prefix=\"/a/quiet/not\",fields={kind=\"deep\"}}]";
    let sets = [routes, "event.static={dc=\"ams\",kind=\"plain\"}"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    for (path, status) in
        [("/", 204), ("/a", 200), ("/ab?x", 200), ("/a/quiet", 204), ("/a/quiet/not/x", 204)]
    {
        assert_eq!(send(&pixel, "GET", path, "").status, status, "{path}");
    }
    let events = pixel.dump();
    assert_eq!(
        texts(&events, "request_path"),
        [Some("/"), Some("/a"), Some("/ab"), Some("/a/quiet/not/x")]
    );
    assert_eq!(texts(&events, "kind"), [Some("plain"), Some("image"), Some("image"), Some("deep")]);
    assert_eq!(texts(&events, "dc"), [Some("ams"); 4]);
    assert_eq!(unrecorded(&pixel, "route"), "1");
    assert_eq!(pixel.metrics()["sewer_pixel_responses_total{code=\"200\"}"].to_string(), "2");
}

#[test]
fn a_gif_is_a_pixel_that_nobody_keeps_and_a_204_is_nothing_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.response=gif"]);
    let gif = send(&pixel, "GET", "/p.gif", "");
    assert_eq!(gif.header("content-type"), Some("image/gif"));
    assert_eq!(gif.header("content-length"), Some("43"));
    assert!(gif.header("cache-control").unwrap().contains("no-store"), "{}", gif.head);
    assert!(gif.body.starts_with("GIF89a") && gif.body.ends_with(';'), "{}", gif.body);
    let head = send(&pixel, "HEAD", "/p.gif", "");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some("43"), "{}", head.head);
    assert_eq!(pixel.dump().len(), 2);

    let other = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, other.path(), &[]);
    let nothing = send(&pixel, "GET", "/p.gif", "");
    assert_eq!(nothing.status, 204);
    let headers: Vec<_> = nothing.head.lines().skip(1).filter(|line| !line.is_empty()).collect();
    assert!(
        headers.iter().all(|line| line.to_ascii_lowercase().starts_with("date:")),
        "{headers:?}"
    );
}

#[test]
fn to_head_the_answer_is_the_same_without_its_body_and_the_connection_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.response=gif"]);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for _ in 0..3 {
        connection.send(b"HEAD /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(connection.receive_head().unwrap().status, 200);
    }
    let gif = connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(gif.body.starts_with("GIF89a"), "{}{}", gif.head, gif.body);
    assert_eq!(pixel.dump().len(), 4);
}

#[test]
fn well_known_names_are_answered_as_such_and_not_recorded_unless_they_are_to_be() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.route=[{prefix=\"/\"},{prefix=\"/favicon.ico\"}]"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let robots = send(&pixel, "GET", "/robots.txt", "");
    assert_eq!((robots.status, robots.body.as_str()), (200, "User-agent: *\nDisallow: /\n"));
    assert_eq!(robots.header("content-type"), Some("text/plain; charset=utf-8"));
    let cross_domain = send(&pixel, "GET", "/crossdomain.xml?v=1", "");
    assert!(cross_domain.body.contains("permitted-cross-domain-policies=\"none\""));
    assert_eq!(pixel.dump().len(), 0);
    assert_eq!(unrecorded(&pixel, "well_known"), "2");
    for path in ["/favicon.ico", "/robots.txt/x", "/Robots.txt"] {
        assert_eq!(send(&pixel, "GET", path, "").status, 204, "{path}");
    }
    assert_eq!(pixel.dump().len(), 3);

    let other = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, other.path(), &["pixel.well_known=false"]);
    assert_eq!(send(&pixel, "GET", "/robots.txt", "").status, 204);
    assert_eq!(pixel.dump().len(), 1);
}

#[test]
fn a_preflight_is_answered_and_not_recorded_and_the_request_after_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["cors.allow_origin=[\"https://a.example\"]", "cors.allow_credentials=true"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let ask = |origin: &str| {
        let rest = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: content-type\r\n\r\n"
        );
        send(&pixel, "OPTIONS", "/p", &rest)
    };
    let granted = ask("https://a.example");
    for (name, value) in [
        ("access-control-allow-origin", "https://a.example"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "3600"),
    ] {
        assert_eq!(granted.header(name), Some(value), "{}", granted.head);
    }
    let refused = ask("https://b.example");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (204, None));
    assert_eq!(pixel.dump().len(), 0);
    assert_eq!(unrecorded(&pixel, "preflight"), "2");

    let answer = send(&pixel, "GET", "/p", "Origin: https://a.example\r\n\r\n");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let plain = send(&pixel, "OPTIONS", "/p", "");
    assert_eq!((plain.status, plain.header("access-control-allow-origin")), (204, None));
    assert_eq!(pixel.dump().len(), 2);
}

#[test]
fn a_body_is_recorded_where_a_route_says_so_up_to_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.route=[{prefix=\"/b\",body=true}]", "pixel.max_body_bytes=100B"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let (longest, too_long) = ("x".repeat(100), "x".repeat(101));
    for (target, body, status) in [
        ("/b", "{\"a\":1}", 204),
        ("/b", "", 204),
        ("/b", longest.as_str(), 204),
        ("/b", too_long.as_str(), 413),
        ("/p", longest.as_str(), 204),
    ] {
        assert_eq!(post(&pixel, target, body).status, status, "{target} {}", body.len());
    }
    let chunked = "Transfer-Encoding: chunked\r\n\r\n4\r\nab\r\n\r\n2\r\ncd\r\n0\r\n\r\n";
    assert_eq!(send(&pixel, "POST", "/b", chunked).status, 204);
    let endless = format!("Transfer-Encoding: chunked\r\n\r\n65\r\n{too_long}\r\n");
    assert_eq!(send(&pixel, "POST", "/b", &endless).status, 413);
    assert_eq!(send(&pixel, "GET", "/b", "").status, 204);

    let events = pixel.dump();
    assert_eq!(
        texts(&events, "body"),
        [Some("{\"a\":1}"), None, Some(&*longest), None, Some("ab\r\ncd"), None]
    );
    let refused = pixel.metrics()["sewer_pixel_responses_total{code=\"413\"}"];
    assert_eq!(refused.to_string(), "2");
}

#[test]
fn a_route_says_when_its_requests_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let sets = [
        "pixel.route=[{prefix=\"/soon\",ack=\"received\"},{prefix=\"/soon/safe\",ack=\"durable\"}]",
    ];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    for path in ["/soon/safe", "/p"] {
        assert_eq!(send(&pixel, "GET", path, "").status, 204);
        let durable = pixel.dump().pop().unwrap();
        assert_eq!(durable["request_path"], path, "it is there at once");
    }
    assert_eq!(send(&pixel, "GET", "/soon", "").status, 204);
    let all = || pixel.metrics()["sewer_pixel_events_total"] > 2.0;
    assert!(eventually(PATIENCE, all), "what was received becomes durable");
    assert_eq!(texts(&pixel.dump(), "request_path")[2], Some("/soon"));
}

#[test]
fn a_client_that_asks_first_is_told_to_send_its_body_or_not_to() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.route=[{prefix=\"/b\",body=true}]"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    for _ in 0..2 {
        let ask =
            "POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
        connection.send(ask.as_bytes()).unwrap();
        assert_eq!(connection.receive_head().unwrap().status, 100);
        assert_eq!(connection.request(b"body").unwrap().status, 204);
    }
    assert_eq!(texts(&pixel.dump(), "body"), [Some("body"); 2]);
}

#[test]
fn a_body_that_breaks_off_is_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.route=[{prefix=\"/b\",body=true}]"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let cut = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nbody";
    Connection::open(&pixel.address()).unwrap().send(cut).unwrap();
    assert_eq!(post(&pixel, "/b", "whole").status, 204);
    assert_eq!(texts(&pixel.dump(), "body"), [Some("whole")]);
}

#[test]
fn what_a_drop_rule_matches_is_answered_counted_and_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let sets = [
        "event.method=true",
        "event.drop=[\
        {field=\"user_agent\",regex=\"(?i)healthcheck\"},{field=\"method\",regex=\"^TRACE$\"}]",
    ];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    for (method, agent) in
        [("GET", "Mozilla/5.0"), ("GET", "ELB-HealthChecker/2.0"), ("TRACE", "Mozilla/5.0")]
    {
        let answer = send(&pixel, method, "/p", &format!("User-Agent: {agent}\r\n\r\n"));
        assert_eq!(answer.status, 204, "{method} {agent}");
    }
    let events = pixel.dump();
    assert_eq!(texts(&events, "method"), [Some("GET")]);
    assert_eq!(events[0]["user_agent"], json!("Mozilla/5.0"));
    assert_eq!(unrecorded(&pixel, "drop_rule"), "2");
}

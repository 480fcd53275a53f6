//! What the pixel leaves out of its events, before they are written anywhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sewer_test_support::http::{Connection, Response};
use sewer_test_support::pixel::Pixel;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// What a request tells of its sender; each is to be found by name or not at all.
const ADDRESS: &str = "203.0.113.77";
const REFERER: &str = "https://shop.example/secret-referer";
const COOKIES: &str = "keep=kept-value; other=secret-cookie";

fn send(pixel: &Pixel, headers: &str) -> Response {
    let request = format!(
        "GET /p?q HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {ADDRESS}\r\nReferer: {REFERER}\r\n\
         Cookie: {COOKIES}\r\nAccept-Language: nl-secret\r\n{headers}\r\n"
    );
    Connection::open(&pixel.address()).unwrap().request(request.as_bytes()).unwrap()
}

/// Whether a text is anywhere in the files of a directory.
fn is_in_files(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_in_files(&path, text);
        }
        let bytes = fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// Starts a pixel, sends it one request, and stops it.
fn sent(directory: &Path, sets: &[&str], headers: &str) -> (Vec<Value>, Response) {
    let mut pixel = Pixel::started(BINARY, directory, sets);
    let response = send(&pixel, headers);
    assert_eq!(response.status, 204);
    pixel.stop();
    (pixel.dump(), response)
}

#[test]
fn an_anonymous_event_holds_nothing_of_its_sender_anywhere_on_disk() {
    for (rule, header) in
        [("privacy.honour_dnt", "DNT: 1\r\n"), ("privacy.honour_gpc", "Sec-GPC: 1\r\n")]
    {
        let directory = tempfile::tempdir().unwrap();
        let sets = [
            &*format!("{rule}=anonymous"),
            "event.extra_headers=[\"accept-language\"]",
            "event.method=true",
            "cookie.name=v",
        ];
        let (events, response) = sent(directory.path(), &sets, header);
        for absent in ["ip", "referer", "cookies", "visitor", "accept-language"] {
            assert_eq!(events[0][absent], Value::Null, "{header} {absent}");
        }
        let path_and_method = (&events[0]["request_path"], &events[0]["method"]);
        assert_eq!(path_and_method, (&json!("/p"), &json!("GET")));
        assert_eq!(response.header("set-cookie"), None, "{}", response.head);
        for text in [ADDRESS, "127.0.0.1", REFERER, "secret-cookie", "kept-value", "nl-secret"] {
            assert!(!is_in_files(&directory.path().join("wal"), text), "{text} is in the WAL");
        }
        assert!(is_in_files(&directory.path().join("wal"), "/p"), "the search finds what is there");
    }
}

#[test]
fn a_skipped_request_is_answered_and_nothing_of_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["privacy.honour_gpc=skip", "cookie.name=v"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let skipped = send(&pixel, "Sec-GPC: 1\r\n");
    assert_eq!((skipped.status, skipped.header("set-cookie")), (204, None));
    assert_eq!(pixel.dump(), Vec::<Value>::new());
    assert_eq!(send(&pixel, "Sec-GPC: 0\r\nDNT: 1\r\n").status, 204);
    assert_eq!(pixel.dump().len(), 1, "DNT is not honoured here");
    let skipped = pixel.metrics()["sewer_pixel_unrecorded_requests_total{reason=\"privacy\"}"];
    assert_eq!(skipped.to_string(), "1");
}

#[test]
fn a_truncated_address_is_its_network_and_the_address_is_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let (events, _) = sent(directory.path(), &["privacy.ip=truncate"], "");
    assert_eq!(events[0]["ip"], "203.0.113.0");
    assert!(!is_in_files(&directory.path().join("wal"), ADDRESS));
}

#[test]
fn a_hashed_address_joins_within_a_start_or_with_a_key_file_over_restarts_and_nodes() {
    let of = |directory: &Path, sets: &[&str]| {
        let mut pixel = Pixel::started(BINARY, directory, sets);
        send(&pixel, "");
        send(&pixel, "");
        pixel.stop();
        let mut hashes: Vec<_> =
            pixel.dump().iter().rev().take(2).map(|event| event["ip"].clone()).collect();
        hashes.dedup();
        assert_eq!(hashes.len(), 1, "{hashes:?}");
        let hash = hashes[0].as_str().unwrap().to_owned();
        assert!(hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
        assert!(!is_in_files(&directory.join("wal"), ADDRESS));
        hash
    };
    // Longer than the test: no period ends in it.
    let sets = ["privacy.ip=hash", "privacy.ip_key_rotation=100000days"];
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(of(one.path(), &sets), of(one.path(), &sets), "a restart begins another key");
    let key = one.path().join("key");
    fs::write(&key, [7; 32]).unwrap();
    let sets = [sets[0], sets[1], &*format!("privacy.ip_key_file={}", key.display())];
    let first = of(one.path(), &sets);
    assert_eq!(of(one.path(), &sets), first);
    assert_eq!(of(two.path(), &sets), first);
    fs::write(&key, [8; 32]).unwrap();
    assert_ne!(of(one.path(), &sets), first);
}

#[test]
fn only_cookies_on_the_list_are_recorded() {
    for (list, recorded) in [("[\"keep\"]", json!("keep=kept-value")), ("[]", Value::Null)] {
        let directory = tempfile::tempdir().unwrap();
        let (events, _) = sent(directory.path(), &[&format!("privacy.cookies={list}")], "");
        assert_eq!(events[0]["cookies"], recorded);
        assert!(!is_in_files(&directory.path().join("wal"), "secret-cookie"));
    }
}

#[test]
fn a_visitor_is_known_from_the_first_request_on_by_a_cookie_set_once() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["cookie.name=v", "cookie.max_age=1h", "cookie.domain=example.org"];
    let pixel = Pixel::started(BINARY, directory.path(), &sets);
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let first = connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let set = first.header("set-cookie").expect("a new visitor gets a cookie").to_owned();
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert_eq!(attributes, "Max-Age=3600; Path=/; Domain=example.org; HttpOnly; SameSite=Lax");
    let again = format!("GET /p HTTP/1.1\r\nHost: h\r\nCookie: a=1; {cookie}\r\n\r\n");
    let second = connection.request(again.as_bytes()).unwrap();
    assert_eq!(second.header("set-cookie"), None, "{}", second.head);
    let third = connection.request(b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_ne!(third.header("set-cookie").map(str::to_owned), Some(set.clone()));

    let events = pixel.dump();
    let value = cookie.strip_prefix("v=").unwrap();
    assert_eq!((&events[0]["visitor"], &events[0]["cookies"]), (&json!(value), &Value::Null));
    assert_eq!(events[1]["visitor"], value);
    assert_eq!(events[1]["cookies"], format!("a=1; {cookie}"));
    assert_ne!(events[2]["visitor"], value);
}

//! Bodies that are not text: they are decoded where a route wants it, and otherwise kept as they
//! came, with what is needed to read them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const ROUTES: &str =
    "pixel.route=[{prefix=\"/raw\",body=true},{prefix=\"/decoded\",body=\"decoded\"}]";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The status of the answer to a body in an encoding.
fn post(pixel: &Pixel, path: &str, encoding: &str, body: &[u8]) -> u16 {
    let length = body.len();
    let encoding = match encoding {
        "" => String::new(),
        encoding => format!("Content-Encoding: {encoding}\r\n"),
    };
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: h\r\n{encoding}Content-Length: {length}\r\n\r\n");
    let mut connection = Connection::open(&pixel.address()).unwrap();
    connection.request(&[head.as_bytes(), body].concat()).unwrap().status
}

/// The fields of an event that tell its body.
fn told(event: &Value) -> [Value; 3] {
    ["body", "body_base64", "content_encoding"].map(|name| event[name].clone())
}

#[test]
fn a_body_is_decoded_where_a_route_wants_it_and_kept_whole_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[ROUTES]);
    let text = "{\"a\":\"\u{e9}\"}";
    let none = Value::Null;
    let mut expected = Vec::new();
    for (path, encoding, body, fields) in [
        ("/decoded", "gzip", gzip(text.as_bytes()), [json!(text), none.clone(), none.clone()]),
        ("/decoded", "Deflate", zlib(text.as_bytes()), [json!(text), none.clone(), none.clone()]),
        ("/decoded", "", text.into(), [json!(text), none.clone(), none.clone()]),
        ("/decoded", "identity", text.into(), [json!(text), none.clone(), none.clone()]),
        // Not what it says, and what is not known here.
        ("/decoded", "gzip", text.into(), [json!(text), none.clone(), json!("gzip")]),
        (
            "/decoded",
            "deflate",
            b"\x03\0 and".into(),
            [json!("\u{3}\0 and"), none.clone(), json!("deflate")],
        ),
        ("/decoded", "br", b"x\xff".into(), [none.clone(), json!("eP8="), json!("br")]),
        ("/raw", "", text.into(), [json!(text), none.clone(), none.clone()]),
        ("/raw", "", b"\x80\0\x01".into(), [none.clone(), json!("gAAB"), none.clone()]),
        ("/raw", "zstd", b"(\xb5/\xfd".into(), [none.clone(), json!("KLUv/Q=="), json!("zstd")]),
    ] {
        assert_eq!(post(&pixel, path, encoding, &body), 204, "{path} {encoding}");
        expected.push(fields);
    }
    let found: Vec<_> = pixel.dump().iter().map(told).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_body_that_would_grow_over_the_limit_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[ROUTES, "pixel.max_body_bytes=10KiB"]);
    let (fits, bomb) = (gzip(&[b'x'; 10 << 10]), gzip(&vec![b'x'; 4 << 20]));
    assert_eq!(post(&pixel, "/decoded", "gzip", &fits), 204);
    assert!(bomb.len() < 10 << 10, "{}", bomb.len());
    assert_eq!(post(&pixel, "/decoded", "gzip", &bomb), 413);
    assert_eq!(post(&pixel, "/raw", "gzip", &bomb), 204, "as it came it is short enough");
    assert_eq!(pixel.dump().len(), 2);
}

#[test]
fn an_event_has_the_time_at_which_its_body_was_whole() {
    let directory = tempfile::tempdir().unwrap();
    // However long a body may take, its event does not come after its hour is marked as done.
    let pixel = Pixel::started(BINARY, directory.path(), &[ROUTES, "pixel.body_timeout=5m"]);
    let mut slow = Connection::open(&pixel.address()).unwrap();
    slow.send(b"POST /raw?slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo").unwrap();
    let mut connection = Connection::open(&pixel.address()).unwrap();
    let between = b"GET /p?between HTTP/1.1\r\nHost: h\r\n\r\n";
    for _ in 0..20 {
        assert_eq!(connection.request(between).unwrap().status, 204);
    }
    assert_eq!(slow.request(b"dy").unwrap().status, 204);
    let events = pixel.dump();
    let last = events.last().unwrap();
    assert_eq!(last["query_string"], "slow");
    let times: Vec<_> = events.iter().map(|event| event["timestamp"].as_i64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

//! Several requests on one connection: each answer is framed by its own request, and whatever asks
//! for another protocol gets none, and keeps its connection.

use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const GET: &[u8] = b"GET /p?x HTTP/1.1\r\nHost: h\r\n\r\n";

fn open(pixel: &Pixel) -> Connection {
    Connection::open(&pixel.address()).unwrap()
}

#[test]
fn another_protocol_is_not_taken_up_and_the_connection_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    for lines in [
        "Connection: upgrade\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    ] {
        for (method, body) in [("GET", ""), ("POST", "Content-Length: 1\r\n\r\nx")] {
            let rest = if body.is_empty() { "\r\n" } else { body };
            let request = format!("{method} /p?u HTTP/1.1\r\nHost: h\r\n{lines}{rest}");
            let mut connection = open(&pixel);
            for _ in 0..3 {
                let response = connection.request(request.as_bytes()).unwrap();
                assert_eq!(response.status, 204, "{request}");
                assert_eq!(response.header("connection"), None, "{}", response.head);
                assert_eq!(response.header("upgrade"), None, "{}", response.head);
            }
        }
    }
    assert_eq!(pixel.dump().len(), 18);
}

#[test]
fn a_tunnel_is_refused_and_what_follows_is_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut connection = open(&pixel);
    let connect = b"CONNECT mail.example:25 HTTP/1.1\r\nHost: mail.example\r\n\r\n";
    connection.send(&[connect, GET].concat()).unwrap();
    assert_eq!(connection.receive().unwrap().status, 400);
    assert_eq!(connection.rest().unwrap(), b"");
    assert_eq!(pixel.dump().len(), 0);
}

#[test]
fn each_answer_of_a_pipeline_is_framed_by_its_own_request() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &["pixel.response=gif"]);
    let get = "GET /p HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = "HEAD /p HTTP/1.1\r\nHost: h\r\n\r\n";
    let close = "GET /p HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let old = "GET /p HTTP/1.0\r\n\r\n";
    let robots = "GET /robots.txt HTTP/1.1\r\nHost: h\r\n\r\n";
    for (requests, answers) in [
        (vec![head, get, head, robots], vec!["head", "body", "head", "body"]),
        (vec![get, head, get], vec!["body", "head", "body"]),
        (vec![get, get, get, close], vec!["body", "body", "body", "close"]),
        (vec![get, close, get], vec!["body", "close"]),
        (vec![get, old, get], vec!["body", "close"]),
    ] {
        let mut connection = open(&pixel);
        connection.send(requests.concat().as_bytes()).unwrap();
        for (number, answer) in answers.iter().enumerate() {
            let what = format!("answer {number} to {requests:?}");
            let receive =
                if *answer == "head" { Connection::receive_head } else { Connection::receive };
            let response = receive(&mut connection).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(response.head.starts_with("HTTP/1.1 200 OK\r\n"), "{what}: {}", response.head);
            let closes = response.header("connection") == Some("close");
            assert_eq!(closes, *answer == "close", "{what}: {}", response.head);
        }
        if answers.last() == Some(&"close") {
            assert!(connection.is_closed(), "{requests:?}");
        } else {
            assert_eq!(connection.request(close.as_bytes()).unwrap().status, 200, "{requests:?}");
        }
    }
}

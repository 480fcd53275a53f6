//! What is refused can be seen in the log, a line a minute for each reason, whoever sends how much.

use std::time::Duration;

use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_refused_request_is_shown_once_a_minute_with_its_reason_and_where_it_came_from() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["pixel.max_uri_bytes=100B", "pixel.max_body_bytes=10B"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    let long = "t".repeat(200);
    let requests = [
        ("malformed", "GET tag\u{1}\x1b[31m\" before=7 HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("uri_too_long", format!("GET /?{long} HTTP/1.1\r\nHost: h\r\n\r\n")),
        ("body_too_large", "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n".to_owned()),
    ];
    for _ in 0..50 {
        for (_, request) in &requests {
            let answer = Connection::open(&pixel.address()).unwrap().request(request.as_bytes());
            assert!(answer.unwrap().status >= 400);
        }
    }
    let lines = |log: &str, reason: &str| -> Vec<String> {
        let name = format!("reason=\"{reason}\"");
        log.lines().filter(|line| line.contains(&name)).map(ToOwned::to_owned).collect()
    };
    for (reason, request) in &requests {
        let told = || !lines(&pixel.process().log(), reason).is_empty();
        assert!(eventually(PATIENCE, told), "{reason}");
        let lines = lines(&pixel.process().log(), reason);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert!(line.contains("WARN") && line.contains("peer=127.0.0.1:"), "{line}");
        let shown = request.as_bytes()[..request.len().min(100)].escape_ascii().to_string();
        // The log escapes once more what it quotes.
        assert!(line.replace("\\\\", "\\").contains(&shown[..20]), "{shown}: {line}");
        assert!(!line.contains('\x1b') && !line.contains(&long), "{line}");
        let (_, quoted) = line.split_once("began=\"").expect("it is quoted");
        let plain = quoted.replace("\\\\", "").replace("\\\"", "");
        let (_, rest) = plain.split_once('"').expect("and ends");
        assert_eq!(rest.trim(), "before=0", "the request can tell nothing else: {line}");
    }
    let rejected = |reason| format!("sewer_pixel_rejected_requests_total{{reason=\"{reason}\"}}");
    let metrics = pixel.metrics();
    for (reason, _) in &requests {
        assert_eq!(metrics[&rejected(reason)].to_string(), "50", "{reason}");
    }
}

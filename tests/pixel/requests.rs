//! From any bytes to events: whatever a client sends, the pixel makes of it what was sent or
//! nothing.

mod properties;

use properties::Trial;
use proptest::prelude::*;

/// Bytes such as a value of a header may have, and some that it may not.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => "(for|host|proto|by)=\"?\\[?[0-9a-f:.]{1,20}\\]?\"?[;,]?".prop_map(String::into_bytes),
        1 => "[0-9a-f.:, ]{1,40}".prop_map(String::into_bytes),
    ]
}

fn header() -> impl Strategy<Value = Vec<u8>> {
    const PLAIN: [&str; 10] = [
        "User-Agent",
        "Referer",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "Accept-Language",
        "Origin",
        "DNT",
        "x",
    ];
    const FRAMING: [&str; 6] =
        ["Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Upgrade"];
    let name = prop_oneof![
        30 => prop::sample::select(&PLAIN[..]).boxed(),
        2 => prop::sample::select(&FRAMING[..]).boxed(),
    ];
    (name, value()).prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat())
}

/// Something like a request.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        Just("GET"),
        Just("HEAD"),
        Just("POST"),
        Just("OPTIONS"),
        Just("CONNECT"),
        Just("M")
    ];
    let target = prop_oneof![
        8 => "/[a-zA-Z0-9%?&=/._~+-]{0,30}",
        1 => "/[!-~]{0,30}",
        1 => "[!-~]{1,30}",
        1 => "http://[!-~]{0,30}",
        1 => Just("*".to_owned()),
    ];
    let version = prop_oneof![4 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2")];
    let headers = prop::collection::vec(header(), 0..6);
    (method, target, version, headers, prop::bool::weighted(0.9)).prop_map(
        |(method, target, version, headers, has_host)| {
            let host = if has_host { "Host: h:80\r\n" } else { "" };
            let mut bytes = format!("{method} {target} {version}\r\n{host}").into_bytes();
            bytes.extend(headers.concat());
            bytes.extend(b"\r\n");
            bytes
        },
    )
}

#[test]
fn an_event_is_what_was_sent_and_nothing_else() {
    let trial = Trial::new();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let inputs = prop::collection::vec(request(), 1..4).prop_map(|requests| requests.concat());
    let seen = std::cell::Cell::new(0);
    runner
        .run(&inputs, |bytes| {
            seen.set(seen.get() + trial.requests(&bytes));
            Ok(())
        })
        .unwrap_or_else(|e| panic!("{e}"));
    let requests = seen.get();
    println!("{requests} requests");
    assert!(requests > 500, "most of the inputs should be requests: {requests}");
}

#[test]
fn any_bytes_are_taken_without_a_panic() {
    let trial = Trial::new();
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() },
        |(bytes in prop::collection::vec(any::<u8>(), 0..2000))| {
            trial.requests(&bytes);
        }
    );
}

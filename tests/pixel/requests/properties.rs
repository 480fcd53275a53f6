//! What holds for the step from any bytes to events, as a function that the property tests and the
//! fuzz target share: heads are parsed, then come the limits, the policy and the event as the
//! handler applies them. It panics where a promise is broken.

use std::net::SocketAddr;

use sewer_pixel::config::Config;
use sewer_pixel::http::limits::Limits;
use sewer_pixel::policy::{Policy, Verdict};
use sewer_pixel::request::head::Origin;
use sewer_pixel::request::parse::{BodyLength, Parsed, parse};
use sewer_wal::Event;

/// What one thread needs to try many inputs.
pub struct Trial {
    limits: Limits,
    policies: [Policy; 2],
}

impl Trial {
    /// With the policy of the defaults, and with one in which everything is on.
    pub fn new() -> Self {
        let config = Config::default();
        let mut all = Config::default();
        all.event.method = true;
        all.event.scheme = true;
        all.event.uuid = true;
        all.event.extra_headers = vec!["accept-language".parse().expect("a header name")];
        let policies = [&config, &all].map(|config| Policy::new(config).expect("it is sound"));
        Self { limits: (&config.pixel).into(), policies }
    }

    /// Takes the bytes as what comes on a connection, and returns how many requests they are.
    pub fn requests(&self, bytes: &[u8]) -> usize {
        let (mut rest, mut lines, mut requests) = (bytes, Vec::new(), 0);
        while let Ok(parsed) = parse(rest, &mut lines) {
            as_httparse(rest, parsed.as_ref());
            let Some(parsed) = parsed else { break };
            assert!(parsed.bytes > 0 && parsed.bytes <= rest.len());
            requests += 1;
            self.request(&parsed, bytes);
            rest = &rest[parsed.bytes..];
            // Whatever is a body is no request.
            match parsed.framing.body {
                BodyLength::Bytes(0) => {}
                BodyLength::Bytes(length) => {
                    rest = usize::try_from(length)
                        .map_or(&[], |length| rest.get(length..).unwrap_or(&[]));
                }
                BodyLength::Chunked => break,
            }
        }
        requests
    }

    fn request(&self, parsed: &Parsed<'_>, bytes: &[u8]) {
        if self.limits.check(parsed, 1000).is_err() {
            return;
        }
        let head = &parsed.head;
        for peer in ["127.0.0.1:1", "192.0.2.7:1"] {
            let peer: SocketAddr = peer.parse().expect("an address");
            let origin = Origin { peer, is_proxied: false, is_tls: false };
            for policy in &self.policies {
                match policy.judge(head) {
                    Verdict::Answer(answer, _) => drop(answer),
                    Verdict::Record(recording) => {
                        let mut memory = Vec::new();
                        let body = recording.body(head, b"body", &mut memory).expect("it is short");
                        let check = |event: &Event<'_>| event_of(event, &peer, bytes);
                        recording.with_event(head, &origin, body.as_ref(), 1, check);
                    }
                }
            }
        }
    }
}

/// What httparse reads as a head is the same one here, where it is taken.
fn as_httparse(bytes: &[u8], parsed: Option<&Parsed<'_>>) {
    let mut memory = [httparse::EMPTY_HEADER; 200];
    let mut request = httparse::Request::new(&mut memory);
    let Ok(status) = request.parse(bytes) else { return };
    let (httparse::Status::Complete(end), Some(parsed)) = (status, parsed) else {
        assert!(status.is_partial() && parsed.is_none(), "{}", bytes.escape_ascii());
        return;
    };
    assert_eq!(parsed.bytes, end, "{}", bytes.escape_ascii());
    assert_eq!(request.method.map(str::as_bytes), Some(parsed.head.method));
    let target = request.path.expect("a whole head has a target").as_bytes();
    assert!(
        target.windows(parsed.head.path.len()).any(|part| part == parsed.head.path)
            || parsed.head.path == b"/"
    );
    assert_eq!(request.version == Some(0), parsed.framing.is_old);
    let theirs = request.headers.iter().map(|header| (header.name.as_bytes(), header.value));
    assert!(theirs.eq(parsed.head.headers.iter()), "{}", bytes.escape_ascii());
}

/// An event goes through the WAL unchanged, and its fields are as they came: none is made up.
fn event_of(event: &Event<'_>, peer: &SocketAddr, bytes: &[u8]) {
    let mut encoded = Vec::new();
    event.encode(&mut encoded).expect("it is within the limits of an event");
    let decoded = Event::decode(&encoded).expect("it was encoded");
    assert_eq!(&decoded, event);
    let (peer, root) = (peer.ip().to_string(), b"/");
    for field in event.fields().into_iter().flatten() {
        let came = field.is_empty() || bytes.windows(field.len()).any(|window| window == field);
        assert!(
            came || field == peer.as_bytes() || field == root,
            "{} was never sent",
            field.escape_ascii()
        );
    }
    let ip = event.ip.and_then(|ip| std::str::from_utf8(ip).ok());
    assert!(ip.is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok()), "{ip:?} is no address");
}

//! What holds for the step from any bytes to events, as a function that the property tests and the
//! fuzz target share: the HTTP library's own decoder, then the limits, the policy and the event as
//! the handler applies them. It panics where a promise is broken.

use std::net::SocketAddr;

use actix_codec::Decoder as _;
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::header::HeaderName;
use actix_http::{Request, ServiceConfig};
use bytes::BytesMut;
use sewer_pixel::config::Config;
use sewer_pixel::http::connection::Limits;
use sewer_pixel::http::intake;
use sewer_pixel::http::simple;
use sewer_pixel::policy::{Plan, Policy};
use sewer_pixel::request::head::{Head, Headers};
use sewer_wal::Event;

/// What one thread needs to try many inputs.
pub struct Trial {
    system: actix_web::rt::SystemRunner,
    config: Config,
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
        Self { system: actix_web::rt::System::new(), config, policies }
    }

    /// Takes the bytes as what comes on a connection, and returns how many requests they are.
    pub fn requests(&self, bytes: &[u8]) -> usize {
        self.system.block_on(async {
            // The library's configuration has a clock that needs an event loop.
            let mut codec = Codec::new(ServiceConfig::default());
            let mut buffer = BytesMut::from(bytes);
            let mut requests = 0;
            for step in 0.. {
                assert!(step <= 2 * bytes.len() + 2, "more steps than bytes");
                let has_no_body = |codec: &Codec| matches!(codec.message_type(), MessageType::None);
                let (came, is_head) = (buffer.clone(), has_no_body(&codec));
                let decoded = codec.decode(&mut buffer);
                if is_head {
                    let is_alone = has_no_body(&codec) && buffer.is_empty();
                    simple_is_the_same(&came, decoded.as_ref().ok().filter(|_| is_alone));
                }
                match decoded {
                    Ok(Some(Message::Item(request))) => {
                        requests += 1;
                        self.request(request, bytes);
                    }
                    Ok(Some(Message::Chunk(_))) => {}
                    Ok(None) | Err(_) => break,
                }
            }
            requests
        })
    }

    fn request(&self, mut request: Request, bytes: &[u8]) {
        let _ = intake::take_body(&mut request);
        let limits = Limits::from(&self.config.pixel);
        if intake::check(&Head::of(&request, false), &limits, 1000).is_err() {
            return;
        }
        for peer in ["127.0.0.1:1", "192.0.2.7:1"] {
            let peer: SocketAddr = peer.parse().expect("an address");
            let head = Head { peer: Some(peer), ..Head::of(&request, false) };
            for policy in &self.policies {
                match policy.plan(&head) {
                    Plan::Answer(answer, _) => drop(answer.into_response()),
                    Plan::Record(recording) => {
                        let check = |event: &Event<'_>| event_of(event, &peer, bytes);
                        recording.with_event(&head, Some(b"body"), 1, check);
                    }
                }
            }
        }
    }
}

/// What is read as a simple request is that for the decoder, too, and nothing more.
fn simple_is_the_same(bytes: &[u8], decoded: Option<&Option<Message<Request>>>) {
    simple::read(bytes, |simple| {
        let Some(Some(Message::Item(request))) = decoded else {
            panic!("{} is no request, or not alone", bytes.escape_ascii())
        };
        let head = Head::of(request, false);
        assert_eq!(simple.method, head.method);
        assert_eq!((simple.path, simple.query), (head.path, head.query));
        assert!(!request.head().expect() && !request.head().upgrade());
        for line in simple.lines {
            let name = HeaderName::from_bytes(line.name.as_bytes()).expect("a name");
            let lines = Headers::Lines(simple.lines);
            assert!(lines.all(&name).eq(head.headers.all(&name)), "{name}");
        }
        assert_eq!(simple.lines.len(), request.head().headers().iter().count());
    });
}

/// An event goes through the WAL unchanged, and its fields are as they came: none is made up.
fn event_of(event: &Event<'_>, peer: &SocketAddr, bytes: &[u8]) {
    let mut encoded = Vec::new();
    event.encode(&mut encoded).expect("it is within the limits of an event");
    let decoded = Event::decode(&encoded).expect("it was encoded");
    assert_eq!(&decoded, event);
    let peer = peer.ip().to_string();
    for field in event.fields().into_iter().flatten() {
        let came = field.is_empty() || bytes.windows(field.len()).any(|window| window == field);
        assert!(came || field == peer.as_bytes(), "{} was never sent", field.escape_ascii());
    }
}

//! CORS: which pages may read the answer, and the preflight with which browsers ask beforehand.
//!
//! A pixel in an image, and most of what `navigator.sendBeacon` sends, needs none of this. A fetch
//! with a content type such as JSON does.

use std::borrow::Cow;

use super::answer::Header;
use crate::config::{AllowOrigin, CorsConfig};
use crate::request::head::Head;

/// The rules of `[cors]`.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    allow_credentials: bool,
    max_age: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Reflect,
    These(Box<[String]>),
}

/// A longer value is not echoed: no browser sends one.
const ECHO_BYTES_MAX: usize = 4 << 10;

impl Cors {
    /// The rules of a configuration; `None` if it allows no origin.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &CorsConfig) -> Result<Option<Self>, String> {
        let origins = match &config.allow_origin {
            AllowOrigin::These(origins) if origins.is_empty() => return Ok(None),
            AllowOrigin::These(origins) => {
                Origins::These(origins.iter().map(|text| origin(text)).collect::<Result<_, _>>()?)
            }
            AllowOrigin::Reflect => Origins::Reflect,
            AllowOrigin::Any => Origins::Any,
        };
        if origins == Origins::Any && config.allow_credentials {
            return Err("key `cors.allow_credentials`: browsers refuse cookies with \
                allow_origin = \"*\"; use \"reflect\" or a list"
                .into());
        }
        let max_age = config.max_age.as_secs().to_string();
        Ok(Some(Self { origins, allow_credentials: config.allow_credentials, max_age }))
    }

    /// Whether a browser asks if it may send a request; that is not one itself.
    pub fn is_preflight(head: &Head<'_>) -> bool {
        head.method == b"OPTIONS"
            && head.headers.get("origin").is_some()
            && head.headers.get("access-control-request-method").is_some()
    }

    /// Adds what the page that sent the request may do.
    pub fn grant(&self, head: &Head<'_>, headers: &mut Vec<Header>) {
        if self.origins != Origins::Any {
            headers.push(("vary", Cow::Borrowed(b"Origin")));
        }
        self.allow(head, headers);
    }

    /// Adds the answer to a preflight. Any method and any header may be sent: that is what a pixel
    /// takes.
    pub fn answer_preflight(&self, head: &Head<'_>, headers: &mut Vec<Header>) {
        const ASKED: &[u8] =
            b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.push(("vary", Cow::Borrowed(ASKED)));
        if !self.allow(head, headers) {
            return;
        }
        for (asked, granted) in [
            ("access-control-request-method", "access-control-allow-methods"),
            ("access-control-request-headers", "access-control-allow-headers"),
        ] {
            if let Some(value) = head.headers.get(asked).and_then(echo) {
                headers.push((granted, value));
            }
        }
        headers.push(("access-control-max-age", self.max_age.clone().into_bytes().into()));
    }

    /// Whether the origin of the request is one of ours; then it is told so.
    fn allow(&self, head: &Head<'_>, headers: &mut Vec<Header>) -> bool {
        let Some(origin) = head.headers.get("origin").and_then(echo) else { return false };
        let allowed = match &self.origins {
            Origins::Any => Cow::Borrowed(&b"*"[..]),
            Origins::Reflect => origin,
            Origins::These(origins) if origins.iter().any(|of| of.as_bytes() == &*origin) => origin,
            Origins::These(_) => return false,
        };
        headers.push(("access-control-allow-origin", allowed));
        if self.allow_credentials {
            headers.push(("access-control-allow-credentials", Cow::Borrowed(b"true")));
        }
        true
    }
}

/// A request header's value, to be said in the answer; `None` if it cannot be.
fn echo(value: &[u8]) -> Option<Cow<'static, [u8]>> {
    let is_text = |&byte: &u8| byte >= b' ' && byte != 0x7f;
    let can_be = value.len() <= ECHO_BYTES_MAX && value.iter().all(is_text);
    can_be.then(|| value.to_vec().into())
}

/// An origin as browsers write it: a scheme, a host in lower case, perhaps a port, and no path.
fn origin(text: &str) -> Result<String, String> {
    let is_origin = text.split_once("://").is_some_and(|(scheme, host)| {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
        !scheme.is_empty()
            && !host.is_empty()
            && text.bytes().all(is_plain)
            && !host.contains(['/', '*', ',', '?', '#', '@'])
    });
    if !is_origin && text != "null" {
        return Err(format!(
            "key `cors.allow_origin`: \"{text}\" is no origin such as \"https://www.example.org\"; \
             all are allowed by \"*\" or \"reflect\", without a list"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::head::with_head;

    fn cors(text: &str) -> Result<Option<Cors>, String> {
        Cors::new(&toml::from_str(text).unwrap())
    }

    fn lines(headers: &[Header]) -> Vec<String> {
        let line = |(name, value): &Header| format!("{name}: {}", value.escape_ascii());
        headers.iter().map(line).collect()
    }

    fn granted(text: &str, origin: Option<&str>) -> Vec<String> {
        let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
        let mut headers = Vec::new();
        let cors = cors(text).unwrap().unwrap();
        with_head(&format!("GET / HTTP/1.0\r\n{origin}"), |head| cors.grant(head, &mut headers));
        lines(&headers)
    }

    #[test]
    fn an_allowed_origin_is_told_so_and_another_is_not() {
        let list = "allow_origin = [\"https://a.example\", \"http://b.example:8080\"]";
        for origin in ["https://a.example", "http://b.example:8080"] {
            let allowed = format!("access-control-allow-origin: {origin}");
            assert_eq!(granted(list, Some(origin)), ["vary: Origin", &allowed]);
        }
        for origin in [Some("https://a.example.evil.example"), Some("http://a.example"), None] {
            assert_eq!(granted(list, origin), ["vary: Origin"]);
        }
    }

    #[test]
    fn any_is_a_star_and_reflect_is_the_origin_itself() {
        let star = ["access-control-allow-origin: *"];
        assert_eq!(granted("allow_origin = \"*\"", Some("https://x.example")), star);
        assert_eq!(
            granted("allow_origin = \"reflect\"\nallow_credentials = true", Some("null")),
            [
                "vary: Origin",
                "access-control-allow-origin: null",
                "access-control-allow-credentials: true"
            ]
        );
    }

    #[test]
    fn what_is_no_text_is_never_echoed() {
        let origins = "allow_origin = \"reflect\"";
        for origin in ["https://a\u{1}", "\u{7f}", &"x".repeat(5000)] {
            assert_eq!(granted(origins, Some(origin)), ["vary: Origin"]);
        }
    }

    #[test]
    fn a_preflight_grants_what_was_asked_for_to_allowed_origins_only() {
        let cors = cors("allow_origin = [\"https://a.example\"]\nmax_age = \"10m\"");
        let cors = cors.unwrap().unwrap();
        let answer = |origin: &str| {
            let mut headers = Vec::new();
            let text = format!(
                "OPTIONS / HTTP/1.0\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: content-type\r\n"
            );
            with_head(&text, |head| {
                assert!(Cors::is_preflight(head));
                cors.answer_preflight(head, &mut headers);
            });
            lines(&headers)[1..].to_vec()
        };
        assert_eq!(
            answer("https://a.example"),
            [
                "access-control-allow-origin: https://a.example",
                "access-control-allow-methods: POST",
                "access-control-allow-headers: content-type",
                "access-control-max-age: 600"
            ]
        );
        assert_eq!(answer("https://b.example"), Vec::<String>::new());
    }

    #[test]
    fn what_browsers_would_refuse_is_refused_first() {
        assert!(cors("").unwrap().is_none());
        for text in [
            "allow_origin = \"*\"\nallow_credentials = true",
            "allow_origin = [\"*\"]",
            "allow_origin = \"https://a.example/\"",
            "allow_origin = \"https://A.example\"",
            "allow_origin = \"a.example\"",
            "allow_origin = \"https://*.example\"",
        ] {
            let error = cors(text).unwrap_err();
            assert!(error.starts_with("key `cors."), "{error}");
        }
    }
}

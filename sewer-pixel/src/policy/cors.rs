//! CORS: which pages may read the answer, and the preflight with which browsers ask beforehand.
//!
//! A pixel in an image, and most of what `navigator.sendBeacon` sends, needs none of this. A fetch
//! with a content type such as JSON does.

use actix_http::Method;
use actix_http::header::{
    self, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN,
    VARY,
};

use crate::config::{AllowOrigin, CorsConfig};
use crate::request::head::Head;

/// The rules of `[cors]`.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    allow_credentials: bool,
    max_age: HeaderValue,
}

#[derive(Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Reflect,
    These(Box<[HeaderValue]>),
}

type Headers = Vec<(HeaderName, HeaderValue)>;

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
        let max_age = HeaderValue::from(config.max_age.as_secs());
        Ok(Some(Self { origins, allow_credentials: config.allow_credentials, max_age }))
    }

    /// Whether a browser asks if it may send a request; that is not one itself.
    #[must_use]
    pub fn is_preflight(head: &Head<'_>) -> bool {
        *head.method == Method::OPTIONS
            && head.headers.get(&ORIGIN).is_some()
            && head.headers.get(&ACCESS_CONTROL_REQUEST_METHOD).is_some()
    }

    /// Adds what the page that sent the request may do.
    pub fn grant(&self, head: &Head<'_>, headers: &mut Headers) {
        if self.origins != Origins::Any {
            headers.push((VARY, HeaderValue::from_static("Origin")));
        }
        self.allow(head, headers);
    }

    /// Adds the answer to a preflight. Any method and any header may be sent: that is what a pixel
    /// takes.
    pub fn answer_preflight(&self, head: &Head<'_>, headers: &mut Headers) {
        const ASKED: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.push((VARY, HeaderValue::from_static(ASKED)));
        if !self.allow(head, headers) {
            return;
        }
        for (asked, granted) in [
            (ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_ALLOW_METHODS),
            (ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_ALLOW_HEADERS),
        ] {
            if let Some(value) = head.headers.get(&asked).and_then(echo) {
                headers.push((granted, value));
            }
        }
        headers.push((ACCESS_CONTROL_MAX_AGE, self.max_age.clone()));
    }

    /// Whether the origin of the request is one of ours; then it is told so.
    fn allow(&self, head: &Head<'_>, headers: &mut Headers) -> bool {
        let Some(origin) = head.headers.get(&ORIGIN).and_then(echo) else { return false };
        let allowed = match &self.origins {
            Origins::Any => HeaderValue::from_static("*"),
            Origins::Reflect => origin,
            Origins::These(origins) if origins.contains(&origin) => origin,
            Origins::These(_) => return false,
        };
        headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, allowed));
        if self.allow_credentials {
            headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        true
    }
}

/// What a request has said, to be said in the answer.
fn echo(value: &[u8]) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value).ok()
}

/// An origin as browsers write it: a scheme, a host in lower case, perhaps a port, and no path.
fn origin(text: &str) -> Result<HeaderValue, String> {
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
    header::HeaderValue::from_str(text).map_err(|e| format!("key `cors.allow_origin`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::test::TestRequest;

    fn cors(text: &str) -> Result<Option<Cors>, String> {
        Cors::new(&toml::from_str(text).unwrap())
    }

    fn lines(headers: &Headers) -> Vec<String> {
        let line = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        headers.iter().map(line).collect()
    }

    fn granted(text: &str, origin: Option<&str>) -> Vec<String> {
        let mut request = TestRequest::with_uri("/");
        if let Some(origin) = origin {
            request.append_header((ORIGIN, origin));
        }
        let request = request.finish();
        let mut headers = Vec::new();
        cors(text).unwrap().unwrap().grant(&Head::of(&request, false), &mut headers);
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
    fn a_preflight_grants_what_was_asked_for_to_allowed_origins_only() {
        let cors = cors("allow_origin = [\"https://a.example\"]\nmax_age = \"10m\"");
        let cors = cors.unwrap().unwrap();
        let answer = |origin: &'static str| {
            let mut request = TestRequest::with_uri("/");
            request.method(Method::OPTIONS);
            request.append_header((ORIGIN, origin));
            request.append_header((ACCESS_CONTROL_REQUEST_METHOD, "POST"));
            request.append_header((ACCESS_CONTROL_REQUEST_HEADERS, "content-type"));
            let request = request.finish();
            let head = Head::of(&request, false);
            assert!(Cors::is_preflight(&head));
            let mut headers = Vec::new();
            cors.answer_preflight(&head, &mut headers);
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

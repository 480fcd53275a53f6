//! What is answered: a handful of constant responses, and the few headers that a request may add.

use actix_http::body::BoxBody;
use actix_http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PRAGMA};
use actix_http::{Response, StatusCode};

/// Why a request was answered and not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// It asked for `/robots.txt` or the like.
    WellKnown,
    /// Its route says `log = false`.
    Route,
    /// A browser asked whether it may send a request.
    Preflight,
    /// The browser does not want to be tracked, and `[privacy]` says `skip`.
    Privacy,
    /// A rule of `[[event.drop]]` matched.
    DropRule,
}

impl Unrecorded {
    /// Every reason, each at the place of its number.
    pub const ALL: [Self; 5] =
        [Self::WellKnown, Self::Route, Self::Preflight, Self::Privacy, Self::DropRule];

    /// The reason in the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WellKnown => "well_known",
            Self::Route => "route",
            Self::Preflight => "preflight",
            Self::Privacy => "privacy",
            Self::DropRule => "drop_rule",
        }
    }
}

/// A transparent GIF of one pixel, in 43 bytes.
pub const GIF: &[u8; 43] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\
    \0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// What is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// 204 and nothing else.
    Nothing,
    /// The GIF, which nobody may keep: each view is a request.
    Gif,
    /// `/robots.txt`: there is nothing to crawl.
    Robots,
    /// `/favicon.ico`: there is none, and the browser need not ask again today.
    NoIcon,
    /// `/crossdomain.xml`: no plug-in may read here.
    CrossDomain,
}

const ROBOTS: &[u8] = b"User-agent: *\nDisallow: /\n";

const CROSS_DOMAIN: &[u8] = b"<?xml version=\"1.0\"?>\n<cross-domain-policy>\n  \
    <site-control permitted-cross-domain-policies=\"none\"/>\n</cross-domain-policy>\n";

/// How long browsers and crawlers may keep what is not a pixel.
const FOR_A_DAY: HeaderValue = HeaderValue::from_static("max-age=86400");

/// An answer that waits for its ack. It borrows nothing from the request.
#[derive(Debug)]
pub struct Answer {
    /// The part that is always the same.
    pub content: Content,
    /// What this request adds.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// The status code.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.content {
            Content::Nothing | Content::NoIcon => StatusCode::NO_CONTENT,
            Content::Gif | Content::Robots | Content::CrossDomain => StatusCode::OK,
        }
    }

    /// The response. To HEAD it has the same headers; the HTTP layer leaves the body out.
    #[must_use]
    pub fn into_response(self) -> Response<BoxBody> {
        let (body, headers): (&'static [u8], &[(HeaderName, HeaderValue)]) = match self.content {
            Content::Nothing => (b"", &[]),
            Content::Gif => (
                GIF,
                &[
                    (CONTENT_TYPE, HeaderValue::from_static("image/gif")),
                    (CACHE_CONTROL, HeaderValue::from_static("private, no-store, max-age=0")),
                    (PRAGMA, HeaderValue::from_static("no-cache")),
                ],
            ),
            Content::Robots => (
                ROBOTS,
                &[
                    (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
                    (CACHE_CONTROL, FOR_A_DAY),
                ],
            ),
            Content::NoIcon => (b"", &[(CACHE_CONTROL, FOR_A_DAY)]),
            Content::CrossDomain => (
                CROSS_DOMAIN,
                &[
                    (CONTENT_TYPE, HeaderValue::from_static("text/x-cross-domain-policy")),
                    (CACHE_CONTROL, FOR_A_DAY),
                ],
            ),
        };
        let mut response = if body.is_empty() {
            Response::new(self.status())
        } else {
            Response::with_body(self.status(), BoxBody::new(body))
        };
        let head = response.headers_mut();
        for (name, value) in headers.iter().cloned().chain(self.headers) {
            head.append(name, value);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::body::{BodySize, MessageBody};

    #[test]
    fn the_gif_is_a_transparent_pixel() {
        assert_eq!(&GIF[..6], b"GIF89a");
        let (width, height) = (&GIF[6..8], &GIF[8..10]);
        assert_eq!((width, height), (&b"\x01\0"[..], &b"\x01\0"[..]));
        // The graphic control extension: the flag of transparency, and colour 0 as the transparent.
        assert_eq!(&GIF[19..27], b"!\xf9\x04\x01\0\0\0\0");
        assert_eq!(GIF.last(), Some(&b';'));
    }

    #[test]
    fn a_204_has_no_body_and_no_header_of_its_own() {
        let response = Answer { content: Content::Nothing, headers: Vec::new() }.into_response();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.headers().len(), 0);
        assert!(matches!(response.body().size(), BodySize::None | BodySize::Sized(0)));
    }

    #[test]
    fn a_gif_is_for_once() {
        let response = Answer { content: Content::Gif, headers: Vec::new() }.into_response();
        assert_eq!(response.body().size(), BodySize::Sized(43));
        let cache = response.headers().get(CACHE_CONTROL).unwrap();
        assert_eq!(cache, "private, no-store, max-age=0");
    }
}

//! The answers: a handful of constant responses, and the few headers that a request may add.

use std::borrow::Cow;

use actix_web::http::StatusCode;

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

/// The part of an answer that is always the same.
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

/// A header of an answer; the name is in lower case.
pub type Header = (&'static str, Cow<'static, [u8]>);

/// An answer that waits for its ack. It borrows nothing from the request.
#[derive(Debug)]
pub struct Answer {
    /// The part that is always the same.
    pub content: Content,
    /// The headers that this request adds.
    pub headers: Vec<Header>,
}

impl Content {
    /// The status code.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Nothing | Self::NoIcon => StatusCode::NO_CONTENT,
            Self::Gif | Self::Robots | Self::CrossDomain => StatusCode::OK,
        }
    }

    /// Header lines, and the body.
    pub const fn parts(self) -> (&'static str, &'static [u8]) {
        match self {
            Self::Nothing => ("", b""),
            Self::Gif => (
                "content-type: image/gif\r\ncache-control: private, no-store, max-age=0\r\n\
                 pragma: no-cache\r\n",
                GIF,
            ),
            Self::Robots => (
                "content-type: text/plain; charset=utf-8\r\ncache-control: max-age=86400\r\n",
                ROBOTS,
            ),
            // Browsers and crawlers may keep for a day what is not a pixel.
            Self::NoIcon => ("cache-control: max-age=86400\r\n", b""),
            Self::CrossDomain => (
                "content-type: text/x-cross-domain-policy\r\ncache-control: max-age=86400\r\n",
                CROSS_DOMAIN,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gif_is_a_transparent_pixel_for_once() {
        assert_eq!(&GIF[..6], b"GIF89a");
        let (width, height) = (&GIF[6..8], &GIF[8..10]);
        assert_eq!((width, height), (&b"\x01\0"[..], &b"\x01\0"[..]));
        // The graphic control extension: the flag of transparency, and colour 0 as the transparent.
        assert_eq!(&GIF[19..27], b"!\xf9\x04\x01\0\0\0\0");
        assert_eq!(GIF.last(), Some(&b';'));
        let (lines, body) = Content::Gif.parts();
        assert!(lines.contains("private, no-store, max-age=0"), "{lines}");
        assert_eq!(body, GIF);
    }

    #[test]
    fn what_has_a_body_is_200_and_what_has_none_is_204() {
        use Content::{CrossDomain, Gif, NoIcon, Nothing, Robots};
        for content in [Nothing, Gif, Robots, NoIcon, CrossDomain] {
            let (lines, body) = content.parts();
            assert_eq!(content.status() == StatusCode::OK, !body.is_empty());
            assert!(lines.is_empty() || lines.ends_with("\r\n"), "{lines}");
            assert!(!lines.contains("\r\n\r\n"), "{lines}");
        }
    }
}

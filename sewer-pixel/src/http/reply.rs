//! An answer and its bytes: a status line, a date, a few headers, and a body that is at hand.

use std::io::Write as _;

use actix_web::http::StatusCode;

use super::connections::Date;
use crate::policy::answer::{Answer, Header};

/// An answer to be sent.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Header lines that are always the same.
    lines: &'static str,
    headers: Vec<Header>,
    body: &'static [u8],
}

/// How it is said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether the body is left out, because the request was HEAD.
    pub(super) is_head: bool,
    /// Whether the client speaks HTTP/1.0.
    pub(super) is_old: bool,
    /// Whether the connection is kept.
    pub(super) keeps: bool,
}

impl Reply {
    /// The answer that the policy wants.
    pub(super) fn new(answer: Answer) -> Self {
        let (lines, body) = answer.content.parts();
        Self { status: answer.content.status(), lines, headers: answer.headers, body }
    }

    /// A refusal.
    pub(super) fn refusal(status: StatusCode) -> Self {
        let is_overload = status == StatusCode::SERVICE_UNAVAILABLE;
        let lines = if is_overload { "retry-after: 1\r\n" } else { "" };
        Self { status, lines, headers: Vec::new(), body: b"" }
    }

    /// Appends its bytes.
    pub(super) fn encode(&self, manner: Manner, date: &Date, out: &mut Vec<u8>) {
        if self.status == StatusCode::NO_CONTENT {
            out.extend_from_slice(b"HTTP/1.1 204 No Content\r\n");
        } else {
            let length = self.body.len();
            // A vector takes all.
            let _ = write!(out, "HTTP/1.1 {}\r\ncontent-length: {length}\r\n", self.status);
        }
        if !manner.keeps {
            out.extend_from_slice(b"connection: close\r\n");
        } else if manner.is_old {
            out.extend_from_slice(b"connection: keep-alive\r\n");
        }
        out.extend_from_slice(self.lines.as_bytes());
        for (name, value) in &self.headers {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        for part in [&b"date: "[..], date, b"\r\n\r\n"] {
            out.extend_from_slice(part);
        }
        if !manner.is_head {
            out.extend_from_slice(self.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::answer::{Content, GIF};

    const DATE: &Date = b"Sun, 06 Nov 1994 08:49:37 GMT";

    const PLAIN: Manner = Manner { is_head: false, is_old: false, keeps: true };

    fn encoded(reply: &Reply, manner: Manner) -> Vec<u8> {
        let mut out = Vec::new();
        reply.encode(manner, DATE, &mut out);
        out
    }

    fn answer(content: Content, headers: Vec<Header>) -> Reply {
        Reply::new(Answer { content, headers })
    }

    #[test]
    fn a_204_is_a_line_and_a_date() {
        let bytes = encoded(&answer(Content::Nothing, Vec::new()), PLAIN);
        let expected = "HTTP/1.1 204 No Content\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }

    #[test]
    fn a_body_has_its_length_and_is_left_out_for_head() {
        let gif = answer(Content::Gif, Vec::new());
        let whole = encoded(&gif, PLAIN);
        let head = encoded(&gif, Manner { is_head: true, ..PLAIN });
        assert_eq!(whole, [&head[..], GIF].concat());
        let text = String::from_utf8(head).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\ncontent-length: 43\r\n"), "{text}");
    }

    #[test]
    fn whether_the_connection_is_kept_is_said_where_it_is_not_plain() {
        let reply = answer(Content::NoIcon, vec![("vary", b"Origin"[..].into())]);
        let line = |is_old, keeps| {
            let text = String::from_utf8(encoded(&reply, Manner { is_old, keeps, ..PLAIN }));
            let text = text.unwrap();
            assert!(text.contains("\r\nvary: Origin\r\n"), "{text}");
            text.lines().find_map(|line| line.strip_prefix("connection: ")).map(str::to_owned)
        };
        assert_eq!(line(false, true), None);
        assert_eq!(line(true, true).as_deref(), Some("keep-alive"));
        assert_eq!(line(false, false).as_deref(), Some("close"));
        assert_eq!(line(true, false).as_deref(), Some("close"));
    }

    #[test]
    fn an_overload_says_when_to_come_again() {
        let text = encoded(&Reply::refusal(StatusCode::SERVICE_UNAVAILABLE), PLAIN);
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\ncontent-length: 0\r\nretry-after: 1\r\n"), "{text}");
    }
}

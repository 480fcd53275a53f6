//! What a trusted proxy says of the client: X-Forwarded-*, or Forwarded (RFC 7239).
//!
//! The two are never mixed. A proxy that writes one of them passes on the other as the client sent
//! it; so with `forwarded_headers = "any"`, Forwarded counts only if no X-Forwarded-* is there.

use actix_http::header::{
    FORWARDED, HeaderName, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO,
};

use crate::config::ForwardedHeaders;
use crate::request::head::Headers;

/// What was said; each part may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client's address, as it was given.
    pub client: Option<&'a [u8]>,
    /// The host that it asked for, perhaps with a port.
    pub host: Option<&'a [u8]>,
    /// The scheme that it used.
    pub proto: Option<&'a [u8]>,
}

impl<'a> Forwarded<'a> {
    /// What the headers say, by the first entry of each.
    #[must_use]
    pub fn from(headers: Headers<'a>, accepted: ForwardedHeaders) -> Self {
        let legacy = || Self {
            client: first_entry(headers, &X_FORWARDED_FOR),
            host: first_entry(headers, &X_FORWARDED_HOST),
            proto: first_entry(headers, &X_FORWARDED_PROTO),
        };
        let standard = || headers.get(&FORWARDED).and_then(element).unwrap_or_default();
        match accepted {
            ForwardedHeaders::XForwarded => legacy(),
            ForwardedHeaders::Forwarded => standard(),
            ForwardedHeaders::Any => match legacy() {
                found if found == Self::default() => standard(),
                found => found,
            },
        }
    }
}

/// The first entry of a comma-separated header; `None` if it is empty.
fn first_entry<'a>(headers: Headers<'a>, name: &HeaderName) -> Option<&'a [u8]> {
    let value = headers.get(name)?;
    let entry = value.split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    (!entry.is_empty()).then_some(entry)
}

/// The first element of a Forwarded header; `None` if it is malformed.
fn element(header: &[u8]) -> Option<Forwarded<'_>> {
    let mut found = Forwarded::default();
    let mut rest = header.trim_ascii_start();
    loop {
        match rest.split_first() {
            None | Some((b',', _)) => break,
            // Between two of these there may be nothing.
            Some((b';', next)) => {
                rest = next.trim_ascii_start();
                continue;
            }
            Some(_) => {}
        }
        let (name, value, after) = pair(rest)?;
        let place = match name {
            name if name.eq_ignore_ascii_case(b"for") => Some(&mut found.client),
            name if name.eq_ignore_ascii_case(b"host") => Some(&mut found.host),
            name if name.eq_ignore_ascii_case(b"proto") => Some(&mut found.proto),
            _ => None,
        };
        if place.is_some_and(|place| place.replace(value).is_some()) {
            return None;
        }
        if !matches!(after.first(), None | Some(b';' | b',')) {
            return None;
        }
        rest = after;
    }
    found.client = found.client.map(without_port);
    Some(found)
}

/// `name=value` or `name="value"`, and what follows it.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    let (value, after) = if let Some(quoted) = value.strip_prefix(b"\"") {
        let end = quoted.iter().position(|&byte| byte == b'"')?;
        (&quoted[..end], &quoted[end + 1..])
    } else {
        let end = value.iter().position(|byte| b";,".contains(byte)).unwrap_or(value.len());
        (value[..end].trim_ascii_end(), &value[end..])
    };
    // Neither an address nor a host has anything to escape.
    let is_plain = |&byte: &u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    let is_name = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_sound = !name.is_empty()
        && name.iter().all(is_name)
        && !value.is_empty()
        && value.iter().all(is_plain);
    is_sound.then_some((name, value, after.trim_ascii()))
}

/// The address of `192.0.2.7:80`, `[2001:db8::1]` or `[2001:db8::1]:80`; a name as it is.
fn without_port(node: &[u8]) -> &[u8] {
    match node.strip_prefix(b"[") {
        Some(rest) => rest.split(|&byte| byte == b']').next().unwrap_or(rest),
        None => node.split(|&byte| byte == b':').next().unwrap_or(node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_http::header::{HeaderMap, HeaderValue};

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn texts(forwarded: Forwarded<'_>) -> [Option<&str>; 3] {
        [forwarded.client, forwarded.host, forwarded.proto]
            .map(|part| part.map(|part| std::str::from_utf8(part).unwrap()))
    }

    #[test]
    fn the_first_element_of_forwarded_counts() {
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", [Some("192.0.2.60"), None, Some("http")]),
            ("For=\"[2001:db8:cafe::17]:4711\"", [Some("2001:db8:cafe::17"), None, None]),
            ("for=\"[2001:db8::1]\", for=198.51.100.17", [Some("2001:db8::1"), None, None]),
            ("for=192.0.2.43:47011 , for=\"[::1]\"", [Some("192.0.2.43"), None, None]),
            (
                "for=_hidden;Host=\"a.example:8443\"",
                [Some("_hidden"), Some("a.example:8443"), None],
            ),
            ("for=unknown", [Some("unknown"), None, None]),
            ("secret=\"a;b,c\" ; HOST=a.example", [None, Some("a.example"), None]),
            ("proto=https", [None, None, Some("https")]),
            (";; for=1.1.1.1;;host=h; ", [Some("1.1.1.1"), Some("h"), None]),
        ] {
            let headers = headers(&[("forwarded", value), ("forwarded", "for=1.1.1.1")]);
            let found = Forwarded::from(Headers::Map(&headers), ForwardedHeaders::Forwarded);
            assert_eq!(texts(found), expected, "{value}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for value in [
            "",
            ", for=1",
            "for",
            "for=",
            "=1",
            "for=\"1",
            "for=\"\"",
            "for=1 host=h",
            "for=a b",
            "for=\"a\"b",
            "for=1;for=2",
            "for=\"\\1\"",
            "for =1",
            "for= ;host=h",
            "for=1;x",
        ] {
            let mut headers = HeaderMap::new();
            headers.append(FORWARDED, HeaderValue::from_str(value).unwrap());
            let found = Forwarded::from(Headers::Map(&headers), ForwardedHeaders::Any);
            assert_eq!(found, Forwarded::default(), "{value}");
        }
    }

    #[test]
    fn the_two_kinds_are_never_mixed() {
        let both = headers(&[
            ("x-forwarded-for", " 2001:db8::1 , 10.1.1.1"),
            ("forwarded", "for=192.0.2.1;host=other.example;proto=http"),
        ]);
        for (accepted, client, host) in [
            (ForwardedHeaders::Any, "2001:db8::1", None),
            (ForwardedHeaders::XForwarded, "2001:db8::1", None),
            (ForwardedHeaders::Forwarded, "192.0.2.1", Some("other.example")),
        ] {
            let [found_client, found_host, _] =
                texts(Forwarded::from(Headers::Map(&both), accepted));
            assert_eq!((found_client, found_host), (Some(client), host), "{accepted:?}");
        }
        let standard = headers(&[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", " , ")]);
        let found = |accepted| texts(Forwarded::from(Headers::Map(&standard), accepted))[0];
        assert_eq!(found(ForwardedHeaders::Any), Some("192.0.2.1"));
        assert_eq!(found(ForwardedHeaders::XForwarded), None);
    }
}

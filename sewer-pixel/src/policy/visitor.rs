//! `[cookie]`: a cookie that tells one visitor from another.
//!
//! It is set on the answer to a request that has none. The event has its value in the field
//! `visitor` either way, and its `cookies` as they came; so the first event of a visitor is joined
//! with the later ones by `visitor` alone.

use std::fmt::Write;

use uuid::Uuid;

use super::answer::Answer;
use crate::config::{CookieConfig, SameSite, is_header_name};
use crate::request::head::Head;

/// A longer value is none of ours.
const VALUE_BYTES_MAX: usize = 128;

/// The rules of `[cookie]`.
#[derive(Debug)]
pub struct VisitorCookie {
    name: String,
    /// All that follows the value.
    attributes: String,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visitor<'a> {
    /// Somebody with a cookie.
    Known(&'a [u8]),
    /// Somebody who gets one now.
    New([u8; uuid::fmt::Hyphenated::LENGTH]),
}

impl Visitor<'_> {
    /// The value of the cookie.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Known(value) => value,
            Self::New(value) => value,
        }
    }
}

impl VisitorCookie {
    /// The rules of a configuration; `None` if the cookie has no name.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &CookieConfig) -> Result<Option<Self>, String> {
        let Some(name) = &config.name else { return Ok(None) };
        if !is_header_name(name) {
            return Err(format!("key `cookie.name`: \"{name}\" is no name of a cookie"));
        }
        if config.max_age.as_secs() == 0 {
            return Err("key `cookie.max_age`: must be at least 1s".into());
        }
        if config.same_site == SameSite::None && !config.secure {
            return Err(
                "key `cookie.same_site`: browsers take \"none\" with secure = true only".into()
            );
        }
        let mut attributes = format!("; Max-Age={}; Path=/", config.max_age.as_secs());
        if let Some(domain) = &config.domain {
            let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
            if domain.is_empty() || !domain.bytes().all(is_host) {
                return Err(format!("key `cookie.domain`: \"{domain}\" is no domain"));
            }
            write!(attributes, "; Domain={domain}").expect("a string takes all");
        }
        if config.secure {
            attributes += "; Secure";
        }
        attributes += match config.same_site {
            SameSite::Strict => "; HttpOnly; SameSite=Strict",
            SameSite::Lax => "; HttpOnly; SameSite=Lax",
            SameSite::None => "; HttpOnly; SameSite=None",
        };
        Ok(Some(Self { name: name.clone(), attributes }))
    }

    /// Who sent the request; a new visitor's cookie is added to the answer.
    pub fn visitor<'a>(&self, head: &Head<'a>, answer: &mut Answer) -> Visitor<'a> {
        if let Some(value) = head.headers.all("cookie").find_map(|header| self.find(header)) {
            return Visitor::Known(value);
        }
        let mut value = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = Uuid::new_v4().hyphenated().encode_lower(&mut value);
        let cookie = format!("{}={text}{}", self.name, self.attributes);
        answer.headers.push(("set-cookie", cookie.into_bytes().into()));
        Visitor::New(value)
    }

    /// The cookie in a Cookie header, if it can be one of ours.
    fn find<'a>(&self, header: &'a [u8]) -> Option<&'a [u8]> {
        header.split(|&byte| byte == b';').find_map(|cookie| {
            let value = cookie.trim_ascii().strip_prefix(self.name.as_bytes())?;
            let value = value.strip_prefix(b"=")?;
            let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\",;\\".contains(byte);
            let is_ours =
                (1..=VALUE_BYTES_MAX).contains(&value.len()) && value.iter().all(is_plain);
            is_ours.then_some(value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Content;
    use super::*;
    use crate::request::head::with_head;

    fn cookie(text: &str) -> Result<Option<VisitorCookie>, String> {
        VisitorCookie::new(&toml::from_str(text).unwrap())
    }

    /// The field, and the header of the answer.
    fn visit(cookie: &VisitorCookie, header: Option<&str>) -> (String, Option<String>) {
        let header = header.map(|text| format!("Cookie: {text}\r\n")).unwrap_or_default();
        let mut answer = Answer { content: Content::Nothing, headers: Vec::new() };
        let value = with_head(&format!("GET / HTTP/1.0\r\n{header}"), |head| {
            cookie.visitor(head, &mut answer).as_bytes().to_vec()
        });
        let set = answer.headers.pop().map(|(_, value)| String::from_utf8(value.into()).unwrap());
        (String::from_utf8(value).unwrap(), set)
    }

    #[test]
    fn a_visitor_without_a_cookie_gets_one_and_keeps_it() {
        let text = "name = \"v\"\nmax_age = \"1h\"\ndomain = \"example.org\"\nsecure = true\n\
            same_site = \"none\"";
        let cookie = cookie(text).unwrap().unwrap();
        let (value, set) = visit(&cookie, None);
        assert_eq!(Uuid::parse_str(&value).unwrap().get_version_num(), 4);
        let attributes =
            "; Max-Age=3600; Path=/; Domain=example.org; Secure; HttpOnly; SameSite=None";
        assert_eq!(set.unwrap(), format!("v={value}{attributes}"));
        assert_eq!(visit(&cookie, Some(&format!("a=1; v={value}"))), (value.clone(), None));
        assert_ne!(visit(&cookie, Some("a=1")).0, value);
    }

    #[test]
    fn what_cannot_be_ours_is_replaced() {
        let cookie = cookie("name = \"v\"").unwrap().unwrap();
        let long = format!("v={}", "x".repeat(VALUE_BYTES_MAX + 1));
        for header in ["v", "v=", "vv=1", "V=1", "v=a b", "v=\"a\"", &long] {
            assert!(visit(&cookie, Some(header)).1.is_some(), "{header}");
        }
        assert_eq!(visit(&cookie, Some("x; v=old-id;y")), ("old-id".into(), None));
    }

    #[test]
    fn a_cookie_that_browsers_would_refuse_is_refused_first() {
        assert!(cookie("").unwrap().is_none());
        for text in [
            "name = \"\"",
            "name = \"a b\"",
            "name = \"v\"\nsame_site = \"none\"",
            "name = \"v\"\nmax_age = \"0s\"",
            "name = \"v\"\ndomain = \"a.example; Secure\"",
        ] {
            let error = cookie(text).unwrap_err();
            assert!(error.starts_with("key `cookie."), "{error}");
        }
    }
}

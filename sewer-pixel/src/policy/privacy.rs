//! `[privacy]`: the wishes of browsers, and what is left of a Cookie header.

use super::address::AddressRule;
use crate::config::{Honour, PrivacyConfig};
use crate::request::head::Headers;

/// The rules of `[privacy]`.
#[derive(Debug)]
pub struct Privacy {
    dnt: Honour,
    gpc: Honour,
    /// What becomes of the client's address.
    pub address: AddressRule,
    cookies: Option<Box<[Vec<u8>]>>,
}

impl Privacy {
    /// The rules of a configuration.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &PrivacyConfig) -> Result<Self, String> {
        Ok(Self {
            dnt: config.honour_dnt,
            gpc: config.honour_gpc,
            address: AddressRule::new(config)?,
            cookies: config
                .cookies
                .as_ref()
                .map(|names| names.iter().map(|name| name.clone().into_bytes()).collect()),
        })
    }

    /// What the browser's wishes come to; the stricter of two counts.
    #[must_use]
    pub fn wish(&self, headers: Headers<'_>) -> Honour {
        let wish = |name: &str, honour: Honour| {
            let asked = honour != Honour::Off
                && headers.get(name).is_some_and(|value| value.trim_ascii() == b"1");
            if asked { honour } else { Honour::Off }
        };
        wish("dnt", self.dnt).max(wish("sec-gpc", self.gpc))
    }

    /// What of a Cookie header may be recorded: all, or the cookies on the list.
    #[must_use]
    pub fn cookies<'a>(&self, header: &'a [u8], kept: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        let Some(names) = &self.cookies else { return Some(header) };
        for cookie in header.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
            let name = cookie.split(|&byte| byte == b'=').next().unwrap_or_default();
            if names.iter().any(|wanted| wanted == name.trim_ascii_end()) {
                if !kept.is_empty() {
                    kept.extend_from_slice(b"; ");
                }
                kept.extend_from_slice(cookie);
            }
        }
        (!kept.is_empty()).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::head::with_head;

    fn privacy(text: &str) -> Privacy {
        Privacy::new(&toml::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn a_wish_counts_if_it_is_1_and_the_stricter_of_two_wins() {
        let privacy = privacy("honour_dnt = \"anonymous\"\nhonour_gpc = \"skip\"\n");
        for (dnt, gpc, wish) in [
            (None, None, Honour::Off),
            (Some("0"), Some("0"), Honour::Off),
            (Some("11"), Some(""), Honour::Off),
            (Some("1"), None, Honour::Anonymous),
            (None, Some("1"), Honour::Skip),
            (Some("1"), Some("1"), Honour::Skip),
        ] {
            let line = |name: &str, value: Option<&str>| {
                value.map(|value| format!("{name}: {value}\r\n")).unwrap_or_default()
            };
            let text = format!("GET / HTTP/1.0\r\n{}{}", line("dnt", dnt), line("Sec-GPC", gpc));
            with_head(&text, |head| {
                assert_eq!(privacy.wish(head.headers), wish, "DNT {dnt:?}, Sec-GPC {gpc:?}");
                assert_eq!(self::privacy("").wish(head.headers), Honour::Off);
            });
        }
    }

    #[test]
    fn only_cookies_on_the_list_are_kept_byte_by_byte() {
        let listed = privacy("cookies = [\"a\", \"b\"]\n");
        for (header, kept) in [
            ("a=1; c=2; b=3", Some("a=1; b=3")),
            ("c=2", None),
            ("", None),
            (";;a=;", Some("a=")),
            ("a = x=y ;bb=1;b", Some("a = x=y; b")),
            ("A=1", None),
            ("a=1; a=2", Some("a=1; a=2")),
        ] {
            let mut buffer = Vec::new();
            let found = listed.cookies(header.as_bytes(), &mut buffer);
            assert_eq!(found, kept.map(str::as_bytes), "{header}");
        }
        assert_eq!(privacy("cookies = []\n").cookies(b"a=1", &mut Vec::new()), None);
        assert_eq!(privacy("").cookies(b" a=1;", &mut Vec::new()), Some(&b" a=1;"[..]));
    }
}

//! An IP address as proxies write it.

use std::net::{IpAddr, SocketAddr};

/// The address that a text names, and the part of the text that is it: no quotes, brackets or port.
/// An IPv4-mapped IPv6 address counts as IPv4. `None` if it is anything else.
pub fn address(text: &[u8]) -> Option<(&[u8], IpAddr)> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
    let text = std::str::from_utf8(text).ok()?;
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None if text.matches(':').count() == 1 => text.split(':').next()?,
        None => text,
    };
    // With brackets or a port, the whole must be sound, too.
    let ip: IpAddr = bare.parse().ok()?;
    let is_whole = bare.len() == text.len()
        || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) == Some(bare)
        || text.parse::<SocketAddr>().is_ok();
    is_whole.then_some((bare.as_bytes(), ip.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_brackets_and_ports_go_and_nothing_else_is_an_address() {
        for (text, bare) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 203.0.113.7:51234", Some("203.0.113.7")),
            ("\"203.0.113.7\"", Some("203.0.113.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("\"[2001:DB8::7]:443\"", Some("2001:DB8::7")),
            ("::ffff:203.0.113.7", Some("::ffff:203.0.113.7")),
            ("", None),
            ("unknown", None),
            ("_hidden", None),
            ("anything at all", None),
            ("203.0.113.7:", None),
            ("203.0.113.7:x", None),
            ("203.0.113.7:99999", None),
            ("203.0.113", None),
            ("[203.0.113.7]:1", None),
            ("[2001:db8::7", None),
            ("[2001:db8::7]x", None),
            ("fe80::1%eth0", None),
            ("1.2.3.4, 5.6.7.8", None),
        ] {
            let found = address(text.as_bytes());
            assert_eq!(found.map(|(bare, _)| bare), bare.map(str::as_bytes), "{text:?}");
        }
        let (_, ip) = address(b"::ffff:203.0.113.7").unwrap();
        assert_eq!(ip, "203.0.113.7".parse::<IpAddr>().unwrap());
    }
}

//! The client, as trusted proxies tell it: X-Forwarded-*, Forwarded (RFC 7239), or a header of its
//! own.
//!
//! A proxy appends the address that it sees to what its client has sent, so only the entries on the
//! right are the word of proxies. By default ([`ClientIp::Nearest`]) the list is walked from the
//! right, over trusted proxies, to the nearest address that is not one: the one that a trusted
//! proxy has seen.
//!
//! The two kinds are never mixed. A proxy that writes one of them passes on the other as the client
//! sent it; so with `forwarded_headers = "any"`, Forwarded counts only if no X-Forwarded-* is
//! there.

use ipnet::IpNet;

use super::address::address;
use super::head::Headers;
use super::peer::is_in;
use crate::config::{ClientIp, ForwardedHeaders};

/// Which headers count, and who writes them.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The headers.
    pub headers: ForwardedHeaders,
    /// Where the client's address is in them.
    pub client_ip: ClientIp,
    /// The proxies.
    pub proxies: Box<[IpNet]>,
}

/// The parts that were said; each may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    /// The client's address, without a port.
    pub client: Option<&'a [u8]>,
    /// The host that it asked for, perhaps with a port.
    pub host: Option<&'a [u8]>,
    /// The scheme that it used.
    pub proto: Option<&'a [u8]>,
}

impl<'a> Forwarded<'a> {
    /// Reads the headers of a trusted proxy.
    #[must_use]
    pub fn from(headers: Headers<'a>, rules: &Rules) -> Self {
        let mut found = match rules.headers {
            ForwardedHeaders::XForwarded => Self::legacy(headers, rules).unwrap_or_default(),
            ForwardedHeaders::Forwarded => Self::standard(headers, rules),
            ForwardedHeaders::Any => {
                Self::legacy(headers, rules).unwrap_or_else(|| Self::standard(headers, rules))
            }
        };
        if let ClientIp::Header(name) = &rules.client_ip {
            // The last one is the nearest proxy's.
            let value = headers.all(name).next_back();
            found.client = value.and_then(address).map(|(text, _)| text);
        }
        found
    }

    /// X-Forwarded-*; `None` if there is none of them.
    fn legacy(headers: Headers<'a>, rules: &Rules) -> Option<Self> {
        let clients = || entries(headers, "x-forwarded-for");
        let host = entries(headers, "x-forwarded-host").next();
        let proto = entries(headers, "x-forwarded-proto").next();
        if host.is_none() && proto.is_none() && clients().next().is_none() {
            return None;
        }
        let client = match rules.client_ip {
            ClientIp::Nearest => {
                let from_right =
                    clients().rev().map(|entry| Self { client: Some(entry), host, proto });
                nearest(from_right, &rules.proxies).client
            }
            ClientIp::First => clients().next().and_then(address).map(|(text, _)| text),
            ClientIp::Header(_) => None,
        };
        Some(Self { client, host, proto })
    }

    fn standard(headers: Headers<'a>, rules: &Rules) -> Self {
        let lines = headers.all("forwarded").map(elements);
        match rules.client_ip {
            ClientIp::Nearest => {
                // A line that a client has garbled hides none that a proxy has put behind it.
                let sound = lines.rev().map_while(|line| line);
                nearest(sound.flat_map(|line| line.into_iter().rev()), &rules.proxies)
            }
            ClientIp::First | ClientIp::Header(_) => {
                let lines: Option<Vec<_>> = lines.collect();
                let first = lines.unwrap_or_default().concat().first().copied();
                let first = first.unwrap_or_default();
                let client = first.client.and_then(address).map(|(text, _)| text);
                Self { client, ..first }
            }
        }
    }
}

/// The first of these whose address is not a trusted proxy's. If what comes is no address at all,
/// the last proxy before it is as near to the client as is known.
fn nearest<'a>(hops: impl Iterator<Item = Forwarded<'a>>, proxies: &[IpNet]) -> Forwarded<'a> {
    let mut found = Forwarded::default();
    for hop in hops {
        let Some((client, ip)) = hop.client.and_then(address) else {
            return Forwarded { client: found.client, ..hop };
        };
        found = Forwarded { client: Some(client), ..hop };
        if !is_in(ip, proxies) {
            break;
        }
    }
    found
}

/// The entries of a comma-separated header, over all its lines, without the empty ones.
fn entries<'a>(headers: Headers<'a>, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    let lines = headers.all(name).flat_map(|value| value.split(|&byte| byte == b','));
    lines.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
}

/// The elements of a Forwarded header; `None` if it is malformed.
fn elements(header: &[u8]) -> Option<Vec<Forwarded<'_>>> {
    let mut all = Vec::new();
    let mut found = Forwarded::default();
    let mut rest = header.trim_ascii_start();
    loop {
        match rest.split_first() {
            None => break,
            // Between two of these there may be nothing.
            Some((&separator @ (b',' | b';'), next)) => {
                if separator == b',' {
                    all.push(std::mem::take(&mut found));
                }
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
    all.push(found);
    // An element may be empty.
    all.retain(|element| *element != Forwarded::default());
    Some(all)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::parse::parse;

    /// The parts that these header lines tell.
    fn told(lines: &str, accepted: ForwardedHeaders, client_ip: ClientIp) -> [Option<String>; 3] {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let mut memory = Vec::new();
        let headers = parse(head.as_bytes(), &mut memory).unwrap().unwrap().head.headers;
        let proxies = Box::new(["10.0.0.0/8".parse().unwrap()]);
        let rules = Rules { headers: accepted, client_ip, proxies };
        let found = Forwarded::from(headers, &rules);
        [found.client, found.host, found.proto]
            .map(|part| part.map(|part| String::from_utf8(part.to_vec()).unwrap()))
    }

    fn some(texts: [Option<&str>; 3]) -> [Option<String>; 3] {
        texts.map(|text| text.map(str::to_owned))
    }

    fn client(lines: &str, client_ip: ClientIp) -> Option<String> {
        let [client, ..] = told(lines, ForwardedHeaders::Any, client_ip);
        client
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_counts_over_lines_and_empty_entries() {
        for (lines, nearest, first) in [
            (
                "X-Forwarded-For: 1.1.1.1, 192.0.2.1, 10.0.0.2\r\n",
                Some("192.0.2.1"),
                Some("1.1.1.1"),
            ),
            ("X-Forwarded-For: anything at all, 192.0.2.1\r\n", Some("192.0.2.1"), None),
            (
                "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 10.0.0.2\r\n",
                Some("192.0.2.1"),
                Some("192.0.2.1"),
            ),
            ("X-Forwarded-For: , 192.0.2.1:80 ,,\r\n", Some("192.0.2.1"), Some("192.0.2.1")),
            (
                "X-Forwarded-For:\r\nX-Forwarded-For: [2001:db8::7]:443\r\n",
                Some("2001:db8::7"),
                Some("2001:db8::7"),
            ),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.2\r\n", Some("10.0.0.9"), Some("10.0.0.9")),
            ("X-Forwarded-For: unknown, 10.0.0.2\r\n", Some("10.0.0.2"), None),
            ("X-Forwarded-For: unknown\r\nForwarded: for=1.1.1.1\r\n", None, None),
            (
                "Forwarded: for=1.1.1.1, for=192.0.2.1\r\nForwarded: for=10.0.0.2\r\n",
                Some("192.0.2.1"),
                Some("1.1.1.1"),
            ),
            ("", None, None),
        ] {
            assert_eq!(client(lines, ClientIp::Nearest).as_deref(), nearest, "{lines}");
            assert_eq!(client(lines, ClientIp::First).as_deref(), first, "{lines}");
        }
    }

    #[test]
    fn a_header_of_its_own_counts_alone() {
        let own = || ClientIp::Header("x-real-ip".into());
        let lines = "X-Real-IP: 1.1.1.1\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n";
        assert_eq!(client(lines, own()).as_deref(), Some("192.0.2.1"));
        assert_eq!(client("X-Real-IP: me\r\nX-Forwarded-For: 192.0.2.2\r\n", own()), None);
        assert_eq!(client("X-Forwarded-For: 192.0.2.2\r\n", own()), None);
    }

    #[test]
    fn the_parts_of_an_element_of_forwarded_are_told() {
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", [Some("192.0.2.60"), None, Some("http")]),
            ("For=\"[2001:db8:cafe::17]:4711\"", [Some("2001:db8:cafe::17"), None, None]),
            ("for=\"[2001:db8::1]\", for=10.51.100.17", [Some("2001:db8::1"), None, None]),
            ("for=192.0.2.43:47011 , for=10.0.0.1", [Some("192.0.2.43"), None, None]),
            ("for=_hidden;Host=\"a.example:8443\"", [None, Some("a.example:8443"), None]),
            ("for=unknown", [None, None, None]),
            ("secret=\"a;b,c\" ; HOST=a.example", [None, Some("a.example"), None]),
            ("proto=https", [None, None, Some("https")]),
            (";; for=1.1.1.1;;host=h; ", [Some("1.1.1.1"), Some("h"), None]),
            (", for=1.1.1.1,", [Some("1.1.1.1"), None, None]),
        ] {
            let lines = format!("Forwarded: {value}\r\n");
            let found = told(&lines, ForwardedHeaders::Forwarded, ClientIp::Nearest);
            assert_eq!(found, some(expected), "{value}");
        }
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for value in [
            "",
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
            "for=1.1.1.1, x",
        ] {
            let lines = format!("Forwarded: {value}\r\n");
            for client_ip in [ClientIp::Nearest, ClientIp::First] {
                let found = told(&lines, ForwardedHeaders::Any, client_ip);
                assert_eq!(found, [None, None, None], "{value}");
            }
        }
    }

    #[test]
    fn a_malformed_line_hides_none_behind_it() {
        for (lines, nearest) in [
            ("Forwarded: \"\r\nForwarded: for=192.0.2.1\r\n", Some("192.0.2.1")),
            ("Forwarded: x\r\nForwarded: for=192.0.2.1, for=10.0.0.1\r\n", Some("192.0.2.1")),
            ("Forwarded: x\r\nForwarded: for=10.0.0.1\r\n", Some("10.0.0.1")),
            ("Forwarded: for=192.0.2.1\r\nForwarded: x\r\n", None),
        ] {
            assert_eq!(client(lines, ClientIp::Nearest).as_deref(), nearest, "{lines}");
        }
        assert_eq!(client("Forwarded: x\r\nForwarded: for=1.1.1.1\r\n", ClientIp::First), None);
    }

    #[test]
    fn the_two_kinds_are_never_mixed() {
        let both = "X-Forwarded-For: 2001:db8::1 , 10.1.1.1\r\n\
            Forwarded: for=192.0.2.1;host=other.example;proto=http\r\n";
        for (accepted, expected) in [
            (ForwardedHeaders::Any, [Some("2001:db8::1"), None, None]),
            (ForwardedHeaders::XForwarded, [Some("2001:db8::1"), None, None]),
            (ForwardedHeaders::Forwarded, [Some("192.0.2.1"), Some("other.example"), Some("http")]),
        ] {
            assert_eq!(told(both, accepted, ClientIp::Nearest), some(expected), "{accepted:?}");
        }
        let standard = "Forwarded: for=192.0.2.1\r\nX-Forwarded-For: , \r\n";
        let found = |accepted| told(standard, accepted, ClientIp::Nearest)[0].clone();
        assert_eq!(found(ForwardedHeaders::Any).as_deref(), Some("192.0.2.1"));
        assert_eq!(found(ForwardedHeaders::XForwarded), None);
    }
}

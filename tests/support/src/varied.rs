//! Pixels as the world sends them, each with the row that it must become.
//!
//! Everything follows from the seed and the number. The path begins with `/v/<number>/`, so that a
//! row can be matched with its request; all else varies: absent, empty, repeated and very long
//! headers, UTF-8 and bytes that are none, addresses of proxies, ports, raw paths and queries. The
//! peer is taken for a trusted proxy at 127.0.0.1.

use crate::random::Random;

/// The names of the seven fields, in the order of [`Varied::fields`].
pub const FIELD_NAMES: [&str; 7] =
    ["ip", "host", "request_path", "query_string", "referer", "user_agent", "cookies"];

/// A request and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varied {
    /// The bytes to send on a keep-alive connection.
    pub request: Vec<u8>,
    /// The bytes that are recorded: ip, host, path, query, referer, user agent, cookies.
    pub fields: [Option<Vec<u8>>; 7],
}

/// What a header can say, and what is recorded of it.
type Choice = (Option<&'static [u8]>, Option<&'static [u8]>);

const FORWARDED_FOR: [Choice; 12] = [
    (None, Some(b"127.0.0.1")),
    (Some(b""), Some(b"127.0.0.1")),
    (Some(b", 203.0.113.9 ,"), Some(b"203.0.113.9")),
    (Some(b"203.0.113.7:51234"), Some(b"203.0.113.7")),
    (Some(b"[2001:db8::7]:443, 10.0.0.1"), Some(b"2001:db8::7")),
    (Some(b"anything at all, 203.0.113.7"), Some(b"203.0.113.7")),
    (Some(b"203.0.113.7"), Some(b"203.0.113.7")),
    (Some(b" 203.0.113.7 , 10.0.0.1,10.0.0.2"), Some(b"203.0.113.7")),
    (Some(b"2001:db8::7"), Some(b"2001:db8::7")),
    (Some(b"2001:db8::9, 2001:DB8:0:0:0:0:0:8"), Some(b"2001:DB8:0:0:0:0:0:8")),
    (Some(b"::ffff:192.0.2.1"), Some(b"::ffff:192.0.2.1")),
    (Some(b"unknown"), Some(b"127.0.0.1")),
];

const HOST: [Choice; 9] = [
    (None, None),
    (Some(b""), Some(b"")),
    (Some(b"example.org"), Some(b"example.org")),
    (Some(b"example.org:8080"), Some(b"example.org")),
    (Some(b"EXAMPLE.org:"), Some(b"EXAMPLE.org")),
    (Some(b"[2001:db8::1]:8443"), Some(b"[2001:db8::1]")),
    (Some(b"[2001:db8::1]"), Some(b"[2001:db8::1]")),
    (Some(b"m\xc3\xbcller.example:80"), Some(b"m\xc3\xbcller.example")),
    (Some(b"192.0.2.33:65535"), Some(b"192.0.2.33")),
];

/// Recorded `None`: the Host header counts.
const FORWARDED_HOST: [Choice; 5] = [
    (None, None),
    (Some(b""), None),
    (Some(b"front.example"), Some(b"front.example")),
    (Some(b"front.example:443, inner.example"), Some(b"front.example")),
    (Some(b"[2001:db8::2]:443"), Some(b"[2001:db8::2]")),
];

const PATHS: [&str; 9] = [
    "",
    "pixel.gif",
    "%7Efoo%20bar/%E2%82%AC/%ff%00",
    "a//b/../c/./d;v=1,2",
    "(x)!$'*+@:&=~_-.",
    "[x]|^y\\z",
    "{\"a\":1}",
    "caf\u{e9}`<\u{2019}>",
    "%",
];

const QUERIES: [Option<&str>; 10] = [
    None,
    Some(""),
    Some("a=1&b=%20+&c"),
    Some("?x=?"),
    Some("u=http://example.org/a?b=c"),
    Some("j={k:[1,2]}|^`\\"),
    Some("%E2%82%AC=%ff&&=&"),
    Some("q='x'&lt=%3Cscript%3E"),
    Some("q=\u{2019}<a>\"`"),
    Some("-"),
];

/// Names are written as each of these in turn: their case means nothing.
const SPELLINGS: [fn(&str) -> String; 3] =
    [str::to_owned, str::to_ascii_lowercase, str::to_ascii_uppercase];

/// The pixel of a number.
pub fn pixel(seed: u64, number: u64) -> Varied {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let path = format!("/v/{number}/{}", random.pick(&PATHS));
    let query = query(&mut random);
    let mut request = format!("{} {path}", random.pick(&["GET", "GET", "GET", "HEAD", "DELETE"]));
    if let Some(query) = &query {
        request.push('?');
        request.push_str(query);
    }
    let (host, host_recorded) = *random.pick(&HOST);
    // Only HTTP/1.0 may do without a host.
    let version = if host.is_some() { "1.1" } else { "1.0\r\nConnection: keep-alive" };
    request.push_str(" HTTP/");
    request.push_str(version);
    request.push_str("\r\n");
    let mut request = request.into_bytes();

    let (ip, ip_recorded) = *random.pick(&FORWARDED_FOR);
    let (front, front_recorded) = *random.pick(&FORWARDED_HOST);
    let referer = text(&mut random, b"https://example.org/from?x=1");
    let user_agent = text(&mut random, b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101");
    let cookies = text(&mut random, b"a=1; b=\"two\"; c=");
    for (name, value) in [("X-Forwarded-For", ip), ("Host", host), ("X-Forwarded-Host", front)] {
        if let Some(value) = value {
            header(&mut request, &mut random, name, value);
        }
    }
    let texts = [("Referer", &referer), ("User-Agent", &user_agent), ("Cookie", &cookies)];
    for (name, value) in texts {
        if let Some(value) = value {
            header(&mut request, &mut random, name, value);
            // The first one counts.
            if random.below(8) == 0 {
                header(&mut request, &mut random, name, b"second");
            }
        }
    }
    request.extend_from_slice(b"\r\n");
    let fields = [
        ip_recorded.map(<[u8]>::to_vec),
        front_recorded.or(host_recorded).map(<[u8]>::to_vec),
        Some(path.into_bytes()),
        query.map(String::into_bytes),
        referer,
        user_agent,
        cookies,
    ];
    Varied { request, fields }
}

/// The fields as text: what is not UTF-8 has become U+FFFD, as in every output.
pub fn decoded(fields: &[Option<Vec<u8>>; 7]) -> [Option<String>; 7] {
    fields.each_ref().map(|field| Some(String::from_utf8_lossy(field.as_deref()?).into_owned()))
}

fn query(random: &mut Random) -> Option<String> {
    if random.below(50) == 0 {
        return Some("long=".to_owned() + &"%20x".repeat(1000));
    }
    random.pick(&QUERIES).map(str::to_owned)
}

/// A header's value: often as usual, sometimes absent, empty, long, or not what one expects.
fn text(random: &mut Random, usual: &[u8]) -> Option<Vec<u8>> {
    let value = match random.below(14) {
        0 | 1 => return None,
        2 => Vec::new(),
        3 => "Gr\u{fc}\u{df}e \u{2603} \u{1f600} \u{65e5}\u{672c}".into(),
        4 => b"latin-1 \xfc\xe4, cut \xe2\x82, over \xf5\xff\xc0\x80 and alone \x80".to_vec(),
        5 => b"\xed\xa0\x80 surrogate".to_vec(),
        6 => b"tab\tinside, \"quotes\" and \\ backslash".to_vec(),
        7 => b"-".to_vec(),
        8 => {
            let length = usize::try_from(random.below(6000)).expect("below a usize");
            let pattern = b"Mozilla/5.0 \xe2\x82\xac ";
            pattern.iter().copied().cycle().take(length + 1).chain(*b"$").collect()
        }
        _ => usual.to_vec(),
    };
    Some(value)
}

fn header(request: &mut Vec<u8>, random: &mut Random, name: &str, value: &[u8]) {
    request.extend_from_slice(random.pick(&SPELLINGS)(name).as_bytes());
    // White space around a value is no part of it.
    request.extend_from_slice(random.pick(&[": ", ":", ":\t "]).as_bytes());
    request.extend_from_slice(value);
    request.extend_from_slice(random.pick(&["\r\n", "  \r\n"]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gives_the_same_pixel_again_and_another_number_another() {
        assert_eq!(pixel(1, 7), pixel(1, 7));
        assert_ne!(pixel(1, 7), pixel(2, 7));
        assert_ne!(pixel(1, 7).fields[2], pixel(1, 8).fields[2]);
    }

    #[test]
    fn every_kind_of_field_occurs() {
        let pixels: Vec<_> = (0..2000).map(|number| pixel(0, number)).collect();
        for (i, name) in FIELD_NAMES.iter().enumerate() {
            let absent = pixels.iter().any(|pixel| pixel.fields[i].is_none());
            let empty = pixels.iter().any(|pixel| pixel.fields[i].as_deref() == Some(b""));
            assert_eq!(absent, i != 0 && i != 2, "{name} is absent somewhere");
            assert_eq!(empty, i != 0 && i != 2, "{name} is empty somewhere");
        }
        let is_odd = |field: &Vec<u8>| std::str::from_utf8(field).is_err();
        assert!(pixels.iter().any(|pixel| pixel.fields[5].as_ref().is_some_and(is_odd)));
        assert!(pixels.iter().any(|pixel| pixel.request.len() > 8000));
    }
}

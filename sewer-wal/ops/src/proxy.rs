//! The PROXY protocol, versions 1 and 2: a load balancer says whom a connection stands for.
//!
//! The header comes before everything else. It is read to its last byte and not beyond; a
//! connection whose header is missing, garbled or from a stranger is closed. Of version 2 the
//! additional fields (TLVs) are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// The longest header of version 1, with its line break.
const V1_BYTES_MAX: usize = 107;

/// How a header of version 2 begins.
pub const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of a header of version 2.
const V2_FIXED_BYTES: usize = 16;

/// The longest header of version 2 that is taken: addresses, and some room for additional fields.
const BYTES_MAX: usize = 4096;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProxyError {
    /// It does not begin with a header, or with one that is malformed.
    #[error("no PROXY header, or a malformed one")]
    Malformed,
    /// It ended before its header did.
    #[error("the connection ended within the PROXY header")]
    Ended,
}

impl ProxyError {
    /// Its name in the metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "proxy_header",
            Self::Ended => "proxy_ended",
        }
    }
}

/// A header that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes.
    pub bytes: usize,
    /// Whom the connection stands for; nobody but the proxy itself, as for a health check, if
    /// there is no address.
    pub source: Option<SocketAddr>,
}

/// Whether a peer is one of the proxies.
#[must_use]
pub fn is_proxy(peer: IpAddr, proxies: &[IpNet]) -> bool {
    let peer = peer.to_canonical();
    proxies.iter().any(|net| net.contains(&peer))
}

/// Reads the header of a connection and returns whom it stands for, if it tells.
///
/// # Errors
/// [`ProxyError`]
pub async fn receive(tcp: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyError> {
    let mut buffer = Vec::new();
    loop {
        // Every byte is looked at before it is taken: what follows the header belongs to others.
        let mut next = [0; 256];
        let seen = tcp.peek(&mut next).await.map_err(|_| ProxyError::Ended)?;
        if seen == 0 {
            return Err(ProxyError::Ended);
        }
        let before = buffer.len();
        buffer.extend_from_slice(&next[..seen]);
        let parsed = parse(&buffer)?;
        let own = parsed.map_or(seen, |header| header.bytes - before);
        tcp.read_exact(&mut next[..own]).await.map_err(|_| ProxyError::Ended)?;
        if let Some(header) = parsed {
            return Ok(header.source);
        }
    }
}

/// Whether bytes, at least one, can be the begin of a header.
#[must_use]
pub fn can_begin(bytes: &[u8]) -> bool {
    parse(bytes).is_ok()
}

/// The header that bytes begin with; `None` if more of it has to come.
///
/// # Errors
/// [`ProxyError::Malformed`]
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    if begins(V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(b"PROXY ") {
        parse_v1(bytes)
    } else {
        Err(ProxyError::Malformed)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(ProxyError::Malformed) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| ProxyError::Malformed)?;
    let fields: Vec<&str> = line.split(' ').collect();
    let source = match fields[1..] {
        // Whatever follows is to be passed over.
        ["UNKNOWN", ..] => None,
        ["TCP4", source, destination, port, destination_port] => {
            address::<Ipv4Addr>(destination, destination_port)?;
            Some(address::<Ipv4Addr>(source, port)?)
        }
        ["TCP6", source, destination, port, destination_port] => {
            address::<Ipv6Addr>(destination, destination_port)?;
            Some(address::<Ipv6Addr>(source, port)?)
        }
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { bytes: end + 2, source }))
}

fn address<A: std::str::FromStr + Into<IpAddr>>(
    address: &str,
    port: &str,
) -> Result<SocketAddr, ProxyError> {
    let address: A = address.parse().map_err(|_| ProxyError::Malformed)?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number && (port == "0" || !port.starts_with('0'));
    let port = if is_plain { port.parse().ok() } else { None };
    Ok(SocketAddr::new(address.into(), port.ok_or(ProxyError::Malformed)?))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else { return Ok(None) };
    let [version_command, family, length @ ..] =
        *fixed.last_chunk::<4>().expect("the fixed part is longer");
    let total = V2_FIXED_BYTES + usize::from(u16::from_be_bytes(length));
    // Version 2; LOCAL, which the proxy sends for itself, or PROXY.
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Malformed),
    };
    if total > BYTES_MAX {
        return Err(ProxyError::Malformed);
    }
    let Some(addresses) = bytes.get(V2_FIXED_BYTES..total) else { return Ok(None) };
    let source = match family {
        _ if is_local => None,
        // TCP over IPv4, then over IPv6: source, destination, source port, destination port.
        0x11 => Some(v2_address::<4, 8>(addresses)?),
        0x21 => Some(v2_address::<16, 32>(addresses)?),
        // Unspecified, and a stream of a UNIX socket.
        0x00 | 0x31 => None,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { bytes: total, source }))
}

fn v2_address<const ADDRESS: usize, const PORT_AT: usize>(
    addresses: &[u8],
) -> Result<SocketAddr, ProxyError>
where
    [u8; ADDRESS]: Into<IpAddr>,
{
    // Source port and destination port.
    let ports = addresses.get(PORT_AT..PORT_AT + 4).ok_or(ProxyError::Malformed)?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    let source = addresses.first_chunk::<ADDRESS>().ok_or(ProxyError::Malformed)?;
    Ok(SocketAddr::new((*source).into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn v2_tcp4(additional: &[u8]) -> Vec<u8> {
        let mut rest = vec![192, 0, 2, 7, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
        rest.extend(additional);
        v2(1, 0x11, &rest)
    }

    fn v2_tcp6() -> Vec<u8> {
        let source = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        v2(1, 0x21, &[&source[..], &[0; 16], &[0x1f, 0x90, 0, 80]].concat())
    }

    fn sound() -> Vec<(Vec<u8>, Option<&'static str>)> {
        vec![
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 8080 80\r\n".to_vec(), Some("192.0.2.7:8080")),
            (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n".to_vec(), Some("[2001:db8::7]:8080")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (v2_tcp4(b""), Some("192.0.2.7:8080")),
            (v2_tcp4(&[4, 0, 3, 1, 2, 3]), Some("192.0.2.7:8080")),
            (v2_tcp6(), Some("[2001:db8::7]:8080")),
            (v2(0, 0, b""), None),
            (v2(0, 0x11, b"whatever it is"), None),
            (v2(1, 0, b""), None),
            (v2(1, 0x31, &[b'/'; 216]), None),
        ]
    }

    #[test]
    fn a_header_tells_whom_the_connection_stands_for_and_where_it_ends() {
        for (bytes, source) in sound() {
            let source = source.map(|text| text.parse().unwrap());
            let header = Header { bytes: bytes.len(), source };
            assert_eq!(parse(&bytes), Ok(Some(header)), "{}", bytes.escape_ascii());
            let followed = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), Ok(Some(header)), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn at_every_cut_more_has_to_come() {
        for (bytes, _) in sound() {
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length]), Ok(None), "{length} of {bytes:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
        for garbage in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\0",
            b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY\tTCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1  2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"PROXY UNKNOWN \xff\r\n",
            &long,
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x12, &[0; 12]),
            &v2(1, 0x11, &[0; 11]),
            &v2(1, 0x21, &[0; 35]),
            &v2(1, 0xff, &[0; 12]),
            &v2(1, 0x11, &[0; BYTES_MAX]),
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c............",
        ] {
            assert_eq!(parse(garbage), Err(ProxyError::Malformed), "{}", garbage.escape_ascii());
        }
    }
}

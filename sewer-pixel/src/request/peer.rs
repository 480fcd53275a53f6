//! The peer of a connection: its address as text, and whether it is a trusted proxy.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Longest text of an address: an IPv6 address with an embedded IPv4 one.
const ADDRESS_BYTES_MAX: usize = 45;

/// The text of an IP address, on the stack.
#[derive(Debug)]
pub struct AddressText {
    bytes: [u8; ADDRESS_BYTES_MAX],
    length: usize,
}

impl AddressText {
    fn new(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; ADDRESS_BYTES_MAX], length: 0 };
        match address {
            IpAddr::V4(address) => text.write_v4(address.octets()),
            IpAddr::V6(address) => {
                let mut rest = &mut text.bytes[..];
                write!(rest, "{address}").expect("45 bytes hold the text of every address");
                text.length = ADDRESS_BYTES_MAX - rest.len();
            }
        }
        text
    }

    /// By hand, because it is done for every request: std's formatting is a tenth of all its work.
    fn write_v4(&mut self, octets: [u8; 4]) {
        for (i, octet) in octets.into_iter().enumerate() {
            if i > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Who sent a request, as far as the connection tells.
#[derive(Debug)]
pub struct Peer {
    text: AddressText,
    is_trusted: bool,
}

impl Peer {
    /// The peer of a connection; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn new(address: SocketAddr, proxies: &[IpNet]) -> Self {
        let ip = address.ip().to_canonical();
        Self { text: AddressText::new(ip), is_trusted: is_in(ip, proxies) }
    }

    /// Its address.
    pub fn address(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Whether it is a trusted proxy.
    pub const fn is_trusted(&self) -> bool {
        self.is_trusted
    }
}

/// Whether an address, which is no IPv4-mapped one, is in one of the networks.
pub fn is_in(ip: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_address_is_that_of_std() {
        for octet in 0..=255 {
            let address = IpAddr::from([octet, 0, 255 - octet, octet / 7]);
            assert_eq!(AddressText::new(address).as_bytes(), address.to_string().as_bytes());
        }
        for text in
            ["::", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::ffff:1.2.3.4"]
        {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(AddressText::new(address).as_bytes(), address.to_string().as_bytes());
        }
    }
}

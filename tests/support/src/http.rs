//! A minimal HTTP/1.1 client: blocking, keep-alive, and able to send any bytes in a header.
//!
//! Every read and write is bounded. It understands what the daemons answer: a status line, headers
//! and a body of a given length; no chunks, no redirects.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long one read, write or connect may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A longer head is not one of ours.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A connection that is kept open between requests.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What was read beyond the last answer.
    unread: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, as received.
    pub head: String,
    /// The body; what is no UTF-8 is U+FFFD.
    pub body: String,
}

impl Response {
    /// The first header of a name (in lower case), without the white space around it.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Connection {
    /// Connects to `address`, an IP address and a port.
    pub fn open(address: &str) -> io::Result<Self> {
        let address: SocketAddr = address.parse().map_err(|_| ErrorKind::InvalidInput)?;
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Everything that comes until the peer closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = std::mem::take(&mut self.unread);
        match self.stream.read_to_end(&mut rest) {
            Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(e),
            _ => Ok(rest),
        }
    }

    /// Ends it by a reset.
    pub fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads the next answer.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut response = self.receive_head()?;
        let length = match response.header("content-length") {
            Some(text) => text.parse().map_err(|_| invalid("a length that is no number"))?,
            None => 0,
        };
        while self.unread.len() < length {
            self.read_more()?;
        }
        response.body = String::from_utf8_lossy(&self.unread[..length]).into_owned();
        self.unread.drain(..length);
        Ok(response)
    }

    /// Reads an answer that has no body, whatever its head says: that to HEAD, and 100 Continue.
    pub fn receive_head(&mut self) -> io::Result<Response> {
        let head_bytes = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Err(invalid("a head without an end"));
            }
            self.read_more()?;
        };
        let head = String::from_utf8_lossy(&self.unread[..head_bytes]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| invalid("no status line"))?;
        self.unread.drain(..head_bytes);
        Ok(Response { status, head, body: String::new() })
    }

    /// Sends a whole request and reads its answer.
    pub fn request(&mut self, bytes: &[u8]) -> io::Result<Response> {
        self.send(bytes)?;
        self.receive()
    }

    /// Whether the peer closes the connection without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.unread.is_empty()
            && match self.stream.read(&mut [0]) {
                Ok(bytes) => bytes == 0,
                Err(e) => e.kind() == ErrorKind::ConnectionReset,
            }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// One GET on a connection of its own.
pub fn get(address: &str, target: &str) -> io::Result<Response> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    Connection::open(address)?.request(request.as_bytes())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

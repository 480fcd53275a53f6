//! The bytes of a connection, plain or encrypted.
//!
//! A new connection is not known to the event loop: nearly always its first request has come with
//! it, and if it is for one request only, it never need be. It is registered when there is
//! something to wait for.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream as StdStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection's bytes in both directions.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Just accepted, not blocking and not registered; read from once or not at all.
    New {
        /// The socket.
        tcp: StdStream,
        /// Whether it was looked at.
        was_read: bool,
    },
    /// Registered.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// It could not be registered.
    Gone,
}

impl Stream {
    /// A connection that does not block.
    pub(crate) fn new(tcp: StdStream) -> Self {
        Self::New { tcp, was_read: false }
    }

    /// The socket of a connection that is not encrypted, registered.
    pub(crate) fn into_tcp(mut self) -> io::Result<TcpStream> {
        self.register()?;
        match self {
            Self::Plain(tcp) => Ok(tcp),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn register(&mut self) -> io::Result<()> {
        if let Self::New { .. } = self
            && let Self::New { tcp, .. } = std::mem::replace(self, Self::Gone)
        {
            // A small answer waits for nothing. It is no harm if that cannot be had.
            let _ = tcp.set_nodelay(true);
            *self = Self::Plain(TcpStream::from_std(tcp)?);
        }
        Ok(())
    }

    /// Reads what has come; 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if let Self::New { tcp, was_read } = self
            && !std::mem::replace(was_read, true)
        {
            match tcp.read(bytes) {
                Err(e) if is_transient(&e) => {}
                done => return Poll::Ready(done),
            }
        }
        self.register()?;
        let mut read = ReadBuf::new(bytes);
        ready!(match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut read),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, &mut read),
            Self::New { .. } | Self::Gone => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        })?;
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Sends all of these bytes, which are cut from the front as they go. With the last ones of an
    /// encrypted connection goes the word that they are.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut &[u8],
        are_last: bool,
    ) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let count = ready!(self.poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            *bytes = &bytes[count..];
        }
        if let Self::Tls(tls) = self {
            if are_last {
                tls.get_mut().1.send_close_notify();
            }
            return Pin::new(tls).poll_flush(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Self::New { tcp, .. } = self {
            match tcp.write(bytes) {
                Err(e) if is_transient(&e) => {}
                done => return Poll::Ready(done),
            }
        }
        self.register()?;
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => {
                // Only encrypted here; it goes out with what follows, by the flush.
                let count = tls.get_mut().1.writer().write(bytes)?;
                if count == 0 {
                    ready!(Pin::new(&mut *tls).poll_flush(cx))?;
                    return Poll::Ready(tls.get_mut().1.writer().write(bytes));
                }
                Poll::Ready(Ok(count))
            }
            Self::New { .. } | Self::Gone => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    /// Says that nothing more is sent.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register()?;
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Self::New { .. } | Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

//! The bytes of a connection: plain or encrypted, and held to the connection's limits.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::StatusCode;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::http::connection::Connection;
use crate::http::connections::Connections;

/// What is read and thrown away after a last answer, so that the client gets to read the answer:
/// closing with bytes unread resets the connection.
const LINGER_BYTES: usize = 256 << 10;

/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// What the dispatcher gets at once.
const READ_BYTES: usize = 8 << 10;

/// A connection's bytes in both directions.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<TlsStream<TcpStream>>),
    /// Neither: the stream is being changed from one to the other.
    Gone,
}

impl Stream {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Gone => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // There is nothing to flush.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Gone => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.get_ref().0),
            Self::Gone => None,
        }
    }
}

/// A connection as the HTTP dispatcher sees it.
#[derive(Debug)]
pub struct Guarded {
    connection: Rc<Connection>,
    connections: Rc<Connections>,
    /// What was read before, and counted then.
    unread: Bytes,
}

impl Guarded {
    /// The stream of a connection of a worker, from which these bytes have been read already.
    pub fn new(connection: Rc<Connection>, connections: Rc<Connections>, unread: Bytes) -> Self {
        Self { connection, connections, unread }
    }

    /// The connection.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    fn is_over(&self) -> io::Result<()> {
        match self.connection.end() {
            None => Ok(()),
            Some(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.is_over()?;
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buf.remaining());
            let bytes = self.unread.split_to(count);
            self.connection.has_queued(&bytes);
            buf.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let connection = &self.connection;
        if connection.is_asleep() {
            // To the dispatcher it is the end: it goes, and its buffers with it.
            return Poll::Ready(Ok(()));
        }
        if !connection.may_read(cx) {
            return Poll::Pending;
        }
        // The dispatcher's buffer grows with what it is given, and it decodes all that is in it.
        let count = buf.remaining().min(READ_BYTES);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(count));
        ready!(connection.stream.borrow_mut().poll_read(cx, &mut part))?;
        let bytes = part.filled();
        connection.has_read(bytes, || self.connections.now());
        connection.has_queued(bytes);
        let count = bytes.len();
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_over()?;
        let poll = self.connection.stream.borrow_mut().poll_write(cx, bytes);
        self.connection.set_clogged(poll.is_pending());
        poll
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over()?;
        let poll = self.connection.stream.borrow_mut().poll_flush(cx);
        self.connection.set_clogged(poll.is_pending());
        poll
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over()?;
        if self.connection.is_asleep() {
            return Poll::Ready(Ok(()));
        }
        self.connection.stream.borrow_mut().poll_shutdown(cx)
    }
}

impl Connection {
    /// Waits until bytes have come, or the end.
    ///
    /// # Errors
    /// If the connection is at its end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| {
            self.remember(cx);
            if self.end().is_some() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            match self.stream.borrow().tcp() {
                Some(tcp) => tcp.poll_read_ready(cx),
                None => Poll::Ready(Err(ErrorKind::NotConnected.into())),
            }
        })
        .await
    }

    /// Awaits something that belongs to the opening of the connection, but not beyond its end. What
    /// that needs is given back afterwards, for connections are many and live long.
    pub(crate) async fn within<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = Box::pin(future);
        poll_fn(|cx| {
            self.remember(cx);
            if self.end().is_some() {
                return Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }

    /// Takes the stream out, to put another in its place.
    pub(crate) fn take_stream(&self) -> Stream {
        self.stream.replace(Stream::Gone)
    }

    /// Gives a last answer, if there is one, and closes so that the client can read it.
    pub(crate) async fn dismiss(&self, status: Option<StatusCode>) {
        let mut stream = self.take_stream();
        let goodbye = async {
            if let Some(status) = status {
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await?;
            }
            stream.shutdown().await?;
            let mut unread = vec![0; 4 << 10];
            let mut left = LINGER_BYTES;
            while left > 0 {
                match stream.read(&mut unread).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            Ok::<_, io::Error>(())
        };
        // The client may well be gone.
        let _ = tokio::time::timeout(LINGER_TIME, Box::pin(goodbye)).await;
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Self::poll_read(self.get_mut(), cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Self::poll_write(self.get_mut(), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), cx)
    }
}

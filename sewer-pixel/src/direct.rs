//! Requests without a body, answered without actix-http's dispatcher.
//!
//! That is nearly all that a pixel gets: one whole head in one read, and no other request behind it.
//! Decoder and encoder are actix-http's own; what is saved is its dispatcher's state machine, which
//! decodes four times and polls the handler three times for such a request, and its buffers: here all
//! connections of a worker share theirs. Whatever else comes, malformed or in pieces, with a body or
//! in a pipeline, goes to the dispatcher as it came.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::body::{BodySize, BoxBody, MessageBody as _};
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::{Request, Response, ServiceConfig};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::connection::Connection;
use crate::handler::Handler;

/// What is read at once; a request that fills it is not of the simple kind.
const READ_BYTES: usize = 16 << 10;

/// What one worker needs to answer simple requests.
pub struct Direct {
    handler: Rc<Handler>,
    config: ServiceConfig,
    /// What was read last. It is decoded at once, so that all connections can share it.
    read: RefCell<Box<[u8]>>,
    /// Memory for an answer.
    written: Cell<BytesMut>,
}

/// Why [`Direct::serve`] has returned.
pub enum Left {
    /// These bytes are for the dispatcher.
    Unread(Bytes),
    /// The last answer is given.
    Answered,
    /// The connection is of no more use.
    Closed,
}

/// What has come.
enum Come {
    Simple(Request),
    Other(Bytes),
    End,
}

impl Direct {
    /// For the connections of a worker.
    pub fn new(handler: Rc<Handler>, config: ServiceConfig) -> Self {
        let read = RefCell::new(vec![0; READ_BYTES].into());
        Self { handler, config, read, written: Cell::default() }
    }

    /// Answers the requests of a connection that is not encrypted, until one is not simple.
    pub async fn serve(&self, connection: &Rc<Connection>) -> Left {
        let mut codec = Codec::new(self.config.clone());
        loop {
            let request = match poll_fn(|cx| self.poll_read(connection, &mut codec, cx)).await {
                Come::Simple(request) => request,
                Come::Other(bytes) => return Left::Unread(bytes),
                Come::End => return Left::Closed,
            };
            let response = self.handler.answer_on(connection, request).await;
            let mut bytes = self.written.take();
            let sent = match encode(&mut codec, response, &mut bytes) {
                Ok(()) => write(connection, &mut bytes).await,
                Err(error) => Err(error),
            };
            bytes.clear();
            self.written.set(bytes);
            if sent.is_err() {
                return Left::Closed;
            }
            if !codec.keep_alive() {
                return Left::Answered;
            }
        }
    }

    fn poll_read(
        &self,
        connection: &Connection,
        codec: &mut Codec,
        cx: &mut Context<'_>,
    ) -> Poll<Come> {
        if connection.end().is_some() {
            connection.remember(cx);
            return Poll::Ready(Come::End);
        }
        if !connection.may_read(cx) {
            return Poll::Ready(Come::Other(Bytes::new()));
        }
        let mut memory = self.read.borrow_mut();
        let mut read = ReadBuf::new(&mut memory);
        let result = ready!(connection.stream.borrow_mut().poll_read(cx, &mut read));
        let bytes = read.filled();
        if result.is_err() || bytes.is_empty() {
            return Poll::Ready(Come::End);
        }
        connection.has_read(bytes, || self.handler.connections.now());
        Poll::Ready(match decode(codec, bytes) {
            Some(mut request) => {
                request.head_mut().peer_addr = connection.peer.get();
                Come::Simple(request)
            }
            None => Come::Other(Bytes::copy_from_slice(bytes)),
        })
    }
}

/// The request that these bytes are, if they are one of the simple kind and nothing else.
fn decode(codec: &mut Codec, bytes: &[u8]) -> Option<Request> {
    if !bytes.ends_with(b"\r\n\r\n") || bytes.len() == READ_BYTES {
        return None;
    }
    let mut rest = BytesMut::from(bytes);
    let Ok(Some(Message::Item(request))) = codec.decode(&mut rest) else { return None };
    let is_simple = rest.is_empty()
        && matches!(codec.message_type(), MessageType::None)
        && !codec.upgrade()
        && !request.head().expect();
    is_simple.then_some(request)
}

fn encode(codec: &mut Codec, response: Response<BoxBody>, out: &mut BytesMut) -> io::Result<()> {
    let (response, body) = response.into_parts();
    let size = body.size();
    codec.encode(Message::Item((response, size)), out)?;
    if matches!(size, BodySize::None | BodySize::Sized(0)) {
        return Ok(());
    }
    let whole = "the body of every answer is at hand";
    let bytes = body.try_into_bytes().map_err(|_| io::Error::other(whole))?;
    codec.encode(Message::Chunk(Some(bytes)), out)?;
    codec.encode(Message::Chunk(None), out)
}

async fn write(connection: &Connection, bytes: &mut BytesMut) -> io::Result<()> {
    poll_fn(|cx| {
        while !bytes.is_empty() {
            if connection.end().is_some() {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            let poll = connection.stream.borrow_mut().poll_write(cx, bytes);
            connection.set_clogged(poll.is_pending());
            if poll.is_pending() {
                connection.remember(cx);
            }
            match ready!(poll)? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                count => bytes.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_simple(text: &str) -> bool {
        let mut codec = Codec::new(ServiceConfig::default());
        decode(&mut codec, text.as_bytes()).is_some()
    }

    // The decoder's configuration has a clock that needs an event loop.
    #[actix_web::test]
    async fn only_whole_requests_alone_and_without_a_body_are_simple() {
        for text in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "HEAD /a?b HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(is_simple(text), "{text}");
        }
        for text in [
            "GET / HTTP/1.1\r\nHost: h\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert!(!is_simple(text), "{text}");
        }
    }
}

//! Requests without a body, answered without actix-http's dispatcher.
//!
//! That is nearly all that a pixel gets: one whole head in one read, and no other request behind it.
//! It is read where it lies ([`crate::http::simple`]) and answered through actix-http's own codec, which
//! decodes the first request of a connection, and again one that is to be answered in another manner.
//! What is saved is the dispatcher's state machine, which decodes four times and polls the handler
//! three times for such a request, and its buffers: here all connections of a worker share theirs.
//! Whatever else comes, malformed or in pieces, with a body or in a pipeline, goes to the dispatcher
//! as it came.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::body::{BodySize, BoxBody, MessageBody as _};
use actix_http::h1::{Codec, Message, MessageType};
use actix_http::{Response, ServiceConfig};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::ReadBuf;

use crate::http::connection::Connection;
use crate::http::handler::{Begun, Handler};
use crate::http::simple::{self, Manner, Simple};
use crate::request::head::{Head, Headers};

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
enum Come<'a> {
    /// A simple request, which waits for its ack.
    Simple(Begun<'a>),
    /// Something else.
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
        let mut answers = Answers { codec: Codec::new(self.config.clone()), manner: None };
        loop {
            let begun = match poll_fn(|cx| self.poll_read(connection, &mut answers, cx)).await {
                Come::Simple(begun) => begun,
                Come::Other(bytes) => return Left::Unread(bytes),
                Come::End => return Left::Closed,
            };
            let response = self.handler.finish(begun).await;
            let codec = &mut answers.codec;
            let mut bytes = self.written.take();
            let sent = match encode(codec, response, &mut bytes) {
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

    fn poll_read<'a>(
        &'a self,
        connection: &'a Connection,
        answers: &mut Answers,
        cx: &mut Context<'_>,
    ) -> Poll<Come<'a>> {
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
        let is_whole = bytes.len() < READ_BYTES;
        let begun = is_whole.then(|| {
            simple::read(bytes, |simple| {
                answers.are_for(simple.manner, bytes).then(|| self.begin(connection, simple))
            })
        });
        Poll::Ready(match begun.flatten().flatten() {
            Some(begun) => Come::Simple(begun),
            None => Come::Other(Bytes::copy_from_slice(bytes)),
        })
    }

    fn begin<'a>(&'a self, connection: &'a Connection, simple: &Simple<'_>) -> Begun<'a> {
        let head = Head {
            method: simple.method,
            path: simple.path,
            query: simple.query,
            headers: Headers::Lines(simple.lines),
            peer: connection.peer.get(),
            is_tls: false,
        };
        self.handler.begin(connection, &head)
    }
}

/// The answers of a connection.
struct Answers {
    codec: Codec,
    /// In which manner the codec encodes them now.
    manner: Option<Manner<Box<[u8]>>>,
}

impl Answers {
    /// Makes the codec encode in the manner of a simple request; `false` if it makes something else of
    /// its bytes.
    fn are_for(&mut self, manner: Manner<&[u8]>, bytes: &[u8]) -> bool {
        if self.manner.as_ref().is_some_and(|known| known.borrowed() == manner) {
            return true;
        }
        self.manner = Some(manner.to_owned());
        let mut rest = BytesMut::from(bytes);
        let is_request = matches!(self.codec.decode(&mut rest), Ok(Some(Message::Item(_))));
        let has_no_body = matches!(self.codec.message_type(), MessageType::None);
        is_request && rest.is_empty() && has_no_body && !self.codec.upgrade()
    }
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

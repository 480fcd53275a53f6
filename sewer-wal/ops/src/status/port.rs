//! The connections of the status port: few, short, and each for one request.
//!
//! Anybody may ask for health, so anybody can try to hold the port up. A connection gives one
//! request and is closed after its answer, and there are [`CONNECTIONS_MAX`] at most: when one more
//! comes, the oldest goes. So a check is answered at once, however many others send half a request
//! or read no answer, and memory is bounded.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_service::{Service, ServiceFactory as _, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use super::{State, answer};
use crate::proxy::{self, can_begin};

/// How many connections there may be.
pub const CONNECTIONS_MAX: usize = 32;

/// How long a connection may take, with everything.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// The longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How often the rest of what can be a PROXY header is looked for.
const PROXY_POLL: Duration = Duration::from_millis(5);

/// How long nothing is accepted after that has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the other end of `ended` is dropped.
pub(super) async fn serve(
    listener: StdListener,
    state: State,
    ended: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let proxies = state.proxies.clone();
    let state = web::Data::new(state);
    let app = App::new().app_data(state).default_service(web::to(answer));
    let service = HttpService::build().keep_alive(KeepAlive::Disabled);
    let service = service.h1(map_config(app, |()| AppConfig::default()));
    let service = service.new_service(()).await.map_err(|()| ErrorKind::Other)?;
    let (service, open) = (Rc::new(service), Rc::<RefCell<VecDeque<Rc<Notify>>>>::default());
    let accept = async {
        loop {
            // Out of descriptors, or gone before it was here.
            let Ok((tcp, peer)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let gives_way = Rc::new(Notify::new());
            open.borrow_mut().push_back(Rc::clone(&gives_way));
            if open.borrow().len() > CONNECTIONS_MAX
                && let Some(oldest) = open.borrow_mut().pop_front()
            {
                oldest.notify_one();
            }
            let (service, open, proxies) = (Rc::clone(&service), Rc::clone(&open), proxies.clone());
            actix_web::rt::spawn(async move {
                let one = async {
                    let (tcp, peer) = proxied(tcp, peer, |peer| {
                        proxies.as_ref().is_some_and(|proxies| proxies.contains(peer.ip()))
                    })
                    .await?;
                    // What goes wrong concerns this client alone.
                    let _ = service.call((OneRequest::new(tcp), Some(peer))).await;
                    Some(())
                };
                tokio::select! {
                    _ = timeout(CONNECTION_TIME, one) => {}
                    () = gives_way.notified() => {}
                }
                open.borrow_mut().retain(|other| !Rc::ptr_eq(other, &gives_way));
            });
        }
    };
    tokio::select! {
        () = accept => {}
        _ = ended => {}
    }
    Ok(())
}

/// A connection and whom it stands for. A proxy may say that by a PROXY header, and need not;
/// `None` if its header is malformed.
async fn proxied(
    mut tcp: TcpStream,
    peer: SocketAddr,
    is_proxy: impl Fn(SocketAddr) -> bool,
) -> Option<(TcpStream, SocketAddr)> {
    if !is_proxy(peer) {
        return Some((tcp, peer));
    }
    let mut first = [0; proxy::V2_SIGNATURE.len()];
    loop {
        let seen = tcp.peek(&mut first).await.ok()?;
        let bytes = &first[..seen];
        if seen == 0 || !can_begin(bytes) {
            return Some((tcp, peer));
        }
        if seen == first.len() {
            break;
        }
        // There is no waking for more than is there already.
        sleep(PROXY_POLL).await;
    }
    let source = proxy::receive(&mut tcp).await.ok()?;
    Some((tcp, source.unwrap_or(peer)))
}

/// A connection of which no byte beyond the head of the first request is read.
struct OneRequest {
    tcp: TcpStream,
    head: Head,
    bytes: usize,
}

impl OneRequest {
    fn new(tcp: TcpStream) -> Self {
        Self { tcp, head: Head::default(), bytes: 0 }
    }
}

/// Where the head of a request ends.
#[derive(Default)]
struct Head {
    /// The end of what was read.
    tail: Vec<u8>,
    is_whole: bool,
}

impl Head {
    /// How many of the next bytes belong to it.
    fn of(&mut self, bytes: &[u8]) -> usize {
        // Line breaks before a request are no part of it.
        let is_break = |byte: &&u8| self.tail.is_empty() && matches!(byte, b'\r' | b'\n');
        let skipped = bytes.iter().take_while(is_break).count();
        let before = self.tail.len();
        self.tail.extend_from_slice(&bytes[skipped..]);
        // Each line by itself may end in a line feed alone.
        let ends = [&b"\n\r\n"[..], b"\n\n"];
        let end = ends.iter().filter_map(|end| Some(memmem::find(&self.tail, end)? + end.len()));
        let end = end.min();
        self.is_whole = end.is_some();
        let kept = self.tail.len().saturating_sub(2);
        self.tail.drain(..kept);
        end.map_or(bytes.len(), |end| skipped + end.saturating_sub(before))
    }
}

impl AsyncRead for OneRequest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_whole {
            // The client may send more; it is closed after its answer.
            return Poll::Pending;
        }
        if self.bytes > HEAD_BYTES_MAX {
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        }
        let mut read = [0; 1024];
        let room = buf.remaining().min(read.len());
        let mut part = ReadBuf::new(&mut read[..room]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut part))?;
        let count = self.head.of(part.filled());
        self.bytes += count;
        buf.put_slice(&part.filled()[..count]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneRequest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_behind_the_first_head_is_handed_on() {
        for end in ["\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n"] {
            let head = format!("\r\n\r\nGET / HTTP/1.1\r\nHost: h{end}");
            let all = format!("{head}GET / HTTP/1.1\r\n");
            for piece in 1..all.len() {
                let mut one = Head::default();
                let mut handed_on = 0;
                for bytes in all.as_bytes().chunks(piece) {
                    if !one.is_whole {
                        handed_on += one.of(bytes);
                    }
                }
                assert_eq!((handed_on, one.is_whole), (head.len(), true), "{end:?} by {piece}");
            }
        }
    }
}

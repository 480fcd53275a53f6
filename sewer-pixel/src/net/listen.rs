//! Listening sockets: of our own, or handed over by systemd.
//!
//! A socket that the service manager holds (`sewer-pixel.socket`) outlives the pixel: while it is
//! restarted, connections wait in the socket's queue instead of being refused.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

/// The connections that the kernel queues while the workers are busy.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub listener: TcpListener,
    /// Whether the service manager holds it too.
    pub is_inherited: bool,
}

/// The socket that the service manager has handed over, or else one of our own at `address`.
///
/// # Errors
/// If more than one was handed over, or one that is no TCP listener; with the address and the key
/// that chose it if it cannot be opened here.
pub fn inherit_or_listen(address: SocketAddr, key: &str) -> anyhow::Result<Listening> {
    // The variables are for this process alone.
    let mut handed_over = ListenFd::from_env();
    if handed_over.len() > 1 {
        bail!(
            "the service manager hands over {} sockets and only one can be used; \
             leave one ListenStream= in sewer-pixel.socket",
            handed_over.len()
        );
    }
    let inherited = handed_over
        .take_tcp_listener(0)
        .context("use the socket of the service manager; it must be a TCP ListenStream=")?;
    match inherited {
        Some(listener) => {
            listener.set_nonblocking(true).context("use the socket of the service manager")?;
            Ok(Listening { listener, is_inherited: true })
        }
        None => Ok(Listening { listener: listen(address, key)?, is_inherited: false }),
    }
}

/// Opens a listening socket that may follow a predecessor at once and queues a crowd.
///
/// # Errors
/// With the address and the key that chose it.
pub fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(socket.into())
    };
    open().with_context(|| format!("listen on {address} (key `{key}`)"))
}

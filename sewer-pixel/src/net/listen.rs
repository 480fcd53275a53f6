//! Listening sockets: one of our own for each worker, or one for all that systemd hands over.
//!
//! A socket that the service manager holds (`sewer-pixel.socket`) outlives the pixel: while it is
//! restarted, connections wait in the socket's queue instead of being refused.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

/// The connections that the kernel queues while the workers are busy.
const BACKLOG: i32 = 4096;

/// Listening sockets, one for each worker.
#[derive(Debug)]
pub struct Listening {
    /// The sockets.
    pub listeners: Vec<TcpListener>,
    /// Whether the service manager holds it too; then all of them are the same one.
    pub is_inherited: bool,
}

/// The socket that the service manager has handed over, for all workers; or else one of our own at
/// `address` for each.
///
/// # Errors
/// If more than one was handed over, or one that is no TCP listener; with the address and the key
/// that chose it if it cannot be opened here.
pub fn inherit_or_listen(
    address: SocketAddr,
    workers: usize,
    key: &str,
) -> anyhow::Result<Listening> {
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
            let share = || {
                listener.set_nonblocking(true)?;
                (0..workers).map(|_| listener.try_clone()).collect()
            };
            let listeners: io::Result<_> = share();
            let listeners = listeners.context("use the socket of the service manager")?;
            Ok(Listening { listeners, is_inherited: true })
        }
        None => {
            Ok(Listening { listeners: listen_shared(address, workers, key)?, is_inherited: false })
        }
    }
}

/// Opens a listening socket that may follow a predecessor at once and queues a crowd.
///
/// # Errors
/// With the address and the key that chose it.
pub fn listen(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let open = || start(bind(address, false)?);
    open().with_context(|| format!("listen on {address} (key `{key}`)"))
}

/// Opens so many sockets at one address, among which the kernel distributes new connections.
fn listen_shared(address: SocketAddr, count: usize, key: &str) -> anyhow::Result<Vec<TcpListener>> {
    if count == 1 {
        return Ok(vec![listen(address, key)?]);
    }
    let open = || {
        // Sockets that share an address do not notice those of another program that shares it too.
        let alone = bind(address, false)?.local_addr()?;
        let address = alone.as_socket().unwrap_or(address);
        (0..count).map(|_| start(bind(address, true)?)).collect()
    };
    let listeners: io::Result<_> = open();
    listeners.with_context(|| format!("listen on {address} (key `{key}`)"))
}

fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn start(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_that_no_other_program_gets() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = listen_shared(any, 3, "pixel.listen").unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|listener| listener.local_addr().unwrap() == address));
        for workers in [1, 2] {
            let error = listen_shared(address, workers, "pixel.listen").unwrap_err();
            assert!(error.to_string().contains("key `pixel.listen`"), "{error:#}");
        }
    }
}

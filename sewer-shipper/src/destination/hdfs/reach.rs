//! Why no `NameNode` could be talked to, found out by trying: the client says neither which host it
//! asked nor what was wrong with it.
//!
//! Tried only after a failure, and for a bounded time. Nothing is changed by it: a connection is
//! opened with the first bytes of Hadoop's protocol, and closed.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::namenodes::Namenodes;

/// How long each step of a trial may take.
const LIMIT: Duration = Duration::from_secs(2);

/// The first bytes of a connection to a `NameNode`: magic, version, service class, no SASL.
const HELLO: &[u8] = b"hrpc\x09\x00\x00";

/// What a trial came to.
#[derive(Debug)]
pub(super) enum Reach {
    /// The name cannot be looked up.
    NoSuchHost(io::Error),
    /// No connection comes about.
    NoConnection(io::Error),
    /// Neither a connection nor a refusal, in time.
    Silence,
    /// A web server.
    Web,
    /// It takes connections and waits for more, as a `NameNode` does.
    Open,
    /// It takes connections and ends them at once.
    Closes,
}

/// Trials of all `NameNodes`, by address, in their order.
#[derive(Debug)]
pub(super) struct Findings(Vec<(String, Reach)>);

impl Findings {
    /// Tries all of them, at the same time.
    pub(super) async fn of(namenodes: &[Namenodes], runtime: &Handle) -> Self {
        let addresses = namenodes.iter().flat_map(Namenodes::nodes).map(|node| &node.address);
        let mut trials = JoinSet::new();
        for (at, address) in addresses.cloned().enumerate() {
            trials.spawn_on(
                async move {
                    let reach = reach(&address).await;
                    (at, address, reach)
                },
                runtime,
            );
        }
        let mut found = Vec::new();
        while let Some(ended) = trials.join_next().await {
            // One that did not end found nothing.
            found.extend(ended.ok());
        }
        found.sort_by_key(|(at, ..)| *at);
        Self(found.into_iter().map(|(_, address, reach)| (address, reach)).collect())
    }

    /// Whether they explain why nobody could be talked to.
    pub(super) fn explain(&self) -> bool {
        !self.0.iter().any(|(_, reach)| matches!(reach, Reach::Open | Reach::Closes))
    }

    /// Whether only a person can help: all that was found is a server of another kind.
    pub(super) fn is_a_mistake(&self) -> bool {
        self.0.iter().all(|(_, reach)| matches!(reach, Reach::Web))
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (address, reach)) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{address}: ")?;
            match reach {
                Reach::NoSuchHost(error) => write!(f, "its name cannot be looked up ({error})")?,
                Reach::NoConnection(error) => write!(f, "no connection ({error})")?,
                Reach::Silence => write!(f, "no answer to a connection within {LIMIT:?}")?,
                Reach::Web => write!(
                    f,
                    "this port speaks HTTP; give the NameNode's RPC port, which is \
                     dfs.namenode.rpc-address in its configuration and mostly 8020"
                )?,
                Reach::Open => write!(f, "it takes connections")?,
                Reach::Closes => write!(f, "it ends connections at once")?,
            }
        }
        Ok(())
    }
}

async fn reach(address: &str) -> Reach {
    let found = match tokio::time::timeout(LIMIT, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => return Reach::NoSuchHost(error),
        Err(_) => return Reach::NoSuchHost(io::ErrorKind::TimedOut.into()),
    };
    let mut stream = match tokio::time::timeout(LIMIT, TcpStream::connect(&*found)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Reach::NoConnection(error),
        Err(_) => return Reach::Silence,
    };
    if let Err(error) = stream.write_all(HELLO).await {
        return Reach::NoConnection(error);
    }
    let mut answer = [0; 5];
    match tokio::time::timeout(LIMIT, stream.read_exact(&mut answer)).await {
        Ok(Ok(_)) if answer == *b"HTTP/" => Reach::Web,
        Ok(Ok(_)) | Err(_) => Reach::Open,
        Ok(Err(_)) => Reach::Closes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server for one connection that says something, or nothing, and waits for its end.
    fn server(answer: &'static [u8], waits: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody comes");
            let mut hello = [0; HELLO.len()];
            stream.read_exact(&mut hello).expect("and says hello");
            assert_eq!(hello, HELLO);
            stream.write_all(answer).expect("answer");
            if waits {
                let _ = stream.read(&mut hello);
            }
        });
        address
    }

    #[tokio::test]
    async fn what_is_behind_an_address_is_found_out() {
        assert!(matches!(reach(&server(b"HTTP/1.1 400 Bad Request", true)).await, Reach::Web));
        assert!(matches!(reach(&server(b"", true)).await, Reach::Open));
        assert!(matches!(reach(&server(b"", false)).await, Reach::Closes));
        let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let free = free.expect("it is closed again").to_string();
        assert!(matches!(reach(&free).await, Reach::NoConnection(_)));
        assert!(matches!(reach("no-such-host.invalid:8020").await, Reach::NoSuchHost(_)));
    }
}

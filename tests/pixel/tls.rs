//! HTTPS: the pixel port with a certificate, and with another one while it runs.

pub mod client;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sewer_test_support::http::Connection;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, StreamOwned,
};

use self::client::{Identity, client, connection, identity, session, sets, write};

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

const GET: &[u8] = b"GET /p HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn start(directory: &Path) -> Pixel {
    let sets = sets(directory);
    Pixel::started(BINARY, directory, &[&sets[0], &sets[1]])
}

/// A client that trusts one certificate and no other.
struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    fn connect(pixel: &Pixel, trusted: &CertificateDer<'static>) -> std::io::Result<Self> {
        Self::with(pixel, session(trusted, ALL_VERSIONS))
    }

    fn with(pixel: &Pixel, tls: ClientConnection) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(pixel.address())?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let mut stream = StreamOwned::new(tls, tcp);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self(stream))
    }

    /// The status line that a request gets.
    fn get(&mut self) -> std::io::Result<String> {
        self.0.write_all(GET)?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        Ok(head.lines().next().unwrap_or_default().to_owned())
    }
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content";

#[test]
fn a_certificate_that_changes_is_used_and_no_connection_notices() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (identity(), identity());
    write(directory.path(), &first);
    let pixel = start(directory.path());
    let mut old = Client::connect(&pixel, first.cert.der()).unwrap();
    assert_eq!(old.get().unwrap(), NO_CONTENT);
    assert!(Client::connect(&pixel, second.cert.der()).is_err(), "it is not there yet");

    write(directory.path(), &second);
    let is_used = || Client::connect(&pixel, second.cert.der()).is_ok();
    assert!(eventually(PATIENCE, is_used), "the new certificate");
    assert!(Client::connect(&pixel, first.cert.der()).is_err(), "the old one is gone");
    // Also after a rest, in which the connection has given up its buffers.
    for _ in 0..2 {
        assert_eq!(old.get().unwrap(), NO_CONTENT);
        std::thread::sleep(Duration::from_secs(1));
    }
    let mut new = Client::connect(&pixel, second.cert.der()).unwrap();
    assert_eq!(new.get().unwrap(), NO_CONTENT);
    assert_eq!(pixel.dump().len(), 4);
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let mut pixel = start(directory.path());
    fs::write(directory.path().join("cert.pem"), "nonsense").unwrap();
    let is_told = || pixel.process().log_tail().contains("the old one stays");
    assert!(eventually(PATIENCE, is_told));
    let log = pixel.process().log_tail();
    assert!(log.contains("cert.pem (key `pixel.tls.cert`): no certificate in PEM format"), "{log}");
    let mut client = Client::connect(&pixel, identity.cert.der()).unwrap();
    assert_eq!(client.get().unwrap(), NO_CONTENT);
}

#[test]
fn a_start_without_a_usable_certificate_names_file_and_key() {
    let (one, other) = (identity(), identity());
    let text = |identity: &Identity| (identity.cert.pem(), identity.signing_key.serialize_pem());
    let ((cert, key), (_, other_key)) = (text(&one), text(&other));
    for (cert, key, told) in [
        (None, Some(&key), "cert.pem (key `pixel.tls.cert`): No such file or directory"),
        (Some(&key), Some(&key), "cert.pem (key `pixel.tls.cert`): no certificate in PEM format"),
        (Some(&cert), Some(&cert), "key.pem (key `pixel.tls.key`): no private key in PEM format"),
        (
            Some(&cert),
            Some(&other_key),
            "key.pem (key `pixel.tls.key`): keys may not be consistent",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("cert.pem", cert), ("key.pem", key)] {
            if let Some(text) = text {
                fs::write(directory.path().join(name), text).unwrap();
            }
        }
        let sets = sets(directory.path());
        let mut pixel = Pixel::new(BINARY, directory.path(), &[&sets[0], &sets[1]]);
        pixel.start();
        assert_eq!(pixel.process().wait(PATIENCE), Some(1), "{told}");
        let log = pixel.process().log_tail();
        assert!(log.contains(told), "{told}: {log}");
    }
}

#[test]
fn a_certificate_that_cannot_be_read_to_its_end_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let mut pixel = start(directory.path());
    let path = directory.path().join("cert.pem");
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut writer = OpenOptions::new();
    writer.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
    let mut hangs = None;
    // That succeeds once there is a reader.
    assert!(eventually(PATIENCE, || {
        hangs = writer.open(&path).ok();
        hangs.is_some()
    }));
    let mut client = Client::connect(&pixel, identity.cert.der()).unwrap();
    assert_eq!(client.get().unwrap(), NO_CONTENT);
    pixel.stop();
    assert_eq!(pixel.dump().len(), 1);
}

#[test]
fn what_is_no_tls_is_closed_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let pixel = start(directory.path());
    let mut plain = Connection::open(&pixel.address()).unwrap();
    plain.send(GET).unwrap();
    let answer = plain.rest().unwrap();
    assert!(!answer.starts_with(b"HTTP"), "{}", answer.escape_ascii());
    let name = "sewer_pixel_connections_closed_total{reason=\"tls_handshake\"}";
    assert!(eventually(PATIENCE, || pixel.metrics().get(name) == Some(&1.0)));
    let mut client = Client::connect(&pixel, identity.cert.der()).unwrap();
    assert_eq!(client.get().unwrap(), NO_CONTENT);
    assert_eq!(pixel.dump().len(), 1);
}

#[test]
fn a_client_resumes_its_session_however_many_others_came_since() {
    let directory = tempfile::tempdir().unwrap();
    let identity = identity();
    write(directory.path(), &identity);
    let pixel = start(directory.path());
    let versions = [[&TLS12], [&TLS13]];
    let clients = versions.map(|version| client(identity.cert.der(), &version));
    let visit = |client: &Arc<ClientConfig>| {
        let mut visit = Client::with(&pixel, connection(client)).unwrap();
        assert_eq!(visit.get().unwrap(), NO_CONTENT);
        visit.0.conn.handshake_kind().unwrap()
    };
    for client in &clients {
        assert_eq!(visit(client), HandshakeKind::Full);
    }
    for _ in 0..300 {
        let other = client(identity.cert.der(), ALL_VERSIONS);
        assert_eq!(visit(&other), HandshakeKind::Full);
    }
    for client in &clients {
        assert_eq!(visit(client), HandshakeKind::Resumed, "{client:?}");
    }
}

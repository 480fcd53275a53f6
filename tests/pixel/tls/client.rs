//! Certificates for the pixel, and clients that trust them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
};

/// A certificate and its key.
pub type Identity = CertifiedKey<KeyPair>;

pub fn identity() -> Identity {
    generate_simple_self_signed(vec!["localhost".into()]).unwrap()
}

pub fn write(directory: &Path, identity: &Identity) {
    // One after the other, as most tools do: in between the two do not fit.
    fs::write(directory.join("cert.pem"), identity.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), identity.signing_key.serialize_pem()).unwrap();
}

pub fn sets(directory: &Path) -> [String; 2] {
    ["cert", "key"].map(|name| {
        format!("pixel.tls.{name}={}", directory.join(name).with_extension("pem").display())
    })
}

/// A client that trusts one certificate, speaks one of these versions and keeps its sessions.
pub fn client(
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    Arc::new(
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// A client's side of a connection.
pub fn connection(client: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::clone(client), name).unwrap()
}

/// The same of a new client.
pub fn session(
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConnection {
    connection(&client(trusted, versions))
}

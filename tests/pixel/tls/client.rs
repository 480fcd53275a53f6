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

/// A client's side of a connection that trusts one certificate and speaks one of these versions.
pub fn session(
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

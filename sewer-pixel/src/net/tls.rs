//! Certificate and key of the pixel port, read again when their files change.
//!
//! A change counts for connections that come after it; those that are open keep what they have. A
//! certificate that cannot be used changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use sewer_ops::periodic::Periodic;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config::TlsConfig;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why connections cannot be encrypted.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {} (key `{key}`): {source}", path.display())]
    Read {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} (key `{key}`): {problem}", path.display())]
    Content {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error(
        "{} (key `pixel.tls.cert`) cannot be used with {} (key `pixel.tls.key`): {source}",
        config.cert.display(), config.key.display()
    )]
    Pair {
        /// The files.
        config: TlsConfig,
        /// What the TLS library said.
        source: rustls::Error,
    },
}

const CERT_KEY: &str = "pixel.tls.cert";
const KEY_KEY: &str = "pixel.tls.key";

/// What tells that a file was replaced or written: size and time, if it is there.
type Stamp = Option<(u64, Option<SystemTime>)>;

/// Certificate and key as they are now.
#[derive(Debug)]
pub struct Tls {
    config: TlsConfig,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<[Stamp; 2]>,
}

impl Tls {
    /// Reads them.
    ///
    /// # Errors
    /// [`TlsError`], for the operator.
    pub fn load(config: &TlsConfig) -> Result<Arc<Self>, TlsError> {
        let seen = stamps(config);
        let current = RwLock::new(read(config)?);
        Ok(Arc::new(Self { config: config.clone(), current, seen: Mutex::new(seen) }))
    }

    /// Reads them again, whether they have changed or not.
    ///
    /// # Errors
    /// [`TlsError`]; everything is then as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.config);
        let new = read(&self.config)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// What makes connections encrypted.
    pub fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Whether the files are others than when they were last read.
    fn has_changed(&self) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != stamps(&self.config)
    }

    fn look(&self) {
        if !self.has_changed() {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!(cert = %self.config.cert.display(), "certificate replaced"),
            Err(error) => {
                tracing::warn!(%error, "the new certificate is not used, the old one stays");
            }
        }
    }
}

fn stamps(config: &TlsConfig) -> [Stamp; 2] {
    [&config.cert, &config.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    })
}

fn read(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let text = read_file(&config.cert, CERT_KEY)?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| content(&config.cert, CERT_KEY, &e))?;
    if chain.is_empty() {
        return Err(content(&config.cert, CERT_KEY, &pem::Error::NoItemsFound));
    }
    let text = read_file(&config.key, KEY_KEY)?;
    let key =
        PrivateKeyDer::from_pem_slice(&text).map_err(|e| content(&config.key, KEY_KEY, &e))?;
    let pair = |source| TlsError::Pair { config: config.clone(), source };
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    // The client keeps its session, in a ticket; a store here would forget all but the last few.
    server.ticketer = ring::Ticketer::new().map_err(pair)?;
    Ok(Arc::new(server))
}

fn read_file(path: &Path, key: &'static str) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
}

fn content(path: &Path, key: &'static str, error: &pem::Error) -> TlsError {
    let what = if key == CERT_KEY { "certificate" } else { "private key" };
    let problem = match error {
        pem::Error::NoItemsFound => format!("no {what} in PEM format is in it"),
        error => format!("no {what} in PEM format: {error}"),
    };
    TlsError::Content { key, path: path.to_owned(), problem }
}

/// The thread that looks at the files; it ends when this is dropped.
#[derive(Debug)]
pub struct TlsWatch {
    _thread: Periodic,
}

impl TlsWatch {
    /// Begins to look.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(tls: Arc<Tls>) -> std::io::Result<Self> {
        Ok(Self { _thread: Periodic::start("tls", INTERVAL, move || tls.look())? })
    }
}

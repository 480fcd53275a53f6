//! `privacy.ip`: what is recorded instead of the client's address.
//!
//! A hash is HMAC-SHA256 of the address's text, cut to 128 bits and written as 32 hex digits. Its
//! key changes with each period of `ip_key_rotation`, counted from the Unix epoch, so that the
//! events of one client join within a period and not beyond it.
//!
//! Without `ip_key_file` the key is random, in memory only, and overwritten when its period ends:
//! nobody can find the address any more, a restart begins another key, and no two nodes have the
//! same. With it the key of a period is HMAC-SHA256 of the period's number under the file's
//! content: restarts and nodes with the same file agree, and whoever has the file can try out all
//! addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::{IpRule, PrivacyConfig};
use crate::request::address::address;

/// The shortest secret that cannot be tried out.
const SECRET_BYTES_MIN: usize = 32;

/// A longer file is no secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The shortest period.
const ROTATION_MIN: Duration = Duration::from_secs(1);

/// What becomes of an address.
#[derive(Clone, Debug)]
pub enum AddressRule {
    /// It stays.
    Keep,
    /// Its network stays.
    Truncate,
    /// Its hash stays.
    Hash(Arc<Keys>),
}

impl AddressRule {
    /// The rule of a configuration.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &PrivacyConfig) -> Result<Self, String> {
        let rotation = config.ip_key_rotation;
        if rotation < ROTATION_MIN {
            return Err("key `privacy.ip_key_rotation`: must be at least 1s".into());
        }
        Ok(match config.ip {
            IpRule::Keep => Self::Keep,
            IpRule::Truncate => Self::Truncate,
            IpRule::Hash => {
                let secret = config.ip_key_file.as_deref().map(read_secret).transpose()?;
                Self::Hash(Arc::new(Keys { rotation, secret, current: Mutex::default() }))
            }
        })
    }

    /// Keeps the predecessor's in-memory key if this rule would only generate a new one.
    pub fn inherit_key_from(&mut self, before: &Self) {
        if let (Self::Hash(keys), Self::Hash(older)) = (&mut *self, before)
            && keys.secret.is_none()
            && older.secret.is_none()
            && keys.rotation == older.rotation
        {
            *keys = Arc::clone(older);
        }
    }

    /// What is recorded of an address; of a text that is no address, nothing, unless all is kept.
    pub fn apply<'a>(
        &self,
        address: &'a [u8],
        timestamp_ms: i64,
        text: &'a mut String,
    ) -> Option<&'a [u8]> {
        match self {
            Self::Keep => return Some(address),
            Self::Truncate => *text = network(ip(address)?).to_string(),
            Self::Hash(keys) => keys.hash(ip(address)?, timestamp_ms, text),
        }
        Some(text.as_bytes())
    }
}

fn ip(text: &[u8]) -> Option<IpAddr> {
    address(text).map(|(_, ip)| ip)
}

/// The /24 of an IPv4 address, the /48 of an IPv6 one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 80)).into(),
    }
}

/// The keys of the periods, one at a time.
pub struct Keys {
    rotation: Duration,
    secret: Option<Vec<u8>>,
    current: Mutex<Option<(i64, Hmac<Sha256>)>>,
}

impl std::fmt::Debug for Keys {
    /// Tells no key.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("rotation", &self.rotation).finish_non_exhaustive()
    }
}

impl Keys {
    fn hash(&self, address: IpAddr, timestamp_ms: i64, text: &mut String) {
        use std::fmt::Write;
        let rotation_ms = i64::try_from(self.rotation.as_millis()).unwrap_or(i64::MAX);
        let mut hmac = self.of_period(timestamp_ms.div_euclid(rotation_ms));
        hmac.update(address.to_string().as_bytes());
        for byte in &hmac.finalize().into_bytes()[..16] {
            write!(text, "{byte:02x}").expect("a string takes all");
        }
    }

    /// The key of a period, ready to use. An event that was late for the last period gets the key
    /// of this one. A clock that was years ahead and is right again does not keep its key.
    fn of_period(&self, period: i64) -> Hmac<Sha256> {
        // A panic cannot come between the parts of a change here.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((of, hmac)) if *of == period || *of == period + 1 => hmac.clone(),
            _ => {
                let hmac = self.make(period);
                *current = Some((period, hmac.clone()));
                hmac
            }
        }
    }

    fn make(&self, period: i64) -> Hmac<Sha256> {
        match &self.secret {
            None => keyed(&rand::random::<[u8; 32]>()),
            Some(secret) => {
                let mut hmac = keyed(secret);
                hmac.update(&period.to_be_bytes());
                keyed(&hmac.finalize().into_bytes())
            }
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let refuse = |why: String| {
        let path = path.display();
        Err(format!(
            "key `privacy.ip_key_file`: {path}: {why}; make it by \
             `head -c 32 /dev/urandom > {path}`"
        ))
    };
    match fs::metadata(path) {
        Ok(found) if found.len() > SECRET_BYTES_MAX => {
            return refuse(format!("over {SECRET_BYTES_MAX} bytes"));
        }
        Ok(_) => {}
        Err(error) => return refuse(error.to_string()),
    }
    match fs::read(path) {
        Ok(secret) if secret.len() < SECRET_BYTES_MIN => {
            refuse(format!("under {SECRET_BYTES_MIN} bytes"))
        }
        Ok(secret) => Ok(secret),
        Err(error) => refuse(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn rule(text: &str) -> AddressRule {
        AddressRule::new(&toml::from_str(text).unwrap()).unwrap()
    }

    fn applied(rule: &AddressRule, address: &str, timestamp_ms: i64) -> Option<String> {
        let mut text = String::new();
        let left = rule.apply(address.as_bytes(), timestamp_ms, &mut text)?;
        Some(String::from_utf8(left.to_vec()).unwrap())
    }

    #[test]
    fn a_truncated_address_is_its_network() {
        let rule = rule("ip = \"truncate\"");
        for (address, network) in [
            ("203.0.113.77", Some("203.0.113.0")),
            ("203.0.113.77:4711", Some("203.0.113.0")),
            ("::ffff:203.0.113.77", Some("203.0.113.0")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::")),
            ("[2001:db8:1:2:3:4:5:6]:80", Some("2001:db8:1::")),
            ("[2001:db8:1:2:3:4:5:6]", Some("2001:db8:1::")),
            ("unknown", None),
            ("", None),
        ] {
            assert_eq!(applied(&rule, address, 0).as_deref(), network, "{address}");
        }
    }

    #[test]
    fn a_hash_joins_the_events_of_a_client_within_a_period_and_not_beyond() {
        let rule = rule("ip = \"hash\"");
        let hash = |address, at| applied(&rule, address, at).unwrap();
        let first = hash("203.0.113.77", 0);
        assert_eq!(first.len(), 32);
        assert_eq!(hash("203.0.113.77:80", DAY_MS - 1), first);
        assert_ne!(hash("203.0.113.78", DAY_MS - 1), first);
        assert_ne!(hash("203.0.113.77", DAY_MS), first);
        assert_ne!(hash("203.0.113.77", 0), first, "the key of the first day is gone");
        assert_eq!(applied(&rule, "unknown", 0), None);
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_no_key_that_is_never_replaced() {
        let rule = rule("ip = \"hash\"");
        let hash = |day: i64| applied(&rule, "203.0.113.77", day * DAY_MS).unwrap();
        let ahead = hash(30_000);
        let today = hash(20_000);
        assert_ne!(today, ahead);
        assert_ne!(hash(20_001), today);
    }

    #[test]
    fn a_key_in_memory_outlives_a_reload_and_no_restart() {
        let before = rule("ip = \"hash\"");
        let first = applied(&before, "::1", 0);
        let mut after = rule("ip = \"hash\"");
        assert_ne!(applied(&after, "::1", 0), first);
        after.inherit_key_from(&before);
        assert_eq!(applied(&after, "::1", 0), first);
    }

    #[test]
    fn a_key_from_a_file_is_pinned() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [b'k'; 32]).unwrap();
        let text = format!("ip = \"hash\"\nip_key_file = \"{}\"", file.path().display());
        // HMAC-SHA256(HMAC-SHA256("k" * 32, the period in 8 bytes), "203.0.113.77")
        for (at, pinned) in [(0, PINNED_DAY_0), (DAY_MS, PINNED_DAY_1)] {
            assert_eq!(applied(&rule(&text), "203.0.113.77", at).as_deref(), Some(pinned));
        }
    }

    const PINNED_DAY_0: &str = "f3b1b21cdbbd77b52d203d9f49e4df32";
    const PINNED_DAY_1: &str = "ee2067bbc3b6917621e485859321edea";

    #[test]
    fn a_key_file_that_is_no_secret_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for path in [file.path(), Path::new("/no/such/key")] {
            let text = format!("ip = \"hash\"\nip_key_file = \"{}\"", path.display());
            let error = AddressRule::new(&toml::from_str(&text).unwrap()).unwrap_err();
            assert!(error.starts_with("key `privacy.ip_key_file`: "), "{error}");
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}

//! Which keys take new values while the pixel runs, and who takes them.
//!
//! Whoever reads [`Live`] configuration for each request has it with the next one; what needs more
//! than that, such as another file to be read, is a part of its own.

use std::sync::Arc;

use sewer_ops::access::Allowed;
use sewer_ops::logging::{LogConfig, LogLevel};
use sewer_ops::program::{Configuration, Sources};
use sewer_ops::reload::{Live, Reloader};

use crate::config::{Config, STANDARD_FILE};
use crate::policy::Policy;
use crate::policy::current::Policies;

/// The keys that are read from the live configuration whenever they are needed.
const LIVE: &[&str] =
    &["pixel.drain_delay", "status.any_path", "wal.min_free_bytes", "wal.max_bytes"];

/// The keys of the [`Policy`].
const POLICY: &[&str] = &[
    "pixel.max_body_bytes",
    "pixel.ack",
    "pixel.trusted_proxies",
    "pixel.forwarded_headers",
    "pixel.client_ip",
    "pixel.response",
    "pixel.well_known",
    "pixel.route",
    "cors",
    "event",
    "privacy",
    "cookie",
    "wal.on_full",
];

impl Configuration for Config {
    const STANDARD_FILE: &'static str = STANDARD_FILE;

    fn validated(self) -> Result<Self, String> {
        self.validate()?;
        Policy::new(&self)?;
        Ok(self)
    }

    fn log(&self) -> &LogConfig {
        &self.log
    }
}

/// A reloader with the parts that need nothing but the configuration.
pub fn reloader(
    sources: Sources,
    live: &Arc<Live<Config>>,
    policies: &Arc<Policies>,
    [allowed, proxies]: [&Allowed; 2],
    log: LogLevel,
) -> Reloader<Config> {
    let mut reloader = Reloader::new(sources, (*live.get()).clone(), log);
    let live = Arc::clone(live);
    reloader.part(LIVE, move |config| {
        let (live, config) = (Arc::clone(&live), config.clone());
        Ok(Box::new(move || live.set(config)))
    });
    let policies = Arc::clone(policies);
    reloader.part(POLICY, move |config| {
        let (policies, policy) = (Arc::clone(&policies), Policy::new(config)?);
        Ok(Box::new(move || policies.replace(policy)))
    });
    let (allowed, proxies) = (allowed.clone(), proxies.clone());
    reloader.part(&["status.allow"], move |config| {
        let (allowed, proxies) = (allowed.clone(), proxies.clone());
        let networks = (config.status.allow.clone(), config.pixel.trusted_proxies.clone());
        Ok(Box::new(move || {
            allowed.set(networks.0);
            proxies.set(networks.1);
        }))
    });
    reloader
}

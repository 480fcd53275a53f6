//! Who may see the figures of a daemon.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::reload::Live;

/// Loopback and the private ranges: what a network keeps for itself.
///
/// # Panics
/// Never: the networks are constants.
#[must_use]
pub fn private_networks() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
        .iter()
        .map(|net| net.parse().expect("the built-in networks are well-formed"))
        .collect()
}

/// The networks of `status.allow`, which can change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Allowed(Arc<Live<Vec<IpNet>>>);

impl Allowed {
    /// Allows these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(Arc::new(Live::new(networks)))
    }

    /// Allows these networks from now on, and no other.
    pub fn set(&self, networks: Vec<IpNet>) {
        self.0.set(networks);
    }

    /// Whether a peer may see them; an IPv4 address in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.get().iter().any(|network| network.contains(&peer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_allowed_by_default_and_nothing_else() {
        let allowed = Allowed::new(private_networks());
        for (peer, is_allowed) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:10.1.2.3", true),
            ("172.31.255.255", true),
            ("fd00::1", true),
            ("172.32.0.1", false),
            ("::ffff:8.8.8.8", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(allowed.contains(peer.parse().unwrap()), is_allowed, "{peer}");
        }
        allowed.set(Vec::new());
        assert!(!allowed.contains("127.0.0.1".parse().unwrap()));
    }
}

//! `[event]`, `[privacy]` and `[cookie]`: what of a request is recorded.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[event]`: fields beside the eight, and requests that are not recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventConfig {
    /// Whether the method is recorded, as `method`.
    pub method: bool,
    /// Whether the scheme is recorded, as `scheme`.
    pub scheme: bool,
    /// Whether each event gets a UUID of version 7, as `uuid`.
    pub uuid: bool,
    /// Headers that are recorded, each as a field of its own name.
    pub extra_headers: Vec<String>,
    /// Fields that every event carries.
    #[serde(rename = "static", skip_serializing_if = "BTreeMap::is_empty")]
    pub fixed: BTreeMap<String, String>,
    /// `[[event.drop]]`: which requests are answered and not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drop: Vec<DropConfig>,
}

/// One `[[event.drop]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropConfig {
    /// The field that is looked at.
    pub field: String,
    /// A regular expression that matches somewhere in it.
    pub regex: String,
}

/// `[privacy]`: what is left out of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// What `DNT: 1` does.
    pub honour_dnt: Honour,
    /// What `Sec-GPC: 1` does.
    pub honour_gpc: Honour,
    /// What becomes of the client's address.
    pub ip: IpRule,
    /// Where the key of `ip = "hash"` is; without it the key is in memory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_key_file: Option<PathBuf>,
    /// How long `ip = "hash"` uses one key.
    #[serde(with = "humantime_serde")]
    pub ip_key_rotation: Duration,
    /// The cookies that are recorded; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookies: Option<Vec<String>>,
}

impl Default for PrivacyConfig {
    fn default() -> Self {
        Self {
            honour_dnt: Honour::default(),
            honour_gpc: Honour::default(),
            ip: IpRule::default(),
            ip_key_file: None,
            ip_key_rotation: Duration::from_hours(24),
            cookies: None,
        }
    }
}

/// What a browser's wish not to be tracked does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Honour {
    /// Nothing.
    #[default]
    Off,
    /// The event has no ip, cookies, referer, visitor or extra header.
    Anonymous,
    /// The request is answered and not recorded.
    Skip,
}

/// What becomes of the client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpRule {
    /// It is recorded.
    #[default]
    Keep,
    /// Its network is recorded: /24 of IPv4, /48 of IPv6.
    Truncate,
    /// A keyed hash of it is recorded.
    Hash,
}

/// `[cookie]`: a cookie that tells one visitor from another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CookieConfig {
    /// Its name; without one, no cookie is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long the browser keeps it.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// The domain that it is for; without one, the host of the request alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Whether the browser sends it over TLS only.
    pub secure: bool,
    /// Whether the browser sends it with requests from other sites.
    pub same_site: SameSite,
}

impl Default for CookieConfig {
    fn default() -> Self {
        Self {
            name: None,
            max_age: Duration::from_hours(365 * 24),
            domain: None,
            secure: false,
            same_site: SameSite::default(),
        }
    }
}

/// `cookie.same_site`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Never from other sites.
    Strict,
    /// From other sites only when their link is followed.
    #[default]
    Lax,
    /// Always; browsers ask for `secure` then.
    None,
}

//! `[[pixel.route]]` and `[cors]`: what requests are answered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// When a request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// When its event is on stable storage.
    #[default]
    Durable,
    /// When its event waits for the disk: a crash loses it.
    Received,
}

/// What a recorded request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// 204 without a body.
    #[default]
    #[serde(rename = "204")]
    NoContent,
    /// 200 with a transparent GIF of one pixel.
    #[serde(rename = "gif")]
    Gif,
}

/// Whether and how the body of a request is recorded: `true`, `false` or `"decoded"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyRule {
    /// It is not.
    #[default]
    Dropped,
    /// As it came.
    Raw,
    /// Without its Content-Encoding, if that is gzip or deflate.
    Decoded,
}

impl Serialize for BodyRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Dropped => serializer.serialize_bool(false),
            Self::Raw => serializer.serialize_bool(true),
            Self::Decoded => serializer.serialize_str("decoded"),
        }
    }
}

impl<'de> Deserialize<'de> for BodyRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = BodyRule;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or \"decoded\"")
            }

            fn visit_bool<E: Error>(self, is_recorded: bool) -> Result<BodyRule, E> {
                Ok(if is_recorded { BodyRule::Raw } else { BodyRule::Dropped })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<BodyRule, E> {
                match text {
                    "decoded" => Ok(BodyRule::Decoded),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// One `[[pixel.route]]`: what is different for the paths that begin with `prefix`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The beginning of the paths that this is for; of several that match, the longest counts.
    pub prefix: String,
    /// What is answered, if not `pixel.response`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Whether the requests are recorded.
    #[serde(default = "yes")]
    pub log: bool,
    /// When a request is answered, if not as `pixel.ack` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// Whether and how the body is recorded, as the field `body`.
    #[serde(default)]
    pub body: BodyRule,
    /// Fields that every event of this route carries, over those of `event.static`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

const fn yes() -> bool {
    true
}

/// `[cors]`: which pages may read the answer, or send what browsers ask about beforehand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Their origins.
    pub allow_origin: AllowOrigin,
    /// Whether their requests may carry cookies.
    pub allow_credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            allow_origin: AllowOrigin::default(),
            allow_credentials: false,
            max_age: Duration::from_hours(1),
        }
    }
}

/// `cors.allow_origin`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// These; with none, no answer has a CORS header.
    These(Vec<String>),
    /// `"*"`: all, without cookies.
    Any,
    /// `"reflect"`: all, each by its name.
    Reflect,
}

impl Default for AllowOrigin {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Serialize for AllowOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::These(origins) => origins.serialize(serializer),
            Self::Any => serializer.serialize_str("*"),
            Self::Reflect => serializer.serialize_str("reflect"),
        }
    }
}

impl<'de> Deserialize<'de> for AllowOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = AllowOrigin;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"*\", \"reflect\" or a list of origins")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AllowOrigin, E> {
                Ok(match text {
                    "*" => AllowOrigin::Any,
                    "reflect" => AllowOrigin::Reflect,
                    origin => AllowOrigin::These(vec![origin.to_owned()]),
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AllowOrigin, A::Error> {
                let mut origins = Vec::new();
                while let Some(origin) = list.next_element()? {
                    origins.push(origin);
                }
                Ok(AllowOrigin::These(origins))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

//! Who sent a request: `pixel.forwarded_headers` and `pixel.client_ip`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which headers of a trusted proxy tell the client, the host and the scheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeaders {
    /// X-Forwarded-* if there is one of them, else Forwarded.
    #[default]
    Any,
    /// X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto only.
    XForwarded,
    /// Forwarded (RFC 7239) only.
    Forwarded,
}

/// Where the client's address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientIp {
    /// In the forwarded headers: the entry nearest to the pixel that is not a trusted proxy's.
    #[default]
    Nearest,
    /// In the forwarded headers: the first entry, whoever wrote it.
    First,
    /// In the header of this name, in lower case.
    Header(String),
}

impl Serialize for ClientIp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Nearest => "nearest",
            Self::First => "first",
            Self::Header(name) => name,
        })
    }
}

impl<'de> Deserialize<'de> for ClientIp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "nearest" => Ok(Self::Nearest),
            "first" => Ok(Self::First),
            // A single word is rather a typing error than a header.
            name if is_header_name(name) && name.contains('-') => {
                Ok(Self::Header(name.to_ascii_lowercase()))
            }
            _ => Err(D::Error::custom(format!(
                "\"{text}\" is none of \"nearest\", \"first\" and the name of a header such as \
                 \"cf-connecting-ip\""
            ))),
        }
    }
}

/// Whether a text can be the name of a header.
pub fn is_header_name(text: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token)
}

//! The fields that an event carries beside its eight.
//!
//! No two of them have the same name, and none has the name of what every event has; so each output
//! can put them side by side.

use std::collections::BTreeSet;

use sewer_wal::event::{BODY, BODY_BASE64, FIELD_NAMES};

use super::routes::Routes;
use crate::config::{BodyRule, ClientIp, Config, IpRule, is_header_name};
use crate::request::head::Head;

/// The field of the method.
pub const METHOD: &str = "method";
/// The field of the scheme.
pub const SCHEME: &str = "scheme";
/// The field of the encoding that a body is in.
pub const CONTENT_ENCODING: &str = "content_encoding";
/// The field of the visitor's cookie.
pub const VISITOR: &str = "visitor";
/// The field of the event's own name.
pub const UUID: &str = "uuid";

/// What the outputs put beside the fields of an event.
const RESERVED: [&str; 3] = ["timestamp", "lsn", "sort_hash"];

/// Headers in which proxies pass on the client's address.
const ADDRESS_HEADERS: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

/// Which fields are recorded.
#[derive(Debug)]
pub struct Fields {
    /// Whether the method is.
    pub method: bool,
    /// Whether the scheme is.
    pub scheme: bool,
    /// Whether each event gets a UUID.
    pub uuid: bool,
    headers: Box<[String]>,
}

impl Fields {
    /// The fields of a configuration.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &Config) -> Result<Self, String> {
        let event = &config.event;
        let headers = event.extra_headers.iter().map(|name| header(name, config));
        Ok(Self {
            method: event.method,
            scheme: event.scheme,
            uuid: event.uuid,
            headers: headers.collect::<Result<_, _>>()?,
        })
    }

    /// Adds the headers that the request has, the first of each name.
    pub fn push_headers<'a>(&'a self, head: &Head<'a>, extra: &mut Vec<(&'a str, &'a [u8])>) {
        for name in &self.headers {
            if let Some(value) = head.headers.get(name) {
                extra.push((name, value));
            }
        }
    }

    /// Whether a field is a header of the request.
    pub fn is_header(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header == name)
    }

    /// The name of every field that an event can have.
    ///
    /// # Errors
    /// One line that names the key whose field is there already.
    pub fn names(&self, config: &Config, routes: &Routes) -> Result<BTreeSet<String>, String> {
        let mut names = Names(RESERVED.iter().chain(&FIELD_NAMES).map(|&n| n.to_owned()).collect());
        let has_body = routes.iter().any(|route| route.body != BodyRule::Dropped);
        for (is_recorded, name, key) in [
            (self.method, METHOD, "event.method"),
            (self.scheme, SCHEME, "event.scheme"),
            (self.uuid, UUID, "event.uuid"),
            (has_body, BODY, "pixel.route.body"),
            (has_body, BODY_BASE64, "pixel.route.body"),
            (has_body, CONTENT_ENCODING, "pixel.route.body"),
            (config.cookie.name.is_some(), VISITOR, "cookie.name"),
        ] {
            if is_recorded {
                names.add(name, key)?;
            }
        }
        for header in &self.headers {
            names.add(header, "event.extra_headers")?;
        }
        let mut of_routes = BTreeSet::new();
        for name in config.event.fixed.keys() {
            names.add(name, "event.static")?;
            of_routes.insert(name.clone());
        }
        for name in config.pixel.route.iter().flat_map(|route| route.fields.keys()) {
            // Several routes may have the same field, each with its own value.
            if of_routes.insert(name.clone()) {
                names.add(name, "pixel.route.fields")?;
            }
        }
        let mut names = names.0;
        for name in RESERVED {
            names.remove(name);
        }
        Ok(names)
    }
}

/// The names so far.
struct Names(BTreeSet<String>);

impl Names {
    fn add(&mut self, name: &str, key: &str) -> Result<(), String> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            return Err(format!("key `{key}`: \"{name}\" is no name of 1 to 64 characters"));
        }
        if !self.0.insert(name.to_owned()) {
            return Err(format!("key `{key}`: an event has another field \"{name}\" already"));
        }
        Ok(())
    }
}

fn header(text: &str, config: &Config) -> Result<String, String> {
    let refuse = |why: &str| Err(format!("key `event.extra_headers`: \"{text}\" {why}"));
    if !is_header_name(text) {
        return refuse("is no name of a header");
    }
    let name = text.to_ascii_lowercase();
    if ["host", "referer", "user-agent", "cookie"].contains(&name.as_str()) {
        return refuse("is one of the eight fields already");
    }
    let has_address = ADDRESS_HEADERS.contains(&name.as_str())
        || matches!(&config.pixel.client_ip, ClientIp::Header(of) if *of == name);
    if config.privacy.ip != IpRule::Keep && has_address {
        return refuse("has the address that `privacy.ip` takes away");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let config: Config = toml::from_str(text).unwrap();
        let (fields, routes) = (Fields::new(&config)?, Routes::new(&config)?);
        let names = fields.names(&config, &routes)?;
        Ok(names.into_iter().filter(|name| !FIELD_NAMES.contains(&name.as_str())).collect())
    }

    #[test]
    fn every_field_that_can_be_recorded_is_known() {
        let text = "[event]\nmethod = true\nuuid = true\nextra_headers = [\"DNT\"]\n\
            [event.static]\ndc = \"ams\"\n[cookie]\nname = \"v\"\n\
            [[pixel.route]]\nprefix = \"/a\"\nbody = true\nfields = { dc = \"x\", a = \"1\" }\n\
            [[pixel.route]]\nprefix = \"/b\"\nfields = { a = \"2\" }\n";
        assert_eq!(
            names(text).unwrap(),
            [
                "a",
                "body",
                "body_base64",
                "content_encoding",
                "dc",
                "dnt",
                "method",
                "uuid",
                "visitor"
            ]
        );
        assert_eq!(names("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn no_field_takes_the_name_of_another() {
        for (key, text) in [
            ("event.static", "[event.static]\nip = \"x\"\n"),
            ("event.static", "[event.static]\ntimestamp = \"x\"\n"),
            ("event.static", "[event]\nmethod = true\n[event.static]\nmethod = \"x\"\n"),
            ("event.static", "[event.static]\n\"\" = \"x\"\n"),
            ("event.extra_headers", "[event]\nextra_headers = [\"cookie\"]\n"),
            ("event.extra_headers", "[event]\nextra_headers = [\"Referer\"]\n"),
            ("event.extra_headers", "[event]\nextra_headers = [\"ip\"]\n"),
            ("event.extra_headers", "[event]\nextra_headers = [\"dnt\", \"DNT\"]\n"),
            ("event.extra_headers", "[event]\nextra_headers = [\"no header\"]\n"),
            (
                "event.extra_headers",
                "[privacy]\nip = \"hash\"\n[event]\nextra_headers = [\"X-Real-IP\"]\n",
            ),
            ("pixel.route.fields", "[[pixel.route]]\nprefix = \"/\"\nfields = { host = \"x\" }\n"),
        ] {
            let error = names(text).unwrap_err();
            assert!(error.starts_with(&format!("key `{key}`: ")), "{text}{error}");
        }
    }
}

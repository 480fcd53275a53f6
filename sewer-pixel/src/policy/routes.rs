//! Which rules a path is under: the longest prefix that it begins with decides.

use std::cmp::Reverse;

use super::answer::{Content, Unrecorded};
use crate::config::{Ack, BodyRule, Config, Response, RouteConfig};

/// What holds for the paths that begin with a prefix.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    prefix: Box<str>,
    /// Whether only this path is meant, and none that goes on after it.
    is_exact: bool,
    /// What is answered.
    pub content: Content,
    /// Why the requests are not recorded, if they are not.
    pub unrecorded: Option<Unrecorded>,
    /// When the answer is sent.
    pub ack: Ack,
    /// Whether and how the body is recorded.
    pub body: BodyRule,
    /// The names and values that every event carries: those of `event.static`, and over them those
    /// of the route.
    pub fields: Box<[(String, String)]>,
}

/// All routes, the longest prefix first; the last is for every path.
#[derive(Debug)]
pub struct Routes(Box<[Route]>);

impl Routes {
    /// The routes of a configuration.
    ///
    /// # Errors
    /// One line that names the key.
    pub fn new(config: &Config) -> Result<Self, String> {
        let every_path = RouteConfig {
            prefix: String::new(),
            response: None,
            log: true,
            ack: None,
            body: BodyRule::Dropped,
            fields: std::collections::BTreeMap::new(),
        };
        let mut routes = vec![Route::new(&every_path, config)];
        for route in &config.pixel.route {
            let prefix = &route.prefix;
            if !prefix.starts_with('/') {
                return Err(format!("key `pixel.route.prefix`: \"{prefix}\" must begin with /"));
            }
            if routes.iter().any(|other| *other.prefix == **prefix) {
                return Err(format!("key `pixel.route.prefix`: \"{prefix}\" is there twice"));
            }
            routes.push(Route::new(route, config));
        }
        if config.pixel.well_known {
            add_well_known(&mut routes);
        }
        routes.sort_by_key(|route| Reverse(route.prefix.len()));
        Ok(Self(routes.into()))
    }

    /// The route of a path.
    pub fn find(&self, path: &[u8]) -> &Route {
        let found = self.0.iter().find(|route| {
            path.strip_prefix(route.prefix.as_bytes())
                .is_some_and(|rest| rest.is_empty() || !route.is_exact)
        });
        found.expect("the last route is for every path")
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

impl Route {
    fn new(route: &RouteConfig, config: &Config) -> Self {
        let mut fields = config.event.fixed.clone();
        fields.extend(route.fields.clone());
        Self {
            prefix: route.prefix.as_str().into(),
            is_exact: false,
            content: match route.response.unwrap_or(config.pixel.response) {
                Response::NoContent => Content::Nothing,
                Response::Gif => Content::Gif,
            },
            unrecorded: (!route.log).then_some(Unrecorded::Route),
            ack: route.ack.unwrap_or(config.pixel.ack),
            body: route.body,
            fields: fields.into_iter().collect(),
        }
    }
}

/// Adds the well-known files for which the operator has no route.
fn add_well_known(routes: &mut Vec<Route>) {
    for (path, content) in [
        ("/robots.txt", Content::Robots),
        ("/favicon.ico", Content::NoIcon),
        ("/crossdomain.xml", Content::CrossDomain),
    ] {
        if routes.iter().all(|route| &*route.prefix != path) {
            routes.push(Route {
                prefix: path.into(),
                is_exact: true,
                content,
                unrecorded: Some(Unrecorded::WellKnown),
                ack: Ack::Received,
                body: BodyRule::Dropped,
                fields: Box::default(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(text: &str) -> Result<Routes, String> {
        Routes::new(&toml::from_str(text).unwrap())
    }

    #[test]
    fn the_longest_prefix_decides_wherever_it_stands() {
        let routes = routes(
            "[[pixel.route]]\nprefix = \"/a\"\nfields = { at = \"a\" }\n\
             [[pixel.route]]\nprefix = \"/a/b\"\nfields = { at = \"a/b\" }\n\
             [[pixel.route]]\nprefix = \"/\"\nfields = { at = \"/\" }\n",
        )
        .unwrap();
        for (path, at) in [
            ("/a/b/c", Some("a/b")),
            ("/a/b", Some("a/b")),
            ("/a/", Some("a")),
            ("/ab", Some("a")),
            ("/A", Some("/")),
            ("*", None),
        ] {
            let found =
                routes.find(path.as_bytes()).fields.first().map(|(_, value)| value.as_str());
            assert_eq!(found, at, "{path}");
        }
    }

    #[test]
    fn a_route_of_a_well_known_name_takes_its_place_and_a_shorter_one_does_not() {
        let routes =
            routes("[[pixel.route]]\nprefix = \"/\"\n[[pixel.route]]\nprefix = \"/robots.txt\"\n")
                .unwrap();
        assert_eq!(routes.find(b"/robots.txt").unrecorded, None);
        assert_eq!(routes.find(b"/favicon.ico").unrecorded, Some(Unrecorded::WellKnown));
        assert_eq!(routes.find(b"/favicon.icon").unrecorded, None);
    }

    #[test]
    fn without_well_known_every_path_is_a_pixel() {
        let routes = routes("[pixel]\nwell_known = false\n").unwrap();
        assert_eq!(routes.find(b"/robots.txt").unrecorded, None);
    }

    #[test]
    fn fields_of_a_route_go_before_those_of_every_event() {
        let routes = routes(
            "[event.static]\na = \"1\"\nb = \"1\"\n\
             [[pixel.route]]\nprefix = \"/x\"\nfields = { b = \"2\", c = \"2\" }\n",
        )
        .unwrap();
        let fields = |path: &str| format!("{:?}", routes.find(path.as_bytes()).fields);
        assert_eq!(fields("/"), "[(\"a\", \"1\"), (\"b\", \"1\")]");
        assert_eq!(fields("/x"), "[(\"a\", \"1\"), (\"b\", \"2\"), (\"c\", \"2\")]");
    }

    #[test]
    fn prefixes_are_paths_and_each_is_there_once() {
        for text in [
            "[[pixel.route]]\nprefix = \"\"\n",
            "[[pixel.route]]\nprefix = \"x\"\n",
            "[[pixel.route]]\nprefix = \"/x\"\n[[pixel.route]]\nprefix = \"/x\"\n",
        ] {
            let error = routes(text).unwrap_err();
            assert!(error.starts_with("key `pixel.route.prefix`: "), "{error}");
        }
    }
}

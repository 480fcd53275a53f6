//! Who is asked: the `NameNodes` behind the authority of a URI, as Hadoop's configuration has them.
//!
//! An authority without a port is a name service if the configuration defines one of that name, and
//! otherwise a host, whose port is 8020.

use std::fmt;

use super::configuration::{Configuration, ConfigurationError};
use crate::destination::uri::host_and_port;

/// Ids of the `NameNodes` of a name service, with its name behind it.
pub(super) const IDS: &str = "dfs.ha.namenodes";
/// The address of a `NameNode`, with the name service and the id behind it.
pub(super) const RPC_ADDRESS: &str = "dfs.namenode.rpc-address";
const SERVICES: &str = "dfs.nameservices";

/// Hadoop's port where an address has none.
const PORT: u16 = 8020;

/// The `NameNodes` behind one authority, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namenodes {
    authority: String,
    nodes: Vec<Namenode>,
    /// Whether they are those of a name service, among which the client chooses.
    is_service: bool,
    /// Whether it was taken for a host because nothing says that it is a name service.
    is_guess: bool,
    without_address: Vec<String>,
}

/// One `NameNode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Namenode {
    /// What the configuration calls it, in a name service.
    pub(super) id: Option<String>,
    /// Host and port.
    pub(super) address: String,
}

impl Namenodes {
    /// Those of an authority; `rotation` says with which of several to begin.
    pub(super) fn of(
        authority: &str,
        configuration: &Configuration,
        rotation: usize,
    ) -> Result<Self, ConfigurationError> {
        let one = |address: String, is_guess| {
            let nodes = vec![Namenode { id: None, address }];
            let authority = authority.to_owned();
            Self { authority, nodes, is_service: false, is_guess, without_address: Vec::new() }
        };
        if let Some((_, Some(_))) = host_and_port(authority) {
            return Ok(one(authority.to_owned(), false));
        }
        let ids = format!("{IDS}.{authority}");
        let listed = list(configuration.trimmed(&ids)?.as_deref());
        if !listed.is_empty() {
            return Self::of_service(authority, &ids, listed, configuration, rotation);
        }
        let of_service = format!("{RPC_ADDRESS}.{authority}");
        if let Some(address) = address(configuration, &of_service)? {
            return Ok(one(address, false));
        }
        if list(configuration.trimmed(SERVICES)?.as_deref()).iter().any(|name| name == authority) {
            let file = file_of(configuration, SERVICES);
            return Err(ConfigurationError::Undefined(format!(
                "{SERVICES} in {file} has the name service {authority}, but neither {ids} with \
                 the ids of its NameNodes nor {of_service} is there: define it in hdfs-site.xml"
            )));
        }
        Ok(one(format!("{authority}:{PORT}"), true))
    }

    fn of_service(
        authority: &str,
        key: &str,
        ids: Vec<String>,
        configuration: &Configuration,
        rotation: usize,
    ) -> Result<Self, ConfigurationError> {
        let mut nodes = Vec::new();
        let mut without_address = Vec::new();
        for id in ids {
            match address(configuration, &format!("{RPC_ADDRESS}.{authority}.{id}"))? {
                Some(address) => nodes.push(Namenode { id: Some(id), address }),
                None => without_address.push(id),
            }
        }
        let first = rotation.checked_rem(nodes.len()).ok_or_else(|| {
            let file = file_of(configuration, key);
            ConfigurationError::Undefined(format!(
                "{key} in {file} has NameNodes, but {RPC_ADDRESS}.{authority}.{} is not there: \
                 set it to host:port",
                without_address.join(&format!(" or {RPC_ADDRESS}.{authority}."))
            ))
        })?;
        nodes.rotate_left(first);
        let authority = authority.to_owned();
        Ok(Self { authority, nodes, is_service: true, is_guess: false, without_address })
    }

    pub(super) fn nodes(&self) -> &[Namenode] {
        &self.nodes
    }

    /// The authority that the client is to be told, with the port that it does not know.
    pub(super) fn authority(&self) -> &str {
        if self.is_service { &self.authority } else { &self.nodes[0].address }
    }

    /// The name service, if it is one.
    pub(super) fn service(&self) -> Option<&str> {
        self.is_service.then_some(&*self.authority)
    }

    /// What was taken for a host though it may have been meant as a name service.
    pub(super) fn guess(&self) -> Option<&str> {
        self.is_guess.then_some(&*self.authority)
    }

    /// What delivery survives, for now: a `NameNode` that cannot be asked.
    pub(super) fn doubt(&self, configuration: &Configuration) -> Option<String> {
        let authority = &self.authority;
        let ids = self.without_address.join(" and ");
        (!ids.is_empty()).then(|| {
            let key = format!("{IDS}.{authority}");
            let file = file_of(configuration, &key);
            format!(
                "the NameNode {ids} of the name service {authority} ({key} in {file}) has no \
                 address and is never asked, not even when the others are down: set \
                 {RPC_ADDRESS}.{authority}.{} to host:port",
                self.without_address[0]
            )
        })
    }
}

impl fmt::Display for Namenodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.nodes.iter().enumerate() {
            let before = if at == 0 { "NameNode " } else { ", " };
            write!(f, "{before}{}", node.address)?;
        }
        match self.service() {
            Some(service) => write!(f, " of {service}"),
            None => Ok(()),
        }
    }
}

/// An address in the configuration, with its port.
fn address(configuration: &Configuration, key: &str) -> Result<Option<String>, ConfigurationError> {
    let Some(value) = configuration.trimmed(key)?.filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    // Hadoop takes a URI as well.
    let (_, authority) = value.split_once("://").unwrap_or(("", &value));
    let authority = authority.split('/').next().unwrap_or_default();
    match host_and_port(authority) {
        Some((_, Some(_))) => Ok(Some(authority.to_owned())),
        Some((host, None)) => Ok(Some(format!("{host}:{PORT}"))),
        None => {
            let file = file_of(configuration, key);
            Err(ConfigurationError::Undefined(format!("{key} in {file} is no host:port: {value}")))
        }
    }
}

fn file_of(configuration: &Configuration, key: &str) -> String {
    configuration.file_of(key).map_or_else(String::new, |file| file.display().to_string())
}

/// The names between commas, without the empty ones.
fn list(value: Option<&str>) -> Vec<String> {
    let names = value.unwrap_or_default().split(',').map(super::configuration::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

//! A Hadoop daemon's own view of its state, asked for over its HTTP port.
//!
//! An open port says only that a process listens; these answers say what it knows.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A daemon that takes longer is not ready: frozen, or still starting.
const TIMEOUT: Duration = Duration::from_secs(2);

/// One attribute set of the daemon at `address`; `None` while it does not answer.
pub fn bean(address: &str, name: &str) -> Option<Value> {
    let address: SocketAddr = address.parse().expect("an address made here");
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TIMEOUT)).ok()?;
    // HTTP/1.0: the answer ends with the connection and is not chunked.
    let request = format!("GET /jmx?qry=Hadoop:{name} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let mut body: Value = serde_json::from_str(body).ok()?;
    body.get_mut("beans")?.get_mut(0).map(Value::take)
}

/// The DataNodes (`address:port`) that can be written to, once the NameNode has left safe mode.
///
/// A registered DataNode that has not yet reported its disks has a capacity of 0 and is never
/// chosen for a block.
pub fn usable_datanodes(namenode: &str) -> Option<Vec<String>> {
    let info = bean(namenode, "service=NameNode,name=NameNodeInfo")?;
    if !info.get("Safemode")?.as_str()?.is_empty() {
        return None;
    }
    let live: Value = serde_json::from_str(info.get("LiveNodes")?.as_str()?).ok()?;
    let usable = live.as_object()?.values().filter(|node| node["capacity"].as_u64() > Some(0));
    Some(usable.filter_map(|node| Some(node["xferaddr"].as_str()?.to_owned())).collect())
}

/// Whether the DataNode says of itself that it is registered. The NameNode goes on listing one that
/// was killed a moment ago, so only the DataNode can tell that its new process is in service.
pub fn datanode_is_registered(datanode: &str) -> bool {
    let registered = || {
        let info = bean(datanode, "service=DataNode,name=DataNodeInfo")?;
        let Some(actors) = info.get("BPServiceActorInfo") else {
            // An old one tells only whose block pool it has joined.
            let pools: Value =
                serde_json::from_str(info.get("NamenodeAddresses")?.as_str()?).ok()?;
            return Some(pools.as_object()?.values().any(Value::is_string));
        };
        let actors: Value = serde_json::from_str(actors.as_str()?).ok()?;
        Some(actors.as_array()?.iter().any(|actor| actor["ActorState"] == "RUNNING"))
    };
    registered().unwrap_or(false)
}

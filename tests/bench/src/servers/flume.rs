//! Apache Flume: its HTTP source and its file channel, which is durable by default.

use std::fs;
use std::path::Path;

use sewer_test_support::http::Connection;
use sewer_test_support::ports;
use sewer_test_support::process::Process;

use super::{Left, READY_WAIT, Server, start};
use crate::settings::Settings;

/// More than its own start script gives it.
const JVM: [&str; 2] = ["-Xmx1g", "-Djava.net.preferIPv4Stack=true"];

/// One event, to see whether it is there.
const PROBE: &str = "[{\"headers\":{},\"body\":\"probe\"}]";

/// An agent.
#[derive(Debug)]
pub struct Flume<'a> {
    /// Its directory: configuration, log and channel.
    pub directory: &'a Path,
    /// Lines of configuration for the agent `a`, whose channel is `c`.
    pub conf: String,
    /// Jars and directories before its own on the classpath.
    pub classpath: Vec<String>,
    /// Further options of the JVM.
    pub options: Vec<String>,
    /// Whether it stays on the servers' core.
    pub pinned: bool,
}

impl Flume<'_> {
    /// Starts it, and waits for nothing.
    pub fn start(&self, settings: &Settings) -> Result<Process, String> {
        let lib = &settings.flume_lib;
        if fs::read_dir(lib).map_or(0, Iterator::count) == 0 {
            return Err(format!("no Flume jars in {}: run tests/bench/run", lib.display()));
        }
        let root = self.directory.display();
        let conf = format!(
            "a.channels = c\na.channels.c.type = file\n\
             a.channels.c.checkpointDir = {root}/checkpoint\na.channels.c.dataDirs = {root}/data\n{}",
            self.conf
        );
        let path = self.directory.join("flume.conf");
        fs::write(&path, conf).map_err(|e| format!("write {}: {e}", path.display()))?;
        let own = lib.join("*").display().to_string();
        let classpath = [self.classpath.clone(), vec![own]].concat().join(":");
        let mut command = vec!["java".to_owned()];
        command.extend(JVM.map(ToOwned::to_owned));
        command.extend(self.options.iter().cloned());
        command.extend(["-cp".to_owned(), classpath]);
        let main = ["org.apache.flume.node.Application", "-n", "a", "--no-reload-conf", "-f"];
        command.extend(main.map(ToOwned::to_owned));
        command.push(path.display().to_string());
        Ok(start(self.pinned, &command, &self.directory.join("flume.log")))
    }
}

/// The configuration of an HTTP source at an address.
pub fn http_source(port: u16) -> String {
    format!(
        "a.sources = s\na.sources.s.type = http\na.sources.s.bind = 127.0.0.1\n\
         a.sources.s.port = {port}\na.sources.s.channels = c\n"
    )
}

/// Posts events to an HTTP source, as an array of JSON; whether it has taken them.
pub fn post(connection: &mut Connection, events: &str) -> bool {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: flume\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        events.len()
    );
    // The answer is chunked; the connection's end is the end of it.
    let sent = connection.send((head + events).as_bytes()).and_then(|()| connection.rest());
    sent.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
}

/// Starts an agent on the servers' core whose channel is emptied into nothing.
pub fn flume(settings: &Settings, directory: &Path) -> Result<Server, String> {
    let port = ports::reserve();
    let sink = "a.sinks = k\na.sinks.k.type = null\na.sinks.k.channel = c\n";
    let conf = http_source(port.number()) + sink;
    let agent = Flume { directory, conf, classpath: vec![], options: vec![], pinned: true };
    let mut process = agent.start(settings)?;
    let address = port.address();
    process.wait_until("ready", READY_WAIT, || takes_events(&address));
    process.freeze();
    Ok(Server {
        label: "Flume, file channel",
        address,
        process,
        left: Left::Nothing,
        is_tls: false,
        is_held: true,
        is_flume: true,
        scripts: directory.to_owned(),
        _watch: None,
        _ports: vec![port],
    })
}

/// Whether an HTTP source is up.
pub fn takes_events(address: &str) -> bool {
    Connection::open(address).is_ok_and(|mut connection| post(&mut connection, PROBE))
}

//! nginx that answers 204, with the log that the pixel stands in for.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use sewer_test_support::watch::Watch;
use sewer_test_support::{http, ports};

use super::{Certificate, Left, READY_WAIT, Server, start};

/// Where the requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// To a file, through a buffer of 64 KB in memory.
    Buffered,
    /// To a file, at once.
    Unbuffered,
}

impl AccessLog {
    const fn label(self) -> &'static str {
        match self {
            Self::Off => "nginx, no log",
            Self::Buffered => "nginx, buffered log",
            Self::Unbuffered => "nginx, unbuffered log",
        }
    }
}

/// Starts nginx with so many workers, on the servers' core or on any. `directory` is its own.
pub fn nginx(directory: &Path, log: AccessLog, workers: usize, pinned: bool) -> Server {
    launch(directory, log, (workers, pinned), None)
}

/// The same with one worker on the servers' core and a buffered log, encrypted.
pub fn nginx_with_tls(directory: &Path, certificate: &Certificate) -> Server {
    launch(directory, AccessLog::Buffered, (1, true), Some(certificate))
}

fn launch(
    directory: &Path,
    log: AccessLog,
    (workers, pinned): (usize, bool),
    tls: Option<&Certificate>,
) -> Server {
    let port = ports::reserve();
    let root = directory.display();
    let access_log = match log {
        AccessLog::Off => "off".to_owned(),
        AccessLog::Buffered => format!("{root}/access.log sewer buffer=64k"),
        AccessLog::Unbuffered => format!("{root}/access.log sewer"),
    };
    // Root's nginx would give its workers to a user who may not enter the directory.
    let user = if nix::unistd::getuid().is_root() { "user root;\n" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("  {what}_temp_path {root}/{what};\n"))
        .concat();
    let ssl = if tls.is_some() { " ssl" } else { "" };
    let certificate = tls.map_or_else(String::new, |Certificate { cert, key }| {
        let [cert, key] = [cert.display(), key.display()];
        // nginx 1.22 leaves TLS 1.3 out by default, which is what the pixel and the load agree on.
        format!(
            "ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_certificate {cert};\n    \
             ssl_certificate_key {key};\n    "
        )
    });
    let conf = format!(
        "{user}daemon off;\nworker_processes {workers};\nworker_rlimit_nofile 16384;\n\
         pid {root}/nginx.pid;\nerror_log {root}/error.log warn;\n\
         events {{\n  worker_connections 8192;\n}}\n\
         http {{\n{temporary}  log_format sewer '$msec\\t$remote_addr\\t$host\\t$uri\\t$args\\t\
         $http_referer\\t$http_user_agent\\t$http_cookie';\n  access_log {access_log};\n  \
         keepalive_timeout 75s;\n  keepalive_requests 1000000000;\n  server {{\n    \
         listen {}{ssl} backlog=4096;\n    {certificate}location / {{\n      return 204;\n    }}\n  }}\n}}\n",
        port.address()
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, conf).expect("write nginx.conf");
    // Its workers are to end with it, and it starts those again that end before it.
    let command =
        ["setsid", "nginx", "-e", &format!("{root}/error.log"), "-c", &path.display().to_string()]
            .map(ToOwned::to_owned);
    let mut process = start(pinned, &command, &directory.join("nginx.err"));
    let watch = Watch::over_group(process.pid());
    let address = port.address();
    process.wait_until("ready", READY_WAIT, || {
        if tls.is_some() {
            return TcpStream::connect(&address).is_ok();
        }
        http::get(&address, "/").is_ok_and(|response| response.status == 204)
    });
    let left = match log {
        AccessLog::Off => Left::Nothing,
        _ => Left::Log(directory.join("access.log")),
    };
    Server {
        label: if tls.is_some() { "nginx, TLS" } else { log.label() },
        address,
        is_tls: tls.is_some(),
        process,
        left,
        is_held: false,
        is_flume: false,
        scripts: directory.to_owned(),
        _watch: Some(watch),
        _ports: vec![port],
    }
}

//! wrk as the load: keep-alive connections, each with one request at a time.
//!
//! wrk keeps a connection's next request back until the answer to the last is there, and counts
//! slow answers as often as requests would have met them (it corrects its percentiles). Both hold
//! for every server alike.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use sewer_test_support::command;

use crate::cpu;

/// How long an answer may take before it counts as failed.
const ANSWER_SECONDS: u64 = 60;

/// What wrk may take beyond its time: connections, and answers on their way.
const PATIENCE: Duration = Duration::from_secs(90);

/// The path and query of all requests.
pub const TARGET: &str = "/pixel?page=1";

/// The User-Agent of the load that the older server was measured with.
pub const USER_AGENT_BYTES: usize = 800;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// A pixel, with a User-Agent of so many bytes.
    Get(usize),
    /// The same with a thousand different ones in turn, so that what is written does not compress
    /// like one event again and again. It costs wrk more.
    Varied(usize),
    /// The same bytes of data as an event for Flume's HTTP source, by POST.
    Flume(usize),
}

/// How much is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keep-alive connections.
    pub connections: usize,
    /// For how long.
    pub seconds: u64,
    /// What is asked.
    pub request: Request,
    /// How long a connection waits after each answer on the average, by chance between nothing and
    /// twice that; `None` is not at all.
    pub pause_ms: Option<f64>,
    /// Whether wrk runs on a core of its own.
    pub pinned: bool,
    /// Whether each request has a connection of its own.
    pub closes: bool,
}

impl Load {
    /// As fast as it goes, with the User-Agent of 800 bytes, from a core of its own.
    pub fn full(connections: usize, seconds: u64) -> Self {
        let request = Request::Get(USER_AGENT_BYTES);
        Self { connections, seconds, request, pause_ms: None, pinned: true, closes: false }
    }
}

/// What wrk says at its end. Times are in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Said {
    pub requests: f64,
    pub duration_us: f64,
    pub connect: u64,
    pub read: u64,
    pub write: u64,
    pub timeout: u64,
    pub status: u64,
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Said {
    /// What has failed, if anything has.
    pub fn failure(&self) -> Option<String> {
        let Self { connect, read, write, timeout, status, .. } = self;
        let failed = connect + read + write + timeout + status > 0 || self.requests < 1.0;
        failed.then(|| {
            format!(
                "of {} requests: connect {connect}, read {read}, write {write}, timeout {timeout}, \
                 status not 2xx or 3xx {status}",
                self.requests
            )
        })
    }
}

/// Runs wrk against the server at `url`. `directory` is for its script.
pub fn run(url: &str, load: &Load, directory: &Path) -> Result<Said, String> {
    let script = directory.join("wrk.lua");
    fs::write(&script, lua(load)).map_err(|e| format!("write {}: {e}", script.display()))?;
    let mut command = if load.pinned { Command::new("taskset") } else { Command::new("wrk") };
    if load.pinned {
        command.args(["-c", &cpu::LOAD_CORE.to_string(), "wrk"]);
    }
    command.args(["-t", "1", "-c", &load.connections.to_string()]);
    command.args(["-d", &format!("{}s", load.seconds)]);
    command.args(["--timeout", &format!("{ANSWER_SECONDS}s"), "-s"]).arg(&script);
    command.arg(format!("{url}{TARGET}"));
    let limit = Duration::from_secs(load.seconds) + PATIENCE;
    let done = command::run(&mut command, limit).map_err(|why| format!("wrk: {why}"))?;
    let line = done.stdout.lines().find(|line| line.starts_with('{'));
    let said = line.and_then(|line| serde_json::from_str(line).ok());
    said.filter(|_| done.code == Some(0))
        .ok_or_else(|| format!("wrk says {}{}", done.stdout, done.stderr))
}

/// The script: the request, the pause, and one line of JSON at the end.
fn lua(load: &Load) -> String {
    let request = match load.request {
        Request::Get(bytes) => format!("wrk.headers['User-Agent'] = ('u'):rep({bytes})\n"),
        Request::Varied(bytes) => format!(
            "local requests, number = {{}}, 0\nfunction init()\n  for i = 1, 1024 do\n    \
             local hex = {{}}\n    for j = 1, {bytes} / 8 do\n      \
             hex[j] = ('%08x'):format(math.random(0, 2147483647))\n    end\n    \
             requests[i] = wrk.format('GET', nil, {{['User-Agent'] = table.concat(hex)}})\n  end\n\
             end\nfunction request()\n  number = number % 1024 + 1\n  return requests[number]\n\
             end\n"
        ),
        // The eight fields, tab-separated, as nginx's log has them.
        Request::Flume(bytes) => format!(
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n\
             wrk.body = '[{{\"headers\":{{}},\"body\":\"1700000000000\\\\t127.0.0.1\\\\t127.0.0.1\
             \\\\t/pixel\\\\tpage=1\\\\t-\\\\t' .. ('u'):rep({bytes}) .. '\\\\t-\"}}]'\n"
        ),
    };
    let closes = if load.closes { "wrk.headers['Connection'] = 'close'\n" } else { "" };
    let pause = load.pause_ms.map_or_else(String::new, |mean| {
        // Whole milliseconds, rounded by chance so that the mean is as wished.
        format!(
            "function delay() return math.floor(math.random() * {} + math.random()) end\n",
            mean * 2.0
        )
    });
    let done = "function done(summary, latency, requests)\n  \
        local e = summary.errors\n  \
        io.write(string.format('\\n{\"requests\":%d,\"duration_us\":%d,\"connect\":%d,\"read\":%d,' ..\n    \
        '\"write\":%d,\"timeout\":%d,\"status\":%d,\"p50\":%d,\"p99\":%d,\"p999\":%d,\"max\":%d}\\n',\n    \
        summary.requests, summary.duration, e.connect, e.read, e.write, e.timeout, e.status,\n    \
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))\n\
        end\n";
    format!("{request}{closes}{pause}{done}")
}

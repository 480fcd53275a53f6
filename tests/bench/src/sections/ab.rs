//! The older server's own command, `ab -k -c 400`, beside what it and others reached in 2012.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sewer_test_support::command;

use crate::cpu;
use crate::report::{Outcome, Table};
use crate::servers::{AccessLog, PixelServer, nginx};
use crate::settings::{Settings, own};
use crate::stats::{decimal, median, thousands};
use crate::wrk::{TARGET, USER_AGENT_BYTES};

const CONNECTIONS: &str = "400";

/// What was published in 2012, in requests/s.
const IN_2012: &str = "In 2012, on other machines: 3,622, 13,293 and 16,556 requests/s.";

/// Far more than a run takes.
const PATIENCE: Duration = Duration::from_mins(3);

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "ab", ..Outcome::default() };
    let root = directory.path();
    let servers = [
        nginx(&own(root, "nginx"), AccessLog::Buffered, 1, true),
        PixelServer::durable(settings, &own(root, "pixel")).server,
    ];
    let requests = settings.either(200_000, 20_000);
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..settings.rounds {
        for place in 0..servers.len() {
            let number = (round + place) % servers.len();
            match ab(servers[number].address(), requests) {
                Ok(rate) => rates[number].push(rate),
                Err(why) => outcome.failures.push(format!("{}: {why}", servers[number].label)),
            }
            servers[number].tidy();
        }
    }
    let ratio = median(rates[1].iter().zip(&rates[0]).map(|(pixel, nginx)| pixel / nginx));
    let title = format!("ab -k -c {CONNECTIONS} -n {requests}, User-Agent of 800 bytes");
    let mut table = Table::new(&title, &["server", "requests/s", "ratio"]);
    for (server, rates) in servers.iter().zip(&rates) {
        let ratio = if server.label.starts_with("nginx") { 1.0 } else { ratio };
        let rate = thousands(median(rates.iter().copied()));
        table.row([server.label.to_owned(), rate, decimal(ratio, 2)]);
    }
    outcome.tables.push(table);
    outcome.notes.push(IN_2012.to_owned());
    outcome.data = json!({
        "requests": requests,
        servers[0].label: rates[0],
        servers[1].label: rates[1],
        "ratio": ratio,
    });
    outcome
}

/// Requests per second, if all were answered with a 2xx.
fn ab(address: &str, requests: u64) -> Result<f64, String> {
    let user_agent = format!("User-Agent: {}", "u".repeat(USER_AGENT_BYTES));
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu::LOAD_CORE.to_string(), "ab", "-q", "-k", "-c", CONNECTIONS]);
    command.args(["-n", &requests.to_string(), "-H", &user_agent]);
    command.arg(format!("http://{address}{TARGET}"));
    let said = command::run(command.current_dir(Path::new("/")), PATIENCE)?;
    let number = |name: &str| {
        let line = said.stdout.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let failed = number("Failed requests:").unwrap_or(f64::NAN);
    // It is there only if there were some.
    let odd = number("Non-2xx responses:").unwrap_or(0.0);
    match number("Requests per second:") {
        Some(rate) if failed + odd < 0.5 && said.code == Some(0) => Ok(rate),
        _ => Err(format!("ab says {}{}", said.stdout, said.stderr)),
    }
}

//! A connection for each request, as browsers make it that come without a balancer, beside kept
//! ones; plain and encrypted, beside nginx.

use serde_json::{Map, Value};

use crate::report::{Outcome, Table};
use crate::servers::{AccessLog, Certificate, PixelServer, Server, nginx, nginx_with_tls};
use crate::settings::{Settings, own};
use crate::slices::{HEADS, Slices};
use crate::wrk::{Load, Request};

const CONNECTIONS: [usize; 2] = [64, 400];

/// The User-Agent of such a browser is shorter than that of the older server's load.
const USER_AGENT_BYTES: usize = 300;

/// What the ratios are to, plain and encrypted.
const BASES: [&str; 2] = ["nginx, buffered log", "nginx, TLS"];

pub fn run(settings: &Settings) -> Outcome {
    let directory = settings.directory();
    let mut outcome = Outcome { section: "fresh", ..Outcome::default() };
    let root = directory.path();
    let certificate = Certificate::new(root);
    let mut plain = vec![
        nginx(&own(root, "nginx"), AccessLog::Buffered, 1, true),
        PixelServer::durable(settings, &own(root, "pixel")).server,
        PixelServer::without_log(settings, &own(root, "none")).server,
    ];
    let mut encrypted = vec![
        nginx_with_tls(&own(root, "nginx-tls"), &certificate),
        PixelServer::with_tls(settings, &own(root, "pixel-tls"), &certificate).server,
    ];
    plain.extend(PixelServer::of_before(settings, root));
    encrypted.extend(PixelServer::of_before_with_tls(settings, root, &certificate));
    let mut data = Map::new();
    for (mut servers, base) in [plain, encrypted].into_iter().zip(BASES) {
        for closes in [false, true] {
            for connections in CONNECTIONS {
                let load = Load {
                    closes,
                    request: Request::Get(USER_AGENT_BYTES),
                    ..Load::full(connections, settings.slice_seconds)
                };
                let slices = measure(settings, &mut servers, &load, &mut outcome);
                let how = if closes { "a connection for each request" } else { "kept" };
                let title = format!("{connections} at a time, {how}; ratios to \"{base}\"");
                let mut table = Table::new(&title, &[&["server"][..], &HEADS].concat());
                for label in slices.labels() {
                    table.row([vec![label.to_owned()], slices.cells(label, base)].concat());
                }
                outcome.tables.push(table);
                data.insert(title, slices.json(base));
            }
        }
    }
    outcome.data = Value::Object(data);
    outcome
}

fn measure(
    settings: &Settings,
    servers: &mut [Server],
    load: &Load,
    outcome: &mut Outcome,
) -> Slices {
    Slices::take(
        servers,
        |server| server.label,
        settings.rounds,
        |_, server| server.slice(load).map_err(|why| outcome.failures.push(why)).ok(),
    )
}

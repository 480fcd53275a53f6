//! Beside nginx: whatever nginx would log as a request and answer 204, the pixel answers 204 and
//! records as it came, and what nginx refuses, it refuses. The differences that are meant are
//! listed here.

mod chunks;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use sewer_test_support::http;
use sewer_test_support::pixel::Pixel;
use sewer_test_support::ports::{self, Port};
use sewer_test_support::process::{Process, eventually};
use sewer_test_support::random::Random;
use sewer_test_support::tools;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many requests are made up.
const GENERATED: usize = 4000;

/// Stands between the fields of nginx's log.
const BETWEEN: &str = "<|>";

/// A running nginx that answers 204 and logs what it takes.
struct Nginx {
    _process: Process,
    port: Port,
    log: std::path::PathBuf,
}

impl Nginx {
    fn start(binary: &Path, directory: &Path) -> Self {
        let (port, root) = (ports::reserve(), directory.join("nginx"));
        fs::create_dir(&root).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {}/{what};\n", root.display()))
            .concat();
        let user = if nix::unistd::getuid().is_root() { "user root;\n" } else { "" };
        let fields = ["$status", "$request_uri", "$http_user_agent", "$http_referer"];
        let conf = format!(
            "{user}daemon off;\nmaster_process off;\npid {0}/pid;\nerror_log {0}/error.log;\n\
             events {{ worker_connections 512; }}\nhttp {{\n{temporary}\
             log_format fields escape=none '{1}';\naccess_log {0}/access.log fields;\n\
             large_client_header_buffers 4 64k;\n\
             server {{ listen {2}; location / {{ return 204; }} }}\n}}\n",
            root.display(),
            fields.join(BETWEEN),
            port.address(),
        );
        let path = root.join("nginx.conf");
        fs::write(&path, conf).unwrap();
        let (path, errors) = (path.display().to_string(), root.join("start.log"));
        let args = ["-e", &errors.display().to_string(), "-c", &path].map(ToOwned::to_owned);
        let mut process = Process::start(binary, &args, &root.join("stderr"));
        let is_ready = || http::get(&port.address(), "/").is_ok_and(|answer| answer.status == 204);
        process.wait_until("ready", PATIENCE, is_ready);
        Self { _process: process, port, log: root.join("access.log") }
    }

    /// What it has answered 204: target, user agent and referer.
    fn logged(&self) -> Vec<[Vec<u8>; 3]> {
        let log = fs::read(&self.log).unwrap();
        let lines = log.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"204"));
        lines.map(fields).collect()
    }
}

/// Target, user agent and referer of a line.
fn fields(line: &[u8]) -> [Vec<u8>; 3] {
    let mut rest = line;
    let mut fields = Vec::new();
    while let Some(end) = rest.windows(BETWEEN.len()).position(|w| w == BETWEEN.as_bytes()) {
        fields.push(rest[..end].to_vec());
        rest = &rest[end + BETWEEN.len()..];
    }
    fields.push(rest.to_vec());
    let [_, target, user_agent, referer] = fields.try_into().expect("four fields");
    [target, user_agent, referer]
}

/// The statuses of the answers to what is sent on a connection of its own.
fn statuses(address: &str, request: &[u8]) -> Vec<u16> {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before all of it is sent.
    let _ = tcp.write_all(request);
    let _ = tcp.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let statuses = answer.split("HTTP/1.1 ").filter_map(|text| text.get(..3)?.parse().ok());
    statuses.filter(|status| *status >= 200).collect()
}

/// The status of the answer to a request on a connection of its own; 0 if it is closed without one.
fn ask(address: &str, request: &[u8]) -> u16 {
    statuses(address, request).first().copied().unwrap_or(0)
}

const TAKEN: bool = true;
const REFUSED: bool = false;

fn line(target: &[u8]) -> Vec<u8> {
    [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat()
}

fn with(lines: &[u8]) -> Vec<u8> {
    [b"GET /p HTTP/1.1\r\nHost: h\r\n", lines, b"\r\n"].concat()
}

/// Requests that both take.
fn taken() -> Vec<Vec<u8>> {
    let mut rows = vec![
        line("/caf\u{e9}?x=\u{2019}".as_bytes()),
        line(b"/caf\xe9?x=\xe9"),
        with(b"User-Agent: a\x01b\x07c\x7fd\r\nReferer: \x1f\x7f\r\nCookie: \x02=\x03\r\n"),
        with(b"User-Agent: Latin-1 \xe9\xff\r\n"),
        with(b"X[a]: 1\r\nX\xe9: 2\r\n(x): 3\r\n"),
        with(b"nocolon\r\n"),
        with(&b"a: b\r\n".repeat(600)),
        with(b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
        with(b"Connection: close\r\n"),
    ];
    rows.extend(
        [
            "/p?x=<a>\"b\"`c`",
            "/`a`\"b\"<c>",
            "/p?|{}[]^\\?",
            "//a?%zz",
            "http://h.example:80/p?x",
            "http://h.example",
            "http://h.example?x",
        ]
        .map(|target| line(target.as_bytes())),
    );
    let post = "POST /p HTTP/1.1\r\nHost: h\r\n";
    rows.extend(
        [
            "GET /p HTTP/1.0\r\n\r\n".to_owned(),
            "GET  /p   HTTP/1.1 \r\nHost: h\r\n\r\n".to_owned(),
            "\r\n\r\nGET /p HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "GET /lines HTTP/1.1\nHost: h\n\n".to_owned(),
            "GET /p HTTP/1.9\r\nHost: h\r\n\r\n".to_owned(),
            "HEAD /p HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            "PURGE /p HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            format!("{post}Content-Length: 4\r\n\r\nbody"),
            format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            format!("{post}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx"),
        ]
        .map(String::into_bytes),
    );
    rows
}

/// Requests that both refuse.
fn refused() -> Vec<Vec<u8>> {
    let targets: [&[u8]; 10] = [
        b"p",
        b"*",
        b"p?x",
        b"/a b",
        b"/a\x01",
        b"/a\x7f",
        b"/a\tb",
        b"/a\0",
        b"http:///p",
        b"http://u@h/p",
    ];
    let lines: [&[u8]; 19] = [
        b"X : a\r\n",
        b"X: a\r\n b\r\n",
        b"X: a\r\n\tb: c\r\n",
        b": a\r\n",
        b"X\x01: a\r\n",
        b"X: a\0b\r\n",
        b"X: a\rb\r\n",
        b"no colon\r\n",
        b"Host\r\n",
        b"Content-Length\r\n",
        b"Content-Length: 1\r\nContent-Length: 1\r\n",
        b"Content-Length: 1, 1\r\n",
        b"Content-Length: +1\r\n",
        b"Content-Length: 0x1\r\n",
        b"Content-Length:\r\n",
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ];
    let whole: [&[u8]; 9] = [
        b"CONNECT mail.example:25 HTTP/1.1\r\nHost: mail.example:25\r\n\r\n",
        b"GET /p HTTP/1.1\r\n\r\n",
        b"GET /p HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
        b"GET /p HTTP/2.0\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /p HTTPS/1.1\r\nHost: h\r\n\r\n",
        b"G@T /p HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ];
    let targets = targets.map(line);
    [&targets[..], &lines.map(with), &whole.map(<[u8]>::to_vec)].concat()
}

/// The differences that are meant: requests that the pixel takes and nginx refuses.
fn taken_by_the_pixel_alone() -> Vec<Vec<u8>> {
    // A pixel records what it does not have to resolve: nginx looks for a file by that name.
    let mut rows = [&b"/%zz"[..], b"/%00", b"/../x"].map(line).to_vec();
    // Any token is a method, and TRACE is one; what a pixel answers shows nothing of the request.
    for method in ["get", "TRACE", "X.Y"] {
        rows.push(format!("{method} /p HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes());
    }
    rows.push(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_vec());
    // A host is recorded and chooses nothing.
    for host in ["", "a/b", "a\u{1}b", "..", "a b"] {
        rows.push(format!("GET /p HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes());
    }
    rows.push(line(b"http://a_b/p"));
    // RFC 9110, 5.6.3: a tab is white space as a blank is.
    rows.push(b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length:\t1\r\n\r\nx".to_vec());
    rows
}

/// The other way round: a bare CR, which some could take for the end of a line. (And HTTP/0.9, in
/// which there is no answer to compare.)
fn taken_by_nginx_alone() -> Vec<Vec<u8>> {
    vec![with(b"X: a\r\r\n")]
}

/// Requests, and whether the pixel and nginx take them.
fn listed() -> impl Iterator<Item = (Vec<u8>, bool, bool)> {
    let rows = |rows: Vec<_>, ours, theirs| rows.into_iter().map(move |row| (row, ours, theirs));
    rows(taken(), TAKEN, TAKEN)
        .chain(rows(refused(), REFUSED, REFUSED))
        .chain(rows(taken_by_the_pixel_alone(), TAKEN, REFUSED))
        .chain(rows(taken_by_nginx_alone(), REFUSED, TAKEN))
}

#[test]
fn every_listed_request_is_decided_as_in_nginx_or_as_the_list_says() {
    let Some(binary) = tools::find_or_skip("nginx", "nginx-light", "nginx") else { return };
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(&binary, directory.path());
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let mut wrong = Vec::new();
    for (request, taken, taken_by_nginx) in listed() {
        let [ours, theirs] = [pixel.address(), nginx.port.address()].map(|at| ask(&at, &request));
        let told = request[..request.len().min(120)].escape_ascii();
        if (ours == 204) != taken || (!taken && ours != 400) {
            wrong.push(format!("the pixel answers {ours} to {told}"));
        }
        if (theirs == 204) != taken_by_nginx {
            wrong.push(format!("nginx answers {theirs} to {told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A request of parts that both take, in one byte of which, outside of method, path and Host, there
/// may be anything.
fn generated(random: &mut Random) -> Vec<u8> {
    const QUERIES: [&str; 6] =
        ["", "?x=1&y=%zz", "?\u{e9}<>\"`", "??a#b", "?{|}[]^\\", "?u=http://h/"];
    const LINES: [&str; 14] = [
        "User-Agent: Mozilla/5.0 (X11)",
        "Referer: https://a.example/b?c=d",
        "Cookie: a=1; b=\"2\"",
        "Accept: */*",
        "X_Y: 1",
        "X[]: 1",
        "DNT:1",
        "Empty:",
        "Connection: keep-alive, Upgrade",
        "Connection: close",
        "Upgrade: websocket",
        "Content-Length: 0",
        "X-Forwarded-For: 192.0.2.7:80, unknown",
        "Accept-Language:  nl ,en;q=0.5  ",
    ];
    let method = *random.pick(&["GET", "GET", "POST", "HEAD", "DELETE"]);
    let start = format!("{method} /p/{}", random.below(100));
    let end = *random.pick(&["\r\n", "\r\n", "\r\n", "\n"]);
    let version = *random.pick(&["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let mut rest = format!("{} {version}{end}Host: h.example{end}", random.pick(&QUERIES));
    let mut used = Vec::new();
    for _ in 0..random.below(6) {
        let line = *random.pick(&LINES);
        let name = line.split(':').next();
        // Only once each: what counts of several is not the same.
        if !used.contains(&name) {
            used.push(name);
            rest += line;
            rest += end;
        }
    }
    rest += end;
    let mut rest = rest.into_bytes();
    if random.below(4) > 0 {
        let host = rest.windows(6).position(|part| part == b"Host: ").expect("it has one");
        let place = usize::try_from(random.below(rest.len() as u64)).unwrap();
        if !(host..host + 16).contains(&place) {
            rest[place] = random.byte();
        }
    }
    [start.as_bytes(), &rest].concat()
}

/// Whether a change has made one of the listed differences of it, or a request that asks for more
/// bytes than there are.
fn is_listed(request: &[u8]) -> bool {
    let has = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
    let lower = request.to_ascii_lowercase();
    let announces =
        lower.windows(15).position(|part| part == b"content-length:").is_some_and(|at| {
            !lower[at + 15..].starts_with(b" 0\r\n") && !lower[at + 15..].starts_with(b" 0\n")
        });
    // Of HTTP/0.9 there is no answer to compare.
    let line = request.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let is_old = !line.windows(6).any(|part| part == b" HTTP/");
    let path = line.split(|byte| b"?# ".contains(byte)).nth(1).unwrap_or_default();
    let is_escape = |part: &[u8]| {
        part.get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit) && hex != b"00")
    };
    let is_resolved = path.split(|&byte| byte == b'%').skip(1).all(is_escape);
    has(b"\r\r") || announces || is_old || !is_resolved
}

#[test]
fn what_is_made_up_is_decided_as_in_nginx_and_recorded_as_it_came() {
    let Some(binary) = tools::find_or_skip("nginx", "nginx-light", "nginx") else { return };
    let directory = tempfile::tempdir().unwrap();
    let nginx = Nginx::start(&binary, directory.path());
    let pixel =
        Pixel::started(BINARY, directory.path(), &["pixel.ack=received", "pixel.workers=1"]);
    let mut random = Random::announced("nginx");
    let (mut taken, mut refused, mut wrong) = (1, 0, Vec::new());
    // As the one that nginx got when it was ready.
    ask(&pixel.address(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..GENERATED {
        let request = generated(&mut random);
        if is_listed(&request) {
            continue;
        }
        let [ours, theirs] = [pixel.address(), nginx.port.address()].map(|at| ask(&at, &request));
        if (ours == 204) != (theirs == 204) {
            wrong.push(format!("{ours}, nginx {theirs}: {}", request.escape_ascii()));
        }
        taken += usize::from(ours == 204);
        refused += usize::from(ours != 204);
    }
    println!("{taken} taken and {refused} refused");
    assert!(wrong.is_empty(), "{} of {GENERATED}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(taken > GENERATED / 4 && refused > GENERATED / 20, "{taken} taken, {refused} refused");
    // It logs when it has answered.
    assert!(eventually(PATIENCE, || nginx.logged().len() >= taken), "nginx has logged too few");
    let logged = nginx.logged();
    let mut pixel = pixel;
    pixel.stop();
    let events = pixel.dump();
    assert_eq!((events.len(), logged.len()), (taken, taken));
    for (event, [target, user_agent, referer]) in events.iter().zip(&logged).skip(1) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let target = target.split(|&byte| byte == b'#').next().unwrap_or_default();
        let of = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let query = event["query_string"].as_str().map(|query| format!("?{query}"));
        let own = of("request_path") + &query.unwrap_or_default();
        assert_eq!(own, text(target), "{event}");
        // To nginx a tab around a value is a part of it.
        let value = |bytes: &[u8]| text(bytes).trim_matches(['\t', ' ']).to_owned();
        assert_eq!(of("user_agent"), value(user_agent), "{event}");
        assert_eq!(of("referer"), value(referer), "{event}");
    }
}

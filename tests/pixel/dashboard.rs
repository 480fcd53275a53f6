//! The dashboard as a browser shows it: headless Chromium loads the page from a pixel under load,
//! and its plots have points; they still have them after a restart.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sewer_pixel::status::history::{History, Point};
use sewer_pixel::status::history_file::HistoryFile;
use sewer_test_support::command;
use sewer_test_support::load::{Load, LoadOptions};
use sewer_test_support::pixel::Pixel;
use sewer_test_support::process::eventually;
use sewer_test_support::tools;

const BINARY: &str = env!("CARGO_BIN_EXE_sewer-pixel");

const PATIENCE: Duration = Duration::from_secs(30);

/// How long a browser may take to start and to draw.
const BROWSER_WAIT: Duration = Duration::from_mins(2);

const PLOTS: [&str; 5] = ["requests", "fsync", "backlog", "lag", "disk"];

fn now_s() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_secs()).unwrap()
}

fn data(pixel: &Pixel) -> Value {
    serde_json::from_str(&pixel.status("/dashboard/data").body).unwrap()
}

/// The points of the ring with that step.
fn points(data: &Value, step_s: i64) -> Vec<Value> {
    let rings = data["rings"].as_array().unwrap();
    let ring = rings.iter().find(|ring| ring["step_s"] == step_s).expect("a ring of that step");
    ring["points"].as_array().unwrap().clone()
}

fn load(pixel: &Pixel) -> Load {
    Load::start(LoadOptions {
        address: pixel.address(),
        run: "x".into(),
        connections: 8,
        pause: Duration::from_millis(2),
        limit: BROWSER_WAIT,
    })
}

/// Waits until the last hour has what a commit took, and something waits for a shipper.
fn wait_for_points(pixel: &Pixel) {
    let drawn = || {
        let points = points(&data(pixel), 60);
        let last = points.last().cloned().unwrap_or_default();
        last["commit_p99_s"].as_f64() > Some(0.0) && last["backlog_bytes"].as_u64() > Some(0)
    };
    assert!(eventually(PATIENCE, drawn), "{:#}", data(pixel));
}

/// Runs the browser on a page with a profile of its own and returns what it prints.
pub fn browse(chromium: &Path, arguments: &[&str], url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(chromium);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--virtual-time-budget=3000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(arguments)
        .arg(url);
    let finished = command::run(&mut command, BROWSER_WAIT).unwrap();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout
}

/// What the page has drawn in a plot, and how many values that shows.
fn plot<'a>(dom: &'a str, id: &str) -> (&'a str, usize) {
    let start = dom.find(&format!("<svg id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}: {dom}"));
    let svg = &dom[start..];
    let svg = &svg[..svg.find("</svg>").expect("it ends")];
    let count = svg.split_once("data-points=\"").expect("a count").1.split('"').next();
    (svg, count.and_then(|count| count.parse().ok()).expect("a number"))
}

#[test]
fn a_browser_draws_the_figures_of_a_pixel_under_load() {
    let Some(chromium) = tools::find_or_skip("chromium", "chromium", "dashboard") else { return };
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let url = format!("http://{}/dashboard", pixel.status_address());
    let dom = browse(&chromium, &["--dump-dom"], &url);
    let (fsync, count) = plot(&dom, "fsync-hour");
    assert!(count == 0 && fsync.contains("No data yet"), "before the first event: {fsync}");

    let load = load(&pixel);
    wait_for_points(&pixel);
    let dom = browse(&chromium, &["--dump-dom"], &url);
    let picture = directory.path().join("dashboard.png");
    let screenshot = format!("--screenshot={}", picture.display());
    browse(&chromium, &[&screenshot, "--window-size=1400,1500"], &url);
    load.stop();
    assert!(dom.contains("data-drawn=\"yes\""), "{dom}");
    for name in PLOTS {
        for span in ["hour", "days"] {
            let (svg, count) = plot(&dom, &format!("{name}-{span}"));
            let has_shape = svg.contains("<circle") || svg.contains("<polyline");
            assert!(count > 0 && has_shape, "{name} over the last {span}: {svg}");
        }
    }
    let problem = dom.split_once("id=\"problem\"").expect("the place for it").1;
    assert!(problem.split_once("</div>").unwrap().0.ends_with('>'), "no problem is shown: {dom}");
    let png = fs::read(&picture).unwrap();
    assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{} bytes", png.len());
}

#[test]
fn the_page_needs_nothing_from_elsewhere_and_may_fetch_nothing_from_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let page = pixel.status("/dashboard");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("connect-src 'self'"));
    let own = page.body.replace("http://www.w3.org/2000/svg", "");
    for elsewhere in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!own.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn the_history_survives_a_restart_in_every_resolution() {
    let directory = tempfile::tempdir().unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    let load = load(&pixel);
    wait_for_points(&pixel);
    load.stop();
    pixel.stop();
    pixel.start();
    pixel.wait_until_ready();
    let data = data(&pixel);
    for step_s in [60, 300, 900, 3600] {
        let requests =
            points(&data, step_s).into_iter().filter_map(|p| p["requests_per_s"].as_f64());
        let most = requests.fold(0.0, f64::max);
        assert!(most > 0.0, "points of {step_s} s: {data:#}");
    }
}

#[test]
fn three_days_are_drawn_and_a_gap_is_a_gap() {
    let Some(chromium) = tools::find_or_skip("chromium", "chromium", "dashboard") else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::default();
    let now = now_s();
    // Three days but for six hours in which the node was off.
    for at_s in (now - 3 * 86_400..now).step_by(30) {
        let hours_ago = (now - at_s) / 3600;
        if (30..36).contains(&hours_ago) {
            continue;
        }
        let requests = 30 * (200 + at_s % 3600 / 20).unsigned_abs();
        let free_bytes = 400 << 30;
        let (watched_s, backlog_bytes) = (30.0, 7 << 20);
        history.add(&Point {
            at_s,
            watched_s,
            requests,
            backlog_bytes,
            free_bytes,
            ..Point::default()
        });
    }
    HistoryFile::new(directory.path().join("history")).save(&history);
    let pixel = Pixel::started(BINARY, directory.path(), &[]);
    let url = format!("http://{}/dashboard", pixel.status_address());
    let dom = browse(&chromium, &["--dump-dom"], &url);
    let (days, count) = plot(&dom, "backlog-days");
    assert!(count > 60, "{count} points: {days}");
    assert_eq!(days.matches("<polyline").count(), 2, "a line before and one after the gap: {days}");
    let (hour, count) = plot(&dom, "requests-hour");
    assert!(count > 100, "two lines of 60 points: {count} {hour}");
    for width in [360, 800, 1400] {
        let size = format!("--window-size={width},1500");
        let dom = browse(&chromium, &["--dump-dom", &size], &url);
        for span in ["hour", "days"] {
            let (svg, _) = plot(&dom, &format!("backlog-{span}"));
            let labels = times(svg);
            assert!(labels.len() > 1, "{width} px, {span}: {labels:?}");
            for pair in labels.windows(2) {
                assert!(pair[0].1 < pair[1].0, "{width} px, {span}: two meet: {labels:?}");
            }
        }
    }
}

/// From where to where each label of the time axis reaches, in its order.
fn times(svg: &str) -> Vec<(f64, f64, &str)> {
    let texts = svg.split("<text ").skip(1).filter(|text| text.contains("y=\"145\""));
    texts
        .map(|text| {
            let x = text.split_once("x=\"").expect("its place").1.split('"').next().unwrap();
            let x: f64 = x.parse().expect("a number");
            let words = text.split_once('>').expect("its words").1.split('<').next().unwrap();
            // Digits of 11.5 px are 6.4 px wide.
            let half = 3.2 * f64::from(u8::try_from(words.len()).unwrap());
            (x - half, x + half, words)
        })
        .collect()
}

#[test]
fn a_damaged_history_is_a_warning_and_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("history");
    fs::write(&file, "{\"version\":1,\"rings\":[{\"step_s\":60").unwrap();
    let mut pixel = Pixel::started(BINARY, directory.path(), &[]);
    // The log is written beside the work, so that its lines may come a little later.
    let path = directory.path().join("pixel.log");
    let warns = || fs::read_to_string(&path).is_ok_and(|log| log.contains("WARN"));
    assert!(eventually(PATIENCE, warns), "{}", pixel.process().log());
    let log = pixel.process().log();
    let warning = log.lines().find(|line| line.contains("WARN")).unwrap_or_else(|| panic!("{log}"));
    assert!(warning.contains("history") && warning.contains(&file.display().to_string()), "{log}");
    pixel.stop();
    let text = fs::read_to_string(&file).unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_ok(), "a sound one is in its place: {text}");
}

#[test]
fn a_history_that_cannot_be_written_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let sets = ["status.history=/proc/no/such/history"];
    let mut pixel = Pixel::started(BINARY, directory.path(), &sets);
    load(&pixel).stop();
    pixel.stop();
    let log = pixel.process().log();
    assert!(log.contains("WARN") && log.contains("status.history"), "{log}");
}

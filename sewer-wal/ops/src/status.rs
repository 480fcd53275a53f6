//! The status port of a daemon: `/metrics` for Prometheus, `/stats` as JSON, further pages of the
//! daemon, and health on `/` and `/healthz`: 200 with `Content-Length: 0`, or, while the daemon
//! cannot do its work, 503 and why. `/livez` is 200 as long as the process is alive. With
//! `status.any_path` every other path is health, too, else 404. Health is for everyone; the rest is
//! for the networks of `status.allow`.

mod port;

use std::borrow::Cow;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use actix_web::http::Method;
use actix_web::http::header::{self, CACHE_CONTROL, ContentType};
use actix_web::rt::Runtime;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::sync::oneshot;

use crate::access::Allowed;

/// What a daemon tells about itself. Called from the status server's own thread; must not block.
pub trait Report: Send + Sync + 'static {
    /// Why the daemon cannot do its work now, in a sentence; `None` if it can.
    fn problem(&self) -> Option<String>;

    /// Whether every path that is no page is health.
    fn has_any_path(&self) -> bool;

    /// The figures of `/stats`.
    fn stats(&self) -> serde_json::Value;

    /// The paths of further pages.
    fn pages(&self) -> &'static [&'static str] {
        &[]
    }

    /// The page at one of these paths.
    fn page(&self, _path: &str) -> Option<Page> {
        None
    }

    /// Brings the metrics that are sampled, not counted, up to date.
    fn sample(&self) {}
}

/// A page of the status port.
#[derive(Debug)]
pub struct Page {
    /// Its content type.
    pub content_type: &'static str,
    /// What it shows.
    pub body: Cow<'static, str>,
}

/// What a page may do: run what is in it, and ask the port that it came from.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
    style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The status port, served on a thread of its own: it answers however busy the daemon is.
#[derive(Debug)]
pub struct StatusServer {
    ends: oneshot::Sender<()>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl StatusServer {
    /// Starts serving. Peers in `proxies` may say by a PROXY header whom they stand for.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        listener: TcpListener,
        registry: Registry,
        report: Arc<dyn Report>,
        allowed: Allowed,
        proxies: Option<Allowed>,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let state = State { registry, report, allowed, proxies };
        let (ends, ended) = oneshot::channel();
        let run = move || Runtime::new()?.block_on(port::serve(listener, state, ended));
        let thread = std::thread::Builder::new().name("status".into()).spawn(run)?;
        Ok(Self { ends, thread })
    }

    /// Stops serving and closes the port.
    pub fn stop(self) {
        drop(self.ends);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the status port ended early"),
            Err(_) => tracing::warn!("the thread of the status port panicked"),
        }
    }
}

struct State {
    registry: Registry,
    report: Arc<dyn Report>,
    allowed: Allowed,
    proxies: Option<Allowed>,
}

async fn answer(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let path = request.path();
    match path {
        "/" | "/healthz" => return health(&state),
        "/livez" => return open(HttpResponse::Ok()).finish(),
        "/metrics" | "/stats" => {}
        page if state.report.pages().contains(&page) => {}
        _ if state.report.has_any_path() => return health(&state),
        _ => return HttpResponse::NotFound().body(format!("there is {}\n", paths(&state))),
    }
    if let Some(refusal) = refuse(&request, &state) {
        return refusal;
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-store"));
    match path {
        "/metrics" => metrics(&state),
        "/stats" => {
            let text = format!("{:#}\n", state.report.stats());
            response.content_type(ContentType::json()).body(text)
        }
        _ => match state.report.page(path) {
            Some(Page { content_type, body }) => response
                .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
                .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
                .content_type(content_type)
                .body(body.into_owned()),
            None => HttpResponse::NotFound().finish(),
        },
    }
}

/// The answer to those who may not see figures, or do not ask to see them.
fn refuse(request: &HttpRequest, state: &State) -> Option<HttpResponse> {
    // A peer without an address is none.
    let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
    if !peer.is_some_and(|peer| state.allowed.contains(peer)) {
        let peer = peer.map_or_else(|| "this peer".to_owned(), |peer| peer.to_string());
        return Some(HttpResponse::Forbidden().body(format!("status.allow has no {peer}\n")));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let allow = (header::ALLOW, "GET, HEAD");
        return Some(HttpResponse::MethodNotAllowed().insert_header(allow).finish());
    }
    None
}

fn health(state: &State) -> HttpResponse {
    match state.report.problem() {
        None => open(HttpResponse::Ok()).finish(),
        Some(problem) => open(HttpResponse::ServiceUnavailable())
            .content_type(ContentType::plaintext())
            .body(problem + "\n"),
    }
}

/// An answer that is for everyone, and for now only.
fn open(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, "no-store"));
    response
}

/// The paths that there are, for whoever has mistyped one.
fn paths(state: &State) -> String {
    let pages = state.report.pages().iter().copied();
    ["/", "/healthz", "/livez", "/metrics", "/stats"]
        .into_iter()
        .chain(pages)
        .collect::<Vec<_>>()
        .join(", ")
}

fn metrics(state: &State) -> HttpResponse {
    state.report.sample();
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&state.registry.gather(), &mut text) {
        Ok(()) => HttpResponse::Ok().content_type(encoder.format_type()).body(text),
        Err(e) => HttpResponse::InternalServerError().body(e.to_string()),
    }
}

//! A client with its own runtime, and when to throw both away.
//!
//! hdfs-native keeps connections in tasks that nobody can reach: a writer that is not closed
//! leaves its sockets to them for ever, and a `NameNode` that stopped answering keeps the one
//! connection that all calls share. Ending the runtime ends them all. So every session has a
//! runtime of its own, and after a failure the next call gets a new session, while outputs in
//! good order keep theirs until they are done.
//!
//! Invariant: a session's runtime ends when its last user lets go, never earlier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdfs_native::{Client, ClientBuilder, HdfsError};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::cause::{HdfsCause, Told};
use super::kerberos;
use super::login::Login;
use super::namenodes::Namenodes;
use super::reach::Findings;
use super::site::{Connection, Site};
use crate::destination::error::Backend as _;
use crate::destination::options::Options;
use crate::destination::uri::Address;

/// Threads of a session: one may be held by a name lookup or by Kerberos, which block.
const THREADS: usize = 2;

/// A directory in which the client finds no configuration files: it is told what they say.
const NO_FILES: &str = "/dev/null";

/// How long a ticket cache with which logins fail is kept at least: an old one is never freed.
const CACHE_AGE_MIN: Duration = Duration::from_mins(10);

/// A client and the runtime that all its tasks and sockets live on.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    site: Site,
    namenodes: Vec<Namenodes>,
    asked: Arc<str>,
    runtime: OwnedRuntime,
    login: Login,
    /// Whether a `NameNode` ever answered here: before that, a failure may be one of the login.
    connected: AtomicBool,
}

impl Session {
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// What the operator's XML said when the session began.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Runs a call of the client on the session's runtime, no longer than `limit`. A call that
    /// takes longer, or whose caller goes away, is cancelled here, not at the server.
    ///
    /// The task is also what a panic inside the client ends.
    pub(super) async fn run<T, F>(&self, limit: Duration, call: F) -> Result<T, HdfsCause>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HdfsError>> + Send + 'static,
    {
        let result = run_on(self.handle(), limit, call).await;
        if result.as_ref().err().is_none_or(HdfsCause::is_an_answer) {
            self.connected.store(true, Ordering::Relaxed);
        }
        let connected = self.connected.load(Ordering::Relaxed);
        match result {
            Err(HdfsCause::Client(error @ HdfsError::IOError(_))) if !connected => {
                Err(self.explain_connection(error).await)
            }
            result => result.map_err(|cause| self.login.explain(cause, connected)),
        }
    }

    /// What it means that no `NameNode` has ever answered here.
    async fn explain_connection(&self, error: HdfsError) -> HdfsCause {
        let findings = Findings::of(&self.namenodes, self.handle()).await;
        if !findings.explain() {
            return self.login.explain(error.into(), false);
        }
        let guess = self.namenodes.iter().find_map(Namenodes::guess);
        let hint = guess.map(|guess| self.site.hint(guess));
        HdfsCause::Unreached { error, findings, hint }
    }

    /// Makes sure that a `NameNode` has answered here, so that what fails next is not the
    /// connection.
    pub(super) async fn greet(&self, limit: Duration) -> Result<(), HdfsCause> {
        if self.connected.load(Ordering::Relaxed) {
            return Ok(());
        }
        let client = self.client();
        match self.run(limit, async move { client.get_file_info("/").await }).await {
            Err(cause) if !cause.is_an_answer() => Err(cause),
            _ => Ok(()),
        }
    }

    /// What the failure of a call means that opens a file. With a connection, and before there is
    /// anything to complete, the client has this error for keys only.
    pub(super) fn explain_opening(&self, cause: HdfsCause) -> HdfsCause {
        match cause {
            HdfsCause::Client(HdfsError::OperationFailed(text)) => self.site.zone(&text),
            other => other,
        }
    }

    /// Who is asked, for errors.
    pub(super) fn asked(&self) -> Arc<str> {
        Arc::clone(&self.asked)
    }
}

/// See [`Session::run`].
pub(super) async fn run_on<T, F>(handle: &Handle, limit: Duration, call: F) -> Result<T, HdfsCause>
where
    T: Send + 'static,
    F: Future<Output = Result<T, HdfsError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn_on(call, handle);
    match tokio::time::timeout(limit, tasks.join_next()).await {
        Ok(ended) => Ok(ended.expect("one task was spawned")??),
        Err(_) => Err(HdfsCause::TimedOut { limit }),
    }
}

/// A runtime that may be dropped anywhere, also by a task: it never waits for its own.
#[derive(Debug)]
struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    fn new() -> Result<Self, HdfsCause> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("hdfs").enable_all().build();
        Ok(Self(Some(runtime.map_err(HdfsCause::Runtime)?)))
    }

    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("taken by drop only").handle()
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The session that new calls use, made when first needed.
#[derive(Debug)]
pub(super) struct Sessions {
    address: Address,
    options: Options,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    session: Option<Arc<Session>>,
    /// How many calls ran out of time: who is asked first among several `NameNodes`.
    ///
    /// A client asks them in the order of the configuration and never gives up on one that does
    /// not answer, so without a change of order a machine that vanished would be asked for ever.
    timeouts: usize,
    /// Who the last session asks.
    asked: Option<Arc<str>>,
    /// What its configuration leaves to be mended.
    doubts: Vec<String>,
    /// The number of the ticket cache in memory, and when it became the current one.
    cache: usize,
    cache_since: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(address: &Address, options: &Options) -> Self {
        let (address, options) = (address.clone(), options.clone());
        Self { address, options, current: Mutex::default() }
    }

    /// The URI of the destination without its path.
    pub(super) fn uri(&self) -> String {
        self.address.uri()
    }

    /// See [`Destination::doubts`](crate::destination::Destination::doubts).
    pub(super) fn doubts(&self) -> Vec<String> {
        self.lock().doubts.clone()
    }

    /// A cause as it is handed out.
    pub(super) fn told(&self, cause: HdfsCause) -> Told {
        Told::new(cause, self.lock().asked.clone())
    }

    /// The current session, or a new one. Nothing is connected yet.
    pub(super) async fn get(&self) -> Result<Arc<Session>, HdfsCause> {
        let (timeouts, cache) = {
            let current = self.lock();
            if let Some(session) = &current.session {
                return Ok(Arc::clone(session));
            }
            (current.timeouts, current.cache)
        };
        let made = Arc::new(self.make(timeouts, cache).await?);
        let doubts = made.site.doubts(&made.namenodes);
        let mut current = self.lock();
        for doubt in doubts.iter().filter(|doubt| !current.doubts.contains(doubt)) {
            warn!("Hadoop's configuration: {doubt}");
        }
        (current.doubts, current.asked) = (doubts, Some(made.asked()));
        // Another call may have made one meanwhile; then that one is used, and ours ends.
        Ok(Arc::clone(current.session.get_or_insert(made)))
    }

    async fn make(&self, timeouts: usize, cache: usize) -> Result<Session, HdfsCause> {
        let runtime = OwnedRuntime::new()?;
        let handle = runtime.handle().clone();
        let (address, options) = (self.address.clone(), self.options.clone());
        // Reading the XML and looking up names block.
        let building = tokio::task::spawn_blocking(move || {
            let site = Site::read(options.hadoop_conf_dir.as_deref())?;
            let Connection { url, mut settings, namenodes } =
                site.connection(&address, options.data_timeout, timeouts)?;
            if options.kerberos.is_some() {
                settings.extend(site.kerberos_settings());
            }
            let is_secured = options.kerberos.is_some() || site.wants_kerberos();
            let mut builder = ClientBuilder::new()
                .with_url(url)
                .with_config(settings)
                .with_config_dir(NO_FILES)
                .with_io_runtime(handle);
            if let Some(kerberos) = &options.kerberos {
                builder = kerberos.apply(builder, cache)?;
            }
            if let Some(user) = options.user {
                builder = builder.with_user(user);
            }
            // For key management servers over HTTPS. That there is one already is as good.
            let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
            let login = if is_secured { Login::Kerberos(options.kerberos) } else { Login::Simple };
            let client = builder.build().map_err(|error| site.explain_building(error))?;
            Ok::<_, HdfsCause>((client, site, namenodes, login))
        });
        let limit = self.options.rpc_timeout;
        match tokio::time::timeout(limit, building).await {
            Ok(ended) => {
                let (client, site, namenodes, login) = ended??;
                let asked: Vec<_> = namenodes.iter().map(Namenodes::to_string).collect();
                let asked = asked.join("; ").into();
                let connected = AtomicBool::new(false);
                Ok(Session { client, site, namenodes, asked, runtime, login, connected })
            }
            Err(_) => Err(HdfsCause::TimedOut { limit }),
        }
    }

    /// Judges a failed call: if it says anything about the connection, later calls get a new one.
    pub(super) fn after_failure(&self, session: &Arc<Session>, cause: &HdfsCause) {
        let timed_out = cause.timed_out().is_some();
        if cause.classify().1 == kerberos::REASON {
            self.replace_cache();
        }
        if timed_out || !cause.is_an_answer() {
            self.retire(session, timed_out);
        }
    }

    /// Keeps later calls from using this session.
    pub(super) fn retire(&self, session: &Arc<Session>, timed_out: bool) {
        let mut current = self.lock();
        if current.session.as_ref().is_some_and(|used| Arc::ptr_eq(used, session)) {
            debug!(destination = %self.uri(), timed_out, "HDFS client retired");
            current.timeouts = current.timeouts.wrapping_add(usize::from(timed_out));
            current.session = None;
        }
    }

    /// A new ticket cache for later sessions: the tickets in this one may be what was refused.
    fn replace_cache(&self) {
        let mut current = self.lock();
        if current.cache_since.is_none_or(|since| since.elapsed() >= CACHE_AGE_MIN) {
            current.cache = current.cache.wrapping_add(1);
            current.cache_since = Some(Instant::now());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        // Nothing panics while holding it, and every state of it is a good one.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
use tracing::debug;

use super::kerberos::{self, Login};
use super::site::Site;
use crate::destination::Options;
use crate::destination::error::Cause;

/// Threads of a session: one may be held by a name lookup or by Kerberos, which block.
const THREADS: usize = 2;

/// How long a ticket cache with which logins fail is kept at least: an old one is never freed.
const CACHE_AGE_MIN: Duration = Duration::from_mins(10);

/// A client and the runtime that all its tasks and sockets live on.
#[derive(Debug)]
pub(in crate::destination) struct Session {
    client: Client,
    site: Site,
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
    pub(super) async fn run<T, F>(&self, limit: Duration, call: F) -> Result<T, Cause>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, HdfsError>> + Send + 'static,
    {
        let result = run_on(self.handle(), limit, call).await;
        if result.as_ref().err().is_none_or(is_an_answer) {
            self.connected.store(true, Ordering::Relaxed);
        }
        let connected = self.connected.load(Ordering::Relaxed);
        result.map_err(|cause| self.login.explain(cause, connected))
    }
}

/// See [`Session::run`].
pub(super) async fn run_on<T, F>(handle: &Handle, limit: Duration, call: F) -> Result<T, Cause>
where
    T: Send + 'static,
    F: Future<Output = Result<T, HdfsError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn_on(call, handle);
    match tokio::time::timeout(limit, tasks.join_next()).await {
        Ok(ended) => Ok(ended.expect("one task was spawned")??),
        Err(_) => Err(Cause::TimedOut { limit }),
    }
}

/// A runtime that may be dropped anywhere, also by a task: it never waits for its own.
#[derive(Debug)]
struct OwnedRuntime(Option<Runtime>);

impl OwnedRuntime {
    fn new() -> Result<Self, Cause> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(THREADS).thread_name("hdfs").enable_all().build()?;
        Ok(Self(Some(runtime)))
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
    authority: String,
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
    /// The number of the ticket cache in memory, and when it became the current one.
    cache: usize,
    cache_since: Option<Instant>,
}

impl Sessions {
    pub(super) fn new(authority: &str, options: &Options) -> Self {
        let (authority, options) = (authority.to_owned(), options.clone());
        Self { authority, options, current: Mutex::default() }
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The current session, or a new one. Nothing is connected yet.
    pub(super) async fn get(&self) -> Result<Arc<Session>, Cause> {
        let (timeouts, cache) = {
            let current = self.lock();
            if let Some(session) = &current.session {
                return Ok(Arc::clone(session));
            }
            (current.timeouts, current.cache)
        };
        let made = Arc::new(self.make(timeouts, cache).await?);
        // Another call may have made one meanwhile; then that one is used, and ours ends.
        Ok(Arc::clone(self.lock().session.get_or_insert(made)))
    }

    async fn make(&self, timeouts: usize, cache: usize) -> Result<Session, Cause> {
        let runtime = OwnedRuntime::new()?;
        let handle = runtime.handle().clone();
        let (authority, options) = (self.authority.clone(), self.options.clone());
        // Reading the XML and looking up names block.
        let building = tokio::task::spawn_blocking(move || {
            let site = Site::read(options.hadoop_conf_dir.as_deref())?;
            let mut settings = site.settings(&authority, options.data_timeout, timeouts);
            if options.kerberos.is_some() {
                settings.extend(site.kerberos_settings());
            }
            let is_secured = options.kerberos.is_some() || site.wants_kerberos();
            let mut builder = ClientBuilder::new()
                .with_url(format!("hdfs://{authority}"))
                .with_config(settings)
                .with_io_runtime(handle);
            if let Some(kerberos) = &options.kerberos {
                builder = kerberos.apply(builder, cache)?;
            }
            if let Some(dir) = site.dir() {
                builder = builder.with_config_dir(dir);
            }
            if let Some(user) = options.user {
                builder = builder.with_user(user);
            }
            let login = if is_secured { Login::Kerberos(options.kerberos) } else { Login::Simple };
            Ok::<_, Cause>((builder.build()?, site, login))
        });
        let limit = self.options.rpc_timeout;
        match tokio::time::timeout(limit, building).await {
            Ok(ended) => {
                let (client, site, login) = ended??;
                let connected = AtomicBool::new(false);
                Ok(Session { client, site, runtime, login, connected })
            }
            Err(_) => Err(Cause::TimedOut { limit }),
        }
    }

    /// Judges a failed call: if it says anything about the connection, later calls get a new one.
    pub(super) fn after_failure(&self, session: &Arc<Session>, cause: &Cause) {
        let timed_out = cause.is_timeout();
        if cause.classify().1 == kerberos::REASON {
            self.replace_cache();
        }
        if timed_out || !is_an_answer(cause) {
            self.retire(session, timed_out);
        }
    }

    /// Keeps later calls from using this session.
    pub(super) fn retire(&self, session: &Arc<Session>, timed_out: bool) {
        let mut current = self.lock();
        if current.session.as_ref().is_some_and(|used| Arc::ptr_eq(used, session)) {
            debug!(authority = %self.authority, timed_out, "HDFS client retired");
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

/// Whether a `NameNode` answered, so that the connection to it is in order.
fn is_an_answer(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Hdfs(
            HdfsError::RPCError(..) | HdfsError::AlreadyExists(_) | HdfsError::FileNotFound(_)
        )
    )
}

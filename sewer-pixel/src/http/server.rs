//! The pixel port: its workers, and how it stops.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::connections::Connections;
use super::worker::{Shared, Worker};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::net::listen::Listening;

/// How often a stop looks whether all connections are closed.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// The running pixel port. Dropping it ends all at once: the port and every connection are closed.
#[derive(Debug)]
pub(crate) struct PixelServer {
    workers: Vec<WorkerThread>,
    metrics: Arc<Metrics>,
    stopping: watch::Sender<bool>,
    /// Ends when no worker accepts any more.
    accepting: mpsc::Receiver<()>,
    drain_timeout: Duration,
}

#[derive(Debug)]
struct WorkerThread {
    /// Ends the thread, with all of its connections, when it is dropped.
    ends: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl PixelServer {
    /// Starts a worker for each of the sockets, which may have so many connections.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(crate) fn start(
        listening: Listening,
        connections_max: usize,
        config: &Config,
        shared: &Shared,
    ) -> io::Result<Self> {
        let (stopping, stopping_seen) = watch::channel(false);
        let (accepts, accepting) = mpsc::channel(1);
        let is_inherited = listening.is_inherited;
        let mut workers = Vec::new();
        for (number, listener) in listening.listeners.into_iter().enumerate() {
            let (config, shared) = (config.pixel.clone(), shared.clone());
            let (stopping, accepts) = (stopping_seen.clone(), accepts.clone());
            let (ends, ended) = oneshot::channel();
            let run = move || {
                let metrics = Arc::clone(&shared.metrics);
                actix_web::rt::Runtime::new()?.block_on(async move {
                    let connections = Connections::start(
                        (&config).into(),
                        connections_max,
                        metrics,
                        stopping.clone(),
                    );
                    let worker = Worker::new(shared, connections, config.proxy_protocol);
                    let worker = Rc::new(worker);
                    // In a task of its own: the event loop polls what it blocks on in every turn.
                    actix_web::rt::spawn(async move {
                        let _accepts = accepts;
                        if let Err(error) = worker.accept(listener, is_inherited, stopping).await {
                            tracing::error!(%error, "an HTTP worker accepts no connections");
                        }
                    });
                    // The connections go on until nobody waits for them any more.
                    let _ = ended.await;
                    Ok(())
                })
            };
            let thread = std::thread::Builder::new().name(format!("http-{number}")).spawn(run)?;
            workers.push(WorkerThread { ends: Some(ends), thread: Some(thread) });
        }
        let (metrics, drain_timeout) = (Arc::clone(&shared.metrics), config.pixel.drain_timeout);
        Ok(Self { workers, metrics, stopping, accepting, drain_timeout })
    }

    /// Stops: no new connections, answers for the requests that have come, then the end. Idle
    /// connections are closed; those in use are told to close by their next answer. The state in
    /// the metrics must say before that the pixel drains.
    pub(crate) async fn stop(mut self) {
        self.stopping.send_replace(true);
        let drained = async {
            // What waits in the queue of a socket of ours is accepted before.
            let _ = self.accepting.recv().await;
            while self.metrics.connections() > 0 {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        // What is left after that is cut.
        let _ = tokio::time::timeout(self.drain_timeout, drained).await;
    }
}

impl Drop for PixelServer {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
        for worker in &mut self.workers {
            worker.ends.take();
        }
        for worker in &mut self.workers {
            match worker.thread.take().map(JoinHandle::join) {
                Some(Ok(Err(error))) => tracing::error!(%error, "an HTTP worker has ended"),
                Some(Err(_)) => tracing::error!("an HTTP worker has panicked"),
                Some(Ok(Ok(()))) | None => {}
            }
        }
    }
}

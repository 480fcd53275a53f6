//! A destination that fails at a chosen call, or is dead from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sewer_shipper::destination::{
    self, Chunks, CreateOptions, Destination, DestinationError, Entries, Output, Result,
};

/// A destination whose n-th call fails, before or after it has had its effect. Only a fake can
/// fail at a chosen call; the calls themselves are those of the real local destination.
#[derive(Debug)]
pub struct Failing {
    pub inner: Arc<dyn Destination>,
    pub script: Arc<Script>,
}

#[derive(Debug)]
pub struct Script {
    calls: AtomicUsize,
    fails_at: usize,
    after_effect: bool,
    /// Whether no later call has an effect either, as when the process was killed.
    is_kill: bool,
}

impl Script {
    pub fn without_failure() -> Arc<Self> {
        Self::failing(usize::MAX, false)
    }

    pub fn failing_at(fails_at: usize) -> Arc<Self> {
        Self::failing(fails_at, false)
    }

    /// The call of that number fails, with its effect or without.
    pub fn failing(fails_at: usize, after_effect: bool) -> Arc<Self> {
        let calls = AtomicUsize::new(0);
        Arc::new(Self { calls, fails_at, after_effect, is_kill: false })
    }

    /// The call of that number is the last one that has an effect, or the first that has none.
    pub fn killing(fails_at: usize, after_effect: bool) -> Arc<Self> {
        let calls = AtomicUsize::new(0);
        Arc::new(Self { calls, fails_at, after_effect, is_kill: true })
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let is_after = self.is_kill && call > self.fails_at;
        if call != self.fails_at && !is_after {
            return work.await;
        }
        if self.after_effect && !is_after {
            drop(work.await?);
        }
        Err(refusal().await)
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn has_failed(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > self.fails_at
    }
}

/// An error of the real destination: what reading a missing file says.
async fn refusal() -> DestinationError {
    let root = destination::open("file:///", destination::Options::default());
    match root.unwrap().read("/nonexistent").await {
        Err(error) => error,
        Ok(mut chunks) => chunks.next().await.expect("an error").unwrap_err(),
    }
}

#[async_trait]
impl Destination for Failing {
    async fn create(&self, path: &str, options: CreateOptions) -> Result<Box<dyn Output>> {
        let inner = self.script.call(self.inner.create(path, options)).await?;
        Ok(Box::new(FailingOutput { inner, script: Arc::clone(&self.script) }))
    }
    async fn length(&self, path: &str) -> Result<Option<u64>> {
        self.script.call(self.inner.length(path)).await
    }
    async fn settle(&self, path: &str) -> Result<()> {
        self.script.call(self.inner.settle(path)).await
    }
    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.script.call(self.inner.rename(from, to)).await
    }
    async fn delete(&self, path: &str) -> Result<bool> {
        self.script.call(self.inner.delete(path)).await
    }
    async fn list(&self, dir: &str) -> Result<Entries> {
        self.script.call(self.inner.list(dir)).await
    }
    async fn read(&self, path: &str) -> Result<Chunks> {
        self.inner.read(path).await
    }
    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct FailingOutput {
    inner: Box<dyn Output>,
    script: Arc<Script>,
}

#[async_trait]
impl Output for FailingOutput {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.script.call(self.inner.write(data)).await
    }
    async fn close(self: Box<Self>) -> Result<u64> {
        let Self { inner, script } = *self;
        script.call(inner.close()).await
    }
}

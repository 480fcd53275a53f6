//! Publishing: a confirmed temporary file gets its final name, exactly once.
//!
//! The function is written to be called again, by the same process or by the next one, until it
//! says that the file is published. It looks before it acts and after, and it never overwrites.

use super::contract::Destination;
use super::error::{Cause, DestinationError, Kind, Result};
use super::fingerprint::Fingerprint;

const PUBLISH: &str = "publish";

/// How a file came to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// By this call.
    Now,
    /// By an earlier one whose outcome was unknown or forgotten.
    Already,
}

/// Renames `temporary`, a file that was confirmed with `content`, to `final_name`.
///
/// A file under the final name is ours only if its content is: it is read, and a leftover temporary
/// file is then removed. Any other file is [`Kind::Conflict`] and both files stay untouched.
/// Neither file there is [`Kind::NotFound`]: the shipment has to be written again.
///
/// Only a file whose writer never failed may be passed in: its content is not read again.
pub async fn publish(
    destination: &dyn Destination,
    temporary: &str,
    final_name: &str,
    content: Fingerprint,
) -> Result<Published> {
    if is_published(destination, final_name, content).await? {
        destination.delete(temporary).await?;
        return Ok(Published::Already);
    }
    // A file that can still grow must never get the final name.
    destination.settle(temporary).await?;
    match destination.length(temporary).await? {
        Some(found) if found == content.bytes => {}
        Some(found) => {
            let cause = Cause::Length { expected: content.bytes, found };
            return Err(failure(temporary, cause));
        }
        None => return Err(failure(temporary, Cause::Missing)),
    }
    match destination.rename(temporary, final_name).await {
        // What was renamed is what was confirmed.
        Ok(()) if has_length(destination, final_name, content).await? => Ok(Published::Now),
        Ok(()) => Err(failure(final_name, Cause::Missing)),
        Err(error) if !may_have_happened(&error) => Err(error),
        Err(_) if is_published(destination, final_name, content).await? => {
            // If somebody else made the final file, ours is still there.
            destination.delete(temporary).await?;
            Ok(Published::Now)
        }
        Err(error) => Err(error),
    }
}

/// Tells whether a failed rename may still have happened: its answer was lost, or another one that
/// had timed out earlier was carried out meanwhile.
fn may_have_happened(error: &DestinationError) -> bool {
    matches!(error.kind(), Kind::Unknown | Kind::AlreadyExists | Kind::NotFound)
}

/// Tells whether the final name holds a file of this content, which is read. Its name is durable
/// then.
///
/// # Errors
/// [`Kind::Conflict`] if another file is there, and whatever the destination says.
pub async fn is_published(
    destination: &dyn Destination,
    name: &str,
    content: Fingerprint,
) -> Result<bool> {
    if !has_length(destination, name, content).await? {
        return Ok(false);
    }
    // Whoever renamed it may not have come to make that durable.
    destination.settle(name).await?;
    let found = Fingerprint::read(destination, name).await?;
    if found == content {
        return Ok(true);
    }
    Err(failure(name, Cause::Stranger { expected: content, found }))
}

/// Tells whether there is a file, which must be as long as ours.
async fn has_length(
    destination: &dyn Destination,
    name: &str,
    content: Fingerprint,
) -> Result<bool> {
    match destination.length(name).await? {
        None => Ok(false),
        Some(found) if found == content.bytes => Ok(true),
        Some(found) => Err(failure(name, Cause::Conflict { expected: content.bytes, found })),
    }
}

fn failure(target: &str, cause: Cause) -> DestinationError {
    DestinationError::new(PUBLISH, target, cause)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::super::{Chunks, CreateOptions, Entries, Options, Output, open};
    use super::*;

    const DATA: Bytes = Bytes::from_static(b"data");

    /// What becomes of a rename.
    #[derive(Debug)]
    enum Fate {
        RequestLost,
        AnswerLost,
        /// Somebody makes the same file under the final name first.
        Overtaken,
    }

    #[derive(Debug)]
    struct Fateful {
        inner: Arc<dyn Destination>,
        fate: Fate,
    }

    #[async_trait]
    impl Destination for Fateful {
        async fn create(&self, path: &str, options: CreateOptions) -> Result<Box<dyn Output>> {
            self.inner.create(path, options).await
        }

        async fn length(&self, path: &str) -> Result<Option<u64>> {
            self.inner.length(path).await
        }

        async fn settle(&self, path: &str) -> Result<()> {
            self.inner.settle(path).await
        }

        async fn rename(&self, from: &str, to: &str) -> Result<()> {
            match self.fate {
                Fate::RequestLost => {}
                Fate::AnswerLost => self.inner.rename(from, to).await?,
                Fate::Overtaken => {
                    write(&*self.inner, to).await;
                    return self.inner.rename(from, to).await;
                }
            }
            Err(DestinationError::new("rename", from, Cause::TimedOut { limit: Duration::ZERO }))
        }

        async fn delete(&self, path: &str) -> Result<bool> {
            self.inner.delete(path).await
        }

        async fn list(&self, dir: &str) -> Result<Entries> {
            self.inner.list(dir).await
        }

        async fn read(&self, path: &str) -> Result<Chunks> {
            self.inner.read(path).await
        }

        fn describe(&self) -> String {
            self.inner.describe()
        }
    }

    async fn write(destination: &dyn Destination, path: &str) {
        let mut output = destination.create(path, CreateOptions::default()).await.expect("create");
        output.write(DATA).await.expect("write");
        assert_eq!(output.close().await.expect("close"), 4);
    }

    /// Publishes with that fate and then without it; and what is left under the temporary name
    /// between the two.
    async fn publish_twice(fate: Fate) -> (Result<Published>, Option<u64>, Result<Published>) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let uri = format!("file://{}", dir.path().display());
        let inner = open(&uri, Options::default()).expect("a valid URI");
        write(&*inner, "/.a.1.tmp").await;
        let fateful = Fateful { inner: Arc::clone(&inner), fate };
        let first = publish(&fateful, "/.a.1.tmp", "/a", Fingerprint::of(&DATA)).await;
        let left = inner.length("/.a.1.tmp").await.expect("look");
        let second = publish(&*inner, "/.a.1.tmp", "/a", Fingerprint::of(&DATA)).await;
        (first, left, second)
    }

    #[tokio::test]
    async fn a_rename_whose_answer_was_lost_is_found_to_have_happened() {
        let (first, left, second) = publish_twice(Fate::AnswerLost).await;
        assert_eq!(first.expect("it is there"), Published::Now);
        assert_eq!(left, None);
        assert_eq!(second.expect("it is still there"), Published::Already);
    }

    #[tokio::test]
    async fn a_rename_whose_request_was_lost_is_unknown_and_can_be_repeated() {
        let (first, left, second) = publish_twice(Fate::RequestLost).await;
        assert!(first.expect_err("it did not happen").outcome_unknown());
        assert_eq!(left, Some(4));
        assert_eq!(second.expect("nothing is in the way"), Published::Now);
    }

    #[tokio::test]
    async fn nothing_is_left_under_the_temporary_name_when_somebody_else_made_the_final_one() {
        let (first, left, second) = publish_twice(Fate::Overtaken).await;
        assert_eq!(first.expect("it is there"), Published::Now);
        assert_eq!(left, None);
        assert_eq!(second.expect("it is still there"), Published::Already);
    }
}

//! The configuration read again while the daemon runs: on SIGHUP, `systemctl reload`.
//!
//! A reload goes all the way or changes nothing: the file is read and checked as at a start, then
//! every part of the daemon prepares what could fail, and only when all have done so they switch.
//! Each part says which keys it takes; a key that changed and that nobody takes is named in the
//! log and has its new value after a restart.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::config::flat;
use crate::logging::LogLevel;
use crate::program::{Configuration, Sources};

/// A value that is read all the time and replaced now and then. Whoever holds one goes on with it.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// The first value.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value as it is now.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

/// What a part does once all parts are ready. It cannot fail.
pub type Switch = Box<dyn FnOnce() + Send>;

type Prepare<C> = Box<dyn Fn(&C) -> Result<Switch, String> + Send>;

/// Reads the configuration again and hands it to the parts of the daemon.
pub struct Reloader<C> {
    sources: Sources,
    /// What the process was started with.
    started: C,
    /// What the last reload brought.
    latest: C,
    parts: Vec<Prepare<C>>,
    keys: Vec<&'static str>,
}

impl<C> fmt::Debug for Reloader<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The keys whose values a reload found changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those with their new values now.
    pub taken: Vec<String>,
    /// Those with their new values after a restart.
    pub after_restart: Vec<String>,
}

impl<C: Configuration> Reloader<C> {
    /// Of a daemon that runs with `running`. `log.level` is already taken.
    pub fn new(sources: Sources, running: C, log: LogLevel) -> Self {
        let (started, latest) = (running.clone(), running);
        let mut reloader = Self { sources, started, latest, parts: Vec::new(), keys: Vec::new() };
        reloader.part(&["log.level"], move |config| {
            let (log, filter) = (log.clone(), log.filter(&config.log().level)?);
            Ok(Box::new(move || log.set(filter)))
        });
        reloader
    }

    /// Adds a part of the daemon that takes new values of `keys`; the name of a section stands for
    /// all in it. `prepare` gets the whole configuration, also if none of these keys has changed:
    /// a file that a key names may have. It does what can fail and returns the switch.
    pub fn part(
        &mut self,
        keys: &[&'static str],
        prepare: impl Fn(&C) -> Result<Switch, String> + Send + 'static,
    ) {
        self.keys.extend(keys);
        self.parts.push(Box::new(prepare));
    }

    /// Reads the configuration again, and says in the log what came of it.
    pub fn reload(&mut self) {
        match self.try_reload() {
            Ok(Changes { taken, after_restart }) => {
                for key in after_restart {
                    tracing::warn!("key `{key}` changed; takes effect after a restart");
                }
                tracing::info!(changed = taken.join(", "), "configuration reloaded");
            }
            Err(error) => {
                tracing::error!(error, "configuration not reloaded, nothing is changed");
            }
        }
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it; then nothing has changed.
    pub fn try_reload(&mut self) -> Result<Changes, String> {
        let new: C = self.sources.load()?;
        let switches: Vec<_> =
            self.parts.iter().map(|prepare| prepare(&new)).collect::<Result<_, _>>()?;
        let is_taken = |key: &String| self.keys.iter().any(|taken| covers(taken, key));
        let mut taken = changed(&self.latest, &new);
        taken.retain(is_taken);
        // Against the start, so that each reload names what still waits for a restart.
        let mut after_restart = changed(&self.started, &new);
        after_restart.retain(|key| !is_taken(key));
        for switch in switches {
            switch();
        }
        self.latest = new;
        Ok(Changes { taken, after_restart })
    }
}

/// Whether a key is `taken` or in the section of that name.
fn covers(taken: &str, key: &str) -> bool {
    key.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The keys with another value, in order.
fn changed(old: &impl Serialize, new: &impl Serialize) -> Vec<String> {
    let (old, new) = (flat(old), flat(new));
    let mut keys: Vec<_> = old
        .iter()
        .filter(|(key, value)| new.get(*key) != Some(value))
        .map(|(key, _)| key)
        .collect();
    keys.extend(new.keys().filter(|key| !old.contains_key(*key)));
    keys.sort();
    keys.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_key_with_another_value_is_named() {
        let old = json!({"a": {"x": 1, "y": [1, 2]}, "b": {"gone": "1"}, "same": 1});
        let new = json!({"a": {"x": 2, "y": [2, 1]}, "c": {"new": {"deep": 1}}, "same": 1});
        assert_eq!(changed(&old, &new), ["a.x", "a.y", "b.gone", "c.new.deep"]);
        assert_eq!(changed(&old, &old), [""; 0]);
    }

    #[test]
    fn a_section_stands_for_all_in_it_and_for_no_other_key() {
        assert!(covers("event", "event.static.dc") && covers("log.level", "log.level"));
        assert!(!covers("event", "events.x") && !covers("event.drop", "event"));
    }
}

//! The policy in force, which a reload replaces while requests are answered.
//!
//! Each worker keeps its own reference and looks at one number per request, which it shares with
//! the others but nobody writes; a request keeps the policy that it began with.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Policy;

/// What all workers share.
#[derive(Debug)]
pub struct Policies {
    generation: AtomicU64,
    latest: Mutex<Arc<Policy>>,
}

impl Policies {
    /// Begins with a policy.
    pub fn new(policy: Policy) -> Arc<Self> {
        Arc::new(Self { generation: AtomicU64::new(0), latest: Mutex::new(Arc::new(policy)) })
    }

    /// Requests that come from now on are under this policy.
    pub fn replace(&self, mut policy: Policy) {
        let mut latest = self.lock();
        policy.privacy.address.inherit_key_from(&latest.privacy.address);
        *latest = Arc::new(policy);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// A worker's own reference.
    pub fn follow(self: &Arc<Self>) -> Current {
        let seen = RefCell::new(self.latest());
        Current { policies: Arc::clone(self), seen }
    }

    /// The policy in force, with its number.
    fn latest(&self) -> (u64, Rc<Held>) {
        let latest = self.lock();
        (self.generation.load(Ordering::Acquire), Rc::new(Held(Arc::clone(&latest))))
    }

    /// A policy is whole, whoever panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, Arc<Policy>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's reference to a policy. Its holders are counted by the worker alone: a count that all
/// workers write would slow each of them.
#[derive(Debug)]
pub struct Held(Arc<Policy>);

impl Deref for Held {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0
    }
}

/// A worker's view of the policy in force.
#[derive(Debug)]
pub struct Current {
    policies: Arc<Policies>,
    seen: RefCell<(u64, Rc<Held>)>,
}

impl Current {
    /// The policy for a request that comes now.
    pub fn get(&self) -> Rc<Held> {
        let mut seen = self.seen.borrow_mut();
        if seen.0 != self.policies.generation.load(Ordering::Acquire) {
            *seen = self.policies.latest();
        }
        Rc::clone(&seen.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, OnFull};

    fn policy(on_full: &str) -> Policy {
        let text = format!("[wal]\non_full = \"{on_full}\"\n");
        Policy::new(&toml::from_str::<Config>(&text).unwrap()).unwrap()
    }

    #[test]
    fn a_request_keeps_the_policy_it_began_with_and_the_next_one_has_the_new() {
        let policies = Policies::new(policy("reject"));
        let current = policies.follow();
        let before = current.get();
        policies.replace(policy("drop"));
        assert_eq!(before.on_full(), OnFull::Reject);
        assert_eq!(current.get().on_full(), OnFull::Drop);
        assert_eq!(policies.follow().get().on_full(), OnFull::Drop);
    }
}

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tidegate_delivery::{Held, Lease};
use tidegate_model::{Namespace, RunId};
use tokio::time::Instant;

/// Who holds what, and until when.
#[derive(Default)]
pub(crate) struct Leases {
    by_run: HashMap<RunId, Granted>,
    by_expiry: BTreeSet<(Instant, RunId)>,
}

struct Granted {
    lease: Lease,
    expires: Instant,
    /// What keeps the run from beginning.
    hindrance: String,
}

impl Leases {
    pub(crate) fn grant(&mut self, lease: &Lease, expires: Instant) {
        let run_id = lease.held.run_id;
        if let Some(known) = self.by_run.get(&run_id) {
            if known.lease.held.epoch > lease.held.epoch {
                return;
            }
            self.by_expiry.remove(&(known.expires, run_id));
        }
        self.by_run.insert(run_id, Granted { lease: lease.clone(), expires, hindrance: String::new() });
        self.by_expiry.insert((expires, run_id));
    }

    pub(crate) fn renew(
        &mut self,
        namespace: &Namespace,
        held: Held,
        hindrance: &str,
        expires: Instant,
    ) -> bool {
        let Some(known) = self.by_run.get_mut(&held.run_id) else { return false };
        if known.lease.held != held || known.lease.namespace != *namespace {
            return false;
        }
        self.by_expiry.remove(&(known.expires, held.run_id));
        known.expires = expires;
        hindrance.clone_into(&mut known.hindrance);
        self.by_expiry.insert((expires, held.run_id))
    }

    pub(crate) fn release(&mut self, held: Held) {
        if let Some(known) = self.by_run.get(&held.run_id)
            && known.lease.held.epoch <= held.epoch
        {
            self.by_expiry.remove(&(known.expires, held.run_id));
            self.by_run.remove(&held.run_id);
        }
    }

    pub(crate) fn expired(&mut self, limit: usize, judge_for: Duration) -> Vec<Lease> {
        let now = Instant::now();
        let due = self.by_expiry.iter().take_while(|(expiry, _)| *expiry <= now).take(limit);
        let due: Vec<_> = due.copied().collect();
        let mut leases = Vec::with_capacity(due.len());
        for (expiry, run_id) in due {
            self.by_expiry.remove(&(expiry, run_id));
            let known = self.by_run.get_mut(&run_id).expect("an expiry belongs to a lease");
            known.expires = now + judge_for;
            self.by_expiry.insert((known.expires, run_id));
            leases.push(known.lease.clone());
        }
        leases
    }

    pub(crate) fn is_held(&self, held: Held) -> bool {
        self.by_run.get(&held.run_id).is_some_and(|known| known.lease.held == held)
    }

    /// Who holds a run, for how long yet, and what keeps it from beginning.
    pub(crate) fn holder(&self, run_id: RunId) -> Option<(&Lease, Duration, &str)> {
        let Granted { lease, expires, hindrance } = self.by_run.get(&run_id)?;
        Some((lease, expires.saturating_duration_since(Instant::now()), hindrance))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_run.len()
    }
}

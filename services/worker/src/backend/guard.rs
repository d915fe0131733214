//! What keeps a job from being left behind.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// Where a job is, by which it can be ended.
pub(super) trait Place: Clone + Send + 'static {
    /// Ends the job that is there, at once, and takes it away.
    fn end(self) -> impl Future<Output = ()> + Send;
}

/// Ends a job when it is dropped.
pub(super) struct Guard<P: Place> {
    place: P,
    /// Cancelled: the job stays.
    stays: CancellationToken,
}

impl<P: Place> Guard<P> {
    /// For the job that is at `place`, or is about to be.
    pub(super) fn new(place: P) -> Self {
        Self { place, stays: CancellationToken::new() }
    }

    /// Where the job is.
    pub(super) fn place(&self) -> &P {
        &self.place
    }

    /// It is somebody else's to end it.
    pub(super) fn let_go(&self) {
        self.stays.cancel();
    }
}

impl<P: Place> Drop for Guard<P> {
    fn drop(&mut self) {
        if !self.stays.is_cancelled()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(self.place.clone().end());
        }
    }
}

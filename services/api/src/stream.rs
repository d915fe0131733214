use std::pin::Pin;

use futures::Stream;
use tidegate_engine::EngineError;
use tidegate_wire::to_status;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What a server-streaming call answers.
pub(crate) type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream that makes its next message only when the caller has taken the last one, and that ends with UNAVAILABLE
/// when the service stops. `next` gives `None` at the end.
pub(crate) fn pulled<S, T>(state: S, stop: CancellationToken) -> ResponseStream<T>
where
    S: Pull<T> + Send + 'static,
    T: Send + 'static,
{
    Box::pin(futures::stream::unfold(Some((state, stop)), |open| async {
        let (mut state, stop) = open?;
        match stop.run_until_cancelled(state.pull()).await {
            Some(Ok(Some(message))) => Some((Ok(message), Some((state, stop)))),
            Some(Ok(None)) => None,
            Some(Err(status)) => Some((Err(status), None)),
            None => Some((Err(to_status(&EngineError::Draining)), None)),
        }
    }))
}

/// Something that makes messages one by one.
pub(crate) trait Pull<T> {
    /// The next message; `None`: the end.
    fn pull(&mut self) -> impl Future<Output = Result<Option<T>, Status>> + Send;
}

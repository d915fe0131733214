use tidegate_model::limits;
use tonic::Request;

/// The metadata in which a client says who asks.
const ACTOR: &str = "tidegate-actor";

/// Who asks, for the history: what the client says of itself, or its address.
pub(crate) fn actor<T>(request: &Request<T>) -> Option<String> {
    let said = request.metadata().get(ACTOR).and_then(|value| value.to_str().ok()).map(str::trim);
    match said {
        // Metadata is visible ASCII, so that any byte is a boundary.
        Some(said) if !said.is_empty() => Some(said[..said.len().min(limits::MAX_ACTOR_SIZE)].to_owned()),
        _ => request.remote_addr().map(|address| address.to_string()),
    }
}

//! The tower layers around all that a port serves.

use std::{any::Any, collections::HashMap};

use axum::{Router, body::Body, response::Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    classify::{GrpcCode, GrpcErrorsAsFailures, SharedClassifier},
    trace::{DefaultOnFailure, TraceLayer},
};
use tracing::{Level, error};

use super::observe::ObserveLayer;
use crate::{supervisor::panic_message, trace::server_span};

/// Outermost first, each with its reason:
///
/// 1. trace: everything below happens in the request's span. A client's mistake is not our failure.
/// 2. observe: counts what the caller sees, so it lies around all that can answer.
/// 3. large messages: what tonic refuses by itself gets the form of our errors.
/// 4. catch-panic: innermost, so that the answer to a panic is traced and counted like any other.
pub(super) fn around(app: Router, names: &[&'static str]) -> Router {
    let classifier = [
        GrpcCode::Cancelled,
        GrpcCode::InvalidArgument,
        GrpcCode::DeadlineExceeded,
        GrpcCode::NotFound,
        GrpcCode::AlreadyExists,
        GrpcCode::PermissionDenied,
        GrpcCode::ResourceExhausted,
        GrpcCode::FailedPrecondition,
        GrpcCode::Aborted,
        GrpcCode::OutOfRange,
        GrpcCode::Unimplemented,
        GrpcCode::Unavailable, // by design while draining
        GrpcCode::Unauthenticated,
    ]
    .into_iter()
    .fold(GrpcErrorsAsFailures::new(), GrpcErrorsAsFailures::with_success);
    // The cause of an internal error is logged where it happens; this line only tells the rpc.
    let trace = TraceLayer::new(SharedClassifier::new(classifier))
        .make_span_with(server_span as fn(&axum::extract::Request) -> tracing::Span)
        .on_request(())
        .on_response(())
        .on_body_chunk(())
        .on_eos(())
        .on_failure(DefaultOnFailure::new().level(Level::WARN));
    app.layer(
        ServiceBuilder::new()
            .layer(trace)
            .layer(ObserveLayer::new(names))
            .map_response(|response: http::Response<_>| explain_large_message(response.map(Body::new)))
            .layer(CatchPanicLayer::custom(answer_panic as fn(Box<dyn Any + Send>) -> http::Response<Body>)),
    )
}

/// tonic refuses a message above the bound with OUT_OF_RANGE and no details, before any handler sees it.
fn explain_large_message(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if status.code() != Code::OutOfRange || !status.message().contains("message length too large") {
        return response;
    }
    let details = ErrorDetails::with_error_info("MESSAGE_TOO_LARGE", "tidegate", HashMap::new());
    let message = format!("{}; send less in one call", status.message().trim_start_matches("Error, "));
    Status::with_error_details(Code::InvalidArgument, message, details).into_http()
}

fn answer_panic(panic: Box<dyn Any + Send>) -> http::Response<Body> {
    error!("a handler panicked: {}", panic_message(&*panic));
    Status::internal("internal error").into_http()
}

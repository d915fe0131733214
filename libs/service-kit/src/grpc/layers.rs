//! The tower layers around all that a port serves.

use std::any::Any;

use axum::Router;
use tonic::Status;
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
/// 3. catch-panic: innermost, so that the answer to a panic is traced and counted like any other.
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
    app.layer(ServiceBuilder::new().layer(trace).layer(ObserveLayer::new(names)).layer(
        CatchPanicLayer::custom(answer_panic as fn(Box<dyn Any + Send>) -> http::Response<axum::body::Body>),
    ))
}

fn answer_panic(panic: Box<dyn Any + Send>) -> http::Response<axum::body::Body> {
    error!("a handler panicked: {}", panic_message(&*panic));
    Status::internal("internal error").into_http()
}

//! The port of a process: gRPC, gRPC-web, health, reflection, probes and metrics.

mod layers;
mod observe;
mod readiness;
mod routes;
mod serve;

pub use routes::GrpcRoutes;
pub use serve::serve_grpc;

/// Whether a request is gRPC or gRPC-web, by its content type.
pub(crate) fn is_grpc(headers: &http::HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

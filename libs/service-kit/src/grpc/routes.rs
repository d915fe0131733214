use std::convert::Infallible;

use axum::response::IntoResponse;
use tokio::sync::watch;
use tonic::{
    body::Body,
    codegen::Service,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

/// The gRPC services and pages of a process, collected before the port opens.
pub struct GrpcRoutes {
    pub(super) services: RoutesBuilder,
    /// The full names of the services, for health and metrics.
    pub(super) names: Vec<&'static str>,
    pub(super) pages: axum::Router,
    /// Whether the process takes work. `None`: from the start to its stop.
    pub(super) ready: Option<watch::Receiver<bool>>,
}

impl GrpcRoutes {
    /// Nothing yet.
    #[expect(clippy::new_without_default, reason = "an empty port is not a sensible default")]
    pub fn new() -> Self {
        Self { services: Routes::builder(), names: Vec::new(), pages: axum::Router::new(), ready: None }
    }

    /// Adds a generated tonic server, with the message sizes it was set up with. Health will report on it by
    /// its full name.
    pub fn add<S>(&mut self, service: S)
    where
        S: Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.services.add_service(service);
        self.names.push(S::NAME);
    }

    /// Has health and `/readyz` say that the process takes work only while `ready` says so, as that of a worker does while
    /// it is connected. `/livez` answers all the same.
    pub fn ready_while(&mut self, ready: watch::Receiver<bool>) {
        self.ready = Some(ready);
    }

    /// Adds pages. A fallback of theirs takes every path that is nothing else, but for gRPC.
    pub fn http(&mut self, router: axum::Router) {
        let pages = std::mem::take(&mut self.pages);
        self.pages = pages.merge(router);
    }
}

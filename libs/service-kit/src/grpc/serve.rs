use std::time::Duration;

use anyhow::Context;
use axum::{extract::Request, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt;
use tracing::{info, warn};

use super::{
    GrpcRoutes, is_grpc, layers,
    readiness::{Readiness, Unready, report},
};
use crate::{Supervisor, metrics};

/// A peer that does not answer a ping for this long is gone. Clients may ping as often as they like.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls and streams that one connection may hold open.
const MAX_CONCURRENT_STREAMS: u32 = 1024;
/// What a stream may have in flight: small, so that a slow handler holds its caller back.
const STREAM_WINDOW: u32 = 256 << 10;
/// What a connection may have in flight: large, because h2 kills a connection with many small unread frames
/// once they pass half of this.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// The name of the process as a whole, for health.
const WHOLE: &str = "";
/// How often the metrics recorder tidies up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Serves `routes` on `listener` as the essential task `grpc`, until stop.
///
/// Adds health (by the full name of each service, and `""` for all), reflection v1 and v1alpha over
/// `descriptors` (encoded `FileDescriptorSet`s), gRPC-web, `/livez`, `/readyz` and `/metrics`. An unknown rpc
/// answers UNIMPLEMENTED. While a loop of `tasks` is late, health says NOT_SERVING and `/readyz` 503 (see
/// [`Supervisor::pulses`]); `/livez` answers all the same. At stop they say so, too, no connection is accepted
/// any more, and calls may end; nine tenths of the supervisor's grace cap that. Streams must watch the stop
/// token.
///
/// # Errors
/// A descriptor set cannot be read, or the listener has no address.
pub async fn serve_grpc(
    listener: TcpListener,
    routes: GrpcRoutes,
    descriptors: &'static [&'static [u8]],
    tasks: &Supervisor,
) -> anyhow::Result<()> {
    let GrpcRoutes { mut services, mut names, pages, ready } = routes;
    let (health, health_service) = tonic_health::server::health_reporter();
    let says_so = ready.as_ref().is_some_and(|ready| !*ready.borrow());
    let (unready, reasons) = watch::channel(Unready { says_so, late: Vec::new() });
    report(&health, &names, !says_so).await;
    report(&health, &[WHOLE], !says_so).await;
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        let builder = descriptors
            .iter()
            .fold(builder, |builder, set| builder.register_encoded_file_descriptor_set(set));
        // What is served here, and not all that the descriptors know.
        names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
    };
    services
        .add_service(health_service)
        .add_service(reflection().build_v1().context("read the descriptors for reflection")?)
        .add_service(reflection().build_v1alpha().context("read the descriptors for reflection")?);
    // As a layer of the gRPC routes alone: around the pages it would answer 400 to each of them.
    let grpc =
        services.routes().into_axum_router().reset_fallback().route_layer(tonic_web::GrpcWebLayer::new());

    let stop = tasks.stop_token();
    let app = axum::Router::new()
        .merge(probes(stop.clone(), reasons))
        .merge(grpc)
        .fallback(move |request| other(pages.clone(), request));
    let app = layers::around(app, &names);

    let address = listener.local_addr().context("the listener's address")?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .accept_http1(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(Routes::from(app).prepare());

    names.push(WHOLE);
    let readiness = Readiness {
        says: ready,
        pulses: tasks.pulses().clone(),
        health: health.clone(),
        names: names.clone(),
        unready,
    };
    tasks.essential("readiness", move |stop| readiness.follow(stop));
    let drain_limit = tasks.grace().mul_f64(0.9);
    tasks.essential("grpc", move |stop| async move {
        info!("serving on {address}");
        let on_stop = {
            let stop = stop.clone();
            async move {
                stop.cancelled().await;
                not_serving(health, &names).await;
            }
        };
        let serve = server.serve_with_incoming_shutdown(incoming, on_stop);
        let limit = async {
            stop.cancelled().await;
            tokio::time::sleep(drain_limit).await;
        };
        tokio::select! {
            served = serve => served.context("serve gRPC")?,
            () = limit => warn!("calls were still open {drain_limit:?} after the stop; they are cut"),
        }
        Ok(())
    });
    tasks.optional("metrics-upkeep", |stop| async move {
        let upkeep = async {
            loop {
                metrics::handle().run_upkeep();
                tokio::time::sleep(UPKEEP_INTERVAL).await;
            }
        };
        stop.run_until_cancelled(upkeep).await;
        Ok(())
    });
    Ok(())
}

/// Load balancers look away. Then the watchers' streams end, which would otherwise hold the drain up.
async fn not_serving(mut health: HealthReporter, names: &[&'static str]) {
    for name in names {
        health.set_service_status(name, ServingStatus::NotServing).await;
        health.clear_service_status(name).await;
    }
}

/// `/livez`: the process answers. `/readyz`: it also takes work, and its loops go round. Neither asks a dependency: a
/// database that is away is not mended by restarting us, nor is a loop that hangs because it does.
fn probes(stop: CancellationToken, unready: watch::Receiver<Unready>) -> axum::Router {
    let ready = move || async move {
        if stop.is_cancelled() {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
        } else if !unready.borrow().is_ready() {
            (StatusCode::SERVICE_UNAVAILABLE, unready.borrow().reason())
        } else {
            (StatusCode::OK, "ready\n".to_owned())
        }
    };
    axum::Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(|| async { metrics::handle().render() }))
}

/// What is neither a known rpc nor a probe: an unknown rpc must not be answered with a page.
async fn other(pages: axum::Router, request: Request) -> axum::response::Response {
    if is_grpc(request.headers()) {
        let path = request.uri().path();
        return Status::unimplemented(format!("there is no rpc {path} here")).into_http();
    }
    match pages.oneshot(request).await {
        Ok(response) => response.into_response(),
        Err(never) => match never {},
    }
}

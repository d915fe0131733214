//! One port, as a client sees it.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{net::SocketAddr, time::Duration};

use tidegate_service_kit::{GrpcRoutes, Supervisor, channel, pulse, serve_grpc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tonic::{Code, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

const GRACE: Duration = Duration::from_secs(10);

async fn serve() -> (SocketAddr, Supervisor) {
    let tasks = Supervisor::with_grace(GRACE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut routes = GrpcRoutes::new();
    routes.http(axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" })));
    routes.http(axum::Router::new().route("/panic", axum::routing::get(broken)));
    serve_grpc(listener, routes, &[], &tasks).await.unwrap();
    (address, tasks)
}

async fn broken() -> &'static str {
    panic!("as asked")
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    response
}

#[tokio::test]
async fn one_port_has_health_reflection_probes_pages_and_a_clear_no() {
    let (address, tasks) = serve().await;
    let channel = channel(&format!("http://{address}")).unwrap();

    let check = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(check.into_inner().status(), ServingStatus::Serving);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "grpc.health.v1.Health"), "{list:?}");

    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let path = PathAndQuery::from_static("/tidegate.v1.NoService/Nothing");
    let status =
        grpc.unary(tonic::Request::new(HealthCheckRequest::default()), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");

    for (path, status, text) in [
        ("/livez", "200", "alive"),
        ("/readyz", "200", "ready"),
        ("/hello", "200", "hello"),
        ("/metrics", "200", ""),
        ("/nothing", "404", ""),
        ("/panic", "200", "grpc-status: 13"),
    ] {
        let response = get(address, path).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")) && response.contains(text), "{response}");
    }
    tasks.stop();
    tasks.finished(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_told_to_health_watchers_and_does_not_wait_for_them() {
    let (address, tasks) = serve().await;
    let mut client = HealthClient::new(channel(&format!("http://{address}")).unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    tasks.stop();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap(), None);
    tasks.finished(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn a_process_is_ready_while_it_says_so_and_alive_all_the_same() {
    let tasks = Supervisor::with_grace(GRACE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ready, says) = watch::channel(false);
    let mut routes = GrpcRoutes::new();
    routes.ready_while(says);
    serve_grpc(listener, routes, &[], &tasks).await.unwrap();
    let mut client = HealthClient::new(channel(&format!("http://{address}")).unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    for (is_ready, status, page) in [
        (false, ServingStatus::NotServing, "503"),
        (true, ServingStatus::Serving, "200"),
        (false, ServingStatus::NotServing, "503"),
    ] {
        ready.send_if_modified(|ready| std::mem::replace(ready, is_ready) != is_ready);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), status);
        assert!(get(address, "/readyz").await.starts_with(&format!("HTTP/1.1 {page}")));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    }
    tasks.stop();
    tasks.finished(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_process_whose_loop_hangs_does_not_serve_until_it_goes_on_and_is_alive_all_the_same() {
    let tasks = Supervisor::with_grace_and_patience(GRACE, Duration::from_millis(200));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_grpc(listener, GrpcRoutes::new(), &[], &tasks).await.unwrap();
    let (hangs, seen) = watch::channel(false);
    tasks.essential("sweep", |stop| async move {
        let mut seen = seen;
        let turns = async {
            loop {
                pulse::beat();
                seen.wait_for(|hangs| !hangs).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        stop.run_until_cancelled(turns).await;
        Ok(())
    });
    tasks.essential("idle", |stop| async move {
        pulse::beat();
        pulse::wait();
        stop.cancelled().await;
        Ok(())
    });
    let mut client = HealthClient::new(channel(&format!("http://{address}")).unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    for _ in 0..2 {
        hangs.send_replace(true);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        let page = get(address, "/readyz").await;
        assert!(page.starts_with("HTTP/1.1 503") && page.contains("sweep hangs"), "{page}");
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        hangs.send_replace(false);
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    }
    tasks.stop();
    tasks.finished(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_process_whose_loop_has_ended_does_not_serve() {
    let tasks = Supervisor::with_grace_and_patience(GRACE, Duration::from_millis(200));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_grpc(listener, GrpcRoutes::new(), &[], &tasks).await.unwrap();
    let mut client = HealthClient::new(channel(&format!("http://{address}")).unwrap());
    let mut watch = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    tasks.essential("sweep", |_| async {
        pulse::beat();
        Ok(())
    });
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    tasks.stop();
    tasks.finished(GRACE).await.unwrap();
}

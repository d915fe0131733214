//! Counts and times rpcs by method and status code.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    response::Response,
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::{gauge, histogram};
use tokio::time::Instant;
use tonic::{Code, codegen::BoxFuture};
use tower::{Layer, Service};

use crate::metrics::{RPC_DURATION, RPC_IN_FLIGHT};

/// Labels come from the names of the services served, never from what a caller writes.
#[derive(Clone)]
pub(super) struct ObserveLayer(Arc<HashSet<&'static str>>);

impl ObserveLayer {
    pub(super) fn new(names: &[&'static str]) -> Self {
        Self(Arc::new(names.iter().copied().collect()))
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, names: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    names: Arc<HashSet<&'static str>>,
}

impl<S, B> Service<Request> for Observe<S>
where
    S: Service<Request, Response = http::Response<B>> + Send,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: HttpBody<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let call = Call::of(&request, &self.names);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?.map(Body::new);
            let Some(mut call) = call else { return Ok(response) };
            // An answer without a message has its status in the headers.
            call.note_status(response.headers());
            Ok(response.map(|body| Body::new(Observed { body, call })))
        })
    }
}

/// One rpc; recorded when it is dropped, which is also when the caller goes away.
struct Call {
    service: &'static str,
    method: String,
    started: Instant,
    code: Option<Code>,
}

impl Call {
    fn of(request: &Request, names: &HashSet<&'static str>) -> Option<Self> {
        let (service, method) = request.uri().path().trim_start_matches('/').split_once('/')?;
        let service = *names.get(service)?;
        gauge!(RPC_IN_FLIGHT, "service" => service).increment(1.0);
        Some(Self { service, method: method.to_owned(), started: Instant::now(), code: None })
    }

    fn note_status(&mut self, headers: &http::HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        gauge!(RPC_IN_FLIGHT, "service" => self.service).decrement(1.0);
        // No status: the caller went away before there was one.
        let code = self.code.unwrap_or(Code::Cancelled);
        // An unknown method is a text of the caller's choice; the label must stay closed.
        let method = if code == Code::Unimplemented { "-" } else { &self.method };
        histogram!(RPC_DURATION, "method" => format!("{}/{method}", self.service), "code" => format!("{code:?}"))
            .record(self.started.elapsed().as_secs_f64());
    }
}

/// The body of an answer; it lets the trailers through and reads the status in them.
struct Observed {
    body: Body,
    call: Call,
}

impl HttpBody for Observed {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.note_status(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

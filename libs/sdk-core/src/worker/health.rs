//! What probes ask of a worker, by HTTP: whether its process lives, and whether it takes runs.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{WorkerHealth, WorkerStatus};
use crate::{Client, Error, ErrorKind, runtime};

/// How long a question may take, with its answer. Who asks is near, and says at once what.
const DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of a question, at most.
const MAX_REQUEST: usize = 8 << 10;
/// Questions at once; further ones wait to be accepted.
const MAX_AT_ONCE: usize = 256;
/// How long to wait after the system had no file for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a worker will tell how it is. It is bound before the worker takes runs, which it could not keep without.
#[derive(Debug)]
pub struct HealthListener {
    address: SocketAddr,
    listener: TcpListener,
    runtime: Handle,
}

impl HealthListener {
    /// Listens at `address`: with port 0 at a free one.
    ///
    /// # Errors
    /// `InvalidArgument`: nobody can listen there.
    pub fn bind(client: &Client, address: SocketAddr) -> Result<Self, Error> {
        let runtime = client.runtime().clone();
        let listen = || -> std::io::Result<(SocketAddr, TcpListener)> {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let _in_runtime = runtime.enter();
            let listener = TcpListener::from_std(listener)?;
            Ok((listener.local_addr()?, listener))
        };
        let (address, listener) = listen().map_err(|error| {
            let message = format!(
                "the worker cannot tell its health at {address}: {error}; choose an address of this machine, and a port that \
                 is free"
            );
            Error::new(ErrorKind::InvalidArgument, message)
        })?;
        Ok(Self { address, listener, runtime })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until what this gives is dropped.
    pub(super) fn serve(self, status: watch::Receiver<WorkerStatus>) -> DropGuard {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let Self { listener, runtime, .. } = self;
        runtime::spawn(&runtime.clone(), "health", async move {
            stopped.run_until_cancelled(serve(&runtime, listener, status)).await;
        });
        stop.drop_guard()
    }
}

async fn serve(runtime: &Handle, listener: TcpListener, status: watch::Receiver<WorkerStatus>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let status = status.clone();
                runtime::spawn(runtime, "health answer", async move {
                    // Who asks and goes away, or never says what, gets no answer.
                    let _ = timeout(DEADLINE, answer(stream, status)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("a question for the worker's health was not accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, status: watch::Receiver<WorkerStatus>) -> std::io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 1_024]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let n = stream.read(&mut chunk).await?;
        if n == 0 || request.len() + n > MAX_REQUEST {
            return Ok(());
        }
        request.extend_from_slice(&chunk[..n]);
    }
    let health = status.borrow().health;
    stream.write_all(response(&String::from_utf8_lossy(&request), health).as_bytes()).await?;
    stream.shutdown().await
}

/// The whole answer to a request.
fn response(request: &str, health: WorkerHealth) -> String {
    let mut words = request.split_ascii_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let is_well = health == WorkerHealth::Serving;
    let (status, text) = match (method, path) {
        ("GET" | "HEAD", "/livez") => ("200 OK", "the process lives"),
        ("GET" | "HEAD", "/readyz" | "/health") if is_well => ("200 OK", health.text()),
        ("GET" | "HEAD", "/readyz" | "/health") => ("503 Service Unavailable", health.text()),
        ("GET" | "HEAD", _) => ("404 Not Found", "ask for /livez, /readyz or /health"),
        _ => ("405 Method Not Allowed", "ask with GET"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         connection: close\r\n\r\n",
        text.len() + 1
    );
    if method == "HEAD" { head } else { format!("{head}{text}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_runs_is_ready_and_every_process_lives() {
        use WorkerHealth::{Connecting, Draining, Ended, Lost, Serving};
        for (request, health, expected) in [
            ("GET /livez HTTP/1.1\r\n\r\n", Lost, "200 OK"),
            ("GET /readyz HTTP/1.1\r\n\r\n", Serving, "200 OK"),
            ("GET /health?verbose HTTP/1.0\r\n\r\n", Serving, "200 OK"),
            ("HEAD /readyz HTTP/1.1\r\n\r\n", Connecting, "503 Service Unavailable"),
            ("GET /readyz HTTP/1.1\r\n\r\n", Draining, "503 Service Unavailable"),
            ("GET /health HTTP/1.1\r\n\r\n", Lost, "503 Service Unavailable"),
            ("GET /health HTTP/1.1\r\n\r\n", Ended, "503 Service Unavailable"),
            ("GET / HTTP/1.1\r\n\r\n", Serving, "404 Not Found"),
            ("POST /readyz HTTP/1.1\r\n\r\n", Serving, "405 Method Not Allowed"),
            ("\r\n\r\n", Serving, "405 Method Not Allowed"),
        ] {
            let response = response(request, health);
            assert!(response.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{request:?}: {response}");
            let (_, body) = response.split_once("\r\n\r\n").unwrap_or_default();
            assert_eq!(body.is_empty(), request.starts_with("HEAD"), "{response}");
        }
    }
}

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::Draws;

/// How long a COMMIT is on its way whose sender is gone already.
const LATE: Duration = Duration::from_millis(20);
/// The code of a start-up message of the protocol's version 3; what comes before it asks for encryption.
const START_UP: u32 = 196_608;

/// Stands between a client and a Postgres, and cuts connections just when a COMMIT was sent, so that the client
/// cannot know what became of it. The server gets the COMMIT before the cut, after it, or never.
pub struct PostgresProxy {
    address: SocketAddr,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    commits: AtomicU64,
    cuts: AtomicU64,
}

impl PostgresProxy {
    /// Listens on a free port of this machine for the server at `server` (`host:port`), and cuts `rate` (0 to 1) of
    /// the commits.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(server: String, rate: f64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let counts = Arc::new(Counts::default());
        let plan = Arc::new(Plan { server, rate, draws: Draws::new(), counts: Arc::clone(&counts) });
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let plan = Arc::clone(&plan);
                // A connection that breaks is what this is for.
                connections.spawn(async move { plan.carry(client).await.unwrap_or_default() });
            }
        });
        Self { address, counts, _serving: serving }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many commits came by.
    pub fn n_commits(&self) -> u64 {
        self.counts.commits.load(Ordering::SeqCst)
    }

    /// How many of them were cut off.
    pub fn n_cuts(&self) -> u64 {
        self.counts.cuts.load(Ordering::SeqCst)
    }
}

struct Plan {
    server: String,
    rate: f64,
    draws: Draws,
    counts: Arc<Counts>,
}

impl Plan {
    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(&self.server).await?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
        }
        let (from_client, mut to_client) = client.into_split();
        let (mut from_server, to_server) = server.into_split();
        let cut = CancellationToken::new();
        let back = async {
            let copied = cut.run_until_cancelled(tokio::io::copy(&mut from_server, &mut to_client)).await;
            // The client learns at once that the connection is gone.
            to_client.shutdown().await?;
            copied.transpose()
        };
        let forth = self.forward(from_client, to_server, cut.clone());
        let (back, forth) = tokio::join!(back, forth);
        back.map(|_| ()).and(forth)
    }

    /// Carries messages to the server, and decides about each COMMIT. `cut` silences the way back.
    async fn forward(
        &self,
        mut client: OwnedReadHalf,
        mut server: OwnedWriteHalf,
        cut: CancellationToken,
    ) -> io::Result<()> {
        let forwarded = self.forward_until_cut(&mut client, &mut server, &cut).await;
        cut.cancel();
        forwarded
    }

    async fn forward_until_cut(
        &self,
        client: &mut OwnedReadHalf,
        server: &mut OwnedWriteHalf,
        cut: &CancellationToken,
    ) -> io::Result<()> {
        loop {
            let (code, message) = read_start_up(client).await?;
            server.write_all(&message).await?;
            if code == START_UP {
                break;
            }
        }
        loop {
            let message = read_message(client).await?;
            if !is_commit(&message) {
                server.write_all(&message).await?;
                continue;
            }
            self.counts.commits.fetch_add(1, Ordering::SeqCst);
            let draw = self.draws.next();
            if draw >= self.rate {
                server.write_all(&message).await?;
                continue;
            }
            self.counts.cuts.fetch_add(1, Ordering::SeqCst);
            match draw / self.rate * 3.0 {
                ..1.0 => {
                    cut.cancel();
                    server.write_all(&message).await?;
                }
                ..2.0 => {
                    cut.cancel();
                    tokio::time::sleep(LATE).await;
                    server.write_all(&message).await?;
                }
                _ => cut.cancel(),
            }
            return Ok(());
        }
    }
}

/// A message without a type: length, code, body.
async fn read_start_up(client: &mut OwnedReadHalf) -> io::Result<(u32, Vec<u8>)> {
    let (length, code) = (client.read_u32().await?, client.read_u32().await?);
    let mut message = [length.to_be_bytes(), code.to_be_bytes()].concat();
    message.resize(length as usize, 0);
    client.read_exact(&mut message[8..]).await?;
    Ok((code, message))
}

/// A message: type, length, body.
async fn read_message(client: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let (kind, length) = (client.read_u8().await?, client.read_u32().await?);
    let mut message = vec![kind];
    message.extend(length.to_be_bytes());
    message.resize(1 + length as usize, 0);
    client.read_exact(&mut message[5..]).await?;
    Ok(message)
}

/// A simple query, or a statement to be prepared, whose text is COMMIT.
fn is_commit(message: &[u8]) -> bool {
    match message.split_first() {
        Some((b'Q', rest)) => rest[4..].starts_with(b"COMMIT"),
        Some((b'P', rest)) => rest[4..].split(|byte| *byte == 0).nth(1).is_some_and(|sql| sql == b"COMMIT"),
        _ => false,
    }
}

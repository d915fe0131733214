use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

/// How long a request is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A web server on this machine that notes each request and answers all of them as it was told last: at first 200.
pub struct WebServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

/// What a [`WebServer`] was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebRequest {
    /// `POST /hook?key=1`
    pub target: String,
    /// By their names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What came behind them.
    pub body: Vec<u8>,
}

struct Shared {
    /// The whole answer; `None`: it lets its clients wait.
    answer: watch::Sender<Option<String>>,
    seen: watch::Sender<Vec<WebRequest>>,
}

impl WebServer {
    /// Listens on a free port.
    ///
    /// # Panics
    /// There is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it has an address");
        let answer = Some(answer("200 OK", ""));
        let shared =
            Arc::new(Shared { answer: watch::Sender::new(answer), seen: watch::Sender::new(Vec::new()) });
        let (mut serving, served) = (JoinSet::new(), Arc::clone(&shared));
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&served);
                // Who asked may have gone.
                connections.spawn(async move { serve(client, &shared).await.unwrap_or_default() });
            }
        });
        Self { address, shared, _serving: serving }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…` with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Has it answer so from now on, also those who wait: `503 Service Unavailable`, with further headers behind `\r\n`.
    pub fn answer(&self, head: &str, body: &str) {
        self.shared.answer.send_replace(Some(answer(head, body)));
    }

    /// Has it answer nobody.
    pub fn hold(&self) {
        self.shared.answer.send_replace(None);
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<WebRequest> {
        self.shared.seen.borrow().clone()
    }

    /// The same, once there are `n` requests.
    ///
    /// # Panics
    /// They do not come within two minutes.
    pub async fn until_seen(&self, n: usize) -> Vec<WebRequest> {
        let mut seen = self.shared.seen.subscribe();
        let wait = async { seen.wait_for(|seen| seen.len() >= n).await.map(|seen| seen.clone()) };
        match timeout(PATIENCE, wait).await {
            Ok(seen) => seen.expect("the sender lives as long as the server"),
            Err(_) => panic!("not within {PATIENCE:?}: {n} requests; there are {:?}", self.seen()),
        }
    }
}

fn answer(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

async fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let (mut line, mut headers) = (String::new(), BTreeMap::new());
    client.read_line(&mut line).await?;
    let target = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    loop {
        line.clear();
        client.read_line(&mut line).await?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    client.read_exact(&mut body).await?;
    // As it was told by then: whoever has seen the request may tell it something else.
    let mut answers = shared.answer.subscribe();
    let known = answers.borrow_and_update().clone();
    shared.seen.send_modify(|seen| seen.push(WebRequest { target, headers, body }));
    let answer = match known {
        Some(answer) => answer,
        None => {
            let told = answers.wait_for(Option::is_some).await.map_err(io::Error::other)?;
            told.clone().unwrap_or_default()
        }
    };
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    Through,
    /// They end, and new ones end at once.
    Cut,
    /// They stay open, and nothing passes: as when a cable is pulled.
    Stalled,
}

/// A TCP proxy with a switch, that shares connections out among its targets.
pub(crate) struct Proxy {
    address: SocketAddr,
    switch: watch::Sender<Switch>,
    _server: JoinSet<()>,
}

impl Proxy {
    /// Leads to the `targets` from a port of its own: each connection to the next one in turn that takes it.
    pub async fn start(targets: Vec<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let switch = watch::Sender::new(Switch::Through);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, targets, switch.subscribe()));
        Ok(Self { address, switch, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections, and lets none through for `lasts`.
    pub async fn cut(&self, lasts: Duration) {
        self.switch_for(Switch::Cut, lasts).await;
    }

    /// Holds back what is sent for `lasts`; then it passes.
    pub async fn stall(&self, lasts: Duration) {
        self.switch_for(Switch::Stalled, lasts).await;
    }

    async fn switch_for(&self, switch: Switch, lasts: Duration) {
        self.switch.send_replace(switch);
        tokio::time::sleep(lasts).await;
        self.switch.send_replace(Switch::Through);
    }
}

async fn serve(listener: TcpListener, mut targets: Vec<SocketAddr>, switch: watch::Receiver<Switch>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Accepting fails only for want of file descriptors; then it is tried again.
            Ok((client, _)) = listener.accept() => {
                connections.spawn(pass(client, targets.clone(), switch.clone()));
                targets.rotate_left(1);
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends when either side does, and when it is cut.
async fn pass(mut client: TcpStream, targets: Vec<SocketAddr>, mut switch: watch::Receiver<Switch>) {
    if switch.wait_for(|now| *now != Switch::Stalled).await.is_ok_and(|now| *now == Switch::Cut) {
        return;
    }
    // It takes a list, and the first of them that is there.
    let Ok(mut server) = TcpStream::connect(&targets[..]).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let copy = copy_bidirectional(&mut client, &mut server);
    tokio::pin!(copy);
    loop {
        let now = *switch.borrow_and_update();
        tokio::select! {
            biased;
            changed = switch.changed() => if changed.is_err() { return },
            _ = &mut copy, if now == Switch::Through => return,
            () = std::future::ready(()), if now == Switch::Cut => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Sends back what it gets.
    async fn echo() -> (SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (address, server)
    }

    async fn says_back(stream: &mut TcpStream, word: &[u8; 4]) {
        stream.write_all(word).await.unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, word);
    }

    #[tokio::test]
    async fn a_cut_ends_old_and_new_connections_until_it_is_over() {
        let (target, _server) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        says_back(&mut stream, b"once").await;
        let ended = async {
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            let mut new = TcpStream::connect(proxy.address()).await.unwrap();
            assert_eq!(new.read(&mut [0]).await.unwrap_or(0), 0);
        };
        tokio::join!(proxy.cut(Duration::from_millis(500)), ended);
        says_back(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"anew").await;
    }

    #[tokio::test]
    async fn connections_are_shared_out_among_the_targets_that_are_up() {
        let ((first, _first), (second, second_server)) = (echo().await, echo().await);
        let proxy = Proxy::start(vec![first, second]).await.unwrap();
        for _ in 0..4 {
            says_back(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"both").await;
        }
        drop(second_server);
        while TcpStream::connect(second).await.is_ok() {
            tokio::task::yield_now().await;
        }
        for _ in 0..4 {
            says_back(&mut TcpStream::connect(proxy.address()).await.unwrap(), b"left").await;
        }
    }

    #[tokio::test]
    async fn what_is_sent_while_it_is_stalled_passes_afterwards() {
        let (target, _server) = echo().await;
        let proxy = Proxy::start(vec![target]).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        says_back(&mut stream, b"once").await;
        let talk = async {
            while *proxy.switch.borrow() != Switch::Stalled {
                tokio::task::yield_now().await;
            }
            says_back(&mut stream, b"late").await;
            assert_eq!(*proxy.switch.borrow(), Switch::Through, "nothing passes before");
        };
        tokio::join!(proxy.stall(Duration::from_millis(200)), talk);
    }
}

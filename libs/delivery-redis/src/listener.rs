use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use redis::Client;
use tidegate_delivery::{Error, Hint};
use tokio::sync::{Notify, broadcast};

use crate::{
    codec,
    connection::{MAX_BACKOFF, within},
};

/// How often an idle subscription is asked whether it is still alive.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Feeds `hints` from the channel for ever. A subscription that is broken, or at a server that was `left`, is made again,
/// and then all listeners hear that they may have missed something.
pub(crate) async fn listen(
    client: Client,
    channel: String,
    mut subscription: redis::aio::PubSub,
    hints: broadcast::Sender<Hint>,
    left: Arc<Notify>,
) {
    loop {
        let ended = read(subscription, &hints, &left).await;
        // That a server is left is told there.
        let is_fault = ended == Ended::BrokeOff;
        if is_fault {
            tracing::warn!("the subscription to hints in Redis broke off; the slow poll stands in for it");
        }
        subscription = subscribe_again(&client, &channel).await;
        if is_fault {
            tracing::info!("the subscription to hints in Redis is back");
        }
        let _ = hints.send(Hint::Missed);
    }
}

pub(crate) async fn subscribe(client: &Client, channel: &str) -> Result<redis::aio::PubSub, Error> {
    within("subscribe to hints", async {
        let mut subscription = client.get_async_pubsub().await?;
        subscription.subscribe(channel).await?;
        Ok(subscription)
    })
    .await
}

async fn subscribe_again(client: &Client, channel: &str) -> redis::aio::PubSub {
    let mut backoff = Duration::from_millis(50);
    loop {
        match subscribe(client, channel).await {
            Ok(subscription) => return subscription,
            Err(error) => tracing::debug!(%error, "no subscription to hints yet"),
        }
        tokio::time::sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

/// Why a subscription is read no further.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    BrokeOff,
    /// What else is connected to its server has left that.
    Left,
}

async fn read(subscription: redis::aio::PubSub, hints: &broadcast::Sender<Hint>, left: &Notify) -> Ended {
    let (mut sink, mut messages) = subscription.split();
    let mut ping = tokio::time::interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Ended::BrokeOff };
                let hint = codec::decode(message.get_payload_bytes()).unwrap_or_else(|| {
                    tracing::warn!("a hint in Redis cannot be read: do two versions share a prefix?");
                    Hint::Missed
                });
                // No listener is no error.
                let _ = hints.send(hint);
            }
            () = left.notified() => return Ended::Left,
            _ = ping.tick() => {
                if within("ping Redis", sink.ping::<redis::Value>()).await.is_err() {
                    return Ended::BrokeOff;
                }
            }
        }
    }
}

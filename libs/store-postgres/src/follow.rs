//! Who learns of commits, and when. All of it is a hint: whoever waits also looks by itself now and then.

use std::{sync::Arc, time::Duration};

use sqlx::{PgPool, Row, postgres::PgListener, query};
use tokio::task::JoinSet;
use tracing::warn;
use uuid::Uuid;

use crate::{open::Signals, queries};

const CHANNEL: &str = "tidegate_commits";
/// How long to leave a server alone that does not answer.
const BACKOFF: Duration = Duration::from_secs(1);
/// How often to look whether hidden events have come to light: first, and at most.
const HIDDEN_POLLS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// Starts the tasks. They end with the set.
pub(crate) fn spawn(tasks: &mut JoinSet<()>, pool: &PgPool, listening: PgPool, signals: &Arc<Signals>) {
    let instance = Uuid::now_v7().simple().to_string();
    tasks.spawn(tell_others(pool.clone(), Arc::clone(signals), instance.clone()));
    tasks.spawn(listen(listening, Arc::clone(signals), instance));
    tasks.spawn(follow_horizon(pool.clone(), Arc::clone(signals)));
}

/// Tells other processes of our commits, after them and not inside: Postgres lets only one transaction with a NOTIFY
/// commit at a time, and the wait for its disk would be everyone's.
async fn tell_others(pool: PgPool, signals: Arc<Signals>, instance: String) {
    loop {
        signals.tell_others.notified().await;
        if let Err(error) =
            query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(&instance).execute(&pool).await
        {
            warn!("other processes were not told of a commit: {error}");
            tokio::time::sleep(BACKOFF).await;
        }
    }
}

/// Wakes our readers when other processes commit.
async fn listen(pool: PgPool, signals: Arc<Signals>, instance: String) {
    loop {
        if let Err(error) = listen_until_broken(&pool, &signals, &instance).await {
            warn!("commits of other processes are not heard of: {error}");
        }
        tokio::time::sleep(BACKOFF).await;
    }
}

async fn listen_until_broken(pool: &PgPool, signals: &Signals, instance: &str) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    // From here on nothing is missed; before, something may have been.
    signals.heard();
    loop {
        match listener.try_recv().await? {
            Some(told) if told.payload() == instance => {}
            Some(_) => signals.heard(),
            // The connection broke; `try_recv` connects anew.
            None => {
                warn!("the connection that listens for commits broke");
                signals.heard();
            }
        }
    }
}

/// An event can be committed and still be hidden from the feed, while an older transaction is under way. That one may
/// end without any event of its own, so nobody would tell the readers: this does. It wakes them after each look, the
/// first included: a reader that came at once may have read before the older transaction ended, and we looked after.
async fn follow_horizon(pool: PgPool, signals: Arc<Signals>) {
    loop {
        signals.look_for_hidden.notified().await;
        let mut pause = HIDDEN_POLLS.0;
        loop {
            let looked = query(queries::HIDDEN_EVENTS.sql()).fetch_one(&pool).await;
            let is_hidden = match looked.and_then(|row| row.try_get(0)) {
                Ok(is_hidden) => is_hidden,
                Err(error) => {
                    warn!("the end of the feed cannot be seen: {error}");
                    pause = BACKOFF;
                    true
                }
            };
            signals.wake_readers();
            if !is_hidden {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(HIDDEN_POLLS.1);
        }
    }
}

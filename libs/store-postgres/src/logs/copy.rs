//! The writing side: COPY over connections of its own. sqlx does not set TCP_NODELAY, and a COPY ends with two
//! small writes, which then often wait 40 ms for each other.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::pin_mut;
use tidegate_model::Timestamp;
use tidegate_store::{
    StoreError,
    adapter::{text, unreadable},
    log::{LogBatch, LogLine, Writers, day_of},
};
use tokio::{task::JoinSet, time::timeout};
use tokio_postgres::{
    Client, Config, NoTls, Statement, Transaction, binary_copy::BinaryCopyInWriter, config::SslMode,
    types::Type,
};

use super::{
    error::{commit_error, copy_error},
    queries,
};

/// A whole append: longer than the server's own limits, for the case that it does not answer at all.
const APPEND_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unanswered packet keeps a connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
const SESSION: &str =
    "-c statement_timeout=15s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s -c TimeZone=UTC";

/// The columns of `logs/copy.sql`.
const COLUMNS: [Type; 13] = [
    Type::INT4,
    Type::INT4,
    Type::TEXT,
    Type::UUID,
    Type::UUID,
    Type::INT4,
    Type::INT8,
    Type::INT8,
    Type::INT2,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
];

/// Connections for appending: as many as there are appends at a time.
pub(super) struct Copier {
    config: Config,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    client: Client,
    lock_writers: Statement,
    put_writers: Statement,
    copy: Statement,
    /// Moves the bytes; ends with this value.
    _driver: JoinSet<()>,
}

impl Copier {
    /// Opens no connection yet. `None` where the URL has something that these connections cannot do, such as TLS.
    pub(super) fn new(url: &str) -> Option<Self> {
        let mut config: Config = url.parse().ok()?;
        if config.get_ssl_mode() == SslMode::Require {
            return None;
        }
        let session =
            config.get_options().map_or_else(|| SESSION.to_owned(), |given| format!("{SESSION} {given}"));
        config
            .options(session)
            .application_name("tidegate-logs")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        Some(Self { config, idle: Mutex::default() })
    }

    /// Stores what is new of `batches`, and says how many lines that was.
    pub(super) async fn append(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        let append = async {
            let mut connection = self.connection().await?;
            let n_stored = connection.append(batches, now).await?;
            // Only a connection that did its work is used again.
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(n_stored)
        };
        timeout(APPEND_TIMEOUT, append)
            .await
            .unwrap_or_else(|elapsed| Err(StoreError::CommitUnknown(Box::new(elapsed))))
    }

    async fn connection(&self) -> Result<Connection, StoreError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(connection) if connection.client.is_closed() => {}
                Some(connection) => return Ok(connection),
                None => return Connection::open(&self.config).await.map_err(copy_error),
            }
        }
    }
}

impl Connection {
    async fn open(config: &Config) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = config.connect(NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end shows in the next call, which says more than this could.
            let _ = connection.await;
        });
        let (lock_writers, put_writers, copy) = tokio::try_join!(
            client.prepare(queries::LOCK_WRITERS.sql()),
            client.prepare(queries::PUT_WRITERS.sql()),
            client.prepare(queries::COPY.sql()),
        )?;
        Ok(Self { client, lock_writers, put_writers, copy, _driver: driver })
    }

    async fn append(&mut self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError> {
        let day = day_of(now);
        let mut writers = Writers::of(batches);
        let tx = self.client.transaction().await.map_err(copy_error)?;

        let (namespaces, names): (Vec<_>, Vec<_>) =
            writers.iter().map(|(namespace, writer, _)| (namespace, writer)).unzip();
        let rows = tx.query(&self.lock_writers, &[&namespaces, &names, &day]).await.map_err(copy_error)?;
        for row in rows {
            let (namespace, writer, stored): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
            writers.set(namespace, writer, stored.parse().map_err(|_| unreadable("stored", stored))?);
        }

        let new = writers.take_new(batches);
        if new.is_empty() {
            return Ok(0); // the transaction is rolled back: nothing has changed
        }
        copy(&tx, &self.copy, &new, day).await.map_err(copy_error)?;
        let (mut namespaces, mut names, mut stored) = (Vec::new(), Vec::new(), Vec::new());
        for (namespace, writer, set) in writers.iter() {
            namespaces.push(namespace);
            names.push(writer);
            stored.push(set.to_string());
        }
        tx.execute(&self.put_writers, &[&namespaces, &names, &stored]).await.map_err(copy_error)?;
        tx.commit().await.map_err(commit_error)?;
        Ok(new.len())
    }
}

async fn copy(
    tx: &Transaction<'_>,
    statement: &Statement,
    lines: &[(&str, &LogLine)],
    day: i32,
) -> Result<(), tokio_postgres::Error> {
    let writer = BinaryCopyInWriter::new(tx.copy_in(statement).await?, &COLUMNS);
    pin_mut!(writer);
    // From 1: the place after all lines of older transactions is ordinal 0 of the next.
    for (ordinal, (namespace, line)) in (1_i32..).zip(lines) {
        writer
            .as_mut()
            .write(&[
                &day,
                &ordinal,
                namespace,
                &line.run.as_uuid(),
                &line.root.as_uuid(),
                &line.attempt.cast_signed(),
                &line.seq.cast_signed(),
                &line.logged_at.as_micros(),
                &i16::from(line.level.number()),
                &text(&line.logger),
                &text(&line.message),
                &line.trace_id.as_deref().map(text),
                &line.span_id.as_deref().map(text),
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

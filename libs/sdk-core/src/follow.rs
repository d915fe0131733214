//! Streams that go on where they broke.

use std::sync::Arc;

use futures::{Stream, stream};
use tokio::time::{Instant, sleep};
use tonic::{Status, Streaming};

use crate::{
    Error,
    connection::{Connection, MAX_READ_SIZE, Peer},
    proto::{self, log_service_client::LogServiceClient, run_service_client::RunServiceClient},
    retry::Backoff,
};

/// A server stream that is opened again, from where it broke, until the server stays away too long.
struct Follower<Request, Response> {
    connection: Arc<Connection>,
    request: Request,
    stream: Option<Streaming<Response>>,
    backoff: Backoff,
    failing_since: Option<Instant>,
    ended: bool,
}

impl<Request, Response> Follower<Request, Response> {
    fn new(connection: Arc<Connection>, request: Request) -> Self {
        let backoff = Backoff::standard();
        Self { connection, request, stream: None, backoff, failing_since: None, ended: false }
    }

    fn note_answer(&mut self) {
        self.connection.note_reached();
        self.backoff.reset();
        self.failing_since = None;
    }

    /// Waits before the next try, or says that there is none.
    async fn pause(&mut self, error: Error) -> Result<(), Error> {
        self.stream = None;
        if !error.is_retryable() {
            return Err(self.connection.explain(error).await);
        }
        let options = &self.connection.options;
        let patience =
            if self.connection.was_reached() { options.outage_patience } else { options.first_contact };
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        let pause = error.retry_after().unwrap_or_else(|| self.backoff.next());
        if since.elapsed() + pause > patience {
            return Err(self.connection.explain(error).await);
        }
        sleep(pause).await;
        Ok(())
    }
}

pub(crate) fn watch(
    connection: Arc<Connection>,
    request: proto::WatchRunsRequest,
) -> impl Stream<Item = Result<proto::WatchRunsResponse, Error>> + Send {
    let follower = Follower::<_, proto::WatchRunsResponse>::new(connection, request);
    stream::unfold(follower, |mut follower| async move {
        if follower.ended {
            return None;
        }
        loop {
            let next = match &mut follower.stream {
                Some(stream) => stream.message().await,
                None => {
                    let request = follower.connection.request(follower.request.clone(), None);
                    let mut client = RunServiceClient::new(follower.connection.api.clone())
                        .max_decoding_message_size(MAX_READ_SIZE);
                    match client.watch_runs(request).await {
                        Ok(response) => {
                            follower.connection.note_reached();
                            follower.stream = Some(response.into_inner());
                            continue;
                        }
                        Err(status) => Err(status),
                    }
                }
            };
            let error = match next {
                Ok(Some(response)) => {
                    follower.note_answer();
                    resume_after(&mut follower.request, &response);
                    return Some((Ok(response), follower));
                }
                Ok(None) if follower.request.until_ended => return None,
                Ok(None) => closed_early(),
                Err(status) => Error::from_status(&status),
            };
            if let Err(error) = follower.pause(error).await {
                follower.ended = true;
                return Some((Err(error), follower));
            }
        }
    })
}

/// Has the next stream go on after what this one has told. While the past of several runs is told, it begins anew.
fn resume_after(request: &mut proto::WatchRunsRequest, response: &proto::WatchRunsResponse) {
    let is_past = response.resume_token.is_empty();
    if !is_past {
        request.resume_token.clone_from(&response.resume_token);
        request.after_seq = 0;
    } else if let ([_], Some(last)) = (request.run_ids.as_slice(), response.events.last()) {
        request.after_seq = last.seq;
    } else {
        return;
    }
    // One beginning is enough, and the server takes no two.
    request.from_start = false;
}

pub(crate) fn tail_logs(
    connection: Arc<Connection>,
    request: proto::TailLogsRequest,
) -> impl Stream<Item = Result<proto::TailLogsResponse, Error>> + Send {
    let follower = Follower::<_, proto::TailLogsResponse>::new(connection, request);
    stream::unfold(follower, |mut follower| async move {
        if follower.ended {
            return None;
        }
        loop {
            let next = match &mut follower.stream {
                Some(stream) => stream.message().await.map_err(|status| Error::from_status(&status)),
                None => match open_tail(&follower.connection, &follower.request).await {
                    Ok(stream) => {
                        follower.stream = Some(stream);
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            let error = match next {
                Ok(Some(response)) => {
                    follower.note_answer();
                    if !response.resume_token.is_empty() {
                        follower.request.resume_token.clone_from(&response.resume_token);
                    }
                    return Some((Ok(response), follower));
                }
                Ok(None) => closed_early(),
                Err(error) => error,
            };
            if let Err(error) = follower.pause(error).await {
                follower.ended = true;
                return Some((Err(error), follower));
            }
        }
    })
}

async fn open_tail(
    connection: &Connection,
    request: &proto::TailLogsRequest,
) -> Result<Streaming<proto::TailLogsResponse>, Error> {
    let channel = connection.peer(Peer::LogIngest).await?;
    let mut client = LogServiceClient::new(channel).max_decoding_message_size(MAX_READ_SIZE);
    let request = connection.request(request.clone(), None);
    let response = client.tail_logs(request).await.map_err(|status| Error::from_status(&status))?;
    connection.note_reached();
    Ok(response.into_inner())
}

pub(crate) async fn query_logs(
    connection: &Connection,
    request: proto::QueryLogsRequest,
) -> Result<proto::QueryLogsResponse, Error> {
    let peer = connection.peer(Peer::LogIngest).await?;
    connection
        .call(|_api| {
            let request = connection.request(request.clone(), None);
            let mut client = LogServiceClient::new(peer.clone()).max_decoding_message_size(MAX_READ_SIZE);
            async move { client.query_logs(request).await }
        })
        .await
}

fn closed_early() -> Error {
    Error::from_status(&Status::unavailable("the server closed the stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_watch_goes_on_after_what_it_has_told() {
        let told = |seq, resume_token: &str| proto::WatchRunsResponse {
            events: vec![proto::RunEvent { seq, ..Default::default() }],
            resume_token: resume_token.to_owned(),
        };
        let of_one = || proto::WatchRunsRequest {
            run_ids: vec!["a".to_owned()],
            from_start: true,
            ..Default::default()
        };
        let mut request = of_one();
        resume_after(&mut request, &told(3, ""));
        assert_eq!(request, proto::WatchRunsRequest { after_seq: 3, from_start: false, ..of_one() });
        resume_after(&mut request, &told(4, "here"));
        let resumed =
            proto::WatchRunsRequest { resume_token: "here".to_owned(), from_start: false, ..of_one() };
        assert_eq!(request, resumed);

        let of_two = proto::WatchRunsRequest { run_ids: vec!["a".to_owned(), "b".to_owned()], ..of_one() };
        let mut request = of_two.clone();
        resume_after(&mut request, &told(3, ""));
        assert_eq!(request, of_two, "the past of several runs is told anew");
    }
}

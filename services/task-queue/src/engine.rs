use std::time::Duration;

use tidegate_model::{Namespace, limits};
use tidegate_proto::{
    internal::{
        CheckRunsRequest, Claim, ClaimOutcome, ClaimRunsRequest, HolderReport, ReportRunsRequest,
        RunStanding, run_engine_service_client::RunEngineServiceClient,
    },
    v1::{HeldRun, ReportOutcome},
};
use tidegate_service_kit::trace;
use tonic::{
    Code, Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// A batch of assignments may be much larger than one message of a worker; beyond this it is asked for in
/// parts.
const MAX_ANSWER_SIZE: usize = 64 << 20;
/// Runs of one `CheckRuns`.
pub(crate) const MAX_CHECKED: usize = 10_000;

/// The api: the store judges every claim and every report.
#[derive(Clone)]
pub(crate) struct Engine {
    client: RunEngineServiceClient<InterceptedService<Channel, Inject>>,
    timeout: Duration,
}

/// Passes the current span's trace on.
#[derive(Clone)]
pub(crate) struct Inject;

impl Interceptor for Inject {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        trace::inject(request)
    }
}

impl Engine {
    pub(crate) fn new(channel: Channel, timeout: Duration) -> Self {
        let client = RunEngineServiceClient::with_interceptor(channel, Inject)
            .max_decoding_message_size(MAX_ANSWER_SIZE)
            .max_encoding_message_size(MAX_ANSWER_SIZE);
        Self { client, timeout }
    }

    /// Claims, answered in order. An error of a claim says nothing about whether it took effect.
    pub(crate) async fn claim(&self, claims: &[Claim]) -> Vec<Result<ClaimOutcome, Status>> {
        in_parts(claims, |claims| async move {
            let request = self.request(ClaimRunsRequest { claims });
            Ok(self.client.clone().claim_runs(request).await?.into_inner().outcomes)
        })
        .await
    }

    /// Reports, answered in order. An error of a report says nothing about whether it took effect.
    pub(crate) async fn report(&self, reports: &[HolderReport]) -> Vec<Result<ReportOutcome, Status>> {
        in_parts(reports, |reports| async move {
            let request = self.request(ReportRunsRequest { reports });
            Ok(self.client.clone().report_runs(request).await?.into_inner().outcomes)
        })
        .await
    }

    /// What the store knows of held runs, in order. At most [`MAX_CHECKED`].
    pub(crate) async fn check(
        &self,
        namespace: &Namespace,
        runs: Vec<HeldRun>,
    ) -> Result<Vec<RunStanding>, Status> {
        let n_runs = runs.len();
        let request = self.request(CheckRunsRequest { namespace: namespace.to_string(), runs });
        let standings = self.client.clone().check_runs(request).await?.into_inner().standings;
        if standings.len() == n_runs { Ok(standings) } else { Err(wrong_count(n_runs, standings.len())) }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }
}

/// True for an error that repeating does not mend: the api does not understand the item.
pub(crate) fn is_permanent(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
}

/// Calls with all items; where the batch is too large, or one of its items makes the api refuse all, with
/// parts of it, down to single items.
async fn in_parts<I: Clone, O, F>(items: &[I], call: impl Fn(Vec<I>) -> F) -> Vec<Result<O, Status>>
where
    F: Future<Output = Result<Vec<O>, Status>>,
{
    debug_assert!(items.len() <= limits::MAX_BATCH_SIZE);
    let mut answers = Vec::with_capacity(items.len());
    let mut parts = vec![items];
    while let Some(part) = parts.pop() {
        let result = call(part.to_vec()).await;
        let result = result.and_then(|got| {
            if got.len() == part.len() { Ok(got) } else { Err(wrong_count(part.len(), got.len())) }
        });
        match result {
            Ok(got) => answers.extend(got.into_iter().map(Ok)),
            Err(status)
                if part.len() > 1 && matches!(status.code(), Code::OutOfRange | Code::InvalidArgument) =>
            {
                let (front, back) = part.split_at(part.len() / 2);
                parts.extend([back, front]);
            }
            Err(status) => answers.extend(part.iter().map(|_| Err(status.clone()))),
        }
    }
    answers
}

fn wrong_count(asked: usize, answered: usize) -> Status {
    tracing::error!("api answered {answered} of {asked} items: do versions differ?");
    Status::internal("wrong number of answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_bad_item_fails_alone_and_order_is_kept() {
        let items: Vec<u32> = (0..100).collect();
        let answers = in_parts(&items, |part| async move {
            if part.contains(&37) { Err(Status::invalid_argument("37")) } else { Ok(part) }
        })
        .await;
        for (item, answer) in items.iter().zip(answers) {
            match answer {
                Ok(answer) => assert_eq!(answer, *item),
                Err(status) => assert_eq!((*item, status.code()), (37, Code::InvalidArgument)),
            }
        }
    }

    #[tokio::test]
    async fn an_api_that_is_away_is_asked_once() {
        let calls = std::sync::atomic::AtomicU32::new(0);
        let answers: Vec<Result<u32, Status>> = in_parts(&[1, 2, 3], |_| async {
            calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Err(Status::unavailable("away"))
        })
        .await;
        assert_eq!((answers.len(), calls.into_inner()), (3, 1));
    }
}

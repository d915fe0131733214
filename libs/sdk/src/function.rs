use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{
    End, Error,
    proto::{Failure, Payload},
};

use crate::{Context, failure, json};

/// User code, with its types forgotten: parameters as a payload in, the end of the attempt out.
pub(crate) type Function = Arc<dyn Fn(Context, Option<Payload>) -> BoxFuture<'static, End> + Send + Sync>;

pub(crate) fn erase<F, P, Fut, R, E>(code: F) -> Function
where
    F: Fn(Context, P) -> Fut + Send + Sync + 'static,
    P: DeserializeOwned + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: Serialize + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let code = Arc::new(code);
    Arc::new(move |context, parameters| {
        let code = Arc::clone(&code);
        Box::pin(async move {
            let params = match json::from_payload(parameters.as_ref()) {
                Ok(params) => params,
                Err(error) => return unreadable("the parameters cannot be read", &error),
            };
            // Also what the function does before its first await is the user's code.
            let ended = AssertUnwindSafe(async move { code(context, params).await }).catch_unwind().await;
            match ended {
                Ok(Ok(value)) => match json::to_payload(&value) {
                    Ok(payload) => End::Completed(Some(payload)),
                    Err(error) => unreadable("the result cannot be written", &error),
                },
                Ok(Err(error)) => End::Failed(failure::failure_of(error)),
                Err(panic) => End::Failed(failure::failure_of_panic(&*panic)),
            }
        })
    })
}

/// A value that does not fit now will not fit at the next attempt.
fn unreadable(what: &str, error: &Error) -> End {
    End::Failed(Failure {
        error_type: "PayloadError".into(),
        message: format!("{what}: {error}"),
        traceback: String::new(),
        non_retryable: true,
    })
}

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tidegate_sdk_core::{
    Error, ErrorKind,
    proto::{Failure, Payload, RunKind},
};

use crate::{
    Call, Context,
    hooks::{self, Hooks},
    json,
};

/// A flow or task: its parameters, and what is done with them. `#[task]` and `#[flow]` make one of an async function.
///
/// The parameters travel as a JSON object by their names, as those of the Python SDK do.
pub trait Function: Serialize + DeserializeOwned + Send + 'static {
    /// What a run returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// Flow or task.
    const KIND: RunKind;
    /// What workers know it by.
    const NAME: &'static str;
    /// The names of the parameters.
    const PARAMETERS: &'static [&'static str];
    /// Submitted children of one run that execute at once.
    const MAX_CONCURRENCY: usize = 1_000;
    /// A run completes over submitted children that have failed and that nobody looked at.
    const IGNORES_FAILURES: bool = false;

    /// [`Function::on_completion`] does something: it is called once the server has the end of the run.
    const HEARS_COMPLETION: bool = false;

    /// Executes an attempt.
    fn run(self, context: Context) -> BoxFuture<'static, Result<Self::Output, Failure>>;

    /// Is called as part of each attempt, before its code.
    fn on_running(_context: &Context) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Is called once a run has COMPLETED with `value`.
    fn on_completion<'a>(_context: &'a Context, _value: &'a Self::Output) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Is called once a run has FAILED for good.
    fn on_failure<'a>(_context: &'a Context, _failure: &'a Failure) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    /// Is called once a run was cancelled and its code has ended.
    fn on_cancellation(_context: &Context) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A function with `#[task]` or `#[flow]`: gives a [`Call`] for its parameters.
pub trait Callable<Parameters> {
    /// Which one.
    type Function: Function;
}

macro_rules! callable {
    ($($parameter:ident)*) => {
        impl<Code, F, $($parameter),*> Callable<($($parameter,)*)> for Code
        where
            Code: Fn($($parameter),*) -> Call<F>,
            F: Function,
        {
            type Function = F;
        }
    };
}
callable!();
callable!(A);
callable!(A B);
callable!(A B C);
callable!(A B C D);
callable!(A B C D E);
callable!(A B C D E G);
callable!(A B C D E G H);
callable!(A B C D E G H I);
callable!(A B C D E G H I J);
callable!(A B C D E G H I J K);
callable!(A B C D E G H I J K L);
callable!(A B C D E G H I J K L M);

/// The parameters in `payload`, which any language may have written: an object with their names, a list in their
/// order, nothing where there are none, or the value of a single one, which comes before a list of it.
pub(crate) fn parameters_of<F: Function>(payload: Option<&Payload>) -> Result<F, Error> {
    if let [name] = F::PARAMETERS
        && payload.is_some_and(is_list)
        && let Ok(value) = json::from_payload(payload)
        && let Ok(parameters) = serde_json::from_value(Value::Object(single(name, value)))
    {
        return Ok(parameters); // the value of the parameter, which is a list, before a list of that
    }
    let error = match json::from_payload(payload) {
        Ok(parameters) => return Ok(parameters),
        Err(error) => error,
    };
    let error = || {
        let cause = error.message().replace(
            &format!("the value is no {}", std::any::type_name::<F>()),
            "what it is called with does not fit",
        );
        let parameters = F::PARAMETERS.join(", ");
        Error::new(ErrorKind::Payload, format!("{}({parameters}): {cause}", F::NAME))
    };
    let value: Value = json::from_payload(payload).map_err(|_| error())?;
    let named = match (F::PARAMETERS, &value) {
        ([], Value::Null) => Map::new(),
        // An object that has the name is a mistake in its value.
        ([name], Value::Object(object)) if object.contains_key(*name) => return Err(error()),
        ([name], _) => single(name, value),
        _ => return Err(error()),
    };
    serde_json::from_value(Value::Object(named)).map_err(|_| error())
}

fn is_list(payload: &Payload) -> bool {
    payload.data.trim_ascii_start().starts_with(b"[")
}

fn single(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

/// Code with its types forgotten: parameters as a payload in, the end of the attempt out.
pub(crate) type Code = Arc<dyn Fn(Context, Option<Payload>) -> BoxFuture<'static, Ended> + Send + Sync>;

/// How the code of an attempt ended: its result, and the hook that is to be called once that is reported.
pub(crate) type Ended = Result<(Payload, Option<BoxFuture<'static, ()>>), Failure>;

/// What a worker serves.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) code: Code,
    pub(crate) hooks: Hooks,
    pub(crate) max_concurrency: usize,
}

impl Served {
    /// A function with `#[task]` or `#[flow]`.
    pub(crate) fn function<F: Function>() -> Self {
        let code = |context: Context, parameters: Option<Payload>| -> BoxFuture<'static, Ended> {
            Box::pin(async move {
                let parameters = read(parameters_of::<F>(parameters.as_ref()))?;
                let value = context.clone().execute(parameters).await?;
                let result = write(&value)?;
                let hook = async move { hooks::call(&context, F::on_completion(&context, &value)).await };
                Ok((result, Some(Box::pin(hook) as _)))
            })
        };
        let hooks = Hooks { on_failure: F::on_failure, on_cancellation: F::on_cancellation };
        Self { code: Arc::new(code), hooks, max_concurrency: F::MAX_CONCURRENCY }
    }

    /// An async function as it is, with its parameters as one value.
    pub(crate) fn code<C, P, Fut, R, E>(code: C) -> Self
    where
        C: Fn(Context, P) -> Fut + Send + Sync + 'static,
        P: DeserializeOwned + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let code = Arc::new(code);
        let code = move |context: Context, parameters: Option<Payload>| -> BoxFuture<'static, Ended> {
            let code = Arc::clone(&code);
            Box::pin(async move {
                let params = read(json::from_payload(parameters.as_ref()))?;
                // Also what the function does before its first await is the user's code.
                let of_run = context.clone();
                let running = async move { code(of_run, params).await.map_err(crate::failure::failure_of) };
                let value = context.structured(running, false).await?;
                Ok((write(&value)?, None))
            })
        };
        let none = Hooks { on_failure: |_, _| Box::pin(async {}), on_cancellation: |_| Box::pin(async {}) };
        Self { code: Arc::new(code), hooks: none, max_concurrency: 1_000 }
    }
}

fn read<T>(parameters: Result<T, Error>) -> Result<T, Failure> {
    parameters.map_err(|error| unreadable("the parameters cannot be read", &error))
}

pub(crate) fn write<T: Serialize>(value: &T) -> Result<Payload, Failure> {
    json::to_payload(value).map_err(|error| unreadable("the result cannot be written", &error))
}

/// A value that does not fit now will not fit at the next attempt.
fn unreadable(what: &str, error: &Error) -> Failure {
    Failure {
        error_type: "PayloadError".into(),
        message: format!("{what}: {error}"),
        traceback: String::new(),
        non_retryable: true,
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_core::payload;

    use super::*;
    use crate::task;

    #[task]
    async fn nothing() {}

    #[task]
    async fn one(path: String) -> String {
        path
    }

    #[task]
    async fn two(a: i64, #[serde(default)] b: i64) -> i64 {
        a + b
    }

    #[task]
    async fn any(value: Value) -> Value {
        value
    }

    fn read<P, C: Callable<P>>(_: C, text: &str) -> Result<String, Error> {
        let parameters: C::Function = parameters_of(Some(&payload::json(text.to_owned())))?;
        Ok(serde_json::to_string(&parameters).unwrap())
    }

    #[test]
    fn parameters_of_any_language_are_read() {
        assert_eq!(read(two, r#"{"b":2,"a":1}"#).unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(read(two, r#"{"a":1}"#).unwrap(), r#"{"a":1,"b":0}"#);
        assert_eq!(read(two, "[1,2]").unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(read(one, r#"{"path":"x"}"#).unwrap(), r#"{"path":"x"}"#);
        assert_eq!(read(one, r#""x""#).unwrap(), r#"{"path":"x"}"#);
        assert_eq!(read(one, r#"["x"]"#).unwrap(), r#"{"path":"x"}"#);
        assert_eq!(read(any, "[1]").unwrap(), r#"{"value":[1]}"#, "the value itself, however long it is");
        assert_eq!(read(any, "[1,2]").unwrap(), r#"{"value":[1,2]}"#);
        assert_eq!(read(nothing, "null").unwrap(), "{}");
        assert_eq!(read(nothing, "{}").unwrap(), "{}");
    }

    #[test]
    fn wrong_parameters_are_named() {
        let error = read(two, r#"{"a":1,"c":2}"#).unwrap_err();
        let expected =
            "two(a, b): what it is called with does not fit: unknown field `c`, expected `a` or `b`";
        assert!(error.message().starts_with(expected), "{error}");
        let error = read(two, r#"{"b":1}"#).unwrap_err();
        assert!(error.message().contains("missing field `a`"), "{error}");
        let error = read(one, r#"{"path":1}"#).unwrap_err();
        assert!(error.message().contains("invalid type: integer `1`, expected a string"), "{error}");
    }
}

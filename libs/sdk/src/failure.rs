use std::{any::Any, error::Error as StdError};

use tidegate_sdk_core::proto::Failure;

/// Wraps an error after which no further attempt can succeed: no retry is made, whatever the policy says.
#[derive(Debug)]
pub struct NonRetryable {
    source: Box<dyn StdError + Send + Sync>,
}

impl NonRetryable {
    /// Wraps `error`.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: error.into() }
    }
}

impl std::fmt::Display for NonRetryable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl StdError for NonRetryable {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}

/// What a task or flow may return as its error.
pub(crate) fn failure_of<E>(error: E) -> Failure
where
    E: Into<Box<dyn StdError + Send + Sync>> + 'static,
{
    let any: &dyn Any = &error;
    // An `anyhow::Error` hides what it holds once it is boxed, so it is asked before.
    let marked = any.downcast_ref::<anyhow::Error>().is_some_and(|error| {
        error.downcast_ref::<NonRetryable>().is_some()
            || error.chain().any(<dyn StdError>::is::<NonRetryable>)
    });
    let error_type = short_name::<E>();
    let boxed: Box<dyn StdError + Send + Sync> = error.into();
    let mut chain = Vec::new();
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*boxed);
    let mut non_retryable = marked;
    while let Some(error) = next {
        non_retryable |= error.is::<NonRetryable>();
        chain.push(error.to_string());
        next = error.source();
    }
    let traceback = match chain.split_first() {
        Some((first, causes)) => {
            causes.iter().fold(first.clone(), |text, cause| format!("{text}\ncaused by: {cause}"))
        }
        None => String::new(),
    };
    Failure { error_type, message: boxed.to_string(), traceback, non_retryable }
}

/// What a panic of the code says.
pub(crate) fn failure_of_panic(panic: &(dyn Any + Send)) -> Failure {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the code panicked without a message".into());
    Failure { error_type: "panic".into(), message, traceback: String::new(), non_retryable: false }
}

/// `anyhow::Error` and `Box<dyn Error>` say little by their long names; others are named as the language does.
fn short_name<E: 'static>() -> String {
    let name = std::any::type_name::<E>();
    if name.starts_with("alloc::boxed::Box<dyn") { "Error".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_has_the_chain_of_causes() {
        let error = std::io::Error::other("disk on fire");
        let failure = failure_of(anyhow::Error::new(error).context("read file"));
        assert_eq!(failure.message, "read file");
        assert_eq!(failure.traceback, "read file\ncaused by: disk on fire");
        assert!(!failure.non_retryable);
    }

    #[test]
    fn the_mark_is_found_however_it_is_wrapped() {
        assert!(failure_of(NonRetryable::new("no")).non_retryable);
        assert!(failure_of(anyhow::Error::new(NonRetryable::new("no"))).non_retryable);
        let wrapped: anyhow::Error = Err::<(), _>(NonRetryable::new("no")).context("outer").unwrap_err();
        assert!(failure_of(wrapped).non_retryable);
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(NonRetryable::new("no"));
        assert!(failure_of(boxed).non_retryable);
    }

    #[test]
    fn a_panic_has_its_message() {
        let panic = std::panic::catch_unwind(|| panic!("at the {}", "disco")).unwrap_err();
        let failure = failure_of_panic(&*panic);
        assert_eq!((failure.error_type.as_str(), failure.message.as_str()), ("panic", "at the disco"));
    }
}

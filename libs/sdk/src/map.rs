//! Calls for each of many items.

use futures::future::BoxFuture;
use tidegate_sdk_core::Error;

use crate::{Call, Function, RunFuture, RunHandle, delay_all, submit_all};

/// The runs of calls that were delayed together.
type Delayed<F> = Result<Vec<RunHandle<<F as Function>::Output>>, Error>;

/// A function of `#[task]` or `#[flow]`, called once for each of many items.
///
/// ```no_run
/// use tidegate_sdk::{Map as _, flow, join_all, task};
///
/// #[task]
/// async fn length(path: String) -> usize {
///     path.len()
/// }
///
/// #[task]
/// async fn scale(n: usize, factor: usize) -> usize {
///     n * factor
/// }
///
/// #[flow]
/// async fn total(paths: Vec<String>) -> Result<usize, tidegate_sdk::Error> {
///     let mut lengths = Vec::new();
///     for length in length.map(paths) {
///         lengths.push(length.await?);
///     }
///     // Several parameters are tuples: here of two iterators in step.
///     let scaled = scale.map(lengths.into_iter().zip([1, 2, 3]));
///     join_all(scaled).await.into_iter().sum()
/// }
/// ```
///
/// A closure that makes calls is such a function as well, which is how options are said, and parameters that are the same
/// for all: `(|n| scale(n, 10).retries(3)).map(lengths)`.
///
/// `Marker` tells functions of different parameters apart; the compiler finds it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be mapped: it is no function of `#[task]` or `#[flow]` with 1 to 8 parameters",
    note = "a closure that gives a call can: `(|item| my_task(item)).map(items)`"
)]
pub trait Map<Marker>: Sized {
    /// What one call takes: its parameter, or a tuple of all of them.
    type Item;
    /// What the function is.
    type Function: Function;

    /// The call for one item.
    fn call_for(&self, item: Self::Item) -> Call<Self::Function>;

    /// Submits it for each item, as [`Call::submit`]: a child of the current run, which does not end before them. To be
    /// called in a Tokio runtime.
    fn map(
        self,
        items: impl IntoIterator<Item = Self::Item>,
    ) -> Vec<RunFuture<<Self::Function as Function>::Output>> {
        submit_all(items.into_iter().map(|item| self.call_for(item)))
    }

    /// Has workers execute it for each item, as [`Call::delay`], in few requests. When this returns all runs are durable.
    ///
    /// Fails with the first error, as [`delay_all`].
    fn delay_map(
        self,
        items: impl IntoIterator<Item = Self::Item>,
    ) -> BoxFuture<'static, Delayed<Self::Function>> {
        let calls: Vec<_> = items.into_iter().map(|item| self.call_for(item)).collect();
        Box::pin(delay_all(calls))
    }
}

impl<C, A, F: Function> Map<fn(A) -> F> for C
where
    C: Fn(A) -> Call<F>,
{
    type Item = A;
    type Function = F;

    fn call_for(&self, item: A) -> Call<F> {
        self(item)
    }
}

macro_rules! map_tuples {
    ($($parameter:ident $value:ident),+) => {
        impl<C, $($parameter,)+ F: Function> Map<fn($($parameter),+) -> F> for C
        where
            C: Fn($($parameter),+) -> Call<F>,
        {
            type Item = ($($parameter,)+);
            type Function = F;

            fn call_for(&self, ($($value,)+): Self::Item) -> Call<F> {
                self($($value),+)
            }
        }
    };
}

map_tuples!(A a, B b);
map_tuples!(A a, B b, D d);
map_tuples!(A a, B b, D d, E e);
map_tuples!(A a, B b, D d, E e, G g);
map_tuples!(A a, B b, D d, E e, G g, H h);
map_tuples!(A a, B b, D d, E e, G g, H h, I i);
map_tuples!(A a, B b, D d, E e, G g, H h, I i, J j);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Map as _;
    use crate::{Call, Function, task};

    #[task]
    async fn double(n: i64) -> i64 {
        2 * n
    }

    #[task(retries = 2)]
    async fn minus(a: i64, b: i64) -> i64 {
        a - b
    }

    fn parameters<F: Function>(call: &Call<F>) -> serde_json::Value {
        serde_json::to_value(call.parameters()).expect("is JSON")
    }

    #[test]
    fn a_function_makes_a_call_of_each_item() {
        assert_eq!(parameters(&double.call_for(7)), json!({ "n": 7 }));
        assert_eq!(parameters(&minus.call_for((7, 3))), json!({ "a": 7, "b": 3 }));
        let by = 10;
        let closure = move |a| minus(a, by).queue("slow");
        assert_eq!(parameters(&closure.call_for(7)), json!({ "a": 7, "b": 10 }));
    }
}

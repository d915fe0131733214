//! What every adapter must do, as cases that run against a real one. An adapter's test has a [`Fixture`] and
//! one line: `tidegate_store::run_store_conformance!(MyFixture);`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub mod fixture;
pub mod rows;

use std::sync::Arc;

use crate::RunStore;

/// A store of its own for each case.
pub trait Fixture: Sized {
    /// Makes an empty store.
    fn open() -> impl Future<Output = Self> + Send;
    /// The store.
    fn store(&self) -> Arc<dyn RunStore>;
    /// Takes the store away.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Makes a test of each case.
#[macro_export]
macro_rules! run_store_conformance {
    ($fixture:ty) => {
        $crate::run_store_conformance! { @cases $fixture,
            rows::every_field_survives,
            rows::every_phase_survives,
            rows::an_existing_id_is_not_inserted,
            rows::an_update_changes_what_may_change,
            rows::details_have_payloads_and_the_last_failure,
            rows::a_dropped_transaction_changes_nothing,
            rows::text_with_nul_does_not_fail_the_batch,
            rows::reads_keep_to_their_namespace,
            rows::a_large_batch_survives,
        }
    };
    (@cases $fixture:ty, $($module:ident :: $case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let fixture = <$fixture as $crate::conformance::Fixture>::open().await;
                $crate::conformance::$module::$case($crate::conformance::Fixture::store(&fixture)).await;
                $crate::conformance::Fixture::close(fixture).await;
            }
        )*
    };
}

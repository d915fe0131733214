//! What every adapter does. An adapter calls [`conformance!`](crate::conformance) in a test file with a
//! function that makes a [`Fixture`]; each case becomes a test of its own.

mod claims;
mod entries;
mod hints;
mod labels;
mod leases;
mod standing;
mod support;
mod turns;
mod workers;

pub use claims::*;
pub use entries::*;
pub use hints::*;
pub use labels::*;
pub use leases::*;
pub use standing::*;
pub use support::Fixture;
pub use turns::*;
pub use workers::*;

/// Makes a test of each case. `$fixture` is an async function without arguments that gives a
/// [`Fixture`](crate::conformance::Fixture) with a state of its own.
#[macro_export]
macro_rules! conformance {
    ($fixture:path) => {
        $crate::conformance!(@tests $fixture;
            best_come_first_by_priority_then_time_then_id
            order_holds_across_functions
            the_same_entry_twice_is_once
            a_higher_epoch_replaces_a_lower_one
            functions_nobody_serves_block_nobody
            kinds_queues_and_tenants_are_apart
            delayed_entries_wait_until_they_are_due
            a_delayed_entry_keeps_its_priority
            any_name_that_the_model_allows_works
            a_large_batch_goes_through
            many_functions_can_be_served_at_once
            forgotten_entries_are_gone_wherever_they_wait
            depths_count_and_a_drained_queue_is_zero
            each_entry_goes_to_one_taker
            an_expired_claim_is_ready_again_as_it_was
            a_take_moves_no_more_than_its_bound
            a_claimed_entry_is_known
            put_back_waits_for_its_new_time
            put_back_never_brings_back_an_old_epoch
            a_lease_lives_until_it_is_released
            a_lease_under_an_older_epoch_changes_nothing
            a_lease_is_renewed_for_its_holder_only
            what_hinders_a_run_is_known_with_its_lease
            an_expired_lease_goes_to_one_judge_at_a_time
            a_renewed_lease_does_not_expire
            a_claim_under_way_counts_as_held
            a_wipe_forgets_all_and_starts_a_generation
            nothing_is_left_of_finished_runs
            empty_batches_are_answered
            hints_reach_every_replica
            stops_reach_every_replica
            that_a_queue_is_resumed_reaches_every_replica
            a_run_stands_where_it_was_put
            a_run_with_a_key_stands_behind_the_turns_of_others
            what_replicas_announce_adds_up_until_it_ends
            depths_of_a_tenant_are_paged_by_name
            takers_have_the_labels_that_a_run_requires
            requirements_are_met_by_all_of_their_labels
            what_nobody_can_take_blocks_nobody
            nothing_is_left_of_requirements
            many_requirements_do_not_hide_the_one_that_is_met
            requirements_of_other_functions_hide_nothing
            groups_take_turns
            one_with_a_hundred_thousand_keeps_nobody_waiting
            a_group_that_comes_waits_for_one_round
            priority_goes_before_turns
            a_group_takes_its_turn_in_all_functions_at_once
            entries_without_a_key_are_one_group
            a_key_is_kept_by_delays_claims_and_epochs
            nothing_is_left_of_turns
            turns_are_those_of_a_simple_model
            workers_are_listed_by_id_page_by_page
            all_that_is_told_of_a_worker_is_given_back
            of_the_streams_of_a_worker_the_latest_counts
            a_worker_is_lost_and_then_forgotten
            a_drain_is_kept_through_streams_and_reaches_every_replica
            the_workers_heard_of_last_are_kept
        );
    };
    (@tests $fixture:path; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::$case($fixture().await).await;
            }
        )*
    };
}

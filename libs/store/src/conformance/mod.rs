//! What every adapter must do, as cases that run against a real one. An adapter's test has a [`Fixture`] and
//! one line: `tidegate_store::run_store_conformance!(MyFixture);`.
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub mod artifacts;
pub mod automations;
pub mod bulk;
pub mod cache;
pub mod deletes;
pub mod deployments;
pub mod events;
pub mod firings;
pub mod fixture;
pub mod inputs;
pub mod keys;
pub mod lines;
pub mod lists;
pub mod locks;
pub mod matches;
pub mod objects;
pub mod orders;
pub mod queues;
pub mod retention;
pub mod rows;
pub mod schedules;
pub mod sessions;
pub mod slots;
pub mod sweeps;
pub mod trees;
pub mod variables;
pub mod work_pools;

use std::{collections::BTreeSet, sync::Arc};

use crate::{RunStore, adapter::Statement};

/// A store of its own for each case.
pub trait Fixture: Sized {
    /// Makes an empty store.
    fn open() -> impl Future<Output = Self> + Send;
    /// The store.
    fn store(&self) -> Arc<dyn RunStore>;
    /// Takes the store away.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The statements of `all` that no case has used so far in this process, and the files of their tables below `folder`
/// that are no statement: both must be empty once every case has run.
pub fn unreached(all: &[&Statement], folder: &std::path::Path) -> Vec<String> {
    let unused = all.iter().filter(|statement| !statement.was_used());
    let mut unreached: Vec<String> =
        unused.map(|statement| format!("{}: no case", statement.name())).collect();
    let tables: BTreeSet<&str> =
        all.iter().map(|statement| statement.name().split_once('/').unwrap().0).collect();
    for table in tables {
        for file in std::fs::read_dir(folder.join(table)).unwrap() {
            let file = file.unwrap().file_name();
            let name = format!("{table}/{}", file.display());
            // What other statements begin with.
            let is_beginning = file == "columns.sql" || file == "tree_walk.sql";
            if !is_beginning && !all.iter().any(|statement| statement.name() == name) {
                unreached.push(format!("{name}: no statement"));
            }
        }
    }
    unreached
}

/// Makes a test of each case, and one that runs all of them to see that every query file is reached.
///
/// `$statements` are those of the adapter's `queries/` folder.
#[macro_export]
macro_rules! run_store_conformance {
    ($fixture:ty, $statements:expr) => {
        $crate::run_store_conformance! { @cases $fixture, $statements,
            rows::every_field_survives,
            rows::each_row_of_a_batch_keeps_its_own,
            rows::every_phase_survives,
            rows::an_existing_id_is_not_inserted,
            rows::an_update_changes_what_may_change,
            rows::details_have_payloads_and_the_last_failure,
            rows::a_dropped_transaction_changes_nothing,
            rows::text_with_nul_does_not_fail_the_batch,
            rows::reads_keep_to_their_namespace,
            rows::a_large_batch_survives,
            rows::the_schema_that_is_there_is_the_one_that_is_known,
            rows::the_store_has_a_clock,
            locks::a_locked_run_makes_the_second_wait,
            locks::a_shared_run_makes_a_change_wait,
            locks::locks_of_two_batches_do_not_cross,
            inputs::inputs_are_kept_by_pause,
            cache::a_cached_run_is_found_until_it_expires,
            cache::a_result_can_be_another_runs_too,
            objects::an_object_is_announced_once_and_completed,
            objects::payloads_keep_their_objects,
            objects::only_complete_objects_of_the_namespace_are_used,
            objects::orphans_are_taken_and_forgotten,
            objects::orphans_are_taken_in_batches,
            objects::a_use_keeps_its_object,
            keys::the_first_reservation_owns_the_key,
            keys::an_expired_key_is_given_anew,
            keys::a_rolled_back_reservation_is_none,
            keys::owners_are_found_without_reserving,
            keys::a_run_knows_its_keys_and_who_got_it_by_them,
            keys::a_key_is_found_until_it_expires,
            keys::of_two_transactions_one_owns_the_key,
            keys::a_childs_key_lasts_as_long_as_its_parent_is_open,
            deletes::nothing_of_a_deleted_run_is_left,
            deletes::what_has_not_ended_is_not_deleted,
            deletes::a_key_of_a_deleted_run_is_given_anew,
            deletes::a_dropped_delete_deletes_nothing,
            events::a_used_number_is_refused,
            events::a_history_is_read_in_order,
            events::the_feed_is_in_order_and_resumes,
            events::the_feed_of_a_root_has_its_tree,
            events::the_feed_of_runs_has_theirs,
            events::nothing_appears_behind_a_cursor,
            events::the_events_of_a_run_stay_in_order_across_transactions,
            events::a_foreign_cursor_is_refused,
            events::a_commit_wakes,
            sweeps::never_enqueued,
            sweeps::enqueued_before,
            sweeps::timers,
            sweeps::cascades,
            sweeps::lost_sessions,
            sweeps::a_sweep_leaves_out_locked_runs,
            sweeps::held_runs_are_paged_by_id,
            sweeps::an_old_epoch_is_not_marked,
            lists::every_field_and_comparison,
            lists::nested_filters,
            lists::a_wrong_comparison_is_an_error,
            lists::values_are_no_sql,
            matches::filters_mean_the_same_in_memory,
            bulk::a_bulk_operation_is_kept_as_it_goes_on,
            bulk::a_bulk_operation_without_a_lease_is_swept,
            bulk::runs_are_selected_by_a_filter,
            bulk::runs_are_selected_by_a_tree,
            trees::open_runs_below_come_by_id,
            trees::open_runs_below_depend_on_how_the_one_above_ended,
            trees::open_runs_are_found_below_ended_ones_but_not_below_detached_ones,
            trees::a_run_below_two_is_given_for_the_lower_one,
            trees::a_deep_chain_is_walked_to_its_end,
            trees::a_run_has_more_below_while_a_child_may_have_something_open,
            trees::a_run_is_read_as_it_is_by_now,
            orders::pages_follow_every_order,
            orders::pages_hold_while_runs_are_added_and_changed,
            orders::counts_say_what_they_are_worth,
            retention::runs_go_some_time_after_their_end,
            retention::a_time_without_open_runs_goes_at_once,
            retention::a_tree_is_kept_as_long_as_its_root,
            retention::what_is_below_an_open_run_is_kept_whatever_its_root,
            retention::ids_of_any_age_are_kept_and_go,
            sessions::a_session_lives_until_it_is_ended,
            sessions::cancelling_runs_of_a_session_are_found,
            sessions::a_session_belongs_to_its_namespace,
            sessions::live_sessions_are_told_apart,
            sessions::purge_takes_what_is_over,
            slots::limits_are_defined_and_listed,
            slots::slots_are_taken_and_freed,
            slots::a_locked_limit_makes_the_second_wait,
            slots::waits_are_handed_out_in_order,
            slots::a_waiting_run_is_handed_out_to_one,
            slots::stray_slots_are_cleared,
            slots::a_waiting_run_is_no_lost_delivery,
            deployments::deployments_are_kept_with_their_versions,
            deployments::only_the_last_versions_are_kept,
            deployments::a_deployments_limit_comes_and_goes_with_it,
            deployments::of_two_who_make_a_deployment_the_second_waits,
            work_pools::work_pools_are_kept_and_listed,
            work_pools::a_work_pools_limit_comes_and_goes_with_it,
            work_pools::a_work_pool_that_is_named_stays,
            work_pools::runs_of_a_work_pool_have_their_jobs,
            schedules::schedules_are_kept_and_listed,
            schedules::due_schedules_are_taken_once_and_go_on,
            schedules::a_schedules_limit_comes_and_goes_with_it,
            schedules::schedules_go_with_their_deployment,
            queues::settings_of_queues_are_kept_and_listed,
            queues::a_queues_limit_comes_and_goes_with_its_settings,
            queues::a_limit_of_that_name_which_is_not_the_queues_stays,
            queues::what_a_queue_holds_gets_a_slot_once,
            queues::a_change_of_a_queue_waits_for_claims_and_they_for_it,
            slots::a_template_binds_each_value,
            slots::a_locked_template_makes_the_second_wait,
            slots::rates_are_kept_by_name,
            slots::holders_are_asked_once,
            lines::keys_take_turns_for_slots,
            lines::a_new_key_overtakes_nobody,
            lines::of_one_key_the_earliest_is_served,
            lines::who_leaves_takes_no_turn,
            lines::leases_that_leave_take_no_turns,
            lines::what_was_lost_is_in_line_again,
            lines::those_on_their_way_count,
            lines::those_who_wait_come_before_new_ones,
            slots::leases_are_renewed_while_they_last,
            slots::waits_for_leases_are_in_line_with_runs,
            slots::waits_for_leases_are_apart_from_those_of_runs,
            slots::leases_take_several_slots,
            artifacts::every_field_of_an_artifact_survives,
            artifacts::versions_of_a_key_grow,
            artifacts::of_two_transactions_each_has_its_own_versions,
            artifacts::artifacts_are_listed_by_what_they_are,
            artifacts::an_artifact_is_changed_and_deleted,
            artifacts::artifacts_without_a_run_go_some_time_after_their_last_change,
            artifacts::an_artifact_keeps_its_object,
            artifacts::artifacts_go_with_their_run,
            artifacts::artifacts_go_with_a_time_that_goes_at_once,
            variables::variables_are_set_changed_and_deleted,
            variables::variables_are_listed_by_name,
            variables::a_locked_variable_makes_the_second_wait,
            automations::automations_are_set_changed_and_deleted,
            automations::automations_are_listed_by_name,
            automations::a_locked_automation_makes_the_second_wait,
            automations::an_event_sets_off_what_waits_for_it,
            firings::an_event_sets_an_automation_off_once,
            firings::the_filter_comes_before_a_firing_is_taken,
            firings::due_firings_are_taken_once_until_they_are_due_again,
            firings::few_firings_are_taken_of_each_automation,
            firings::what_becomes_of_a_firing_is_kept,
            firings::firings_that_were_given_up_are_purged,
            firings::an_automation_with_too_many_firings_is_paused,
            firings::firings_are_cleared_by_and_by,
            firings::a_firing_that_was_taken_again_is_anothers,
            firings::batches_of_finished_firings_do_not_cross,
            firings::firings_go_with_their_automation,
            firings::a_firing_without_its_automation_is_deleted,
            firings::firings_are_listed_by_run,
        }
    };
    (@cases $fixture:ty, $statements:expr, $($module:ident :: $case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let fixture = <$fixture as $crate::conformance::Fixture>::open().await;
                $crate::conformance::$module::$case($crate::conformance::Fixture::store(&fixture)).await;
                $crate::conformance::Fixture::close(fixture).await;
            }
        )*

        #[tokio::test]
        async fn every_query_file_is_reached() {
            $({
                // Made in a frame of its own: all cases side by side would be too much for the stack of a test.
                fn case() -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
                    Box::pin(async {
                        let fixture = <$fixture as $crate::conformance::Fixture>::open().await;
                        $crate::conformance::$module::$case($crate::conformance::Fixture::store(&fixture)).await;
                        $crate::conformance::Fixture::close(fixture).await;
                    })
                }
                case().await;
            })*
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("queries");
            let unreached = $crate::conformance::unreached($statements, &folder);
            assert!(unreached.is_empty(), "{unreached:#?}");
        }
    };
}
